//! Denoising diffusion implicit models (Song, Meng & Ermon 2021).

use tch::Tensor;

use super::{
    Denoised, NoiseSource, Prediction, Sampler, Schedule, ScheduleError, SchedulerConfig, Step,
};

/// Equation 12, with σ from equation 16; η = 0 is deterministic.
#[derive(Debug)]
pub struct Ddim {
    schedule: Schedule,
    timesteps: Vec<i64>,
    stride: i64,
    prediction: Prediction,
    clip: Option<f64>,
    eta: f64,
}

impl Ddim {
    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule.
    pub fn new(config: &SchedulerConfig, steps: usize, eta: f64) -> Result<Self, ScheduleError> {
        let schedule = Schedule::new(config)?;
        let timesteps = schedule.timesteps(steps, config.timestep_spacing, config.steps_offset)?;
        Ok(Self {
            stride: (schedule.len() / steps) as i64,
            schedule,
            timesteps,
            prediction: config.prediction_type,
            clip: config.clip_sample.then_some(config.clip_sample_range),
            eta,
        })
    }
}

impl Sampler for Ddim {
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
        // The reference goes back by a fixed stride, also where the spacing is uneven.
        let alpha_bar = self.schedule.alpha_bar(t);
        let alpha_bar_prev = self.schedule.alpha_bar(t - self.stride);

        let Denoised { mut x0, eps } = Denoised::new(self.prediction, output, x, alpha_bar);
        if let Some(range) = self.clip {
            x0 = x0.clamp(-range, range);
        }
        let sigma = self.eta
            * ((1.0 - alpha_bar_prev) / (1.0 - alpha_bar) * (1.0 - alpha_bar / alpha_bar_prev))
                .sqrt();
        let direction = eps * (1.0 - alpha_bar_prev - sigma * sigma).max(0.0).sqrt();
        let mut previous = &x0 * alpha_bar_prev.sqrt() + direction;
        if sigma > 0.0 {
            previous += noise.like(x) * sigma;
        }
        Step { previous, x0 }
    }
}
