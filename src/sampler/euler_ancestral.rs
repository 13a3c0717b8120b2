//! Euler's method with fresh noise at each step, as k-diffusion has it: the ancestral sampling
//! of Song et al. 2021 ("Score-based generative modeling through stochastic differential
//! equations", appendix F) for a variance-exploding latent.

use tch::Tensor;

use super::course::Course;
use super::parameterisation::exploding_x0;
use super::sigmas::Levels;
use super::{NoiseSource, Sampler, SamplerKind, ScheduleError, SchedulerConfig, Step};

/// Goes down to σ_down by Euler's method, then up to the next σ by noise of deviation σ_up,
/// σ_down² + σ_up² = σ_next².
#[derive(Debug)]
pub struct EulerAncestral {
    course: Course,
    sigmas: Vec<f64>,
}

impl EulerAncestral {
    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, ScheduleError> {
        let levels = Levels::of_derivative_samplers(config, SamplerKind::EulerAncestral, steps)?;
        let (evaluations, prediction) = (levels.evaluations(), config.prediction_type);
        Ok(Self {
            course: Course::exploding(evaluations, prediction, levels.initial_sigma()),
            sigmas: levels.sigmas,
        })
    }
}

impl Sampler for EulerAncestral {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, noise: &mut NoiseSource) -> Step {
        let (sigma, sigma_next) = (self.sigmas[i], self.sigmas[i + 1]);
        let x0 = exploding_x0(self.course.prediction(), output, x, sigma);
        let [down, up] = down_and_up(sigma as f32, sigma_next as f32);
        let d = (x - &x0) / sigma;
        let mut previous = x + d * (down - sigma);
        if up > 0.0 {
            previous += noise.like(x) * up;
        }
        Step { previous, x0 }
    }
}

/// σ_down and σ_up, the variance σ_up² being that of the posterior. Computed in f32: where one
/// σ is much less than the other, σ_down is all cancellation, and the reference's is f32.
fn down_and_up(sigma: f32, sigma_next: f32) -> [f64; 2] {
    let (square, square_next) = (sigma * sigma, sigma_next * sigma_next);
    let up = (square_next * (square - square_next) / square).sqrt();
    let down = (square_next - up * up).max(0.0).sqrt();
    [f64::from(down), f64::from(up)]
}
