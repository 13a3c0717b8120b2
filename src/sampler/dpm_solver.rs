//! DPM-Solver++ (Lu, Zhou, Bao, Chen, Li & Zhu 2022).

use serde::Deserialize;
use tch::Tensor;

use super::clamp::Clamp;
use super::course::Course;
use super::sigmas::{FinalSigma, Levels};
use super::{Denoised, NoiseSource, Sampler, SamplerKind, ScheduleError, SchedulerConfig, Step};

/// The form of the second-order term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SolverType {
    /// Algorithm 2; diffusers takes it for the solver types of other samplers as well.
    #[serde(alias = "logrho", alias = "bh1", alias = "bh2")]
    Midpoint,
    /// The derivative's own coefficient of the expansion (equation 13) instead of half the
    /// first one.
    Heun,
}

/// Algorithm 2, DPM-Solver++(2M): second order in λ = ln(α/σ) from this and the previous
/// prediction of the clean latent. The names α_t, σ_t, λ_t are the paper's:
/// x_t = α_t x0 + σ_t ε; so σ_t/α_t is what other samplers here call σ.
#[derive(Debug)]
pub struct DpmSolver {
    course: Course,
    /// σ_t/α_t before each step and after the last one.
    ratios: Vec<f64>,
    clamp: Clamp,
    solver_type: SolverType,
    second_order: bool,
    /// The last step is of first order.
    lower_at_last: bool,
    /// The clean latent as predicted one step before.
    x0_before: Option<Tensor>,
}

impl DpmSolver {
    /// With fewer steps than this, the last one is of first order where the config says so.
    const FEW_STEPS: usize = 15;

    /// Prepares `steps` steps.
    ///
    /// # Errors
    /// No steps, more than there are timesteps, or a config that makes no schedule or asks for
    /// another algorithm than `dpmsolver++`, for its third order, or for a predicted variance.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self, ScheduleError> {
        let kind = SamplerKind::DpmSolver;
        config.require(kind, "use_lu_lambdas", false)?;
        match config.option("algorithm_type", "dpmsolver++".to_owned())?.as_str() {
            // DEIS is this algorithm for diffusers' scheduler of this name.
            "dpmsolver++" | "deis" => {}
            other => {
                let needed = "the algorithm here is dpmsolver++";
                return Err(config.unsupported("algorithm_type", other, needed));
            }
        }
        let variance = config.option("variance_type", String::new())?;
        if variance.starts_with("learned") {
            let needed = "the denoiser's output is read as one prediction";
            return Err(config.unsupported("variance_type", variance, needed));
        }
        let order = config.option("solver_order", 2_usize)?;
        if !(1..=2).contains(&order) {
            return Err(config.unsupported("solver_order", order, "1 and 2 can be done"));
        }
        let levels = Levels::of_multistep_solvers(config, kind, steps)?;
        let lower_order_final = config.option("lower_order_final", true)?;
        Ok(Self {
            course: Course::preserving(levels.evaluations(), config.prediction_type),
            clamp: Clamp::threshold_of(config)?,
            solver_type: config.option("solver_type", SolverType::Midpoint)?,
            second_order: order == 2,
            lower_at_last: config.option("euler_at_final", false)?
                || (lower_order_final && levels.timesteps.len() < Self::FEW_STEPS)
                || levels.last == FinalSigma::Zero,
            ratios: levels.sigmas,
            x0_before: None,
        })
    }
}

impl Sampler for DpmSolver {
    fn course(&self) -> &Course {
        &self.course
    }

    fn step(&mut self, i: usize, output: &Tensor, x: &Tensor, _: &mut NoiseSource) -> Step {
        let evaluation = self.course.evaluations()[i];
        let denoised = Denoised::new(self.course.prediction(), output, x, evaluation.alpha_bar);
        let x0 = self.clamp.apply(denoised.x0);
        let before = self.x0_before.replace(x0.shallow_clone());
        let (alpha_t, sigma_t) = signal_and_noise(self.ratios[i + 1]);
        let (_, sigma_s) = signal_and_noise(self.ratios[i]);
        // λ_t − λ_s; infinite where the step leads to a clean latent.
        let h = (self.ratios[i] / self.ratios[i + 1]).ln();
        let expansion = (-h).exp_m1();
        // Equation 9: first order.
        let mut previous = x * (sigma_t / sigma_s) - &x0 * (alpha_t * expansion);
        let is_last = i + 1 == self.course.evaluations().len();
        let lower = !self.second_order || (is_last && self.lower_at_last);
        if let (Some(before), false) = (before, lower) {
            let r = (self.ratios[i - 1] / self.ratios[i]).ln() / h;
            let derivative = (&x0 - before) / r;
            previous += derivative
                * match self.solver_type {
                    SolverType::Midpoint => -0.5 * alpha_t * expansion,
                    SolverType::Heun => alpha_t * (expansion / h + 1.0),
                };
        }
        Step { previous, x0 }
    }
}

/// α_t and σ_t from their ratio σ_t/α_t, α_t² + σ_t² = 1.
pub(super) fn signal_and_noise(ratio: f64) -> (f64, f64) {
    let alpha = 1.0 / (ratio * ratio + 1.0).sqrt();
    (alpha, ratio * alpha)
}
