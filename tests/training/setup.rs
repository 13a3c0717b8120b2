//! Small objectives, and runs of them that stop where a test says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use denoscope::INTERRUPTED;
use denoscope::model::config::{ClipTextConfig, ClipVisionConfig, PerBlock, UnetConfig, VaeConfig};
use denoscope::model::parameters::Store;
use denoscope::model::tokenizer::Tokenizer;
use denoscope::model::vae::Vae;
use denoscope::sampler::Prediction;
use denoscope::train::clip::{ClipObjective, shapes_text_config, shapes_vision_config};
use denoscope::train::denoiser::{
    DenoiserLoss, DenoiserObjective, Surroundings, shapes_config, shapes_schedule,
};
use denoscope::train::vae::{self, VaeLoss, VaeObjective};
use denoscope::train::{Objective, StepReport, TrainError, TrainingPlan, train};
use denoscope::world::Mix;
use tch::Device;

/// libtorch's random state and the flag of Ctrl-C belong to the whole process: one training
/// run at a time.
static ALONE: Mutex<()> = Mutex::new(());

pub fn alone() -> MutexGuard<'static, ()> {
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    INTERRUPTED.store(false, Ordering::Relaxed);
    // Tensors are tiny: threads of a busy machine would wait for each other most of the time.
    tch::set_num_threads(1);
    guard
}

pub const PIXELS: i64 = 16;

pub fn plan(steps: u64, batch: usize) -> TrainingPlan {
    TrainingPlan {
        steps,
        batch,
        learning_rate: 2e-3,
        warmup: 2,
        weight_decay: 0.01,
        ema_decay: 0.999,
        clip_norm: 1.0,
        seed: 5,
        bf16: false,
        checkpoint_every: 4,
        preview_every: 3,
        snapshots: 0,
    }
}

pub fn vae_config(channels: i64) -> VaeConfig {
    VaeConfig {
        block_out_channels: vec![channels, channels],
        down_block_types: vec!["DownEncoderBlock2D".into(); 2],
        up_block_types: vec!["UpDecoderBlock2D".into(); 2],
        norm_num_groups: 4,
        sample_size: PIXELS,
        ..vae::shapes_config()
    }
}

pub fn vae_objective(plan: &TrainingPlan, channels: i64) -> VaeObjective {
    let (config, loss) = (vae_config(channels), VaeLoss::default());
    VaeObjective::new(config, None, loss, Mix::training(), plan, Device::Cpu).unwrap()
}

pub fn tokenizer() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/shapes/tokenizer");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let config = read("tokenizer_config.json");
    Tokenizer::new(&read("vocab.json"), &read("merges.txt"), &config).unwrap()
}

pub fn text_config(tokenizer: &Tokenizer) -> ClipTextConfig {
    let end = *tokenizer.encode("").unwrap().ids.last().unwrap();
    let (rows, length) = (tokenizer.vocabulary_size() as i64, tokenizer.max_length() as i64);
    ClipTextConfig {
        hidden_size: 16,
        intermediate_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        projection_dim: 16,
        ..shapes_text_config(rows, length, end)
    }
}

pub fn vision_config() -> ClipVisionConfig {
    ClipVisionConfig {
        hidden_size: 16,
        intermediate_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        image_size: PIXELS,
        projection_dim: 16,
        ..shapes_vision_config()
    }
}

pub fn clip_objective(plan: &TrainingPlan) -> ClipObjective {
    let tokenizer = tokenizer();
    let configs = (text_config(&tokenizer), vision_config());
    ClipObjective::new(configs, None, tokenizer, Mix::training(), plan, Device::Cpu).unwrap()
}

pub fn unet_config(context: i64) -> UnetConfig {
    let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    UnetConfig {
        sample_size: PIXELS / 2,
        block_out_channels: vec![8, 16],
        down_block_types: names(["DownBlock2D", "CrossAttnDownBlock2D"]),
        up_block_types: names(["CrossAttnUpBlock2D", "UpBlock2D"]),
        attention_head_dim: PerBlock::Same(2),
        norm_num_groups: 4,
        ..shapes_config(context)
    }
}

pub fn denoiser_objective(
    plan: &TrainingPlan,
    prediction: Prediction,
    min_snr: Option<f64>,
) -> DenoiserObjective {
    denoiser_with(plan, prediction, DenoiserLoss { min_snr, ..DenoiserLoss::default() })
}

/// The denoiser's objective on few scenes.
pub fn denoiser_with(
    plan: &TrainingPlan,
    prediction: Prediction,
    loss: DenoiserLoss,
) -> DenoiserObjective {
    let (vae_config, tokenizer) = (vae_config(8), tokenizer());
    tch::manual_seed(1);
    let (store, sites) = (Store::fresh(Device::Cpu), RefCell::default());
    let vae = Vae::new(&store.root(&sites), &vae_config);
    store.finish().unwrap();
    let text_config = text_config(&tokenizer);
    let unet_config = unet_config(text_config.hidden_size);
    let loss = DenoiserLoss { pool: 24, ..loss };
    DenoiserObjective::new(
        (unet_config, shapes_schedule(prediction)),
        Surroundings {
            vae,
            vae_config,
            tokenizer,
            text_config,
            unet_start: None,
            text_start: None,
        },
        (loss, Mix::training()),
        plan,
        Device::Cpu,
        &mut |_, _| {},
    )
    .unwrap()
}

/// Trains to the end or to the first error; the losses of the steps made.
pub fn run(
    objective: &mut dyn Objective,
    plan: &TrainingPlan,
    folder: &Path,
) -> (Vec<(u64, u64)>, Result<(), TrainError>) {
    run_until(objective, plan, folder, u64::MAX)
}

/// Like [`run`], with Ctrl-C while step `stop` is made.
pub fn run_until(
    objective: &mut dyn Objective,
    plan: &TrainingPlan,
    folder: &Path,
    stop: u64,
) -> (Vec<(u64, u64)>, Result<(), TrainError>) {
    let mut losses = Vec::new();
    let result = train(objective, plan, folder, &mut |report: StepReport| {
        losses.push((report.step, report.loss.to_bits()));
        if report.step == stop {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    });
    INTERRUPTED.store(false, Ordering::Relaxed);
    (losses, result)
}

/// Every file below a folder, with its bytes.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}
