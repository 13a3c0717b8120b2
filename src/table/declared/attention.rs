//! Tables of attention: maps, alignment scores, tokens.

use super::{ANY, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// Where one head at one step looks for one token: a cross-attention map and its summary.
    AttentionRow, "attention", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Which denoising step, from 0, the noisiest.
    step: u32, "", ANY;
    /// Where the step lies in the training schedule; large is noisy.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// Noise over signal at this step, √((1 − ᾱ) / ᾱ).
    sigma: f64, "", NOT_NEGATIVE;
    /// `cond` with the prompt, `uncond` with the negative or empty prompt.
    branch: String, "", ANY;
    /// Where in the model, such as `up.1.attn.0.block.0.cross.probs`.
    site: String, "", ANY;
    /// Which attention head, from 0; null: the mean over heads.
    head: Option<u32>, "", ANY;
    /// Position in the encoded prompt; 0 is the start token.
    token: u32, "", ANY;
    /// The token's text as the tokenizer spells it.
    piece: String, "", ANY;
    /// The word it belongs to; null for start, end and padding tokens.
    word: Option<String>, "", ANY;
    /// Rows of the map.
    height: u32, "cell", FROM_ONE;
    /// Columns of the map.
    width: u32, "cell", FROM_ONE;
    /// Share of the attention this token gets: mean over the map's cells of its probability.
    /// Over all tokens it sums to 1.
    mass: f64, "share", UNIT;
    /// Entropy of the map as a distribution over its cells: 0 for one cell, ln(height · width)
    /// for a flat map; null when the map is zero.
    entropy: Option<f64>, "nat", NOT_NEGATIVE;
    /// Centre of mass, to the right; null when the map is zero.
    centroid_x: Option<f64>, "image width", UNIT;
    /// Centre of mass, downwards; null when the map is zero.
    centroid_y: Option<f64>, "image height", UNIT;
    /// Centre of the cell with the largest value, to the right; null when the map is zero.
    peak_x: Option<f64>, "image width", UNIT;
    /// Centre of the cell with the largest value, downwards; null when the map is zero.
    peak_y: Option<f64>, "image height", UNIT;
    /// The map in row-major order; null unless maps were asked for.
    map: Option<Vec<f32>>, "probability", ANY;
}

table! {
    /// Whether one word's attention map lies on its object.
    AlignmentRow, "alignment", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// The prompt; its images are one cluster when intervals are made.
    prompt: String, "", ANY;
    /// The word whose map is scored.
    word: String, "", ANY;
    /// What the word does in the scene: `shape`, `colour`, `size` …; `given` where its region was
    /// given and nothing else is known of it.
    role: String, "", ANY;
    /// The object whose region is scored against, such as `red ball`.
    object: String, "", ANY;
    /// Where in the model; null: all cross-attention layers together.
    site: Option<String>, "", ANY;
    /// Which denoising step, from 0; null: all steps together.
    step: Option<u32>, "", ANY;
    /// Where the step lies in the training schedule; null: all steps together.
    timestep: Option<f64>, "training step", NOT_NEGATIVE;
    /// Null for the measurement itself; for a control its name, such as `permuted-words`.
    control: Option<String>, "", ANY;
    /// Probability that a cell of the object has more attention than a cell outside, ties half;
    /// 0.5 is chance. Null when the object is absent or covers the image.
    auroc: Option<f64>, "", UNIT;
    /// Average precision of the map as a score for the object's cells; chance is the object's
    /// share of the image.
    average_precision: Option<f64>, "", UNIT;
    /// Intersection over union with the map above 0.4 of its range, as DAAM reports it; null
    /// when the map is constant.
    iou_tau: Option<f64>, "", UNIT;
    /// Intersection over union at the threshold that suits this object best: an upper bound.
    iou_best: Option<f64>, "", UNIT;
    /// The object's share of the map's mass over its share of the area; 1 is chance.
    mass_ratio: Option<f64>, "", NOT_NEGATIVE;
    /// Whether the map's peak lies on the object; null when peaks on both sides are equal.
    pointing: Option<bool>, "", ANY;
}

table! {
    /// One token of an encoded prompt.
    TokenRow, "tokens", version 1;
    /// Position in the encoded prompt; 0 is the start token.
    position: u32, "", ANY;
    /// Number in the vocabulary.
    id: u32, "", ANY;
    /// The token's text as the tokenizer spells it.
    piece: String, "", ANY;
    /// The word it belongs to; null for start, end and padding tokens.
    word: Option<String>, "", ANY;
    /// Which word of the prompt, from 0; null for start, end and padding tokens.
    word_index: Option<u32>, "", ANY;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] =
    &[AttentionRow::TABLE, AlignmentRow::TABLE, TokenRow::TABLE];
