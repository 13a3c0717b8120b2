//! Attention of many steps, layers and heads as one map per token, the way DAAM does it
//! (Tang et al. 2023, *What the DAAM: Interpreting Stable Diffusion Using Cross Attention*).
//!
//! For token k: `D_k = mean over (layer, head) of max(0, bicubic(Σ_t A[t, layer, head, k]))`.
//!
//! 1. [`HeadMaps::add`] sums maps over steps, one array per layer: memory does not grow with
//!    the number of steps.
//! 2. [`aggregate`] brings every layer to one resolution and averages layers and heads.
//! 3. [`share_among_tokens`] (optional) divides by the sum over tokens; [`word_map`] averages
//!    the rows of a word's pieces and occurrences.
//!
//! The sum over steps grows with their number, so [`HeadMaps::mean_over_steps`] is what maps of
//! different runs are compared with; thresholds are applied to min–max stretched maps only.

use std::ops::Range;

use ndarray::{Array2, Array3, Array4, ArrayView2, ArrayView4, Axis, Zip};
use rayon::prelude::*;

use super::{Undefined, resize};

/// Added to the divisor of [`share_among_tokens`], as DAAM does.
const SHARE_EPSILON: f32 = 1e-6;

/// Running sum over steps of one layer's cross-attention probabilities.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadMaps {
    sum: Array4<f32>,
    steps: usize,
}

impl HeadMaps {
    /// Nothing recorded yet, for `heads` heads, `tokens` tokens and maps of `(rows, columns)`.
    pub fn new(heads: usize, tokens: usize, (rows, columns): (usize, usize)) -> Self {
        Self { sum: Array4::zeros((heads, tokens, rows, columns)), steps: 0 }
    }

    /// Adds one step: probabilities as `[heads, tokens, rows, columns]`.
    ///
    /// # Errors
    /// [`Undefined::Shape`] when the maps have another resolution, [`Undefined::Length`] when
    /// heads or tokens differ, [`Undefined::NotFinite`] when a probability is NaN or infinite.
    pub fn add(&mut self, step: ArrayView4<'_, f32>) -> Result<(), Undefined> {
        let (heads, tokens, rows, columns) = self.sum.dim();
        let (new_heads, new_tokens, new_rows, new_columns) = step.dim();
        super::map::same_shape((rows, columns), (new_rows, new_columns))?;
        for (expected, got) in [(heads, new_heads), (tokens, new_tokens)] {
            if expected != got {
                return Err(Undefined::Length { expected, got });
            }
        }
        if !step.iter().all(|x| x.is_finite()) {
            return Err(Undefined::NotFinite);
        }
        self.sum += &step;
        self.steps += 1;
        Ok(())
    }

    /// How many steps were added.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Sum over steps, `[heads, tokens, rows, columns]`.
    pub fn sum(&self) -> ArrayView4<'_, f32> {
        self.sum.view()
    }

    /// Mean over steps, `[heads, tokens, rows, columns]`: the sum over its number of steps.
    ///
    /// # Errors
    /// [`Undefined::Empty`] when no step was added.
    pub fn mean_over_steps(&self) -> Result<Array4<f32>, Undefined> {
        if self.steps == 0 {
            return Err(Undefined::Empty);
        }
        Ok(&self.sum / self.steps as f32)
    }
}

/// Mean over all layers and heads of the maps brought to `shape` and clamped at zero.
///
/// `layers` are `[heads, tokens, rows, columns]`; heads count alike, so a layer with more heads
/// weighs more. Returns `[tokens, shape.0, shape.1]`.
///
/// # Errors
/// [`Undefined::Empty`] without layers, heads or cells; [`Undefined::Length`] when layers
/// disagree about the number of tokens.
pub fn aggregate(
    layers: &[ArrayView4<'_, f32>],
    shape: (usize, usize),
) -> Result<Array3<f32>, Undefined> {
    let heads: usize = layers.iter().map(|layer| layer.dim().0).sum();
    let tokens = layers.first().map_or(0, |layer| layer.dim().1);
    if heads == 0 || tokens == 0 {
        return Err(Undefined::Empty);
    }
    if let Some(odd) = layers.iter().find(|layer| layer.dim().1 != tokens) {
        return Err(Undefined::Length { expected: tokens, got: odd.dim().1 });
    }
    let maps = (0..tokens)
        .into_par_iter()
        .map(|token| aggregate_token(layers, token, heads, shape))
        .collect::<Result<Vec<_>, _>>()?;
    let mut result = Array3::zeros((tokens, shape.0, shape.1));
    for (mut row, map) in result.axis_iter_mut(Axis(0)).zip(&maps) {
        row.assign(map);
    }
    Ok(result)
}

fn aggregate_token(
    layers: &[ArrayView4<'_, f32>],
    token: usize,
    heads: usize,
    shape: (usize, usize),
) -> Result<Array2<f32>, Undefined> {
    let mut sum = Array2::<f32>::zeros(shape);
    for layer in layers {
        for map in layer.index_axis(Axis(1), token).outer_iter() {
            sum += &clamped_bicubic(map, shape)?;
        }
    }
    Ok(sum / heads as f32)
}

/// A map at `shape` by [`resize::bicubic`], with what falls below zero set to zero.
///
/// # Errors
/// [`Undefined::Empty`] when the map or the wanted shape has no cells.
pub fn clamped_bicubic(
    map: ArrayView2<'_, f32>,
    shape: (usize, usize),
) -> Result<Array2<f32>, Undefined> {
    Ok(resize::bicubic(map, shape)?.mapv_into(|x| x.max(0.0)))
}

/// Every token's map divided, cell by cell, by the sum of the maps of `content` (plus 1e-6).
///
/// `content` are the rows that count as prompt: without the start and end token, which take
/// most of the attention and would hide the rest.
///
/// # Errors
/// [`Undefined::Length`] when `content` reaches beyond the rows, [`Undefined::Empty`] when it
/// names none.
pub fn share_among_tokens(
    maps: &Array3<f32>,
    content: Range<usize>,
) -> Result<Array3<f32>, Undefined> {
    if content.is_empty() {
        return Err(Undefined::Empty);
    }
    if content.end > maps.dim().0 {
        return Err(Undefined::Length { expected: maps.dim().0, got: content.end });
    }
    let total = maps.slice(ndarray::s![content, .., ..]).sum_axis(Axis(0)) + SHARE_EPSILON;
    let mut result = maps.clone();
    for mut map in result.outer_iter_mut() {
        Zip::from(&mut map).and(&total).for_each(|x, &t| *x /= t);
    }
    Ok(result)
}

/// A word's map: the mean over the rows of all its pieces in all its occurrences.
///
/// `positions` are token positions in the encoded prompt (the start token is 0).
///
/// # Errors
/// [`Undefined::Empty`] without positions, [`Undefined::Length`] when one is not a row.
pub fn word_map(maps: &Array3<f32>, positions: &[usize]) -> Result<Array2<f32>, Undefined> {
    let rows = maps.dim().0;
    if let Some(&got) = positions.iter().find(|&&position| position >= rows) {
        return Err(Undefined::Length { expected: rows, got });
    }
    maps.select(Axis(0), positions).mean_axis(Axis(0)).ok_or(Undefined::Empty)
}
