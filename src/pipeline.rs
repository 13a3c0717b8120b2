//! From prompt to image: tokens → context → latents → image, with a tap along the way.

use std::sync::atomic::Ordering;

use image::RgbImage;
use tch::{Kind, Tensor};

use crate::INTERRUPTED;
use crate::model::checkpoint::DiffusionModel;
use crate::model::tokenizer::{TokenizerError, Tokens};
use crate::sampler::{Denoised, NoiseSource, Sampler, SamplerKind, ScheduleError, SchedulerConfig};
use crate::site::{Branch, SiteId};
use crate::tap::{BatchLayout, Cx, Moment, Tap, TapError};

/// What to generate.
#[derive(Clone, Debug)]
pub struct Request {
    /// One prompt an image.
    pub prompts: Vec<String>,
    /// What to steer away from; empty for plain guidance.
    pub negative: String,
    /// One seed an image.
    pub seeds: Vec<u64>,
    /// Sampling steps.
    pub steps: usize,
    /// Which sampler.
    pub sampler: SamplerKind,
    /// Guidance scale s in ε = ε_u + s(ε_c − ε_u).
    pub guidance: f64,
    /// Image height in pixels.
    pub height: i64,
    /// Image width in pixels.
    pub width: i64,
    /// Unit noise to start from, [n, c, h, w], instead of the seeds'.
    pub init_latents: Option<Vec<f32>>,
}

/// Errors of a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// Nothing to draw.
    #[error("the prompt is empty: say what to draw")]
    EmptyPrompt,
    /// As many prompts as seeds are needed.
    #[error("{prompts} prompts for {seeds} seeds: give one of each an image")]
    Uneven {
        /// Prompts given.
        prompts: usize,
        /// Seeds given.
        seeds: usize,
    },
    /// A size the autoencoder cannot divide.
    #[error(
        "{width}×{height} pixels: both must be multiples of {multiple}, \
         from {multiple} to {most}; nearest: {nearest_width}×{nearest_height}"
    )]
    Size {
        /// Width asked for.
        width: i64,
        /// Height asked for.
        height: i64,
        /// What both must be a multiple of.
        multiple: i64,
        /// The largest size.
        most: i64,
        /// The nearest width that works.
        nearest_width: i64,
        /// The nearest height that works.
        nearest_height: i64,
    },
    /// Guidance that is no number.
    #[error("guidance {0}: give a finite number, such as 5")]
    Guidance(f64),
    /// Initial latents of another shape.
    #[error("the initial latents hold {got} numbers, this run needs {expected} ({shape:?})")]
    InitLatents {
        /// Numbers in the file.
        got: usize,
        /// Numbers needed.
        expected: usize,
        /// The shape needed.
        shape: [i64; 4],
    },
    /// Steps or schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The prompt cannot be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tap stopped the run.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// The result is not a number.
    #[error(
        "step {step} gave NaN or infinity: the weights or the edit are broken, or the dtype is too small (try --dtype f32)"
    )]
    NotFinite {
        /// At which step.
        step: usize,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// What a run made.
#[derive(Debug)]
pub struct Generation {
    /// The images.
    pub images: Vec<RgbImage>,
    /// The unit noise it started from, [n, c, h, w].
    pub init_latents: Tensor,
    /// The final latents, as the autoencoder's scaling factor has them, [n, c, h, w].
    pub latents: Tensor,
    /// The timesteps visited.
    pub timesteps: Vec<i64>,
    /// σ at each of them.
    pub sigmas: Vec<f64>,
}

/// Called after each step with the number of steps done and of all steps.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize);

impl Request {
    /// Checks all that can be known before the run.
    ///
    /// # Errors
    /// The first thing that cannot work.
    pub fn check(&self, model: &DiffusionModel) -> Result<Vec<Tokens>, PipelineError> {
        if self.prompts.iter().any(|p| p.trim().is_empty()) || self.prompts.is_empty() {
            return Err(PipelineError::EmptyPrompt);
        }
        if self.prompts.len() != self.seeds.len() {
            return Err(PipelineError::Uneven {
                prompts: self.prompts.len(),
                seeds: self.seeds.len(),
            });
        }
        check_size(model, [self.width, self.height])?;
        if !self.guidance.is_finite() {
            return Err(PipelineError::Guidance(self.guidance));
        }
        if let Some(latents) = &self.init_latents {
            let shape = self.latent_shape(model);
            let expected = shape.iter().product::<i64>() as usize;
            if latents.len() != expected {
                return Err(PipelineError::InitLatents { got: latents.len(), expected, shape });
            }
        }
        self.sampler.prepare(&SchedulerConfig::read(&model.scheduler)?, self.steps)?;
        self.prompts.iter().map(|p| Ok(model.tokenizer.encode(p)?)).collect()
    }

    /// [n, c, h, w] of the latents.
    pub fn latent_shape(&self, model: &DiffusionModel) -> [i64; 4] {
        let by = model.downscale();
        let channels = model.unet_config.in_channels;
        [self.seeds.len() as i64, channels, self.height / by, self.width / by]
    }

    fn layout(&self) -> BatchLayout {
        if self.guidance == 1.0 {
            BatchLayout::One(Branch::Cond)
        } else if self.guidance == 0.0 {
            BatchLayout::One(Branch::Uncond)
        } else {
            BatchLayout::UncondThenCond
        }
    }
}

/// Checks a size in pixels, [width, height].
///
/// # Errors
/// [`PipelineError::Size`].
pub fn check_size(model: &DiffusionModel, [width, height]: [i64; 2]) -> Result<(), PipelineError> {
    /// Far over what the memory of a usual machine takes.
    const MOST_PIXELS: i64 = 4096;
    let multiple = model.downscale();
    let fits = |n: i64| n >= multiple && n <= MOST_PIXELS && n % multiple == 0;
    if fits(width) && fits(height) {
        return Ok(());
    }
    let nearest = |n: i64| {
        (n.clamp(multiple, MOST_PIXELS) as f64 / multiple as f64).round() as i64 * multiple
    };
    Err(PipelineError::Size {
        width,
        height,
        multiple,
        most: MOST_PIXELS,
        nearest_width: nearest(width),
        nearest_height: nearest(height),
    })
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
    let tokens = request.check(model)?;
    let _no_grad = tch::no_grad_guard();
    let mut cx = match tap {
        Some(tap) => Cx::watching(&model.sites, tap),
        None => Cx::silent(),
    };
    let context = context(model, request, &tokens, &mut cx)?;
    let schedule = SchedulerConfig::read(&model.scheduler)?;
    let sampler = request.sampler.prepare(&schedule, request.steps)?;
    let mut noise = NoiseSource::new(&request.seeds);
    let shape = request.latent_shape(model);
    let drawn = noise.draw(&shape[1..]);
    let init_latents = match &request.init_latents {
        Some(values) => Tensor::from_slice(values).view(shape.as_slice()),
        None => drawn,
    };
    let latents = denoise(
        model,
        request,
        sampler.as_ref(),
        (&context, init_latents.to_device(model.placement.device)),
        &mut noise,
        &mut cx,
        progress,
    )?;
    let images = decode(model, &latents, &mut cx)?;
    let timesteps = sampler.timesteps().to_vec();
    let sigmas = timesteps.iter().map(|&t| sampler.schedule().sigma(t)).collect();
    Ok(Generation { images, init_latents, latents, timesteps, sigmas })
}

/// The prompts' embeddings, unconditional rows first where both branches run.
fn context(
    model: &DiffusionModel,
    request: &Request,
    tokens: &[Tokens],
    cx: &mut Cx<'_>,
) -> Result<Tensor, PipelineError> {
    let layout = request.layout();
    let mut rows = Vec::new();
    if layout != BatchLayout::One(Branch::Cond) {
        let negative = model.tokenizer.encode(&request.negative)?;
        rows.extend(vec![model.tokenizer.padded(&negative); tokens.len()]);
    }
    if layout != BatchLayout::One(Branch::Uncond) {
        rows.extend(tokens.iter().map(|t| model.tokenizer.padded(t)));
    }
    let width = model.tokenizer.max_length() as i64;
    let ids = Tensor::from_slice(&rows.concat()).view([-1, width]);
    let ids = ids.to_device(model.placement.device);
    let embedded = cx.with_layout(layout, |cx| model.text.forward(&ids, cx))?;
    Ok(embedded.tokens)
}

fn denoise(
    model: &DiffusionModel,
    request: &Request,
    sampler: &dyn Sampler,
    (context, unit_noise): (&Tensor, Tensor),
    noise: &mut NoiseSource,
    cx: &mut Cx<'_>,
    progress: Progress<'_>,
) -> Result<Tensor, PipelineError> {
    let (kind, layout) = (model.placement.kind, request.layout());
    let sites = model.step_sites;
    let steps = sampler.timesteps().len();
    // The sampler's state stays f32, whatever the denoiser computes in.
    let mut x = unit_noise.to_kind(Kind::Float);
    for (step, &t) in sampler.timesteps().iter().enumerate() {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(PipelineError::Interrupted);
        }
        let sigma = sampler.schedule().sigma(t);
        let at = Moment { step, timestep: t as f64, sigma, branch: None };
        cx.now(at, BatchLayout::Shared);
        x = cx.tap(sites.latent, x)?;

        let input = x.to_kind(kind);
        let input = match layout {
            BatchLayout::UncondThenCond => Tensor::cat(&[&input, &input], 0),
            _ => input,
        };
        let timesteps = Tensor::full([input.size()[0]], t as f64, (Kind::Float, input.device()));
        cx.now(at, layout);
        let output = model.unet.forward(&input, &timesteps, context, cx)?.to_kind(Kind::Float);
        cx.now(at, BatchLayout::Shared);

        let output = guide(model, request.guidance, sampler, &output, (&x, t), layout, cx)?;
        let stepped = sampler.step(step, &output, &x, noise);
        observe(model, sites.x0, stepped.x0, cx)?;
        x = stepped.previous;
        if !x.sum(Kind::Float).double_value(&[]).is_finite() {
            return Err(PipelineError::NotFinite { step });
        }
        progress(step + 1, steps);
    }
    Ok(x)
}

/// Classifier-free guidance (Ho & Salimans 2022): ε = ε_u + s(ε_c − ε_u), on the denoiser's
/// raw output. Shows ε to the tap, which may replace it.
fn guide(
    model: &DiffusionModel,
    s: f64,
    sampler: &dyn Sampler,
    output: &Tensor,
    (x, t): (&Tensor, i64),
    layout: BatchLayout,
    cx: &mut Cx<'_>,
) -> Result<Tensor, TapError> {
    let sites = model.step_sites;
    let alpha_bar = sampler.schedule().alpha_bar(t);
    let (prediction, eps_of) = (sampler.prediction(), |output: &Tensor| {
        Denoised::new(sampler.prediction(), output, x, alpha_bar).eps
    });
    let guided = if layout == BatchLayout::UncondThenCond {
        let parts = output.chunk(2, 0);
        if cx.wants(sites.eps_uncond) {
            observe(model, sites.eps_uncond, eps_of(&parts[0]), cx)?;
        }
        &parts[0] + (&parts[1] - &parts[0]) * s
    } else {
        output.shallow_clone()
    };
    if !cx.wants(sites.eps) {
        return Ok(guided);
    }
    let eps = eps_of(&guided);
    let seen = cx.tap(sites.eps, eps.shallow_clone())?;
    if seen.data_ptr() == eps.data_ptr() {
        return Ok(guided);
    }
    Ok(output_of(prediction, &seen, x, alpha_bar))
}

/// Shows a by-product of the sampler, which goes by `step.eps` and `step.latent` alone: a
/// replacement would change nothing, so it is an error.
fn observe(
    model: &DiffusionModel,
    site: SiteId,
    x: Tensor,
    cx: &mut Cx<'_>,
) -> Result<(), TapError> {
    if !cx.wants(site) || cx.tap(site, x.shallow_clone())?.equal(&x) {
        return Ok(());
    }
    Err(TapError::Unusable {
        site: model.sites.get(site).name.clone(),
        problem: "can be watched, not changed; change `step.eps` or `step.latent`".to_owned(),
    })
}

/// The denoiser's output that stands for the noise ε at latent x.
fn output_of(
    prediction: crate::sampler::Prediction,
    eps: &Tensor,
    x: &Tensor,
    alpha_bar: f64,
) -> Tensor {
    use crate::sampler::Prediction;
    let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
    let x0 = (x - eps * noise) / signal;
    match prediction {
        Prediction::Epsilon => eps.shallow_clone(),
        Prediction::Sample => x0,
        Prediction::V => eps * signal - x0 * noise,
    }
}

/// Latents (scaled) → images.
///
/// # Errors
/// The tap's own.
pub fn decode(
    model: &DiffusionModel,
    latents: &Tensor,
    cx: &mut Cx<'_>,
) -> Result<Vec<RgbImage>, TapError> {
    let unscaled = latents.to_kind(model.placement.kind) / model.vae_config.scaling_factor;
    Ok(to_images(&model.vae.decode(&unscaled, cx)?))
}

/// [n, 3, h, w] in [−1, 1] → 8-bit images, rounded as numpy rounds.
pub fn to_images(x: &Tensor) -> Vec<RgbImage> {
    let x = (x.to_kind(Kind::Float) * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0;
    let x = x.round().to_kind(Kind::Uint8).permute([0, 2, 3, 1]).contiguous();
    let x = x.to_device(tch::Device::Cpu);
    let (n, h, w) = (x.size()[0], x.size()[1], x.size()[2]);
    (0..n)
        .map(|i| {
            let mut bytes = vec![0_u8; (h * w * 3) as usize];
            let numel = bytes.len();
            x.get(i).contiguous().copy_data_u8(&mut bytes, numel);
            RgbImage::from_raw(w as u32, h as u32, bytes).unwrap_or_default()
        })
        .collect()
}

/// 8-bit images of one size → [n, 3, h, w] in [−1, 1].
pub fn from_images(images: &[RgbImage]) -> Tensor {
    let planes: Vec<Tensor> = images
        .iter()
        .map(|image| {
            let (w, h) = image.dimensions();
            Tensor::from_slice(image.as_raw()).view([i64::from(h), i64::from(w), 3])
        })
        .collect();
    Tensor::stack(&planes, 0).permute([0, 3, 1, 2]).to_kind(Kind::Float) / 127.5 - 1.0
}
