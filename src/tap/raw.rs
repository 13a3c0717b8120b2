//! Records whole tensors, for a file of their own.

use std::collections::{BTreeSet, HashSet};

use tch::{Device, Tensor};

use super::{Moment, Tap, TapError};
use crate::site::{Branch, Site};

/// Keeps copies of tensors at chosen sites and steps, within a byte budget.
#[derive(Debug)]
pub struct RawRecorder {
    sites: HashSet<String>,
    steps: Option<BTreeSet<usize>>,
    branch: Option<Branch>,
    budget: u64,
    used: u64,
    tensors: Vec<(String, Tensor)>,
}

impl RawRecorder {
    /// Keeps the named sites at the given steps (all if `None`). Sites outside the denoising
    /// loop are kept whatever the steps.
    pub fn new(
        sites: impl IntoIterator<Item = String>,
        steps: Option<BTreeSet<usize>>,
        budget: u64,
    ) -> Self {
        let sites = sites.into_iter().collect();
        Self { sites, steps, branch: None, budget, used: 0, tensors: Vec::new() }
    }

    /// Leaves the other half of guidance out.
    pub fn of_branch(self, branch: Branch) -> Self {
        Self { branch: Some(branch), ..self }
    }

    /// What was recorded, as `<step:03>/<cond|uncond>/<site>` or, at sites both branches
    /// share, `<step:03>/<site>`.
    pub fn into_tensors(self) -> Vec<(String, Tensor)> {
        self.tensors
    }
}

/// The name of a recorded tensor.
pub(super) fn key(site: &Site, at: Moment) -> String {
    match at.branch {
        Some(branch) => format!("{:03}/{}/{}", at.step, branch.label(), site.name),
        None => format!("{:03}/{}", at.step, site.name),
    }
}

impl Tap for RawRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let skipped = |steps: &BTreeSet<usize>| !steps.contains(&at.step);
        if site.is_per_step() && self.steps.as_ref().is_some_and(skipped) {
            return Ok(None);
        }
        if self.branch.is_some() && at.branch.is_some() && at.branch != self.branch {
            return Ok(None);
        }
        self.used += (x.numel() * x.kind().elt_size_in_bytes()) as u64;
        if self.used > self.budget {
            return Err(TapError::OverBudget {
                site: site.name.clone(),
                needed: self.used,
                budget: self.budget,
            });
        }
        self.tensors.push((key(site, at), x.to_device(Device::Cpu).contiguous().copy()));
        Ok(None)
    }
}
