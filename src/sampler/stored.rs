//! The schedule in f32, as training code stores it.
//!
//! At the clean end 1 − ᾱ is about 10⁻⁴, of which f32 keeps three digits, so the rounding is
//! seen in σ. Samplers that go by σ divide by it; they use the numbers that checkpoints are
//! trained and published with.

use super::config::{BetaSchedule, Defaults, SchedulerConfig};

/// ᾱ of every timestep; `betas` are those of the same config in f64.
pub(super) fn alpha_bars(config: &SchedulerConfig, defaults: &Defaults, betas: &[f64]) -> Vec<f32> {
    let start = config.beta_start.unwrap_or(defaults.beta_start);
    let end = config.beta_end.unwrap_or(defaults.beta_end);
    let growth = config.beta_schedule.unwrap_or(defaults.beta_schedule);
    let betas: Vec<f32> = match growth {
        BetaSchedule::Linear if config.trained_betas.is_none() => {
            evenly(start, end, betas.len()).collect()
        }
        BetaSchedule::ScaledLinear if config.trained_betas.is_none() => {
            evenly(start.sqrt(), end.sqrt(), betas.len()).map(|root| root * root).collect()
        }
        _ => betas.iter().map(|&beta| beta as f32).collect(),
    };
    let alpha_bars = products(betas.iter().map(|beta| 1.0 - beta));
    if config.rescale_betas_zero_snr { rescaled(&alpha_bars) } else { alpha_bars }
}

/// Evenly spaced numbers, as torch's `linspace` rounds them: counted from the nearer end, each
/// by one fused multiplication and addition.
fn evenly(start: f64, end: f64, count: usize) -> impl Iterator<Item = f32> {
    let (start, end) = (start as f32, end as f32);
    let stride = (end - start) / (count - 1) as f32;
    (0..count).map(move |i| match i < count / 2 {
        true => stride.mul_add(i as f32, start),
        false => (-stride).mul_add((count - 1 - i) as f32, end),
    })
}

/// Running products, as torch's `cumprod` rounds them: multiplied in f64, stored in f32.
fn products(factors: impl Iterator<Item = f32>) -> Vec<f32> {
    let next = |product: &mut f64, factor: f32| {
        *product *= f64::from(factor);
        Some(*product as f32)
    };
    factors.scan(1.0, next).collect()
}

/// Lin et al. 2023, algorithm 1, which goes by way of β.
fn rescaled(alpha_bars: &[f32]) -> Vec<f32> {
    let signal: Vec<f32> = alpha_bars.iter().map(|alpha_bar| alpha_bar.sqrt()).collect();
    let (first, last) = (signal[0], signal[signal.len() - 1]);
    let factor = first / (first - last);
    let shifted: Vec<f32> = signal.iter().map(|s| ((s - last) * factor).powi(2)).collect();
    let before = std::iter::once(&1.0).chain(&shifted);
    let betas = shifted.iter().zip(before).map(|(alpha_bar, before)| 1.0 - alpha_bar / before);
    products(betas.map(|beta| 1.0 - beta))
}
