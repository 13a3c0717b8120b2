//! Records a few numbers of each tensor.

use std::collections::{BTreeSet, HashSet};

use tch::{Kind, Tensor};

use super::{Branch, Moment, Tap, TapError};
use crate::site::Site;

/// Statistics of one tensor, one branch, one step; all images of the run together.
#[derive(Clone, Debug, PartialEq)]
pub struct StatisticsRow {
    /// Sampling step.
    pub step: usize,
    /// Timestep of the schedule.
    pub timestep: f64,
    /// Noise level.
    pub sigma: f64,
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
    /// Looks at the named sites at the given steps (all if `None`).
    pub fn new(sites: impl IntoIterator<Item = String>, steps: Option<BTreeSet<usize>>) -> Self {
        Self { sites: sites.into_iter().collect(), steps, rows: Vec::new() }
    }

    /// One row a visit, in the order of the run.
    pub fn into_rows(self) -> Vec<StatisticsRow> {
        self.rows
    }
}

impl Tap for StatisticsRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        if self.steps.as_ref().is_some_and(|steps| !steps.contains(&at.step)) {
            return Ok(None);
        }
        let x = x.to_kind(Kind::Double);
        let number = |t: Tensor| t.double_value(&[]);
        self.rows.push(StatisticsRow {
            step: at.step,
            timestep: at.timestep,
            sigma: at.sigma,
            branch: at.branch,
            site: site.name.clone(),
            mean: number(x.mean(Kind::Double)),
            std: number(x.std(false)),
            min: number(x.min()),
            max: number(x.max()),
            norm: number(x.norm()),
        });
        Ok(None)
    }
}
