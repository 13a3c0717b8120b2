//! Noise levels σ = √((1 − ᾱ)/ᾱ) of the samplers that go by σ instead of timesteps.
//!
//! They are kept in f64, but have the values of f32 wherever diffusers rounds to f32.

use serde::Deserialize;

use super::course::Evaluation;
use super::{SamplerKind, Schedule, ScheduleError, SchedulerConfig, Spacing};

/// σ of every timestep, growing.
#[derive(Clone, Debug)]
pub(super) struct SigmaTable {
    sigmas: Vec<f64>,
    logarithms: Vec<f64>,
}

impl SigmaTable {
    /// ᾱ of the last timestep where the schedule has zero there: the smallest number of f16,
    /// so that σ is finite.
    const LEAST_ALPHA_BAR: f32 = 1.0 / (1 << 24) as f32;

    fn new(schedule: &Schedule) -> Self {
        let sigma = |&alpha_bar: &f32| {
            let alpha_bar = if alpha_bar == 0.0 { Self::LEAST_ALPHA_BAR } else { alpha_bar };
            f64::from(((1.0 - alpha_bar) / alpha_bar).sqrt())
        };
        let sigmas: Vec<f64> = schedule.stored_alpha_bars().iter().map(sigma).collect();
        let logarithms = sigmas.iter().map(|sigma| rounded(sigma.ln())).collect();
        Self { sigmas, logarithms }
    }

    fn least(&self) -> f64 {
        self.sigmas[0]
    }

    fn most(&self) -> f64 {
        self.sigmas[self.sigmas.len() - 1]
    }

    /// σ of a timestep, which may lie between two of the table.
    fn at(&self, timestep: f64) -> f64 {
        let below = (timestep.max(0.0) as usize).min(self.sigmas.len() - 1);
        let above = (below + 1).min(self.sigmas.len() - 1);
        let (a, b) = (self.sigmas[below], self.sigmas[above]);
        (b - a) * (timestep - below as f64) + a
    }

    /// The timestep of a noise level: ln σ is linear between two of the table.
    fn timestep_of(&self, sigma: f64) -> f64 {
        const LEAST_SIGMA: f64 = 1e-10;
        let logarithm = sigma.max(LEAST_SIGMA).ln();
        let below = self.logarithms.iter().rposition(|&l| logarithm >= l).unwrap_or(0);
        let below = below.min(self.logarithms.len() - 2);
        let (a, b) = (self.logarithms[below], self.logarithms[below + 1]);
        let share = ((a - logarithm) / (a - b)).clamp(0.0, 1.0);
        (1.0 - share) * below as f64 + share * (below + 1) as f64
    }
}

/// Which noise level a run ends at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FinalSigma {
    /// None: a clean latent.
    Zero,
    /// That of timestep 0.
    SigmaMin,
}

/// How σ is read off between timesteps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Interpolation {
    /// Linearly, at the timesteps.
    Linear,
    /// ln σ evenly from the most to the least noise, whatever the timesteps are.
    LogLinear,
}

/// The noise levels of one run.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    /// The timestep of each step.
    pub timesteps: Vec<f64>,
    /// σ before each step, and after the last one.
    pub sigmas: Vec<f64>,
    /// Where the run ends.
    pub last: FinalSigma,
    spacing: Spacing,
}

impl Levels {
    /// Levels of the samplers that solve dx/dσ: at fractional timesteps.
    pub fn of_derivative_samplers(
        config: &SchedulerConfig,
        kind: SamplerKind,
        steps: usize,
    ) -> Result<Self, ScheduleError> {
        let table = SigmaTable::new(&Schedule::for_sampler(config, kind)?);
        let spacing = config.spacing(kind);
        let mut timesteps = spacing.timesteps(steps, table.sigmas.len(), config.steps_offset)?;
        let mut sigmas: Vec<f64> = match interpolation(config, kind)? {
            Interpolation::Linear => timesteps.iter().map(|&t| table.at(t)).collect(),
            Interpolation::LogLinear => {
                let [from, to] = [table.most().ln(), table.least().ln()];
                let at = |i| rounded(from + (to - from) * i as f64 / steps as f64).exp();
                (0..=steps).map(at).collect()
            }
        };
        if uses_karras(config, kind)? {
            let ends = [sigmas[0], sigmas[sigmas.len() - 1]];
            sigmas = karras(config, ends, steps)?;
            timesteps = sigmas.iter().map(|&sigma| rounded(table.timestep_of(sigma))).collect();
        }
        let last = final_sigma(config, kind)?;
        Ok(Self::ending(timesteps, sigmas, (last, table.least()), spacing))
    }

    /// Levels of the multistep solvers: at whole timesteps.
    pub fn of_multistep_solvers(
        config: &SchedulerConfig,
        kind: SamplerKind,
        steps: usize,
    ) -> Result<Self, ScheduleError> {
        let table = SigmaTable::new(&Schedule::for_sampler(config, kind)?);
        let (count, spacing) = (table.sigmas.len(), config.spacing(kind));
        let usable = count - beyond_limit(config, kind, &table)?;
        let last = final_sigma(config, kind)?;
        let whole = spacing.multistep_timesteps(steps, (count, usable), config.steps_offset)?;
        if !uses_karras(config, kind)? {
            let timesteps: Vec<f64> = whole.into_iter().map(|t| t as f64).collect();
            let sigmas = timesteps.iter().map(|&t| table.at(t)).collect();
            return Ok(Self::ending(timesteps, sigmas, (last, table.least()), spacing));
        }
        let sigmas = karras(config, [table.most(), table.least()], steps)?;
        let timestep = |&sigma: &f64| match kind {
            // DPM-Solver++ leaves the fraction of a cosine schedule to be cut off.
            SamplerKind::DpmSolver if is_cosine(config) => table.timestep_of(sigma).floor(),
            _ => table.timestep_of(sigma).round_ties_even(),
        };
        let timesteps = sigmas.iter().map(timestep).collect();
        let least = match kind {
            SamplerKind::UniPc => sigmas[steps - 1],
            _ => table.least(),
        };
        Ok(Self::ending(timesteps, sigmas, (last, least), spacing))
    }

    fn ending(
        timesteps: Vec<f64>,
        mut sigmas: Vec<f64>,
        (last, least): (FinalSigma, f64),
        spacing: Spacing,
    ) -> Self {
        sigmas.push(match last {
            FinalSigma::Zero => 0.0,
            FinalSigma::SigmaMin => least,
        });
        let sigmas = sigmas.into_iter().map(rounded).collect();
        Self { timesteps, sigmas, last, spacing }
    }

    /// One evaluation a step.
    pub fn evaluations(&self) -> Vec<Evaluation> {
        let pairs = self.timesteps.iter().zip(&self.sigmas);
        pairs.map(|(&timestep, &sigma)| Evaluation::at_sigma(timestep, sigma)).collect()
    }

    /// Standard deviation of the noise to start from, in variance-exploding scale. Leading
    /// spacing never sees the last timestep, so the latent's own variance of 1 is added.
    pub fn initial_sigma(&self) -> f64 {
        let most = self.sigmas.iter().copied().fold(0.0, f64::max);
        match self.spacing {
            Spacing::Linspace | Spacing::Trailing => most,
            Spacing::Leading => (most * most + 1.0).sqrt(),
        }
    }
}

/// The value as f32 has it.
fn rounded(x: f64) -> f64 {
    f64::from(x as f32)
}

fn is_cosine(config: &SchedulerConfig) -> bool {
    config.beta_schedule == Some(super::BetaSchedule::SquaredCosine)
}

fn interpolation(
    config: &SchedulerConfig,
    kind: SamplerKind,
) -> Result<Interpolation, ScheduleError> {
    match kind {
        SamplerKind::Euler => config.option("interpolation_type", Interpolation::Linear),
        _ => Ok(Interpolation::Linear),
    }
}

/// Whether noise levels are those of Karras et al.; other ways to place them are refused.
/// Euler ancestral has its levels from the timesteps alone.
fn uses_karras(config: &SchedulerConfig, kind: SamplerKind) -> Result<bool, ScheduleError> {
    if kind == SamplerKind::EulerAncestral {
        return Ok(false);
    }
    config.require(kind, "use_exponential_sigmas", false)?;
    config.require(kind, "use_beta_sigmas", false)?;
    config.option("use_karras_sigmas", false)
}

fn final_sigma(config: &SchedulerConfig, kind: SamplerKind) -> Result<FinalSigma, ScheduleError> {
    match kind {
        SamplerKind::EulerAncestral | SamplerKind::Heun => Ok(FinalSigma::Zero),
        _ => config.option("final_sigmas_type", FinalSigma::Zero),
    }
}

/// Noise levels from the most to the least noise (Karras et al. 2022, eq. 5, ρ = 7).
fn karras(
    config: &SchedulerConfig,
    [most, least]: [f64; 2],
    steps: usize,
) -> Result<Vec<f64>, ScheduleError> {
    const RHO: f64 = 7.0;
    let most = config.option("sigma_max", most)?.powf(1.0 / RHO);
    let least = config.option("sigma_min", least)?.powf(1.0 / RHO);
    let share = |i: usize| i as f64 / (steps.max(2) - 1) as f64;
    Ok((0..steps).map(|i| (most + share(i) * (least - most)).powf(RHO)).collect())
}

/// How many of the noisiest timesteps DPM-Solver++ leaves out, because λ = −ln σ is below the
/// config's limit there.
fn beyond_limit(
    config: &SchedulerConfig,
    kind: SamplerKind,
    table: &SigmaTable,
) -> Result<usize, ScheduleError> {
    /// Python writes no limit as `-Infinity`, which is no number of JSON.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Limit {
        Number(f64),
        Word(String),
    }
    const FIELD: &str = "lambda_min_clipped";
    if kind != SamplerKind::DpmSolver {
        return Ok(0);
    }
    match config.option(FIELD, Limit::Number(f64::NEG_INFINITY))? {
        Limit::Number(limit) => {
            Ok(table.logarithms.iter().filter(|&&logarithm| -logarithm < limit).count())
        }
        Limit::Word(word) if word == "-Infinity" => Ok(0),
        Limit::Word(word) => Err(config.unsupported(FIELD, word, "not a number")),
    }
}
