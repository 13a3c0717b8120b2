use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RunError;

/// Name of the manifest in a run folder.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Name of the spec in a run folder.
pub const SPEC_FILE: &str = "spec.toml";

/// Version of the manifest's own form.
pub const MANIFEST_VERSION: u32 = 1;

/// What was run, on what, and which files came of it: all that repeating a run needs.
///
/// [`Manifest::new`] fills in what is known everywhere; a probe adds the rest;
/// [`super::RunFolder::finish`] adds name, times, spec digest and files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this form.
    pub manifest_version: u32,
    /// Name of the run folder as it was made.
    pub run: String,
    /// Which probe ran.
    pub probe: String,
    /// Version of denoscope.
    pub denoscope: String,
    /// Revision of the repository the command ran in, with `-dirty` when it had changes.
    pub git_revision: Option<String>,
    /// The command line.
    pub argv: Vec<String>,
    /// When the run began, UTC.
    #[serde(with = "utc")]
    pub started: Timestamp,
    /// When it was finished, UTC.
    #[serde(with = "utc")]
    pub finished: Timestamp,
    /// The model, when one was loaded.
    pub model: Option<ModelRecord>,
    /// How far the model was trained, where it is a checkpoint of a training run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingRecord>,
    /// What it ran on.
    pub runtime: Option<RuntimeRecord>,
    /// How images were drawn from it.
    pub sampling: Option<SamplingRecord>,
    /// All prompts, in order.
    pub prompts: Vec<String>,
    /// See [`super::digest_prompts`].
    pub prompt_set_sha256: String,
    /// Version of the scene generator, when it took part.
    pub world_version: Option<String>,
    /// Version of the judge, when one took part.
    pub judge_version: Option<String>,
    /// What the report says in its head, label and value, where it is not what the rest of the
    /// manifest tells: needed to make the report again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String)>,
    /// What the report warns of and no table holds, such as measures that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// SHA-256 of `spec.toml`.
    pub spec_sha256: String,
    /// Version of each table's schema.
    pub schemas: BTreeMap<String, u32>,
    /// Every file of the run but the manifest itself.
    pub files: Vec<FileRecord>,
}

/// Which weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// As given on the command line: `shapes`, a folder, a hub id.
    pub name: String,
    /// Learned numbers in all parts; none in runs of versions that did not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Each weight file, relative to the model's folder.
    pub weights: Vec<FileRecord>,
}

/// How far a model was trained when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// Optimiser steps.
    pub step: u64,
    /// Images it was trained with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<u64>,
}

/// A file, its size and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Relative path with forward slashes.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// Libraries, device and arithmetic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeRecord {
    /// Version of libtorch.
    pub libtorch: String,
    /// Version of the binding.
    pub tch: String,
    /// `cpu`, `cuda:0` …
    pub device: String,
    /// `f32`, `bf16`, `f16`.
    pub dtype: String,
    /// Threads used within one operation.
    pub threads: usize,
    /// `fused` or `explicit`: they differ by rounding, so compared runs use the same one.
    pub attention_kernel: String,
}

/// Sampler, guidance, seeds and size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplingRecord {
    /// Name of the sampler; `none` where an image was looked at and nothing sampled.
    pub sampler: String,
    /// Strength of guidance in both conventions.
    pub guidance: Guidance,
    /// Share by which the guided output got the conditional one's deviation; 0 is none.
    #[serde(default)]
    pub guidance_rescale: f64,
    /// η of DDIM; 0 for all other samplers.
    #[serde(default)]
    pub eta: f64,
    /// Denoising steps; of a look, its timesteps.
    pub steps: usize,
    /// One seed an image.
    pub seeds: Vec<u64>,
    /// Image width in pixels.
    pub width: usize,
    /// Image height in pixels.
    pub height: usize,
    /// What guidance leads away from; the empty prompt by default.
    pub negative: String,
    /// The image the run was given, if it was given one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRecord>,
}

/// An image that a run was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its path as it was given.
    pub path: String,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub sha256: String,
    /// `start`: sampled on from it; `look`: looked at and nothing sampled; `invert`: turned
    /// into noise and drawn from that again.
    pub purpose: String,
    /// Share of the steps taken, where it was sampled on from.
    pub strength: Option<f64>,
    /// Timesteps of training it was looked at, the noisiest first.
    pub timesteps: Vec<i64>,
}

/// Classifier-free guidance in its two conventions, which differ by one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Guidance {
    /// s of ε = ε_u + s·(ε_c − ε_u).
    pub scale: f64,
    /// γ = s − 1 of ε = (1 + γ)·ε_c − γ·ε_u.
    pub gamma: f64,
}

impl Guidance {
    /// From the common convention.
    pub fn from_scale(scale: f64) -> Self {
        Self { scale, gamma: scale - 1.0 }
    }
}

impl Manifest {
    /// A manifest with this program's version and arguments, and nothing else known yet.
    pub fn new(probe: &str) -> Self {
        let now = now();
        Self {
            manifest_version: MANIFEST_VERSION,
            run: String::new(),
            probe: probe.to_owned(),
            denoscope: env!("CARGO_PKG_VERSION").to_owned(),
            git_revision: None,
            argv: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
            started: now,
            finished: now,
            model: None,
            training: None,
            runtime: None,
            sampling: None,
            prompts: Vec::new(),
            prompt_set_sha256: super::digest_prompts::<&str>(&[]),
            world_version: None,
            judge_version: None,
            facts: Vec::new(),
            warnings: Vec::new(),
            spec_sha256: String::new(),
            schemas: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    /// As JSON, with a line end.
    ///
    /// # Errors
    /// [`RunError::Encode`].
    pub fn to_json(&self) -> Result<Vec<u8>, RunError> {
        let mut json =
            serde_json::to_vec_pretty(self).map_err(|source| RunError::Encode { source })?;
        json.push(b'\n');
        Ok(json)
    }

    /// Sets the prompts and their digest together.
    pub fn set_prompts(&mut self, prompts: Vec<String>) {
        self.prompt_set_sha256 = super::digest_prompts(&prompts);
        self.prompts = prompts;
    }
}

/// Revision of the git repository around `folder`, with `-dirty` when it has changes; `None`
/// outside a repository or without git.
pub fn git_revision(folder: &Path) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])
        .output()
        .ok()?;
    let revision = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !revision.is_empty()).then_some(revision)
}

/// The present, to the second.
pub(super) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Timestamps as RFC 3339 text, such as `2026-01-31T09:30:00Z`.
mod utc {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|error| D::Error::custom(format!("{text:?} is no time: {error}")))
    }
}
