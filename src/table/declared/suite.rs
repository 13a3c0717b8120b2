//! Tables of suites and of what came of them.

use super::{ANY, COSINE as DIFFERENCE, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// A suite: what `probe suites` prints.
    SuiteRow, "suites", version 2;
    /// Its name, or the path of its file.
    suite: String, "", ANY;
    /// Version of its content.
    version: u32, "", FROM_ONE;
    /// Prompts it has.
    prompts: u32, "prompt", FROM_ONE;
    /// Images it asks for: prompts times seeds.
    images: u32, "image", FROM_ONE;
    /// Its categories.
    categories: String, "", ANY;
    /// Options of `probe failures` that let its items be decided; a program may decide any.
    decided_by: String, "", ANY;
    /// Licence of its prompts.
    licence: String, "", ANY;
    /// First eight digits of the SHA-256 of what it asks.
    hash: String, "", ANY;
    /// What it measures.
    description: String, "", ANY;
}

table! {
    /// How many images of a suite's category hold all that their prompts ask for.
    OutcomeSummaryRow, "outcome_summary", version 2;
    /// The suite.
    suite: String, "", ANY;
    /// The category.
    category: String, "", ANY;
    /// Prompts.
    prompts: u32, "prompt", FROM_ONE;
    /// Images.
    images: u32, "image", FROM_ONE;
    /// Those of them that the judge could not decide, or not score where it only scores; they
    /// count neither way.
    undecided: u32, "image", ANY;
    /// Those that hold.
    right: u32, "image", ANY;
    /// Share of the decided ones that hold; null where none is decided.
    share: Option<f64>, "share", UNIT;
    /// Lower end of its 95 % interval over prompts.
    low: Option<f64>, "share", UNIT;
    /// Upper end of its 95 % interval over prompts.
    high: Option<f64>, "share", UNIT;
    /// Mean score, where the judge gives scores.
    score: Option<f64>, "", ANY;
    /// Lower end of its 95 % bootstrap interval over prompts; null with fewer than two.
    score_low: Option<f64>, "", ANY;
    /// Upper end of it.
    score_high: Option<f64>, "", ANY;
    /// Who judged.
    judge: String, "", ANY;
}

table! {
    /// How much worse held-out prompts do than their seen twins.
    GapRow, "gap", version 1;
    /// The suite.
    suite: String, "", ANY;
    /// Category of the held-out prompts.
    category: String, "", ANY;
    /// Labels that join a held-out prompt to a seen one.
    twins: u32, "label", FROM_ONE;
    /// Images of either side.
    images: u32, "image", FROM_ONE;
    /// Mean over labels of the share of seen images that hold.
    seen: f64, "share", UNIT;
    /// The same of held-out images.
    held_out: f64, "share", UNIT;
    /// Seen less held-out: what is lost where training has a hole.
    gap: f64, "share", DIFFERENCE;
    /// Lower end of its 95 % bootstrap interval over labels; null with fewer than two.
    low: Option<f64>, "share", DIFFERENCE;
    /// Upper end of it.
    high: Option<f64>, "share", DIFFERENCE;
    /// Who judged.
    judge: String, "", ANY;
}

table! {
    /// A score as a benchmark defines it, by a judge that is not the benchmark's whole.
    BenchmarkRow, "benchmark", version 1;
    /// The suite.
    suite: String, "", ANY;
    /// Whose rule, and that its detections were imported.
    judge: String, "", ANY;
    /// The score's name: of GenEval each tag, `overall`, `correct images`, `correct prompts`; of
    /// VISOR `OA`, `VISOR uncond`, `VISOR cond`, `VISOR_1` …; of T2I-CompBench `mean score`; of
    /// readings of letters `NED`, `CER`, `WER` and others, each as its authors define it.
    metric: String, "", ANY;
    /// Images it is over.
    images: u32, "image", ANY;
    /// Its value; null where nothing defines it. Error rates may exceed 1.
    value: Option<f64>, "share", NOT_NEGATIVE;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] =
    &[SuiteRow::TABLE, OutcomeSummaryRow::TABLE, GapRow::TABLE, BenchmarkRow::TABLE];
