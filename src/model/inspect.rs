//! What a checkpoint holds against what its configs ask for, all at once. Only headers are read,
//! unless the numbers are to be checked too.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use tch::{Device, Kind};

use super::attention::AttentionKernel;
use super::clip::{ProjectedTextEncoder, TextEncoder};
use super::config::{ClipTextConfig, ConfigError, UnetConfig, VaeConfig};
use super::error::ModelError;
use super::files::{ModelFiles, read_tokenizer};
use super::parameters::{Mismatch, Store, WeightsError};
use super::unet::Unet;
use super::vae::Vae;
use super::weights::Weights;

/// A model's parts, whether they are whole or not.
#[derive(Debug)]
pub struct Inspection {
    /// "Stable Diffusion 1.x".
    pub family: String,
    /// The parts with weights.
    pub parts: Vec<Part>,
    /// What is wrong with the files that are no weights.
    pub problems: Vec<ModelError>,
}

/// A part of a model.
#[derive(Debug)]
pub struct Part {
    /// Its folder: `unet`.
    pub name: &'static str,
    /// Its weights.
    pub contents: Option<Contents>,
    /// Why it cannot be checked.
    pub error: Option<ModelError>,
    /// Tensors that are missing, extra, of another shape or kind.
    pub mismatches: Vec<Mismatch>,
}

/// What the weight files of a part hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Kinds of these numbers: `F16`, `F32` …
    pub dtypes: BTreeSet<String>,
    /// Bytes they take.
    pub bytes: u64,
}

impl Contents {
    fn of(weights: &Weights) -> Self {
        let mut contents = Self { tensors: 0, parameters: 0, dtypes: BTreeSet::new(), bytes: 0 };
        for (_, stored) in weights.iter() {
            contents.tensors += 1;
            contents.parameters += stored.shape().iter().product::<i64>() as u64;
            contents.dtypes.insert(stored.dtype());
            contents.bytes += stored.bytes();
        }
        contents
    }
}

impl Inspection {
    /// True if nothing is wrong.
    pub fn is_whole(&self) -> bool {
        let part_is_whole = |part: &Part| part.error.is_none() && part.mismatches.is_empty();
        self.problems.is_empty() && self.parts.iter().all(part_is_whole)
    }
}

/// Looks at all parts of a model; with `numbers` also for NaN and infinity in the weights, which
/// reads all of them.
pub fn inspect(files: &ModelFiles, numbers: bool) -> Inspection {
    /// Text encoder, denoiser and autoencoder.
    const ONE_ENCODER: usize = 3;
    let mut parts = vec![
        part(files, numbers, "text_encoder", "model", text_encoder),
        part(files, numbers, "unet", "diffusion_pytorch_model", denoiser),
        part(files, numbers, "vae", "diffusion_pytorch_model", autoencoder),
    ];
    if files.has("text_encoder_2/config.json") {
        parts.insert(1, part(files, numbers, "text_encoder_2", "model", second_text_encoder));
    }
    let mut problems = vec![files.scheduler().err(), read_tokenizer(files, "tokenizer").err()];
    if parts.len() > ONE_ENCODER {
        problems.push(read_tokenizer(files, "tokenizer_2").err());
    }
    let problems = problems.into_iter().flatten().collect();
    Inspection { family: family(files), parts, problems }
}

/// The family by its configs.
fn family(files: &ModelFiles) -> String {
    /// Channels of the prompt's embedding in Stable Diffusion 1 and 2.
    const CONTEXTS: [(i64, &str); 2] =
        [(768, "Stable Diffusion 1.x"), (1024, "Stable Diffusion 2.x")];
    if let Some(single) = files.single_file() {
        return single.family().label().to_owned();
    }
    match files.json::<UnetConfig>("unet/config.json") {
        Err(_) => "unknown".to_owned(),
        Ok(config) if config.addition_embed_type.as_deref() == Some("text_time") => {
            "Stable Diffusion XL".to_owned()
        }
        Ok(config) => {
            let context = config.cross_attention_dim;
            let known = CONTEXTS.iter().find(|(channels, _)| *channels == context);
            known.map_or_else(
                || format!("Stable Diffusion with a context of {context} channels"),
                |(_, family)| (*family).to_owned(),
            )
        }
    }
}

/// Builds a part from its config, so that it asks a store for all its tensors.
type Build = fn(&Store, &ModelFiles, &str) -> Result<(), ModelError>;

fn part(files: &ModelFiles, numbers: bool, name: &'static str, stem: &str, build: Build) -> Part {
    let mut part = Part { name, contents: None, error: None, mismatches: Vec::new() };
    let checked = (|| {
        let weights = files.weights(name, stem)?;
        part.contents = Some(Contents::of(&weights));
        let store = if numbers {
            Store::of(weights, Kind::Float, Device::Cpu)
        } else {
            Store::without_numbers(weights)
        };
        build(&store, files, &format!("{name}/config.json"))?;
        store.finish()?;
        Ok(())
    })();
    match checked {
        Ok(()) => {}
        Err(ModelError::Weights(WeightsError::Mismatch { problems, .. })) => {
            part.mismatches = problems;
        }
        Err(error) => part.error = Some(error),
    }
    part
}

fn config<T: DeserializeOwned>(
    files: &ModelFiles,
    file: &str,
    check: impl Fn(&T) -> Result<(), ConfigError>,
) -> Result<T, ModelError> {
    let config: T = files.json(file)?;
    check(&config).map_err(|source| ModelError::Config { path: files.path(file), source })?;
    Ok(config)
}

fn text_encoder(store: &Store, files: &ModelFiles, file: &str) -> Result<(), ModelError> {
    let config = config(files, file, ClipTextConfig::check)?;
    store.ignore_extra(|name| name.ends_with("position_ids") || name == "text_projection.weight");
    let prefix = if store.has("text_model.") { "text_model" } else { "" };
    TextEncoder::new(&store.root(&RefCell::default()).below(prefix), &config);
    Ok(())
}

fn second_text_encoder(store: &Store, files: &ModelFiles, file: &str) -> Result<(), ModelError> {
    let config = config(files, file, ClipTextConfig::check)?;
    store.ignore_extra(|name| name.ends_with("position_ids"));
    ProjectedTextEncoder::new(&store.root(&RefCell::default()), &config);
    Ok(())
}

fn denoiser(store: &Store, files: &ModelFiles, file: &str) -> Result<(), ModelError> {
    let config = config(files, file, UnetConfig::check)?;
    Unet::new(&store.root(&RefCell::default()), &config, AttentionKernel::Auto);
    Ok(())
}

fn autoencoder(store: &Store, files: &ModelFiles, file: &str) -> Result<(), ModelError> {
    let config = config(files, file, VaeConfig::check)?;
    Vae::new(&store.root(&RefCell::default()), &config);
    Ok(())
}
