//! Checkpoints in one file, in the layout of the original training code (CompVis for Stable
//! Diffusion 1, Stability's for 2 and XL): what such a file is, and its parts under the names of
//! a diffusers folder.
//!
//! The layout is told from the names of the tensors and the architecture from their shapes. What
//! no tensor tells (heads, the schedule, activations) is fixed within each family.

mod config;
mod rename;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::ModelError;
use super::weights::Weights;

const DENOISER: &str = "model.diffusion_model.";
const AUTOENCODER: &str = "first_stage_model.";
const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";
const XL_CLIP: &str = "conditioner.embedders.0.transformer.";
const XL_OPEN_CLIP: &str = "conditioner.embedders.1.model.";

/// Channels of the latents of all three families.
const LATENT_CHANNELS: i64 = 4;

/// OpenCLIP-H has 24 layers; Stable Diffusion 2 was trained on the output of the last but one,
/// and a diffusers folder of it has no other.
const LAYERS_OF_SD2: usize = 23;

/// A family of architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1.x.
    Sd1,
    /// Stable Diffusion 2.x.
    Sd2,
    /// Stable Diffusion XL.
    Sdxl,
}

impl Family {
    /// "Stable Diffusion 1.x".
    pub fn label(self) -> &'static str {
        match self {
            Self::Sd1 => "Stable Diffusion 1.x",
            Self::Sd2 => "Stable Diffusion 2.x",
            Self::Sdxl => "Stable Diffusion XL",
        }
    }

    /// The parts with weights, by their folders.
    pub fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Sd1 | Self::Sd2 => &["text_encoder", "unet", "vae"],
            Self::Sdxl => &["text_encoder", "text_encoder_2", "unet", "vae"],
        }
    }
}

/// A single-file checkpoint.
#[derive(Clone, Debug)]
pub struct SingleFile {
    path: PathBuf,
    family: Family,
    weights: Weights,
    configs: Value,
}

impl SingleFile {
    /// What can be read, for messages.
    pub const READS: &str =
        "this version reads text-to-image models of Stable Diffusion 1.x, 2.x and XL";

    /// Reads the file's header and finds out what it is.
    ///
    /// # Errors
    /// Not a whole safetensors file, or one of another model or of a part only.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let weights = Weights::open(path)?;
        let unsupported =
            |(found, reads)| ModelError::Unsupported { path: path.to_owned(), found, reads };
        let family = family(&weights).map_err(unsupported)?;
        let configs = config::of(family, &weights)
            .map_err(|e| ModelError::Json { path: path.to_owned(), problem: e.to_string() })?;
        Ok(Self { path: path.to_owned(), family, weights, configs })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    pub fn family(&self) -> Family {
        self.family
    }

    /// A small JSON file that a diffusers folder of this model would have, such as
    /// `unet/config.json`.
    pub fn config(&self, file: &str) -> Option<&Value> {
        self.configs.get(file)
    }

    /// The tensors of a part by their names in a diffusers folder.
    ///
    /// # Errors
    /// A part that the family has not.
    pub fn weights(&self, part: &str) -> Result<Weights, ModelError> {
        let all = &self.weights;
        let below = |prefix: &'static str, rename: &dyn Fn(&str) -> rename::Renamed| {
            all.renamed(|name| name.strip_prefix(prefix).map(rename).unwrap_or_default())
        };
        let everything = usize::MAX;
        Ok(match (part, self.family) {
            ("unet", _) => {
                let layers = config::layers_per_block(all);
                below(DENOISER, &|name| rename::unet(name, layers))
            }
            ("vae", _) => {
                let levels = config::autoencoder_levels(all);
                below(AUTOENCODER, &|name| {
                    let for_training = ["loss.", "model_ema."];
                    if for_training.iter().any(|prefix| name.starts_with(prefix)) {
                        return Vec::new();
                    }
                    rename::vae(name, levels)
                })
            }
            ("text_encoder", Family::Sd1) => below(CLIP, &rename::clip),
            ("text_encoder", Family::Sd2) => {
                below(OPEN_CLIP, &|name| rename::open_clip(name, LAYERS_OF_SD2, false))
            }
            ("text_encoder", Family::Sdxl) => below(XL_CLIP, &rename::clip),
            ("text_encoder_2", Family::Sdxl) => {
                below(XL_OPEN_CLIP, &|name| rename::open_clip(name, everything, true))
            }
            _ => {
                return Err(ModelError::Unsupported {
                    path: self.path.clone(),
                    found: format!("{} has no part {part}", self.family.label()),
                    reads: Self::READS,
                });
            }
        })
    }
}

/// Beginnings of names that only other models have.
const OTHERS: [(&str, &str); 10] = [
    ("model.diffusion_model.joint_blocks.", "Stable Diffusion 3"),
    ("joint_blocks.", "the transformer of Stable Diffusion 3"),
    ("model.diffusion_model.double_blocks.", "Flux"),
    ("double_blocks.", "the transformer of Flux"),
    ("control_model.", "a ControlNet"),
    ("lora_", "a LoRA, which changes another model"),
    ("down_blocks.", "the denoiser of a diffusers folder; give the whole folder"),
    ("encoder.down_blocks.", "the autoencoder of a diffusers folder; give the whole folder"),
    ("text_model.", "the text encoder of a diffusers folder; give the whole folder"),
    ("encoder.down.", "an autoencoder alone"),
];

/// The family, or what else it is and what to do.
fn family(weights: &Weights) -> Result<Family, (String, &'static str)> {
    const WHOLE: &str = "give a checkpoint with denoiser, autoencoder and text encoder";
    let refuse = |found: String| Err((found, SingleFile::READS));
    if let Some((_, other)) = OTHERS.iter().find(|(prefix, _)| weights.has(prefix)) {
        return refuse((*other).to_owned());
    }
    let first = format!("{DENOISER}input_blocks.0.0.weight");
    let Some(first) = weights.get(&first) else {
        let sample: Vec<String> =
            weights.iter().take(3).map(|(name, _)| format!("`{name}`")).collect();
        return refuse(format!(
            "no denoiser in the original layout; names such as {}",
            sample.join(", ")
        ));
    };
    if let Some(&channels) = first.shape().get(1)
        && channels != LATENT_CHANNELS
    {
        return refuse(format!(
            "a denoiser with {channels} input channels, as for inpainting or upscaling"
        ));
    }
    let family = if weights.has(XL_OPEN_CLIP) && weights.has(XL_CLIP) {
        Family::Sdxl
    } else if weights.has(XL_OPEN_CLIP) || weights.has("conditioner.embedders.0.model.") {
        return refuse("Stable Diffusion XL with one text encoder, as its refiner has".to_owned());
    } else if weights.has(OPEN_CLIP) {
        Family::Sd2
    } else if weights.has(CLIP) {
        Family::Sd1
    } else {
        return Err(("no text encoder in this file".to_owned(), WHOLE));
    };
    if family != Family::Sdxl && weights.has(&format!("{DENOISER}label_emb.")) {
        return refuse("a denoiser conditioned on classes or images".to_owned());
    }
    if !weights.has(AUTOENCODER) {
        return Err(("no autoencoder in this file".to_owned(), WHOLE));
    }
    Ok(family)
}
