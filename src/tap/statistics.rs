//! Records a few numbers of each tensor.

use std::collections::{BTreeSet, HashSet};

use tch::{Device, Kind, Tensor};

use super::{Moment, Tap, TapError};
use crate::site::{Branch, Site};

/// Statistics of one image's tensor at one branch and step.
#[derive(Clone, Debug, PartialEq)]
pub struct StatisticsRow {
    /// Image of the run.
    pub sample: usize,
    /// When in the denoising loop; `None` at sites outside it.
    pub at: Option<Moment>,
    /// Half of guidance, if the site has one.
    pub branch: Option<Branch>,
    /// Name of the site.
    pub site: String,
    /// Mean.
    pub mean: f64,
    /// Standard deviation, over n.
    pub std: f64,
    /// Smallest number.
    pub min: f64,
    /// Largest number.
    pub max: f64,
    /// Euclidean norm.
    pub norm: f64,
}

/// Takes statistics at chosen sites and steps; memory does not grow with the tensors.
#[derive(Debug)]
pub struct StatisticsRecorder {
    sites: HashSet<String>,
    steps: Option<BTreeSet<usize>>,
    rows: Vec<StatisticsRow>,
}

impl StatisticsRecorder {
    /// Looks at the named sites at the given steps (all if `None`). Sites outside the
    /// denoising loop are looked at whatever the steps.
    pub fn new(sites: impl IntoIterator<Item = String>, steps: Option<BTreeSet<usize>>) -> Self {
        Self { sites: sites.into_iter().collect(), steps, rows: Vec::new() }
    }

    /// One row a visit and image, in the order of the run.
    pub fn into_rows(self) -> Vec<StatisticsRow> {
        self.rows
    }
}

impl Tap for StatisticsRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let skipped = |steps: &BTreeSet<usize>| !steps.contains(&at.step);
        if site.is_per_step() && self.steps.as_ref().is_some_and(skipped) {
            return Ok(None);
        }
        let numbers = |t: Tensor| {
            Vec::<f64>::try_from(t.to_device(Device::Cpu))
                .map_err(|e| TapError::Unusable { site: site.name.clone(), problem: e.to_string() })
        };
        let x = x.to_kind(Kind::Double).reshape([x.size().first().copied().unwrap_or(1), -1]);
        let over = [1_i64].as_slice();
        let mean = numbers(x.mean_dim(over, false, Kind::Double))?;
        let std = numbers(x.std_dim(over, false, false))?;
        let (min, max) = (numbers(x.amin(over, false))?, numbers(x.amax(over, false))?);
        let norm = numbers(x.square().sum_dim_intlist(over, false, Kind::Double).sqrt())?;
        self.rows.extend((0..mean.len()).map(|sample| StatisticsRow {
            sample,
            at: site.is_per_step().then_some(at),
            branch: at.branch,
            site: site.name.clone(),
            mean: mean[sample],
            std: std[sample],
            min: min[sample],
            max: max[sample],
            norm: norm[sample],
        }));
        Ok(None)
    }
}
