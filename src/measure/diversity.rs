//! How different the images of one prompt are from each other, in the features of some encoder: one
//! row an image.

use linfa_linalg::eigh::EigValsh;
use ndarray::{Array2, ArrayView2, Axis};

use super::Undefined;

/// Vendi score over the number of images, in (0, 1] (Friedman & Dieng 2023, definition 2):
/// exp(−Σ λ log λ) / n with the eigenvalues λ of K/n, where K holds the cosines of the features.
/// 1/n for n copies of one image, 1 for images that have nothing in common.
///
/// # Errors
/// Fewer than two rows, a row of zeros, numbers that are not finite.
pub fn vendi_share(features: ArrayView2<'_, f32>) -> Result<f64, Undefined> {
    let cosines = cosines(features)?;
    let n = cosines.nrows() as f64;
    let values = (cosines / n).eigvalsh().map_err(|_| Undefined::NoEigenvalues)?;
    // An eigenvalue of zero adds nothing; rounding may leave it a little below.
    let entropy: f64 = values.iter().filter(|&&x| x > 0.0).map(|&x| -x * x.ln()).sum();
    Ok(entropy.exp() / n)
}

/// Mean of 1 − cosine over all pairs of rows, in [0, 2]: 0 for copies of one image.
///
/// # Errors
/// As [`vendi_share`].
pub fn mean_pairwise_distance(features: ArrayView2<'_, f32>) -> Result<f64, Undefined> {
    let cosines = cosines(features)?;
    let n = cosines.nrows() as f64;
    let others = cosines.sum() - cosines.diag().sum();
    // Rounding may lead a little below 0.
    Ok((1.0 - others / (n * (n - 1.0))).max(0.0))
}

/// The cosine of each pair of rows.
fn cosines(features: ArrayView2<'_, f32>) -> Result<Array2<f64>, Undefined> {
    let n = features.nrows();
    if n < 2 {
        return Err(Undefined::TooFew { needed: 2, got: n });
    }
    let x = features.mapv(f64::from);
    if x.iter().any(|value| !value.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    let norms = x.map_axis(Axis(1), |row| row.dot(&row).sqrt());
    if norms.iter().any(|&norm| norm == 0.0) {
        return Err(Undefined::ZeroMass);
    }
    let unit = &x / &norms.insert_axis(Axis(1));
    Ok(unit.dot(&unit.t()))
}
