//! Where and when an edit acts.

use std::collections::{BTreeMap, BTreeSet};

use ndarray::Array2;
use tch::{Kind, Tensor};

use super::EditError;
use super::reference::branches_at;
use crate::site::{Axis, Branch, Extent, Glob, Site, Sites};
use crate::tap::Moment;

/// Where and when an edit acts, as asked for.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Sites.
    pub sites: Vec<Glob>,
    /// Steps; all if `None`. Sites outside the denoising loop know no steps.
    pub steps: Option<BTreeSet<usize>>,
    /// One half of guidance; both if `None`.
    pub branch: Option<Branch>,
    /// Attention heads; all if `None`.
    pub heads: Option<BTreeSet<i64>>,
    /// Places: true where the edit acts, at any resolution; everywhere if `None`.
    pub region: Option<Array2<bool>>,
}

/// The run that is edited.
#[derive(Clone, Debug)]
pub struct RunShape {
    /// Sizes of its tensors.
    pub extent: Extent,
    /// Evaluations of the denoiser.
    pub steps: usize,
    /// Halves of guidance that are computed.
    pub branches: Vec<Branch>,
}

/// A scope that was checked against a run.
#[derive(Debug)]
pub(super) struct Places {
    /// Names of sites, with the mask of what is changed there; `None`: all of the tensor.
    masks: BTreeMap<String, Option<Tensor>>,
    steps: Option<BTreeSet<usize>>,
    branch: Option<Branch>,
}

impl Places {
    pub fn new(scope: &Scope, sites: &Sites, run: &RunShape) -> Result<Self, EditError> {
        if scope.sites.is_empty() {
            return Err(EditError::NoSites);
        }
        let last = run.steps.saturating_sub(1);
        if let Some(&step) = scope.steps.iter().flatten().find(|step| **step > last) {
            return Err(EditError::Step { step, last });
        }
        if let Some(branch) = scope.branch.filter(|branch| !run.branches.contains(branch)) {
            return Err(EditError::Branch { branch: branch.label() });
        }
        let mut masks = BTreeMap::new();
        for id in sites.select(&scope.sites)? {
            let site = sites.get(id);
            masks.insert(site.name.clone(), mask(scope, site, &run.extent)?);
        }
        Ok(Self { masks, steps: scope.steps.clone(), branch: scope.branch })
    }

    pub fn has(&self, site: &Site) -> bool {
        self.masks.contains_key(&site.name)
    }

    /// The sites of the list that are in scope.
    pub fn sites<'a>(&self, sites: &'a Sites) -> impl Iterator<Item = &'a Site> {
        sites.iter().map(|(_, site)| site).filter(|site| self.has(site))
    }

    /// Whether the edit acts at this site now.
    pub fn hold(&self, site: &Site, at: Moment) -> bool {
        let in_time =
            !site.is_per_step() || self.steps.as_ref().is_none_or(|steps| steps.contains(&at.step));
        let in_branch = at.branch.is_none() || self.branch.is_none_or(|b| at.branch == Some(b));
        self.has(site) && in_time && in_branch
    }

    /// True where the tensor is changed; `None` for everywhere.
    pub fn mask(&self, site: &Site) -> Option<&Tensor> {
        self.masks.get(&site.name)?.as_ref()
    }

    /// All moments of a run at which the edit acts at this site.
    pub fn moments(&self, site: &Site, run: &RunShape) -> Vec<Moment> {
        let steps = if site.is_per_step() { run.steps } else { 1 };
        let moment = |step, branch| Moment { step, timestep: 0.0, sigma: 0.0, branch };
        let branches = branches_at(site, &run.branches);
        let all = (0..steps).flat_map(|step| branches.iter().map(move |b| moment(step, *b)));
        all.filter(|at| self.hold(site, *at)).collect()
    }
}

/// Heads and region at one site, as a mask that broadcasts over its tensor.
fn mask(scope: &Scope, site: &Site, extent: &Extent) -> Result<Option<Tensor>, EditError> {
    let heads = scope.heads.as_ref().map(|heads| head_mask(heads, site)).transpose()?;
    let region = scope.region.as_ref().map(|r| region_mask(r, site, extent)).transpose()?;
    Ok(match (heads, region) {
        (Some(heads), Some(region)) => Some(heads.logical_and(&region)),
        (one, other) => one.or(other),
    })
}

fn head_mask(heads: &BTreeSet<i64>, site: &Site) -> Result<Tensor, EditError> {
    let count = |axis: &Axis| match axis {
        Axis::Head(count) => Some(*count),
        _ => None,
    };
    let found = site.axes.iter().enumerate().find_map(|(i, axis)| Some((i, count(axis)?)));
    let (at, count) = found.ok_or_else(|| EditError::Axis {
        site: site.name.clone(),
        axis: "head",
        such_as: "*.cross.probs or *.self.q",
    })?;
    if let Some(&number) = heads.iter().find(|head| !(0..count).contains(*head)) {
        let (site, last) = (site.name.clone(), count - 1);
        return Err(EditError::Beyond { site, what: "head", number, last });
    }
    let chosen: Vec<bool> = (0..count).map(|head| heads.contains(&head)).collect();
    let mut shape = vec![1; site.axes.len()];
    shape[at] = count;
    Ok(Tensor::from_slice(&chosen).view(shape.as_slice()))
}

/// The region at the site's own resolution: a cell belongs to it if half of its area does.
fn region_mask(region: &Array2<bool>, site: &Site, extent: &Extent) -> Result<Tensor, EditError> {
    let shape = site.shape(extent);
    let place = |wanted: fn(&Axis) -> bool| site.axes.iter().position(wanted);
    let row = place(|axis| matches!(axis, Axis::Row(_) | Axis::FineRow(_)));
    let column = place(|axis| matches!(axis, Axis::Column(_) | Axis::FineColumn(_)));
    let position = place(|axis| matches!(axis, Axis::Position(_)));
    let mut broadcast = vec![1; shape.len()];
    let grid = match (row, column, position) {
        (Some(row), Some(column), _) => {
            (broadcast[row], broadcast[column]) = (shape[row], shape[column]);
            [shape[row], shape[column]]
        }
        (_, _, Some(at)) => {
            broadcast[at] = shape[at];
            let by = site.divisor();
            [extent.latent_height, extent.latent_width].map(|side| (side + by - 1) / by)
        }
        _ => {
            let such_as = "*.attn.*.out or *.cross.probs";
            return Err(EditError::Axis { site: site.name.clone(), axis: "place", such_as });
        }
    };
    let (rows, columns) = region.dim();
    let covered: Vec<f32> = region.iter().map(|&inside| f32::from(u8::from(inside))).collect();
    let covered = Tensor::from_slice(&covered).view([1, 1, rows as i64, columns as i64]);
    let share = covered.adaptive_avg_pool2d(grid);
    Ok(share.ge(0.5).to_kind(Kind::Bool).view(broadcast.as_slice()))
}
