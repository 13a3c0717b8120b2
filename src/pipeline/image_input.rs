//! A run that is given an image.

use image::RgbImage;
use tch::Tensor;

use super::pixels::{decode, encode, from_images, resized};
use super::{Generation, PipelineError, Request};
use crate::measure::Undefined;
use crate::measure::image::psnr;
use crate::model::checkpoint::DiffusionModel;
use crate::tap::{Cx, TapError};

/// An image for a run, and what it is for.
#[derive(Clone, Debug)]
pub struct ImageInput {
    /// The image, of any size; it is resized to that of the run.
    pub image: RgbImage,
    /// What becomes of it.
    pub purpose: Purpose,
}

/// What a run does with its image.
#[derive(Clone, Debug, PartialEq)]
pub enum Purpose {
    /// Noised, and sampled on from there (SDEdit, Meng et al. 2022).
    Start {
        /// The share of the steps that is taken, above 0, at most 1.
        strength: f64,
    },
    /// Noised to each of these timesteps of training and shown to the denoiser once each, with
    /// one and the same noise; nothing is sampled.
    Look {
        /// From the noisiest on, as a run would come by them.
        timesteps: Vec<i64>,
    },
    /// Turned into the noise that DDIM draws it from, and drawn from it again.
    Invert,
}

/// The image as the run took it.
#[derive(Debug)]
pub struct Source {
    /// In the run's size.
    pub image: RgbImage,
    /// Its latent, the mean of the encoder's distribution, scaled: [1, c, h, w], f32.
    pub latents: Tensor,
}

impl Source {
    pub(super) fn new(
        model: &DiffusionModel,
        request: &Request,
        input: &ImageInput,
        cx: &mut Cx<'_>,
    ) -> Result<Self, TapError> {
        let size = [request.width, request.height].map(|side| u32::try_from(side).unwrap_or(0));
        let image = resized(&input.image, size);
        let latents = encode(model, &from_images(std::slice::from_ref(&image)), cx)?;
        Ok(Self { image, latents })
    }

    /// The latent once for each of `images` images.
    pub(super) fn latents_of(&self, images: usize) -> Tensor {
        self.latents.expand([images as i64, -1, -1, -1], true)
    }

    /// The image after the autoencoder alone.
    ///
    /// # Errors
    /// None without a tap.
    pub fn round_trip(&self, model: &DiffusionModel) -> Result<RgbImage, TapError> {
        let _no_grad = tch::no_grad_guard();
        Ok(decode(model, &self.latents, &mut Cx::silent())?.pop().unwrap_or_default())
    }
}

/// How far a reconstruction is from the image it was made of. Ratios are in decibel; none where
/// both images agree in every byte.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reconstruction {
    /// ‖z' − z‖/‖z‖ of the latents.
    pub latent_error: f64,
    /// Of the reconstruction against the image after the autoencoder alone: what inversion and
    /// sampling lose.
    pub psnr_to_round_trip: Option<f64>,
    /// Of the reconstruction against the image.
    pub psnr_to_original: Option<f64>,
    /// Of the image after the autoencoder alone against the image: no reconstruction through
    /// this autoencoder is expected to come closer.
    pub psnr_of_round_trip: Option<f64>,
    /// Mean of the noise that inversion found; 0 for the noise that runs start from.
    pub noise_mean: f64,
    /// Its standard deviation; 1 for the noise that runs start from.
    pub noise_std: f64,
}

impl Reconstruction {
    /// Measures what a run with [`Purpose::Invert`] drew, its first image; `round_trip` is
    /// [`Source::round_trip`].
    ///
    /// # Errors
    /// [`PipelineError::NoImage`] for a run without an image, [`PipelineError::Undefined`] for
    /// images of other sizes.
    pub fn new(made: &Generation, round_trip: &RgbImage) -> Result<Self, PipelineError> {
        let (Some(source), Some(image)) = (&made.source, made.images.first()) else {
            return Err(PipelineError::NoImage);
        };
        let apart = (made.latents.get(0) - source.latents.get(0)).norm();
        let noise = &made.init_latents;
        Ok(Self {
            latent_error: (apart / source.latents.norm()).double_value(&[]),
            psnr_to_round_trip: psnr_of(image, round_trip)?,
            psnr_to_original: psnr_of(image, &source.image)?,
            psnr_of_round_trip: psnr_of(round_trip, &source.image)?,
            noise_mean: noise.mean(tch::Kind::Double).double_value(&[]),
            noise_std: noise.std(false).double_value(&[]),
        })
    }
}

fn psnr_of(a: &RgbImage, b: &RgbImage) -> Result<Option<f64>, Undefined> {
    const LEVELS: f64 = 255.0;
    let values = |image: &RgbImage| -> ndarray::Array1<f32> {
        image.as_raw().iter().map(|&level| f32::from(level)).collect()
    };
    match psnr(values(a).view(), values(b).view(), LEVELS) {
        Ok(ratio) => Ok(Some(ratio)),
        Err(Undefined::Identical) => Ok(None),
        Err(error) => Err(error),
    }
}
