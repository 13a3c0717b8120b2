//! Tables of many runs: in the order of time or of training, and what they say of further ones.

use super::{ANY, COSINE, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// One category in one of several runs that ask the same in the same way.
    TrendRow, "trend", version 1;
    /// Which runs belong together: those of one number differ in the model alone.
    series: u32, "", FROM_ONE;
    /// Name of the suite.
    suite: String, "", ANY;
    /// Who judged, and in which version.
    judge: String, "", ANY;
    /// Category of the prompts; `overall`: all of the suite's.
    category: String, "", ANY;
    /// Place of the run in its series, from 1.
    place: u32, "", FROM_ONE;
    /// The run.
    run: String, "", ANY;
    /// When it was begun, UTC.
    started: String, "", ANY;
    /// Optimiser steps that its model was trained for; null where the run does not say.
    training_step: Option<u64>, "training step", ANY;
    /// Images that its model was trained with; null where the run does not say.
    training_images: Option<u64>, "image", ANY;
    /// Name of the model.
    model: Option<String>, "", ANY;
    /// Prompts judged in every run of the series.
    prompts: u32, "prompt", FROM_ONE;
    /// Images of them in this run.
    images: u32, "image", FROM_ONE;
    /// Share that has everything right.
    share: f64, "share", UNIT;
    /// Lower end of its 95 % interval over prompts.
    low: f64, "share", UNIT;
    /// Upper end of its 95 % interval over prompts.
    high: f64, "share", UNIT;
    /// Which stretch between change points the run lies in, from 1.
    level: u32, "", FROM_ONE;
    /// Share over that stretch.
    level_share: f64, "share", UNIT;
}

table! {
    /// A run from which on a category does better or worse than before.
    ChangePointRow, "change_point", version 1;
    /// Which runs belong together.
    series: u32, "", FROM_ONE;
    /// Name of the suite.
    suite: String, "", ANY;
    /// Who judged, and in which version.
    judge: String, "", ANY;
    /// Category of the prompts; `overall`: all of the suite's.
    category: String, "", ANY;
    /// `better` or `worse`.
    direction: String, "", ANY;
    /// The last run before.
    last_before: String, "", ANY;
    /// The first run after.
    first_after: String, "", ANY;
    /// Place of the first run after.
    place: u32, "", FROM_ONE;
    /// Earliest place that resampled prompts give (95 %).
    place_low: u32, "", FROM_ONE;
    /// Latest place that resampled prompts give (95 %).
    place_high: u32, "", FROM_ONE;
    /// Share between the change point before and this one.
    before: f64, "share", UNIT;
    /// Share between this change point and the next.
    after: f64, "share", UNIT;
    /// After less before.
    difference: f64, "share", COSINE;
    /// Lower end of its 95 % bootstrap interval over prompts.
    low: f64, "share", COSINE;
    /// Upper end of it.
    high: f64, "share", COSINE;
    /// Chance of a break as clear if nothing had changed, by exchanging times within prompts.
    p: f64, "", UNIT;
    /// The same times the number of categories looked at (Bonferroni).
    p_adjusted: f64, "", UNIT;
}

table! {
    /// How far one sort of thing is learned at a checkpoint of training.
    EmergenceRow, "emergence", version 1;
    /// Which runs belong together.
    series: u32, "", FROM_ONE;
    /// Category of the prompts.
    category: String, "", ANY;
    /// The run.
    run: String, "", ANY;
    /// Optimiser steps or images of training, as asked.
    trained: f64, "", NOT_NEGATIVE;
    /// A sort of atom (`colour`, `shape` …), or `joint`: everything; `product`: of the shares of
    /// the single attributes; `product gap`: joint less product.
    kind: String, "", ANY;
    /// Images whose prompt asks for it.
    images: u32, "image", FROM_ONE;
    /// Different prompts among them.
    prompts: u32, "prompt", FROM_ONE;
    /// Share of images that have all of it right; of the gap a difference of shares.
    value: f64, "share", COSINE;
    /// Lower end of its 95 % bootstrap interval over prompts; null with one prompt.
    low: Option<f64>, "share", COSINE;
    /// Upper end of it.
    high: Option<f64>, "share", COSINE;
}

table! {
    /// When in training a sort of thing passes half, or another level.
    EmergenceTimeRow, "emergence_time", version 1;
    /// Which runs belong together.
    series: u32, "", FROM_ONE;
    /// Category of the prompts.
    category: String, "", ANY;
    /// A sort of atom, or `joint`: everything.
    kind: String, "", ANY;
    /// The level.
    level: f64, "share", UNIT;
    /// `within` the checkpoints, `before first`, `after last`.
    passed: String, "", ANY;
    /// When, in the unit of `emergence`; null beyond the checkpoints.
    trained: Option<f64>, "", NOT_NEGATIVE;
    /// Lower end of its 95 % bootstrap interval over prompts; null: before the first checkpoint.
    low: Option<f64>, "", NOT_NEGATIVE;
    /// Upper end of it; null: after the last checkpoint.
    high: Option<f64>, "", NOT_NEGATIVE;
    /// Share at the last checkpoint.
    last: f64, "share", UNIT;
}

table! {
    /// Which of two sorts of things is learned first.
    EmergenceOrderRow, "emergence_order", version 1;
    /// Which runs belong together.
    series: u32, "", FROM_ONE;
    /// Category of the prompts.
    category: String, "", ANY;
    /// The one that passes the level earlier.
    first: String, "", ANY;
    /// The other.
    second: String, "", ANY;
    /// Share of resampled sets of prompts in which it is earlier; ties count half.
    share: f64, "share", UNIT;
    /// Two-sided p-value that neither comes first.
    p: f64, "", UNIT;
    /// The same after Holm's correction for all pairs of the category.
    p_holm: f64, "", UNIT;
    /// `first` where that is at most the level of the tests, else `undecided`.
    verdict: String, "", ANY;
}

table! {
    /// How many prompts and images see a wanted effect.
    PlanRow, "plan", version 1;
    /// Name of the suite.
    suite: String, "", ANY;
    /// Who judged, and in which version.
    judge: String, "", ANY;
    /// Category of the prompts; `overall`: all of the suite's.
    category: String, "", ANY;
    /// What the variance is from: `runs` (the same seeds in consecutive runs) or `seeds` (two seeds
    /// of a prompt in one run, which differ more than a small change makes them).
    basis: String, "", ANY;
    /// Pairs of images it is from.
    pairs: u64, "pair", FROM_ONE;
    /// Share of pairs that differ, with one more pair each way.
    discordance: f64, "share", UNIT;
    /// How alike the changes of one prompt's images are (intraclass correlation, within 0 and 1);
    /// null where the store cannot say, and then a prompt counts as one image.
    correlation: Option<f64>, "", UNIT;
    /// Loss of share that is to be seen.
    effect: f64, "share", UNIT;
    /// Chance to see it.
    power: f64, "share", UNIT;
    /// Level of the category's test: that of all over the number of categories.
    significance: f64, "", UNIT;
    /// Images of each prompt.
    images_per_prompt: u32, "image", FROM_ONE;
    /// Prompts that it takes.
    prompts_needed: u64, "prompt", FROM_ONE;
    /// Images that it takes.
    images_needed: u64, "image", FROM_ONE;
    /// Prompts that the suite has.
    prompts: u64, "prompt", FROM_ONE;
    /// Whether these are enough.
    enough: bool, "", ANY;
}

table! {
    /// How often the gate raises an alarm though nothing changed.
    FalseAlarmRow, "false_alarms", version 1;
    /// What was exchanged at random: see `plan`.
    basis: String, "", ANY;
    /// Categories compared at once.
    categories: u32, "", FROM_ONE;
    /// Comparisons made.
    comparisons: u32, "", FROM_ONE;
    /// Those of them in which any category changed, after Holm's correction.
    alarms: u32, "", ANY;
    /// Their share.
    share: f64, "share", UNIT;
    /// Lower end of its 95 % Wilson interval.
    low: f64, "share", UNIT;
    /// Upper end of it.
    high: f64, "share", UNIT;
    /// Level that the gate claims.
    significance: f64, "", UNIT;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] = &[
    TrendRow::TABLE,
    ChangePointRow::TABLE,
    EmergenceRow::TABLE,
    EmergenceTimeRow::TABLE,
    EmergenceOrderRow::TABLE,
    PlanRow::TABLE,
    FalseAlarmRow::TABLE,
];
