//! Stable Diffusion XL: both text encoders, the denoiser, the autoencoder, and whole runs.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::model::conditioning::{Added, Framing};
use denoscope::model::tokenizer::LongPrompt;
use denoscope::pipeline::{Request, generate};
use denoscope::sampler::SamplerKind;
use denoscope::tap::Cx;
use tch::Tensor;

use crate::pipeline::{NEGATIVE, PROMPT};
use crate::support::{Everything, Golden, Outcome, Parity, TOLERANCE, fixture};

/// The prompts, sizes and scale of `golden_xl.py`.
const LONG_TAIL: &str = "two cats on the table";
const GUIDANCE: f64 = 5.0;
const FRAMED: Framing = Framing { original: Some([40, 30]), crop: [3, 5], target: Some([20, 28]) };

fn open() -> Result<DiffusionModel, Box<dyn Error>> {
    let folder = fixture("tiny/xl");
    let folder = folder.to_str().ok_or("a path that is not UTF-8")?;
    Ok(DiffusionModel::open(folder, Placement::default())?)
}

/// The golden tensors of sites whose names start so, without the project's own prefix.
fn sites(golden: &Golden, part: impl Fn(&str) -> bool) -> BTreeMap<String, &Tensor> {
    golden.under("xl/").into_iter().filter(|(name, _)| part(name)).collect()
}

fn is_text(name: &str) -> bool {
    name.starts_with("text.") || name.starts_with("text2.")
}

#[test]
fn every_site_has_a_golden_tensor() -> Outcome {
    let (model, golden) = (open()?, Golden::open("xl.safetensors")?);
    let ours: BTreeSet<String> = model.sites.iter().map(|(_, site)| site.name.clone()).collect();
    let ours: BTreeSet<String> =
        ours.into_iter().filter(|name| !name.starts_with("step.")).collect();
    assert_eq!(ours, golden.under("xl/").into_keys().collect());
    Ok(())
}

#[test]
fn both_text_encoders() -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let (model, golden) = (open()?, Golden::open("xl.safetensors")?);
    let second = model.second_text.as_ref().ok_or("no second text encoder")?;
    let prompts = [PROMPT, NEGATIVE];
    for (tokenizer, name) in [(&model.tokenizer, "text"), (&second.tokenizer, "text2")] {
        let theirs = golden.get(&format!("{name}/in.ids"))?;
        for (i, prompt) in prompts.iter().enumerate() {
            let ids = tokenizer.padded(&tokenizer.encode(prompt)?);
            assert_eq!(ids, Vec::<i64>::try_from(theirs.get(i as i64))?, "{name}: {prompt}");
        }
    }

    let mut seen = Everything::default();
    let mut cx = Cx::watching(&model.sites, &mut seen);
    let first = model.text.penultimate(golden.get("text/in.ids")?, &mut cx)?;
    let both = second.encoder.forward(golden.get("text2/in.ids")?, &mut cx)?;
    let unwatched = model.text.forward(golden.get("text/in.ids")?, &mut Cx::silent())?;
    let mut parity = Parity::new("tiny/xl, text encoders");
    parity.compare_sites(&seen, &sites(&golden, is_text));
    parity.compare("text, what is read", &first, golden.get("text/penultimate")?);
    parity.compare("text, unwatched", &unwatched.penultimate, golden.get("text/penultimate")?);
    parity.compare("text, pooled", &unwatched.pooled, golden.get("text/pooled")?);
    parity.compare("text2, what is read", &both.penultimate, golden.get("text2/penultimate")?);
    parity.compare("text2, projected", &both.pooled, golden.get("text2/pooled")?);
    parity.judge(TOLERANCE)
}

#[test]
fn the_denoiser_of_stable_diffusion_xl() -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let (model, golden) = (open()?, Golden::open("xl.safetensors")?);
    let forward = |case: &str, cx: &mut Cx<'_>| -> Result<Tensor, Box<dyn Error>> {
        let input = |name| golden.get(&format!("{case}/in.{name}")).map(Tensor::shallow_clone);
        let added = Added { pooled: input("pooled")?, sizes: input("sizes")? };
        let conditioning = model.unet.condition(input("context")?, Some(&added))?;
        Ok(model.unet.forward(&input("sample")?, &input("timestep")?, &conditioning, cx)?)
    };
    let mut seen = Everything::default();
    let watched = forward("square", &mut Cx::watching(&model.sites, &mut seen))?;
    let mut parity = Parity::new("tiny/xl, denoiser");
    parity.compare_sites(&seen, &sites(&golden, |s| !is_text(s) && !s.starts_with("vae.")));
    parity.compare("out, attention written out", &watched, golden.get("square/out")?);
    for case in ["square", "oblong", "odd"] {
        let ours = forward(case, &mut Cx::silent())?;
        parity.compare(format!("{case} out, fused"), &ours, golden.get(&format!("{case}/out"))?);
    }
    parity.judge(TOLERANCE)
}

#[test]
fn the_autoencoder_without_quantising_convolutions() -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let (model, golden) = (open()?, Golden::open("xl.safetensors")?);
    let mut seen = Everything::default();
    let mut cx = Cx::watching(&model.sites, &mut seen);
    model.vae.encode(golden.get("vae/in.image")?, &mut cx)?;
    let _image = model.vae.decode(golden.get("vae/in.latent")?, &mut cx)?;
    let mut parity = Parity::new("tiny/xl, autoencoder");
    parity.compare_sites(&seen, &sites(&golden, |s| s.starts_with("vae.")));
    parity.judge(TOLERANCE)
}

fn request(golden: &Golden) -> Result<Request, Box<dyn Error>> {
    let latents = golden.get("in.latents")?;
    Ok(Request {
        prompts: vec![PROMPT.into()],
        negative: String::new(),
        long_prompt: LongPrompt::Truncate,
        framing: Framing::default(),
        seeds: vec![0],
        steps: golden.get("timesteps")?.size()[0] as usize,
        sampler: SamplerKind::Ddim,
        guidance: GUIDANCE,
        height: 16,
        width: 24,
        init_latents: Some(Vec::<f32>::try_from(latents.flatten(0, -1))?),
        image: None,
        guidance_rescale: 0.0,
        eta: 0.0,
    })
}

/// Latents after every step and the image of a run, against those of the same name.
fn compare_run(
    parity: &mut Parity,
    (model, request): (&DiffusionModel, &Request),
    (golden, name): (&Golden, &str),
) -> Outcome {
    let mut seen = Everything::default();
    let made = generate(model, request, Some(&mut seen), &mut |_, _| {})?;
    let latents = golden.get(&format!("{name}/latents"))?;
    for step in 0..request.steps {
        let after = latents.narrow(0, step as i64, 1);
        let ours = seen.0["step.latent"].get(step + 1).unwrap_or(&made.latents);
        parity.compare(format!("{name}, step {step}"), ours, &after);
    }
    let image = (&seen.0["vae.decode.out"][0] / 2.0 + 0.5).clamp(0.0, 1.0);
    parity.compare(format!("{name}, image"), &image, golden.get(&format!("{name}/image"))?);
    Ok(())
}

#[test]
fn from_prompt_to_pixels() -> Outcome {
    let (model, golden) = (open()?, Golden::open("xl_pipeline.safetensors")?);
    let plain = request(&golden)?;
    let framed = Request { negative: NEGATIVE.into(), framing: FRAMED, ..plain.clone() };
    let long = [&[PROMPT; 8][..], &[LONG_TAIL, NEGATIVE]].concat().join(" ");
    let chunks = Request {
        prompts: vec![long],
        negative: NEGATIVE.into(),
        long_prompt: LongPrompt::Chunk,
        ..plain.clone()
    };
    assert_eq!(chunks.context_length(&model)?, 2 * model.tokenizer.max_length());
    let mut parity = Parity::new("tiny/xl, DDIM with guidance, oblong");
    compare_run(&mut parity, (&model, &plain), (&golden, "plain"))?;
    compare_run(&mut parity, (&model, &framed), (&golden, "framed"))?;
    compare_run(&mut parity, (&model, &chunks), (&golden, "chunks"))?;
    parity.judge(TOLERANCE)
}

#[test]
fn layers_that_nothing_reads_can_be_watched_but_not_changed() -> Outcome {
    struct Zero(&'static str);
    impl denoscope::tap::Tap for Zero {
        fn selects(&self, site: &denoscope::site::Site) -> bool {
            site.name == self.0
        }
        fn visit(
            &mut self,
            _: &denoscope::site::Site,
            _: denoscope::tap::Moment,
            x: &Tensor,
        ) -> Result<Option<Tensor>, denoscope::tap::TapError> {
            Ok(Some(x.zeros_like()))
        }
    }
    let (model, golden) = (open()?, Golden::open("xl_pipeline.safetensors")?);
    let request = Request { steps: 1, ..request(&golden)? };
    let plain = generate(&model, &request, None, &mut |_, _| {})?.latents;
    for unread in ["text.layer.2.out", "text.out"] {
        let Err(error) = generate(&model, &request, Some(&mut Zero(unread)), &mut |_, _| {}) else {
            return Err(format!("{unread} was changed").into());
        };
        assert!(error.to_string().contains("not changed"), "{error}");
    }
    for read in ["text.layer.1.out", "text2.layer.1.out", "text2.out", "text2.pooled", "time.added"]
    {
        let changed = generate(&model, &request, Some(&mut Zero(read)), &mut |_, _| {})?.latents;
        assert!(!changed.equal(&plain), "{read} changes nothing");
    }
    Ok(())
}
