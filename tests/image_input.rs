//! Runs that are given an image: what holds whatever the weights are, and what is refused.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use clap::ValueEnum;
use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::pipeline::{
    Generation, ImageInput, PipelineError, Purpose, Reconstruction, Request, generate,
};
use denoscope::sampler::{SamplerKind, ScheduleError};
use denoscope::site::Site;
use denoscope::tap::{Moment, Tap, TapError};
use image::RgbImage;
use tch::{Kind, Tensor};

const SIDE: u32 = 32;
/// Largest relative difference that rounding may leave.
const ROUNDING: f64 = 1e-4;

fn model() -> DiffusionModel {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/sd");
    // Tensors are tiny: threads of a busy machine would wait for each other most of the time.
    tch::set_num_threads(1);
    let mut model = DiffusionModel::open(folder, Placement::default()).unwrap();
    model.scheduler["skip_prk_steps"] = true.into();
    model
}

fn picture([width, height]: [u32; 2]) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let level = |at: u32, of: u32| (at * 255 / of) as u8;
        image::Rgb([level(x, width), level(y, height), level(x + y, width + height)])
    })
}

fn request(purpose: Purpose) -> Request {
    Request {
        prompts: vec!["red ball left of blue cube".into()],
        negative: String::new(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds: vec![7],
        steps: 6,
        sampler: SamplerKind::Ddim,
        guidance: 3.0,
        guidance_rescale: 0.0,
        eta: 0.0,
        height: SIDE.into(),
        width: SIDE.into(),
        init_latents: None,
        image: Some(ImageInput { image: picture([SIDE, SIDE]), purpose }),
    }
}

/// Without an image.
fn plain() -> Request {
    Request { image: None, ..request(Purpose::Invert) }
}

fn looks(timesteps: &[i64]) -> Request {
    request(Purpose::Look { timesteps: timesteps.to_vec() })
}

fn starts(strength: f64) -> Request {
    request(Purpose::Start { strength })
}

/// Keeps the tensors of the step's own sites.
#[derive(Default)]
struct Steps(BTreeMap<(String, usize), Tensor>);

impl Tap for Steps {
    fn selects(&self, site: &Site) -> bool {
        site.name.starts_with("step.")
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        self.0.insert((site.name.clone(), at.step), x.copy());
        Ok(None)
    }
}

impl Steps {
    fn at(&self, site: &str, step: usize) -> &Tensor {
        &self.0[&(site.to_owned(), step)]
    }
}

fn run(model: &DiffusionModel, request: &Request) -> (Generation, Steps) {
    let mut steps = Steps::default();
    let made = generate(model, request, Some(&mut steps), &mut |_, _| {}).unwrap();
    (made, steps)
}

fn refused(model: &DiffusionModel, request: &Request) -> PipelineError {
    request.check(model).unwrap_err()
}

/// ‖a − b‖ / ‖b‖.
fn relative(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    ((a - b).norm() / b.norm()).double_value(&[])
}

#[test]
fn a_look_is_the_first_step_of_a_run_that_begins_there() {
    let model = model();
    let (begun, first) = run(&model, &starts(0.5));
    let t = begun.timesteps[0] as i64;
    let (looked, seen) = run(&model, &looks(&[900, t, 100]));
    assert_eq!(looked.timesteps, [900.0, t as f64, 100.0]);
    for site in ["step.latent", "step.eps.uncond", "step.eps", "step.x0"] {
        let off = relative(seen.at(site, 1), first.at(site, 0));
        assert!(off < 1e-6, "{site}: {off:e}");
    }
    // Nothing is drawn: what comes out is what was given.
    assert!(looked.latents.equal(&looked.source.unwrap().latents));
    assert_eq!(looked.images, [picture([SIDE, SIDE])]);
}

#[test]
fn every_sampler_begins_at_the_noise_level_of_its_first_step() {
    let model = model();
    for &sampler in SamplerKind::value_variants() {
        for strength in [0.2, 0.5, 1.0] {
            let request = Request { sampler, ..starts(strength) };
            let (made, steps) = run(&model, &request);
            let (sigma, x) = (made.sigmas[0], steps.at("step.latent", 0));
            let source = made.source.unwrap().latents;
            let exploding = &source + &made.init_latents * sigma;
            let preserving = &exploding / (sigma * sigma + 1.0).sqrt();
            let off = relative(x, &exploding).min(relative(x, &preserving));
            assert!(off < ROUNDING, "{} {strength}: {off:e}", sampler.label());
            let all = Request { sampler, ..plain() }.evaluations(&model).unwrap();
            let taken = made.timesteps.len();
            assert!(taken == all || strength < 1.0, "{}: {taken} of {all}", sampler.label());
        }
    }
}

#[test]
fn images_of_a_batch_are_those_of_single_runs() {
    let model = model();
    for image in [starts(0.7), looks(&[700, 300])] {
        let text = image.prompts[0].clone();
        let both = Request { prompts: vec![text; 2], seeds: vec![3, 8], ..image.clone() };
        let (both, _) = run(&model, &both);
        for (row, seed) in [3, 8].into_iter().enumerate() {
            let (single, _) = run(&model, &Request { seeds: vec![seed], ..image.clone() });
            let off = relative(&both.latents.narrow(0, row as i64, 1), &single.latents);
            assert!(off < ROUNDING, "seed {seed}: {off:e}");
        }
        assert_eq!(both.images.len(), 2);
    }
}

#[test]
fn images_take_the_size_of_the_run() {
    let model = model();
    let input =
        |size| ImageInput { image: picture(size), purpose: Purpose::Look { timesteps: vec![500] } };
    let given = |size| Request { image: Some(input(size)), ..plain() };
    let (made, _) = run(&model, &given([97, 41]));
    assert_eq!(made.source.as_ref().unwrap().image.dimensions(), (SIDE, SIDE));
    let (wide, _) = run(&model, &Request { width: 48, ..given([SIDE, SIDE]) });
    assert_eq!(wide.source.unwrap().latents.size(), [1, 4, 8, 12]);
    assert_eq!(wide.images[0].dimensions(), (48, SIDE));
}

#[test]
fn an_inversion_comes_closer_with_more_steps() {
    let model = model();
    let off = |steps: usize| {
        let request = Request { steps, guidance: 1.0, ..request(Purpose::Invert) };
        let (made, _) = run(&model, &request);
        let round_trip = made.source.as_ref().unwrap().round_trip(&model).unwrap();
        Reconstruction::new(&made, &round_trip).unwrap().latent_error
    };
    let (few, many) = (off(50), off(500));
    assert!(many < 0.5 * few, "{few:e}, {many:e}");
}

#[test]
fn a_reconstruction_is_the_run_from_the_noise_that_was_found() {
    let model = model();
    let (made, _) = run(&model, &request(Purpose::Invert));
    let noise = Vec::<f32>::try_from(made.init_latents.flatten(0, -1)).unwrap();
    let (again, _) = run(&model, &Request { init_latents: Some(noise), ..plain() });
    assert!(again.latents.equal(&made.latents));
    assert_eq!(again.images, made.images);
}

#[test]
fn eta_is_noise_of_the_seed() {
    let model = model();
    let at = |eta: f64, seed: u64| {
        let request = Request { eta, seeds: vec![seed], ..plain() };
        run(&model, &request).0.latents
    };
    assert!(at(0.8, 1).equal(&at(0.8, 1)));
    assert!(relative(&at(0.8, 1), &at(0.0, 1)) > 1e-3);
}

#[test]
fn rescaled_guidance_has_the_deviation_of_the_conditional_prediction() {
    let model = model();
    let deviation = |guidance: f64, guidance_rescale: f64| {
        let request = Request { guidance, guidance_rescale, ..plain() };
        let (_, steps) = run(&model, &request);
        steps.at("step.eps", 0).std(true).to_kind(Kind::Double).double_value(&[])
    };
    let cond = deviation(1.0, 0.0);
    assert!((deviation(8.0, 1.0) / cond - 1.0).abs() < 1e-5);
    assert!((deviation(8.0, 0.0) / cond - 1.0).abs() > 0.05, "guidance changes nothing here");
}

#[test]
fn what_means_nothing_is_refused_with_a_reason() {
    let model = model();
    let says = |request: Request, parts: &[&str]| {
        let message = refused(&model, &request).to_string();
        for part in parts {
            assert!(message.contains(part), "no {part:?} in: {message}");
        }
    };
    for strength in [0.0, -0.5, 1.1, f64::NAN, f64::INFINITY] {
        says(starts(strength), &["strength", "above 0, at most 1"]);
    }
    says(starts(0.1), &["strength 0.1", "none of 6 steps", "0.1667"]);
    says(looks(&[]), &["timesteps"]);
    says(looks(&[1000]), &["1000", "0 to 999"]);
    says(looks(&[-1]), &["-1", "0 to 999"]);
    let invert = || request(Purpose::Invert);
    says(Request { sampler: SamplerKind::Euler, ..invert() }, &["DDIM", "euler"]);
    says(Request { eta: 0.5, ..invert() }, &["eta", "inverted"]);
    let noise = Some(vec![0.0; 4 * 8 * 8]);
    says(Request { init_latents: noise, ..invert() }, &["one noise"]);
    says(Request { sampler: SamplerKind::Heun, eta: 0.5, ..plain() }, &["heun", "only DDIM"]);
    says(Request { eta: 0.5, ..looks(&[500]) }, &["eta", "only looked at"]);
    says(Request { eta: 1.5, ..plain() }, &["0 (deterministic) to 1"]);
    says(Request { guidance_rescale: -0.1, ..plain() }, &["0 (none) to 1"]);
    says(Request { guidance_rescale: 0.7, guidance: 1.0, ..plain() }, &["guidance 1"]);
}

#[test]
fn inversion_and_late_starts_need_a_schedule_that_allows_them() {
    let mut model = model();
    model.scheduler["skip_prk_steps"] = false.into();
    let pndm = |strength| Request { sampler: SamplerKind::Pndm, ..starts(strength) };
    let error = refused(&model, &pndm(0.5));
    let late = ScheduleError::OnlyFromTheStart { reason: "" };
    let PipelineError::Schedule(error) = error else { panic!("{error}") };
    assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&late), "{error}");
    assert!(pndm(1.0).check(&model).is_ok());
    model.scheduler["timestep_spacing"] = "linspace".into();
    let error = refused(&model, &request(Purpose::Invert)).to_string();
    assert!(error.contains("timestep_spacing"), "{error}");
}
