//! What difference a comparison could have seen.

use statrs::distribution::{Binomial, ContinuousCDF, Discrete, DiscreteCDF, Normal};

use super::PairedOutcomes;

/// Up to this many pairs the power is summed over the exact test's own distribution; the normal
/// approximation is good to a hundredth of the result beyond.
const MOST_EXACT: u64 = 2_000;
/// Numbers of changed pairs farther than this many deviations from their mean do not matter.
const DEVIATIONS: f64 = 8.0;
/// Halvings of the range of differences: to 1e-9.
const HALVINGS: usize = 30;

/// How a comparison is decided, for [`minimum_detectable`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinimumDetectable {
    /// Independent pairs.
    pub pairs: u64,
    /// Share of pairs that change either way though nothing has got better or worse.
    pub discordance: f64,
    /// Level of the two-sided test; with several tests, that of the strictest.
    pub significance: f64,
    /// Chance to see the difference if it is there.
    pub power: f64,
}

impl PairedOutcomes {
    /// The smallest loss (or gain) of share that a comparison of this size and unrest would call
    /// one, with probability `power`, in a two-sided test at level `significance`; `None` where
    /// even a change of everything might go unseen.
    ///
    /// The clusters count as many pairs as they are worth, and the unrest seen, with one more
    /// pair each way, is what changes without reason; the loss comes on top of it.
    pub fn minimum_detectable(&self, significance: f64, power: f64) -> Option<f64> {
        let worth = self.effective_pairs();
        let changed = self.discordance() * worth;
        minimum_detectable(MinimumDetectable {
            pairs: worth as u64,
            discordance: (changed + 1.0) / (worth + 2.0),
            significance,
            power,
        })
    }
}

/// The smallest loss of share that the exact McNemar test sees with the wanted power: pairs break
/// with probability `discordance` / 2 + loss and are fixed with probability `discordance` / 2.
/// Summed exactly for up to 2,000 pairs, else by the normal approximation of Miettinen (1968).
/// `None` where there is none up to 1.
pub fn minimum_detectable(plan: MinimumDetectable) -> Option<f64> {
    let seen: Box<dyn Fn(f64) -> bool> = if plan.pairs <= MOST_EXACT {
        let critical = critical_values(plan.pairs, plan.significance);
        Box::new(move |loss| exact_power(plan, loss, &critical) >= plan.power)
    } else {
        Box::new(move |loss| approximate_power(plan, loss) >= plan.power)
    };
    if !seen(1.0) {
        return None;
    }
    let (mut unseen, mut enough) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = (unseen + enough) / 2.0;
        if seen(middle) { enough = middle } else { unseen = middle }
    }
    Some(enough)
}

/// Most independent pairs that a plan asks for.
const MOST_PAIRS: u64 = 1 << 30;

/// The fewest independent pairs with which [`minimum_detectable`] is at most `effect`: the other
/// question of the same power. `plan.pairs` is not looked at. `None` where no number is enough,
/// since the effect is not above zero.
pub fn pairs_needed(plan: MinimumDetectable, effect: f64) -> Option<u64> {
    let enough = |pairs: u64| {
        let plan = MinimumDetectable { pairs, ..plan };
        if pairs <= MOST_EXACT {
            exact_power(plan, effect, &critical_values(pairs, plan.significance)) >= plan.power
        } else {
            approximate_power(plan, effect) >= plan.power
        }
    };
    if effect.is_nan() || effect <= 0.0 {
        return None;
    }
    let mut most = 1;
    while !enough(most) {
        if most >= MOST_PAIRS {
            return None;
        }
        most *= 2;
    }
    let mut too_few = most / 2;
    while most - too_few > 1 {
        let middle = (most + too_few) / 2;
        if enough(middle) { most = middle } else { too_few = middle }
    }
    Some(most)
}

/// Shares of pairs that break and that are fixed. More than all cannot change: beyond, the loss
/// comes out of what would have changed anyway.
fn shares(plan: MinimumDetectable, loss: f64) -> (f64, f64) {
    let changed = (plan.discordance + loss).clamp(0.0, 1.0);
    ((changed + loss) / 2.0, ((changed - loss) / 2.0).max(0.0))
}

/// For each number of changed pairs the largest number of fixed ones at which the test rejects.
fn critical_values(pairs: u64, significance: f64) -> Vec<Option<u64>> {
    let rejects = |changed, fixed| 2.0 * chance_up_to(changed, 0.5, fixed) <= significance;
    let mut largest: Option<u64> = None;
    (0..=pairs)
        .map(|changed| {
            let next = largest.map_or(0, |fixed| fixed + 1);
            // One more changed pair lets at most one more be fixed.
            if rejects(changed, next) {
                largest = Some(next);
            }
            largest
        })
        .collect()
}

fn exact_power(plan: MinimumDetectable, loss: f64, critical: &[Option<u64>]) -> f64 {
    let (broken, fixed) = shares(plan, loss);
    let changed = (broken + fixed).min(1.0);
    let Ok(number) = Binomial::new(changed, plan.pairs) else { return 0.0 };
    let mean = changed * plan.pairs as f64;
    let reach = DEVIATIONS * (mean * (1.0 - changed)).sqrt() + 1.0;
    let from = (mean - reach).max(0.0) as u64;
    let to = ((mean + reach) as u64).min(plan.pairs);
    (from..=to)
        .filter_map(|n| {
            let most_fixed = critical.get(n as usize).copied().flatten()?;
            Some(number.pmf(n) * chance_up_to(n, fixed / changed, most_fixed))
        })
        .sum()
}

fn approximate_power(plan: MinimumDetectable, loss: f64) -> f64 {
    let (broken, fixed) = shares(plan, loss);
    let changed = broken + fixed;
    let normal = Normal::standard();
    let needed = normal.inverse_cdf(1.0 - plan.significance / 2.0) * changed.sqrt();
    let spread = (changed - loss * loss).sqrt();
    let reached = loss * (plan.pairs as f64).sqrt() - needed;
    if spread > 0.0 { normal.cdf(reached / spread) } else { f64::from(u8::from(reached > 0.0)) }
}

/// Chance of at most `most` successes.
fn chance_up_to(trials: u64, success: f64, most: u64) -> f64 {
    Binomial::new(success.clamp(0.0, 1.0), trials).map_or(0.0, |binomial| binomial.cdf(most))
}
