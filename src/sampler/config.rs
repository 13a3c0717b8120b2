//! `scheduler/scheduler_config.json`, as diffusers writes it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{SamplerKind, ScheduleError};

/// How β grows with the timestep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Linearly (Ho et al. 2020).
    Linear,
    /// √β linearly (Rombach et al. 2022).
    ScaledLinear,
    /// From ᾱ_t = cos²((t + 0.008)/1.008 · π/2) (Nichol & Dhariwal 2021, eq. 17).
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredCosine,
}

/// Which timesteps are visited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// Multiples of T/n from below, plus an offset; never reaches the last timestep.
    #[default]
    Leading,
    /// Evenly from 0 to the last timestep.
    Linspace,
    /// Multiples of T/n from above; starts at the last timestep (Lin et al. 2023).
    Trailing,
}

/// What the denoiser predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prediction {
    /// The noise ε.
    #[default]
    #[serde(rename = "epsilon")]
    Epsilon,
    /// v = √ᾱ ε − √(1 − ᾱ) x0 (Salimans & Ho 2022, appendix D).
    #[serde(rename = "v_prediction")]
    V,
    /// The clean latent x0.
    #[serde(rename = "sample")]
    Sample,
}

/// `scheduler/scheduler_config.json`.
///
/// Checkpoints leave fields out that had their default when they were saved, and the default
/// of some fields differs between the classes of diffusers. Those fields are `None` here: the
/// sampler that runs decides, as it does where diffusers makes one scheduler from the config
/// of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulerConfig {
    /// The class diffusers loads; [`SamplerKind::of_config`] has the sampler it stands for.
    #[serde(rename = "_class_name", default = "default_class")]
    pub class_name: String,
    /// T, the number of timesteps.
    #[serde(default = "default_timesteps")]
    pub num_train_timesteps: usize,
    /// β of timestep 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_start: Option<f64>,
    /// β of the last timestep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_end: Option<f64>,
    /// Its growth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta_schedule: Option<BetaSchedule>,
    /// β of every timestep, instead of the three before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_betas: Option<Vec<f64>>,
    /// What the denoiser predicts.
    #[serde(default)]
    pub prediction_type: Prediction,
    /// Which timesteps are visited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestep_spacing: Option<Spacing>,
    /// Added to each timestep of leading spacing.
    #[serde(default)]
    pub steps_offset: i64,
    /// After the last step ᾱ is 1 (else ᾱ_0), for the samplers that go by ᾱ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_alpha_to_one: Option<bool>,
    /// Keep x0 in [−range, range], for the samplers that know how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_sample: Option<bool>,
    /// That range.
    #[serde(default = "default_range")]
    pub clip_sample_range: f64,
    /// Change β so that the last timestep is pure noise (Lin et al. 2023, algorithm 1).
    #[serde(default)]
    pub rescale_betas_zero_snr: bool,
    /// Dynamic thresholding of x0 (Saharia et al. 2022, section 2.3), for the samplers that
    /// know how.
    #[serde(default)]
    pub thresholding: bool,
    /// All other fields. Each sampler reads those it knows and refuses values it cannot
    /// follow; what no sampler knows is left alone.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

fn default_class() -> String {
    "DDIMScheduler".into()
}
fn default_timesteps() -> usize {
    1000
}
fn default_range() -> f64 {
    1.0
}

/// What diffusers takes for fields that a config leaves out, where its classes differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    pub beta_start: f64,
    pub beta_end: f64,
    pub beta_schedule: BetaSchedule,
    pub timestep_spacing: Spacing,
    pub set_alpha_to_one: bool,
    pub clip_sample: bool,
}

impl Defaults {
    /// The defaults of the class behind a sampler.
    pub fn of(kind: SamplerKind) -> Self {
        let ddim = Self {
            beta_start: 1e-4,
            beta_end: 0.02,
            beta_schedule: BetaSchedule::Linear,
            timestep_spacing: Spacing::Leading,
            set_alpha_to_one: true,
            clip_sample: true,
        };
        let plain = Self { clip_sample: false, timestep_spacing: Spacing::Linspace, ..ddim };
        let latent = Self { beta_start: 0.000_85, beta_end: 0.012, ..plain };
        match kind {
            SamplerKind::Ddim | SamplerKind::Ddpm => ddim,
            SamplerKind::Pndm => {
                Self { set_alpha_to_one: false, timestep_spacing: Spacing::Leading, ..plain }
            }
            SamplerKind::Euler
            | SamplerKind::EulerAncestral
            | SamplerKind::DpmSolver
            | SamplerKind::UniPc => plain,
            SamplerKind::Heun => latent,
            SamplerKind::Lcm => Self { beta_schedule: BetaSchedule::ScaledLinear, ..latent },
        }
    }
}

impl SchedulerConfig {
    /// Takes the fields of a model's `scheduler_config.json`; what JSON has no number for is a
    /// string there, such as `-Infinity`.
    ///
    /// # Errors
    /// A field of another type than it should have.
    pub fn read(fields: &Value) -> Result<Self, ScheduleError> {
        Self::deserialize(fields).map_err(|e| ScheduleError::Json { problem: e.to_string() })
    }

    /// How β runs, in words, such as `0.00085 to 0.012, ScaledLinear`.
    pub fn betas(&self) -> String {
        if let Some(betas) = &self.trained_betas {
            return format!("a list of {}", betas.len());
        }
        let defaults = Defaults::of(SamplerKind::of_config(self).unwrap_or_default());
        let start = self.beta_start.unwrap_or(defaults.beta_start);
        let end = self.beta_end.unwrap_or(defaults.beta_end);
        let schedule = self.beta_schedule.unwrap_or(defaults.beta_schedule);
        format!("{start} to {end}, {schedule:?}")
    }

    /// Which timesteps a sampler visits.
    pub(super) fn spacing(&self, kind: SamplerKind) -> Spacing {
        self.timestep_spacing.unwrap_or(Defaults::of(kind).timestep_spacing)
    }

    /// One of the other fields, or its default where it is missing or null.
    pub(super) fn option<T: DeserializeOwned>(
        &self,
        field: &'static str,
        default: T,
    ) -> Result<T, ScheduleError> {
        match self.others.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|e| self.unsupported(field, value, e.to_string())),
        }
    }

    /// Refuses any other value of a field than `only`; a missing or null field has it.
    pub(super) fn require(
        &self,
        kind: SamplerKind,
        field: &'static str,
        only: impl Into<Value>,
    ) -> Result<(), ScheduleError> {
        let only = only.into();
        match self.others.get(field) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if *value == only => Ok(()),
            Some(value) => {
                let needed = format!("{} here can only do with {only}", kind.label());
                Err(self.unsupported(field, value, needed))
            }
        }
    }

    /// The error for a field.
    pub(super) fn unsupported(
        &self,
        field: &'static str,
        found: impl std::fmt::Display,
        needed: impl Into<String>,
    ) -> ScheduleError {
        ScheduleError::Field { field, found: found.to_string(), needed: needed.into() }
    }
}
