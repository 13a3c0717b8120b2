//! Samplers: from noise to a latent, one file each, with the symbols of its paper.

mod clamp;
mod config;
mod course;
mod ddim;
mod ddpm;
mod dpm_solver;
mod euler;
mod euler_ancestral;
mod guidance;
mod heun;
mod kind;
mod lcm;
mod noise;
mod parameterisation;
mod pndm;
mod schedule;
mod sigmas;
mod spacing;
mod stored;
mod unipc;

pub use config::{BetaSchedule, Prediction, SchedulerConfig, Spacing};
pub use course::{Course, Evaluation, LatentScale};
pub use ddim::{Ddim, DdimInversion, ddim_inversion};
pub use ddpm::{Ddpm, Variance};
pub use dpm_solver::DpmSolver;
pub use euler::Euler;
pub use euler_ancestral::EulerAncestral;
pub use guidance::{guided, rescaled_guidance};
pub use heun::Heun;
pub use kind::SamplerKind;
pub use lcm::Lcm;
pub use noise::NoiseSource;
pub use parameterisation::{Denoised, add_noise, v_target};
pub use pndm::Pndm;
pub use schedule::{Schedule, ScheduleError};
pub use unipc::UniPc;

use tch::Tensor;

/// Where one evaluation of the denoiser leads.
#[derive(Debug)]
pub struct Step {
    /// The next latent, in the sampler's scale.
    pub previous: Tensor,
    /// The clean latent as predicted here.
    pub x0: Tensor,
}

/// Walks from noise to a latent, once: what a sampler remembers of earlier steps belongs to
/// one run, so each run prepares its own.
///
/// A run is one loop over the evaluations of its course, whatever the sampler:
/// [`Course::input`] is what the denoiser is shown, and `step` takes its output.
pub trait Sampler {
    /// When the denoiser is asked, and in which scale the latent is kept.
    fn course(&self) -> &Course;

    /// Goes on from latent `x`, in the sampler's scale, with the denoiser's output at
    /// evaluation `i`. Evaluations come in order, each once.
    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, noise: &mut NoiseSource) -> Step;
}

/// Runs a sampler from a latent in its own scale (of noise: [`Course::start`]) to the end.
/// `denoiser` gives its output for an input at an evaluation.
///
/// # Errors
/// Those of the denoiser.
pub fn sample<E>(
    sampler: &mut dyn Sampler,
    start: &Tensor,
    noise: &mut NoiseSource,
    mut denoiser: impl FnMut(&Tensor, Evaluation) -> Result<Tensor, E>,
) -> Result<Tensor, E> {
    let mut x = start.shallow_clone();
    for i in 0..sampler.course().evaluations().len() {
        let at = sampler.course().evaluations()[i];
        let output = denoiser(&sampler.course().input(i, &x), at)?;
        x = sampler.step(i, &output, &x, noise).previous;
    }
    Ok(x)
}
