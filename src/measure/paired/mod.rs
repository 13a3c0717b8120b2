//! The same prompts and seeds under two conditions, each outcome yes or no: has it changed?
//!
//! Images of one prompt are one cluster. Tests and intervals treat prompts, not images, as the
//! independent units: a change of the model moves all images of a prompt together.
//!
//! | question | answer |
//! |---|---|
//! | is there a difference? | [`PairedOutcomes::flip_test`]; [`PairedOutcomes::mcnemar`] for one image a prompt |
//! | how large is it? | [`PairedOutcomes::interval`] |
//! | is it smaller than what matters? | [`PairedOutcomes::is_within`] |
//! | what could have been seen? | [`PairedOutcomes::minimum_detectable`] |

mod flip;
mod interval;
mod power;

use std::collections::BTreeMap;

use statrs::distribution::{Binomial, DiscreteCDF};

use super::Undefined;

pub use interval::score_interval;
pub use power::{MinimumDetectable, minimum_detectable, pairs_needed};

/// Outcomes of pairs, summed by cluster. The order of the pairs does not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairedOutcomes {
    /// How many clusters there are of each kind: all that tests and intervals need. Far fewer
    /// than clusters, since most have one of a few kinds.
    kinds: BTreeMap<ClusterKind, u64>,
    pairs: u64,
    held_in_a: u64,
    held_in_b: u64,
    broken: u64,
    fixed: u64,
}

/// What two clusters have in common that count alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ClusterKind {
    /// Pairs fixed less pairs broken.
    net: i64,
    /// Pairs in the cluster.
    pairs: u64,
}

impl PairedOutcomes {
    /// From pairs: the cluster (prompt), and whether the outcome holds in A and in B.
    ///
    /// # Errors
    /// [`Undefined::Empty`] without pairs.
    pub fn new<K: Ord>(
        pairs: impl IntoIterator<Item = (K, bool, bool)>,
    ) -> Result<Self, Undefined> {
        let mut clusters: BTreeMap<K, ClusterKind> = BTreeMap::new();
        let mut all = Self {
            kinds: BTreeMap::new(),
            pairs: 0,
            held_in_a: 0,
            held_in_b: 0,
            broken: 0,
            fixed: 0,
        };
        for (cluster, in_a, in_b) in pairs {
            let cluster = clusters.entry(cluster).or_insert(ClusterKind { net: 0, pairs: 0 });
            cluster.net += i64::from(in_b) - i64::from(in_a);
            cluster.pairs += 1;
            all.pairs += 1;
            all.held_in_a += u64::from(in_a);
            all.held_in_b += u64::from(in_b);
            all.broken += u64::from(in_a && !in_b);
            all.fixed += u64::from(in_b && !in_a);
        }
        for kind in clusters.into_values() {
            *all.kinds.entry(kind).or_insert(0) += 1;
        }
        if all.pairs == 0 { Err(Undefined::Empty) } else { Ok(all) }
    }

    /// How many pairs.
    pub fn pairs(&self) -> u64 {
        self.pairs
    }

    /// How many clusters.
    pub fn clusters(&self) -> u64 {
        self.kinds.values().sum()
    }

    /// Pairs that hold in A and not in B.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Pairs that hold in B and not in A.
    pub fn fixed(&self) -> u64 {
        self.fixed
    }

    /// Share of pairs that hold in A.
    pub fn share_a(&self) -> f64 {
        self.held_in_a as f64 / self.pairs as f64
    }

    /// Share of pairs that hold in B.
    pub fn share_b(&self) -> f64 {
        self.held_in_b as f64 / self.pairs as f64
    }

    /// Share in B less share in A, in `[-1, 1]`.
    pub fn difference(&self) -> f64 {
        (self.fixed as f64 - self.broken as f64) / self.pairs as f64
    }

    /// Share of pairs that changed, either way.
    pub fn discordance(&self) -> f64 {
        (self.fixed + self.broken) as f64 / self.pairs as f64
    }

    /// Two-sided exact p-value of McNemar's test: of the pairs that changed, how unlikely is a
    /// split as uneven as this if either way is as likely (binomial, ½). 1 where none changed.
    ///
    /// Exact for one pair a cluster; several make it reject too often.
    pub fn mcnemar(&self) -> f64 {
        exact_mcnemar(self.broken, self.fixed)
    }

    /// Variance of the difference, with clusters as the independent units: the sandwich
    /// estimator of a mean with the factor K / (K − 1) for K clusters. `None` for one cluster.
    pub fn clustered_variance(&self) -> Option<f64> {
        let clusters = self.clusters() as f64;
        if clusters < 2.0 {
            return None;
        }
        let mean = self.difference();
        let squares: f64 = self
            .kinds
            .iter()
            .map(|(kind, count)| {
                *count as f64 * (kind.net as f64 - kind.pairs as f64 * mean).powi(2)
            })
            .sum();
        Some(squares * clusters / (clusters - 1.0) / (self.pairs as f64).powi(2))
    }

    /// How many pairs an independent pair is worth (Kish's design effect), at least 1: the
    /// clustered variance over that of independent pairs. Where nothing changed, or one cluster
    /// is all there is, nothing can be said of it, and a cluster counts as one pair.
    pub fn design_effect(&self) -> f64 {
        let pairs = self.pairs as f64;
        let worst = pairs / self.clusters() as f64;
        let independent = (self.discordance() - self.difference().powi(2)) / pairs;
        match self.clustered_variance() {
            Some(clustered) if independent > 0.0 => (clustered / independent).max(1.0),
            _ => worst,
        }
    }

    /// How alike the changes of one cluster's pairs are: the intraclass correlation by one-way
    /// analysis of variance, ICC(1,1) of Shrout & Fleiss (1979), with the mean size of clusters
    /// adjusted for unequal ones (Donner 1986). `None` where every cluster has one pair or nothing
    /// changed.
    pub fn intraclass_correlation(&self) -> Option<f64> {
        let (pairs, clusters) = (self.pairs as f64, self.clusters() as f64);
        if clusters < 2.0 || pairs <= clusters {
            return None;
        }
        let over = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
            let kinds = self.kinds.iter();
            kinds.map(|(kind, n)| *n as f64 * term(kind.net as f64, kind.pairs as f64)).sum()
        };
        let mean = self.difference();
        let between = over(&|net, size| size * (net / size - mean).powi(2)) / (clusters - 1.0);
        // A change is 1 or −1, so its square is 1.
        let changed = (self.broken + self.fixed) as f64;
        let within = (changed - over(&|net, size| net * net / size)) / (pairs - clusters);
        let size = (pairs - over(&|_, size| size * size) / pairs) / (clusters - 1.0);
        let all = between + (size - 1.0) * within;
        (all > 0.0).then(|| (between - within) / all)
    }

    /// How many independent pairs the pairs are worth, at least 1.
    pub fn effective_pairs(&self) -> f64 {
        (self.pairs as f64 / self.design_effect()).max(1.0)
    }
}

/// Two-sided exact p-value of McNemar's test from the pairs that changed one way and the other.
pub fn exact_mcnemar(broken: u64, fixed: u64) -> f64 {
    match Binomial::new(0.5, broken + fixed) {
        Ok(binomial) => (2.0 * binomial.cdf(broken.min(fixed))).min(1.0),
        // ½ is a probability.
        Err(_) => 1.0,
    }
}
