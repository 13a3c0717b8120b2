//! Whether two sets of activations of the same examples are alike: linear centred kernel
//! alignment (Kornblith et al. 2019, Similarity of Neural Network Representations Revisited).

use ndarray::{Array2, ArrayView2, Axis, Zip};

use super::Undefined;

/// X Xᵀ of the features [examples, features] with each feature's mean taken off, over its
/// Frobenius norm: examples × examples.
///
/// # Errors
/// Fewer than two examples, numbers that are not finite, or features that do not vary.
pub fn unit_gram(x: ArrayView2<'_, f64>) -> Result<Array2<f64>, Undefined> {
    if x.nrows() < 2 {
        return Err(Undefined::TooFew { needed: 2, got: x.nrows() });
    }
    if x.iter().any(|v| !v.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    let mean = x.mean_axis(Axis(0)).ok_or(Undefined::Empty)?;
    let centred = &x - &mean;
    let gram = centred.dot(&centred.t());
    let norm = gram.iter().map(|v| v * v).sum::<f64>().sqrt();
    if norm <= 0.0 {
        return Err(Undefined::Constant);
    }
    Ok(gram / norm)
}

/// Linear CKA of two unit Gram matrices, in [0, 1]: ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) in Frobenius norms
/// (Kornblith et al. 2019, equation 3), as the inner product of the centred Gram matrices.
///
/// With fewer examples than features it is high for anything; compare it with that of examples in
/// another order.
///
/// # Errors
/// Another number of examples.
pub fn alignment(a: &Array2<f64>, b: &Array2<f64>) -> Result<f64, Undefined> {
    if a.dim() != b.dim() {
        return Err(Undefined::Shape { expected: a.dim(), got: b.dim() });
    }
    Ok(Zip::from(a).and(b).fold(0.0, |sum, x, y| sum + x * y))
}

/// A Gram matrix of the same examples in another order: row and column i are those of `order[i]`.
pub fn reordered(gram: &Array2<f64>, order: &[usize]) -> Array2<f64> {
    gram.select(Axis(0), order).select(Axis(1), order)
}
