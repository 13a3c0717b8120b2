//! What can go wrong in a run.

use crate::measure::Undefined;
use crate::model::conditioning::ConditioningError;
use crate::model::tokenizer::TokenizerError;
use crate::sampler::ScheduleError;
use crate::tap::TapError;

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
    /// η where it means nothing.
    #[error("eta {eta}: {reason}")]
    Eta {
        /// η asked for.
        eta: f64,
        /// Why not.
        reason: String,
    },
    /// Guidance rescale where it means nothing.
    #[error("guidance rescale {share}: {reason}")]
    GuidanceRescale {
        /// The share asked for.
        share: f64,
        /// Why not.
        reason: String,
    },
    /// An inversion that is none.
    #[error("an image cannot be inverted so: {0}")]
    Inversion(String),
    /// Nothing to look at the image with.
    #[error("no timesteps to look at: name some, such as 100,500,900")]
    NoTimesteps,
    /// A measure of an image without an image.
    #[error("this run was given no image: there is nothing to compare with")]
    NoImage,
    /// A measure that does not exist.
    #[error("the images cannot be compared: {0}")]
    Undefined(#[from] Undefined),
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
