//! The noise schedule.
//!
//! x_t = √ᾱ_t x0 + √(1 − ᾱ_t) ε (Ho et al. 2020, eq. 4). Timesteps count from 0 (least
//! noise) to `num_train_timesteps − 1`.

use super::config::Defaults;
use super::{BetaSchedule, SamplerKind, SchedulerConfig, Spacing, stored};

/// A schedule that cannot be used as asked.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// Too few steps, or more than the schedule has.
    #[error("{steps} steps: ask for {least} to {most}")]
    Steps {
        /// Steps asked for.
        steps: usize,
        /// The fewest there can be.
        least: usize,
        /// The most there can be.
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
    /// A share of the steps that is none.
    #[error("strength {strength}: give a number above 0, at most 1, such as 0.6")]
    Strength {
        /// The share asked for.
        strength: f64,
    },
    /// A share of the steps that is less than one step.
    #[error(
        "strength {strength} leaves none of {steps} steps: give at least {:.4}, or more steps",
        least_strength(*steps)
    )]
    NoStepLeft {
        /// Steps of the whole run.
        steps: usize,
        /// The share asked for.
        strength: f64,
    },
    /// A run that would begin where its sampler cannot.
    #[error("{reason}; give strength 1, or choose another sampler")]
    OnlyFromTheStart {
        /// Why.
        reason: &'static str,
    },
    /// A field that makes no schedule, or asks for what the sampler cannot do.
    #[error(
        "scheduler_config.json: `{field}` is {found}: {needed}; \
         change the file or choose another sampler"
    )]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        needed: String,
    },
    /// A class that is no sampler here.
    #[error("scheduler_config.json: `_class_name` is {class}, which is not supported; {remedy}")]
    Class {
        /// The class.
        class: String,
        /// What can be done.
        remedy: String,
    },
    /// Not the file it should be.
    #[error("scheduler_config.json: {problem}; take the file that came with the checkpoint")]
    Json {
        /// What is wrong with it.
        problem: String,
    },
}

/// The share of `steps` that is one step, rounded up to four digits.
fn least_strength(steps: usize) -> f64 {
    const DIGITS: f64 = 1e4;
    (DIGITS / steps.max(1) as f64).ceil() / DIGITS
}

/// ᾱ of every timestep.
#[derive(Clone, Debug)]
pub struct Schedule {
    betas: Vec<f64>,
    alpha_bars: Vec<f64>,
    stored_alpha_bars: Vec<f32>,
    final_alpha_bar: f64,
}

impl Schedule {
    /// The β of a cosine schedule stays below this.
    const MOST_BETA: f64 = 0.999;
    /// More timesteps than any public model was trained with.
    const MOST_TIMESTEPS: usize = 100_000;

    /// Computes the schedule that the model was trained with.
    ///
    /// # Errors
    /// Values outside their range.
    pub fn new(config: &SchedulerConfig) -> Result<Self, ScheduleError> {
        Self::for_sampler(config, SamplerKind::of_config(config).unwrap_or_default())
    }

    /// Computes the schedule that a sampler makes of a config: fields that are left out have
    /// the sampler's defaults.
    ///
    /// # Errors
    /// Values outside their range.
    pub fn for_sampler(config: &SchedulerConfig, kind: SamplerKind) -> Result<Self, ScheduleError> {
        kind.check_schedule(config)?;
        let defaults = Defaults::of(kind);
        let mut betas = betas(config, &defaults)?;
        let stored_alpha_bars = stored::alpha_bars(config, &defaults, &betas);
        let mut alpha_bars = products(&betas);
        if config.rescale_betas_zero_snr {
            alpha_bars = without_signal_at_the_end(&alpha_bars);
            betas = betas_of(&alpha_bars);
        }
        let to_one = config.set_alpha_to_one.unwrap_or(defaults.set_alpha_to_one);
        let final_alpha_bar = if to_one { 1.0 } else { alpha_bars[0] };
        Ok(Self { betas, alpha_bars, stored_alpha_bars, final_alpha_bar })
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

    /// ᾱ of every timestep as training code stores it, in f32.
    pub(super) fn stored_alpha_bars(&self) -> &[f32] {
        &self.stored_alpha_bars
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
        spacing.whole_timesteps(steps, self.len(), offset)
    }
}

fn betas(config: &SchedulerConfig, defaults: &Defaults) -> Result<Vec<f64>, ScheduleError> {
    let count = config.num_train_timesteps;
    if !(2..=Schedule::MOST_TIMESTEPS).contains(&count) {
        return Err(config.unsupported("num_train_timesteps", count, "not 2 to 100000"));
    }
    if let Some(betas) = &config.trained_betas {
        if betas.len() != count {
            let needed = format!("`num_train_timesteps` is {count}");
            let found = format!("a list of {}", betas.len());
            return Err(config.unsupported("trained_betas", found, needed));
        }
        betas.iter().try_for_each(|&beta| check_beta(config, "trained_betas", beta))?;
        return Ok(betas.iter().map(|&beta| rounded(beta)).collect());
    }
    let start = config.beta_start.unwrap_or(defaults.beta_start);
    let end = config.beta_end.unwrap_or(defaults.beta_end);
    check_beta(config, "beta_start", start)?;
    check_beta(config, "beta_end", end)?;
    let between = |a: f64, b: f64, i: usize| a + (b - a) * i as f64 / (count - 1) as f64;
    let cosine = |i: usize| {
        let at = (i as f64 / count as f64 + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2;
        at.cos().powi(2)
    };
    let beta = |i: usize| match config.beta_schedule.unwrap_or(defaults.beta_schedule) {
        BetaSchedule::Linear => between(start, end, i),
        BetaSchedule::ScaledLinear => between(start.sqrt(), end.sqrt(), i).powi(2),
        BetaSchedule::SquaredCosine => {
            rounded((1.0 - cosine(i + 1) / cosine(i)).min(Schedule::MOST_BETA))
        }
    };
    Ok((0..count).map(beta).collect())
}

fn check_beta(
    config: &SchedulerConfig,
    field: &'static str,
    beta: f64,
) -> Result<(), ScheduleError> {
    if (0.0..1.0).contains(&beta) {
        return Ok(());
    }
    Err(config.unsupported(field, beta, "not within [0, 1)"))
}

/// β as training code stores it, in f32. Where β comes close to 1, the rounding is seen in
/// 1 − β: at the end of the cosine schedule it moves σ by 2·10⁻⁵ of itself.
fn rounded(beta: f64) -> f64 {
    f64::from(beta as f32)
}

/// ᾱ_t = ∏ (1 − β_s) over s ≤ t.
fn products(betas: &[f64]) -> Vec<f64> {
    let next = |product: &mut f64, beta: &f64| {
        *product *= 1.0 - beta;
        Some(*product)
    };
    betas.iter().scan(1.0, next).collect()
}

/// √ᾱ shifted and scaled so that it begins as before and ends at zero (Lin et al. 2023,
/// algorithm 1).
fn without_signal_at_the_end(alpha_bars: &[f64]) -> Vec<f64> {
    let signal: Vec<f64> = alpha_bars.iter().map(|alpha_bar| alpha_bar.sqrt()).collect();
    let (first, last) = (signal[0], signal[signal.len() - 1]);
    signal.iter().map(|s| ((s - last) * first / (first - last)).powi(2)).collect()
}

/// β_t = 1 − ᾱ_t/ᾱ_{t−1}.
fn betas_of(alpha_bars: &[f64]) -> Vec<f64> {
    let before = std::iter::once(&1.0).chain(alpha_bars);
    alpha_bars.iter().zip(before).map(|(alpha_bar, before)| 1.0 - alpha_bar / before).collect()
}
