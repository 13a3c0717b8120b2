//! A map blurred.

use ndarray::{Array2, ArrayView2, Axis};

use super::Undefined;

/// Standard deviations of the Gaussian that are kept on each side, as SciPy keeps them.
const REACH: f64 = 4.0;

/// A map convolved with a Gaussian of standard deviation `sigma` in cells; what lies beyond the edge
/// is as the edge. Weights are sampled at whole cells and sum to one. 0 changes nothing.
///
/// # Errors
/// [`Undefined::Parameter`] for a sigma below 0 or not finite, [`Undefined::Empty`].
pub fn gaussian(map: ArrayView2<'_, f32>, sigma: f64) -> Result<Array2<f32>, Undefined> {
    if !(sigma.is_finite() && sigma >= 0.0) {
        return Err(Undefined::Parameter { name: "sigma", got: sigma, allowed: "0 or above" });
    }
    if map.is_empty() {
        return Err(Undefined::Empty);
    }
    if sigma == 0.0 {
        return Ok(map.to_owned());
    }
    let reach = (REACH * sigma + 0.5) as isize;
    let weights: Vec<f64> =
        (-reach..=reach).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let mut blurred = map.mapv(f64::from);
    for axis in [Axis(0), Axis(1)] {
        for mut lane in blurred.lanes_mut(axis) {
            let old = lane.to_vec();
            let last = old.len() as isize - 1;
            for (at, value) in lane.iter_mut().enumerate() {
                let around = (-reach..=reach).zip(&weights).map(|(offset, weight)| {
                    old[(at as isize + offset).clamp(0, last) as usize] * weight
                });
                *value = around.sum::<f64>() / sum;
            }
        }
    }
    Ok(blurred.mapv(|value| value as f32))
}
