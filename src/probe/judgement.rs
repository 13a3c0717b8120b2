//! What the judge found, as rows.

use crate::judge;
use crate::table::JudgementRow;

/// The image that was judged.
#[derive(Clone, Copy, Debug)]
pub struct JudgedImage<'a> {
    /// Its place in the run.
    pub sample: u32,
    /// Its prompt.
    pub prompt: &'a str,
    /// Seed of its noise.
    pub seed: u64,
    /// What kind of prompt it is.
    pub category: &'a str,
}

/// One row per expectation of the image's prompt.
pub fn judgement_rows(image: JudgedImage<'_>, verdict: &judge::Verdict) -> Vec<JudgementRow> {
    let row = |a: &judge::AtomVerdict| JudgementRow {
        sample: image.sample,
        prompt: image.prompt.to_owned(),
        seed: image.seed,
        category: image.category.to_owned(),
        atom: a.atom.to_string(),
        kind: a.atom.kind().to_owned(),
        expected: a.expected.clone(),
        found: Some(a.found.clone()),
        holds: Some(a.holds),
        reason: a.reason.clone(),
        judge: judge::NAME.to_owned(),
        judge_version: judge::VERSION.to_string(),
    };
    verdict.atoms.iter().map(row).collect()
}
