//! Where a map puts its weight.
//!
//! Coordinates lie in `[0, 1]`: x to the right, y down, and a cell is where its centre is, so
//! the first of four columns is at x = 0.125.

use ndarray::{Array2, ArrayView2, Zip};
use ndarray_stats::EntropyExt;

use super::Undefined;

/// Values closer than this, relative to the largest, are one value: about eight units in the
/// last place of an `f32`, which is what a softmax over equal scores leaves.
const CONSTANT_RELATIVE_RANGE: f64 = 1e-6;

/// A place in a map or image, both coordinates in `[0, 1]`, x to the right, y down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Horizontal coordinate, 0 at the left edge.
    pub x: f64,
    /// Vertical coordinate, 0 at the top edge.
    pub y: f64,
}

/// The largest value of a map and where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// Centre of the cell; of several equal cells the first in row-major order.
    pub at: Point,
    /// Row of the cell.
    pub row: usize,
    /// Column of the cell.
    pub column: usize,
    /// The value there.
    pub value: f64,
}

/// What the attention table says of one map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MapSummary {
    /// Sum of the values.
    pub mass: f64,
    /// Mean of the values: comparable between resolutions, as the mass is not.
    pub mean: f64,
    /// See [`entropy`].
    pub entropy: f64,
    /// See [`centroid`].
    pub centroid: Point,
    /// See [`peak`].
    pub peak: Peak,
}

/// All summaries of a map at once.
///
/// # Errors
/// As [`entropy`]: an empty, non-finite, negative or all-zero map has none of them.
pub fn summarise(map: ArrayView2<'_, f32>) -> Result<MapSummary, Undefined> {
    let weights = shares(map)?;
    let mass = mass(map)?;
    Ok(MapSummary {
        mass,
        mean: mass / map.len() as f64,
        entropy: entropy_of_shares(&weights)?,
        centroid: centroid_of_shares(&weights),
        peak: peak(map)?,
    })
}

/// Sum of all values.
///
/// # Errors
/// [`Undefined::Empty`] and [`Undefined::NotFinite`].
pub fn mass(map: ArrayView2<'_, f32>) -> Result<f64, Undefined> {
    check_finite(map)?;
    Ok(map.iter().copied().map(f64::from).sum())
}

/// Shannon entropy of the map read as a distribution over cells, in nats:
/// 0 when one cell holds everything, ln(number of cells) when the map is flat.
///
/// # Errors
/// The map is empty, not finite, negative somewhere or zero everywhere.
pub fn entropy(map: ArrayView2<'_, f32>) -> Result<f64, Undefined> {
    entropy_of_shares(&shares(map)?)
}

/// [`entropy`] over its largest possible value, in `[0, 1]`: comparable between resolutions.
///
/// # Errors
/// As [`entropy`]; a map of one cell is [`Undefined::Constant`].
pub fn relative_entropy(map: ArrayView2<'_, f32>) -> Result<f64, Undefined> {
    if map.len() == 1 {
        return Err(Undefined::Constant);
    }
    Ok((entropy(map)? / (map.len() as f64).ln()).clamp(0.0, 1.0))
}

/// Centre of mass.
///
/// # Errors
/// As [`entropy`].
pub fn centroid(map: ArrayView2<'_, f32>) -> Result<Point, Undefined> {
    Ok(centroid_of_shares(&shares(map)?))
}

/// The cell with the largest value.
///
/// # Errors
/// [`Undefined::Empty`] and [`Undefined::NotFinite`].
pub fn peak(map: ArrayView2<'_, f32>) -> Result<Peak, Undefined> {
    check_finite(map)?;
    let mut best = (0, 0);
    let mut value = f32::NEG_INFINITY;
    for (index, &here) in map.indexed_iter() {
        if here > value {
            (best, value) = (index, here);
        }
    }
    Ok(Peak {
        at: cell_centre(best, map.dim()),
        row: best.0,
        column: best.1,
        value: f64::from(value),
    })
}

/// The map divided by its sum.
///
/// # Errors
/// As [`entropy`].
pub fn normalise_mass(map: ArrayView2<'_, f32>) -> Result<Array2<f32>, Undefined> {
    Ok(shares(map)?.mapv(|share| share as f32))
}

/// The map stretched to run from 0 to 1: `(x − min) / (max − min)`.
///
/// # Errors
/// [`Undefined::Constant`] when all values agree to rounding: stretching those would turn
/// rounding noise into a picture. For overlays draw such a map as zeros.
pub fn min_max(map: ArrayView2<'_, f32>) -> Result<Array2<f32>, Undefined> {
    check_finite(map)?;
    let (low, high) = extent(map);
    if is_constant(low, high) {
        return Err(Undefined::Constant);
    }
    Ok(map.mapv(|x| stretch(x, low, high)))
}

/// Two maps' difference after each was divided by its mass; it sums to zero.
///
/// # Errors
/// As [`entropy`], and [`Undefined::Shape`].
pub fn difference(
    map: ArrayView2<'_, f32>,
    other: ArrayView2<'_, f32>,
) -> Result<Array2<f32>, Undefined> {
    same_shape(map.dim(), other.dim())?;
    let mut result = shares(map)?;
    Zip::from(&mut result).and(&shares(other)?).for_each(|a, &b| *a -= b);
    Ok(result.mapv(|x| x as f32))
}

/// Centre of cell `(row, column)` in a map of shape `(rows, columns)`.
pub fn cell_centre((row, column): (usize, usize), (rows, columns): (usize, usize)) -> Point {
    Point {
        x: (column as f64 + 0.5) / columns.max(1) as f64,
        y: (row as f64 + 0.5) / rows.max(1) as f64,
    }
}

/// Smallest and largest value of a finite map.
pub(super) fn extent(map: ArrayView2<'_, f32>) -> (f32, f32) {
    map.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
}

/// Whether the range between a map's smallest and largest value is only rounding.
pub(super) fn is_constant(low: f32, high: f32) -> bool {
    f64::from(high) - f64::from(low)
        <= CONSTANT_RELATIVE_RANGE * f64::from(high.abs().max(low.abs()))
}

/// `x` on the scale where `low` is 0 and `high` is 1.
pub(super) fn stretch(x: f32, low: f32, high: f32) -> f32 {
    let low = f64::from(low);
    ((f64::from(x) - low) / (f64::from(high) - low)) as f32
}

pub(super) fn check_finite(map: ArrayView2<'_, f32>) -> Result<(), Undefined> {
    if map.is_empty() {
        return Err(Undefined::Empty);
    }
    if map.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(Undefined::NotFinite) }
}

pub(super) fn same_shape(expected: (usize, usize), got: (usize, usize)) -> Result<(), Undefined> {
    if expected == got { Ok(()) } else { Err(Undefined::Shape { expected, got }) }
}

/// The map as a distribution over cells, in `f64`.
pub(super) fn shares(map: ArrayView2<'_, f32>) -> Result<Array2<f64>, Undefined> {
    let total = mass(map)?;
    if map.iter().any(|&x| x < 0.0) {
        return Err(Undefined::Negative);
    }
    if total <= 0.0 {
        return Err(Undefined::ZeroMass);
    }
    Ok(map.mapv(|x| f64::from(x) / total))
}

fn entropy_of_shares(shares: &Array2<f64>) -> Result<f64, Undefined> {
    // A single full cell gives −0.0; the maximum makes it a plain zero.
    shares.entropy().map(|nats| nats.max(0.0)).map_err(|_| Undefined::Empty)
}

fn centroid_of_shares(shares: &Array2<f64>) -> Point {
    shares.indexed_iter().fold(Point { x: 0.0, y: 0.0 }, |sum, (index, &share)| {
        let at = cell_centre(index, shares.dim());
        Point { x: sum.x + share * at.x, y: sum.y + share * at.y }
    })
}
