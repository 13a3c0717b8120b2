//! Samplers: from noise to a latent, one file each, with the symbols of its paper.

mod ddim;
mod ddpm;
mod noise;
mod parameterisation;
mod schedule;

pub use ddim::Ddim;
pub use ddpm::{Ddpm, Variance};
pub use noise::NoiseSource;
pub use parameterisation::{Denoised, add_noise, v_target};
pub use schedule::{BetaSchedule, Prediction, Schedule, ScheduleError, SchedulerConfig, Spacing};

use serde::{Deserialize, Serialize};
use tch::Tensor;

/// Which sampler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SamplerKind {
    /// Deterministic (Song et al. 2021).
    #[default]
    Ddim,
    /// Ancestral (Ho et al. 2020).
    Ddpm,
}

impl SamplerKind {
    /// `ddim` or `ddpm`.
    pub fn label(self) -> &'static str {
        match self {
            SamplerKind::Ddim => "ddim",
            SamplerKind::Ddpm => "ddpm",
        }
    }

    /// Prepares a run of `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule.
    pub fn prepare(
        self,
        config: &SchedulerConfig,
        steps: usize,
    ) -> Result<Box<dyn Sampler>, ScheduleError> {
        Ok(match self {
            SamplerKind::Ddim => Box::new(Ddim::new(config, steps, 0.0)?),
            SamplerKind::Ddpm => Box::new(Ddpm::new(config, steps, Variance::FixedSmall)?),
        })
    }
}

/// Where one sampling step leads.
#[derive(Debug)]
pub struct Step {
    /// The next, less noisy latent.
    pub previous: Tensor,
    /// The clean latent as predicted here.
    pub x0: Tensor,
}

/// Walks from noise to a latent.
pub trait Sampler {
    /// The timesteps to visit, from noise to image.
    fn timesteps(&self) -> &[i64];

    /// The schedule behind them.
    fn schedule(&self) -> &Schedule;

    /// What the denoiser predicts.
    fn prediction(&self) -> Prediction;

    /// One step: the denoiser's output at `timesteps()[i]` for latent `x` → the next latent.
    fn step(&self, i: usize, output: &Tensor, x: &Tensor, noise: &mut NoiseSource) -> Step;
}
