//! Latent consistency models (Luo, Tan, Huang, Li & Zhao 2023).

use tch::Tensor;

use super::clamp::Clamp;
use super::course::Course;
use super::{
    Denoised, NoiseSource, Sampler, SamplerKind, Schedule, ScheduleError, SchedulerConfig, Step,
};

/// Algorithm 3, multistep consistency sampling: the consistency function f takes a noisy
/// latent all the way to a clean one, which is noised again to the next timestep. f is
/// c_skip x + c_out x0 (equation 9), close to the denoiser's own x0.
#[derive(Debug)]
pub struct Lcm {
    course: Course,
    clamp: Clamp,
    timestep_scaling: f64,
}

impl Lcm {
    /// σ_data of c_skip and c_out.
    const SIGMA_DATA: f64 = 0.5;

    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps, more than the model was distilled with, or a config that makes no schedule.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, ScheduleError> {
        let kind = SamplerKind::Lcm;
        let schedule = Schedule::for_sampler(config, kind)?;
        let distilled = config.option("original_inference_steps", 50_usize)?;
        if distilled == 0 || distilled > schedule.len() {
            let needed = format!("not 1 to {}, the number of timesteps", schedule.len());
            return Err(config.unsupported("original_inference_steps", distilled, needed));
        }
        if steps == 0 || steps > distilled {
            return Err(ScheduleError::Steps { steps, least: 1, most: distilled });
        }
        let timesteps = timesteps(steps, distilled, schedule.len());
        Ok(Self {
            course: Course::over_timesteps(&schedule, &timesteps, config.prediction_type)?,
            clamp: Clamp::of(config, kind)?,
            timestep_scaling: config.option("timestep_scaling", 10.0)?,
        })
    }
}

/// Evenly chosen ones of the timesteps that the model was distilled at, from noise to image.
fn timesteps(steps: usize, distilled: usize, count: usize) -> Vec<i64> {
    let stride = count / distilled;
    let skipped = distilled as f64 / steps as f64;
    let place = |i: usize| (i as f64 * skipped) as usize;
    (0..steps).map(|i| ((distilled - place(i)) * stride) as i64 - 1).collect()
}

impl Sampler for Lcm {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, noise: &mut NoiseSource) -> Step {
        let at = self.course.evaluations()[i];
        let x0 = Denoised::new(self.course.prediction(), output, x, at.alpha_bar).x0;
        let x0 = self.clamp.apply(x0);
        let scaled = at.timestep * self.timestep_scaling;
        let variance = Self::SIGMA_DATA * Self::SIGMA_DATA;
        let c_skip = variance / (scaled * scaled + variance);
        let c_out = scaled / (scaled * scaled + variance).sqrt();
        let f = x0 * c_out + x * c_skip;
        let previous = match self.course.evaluations().get(i + 1) {
            Some(next) => {
                let (signal, deviation) = (next.alpha_bar.sqrt(), (1.0 - next.alpha_bar).sqrt());
                &f * signal + noise.like(x) * deviation
            }
            None => f.shallow_clone(),
        };
        Step { previous, x0: f }
    }
}
