//! Tables of what a run made, of models, and of the machine.

use super::{ANY, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

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

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] = &[
    ImageRow::TABLE,
    InversionRow::TABLE,
    ScheduleRow::TABLE,
    SchemaRow::TABLE,
    ModelRow::TABLE,
    ModelCheckRow::TABLE,
    DoctorRow::TABLE,
];
