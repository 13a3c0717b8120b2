//! The forward process: the closed form is what noising step by step comes to.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)]

use denoscope::sampler::{BetaSchedule, NoiseSource, Schedule, SchedulerConfig, add_noise};
use tch::{Kind, Tensor};

fn schedule(growth: BetaSchedule) -> Schedule {
    let name = serde_json::to_value(growth).unwrap();
    let config: SchedulerConfig =
        serde_json::from_value(serde_json::json!({ "beta_schedule": name })).unwrap();
    Schedule::new(&config).unwrap()
}

/// x_t = √(1 − β_t) x_{t−1} + √β_t ε multiplies x0 by ∏ √(1 − β) and gives the noise the
/// variance v_t = (1 − β_t) v_{t−1} + β_t: exactly √ᾱ and 1 − ᾱ.
#[test]
fn coefficients_of_the_closed_form_are_those_of_the_steps() {
    const ROUNDING: f64 = 1e-12;
    for growth in [BetaSchedule::Linear, BetaSchedule::ScaledLinear, BetaSchedule::SquaredCosine] {
        let schedule = schedule(growth);
        let (mut signal, mut variance) = (1.0, 0.0);
        for t in 0..schedule.len() as i64 {
            let (beta, alpha_bar) = (schedule.beta(t), schedule.alpha_bar(t));
            signal *= (1.0 - beta).sqrt();
            variance = (1.0 - beta) * variance + beta;
            assert!((signal - alpha_bar.sqrt()).abs() < ROUNDING, "{growth:?}, timestep {t}");
            assert!((variance - (1.0 - alpha_bar)).abs() < ROUNDING, "{growth:?}, timestep {t}");
            let expected = (1.0 - alpha_bar) / alpha_bar;
            assert!((schedule.sigma(t).powi(2) / expected - 1.0).abs() < 1e-9);
            assert!((schedule.snr(t) * expected - 1.0).abs() < 1e-9);
        }
    }
}

/// Mean and variance over many pixels that all begin with one value.
fn moments(x: &Tensor) -> (f64, f64) {
    let x = x.to_kind(Kind::Double);
    (x.mean(Kind::Double).double_value(&[]), x.var(true).double_value(&[]))
}

#[test]
fn noising_at_once_agrees_with_noising_step_by_step() {
    const PIXELS: i64 = 40_000;
    const X0: f64 = 0.6;
    /// Standard errors allowed: with a fixed seed the test passes or fails for good, and a right
    /// program would fail it for one seed in ten thousand.
    const ALLOWED: f64 = 4.0;
    let schedule = schedule(BetaSchedule::Linear);
    let shape = [1, 200, PIXELS / 200];
    let x0 = Tensor::full([1, 1, 200, PIXELS / 200], X0, (Kind::Float, tch::Device::Cpu));
    let mut noise = NoiseSource::new(&[11]);
    let mut x = x0.shallow_clone();
    let mut compared = 0;
    for t in 0..300_i64 {
        let beta = schedule.beta(t);
        x = x * (1.0 - beta).sqrt() + noise.draw(&shape) * beta.sqrt();
        if ![9, 99, 299].contains(&t) {
            continue;
        }
        let alpha_bar = schedule.alpha_bar(t);
        let at_once = add_noise(&x0, &noise.draw(&shape), &Tensor::from_slice(&[alpha_bar as f32]));
        let n = PIXELS as f64;
        let variance = 1.0 - alpha_bar;
        // Standard errors of a mean and of a variance of n normal numbers.
        let (of_mean, of_variance) = ((variance / n).sqrt(), variance * (2.0 / n).sqrt());
        for (name, image) in [("steps", &x), ("closed form", &at_once)] {
            let (mean, got) = moments(image);
            let off = (mean - alpha_bar.sqrt() * X0).abs();
            assert!(off < ALLOWED * of_mean, "{name}, timestep {t}: mean off by {off}");
            let off = (got - variance).abs();
            assert!(off < ALLOWED * of_variance, "{name}, timestep {t}: variance off by {off}");
        }
        compared += 1;
    }
    assert_eq!(compared, 3);
}
