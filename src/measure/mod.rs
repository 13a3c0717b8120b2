//! Pure maths on attention maps, masks, scores and images: no tensors of the model, no tables.
//!
//! | module | answers |
//! |---|---|
//! | [`map`] | where a map puts its weight: mass, entropy, centroid, peak |
//! | [`resize`] | a map at another resolution, exactly as PyTorch's `interpolate` gives it |
//! | [`daam`] | many maps (steps, layers, heads) as one map per token |
//! | [`localisation`] | whether a map lies on a region: AUROC, precision, IoU, pointing … |
//! | [`covered`] | the same for a coarse map on a fine mask, without resizing |
//! | [`embedding`] | vectors: which is nearest, how much is a sum of parts |
//! | [`linear`] | what ridge or logistic regression reads out of activations, held out |
//! | [`commitment`] | from when an answer never changes again |
//! | [`crossover`] | at which level a yes turns into a no |
//! | [`spectrum`] | agreement of two fields by spatial frequency, and what noise alone predicts |
//! | [`similarity`] | whether two sets of activations are alike |
//! | [`distribution`] | how far two sets of images are apart |
//! | [`diversity`] | how different the images of a set are |
//! | [`appearance`] | saturation, contrast, clipped pixels, detail |
//! | [`impulse`] | how far a change spreads |
//! | [`blur`] | a map blurred |
//! | [`interval`] | a mean or a rate with its interval |
//! | [`bootstrap`] | intervals by resampling prompts, with a seed |
//! | [`jackknife`] | intervals of what resampling with repeats would spoil |
//! | [`paired`] | whether yes-or-no outcomes changed between two runs, and by how much |
//! | [`change_point`] | at which of several runs the outcomes of the same prompts changed |
//! | [`emergence`] | when in training a share passes a level, and what came first |
//! | [`multiplicity`] | p-values of several tests at once |
//! | [`permutation`] | controls and exact-by-resampling p-values |
//! | [`segmentation`] | regions from polygons and run lengths |
//! | [`stopping`] | how well scores foretell failures, and what stopping early saves |
//! | [`image`](mod@image) | how far two images are apart |
//!
//! Maps are row-major `[height, width]` arrays of `f32`; results are `f64`. A number that does
//! not exist (an empty region, a map of zeros) is an [`Undefined`] with its reason, never a
//! silent 0 or NaN.

pub mod appearance;
pub mod blur;
pub mod bootstrap;
pub mod change_point;
pub mod commitment;
pub mod covered;
pub mod crossover;
pub mod daam;
pub mod distribution;
pub mod diversity;
pub mod embedding;
pub mod emergence;
mod error;
pub mod image;
pub mod impulse;
pub mod interval;
pub mod jackknife;
pub mod linear;
pub mod localisation;
pub mod map;
pub mod multiplicity;
pub mod paired;
pub mod permutation;
pub mod record;
pub mod resize;
pub mod segmentation;
pub mod similarity;
pub mod spectrum;
pub mod stopping;

pub use bootstrap::Bootstrap;
pub use error::Undefined;
pub use interval::{Estimate, Proportion};
pub use localisation::Localisation;
pub use map::{MapSummary, Peak, Point};
pub use paired::PairedOutcomes;
