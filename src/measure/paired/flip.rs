//! The exact test of a difference for clusters of any size.

use statrs::distribution::{ContinuousCDF, Normal};

use super::PairedOutcomes;

/// Most additions that the exact distribution may take, about a tenth of a second; beyond, the
/// normal distribution is as good: there are thousands of clusters.
const MOST_ADDITIONS: u64 = 100_000_000;

impl PairedOutcomes {
    /// Two-sided p-value that A and B are alike, by exchanging A and B in whole clusters: if
    /// they are, each cluster's net change could as well have had the other sign. The chance of
    /// a total at least as far from zero as the one seen, over all 2ᴷ signs, is computed exactly
    /// (with the normal approximation and a correction for continuity from some thousands of
    /// changed clusters on). 1 where no cluster has changed.
    ///
    /// For one pair a cluster this is [`PairedOutcomes::mcnemar`].
    pub fn flip_test(&self) -> f64 {
        let changed = || {
            self.kinds
                .iter()
                .filter(|(kind, _)| kind.net != 0)
                .map(|(kind, count)| (kind.net.unsigned_abs(), *count))
        };
        let observed: i64 = self.fixed as i64 - self.broken as i64;
        let clusters: u64 = changed().map(|(_, count)| count).sum();
        let total: u64 = changed().map(|(size, count)| size * count).sum();
        if clusters == 0 || observed == 0 {
            return 1.0;
        }
        if clusters.saturating_mul(total) > MOST_ADDITIONS {
            let squares: u64 = changed().map(|(size, count)| size * size * count).sum();
            return by_normal(observed.unsigned_abs(), squares);
        }
        let chances = positive_sums(changed(), total as usize);
        // A total of s comes of positive signs that sum to (total ± s) / 2.
        let most_below = ((total - observed.unsigned_abs()) / 2) as usize;
        let tail: f64 = chances[..=most_below].iter().sum();
        (2.0 * tail).min(1.0)
    }
}

/// Chance of each sum of the sizes that get a positive sign, each with probability ½.
fn positive_sums(sizes: impl Iterator<Item = (u64, u64)>, total: usize) -> Vec<f64> {
    let mut chances = vec![0.0; total + 1];
    chances[0] = 1.0;
    let mut reached = 0;
    for (size, count) in sizes {
        let size = size as usize;
        for _ in 0..count {
            reached += size;
            for sum in (size..=reached).rev() {
                chances[sum] = 0.5 * (chances[sum] + chances[sum - size]);
            }
            chances[..size].iter_mut().for_each(|chance| *chance *= 0.5);
        }
    }
    chances
}

/// Totals lie two apart, hence the correction by one.
fn by_normal(observed: u64, squares: u64) -> f64 {
    let distance = (observed as f64 - 1.0).max(0.0) / (squares as f64).sqrt();
    (2.0 * Normal::standard().sf(distance)).min(1.0)
}
