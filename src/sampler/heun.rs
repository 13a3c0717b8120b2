//! Heun's method on the probability flow (Karras, Aittala, Aila & Laine 2022).

use tch::Tensor;

use super::clamp::Clamp;
use super::course::{Course, Entry, Evaluation};
use super::parameterisation::exploding_x0;
use super::sigmas::Levels;
use super::{NoiseSource, Sampler, SamplerKind, ScheduleError, SchedulerConfig, Step};

/// Algorithm 1: an Euler step, then the same step again with the mean of the derivatives at
/// both of its ends. The last step, to σ = 0, has no second derivative. So n steps ask the
/// denoiser 2n − 1 times.
#[derive(Debug)]
pub struct Heun {
    course: Course,
    sigmas: Vec<f64>,
    clamp: Clamp,
    half: Option<HalfStep>,
}

/// What is kept between the two evaluations of a step.
#[derive(Debug)]
struct HalfStep {
    /// The latent that the step began at.
    x: Tensor,
    /// Its derivative there.
    d: Tensor,
}

impl Heun {
    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, ScheduleError> {
        let kind = SamplerKind::Heun;
        if config.rescale_betas_zero_snr {
            let needed = "Heun's method has no such schedule";
            return Err(config.unsupported("rescale_betas_zero_snr", true, needed));
        }
        let levels = Levels::of_derivative_samplers(config, kind, steps)?;
        let once = levels.evaluations();
        let twice = |evaluation: &Evaluation| [*evaluation; 2];
        let evaluations = once[..1].iter().copied().chain(once[1..].iter().flat_map(twice));
        let initial = levels.initial_sigma();
        // A predicted latent is clipped where the config says so, never thresholded.
        let clipping = SchedulerConfig { thresholding: false, ..config.clone() };
        Ok(Self {
            course: Course::exploding(evaluations.collect(), config.prediction_type, initial)
                .entered(Entry::EachStep(2)),
            sigmas: levels.sigmas,
            clamp: Clamp::of(&clipping, kind)?,
            half: None,
        })
    }
}

impl Sampler for Heun {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, _: &mut NoiseSource) -> Step {
        let sigma = self.course.evaluations()[i].sigma;
        let x0 = exploding_x0(self.course.prediction(), output, x, sigma);
        let x0 = self.clamp.apply(x0);
        let d = (x - &x0) / sigma;
        // Evaluations 2k and 2k + 1 are those of the step from σ_k to σ_{k+1}.
        let by = self.sigmas[i / 2 + 1] - self.sigmas[i / 2];
        let previous = match self.half.take() {
            Some(HalfStep { x, d: d_before }) => x + (d_before + d) / 2.0 * by,
            None => {
                let previous = x + &d * by;
                self.half = Some(HalfStep { x: x.shallow_clone(), d });
                previous
            }
        };
        Step { previous, x0 }
    }
}
