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
    AlignmentRow, "alignment", version 2;
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
    /// Null for the measurement itself; `permuted-words`: the map of another object's word;
    /// `other-images`: the map of the same word in the image of another seed, or on an object of
    /// another prompt's image.
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
    /// Intersection over the area of the map above 0.4 of its range: how much of what is attended to
    /// is the object; null when the map is constant.
    ioa: Option<f64>, "", UNIT;
    /// The object's share of the map's mass over its share of the area; 1 is chance.
    mass_ratio: Option<f64>, "", NOT_NEGATIVE;
    /// Whether the map's peak lies on the object; null when peaks on both sides are equal.
    pointing: Option<bool>, "", ANY;
}

table! {
    /// One token of an encoded prompt.
    TokenRow, "tokens", version 2;
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
    /// Where the piece begins in the prompt; 0 for start and end tokens.
    start: u32, "byte", ANY;
    /// Where it ends.
    end: u32, "byte", ANY;
}

table! {
    /// A map behind a report: of each head the sum over all steps, and at each step the mean over
    /// heads. Of the images that the report shows, and of as many steps as its explorer has.
    AttentionMapRow, "attention_maps", version 1;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Where in the model, such as `up.1.attn.0.block.0.cross.probs`.
    site: String, "", ANY;
    /// Which head, from 0; null: the mean over heads.
    head: Option<u32>, "", ANY;
    /// Which denoising step, from 0; null: the sum over all steps.
    step: Option<u32>, "", ANY;
    /// Position in the encoded prompt; 0 is the start token.
    token: u32, "", ANY;
    /// Rows of the map.
    height: u32, "cell", FROM_ONE;
    /// Columns of the map.
    width: u32, "cell", FROM_ONE;
    /// The map in row-major order.
    map: Option<Vec<f32>>, "probability", ANY;
}

table! {
    /// How well the words of many scenes look at their objects, at one place of the model.
    AttentionScoreRow, "attention_scores", version 2;
    /// Name of the run folder.
    run: String, "", ANY;
    /// What the words do in their scenes: `shape`, `colour`, `size` …; null: all words, or the
    /// one of `word`.
    role: Option<String>, "", ANY;
    /// The word whose maps are scored; null: all words, or those of `role`. At single heads words
    /// have no controls.
    word: Option<String>, "", ANY;
    /// Where in the model; null: the mean of the maps of all cross-attention layers.
    site: Option<String>, "", ANY;
    /// Which head, from 0; null: the mean of the maps of all heads.
    head: Option<u32>, "", ANY;
    /// Timestep of training; null: the mean of the maps at all timesteps.
    timestep: Option<f64>, "training step", NOT_NEGATIVE;
    /// Null for the measurement; `permuted-words`: on the object of other words;
    /// `other-images`: on the object of another scene; `untrained`: with random weights;
    /// `chosen-on-others`: the best head and timestep, in the scenes on which it was not chosen.
    control: Option<String>, "", ANY;
    /// Mean over scenes of the probability that a place on the object has more attention than one
    /// outside, ties half; 0.5 is chance.
    auroc: f64, "", UNIT;
    /// Lower end of its 95 % interval: bootstrap over units, Student's t of 50 and more; null for a
    /// single unit.
    auroc_low: Option<f64>, "", UNIT;
    /// Upper end.
    auroc_high: Option<f64>, "", UNIT;
    /// Mean over scenes of the object's share of the map's mass over its share of the area; 1 is
    /// chance; null when no map has mass.
    mass_ratio: Option<f64>, "", NOT_NEGATIVE;
    /// Mean over scenes of the average precision of the map as a score for places on the object;
    /// chance is the object's share of the image.
    average_precision: Option<f64>, "", UNIT;
    /// Mean intersection over union with the map above 0.4 of its range, as DAAM reports it; null
    /// when all maps are constant.
    iou_tau: Option<f64>, "", UNIT;
    /// The same at the threshold that suits each object best: an upper bound.
    iou_best: Option<f64>, "", UNIT;
    /// Mean intersection over the area of the map above 0.4 of its range: how much of what is
    /// attended to is the object.
    ioa: Option<f64>, "", UNIT;
    /// How often the map's peak lies on the object; a peak cell that it covers in part counts in
    /// part.
    pointing: Option<f64>, "share", UNIT;
    /// How many the interval is over: scenes, and for `untrained` draws of random weights.
    units: u32, "", FROM_ONE;
}

table! {
    /// How much of a word's attention lies on one object, its own or another.
    LeakageRow, "leakage", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// The word; null: all words of the role.
    word: Option<String>, "", ANY;
    /// What the word does in the scene: `shape`, `colour`, `size` …; `adjective`: all that
    /// describe; `given` where its region was given and nothing else is known of it.
    role: String, "", ANY;
    /// The object, such as `red ball`; null: the background, or those of all scenes.
    object: Option<String>, "", ANY;
    /// `own`: the object the word speaks of; `other`: another object of the prompt;
    /// `background`: what belongs to none.
    relation: String, "", ANY;
    /// Timestep of training; null: all together.
    timestep: Option<f64>, "training step", NOT_NEGATIVE;
    /// Null for the measurement; `other-images`: in another image's regions; `untrained`: with
    /// random weights.
    control: Option<String>, "", ANY;
    /// The region's share of the word's mass over its share of the area: 1 is chance.
    mass_ratio: f64, "", NOT_NEGATIVE;
    /// Lower end of its 95 % interval: bootstrap over scenes, or Student's t of 50 scenes and more
    /// and over the images of one prompt; null for a single unit.
    mass_low: Option<f64>, "", ANY;
    /// Upper end.
    mass_high: Option<f64>, "", ANY;
    /// How often the word lies more on its own object than on this one (by mass ratio, ties
    /// half); null but for `other`. 0.5 is chance.
    binds: Option<f64>, "share", UNIT;
    /// Lower end of its 95 % interval.
    binds_low: Option<f64>, "share", UNIT;
    /// Upper end.
    binds_high: Option<f64>, "share", UNIT;
    /// How many intervals are over: scenes or images, and for `untrained` draws of random weights.
    units: u32, "", FROM_ONE;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] = &[
    AttentionRow::TABLE,
    AlignmentRow::TABLE,
    AttentionScoreRow::TABLE,
    LeakageRow::TABLE,
    TokenRow::TABLE,
    AttentionMapRow::TABLE,
];
