//! Sums over places, from which a linear regression of masks on activations follows: no activation
//! is kept, so that thousands of images can be shown.

use std::collections::{BTreeMap, HashSet};

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};
use tch::{Kind, TchError, Tensor};

use super::place_moments::by_channels;
use super::{Moment, PlaceMomentsRecorder, Tap, TapError};
use crate::measure::linear::Sums;
use crate::measure::resize;
use crate::site::Site;

/// What is known of the places of one image.
#[derive(Clone, Debug)]
pub struct PlaceTargets {
    /// In which fold the image is held out.
    pub fold: usize,
    /// Masks in the image's own resolution, each a target: the share of a place that it covers.
    pub masks: Vec<Array2<bool>>,
}

/// Sums the products of activations and targets over places, fold by fold. May watch several runs
/// one after the other, each with targets of its own.
#[derive(Debug)]
pub struct PlaceTargetsRecorder {
    sites: HashSet<String>,
    /// Rows and columns of the latent grid.
    grid: [i64; 2],
    folds: usize,
    /// Of the images that are shown.
    targets: Vec<PlaceTargets>,
    /// The same on grids of so many rows and columns: [images, places, targets].
    covered: BTreeMap<[i64; 2], Tensor>,
    /// By site and step: what each fold's images come to.
    products: BTreeMap<(String, usize), Products>,
}

/// Products ZᵀZ of rows Z = (1, activations, targets): [folds, columns, columns].
type Products = Array3<f64>;

impl PlaceTargetsRecorder {
    /// Watches `sites` for latents of `grid` rows and columns.
    pub fn new(sites: impl IntoIterator<Item = String>, grid: [i64; 2], folds: usize) -> Self {
        Self {
            sites: sites.into_iter().collect(),
            grid,
            folds,
            targets: Vec::new(),
            covered: BTreeMap::new(),
            products: BTreeMap::new(),
        }
    }

    /// The images of the next run, in their order.
    pub fn show(&mut self, targets: Vec<PlaceTargets>) {
        self.targets = targets;
        self.covered.clear();
    }

    /// Hands over the sums of each fold, by site and step; none for folds without an image.
    pub fn finish(self) -> BTreeMap<(String, usize), Vec<Option<Sums>>> {
        let targets = self.targets.first().map_or(0, |target| target.masks.len());
        let of_fold = |products: ArrayView2<'_, f64>| {
            (products[[0, 0]] > 0.0).then(|| Sums::of_products(products, targets))
        };
        let of_site = |(place, products): ((String, usize), Products)| {
            (place, products.outer_iter().map(of_fold).collect())
        };
        self.products.into_iter().map(of_site).collect()
    }

    /// [images, places, targets] in f64: the share of each place that each mask covers.
    fn covered(&mut self, shape: [i64; 2]) -> Result<Tensor, String> {
        if let Some(known) = self.covered.get(&shape) {
            return Ok(known.shallow_clone());
        }
        let size = (shape[0] as usize, shape[1] as usize);
        let share = |mask: &Array2<bool>| {
            let share = resize::coverage(mask.view(), size).map_err(|e| e.to_string())?;
            let values: Vec<f64> = share.iter().map(|&share| f64::from(share)).collect();
            Ok(Tensor::from_slice(&values))
        };
        let of_image = |target: &PlaceTargets| {
            let columns = target.masks.iter().map(share).collect::<Result<Vec<_>, String>>()?;
            Ok(Tensor::stack(&columns, 1))
        };
        let images = self.targets.iter().map(of_image).collect::<Result<Vec<_>, String>>()?;
        let covered = Tensor::stack(&images, 0);
        self.covered.insert(shape, covered.shallow_clone());
        Ok(covered)
    }
}

impl Tap for PlaceTargetsRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name) && PlaceMomentsRecorder::knows(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let unusable = |problem: String| TapError::Unusable { site: site.name.clone(), problem };
        let refused = |error: TchError| unusable(error.to_string());
        let shape = self.grid.map(|side| (side + site.divisor() - 1) / site.divisor());
        if x.size().first() != Some(&(self.targets.len() as i64)) {
            return Err(unusable("an image without targets".to_owned()));
        }
        let y = self.covered(shape).map_err(unusable)?.to_device(x.device());
        // [images, channels, places] → [images, places, channels]
        let x = by_channels(site, x, shape[0] * shape[1]).transpose(1, 2).to_kind(Kind::Double);
        let ones = x.narrow(2, 0, 1).ones_like();
        let z = Tensor::f_cat(&[ones, x, y], 2).map_err(refused)?;
        let products = z.transpose(1, 2).f_matmul(&z).map_err(refused)?.contiguous();
        let columns = products.size()[1] as usize;
        let values = Vec::<f64>::try_from(products.view([-1])).map_err(refused)?;
        let of_images = ArrayView3::from_shape((self.targets.len(), columns, columns), &values)
            .map_err(|e| unusable(e.to_string()))?;
        let kept = self
            .products
            .entry((site.name.clone(), at.step))
            .or_insert_with(|| Array3::zeros((self.folds, columns, columns)));
        for (target, products) in self.targets.iter().zip(of_images.outer_iter()) {
            let mut sum = kept.index_axis_mut(Axis(0), target.fold);
            sum += &products;
        }
        Ok(None)
    }
}
