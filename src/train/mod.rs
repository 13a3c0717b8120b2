//! Training of the built-in model's parts.
//!
//! All randomness is a function of (seed, step), and a checkpoint holds everything that
//! changes, so a run that was stopped goes on with the same losses as one that was not.

pub mod clip;
pub mod denoiser;
mod optimizer;
pub mod reading;
mod scenes;
pub mod vae;

pub use optimizer::{AdamW, FlatParameters};

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::INTERRUPTED;
use crate::model::checkpoint::ModelError;
use crate::model::conditioning::ConditioningError;
use crate::model::parameters::{Parameters, WeightFile, WeightsError, save_tensors};
use crate::tap::TapError;

/// What all training runs are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingPlan {
    /// Optimiser steps in all.
    pub steps: u64,
    /// Images a step.
    pub batch: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps of linear growth to it; a cosine takes it to zero afterwards.
    pub warmup: u64,
    /// Decoupled weight decay of matrices and convolutions.
    pub weight_decay: f64,
    /// Decay of the running average of weights that is shipped.
    pub ema_decay: f64,
    /// Gradients are scaled down to this norm.
    pub clip_norm: f64,
    /// Seed of data, noise and initial weights.
    pub seed: u64,
    /// Kind of activations and products; weights stay f32.
    pub bf16: bool,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between previews.
    pub preview_every: u64,
    /// How many models are kept on the way, at steps N·(k/count)²: close together at the start,
    /// where most is learned (the spacing of Park et al. 2024).
    #[serde(default)]
    pub snapshots: u64,
}

impl TrainingPlan {
    /// Whether the model is kept after so many steps.
    pub fn keeps(&self, step: u64) -> bool {
        let at = |k: u64| (self.steps as f64 * (k as f64 / self.snapshots as f64).powi(2)).round();
        (1..=self.snapshots).any(|k| at(k) as u64 == step)
    }

    /// Learning rate at a step: linear warm-up, then half a cosine (Loshchilov & Hutter 2017).
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f64 / self.warmup as f64;
        }
        let done = (step - self.warmup) as f64 / (self.steps - self.warmup).max(1) as f64;
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos())
    }

    /// Kind of activations.
    pub fn kind(&self) -> Kind {
        if self.bf16 { Kind::BFloat16 } else { Kind::Float }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// The first that makes no sense.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |problem: &str| Err(TrainError::Plan(problem.to_owned()));
        if self.steps == 0 || self.batch == 0 {
            return refuse("steps and batch must be at least 1");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return refuse("the learning rate must be positive");
        }
        if !(0.0..1.0).contains(&self.ema_decay) {
            return refuse("the EMA decay must be within [0, 1)");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse("the weight decay must be zero or positive");
        }
        if self.clip_norm.is_nan() || self.clip_norm <= 0.0 {
            return refuse("the gradient's largest norm must be positive");
        }
        if self.checkpoint_every == 0 || self.preview_every == 0 {
            return refuse("checkpoints and previews must be at least 1 step apart");
        }
        Ok(())
    }
}

/// Errors of training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Numbers that make no sense.
    #[error("training plan: {0}")]
    Plan(String),
    /// A checkpoint of another run.
    #[error("{}: {problem}; train into another folder, or remove this one", path.display())]
    Checkpoint {
        /// Which file.
        path: PathBuf,
        /// Why it cannot be resumed.
        problem: String,
    },
    /// The loss is no number any more.
    #[error("step {step}: the loss is {loss}; lower the learning rate, or use --dtype f32")]
    Diverged {
        /// At which step.
        step: u64,
        /// What it was.
        loss: f64,
    },
    /// Ctrl-C; a checkpoint was written.
    #[error("interrupted after step {step}; the same command resumes")]
    Interrupted {
        /// Steps done.
        step: u64,
    },
    /// Writing or reading weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Opening a part that is trained on.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A text encoder and a denoiser that do not fit each other.
    #[error(transparent)]
    Conditioning(#[from] ConditioningError),
    /// A tap refused (there is none in training).
    #[error(transparent)]
    Tap(#[from] TapError),
    /// A file of the run cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What is trained: gives a loss, takes weights.
pub trait Objective {
    /// The parameters that learn.
    fn parameters(&self) -> &Parameters;

    /// What makes this objective another than one of the same kind: architecture, loss,
    /// target. A run is resumed only with the settings it was started with.
    fn settings(&self) -> serde_json::Value;

    /// The loss of one step, a scalar. The random state of libtorch has been set from seed
    /// and step before the call.
    ///
    /// # Errors
    /// What keeps the step from being made.
    fn loss(&mut self, step: u64) -> Result<Tensor, TrainError>;

    /// Writes what a person would look at, with the averaged weights in place.
    ///
    /// # Errors
    /// A folder that cannot be written.
    fn preview(&mut self, folder: &Path, step: u64) -> Result<(), TrainError>;

    /// Writes the trained part in diffusers layout, with the averaged weights in place.
    ///
    /// # Errors
    /// A folder that cannot be written.
    fn export(&self, folder: &Path) -> Result<(), TrainError>;
}

/// News of one step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Loss of this step.
    pub loss: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Images a second since the start of this sitting.
    pub images_per_second: f64,
}

const CHECKPOINT: &str = "checkpoint.safetensors";
const LOSSES: &str = "losses.csv";
/// Settings that a resumed run may have otherwise.
const MAY_CHANGE: [&str; 4] = ["steps", "checkpoint_every", "preview_every", "snapshots"];
const PLAN: &str = "plan.json";
/// Folder of the models kept on the way, each in a folder named by its step.
pub const SNAPSHOTS: &str = "snapshots";

/// Trains to the end of the plan, resuming from the folder's checkpoint if there is one.
///
/// # Errors
/// See [`TrainError`]; at Ctrl-C a checkpoint is written first.
pub fn train(
    objective: &mut dyn Objective,
    plan: &TrainingPlan,
    folder: &Path,
    report: &mut dyn FnMut(StepReport),
) -> Result<(), TrainError> {
    plan.check()?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| TrainError::Io { path, source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    check_same_settings(plan, objective.settings(), folder)?;
    let mut flat = FlatParameters::new(objective.parameters());
    let mut optimizer = AdamW::new(&flat, plan);
    let checkpoint = folder.join(CHECKPOINT);
    let mut step = 0;
    if checkpoint.is_file() {
        step = optimizer.resume(&mut flat, &checkpoint)?;
    }
    let mut losses = LossFile::open(&folder.join(LOSSES), step)?;
    let (first, start) = (step, Instant::now());
    while step < plan.steps {
        tch::manual_seed(mix(plan.seed, step));
        let loss = objective.loss(step)?;
        let value = loss.double_value(&[]);
        if !value.is_finite() {
            return Err(TrainError::Diverged { step, loss: value });
        }
        loss.backward();
        let learning_rate = plan.rate(step);
        optimizer.step(&mut flat, learning_rate);
        step += 1;
        losses.add(step, value, learning_rate)?;
        let images = ((step - first) * plan.batch as u64) as f64;
        let images_per_second = images / start.elapsed().as_secs_f64();
        report(StepReport {
            step,
            steps: plan.steps,
            loss: value,
            learning_rate,
            images_per_second,
        });
        let interrupted = INTERRUPTED.load(Ordering::Relaxed);
        if step % plan.checkpoint_every == 0 || step == plan.steps || interrupted {
            losses.flush()?;
            optimizer.save(&flat, step, &checkpoint)?;
        }
        if interrupted {
            return Err(TrainError::Interrupted { step });
        }
        if plan.keeps(step) {
            let kept = folder.join(SNAPSHOTS).join(format!("{step:06}"));
            flat.with_values(&optimizer.average(), || objective.export(&kept))?;
        }
        if step % plan.preview_every == 0 && step < plan.steps {
            let average = optimizer.average();
            flat.with_values(&average, || objective.preview(folder, step))?;
        }
    }
    let average = optimizer.average();
    flat.with_values(&average, || {
        objective.preview(folder, step)?;
        objective.export(folder)
    })
}

/// A seed for each step of a run (SplitMix64's mixing, Steele et al. 2014).
pub fn mix(seed: u64, step: u64) -> i64 {
    let mut z = seed ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 1) as i64
}

/// Notes plan and objective in the folder, or compares them with what is noted there.
fn check_same_settings(
    plan: &TrainingPlan,
    objective: serde_json::Value,
    folder: &Path,
) -> Result<(), TrainError> {
    const OBJECTIVE: &str = "objective";
    let path = folder.join(PLAN);
    let io = |source| TrainError::Io { path: path.clone(), source };
    let problem = |problem: String| TrainError::Checkpoint { path: path.clone(), problem };
    let json = |e: serde_json::Error| problem(e.to_string());
    let mut now = serde_json::to_value(plan).map_err(json)?;
    now[OBJECTIVE] = objective;
    let text = serde_json::to_string_pretty(&now).map_err(json)?;
    if !path.is_file() {
        return std::fs::write(&path, text).map_err(io);
    }
    let before = std::fs::read_to_string(&path).map_err(io)?;
    // Both are read from text: reading may change the last bit of a number.
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    let (mut before, mut now) = (read(&before).map_err(json)?, read(&text).map_err(json)?);
    if let (None, Some(now)) = (before.get(OBJECTIVE), now.as_object_mut()) {
        // Folders of earlier versions hold the plan alone.
        now.remove(OBJECTIVE);
    }
    // The length of a run, and how often it writes, may change between sittings.
    for settings in [&mut before, &mut now] {
        if let Some(settings) = settings.as_object_mut() {
            settings.retain(|key, _| !MAY_CHANGE.contains(&key.as_str()));
        }
    }
    if before != now {
        return Err(problem("a run with other settings is in this folder".into()));
    }
    std::fs::write(&path, text).map_err(io)
}

/// The loss of every step, as CSV.
struct LossFile {
    path: PathBuf,
    file: std::io::BufWriter<std::fs::File>,
}

impl LossFile {
    /// Opens the file, keeping the rows up to `step` (a stopped run may have written more
    /// than its checkpoint knows).
    fn open(path: &Path, step: u64) -> Result<Self, TrainError> {
        let io = |source| TrainError::Io { path: path.to_owned(), source };
        let old =
            if path.is_file() { std::fs::read_to_string(path).map_err(io)? } else { String::new() };
        let kept = old.lines().skip(1).take(step as usize);
        let mut text = String::from("step,loss,learning_rate\n");
        for line in kept {
            text.push_str(line);
            text.push('\n');
        }
        std::fs::write(path, text).map_err(io)?;
        let file = std::fs::OpenOptions::new().append(true).open(path).map_err(io)?;
        Ok(Self { path: path.to_owned(), file: std::io::BufWriter::new(file) })
    }

    fn add(&mut self, step: u64, loss: f64, learning_rate: f64) -> Result<(), TrainError> {
        use std::io::Write;
        writeln!(self.file, "{step},{loss},{learning_rate}").map_err(|source| self.error(source))
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        use std::io::Write;
        self.file.flush().map_err(|source| self.error(source))
    }

    fn error(&self, source: std::io::Error) -> TrainError {
        TrainError::Io { path: self.path.clone(), source }
    }
}

/// Writes a part of a model: `<folder>/<part>/config.json` and its weights in f16.
pub(crate) fn export_part<C: Serialize>(
    folder: &Path,
    part: &str,
    config: (&C, &[(&str, serde_json::Value)]),
    weights: (&str, &Parameters),
) -> Result<(), TrainError> {
    let to = folder.join(part);
    let io = |source| TrainError::Io { path: to.clone(), source };
    std::fs::create_dir_all(&to).map_err(io)?;
    let json = |e: serde_json::Error| TrainError::Plan(e.to_string());
    let mut value = serde_json::to_value(config.0).map_err(json)?;
    if let Some(object) = value.as_object_mut() {
        for (key, extra) in config.1 {
            object.insert((*key).to_owned(), extra.clone());
        }
    }
    let text = serde_json::to_string_pretty(&value).map_err(json)?;
    std::fs::write(to.join("config.json"), text + "\n").map_err(io)?;
    weights.1.save(&to.join(format!("{}.safetensors", weights.0)), Kind::Half)?;
    Ok(())
}

/// Tensors of a checkpoint file, by name.
pub(crate) fn load_tensors(
    path: &Path,
) -> Result<std::collections::BTreeMap<String, Tensor>, TrainError> {
    Ok(WeightFile::open(path)?.tensors()?)
}

/// Saves tensors of a checkpoint file.
pub(crate) fn store_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), TrainError> {
    Ok(save_tensors(path, tensors)?)
}

/// The device of parameters.
pub(crate) fn device_of(parameters: &Parameters) -> Device {
    parameters.iter().next().map_or(Device::Cpu, |(_, t)| t.device())
}
