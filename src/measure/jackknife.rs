//! Intervals of statistics that resampling with repeats would spoil, such as distances between
//! sets: a copy of an image is its own nearest neighbour.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::interval::check_confidence;
use super::{Estimate, Undefined};

/// The statistic of all units, with a t interval from its values with one unit left out each
/// (Tukey 1958; Efron & Tibshirani 1993, chapter 11). Units are what is independent: prompts.
///
/// `statistic` gets the units that are kept, ascending. Statistics that jump (a median) have no
/// such interval.
///
/// # Errors
/// Fewer than three units, a confidence outside (0, 1), a statistic that is not finite, and
/// whatever the statistic says.
pub fn jackknife(
    units: usize,
    confidence: f64,
    statistic: impl Fn(&[usize]) -> Result<f64, Undefined>,
) -> Result<Estimate, Undefined> {
    const FEWEST: usize = 3;
    check_confidence(confidence)?;
    if units < FEWEST {
        return Err(Undefined::TooFew { needed: FEWEST, got: units });
    }
    let all: Vec<usize> = (0..units).collect();
    let whole = statistic(&all)?;
    let without = |left_out: usize| {
        let kept: Vec<usize> = all.iter().copied().filter(|&unit| unit != left_out).collect();
        statistic(&kept)
    };
    let values: Vec<f64> = (0..units).map(without).collect::<Result<_, _>>()?;
    if !whole.is_finite() || values.iter().any(|x| !x.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    let n = units as f64;
    let mean = values.iter().sum::<f64>() / n;
    let spread: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    let error = ((n - 1.0) / n * spread).sqrt();
    let t = StudentsT::new(0.0, 1.0, n - 1.0)
        .map_err(|_| Undefined::TooFew { needed: FEWEST, got: units })?
        .inverse_cdf(0.5 + confidence / 2.0);
    let half = t * error;
    Ok(Estimate { mean: whole, low: whole - half, high: whole + half, n: units, confidence })
}
