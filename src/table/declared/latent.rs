//! Tables of what an autoencoder keeps.

use super::{ANY, FROM_ONE, NOT_NEGATIVE};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// What is left of images after the autoencoder, whole and with changed latents: one row per
    /// change, amount and measure.
    LatentSurvivalRow, "latent_survival", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// What was done to the latents: `none`; `quantised` to 2^amount levels between each channel's
    /// extremes; `blurred` by a Gaussian of this standard deviation in cells; `noised` with normal
    /// noise of this standard deviation.
    change: String, "", ANY;
    /// How much: bits, cells, or standard deviations of the unit noise that sampling starts from;
    /// 0 for `none`.
    amount: f64, "", NOT_NEGATIVE;
    /// `psnr`; `everything`: all that an image's caption says; or one sort of what it says, such as
    /// `shape`, as judged after the round trip.
    measure: String, "", ANY;
    /// Decibel for `psnr`, a share for all else.
    value: f64, "", ANY;
    /// Lower end of its 95 % interval: Student's t over images for `psnr`, else Wilson's; null for
    /// a single image.
    low: Option<f64>, "", ANY;
    /// Upper end of the interval.
    high: Option<f64>, "", ANY;
    /// Images it rests on.
    images: u32, "", FROM_ONE;
    /// Null for the measurement; `rendered`: images that did not go through the autoencoder;
    /// `untrained`: an autoencoder with random weights.
    control: Option<String>, "", ANY;
}

table! {
    /// How much of an image's power at one radial frequency the autoencoder loses.
    LatentBandRow, "latent_band", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// What was done to the latents, as in `latent_survival`.
    change: String, "", ANY;
    /// How much.
    amount: f64, "", NOT_NEGATIVE;
    /// Which band, from 0: the mean alone.
    band: u32, "", ANY;
    /// Lowest radial frequency of the band, rounded to whole cycles over the image's smaller side.
    from_frequency: u32, "cycles", ANY;
    /// Highest frequency of the band.
    to_frequency: u32, "cycles", ANY;
    /// Power of the images in the band, the mean over channels and images; pixels go from 0 to 1.
    power: f64, "", NOT_NEGATIVE;
    /// Power of the difference to the images in the band, likewise.
    error: f64, "", NOT_NEGATIVE;
    /// Error over power: 0 where the band is kept, 1 where it is lost, 2 for the band of another
    /// image.
    relative_error: Option<f64>, "", NOT_NEGATIVE;
    /// Lower end of its 95 % bootstrap interval over images; null for a single image.
    low: Option<f64>, "", ANY;
    /// Upper end of the interval.
    high: Option<f64>, "", ANY;
    /// Images it rests on.
    images: u32, "", FROM_ONE;
    /// Null for the measurement; `other-image`: each image held against another; `untrained`: an
    /// autoencoder with random weights.
    control: Option<String>, "", ANY;
}

table! {
    /// How a change of one number of the latent spreads in the image: one row per channel.
    LatentImpulseRow, "latent_impulse", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Channel of the latent, from 0.
    channel: u32, "", ANY;
    /// By how much it was changed, in standard deviations of the unit noise that sampling starts
    /// from.
    amount: f64, "", ANY;
    /// `radius_50`, `radius_90`: radius around the cell's centre that holds this share of the
    /// squared change, in pixels; `rms`: root of the mean squared change of the whole image, pixels
    /// from 0 to 1; `red`, `green`, `blue`: mean change of a colour where the channel is changed in
    /// all cells at once.
    measure: String, "", ANY;
    /// Its value, the mean over images and cells.
    value: f64, "", ANY;
    /// Lower end of its 95 % bootstrap interval over images; null for a single image.
    low: Option<f64>, "", ANY;
    /// Upper end of the interval.
    high: Option<f64>, "", ANY;
    /// Images it rests on.
    images: u32, "", FROM_ONE;
    /// Cells of each image that were touched.
    cells: u32, "", FROM_ONE;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] =
    &[LatentSurvivalRow::TABLE, LatentBandRow::TABLE, LatentImpulseRow::TABLE];
