//! Denoising diffusion probabilistic models (Ho, Jain & Abbeel 2020).

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{
    Denoised, NoiseSource, Prediction, Sampler, Schedule, ScheduleError, SchedulerConfig, Step,
};

/// The variance of the reverse step (section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variance {
    /// β̃_t, the posterior's.
    FixedSmall,
    /// β_t.
    FixedLarge,
}

/// Algorithm 2 over a chosen list of timesteps.
#[derive(Debug)]
pub struct Ddpm {
    schedule: Schedule,
    timesteps: Vec<i64>,
    prediction: Prediction,
    clip: Option<f64>,
    variance: Variance,
}

impl Ddpm {
    /// Keeps the variance from vanishing.
    const LEAST_VARIANCE: f64 = 1e-20;

    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule.
    pub fn new(
        config: &SchedulerConfig,
        steps: usize,
        variance: Variance,
    ) -> Result<Self, ScheduleError> {
        // This sampler always ends at ᾱ = 1.
        let schedule =
            Schedule::new(&SchedulerConfig { set_alpha_to_one: true, ..config.clone() })?;
        let timesteps = schedule.timesteps(steps, config.timestep_spacing, config.steps_offset)?;
        Ok(Self {
            schedule,
            timesteps,
            prediction: config.prediction_type,
            clip: config.clip_sample.then_some(config.clip_sample_range),
            variance,
        })
    }
}

impl Sampler for Ddpm {
    fn timesteps(&self) -> &[i64] {
        &self.timesteps
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn prediction(&self) -> Prediction {
        self.prediction
    }

    fn step(&self, i: usize, output: &Tensor, x: &Tensor, noise: &mut NoiseSource) -> Step {
        let t = self.timesteps[i];
        let before = self.timesteps.get(i + 1).copied().unwrap_or(-1);
        let alpha_bar = self.schedule.alpha_bar(t);
        let alpha_bar_prev = self.schedule.alpha_bar(before);
        let alpha = alpha_bar / alpha_bar_prev;
        let beta = 1.0 - alpha;

        let mut x0 = Denoised::new(self.prediction, output, x, alpha_bar).x0;
        if let Some(range) = self.clip {
            x0 = x0.clamp(-range, range);
        }
        // Equation 7: the posterior's mean.
        let of_x0 = alpha_bar_prev.sqrt() * beta / (1.0 - alpha_bar);
        let of_x = alpha.sqrt() * (1.0 - alpha_bar_prev) / (1.0 - alpha_bar);
        let mut previous = &x0 * of_x0 + x * of_x;
        if t > 0 {
            let variance = match self.variance {
                Variance::FixedSmall => (1.0 - alpha_bar_prev) / (1.0 - alpha_bar) * beta,
                Variance::FixedLarge => beta,
            };
            previous += noise.like(x) * variance.max(Self::LEAST_VARIANCE).sqrt();
        }
        Step { previous, x0 }
    }
}
