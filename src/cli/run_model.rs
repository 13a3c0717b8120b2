//! The arguments that all commands share that run a model.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tch::Kind;

use super::model_args::ModelArgs;
pub(super) use super::output::quoted;
use super::output::{bar, seed_value};
use crate::model::checkpoint::DiffusionModel;
use crate::model::conditioning::Framing;
use crate::model::parameters::WeightFile;
use crate::model::tokenizer::{LongPrompt, Tokens};
use crate::pipeline::{Generation, Request, generate};
use crate::report::Fact;
use crate::run::{Guidance, Manifest, ModelRecord, RunFolder, SamplingRecord};
use crate::sampler::{SamplerKind, SchedulerConfig};
use crate::tap::Tap;
use crate::tap::edit::Edits;

/// What is drawn, and how.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Sampling")]
pub struct SampleArgs {
    /// What to draw
    #[arg(long)]
    pub prompt: Option<String>,
    /// What to steer away from
    #[arg(long, default_value = "")]
    pub negative: String,
    /// Seed of the first image; the others follow
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Images [default: 1, for attention 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub count: Option<u64>,
    /// Sampling steps
    #[arg(long, value_name = "N", default_value_t = 25, allow_negative_numbers = true)]
    pub steps: i64,
    /// Sampler [default: the one the model comes with]
    #[arg(long, value_enum)]
    pub sampler: Option<SamplerKind>,
    /// Guidance scale s of ε = ε_u + s(ε_c − ε_u); γ = s − 1 in (1+γ)ε_c − γε_u; 1 is none
    #[arg(long, value_name = "S", default_value_t = 5.0, allow_negative_numbers = true)]
    pub guidance: f64,
    /// Share by which guidance's output gets back the deviation of the conditional prediction, 0
    /// to 1, against washed-out or burnt images (Lin et al. 2023)
    #[arg(long, value_name = "PHI", default_value_t = 0.0, allow_negative_numbers = true)]
    pub guidance_rescale: f64,
    /// Noise that DDIM adds at each step, 0 to 1: 0 is deterministic, 1 nearly DDPM
    #[arg(long, value_name = "ETA", default_value_t = 0.0, allow_negative_numbers = true)]
    pub eta: f64,
    /// Image width in pixels [default: the model's own]
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    pub width: Option<i64>,
    /// Image height in pixels [default: the model's own]
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    pub height: Option<i64>,
    /// What becomes of a prompt of more than 75 tokens; (word:1.2) weights are not interpreted
    #[arg(long, value_enum, default_value_t = LongPrompt::Truncate)]
    pub long_prompt: LongPrompt,
    #[command(flatten)]
    pub framing: FramingArgs,
    /// Start from this unit noise: a safetensors file with one tensor `latents` [n, c, h, w]
    #[arg(long, value_name = "FILE")]
    pub init_latents: Option<PathBuf>,
    /// Change what flows, such as "zero sites=mid.out steps=0-5"; may be repeated
    #[arg(long = "edit", value_name = "EDIT", long_help = super::edits::HELP)]
    pub edits: Vec<String>,
}
/// What SDXL is told of sizes and crops, in pixels; other models are not told.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct FramingArgs {
    /// Size of the original that SDXL is told of, as 1024x768 [default: the image's]
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_size)]
    original_size: Option<Pair>,
    /// Crop that SDXL is told of: pixels off the left and the top of the original, as 0x0
    #[arg(long, value_name = "LEFTxTOP", value_parser = parse_size)]
    crop: Option<Pair>,
    /// Size that SDXL is told to aim at [default: the image's]
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_size)]
    target_size: Option<Pair>,
}

/// Horizontal first, as sizes are spoken; the denoiser is told the vertical first.
#[derive(Clone, Copy, Debug)]
struct Pair {
    across: i64,
    down: i64,
}

impl Pair {
    fn down_across(self) -> [i64; 2] {
        [self.down, self.across]
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.across, self.down)
    }
}

fn parse_size(text: &str) -> Result<Pair, String> {
    let numbers = text.split_once(['x', '×']).map(|(a, b)| (a.trim().parse(), b.trim().parse()));
    match numbers {
        Some((Ok(across), Ok(down))) => Ok(Pair { across, down }),
        _ => Err("give two numbers of pixels, such as 1024x768".to_owned()),
    }
}

impl FramingArgs {
    fn framing(self) -> Framing {
        Framing {
            original: self.original_size.map(Pair::down_across),
            crop: self.crop.map(Pair::down_across).unwrap_or_default(),
            target: self.target_size.map(Pair::down_across),
        }
    }

    /// Options that were given, with their values.
    fn given(self) -> impl Iterator<Item = (&'static str, String)> {
        let all = [
            ("original-size", self.original_size),
            ("crop", self.crop),
            ("target-size", self.target_size),
        ];
        all.into_iter().filter_map(|(name, pair)| Some((name, pair?.to_string())))
    }
}

impl SampleArgs {
    /// The prompt.
    pub fn prompt(&self) -> Result<&str> {
        self.prompt.as_deref().context("no prompt: say what to draw with --prompt TEXT")
    }

    /// Takes the model's own sampler where none was named, so that a spec names it.
    pub fn settle(&mut self, model: &DiffusionModel) -> Result<()> {
        self.sampler = Some(self.sampler(model)?);
        Ok(())
    }

    fn sampler(&self, model: &DiffusionModel) -> Result<SamplerKind> {
        match self.sampler {
            Some(sampler) => Ok(sampler),
            None => Ok(SamplerKind::of_config(&SchedulerConfig::read(&model.scheduler)?)?),
        }
    }

    /// The edits asked for, checked against the run.
    pub fn edits(&self, model: &DiffusionModel, request: &Request) -> Result<Edits> {
        super::edits::edits(&self.edits, model, request)
    }

    /// The request these arguments stand for.
    pub fn request(&self, model: &DiffusionModel) -> Result<Request> {
        let native = model.native_size();
        let seeds: Vec<u64> =
            (0..self.count.unwrap_or(1)).map(|i| self.seed.wrapping_add(i)).collect();
        Ok(Request {
            prompts: vec![self.prompt()?.to_owned(); seeds.len()],
            negative: self.negative.clone(),
            long_prompt: self.long_prompt,
            framing: self.framing.framing(),
            seeds,
            steps: usize::try_from(self.steps).unwrap_or(0),
            sampler: self.sampler(model)?,
            guidance: self.guidance,
            guidance_rescale: self.guidance_rescale,
            eta: self.eta,
            height: self.height.unwrap_or(native),
            width: self.width.unwrap_or(native),
            init_latents: self.init_latents.as_deref().map(read_latents).transpose()?,
            image: None,
        })
    }
}

/// The one tensor `latents` of a safetensors file.
fn read_latents(path: &Path) -> Result<Vec<f32>> {
    let tensors = WeightFile::open(path)?.tensors()?;
    let latents = tensors.get("latents").with_context(|| {
        format!("{}: no tensor named `latents`; write one with --save-latents", path.display())
    })?;
    let flat = latents.to_kind(Kind::Float).contiguous().view([-1]);
    Ok(Vec::try_from(flat)?)
}

/// Warns of words that did not fit the tokenizer.
pub fn warn_of_cut_words(model: &DiffusionModel, request: &Request) -> Result<()> {
    let negative = request.encode(model, &request.negative)?;
    if let Some(tokens) = request.check(model)?.first() {
        warn_of_cut("prompt", tokens);
    }
    warn_of_cut("negative prompt", &negative);
    Ok(())
}

/// Warns of words that did not fit; names as many as a few lines hold.
pub(super) fn warn_of_cut(what: &str, tokens: &Tokens) {
    const NAMED: usize = 50;
    if tokens.cut.is_empty() {
        return;
    }
    // The words of start and end tokens are none.
    let read = tokens.word_numbers.iter().flatten().count();
    let named = tokens.cut.len().min(NAMED);
    let rest = match tokens.cut.len() - named {
        0 => String::new(),
        more => format!(" … and {more} more words"),
    };
    tracing::warn!(
        "the {what} has more than {read} tokens; not read: {}{rest}; put what matters first, or \
         read longer prompts with --long-prompt chunk",
        tokens.cut[..named].join(" ")
    );
}

/// Runs a request with a progress bar.
pub fn generate_with_bar(
    model: &DiffusionModel,
    request: &Request,
    tap: Option<&mut dyn Tap>,
) -> Result<Generation> {
    let bar = bar(request.steps as u64, "steps");
    let result = generate(model, request, tap, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    Ok(result?)
}

/// The manifest of a run of a model, but for the model: see [`finish`].
pub fn manifest(
    probe: &str,
    args: &ModelArgs,
    model: &DiffusionModel,
    request: &Request,
) -> Manifest {
    let mut manifest = Manifest::new(probe);
    manifest.runtime = Some(args.runtime(model));
    manifest.sampling = Some(sampling(request));
    manifest.set_prompts(request.prompts.clone());
    manifest
}

fn sampling(request: &Request) -> SamplingRecord {
    SamplingRecord {
        sampler: request.sampler.label().to_owned(),
        guidance: Guidance::from_scale(request.guidance),
        guidance_rescale: request.guidance_rescale,
        eta: request.eta,
        steps: request.steps,
        seeds: request.seeds.clone(),
        width: request.width as usize,
        height: request.height as usize,
        negative: request.negative.clone(),
        image: None,
    }
}

/// What stands in the head of a report. The manifest gets its model when the run is finished.
pub fn facts(model: &DiffusionModel, request: &Request, manifest: &Manifest) -> Vec<Fact> {
    let parameters = u64::try_from(model.parameter_count).ok();
    let record = ModelRecord { name: model.name.clone(), parameters, weights: Vec::new() };
    let sampling = manifest.sampling.clone().unwrap_or_else(|| sampling(request));
    let (model, sampling) = (Some(record), Some(sampling));
    crate::probe::stored::facts(&Manifest { model, sampling, ..manifest.clone() })
}

/// Finishes the folder of a run of a model. The digests of the weights are made here: they take
/// seconds for large models, for which nobody should wait before the first step.
pub fn finish(
    folder: RunFolder,
    mut manifest: Manifest,
    args: &ModelArgs,
    model: &DiffusionModel,
) -> Result<PathBuf> {
    manifest.model = Some(args.record(model));
    Ok(folder.finish(manifest)?)
}

impl SampleArgs {
    /// The arguments as a spec that makes the same run again.
    pub fn spec(&self, kind: &str, model: &ModelArgs) -> toml::Table {
        let mut spec = toml::Table::new();
        let mut put = |key: &str, value: toml::Value| {
            spec.insert(key.to_owned(), value);
        };
        put("kind", kind.into());
        put("version", 1.into());
        put("model", model.model.clone().into());
        for (name, value) in model.load.options() {
            put(name, value.into());
        }
        put("dtype", model.dtype.name().into());
        if let Some(prompt) = &self.prompt {
            put("prompt", prompt.clone().into());
        }
        if !self.negative.is_empty() {
            put("negative", self.negative.clone().into());
        }
        if self.long_prompt != LongPrompt::default() {
            put("long_prompt", self.long_prompt.label().into());
        }
        for (name, value) in self.framing.given() {
            put(&name.replace('-', "_"), value.into());
        }
        put("seed", seed_value(self.seed));
        put("count", (self.count.unwrap_or(1) as i64).into());
        put("steps", self.steps.into());
        if let Some(sampler) = self.sampler {
            put("sampler", sampler.label().into());
        }
        put("guidance", self.guidance.into());
        for (name, value) in self.refinements() {
            put(&name.replace('-', "_"), value.into());
        }
        if let (Some(width), Some(height)) = (self.width, self.height) {
            put("width", width.into());
            put("height", height.into());
        }
        if !self.edits.is_empty() {
            put("edit", self.edits.clone().into());
        }
        spec
    }

    /// Options that change nothing at 0, where they are not.
    fn refinements(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let all = [("guidance-rescale", self.guidance_rescale), ("eta", self.eta)];
        all.into_iter().filter(|(_, value)| *value != 0.0)
    }

    /// The command line that makes the same run again.
    pub fn command(&self, probe: &str, model: &ModelArgs) -> String {
        let mut words = vec!["probe".to_owned(), probe.to_owned()];
        let mut add =
            |flag: &str, value: String| words.extend([format!("--{flag}"), quoted(&value)]);
        if let Some(prompt) = &self.prompt {
            add("prompt", prompt.clone());
        }
        if !self.negative.is_empty() {
            add("negative", self.negative.clone());
        }
        if self.long_prompt != LongPrompt::default() {
            add("long-prompt", self.long_prompt.label().to_owned());
        }
        for (name, value) in self.framing.given() {
            add(name, value);
        }
        add("model", model.model.clone());
        for (name, value) in model.load.options() {
            add(name, value);
        }
        add("seed", self.seed.to_string());
        add("count", self.count.unwrap_or(1).to_string());
        add("steps", self.steps.to_string());
        if let Some(sampler) = self.sampler {
            add("sampler", sampler.label().to_owned());
        }
        add("guidance", self.guidance.to_string());
        for (name, value) in self.refinements() {
            add(name, value.to_string());
        }
        for (flag, size) in [("width", self.width), ("height", self.height)] {
            if let Some(size) = size {
                add(flag, size.to_string());
            }
        }
        for edit in &self.edits {
            add("edit", edit.clone());
        }
        words.join(" ")
    }
}
