//! How far a change spreads: where the energy of a response lies around the place that was touched.

use ndarray::ArrayView2;

use super::Undefined;

/// Radius in pixels around `centre` (row and column; pixel centres are whole numbers) that holds a
/// share of a map's energy: the distance of the pixel at which the sum over pixels, nearest first,
/// reaches it. Pixels of equal distance count together.
///
/// # Errors
/// [`Undefined::Parameter`] for a share outside (0, 1], [`Undefined::Empty`],
/// [`Undefined::Negative`], [`Undefined::NotFinite`], [`Undefined::ZeroMass`] without any energy.
pub fn radius_holding(
    energy: ArrayView2<'_, f64>,
    centre: (f64, f64),
    share: f64,
) -> Result<f64, Undefined> {
    if !(share > 0.0 && share <= 1.0) {
        let allowed = "above 0, at most 1";
        return Err(Undefined::Parameter { name: "the share", got: share, allowed });
    }
    if energy.is_empty() {
        return Err(Undefined::Empty);
    }
    if energy.iter().any(|x| !x.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    if energy.iter().any(|&x| x < 0.0) {
        return Err(Undefined::Negative);
    }
    let total: f64 = energy.sum();
    if total == 0.0 {
        return Err(Undefined::ZeroMass);
    }
    let distance =
        |(row, column): (usize, usize)| (row as f64 - centre.0).hypot(column as f64 - centre.1);
    let mut pixels: Vec<(f64, f64)> =
        energy.indexed_iter().map(|(at, &energy)| (distance(at), energy)).collect();
    pixels.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // Sums round: all of the energy must be reached at the last pixel that has some.
    let wanted = share * total * (1.0 - 1e-12);
    let mut sum = 0.0;
    for (distance, energy) in &pixels {
        sum += energy;
        if sum >= wanted {
            return Ok(*distance);
        }
    }
    Ok(pixels.last().map_or(0.0, |(distance, _)| *distance))
}
