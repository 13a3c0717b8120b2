//! Denoising diffusion implicit models (Song, Meng & Ermon 2021).

use tch::Tensor;

use super::clamp::Clamp;
use super::course::{Course, Evaluation};
use super::{
    Denoised, NoiseSource, Prediction, Sampler, SamplerKind, Schedule, ScheduleError,
    SchedulerConfig, Spacing, Step, sample,
};

/// Equation 12, with σ from equation 16; η = 0 is deterministic, η = 1 nearly DDPM.
#[derive(Debug)]
pub struct Ddim {
    course: Course,
    /// ᾱ after each step.
    alpha_bars_prev: Vec<f64>,
    clamp: Clamp,
    eta: f64,
}

impl Ddim {
    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule.
    pub fn new(config: &SchedulerConfig, steps: usize, eta: f64) -> Result<Self, ScheduleError> {
        let schedule = Schedule::for_sampler(config, SamplerKind::Ddim)?;
        let spacing = config.spacing(SamplerKind::Ddim);
        let timesteps = schedule.timesteps(steps, spacing, config.steps_offset)?;
        // The reference goes back by a fixed stride, also where the spacing is uneven.
        let stride = (schedule.len() / steps) as i64;
        Ok(Self {
            course: Course::over_timesteps(&schedule, &timesteps, config.prediction_type)?,
            alpha_bars_prev: timesteps.iter().map(|t| schedule.alpha_bar(t - stride)).collect(),
            clamp: Clamp::of(config, SamplerKind::Ddim)?,
            eta,
        })
    }
}

impl Sampler for Ddim {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, noise: &mut NoiseSource) -> Step {
        let alpha_bar = self.course.evaluations()[i].alpha_bar;
        let alpha_bar_prev = self.alpha_bars_prev[i];

        let Denoised { x0, eps } = Denoised::new(self.course.prediction(), output, x, alpha_bar);
        let x0 = self.clamp.apply(x0);
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

/// DDIM run backwards, from a clean latent to the noise that would make it: equation 13 as an
/// ordinary differential equation is solved in the other direction, with ε at the timestep
/// that the step leads to.
#[derive(Debug)]
pub struct DdimInversion {
    course: Course,
    /// ᾱ after each step.
    alpha_bars_next: Vec<f64>,
    clamp: Clamp,
}

impl DdimInversion {
    /// Prepares `steps` steps over the timesteps that DDIM visits, the other way round.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule or cannot
    /// be inverted.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, ScheduleError> {
        let schedule = Schedule::for_sampler(config, SamplerKind::Ddim)?;
        let spacing = config.spacing(SamplerKind::Ddim);
        if spacing == Spacing::Linspace {
            let needed = "a fixed stride is needed to go back; leading and trailing have one";
            return Err(config.unsupported("timestep_spacing", "linspace", needed));
        }
        let mut timesteps = schedule.timesteps(steps, spacing, config.steps_offset)?;
        timesteps.reverse();
        let stride = (schedule.len() / steps) as i64;
        let evaluation =
            |&t: &i64| Evaluation::at_alpha_bar(t as f64, schedule.alpha_bar(t - stride));
        let evaluations: Vec<Evaluation> = timesteps.iter().map(evaluation).collect();
        if config.prediction_type == Prediction::Sample && evaluations[0].sigma == 0.0 {
            let needed = "a clean latent and its prediction tell no noise; use `set_alpha_to_one` \
                          false";
            return Err(config.unsupported("prediction_type", "sample", needed));
        }
        Ok(Self {
            course: Course::preserving(evaluations, config.prediction_type),
            alpha_bars_next: timesteps.iter().map(|&t| schedule.alpha_bar(t)).collect(),
            clamp: Clamp::of(config, SamplerKind::Ddim)?,
        })
    }
}

impl Sampler for DdimInversion {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, _: &mut NoiseSource) -> Step {
        let alpha_bar = self.course.evaluations()[i].alpha_bar;
        let alpha_bar_next = self.alpha_bars_next[i];
        let Denoised { x0, eps } = Denoised::new(self.course.prediction(), output, x, alpha_bar);
        let x0 = self.clamp.apply(x0);
        let previous = &x0 * alpha_bar_next.sqrt() + eps * (1.0 - alpha_bar_next).sqrt();
        Step { previous, x0 }
    }
}

/// The noise that DDIM (η = 0) makes a clean latent of: [n, c, h, w] → [n, c, h, w].
///
/// `denoiser` gives its output for an input at an evaluation. The more steps, the closer
/// sampling from the result comes to the latent.
///
/// # Errors
/// Those of [`DdimInversion::new`] and of the denoiser.
pub fn ddim_inversion<E: From<ScheduleError>>(
    config: &SchedulerConfig,
    steps: usize,
    latent: &Tensor,
    denoiser: impl FnMut(&Tensor, Evaluation) -> Result<Tensor, E>,
) -> Result<Tensor, E> {
    let mut inversion = DdimInversion::new(config, steps)?;
    // Nothing is drawn: every step is determined.
    sample(&mut inversion, latent, &mut NoiseSource::new(&[]), denoiser)
}
