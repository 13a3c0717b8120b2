//! Tables of what taps record and what edits change.

use super::{ANY, COSINE, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

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
    /// What one image shows with attention heads taken out, of one kind of statement.
    HeadAblationRow, "head_ablation", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0: one prompt and one seed.
    sample: u32, "", ANY;
    /// The prompt.
    prompt: String, "", ANY;
    /// Seed of the image.
    seed: u64, "", ANY;
    /// `ranking`: an image that heads are ranked by; `held-out`: one that sets of the first ranks
    /// are tested on.
    part: String, "", ANY;
    /// Layer of the head that was taken out, such as `up.1.attn.0.block.0.cross`; null where it
    /// was none or several.
    site: Option<String>, "", ANY;
    /// Number of the head, from 0; null where it was none or several.
    head: Option<u32>, "", ANY;
    /// How many heads were taken out.
    heads: u32, "", NOT_NEGATIVE;
    /// Which heads, where it was several: the kind they ranked first for, or `random-1`,
    /// `random-2` …
    set: Option<String>, "", ANY;
    /// `colour`, `shape`, `binding`, `relation`: the share of such statements of the prompt that
    /// hold in the image. `latent`: how far the last latent moved from the untouched run's, over
    /// its norm.
    measure: String, "", ANY;
    /// Its value; null where the prompt makes no such statement.
    value: Option<f64>, "share", NOT_NEGATIVE;
    /// Null for the measurement itself; `untouched` nothing was taken out, `random-heads` as many
    /// heads as a set has, drawn at random.
    control: Option<String>, "", ANY;
}

table! {
    /// What one tensor looked like at one step: a summary over all its values.
    TraceStatisticsRow, "trace_statistics", version 2;
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
    /// Excess kurtosis after Fisher, m₄ / m₂² − 3 with moments divided by the number of values: 0
    /// for a normal distribution, large where few values stand far out; null when all are equal or
    /// one is not finite.
    kurtosis: Option<f64>, "", ANY;
    /// Share of the values that are exactly zero.
    zeros: f64, "share", UNIT;
}

table! {
    /// How much one tensor changed from one step to the next; the first step has no row.
    ChangeRow, "change", version 1;
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
    /// `cond` or `uncond`; null at sites that have no branches.
    branch: Option<String>, "", ANY;
    /// Where in the model, such as `mid.attn.0.block.0.cross.out`.
    site: String, "", ANY;
    /// Euclidean norm of the tensor at this step; null when a value is not a number.
    norm: Option<f64>, "", NOT_NEGATIVE;
    /// Euclidean norm of its difference to the step before; null when a value is not a number.
    change: Option<f64>, "", NOT_NEGATIVE;
    /// The change over the norm at the step before; null where that norm is zero.
    relative: Option<f64>, "", NOT_NEGATIVE;
}

table! {
    /// What the prompt adds to the noise prediction at one step: ε_c with the prompt, ε_u with the
    /// negative or empty prompt. Norms are Euclidean, over the whole latent.
    GuidanceRow, "guidance", version 1;
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
    /// ‖ε_c‖.
    cond_norm: f64, "", NOT_NEGATIVE;
    /// ‖ε_u‖.
    uncond_norm: f64, "", NOT_NEGATIVE;
    /// ‖ε_c − ε_u‖.
    difference: f64, "", NOT_NEGATIVE;
    /// Length of ε_c − ε_u along ε_c; negative where it points against it.
    parallel: f64, "", ANY;
    /// Norm of the rest of ε_c − ε_u: parallel² + orthogonal² = difference².
    orthogonal: f64, "", NOT_NEGATIVE;
    /// Cosine of the angle between ε_c and ε_u; null where one of them is zero.
    cosine: Option<f64>, "", COSINE;
}

table! {
    /// What a trace would record at one site: what `probe trace --dry-run` prints.
    TracePlanRow, "trace_plan", version 2;
    /// Name of the site.
    site: String, "", ANY;
    /// What is made of it: `statistics`, `change`, `guidance`, and `raw` where the tensors are kept.
    recorders: String, "", ANY;
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
    /// What of them is held in memory at a time, the numbers made of them aside.
    held_bytes: u64, "byte", ANY;
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

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] = &[
    PatchRow::TABLE,
    HeadAblationRow::TABLE,
    TraceStatisticsRow::TABLE,
    ChangeRow::TABLE,
    GuidanceRow::TABLE,
    TracePlanRow::TABLE,
    SiteRow::TABLE,
];
