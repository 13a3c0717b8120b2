//! Tables of failures that are foretold while an image is drawn.

use super::{ANY, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// How well the attention of the first steps tells whether the image will fail.
    DiagnosisRow, "diagnosis", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Category of the prompts.
    category: String, "", ANY;
    /// How many steps were seen.
    steps_seen: u32, "step", FROM_ONE;
    /// Where the last of them lies in the training schedule; large is noisy.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// Null for the measurement; `shuffled-outcomes`: with the outcomes in another order, mean over
    /// several.
    control: Option<String>, "", ANY;
    /// Probability that an image that fails has a higher forecast than one that does not, for
    /// prompts that the forecast was not fitted to; 0.5 is chance.
    auroc: f64, "", UNIT;
    /// Lower end of its 95 % interval: bootstrap over prompts, for the control over orders.
    auroc_low: Option<f64>, "", UNIT;
    /// Upper end.
    auroc_high: Option<f64>, "", UNIT;
    /// Images.
    images: u32, "image", FROM_ONE;
    /// Those that fail by the judge.
    failures: u32, "image", FROM_ONE;
}

table! {
    /// What it would save to stop images whose failure is foretold.
    EarlyStopRow, "early_stop", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Category of the prompts.
    category: String, "", ANY;
    /// How many steps were seen before the decision.
    steps_seen: u32, "step", FROM_ONE;
    /// Share of failures among the stopped images that was asked for, on other prompts.
    precision_wanted: f64, "share", UNIT;
    /// Share of the images that is stopped.
    stopped: f64, "share", UNIT;
    /// Share of failures among them; null where none is stopped.
    precision: Option<f64>, "share", UNIT;
    /// Lower end of its 95 % Wilson interval.
    precision_low: Option<f64>, "share", UNIT;
    /// Upper end.
    precision_high: Option<f64>, "share", UNIT;
    /// Share of the good images that is stopped with them; null without good images.
    good_lost: Option<f64>, "share", UNIT;
    /// Share of all steps that is not computed.
    saved: f64, "share", UNIT;
    /// Share of all images that fail: the precision of stopping at random.
    failure_rate: f64, "share", UNIT;
    /// Images.
    images: u32, "image", FROM_ONE;
}

table! {
    /// One number of the attention at one step of one image, from which failures are foretold.
    DiagnosisFeatureRow, "diagnosis_features", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// The prompt.
    prompt: String, "", ANY;
    /// Seed of the image.
    seed: u64, "", ANY;
    /// Category of the prompt.
    category: String, "", ANY;
    /// Whether the image failed by the judge.
    failed: bool, "", ANY;
    /// Which denoising step, from 0, the noisiest.
    step: u32, "", ANY;
    /// Where the step lies in the training schedule; large is noisy.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// What it is: `noun overlap`, `leakage`, `missing mass`, `neglect`, `entropy` or `largest
    /// entropy`.
    feature: String, "", ANY;
    /// Its value.
    value: f64, "", ANY;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] =
    &[DiagnosisRow::TABLE, EarlyStopRow::TABLE, DiagnosisFeatureRow::TABLE];
