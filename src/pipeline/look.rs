//! Several images, each looked at with a prompt of its own: nothing is sampled.

use image::RgbImage;

use super::denoise::Denoiser;
use super::pixels::{encode, from_images, resized};
use super::request::looking;
use super::{Outputs, PipelineError, Progress, Request, conditioning, unit_noise};
use crate::model::checkpoint::DiffusionModel;
use crate::sampler::{NoiseSource, SchedulerConfig};
use crate::tap::{Cx, Tap};

/// Images to look at, and when.
#[derive(Clone, Copy, Debug)]
pub struct Gallery<'a> {
    /// One image for each prompt of the request, of any size.
    pub images: &'a [RgbImage],
    /// Timesteps of training, in the order in which the denoiser is asked.
    pub timesteps: &'a [i64],
}

/// Encodes each image, adds the noise of its seed, and shows it to the denoiser with its prompt,
/// once at each timestep with one and the same noise. As [`super::Purpose::Look`], with an image
/// of its own for each prompt. Of the request, what says how to sample is not used.
///
/// # Errors
/// See [`PipelineError`]; [`PipelineError::Uneven`] if there is not one image a prompt.
pub fn look(
    model: &DiffusionModel,
    request: &Request,
    gallery: Gallery<'_>,
    tap: Option<&mut dyn Tap>,
    progress: Progress<'_>,
) -> Result<(), PipelineError> {
    request.check(model)?;
    let images = gallery.images.len();
    if images != request.prompts.len() {
        return Err(PipelineError::Uneven { prompts: request.prompts.len(), seeds: images });
    }
    let course = looking(&SchedulerConfig::read(&model.scheduler)?, gallery.timesteps)?;
    let _no_grad = tch::no_grad_guard();
    let mut cx = match tap {
        Some(tap) => Cx::watching(&model.sites, tap),
        None => Cx::silent(),
    };
    let conditioning = conditioning(model, request, &mut cx)?;
    let noise = unit_noise(model, request, &mut NoiseSource::new(&request.seeds));
    let size = [request.width, request.height].map(|side| u32::try_from(side).unwrap_or(0));
    let sized: Vec<RgbImage> = gallery.images.iter().map(|image| resized(image, size)).collect();
    let latents = encode(model, &from_images(&sized), &mut cx)?;
    let mut denoiser = Denoiser {
        model,
        request,
        conditioning: &conditioning,
        progress,
        outputs: Outputs::Asked,
        done: 0,
        all: course.evaluations().len(),
    };
    denoiser.look(&course, (&latents, &noise), &mut cx)
}
