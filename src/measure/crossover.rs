//! A yes or no that turns with a level: a logistic curve, and the level at which half are yes.

use ndarray::Array2;

use super::bootstrap::Bootstrap;
use super::commitment::by_cluster;
use super::interval::check_values;
use super::linear::Logistic;
use super::{Estimate, Undefined};

/// p(level) = 1 / (1 + exp(−slope · (level − half))).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossover {
    /// The level at which half of the outcomes are yes.
    pub half: f64,
    /// Change of the log-odds for a step of one; negative where yes becomes rarer.
    pub slope: f64,
}

/// Penalty on the slope of levels scaled to [0, 1]: small, so that the half is where the outcomes
/// have it, but above 0, so that outcomes that turn at once have a slope at all.
const PENALTY: f64 = 1e-3;
const ITERATIONS: u64 = 200;

impl Crossover {
    /// The maximum of the (slightly penalised) likelihood.
    ///
    /// # Errors
    /// Lists of different lengths, levels that are not finite or all the same, outcomes that are
    /// all the same ([`Undefined::OneClass`]), or [`Undefined::NotSolved`].
    pub fn fit(levels: &[f64], outcomes: &[bool]) -> Result<Self, Undefined> {
        check_values(levels, 1)?;
        let low = levels.iter().copied().fold(f64::INFINITY, f64::min);
        let high = levels.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low == high {
            return Err(Undefined::Constant);
        }
        let wide = high - low;
        let scaled = Array2::from_shape_fn((levels.len(), 1), |(i, _)| (levels[i] - low) / wide);
        let labels: Vec<usize> = outcomes.iter().map(|&yes| usize::from(yes)).collect();
        let fit =
            Logistic { penalty: PENALTY, iterations: ITERATIONS }.fit(scaled.view(), &labels)?;
        // Two points of the log-odds give the line.
        let at = Array2::from_shape_fn((2, 1), |(i, _)| i as f64);
        let odds = fit.log_odds(at.view()).ok_or(Undefined::OneClass)?;
        let (from, slope) = (odds[0], odds[1] - odds[0]);
        if slope == 0.0 || !slope.is_finite() {
            return Err(Undefined::NotSolved);
        }
        Ok(Self { half: low - from / slope * wide, slope: slope / wide })
    }

    /// The probability of yes at a level.
    pub fn at(&self, level: f64) -> f64 {
        1.0 / (1.0 + (-self.slope * (level - self.half)).exp())
    }
}

/// The half with an interval by resampling whole clusters (pairs of prompts). Draws that have only
/// yes or only no have no half and are left out, as [`Bootstrap::statistic`] does.
///
/// # Errors
/// As [`Crossover::fit`]; fewer than two clusters.
pub fn half<K: Ord>(
    levels: &[f64],
    outcomes: &[bool],
    clusters: &[K],
    bootstrap: &Bootstrap,
) -> Result<Estimate, Undefined> {
    for got in [outcomes.len(), clusters.len()] {
        if got != levels.len() {
            return Err(Undefined::Length { expected: levels.len(), got });
        }
    }
    Crossover::fit(levels, outcomes)?;
    let cases: Vec<(f64, bool)> = levels.iter().copied().zip(outcomes.iter().copied()).collect();
    let of_clusters = by_cluster(&cases, clusters);
    bootstrap.statistic(of_clusters.len(), |drawn| {
        let (levels, outcomes): (Vec<f64>, Vec<bool>) =
            drawn.iter().flat_map(|&i| of_clusters[i].iter().copied()).unzip();
        Crossover::fit(&levels, &outcomes).map_or(f64::NAN, |fit| fit.half)
    })
}
