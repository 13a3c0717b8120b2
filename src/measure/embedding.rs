//! Vectors of an embedding space: how alike they are, which is nearest, and how much of them the
//! sum of some features explains.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use super::Undefined;
use super::linear::{Folds, Ridge};

/// The same vectors, one a row, each of length 1.
///
/// # Errors
/// [`Undefined::Empty`], [`Undefined::NotFinite`], and [`Undefined::ZeroMass`] for a vector of
/// zeros, which has no direction.
pub fn unit_rows(vectors: ArrayView2<'_, f32>) -> Result<Array2<f64>, Undefined> {
    if vectors.is_empty() {
        return Err(Undefined::Empty);
    }
    if vectors.iter().any(|x| !x.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    let mut vectors = vectors.mapv(f64::from);
    for mut row in vectors.rows_mut() {
        let norm = row.dot(&row).sqrt();
        if norm <= 0.0 {
            return Err(Undefined::ZeroMass);
        }
        row /= norm;
    }
    Ok(vectors)
}

/// Cosine of the angle between two vectors, in [−1, 1]; NaN if one of them is zero.
pub fn cosine(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    (a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt()).clamp(-1.0, 1.0)
}

/// Probability that the item at `own` is among the first `count` when items are sorted by falling
/// score and equal ones by chance. Without ties it is 0 or 1.
pub fn among_first(scores: ArrayView1<'_, f64>, own: usize, count: usize) -> f64 {
    let Some(&of_own) = scores.get(own) else { return 0.0 };
    let above = scores.iter().filter(|&&score| score > of_own).count();
    let equal = scores.iter().filter(|&&score| score == of_own).count().max(1);
    ((count as f64 - above as f64) / equal as f64).clamp(0.0, 1.0)
}

/// The number of the largest score that is not in `without`, the first of equals.
pub fn nearest(scores: ArrayView1<'_, f64>, without: &[usize]) -> Option<usize> {
    let allowed = scores.iter().enumerate().filter(|(i, _)| !without.contains(i));
    let better = |best: Option<(usize, f64)>, (i, &score): (usize, &f64)| match best {
        Some((_, most)) if score <= most => best,
        _ => Some((i, score)),
    };
    allowed.fold(None, better).map(|(i, _)| i)
}

/// How well the sum of features predicts vectors that it was not fitted to, by ridge regression:
/// for each row 1 − ‖v − v̂‖² over the mean of ‖v − v̄‖². Their mean is R² over all components
/// together, at most 1, and below 0 where the mean vector predicts better.
///
/// # Errors
/// As [`Ridge::held_out`]; [`Undefined::Constant`] for vectors that are all the same.
pub fn held_out_explained(
    features: ArrayView2<'_, f64>,
    vectors: ArrayView2<'_, f64>,
    (ridge, folds): (Ridge, &Folds),
) -> Result<Vec<f64>, Undefined> {
    let predicted = ridge.held_out(features, vectors, folds)?;
    let mean = vectors.mean_axis(Axis(0)).ok_or(Undefined::Empty)?;
    let squares = |difference: Array2<f64>| difference.mapv(|x| x * x).sum_axis(Axis(1));
    let spread = squares(&vectors - &mean).mean().unwrap_or(0.0);
    if spread <= f64::EPSILON * mean.dot(&mean) {
        return Err(Undefined::Constant);
    }
    Ok(squares(&vectors - &predicted).iter().map(|error| 1.0 - error / spread).collect())
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::{among_first, cosine, nearest, unit_rows};
    use crate::measure::Undefined;

    #[test]
    fn rows_get_length_one_or_say_why_not() {
        let unit = unit_rows(array![[3.0, 4.0], [0.0, -2.0]].view()).unwrap();
        assert!((&unit - &array![[0.6, 0.8], [0.0, -1.0]]).iter().all(|x| x.abs() < 1e-12));
        assert_eq!(unit_rows(array![[0.0, 0.0]].view()), Err(Undefined::ZeroMass));
        assert_eq!(unit_rows(array![[f32::NAN, 0.0]].view()), Err(Undefined::NotFinite));
    }

    #[test]
    fn cosines_are_those_of_the_angle() {
        let at = |degrees: f64| array![degrees.to_radians().cos(), degrees.to_radians().sin()];
        assert!((cosine(at(10.0).view(), at(70.0).view()) - 0.5).abs() < 1e-12);
        assert!((cosine(at(10.0).view(), (at(190.0) * 7.0).view()) + 1.0).abs() < 1e-12);
    }

    #[test]
    fn ties_share_the_places_they_take() {
        let scores = array![0.9, 0.5, 0.5, 0.5, 0.1];
        assert_eq!(among_first(scores.view(), 0, 1), 1.0);
        assert_eq!(among_first(scores.view(), 1, 1), 0.0);
        // Two of the first three places are for the three alike.
        assert!((among_first(scores.view(), 2, 3) - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(among_first(scores.view(), 4, 5), 1.0);
    }

    #[test]
    fn the_nearest_leaves_out_what_it_should() {
        let scores = array![0.2, 0.9, 0.5];
        assert_eq!(nearest(scores.view(), &[]), Some(1));
        assert_eq!(nearest(scores.view(), &[1]), Some(2));
        assert_eq!(nearest(scores.view(), &[0, 1, 2]), None);
    }
}
