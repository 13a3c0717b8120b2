//! Percentile bootstrap intervals, by single values or by clusters.
//!
//! Images of one prompt resemble each other. Resampling them one by one pretends that they are
//! independent and gives intervals that are too narrow; so whole clusters (prompts) are drawn.
//!
//! Percentile intervals are slightly too narrow for few units. Below ten or so clusters read
//! them as a rough guide.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::interval::{DEFAULT_CONFIDENCE, check_confidence, check_values};
use super::{Estimate, Proportion, Undefined};

/// Resamples by default: the ends of a 95 % interval then rest on 50 resamples each.
pub const DEFAULT_RESAMPLES: usize = 2000;

/// How to resample: the same settings and data give the same interval on every machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// How many times to resample.
    pub resamples: usize,
    /// Confidence of the interval, in (0, 1).
    pub confidence: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: DEFAULT_RESAMPLES, confidence: DEFAULT_CONFIDENCE, seed: 0 }
    }
}

/// Sum and number of the values of one cluster.
#[derive(Debug, Clone, Copy, Default)]
struct Cluster {
    sum: f64,
    count: usize,
}

impl Bootstrap {
    /// The mean of independent values.
    ///
    /// # Errors
    /// Fewer than two values, a value that is not finite, or settings out of range.
    pub fn mean(&self, values: &[f64]) -> Result<Estimate, Undefined> {
        let own: Vec<usize> = (0..values.len()).collect();
        self.cluster_mean(values, &own)
    }

    /// The mean over all values, resampling whole clusters: `clusters[i]` says which cluster
    /// (prompt) `values[i]` belongs to. The estimate's `n` is the number of clusters.
    ///
    /// The order of the rows does not matter.
    ///
    /// # Errors
    /// Fewer than two clusters, lists of different length, a value that is not finite, or
    /// settings out of range.
    pub fn cluster_mean<K: Ord>(
        &self,
        values: &[f64],
        clusters: &[K],
    ) -> Result<Estimate, Undefined> {
        let sums = sums_by_cluster(values, clusters)?;
        self.statistic(sums.len(), |drawn| {
            let total = drawn.iter().fold(Cluster::default(), |total, &i| Cluster {
                sum: total.sum + sums[i].sum,
                count: total.count + sums[i].count,
            });
            total.sum / total.count as f64
        })
    }

    /// The rate of yes-or-no outcomes, each with its cluster (prompt), resampling whole clusters.
    ///
    /// Where that says nothing (all clusters have one rate, or there is one cluster), the interval
    /// is Wilson's for the number of *clusters*, which assumes that the images of a prompt say no
    /// more than one of them.
    ///
    /// # Errors
    /// [`Undefined::Empty`] without outcomes, or settings out of range.
    pub fn cluster_rate<K: Ord + Clone>(
        &self,
        outcomes: &[(bool, K)],
    ) -> Result<Estimate, Undefined> {
        let values: Vec<f64> =
            outcomes.iter().map(|(holds, _)| f64::from(u8::from(*holds))).collect();
        let clusters: Vec<K> = outcomes.iter().map(|(_, cluster)| cluster.clone()).collect();
        let number = clusters.iter().collect::<BTreeSet<_>>().len();
        if number > 1 {
            let drawn = self.cluster_mean(&values, &clusters)?;
            if drawn.low < drawn.high {
                return Ok(drawn);
            }
        }
        let mean = Proportion::of(outcomes.iter().map(|(holds, _)| *holds))?.rate();
        // As many successes among clusters as give this rate; the interval contains the rate.
        let successes = (mean * number as f64).round() as usize;
        let wilson = Proportion::new(successes, number)?.wilson(self.confidence)?;
        Ok(Estimate { mean, low: wilson.low.min(mean), high: wilson.high.max(mean), ..wilson })
    }

    /// The mean of `a[i] − b[i]`, resampling whole clusters.
    ///
    /// Pairs are the same prompt and seed under two conditions; what the prompts have in common
    /// cancels, which an interval on each mean cannot see.
    ///
    /// # Errors
    /// As [`Bootstrap::cluster_mean`].
    pub fn paired_difference<K: Ord>(
        &self,
        a: &[f64],
        b: &[f64],
        clusters: &[K],
    ) -> Result<Estimate, Undefined> {
        let differences = paired(a, b)?;
        self.cluster_mean(&differences, clusters)
    }

    /// Any statistic of `units` independent units.
    ///
    /// `statistic` gets the indices of the units drawn, with repeats; the point estimate is the
    /// statistic of every unit once. Resamples in which it is not finite (an AUROC of a draw
    /// without positives) are left out; if more than half are, there is no interval.
    ///
    /// # Errors
    /// Fewer than two units, settings out of range, or [`Undefined::NotFinite`] when the
    /// statistic of all units or of most resamples does not exist.
    pub fn statistic(
        &self,
        units: usize,
        statistic: impl Fn(&[usize]) -> f64,
    ) -> Result<Estimate, Undefined> {
        let everyone: Vec<usize> = (0..units).collect();
        let mean = statistic(&everyone);
        let mut results = self.draws(units, statistic)?;
        results.retain(|x| x.is_finite());
        if !mean.is_finite() || results.len() * 2 < self.resamples {
            return Err(Undefined::NotFinite);
        }
        results.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        let (low, high) = (quantile(&results, tail), quantile(&results, 1.0 - tail));
        Ok(Estimate { mean, low, high, n: units, confidence: self.confidence })
    }

    /// What `statistic` says of every resample of `units` independent units, in the order in which
    /// they are drawn. Two calls with one seed draw the same units, so that their results are
    /// paired.
    ///
    /// # Errors
    /// Fewer than two units, or settings out of range.
    pub fn draws<T>(
        &self,
        units: usize,
        statistic: impl Fn(&[usize]) -> T,
    ) -> Result<Vec<T>, Undefined> {
        self.check(units)?;
        let mut drawn = vec![0; units];
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut results = Vec::with_capacity(self.resamples);
        for _ in 0..self.resamples {
            drawn.fill_with(|| random.random_range(0..units));
            results.push(statistic(&drawn));
        }
        Ok(results)
    }

    pub(super) fn check(&self, units: usize) -> Result<(), Undefined> {
        check_confidence(self.confidence)?;
        if self.resamples == 0 {
            let allowed = "at least 1";
            return Err(Undefined::Parameter { name: "resamples", got: 0.0, allowed });
        }
        if units < 2 {
            return Err(Undefined::TooFew { needed: 2, got: units });
        }
        Ok(())
    }
}

/// The mean of values with a 95 % interval over clusters, quickly where there are many: Student's
/// interval where each value is a cluster of its own, which is what resampling comes to; else
/// whole clusters are resampled as by default.
///
/// # Errors
/// As [`Bootstrap::cluster_mean`].
pub fn mean_over<K: Ord>(values: &[f64], clusters: &[K]) -> Result<Estimate, Undefined> {
    if values.len() != clusters.len() {
        return Err(Undefined::Length { expected: values.len(), got: clusters.len() });
    }
    let distinct = clusters.iter().collect::<BTreeSet<_>>().len();
    if distinct == values.len() {
        return Estimate::of_mean(values, DEFAULT_CONFIDENCE);
    }
    Bootstrap::default().cluster_mean(values, clusters)
}

/// Quantile of sorted values by linear interpolation between order statistics (type 7 of
/// Hyndman & Fan 1996, NumPy's default); `probability` in `[0, 1]`. NaN for an empty slice.
pub fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = probability.clamp(0.0, 1.0) * last as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
}

pub(super) fn paired(a: &[f64], b: &[f64]) -> Result<Vec<f64>, Undefined> {
    if a.len() != b.len() {
        return Err(Undefined::Length { expected: a.len(), got: b.len() });
    }
    Ok(a.iter().zip(b).map(|(a, b)| a - b).collect())
}

/// Sums per cluster, in the order of the clusters' names.
fn sums_by_cluster<K: Ord>(values: &[f64], clusters: &[K]) -> Result<Vec<Cluster>, Undefined> {
    if values.len() != clusters.len() {
        return Err(Undefined::Length { expected: values.len(), got: clusters.len() });
    }
    check_values(values, 1)?;
    let mut sums: BTreeMap<&K, Cluster> = BTreeMap::new();
    for (value, cluster) in values.iter().zip(clusters) {
        let entry = sums.entry(cluster).or_default();
        entry.sum += value;
        entry.count += 1;
    }
    Ok(sums.into_values().collect())
}

/// Sums of each cluster's values, for tests that flip whole clusters.
pub(super) fn cluster_sums<K: Ord>(values: &[f64], clusters: &[K]) -> Result<Vec<f64>, Undefined> {
    Ok(sums_by_cluster(values, clusters)?.into_iter().map(|cluster| cluster.sum).collect())
}
