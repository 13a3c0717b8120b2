//! A whole model, opened: all its parts, and the sites in them.

use std::cell::RefCell;

use tch::{Device, Kind};

use super::attention::AttentionKernel;
use super::clip::{ProjectedTextEncoder, TextEncoder};
use super::conditioning::SecondText;
use super::config::{ClipTextConfig, UnetConfig, VaeConfig};
use super::configs::Configs;
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
    /// The conditional noise prediction.
    pub eps_cond: SiteId,
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
const SECOND_TEXT_WEIGHTS: [&str; 2] = ["text_encoder_2", "model"];
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
        let Configs { index, unet: unet_config, vae: vae_config, text, second_text } =
            Configs::read(&files)?;
        let (text_config, second_config) = (text, second_text);
        let scheduler = files.scheduler()?;
        let tokenizer = matching_tokenizer(&files, "tokenizer", &text_config)?;
        let sites = RefCell::new(Sites::default());
        let mut weights = Vec::new();
        let mut count = 0;
        let mut store = |[part, stem]: [&str; 2], kind: Kind| -> Result<Store, ModelError> {
            let of_part = files.weights(part, stem)?;
            for file in of_part.files() {
                if !weights.iter().any(|known: &WeightFile| known.path() == file.path()) {
                    weights.push(file.clone());
                }
            }
            Ok(Store::of(of_part, kind, placement.device))
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
            eps_cond: step_site("eps.cond"),
            eps: step_site("eps"),
            x0: step_site("x0"),
        };

        let vae_store = store(VAE_WEIGHTS, vae_config.kind(kind))?;
        let vae = Vae::new(&vae_store.root(&sites), &vae_config);
        count += vae_store.finish()?.count();

        Ok(Self {
            name: source.name,
            files,
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

    /// A denoiser of this model's architecture that has learned nothing: its weights are drawn from
    /// libtorch's random numbers. Its sites are those of this model's denoiser, so that it can take
    /// that one's place.
    ///
    /// # Errors
    /// Weights that libtorch cannot make.
    pub fn untrained_denoiser(&self) -> Result<Unet, ModelError> {
        let placement = self.placement;
        let _no_grad = tch::no_grad_guard();
        // A denoiser finds a site that is there by its name, whoever declared it.
        let sites = RefCell::new(self.sites.clone());
        let store = Store::untrained(placement.kind, placement.device);
        let unet = Unet::new(&store.root(&sites), &self.unet_config, placement.kernel);
        store.finish()?;
        Ok(unet)
    }

    /// A text encoder of this model's architecture that has learned nothing, as
    /// [`Self::untrained_denoiser`].
    ///
    /// # Errors
    /// A config that cannot be read, weights that libtorch cannot make.
    pub fn untrained_text_encoder(&self) -> Result<TextEncoder, ModelError> {
        let placement = self.placement;
        let _no_grad = tch::no_grad_guard();
        let config = Configs::read(&self.files)?.text;
        let sites = RefCell::new(self.sites.clone());
        let store = Store::untrained(placement.kind, placement.device);
        let text = TextEncoder::new(&store.root(&sites).at("", "text"), &config);
        store.finish()?;
        Ok(text)
    }

    /// An autoencoder of this model's architecture that has learned nothing; as
    /// [`Self::untrained_denoiser`].
    ///
    /// # Errors
    /// Weights that libtorch cannot make.
    pub fn untrained_autoencoder(&self) -> Result<Vae, ModelError> {
        let _no_grad = tch::no_grad_guard();
        let sites = RefCell::new(self.sites.clone());
        let kind = self.vae_config.kind(self.placement.kind);
        let store = Store::untrained(kind, self.placement.device);
        let vae = Vae::new(&store.root(&sites), &self.vae_config);
        store.finish()?;
        Ok(vae)
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

/// A tokenizer whose ids and length the text encoder has places for.
pub(super) fn matching_tokenizer(
    files: &ModelFiles,
    part: &str,
    config: &ClipTextConfig,
) -> Result<Tokenizer, ModelError> {
    let tokenizer = read_tokenizer(files, part)?;
    let fits = tokenizer.largest_id() < config.vocab_size
        && tokenizer.max_length() as i64 <= config.max_position_embeddings;
    if fits {
        return Ok(tokenizer);
    }
    Err(ModelError::Disagree(format!(
        "{} gives ids up to {} and {} tokens a prompt, its text encoder takes ids below {} \
         (vocab_size) and {} tokens (max_position_embeddings): these parts belong to different \
         models",
        files.path(part).display(),
        tokenizer.largest_id(),
        tokenizer.max_length(),
        config.vocab_size,
        config.max_position_embeddings
    )))
}
