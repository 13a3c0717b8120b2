//! How much a tensor changes from one step to the next.

use std::collections::{BTreeSet, HashMap, HashSet};

use tch::{Device, Kind, Tensor};

use super::{Moment, Tap, TapError};
use crate::site::{Branch, Site};

/// What changed in one image's tensor since the step before.
#[derive(Clone, Debug, PartialEq)]
pub struct StepChange {
    /// Image of the run.
    pub sample: usize,
    /// The later of the two steps.
    pub at: Moment,
    /// Half of guidance, if the site has one.
    pub branch: Option<Branch>,
    /// Name of the site.
    pub site: String,
    /// Euclidean norm of the tensor at this step.
    pub norm: f64,
    /// Euclidean norm of the difference to the tensor of the step before.
    pub change: f64,
    /// The change over the norm at the step before; NaN where both are zero, infinite where only
    /// the norm is.
    pub relative: f64,
}

/// Compares tensors at chosen sites with those of the step before. Keeps one step's tensors,
/// however many steps there are.
#[derive(Debug)]
pub struct ChangeRecorder {
    sites: HashSet<String>,
    steps: Option<BTreeSet<usize>>,
    last: HashMap<(String, Option<Branch>), (usize, Tensor)>,
    changes: Vec<StepChange>,
}

impl ChangeRecorder {
    /// Looks at the named sites; tells of the given steps (all if `None`), of each against the one
    /// right before it, named or not. The first step has none before it.
    pub fn new(sites: impl IntoIterator<Item = String>, steps: Option<BTreeSet<usize>>) -> Self {
        let sites = sites.into_iter().collect();
        Self { sites, steps, last: HashMap::new(), changes: Vec::new() }
    }

    /// One entry a visit and image, in the order of the run.
    pub fn into_changes(self) -> Vec<StepChange> {
        self.changes
    }

    /// Those since the last time.
    pub(super) fn take_changes(&mut self) -> Vec<StepChange> {
        std::mem::take(&mut self.changes)
    }

    fn tells_of(&self, step: usize) -> bool {
        self.steps.as_ref().is_none_or(|steps| steps.contains(&step))
    }
}

impl Tap for ChangeRecorder {
    fn selects(&self, site: &Site) -> bool {
        site.is_per_step() && self.sites.contains(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let place = (site.name.clone(), at.branch);
        let last = self.last.remove(&place).filter(|(step, _)| step + 1 == at.step);
        if let (Some((_, last)), true) = (&last, self.tells_of(at.step)) {
            let compared = compare(x, last).map_err(|e| TapError::Unusable {
                site: site.name.clone(),
                problem: e.to_string(),
            })?;
            self.changes.extend(compared.into_iter().enumerate().map(
                |(sample, [norm, before, change])| StepChange {
                    sample,
                    at,
                    branch: at.branch,
                    site: site.name.clone(),
                    norm,
                    change,
                    relative: change / before,
                },
            ));
        }
        if self.tells_of(at.step + 1) {
            // The model may go on to work in the very memory it shows.
            let kept = match last {
                Some((_, mut kept)) if kept.size() == x.size() => {
                    kept.copy_(x);
                    kept
                }
                _ => x.copy(),
            };
            self.last.insert(place, (at.step, kept));
        }
        Ok(None)
    }
}

/// For each image the norms of its tensor, of the one before, and of their difference.
fn compare(x: &Tensor, last: &Tensor) -> Result<Vec<[f64; 3]>, tch::TchError> {
    let images = x.size().first().copied().unwrap_or(1);
    let [x, last] = [x, last].map(|x| x.to_kind(Kind::Float).reshape([images, -1]));
    let norms = |x: &Tensor| {
        let squares = x.square().sum_dim_intlist([1_i64].as_slice(), false, Kind::Double);
        Vec::<f64>::try_from(squares.sqrt().to_device(Device::Cpu))
    };
    let (now, before, change) = (norms(&x)?, norms(&last)?, norms(&(&x - &last))?);
    Ok((0..now.len()).map(|i| [now[i], before[i], change[i]]).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    /// Shows a site of two branches at each step; the conditional one is (3, 4) · factor(step).
    fn changes(mut tap: ChangeRecorder, factors: &[f64]) -> ChangeRecorder {
        let site = Site { name: "mid.cross.out".into(), path: String::new(), axes: vec![] };
        assert!(tap.selects(&site));
        for (step, &factor) in factors.iter().enumerate() {
            for branch in [Branch::Uncond, Branch::Cond] {
                let scale = if branch == Branch::Cond { factor } else { 0.0 };
                let mut x = Tensor::from_slice(&[3.0_f32, 4.0]).view([1, 1, 2]) * scale;
                let at = Moment { step, timestep: 10.0, sigma: 0.5, branch: Some(branch) };
                tap.visit(&site, at, &x).unwrap();
                // What the model does in its own memory is nothing to the recorder.
                let _ = x.fill_(99.0);
            }
            assert!(tap.last.len() <= 2, "one tensor a branch, at any step");
        }
        tap
    }

    fn of_cond(tap: ChangeRecorder) -> Vec<(usize, f64, f64, f64)> {
        let rows = tap.into_changes().into_iter();
        rows.filter(|row| row.branch == Some(Branch::Cond))
            .map(|row| (row.at.step, row.norm, row.change, row.relative))
            .collect()
    }

    fn recorder(steps: Option<BTreeSet<usize>>) -> ChangeRecorder {
        ChangeRecorder::new(["mid.cross.out".to_owned()], steps)
    }

    #[test]
    fn each_step_is_compared_with_the_one_before() {
        let tap = changes(recorder(None), &[1.0, 3.0, 3.0, -1.0]);
        let uncond = tap.changes.iter().filter(|row| row.branch == Some(Branch::Uncond));
        assert!(uncond.clone().all(|row| row.change == 0.0 && row.relative.is_nan()));
        assert_eq!(uncond.count(), 3);
        let expected = [(1, 15.0, 10.0, 2.0), (2, 15.0, 0.0, 0.0), (3, 5.0, 20.0, 4.0 / 3.0)];
        assert_eq!(of_cond(tap), expected);
    }

    #[test]
    fn chosen_steps_have_the_same_numbers() {
        let tap = changes(recorder(Some(BTreeSet::from([0, 3]))), &[1.0, 3.0, 3.0, -1.0]);
        assert!(tap.last.is_empty(), "nothing is kept for steps nobody asked for");
        assert_eq!(of_cond(tap), [(3, 5.0, 20.0, 4.0 / 3.0)]);
    }
}
