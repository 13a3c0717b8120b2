//! Tables of what a judge finds, and of how far it can be trusted.

use super::{ANY, FROM_ONE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

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
    /// One thing that the judge saw in an image, and where.
    SeenRow, "seen", version 1;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Which thing of the image, from the left, from 0.
    number: u32, "", ANY;
    /// What it is, such as `red striped ball`, or the letters of a word.
    what: String, "", ANY;
    /// What of the prompt it stands for; null where for nothing: it is extra.
    stands_for: Option<String>, "", ANY;
    /// Left side of the box around it, over the image's width.
    left: f64, "share", UNIT;
    /// Top of the box, over the image's height.
    top: f64, "share", UNIT;
    /// Right side of the box, over the image's width.
    right: f64, "share", UNIT;
    /// Bottom of the box, over the image's height.
    bottom: f64, "share", UNIT;
    /// How sure the judge is of all of it.
    confidence: f64, "", UNIT;
}

table! {
    /// What a person says of an image, beside what the judge said; the judge's word stays.
    HumanRow, "human", version 1;
    /// Name of the suite.
    suite: String, "", ANY;
    /// The prompt's id in the suite.
    item: String, "", ANY;
    /// Seed of the image.
    seed: u64, "", ANY;
    /// Who judged.
    judge: String, "", ANY;
    /// What the judge said; null when it could not tell.
    judge_holds: Option<bool>, "", ANY;
    /// What the person says.
    human_holds: bool, "", ANY;
    /// Why, in the person's words; may be empty.
    note: String, "", ANY;
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

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] = &[
    JudgementRow::TABLE,
    SeenRow::TABLE,
    HumanRow::TABLE,
    JudgementSummaryRow::TABLE,
    CalibrationRow::TABLE,
    ConfusionRow::TABLE,
];
