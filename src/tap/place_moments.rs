//! Keeps of each image's activations what is left when places are averaged over: small enough for
//! thousands of images at all sites.

use std::collections::{BTreeMap, HashSet};

use tch::{Device, Kind, Tensor};

use super::{Moment, Tap, TapError};
use crate::measure::record::POOLED_MOMENTS;
use crate::site::{Axis, Site};

/// The kept numbers of one site at one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceMoments {
    /// Numbers of each image: all means, then all means weighted by x, then by y.
    pub width: usize,
    /// [images × width], in the order in which images were shown.
    pub values: Vec<f32>,
}

/// Pools the activations of chosen sites that have places, image by image. May watch several runs
/// one after the other: images are counted on.
#[derive(Debug)]
pub struct PlaceMomentsRecorder {
    sites: HashSet<String>,
    /// Rows and columns of the latent grid.
    grid: [i64; 2],
    /// By site and step.
    pooled: BTreeMap<(String, usize), PlaceMoments>,
}

impl PlaceMomentsRecorder {
    /// Watches `sites` for latents of `grid` rows and columns.
    pub fn new(sites: impl IntoIterator<Item = String>, grid: [i64; 2]) -> Self {
        Self { sites: sites.into_iter().collect(), grid, pooled: BTreeMap::new() }
    }

    /// Whether a site has places and channels, and nothing that goes by tokens or by pairs of
    /// places.
    pub fn knows(site: &Site) -> bool {
        let places = |axis: &Axis| matches!(axis, Axis::Row(_) | Axis::Position(_));
        let channels = |axis: &Axis| matches!(axis, Axis::Channel(_));
        let once = site.axes.iter().filter(|axis| places(axis)).count() == 1;
        let tokens = site.axes.contains(&Axis::Token);
        site.is_per_step() && once && !tokens && site.axes.iter().any(channels)
    }

    /// Numbers kept of each image at a site.
    pub fn width(site: &Site) -> usize {
        let of_axis = |axis: &Axis| match axis {
            Axis::Channel(n) | Axis::Head(n) => usize::try_from(*n).unwrap_or(1),
            _ => 1,
        };
        site.axes.iter().map(of_axis).product::<usize>() * POOLED_MOMENTS
    }

    /// Hands over what was kept, by site and step.
    pub fn finish(self) -> BTreeMap<(String, usize), PlaceMoments> {
        self.pooled
    }

    /// [places, moments]: the weights of a mean and of its two moments.
    fn weights(&self, divisor: i64) -> Tensor {
        let [rows, columns] = self.grid.map(|side| (side + divisor - 1) / divisor);
        let along = |count: i64| {
            (Tensor::arange(count, (Kind::Float, Device::Cpu)) + 0.5) * (2.0 / count as f64) - 1.0
        };
        let x = along(columns).unsqueeze(0).expand([rows, columns], true).reshape([-1]);
        let y = along(rows).unsqueeze(1).expand([rows, columns], true).reshape([-1]);
        Tensor::stack(&[x.ones_like(), x, y], 1) / (rows * columns) as f64
    }
}

/// [images, channels, places] in f32, whatever the order of the site's axes.
pub(super) fn by_channels(site: &Site, x: &Tensor, places: i64) -> Tensor {
    let images = x.size().first().copied().unwrap_or(1);
    let x = x.to_kind(Kind::Float);
    match site.axes.as_slice() {
        [Axis::Image, Axis::Channel(_), ..] => x.reshape([images, -1, places]),
        [Axis::Image, Axis::Position(_), Axis::Channel(_)] => x.transpose(1, 2),
        _ => x.transpose(2, 3).reshape([images, -1, places]),
    }
}

impl Tap for PlaceMomentsRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name) && Self::knows(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let unusable = |problem: String| TapError::Unusable { site: site.name.clone(), problem };
        let images = x.size().first().copied().unwrap_or(1);
        let weights = self.weights(site.divisor()).to_device(x.device());
        let places = weights.size()[0];
        let x = by_channels(site, x, places);
        let pooled = x.f_matmul(&weights).map_err(|e| unusable(e.to_string()))?;
        // [images, channels, moments] → [images, moments × channels]
        let pooled = pooled.transpose(1, 2).contiguous().view([images, -1]).to_device(Device::Cpu);
        let width = pooled.size()[1] as usize;
        let values = Vec::<f32>::try_from(pooled.view([-1]))
            .map_err(|e: tch::TchError| unusable(e.to_string()))?;
        let kept = self.pooled.entry((site.name.clone(), at.step)).or_default();
        kept.width = width;
        kept.values.extend(values);
        Ok(None)
    }
}
