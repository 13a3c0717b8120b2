//! How far two images are apart.

use ndarray::{ArrayView, Dimension, Zip};

use super::Undefined;

/// Mean of the squared differences, over all pixels and channels.
///
/// # Errors
/// [`Undefined::Length`] when the shapes differ, [`Undefined::Empty`], [`Undefined::NotFinite`].
pub fn mean_squared_error<D: Dimension>(
    a: ArrayView<'_, f32, D>,
    b: ArrayView<'_, f32, D>,
) -> Result<f64, Undefined> {
    if a.shape() != b.shape() {
        return Err(Undefined::Length { expected: a.len(), got: b.len() });
    }
    if a.is_empty() {
        return Err(Undefined::Empty);
    }
    let count = a.len() as f64;
    let sum =
        Zip::from(a).and(b).fold(0.0, |sum, &a, &b| sum + (f64::from(a) - f64::from(b)).powi(2));
    if sum.is_finite() { Ok(sum / count) } else { Err(Undefined::NotFinite) }
}

/// Peak signal-to-noise ratio in decibel, `10·log10(range² / MSE)`; `range` is the distance
/// from black to white: 1 for images in `[0, 1]`, 2 for `[−1, 1]`, 255 for bytes.
///
/// Averages over several images are taken over their ratios in decibel, not over their errors.
///
/// # Errors
/// [`Undefined::Identical`] when the images agree, [`Undefined::Parameter`] when the range is
/// not above zero, and as [`mean_squared_error`].
pub fn psnr<D: Dimension>(
    a: ArrayView<'_, f32, D>,
    b: ArrayView<'_, f32, D>,
    range: f64,
) -> Result<f64, Undefined> {
    if !(range.is_finite() && range > 0.0) {
        return Err(Undefined::Parameter { name: "the range", got: range, allowed: "above 0" });
    }
    let error = mean_squared_error(a, b)?;
    if error == 0.0 {
        Err(Undefined::Identical)
    } else {
        Ok(10.0 * (range * range / error).log10())
    }
}
