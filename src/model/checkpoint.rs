//! A whole model: a diffusers folder on disk, or the one built into the program.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tch::{Device, Kind};

use super::attention::AttentionKernel;
use super::clip::{ProjectedTextEncoder, TextEncoder};
use super::conditioning::SecondText;
use super::config::{ClipTextConfig, ConfigError, UnetConfig, VaeConfig};
use super::configs::Configs;
use super::parameters::{Store, WeightFile, WeightsError};
use super::tokenizer::{Tokenizer, TokenizerError};
use super::unet::Unet;
use super::vae::Vae;
use crate::sampler::SchedulerConfig;
use crate::site::{Axis, Site, SiteId, Sites};

/// The built-in model's folder.
static SHAPES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/fixtures/shapes");

/// Errors of opening a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Neither a folder nor a known name.
    #[error(
        "no model at `{0}`: give a folder in diffusers layout (with model_index.json), \
         or `shapes` for the built-in model"
    )]
    NotFound(String),
    /// The folder lacks a file.
    #[error("{}: missing; a diffusers folder has it, copy the folder again", path.display())]
    MissingFile {
        /// Which file.
        path: PathBuf,
    },
    /// Only a pickle is there.
    #[error(
        "{}: pickle files can run code when they are opened and are refused; convert it to \
         safetensors (in Python: `pipeline.save_pretrained(folder, safe_serialization=True)`)",
        path.display()
    )]
    Pickle {
        /// Which file.
        path: PathBuf,
    },
    /// A JSON file that does not say what it should.
    #[error("{}: {problem}", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A config asking for what is not built here.
    #[error("{}: {source}", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// Which field.
        source: ConfigError,
    },
    /// Parts that do not fit each other.
    #[error("{0}")]
    Disagree(String),
    /// Weights that cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Tokenizer files that cannot be read.
    #[error("{}: {source}", path.display())]
    Tokenizer {
        /// The tokenizer's folder.
        path: PathBuf,
        /// What is wrong.
        source: TokenizerError,
    },
    /// The device is not there.
    #[error("device `{wanted}` is not available here; available: {available}")]
    Device {
        /// The device asked for.
        wanted: String,
        /// Those that are there.
        available: String,
    },
}

/// Reads files of a model's folder, on disk or built in.
#[derive(Clone, Debug)]
pub enum ModelFiles {
    /// A folder on disk.
    Folder(PathBuf),
    /// The built-in model `shapes`.
    BuiltIn,
}

impl ModelFiles {
    /// The name of the built-in model.
    pub const BUILT_IN: &str = "shapes";

    /// Finds the model that `--model` names.
    ///
    /// # Errors
    /// Neither a folder in diffusers layout nor a known name; pickle files by name.
    pub fn find(name: &str) -> Result<Self, ModelError> {
        let path = Path::new(name);
        if name == Self::BUILT_IN && !path.join("model_index.json").is_file() {
            return Ok(Self::BuiltIn);
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if ["ckpt", "bin", "pt", "pth", "pkl"].contains(&extension) && path.is_file() {
            return Err(ModelError::Pickle { path: path.to_owned() });
        }
        if path.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        Err(ModelError::NotFound(name.to_owned()))
    }

    /// Where a file is, for messages.
    pub fn path(&self, file: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(file),
            Self::BuiltIn => Path::new("<built-in shapes>").join(file),
        }
    }

    /// The bytes of a small file.
    ///
    /// # Errors
    /// The file is not there or cannot be read.
    pub fn read(&self, file: &str) -> Result<Vec<u8>, ModelError> {
        let path = self.path(file);
        match self {
            Self::Folder(_) => std::fs::read(&path).map_err(|source| {
                if source.kind() == std::io::ErrorKind::NotFound {
                    ModelError::MissingFile { path }
                } else {
                    WeightsError::Io { path, source }.into()
                }
            }),
            Self::BuiltIn => match SHAPES.get_file(file) {
                Some(file) => Ok(file.contents().to_vec()),
                None => Err(ModelError::MissingFile { path }),
            },
        }
    }

    /// A JSON file of the folder.
    ///
    /// # Errors
    /// The file is not there, or does not say what it should.
    pub fn json<T: DeserializeOwned>(&self, file: &str) -> Result<T, ModelError> {
        let problem = |e: serde_json::Error| ModelError::Json {
            path: self.path(file),
            problem: e.to_string(),
        };
        serde_json::from_slice(&self.read(file)?).map_err(problem)
    }

    /// The weights of a part: `diffusion_pytorch_model.safetensors` or
    /// `model.safetensors`.
    ///
    /// # Errors
    /// The file is not there, is a pickle, or cannot be mapped.
    pub fn weights(&self, part: &str, stem: &str) -> Result<WeightFile, ModelError> {
        let file = format!("{part}/{stem}.safetensors");
        let path = self.path(&file);
        match self {
            Self::Folder(_) if path.is_file() => Ok(WeightFile::open(&path)?),
            Self::Folder(_) => {
                let pickle = path.with_extension("bin");
                if pickle.is_file() {
                    return Err(ModelError::Pickle { path: pickle });
                }
                Err(ModelError::MissingFile { path })
            }
            Self::BuiltIn => match SHAPES.get_file(&file) {
                Some(file) => Ok(WeightFile::Embedded(path, file.contents())),
                None => Err(ModelError::MissingFile { path }),
            },
        }
    }
}

/// A weight file, its size and its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightDigest {
    /// Path within the model's folder.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// Where and in what kind a model computes.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// CPU or a GPU.
    pub device: Device,
    /// Kind of weights and activations.
    pub kind: Kind,
    /// Which attention kernel.
    pub kernel: AttentionKernel,
}

impl Default for Placement {
    fn default() -> Self {
        Self { device: Device::Cpu, kind: Kind::Float, kernel: AttentionKernel::Auto }
    }
}

/// The sampler's own sites.
#[derive(Clone, Copy, Debug)]
pub struct StepSites {
    /// The latent that enters a step.
    pub latent: SiteId,
    /// The noise prediction the sampler goes by (after guidance), as ε.
    pub eps: SiteId,
    /// The unconditional noise prediction.
    pub eps_uncond: SiteId,
    /// The clean latent as predicted at this step.
    pub x0: SiteId,
}

/// Everything needed from prompt to image.
#[derive(Debug)]
pub struct DiffusionModel {
    /// What `--model` said.
    pub name: String,
    /// Each weight file.
    pub weights: Vec<WeightDigest>,
    /// Text → ids.
    pub tokenizer: Tokenizer,
    /// Ids → context.
    pub text: TextEncoder,
    /// The second text encoder, where the denoiser reads two.
    pub second_text: Option<SecondText>,
    /// The denoiser.
    pub unet: Unet,
    /// Latents ↔ pixels.
    pub vae: Vae,
    /// The denoiser's config.
    pub unet_config: UnetConfig,
    /// The autoencoder's config.
    pub vae_config: VaeConfig,
    /// The schedule it was trained with.
    pub scheduler: SchedulerConfig,
    /// All sites, in the order of a run.
    pub sites: Sites,
    /// The sampler's own sites.
    pub step_sites: StepSites,
    /// Where it computes.
    pub placement: Placement,
    /// Learned numbers in all parts.
    pub parameter_count: i64,
}

const TEXT_WEIGHTS: [&str; 2] = ["text_encoder", "model"];
const SECOND_TEXT_WEIGHTS: [&str; 2] = ["text_encoder_2", "model"];
const UNET_WEIGHTS: [&str; 2] = ["unet", "diffusion_pytorch_model"];
const VAE_WEIGHTS: [&str; 2] = ["vae", "diffusion_pytorch_model"];

impl DiffusionModel {
    /// Opens the model that `--model` names.
    ///
    /// # Errors
    /// Files that are missing, truncated, corrupted, or that do not fit their config.
    pub fn open(name: &str, placement: Placement) -> Result<Self, ModelError> {
        let files = ModelFiles::find(name)?;
        let Configs { index, unet: unet_config, vae: vae_config, text, second_text, scheduler } =
            Configs::read(&files)?;
        let (text_config, second_config) = (text, second_text);
        let tokenizer = matching_tokenizer(&files, "tokenizer", &text_config)?;
        let sites = RefCell::new(Sites::default());
        let mut weights = Vec::new();
        let mut count = 0;
        let mut store = |[part, stem]: [&str; 2], kind: Kind| -> Result<Store, ModelError> {
            let file = files.weights(part, stem)?;
            weights.push(WeightDigest {
                path: format!("{part}/{stem}.safetensors"),
                bytes: file.bytes().len() as u64,
                sha256: format!("{:x}", Sha256::digest(file.bytes())),
            });
            Ok(Store::from_file(&file, kind, placement.device)?)
        };

        let kind = placement.kind;
        let text_store = store(TEXT_WEIGHTS, kind)?;
        text_store.ignore_extra(|name| name.ends_with("position_ids"));
        let prefix = if text_store.has("text_model.") { "text_model" } else { "" };
        let text = TextEncoder::new(&text_store.root(&sites).at(prefix, "text"), &text_config);
        count += text_store.finish()?.count();

        let mut second_text = None;
        if let Some(config) = second_config {
            let tokenizer = matching_tokenizer(&files, "tokenizer_2", &config)?;
            let store = store(SECOND_TEXT_WEIGHTS, kind)?;
            store.ignore_extra(|name| name.ends_with("position_ids"));
            let encoder = ProjectedTextEncoder::new(&store.root(&sites).at("", "text2"), &config);
            count += store.finish()?.count();
            let zeros_for_empty = index.force_zeros_for_empty_prompt;
            second_text = Some(SecondText { tokenizer, encoder, zeros_for_empty });
        }

        let latent_axes = map_of_latents(unet_config.in_channels);
        let step_site = |name: &str| {
            sites.borrow_mut().add(Site {
                name: format!("step.{name}"),
                path: String::new(),
                axes: latent_axes.clone(),
            })
        };
        let latent = step_site("latent");

        let unet_store = store(UNET_WEIGHTS, kind)?;
        let unet = Unet::new(&unet_store.root(&sites), &unet_config, placement.kernel);
        count += unet_store.finish()?.count();
        let step_sites = StepSites {
            latent,
            eps_uncond: step_site("eps.uncond"),
            eps: step_site("eps"),
            x0: step_site("x0"),
        };

        let vae_store = store(VAE_WEIGHTS, vae_config.kind(kind))?;
        let vae = Vae::new(&vae_store.root(&sites), &vae_config);
        count += vae_store.finish()?.count();

        Ok(Self {
            name: name.to_owned(),
            weights,
            tokenizer,
            text,
            second_text,
            unet,
            vae,
            unet_config,
            vae_config,
            scheduler,
            sites: sites.into_inner(),
            step_sites,
            placement,
            parameter_count: count,
        })
    }

    /// Pixels a side of one latent cell.
    pub fn downscale(&self) -> i64 {
        self.vae_config.downscale()
    }

    /// Side of the images the model was trained on, in pixels.
    pub fn native_size(&self) -> i64 {
        self.unet_config.sample_size * self.downscale()
    }
}

fn map_of_latents(channels: i64) -> Vec<Axis> {
    vec![Axis::Image, Axis::Channel(channels), Axis::Row(1), Axis::Column(1)]
}

/// A tokenizer whose ids and length the text encoder has places for.
fn matching_tokenizer(
    files: &ModelFiles,
    part: &str,
    config: &ClipTextConfig,
) -> Result<Tokenizer, ModelError> {
    let tokenizer = open_tokenizer(files, part)?;
    let fits = tokenizer.largest_id() < config.vocab_size
        && tokenizer.max_length() as i64 <= config.max_position_embeddings;
    if fits {
        return Ok(tokenizer);
    }
    Err(ModelError::Disagree(format!(
        "{} gives ids up to {} and {} tokens a prompt, its text encoder takes ids below {} and {} \
         tokens: these parts belong to different models",
        files.path(part).display(),
        tokenizer.largest_id(),
        tokenizer.max_length(),
        config.vocab_size,
        config.max_position_embeddings
    )))
}

/// Opens the (first) tokenizer alone.
///
/// # Errors
/// Files that are missing or not those of a CLIP tokenizer.
pub fn read_tokenizer(files: &ModelFiles) -> Result<Tokenizer, ModelError> {
    open_tokenizer(files, "tokenizer")
}

fn open_tokenizer(files: &ModelFiles, part: &str) -> Result<Tokenizer, ModelError> {
    const CONFIG: &str = "tokenizer_config.json";
    let optional = |name: &str| match files.read(&format!("{part}/{name}")) {
        Err(ModelError::MissingFile { .. }) => Ok(None),
        other => other.map(Some),
    };
    let of_part = |name: &str| files.read(&format!("{part}/{name}"));
    let tokenizer = match (optional("vocab.json")?, optional("tokenizer.json")?) {
        // What transformers 5 writes; what was published before has the two files.
        (None, Some(json)) => Tokenizer::from_tokenizer_json(&json, &of_part(CONFIG)?),
        _ => Tokenizer::new(&of_part("vocab.json")?, &of_part("merges.txt")?, &of_part(CONFIG)?),
    };
    let special = optional("special_tokens_map.json")?;
    tokenizer
        .and_then(|tokenizer| match special {
            Some(map) => tokenizer.with_special_tokens(&map),
            None => Ok(tokenizer),
        })
        .map_err(|source| ModelError::Tokenizer { path: files.path(part), source })
}
