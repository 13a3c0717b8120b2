//! CLIP score: how well an image goes with a prompt, by the cosine of their vectors in the joint
//! space of a CLIP.
//!
//! Of each image max(100 · cos, 0), the prompt as it is: the scale of torchmetrics' `CLIPScore`
//! and of most papers on text-to-image models. Hessel et al. 2021 (EMNLP, CLIPScore) have
//! 2.5 · max(cos, 0) with "A photo depicts" before the caption, so their numbers are 40 times
//! smaller and of other texts. Means are over images; torchmetrics takes the mean first and then
//! the maximum, which differs where a cosine is below zero.
//!
//! It is a score and decides nothing: what is high for one CLIP or one prompt is low for another.
//! CLIP hardly hears the order of words and the word "no", so relations and negation are better
//! asked of another judge.

/// What stands before the name of the CLIP in this judge's name: `clip-score/shapes`.
pub const NAME: &str = "clip-score";
/// Version of the formula.
pub const VERSION: u32 = 1;

/// A cosine of 1.
const SCALE: f64 = 100.0;

/// The score of a cosine, in \[0, 100\].
pub fn clip_score(cosine: f64) -> f64 {
    (SCALE * cosine).max(0.0)
}
