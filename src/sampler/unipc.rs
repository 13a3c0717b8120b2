//! UniPC, a unified predictor-corrector framework (Zhao, Bai, Rao, Zhou & Lu 2023).

use serde::Deserialize;
use tch::Tensor;

use super::clamp::Clamp;
use super::course::Course;
use super::dpm_solver::signal_and_noise;
use super::sigmas::{FinalSigma, Levels};
use super::{Denoised, NoiseSource, Sampler, SamplerKind, ScheduleError, SchedulerConfig, Step};

/// The function B(h) of section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SolverType {
    /// B₁(h) = h.
    Bh1,
    /// B₂(h) = eʰ − 1; diffusers takes it for the solver types of other samplers as well.
    #[serde(alias = "midpoint", alias = "heun", alias = "logrho")]
    Bh2,
}

/// The clean latent as predicted at one of the steps before.
#[derive(Debug)]
struct Known {
    x0: Tensor,
    lambda: f64,
}

/// Algorithms 7 (corrector) and 8 (predictor), for predictions of the clean latent: first each
/// step corrects how the one before it ended, now that the denoiser has been asked there, and
/// then predicts the next latent.
#[derive(Debug)]
pub struct UniPc {
    course: Course,
    /// σ_t/α_t before each step and after the last one.
    ratios: Vec<f64>,
    clamp: Clamp,
    solver_type: SolverType,
    order: usize,
    lower_order_final: bool,
    /// Steps whose end is left uncorrected.
    uncorrected: Vec<usize>,
    /// What was predicted, newest last.
    known: Vec<Known>,
    /// The latent that the previous step began at, and its order.
    began: Option<(Tensor, usize)>,
}

impl UniPc {
    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule or asks for
    /// a third order, another predictor, or a predictor of noise.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, ScheduleError> {
        let kind = SamplerKind::UniPc;
        config.require(kind, "predict_x0", true)?;
        config.require(kind, "solver_p", serde_json::Value::Null)?;
        let order = config.option("solver_order", 2_usize)?;
        if !(1..=2).contains(&order) {
            return Err(config.unsupported("solver_order", order, "1 and 2 can be done"));
        }
        let levels = Levels::of_multistep_solvers(config, kind, steps)?;
        let lower_order_final = config.option("lower_order_final", true)?;
        if order > 1 && !lower_order_final && levels.last == FinalSigma::Zero {
            let needed = "the last step, to zero noise, is infinitely long in λ and can only be \
                          of first order";
            return Err(config.unsupported("lower_order_final", false, needed));
        }
        Ok(Self {
            course: Course::preserving(levels.evaluations(), config.prediction_type),
            ratios: levels.sigmas,
            clamp: Clamp::threshold_of(config)?,
            solver_type: config.option("solver_type", SolverType::Bh2)?,
            order,
            lower_order_final,
            uncorrected: config.option("disable_corrector", Vec::new())?,
            known: Vec::new(),
            began: None,
        })
    }

    /// The part that both methods share: first order from step `from` to the next level.
    fn first_order(&self, from: usize, x: &Tensor, x0: &Tensor) -> (Tensor, StepLength) {
        let (alpha_t, sigma_t) = signal_and_noise(self.ratios[from + 1]);
        let (_, sigma_s) = signal_and_noise(self.ratios[from]);
        let h = (self.ratios[from] / self.ratios[from + 1]).ln();
        let expansion = (-h).exp_m1();
        let b = match self.solver_type {
            SolverType::Bh1 => -h,
            SolverType::Bh2 => expansion,
        };
        let x = x * (sigma_t / sigma_s) - x0 * (alpha_t * expansion);
        (x, StepLength { h, b, alpha_t })
    }

    /// Finite difference to the prediction before, D₁/r₁ of section 3.1, and r₁.
    fn difference(&self, h: f64) -> Option<(Tensor, f64)> {
        let [before, now] = self.known.last_chunk()?;
        let r = (before.lambda - now.lambda) / h;
        Some(((&before.x0 - &now.x0) / r, r))
    }

    /// Algorithm 7: the step that led here, again, with the clean latent `x0` predicted here.
    fn corrected(&self, i: usize, began: &Tensor, order: usize, x0: &Tensor) -> Option<Tensor> {
        let newest = &self.known.last()?.x0;
        let (x, length) = self.first_order(i - 1, began, newest);
        let here = x0 - newest;
        let correction = match self.difference(length.h) {
            // Equation 5 for two unknowns: ρ₁ + ρ₂ = b₁, r ρ₁ + ρ₂ = b₂.
            Some((difference, r)) if order == 2 => {
                let [b1, b2] = length.moments();
                let rho = (b1 - b2) / (1.0 - r);
                difference * rho + here * (b1 - rho)
            }
            // For order 1 the paper fixes ρ₁ = 1/2.
            _ => here * 0.5,
        };
        Some(x - correction * (length.alpha_t * length.b))
    }

    /// Algorithm 8: the next latent.
    fn predicted(&self, i: usize, x: &Tensor, order: usize, x0: &Tensor) -> Tensor {
        let (x, length) = self.first_order(i, x, x0);
        match self.difference(length.h) {
            // For order 2 the paper fixes ρ₁ = 1/2.
            Some((difference, _)) if order == 2 => {
                x - difference * (0.5 * length.alpha_t * length.b)
            }
            _ => x,
        }
    }
}

/// What the coefficients of one step are made of.
struct StepLength {
    /// λ_t − λ_s.
    h: f64,
    /// B(h), for −h as predictions of the clean latent have it.
    b: f64,
    alpha_t: f64,
}

impl StepLength {
    /// The right side of equation 5 for orders one and two.
    fn moments(&self) -> [f64; 2] {
        let z = -self.h;
        let phi_2 = z.exp_m1() / z - 1.0;
        let phi_3 = phi_2 / z - 0.5;
        [phi_2 / self.b, 2.0 * phi_3 / self.b]
    }
}

impl Sampler for UniPc {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, _: &mut NoiseSource) -> Step {
        let evaluation = self.course.evaluations()[i];
        let denoised = Denoised::new(self.course.prediction(), output, x, evaluation.alpha_bar);
        let x0 = self.clamp.apply(denoised.x0);
        let corrected = match self.began.take() {
            Some((began, order)) if !self.uncorrected.contains(&(i - 1)) => {
                self.corrected(i, &began, order, &x0)
            }
            _ => None,
        };
        let x = corrected.unwrap_or_else(|| x.shallow_clone());
        self.known.push(Known { x0: x0.shallow_clone(), lambda: -self.ratios[i].ln() });
        let outdated = self.known.len().saturating_sub(self.order);
        self.known.drain(..outdated);

        let left = self.course.evaluations().len() - i;
        let order = if self.lower_order_final { self.order.min(left) } else { self.order };
        let order = order.min(self.known.len());
        let previous = self.predicted(i, &x, order, &x0);
        self.began = Some((x, order));
        Step { previous, x0 }
    }
}
