//! Logistic regression with an L2 penalty, of two classes or more.

use linfa::prelude::{Dataset, Fit};
use linfa_logistic::{
    FittedLogisticRegression, LogisticRegression, MultiFittedLogisticRegression,
    MultiLogisticRegression,
};
use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::{Folds, Scale, check, check_classes};
use crate::measure::Undefined;

/// Minimises the sum over rows of −ln p(class) plus α/2 ‖w‖² by L-BFGS; intercepts are not
/// penalised. α is 1/C of scikit-learn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logistic {
    /// α, at least 0.
    pub penalty: f64,
    /// Most iterations.
    pub iterations: u64,
}

/// Norm of the gradient at which it has converged.
const TOLERANCE: f64 = 1e-6;

impl Default for Logistic {
    /// α = 1, 300 iterations.
    fn default() -> Self {
        Self { penalty: 1.0, iterations: 300 }
    }
}

/// A regression that tells classes apart.
#[derive(Clone, Debug)]
pub struct LogisticFit {
    classes: Vec<usize>,
    fitted: Fitted,
}

#[derive(Clone, Debug)]
enum Fitted {
    /// One weight vector, that of the class whose place in the list is `second`.
    Two {
        fit: Box<FittedLogisticRegression<f64, usize>>,
        second: usize,
    },
    More(Box<MultiFittedLogisticRegression<f64, usize>>),
}

impl LogisticFit {
    /// The classes there were, in rising order.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// ln p/(1 − p) of the second of two classes, \[rows\]; none with more classes. Where a
    /// probability is 1 to rounding, this still tells how sure the regression is.
    pub fn log_odds(&self, x: ArrayView2<'_, f64>) -> Option<Array1<f64>> {
        let Fitted::Two { fit, second } = &self.fitted else { return None };
        let of_second = x.dot(fit.params()) + fit.intercept();
        Some(if *second == 1 { of_second } else { -of_second })
    }

    /// Probabilities [rows, classes], in the order of [`LogisticFit::classes`].
    pub fn probabilities(&self, x: ArrayView2<'_, f64>) -> Array2<f64> {
        match &self.fitted {
            Fitted::More(fit) => fit.predict_probabilities(&x),
            Fitted::Two { fit, second } => {
                let of_second = fit.predict_probabilities(&x);
                let mut both = Array2::zeros((x.nrows(), 2));
                both.column_mut(1 - second).assign(&of_second.mapv(|p| 1.0 - p));
                both.column_mut(*second).assign(&of_second);
                both
            }
        }
    }
}

impl Logistic {
    /// Fits features [rows, features] to the class of each row, as they are.
    ///
    /// # Errors
    /// Fewer than two rows, lists of different lengths, numbers that are not finite, one class
    /// only, a negative penalty, or [`Undefined::NotSolved`].
    pub fn fit(&self, x: ArrayView2<'_, f64>, labels: &[usize]) -> Result<LogisticFit, Undefined> {
        check(x, labels.len())?;
        check_classes(labels)?;
        if !(self.penalty >= 0.0 && self.penalty.is_finite()) {
            let (got, allowed) = (self.penalty, "at least 0");
            return Err(Undefined::Parameter { name: "the penalty", got, allowed });
        }
        let mut classes = labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        let data = Dataset::new(x.to_owned(), Array1::from(labels.to_vec()));
        let fitted = if classes.len() == 2 {
            let fit = LogisticRegression::default()
                .alpha(self.penalty)
                .max_iterations(self.iterations)
                .gradient_tolerance(TOLERANCE)
                .fit(&data)
                .map_err(|_| Undefined::NotSolved)?;
            let second = usize::from(fit.labels().pos.class == classes[1]);
            Fitted::Two { fit: Box::new(fit), second }
        } else {
            let fit = MultiLogisticRegression::default()
                .alpha(self.penalty)
                .max_iterations(self.iterations)
                .gradient_tolerance(TOLERANCE)
                .fit(&data)
                .map_err(|_| Undefined::NotSolved)?;
            Fitted::More(Box::new(fit))
        };
        Ok(LogisticFit { classes, fitted })
    }

    /// Probabilities [rows, classes] of each row by the regression on the other folds, with
    /// features standardised by those. Column c is class c, also where a class is missing among
    /// the rows that were learnt from: there it is 0.
    ///
    /// # Errors
    /// As [`Logistic::fit`], of any fold.
    pub fn held_out(
        &self,
        x: ArrayView2<'_, f64>,
        labels: &[usize],
        folds: &Folds,
    ) -> Result<Array2<f64>, Undefined> {
        check(x, labels.len())?;
        if folds.rows() != x.nrows() {
            return Err(Undefined::Length { expected: x.nrows(), got: folds.rows() });
        }
        let classes = labels.iter().max().map_or(0, |&most| most + 1);
        let mut probabilities = Array2::zeros((x.nrows(), classes));
        for fold in 0..folds.count() {
            let (training, held_out) = (folds.training(fold), folds.held_out(fold));
            let own: Vec<usize> = training.iter().map(|&row| labels[row]).collect();
            let known = x.select(Axis(0), &training);
            let scale = Scale::of(known.view())?;
            let fit = self.fit(scale.apply(known.view()).view(), &own)?;
            let rest = scale.apply(x.select(Axis(0), &held_out).view());
            for (&row, found) in held_out.iter().zip(fit.probabilities(rest.view()).rows()) {
                for (&class, &p) in fit.classes().iter().zip(found) {
                    probabilities[[row, class]] = p;
                }
            }
        }
        Ok(probabilities)
    }
}
