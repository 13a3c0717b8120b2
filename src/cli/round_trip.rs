//! Images through a model's autoencoder and back.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use image::RgbImage;
use tch::{Device, Kind};

use super::output::note;
use crate::judge::{Calibration, Distortion};
use crate::model::checkpoint::{ModelError, ModelFiles};
use crate::model::config::VaeConfig;
use crate::model::parameters::Store;
use crate::model::vae::Vae;
use crate::pipeline::{from_images, to_images};
use crate::tap::{Cx, TapError};

/// Calibrates the judge on images that went through the autoencoder of a model. Without a name
/// it is the built-in model's; a program without that model calibrates nothing and says so.
pub(super) fn calibrated(
    name: Option<&str>,
    size: usize,
    measure: impl Fn(Distortion<'_>) -> Result<Calibration>,
) -> Result<Option<Calibration>> {
    let opened = open(name.unwrap_or(ModelFiles::BUILT_IN));
    let (vae, config) = match (opened, name) {
        (Ok(opened), _) => opened,
        (Err(error), None) => {
            note(&format!("no calibration after the autoencoder: {error}"));
            return Ok(None);
        }
        (Err(error), Some(_)) => return Err(error.into()),
    };
    let multiple = config.downscale() as usize;
    if !size.is_multiple_of(multiple) {
        bail!("--size {size}: the autoencoder takes multiples of {multiple} pixels");
    }
    // Tensors move between threads but are not shared: one image at a time.
    let vae = Mutex::new(vae);
    let failure: Mutex<Option<TapError>> = Mutex::new(None);
    let apply = |image: RgbImage| {
        let vae = vae.lock().unwrap_or_else(PoisonError::into_inner);
        round_trip(&vae, &image).unwrap_or_else(|error| {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            image
        })
    };
    let shown = name.unwrap_or(ModelFiles::BUILT_IN);
    let distortion = Distortion::Custom { name: format!("autoencoder {shown}"), apply: &apply };
    let calibration = measure(distortion)?;
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error).context("the way through the autoencoder"),
        None => Ok(Some(calibration)),
    }
}

/// The autoencoder alone.
fn open(name: &str) -> Result<(Vae, VaeConfig), ModelError> {
    let files = ModelFiles::find(name)?;
    let file = "vae/config.json";
    let config: VaeConfig = files.json(file)?;
    config.check().map_err(|source| ModelError::Config { path: files.path(file), source })?;
    let weights = files.weights("vae", "diffusion_pytorch_model")?;
    let store = Store::of(weights, Kind::Float, Device::Cpu);
    let vae = Vae::new(&store.root(&Default::default()), &config);
    store.finish()?;
    Ok((vae, config))
}

/// Encodes to the mean latent and decodes it.
fn round_trip(vae: &Vae, image: &RgbImage) -> Result<RgbImage, TapError> {
    // Gradient mode belongs to a thread, and this runs on many.
    let _no_grad = tch::no_grad_guard();
    let pixels = from_images(std::slice::from_ref(image));
    let latents = vae.encode(&pixels, &mut Cx::silent())?.mean;
    let decoded = vae.decode(&latents, &mut Cx::silent())?;
    Ok(to_images(&decoded).pop().unwrap_or_else(|| image.clone()))
}
