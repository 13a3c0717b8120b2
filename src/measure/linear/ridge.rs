//! Ridge regression (Hoerl & Kennard 1970) of any number of targets at once.

use linfa_linalg::LinalgError;
use linfa_linalg::cholesky::CholeskyInplace;
use linfa_linalg::triangular::{SolveTriangularInplace, UPLO};
use ndarray::{Array1, Array2, ArrayView2, Axis, s};

use super::{Folds, check, unless_zero};
use crate::measure::Undefined;

/// Minimises ‖y − x w − b‖² + α‖w‖² for each target y; the intercept b is not penalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ridge {
    /// α, above 0.
    pub penalty: f64,
}

/// Weights and intercepts.
#[derive(Clone, Debug, PartialEq)]
pub struct RidgeFit {
    /// [features, targets].
    pub weights: Array2<f64>,
    /// One a target.
    pub intercepts: Array1<f64>,
}

impl RidgeFit {
    /// Predictions [rows, targets].
    pub fn predict(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        x.dot(&self.weights) + &self.intercepts
    }
}

impl Ridge {
    /// Fits features [rows, features] to targets [rows, targets], as they are.
    ///
    /// # Errors
    /// Fewer than two rows, lists of different lengths, numbers that are not finite, or a penalty
    /// that is not above 0.
    pub fn fit(
        &self,
        x: ArrayView2<'_, f64>,
        y: ArrayView2<'_, f64>,
    ) -> Result<RidgeFit, Undefined> {
        self.check(x, y)?;
        self.solve(&Sums::of(x, y), |_| 1.0)
    }

    /// Fits rows of which the sums alone are known, with standardised features.
    ///
    /// # Errors
    /// [`Undefined::NotSolved`] for sums that are not finite.
    pub fn of_sums(&self, sums: &Sums) -> Result<RidgeFit, Undefined> {
        self.solve(sums, f64::sqrt)
    }

    /// Predictions [rows, targets] of each row by the regression on the other folds, with features
    /// standardised by those. The products of features are summed once a fold and not once for
    /// each of the others, so that more folds and more targets cost little.
    ///
    /// # Errors
    /// As [`Ridge::fit`]; folds of another number of rows.
    pub fn held_out(
        &self,
        x: ArrayView2<'_, f64>,
        y: ArrayView2<'_, f64>,
        folds: &Folds,
    ) -> Result<Array2<f64>, Undefined> {
        self.check(x, y)?;
        if folds.rows() != x.nrows() {
            return Err(Undefined::Length { expected: x.nrows(), got: folds.rows() });
        }
        // Differences from the mean keep the digits that subtracting sums would lose.
        let mean = x.mean_axis(Axis(0)).ok_or(Undefined::Empty)?;
        let x = &x - &mean;
        let rows: Vec<Vec<usize>> = (0..folds.count()).map(|fold| folds.held_out(fold)).collect();
        let of_fold = |rows: &Vec<usize>| {
            Sums::of(x.select(Axis(0), rows).view(), y.select(Axis(0), rows).view())
        };
        let sums: Vec<Sums> = rows.iter().map(of_fold).collect();
        let all = sums[1..].iter().fold(sums[0].clone(), |all, more| all.joined(more, 1.0));
        let mut predictions = Array2::zeros(y.raw_dim());
        for (rows, own) in rows.iter().zip(&sums) {
            let fit = self.solve(&all.joined(own, -1.0), f64::sqrt)?;
            let predicted = fit.predict(x.select(Axis(0), rows).view());
            for (&row, of_row) in rows.iter().zip(predicted.rows()) {
                predictions.row_mut(row).assign(&of_row);
            }
        }
        Ok(predictions)
    }

    fn check(&self, x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>) -> Result<(), Undefined> {
        if !(self.penalty > 0.0 && self.penalty.is_finite()) {
            let allowed = "above 0";
            return Err(Undefined::Parameter { name: "the penalty", got: self.penalty, allowed });
        }
        check(x, y.nrows())?;
        check(y, x.nrows())
    }

    /// Solves the normal equations; features are divided by `scale` of their variances for the
    /// penalty's sake, and the weights are those of the features as they were.
    fn solve(&self, sums: &Sums, scale: impl Fn(f64) -> f64) -> Result<RidgeFit, Undefined> {
        let (mean, target) = (&sums.x / sums.rows, &sums.y / sums.rows);
        let outer = |a: &Array1<f64>, b: &Array1<f64>| {
            a.view().insert_axis(Axis(1)).dot(&b.view().insert_axis(Axis(0)))
        };
        let mut products = &sums.xx - &(outer(&mean, &mean) * sums.rows);
        let mut with_target = &sums.xy - &(outer(&mean, &target) * sums.rows);
        // What is left of a feature that never varies is rounding.
        let least = f64::EPSILON * sums.rows;
        let variance = |i: usize| {
            let (square, left) = (sums.xx[[i, i]], products[[i, i]]);
            if left > least * square { left / sums.rows } else { 0.0 }
        };
        let deviations: Array1<f64> =
            (0..mean.len()).map(|i| unless_zero(scale(variance(i)))).collect();
        let across = deviations.view().insert_axis(Axis(1));
        products /= &across;
        products /= &deviations;
        with_target /= &across;
        products.diag_mut().mapv_inplace(|v| v + self.penalty);
        let mut weights = solved(products, &with_target).map_err(|_| Undefined::NotSolved)?;
        weights /= &across;
        let intercepts = target - mean.dot(&weights);
        Ok(RidgeFit { weights, intercepts })
    }
}

/// w of A w = b, for a symmetric positive definite A.
fn solved(mut a: Array2<f64>, b: &Array2<f64>) -> Result<Array2<f64>, LinalgError> {
    let lower = a.cholesky_inplace_dirty()?;
    // The solver goes down columns: with these side by side in memory it takes half the time.
    let mut w = by_columns(b);
    by_columns(lower).solve_triangular_inplace(&mut w, UPLO::Lower)?;
    lower.t().solve_triangular_inplace(&mut w, UPLO::Upper)?;
    Ok(w)
}

/// The same matrix, stored column by column.
fn by_columns(a: &Array2<f64>) -> Array2<f64> {
    a.t().as_standard_layout().into_owned().reversed_axes()
}

/// Sums over rows, from which a regression and its error follow: rows can be more than memory
/// holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    rows: f64,
    x: Array1<f64>,
    y: Array1<f64>,
    xx: Array2<f64>,
    xy: Array2<f64>,
    yy: Array1<f64>,
}

impl Sums {
    /// Of features [rows, features] and targets [rows, targets].
    pub fn of(x: ArrayView2<'_, f64>, y: ArrayView2<'_, f64>) -> Self {
        Self {
            rows: x.nrows() as f64,
            x: x.sum_axis(Axis(0)),
            y: y.sum_axis(Axis(0)),
            xx: x.t().dot(&x),
            xy: x.t().dot(&y),
            yy: (&y * &y).sum_axis(Axis(0)),
        }
    }

    /// Of the products ZᵀZ of rows Z = (1, features, targets), with the last columns targets.
    pub fn of_products(products: ArrayView2<'_, f64>, targets: usize) -> Self {
        let y_from = products.nrows() - targets;
        Self {
            rows: products[[0, 0]],
            x: products.slice(s![0, 1..y_from]).to_owned(),
            y: products.slice(s![0, y_from..]).to_owned(),
            xx: products.slice(s![1..y_from, 1..y_from]).to_owned(),
            xy: products.slice(s![1..y_from, y_from..]).to_owned(),
            yy: products.slice(s![y_from.., y_from..]).diag().to_owned(),
        }
    }

    /// These and `sign` times the others: 1 puts them together, −1 takes them out.
    pub fn joined(&self, other: &Self, sign: f64) -> Self {
        Self {
            rows: self.rows + sign * other.rows,
            x: &self.x + &(&other.x * sign),
            y: &self.y + &(&other.y * sign),
            xx: &self.xx + &(&other.xx * sign),
            xy: &self.xy + &(&other.xy * sign),
            yy: &self.yy + &(&other.yy * sign),
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> f64 {
        self.rows
    }

    /// How many features a row has.
    pub fn features(&self) -> usize {
        self.x.len()
    }

    /// Mean of each target.
    pub fn means(&self) -> Array1<f64> {
        &self.y / self.rows
    }

    /// Σ(y − ŷ)² of each target, by a fit.
    pub fn squared_error(&self, fit: &RidgeFit) -> Array1<f64> {
        let RidgeFit { weights: w, intercepts: b } = fit;
        let explained = (w * &self.xy).sum_axis(Axis(0)) + b * &self.y;
        let predicted =
            (w * &self.xx.dot(w)).sum_axis(Axis(0)) + 2.0 * b * &self.x.dot(w) + b * b * self.rows;
        &self.yy - &(explained * 2.0) + &predicted
    }

    /// Σ(y − m)² of each target, by a guess m that is the same for all rows.
    pub fn squared_distance(&self, guess: &Array1<f64>) -> Array1<f64> {
        &self.yy - &(guess * &self.y * 2.0) + &(guess * guess * self.rows)
    }
}
