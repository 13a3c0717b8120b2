//! How large a difference is, and whether it is too small to matter.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution};
use statrs::distribution::{ContinuousCDF, Normal};

use super::PairedOutcomes;
use crate::measure::bootstrap::quantile;
use crate::measure::interval::check_confidence;
use crate::measure::{Bootstrap, Estimate, Undefined};

/// Halvings of the range in which an end of the score interval is sought: to 1e-15.
const HALVINGS: usize = 50;

impl PairedOutcomes {
    /// The difference of shares, B less A, by resampling whole clusters (percentile interval).
    ///
    /// Clusters with the same net change and size are alike, so a resample is drawn as how many
    /// there are of each kind: the same distribution as drawing them one by one, at a cost that
    /// does not grow with their number.
    ///
    /// # Errors
    /// Fewer than two clusters, or settings out of range.
    pub fn bootstrap(&self, settings: &Bootstrap) -> Result<Estimate, Undefined> {
        settings.check(usize::try_from(self.clusters()).unwrap_or(usize::MAX))?;
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
        let mut drawn: Vec<f64> =
            (0..settings.resamples).map(|_| self.resample(&mut random)).collect();
        drawn.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - settings.confidence) / 2.0;
        Ok(self.estimate(quantile(&drawn, tail), quantile(&drawn, 1.0 - tail), settings.confidence))
    }

    /// The difference in one resample.
    fn resample(&self, random: &mut ChaCha8Rng) -> f64 {
        let (mut to_draw, mut left) = (self.clusters(), self.clusters());
        let (mut net, mut pairs) = (0.0, 0.0);
        for (kind, &count) in &self.kinds {
            let share = count as f64 / left as f64;
            let taken = match Binomial::new(to_draw, share) {
                Ok(binomial) => binomial.sample(random),
                // The last kind's share can exceed 1 by rounding only.
                Err(_) => to_draw,
            };
            net += taken as f64 * kind.net as f64;
            pairs += taken as f64 * kind.pairs as f64;
            to_draw -= taken;
            left -= count;
        }
        net / pairs
    }

    /// The difference of shares, B less A, with an interval that holds also for few prompts and
    /// where hardly anything changed: at each end the wider of the clustered bootstrap, which has
    /// no width where nothing changed, and [`score_interval`] for as many pairs as the clusters
    /// are worth.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn interval(&self, settings: &Bootstrap) -> Result<Estimate, Undefined> {
        let worth = self.effective_pairs() / self.pairs as f64;
        let [broken, fixed, pairs] =
            [self.broken, self.fixed, self.pairs].map(|count| count as f64 * worth);
        let (low, high) = score_interval(broken, fixed, pairs, settings.confidence)?;
        match self.bootstrap(settings) {
            Ok(drawn) => {
                Ok(self.estimate(low.min(drawn.low), high.max(drawn.high), settings.confidence))
            }
            Err(Undefined::TooFew { .. }) => Ok(self.estimate(low, high, settings.confidence)),
            Err(other) => Err(other),
        }
    }

    /// Whether the difference is smaller than `margin` either way: two one-sided tests
    /// (Schuirmann 1987) at level `significance`, which is the same as the interval of
    /// confidence 1 − 2·`significance` lying within ±`margin`.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn is_within(
        &self,
        margin: f64,
        significance: f64,
        settings: &Bootstrap,
    ) -> Result<bool, Undefined> {
        let confidence = 1.0 - 2.0 * significance;
        let interval = self.interval(&Bootstrap { confidence, ..*settings })?;
        Ok(-margin < interval.low && interval.high < margin)
    }

    fn estimate(&self, low: f64, high: f64, confidence: f64) -> Estimate {
        let n = usize::try_from(self.clusters()).unwrap_or(usize::MAX);
        Estimate { mean: self.difference(), low, high, n, confidence }
    }
}

/// Score interval of the difference of two paired shares, (fixed − broken) / pairs (Tango 1998):
/// the differences that a score test with the variance restricted to them does not reject. For
/// nothing changed in n pairs it is ± z² / (n + z²). Counts need not be whole, so that clusters
/// can enter with what they are worth.
///
/// # Errors
/// [`Undefined::Empty`] without pairs, [`Undefined::Parameter`] when the confidence is not in
/// (0, 1), [`Undefined::NotFinite`] when more changed than there are pairs.
pub fn score_interval(
    broken: f64,
    fixed: f64,
    pairs: f64,
    confidence: f64,
) -> Result<(f64, f64), Undefined> {
    check_confidence(confidence)?;
    if pairs <= 0.0 {
        return Err(Undefined::Empty);
    }
    // A millionth of a pair is rounding.
    if !(broken >= 0.0 && fixed >= 0.0 && broken + fixed <= pairs * (1.0 + 1e-6)) {
        return Err(Undefined::NotFinite);
    }
    let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
    let difference = (fixed - broken) / pairs;
    let score = |at: f64| score(broken, fixed, pairs, at);
    // The score falls with the difference assumed: +z at the lower end, −z at the upper.
    let low = crossing(-1.0, difference, |at| score(at) > z);
    let high = crossing(difference, 1.0, |at| score(at) > -z);
    Ok((low, high))
}

/// Where a condition that holds on the left ceases to.
fn crossing(mut left: f64, mut right: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = (left + right) / 2.0;
        if holds(middle) { left = middle } else { right = middle }
    }
    (left + right) / 2.0
}

/// Tango's score statistic if the true difference were `difference`. The share of broken pairs
/// is the one most likely under that, the positive root of 2n·q² + B·q − broken·Δ(…) = 0.
fn score(broken: f64, fixed: f64, pairs: f64, difference: f64) -> f64 {
    let a = 2.0 * pairs;
    let b = -fixed - broken + (2.0 * pairs - fixed + broken) * difference;
    let c = -broken * difference * (1.0 - difference);
    let broken_share = ((b * b - 4.0 * a * c).max(0.0).sqrt() - b) / (2.0 * a);
    let variance = pairs * (2.0 * broken_share + difference * (1.0 - difference));
    let distance = fixed - broken - pairs * difference;
    if variance <= 0.0 {
        // No spread: any distance is infinitely far.
        return if distance == 0.0 { 0.0 } else { distance.signum() * f64::INFINITY };
    }
    distance / variance.sqrt()
}
