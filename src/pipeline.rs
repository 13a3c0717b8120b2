//! From prompt to image: tokens → context → latents → image, with a tap along the way.

use std::sync::atomic::Ordering;

use image::RgbImage;
use tch::{Kind, Tensor};

use crate::INTERRUPTED;
use crate::model::checkpoint::DiffusionModel;
use crate::model::conditioning::{Conditioning, ConditioningError, Framing, Prompts};
use crate::model::tokenizer::{LongPrompt, TokenizerError, Tokens};
use crate::sampler::{
    Denoised, Evaluation, NoiseSource, Prediction, Sampler, SamplerKind, ScheduleError,
    SchedulerConfig, guided,
};
use crate::site::Branch;
use crate::tap::{BatchLayout, Cx, Moment, Tap, TapError};

/// What to generate.
#[derive(Clone, Debug)]
pub struct Request {
    /// One prompt an image.
    pub prompts: Vec<String>,
    /// What to steer away from; empty for plain guidance.
    pub negative: String,
    /// What becomes of prompts longer than the text encoder's places.
    pub long_prompt: LongPrompt,
    /// Sizes and crop that the denoiser is told of, where it reads them.
    pub framing: Framing,
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
    /// The denoiser cannot be told so.
    #[error(transparent)]
    Conditioning(#[from] ConditioningError),
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
    /// The timestep of each evaluation of the denoiser.
    pub timesteps: Vec<f64>,
    /// σ at each of them.
    pub sigmas: Vec<f64>,
}

/// What decides the course of sampling; all else at a step is a by-product.
const STEPS_GO_BY: &str = "change `step.eps` or `step.latent`";

/// Called after each evaluation of the denoiser with the number of those done and of all.
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
        self.evaluations(model)?;
        self.framing.check(model)?;
        self.prompts.iter().map(|prompt| self.encode(model, prompt)).collect()
    }

    /// A text as this request has it read.
    ///
    /// # Errors
    /// Text that cannot be tokenized.
    pub fn encode(&self, model: &DiffusionModel, text: &str) -> Result<Tokens, PipelineError> {
        Ok(model.tokenizer.encode_long(text, self.long_prompt)?)
    }

    /// Tokens of the context, padding included.
    ///
    /// # Errors
    /// Text that cannot be tokenized.
    pub fn context_length(&self, model: &DiffusionModel) -> Result<usize, PipelineError> {
        let mut chunks = 1;
        for text in self.prompts.iter().chain([&self.negative]) {
            chunks = chunks.max(model.tokenizer.chunks(&self.encode(model, text)?));
        }
        Ok(chunks * model.tokenizer.max_length())
    }

    /// How often the denoiser is asked: once a step by most samplers, nearly twice by Heun's.
    /// As many steps is what a tap counts.
    ///
    /// # Errors
    /// The sampler cannot run so many steps, or not with this model.
    pub fn evaluations(&self, model: &DiffusionModel) -> Result<usize, PipelineError> {
        let sampler = self.prepare(model)?;
        Ok(sampler.course().evaluations().len())
    }

    fn prepare(&self, model: &DiffusionModel) -> Result<Box<dyn Sampler>, ScheduleError> {
        self.sampler.prepare(&SchedulerConfig::read(&model.scheduler)?, self.steps)
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
    request.check(model)?;
    let _no_grad = tch::no_grad_guard();
    let mut cx = match tap {
        Some(tap) => Cx::watching(&model.sites, tap),
        None => Cx::silent(),
    };
    let prompts = Prompts {
        texts: &request.prompts,
        negative: &request.negative,
        layout: request.layout(),
        long: request.long_prompt,
        framing: request.framing,
        size: [request.height, request.width],
    };
    let conditioning = model.condition(&prompts, &mut cx)?;
    tracing::debug!("prompts encoded");
    let mut sampler = request.prepare(model)?;
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
        sampler.as_mut(),
        (&conditioning, init_latents.to_device(model.placement.device)),
        &mut noise,
        &mut cx,
        progress,
    )?;
    let images = decode(model, &latents, &mut cx)?;
    let evaluations = sampler.course().evaluations();
    let timesteps = evaluations.iter().map(|at| at.timestep).collect();
    let sigmas = evaluations.iter().map(|at| at.sigma).collect();
    Ok(Generation { images, init_latents, latents, timesteps, sigmas })
}

fn denoise(
    model: &DiffusionModel,
    request: &Request,
    sampler: &mut dyn Sampler,
    (conditioning, unit_noise): (&Conditioning, Tensor),
    noise: &mut NoiseSource,
    cx: &mut Cx<'_>,
    progress: Progress<'_>,
) -> Result<Tensor, PipelineError> {
    let (kind, layout) = (model.placement.kind, request.layout());
    let sites = model.step_sites;
    let steps = sampler.course().evaluations().len();
    // The sampler's state stays f32, whatever the denoiser computes in.
    let mut x = sampler.course().start(&unit_noise.to_kind(Kind::Float));
    for step in 0..steps {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(PipelineError::Interrupted);
        }
        let evaluation = sampler.course().evaluations()[step];
        let Evaluation { timestep, sigma, .. } = evaluation;
        let at = Moment { step, timestep, sigma, branch: None };
        cx.now(at, BatchLayout::Shared);
        x = cx.tap(sites.latent, x)?;

        let seen = sampler.course().input(step, &x);
        let input = seen.to_kind(kind);
        let input = match layout {
            BatchLayout::UncondThenCond => Tensor::cat(&[&input, &input], 0),
            _ => input,
        };
        let timesteps = Tensor::full([input.size()[0]], timestep, (Kind::Float, input.device()));
        cx.now(at, layout);
        let output = model.unet.forward(&input, &timesteps, conditioning, cx)?.to_kind(Kind::Float);
        cx.now(at, BatchLayout::Shared);

        let noisy = Noisy { x: &seen, evaluation, prediction: sampler.course().prediction() };
        let output = guide(model, request.guidance, &noisy, &output, layout, cx)?;
        let stepped = sampler.step(step, &output, &x, noise);
        cx.show(sites.x0, &stepped.x0, STEPS_GO_BY)?;
        x = stepped.previous;
        if !x.sum(Kind::Float).double_value(&[]).is_finite() {
            return Err(PipelineError::NotFinite { step });
        }
        tracing::debug!("step {} of {steps} done", step + 1);
        progress(step + 1, steps);
    }
    Ok(x)
}

/// What the denoiser was shown, and how its output is to be read.
struct Noisy<'a> {
    x: &'a Tensor,
    evaluation: Evaluation,
    prediction: Prediction,
}

impl Noisy<'_> {
    /// ε as an output of the denoiser says it.
    fn eps_of(&self, output: &Tensor) -> Tensor {
        Denoised::new(self.prediction, output, self.x, self.evaluation.alpha_bar).eps
    }

    /// The output that stands for ε.
    fn output_of(&self, eps: &Tensor) -> Tensor {
        let alpha_bar = self.evaluation.alpha_bar;
        let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let x0 = (self.x - eps * noise) / signal;
        match self.prediction {
            Prediction::Epsilon => eps.shallow_clone(),
            Prediction::Sample => x0,
            Prediction::V => eps * signal - x0 * noise,
        }
    }
}

/// Classifier-free guidance on the denoiser's raw output. Shows ε to the tap, which may
/// replace it.
fn guide(
    model: &DiffusionModel,
    s: f64,
    noisy: &Noisy<'_>,
    output: &Tensor,
    layout: BatchLayout,
    cx: &mut Cx<'_>,
) -> Result<Tensor, TapError> {
    let sites = model.step_sites;
    let guided = if layout == BatchLayout::UncondThenCond {
        let parts = output.chunk(2, 0);
        if cx.wants(sites.eps_uncond) {
            cx.show(sites.eps_uncond, &noisy.eps_of(&parts[0]), STEPS_GO_BY)?;
        }
        guided(&parts[0], &parts[1], s)
    } else {
        output.shallow_clone()
    };
    if !cx.wants(sites.eps) {
        return Ok(guided);
    }
    let eps = noisy.eps_of(&guided);
    let seen = cx.tap(sites.eps, eps.shallow_clone())?;
    if seen.data_ptr() == eps.data_ptr() {
        return Ok(guided);
    }
    Ok(noisy.output_of(&seen))
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
    let kind = model.vae_config.kind(model.placement.kind);
    let unscaled = latents.to_kind(kind) / model.vae_config.scaling_factor;
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
