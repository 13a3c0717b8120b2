//! Training: resumed exactly, refused clearly, continued from trained weights.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use denoscope::INTERRUPTED;
use denoscope::model::clip::Clip;
use denoscope::model::config::{ClipTextConfig, ClipVisionConfig, PerBlock, UnetConfig, VaeConfig};
use denoscope::model::parameters::{Parameters, Store, WeightFile};
use denoscope::model::tokenizer::Tokenizer;
use denoscope::model::vae::Vae;
use denoscope::model::weights::Weights;
use denoscope::sampler::Prediction;
use denoscope::train::clip::{ClipObjective, shapes_text_config, shapes_vision_config};
use denoscope::train::denoiser::{
    DenoiserLoss, DenoiserObjective, Surroundings, shapes_config, shapes_schedule,
};
use denoscope::train::vae::{self, VaeLoss, VaeObjective};
use denoscope::train::{Objective, StepReport, TrainError, TrainingPlan, train};
use denoscope::world::Mix;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// libtorch's random state and the flag of Ctrl-C belong to the whole process: one training
/// run at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    INTERRUPTED.store(false, Ordering::Relaxed);
    // Tensors are tiny: threads of a busy machine would wait for each other most of the time.
    tch::set_num_threads(1);
    guard
}

const PIXELS: i64 = 16;

fn plan(steps: u64, batch: usize) -> TrainingPlan {
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
    }
}

fn vae_config(channels: i64) -> VaeConfig {
    VaeConfig {
        block_out_channels: vec![channels, channels],
        down_block_types: vec!["DownEncoderBlock2D".into(); 2],
        up_block_types: vec!["UpDecoderBlock2D".into(); 2],
        norm_num_groups: 4,
        sample_size: PIXELS,
        ..vae::shapes_config()
    }
}

fn vae_objective(plan: &TrainingPlan, channels: i64) -> VaeObjective {
    let (config, loss) = (vae_config(channels), VaeLoss::default());
    VaeObjective::new(config, None, loss, Mix::training(), plan, Device::Cpu).unwrap()
}

fn tokenizer() -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/shapes/tokenizer");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let config = read("tokenizer_config.json");
    Tokenizer::new(&read("vocab.json"), &read("merges.txt"), &config).unwrap()
}

fn text_config(tokenizer: &Tokenizer) -> ClipTextConfig {
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

fn vision_config() -> ClipVisionConfig {
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

fn clip_objective(plan: &TrainingPlan) -> ClipObjective {
    let tokenizer = tokenizer();
    let configs = (text_config(&tokenizer), vision_config());
    ClipObjective::new(configs, tokenizer, Mix::training(), plan, Device::Cpu).unwrap()
}

fn unet_config(context: i64) -> UnetConfig {
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

fn denoiser_objective(
    plan: &TrainingPlan,
    prediction: Prediction,
    min_snr: Option<f64>,
) -> DenoiserObjective {
    let (vae_config, tokenizer) = (vae_config(8), tokenizer());
    tch::manual_seed(1);
    let (store, sites) = (Store::fresh(Device::Cpu), RefCell::default());
    let vae = Vae::new(&store.root(&sites), &vae_config);
    store.finish().unwrap();
    let text_config = text_config(&tokenizer);
    let unet_config = unet_config(text_config.hidden_size);
    let loss = DenoiserLoss { min_snr, pool: 24, ..DenoiserLoss::default() };
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
fn run(
    objective: &mut dyn Objective,
    plan: &TrainingPlan,
    folder: &Path,
) -> (Vec<(u64, u64)>, Result<(), TrainError>) {
    run_until(objective, plan, folder, u64::MAX)
}

/// Like [`run`], with Ctrl-C while step `stop` is made.
fn run_until(
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
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
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

/// A run that was stopped twice ends with the same losses and the same files as one that was
/// not.
fn resumes_exactly(make: &dyn Fn(&TrainingPlan) -> Box<dyn Objective>, weights: &[&str]) {
    let plan = plan(6, 3);
    let (whole, stopped) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (expected, result) = run(make(&plan).as_mut(), &plan, whole.path());
    result.unwrap();
    assert_eq!(expected.len(), 6);

    let mut losses = Vec::new();
    for stop in [2, 5] {
        let (made, result) = run_until(make(&plan).as_mut(), &plan, stopped.path(), stop);
        let Err(TrainError::Interrupted { step }) = result else { panic!("{result:?}") };
        assert_eq!(step, stop);
        losses.extend(made);
    }
    let (made, result) = run(make(&plan).as_mut(), &plan, stopped.path());
    result.unwrap();
    losses.extend(made);
    assert_eq!(losses, expected);

    let (got, expected) = (files(stopped.path()), files(whole.path()));
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for name in weights.iter().copied().chain(["checkpoint.safetensors", "losses.csv"]) {
        assert!(expected.contains_key(Path::new(name)), "{name} is not there");
    }
    for (name, bytes) in &expected {
        assert!(got[name] == *bytes, "{} differs", name.display());
    }
}

#[test]
fn a_stopped_autoencoder_resumes_exactly() {
    let _alone = alone();
    resumes_exactly(
        &|plan| Box::new(vae_objective(plan, 8)),
        &["vae/diffusion_pytorch_model.safetensors", "vae/config.json"],
    );
}

#[test]
fn a_stopped_clip_resumes_exactly() {
    let _alone = alone();
    resumes_exactly(&|plan| Box::new(clip_objective(plan)), &["clip/model.safetensors"]);
}

#[test]
fn a_stopped_denoiser_resumes_exactly() {
    let _alone = alone();
    resumes_exactly(
        &|plan| Box::new(denoiser_objective(plan, Prediction::V, Some(5.0))),
        &[
            "unet/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors",
            "scheduler/scheduler_config.json",
        ],
    );
}

/// Passes everything on, but fails at one step.
struct FailsAt<O> {
    inner: O,
    step: u64,
    loss: Option<f64>,
}

impl<O: Objective> Objective for FailsAt<O> {
    fn parameters(&self) -> &Parameters {
        self.inner.parameters()
    }

    fn settings(&self) -> serde_json::Value {
        self.inner.settings()
    }

    fn loss(&mut self, step: u64) -> Result<Tensor, TrainError> {
        if step != self.step {
            return self.inner.loss(step);
        }
        match self.loss {
            Some(value) => Ok(self.inner.loss(step)? * value),
            None => Err(TrainError::Plan("the power went".into())),
        }
    }

    fn preview(&mut self, folder: &Path, step: u64) -> Result<(), TrainError> {
        self.inner.preview(folder, step)
    }

    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        self.inner.export(folder)
    }
}

/// A run that was killed, not stopped, goes on from its last checkpoint; what it had noted
/// since is made again.
#[test]
fn a_killed_run_goes_on_from_its_checkpoint() {
    let _alone = alone();
    let plan = plan(6, 2);
    let (whole, killed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (expected, result) = run(&mut vae_objective(&plan, 8), &plan, whole.path());
    result.unwrap();

    let mut fails = FailsAt { inner: vae_objective(&plan, 8), step: 5, loss: None };
    let (made, result) = run(&mut fails, &plan, killed.path());
    assert!(matches!(result, Err(TrainError::Plan(_))), "{result:?}");
    assert_eq!(made, expected[..5]);
    let (made, result) = run(&mut vae_objective(&plan, 8), &plan, killed.path());
    result.unwrap();
    assert_eq!(made, expected[4..], "checkpoints are 4 steps apart");
    assert!(files(killed.path()) == files(whole.path()));
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let _alone = alone();
    let plan = plan(6, 2);
    for value in [f64::NAN, f64::INFINITY] {
        let folder = TempDir::new().unwrap();
        let inner = vae_objective(&plan, 8);
        let mut objective = FailsAt { inner, step: 2, loss: Some(value) };
        let (_, result) = run(&mut objective, &plan, folder.path());
        let error = result.unwrap_err();
        assert!(matches!(error, TrainError::Diverged { step: 2, .. }), "{error}");
        assert!(error.to_string().contains("learning rate"), "{error}");
        assert!(!folder.path().join("vae").exists(), "a broken model was exported");
    }
}

/// A folder with a run that was stopped at its second step.
fn stopped_run(plan: &TrainingPlan) -> TempDir {
    let folder = TempDir::new().unwrap();
    let (_, result) = run_until(&mut vae_objective(plan, 8), plan, folder.path(), 2);
    assert!(matches!(result, Err(TrainError::Interrupted { step: 2 })), "{result:?}");
    folder
}

#[track_caller]
fn refused(objective: &mut dyn Objective, plan: &TrainingPlan, folder: &Path) -> String {
    let before = files(folder);
    let (made, result) = run(objective, plan, folder);
    let error = result.unwrap_err();
    assert!(made.is_empty(), "{} steps were made first", made.len());
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(folder.to_str().unwrap()), "{text}");
    assert!(text.contains("remove"), "no remedy in: {text}");
    assert!(files(folder) == before, "the folder of the other run was changed");
    text
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let _alone = alone();
    let plan = plan(6, 2);

    let folder = stopped_run(&plan);
    let text = refused(&mut vae_objective(&plan, 12), &plan, folder.path());
    assert!(text.contains("other settings"), "{text}");

    let changed = TrainingPlan { learning_rate: 1e-3, ..plan.clone() };
    let text = refused(&mut vae_objective(&changed, 8), &changed, folder.path());
    assert!(text.contains("other settings"), "{text}");

    let checkpoint = folder.path().join("checkpoint.safetensors");
    let whole = fs::read(&checkpoint).unwrap();
    for damaged in [&whole[..whole.len() / 2], &whole[..4], &[], b"not a checkpoint at all"] {
        fs::write(&checkpoint, damaged).unwrap();
        let text = refused(&mut vae_objective(&plan, 8), &plan, folder.path());
        assert!(text.contains("checkpoint.safetensors"), "{text}");
    }
    let other = Parameters(BTreeMap::from([("w".into(), Tensor::from_slice(&[1.0_f32]))]));
    other.save(&checkpoint, Kind::Float).unwrap();
    let text = refused(&mut vae_objective(&plan, 8), &plan, folder.path());
    assert!(text.contains("not a checkpoint"), "{text}");

    fs::write(&checkpoint, whole).unwrap();
    let foreign = TempDir::new().unwrap();
    fs::copy(&checkpoint, foreign.path().join("checkpoint.safetensors")).unwrap();
    let error = run(&mut vae_objective(&plan, 12), &plan, foreign.path()).1.unwrap_err();
    assert!(error.to_string().contains("another architecture"), "{error}");
    run(&mut vae_objective(&plan, 8), &plan, folder.path()).1.unwrap();
}

/// The same plan with another loss is another run.
#[test]
fn a_run_with_another_loss_is_refused() {
    let _alone = alone();
    let plan = plan(6, 2);
    let folder = stopped_run(&plan);
    let loss = VaeLoss { l1: 0.5, ..VaeLoss::default() };
    let config = vae_config(8);
    let mut other =
        VaeObjective::new(config, None, loss, Mix::training(), &plan, Device::Cpu).unwrap();
    let text = refused(&mut other, &plan, folder.path());
    assert!(text.contains("other settings"), "{text}");

    let folder = TempDir::new().unwrap();
    let mut first = denoiser_objective(&plan, Prediction::V, None);
    let (_, result) = run_until(&mut first, &plan, folder.path(), 1);
    assert!(matches!(result, Err(TrainError::Interrupted { step: 1 })), "{result:?}");
    for (prediction, min_snr) in [(Prediction::Epsilon, None), (Prediction::V, Some(5.0))] {
        let mut other = denoiser_objective(&plan, prediction, min_snr);
        refused(&mut other, &plan, folder.path());
    }
}

/// Settings are compared as they are written: reading a number back may not change it.
#[test]
fn a_plan_of_awkward_numbers_is_recognised() {
    let _alone = alone();
    for number in [0.1 + 0.2, 1.0 / 3.0, 2e-3 / 7.0, 7.038_531e-26, 8.988_465_674_311_58e-4] {
        let (weight_decay, ema_decay) = (number, 0.9 - number / 3.0);
        let plan = TrainingPlan { weight_decay, ema_decay, ..plan(3, 2) };
        let folder = TempDir::new().unwrap();
        let (_, result) = run_until(&mut vae_objective(&plan, 8), &plan, folder.path(), 1);
        assert!(matches!(result, Err(TrainError::Interrupted { .. })), "{result:?}");
        run(&mut vae_objective(&plan, 8), &plan, folder.path()).1.unwrap();
    }
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let _alone = alone();
    let good = plan(6, 2);
    good.check().unwrap();
    let bad = [
        TrainingPlan { steps: 0, ..good.clone() },
        TrainingPlan { batch: 0, ..good.clone() },
        TrainingPlan { learning_rate: -1.0, ..good.clone() },
        TrainingPlan { learning_rate: f64::NAN, ..good.clone() },
        TrainingPlan { learning_rate: f64::INFINITY, ..good.clone() },
        TrainingPlan { ema_decay: 1.0, ..good.clone() },
        TrainingPlan { ema_decay: f64::NAN, ..good.clone() },
        TrainingPlan { weight_decay: -0.1, ..good.clone() },
        TrainingPlan { weight_decay: f64::NAN, ..good.clone() },
        TrainingPlan { clip_norm: 0.0, ..good.clone() },
        TrainingPlan { clip_norm: f64::NAN, ..good.clone() },
        TrainingPlan { checkpoint_every: 0, ..good.clone() },
        TrainingPlan { preview_every: 0, ..good.clone() },
    ];
    for plan in bad {
        let folder = TempDir::new().unwrap();
        let (_, result) = run(&mut vae_objective(&good, 8), &plan, folder.path());
        assert!(matches!(result, Err(TrainError::Plan(_))), "{plan:?}: {result:?}");
        assert!(files(folder.path()).is_empty(), "{plan:?} left files");
    }
}

#[test]
fn the_loss_of_an_autoencoder_falls() {
    let _alone = alone();
    let steps = 30;
    let plan = TrainingPlan { learning_rate: 4e-3, preview_every: 1000, ..plan(steps, 4) };
    let folder = TempDir::new().unwrap();
    let (losses, result) = run(&mut vae_objective(&plan, 8), &plan, folder.path());
    result.unwrap();
    let mean = |part: &[(u64, u64)]| {
        part.iter().map(|(_, loss)| f64::from_bits(*loss)).sum::<f64>() / part.len() as f64
    };
    let (first, last) = (mean(&losses[..5]), mean(&losses[25..]));
    assert!(last < 0.7 * first, "from {first} to {last}");
}

/// Training that goes on from a model begins with just its weights, as rounded in its file.
#[test]
fn training_goes_on_from_trained_weights() {
    let _alone = alone();
    let plan = TrainingPlan { preview_every: 1000, ..plan(3, 3) };
    let folder = TempDir::new().unwrap();
    run(&mut vae_objective(&plan, 8), &plan, folder.path()).1.unwrap();
    let path = folder.path().join("vae/diffusion_pytorch_model.safetensors");
    let trained = Weights::open(&path).unwrap();
    let continued = |config: VaeConfig| {
        let (loss, mix) = (VaeLoss::default(), Mix::training());
        VaeObjective::new(config, Some(&trained), loss, mix, &plan, Device::Cpu)
    };
    let further = continued(vae_config(8)).unwrap();
    let stored = WeightFile::open(&path).unwrap().tensors().unwrap();
    for (name, tensor) in further.parameters().iter() {
        assert_eq!(*tensor, stored[name].to_kind(Kind::Float), "{name}");
        assert!(tensor.requires_grad(), "{name}");
    }
    assert_eq!(stored.len(), further.parameters().iter().count());
    let Err(wider) = continued(vae_config(16)) else { panic!("another architecture is taken") };
    assert!(wider.to_string().contains("the config needs"), "{wider}");
}

/// Trained from the exported folder, CLIP's text tower fits the denoiser.
#[test]
fn an_exported_clip_can_be_read_back() {
    let _alone = alone();
    let plan = TrainingPlan { preview_every: 1000, ..plan(2, 3) };
    let folder = TempDir::new().unwrap();
    let mut objective = clip_objective(&plan);
    run(&mut objective, &plan, folder.path()).1.unwrap();
    let file = WeightFile::open(&folder.path().join("clip/model.safetensors")).unwrap();
    let store = Store::from_file(&file, Kind::Float, Device::Cpu).unwrap();
    let sites = RefCell::default();
    let _clip = Clip::new(&store.root(&sites), &text_config(&tokenizer()), &vision_config());
    let read = store.finish().unwrap();
    assert_eq!(read.count(), objective.parameters().count());
}
