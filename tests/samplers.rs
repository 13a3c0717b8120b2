//! What holds for samplers whatever the model is, and what they refuse.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::convert::Infallible;

use clap::ValueEnum;
use denoscope::model::python_json;
use denoscope::sampler::{
    Ddim, Evaluation, LatentScale, NoiseSource, Prediction, Sampler, SamplerKind, Schedule,
    ScheduleError, SchedulerConfig, ddim_inversion, sample,
};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

const SHAPE: [i64; 4] = [2, 4, 3, 3];

/// A config with these fields; the schedule is that of Stable Diffusion.
fn config(fields: Value) -> SchedulerConfig {
    let mut all = json!({
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
        "timestep_spacing": "trailing", "clip_sample": false, "set_alpha_to_one": true,
        "skip_prk_steps": true,
    });
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

fn noise(seed: u64) -> Tensor {
    NoiseSource::new(&[seed, seed + 1]).draw(&SHAPE[1..])
}

fn run(
    sampler: &mut dyn Sampler,
    start: &Tensor,
    denoiser: impl Fn(&Tensor, Evaluation) -> Tensor,
) -> Tensor {
    let mut source = NoiseSource::new(&[11, 12]);
    let result = sample(sampler, start, &mut source, |x, at| Ok::<_, Infallible>(denoiser(x, at)));
    let Ok(made) = result;
    made
}

/// ‖a − b‖ / ‖b‖.
fn relative(a: &Tensor, b: &Tensor) -> f64 {
    ((a - b).norm() / b.norm()).double_value(&[])
}

/// Whether a sampler leads to a point exactly: PNDM combines outputs of several timesteps, which
/// is exact for ε alone, and only where its fixed stride is the distance between timesteps.
fn is_exact(kind: SamplerKind, prediction: Prediction, spacing: &str) -> bool {
    kind != SamplerKind::Pndm || (prediction == Prediction::Epsilon && spacing != "linspace")
}

#[test]
fn a_denoiser_that_knows_one_point_leads_there() {
    let point = noise(1) * 0.7;
    let predictions = [Prediction::Epsilon, Prediction::V, Prediction::Sample];
    let mut led = 0;
    for kind in SamplerKind::value_variants() {
        for prediction in predictions {
            let exact = |spacing: &&str| is_exact(*kind, prediction, spacing);
            for spacing in ["leading", "linspace", "trailing"].into_iter().filter(exact) {
                let word = serde_json::to_value(prediction).unwrap();
                let config = config(json!({
                    "prediction_type": word, "timestep_spacing": spacing, "steps_offset": 1,
                }));
                let mut sampler = kind.prepare(&config, 10).unwrap();
                let start = sampler.course().start(&noise(5));
                let made = run(sampler.as_mut(), &start, |x, at| {
                    let (signal, deviation) = (at.alpha_bar.sqrt(), (1.0 - at.alpha_bar).sqrt());
                    let eps = (x - &point * signal) / deviation;
                    match prediction {
                        Prediction::Epsilon => eps,
                        Prediction::V => eps * signal - &point * deviation,
                        Prediction::Sample => point.shallow_clone(),
                    }
                });
                let off = relative(&made, &point);
                assert!(off < 1e-3, "{} {prediction:?} {spacing}: {off:e}", kind.label());
                led += 1;
            }
        }
    }
    assert_eq!(led, 3 * 3 * 8 + 2);
}

/// The exact denoiser of clean latents that are N(0, s²), and how far from the exact solution
/// x(σ) ∝ √(s² + σ²) of the probability flow a sampler ends with it.
fn off_the_gaussian_flow(kind: SamplerKind, steps: usize) -> f64 {
    const S: f64 = 4.0;
    let mut sampler = kind.prepare(&config(json!({})), steps).unwrap();
    let start = sampler.course().start(&noise(3));
    let made = run(sampler.as_mut(), &start, |x, at| {
        x * ((1.0 - at.alpha_bar).sqrt() / (at.alpha_bar * S * S + 1.0 - at.alpha_bar))
    });
    let sigma = sampler.course().evaluations()[0].sigma;
    let exploding = match sampler.course().scale() {
        LatentScale::Exploding => start,
        LatentScale::Preserving => start * (sigma * sigma + 1.0).sqrt(),
    };
    relative(&made, &(exploding * (S / (S * S + sigma * sigma).sqrt())))
}

#[test]
fn deterministic_samplers_follow_the_flow_and_second_order_follows_it_closer() {
    let first_order = [SamplerKind::Ddim, SamplerKind::Euler];
    let higher = [SamplerKind::Pndm, SamplerKind::Heun, SamplerKind::DpmSolver, SamplerKind::UniPc];
    for kind in first_order {
        let (few, many) = (off_the_gaussian_flow(kind, 25), off_the_gaussian_flow(kind, 100));
        // Four times the steps, a fourth of the error.
        assert!((3.5..4.5).contains(&(few / many)), "{}: {few:e}, {many:e}", kind.label());
        assert!(many < 0.02, "{}: {many:e}", kind.label());
    }
    for kind in higher {
        let (few, many) = (off_the_gaussian_flow(kind, 25), off_the_gaussian_flow(kind, 100));
        assert!(few < 5e-3 && many < 5e-4, "{}: {few:e}, {many:e}", kind.label());
    }
}

#[test]
fn euler_is_ddim_in_another_scale() {
    let denoiser = |x: &Tensor, at: Evaluation| (x * 1.3 + at.timestep / 300.0).sin();
    let config = config(json!({}));
    let mut ddim = SamplerKind::Ddim.prepare(&config, 20).unwrap();
    let mut euler = SamplerKind::Euler.prepare(&config, 20).unwrap();
    let sigma = euler.course().evaluations()[0].sigma;
    let start = noise(4);
    let exploding = &start * (sigma * sigma + 1.0).sqrt();
    let made = run(ddim.as_mut(), &start, denoiser);
    let off = relative(&run(euler.as_mut(), &exploding, denoiser), &made);
    assert!(off < 1e-5, "{off:e}");
}

#[test]
fn inversion_and_sampling_lead_back_the_closer_the_more_steps() {
    // That of unit Gaussian data, and a little besides.
    let denoiser = |x: &Tensor, at: Evaluation| {
        x * (1.0 - at.alpha_bar).sqrt() + (x + at.timestep / 500.0).sin() * 0.2
    };
    for spacing in ["leading", "trailing"] {
        let config = config(json!({ "timestep_spacing": spacing }));
        let latent = noise(8);
        let off = |steps: usize| {
            let asked = |x: &Tensor, at: Evaluation| Ok(denoiser(x, at));
            let made: Result<Tensor, ScheduleError> =
                ddim_inversion(&config, steps, &latent, asked);
            let noise = made.unwrap();
            let mut ddim = Ddim::new(&config, steps, 0.0).unwrap();
            relative(&run(&mut ddim, &noise, denoiser), &latent)
        };
        let (few, many) = (off(10), off(500));
        assert!(many < 0.02 && few > 5.0 * many, "{spacing}: {few:e}, {many:e}");
    }
}

#[test]
fn evaluations_are_those_of_the_method() {
    let expected = |kind: SamplerKind| match kind {
        SamplerKind::Pndm => 11,
        SamplerKind::Heun => 19,
        _ => 10,
    };
    for &kind in SamplerKind::value_variants() {
        let sampler = kind.prepare(&config(json!({})), 10).unwrap();
        let at = sampler.course().evaluations();
        assert_eq!(at.len(), expected(kind), "{}", kind.label());
        assert!(at.windows(2).all(|pair| pair[0].sigma >= pair[1].sigma), "{}", kind.label());
        for at in at {
            let sigma = ((1.0 - at.alpha_bar) / at.alpha_bar).sqrt();
            assert!((sigma / at.sigma - 1.0).abs() < 1e-9);
        }
    }
    let slow_start = config(json!({ "skip_prk_steps": false }));
    let pndm = SamplerKind::Pndm.prepare(&slow_start, 10).unwrap();
    assert_eq!(pndm.course().evaluations().len(), 19);
}

#[test]
fn zero_terminal_snr_ends_without_signal_and_begins_as_before() {
    for growth in ["linear", "scaled_linear", "squaredcos_cap_v2"] {
        let plain = config(json!({ "beta_schedule": growth }));
        let rescaled = SchedulerConfig { rescale_betas_zero_snr: true, ..plain.clone() };
        let (plain, schedule) = (Schedule::new(&plain).unwrap(), Schedule::new(&rescaled).unwrap());
        let last = schedule.len() as i64 - 1;
        assert_eq!(schedule.alpha_bar(last), 0.0);
        assert_eq!(schedule.beta(last), 1.0);
        assert!((schedule.alpha_bar(0) / plain.alpha_bar(0) - 1.0).abs() < 1e-12);
        assert!((1..=last).all(|t| schedule.alpha_bar(t) < schedule.alpha_bar(t - 1)));
    }
}

#[test]
fn a_checkpoint_has_its_own_sampler_and_every_sampler_its_name() {
    let class = |name: &str| config(json!({ "_class_name": name }));
    for (name, kind) in [
        ("PNDMScheduler", SamplerKind::Pndm),
        ("EulerDiscreteScheduler", SamplerKind::Euler),
        ("DPMSolverMultistepScheduler", SamplerKind::DpmSolver),
        ("LCMScheduler", SamplerKind::Lcm),
    ] {
        assert_eq!(SamplerKind::of_config(&class(name)).unwrap(), kind);
    }
    for &kind in SamplerKind::value_variants() {
        assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.label());
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
    }
    // A schedule that can be sampled by another method, and one that cannot.
    let known = class("KDPM2DiscreteScheduler");
    let error = SamplerKind::of_config(&known).unwrap_err().to_string();
    assert!(error.contains("KDPM2DiscreteScheduler") && error.contains("euler"), "{error}");
    assert!(SamplerKind::Euler.prepare(&known, 10).is_ok());
    let flow = class("FlowMatchEulerDiscreteScheduler");
    let error = SamplerKind::Euler.prepare(&flow, 10).err().unwrap().to_string();
    assert!(error.contains("FlowMatchEulerDiscreteScheduler"), "{error}");
}

/// As Stable Diffusion 1.5 publishes it: spacing is left to the sampler that runs.
#[test]
fn fields_left_out_have_the_defaults_of_the_sampler_that_runs() {
    let file = br#"{ "_class_name": "PNDMScheduler", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
        "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1,
        "trained_betas": null, "clip_sample": false }"#;
    let config = SchedulerConfig::read(&python_json::from_slice(file).unwrap()).unwrap();
    let first = |kind: SamplerKind| kind.prepare(&config, 50).unwrap().course().evaluations()[0];
    assert_eq!(first(SamplerKind::Pndm).timestep, 981.0);
    assert_eq!(first(SamplerKind::Ddim).timestep, 981.0);
    assert_eq!(first(SamplerKind::Euler).timestep, 999.0);
    let euler = SamplerKind::Euler.prepare(&config, 50).unwrap();
    // σ of this schedule's last timestep, as published with k-diffusion.
    assert!((euler.course().initial_sigma() - 14.6146).abs() < 1e-3);
}

#[test]
fn numbers_that_only_python_writes_are_read() {
    let file = br#"{ "_class_name": "DPMSolverMultistepScheduler",
        "lambda_min_clipped": -Infinity, "note": "-Infinity \" NaN" }"#;
    let config = SchedulerConfig::read(&python_json::from_slice(file).unwrap()).unwrap();
    assert_eq!(config.others["note"], "-Infinity \" NaN");
    assert!(SamplerKind::DpmSolver.prepare(&config, 10).is_ok());
    let no_number = python_json::from_slice(br#"{ "beta_end": NaN }"#).unwrap();
    let error = SchedulerConfig::read(&no_number).unwrap_err();
    assert!(matches!(error, ScheduleError::Json { .. }), "{error}");
}

#[test]
fn trained_betas_are_taken_as_they_are() {
    let betas: Vec<f64> = (0..20).map(|i| f64::from(i) / 64.0).collect();
    let fields = json!({ "num_train_timesteps": 20, "trained_betas": betas });
    let schedule = Schedule::new(&config(fields)).unwrap();
    assert!((0..20).all(|t| schedule.beta(t as i64) == betas[t]));
    let error = Schedule::new(&config(json!({ "trained_betas": betas }))).unwrap_err();
    assert!(error.to_string().contains("trained_betas"), "{error}");
}

#[test]
fn what_would_change_the_result_is_refused_by_name() {
    let refused = [
        (SamplerKind::Euler, json!({ "use_beta_sigmas": true }), "use_beta_sigmas"),
        (SamplerKind::Heun, json!({ "use_exponential_sigmas": true }), "use_exponential_sigmas"),
        (SamplerKind::Euler, json!({ "timestep_type": "continuous" }), "timestep_type"),
        (SamplerKind::Euler, json!({ "final_sigmas_type": "other" }), "final_sigmas_type"),
        (SamplerKind::Ddim, json!({ "use_flow_sigmas": true }), "use_flow_sigmas"),
        (SamplerKind::Ddpm, json!({ "variance_type": "learned_range" }), "variance_type"),
        (SamplerKind::DpmSolver, json!({ "algorithm_type": "sde-dpmsolver++" }), "algorithm_type"),
        (SamplerKind::DpmSolver, json!({ "solver_order": 3 }), "solver_order"),
        (SamplerKind::DpmSolver, json!({ "use_lu_lambdas": true }), "use_lu_lambdas"),
        (SamplerKind::UniPc, json!({ "predict_x0": false }), "predict_x0"),
        (SamplerKind::UniPc, json!({ "lower_order_final": false }), "lower_order_final"),
        (SamplerKind::UniPc, json!({ "disable_corrector": "no" }), "disable_corrector"),
        (SamplerKind::Pndm, json!({ "rescale_betas_zero_snr": true }), "rescale_betas_zero_snr"),
        (SamplerKind::Pndm, json!({ "prediction_type": "sample" }), "prediction_type"),
        (SamplerKind::Ddim, json!({ "rescale_betas_zero_snr": true }), "rescale_betas_zero_snr"),
        (SamplerKind::Lcm, json!({ "original_inference_steps": 0 }), "original_inference_steps"),
        (SamplerKind::Ddim, json!({ "num_train_timesteps": 1 }), "num_train_timesteps"),
    ];
    for (kind, fields, field) in refused {
        let error = kind.prepare(&config(fields.clone()), 10).err().unwrap();
        let ScheduleError::Field { field: named, .. } = error else { panic!("{fields}: {error}") };
        assert_eq!(named, field);
    }
    // What no sampler knows, and what only another sampler knows, is left alone.
    let others = json!({ "_diffusers_version": "0.6.0", "use_lu_lambdas": true, "ours": [1] });
    assert!(SamplerKind::Euler.prepare(&config(others), 10).is_ok());
}

#[test]
fn steps_have_a_range() {
    let config = config(json!({}));
    for &kind in SamplerKind::value_variants() {
        for steps in [0, 5000] {
            let error = kind.prepare(&config, steps).err().unwrap();
            assert!(matches!(error, ScheduleError::Steps { .. }), "{} {error}", kind.label());
        }
    }
    let most = ScheduleError::Steps { steps: 51, least: 1, most: 50 };
    assert_eq!(SamplerKind::Lcm.prepare(&config, 51).err(), Some(most));
}

#[test]
fn dynamic_thresholding_is_by_image() {
    let fields = json!({
        "thresholding": true, "dynamic_thresholding_ratio": 1.0, "sample_max_value": 100.0,
        "prediction_type": "sample",
    });
    let mut ddim = Ddim::new(&config(fields), 1, 0.0).unwrap();
    let options = (Kind::Float, Device::Cpu);
    let output = Tensor::cat(
        &[Tensor::full([1, 4, 3, 3], 0.5, options), Tensor::full([1, 4, 3, 3], 8.0, options)],
        0,
    );
    let x0 = ddim.step(0, &output, &noise(1), &mut NoiseSource::new(&[])).x0;
    // Within 1 nothing changes; beyond it the largest magnitude becomes 1.
    assert_eq!(x0.get(0).max().double_value(&[]), 0.5);
    assert_eq!(x0.get(1).max().double_value(&[]), 1.0);
}
