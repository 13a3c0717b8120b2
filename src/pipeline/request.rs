//! What to run, and what can be known of it beforehand.

use super::PipelineError;
use std::ops::RangeInclusive;

use super::image_input::{ImageInput, Purpose};
use crate::model::checkpoint::DiffusionModel;
use crate::model::conditioning::Framing;
use crate::model::tokenizer::{LongPrompt, Tokens};
use crate::sampler::{
    Course, Ddim, DdimInversion, Evaluation, Sampler, SamplerKind, Schedule, ScheduleError,
    SchedulerConfig,
};
use crate::site::{Branch, Extent};
use crate::tap::BatchLayout;
use crate::tap::edit::RunShape;

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
    /// The share φ, in [0, 1], by which the guided output gets the standard deviation of the
    /// conditional one ([`crate::sampler::rescaled_guidance`]); 0 is none.
    pub guidance_rescale: f64,
    /// η of DDIM, in [0, 1]: 0 is deterministic, 1 nearly DDPM.
    pub eta: f64,
    /// Image height in pixels.
    pub height: i64,
    /// Image width in pixels.
    pub width: i64,
    /// Unit noise to start from, [n, c, h, w], instead of the seeds'.
    pub init_latents: Option<Vec<f32>>,
    /// An image to begin with, instead of noise alone.
    pub image: Option<ImageInput>,
}

/// The range of shares.
const UNIT: RangeInclusive<f64> = 0.0..=1.0;

/// What a request comes to.
pub(super) enum Plan {
    /// Steps of a sampler, from one of its evaluations on.
    Sample { sampler: Box<dyn Sampler>, first: usize },
    /// One look at each evaluation.
    Look(Course),
}

impl Plan {
    /// When the denoiser is asked.
    pub fn evaluations(&self) -> &[Evaluation] {
        match self {
            Self::Sample { sampler, first } => &sampler.course().evaluations()[*first..],
            Self::Look(course) => course.evaluations(),
        }
    }
}

impl Request {
    /// Sampling steps unless a caller asks for others.
    pub const STEPS: usize = 25;
    /// Guidance scale unless a caller asks for another.
    pub const GUIDANCE: f64 = 5.0;

    /// One image of seed 0, as the model draws by itself: its size, its sampler, 25 steps,
    /// guidance 5.
    ///
    /// # Errors
    /// A scheduler config that no sampler reads.
    pub fn new(model: &DiffusionModel, prompt: impl Into<String>) -> Result<Self, PipelineError> {
        Ok(Self {
            prompts: vec![prompt.into()],
            negative: String::new(),
            long_prompt: LongPrompt::default(),
            framing: Framing::default(),
            seeds: vec![0],
            steps: Self::STEPS,
            sampler: SamplerKind::of_config(&SchedulerConfig::read(&model.scheduler)?)?,
            guidance: Self::GUIDANCE,
            guidance_rescale: 0.0,
            eta: 0.0,
            height: model.native_size(),
            width: model.native_size(),
            init_latents: None,
            image: None,
        })
    }

    /// The first prompt, once for each of these seeds.
    #[must_use]
    pub fn with_seeds(self, seeds: impl IntoIterator<Item = u64>) -> Self {
        let seeds: Vec<u64> = seeds.into_iter().collect();
        let prompts = self.prompts.first().map_or_else(Vec::new, |p| vec![p.clone(); seeds.len()]);
        Self { prompts, seeds, ..self }
    }

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
        self.check_inversion()?;
        self.check_eta()?;
        self.check_guidance_rescale()?;
        self.plan(model)?;
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

    /// How often the denoiser is asked, with a tap watching: once a step by most samplers,
    /// nearly twice by Heun's. As many steps is what a tap counts.
    ///
    /// # Errors
    /// The sampler cannot run so many steps, or not with this model.
    pub fn evaluations(&self, model: &DiffusionModel) -> Result<usize, PipelineError> {
        Ok(self.plan(model)?.evaluations().len())
    }

    /// The sizes of the run's tensors, its evaluations and the halves of guidance it computes:
    /// what an edit of it is checked against.
    ///
    /// # Errors
    /// As [`Request::evaluations`], and text that cannot be tokenized.
    pub fn run_shape(&self, model: &DiffusionModel) -> Result<RunShape, PipelineError> {
        let [images, _, latent_height, latent_width] = self.latent_shape(model);
        let tokens = self.context_length(model)? as i64;
        Ok(RunShape {
            extent: Extent { images, latent_height, latent_width, tokens },
            steps: self.evaluations(model)?,
            branches: self.layout().branches().to_vec(),
        })
    }

    pub(super) fn plan(&self, model: &DiffusionModel) -> Result<Plan, PipelineError> {
        let config = SchedulerConfig::read(&model.scheduler)?;
        if let Some(Purpose::Look { timesteps }) = self.purpose() {
            return Ok(Plan::Look(looking(&config, timesteps)?));
        }
        let sampler: Box<dyn Sampler> = match self.sampler {
            SamplerKind::Ddim => Box::new(Ddim::new(&config, self.steps, self.eta)?),
            other => other.prepare(&config, self.steps)?,
        };
        let first = match self.purpose() {
            Some(Purpose::Start { strength }) => {
                sampler.course().first_evaluation(self.steps, *strength)?
            }
            Some(Purpose::Invert) => {
                // Whether this can be done at all.
                DdimInversion::new(&config, self.steps)?;
                0
            }
            _ => 0,
        };
        Ok(Plan::Sample { sampler, first })
    }

    fn purpose(&self) -> Option<&Purpose> {
        self.image.as_ref().map(|input| &input.purpose)
    }

    fn check_inversion(&self) -> Result<(), PipelineError> {
        if self.purpose() != Some(&Purpose::Invert) {
            return Ok(());
        }
        if self.sampler != SamplerKind::Ddim {
            return Err(PipelineError::Inversion(format!(
                "inversion is of DDIM, and the sampler is {}; leave the sampler out or name ddim",
                self.sampler.label()
            )));
        }
        if self.init_latents.is_some() || self.seeds.len() > 1 {
            let problem = "one image has one noise, which is what is to be found; leave out other \
                           noise and ask for one image";
            return Err(PipelineError::Inversion(problem.to_owned()));
        }
        Ok(())
    }

    fn check_eta(&self) -> Result<(), PipelineError> {
        let eta = self.eta;
        let refuse = |reason: String| Err(PipelineError::Eta { eta, reason });
        if !UNIT.contains(&eta) {
            return refuse("give a number from 0 (deterministic) to 1 (nearly DDPM)".into());
        }
        if eta == 0.0 {
            return Ok(());
        }
        match self.purpose() {
            Some(Purpose::Look { .. }) => {
                refuse("nothing is sampled where an image is only looked at; leave it out".into())
            }
            Some(Purpose::Invert) => {
                refuse("noise that is drawn on the way cannot be inverted; leave it out".into())
            }
            _ if self.sampler != SamplerKind::Ddim => {
                let label = self.sampler.label();
                refuse(format!("{label} has no η, only DDIM has; add --sampler ddim"))
            }
            _ => Ok(()),
        }
    }

    fn check_guidance_rescale(&self) -> Result<(), PipelineError> {
        let share = self.guidance_rescale;
        let refuse = |reason: String| Err(PipelineError::GuidanceRescale { share, reason });
        if !UNIT.contains(&share) {
            return refuse("give a share from 0 (none) to 1 (all)".into());
        }
        if share > 0.0 && self.layout() != BatchLayout::UncondThenCond {
            return refuse(format!(
                "at guidance {} there is one prediction and nothing is guided; leave it out",
                self.guidance
            ));
        }
        Ok(())
    }

    /// [n, c, h, w] of the latents.
    pub fn latent_shape(&self, model: &DiffusionModel) -> [i64; 4] {
        let by = model.downscale();
        let channels = model.unet_config.in_channels;
        [self.seeds.len() as i64, channels, self.height / by, self.width / by]
    }

    pub(super) fn layout(&self) -> BatchLayout {
        if self.guidance == 1.0 {
            BatchLayout::One(Branch::Cond)
        } else if self.guidance == 0.0 {
            BatchLayout::One(Branch::Uncond)
        } else {
            BatchLayout::UncondThenCond
        }
    }
}

/// A look at each of some timesteps, in variance-preserving scale.
pub(super) fn looking(
    config: &SchedulerConfig,
    timesteps: &[i64],
) -> Result<Course, PipelineError> {
    let schedule = Schedule::new(config)?;
    if timesteps.is_empty() {
        return Err(PipelineError::NoTimesteps);
    }
    let last = schedule.len() - 1;
    if let Some(&timestep) = timesteps.iter().find(|&&t| t < 0 || t > last as i64) {
        return Err(ScheduleError::Timestep { timestep, last }.into());
    }
    Ok(Course::over_timesteps(&schedule, timesteps, config.prediction_type)?)
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
