//! The table that suites write and comparisons read.

use super::{ANY, FROM_ONE, NOT_NEGATIVE};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// How one image of a suite was judged as a whole: one row per prompt, seed and judge.
    OutcomeRow, "outcome", version 1;
    /// Name of the suite.
    suite: String, "", ANY;
    /// Version of the suite's file.
    suite_version: u32, "", FROM_ONE;
    /// SHA-256 of what the suite asks: runs are comparable where it is equal.
    suite_hash: String, "", ANY;
    /// The prompt's id in the suite.
    item: String, "", ANY;
    /// Category of the prompt, such as `relation` or `count 1–4`.
    category: String, "", ANY;
    /// How hard it is, from 1; null where the suite does not grade.
    difficulty: Option<u32>, "", FROM_ONE;
    /// The prompt; its images are one cluster when intervals are made.
    prompt: String, "", ANY;
    /// Seed of the image.
    seed: u64, "", ANY;
    /// Which comparison of seen and held-out prompts it belongs to; null where to none.
    twin: Option<String>, "", ANY;
    /// Whether it asks for what the world's training split leaves out; null where no split says.
    held_out: Option<bool>, "", ANY;
    /// Who judged, such as `exact` or `geneval-rule/imported`.
    judge: String, "", ANY;
    /// Version of the judge.
    judge_version: String, "", ANY;
    /// Whether all that the prompt asks for holds; null when the judge cannot tell.
    holds: Option<bool>, "", ANY;
    /// The judge's score where it gives more than yes or no.
    score: Option<f64>, "", ANY;
    /// Expectations that the judge decided.
    atoms: u32, "", NOT_NEGATIVE;
    /// Those of them that hold.
    atoms_held: u32, "", NOT_NEGATIVE;
    /// Why it failed, in words; empty where it holds.
    reason: String, "", ANY;
    /// The image's file in the run folder; null where images were not kept.
    image: Option<String>, "", ANY;
    /// SHA-256 of the image's file.
    image_sha256: String, "", ANY;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] = &[OutcomeRow::TABLE];
