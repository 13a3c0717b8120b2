//! What is fixed before a run begins: when the denoiser is asked, and in which scale the
//! latent is kept.

use tch::Tensor;

use super::parameterisation::exploding_variance;
use super::{Prediction, Schedule, ScheduleError};

/// One question to the denoiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The timestep it is asked about, in [0, T − 1]; samplers that go by σ ask about
    /// fractions too.
    pub timestep: f64,
    /// ᾱ of what it is shown: √ᾱ x0 + √(1 − ᾱ) ε.
    pub alpha_bar: f64,
    /// σ = √((1 − ᾱ)/ᾱ) of the same; infinite for pure noise.
    pub sigma: f64,
}

impl Evaluation {
    /// At a given ᾱ.
    pub(super) fn at_alpha_bar(timestep: f64, alpha_bar: f64) -> Self {
        Self { timestep, alpha_bar, sigma: ((1.0 - alpha_bar) / alpha_bar).sqrt() }
    }

    /// At a given σ.
    pub(super) fn at_sigma(timestep: f64, sigma: f64) -> Self {
        Self { timestep, alpha_bar: 1.0 / (sigma * sigma + 1.0), sigma }
    }
}

/// In which scale a sampler keeps its latent (Song et al. 2021, "Score-based generative
/// modeling", section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatentScale {
    /// Variance-preserving, as the denoiser sees it: x = √ᾱ x0 + √(1 − ᾱ) ε.
    Preserving,
    /// Variance-exploding: x = x0 + σ ε.
    Exploding,
}

/// The course of one run.
#[derive(Clone, Debug)]
pub struct Course {
    evaluations: Vec<Evaluation>,
    prediction: Prediction,
    scale: LatentScale,
    initial_sigma: f64,
    entry: Entry,
}

/// Where a run may begin that does not begin with noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// At each step; a step has so many evaluations.
    EachStep(usize),
    /// Only at the first step, for a reason.
    FirstStep(&'static str),
}

impl Course {
    /// A course over timesteps of the schedule, in variance-preserving scale.
    ///
    /// # Errors
    /// Pure noise is met by a denoiser that predicts noise: that tells nothing of x0.
    pub fn over_timesteps(
        schedule: &Schedule,
        timesteps: &[i64],
        prediction: Prediction,
    ) -> Result<Self, ScheduleError> {
        let at = |&t: &i64| Evaluation::at_alpha_bar(t as f64, schedule.alpha_bar(t));
        let evaluations: Vec<Evaluation> = timesteps.iter().map(at).collect();
        if prediction == Prediction::Epsilon && evaluations.iter().any(|e| e.alpha_bar == 0.0) {
            return Err(ScheduleError::Field {
                field: "rescale_betas_zero_snr",
                found: "true".into(),
                needed: "at the last timestep there is noise alone, and with `prediction_type` \
                         \"epsilon\" the denoiser says nothing else; another spacing leaves \
                         that timestep out"
                    .into(),
            });
        }
        Ok(Self::preserving(evaluations, prediction))
    }

    /// Any course in variance-preserving scale.
    pub(super) fn preserving(evaluations: Vec<Evaluation>, prediction: Prediction) -> Self {
        Self {
            evaluations,
            prediction,
            scale: LatentScale::Preserving,
            initial_sigma: 1.0,
            entry: Entry::EachStep(1),
        }
    }

    /// Any course in variance-exploding scale.
    pub(super) fn exploding(
        evaluations: Vec<Evaluation>,
        prediction: Prediction,
        initial_sigma: f64,
    ) -> Self {
        let (scale, entry) = (LatentScale::Exploding, Entry::EachStep(1));
        Self { evaluations, prediction, scale, initial_sigma, entry }
    }

    /// The same course, begun elsewhere.
    pub(super) fn entered(self, entry: Entry) -> Self {
        Self { entry, ..self }
    }

    /// When the denoiser is asked, in order. Most samplers ask once a step.
    pub fn evaluations(&self) -> &[Evaluation] {
        &self.evaluations
    }

    /// What the denoiser predicts.
    pub fn prediction(&self) -> Prediction {
        self.prediction
    }

    /// In which scale the latent is kept.
    pub fn scale(&self) -> LatentScale {
        self.scale
    }

    /// Standard deviation of the noise that a run starts from.
    pub fn initial_sigma(&self) -> f64 {
        self.initial_sigma
    }

    /// The latent to start from, made of unit noise.
    pub fn start(&self, unit_noise: &Tensor) -> Tensor {
        unit_noise * self.initial_sigma
    }

    /// The evaluation to begin at with a latent that is not noise alone, where `steps` steps were
    /// prepared and a share `strength` of them, in (0, 1], is to be taken: the first
    /// steps − ⌊steps · strength⌋ steps are left out, as diffusers leaves them out
    /// (`StableDiffusionImg2ImgPipeline.get_timesteps`).
    ///
    /// # Errors
    /// A share outside its range or of less than a step, or a sampler that cannot begin there.
    pub fn first_evaluation(&self, steps: usize, strength: f64) -> Result<usize, ScheduleError> {
        if !(strength > 0.0 && strength <= 1.0) {
            return Err(ScheduleError::Strength { strength });
        }
        let taken = (steps as f64 * strength) as usize;
        let left_out = match self.entry {
            Entry::EachStep(evaluations) => (steps - taken) * evaluations,
            Entry::FirstStep(reason) if taken < steps => {
                return Err(ScheduleError::OnlyFromTheStart { reason });
            }
            Entry::FirstStep(_) => 0,
        };
        if taken == 0 || left_out >= self.evaluations.len() {
            return Err(ScheduleError::NoStepLeft { steps, strength });
        }
        Ok(left_out)
    }

    /// A clean latent with unit noise added, as the sampler keeps its latent when it comes to
    /// evaluation `i`.
    pub fn noised(&self, i: usize, x0: &Tensor, unit_noise: &Tensor) -> Tensor {
        let Evaluation { alpha_bar, sigma, .. } = self.evaluations[i];
        match self.scale {
            LatentScale::Preserving => {
                x0 * alpha_bar.sqrt() + unit_noise * (1.0 - alpha_bar).sqrt()
            }
            LatentScale::Exploding => x0 + unit_noise * sigma,
        }
    }

    /// What the denoiser is shown at evaluation `i` of latent `x`: always
    /// √ᾱ x0 + √(1 − ᾱ) ε.
    pub fn input(&self, i: usize, x: &Tensor) -> Tensor {
        match self.scale {
            LatentScale::Preserving => x.shallow_clone(),
            LatentScale::Exploding => {
                let variance = exploding_variance(self.evaluations[i].sigma);
                x / f64::from(variance.sqrt())
            }
        }
    }
}
