//! Tables of a comparison of two runs.

use super::{ANY, COSINE, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// Whether one category of a suite got better or worse from run A to run B.
    ComparisonRow, "comparison", version 1;
    /// Name of run or baseline A, the one before.
    run_a: String, "", ANY;
    /// Name of run or baseline B, the one after.
    run_b: String, "", ANY;
    /// Name of the suite.
    suite: String, "", ANY;
    /// Who judged, and in which version.
    judge: String, "", ANY;
    /// Category of the prompts; `overall`: all of the suite's.
    category: String, "", ANY;
    /// Pairs of images with the same prompt and seed.
    pairs: u64, "pair", FROM_ONE;
    /// Different prompts among them, the independent units.
    prompts: u64, "prompt", FROM_ONE;
    /// Share of A's images that have everything right.
    share_a: f64, "share", UNIT;
    /// Share of B's images that have everything right.
    share_b: f64, "share", UNIT;
    /// Share of B less share of A.
    difference: f64, "share", COSINE;
    /// Lower end of its 95 % interval, by prompt: clustered bootstrap or score interval, whichever is wider.
    low: f64, "share", COSINE;
    /// Upper end of its 95 % interval.
    high: f64, "share", COSINE;
    /// Pairs right in A and wrong in B.
    broken: u64, "pair", ANY;
    /// Pairs wrong in A and right in B.
    fixed: u64, "pair", ANY;
    /// Two-sided exact p-value of McNemar's test, which takes images for independent.
    mcnemar_p: f64, "", UNIT;
    /// Two-sided exact p-value by exchanging A and B in whole prompts; the verdict rests on it.
    p: f64, "", UNIT;
    /// The same after Holm's correction for all rows of the comparison.
    p_holm: f64, "", UNIT;
    /// `regressed`, `improved`, `equivalent` or `inconclusive`.
    verdict: String, "", ANY;
    /// Differences smaller than this, either way, do not matter.
    margin: f64, "share", UNIT;
    /// Smallest loss that a comparison of this size sees four times of five; null where none.
    minimum_detectable: Option<f64>, "share", UNIT;
}

table! {
    /// Whether the mean score of one category went up or down from run A to run B, where the judge
    /// scores images and decides nothing.
    ScoreComparisonRow, "score_comparison", version 1;
    /// Name of run or baseline A, the one before.
    run_a: String, "", ANY;
    /// Name of run or baseline B, the one after.
    run_b: String, "", ANY;
    /// Name of the suite.
    suite: String, "", ANY;
    /// Who judged, and in which version.
    judge: String, "", ANY;
    /// Category of the prompts; `overall`: all of the suite's.
    category: String, "", ANY;
    /// Pairs of images with the same prompt and seed.
    pairs: u64, "pair", FROM_ONE;
    /// Different prompts among them, the independent units.
    prompts: u64, "prompt", FROM_ONE;
    /// Mean score of A's images.
    mean_a: f64, "", ANY;
    /// Mean score of B's images.
    mean_b: f64, "", ANY;
    /// Mean of B less mean of A.
    difference: f64, "", ANY;
    /// Lower end of its 95 % bootstrap interval over prompts; null with fewer than two.
    low: Option<f64>, "", ANY;
    /// Upper end of it.
    high: Option<f64>, "", ANY;
    /// Two-sided p-value by exchanging A and B in whole prompts at random; 1 with one prompt.
    p: f64, "", UNIT;
    /// The same after Holm's correction for all rows of both tables of the comparison.
    p_holm: f64, "", UNIT;
    /// `regressed`, `improved`, `equivalent` or `inconclusive`.
    verdict: String, "", ANY;
    /// Differences smaller than this, either way, do not matter; null where none was given.
    margin: Option<f64>, "", NOT_NEGATIVE;
}

table! {
    /// An image that was right in one run and wrong in the other, for the same prompt and seed.
    ChangeOfOutcomeRow, "outcome_change", version 1;
    /// `broken`: right in A, wrong in B; `fixed`: the other way round.
    change: String, "", ANY;
    /// Name of the suite.
    suite: String, "", ANY;
    /// Who judged, and in which version.
    judge: String, "", ANY;
    /// Category of the prompt.
    category: String, "", ANY;
    /// The prompt's id in the suite.
    item: String, "", ANY;
    /// The prompt.
    prompt: String, "", ANY;
    /// Seed of both images.
    seed: u64, "", ANY;
    /// What the judge found wrong, in B if broken, in A if fixed.
    reason: String, "", ANY;
    /// A's image in A's run folder; null where it was not kept.
    image_a: Option<String>, "", ANY;
    /// B's image in B's run folder; null where it was not kept.
    image_b: Option<String>, "", ANY;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] =
    &[ComparisonRow::TABLE, ScoreComparisonRow::TABLE, ChangeOfOutcomeRow::TABLE];
