//! From prompt to image: tokens → context → latents → image, with a tap along the way.
//!
//! [`Request`] says what is to be run and checks it; [`generate`] runs it. A request may come
//! with an image ([`ImageInput`]): to begin with instead of noise alone, to be inverted, or only
//! to be looked at.

mod denoise;
mod error;
mod image_input;
mod look;
mod pixels;
mod request;

pub use error::PipelineError;
pub use image_input::{ImageInput, Purpose, Reconstruction, Source};
pub use look::{Gallery, look};
pub use pixels::{decode, encode, from_images, resized, to_images};
pub use request::{Request, check_size};

use image::RgbImage;
use tch::{Kind, Tensor};

use crate::model::checkpoint::DiffusionModel;
use crate::model::conditioning::{Conditioning, Prompts};
use crate::sampler::{NoiseSource, SchedulerConfig};
use crate::tap::{Cx, Tap};
use denoise::Denoiser;
use request::Plan;

/// What a run made.
#[derive(Debug)]
pub struct Generation {
    /// The images; of a run that only looks, the image it was given, once for each seed.
    pub images: Vec<RgbImage>,
    /// The unit noise it started from or added, [n, c, h, w].
    pub init_latents: Tensor,
    /// The final latents, as the autoencoder's scaling factor has them, [n, c, h, w].
    pub latents: Tensor,
    /// The timestep of each evaluation of the denoiser.
    pub timesteps: Vec<f64>,
    /// σ at each of them.
    pub sigmas: Vec<f64>,
    /// The image that the run was given.
    pub source: Option<Source>,
}

/// Called after each evaluation of the denoiser with the number of those done and of all.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// What becomes of the denoiser's guided outputs while a run samples, [n, c, h, w] each, one for
/// each evaluation.
#[derive(Debug)]
pub enum Outputs<'a> {
    /// Each is asked for and forgotten.
    Asked,
    /// Each is asked for and kept here, in order.
    Kept(&'a mut Vec<Tensor>),
    /// Those of the first evaluations are known from another run; the others are asked for. The
    /// sampler takes every step, so what it remembers and the noise it draws are those of a whole
    /// run, whichever sampler it is.
    Known(&'a [Tensor]),
}

/// Runs a request; `tap` sees and may change what passes its sites.
///
/// # Errors
/// See [`PipelineError`]; nothing is written.
pub fn generate(
    model: &DiffusionModel,
    request: &Request,
    tap: Option<&mut dyn Tap>,
    progress: Progress<'_>,
) -> Result<Generation, PipelineError> {
    generate_with(model, request, Outputs::Asked, tap, progress)
}

/// As [`generate`], keeping the denoiser's outputs or beginning with known ones. At evaluations
/// whose output is known the denoiser does not run: the tap sees no site of it, and `progress` is
/// not called.
///
/// # Errors
/// See [`PipelineError`]; nothing is written.
pub fn generate_with(
    model: &DiffusionModel,
    request: &Request,
    outputs: Outputs<'_>,
    tap: Option<&mut dyn Tap>,
    progress: Progress<'_>,
) -> Result<Generation, PipelineError> {
    request.check(model)?;
    let _no_grad = tch::no_grad_guard();
    let mut cx = match tap {
        Some(tap) => Cx::watching(&model.sites, tap),
        None => Cx::silent(),
    };
    let conditioning = conditioning(model, request, &mut cx)?;
    tracing::debug!("prompts encoded");
    let mut noise = NoiseSource::new(&request.seeds);
    let unit_noise = unit_noise(model, request, &mut noise);
    let source = match &request.image {
        Some(input) => Some(Source::new(model, request, input, &mut cx)?),
        None => None,
    };
    let plan = request.plan(model)?;
    let inverts = request.image.as_ref().is_some_and(|input| input.purpose == Purpose::Invert);
    let asked = plan.evaluations().len();
    let denoiser = Denoiser {
        model,
        request,
        conditioning: &conditioning,
        progress,
        outputs,
        done: 0,
        all: if inverts { 2 * asked } else { asked },
    };
    let timesteps = plan.evaluations().iter().map(|at| at.timestep).collect();
    let sigmas = plan.evaluations().iter().map(|at| at.sigma).collect();
    let (init_latents, latents) =
        run(denoiser, plan, unit_noise, (source.as_ref(), &mut noise), &mut cx)?;
    let images = match (&source, &request.image) {
        (Some(source), Some(ImageInput { purpose: Purpose::Look { .. }, .. })) => {
            vec![source.image.clone(); request.seeds.len()]
        }
        _ => decode(model, &latents, &mut cx)?,
    };
    Ok(Generation { images, init_latents, latents, timesteps, sigmas, source })
}

/// What the denoiser is told of the prompts.
fn conditioning(
    model: &DiffusionModel,
    request: &Request,
    cx: &mut Cx<'_>,
) -> Result<Conditioning, PipelineError> {
    let prompts = Prompts {
        texts: &request.prompts,
        negative: &request.negative,
        layout: request.layout(),
        long: request.long_prompt,
        framing: request.framing,
        size: [request.height, request.width],
    };
    Ok(model.condition(&prompts, cx)?)
}

/// The noise that the run begins with, f32 where the model is.
fn unit_noise(model: &DiffusionModel, request: &Request, noise: &mut NoiseSource) -> Tensor {
    let shape = request.latent_shape(model);
    let drawn = noise.draw(&shape[1..]);
    let unit_noise = match &request.init_latents {
        Some(values) => Tensor::from_slice(values).view(shape.as_slice()),
        None => drawn,
    };
    // The sampler's state stays f32, whatever the denoiser computes in.
    unit_noise.to_device(model.placement.device).to_kind(Kind::Float)
}

/// The unit noise that the run began with, and the latents it ended with.
fn run(
    mut denoiser: Denoiser<'_>,
    plan: Plan,
    unit_noise: Tensor,
    (source, noise): (Option<&Source>, &mut NoiseSource),
    cx: &mut Cx<'_>,
) -> Result<(Tensor, Tensor), PipelineError> {
    let request = denoiser.request;
    let given = match (source, &request.image) {
        (Some(source), Some(input)) => {
            Some((source.latents_of(request.seeds.len()), &input.purpose))
        }
        _ => None,
    };
    match (plan, given) {
        (Plan::Look(course), Some((latents, _))) => {
            denoiser.look(&course, (&latents, &unit_noise), cx)?;
            Ok((unit_noise, latents))
        }
        (Plan::Look(_), None) => Err(PipelineError::NoImage),
        (Plan::Sample { mut sampler, first }, given) => {
            let unit_noise = match &given {
                Some((latents, Purpose::Invert)) => {
                    let config = SchedulerConfig::read(&denoiser.model.scheduler)?;
                    denoiser.invert(&config, latents)?
                }
                _ => unit_noise,
            };
            let start = match given {
                Some((latents, Purpose::Start { .. })) => {
                    sampler.course().noised(first, &latents, &unit_noise)
                }
                _ => sampler.course().start(&unit_noise),
            };
            let made = denoiser.sample((sampler.as_mut(), first), start, noise, cx)?;
            Ok((unit_noise, made))
        }
    }
}
