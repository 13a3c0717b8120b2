//! P-values of several tests at once.

/// Holm's adjusted p-values, in the order given: reject where one is at most the level, and
/// the chance of any false rejection is at most that level, however the tests depend on one
/// another (Holm 1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let tests = p.len();
    let mut largest: f64 = 0.0;
    let mut adjusted = vec![0.0; tests];
    for (rank, test) in ascending(p).into_iter().enumerate() {
        largest = largest.max(p[test] * (tests - rank) as f64).min(1.0);
        adjusted[test] = largest;
    }
    adjusted
}

/// Adjusted p-values of Benjamini and Hochberg (1995), in the order given: of those at most the
/// level, the expected share of false ones is at most that level for independent tests. For
/// exploring, not for a gate.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let tests = p.len();
    let mut smallest: f64 = 1.0;
    let mut adjusted = vec![0.0; tests];
    for (rank, test) in ascending(p).into_iter().enumerate().rev() {
        smallest = smallest.min(p[test] * tests as f64 / (rank + 1) as f64);
        adjusted[test] = smallest;
    }
    adjusted
}

/// Indices by ascending p-value.
fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}
