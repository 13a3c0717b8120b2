//! Can a failure be foretold from the attention of the first steps?
//!
//! [`features`] makes numbers of the maps of a prompt's words at each step; [`Diagnosis`] fits, for
//! each category and each number of steps seen, a logistic regression of the judge's verdict on
//! them, and measures it on prompts that it has not seen; `report` is for people.

pub mod features;
mod report;
pub mod stored;

pub use report::{NamedFigure, Pages};

use std::collections::BTreeMap;

use ndarray::{Array2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::measure::bootstrap::quantile;
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::measure::linear::folds::DEFAULT_FOLDS;
use crate::measure::linear::{Folds, Logistic, shuffled};
use crate::measure::stopping::{auroc_within_folds, stopped_at};
use crate::measure::{Bootstrap, Proportion, Undefined};
use crate::table::{DiagnosisFeatureRow, DiagnosisRow, EarlyStopRow};
use features::{Features, NAMES};

/// Name of the control: outcomes in another order.
pub const SHUFFLED_OUTCOMES: &str = "shuffled-outcomes";

/// Fewest images of either outcome from which a category is measured: two for each fold.
pub const FEWEST: usize = 2 * DEFAULT_FOLDS;
/// Orders of outcomes that the control is a mean of.
const ORDERS: u64 = 20;
/// Resamples of an interval; there are many intervals.
const RESAMPLES: usize = 500;

/// An image, what its attention was like at each step, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watched {
    /// Its prompt; images of one prompt are never on both sides of a fit.
    pub prompt: String,
    /// Its seed.
    pub seed: u64,
    /// Category of its prompt.
    pub category: String,
    /// Whether the judge finds something missing or wrong.
    pub failed: bool,
    /// One entry a step.
    pub features: Vec<Features>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Diagnosis<'a> {
    /// Name of the run folder.
    pub run: &'a str,
    /// Timestep of each step.
    pub timesteps: &'a [f64],
    /// Share of failures among stopped images that is asked for.
    pub precision: f64,
    /// Seed of folds and controls.
    pub seed: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Diagnosed {
    /// The table `diagnosis`.
    pub rows: Vec<DiagnosisRow>,
    /// The table `early_stop`.
    pub stops: Vec<EarlyStopRow>,
    /// Categories without a number, and why.
    pub left_out: Vec<(String, String)>,
}

/// Why a category was not measured although it has images of both outcomes.
const TOO_FEW_PROMPTS: &str = "too few prompts of either outcome for folds; raise --count";

/// Why a category cannot be measured, if it has too few images of one outcome.
fn too_few_images(failures: usize, images: usize) -> Option<String> {
    (failures < FEWEST || images - failures < FEWEST).then(|| {
        format!(
            "{failures} of {images} images fail: at least {FEWEST} of either kind are needed; raise \
             --count"
        )
    })
}

impl Diagnosis<'_> {
    /// Measures every category that has enough images of both outcomes.
    ///
    /// # Errors
    /// Features that are no numbers, a precision out of range.
    pub fn of(&self, images: &[Watched]) -> Result<Diagnosed, Undefined> {
        let mut by_category: BTreeMap<&str, Vec<&Watched>> = BTreeMap::new();
        for image in images {
            by_category.entry(&image.category).or_default().push(image);
        }
        let mut found = Diagnosed::default();
        for (category, images) in by_category {
            let failures = images.iter().filter(|image| image.failed).count();
            if let Some(why) = too_few_images(failures, images.len()) {
                found.left_out.push((category.to_owned(), why));
                continue;
            }
            let steps: Vec<usize> = (1..=self.timesteps.len()).collect();
            let measured: Vec<Result<Measured, Undefined>> =
                steps.par_iter().map(|&seen| self.after(category, &images, seen)).collect();
            for measured in measured {
                match measured {
                    Ok(measured) => {
                        found.rows.extend(measured.rows);
                        found.stops.push(measured.stop);
                    }
                    // A fold may have one outcome only; more images would help.
                    Err(Undefined::OneClass | Undefined::TooFew { .. } | Undefined::NotSolved) => {}
                    Err(other) => return Err(other),
                }
            }
            if !found.rows.iter().any(|row| row.category == category) {
                found.left_out.push((category.to_owned(), TOO_FEW_PROMPTS.to_owned()));
            }
        }
        Ok(found)
    }

    /// What the first `seen` steps tell.
    fn after(
        &self,
        category: &str,
        images: &[&Watched],
        seen: usize,
    ) -> Result<Measured, Undefined> {
        let features = matrix(images, seen)?;
        let failed: Vec<bool> = images.iter().map(|image| image.failed).collect();
        let prompts: Vec<&str> = images.iter().map(|image| image.prompt.as_str()).collect();
        let folds = Folds::grouped(&prompts, DEFAULT_FOLDS, self.seed)?;
        let scores = forecast(&features, &failed, &folds)?;
        let of_row = fold_of_rows(&folds);
        let auroc = auroc_within_folds(&scores, &failed, &of_row)?;
        let interval = over_prompts(&prompts, (&scores, &failed, &of_row));
        let row = |control: Option<&str>, auroc, interval: Option<(f64, f64)>| DiagnosisRow {
            run: self.run.to_owned(),
            category: category.to_owned(),
            steps_seen: seen as u32,
            timestep: self.timesteps[seen - 1],
            control: control.map(str::to_owned),
            auroc,
            auroc_low: interval.map(|i| i.0),
            auroc_high: interval.map(|i| i.1),
            images: images.len() as u32,
            failures: failed.iter().filter(|&&failed| failed).count() as u32,
        };
        let mut rows = vec![row(None, auroc, interval)];
        let control = self.shuffled(&features, &failed, (&folds, &of_row));
        if let Some((mean, interval)) = control {
            rows.push(row(Some(SHUFFLED_OUTCOMES), mean, Some(interval)));
        }
        let stop = self.stop((category, seen), (&scores, &failed), &folds)?;
        Ok(Measured { rows, stop })
    }

    /// Mean AUROC over orders of the outcomes, and where 95 % of them lie.
    fn shuffled(
        &self,
        features: &Array2<f64>,
        failed: &[bool],
        (folds, of_row): (&Folds, &[usize]),
    ) -> Option<(f64, (f64, f64))> {
        let order = |number: u64| {
            let failed = shuffled(failed, self.seed.wrapping_add(number));
            let scores = forecast(features, &failed, folds).ok()?;
            auroc_within_folds(&scores, &failed, of_row).ok()
        };
        let mut found: Vec<f64> = (1..=ORDERS).filter_map(order).collect();
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - DEFAULT_CONFIDENCE) / 2.0;
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        Some((mean, (quantile(&found, tail), quantile(&found, 1.0 - tail))))
    }

    fn stop(
        &self,
        (category, seen): (&str, usize),
        (scores, failed): (&[f64], &[bool]),
        folds: &Folds,
    ) -> Result<EarlyStopRow, Undefined> {
        let stopped = stopped_at(self.precision, (scores, failed), folds)?;
        let precision = Proportion::new(stopped.failed, stopped.stopped).ok();
        let interval = precision.and_then(|share| share.wilson(DEFAULT_CONFIDENCE).ok());
        let rows = stopped.rows as f64;
        let share = stopped.stopped as f64 / rows;
        let lost = (stopped.stopped - stopped.failed) as f64 / stopped.good as f64;
        Ok(EarlyStopRow {
            run: self.run.to_owned(),
            category: category.to_owned(),
            steps_seen: seen as u32,
            precision_wanted: self.precision,
            stopped: share,
            precision: precision.map(|share| share.rate()),
            precision_low: interval.map(|i| i.low),
            precision_high: interval.map(|i| i.high),
            good_lost: (stopped.good > 0).then_some(lost),
            saved: share * (1.0 - seen as f64 / self.timesteps.len() as f64),
            failure_rate: (stopped.rows - stopped.good) as f64 / rows,
            images: stopped.rows as u32,
        })
    }

    /// The table `diagnosis_features`; features that a prompt does not have are left out.
    pub fn feature_rows(&self, images: &[Watched]) -> Vec<DiagnosisFeatureRow> {
        let mut rows = Vec::new();
        for (sample, image) in (0..).zip(images) {
            for (step, features) in image.features.iter().enumerate() {
                for (name, &value) in NAMES.iter().zip(features).filter(|(_, v)| v.is_finite()) {
                    rows.push(DiagnosisFeatureRow {
                        run: self.run.to_owned(),
                        sample,
                        prompt: image.prompt.clone(),
                        seed: image.seed,
                        category: image.category.clone(),
                        failed: image.failed,
                        step: step as u32,
                        timestep: self.timesteps.get(step).copied().unwrap_or_default(),
                        feature: (*name).to_owned(),
                        value,
                    });
                }
            }
        }
        rows
    }
}

/// What one number of steps tells of one category.
struct Measured {
    rows: Vec<DiagnosisRow>,
    stop: EarlyStopRow,
}

/// Of each image the mean of every feature over the steps seen, and its value at the last of them.
/// A feature that fewer than half of the prompts have is left out; where a prompt does not have it,
/// the mean of the others stands, which says nothing.
fn matrix(images: &[&Watched], seen: usize) -> Result<Array2<f64>, Undefined> {
    if let Some(short) = images.iter().find(|image| image.features.len() < seen) {
        return Err(Undefined::Length { expected: seen, got: short.features.len() });
    }
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for feature in 0..NAMES.len() {
        let of_image = |image: &&Watched| {
            let steps = &image.features[..seen];
            let mean = steps.iter().map(|at| at[feature]).sum::<f64>() / seen as f64;
            (mean, steps[seen - 1][feature])
        };
        let (means, last): (Vec<f64>, Vec<f64>) = images.iter().map(of_image).unzip();
        // After one step the mean is the last value.
        let both = if seen == 1 { vec![means] } else { vec![means, last] };
        columns.extend(both.into_iter().filter_map(filled));
    }
    if columns.is_empty() {
        return Err(Undefined::NotFinite);
    }
    let shape = (columns.len(), images.len());
    let features = Array2::from_shape_vec(shape, columns.concat()).map_err(|_| Undefined::Empty)?;
    Ok(features.reversed_axes())
}

/// The values with the mean of those that are known in place of the others; none if fewer than half
/// are known.
fn filled(values: Vec<f64>) -> Option<Vec<f64>> {
    let known: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if known.is_empty() || 2 * known.len() < values.len() {
        return None;
    }
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    Some(values.into_iter().map(|value| if value.is_finite() { value } else { mean }).collect())
}

/// The probability of failure of each row, by a regression on the other folds.
fn forecast(features: &Array2<f64>, failed: &[bool], folds: &Folds) -> Result<Vec<f64>, Undefined> {
    let labels: Vec<usize> = failed.iter().map(|&failed| usize::from(failed)).collect();
    let probabilities = Logistic::default().held_out(features.view(), &labels, folds)?;
    Ok(probabilities.index_axis(Axis(1), 1).to_vec())
}

fn fold_of_rows(folds: &Folds) -> Vec<usize> {
    let mut of_row = vec![0; folds.rows()];
    for fold in 0..folds.count() {
        folds.held_out(fold).into_iter().for_each(|row| of_row[row] = fold);
    }
    of_row
}

/// The interval of the AUROC over prompts; the forecasts stay as they are.
fn over_prompts(
    prompts: &[&str],
    (scores, failed, folds): (&[f64], &[bool], &[usize]),
) -> Option<(f64, f64)> {
    let mut rows: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, prompt) in prompts.iter().enumerate() {
        rows.entry(prompt).or_default().push(row);
    }
    let rows: Vec<Vec<usize>> = rows.into_values().collect();
    let auroc = |drawn: &[usize]| {
        let drawn: Vec<usize> = drawn.iter().flat_map(|&prompt| rows[prompt].clone()).collect();
        let pick = |row: &usize| (scores[*row], failed[*row], folds[*row]);
        let (mut s, mut f, mut g) = (Vec::new(), Vec::new(), Vec::new());
        for (score, failed, fold) in drawn.iter().map(pick) {
            s.push(score);
            f.push(failed);
            g.push(fold);
        }
        auroc_within_folds(&s, &f, &g).unwrap_or(f64::NAN)
    };
    let bootstrap = Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() };
    bootstrap.statistic(rows.len(), auroc).ok().map(|e| (e.low, e.high))
}
