//! The noise schedule and which of its timesteps a sampler visits.
//!
//! x_t = √ᾱ_t x0 + √(1 − ᾱ_t) ε (Ho et al. 2020, eq. 4). Timesteps count from 0 (least
//! noise) to `num_train_timesteps − 1`.

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulerConfig {
    /// The class diffusers loads; any of them describes the same schedule.
    #[serde(rename = "_class_name", default = "default_class")]
    pub class_name: String,
    /// T, the number of timesteps.
    #[serde(default = "default_timesteps")]
    pub num_train_timesteps: usize,
    /// β of timestep 0.
    #[serde(default = "default_beta_start")]
    pub beta_start: f64,
    /// β of the last timestep.
    #[serde(default = "default_beta_end")]
    pub beta_end: f64,
    /// Its growth.
    #[serde(default = "default_beta_schedule")]
    pub beta_schedule: BetaSchedule,
    /// What the denoiser predicts.
    #[serde(default)]
    pub prediction_type: Prediction,
    /// Which timesteps are visited.
    #[serde(default)]
    pub timestep_spacing: Spacing,
    /// Added to each timestep of leading spacing.
    #[serde(default)]
    pub steps_offset: i64,
    /// After the last step ᾱ is 1 (else ᾱ_0).
    #[serde(default = "yes")]
    pub set_alpha_to_one: bool,
    /// Keep x0 in [−range, range].
    #[serde(default = "yes")]
    pub clip_sample: bool,
    /// That range.
    #[serde(default = "default_range")]
    pub clip_sample_range: f64,
    /// Zero terminal signal-to-noise, not read yet.
    #[serde(default)]
    pub rescale_betas_zero_snr: bool,
    /// Dynamic thresholding, not read yet.
    #[serde(default)]
    pub thresholding: bool,
}

impl SchedulerConfig {
    /// Reads the JSON of a model's `scheduler_config.json`.
    ///
    /// # Errors
    /// [`ScheduleError::Config`] for fields that say nothing understood.
    pub fn read(json: &serde_json::Value) -> Result<Self, ScheduleError> {
        serde_json::from_value(json.clone()).map_err(|e| ScheduleError::Config(e.to_string()))
    }
}

fn default_class() -> String {
    "DDIMScheduler".into()
}
fn default_timesteps() -> usize {
    1000
}
fn default_beta_start() -> f64 {
    1e-4
}
fn default_beta_end() -> f64 {
    0.02
}
fn default_beta_schedule() -> BetaSchedule {
    BetaSchedule::Linear
}
fn default_range() -> f64 {
    1.0
}
fn yes() -> bool {
    true
}

/// A schedule that cannot be used as asked.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// Zero steps, or more than there are timesteps.
    #[error("{steps} steps: ask for 1 to {most}")]
    Steps {
        /// Steps asked for.
        steps: usize,
        /// Timesteps of the schedule.
        most: usize,
    },
    /// A timestep outside the schedule.
    #[error("timestep {timestep}: the schedule has 0 to {last}")]
    Timestep {
        /// Timestep asked for.
        timestep: i64,
        /// The last one.
        last: usize,
    },
    /// A config value that makes no schedule.
    #[error("scheduler_config.json: {0}")]
    Config(String),
}

/// ᾱ of every timestep.
#[derive(Clone, Debug)]
pub struct Schedule {
    betas: Vec<f64>,
    alpha_bars: Vec<f64>,
    final_alpha_bar: f64,
}

impl Schedule {
    /// The β of a cosine schedule stays below this.
    const MOST_BETA: f64 = 0.999;
    /// More timesteps than any public model was trained with.
    const MOST_TIMESTEPS: usize = 100_000;

    /// Computes the schedule.
    ///
    /// # Errors
    /// Values outside their range.
    pub fn new(config: &SchedulerConfig) -> Result<Self, ScheduleError> {
        let refuse = |problem: String| Err(ScheduleError::Config(problem));
        let count = config.num_train_timesteps;
        if !(2..=Self::MOST_TIMESTEPS).contains(&count) {
            return refuse(format!("num_train_timesteps is {count}, not 2 to 100000"));
        }
        for (name, beta) in [("beta_start", config.beta_start), ("beta_end", config.beta_end)] {
            if !(0.0..1.0).contains(&beta) {
                return refuse(format!("{name} is {beta}, not within [0, 1)"));
            }
        }
        if config.rescale_betas_zero_snr || config.thresholding {
            return refuse("rescale_betas_zero_snr and thresholding are not supported yet".into());
        }
        let betas = betas(config);
        let alpha_bars: Vec<f64> = betas
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        let final_alpha_bar = if config.set_alpha_to_one { 1.0 } else { alpha_bars[0] };
        Ok(Self { betas, alpha_bars, final_alpha_bar })
    }

    /// Number of timesteps T.
    pub fn len(&self) -> usize {
        self.alpha_bars.len()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.alpha_bars.is_empty()
    }

    /// β of a timestep.
    pub fn beta(&self, timestep: i64) -> f64 {
        self.betas[self.clamp(timestep)]
    }

    /// ᾱ of a timestep; before the first one, that of the clean end.
    pub fn alpha_bar(&self, timestep: i64) -> f64 {
        if timestep < 0 { self.final_alpha_bar } else { self.alpha_bars[self.clamp(timestep)] }
    }

    /// Noise level σ = √((1 − ᾱ)/ᾱ) of a timestep.
    pub fn sigma(&self, timestep: i64) -> f64 {
        let alpha_bar = self.alpha_bar(timestep);
        ((1.0 - alpha_bar) / alpha_bar).sqrt()
    }

    /// Signal-to-noise ratio ᾱ/(1 − ᾱ) of a timestep.
    pub fn snr(&self, timestep: i64) -> f64 {
        let alpha_bar = self.alpha_bar(timestep);
        alpha_bar / (1.0 - alpha_bar)
    }

    fn clamp(&self, timestep: i64) -> usize {
        usize::try_from(timestep).unwrap_or(0).min(self.len() - 1)
    }

    /// The timesteps of `steps` sampling steps, from noise to image.
    ///
    /// # Errors
    /// No steps, or more than there are timesteps.
    pub fn timesteps(
        &self,
        steps: usize,
        spacing: Spacing,
        offset: i64,
    ) -> Result<Vec<i64>, ScheduleError> {
        let count = self.len();
        if steps == 0 || steps > count {
            return Err(ScheduleError::Steps { steps, most: count });
        }
        let last = (count - 1) as f64;
        let places = 0..steps;
        // Ties are rounded to even, as numpy rounds.
        let timesteps: Vec<i64> = match spacing {
            Spacing::Leading => {
                let stride = (count / steps) as i64;
                places.rev().map(|i| i as i64 * stride + offset).collect()
            }
            Spacing::Linspace => {
                let stride = last / (steps.max(2) - 1) as f64;
                places.rev().map(|i| (i as f64 * stride).round_ties_even() as i64).collect()
            }
            Spacing::Trailing => {
                let stride = count as f64 / steps as f64;
                let place = |i| (count as f64 - i as f64 * stride).round_ties_even() as i64 - 1;
                places.map(place).collect()
            }
        };
        match timesteps.iter().find(|&&t| t < 0 || t >= count as i64) {
            Some(&timestep) => Err(ScheduleError::Timestep { timestep, last: count - 1 }),
            None => Ok(timesteps),
        }
    }
}

fn betas(config: &SchedulerConfig) -> Vec<f64> {
    let count = config.num_train_timesteps;
    let (start, end) = (config.beta_start, config.beta_end);
    let between = |a: f64, b: f64, i: usize| a + (b - a) * i as f64 / (count - 1) as f64;
    let cosine = |i: usize| {
        let at = (i as f64 / count as f64 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2;
        at.cos().powi(2)
    };
    (0..count)
        .map(|i| match config.beta_schedule {
            BetaSchedule::Linear => between(start, end, i),
            BetaSchedule::ScaledLinear => between(start.sqrt(), end.sqrt(), i).powi(2),
            BetaSchedule::SquaredCosine => {
                (1.0 - cosine(i + 1) / cosine(i)).min(Schedule::MOST_BETA)
            }
        })
        .collect()
}
