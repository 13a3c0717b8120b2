//! `probe train`: the parts of the built-in model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use tch::Device;

use super::output::{bar, note};
use crate::model::checkpoint::ModelFiles;
use crate::model::parameters::Store;
use crate::model::tokenizer::Tokenizer;
use crate::model::vae::Vae;
use crate::model::weights::Weights;
use crate::sampler::Prediction;
use crate::train::clip::{self, ClipObjective};
use crate::train::denoiser::{self, DenoiserLoss, DenoiserObjective, Surroundings};
use crate::train::vae::{self, VaeLoss, VaeObjective};
use crate::train::{Objective, SNAPSHOTS, StepReport, TrainingPlan, train};
use crate::world::{Category, Mix};

const EXAMPLES: &str = "\
Examples:
The autoencoder comes first, then the denoiser with its text encoder, into one folder:
  probe train vae --out runs/shapes
  probe train denoiser --out runs/shapes
CLIP's towers come in between, and the denoiser reads the frozen text tower:
  probe train clip --out runs/shapes
  probe train denoiser --out runs/shapes --from-clip --freeze-text
A trained model can be trained further, its parts one after the other:
  probe train vae --from shapes --out runs/further --learning-rate 1e-3
  probe train denoiser --from shapes --out runs/further
A run that was stopped goes on where it was with the same command. When all are done, the
folder is a model: probe generate --model runs/shapes --prompt \"a red ball\"";

/// Name of the weight files of autoencoder and U-Net.
const WEIGHTS_STEM: &str = "diffusion_pytorch_model";

/// Train a part of the built-in model.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Which part
    part: Part,
    /// Folder of the model; the run itself is kept in `<DIR>/training/<part>`
    #[arg(long, value_name = "DIR", default_value = "runs/shapes")]
    out: PathBuf,
    /// Optimiser steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Images a step
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Highest learning rate
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Seed of data, noise and initial weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Kind of activations and products (weights stay f32)
    #[arg(long, value_enum, default_value_t = TrainDtype::Auto)]
    dtype: TrainDtype,
    /// Device: auto, cpu or cuda
    #[arg(long, default_value = "auto")]
    device: String,
    /// Shares of the captions' categories, as one-object=1,relation=3 (others: none) [default: the
    /// mix of `probe world`]
    #[arg(long, value_name = "CATEGORY=WEIGHT", value_delimiter = ',', value_parser = weight)]
    mix: Vec<(Category, f64)>,
    /// What the denoiser predicts
    #[arg(long, value_enum, default_value_t = Target::V)]
    predict: Target,
    /// Timesteps are drawn as T·u^(1/BIAS): 1 is uniform, above 1 leans towards noise
    #[arg(long, value_name = "BIAS", default_value_t = 1.0)]
    noise_bias: f64,
    /// Min-SNR weighting of the denoiser's loss with this γ
    #[arg(long, value_name = "GAMMA")]
    min_snr: Option<f64>,
    /// Scenes encoded ahead for the denoiser
    #[arg(long, value_name = "N")]
    pool: Option<usize>,
    /// Go on from the weights of a trained model instead of from scratch (CLIP: its towers, or the
    /// text encoder alone)
    #[arg(long, value_name = "shapes|DIR")]
    from: Option<String>,
    /// Start the denoiser's text encoder from the text tower of the folder's CLIP
    #[arg(long)]
    from_clip: bool,
    /// Show CLIP the images at every N-th step alone; captions are read at all steps
    #[arg(long, value_name = "N", default_value_t = 1)]
    images_every: u64,
    /// Leave the denoiser's text encoder as it is, as Stable Diffusion's was
    #[arg(long)]
    freeze_text: bool,
    /// How much more the autoencoder's errors count where the image has detail (0: not more)
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0)]
    detail: f64,
    /// Steps between checkpoints
    #[arg(long, value_name = "N", default_value_t = 250)]
    checkpoint_every: u64,
    /// Steps between previews
    #[arg(long, value_name = "N", default_value_t = 500)]
    preview_every: u64,
    /// Models to keep on the way, √-spaced, in `<DIR>/snapshots/<step>` (denoiser only)
    #[arg(long, value_name = "N", default_value_t = 0)]
    snapshots: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The autoencoder between pixels and latents
    Vae,
    /// The text tower (and the image tower it is trained against)
    Clip,
    /// The U-Net
    Denoiser,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Vae => "vae",
            Part::Clip => "clip",
            Part::Denoiser => "denoiser",
        }
    }

    /// Steps, batch, learning rate and warm-up that trained the shipped model.
    fn defaults(self) -> (u64, usize, f64, u64) {
        match self {
            Part::Vae => (1800, 16, 2e-3, 100),
            Part::Clip => (1200, 128, 1e-3, 100),
            Part::Denoiser => (6000, 32, 8e-4, 200),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TrainDtype {
    /// bf16 where the processor has it
    Auto,
    /// 32 bits throughout
    F32,
    /// bf16 products and activations
    Bf16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The noise ε
    Epsilon,
    /// v = √ᾱ ε − √(1−ᾱ) x0
    V,
    /// The clean latent x0
    X0,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let device = super::model_args::device(&args.device)?;
    let (steps, batch, learning_rate, warmup) = args.part.defaults();
    let steps = args.steps.unwrap_or(steps);
    let plan = TrainingPlan {
        steps,
        batch: args.batch.unwrap_or(batch),
        learning_rate: args.learning_rate.unwrap_or(learning_rate),
        warmup: warmup.min(steps / 4),
        weight_decay: 0.01,
        ema_decay: 0.999,
        clip_norm: 1.0,
        seed: args.seed,
        bf16: match args.dtype {
            TrainDtype::Auto => device.is_cuda() || super::doctor::has_bf16(),
            TrainDtype::F32 => false,
            TrainDtype::Bf16 => true,
        },
        checkpoint_every: args.checkpoint_every,
        preview_every: args.preview_every,
        snapshots: if args.part == Part::Denoiser { args.snapshots } else { 0 },
    };
    plan.check()?;
    let run_folder = args.out.join("training").join(args.part.name());
    match args.part {
        Part::Vae => {
            let config = vae::shapes_config();
            let start = start(args.from.as_deref(), "vae", WEIGHTS_STEM)?;
            let loss = VaeLoss { detail: args.detail, ..VaeLoss::default() };
            let mix = mix(&args.mix)?;
            let mut objective =
                VaeObjective::new(config, start.as_ref(), loss, mix, &plan, device)?;
            train_with_bar(&mut objective, &plan, &run_folder)?;
            install(&run_folder, &args.out, &["vae"])?;
        }
        Part::Clip => {
            let start = clip_start(args.from.as_deref())?;
            let tokenizer = tokenizer()?;
            let (ids, end) = vocabulary(&tokenizer)?;
            let text = clip::shapes_text_config(ids, tokenizer.max_length() as i64, end);
            let configs = (text, clip::shapes_vision_config());
            let mix = mix(&args.mix)?;
            let mut objective = ClipObjective::new(configs, start, tokenizer, mix, &plan, device)?
                .with_images_every(args.images_every);
            train_with_bar(&mut objective, &plan, &run_folder)?;
            install(&run_folder, &args.out, &["clip"])?;
        }
        Part::Denoiser => {
            let mut objective = denoiser_objective(&args, &plan, device)?;
            train_with_bar(&mut objective, &plan, &run_folder)?;
            install(&run_folder, &args.out, &["unet", "text_encoder", "scheduler"])?;
            write_frame(&args.out)?;
            install_snapshots(&run_folder, &args.out)?;
        }
    }
    super::output::line(&args.out.display().to_string())?;
    Ok(0)
}

fn denoiser_objective(
    args: &Args,
    plan: &TrainingPlan,
    device: Device,
) -> Result<DenoiserObjective> {
    let files = ModelFiles::folder(args.out.clone());
    let vae_config = files
        .json("vae/config.json")
        .context("the denoiser needs a trained autoencoder: run `probe train vae` first")?;
    let store = Store::of(files.weights("vae", WEIGHTS_STEM)?, tch::Kind::Float, device);
    let vae = Vae::new(&store.root(&Default::default()), &vae_config);
    store.finish()?;
    let from = args.from.as_deref();
    let unet_start = start(from, "unet", WEIGHTS_STEM)?;
    let text_start = if args.from_clip {
        let clip = args.out.join("clip/model.safetensors");
        if !clip.is_file() {
            bail!("--from-clip needs a trained text tower: run `probe train clip` first");
        }
        Some(Weights::open(&clip)?)
    } else {
        start(from, "text_encoder", "model")?
    };
    let tokenizer = tokenizer()?;
    let (ids, end) = vocabulary(&tokenizer)?;
    let text_config = clip::shapes_text_config(ids, tokenizer.max_length() as i64, end);
    let unet_config = denoiser::shapes_config(text_config.hidden_size);
    let prediction = match args.predict {
        Target::Epsilon => Prediction::Epsilon,
        Target::V => Prediction::V,
        Target::X0 => Prediction::Sample,
    };
    let defaults = DenoiserLoss::default();
    let loss = DenoiserLoss {
        min_snr: args.min_snr,
        noise_bias: args.noise_bias,
        pool: args.pool.unwrap_or(defaults.pool),
        frozen_text: args.freeze_text,
        ..defaults
    };
    let around = Surroundings { vae, vae_config, tokenizer, text_config, unet_start, text_start };
    let bar = bar(loss.pool as u64, "scenes");
    let objective = DenoiserObjective::new(
        (unet_config, denoiser::shapes_schedule(prediction)),
        around,
        (loss, mix(&args.mix)?),
        plan,
        device,
        &mut |done, _| bar.set_position(done as u64),
    )?;
    bar.finish_and_clear();
    Ok(objective)
}

/// `relation=3`.
fn weight(text: &str) -> Result<(Category, f64)> {
    let (name, weight) = text.split_once('=').context("write CATEGORY=WEIGHT, as relation=3")?;
    let number = weight.parse().with_context(|| format!("`{weight}` is not a number"))?;
    Ok((name.parse()?, number))
}

/// The mix asked for, or the one that the built-in model starts on.
fn mix(weights: &[(Category, f64)]) -> Result<Mix> {
    if weights.is_empty() {
        return Ok(Mix::training());
    }
    let shares: BTreeMap<Category, f64> = weights.iter().copied().collect();
    if shares.len() < weights.len() {
        bail!("--mix names a category twice");
    }
    Mix::from_weights(shares).context("--mix")
}

/// Weights of a part of the model that training goes on from.
fn start(from: Option<&str>, part: &str, stem: &str) -> Result<Option<Weights>> {
    let weights = |name| Ok(ModelFiles::find(name)?.weights(part, stem)?);
    from.map(weights).transpose()
}

/// The towers of a model that has them, else its text encoder.
fn clip_start(from: Option<&str>) -> Result<Option<Weights>> {
    let Some(name) = from else { return Ok(None) };
    let files = ModelFiles::find(name)?;
    let towers = files.weights("clip", "model");
    Ok(Some(towers.or_else(|_| files.weights("text_encoder", "model"))?))
}

fn tokenizer() -> Result<Tokenizer> {
    let files = ModelFiles::built_in();
    let read = |name| files.read(&format!("tokenizer/{name}"));
    let (vocab, merges) = (read("vocab.json")?, read("merges.txt")?);
    Ok(Tokenizer::new(&vocab, &merges, &read("tokenizer_config.json")?)?)
}

/// Rows of the token table, and the end token's id.
fn vocabulary(tokenizer: &Tokenizer) -> Result<(i64, i64)> {
    let end = *tokenizer.encode("")?.ids.last().context("the tokenizer has no end token")?;
    Ok((tokenizer.vocabulary_size() as i64, end))
}

/// Trains with a progress bar; where nobody watches, one plain line every few minutes.
fn train_with_bar(objective: &mut dyn Objective, plan: &TrainingPlan, folder: &Path) -> Result<()> {
    const LINE_EVERY: Duration = Duration::from_secs(60);
    let bar = bar(plan.steps, "steps");
    let mut last_line = std::time::Instant::now();
    let mut smooth = None;
    let result = train(objective, plan, folder, &mut |r: StepReport| {
        let average = smooth.map_or(r.loss, |s: f64| s * 0.98 + r.loss * 0.02);
        smooth = Some(average);
        bar.set_position(r.step);
        bar.set_message(format!("loss {average:.4} {:.0} images/s", r.images_per_second));
        if bar.is_hidden() && last_line.elapsed() > LINE_EVERY {
            last_line = std::time::Instant::now();
            note(&format!(
                "step {}/{} loss {average:.4} {:.0} images/s",
                r.step, r.steps, r.images_per_second
            ));
        }
    });
    bar.finish_and_clear();
    Ok(result?)
}

/// Moves finished parts from the run's folder into the model's.
fn install(run: &Path, model: &Path, parts: &[&str]) -> Result<()> {
    for part in parts {
        let (from, to) = (run.join(part), model.join(part));
        if to.exists() {
            std::fs::remove_dir_all(&to).with_context(|| to.display().to_string())?;
        }
        std::fs::rename(&from, &to).with_context(|| to.display().to_string())?;
    }
    Ok(())
}

/// Makes the models kept on the way whole, each in a folder of its own.
fn install_snapshots(run: &Path, model: &Path) -> Result<()> {
    let kept = run.join(SNAPSHOTS);
    if !kept.is_dir() {
        return Ok(());
    }
    let to = model.join(SNAPSHOTS);
    std::fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
    for entry in std::fs::read_dir(&kept).with_context(|| kept.display().to_string())? {
        let (entry, vae) = (entry?, model.join("vae"));
        let path = to.join(entry.file_name());
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        std::fs::rename(entry.path(), &path).with_context(|| path.display().to_string())?;
        std::fs::create_dir_all(path.join("vae"))?;
        for file in std::fs::read_dir(&vae).with_context(|| vae.display().to_string())? {
            let file = file?;
            std::fs::copy(file.path(), path.join("vae").join(file.file_name()))?;
        }
        write_frame(&path)?;
    }
    Ok(())
}

/// Tokenizer files and the index that make the folder a model.
fn write_frame(model: &Path) -> Result<()> {
    const INDEX: &str = include_str!("../../fixtures/scripts/shapes_model_index.json");
    let files = ModelFiles::built_in();
    std::fs::create_dir_all(model.join("tokenizer"))?;
    for name in ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"] {
        let path = format!("tokenizer/{name}");
        std::fs::write(model.join(&path), files.read(&path)?)?;
    }
    std::fs::write(model.join("model_index.json"), INDEX)?;
    Ok(())
}
