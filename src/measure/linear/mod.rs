//! Linear probes: what a ridge or logistic regression reads out of numbers such as activations,
//! on rows that it has not seen, beside the same regression on shuffled labels.
//!
//! | module | answers |
//! |---|---|
//! | [`folds`] | which rows are held out together: those of one scene never lie on both sides |
//! | [`ridge`] | numbers, or classes by their indicators, in closed form |
//! | [`logistic`] | classes with probabilities |
//! | [`selectivity`] | how much better than on shuffled labels (Hewitt & Liang 2019) |
//!
//! Rows of a matrix are examples, columns are features; classes are numbered from 0. Before a
//! regression the features are standardised with the mean and deviation of the training rows, so
//! that one penalty fits sites of any scale.

pub mod folds;
pub mod logistic;
pub mod ridge;
pub mod selectivity;

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::Undefined;

pub use folds::Folds;
pub use logistic::{Logistic, LogisticFit};
pub use ridge::{Ridge, RidgeFit, Sums};
pub use selectivity::{Selectivity, shuffled};

/// Mean and standard deviation (over n) of each feature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    pub mean: Array1<f64>,
    /// 1 for features that do not vary, which no penalised weight uses.
    pub deviation: Array1<f64>,
}

impl Scale {
    pub fn of(x: ArrayView2<'_, f64>) -> Result<Self, Undefined> {
        let mean = x.mean_axis(Axis(0)).ok_or(Undefined::Empty)?;
        let deviation = x.std_axis(Axis(0), 0.0).mapv(unless_zero);
        Ok(Self { mean, deviation })
    }

    pub fn apply(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        (&x - &self.mean) / &self.deviation
    }
}

/// A deviation to divide by.
fn unless_zero(deviation: f64) -> f64 {
    if deviation > 0.0 { deviation } else { 1.0 }
}

/// At least two rows, all numbers finite, and as many rows of `other` as of `x`.
fn check(x: ArrayView2<'_, f64>, rows: usize) -> Result<(), Undefined> {
    if x.is_empty() {
        return Err(Undefined::Empty);
    }
    if x.nrows() != rows {
        return Err(Undefined::Length { expected: x.nrows(), got: rows });
    }
    if x.nrows() < 2 {
        return Err(Undefined::TooFew { needed: 2, got: x.nrows() });
    }
    if x.iter().all(|v| v.is_finite()) { Ok(()) } else { Err(Undefined::NotFinite) }
}

/// The number of the largest value in each row, the first of equals: the class that a probe
/// names.
pub fn largest(scores: ArrayView2<'_, f64>) -> Vec<usize> {
    let of_row = |row: ndarray::ArrayView1<'_, f64>| {
        let better =
            |best: (usize, f64), (i, &v): (usize, &f64)| if v > best.1 { (i, v) } else { best };
        row.iter().enumerate().fold((0, f64::NEG_INFINITY), better).0
    };
    scores.rows().into_iter().map(of_row).collect()
}

/// One column a class: 1 where a row has it, else 0.
///
/// # Errors
/// [`Undefined::OneClass`] if there are fewer than two classes among the labels.
pub fn indicators(labels: &[usize]) -> Result<Array2<f64>, Undefined> {
    let classes = labels.iter().max().map_or(0, |&most| most + 1);
    check_classes(labels)?;
    let value = |(row, class): (usize, usize)| f64::from(u8::from(labels[row] == class));
    Ok(Array2::from_shape_fn((labels.len(), classes), value))
}

/// At least two classes.
fn check_classes(labels: &[usize]) -> Result<(), Undefined> {
    match labels.first() {
        None => Err(Undefined::Empty),
        Some(first) if labels.iter().all(|label| label == first) => Err(Undefined::OneClass),
        Some(_) => Ok(()),
    }
}
