//! The division of labour between autoencoder and denoiser: what of an image the autoencoder keeps,
//! whole and with latents that are quantised, blurred or noised, and how a change of one number of
//! the latent spreads.
//!
//! [`Change`] is what is done to latents; [`Seen`] what is left of one image; [`Condition`] has all
//! images under one change; [`LatentRun`] makes the tables; [`report`] is for people.

mod change;
mod figures;
mod impulse;
pub mod report;
mod seen;
pub mod stored;

pub use change::{Change, ChannelRanges};
pub use impulse::Impulse;
pub use seen::{Seen, channels, look};

use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::measure::spectrum::Bands;
use crate::measure::{Bootstrap, Estimate, Proportion, Undefined};
use crate::table::{LatentBandRow, LatentImpulseRow, LatentSurvivalRow};

/// Name of the control: images that did not go through the autoencoder.
pub const RENDERED: &str = "rendered";
/// Name of the control: an autoencoder with random weights.
pub const UNTRAINED: &str = "untrained";
/// Name of the control: each image held against another.
pub const OTHER_IMAGE: &str = "other-image";

/// Measure: signal to noise.
pub const PSNR: &str = "psnr";
/// Measure: all that a caption says.
pub const EVERYTHING: &str = "everything";

/// All images under one change.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What was done to the latents.
    pub change: Change,
    /// Name of the control, if it is one.
    pub control: Option<&'static str>,
    /// What was left, one an image.
    pub seen: Vec<Seen>,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct LatentRun {
    /// Name of the run's folder.
    pub run: String,
    /// The changes and the controls.
    pub conditions: Vec<Condition>,
    /// Radial bands of the images.
    pub bands: Bands,
    /// Responses to changes of single numbers.
    pub impulses: Vec<Impulse>,
}

impl LatentRun {
    /// The table `latent_survival`.
    ///
    /// # Errors
    /// Numbers that are not finite.
    pub fn survival_rows(&self) -> Result<Vec<LatentSurvivalRow>, Undefined> {
        let mut rows = Vec::new();
        for condition in self.conditions.iter().filter(|c| c.control != Some(OTHER_IMAGE)) {
            rows.extend(self.ratio_row(condition)?);
            for kind in [EVERYTHING].iter().chain(&crate::judge::Atom::KINDS) {
                rows.extend(self.share_row(condition, kind)?);
            }
        }
        Ok(rows)
    }

    fn row(&self, condition: &Condition, measure: &str, images: usize) -> LatentSurvivalRow {
        LatentSurvivalRow {
            run: self.run.clone(),
            change: condition.change.name().to_owned(),
            amount: condition.change.amount(),
            measure: measure.to_owned(),
            value: f64::NAN,
            low: None,
            high: None,
            images: images as u32,
            control: condition.control.map(str::to_owned),
        }
    }

    /// The mean ratio in decibel; none where all images came out equal in every byte.
    fn ratio_row(&self, condition: &Condition) -> Result<Option<LatentSurvivalRow>, Undefined> {
        let ratios: Vec<f64> = condition.seen.iter().filter_map(|seen| seen.psnr).collect();
        if ratios.is_empty() {
            return Ok(None);
        }
        let row = self.row(condition, PSNR, ratios.len());
        let value = ratios.iter().sum::<f64>() / ratios.len() as f64;
        Ok(Some(match Estimate::of_mean(&ratios, DEFAULT_CONFIDENCE) {
            Ok(found) => {
                LatentSurvivalRow { value, low: Some(found.low), high: Some(found.high), ..row }
            }
            Err(Undefined::TooFew { .. }) => LatentSurvivalRow { value, ..row },
            Err(other) => return Err(other),
        }))
    }

    /// The share of images with one sort of thing right; none where no caption asks for it.
    fn share_row(
        &self,
        condition: &Condition,
        kind: &str,
    ) -> Result<Option<LatentSurvivalRow>, Undefined> {
        let held: Vec<bool> = condition.seen.iter().filter_map(|seen| seen.holds(kind)).collect();
        if held.is_empty() {
            return Ok(None);
        }
        let row = self.row(condition, kind, held.len());
        let share = Proportion::of(held)?;
        let interval = share.wilson(DEFAULT_CONFIDENCE)?;
        let (low, high) = (Some(interval.low), Some(interval.high));
        Ok(Some(LatentSurvivalRow { value: share.rate(), low, high, ..row }))
    }

    /// The table `latent_band`.
    ///
    /// # Errors
    /// Numbers that are not finite.
    pub fn band_rows(&self) -> Result<Vec<LatentBandRow>, Undefined> {
        let mut rows = Vec::new();
        for condition in self.conditions.iter().filter(|c| c.control != Some(RENDERED)) {
            for band in 0..self.bands.count() {
                rows.push(self.band_row(condition, band)?);
            }
        }
        Ok(rows)
    }

    /// Error over power, each summed over images: bands that an image hardly has weigh little.
    fn band_row(&self, condition: &Condition, band: usize) -> Result<LatentBandRow, Undefined> {
        let pairs: Vec<(f64, f64)> =
            condition.seen.iter().map(|seen| (seen.error[band], seen.power[band])).collect();
        let images = pairs.len() as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| pairs.iter().map(value).sum::<f64>() / images;
        let (error, power) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let ratio = |drawn: &[usize]| {
            let sums = drawn
                .iter()
                .fold((0.0, 0.0), |sums, &i| (sums.0 + pairs[i].0, sums.1 + pairs[i].1));
            sums.0 / sums.1
        };
        let interval = match Bootstrap::default().statistic(pairs.len(), ratio) {
            Ok(found) => Some((found.low, found.high)),
            // A single image, or a band without power.
            Err(Undefined::TooFew { .. } | Undefined::NotFinite) => None,
            Err(other) => return Err(other),
        };
        let (from, to) = self.bands.limits[band];
        Ok(LatentBandRow {
            run: self.run.clone(),
            change: condition.change.name().to_owned(),
            amount: condition.change.amount(),
            band: band as u32,
            from_frequency: from,
            to_frequency: to,
            power,
            error,
            relative_error: (power > 0.0).then(|| error / power),
            low: interval.map(|(low, _)| low),
            high: interval.map(|(_, high)| high),
            images: pairs.len() as u32,
            control: condition.control.map(str::to_owned),
        })
    }

    /// The table `latent_impulse`.
    ///
    /// # Errors
    /// Numbers that are not finite.
    pub fn impulse_rows(&self) -> Result<Vec<LatentImpulseRow>, Undefined> {
        impulse::rows(&self.run, &self.impulses)
    }
}
