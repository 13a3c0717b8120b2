//! Maps at another resolution.
//!
//! [`bilinear`] and [`bicubic`] follow PyTorch's `interpolate` with `align_corners=False` and
//! no antialiasing: output cell i is centred on input coordinate `(i + ½)·in/out − ½`, and
//! reads beyond the border repeat the border. Both work on one axis after the other, since the
//! two-dimensional kernel is the product of the one-dimensional ones.

use ndarray::{Array2, ArrayView2, Axis};

use super::Undefined;

/// Parameter a of the cubic convolution kernel (Keys 1981); PyTorch uses −0.75.
const CUBIC_A: f64 = -0.75;

/// One output cell of one axis: which input cells it reads and with what weights.
struct Stencil<const TAPS: usize> {
    cells: [usize; TAPS],
    weights: [f64; TAPS],
}

/// The map at `(rows, columns)` by linear interpolation on each axis.
///
/// # Errors
/// [`Undefined::Empty`] when the map or the wanted shape has no cells.
pub fn bilinear(map: ArrayView2<'_, f32>, shape: (usize, usize)) -> Result<Array2<f32>, Undefined> {
    separable(map, shape, linear_stencil)
}

/// The map at `(rows, columns)` by cubic convolution on each axis with a = −0.75.
///
/// The kernel has negative lobes, so a map of weights can come out slightly below zero: DAAM
/// clamps at zero afterwards ([`super::daam`] does).
///
/// # Errors
/// [`Undefined::Empty`] when the map or the wanted shape has no cells.
pub fn bicubic(map: ArrayView2<'_, f32>, shape: (usize, usize)) -> Result<Array2<f32>, Undefined> {
    separable(map, shape, cubic_stencil)
}

/// Share of each coarse cell that a fine mask covers, in `[0, 1]`, at `(rows, columns)`.
///
/// Cells that a coarse border cuts count by the part inside, so any ratio of sizes works and
/// the mean over the image is kept.
///
/// # Errors
/// [`Undefined::Empty`] when the mask or the wanted shape has no cells.
pub fn coverage(
    mask: ArrayView2<'_, bool>,
    shape: (usize, usize),
) -> Result<Array2<f32>, Undefined> {
    if mask.is_empty() || shape.0 == 0 || shape.1 == 0 {
        return Err(Undefined::Empty);
    }
    let fine = mask.mapv(|inside| if inside { 1.0 } else { 0.0 });
    let by_rows = area_average(fine.view(), shape.0);
    let by_columns = area_average(by_rows.t(), shape.1);
    Ok(by_columns.t().mapv(|share| share as f32))
}

/// A mask at a coarser (or finer) resolution: the cells that the mask covers by at least half.
///
/// # Errors
/// As [`coverage`].
pub fn region(
    mask: ArrayView2<'_, bool>,
    shape: (usize, usize),
) -> Result<Array2<bool>, Undefined> {
    // Rounding in the sums may leave an exact half a little below it.
    const HALF: f32 = 0.5 - 1e-6;
    Ok(coverage(mask, shape)?.mapv(|share| share >= HALF))
}

fn separable<const TAPS: usize>(
    map: ArrayView2<'_, f32>,
    (rows, columns): (usize, usize),
    stencil: fn(usize, usize, usize) -> Stencil<TAPS>,
) -> Result<Array2<f32>, Undefined> {
    let (in_rows, in_columns) = map.dim();
    if map.is_empty() || rows == 0 || columns == 0 {
        return Err(Undefined::Empty);
    }
    let across: Vec<_> = (0..columns).map(|i| stencil(i, in_columns, columns)).collect();
    let down: Vec<_> = (0..rows).map(|i| stencil(i, in_rows, rows)).collect();
    let wide = Array2::from_shape_fn((in_rows, columns), |(row, column)| {
        let Stencil { cells, weights } = &across[column];
        cells.iter().zip(weights).map(|(&cell, w)| w * f64::from(map[(row, cell)])).sum::<f64>()
    });
    Ok(Array2::from_shape_fn((rows, columns), |(row, column)| {
        let Stencil { cells, weights } = &down[row];
        cells.iter().zip(weights).map(|(&cell, w)| w * wide[(cell, column)]).sum::<f64>() as f32
    }))
}

/// Input coordinate of the centre of output cell `index`.
fn source(index: usize, input: usize, output: usize) -> f64 {
    (index as f64 + 0.5) * input as f64 / output as f64 - 0.5
}

fn linear_stencil(index: usize, input: usize, output: usize) -> Stencil<2> {
    let at = source(index, input, output).max(0.0);
    let first = (at.floor() as usize).min(input - 1);
    let t = at - first as f64;
    Stencil { cells: [first, (first + 1).min(input - 1)], weights: [1.0 - t, t] }
}

fn cubic_stencil(index: usize, input: usize, output: usize) -> Stencil<4> {
    let at = source(index, input, output);
    let (floor, t) = (at.floor(), at - at.floor());
    let last = input as isize - 1;
    let cells = [-1, 0, 1, 2].map(|tap| (floor as isize + tap).clamp(0, last) as usize);
    Stencil { cells, weights: [1.0 + t, t, 1.0 - t, 2.0 - t].map(cubic_kernel) }
}

/// Keys' kernel at distance `d ≥ 0` cells.
fn cubic_kernel(d: f64) -> f64 {
    let a = CUBIC_A;
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}

/// Averages rows so that `output` rows remain; a row cut by a border counts in part on both sides.
fn area_average(map: ArrayView2<'_, f64>, output: usize) -> Array2<f64> {
    let (input, columns) = map.dim();
    let step = input as f64 / output as f64;
    let mut result = Array2::zeros((output, columns));
    for (i, mut row) in result.axis_iter_mut(Axis(0)).enumerate() {
        let (low, high) = (i as f64 * step, (i + 1) as f64 * step);
        for source in (low.floor() as usize)..(high.ceil() as usize).min(input) {
            let overlap = high.min(source as f64 + 1.0) - low.max(source as f64);
            if overlap > 0.0 {
                row.scaled_add(overlap / step, &map.row(source));
            }
        }
    }
    result
}
