//! Which spatial frequencies of the predicted clean latent agree with the end, and from when on,
//! beside what noise alone lets through.

use serde::{Deserialize, Serialize};

use super::levels::NoiseLevels;
use crate::measure::bootstrap::{mean_over, quantile};
use crate::measure::commitment::{committed_from, median};
use crate::measure::spectrum::{Agreement, Bands, NoiseCrossing};
use crate::measure::{Bootstrap, Undefined};
use crate::table::{BandAgreementRow, NoiseLevelRow};

/// Coherence from which on a band counts as decided, as long as it does not fall below it again.
pub const COHERENT: f64 = 0.9;
/// How rows of `noise_level` name this way of asking, and the null model.
pub const BAND: &str = "band";
/// The null model.
pub const NOISE: &str = "noise";
/// Predictions while images are drawn.
pub const SAMPLED: &str = "sampled";
/// Predictions from noised latents of rendered scenes.
pub const RENDERED: &str = "rendered";

/// One image: how each band of its predictions agrees with the end, step by step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BandTrajectory {
    /// What intervals resample: its prompt, or its scene.
    pub unit: String,
    /// By step, then by band.
    pub steps: Vec<Vec<Option<Agreement>>>,
}

/// The rows of the table `band_agreement`.
///
/// # Errors
/// Images with other numbers of steps than the first.
pub fn rows(
    (run, source): (&str, &str),
    images: &[BandTrajectory],
    (bands, null): (&Bands, &NoiseCrossing),
    levels: &NoiseLevels,
) -> Result<Vec<BandAgreementRow>, Undefined> {
    let expected = levels.len();
    if let Some(other) = images.iter().find(|image| image.steps.len() != expected) {
        return Err(Undefined::Length { expected, got: other.steps.len() });
    }
    let mut rows = Vec::new();
    for step in 0..levels.len() {
        let (timestep, sigma) = (levels.timesteps[step], levels.sigmas[step]);
        let predicted = null.coherence(sigma);
        for (band, &(low, high)) in bands.limits.iter().enumerate() {
            let (found, units): (Vec<Agreement>, Vec<&str>) = images
                .iter()
                .filter_map(|image| Some((image.steps[step][band]?, image.unit.as_str())))
                .unzip();
            if found.is_empty() {
                continue;
            }
            let coherences: Vec<f64> = found.iter().map(|a| a.coherence).collect();
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let interval = mean_over(&coherences, &units).ok();
            let shares: Vec<f64> = found.iter().map(|a| a.share).collect();
            rows.push(BandAgreementRow {
                run: run.to_owned(),
                source: source.to_owned(),
                band: bands.label(band),
                low_cycles: low,
                high_cycles: high,
                step: step as u32,
                timestep,
                sigma,
                coherence: mean(&coherences).clamp(-1.0, 1.0),
                coherence_low: interval.map(|e| e.low),
                coherence_high: interval.map(|e| e.high),
                share: mean(&shares),
                predicted: predicted[band].map(|p| p.clamp(0.0, 1.0)),
                images: found.len() as u32,
            });
        }
    }
    Ok(rows)
}

/// The name of a band among aspects.
pub fn aspect(bands: &Bands, band: usize) -> String {
    format!("band {}", bands.label(band))
}

/// From when on each band coheres with the end (median over images, interval over prompts), and
/// where noise alone would let it.
pub fn noise_levels(
    run: &str,
    images: &[BandTrajectory],
    (bands, null): (&Bands, &NoiseCrossing),
    levels: &NoiseLevels,
) -> Vec<NoiseLevelRow> {
    let crossings = null.crossing(COHERENT);
    let mut rows = Vec::new();
    for (band, crossing) in crossings.into_iter().enumerate() {
        let aspect = aspect(bands, band);
        rows.extend(of_band((run, &aspect), images, band, levels));
        rows.extend(crossing.map(|sigma| {
            let step = levels.step_of_sigma(sigma);
            let nearest = step.unwrap_or_else(|| end_nearest(levels, sigma));
            NoiseLevelRow { step, sigma, ..levels.row((run, &aspect, NOISE), nearest, None) }
        }));
    }
    rows
}

fn of_band(
    (run, aspect): (&str, &str),
    images: &[BandTrajectory],
    band: usize,
    levels: &NoiseLevels,
) -> Option<NoiseLevelRow> {
    let committed = |image: &BandTrajectory| {
        let coheres = |step: &Vec<Option<Agreement>>| {
            step[band].is_some_and(|found| found.coherence >= COHERENT)
        };
        committed_from(&image.steps.iter().map(coheres).collect::<Vec<_>>())
    };
    let (steps, units): (Vec<f64>, Vec<&str>) = images
        .iter()
        .filter_map(|image| Some((committed(image)? as f64, image.unit.as_str())))
        .unzip();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let middle = quantile(&sorted, 0.5);
    let interval = median(&steps, &units, &Bootstrap::default()).ok();
    middle.is_finite().then(|| NoiseLevelRow {
        units: units.iter().collect::<std::collections::BTreeSet<_>>().len() as u32,
        left_out: (images.len() - steps.len()) as u32,
        ..levels.row((run, aspect, BAND), middle, interval)
    })
}

/// The first step for a noise level above all, the last for one below.
fn end_nearest(levels: &NoiseLevels, sigma: f64) -> f64 {
    let above = levels.sigmas.first().is_some_and(|first| sigma > *first);
    if above { 0.0 } else { levels.len().saturating_sub(1) as f64 }
}
