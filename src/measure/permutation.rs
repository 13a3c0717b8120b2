//! Controls: the same measurement where the answer must be "nothing".

use rand::Rng;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

use super::Undefined;
use super::bootstrap::{cluster_sums, paired};

/// Shuffles tried before the constructive answer: with groups of two pairs one in six shuffles
/// is good, so a failure of all is rarer than one in a million.
const SHUFFLES: usize = 100;

/// For every item another item with a different label, each used once, at random.
///
/// This makes the control of a word–region score: word i keeps its region and gets the map of
/// word `result[i]`, which belongs to another object (label). Swapping words of one object
/// would be no control, since their maps rightly agree.
///
/// `None` when there is no such arrangement: some label has more than half of all items (one
/// object only, say). Then take the maps of another sample instead.
pub fn derangement<K: Ord>(labels: &[K], seed: u64) -> Option<Vec<usize>> {
    let largest = group_sizes(labels).into_values().max()?;
    if largest * 2 > labels.len() {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..labels.len()).collect();
    for _ in 0..SHUFFLES {
        order.shuffle(&mut random);
        if order.iter().enumerate().all(|(i, &other)| labels[i] != labels[other]) {
            return Some(order);
        }
    }
    // Rotating by the largest group's size carries every item out of its own group.
    order.sort_by(|&a, &b| labels[a].cmp(&labels[b]));
    let mut result = vec![0; labels.len()];
    for (place, &item) in order.iter().enumerate() {
        result[item] = order[(place + largest) % order.len()];
    }
    Some(result)
}

/// Probability, under the control, of a statistic at least as large as `observed`:
/// `(1 + #{control ≥ observed}) / (1 + #control)`, which is never 0 (Phipson & Smyth 2010).
///
/// # Errors
/// [`Undefined::Empty`] without control values, [`Undefined::NotFinite`] for NaN or infinity.
pub fn p_value(observed: f64, control: &[f64]) -> Result<f64, Undefined> {
    if control.is_empty() {
        return Err(Undefined::Empty);
    }
    if !observed.is_finite() || control.iter().any(|x| !x.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    let reached = control.iter().filter(|&&x| x >= observed).count();
    Ok((1 + reached) as f64 / (1 + control.len()) as f64)
}

/// Two-sided p-value that paired differences `a[i] − b[i]` average to zero, by flipping the
/// sign of whole clusters (prompts) `resamples` times at random.
///
/// # Errors
/// Lists of different length, fewer than two clusters, values that are not finite, or no
/// resamples.
pub fn sign_flip_test<K: Ord>(
    a: &[f64],
    b: &[f64],
    clusters: &[K],
    resamples: usize,
    seed: u64,
) -> Result<f64, Undefined> {
    let sums = cluster_sums(&paired(a, b)?, clusters)?;
    if sums.len() < 2 {
        return Err(Undefined::TooFew { needed: 2, got: sums.len() });
    }
    let observed: f64 = sums.iter().sum::<f64>().abs();
    // A flip that only reorders the sum must count as equal.
    let slack = 1e-12 * sums.iter().map(|x| x.abs()).sum::<f64>();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let control: Vec<f64> = (0..resamples)
        .map(|_| sums.iter().map(|x| if random.random() { *x } else { -x }).sum::<f64>().abs())
        .collect();
    p_value(observed - slack, &control)
}

fn group_sizes<K: Ord>(labels: &[K]) -> BTreeMap<&K, usize> {
    let mut sizes = BTreeMap::new();
    for label in labels {
        *sizes.entry(label).or_insert(0) += 1;
    }
    sizes
}
