//! Tensors as one vector each: the mean over places.

use std::collections::{BTreeSet, HashSet};

use tch::{Kind, Tensor};

use super::channels::{by_channel, channel_axis, head_axis, skips};
use super::recorder::Recorder;
use super::{Moment, Tap, TapError};
use crate::site::Site;
use crate::table::PooledRow;

/// Keeps, at chosen sites and steps, the mean over places (over tokens, where a site has no
/// places): one vector over channels for each image, and for each head where there are heads.
#[derive(Debug)]
pub struct PooledRecorder {
    sites: HashSet<String>,
    steps: Option<BTreeSet<usize>>,
    rows: Vec<PooledRow>,
}

impl PooledRecorder {
    /// Looks at those of the named sites that have channels, at the given steps (all if `None`).
    pub fn new(sites: impl IntoIterator<Item = String>, steps: Option<BTreeSet<usize>>) -> Self {
        Self { sites: sites.into_iter().collect(), steps, rows: Vec::new() }
    }

    /// Whether a site's tensors have channels.
    pub fn suits(site: &Site) -> bool {
        channel_axis(site).is_some()
    }
}

impl Tap for PooledRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name) && Self::suits(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        if skips(self.steps.as_ref(), site, at) {
            return Ok(None);
        }
        let Some(x) = by_channel(site, x) else { return Ok(None) };
        // [images, heads, channels]
        let means = x.mean_dim([-1_i64].as_slice(), false, Kind::Float);
        let size = means.size();
        let per_step = site.is_per_step();
        for sample in 0..size[0] {
            for head in 0..size[1] {
                let vector =
                    Vec::<f32>::try_from(means.get(sample).get(head)).map_err(|error| {
                        TapError::Unusable { site: site.name.clone(), problem: error.to_string() }
                    })?;
                self.rows.push(PooledRow {
                    run: String::new(),
                    sample: sample as u32,
                    step: per_step.then_some(at.step as u32),
                    timestep: per_step.then_some(at.timestep),
                    sigma: per_step.then_some(at.sigma),
                    branch: at.branch.map(|branch| branch.label().to_owned()),
                    site: site.name.clone(),
                    head: head_axis(site).map(|_| head as u32),
                    channels: vector.len() as u32,
                    vector: Some(vector),
                });
            }
        }
        Ok(None)
    }
}

impl Recorder for PooledRecorder {
    type Row = PooledRow;

    fn take(&mut self, run: &str) -> Vec<PooledRow> {
        let named = |row| PooledRow { run: run.to_owned(), ..row };
        std::mem::take(&mut self.rows).into_iter().map(named).collect()
    }
}
