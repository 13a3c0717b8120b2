//! A whole model, opened: all its parts, and the sites in them.

use std::cell::RefCell;

use tch::{Device, Kind};

use super::attention::AttentionKernel;
use super::clip::TextEncoder;
use super::config::{ClipTextConfig, UnetConfig, VaeConfig};
pub use super::error::ModelError;
pub use super::files::{ModelFiles, ModelSource, read_tokenizer};
use super::parameters::Store;
use super::tokenizer::Tokenizer;
use super::unet::Unet;
use super::vae::Vae;
use super::weights::WeightFile;
use crate::site::{Axis, Site, SiteId, Sites};

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
    /// Where its files are.
    pub files: ModelFiles,
    /// Each weight file once.
    pub weights: Vec<WeightFile>,
    /// Text → ids.
    pub tokenizer: Tokenizer,
    /// Ids → context.
    pub text: TextEncoder,
    /// The denoiser.
    pub unet: Unet,
    /// Latents ↔ pixels.
    pub vae: Vae,
    /// The denoiser's config.
    pub unet_config: UnetConfig,
    /// The autoencoder's config.
    pub vae_config: VaeConfig,
    /// The schedule it was trained with: `scheduler_config.json`, which samplers read.
    pub scheduler: serde_json::Value,
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
const UNET_WEIGHTS: [&str; 2] = ["unet", "diffusion_pytorch_model"];
const VAE_WEIGHTS: [&str; 2] = ["vae", "diffusion_pytorch_model"];

impl DiffusionModel {
    /// Opens the model that `--model` names.
    ///
    /// # Errors
    /// Files that are missing, truncated, corrupted, or that do not fit their config.
    pub fn open(source: impl Into<ModelSource>, placement: Placement) -> Result<Self, ModelError> {
        let source = source.into();
        let files = ModelFiles::find(source.clone())?;
        let (unet_config, vae_config, text_config) = read_configs(&files)?;
        let scheduler = files.scheduler()?;
        let tokenizer = read_tokenizer(&files)?;
        check_vocabulary(&tokenizer, &text_config)?;
        let sites = RefCell::new(Sites::default());
        let mut weights = Vec::new();
        let mut count = 0;
        let mut store = |[part, stem]: [&str; 2]| -> Result<Store, ModelError> {
            let of_part = files.weights(part, stem)?;
            for file in of_part.files() {
                if !weights.iter().any(|known: &WeightFile| known.path() == file.path()) {
                    weights.push(file.clone());
                }
            }
            Ok(Store::of(of_part, placement.kind, placement.device))
        };

        let text_store = store(TEXT_WEIGHTS)?;
        text_store.ignore_extra(|name| name.ends_with("position_ids"));
        let prefix = if text_store.has("text_model.") { "text_model" } else { "" };
        let text = TextEncoder::new(&text_store.root(&sites).below(prefix), &text_config);
        count += text_store.finish()?.count();

        let latent_axes = map_of_latents(unet_config.in_channels);
        let step_site = |name: &str| {
            sites.borrow_mut().add(Site {
                name: format!("step.{name}"),
                path: String::new(),
                axes: latent_axes.clone(),
            })
        };
        let latent = step_site("latent");

        let unet_store = store(UNET_WEIGHTS)?;
        let unet = Unet::new(&unet_store.root(&sites), &unet_config, placement.kernel);
        count += unet_store.finish()?.count();
        let step_sites = StepSites {
            latent,
            eps_uncond: step_site("eps.uncond"),
            eps: step_site("eps"),
            x0: step_site("x0"),
        };

        let vae_store = store(VAE_WEIGHTS)?;
        let vae = Vae::new(&vae_store.root(&sites), &vae_config);
        count += vae_store.finish()?.count();

        Ok(Self {
            name: source.name,
            files,
            weights,
            tokenizer,
            text,
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

    /// Size and digest of each weight file. Reads all of them.
    pub fn digests(&self) -> Vec<WeightDigest> {
        let digest = |file: &WeightFile| WeightDigest {
            path: self.files.relative(file.path()),
            bytes: file.bytes().len() as u64,
            sha256: file.sha256(),
        };
        self.weights.iter().map(digest).collect()
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

type Configs = (UnetConfig, VaeConfig, ClipTextConfig);

fn read_configs(files: &ModelFiles) -> Result<Configs, ModelError> {
    let unet: UnetConfig = files.json("unet/config.json")?;
    let vae: VaeConfig = files.json("vae/config.json")?;
    let text: ClipTextConfig = files.json("text_encoder/config.json")?;
    let config = |file: &str| {
        let path = files.path(file);
        move |source| ModelError::Config { path, source }
    };
    unet.check().map_err(config("unet/config.json"))?;
    vae.check().map_err(config("vae/config.json"))?;
    text.check().map_err(config("text_encoder/config.json"))?;
    if unet.cross_attention_dim != text.hidden_size {
        return Err(ModelError::Disagree(format!(
            "unet/config.json has cross_attention_dim {}, but text_encoder/config.json has \
             hidden_size {}: these parts belong to different models",
            unet.cross_attention_dim, text.hidden_size
        )));
    }
    if unet.in_channels != vae.latent_channels || unet.out_channels != vae.latent_channels {
        return Err(ModelError::Disagree(format!(
            "the denoiser reads {} and writes {} channels, the autoencoder's latents have {}: \
             inpainting and other conditioned denoisers are not supported",
            unet.in_channels, unet.out_channels, vae.latent_channels
        )));
    }
    Ok((unet, vae, text))
}

/// Every id must be a row of the token table.
fn check_vocabulary(tokenizer: &Tokenizer, text: &ClipTextConfig) -> Result<(), ModelError> {
    let (ids, length) = (tokenizer.highest_id() + 1, tokenizer.max_length() as i64);
    if ids > text.vocab_size {
        return Err(ModelError::Disagree(format!(
            "the tokenizer gives ids up to {}, but the text encoder has {} of them \
             (vocab_size): these parts belong to different models",
            ids - 1,
            text.vocab_size
        )));
    }
    if length > text.max_position_embeddings {
        return Err(ModelError::Disagree(format!(
            "the tokenizer makes {length} tokens (model_max_length), but the text encoder reads \
             {} (max_position_embeddings): these parts belong to different models",
            text.max_position_embeddings
        )));
    }
    Ok(())
}
