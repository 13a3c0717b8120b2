//! Identities that hold whatever the weights are, on the built-in model and on a small random
//! checkpoint of each family: what `identities.rs` checks on one of them.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use denoscope::model::attention::AttentionKernel;
use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::model::parameters::{WeightFile, save_tensors};
use denoscope::pipeline::{Generation, Request, generate};
use denoscope::site::{Branch, Glob, Site};
use denoscope::tap::edit::{Edit, Edits, Operation, Scope};
use denoscope::tap::{AttentionRecorder, Moment, RawRecorder, Tap, TapError, Then};
use tch::{Kind, Tensor};
use tempfile::TempDir;

const STEPS: usize = 2;
/// Largest difference over the largest number expected that rounding may leave.
const ROUNDING: f64 = 1e-4;
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// A model with what it is made of, if it had to be made.
struct Family {
    name: &'static str,
    source: String,
    _folder: Option<TempDir>,
}

impl Family {
    fn open(&self, kernel: AttentionKernel) -> DiffusionModel {
        // Tensors are tiny: threads of a busy machine would wait for each other.
        tch::set_num_threads(1);
        DiffusionModel::open(self.source.as_str(), Placement { kernel, ..Placement::default() })
            .unwrap()
    }

    fn explicit(&self) -> DiffusionModel {
        self.open(AttentionKernel::Explicit)
    }

    /// SDXL tells its denoiser of the whole prompt beside cross-attention.
    fn reads_by_cross_attention_alone(&self) -> bool {
        self.name != "xl"
    }
}

fn families() -> Vec<Family> {
    let there = |name, source: String| Family { name, source, _folder: None };
    let folder = TempDir::new().unwrap();
    make_sd2(folder.path());
    let sd2 = folder.path().to_str().unwrap().to_owned();
    vec![
        there("shapes", "shapes".to_owned()),
        there("sd", format!("{FIXTURES}/sd")),
        Family { name: "sd2", source: sd2, _folder: Some(folder) },
        there("xl", format!("{FIXTURES}/xl")),
    ]
}

/// The layout of Stable Diffusion 2 (linear projections, heads of one width, plain GELU in the text
/// encoder, v-prediction), put together of the parts that goldens are made with.
fn make_sd2(folder: &Path) {
    const WIDE: i64 = 32;
    const NARROW: i64 = 24;
    let copy = |from: &str, to: &str| {
        let to = folder.join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(format!("{FIXTURES}/{from}"), to).unwrap();
    };
    copy("sd/model_index.json", "model_index.json");
    for part in ["config.json", "diffusion_pytorch_model.safetensors"] {
        copy(&format!("unet_linear/{part}"), &format!("unet/{part}"));
        copy(&format!("sd/vae/{part}"), &format!("vae/{part}"));
    }
    copy("unet_linear/scheduler_config.json", "scheduler/scheduler_config.json");
    for entry in fs::read_dir(format!("{FIXTURES}/sd/tokenizer")).unwrap() {
        let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
        copy(&format!("sd/tokenizer/{name}"), &format!("tokenizer/{name}"));
    }
    // The denoiser reads vectors of 24 numbers, the text encoder makes 32: the first 24 are kept.
    let config = fs::read_to_string(format!("{FIXTURES}/text_gelu/config.json")).unwrap();
    let narrow = |name: &str| (format!("\"{name}\": {WIDE}"), format!("\"{name}\": {NARROW}"));
    let mut narrowed = config.clone();
    for (wide, narrow) in [narrow("hidden_size"), narrow("projection_dim")] {
        narrowed = narrowed.replace(&wide, &narrow);
    }
    assert_ne!(narrowed, config);
    fs::create_dir_all(folder.join("text_encoder")).unwrap();
    fs::write(folder.join("text_encoder/config.json"), narrowed).unwrap();
    let weights = WeightFile::open(Path::new(&format!("{FIXTURES}/text_gelu/model.safetensors")));
    let narrow = |(name, mut x): (String, Tensor)| {
        for axis in
            (0..x.dim() as i64).filter(|&axis| x.size()[axis as usize] == WIDE).collect::<Vec<_>>()
        {
            x = x.narrow(axis, 0, NARROW);
        }
        (name, x.contiguous().copy())
    };
    let tensors: Vec<_> = weights.unwrap().tensors().unwrap().into_iter().map(narrow).collect();
    save_tensors(&folder.join("text_encoder/model.safetensors"), &tensors).unwrap();
}

fn request(model: &DiffusionModel, prompt: &str) -> Request {
    Request { steps: STEPS, ..Request::new(model, prompt).unwrap().with_seeds([7]) }
}

fn ours(model: &DiffusionModel) -> Request {
    request(model, "red ball left of blue cube")
}

fn run(model: &DiffusionModel, request: &Request, tap: Option<&mut dyn Tap>) -> Generation {
    generate(model, request, tap, &mut |_, _| {}).unwrap()
}

#[track_caller]
fn assert_near(got: &Tensor, expected: &Tensor) {
    let most = |x: &Tensor| x.abs().max().to_kind(Kind::Double).double_value(&[]);
    let difference = most(&(got - expected)) / most(expected);
    assert!(difference < ROUNDING, "{difference:e}");
}

type Key = (String, usize, Option<Branch>);

/// Keeps all tensors at sites with a suffix, or puts kept ones there, from a step on.
struct Copies {
    suffixes: &'static [&'static str],
    kept: BTreeMap<Key, Tensor>,
    restores_from: Option<usize>,
}

impl Copies {
    fn keeping(suffixes: &'static [&'static str]) -> Self {
        Self { suffixes, kept: BTreeMap::new(), restores_from: None }
    }

    fn restoring(mut self, from: usize) -> Self {
        self.restores_from = Some(from);
        self
    }
}

impl Tap for Copies {
    fn selects(&self, site: &Site) -> bool {
        self.suffixes.iter().any(|suffix| site.name.ends_with(suffix))
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let key = (site.name.clone(), at.step, at.branch);
        let Some(from) = self.restores_from else {
            self.kept.insert(key, x.copy());
            return Ok(None);
        };
        Ok((at.step >= from).then(|| self.kept[&key].copy()))
    }
}

#[test]
fn watching_and_restoring_a_run_into_itself_change_no_bit() {
    for family in families() {
        let model = family.explicit();
        let request = ours(&model);
        let plain = run(&model, &request, None);
        let mut copies = Copies::keeping(&[".out", ".probs", "step.eps"]);
        let watched = run(&model, &request, Some(&mut copies));
        assert!(copies.kept.len() > STEPS, "nothing was seen of {}", family.name);
        let restored = run(&model, &request, Some(&mut copies.restoring(0)));
        for made in [watched, restored] {
            assert!(made.latents.equal(&plain.latents), "{}", family.name);
            assert_eq!(made.images, plain.images, "{}", family.name);
        }
    }
}

/// At step 0 it is the other prompt's run, at the last step and one the own; SDXL also reads the
/// prompt beside cross-attention, so that swapping cross-attention alone cannot be enough.
#[test]
fn swapping_the_prompt_in_all_layers_is_the_other_prompt() {
    for family in families() {
        let model = family.explicit();
        let (ours, theirs) = (ours(&model), request(&model, "a green cone"));
        let plain = run(&model, &ours, None).latents;
        let swapped_from = |step| {
            let mut copies = Copies::keeping(&[".cross.k", ".cross.v"]);
            let expected = run(&model, &theirs, Some(&mut copies)).latents;
            (run(&model, &ours, Some(&mut copies.restoring(step))).latents, expected)
        };
        let (swapped, expected) = swapped_from(0);
        let is_theirs = swapped.equal(&expected);
        assert_eq!(is_theirs, family.reads_by_cross_attention_alone(), "{}", family.name);
        assert!(!expected.equal(&plain) && !swapped.equal(&plain), "{}", family.name);
        assert!(swapped_from(STEPS).0.equal(&plain), "{}", family.name);
    }
}

#[test]
fn attention_over_tokens_sums_to_one() {
    for family in families() {
        let model = family.explicit();
        let mut copies = Copies::keeping(&[".cross.probs", ".self.probs"]);
        run(&model, &ours(&model), Some(&mut copies));
        assert!(!copies.kept.is_empty());
        for probs in copies.kept.values() {
            let sums = probs.to_kind(Kind::Double).sum_dim_intlist(-1, false, Kind::Double);
            assert_near(&sums, &sums.ones_like());
        }
    }
}

#[test]
fn explicit_and_fused_attention_agree() {
    for family in families() {
        let made = [AttentionKernel::Explicit, AttentionKernel::Auto].map(|kernel| {
            let model = family.open(kernel);
            run(&model, &ours(&model), None).latents
        });
        assert_near(&made[0], &made[1]);
    }
}

/// With a guidance of 1 ε is that of the prompt alone, whatever the negative prompt; with 0 that of
/// the negative prompt alone, whatever the prompt.
#[test]
fn guidance_of_one_and_zero_are_one_half_alone() {
    for family in families() {
        let model = family.explicit();
        let with = |guidance, prompt: &str, negative: &str| {
            let negative = negative.to_owned();
            Request { guidance, negative, ..request(&model, prompt) }
        };
        let latents = |request: Request| run(&model, &request, None).latents;
        let nearly = 1e-9;
        let prompt = "red ball left of blue cube";
        let cond = latents(with(1.0, prompt, ""));
        assert_near(&latents(with(1.0, prompt, "a green cone")), &cond);
        assert_near(&latents(with(1.0 + nearly, prompt, "a green cone")), &cond);
        let uncond = latents(with(0.0, prompt, "a green cone"));
        assert_near(&latents(with(0.0, "three rings", "a green cone")), &uncond);
        assert_near(&latents(with(nearly, prompt, "a green cone")), &uncond);
        assert!(!uncond.equal(&cond), "{}", family.name);
    }
}

fn cross_probs(model: &DiffusionModel) -> Vec<String> {
    let sites = model.sites.iter().filter(|(_, site)| site.is_cross_probs());
    sites.map(|(_, site)| site.name.clone()).collect()
}

#[test]
fn with_all_other_keys_masked_the_start_token_takes_everything() {
    for family in families() {
        let model = family.explicit();
        let request = ours(&model);
        let shape = request.run_shape(&model).unwrap();
        let scope = Scope { sites: vec![Glob::new("*.cross.probs")], ..Scope::default() };
        let all_but_start = Operation::Mask((1..shape.extent.tokens).collect());
        let edit = Edit::new(all_but_start, &scope, &model.sites, &shape).unwrap();
        let raw = RawRecorder::new(cross_probs(&model), None, u64::MAX);
        let mut taps = Then(Edits(vec![edit]), raw);
        run(&model, &request, Some(&mut taps));
        let seen = taps.1.into_tensors();
        assert!(!seen.is_empty());
        for (key, probs) in seen {
            let start = probs.select(-1, 0);
            let off = (start - 1.0).abs().max().double_value(&[]);
            assert!(off < 1e-6, "{}, {key}: {off}", family.name);
        }
    }
}

#[test]
fn the_mean_over_steps_is_daams_sum_over_the_steps() {
    for family in families() {
        let model = family.explicit();
        let request = ours(&model);
        let [_, _, height, width] = request.latent_shape(&model);
        let tokens = request.encode(&model, &request.prompts[0]).unwrap().ids.len();
        let recorder = AttentionRecorder::new(tokens, cross_probs(&model), [height, width]);
        let mut taps = Then(recorder, RawRecorder::new(cross_probs(&model), None, u64::MAX));
        run(&model, &request, Some(&mut taps));
        let (record, raw) = (taps.0.finish().unwrap(), taps.1.into_tensors());
        let raw: BTreeMap<String, Tensor> = raw.into_iter().collect();
        assert_eq!(record.layers.len(), cross_probs(&model).len());
        for layer in &record.layers {
            // DAAM's sum, over the steps; [image, head, token, row, column].
            let (images, heads, tokens, rows, columns) = layer.per_head.dim();
            let values: Vec<f32> = layer.per_head.iter().copied().collect();
            let shape = [images, heads, tokens, rows * columns].map(|n| n as i64);
            let got = Tensor::from_slice(&values).view(shape) / STEPS as f64;
            let of = |step: usize| raw[&format!("{step:03}/cond/{}", layer.site)].shallow_clone();
            let steps: Vec<Tensor> = (0..STEPS).map(of).collect();
            let mean = Tensor::stack(&steps, 0).mean_dim([0_i64].as_slice(), false, Kind::Float);
            assert_near(&got, &mean.narrow(3, 0, tokens as i64).transpose(2, 3));
        }
    }
}
