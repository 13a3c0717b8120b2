//! How much of what a probe finds is in the features, and not in the probe.
//!
//! A probe with many weights finds something in anything. The control is the same probe on labels
//! that are shuffled among rows; selectivity is what it finds beyond that (Hewitt & Liang 2019,
//! Designing and Interpreting Probes with Control Tasks, there with random labels for each word
//! type).

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::measure::bootstrap::mean_over;
use crate::measure::interval::check_values;
use crate::measure::{Estimate, Undefined};

/// What a probe finds on rows that it has not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Selectivity {
    /// Accuracy, or R²: what the probe finds. The share of rows whose class is right, in [0, 1],
    /// or 1 − Σ(y − ŷ)²/Σ(y − ȳ)², at most 1.
    pub score: Estimate,
    /// The same on shuffled labels, mean over shuffles.
    pub control: Estimate,
    /// The difference, row by row.
    pub selectivity: Estimate,
}

/// The values in another order, drawn by the seed.
pub fn shuffled<T: Clone>(values: &[T], seed: u64) -> Vec<T> {
    let mut values = values.to_vec();
    values.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    values
}

impl Selectivity {
    /// Of classes: `predicted` beside `labels`, and each of `controls` the classes that a probe
    /// predicted for shuffled labels beside those. Intervals are over `groups` (scenes).
    ///
    /// # Errors
    /// Lists of different lengths, no control, or fewer than two groups.
    pub fn of_classes<K: Ord>(
        (predicted, labels): (&[usize], &[usize]),
        controls: &[(Vec<usize>, Vec<usize>)],
        groups: &[K],
    ) -> Result<Self, Undefined> {
        let right = |predicted: &[usize], labels: &[usize]| -> Result<Vec<f64>, Undefined> {
            same_length(labels.len(), predicted.len())?;
            let right = |(a, b): (&usize, &usize)| f64::from(u8::from(a == b));
            Ok(predicted.iter().zip(labels).map(right).collect())
        };
        let own = right(predicted, labels)?;
        let of_controls: Vec<Vec<f64>> =
            controls.iter().map(|(p, l)| right(p, l)).collect::<Result<_, _>>()?;
        Self::of_rows(&own, &of_controls, groups)
    }

    /// Of numbers, likewise.
    ///
    /// # Errors
    /// As [`Selectivity::of_classes`]; [`Undefined::Constant`] for a truth that does not vary.
    pub fn of_numbers<K: Ord>(
        (predicted, truth): (&[f64], &[f64]),
        controls: &[(Vec<f64>, Vec<f64>)],
        groups: &[K],
    ) -> Result<Self, Undefined> {
        let own = explained(predicted, truth)?;
        let of_controls: Vec<Vec<f64>> =
            controls.iter().map(|(p, t)| explained(p, t)).collect::<Result<_, _>>()?;
        Self::of_rows(&own, &of_controls, groups)
    }

    fn of_rows<K: Ord>(
        own: &[f64],
        controls: &[Vec<f64>],
        groups: &[K],
    ) -> Result<Self, Undefined> {
        if controls.is_empty() {
            return Err(Undefined::Empty);
        }
        let mut control = vec![0.0; own.len()];
        for of_control in controls {
            same_length(own.len(), of_control.len())?;
            control
                .iter_mut()
                .zip(of_control)
                .for_each(|(sum, x)| *sum += x / controls.len() as f64);
        }
        let beyond: Vec<f64> = own.iter().zip(&control).map(|(a, b)| a - b).collect();
        Ok(Self {
            score: mean_over(own, groups)?,
            control: mean_over(&control, groups)?,
            selectivity: mean_over(&beyond, groups)?,
        })
    }
}

fn same_length(expected: usize, got: usize) -> Result<(), Undefined> {
    if expected == got { Ok(()) } else { Err(Undefined::Length { expected, got }) }
}

/// Each row's part in R²: their mean is R².
fn explained(predicted: &[f64], truth: &[f64]) -> Result<Vec<f64>, Undefined> {
    same_length(truth.len(), predicted.len())?;
    check_values(truth, 2)?;
    check_values(predicted, 2)?;
    let mean = truth.iter().sum::<f64>() / truth.len() as f64;
    let variance = truth.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / truth.len() as f64;
    if variance <= f64::EPSILON * mean * mean {
        return Err(Undefined::Constant);
    }
    let of_row = |(p, y): (&f64, &f64)| 1.0 - (y - p).powi(2) / variance;
    Ok(predicted.iter().zip(truth).map(of_row).collect())
}
