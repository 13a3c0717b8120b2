//! A whole CLIP beside a diffusion model: the folder `clip/` with `config.json` and
//! `model.safetensors`, as `probe train clip` and transformers' `CLIPModel` write it.
//!
//! `preprocessor_config.json` says how pixels are scaled for it; without that file they go from −1
//! to 1, as in training here. Prompts are read with a tokenizer in the same folder, or else with
//! the diffusion model's.

use std::cell::RefCell;
use std::path::Path;

use image::RgbImage;
use image::imageops::FilterType;
use ndarray::{Array2, Axis, concatenate};
use serde::Deserialize;
use tch::{Kind, Tensor};

use super::checkpoint::{Placement, matching_tokenizer};
use super::clip::Clip;
use super::config::{ClipTextConfig, ClipVisionConfig};
use super::error::ModelError;
use super::files::ModelFiles;
use super::parameters::Store;
use super::tokenizer::Tokenizer;
use super::weights::WeightFile;
use crate::site::Sites;
use crate::tap::{Cx, TapError};

/// Its folder in a diffusion model's.
const PART: &str = "clip";
const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";
/// The largest value of a pixel.
const WHITE: f64 = 255.0;
/// Images or prompts embedded at once.
const BATCH: usize = 64;

/// Both towers of a CLIP with what is needed to show them prompts and images.
#[derive(Debug)]
pub struct ClipModel {
    /// The towers.
    pub clip: Clip,
    /// Config of the text tower.
    pub text_config: ClipTextConfig,
    /// Config of the image tower.
    pub vision_config: ClipVisionConfig,
    /// Prompts → ids.
    pub tokenizer: Tokenizer,
    /// The sites in both towers: `text.layer.0.out` …, `vision.layer.0.out` …
    pub sites: Sites,
    /// Its weight files.
    pub weights: Vec<WeightFile>,
    pixels: PixelScale,
    placement: Placement,
}

/// Why prompts or images cannot be embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// Nothing to embed.
    #[error("there is nothing to embed: give at least one prompt or image")]
    Empty,
    /// An image without pixels.
    #[error("image {0} has no pixels; leave it out")]
    NoPixels(usize),
    /// The prompt cannot be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] super::tokenizer::TokenizerError),
    /// The tap stopped it.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// An embedding that is no number.
    #[error("CLIP gave NaN or infinity: its weights are damaged; fetch or train them again")]
    NotFinite,
    /// libtorch's own.
    #[error(transparent)]
    Torch(#[from] tch::TchError),
}

/// `clip/config.json`.
#[derive(Deserialize)]
struct ClipConfig {
    text_config: ClipTextConfig,
    vision_config: ClipVisionConfig,
    /// Of both towers, where it stands here; transformers reads it here alone.
    projection_dim: Option<i64>,
}

/// The mean and deviation by which pixels in [0, 1] are scaled.
#[derive(Clone, Debug, Deserialize)]
struct PixelScale {
    image_mean: [f64; 3],
    image_std: [f64; 3],
}

impl Default for PixelScale {
    /// From [0, 1] to [−1, 1].
    fn default() -> Self {
        Self { image_mean: [0.5; 3], image_std: [0.5; 3] }
    }
}

impl ClipModel {
    /// Opens the CLIP in a model's folder; none where there is no `clip/config.json`. It computes
    /// in f32 on the device of `placement`, whatever kind the denoiser has.
    ///
    /// # Errors
    /// Files that are missing, damaged or do not fit each other.
    pub fn open(files: &ModelFiles, placement: Placement) -> Result<Option<Self>, ModelError> {
        Self::open_part(files, PART, placement)
    }

    /// Opens a CLIP that is a folder by itself, with its tokenizer, as transformers writes it;
    /// none where it has no `config.json`.
    ///
    /// # Errors
    /// As [`ClipModel::open`].
    pub fn open_folder(folder: &Path, placement: Placement) -> Result<Option<Self>, ModelError> {
        let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else {
            return Ok(None);
        };
        let files = ModelFiles::folder(above.to_owned());
        Self::open_part(&files, &name.to_string_lossy(), placement)
    }

    fn open_part(
        files: &ModelFiles,
        part: &str,
        placement: Placement,
    ) -> Result<Option<Self>, ModelError> {
        let file = |name: &str| format!("{part}/{name}");
        let (config, preprocessor) = (file(CONFIG), file(PREPROCESSOR));
        if !files.has(&config) {
            return Ok(None);
        }
        let (text_config, vision_config) = configs(files, &config)?;
        let own_tokenizer =
            ["vocab.json", "tokenizer.json"].iter().any(|name| files.has(&file(name)));
        let of_tokenizer = if own_tokenizer { part } else { "tokenizer" };
        let tokenizer = matching_tokenizer(files, of_tokenizer, &text_config)?;
        let pixels = if files.has(&preprocessor) {
            files.json(&preprocessor)?
        } else {
            PixelScale::default()
        };
        let weights = files.weights(part, "model")?;
        let weight_files = weights.files().to_vec();
        let store = Store::of(weights, Kind::Float, placement.device);
        store.ignore_extra(|name| name.ends_with("position_ids"));
        let sites = Default::default();
        let clip = Clip::new(&store.root(&sites), &text_config, &vision_config);
        store.finish()?;
        Ok(Some(Self {
            clip,
            text_config,
            vision_config,
            tokenizer,
            sites: sites.into_inner(),
            weights: weight_files,
            pixels,
            placement: Placement { kind: Kind::Float, ..placement },
        }))
    }

    /// Towers of the same architecture that have learned nothing: their weights are drawn from
    /// libtorch's random numbers. Their sites are those of this CLIP.
    ///
    /// # Errors
    /// Weights that libtorch cannot make.
    pub fn untrained(&self) -> Result<Clip, ModelError> {
        let _no_grad = tch::no_grad_guard();
        let sites = RefCell::new(self.sites.clone());
        let store = Store::untrained(self.placement.kind, self.placement.device);
        let clip = Clip::new(&store.root(&sites), &self.text_config, &self.vision_config);
        store.finish()?;
        Ok(clip)
    }

    /// Where it computes.
    pub fn device(&self) -> tch::Device {
        self.placement.device
    }

    /// Ids of prompts, [prompts, tokens], on the towers' device; what is too long is cut.
    ///
    /// # Errors
    /// Text that cannot be tokenized; no prompts.
    pub fn ids(&self, prompts: &[String]) -> Result<Tensor, EmbedError> {
        let mut ids = Vec::new();
        for prompt in prompts {
            ids.extend(self.tokenizer.padded(&self.tokenizer.encode(prompt)?));
        }
        if ids.is_empty() {
            return Err(EmbedError::Empty);
        }
        let length = i64::try_from(self.tokenizer.max_length()).unwrap_or(-1);
        Ok(Tensor::from_slice(&ids).view([-1, length]).to_device(self.placement.device))
    }

    /// Images of any size as the image tower takes them: [n, 3, side, side], resized without
    /// keeping their proportions and scaled as it was trained.
    ///
    /// # Errors
    /// No images; an image without pixels.
    pub fn pixels(&self, images: &[RgbImage]) -> Result<Tensor, EmbedError> {
        let side = u32::try_from(self.vision_config.image_size).unwrap_or(1);
        let planes = |(number, image): (usize, &RgbImage)| {
            if image.width() == 0 || image.height() == 0 {
                return Err(EmbedError::NoPixels(number));
            }
            let sized = if image.dimensions() == (side, side) {
                image.clone()
            } else {
                image::imageops::resize(image, side, side, FilterType::CatmullRom)
            };
            let side = i64::from(side);
            Ok(Tensor::from_slice(sized.as_raw()).view([side, side, 3]).permute([2, 0, 1]))
        };
        let planes: Vec<Tensor> =
            images.iter().enumerate().map(planes).collect::<Result<_, _>>()?;
        if planes.is_empty() {
            return Err(EmbedError::Empty);
        }
        let channel =
            |values: [f64; 3]| Tensor::from_slice(&values).to_kind(Kind::Float).view([1, 3, 1, 1]);
        let pixels = Tensor::stack(&planes, 0).to_kind(Kind::Float) / WHITE;
        let scaled = (pixels - channel(self.pixels.image_mean)) / channel(self.pixels.image_std);
        Ok(scaled.to_device(self.placement.device))
    }

    /// Unit vectors in the joint space, [prompts, channels].
    ///
    /// # Errors
    /// See [`EmbedError`].
    pub fn embed_prompts(&self, prompts: &[String]) -> Result<Array2<f32>, EmbedError> {
        let _no_grad = tch::no_grad_guard();
        in_batches(prompts, |batch| {
            Ok(self.clip.embed_text(&self.ids(batch)?, &mut Cx::silent())?)
        })
    }

    /// Unit vectors in the joint space, [images, channels].
    ///
    /// # Errors
    /// See [`EmbedError`].
    pub fn embed_images(&self, images: &[RgbImage]) -> Result<Array2<f32>, EmbedError> {
        let _no_grad = tch::no_grad_guard();
        in_batches(images, |batch| {
            Ok(self.clip.embed_images(&self.pixels(batch)?, &mut Cx::silent())?)
        })
    }
}

fn configs(
    files: &ModelFiles,
    file: &str,
) -> Result<(ClipTextConfig, ClipVisionConfig), ModelError> {
    let ClipConfig { text_config: mut text, vision_config: mut vision, projection_dim } =
        files.json(file)?;
    if let Some(joint) = projection_dim {
        (text.projection_dim, vision.projection_dim) = (joint, joint);
    }
    let config = |source| ModelError::Config { path: files.path(file), source };
    text.check().map_err(config)?;
    vision.check().map_err(config)?;
    Ok((text, vision))
}

/// Embeds [`BATCH`] things at a time.
fn in_batches<T>(
    things: &[T],
    embed: impl Fn(&[T]) -> Result<Tensor, EmbedError>,
) -> Result<Array2<f32>, EmbedError> {
    let mut parts: Vec<Array2<f32>> = Vec::new();
    for batch in things.chunks(BATCH) {
        let vectors = embed(batch)?.to_kind(Kind::Float).to_device(tch::Device::Cpu).contiguous();
        let shape = (vectors.size()[0] as usize, vectors.size()[1] as usize);
        let numbers = Vec::<f32>::try_from(vectors.view([-1]))?;
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(EmbedError::NotFinite);
        }
        parts.push(Array2::from_shape_vec(shape, numbers).map_err(|_| EmbedError::Empty)?);
    }
    let views: Vec<_> = parts.iter().map(Array2::view).collect();
    concatenate(Axis(0), &views).map_err(|_| EmbedError::Empty)
}
