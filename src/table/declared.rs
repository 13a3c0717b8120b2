//! The tables.

use std::collections::BTreeMap;

use super::declare::table;
use super::error::nearest;
use super::{Row, TableDeclaration, TableError, ValueRange};

/// Any number, or text.
const ANY: ValueRange = ValueRange::ANY;
/// Zero and up.
const NOT_NEGATIVE: ValueRange = ValueRange::NOT_NEGATIVE;
/// One and up.
const FROM_ONE: ValueRange = ValueRange::POSITIVE_WHOLE;
/// Zero to one.
const UNIT: ValueRange = ValueRange::UNIT;

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

table! {
    /// Whether one thing that a prompt asks for is in one image.
    JudgementRow, "judgement", version 1;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// The prompt; its images are one cluster when intervals are made.
    prompt: String, "", ANY;
    /// Seed of the image.
    seed: u64, "", ANY;
    /// Category of the prompt, such as `relation` or `count`.
    category: String, "", ANY;
    /// What is asked, such as `ball is red`.
    atom: String, "", ANY;
    /// What sort of thing is asked: `exists`, `color`, `relation`, `count` …
    kind: String, "", ANY;
    /// What the prompt asks for.
    expected: String, "", ANY;
    /// What the judge found; null when it found nothing to compare.
    found: Option<String>, "", ANY;
    /// Whether it holds; null when the judge cannot tell.
    holds: Option<bool>, "", ANY;
    /// Why, in words.
    reason: String, "", ANY;
    /// Who judged.
    judge: String, "", ANY;
    /// Version of the judge.
    judge_version: String, "", ANY;
}

table! {
    /// What it brings back to restore some sites of the clean prompt's run in the corrupted
    /// prompt's.
    PatchRow, "patch", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Seed of the image.
    seed: u64, "", ANY;
    /// Which sites were restored, such as `up.1 cross-attention`; null for the two runs in which
    /// none was.
    group: Option<String>, "", ANY;
    /// How many sites that is.
    sites: u32, "", NOT_NEGATIVE;
    /// First step at which they were restored; null where none was.
    first_step: Option<u32>, "", ANY;
    /// Last step at which they were restored; null where none was.
    last_step: Option<u32>, "", ANY;
    /// Timestep of the first step; large is noisy.
    from_timestep: Option<f64>, "training step", NOT_NEGATIVE;
    /// Timestep of the last step.
    to_timestep: Option<f64>, "training step", NOT_NEGATIVE;
    /// `latent` and `image`: 1 − the distance to the clean run over that of the corrupted run: 1
    /// where the clean run is back, 0 where nothing came of it. `atoms`: the share of what the
    /// clean prompt asks for that the judge finds.
    measure: String, "", ANY;
    /// Its value; null where it does not exist.
    value: Option<f64>, "share", ANY;
    /// Null for the measurement itself; `random-sites` as many sites drawn at random, `itself` the
    /// corrupted run restored into itself, `clean` and `corrupted` the runs without a change.
    control: Option<String>, "", ANY;
}

table! {
    /// How many images of a category have one sort of thing right.
    JudgementSummaryRow, "judgement_summary", version 1;
    /// Category of the prompts.
    category: String, "", ANY;
    /// What is asked: `everything` the prompt says, or one sort of atom.
    kind: String, "", ANY;
    /// Images whose prompt asks for it.
    images: u32, "image", ANY;
    /// Images that have all of it right.
    right: u32, "image", ANY;
    /// Their share.
    share: f64, "share", UNIT;
    /// Lower end of the 95 % Wilson interval.
    low: f64, "share", UNIT;
    /// Upper end of the 95 % Wilson interval.
    high: f64, "share", UNIT;
    /// Who judged, and in which version.
    judge: String, "", ANY;
}

table! {
    /// The noise schedule at one training timestep.
    ScheduleRow, "schedule", version 1;
    /// Training timestep, from 0, the least noisy.
    timestep: u32, "training step", ANY;
    /// Variance of the noise that this step adds.
    beta: f64, "", UNIT;
    /// Share of the signal's variance that is left, ᾱ = ∏ (1 − β).
    alpha_bar: f64, "", UNIT;
    /// Noise over signal, √((1 − ᾱ) / ᾱ).
    sigma: f64, "", NOT_NEGATIVE;
    /// Signal-to-noise ratio, ᾱ / (1 − ᾱ).
    snr: f64, "", NOT_NEGATIVE;
    /// Natural logarithm of the signal-to-noise ratio.
    log_snr: f64, "nat", ANY;
}

table! {
    /// What one tensor looked like at one step: a summary over all its values.
    TraceStatisticsRow, "trace_statistics", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Which denoising step, from 0; null at sites outside the denoising loop.
    step: Option<u32>, "", ANY;
    /// Where the step lies in the training schedule; null outside the denoising loop.
    timestep: Option<f64>, "training step", NOT_NEGATIVE;
    /// Noise over signal at this step; null outside the denoising loop.
    sigma: Option<f64>, "", NOT_NEGATIVE;
    /// `cond` or `uncond`; null at sites that have no branches.
    branch: Option<String>, "", ANY;
    /// Where in the model, such as `mid.attn.0.out`.
    site: String, "", ANY;
    /// Mean of the values; null when one of them is not a number.
    mean: Option<f64>, "", ANY;
    /// Standard deviation of the values (divided by their number); null when one of them is not
    /// finite.
    std: Option<f64>, "", NOT_NEGATIVE;
    /// Smallest value; null when one of them is not a number.
    min: Option<f64>, "", ANY;
    /// Largest value; null when one of them is not a number.
    max: Option<f64>, "", ANY;
    /// Euclidean norm of the values; null when one of them is not a number.
    norm: Option<f64>, "", NOT_NEGATIVE;
}

table! {
    /// One image of a run.
    ImageRow, "images", version 1;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// The prompt.
    prompt: String, "", ANY;
    /// Seed of its noise.
    seed: u64, "", ANY;
    /// Where it is in the run folder, such as `images/000.png`.
    file: String, "", ANY;
    /// SHA-256 of the file, 64 hexadecimal digits.
    sha256: String, "", ANY;
}

table! {
    /// How close DDIM comes to an image from the noise that its inversion found.
    InversionRow, "inversion", version 1;
    /// The prompt that both ways were told.
    prompt: String, "", ANY;
    /// Steps of each way.
    steps: u32, "", FROM_ONE;
    /// Guidance scale of both ways.
    guidance: f64, "", ANY;
    /// ‖z' − z‖/‖z‖ of the reconstructed latent z' and the image's z.
    latent_error: f64, "", NOT_NEGATIVE;
    /// Peak signal-to-noise ratio of the reconstruction to the image after the autoencoder
    /// alone; null where they agree in every byte.
    psnr_to_round_trip: Option<f64>, "dB", ANY;
    /// The same to the image itself.
    psnr_to_original: Option<f64>, "dB", ANY;
    /// The same of the image after the autoencoder alone to the image itself: what the
    /// autoencoder allows.
    psnr_of_round_trip: Option<f64>, "dB", ANY;
    /// Mean of the noise that was found; 0 for the noise that models are trained with.
    noise_mean: f64, "", ANY;
    /// Its standard deviation; 1 for the noise that models are trained with.
    noise_std: f64, "", NOT_NEGATIVE;
}

table! {
    /// One column of a table: what `probe schema` prints.
    SchemaRow, "schema", version 1;
    /// Table the column belongs to.
    table: String, "", ANY;
    /// Version of that table.
    version: u32, "", FROM_ONE;
    /// Name of the column.
    column: String, "", ANY;
    /// Type of its values.
    dtype: String, "", ANY;
    /// Their unit; null for plain numbers and text.
    unit: Option<String>, "", ANY;
    /// Whether null is allowed.
    nullable: bool, "", ANY;
    /// Smallest value allowed; null: no limit.
    low: Option<f64>, "", ANY;
    /// Largest value allowed; null: no limit.
    high: Option<f64>, "", ANY;
    /// What a value says.
    meaning: String, "", ANY;
}

table! {
    /// One place in a model that can be watched: what `probe sites` prints.
    SiteRow, "sites", version 1;
    /// Name of the site, such as `mid.attn.0.block.0.cross.probs`.
    site: String, "", ANY;
    /// What each axis of the tensor counts, outermost first.
    axes: String, "", ANY;
    /// Its shape for one image and one half of guidance.
    shape: String, "", ANY;
    /// Size of that tensor with four bytes a number.
    megabytes: f64, "10⁶ bytes", NOT_NEGATIVE;
    /// Path of the module in a diffusers checkpoint; null at the sampler's own sites.
    path: Option<String>, "", ANY;
}

table! {
    /// A model that `--model` can name: what `probe models list` prints.
    ModelRow, "models", version 1;
    /// Its name.
    model: String, "", ANY;
    /// `built in`, or the folder in the hub's cache.
    place: String, "", ANY;
    /// Size of its files.
    megabytes: f64, "10⁶ bytes", NOT_NEGATIVE;
}

table! {
    /// What a checkpoint holds: what `probe models inspect` prints. One row for the model, one a
    /// part, one for each thing that is wrong.
    ModelCheckRow, "model_check", version 1;
    /// The model, a part (`unet`), or a tensor (`unet: conv_in.weight`).
    subject: String, "", ANY;
    /// `whole`; of tensors `missing`, `extra`, `shape`, `dtype`, `not finite`; `error`.
    state: String, "", ANY;
    /// Numbers in the weights.
    parameters: Option<u64>, "", NOT_NEGATIVE;
    /// Kinds of these numbers in the files.
    dtype: Option<String>, "", ANY;
    /// Bytes they take there.
    megabytes: Option<f64>, "10⁶ bytes", NOT_NEGATIVE;
    /// What the config asks for.
    expected: Option<String>, "", ANY;
    /// What is there: the family of architectures, tensors, a shape, an error.
    found: Option<String>, "", ANY;
}

table! {
    /// What a trace would record at one site: what `probe trace --dry-run` prints.
    TracePlanRow, "trace_plan", version 1;
    /// Name of the site.
    site: String, "", ANY;
    /// Shape of each tensor; the first axis counts images.
    shape: String, "", ANY;
    /// Tensors at each step: two where both halves of guidance have one.
    tensors: u32, "", FROM_ONE;
    /// Steps recorded; 1 at sites outside the denoising loop.
    steps: u32, "", ANY;
    /// Size of its tensors at one step.
    step_bytes: u64, "byte", ANY;
    /// Size of its tensors at all steps recorded.
    bytes: u64, "byte", ANY;
}

table! {
    /// One thing denoscope needs or can use, and whether it is there: what `probe doctor` prints.
    DoctorRow, "doctor", version 1;
    /// What was looked at.
    check: String, "", ANY;
    /// `found`, `missing` (and needed) or `absent` (and not needed).
    status: String, "", ANY;
    /// What was found.
    found: String, "", ANY;
    /// How to get it; null when it is there.
    remedy: Option<String>, "", ANY;
}

table! {
    /// How often the judge is right about one kind of expectation on images of known scenes.
    CalibrationRow, "judge_calibration", version 1;
    /// What was done to the images: `none`, `noise 0.05` …
    distortion: String, "", ANY;
    /// Kind of expectation; `all` together; `caption`: all expectations of a caption at once.
    kind: String, "", ANY;
    /// Images looked at.
    images: u32, "", ANY;
    /// Expectations of the images' own captions, which all hold.
    own: u32, "", ANY;
    /// Share of them that the judge says hold; null without any.
    right: Option<f64>, "share", UNIT;
    /// Lower end of its 95 % Wilson interval.
    right_low: Option<f64>, "share", UNIT;
    /// Upper end of its 95 % Wilson interval.
    right_high: Option<f64>, "share", UNIT;
    /// Expectations from captions of other images that are false in this one.
    foreign: u32, "", ANY;
    /// Share of them that the judge wrongly says hold; null without any.
    false_positive: Option<f64>, "share", UNIT;
    /// Lower end of its 95 % Wilson interval.
    false_positive_low: Option<f64>, "share", UNIT;
    /// Upper end of its 95 % Wilson interval.
    false_positive_high: Option<f64>, "share", UNIT;
    /// Mean intersection over union of the objects' seen and true masks; null but for `all`.
    mask_overlap: Option<f64>, "", UNIT;
}

table! {
    /// What the judge saw where the truth was something.
    ConfusionRow, "judge_confusion", version 1;
    /// What was done to the images.
    distortion: String, "", ANY;
    /// The attribute: `shape`, `colour`, `objects` …
    attribute: String, "", ANY;
    /// What is there; `nothing` where there is no object.
    truth: String, "", ANY;
    /// What the judge saw; `missed` where it saw none.
    seen: String, "", ANY;
    /// Cases.
    cases: u32, "", FROM_ONE;
    /// Cases over all with this truth.
    share: f64, "share", UNIT;
}

/// Every table there is.
static DECLARATIONS: [TableDeclaration; 18] = [
    AttentionRow::TABLE,
    AlignmentRow::TABLE,
    TokenRow::TABLE,
    JudgementRow::TABLE,
    JudgementSummaryRow::TABLE,
    PatchRow::TABLE,
    ScheduleRow::TABLE,
    TraceStatisticsRow::TABLE,
    ImageRow::TABLE,
    InversionRow::TABLE,
    SchemaRow::TABLE,
    SiteRow::TABLE,
    ModelRow::TABLE,
    ModelCheckRow::TABLE,
    TracePlanRow::TABLE,
    DoctorRow::TABLE,
    CalibrationRow::TABLE,
    ConfusionRow::TABLE,
];

/// Every table there is.
pub fn declarations() -> &'static [TableDeclaration] {
    &DECLARATIONS
}

/// The table of this name.
///
/// # Errors
/// [`TableError::UnknownTable`] with all names and the nearest.
pub fn declaration(name: &str) -> Result<&'static TableDeclaration, TableError> {
    DECLARATIONS.iter().find(|table| table.name == name).ok_or_else(|| {
        let names = DECLARATIONS.iter().map(|table| table.name);
        TableError::UnknownTable {
            name: name.to_owned(),
            nearest: nearest(name, names.clone()),
            known: names.collect::<Vec<_>>().join(", "),
        }
    })
}

/// Version of each table, for the manifest.
pub fn versions() -> BTreeMap<String, u32> {
    DECLARATIONS.iter().map(|table| (table.name.to_owned(), table.version)).collect()
}
