//! Runs that are given an image, against diffusers: where img2img begins and what it draws, and
//! DDIM inversion.

use std::error::Error;

use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::pipeline::{ImageInput, Purpose, Request, generate};
use denoscope::sampler::SamplerKind;
use image::RgbImage;
use serde::Deserialize;
use tch::Kind;

use crate::pipeline::{NEGATIVE, PROMPT};
use crate::support::{Everything, Golden, Outcome, Parity, TOLERANCE, fixture, json};

/// What `golden_image.py` has.
const GUIDANCE: f64 = 3.0;
const RESCALE: f64 = 0.7;
const INVERSION_STEPS: usize = 8;
const INVERSION_GUIDANCES: [f64; 2] = [1.0, 1.2];
const SIDE: u32 = 32;
/// Of a last latent: the denoiser of random weights magnifies rounding at each step, most of all
/// on the way back from an inversion.
const TRAJECTORY_TOLERANCE: f64 = 1e-3;
/// The reference keeps timesteps in f32.
const NEAREST: f64 = 1e-3;

#[derive(Deserialize)]
struct Case {
    sampler: SamplerKind,
    steps: usize,
    strength: f64,
}

fn model() -> Result<DiffusionModel, Box<dyn Error>> {
    let folder = fixture("tiny/sd");
    let folder = folder.to_str().ok_or("a path that is not UTF-8")?;
    let mut model = DiffusionModel::open(folder, Placement::default())?;
    // As all checkpoints of Stable Diffusion have it that come with PNDM.
    model.scheduler["skip_prk_steps"] = true.into();
    Ok(model)
}

fn picture(golden: &Golden) -> Result<RgbImage, Box<dyn Error>> {
    let pixels = Vec::<u8>::try_from(golden.get("image/in.pixels")?.flatten(0, -1))?;
    RgbImage::from_raw(SIDE, SIDE, pixels).ok_or_else(|| "pixels of another size".into())
}

/// A run that adds the golden file's noise to its image, or begins with that noise alone.
fn request(golden: &Golden, purpose: Option<Purpose>) -> Result<Request, Box<dyn Error>> {
    let noise = golden.get("image/in.noise")?;
    let image = picture(golden)?;
    Ok(Request {
        prompts: vec![PROMPT.into()],
        negative: NEGATIVE.into(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds: vec![0],
        steps: 5,
        sampler: SamplerKind::Ddim,
        guidance: GUIDANCE,
        guidance_rescale: 0.0,
        eta: 0.0,
        height: SIDE.into(),
        width: SIDE.into(),
        init_latents: Some(Vec::<f32>::try_from(noise.flatten(0, -1))?),
        image: purpose.map(|purpose| ImageInput { image, purpose }),
    })
}

#[test]
fn an_image_is_noised_and_sampled_on_from_where_diffusers_begins() -> Outcome {
    let golden = Golden::open("image.safetensors")?;
    let cases: Vec<Case> = json("goldens/image.json")?;
    let model = model()?;
    let mut starts = Parity::new("image to image, the latent that each run begins with");
    let mut ends = Parity::new("image to image, the latent that each run ends with");
    for (i, Case { sampler, steps, strength }) in cases.iter().enumerate() {
        let name = format!("{} strength {strength} of {steps} steps", sampler.label());
        let purpose = Purpose::Start { strength: *strength };
        let plain = request(&golden, Some(purpose))?;
        let request = Request { sampler: *sampler, steps: *steps, ..plain };
        let mut seen = Everything::default();
        let made = generate(&model, &request, Some(&mut seen), &mut |_, _| {})?;

        let theirs = golden.get(&format!("img2img/{i:03}/timesteps"))?;
        let theirs = Vec::<f64>::try_from(theirs.to_kind(Kind::Double))?;
        let near = made.timesteps.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < NEAREST);
        let equal = made.timesteps.len() == theirs.len() && near;
        assert!(equal, "{name}: {:?}, {theirs:?}", made.timesteps);
        assert_eq!(request.evaluations(&model)?, theirs.len(), "{name}");

        let start = golden.get(&format!("img2img/{i:03}/start"))?;
        starts.compare(&name, &seen.0["step.latent"][0], start);
        if let Ok(last) = golden.get(&format!("img2img/{i:03}/last")) {
            ends.compare(&name, &made.latents, last);
        }
        if i == 0 {
            let ours = made.source.ok_or("no source")?.latents;
            starts.compare("the image's own latent", &ours, golden.get("image/latents")?);
        }
    }
    assert_eq!(cases.len(), 9 * 4);
    starts.judge(TOLERANCE)?;
    ends.judge(TRAJECTORY_TOLERANCE)
}

#[test]
fn an_image_is_inverted_and_drawn_again_as_by_diffusers() -> Outcome {
    let golden = Golden::open("image.safetensors")?;
    let model = model()?;
    let mut parity = Parity::new("DDIM inversion");
    for guidance in INVERSION_GUIDANCES {
        let plain = request(&golden, Some(Purpose::Invert))?;
        let request = Request { guidance, steps: INVERSION_STEPS, init_latents: None, ..plain };
        let made = generate(&model, &request, None, &mut |_, _| {})?;
        let theirs = |name| golden.get(&format!("inversion/{guidance:.1}/{name}"));
        let title = |what| format!("guidance {guidance}: {what}");
        parity.compare(title("the noise found"), &made.init_latents, theirs("noise")?);
        parity.compare(title("the latent drawn from it"), &made.latents, theirs("drawn")?);
    }
    parity.judge(TRAJECTORY_TOLERANCE)
}

#[test]
fn guidance_is_rescaled_as_by_diffusers() -> Outcome {
    let golden = Golden::open("image.safetensors")?;
    let rescaled = Request { guidance_rescale: RESCALE, ..request(&golden, None)? };
    let made = generate(&model()?, &rescaled, None, &mut |_, _| {})?;
    let mut parity = Parity::new("guidance rescaled, the last latent");
    parity.compare("share 0.7", &made.latents, golden.get("rescaled/latents")?);
    parity.judge(TOLERANCE)
}
