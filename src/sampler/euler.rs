//! Euler's method on the probability flow (Karras, Aittala, Aila & Laine 2022).

use tch::Tensor;

use super::course::Course;
use super::parameterisation::exploding_x0;
use super::sigmas::Levels;
use super::{NoiseSource, Sampler, SamplerKind, ScheduleError, SchedulerConfig, Step};

/// Algorithm 1 without its second-order correction: dx/dσ = (x − x0)/σ, where x = x0 + σ ε.
#[derive(Debug)]
pub struct Euler {
    course: Course,
    sigmas: Vec<f64>,
}

impl Euler {
    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule or asks for
    /// continuous timesteps.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, ScheduleError> {
        let kind = SamplerKind::Euler;
        config.require(kind, "timestep_type", "discrete")?;
        let levels = Levels::of_derivative_samplers(config, kind, steps)?;
        let (evaluations, prediction) = (levels.evaluations(), config.prediction_type);
        Ok(Self {
            course: Course::exploding(evaluations, prediction, levels.initial_sigma()),
            sigmas: levels.sigmas,
        })
    }
}

impl Sampler for Euler {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, _: &mut NoiseSource) -> Step {
        let (sigma, sigma_next) = (self.sigmas[i], self.sigmas[i + 1]);
        let x0 = exploding_x0(self.course.prediction(), output, x, sigma);
        let d = (x - &x0) / sigma;
        Step { previous: x + d * (sigma_next - sigma), x0 }
    }
}
