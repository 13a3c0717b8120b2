//! Takes guidance apart: what the prompt adds to the noise prediction, along and across it.

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use super::{Moment, Tap, TapError};
use crate::site::Site;

/// Where both noise predictions are seen, the unconditional one first.
const SITES: [&str; 2] = ["step.eps.uncond", "step.eps.cond"];

/// One image's two noise predictions at one step. Norms are Euclidean, over all channels and
/// places of the latent.
///
/// Parallel and orthogonal part as in Sadat et al. 2024 (Eliminating Oversaturation and Artifacts
/// of High Guidance Scales in Diffusion Models), there of the predicted clean image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuidanceParts {
    /// Image of the run.
    pub sample: usize,
    /// When.
    pub at: Moment,
    /// ‖ε_c‖, with the prompt.
    pub cond_norm: f64,
    /// ‖ε_u‖, with the negative or empty prompt.
    pub uncond_norm: f64,
    /// ‖ε_c − ε_u‖.
    pub difference: f64,
    /// Length of ε_c − ε_u along ε_c; negative where it points against it.
    pub parallel: f64,
    /// Norm of what remains of ε_c − ε_u without its part along ε_c.
    pub orthogonal: f64,
    /// Cosine of the angle between ε_c and ε_u, in [−1, 1]; NaN where one of them is zero.
    pub cosine: f64,
}

/// Compares both noise predictions of every step. Keeps one of them from its site to the next
/// and no more than the numbers after that.
#[derive(Debug)]
pub struct GuidanceRecorder {
    steps: Option<BTreeSet<usize>>,
    uncond: Option<(usize, Tensor)>,
    parts: Vec<GuidanceParts>,
}

impl GuidanceRecorder {
    /// The sites that are watched. A run without guidance never comes to them.
    pub const SITES: [&str; 2] = SITES;

    /// Looks at the given steps (all if `None`).
    pub fn new(steps: Option<BTreeSet<usize>>) -> Self {
        Self { steps, uncond: None, parts: Vec::new() }
    }

    /// One entry a step and image, in the order of the run.
    pub fn into_parts(self) -> Vec<GuidanceParts> {
        self.parts
    }

    /// Those since the last time.
    pub(super) fn take_parts(&mut self) -> Vec<GuidanceParts> {
        std::mem::take(&mut self.parts)
    }
}

impl Tap for GuidanceRecorder {
    fn selects(&self, site: &Site) -> bool {
        SITES.contains(&site.name.as_str())
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        if self.steps.as_ref().is_some_and(|steps| !steps.contains(&at.step)) {
            return Ok(None);
        }
        let x = x.to_kind(Kind::Double).reshape([x.size().first().copied().unwrap_or(1), -1]);
        if site.name == SITES[0] {
            self.uncond = Some((at.step, x));
            return Ok(None);
        }
        let uncond = self.uncond.take().filter(|(step, _)| *step == at.step);
        let Some((_, uncond)) = uncond else {
            let problem = format!("was seen without `{}` of the same step", SITES[0]);
            return Err(TapError::Unusable { site: site.name.clone(), problem });
        };
        let compared = compare(&x, &uncond, at)
            .map_err(|e| TapError::Unusable { site: site.name.clone(), problem: e.to_string() })?;
        self.parts.extend(compared);
        Ok(None)
    }
}

/// Compares predictions of as many images as there are rows.
fn compare(
    cond: &Tensor,
    uncond: &Tensor,
    at: Moment,
) -> Result<Vec<GuidanceParts>, tch::TchError> {
    let dot = |a: &Tensor, b: &Tensor| (a * b).sum_dim_intlist([1_i64].as_slice(), true, None);
    let difference = cond - uncond;
    let [cond_norm, uncond_norm] = [cond, uncond].map(|x| dot(x, x).sqrt());
    // A prediction of zeros has no direction: nothing lies along it.
    let direction = cond / cond_norm.clamp_min(f64::MIN_POSITIVE);
    let parallel = dot(&difference, &direction);
    let across = &difference - &direction * &parallel;
    let columns = [
        &cond_norm,
        &uncond_norm,
        &dot(&difference, &difference).sqrt(),
        &parallel,
        &dot(&across, &across).sqrt(),
        &(dot(cond, uncond) / (&cond_norm * &uncond_norm)),
    ];
    let numbers = Tensor::cat(&columns, 1).to_device(Device::Cpu);
    let rows = Vec::<Vec<f64>>::try_from(numbers)?.into_iter().enumerate();
    Ok(rows
        .map(|(sample, row)| GuidanceParts {
            sample,
            at,
            cond_norm: row[0],
            uncond_norm: row[1],
            difference: row[2],
            parallel: row[3],
            orthogonal: row[4],
            // Rounding may lead a little out of the range; NaN stays.
            cosine: row[5].clamp(-1.0, 1.0),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn site(name: &str) -> Site {
        Site { name: name.into(), path: String::new(), axes: vec![] }
    }

    fn moment(step: usize) -> Moment {
        Moment { step, timestep: 10.0, sigma: 0.5, branch: None }
    }

    #[test]
    fn two_small_predictions_come_apart_as_on_paper() {
        let mut tap = GuidanceRecorder::new(Some(BTreeSet::from([1])));
        // Of the second image the difference points against the conditional prediction.
        let uncond = Tensor::from_slice(&[3.0_f32, 0.0, 0.0, 2.0]).view([2, 1, 1, 2]);
        let cond = Tensor::from_slice(&[3.0_f32, 4.0, 0.0, 1.0]).view([2, 1, 1, 2]);
        for step in 0..3 {
            assert!(tap.selects(&site(SITES[0])) && !tap.selects(&site("step.eps")));
            tap.visit(&site(SITES[0]), moment(step), &uncond).unwrap();
            tap.visit(&site(SITES[1]), moment(step), &cond).unwrap();
        }
        let parts = tap.into_parts();
        let expected = [[5.0, 3.0, 4.0, 3.2, 2.4, 0.6], [1.0, 2.0, 1.0, -1.0, 0.0, 1.0]];
        assert_eq!(parts.len(), expected.len(), "step 1 alone");
        for (sample, (row, expected)) in parts.iter().zip(expected).enumerate() {
            assert_eq!((row.sample, row.at.step), (sample, 1));
            let norms = [row.cond_norm, row.uncond_norm, row.difference];
            let got = [norms.as_slice(), &[row.parallel, row.orthogonal, row.cosine]].concat();
            let near = |(a, b): (&f64, f64)| (a - b).abs() < 1e-12;
            assert!(got.iter().zip(expected).all(near), "{row:?}");
        }
    }

    #[test]
    fn a_prediction_of_zeros_has_no_direction() {
        let mut tap = GuidanceRecorder::new(None);
        let uncond = Tensor::from_slice(&[3.0_f32, 4.0]).view([1, 2]);
        tap.visit(&site(SITES[0]), moment(0), &uncond).unwrap();
        tap.visit(&site(SITES[1]), moment(0), &uncond.zeros_like()).unwrap();
        let row = tap.into_parts()[0];
        assert_eq!((row.difference, row.parallel, row.orthogonal), (5.0, 0.0, 5.0));
        assert!(row.cosine.is_nan(), "{row:?}");
    }

    #[test]
    fn one_half_alone_cannot_be_compared() {
        let mut tap = GuidanceRecorder::new(None);
        let x = Tensor::from_slice(&[1.0_f32]).view([1, 1]);
        tap.visit(&site(SITES[0]), moment(0), &x).unwrap();
        let error = tap.visit(&site(SITES[1]), moment(1), &x).unwrap_err().to_string();
        assert!(error.contains(SITES[0]) && error.contains(SITES[1]), "{error}");
    }
}
