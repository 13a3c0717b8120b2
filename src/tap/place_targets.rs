//! Sums over places, from which a linear regression of masks on activations follows: no activation
//! is kept, so that thousands of images can be shown.

use std::collections::{BTreeMap, HashSet};

use ndarray::{Array2, ArrayView2};
use tch::{Kind, Tensor};

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
    /// By site and step: the sums of each fold, where it has an image.
    sums: BTreeMap<(String, usize), Vec<Option<Sums>>>,
}

impl PlaceTargetsRecorder {
    /// Watches `sites` for latents of `grid` rows and columns.
    pub fn new(sites: impl IntoIterator<Item = String>, grid: [i64; 2], folds: usize) -> Self {
        let sites = sites.into_iter().collect();
        Self { sites, grid, folds, targets: Vec::new(), sums: BTreeMap::new() }
    }

    /// The images of the next run, in their order.
    pub fn show(&mut self, targets: Vec<PlaceTargets>) {
        self.targets = targets;
    }

    /// Hands over the sums of each fold, by site and step; none for folds without an image or with
    /// activations that are no numbers.
    pub fn finish(self) -> BTreeMap<(String, usize), Vec<Option<Sums>>> {
        self.sums
    }

    /// [places, targets] of one image.
    fn covered(&self, image: usize, shape: (usize, usize)) -> Result<Array2<f64>, String> {
        let masks = &self.targets.get(image).ok_or("an image without targets")?.masks;
        let columns: Vec<Vec<f64>> = masks
            .iter()
            .map(|mask| {
                let share = resize::coverage(mask.view(), shape).map_err(|e| e.to_string())?;
                Ok(share.iter().map(|&share| f64::from(share)).collect())
            })
            .collect::<Result<_, String>>()?;
        Ok(Array2::from_shape_fn((shape.0 * shape.1, columns.len()), |(place, target)| {
            columns[target][place]
        }))
    }
}

impl Tap for PlaceTargetsRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name) && PlaceMomentsRecorder::knows(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let unusable = |problem: String| TapError::Unusable { site: site.name.clone(), problem };
        let [rows, columns] = self.grid.map(|side| (side + site.divisor() - 1) / site.divisor());
        // [images, channels, places] → [images, places, channels]
        let x = by_channels(site, x, rows * columns).transpose(1, 2).to_kind(Kind::Double);
        for image in 0..x.size()[0] {
            let own = x.get(image).to_device(tch::Device::Cpu).contiguous();
            let channels = own.size()[1] as usize;
            let values = Vec::<f64>::try_from(own.view([-1]))
                .map_err(|e: tch::TchError| unusable(e.to_string()))?;
            let shape = (rows as usize, columns as usize);
            let x = ArrayView2::from_shape((shape.0 * shape.1, channels), &values)
                .map_err(|e| unusable(e.to_string()))?;
            let y = self.covered(image as usize, shape).map_err(unusable)?;
            let fold = self.targets[image as usize].fold;
            let sums = self.sums.entry((site.name.clone(), at.step));
            let sums = sums.or_insert_with(|| vec![None; self.folds]);
            let own = Sums::of(x, y.view());
            sums[fold] = Some(match &sums[fold] {
                Some(others) => others.joined(&own, 1.0),
                None => own,
            });
        }
        Ok(None)
    }
}
