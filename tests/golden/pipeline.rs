//! A whole run, from prompt to pixels, against StableDiffusionPipeline.

use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::pipeline::{Request, generate};
use denoscope::sampler::SamplerKind;
use tch::{Kind, Tensor};

use crate::support::{Everything, Golden, Outcome, Parity, TOLERANCE, fixture};

/// The prompts of `golden_models.py`; the ids in the golden file hold them to it.
pub const PROMPT: &str = "a photo of a red ball to the left of a blue cube";
pub const NEGATIVE: &str = "an astronaut, 2 cats & the MOON's über-photograph";
const GUIDANCE: f64 = 5.0;
/// Rounding may fall either way at the edge between two levels.
const MOST_LEVELS: i64 = 1;

fn request(golden: &Golden) -> Result<Request, Box<dyn std::error::Error>> {
    let latents = golden.get("pipeline/in.latents")?;
    Ok(Request {
        prompts: vec![PROMPT.into()],
        negative: NEGATIVE.into(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds: vec![0],
        steps: golden.get("pipeline/timesteps")?.size()[0] as usize,
        sampler: SamplerKind::Ddim,
        guidance: GUIDANCE,
        height: 32,
        width: 32,
        init_latents: Some(Vec::<f32>::try_from(latents.flatten(0, -1))?),
        image: None,
        guidance_rescale: 0.0,
        eta: 0.0,
    })
}

#[test]
fn from_prompt_to_pixels() -> Outcome {
    let golden = Golden::open("pipeline.safetensors")?;
    let folder = fixture("tiny/sd");
    let folder = folder.to_str().ok_or("a path that is not UTF-8")?;
    let model = DiffusionModel::open(folder, Placement::default())?;
    for (prompt, name) in [(PROMPT, "in.ids"), (NEGATIVE, "in.ids.negative")] {
        let theirs = Vec::<i64>::try_from(golden.get(&format!("pipeline/{name}"))?.get(0))?;
        let tokens = model.tokenizer.encode(prompt)?;
        assert_eq!(model.tokenizer.padded(&tokens), theirs, "{prompt}");
    }

    let mut seen = Everything::default();
    let request = request(&golden)?;
    let made = generate(&model, &request, Some(&mut seen), &mut |_, _| {})?;
    let theirs = golden.get("pipeline/timesteps")?;
    assert_eq!(made.timesteps, Vec::<f64>::try_from(theirs.to_kind(Kind::Double))?);

    let mut parity = Parity::new("pipeline, DDIM with guidance");
    let latents = golden.get("pipeline/latents")?;
    let predictions = golden.get("pipeline/predictions")?;
    for step in 0..request.steps {
        // [branch, c, h, w]: unconditional, conditional
        let both = predictions.get(step as i64);
        let (uncond, cond) = (both.narrow(0, 0, 1), both.narrow(0, 1, 1));
        let guided = &uncond + (cond - &uncond) * GUIDANCE;
        parity.compare(
            format!("step {step} ε unconditional"),
            &seen.0["step.eps.uncond"][step],
            &uncond,
        );
        parity.compare(format!("step {step} ε guided"), &seen.0["step.eps"][step], &guided);
        let after = latents.narrow(0, step as i64, 1);
        match seen.0["step.latent"].get(step + 1) {
            Some(ours) => parity.compare(format!("step {step} latent"), ours, &after),
            None => parity.compare(format!("step {step} latent"), &made.latents, &after),
        }
    }
    let image = (&seen.0["vae.decode.out"][0] / 2.0 + 0.5).clamp(0.0, 1.0);
    parity.compare("image", &image, golden.get("pipeline/image")?);
    parity.judge(TOLERANCE)?;

    let pixels = golden.get("pipeline/pixels")?.to_kind(Kind::Int64);
    let ours = Tensor::from_slice(made.images[0].as_raw()).to_kind(Kind::Int64);
    let apart = (ours.view_as(&pixels) - pixels).abs();
    let equal = apart.eq(0).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
    println!("{:.2} % of pixel values equal", 100.0 * equal);
    assert!(apart.max().int64_value(&[]) <= MOST_LEVELS);
    Ok(())
}
