//! From when an answer never changes again.

use std::collections::BTreeMap;

use super::bootstrap::{Bootstrap, quantile};
use super::interval::check_values;
use super::{Estimate, Undefined};

/// The first step of the last unbroken stretch in which the answer is that of the end; `agrees`
/// says of each step, in order, whether it is. None if it is not even at the last step.
pub fn committed_from(agrees: &[bool]) -> Option<usize> {
    let stretch = agrees.iter().rev().take_while(|&&agrees| agrees).count();
    (stretch > 0).then(|| agrees.len() - stretch)
}

/// The median with an interval by resampling whole clusters (prompts), whose images resemble each
/// other. The estimate's `n` is the number of clusters.
///
/// # Errors
/// Lists of different lengths, values that are not finite, or fewer than two clusters.
pub fn median<K: Ord>(
    values: &[f64],
    clusters: &[K],
    bootstrap: &Bootstrap,
) -> Result<Estimate, Undefined> {
    check_values(values, 1)?;
    if values.len() != clusters.len() {
        return Err(Undefined::Length { expected: values.len(), got: clusters.len() });
    }
    let of_clusters = by_cluster(values, clusters);
    bootstrap.statistic(of_clusters.len(), |drawn| {
        let mut all: Vec<f64> =
            drawn.iter().flat_map(|&i| of_clusters[i].iter().copied()).collect();
        all.sort_unstable_by(f64::total_cmp);
        quantile(&all, 0.5)
    })
}

/// Values of each cluster, in the order of the clusters' names.
pub(super) fn by_cluster<T: Copy, K: Ord>(values: &[T], clusters: &[K]) -> Vec<Vec<T>> {
    let mut of_clusters: BTreeMap<&K, Vec<T>> = BTreeMap::new();
    for (value, cluster) in values.iter().zip(clusters) {
        of_clusters.entry(cluster).or_default().push(*value);
    }
    of_clusters.into_values().collect()
}
