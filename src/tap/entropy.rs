//! How spread out the attention of places over tokens is.

use std::collections::HashSet;

use tch::{Device, Kind, Tensor};

use super::{Moment, Tap, TapError};
use crate::site::{Branch, Site};

/// Entropy of one image's cross-attention at one site and step.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEntropy {
    /// Image of the run.
    pub sample: usize,
    /// When.
    pub at: Moment,
    /// Name of the site.
    pub site: String,
    /// −Σ p ln p over tokens over ln of their number, mean over heads and places: 0 where each
    /// place attends to one token, 1 where it attends to all alike.
    pub entropy: f64,
}

/// Watches `*.cross.probs` with the prompt and keeps one number of each.
#[derive(Debug)]
pub struct EntropyRecorder {
    sites: HashSet<String>,
    entropies: Vec<TokenEntropy>,
}

impl EntropyRecorder {
    /// Watches these sites.
    pub fn new(sites: impl IntoIterator<Item = String>) -> Self {
        Self { sites: sites.into_iter().collect(), entropies: Vec::new() }
    }

    /// One entry a visit and image, in the order of the run.
    pub fn into_entropies(self) -> Vec<TokenEntropy> {
        self.entropies
    }
}

impl Tap for EntropyRecorder {
    fn selects(&self, site: &Site) -> bool {
        site.is_cross_probs() && self.sites.contains(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        if at.branch != Some(Branch::Cond) {
            return Ok(None);
        }
        let tokens = x.size().last().copied().unwrap_or(1);
        let p = x.to_kind(Kind::Float);
        let sums = -p.xlogy(&p).sum_dim_intlist([-1_i64].as_slice(), false, Kind::Float);
        let means = sums.mean_dim([1_i64, 2].as_slice(), false, Kind::Double);
        let means =
            Vec::<f64>::try_from(means.to_device(Device::Cpu)).map_err(|e: tch::TchError| {
                TapError::Unusable { site: site.name.clone(), problem: e.to_string() }
            })?;
        let most = (tokens as f64).ln();
        self.entropies.extend(means.into_iter().enumerate().map(|(sample, entropy)| {
            TokenEntropy { sample, at, site: site.name.clone(), entropy: entropy / most }
        }));
        Ok(None)
    }
}
