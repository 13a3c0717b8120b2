//! Denoising diffusion probabilistic models (Ho, Jain & Abbeel 2020).

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::clamp::Clamp;
use super::course::Course;
use super::{
    Denoised, NoiseSource, Sampler, SamplerKind, Schedule, ScheduleError, SchedulerConfig, Step,
};

/// The variance of the reverse step (section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variance {
    /// β̃_t, the posterior's.
    #[serde(alias = "fixed_small_log")]
    FixedSmall,
    /// β_t.
    FixedLarge,
}

/// Algorithm 2 over a chosen list of timesteps.
#[derive(Debug)]
pub struct Ddpm {
    course: Course,
    /// ᾱ after each step.
    alpha_bars_prev: Vec<f64>,
    clamp: Clamp,
    variance: Variance,
}

impl Ddpm {
    /// Keeps the variance from vanishing.
    const LEAST_VARIANCE: f64 = 1e-20;

    /// Prepares `steps` steps; the variance is the config's `variance_type`, β̃_t if it has
    /// none.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, a config that makes no schedule, or a variance
    /// that the denoiser would have to predict.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, ScheduleError> {
        let schedule = Schedule::for_sampler(config, SamplerKind::Ddpm)?;
        let spacing = config.spacing(SamplerKind::Ddpm);
        let timesteps = schedule.timesteps(steps, spacing, config.steps_offset)?;
        // This sampler always ends at ᾱ = 1.
        let after = timesteps[1..].iter().map(|&t| schedule.alpha_bar(t)).chain([1.0]);
        Ok(Self {
            course: Course::over_timesteps(&schedule, &timesteps, config.prediction_type)?,
            alpha_bars_prev: after.collect(),
            clamp: Clamp::of(config, SamplerKind::Ddpm)?,
            variance: config.option("variance_type", Variance::FixedSmall)?,
        })
    }
}

impl Sampler for Ddpm {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, noise: &mut NoiseSource) -> Step {
        let evaluation = self.course.evaluations()[i];
        let alpha_bar = evaluation.alpha_bar;
        let alpha_bar_prev = self.alpha_bars_prev[i];
        let alpha = alpha_bar / alpha_bar_prev;
        let beta = 1.0 - alpha;

        let x0 = Denoised::new(self.course.prediction(), output, x, alpha_bar).x0;
        let x0 = self.clamp.apply(x0);
        // Equation 7: the posterior's mean.
        let of_x0 = alpha_bar_prev.sqrt() * beta / (1.0 - alpha_bar);
        let of_x = alpha.sqrt() * (1.0 - alpha_bar_prev) / (1.0 - alpha_bar);
        let mut previous = &x0 * of_x0 + x * of_x;
        if evaluation.timestep > 0.0 {
            let variance = match self.variance {
                Variance::FixedSmall => (1.0 - alpha_bar_prev) / (1.0 - alpha_bar) * beta,
                Variance::FixedLarge => beta,
            };
            previous += noise.like(x) * variance.max(Self::LEAST_VARIANCE).sqrt();
        }
        Step { previous, x0 }
    }
}
