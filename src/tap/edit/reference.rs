//! Tensors that edits take from elsewhere.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::site::{Axis, Branch, Site};
use crate::tap::{Moment, raw};

/// Tensors from another run or a file. One is found by the most special of its names:
/// `<step:03>/<cond|uncond>/<site>` (or `<step:03>/<site>` where both branches share one), as
/// `probe trace --raw` writes; `<cond|uncond>/<site>` for all steps; `<site>` for all.
#[derive(Debug)]
pub struct Reference {
    source: String,
    tensors: BTreeMap<String, Tensor>,
}

impl Reference {
    /// Tensors by name; `source` is what messages call them.
    pub fn new(source: impl Into<String>, tensors: BTreeMap<String, Tensor>) -> Self {
        Self { source: source.into(), tensors }
    }

    /// What messages call it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The same tensors as the mean over images and places: one vector over channels (or one
    /// distribution over tokens) for each name.
    pub fn averaged(self, sites: &[Site]) -> Self {
        let tensors = self.tensors.into_iter().map(|(name, x)| {
            let site = sites.iter().find(|site| is_of(&name, site));
            let mean = site.map(|site| mean_over_places(site, &x));
            (name, mean.unwrap_or(x))
        });
        Self { source: self.source, tensors: tensors.collect() }
    }

    /// The differences self − other, by name, where both have the tensor.
    pub fn minus(self, other: &Self) -> Self {
        let source = format!("{} minus {}", self.source, other.source);
        let difference = |(name, x): (String, Tensor)| {
            let y = other.tensors.get(&name)?;
            Some((name, x - y))
        };
        Self { source, tensors: self.tensors.into_iter().filter_map(difference).collect() }
    }

    /// The same tensors for all steps: those of the first.
    pub fn of_first_step(self) -> Self {
        let first = |(name, x): (String, Tensor)| Some((name.strip_prefix("000/")?.to_owned(), x));
        Self { source: self.source, tensors: self.tensors.into_iter().filter_map(first).collect() }
    }

    /// How many steps the run had that it is from, at least; 0 where its names tell of none.
    pub(super) fn steps(&self) -> usize {
        let step = |name: &String| name.split_once('/')?.0.parse::<usize>().ok();
        self.tensors.keys().filter_map(step).max().map_or(0, |last| last + 1)
    }

    /// The tensor for a site at a moment, with its name.
    pub fn find(&self, site: &Site, at: Moment) -> Option<(String, &Tensor)> {
        let of_branch = at.branch.map(|branch| format!("{}/{}", branch.label(), site.name));
        let names = [Some(raw::key(site, at)), of_branch, Some(site.name.clone())];
        let found = |name: String| self.tensors.get(&name).map(|x| (name, x));
        names.into_iter().flatten().find_map(found)
    }
}

/// Whether a name of a reference ends with the site's.
fn is_of(name: &str, site: &Site) -> bool {
    name.strip_suffix(&site.name).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// Mean over images and places, with those axes kept at length 1.
fn mean_over_places(site: &Site, x: &Tensor) -> Tensor {
    let images = site.axes.iter().position(|axis| *axis == Axis::Image);
    let axes: Vec<i64> =
        images.into_iter().chain(site.place_axes()).map(|axis| axis as i64).collect();
    x.to_kind(Kind::Float).mean_dim(axes.as_slice(), true, Kind::Float)
}

/// Branches that a moment can have at a site.
pub(super) fn branches_at(site: &Site, running: &[Branch]) -> Vec<Option<Branch>> {
    if site.has_branches() { running.iter().copied().map(Some).collect() } else { vec![None] }
}
