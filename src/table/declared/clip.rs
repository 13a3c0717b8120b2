//! Tables of the embedding space of captions and images.

use super::{ANY, COSINE, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// One number of the embedding space, beside its controls.
    ClipRow, "clip", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Question it answers: `similarity`, `analogy`, `additivity`, `order`, `layers`,
    /// `retrieval`, `modality-gap`, `path`.
    part: String, "", ANY;
    /// What is measured: `cosine`, `distance`, `accuracy`, `r2`, `recall` …
    measure: String, "", ANY;
    /// Of what, such as `same colour` or `image to text, first 5`.
    subject: String, "", ANY;
    /// Layer of the text encoder, such as `text.layer.0.out`; null: the pooled embedding.
    site: Option<String>, "", ANY;
    /// Share of the way from one prompt to the other; null but for `path`.
    way: Option<f64>, "share", UNIT;
    /// Null for the measurement; `untrained`: the same encoder with random weights;
    /// `shuffled-captions`: embeddings given to other captions; `shuffled-labels`;
    /// `random-direction`; `random-halves`.
    control: Option<String>, "", ANY;
    /// The number: a share, a cosine, a distance or an R², as `measure` says.
    value: f64, "", ANY;
    /// Lower end of its 95 % bootstrap interval; null for a single unit.
    low: Option<f64>, "", ANY;
    /// Upper end.
    high: Option<f64>, "", ANY;
    /// What knowing nothing gives; null where that is not known beforehand.
    chance: Option<f64>, "", ANY;
    /// How many the interval is over: captions, pairs or images, as the question has them.
    units: u32, "", FROM_ONE;
}

table! {
    /// How alike the embeddings of two captions are.
    ClipSimilarityRow, "clip_similarity", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// One caption.
    caption: String, "", ANY;
    /// The other.
    other: String, "", ANY;
    /// Null for the measurement; `untrained`: with random weights.
    control: Option<String>, "", ANY;
    /// Cosine of the angle between their embeddings.
    cosine: f64, "", COSINE;
}

table! {
    /// An analogy: caption − word + other word, and the caption that is nearest to the result.
    ClipAnalogyRow, "clip_analogy", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// What is exchanged: `colour` or `shape`.
    kind: String, "", ANY;
    /// The caption it begins with, which is no answer.
    caption: String, "", ANY;
    /// The word that is taken away.
    minus: String, "", ANY;
    /// The word that is added.
    plus: String, "", ANY;
    /// The caption that should be nearest.
    expected: String, "", ANY;
    /// The caption that is.
    nearest: String, "", ANY;
    /// Whether they are the same.
    right: bool, "", ANY;
    /// Null for the measurement; `shuffled-captions`; `untrained`.
    control: Option<String>, "", ANY;
}

table! {
    /// How far a caption's embedding moves when its words change places, or only its wording.
    ClipOrderRow, "clip_order", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// The caption, such as `a red ball left of a blue cube`.
    caption: String, "", ANY;
    /// The changed one.
    other: String, "", ANY;
    /// `paraphrase` and `inverse` mean the same, `roles` and `colours` something else.
    change: String, "", ANY;
    /// Null for the measurement; `untrained`: with random weights.
    control: Option<String>, "", ANY;
    /// 1 − the cosine of the two embeddings.
    distance: f64, "", NOT_NEGATIVE;
}

table! {
    /// What an image shows that was drawn from an embedding between two prompts, or composed.
    ClipPathRow, "clip_path", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// `colour` or `shape`: what the prompts differ in.
    kind: String, "", ANY;
    /// The prompt at 0.
    from: String, "", ANY;
    /// The prompt at 1.
    to: String, "", ANY;
    /// How the embedding was made: `interpolated`; `composed`, from + (the words of `to`
    /// elsewhere − those of `from` elsewhere).
    made: String, "", ANY;
    /// Share of the way from one to the other.
    way: f64, "share", UNIT;
    /// Seed of the image.
    seed: u64, "", ANY;
    /// Null for the measurement; `random-direction`: as far, in a direction that means nothing.
    control: Option<String>, "", ANY;
    /// Whether the judge finds all that the prompt at 0 says.
    shows_from: bool, "", ANY;
    /// Whether it finds all that the prompt at 1 says.
    shows_to: bool, "", ANY;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] = &[
    ClipRow::TABLE,
    ClipSimilarityRow::TABLE,
    ClipAnalogyRow::TABLE,
    ClipOrderRow::TABLE,
    ClipPathRow::TABLE,
];
