//! The noise levels of a run, and what lies between two of them.

use serde::{Deserialize, Serialize};

use crate::measure::Estimate;
use crate::table::NoiseLevelRow;

/// Timestep and σ of each step, from the noisiest on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NoiseLevels {
    /// Timesteps of training.
    pub timesteps: Vec<f64>,
    /// Noise over signal, √((1 − ᾱ) / ᾱ); infinite for noise alone.
    pub sigmas: Vec<f64>,
}

impl NoiseLevels {
    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.timesteps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timesteps.is_empty()
    }

    /// The timestep at a step, which may lie between two; beyond the ends it is that of the end.
    pub fn timestep(&self, step: f64) -> f64 {
        between(&self.timesteps, step)
    }

    /// σ at a step, on the way between two as its logarithm goes.
    pub fn sigma(&self, step: f64) -> f64 {
        if step.fract() == 0.0 {
            return between(&self.sigmas, step);
        }
        let logarithms: Vec<f64> = self.sigmas.iter().map(|sigma| sigma.ln()).collect();
        between(&logarithms, step).exp()
    }

    /// The step at which σ is so large, between two where it lies there; none where it lies beyond
    /// the first or the last.
    pub fn step_of_sigma(&self, sigma: f64) -> Option<f64> {
        let pairs = self.sigmas.windows(2).enumerate();
        for (i, pair) in pairs {
            let (above, below) = (pair[0].ln(), pair[1].ln());
            let wanted = sigma.ln();
            if pair[0] >= sigma && sigma >= pair[1] {
                let share = (above - wanted) / (above - below);
                return Some(i as f64 + if share.is_finite() { share } else { 1.0 });
            }
        }
        None
    }

    /// A row of the table `noise_level` for a step with its interval.
    pub fn row(
        &self,
        (run, aspect, method): (&str, &str, &str),
        step: f64,
        interval: Option<Estimate>,
    ) -> NoiseLevelRow {
        NoiseLevelRow {
            run: run.to_owned(),
            aspect: aspect.to_owned(),
            method: method.to_owned(),
            step: Some(step),
            timestep: self.timestep(step),
            // Later steps have less noise.
            timestep_low: interval.map(|e| self.timestep(e.high)),
            timestep_high: interval.map(|e| self.timestep(e.low)),
            sigma: self.sigma(step),
            units: 0,
            left_out: 0,
        }
    }
}

/// The value at a place of a list, linear between two.
fn between(values: &[f64], at: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let at = at.clamp(0.0, last as f64);
    let below = at.floor() as usize;
    let share = at - below as f64;
    if share == 0.0 {
        return values[below];
    }
    let (a, b) = (values[below], values[below + 1]);
    // From noise alone there is no way in between: its logarithm is infinite.
    if a.is_finite() { a + share * (b - a) } else { b }
}
