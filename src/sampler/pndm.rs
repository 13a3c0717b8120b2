//! Pseudo numerical methods for diffusion models (Liu, Ren, Lin & Zhao 2022).

use tch::Tensor;

use super::course::{Course, Entry};
use super::{
    Denoised, NoiseSource, Prediction, Sampler, SamplerKind, Schedule, ScheduleError,
    SchedulerConfig, Step,
};

/// How many evaluations a step of the Runge–Kutta start takes.
const STAGES: usize = 4;
/// How many steps of it there are: the linear multistep method needs as many outputs from
/// before.
const RUNGE_KUTTA_STEPS: usize = 3;

/// Algorithm 2: linear multistep of fourth order (equation 12), whose start is either three
/// Runge–Kutta steps (equation 13) or, with `skip_prk_steps`, multistep of growing order, the
/// first step improved by a second look at where it leads. Both ask the denoiser more often
/// than there are steps.
#[derive(Debug)]
pub struct Pndm {
    course: Course,
    schedule: Schedule,
    timesteps: Vec<i64>,
    stride: i64,
    /// Evaluations that belong to the Runge–Kutta start.
    runge_kutta: usize,
    /// The evaluation that the run began at.
    first: Option<usize>,
    /// The denoiser's last outputs, newest last.
    outputs: Vec<Tensor>,
    /// The latent that the first multistep or the current Runge–Kutta step began at.
    began: Option<Tensor>,
    /// What the current Runge–Kutta step has summed up.
    sum: Option<Tensor>,
}

impl Pndm {
    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps (fewer than four with the Runge–Kutta start), more than there are timesteps, or
    /// a config that makes no schedule or predicts the clean latent.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, ScheduleError> {
        let kind = SamplerKind::Pndm;
        if config.prediction_type == Prediction::Sample {
            let needed = "PNDM combines predictions of noise or v";
            return Err(config.unsupported("prediction_type", "sample", needed));
        }
        if config.rescale_betas_zero_snr {
            let needed = "PNDM has no such schedule";
            return Err(config.unsupported("rescale_betas_zero_snr", true, needed));
        }
        let schedule = Schedule::for_sampler(config, kind)?;
        let whole = schedule.timesteps(steps, config.spacing(kind), config.steps_offset)?;
        let stride = (schedule.len() / steps) as i64;
        let skips = config.option("skip_prk_steps", false)?;
        let (timesteps, runge_kutta) = if skips {
            (looking_twice(&whole), 0)
        } else if steps > RUNGE_KUTTA_STEPS {
            (with_runge_kutta(&whole, stride / 2), STAGES * RUNGE_KUTTA_STEPS)
        } else {
            let (least, most) = (RUNGE_KUTTA_STEPS + 1, schedule.len());
            return Err(ScheduleError::Steps { steps, least, most });
        };
        let course = Course::over_timesteps(&schedule, &timesteps, config.prediction_type)?;
        let entry = match runge_kutta {
            0 => Entry::EachStep(1),
            _ => Entry::FirstStep(
                "PNDM begins with Runge–Kutta steps here (`skip_prk_steps` is false in \
                 scheduler_config.json) and cannot begin later",
            ),
        };
        Ok(Self {
            course: course.entered(entry),
            schedule,
            timesteps,
            stride,
            runge_kutta,
            first: None,
            outputs: Vec::new(),
            began: None,
            sum: None,
        })
    }

    /// One of the four evaluations of a Runge–Kutta step (equation 13).
    fn runge_kutta_step(&mut self, i: usize, output: &Tensor, x: &Tensor) -> Tensor {
        let stage = i % STAGES;
        let half = if stage.is_multiple_of(2) { self.stride / 2 } else { 0 };
        let to = self.timesteps[i] - half;
        let from = self.timesteps[i - stage];
        let weight = if stage == 0 || stage == STAGES - 1 { 1.0 / 6.0 } else { 1.0 / 3.0 };
        let sum = match self.sum.take() {
            Some(sum) => sum + output * weight,
            None => output * weight,
        };
        if stage == 0 {
            self.outputs.push(output.shallow_clone());
            self.began = Some(x.shallow_clone());
        }
        let began = self.began.as_ref().unwrap_or(x);
        if stage == STAGES - 1 {
            return self.transfer(began, &sum, from, to);
        }
        let next = self.transfer(began, output, from, to);
        self.sum = Some(sum);
        next
    }

    /// A step of the linear multistep method (equation 12 and its lower orders).
    fn multistep(&mut self, i: usize, output: &Tensor, x: &Tensor) -> Tensor {
        let t = self.timesteps[i];
        // A run that begins late (with an image) looks twice as well, as the reference does,
        // though its timesteps do not come twice there.
        let nth = i - *self.first.get_or_insert(i);
        // The second look: the first step again, now with the mean of both of its ends.
        if self.runge_kutta == 0 && nth == 1 {
            let mean = (output + &self.outputs[0]) / 2.0;
            let began = self.began.take();
            return self.transfer(began.as_ref().unwrap_or(x), &mean, t + self.stride, t);
        }
        if self.runge_kutta == 0 && nth == 0 {
            self.began = Some(x.shallow_clone());
        }
        let kept = self.outputs.len().saturating_sub(STAGES - 1);
        self.outputs.drain(..kept);
        self.outputs.push(output.shallow_clone());
        let combined = match self.outputs.as_slice() {
            [e3, e2, e1, e] => (e * 55.0 - e1 * 59.0 + e2 * 37.0 - e3 * 9.0) / 24.0,
            [e2, e1, e] => (e * 23.0 - e1 * 16.0 + e2 * 5.0) / 12.0,
            [e1, e] => (e * 3.0 - e1) / 2.0,
            _ => output.shallow_clone(),
        };
        self.transfer(x, &combined, t, t - self.stride)
    }

    /// From timestep `from` to `to` with a combined output (equation 11).
    fn transfer(&self, x: &Tensor, output: &Tensor, from: i64, to: i64) -> Tensor {
        let (alpha_bar, alpha_bar_prev) =
            (self.schedule.alpha_bar(from), self.schedule.alpha_bar(to));
        let eps = Denoised::new(self.course.prediction(), output, x, alpha_bar).eps;
        let of_x = (alpha_bar_prev / alpha_bar).sqrt();
        let divisor = alpha_bar * (1.0 - alpha_bar_prev).sqrt()
            + (alpha_bar * (1.0 - alpha_bar) * alpha_bar_prev).sqrt();
        x * of_x - eps * ((alpha_bar_prev - alpha_bar) / divisor)
    }
}

impl Sampler for Pndm {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, _: &mut NoiseSource) -> Step {
        let alpha_bar = self.course.evaluations()[i].alpha_bar;
        let x0 = Denoised::new(self.course.prediction(), output, x, alpha_bar).x0;
        let previous = if i < self.runge_kutta {
            self.runge_kutta_step(i, output, x)
        } else {
            self.multistep(i, output, x)
        };
        Step { previous, x0 }
    }
}

/// The timesteps with the second one twice.
fn looking_twice(timesteps: &[i64]) -> Vec<i64> {
    let second = timesteps.get(1);
    timesteps.iter().take(1).chain(second).chain(&timesteps[1..]).copied().collect()
}

/// The timesteps with three Runge–Kutta steps at the start, each of which asks at its
/// beginning, twice half a stride on, and at its end.
fn with_runge_kutta(timesteps: &[i64], half: i64) -> Vec<i64> {
    let stages = |pair: &[i64]| [pair[0], pair[1] + half, pair[1] + half, pair[1]];
    let start = timesteps[..=RUNGE_KUTTA_STEPS].windows(2).flat_map(stages);
    start.chain(timesteps[RUNGE_KUTTA_STEPS..].iter().copied()).collect()
}
