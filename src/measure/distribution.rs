//! How far two sets of images are apart, in the features of some encoder: one row an image.
//!
//! The names say the measure alone. What is known as FID and KID are the first two in the features
//! of one Inception network at one image size; in other features the numbers mean something else.

use linfa_linalg::eigh::{EigValsh, Eigh};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};

use super::Undefined;

/// Neighbours that span the region of a set, as Kynkäänniemi et al. 2019 use them.
pub const NEIGHBOURS: usize = 3;

/// Fréchet distance of two normal distributions fitted to the sets (Heusel et al. 2017, eq. 6):
/// ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½), covariances divided by n − 1.
///
/// It is too large for few images, the more so the more features there are (Bińkowski et al. 2018):
/// compare only sets of the same size, and look at what other images of the second set give.
///
/// # Errors
/// Fewer than two rows, sets of other widths, numbers that are not finite.
pub fn frechet(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Result<f64, Undefined> {
    check(a, b, 2)?;
    let ((mean_a, cov_a), (mean_b, cov_b)) = (moments(a)?, moments(b)?);
    let apart = (&mean_a - &mean_b).mapv(|x| x * x).sum();
    // (Σ_a Σ_b)^½ has the trace of (Σ_a^½ Σ_b Σ_a^½)^½, which is symmetric.
    let (values, vectors) = cov_a.eigh().map_err(|_| Undefined::NoEigenvalues)?;
    let root = &vectors * &values.mapv(|x| x.max(0.0).sqrt());
    let product = root.t().dot(&cov_b).dot(&root);
    let symmetric = (&product + &product.t()) * 0.5;
    let roots = symmetric.eigvalsh().map_err(|_| Undefined::NoEigenvalues)?;
    let common: f64 = roots.iter().map(|x| x.max(0.0).sqrt()).sum();
    // Rounding alone may lead below zero.
    Ok((apart + cov_a.diag().sum() + cov_b.diag().sum() - 2.0 * common).max(0.0))
}

/// Kernel distance: the squared maximum mean discrepancy with the kernel (x·y/d + 1)³, estimated
/// without bias (Gretton et al. 2012, lemma 6; Bińkowski et al. 2018, section 4). Its expectation
/// is 0 for sets of one distribution, whatever their sizes, so it may come out below zero.
///
/// # Errors
/// Fewer than two rows, sets of other widths, numbers that are not finite.
pub fn kernel_distance(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Result<f64, Undefined> {
    check(a, b, 2)?;
    let (a, b) = (a.mapv(f64::from), b.mapv(f64::from));
    let width = a.ncols() as f64;
    let kernel =
        |x: &Array2<f64>, y: &Array2<f64>| x.dot(&y.t()).mapv(|xy| (xy / width + 1.0).powi(3));
    let within = |x: &Array2<f64>| {
        let (kernel, n) = (kernel(x, x), x.nrows() as f64);
        (kernel.sum() - kernel.diag().sum()) / (n * (n - 1.0))
    };
    let between = kernel(&a, &b).mean().ok_or(Undefined::Empty)?;
    Ok(within(&a) + within(&b) - 2.0 * between)
}

/// Precision and recall of a set of images (Kynkäänniemi et al. 2019, eq. 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionRecall {
    /// Share of the generated images in the region of the real ones: are they like real images?
    pub precision: f64,
    /// Share of the real images in the region of the generated ones: is all that is real made?
    pub recall: f64,
}

/// Precision and recall. The region of a set is the union of balls around its images, each as
/// large as the distance to its `neighbours`-th neighbour in the set.
///
/// # Errors
/// No more rows than `neighbours`, sets of other widths, numbers that are not finite.
pub fn precision_recall(
    generated: ArrayView2<'_, f32>,
    real: ArrayView2<'_, f32>,
    neighbours: usize,
) -> Result<PrecisionRecall, Undefined> {
    check(generated, real, neighbours + 1)?;
    let (generated, real) = (generated.mapv(f64::from), real.mapv(f64::from));
    let covered = |points: &Array2<f64>, set: &Array2<f64>| {
        let radii: Vec<f64> = (0..set.nrows()).map(|i| radius(set, i, neighbours)).collect();
        let inside = points.rows().into_iter().filter(|point| {
            let mut balls = set.rows().into_iter().zip(&radii);
            balls.any(|(centre, &radius)| squared_distance(*point, centre) <= radius)
        });
        inside.count() as f64 / points.nrows() as f64
    };
    Ok(PrecisionRecall {
        precision: covered(&generated, &real),
        recall: covered(&real, &generated),
    })
}

/// Squared distance of a row to its k-th neighbour, itself not counted.
fn radius(set: &Array2<f64>, row: usize, k: usize) -> f64 {
    let others = set.rows().into_iter().enumerate().filter(|(i, _)| *i != row);
    let mut distances: Vec<f64> =
        others.map(|(_, other)| squared_distance(set.row(row), other)).collect();
    let (_, nearest, _) = distances.select_nth_unstable_by(k.saturating_sub(1), f64::total_cmp);
    *nearest
}

fn squared_distance(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Mean and covariance, divided by n − 1.
fn moments(x: ArrayView2<'_, f32>) -> Result<(Array1<f64>, Array2<f64>), Undefined> {
    let x = x.mapv(f64::from);
    let mean = x.mean_axis(Axis(0)).ok_or(Undefined::Empty)?;
    let centred = &x - &mean;
    let covariance = centred.t().dot(&centred) / (x.nrows() - 1) as f64;
    Ok((mean, covariance))
}

/// Sets of one width and of at least `needed` rows, all numbers finite.
fn check(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, needed: usize) -> Result<(), Undefined> {
    if a.ncols() != b.ncols() {
        return Err(Undefined::Length { expected: a.ncols(), got: b.ncols() });
    }
    if a.ncols() == 0 {
        return Err(Undefined::Empty);
    }
    let got = a.nrows().min(b.nrows());
    if got < needed {
        return Err(Undefined::TooFew { needed, got });
    }
    if a.iter().chain(b.iter()).all(|x| x.is_finite()) { Ok(()) } else { Err(Undefined::NotFinite) }
}
