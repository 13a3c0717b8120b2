//! Scores of a coarse map against a fine mask, without resizing the map.
//!
//! A cell of the map that the mask covers by a share c counts c inside and 1 − c outside. Where
//! cells are whole blocks of pixels, that is the score of the map whose pixels all have their
//! cell's value, pixel by pixel on the mask itself; no object is too small for it, and a map is
//! sorted once for all the regions it is scored against. What a cell cannot tell apart counts as
//! a tie, so that a map of few cells cannot reach 1.

use ndarray::{Array2, ArrayView2};

use super::Undefined;
use super::map::{is_constant, same_shape, stretch};
use super::resize::coverage;

/// A mask at the resolution of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Covered {
    /// Share of each cell that the mask covers, in `[0, 1]`.
    shares: Array2<f32>,
    /// Sum of the shares.
    inside: f64,
}

impl Covered {
    /// The mask at `shape` (rows, columns).
    ///
    /// # Errors
    /// [`Undefined::Empty`], [`Undefined::EmptyRegion`], and [`Undefined::FullRegion`] for a mask
    /// that leaves nothing out.
    pub fn new(mask: ArrayView2<'_, bool>, shape: (usize, usize)) -> Result<Self, Undefined> {
        if !mask.iter().any(|&inside| inside) {
            return Err(Undefined::EmptyRegion);
        }
        if mask.iter().all(|&inside| inside) {
            return Err(Undefined::FullRegion);
        }
        let shares = coverage(mask, shape)?.as_standard_layout().into_owned();
        let inside = shares.iter().copied().map(f64::from).sum();
        Ok(Self { shares, inside })
    }
}

/// A map, sorted.
#[derive(Debug, Clone)]
pub struct SortedMap {
    shape: (usize, usize),
    /// Number of the cell in row-major order and its value, from the largest value down.
    cells: Vec<(u32, f32)>,
    /// Sum of the values.
    mass: f64,
}

impl SortedMap {
    /// Sorts the cells of a map of weights.
    ///
    /// # Errors
    /// [`Undefined::Empty`], [`Undefined::NotFinite`], [`Undefined::Negative`].
    pub fn new(map: ArrayView2<'_, f32>) -> Result<Self, Undefined> {
        if map.is_empty() {
            return Err(Undefined::Empty);
        }
        if map.iter().any(|value| !value.is_finite()) {
            return Err(Undefined::NotFinite);
        }
        if map.iter().any(|&value| value < 0.0) {
            return Err(Undefined::Negative);
        }
        let mut cells: Vec<(u32, f32)> = (0..).zip(map.iter().copied()).collect();
        cells.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
        let mass = map.iter().copied().map(f64::from).sum();
        Ok(Self { shape: map.dim(), cells, mass })
    }

    /// All scores on a mask in one pass; `threshold` in [0, 1) is for IoU and IoA.
    ///
    /// # Errors
    /// [`Undefined::Shape`], and [`Undefined::Parameter`] for a threshold out of range.
    pub fn scores(&self, region: &Covered, threshold: f64) -> Result<Scores, Undefined> {
        let shares = self.shares(region)?;
        if !(0.0..1.0).contains(&threshold) {
            let (name, allowed) = ("the threshold", "at least 0 and below 1");
            return Err(Undefined::Parameter { name, got: threshold, allowed });
        }
        let (high, low) = match (self.cells.first(), self.cells.last()) {
            (Some(first), Some(last)) => (first.1, last.1),
            _ => return Err(Undefined::Empty),
        };
        let constant = is_constant(low, high);
        let mut scores = Scores::default();
        // Of the cells so far: how many, and how much of them the mask covers.
        let (mut above, mut both) = (0.0, 0.0);
        let (mut wins, mut precision) = (0.0, 0.0);
        for group in self.cells.chunk_by(|a, b| a.1 == b.1) {
            let count = group.len() as f64;
            let inside: f64 = group.iter().map(|cell| f64::from(shares[cell.0 as usize])).sum();
            if above == 0.0 {
                scores.pointing = inside / count;
            }
            wins += (count - inside) * (both + 0.5 * inside);
            above += count;
            both += inside;
            precision += inside * both / above;
            let value = group[0].1;
            if constant || value <= low {
                continue;
            }
            let iou = both / (above + region.inside - both);
            scores.best_iou = Some(scores.best_iou.map_or(iou, |best: f64| best.max(iou)));
            if f64::from(stretch(value, low, high)) > threshold {
                scores.iou = Some(iou);
                scores.ioa = Some(both / above);
            }
        }
        scores.auroc = wins / (region.inside * (above - region.inside));
        scores.average_precision = precision / region.inside;
        scores.mass_ratio = self.mass_ratio(region).ok();
        Ok(scores)
    }

    /// The mask's share of the map's mass over its share of the area; 1 is chance.
    ///
    /// # Errors
    /// [`Undefined::Shape`], [`Undefined::ZeroMass`].
    pub fn mass_ratio(&self, region: &Covered) -> Result<f64, Undefined> {
        let shares = self.shares(region)?;
        if self.mass <= 0.0 {
            return Err(Undefined::ZeroMass);
        }
        let of_cell = |&(at, value): &(u32, f32)| f64::from(shares[at as usize] * value);
        let inside: f64 = self.cells.iter().map(of_cell).sum();
        Ok(inside / self.mass * self.cells.len() as f64 / region.inside)
    }

    /// The share of each cell that the region covers, in row-major order.
    fn shares<'a>(&self, region: &'a Covered) -> Result<&'a [f32], Undefined> {
        same_shape(self.shape, region.shares.dim())?;
        region.shares.as_slice().ok_or(Undefined::Empty)
    }
}

/// How a map lies on a mask. What a constant map does not have is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores {
    /// Probability that a place inside the mask has a larger value than one outside, ties counted
    /// half; 0.5 for a constant map.
    pub auroc: f64,
    /// Average precision of the values as a score for places inside; the mask's share of the image
    /// for a constant map.
    pub average_precision: f64,
    /// Intersection over union with the cells above the threshold of the stretched map.
    pub iou: Option<f64>,
    /// The same at the threshold that suits best: an upper bound.
    pub best_iou: Option<f64>,
    /// Intersection over the area of those cells: how much of what is attended to is the object.
    pub ioa: Option<f64>,
    /// See [`SortedMap::mass_ratio`]; `None` for a map of zeros.
    pub mass_ratio: Option<f64>,
    /// The pointing game: the covered share of the cells with the largest value, 1 where the peak
    /// lies inside.
    pub pointing: f64,
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::{Covered, SortedMap};
    use crate::measure::Undefined;
    use crate::measure::localisation::{
        DAAM_THRESHOLD, Ranking, intersection_over_map, iou, mass_ratio,
    };

    #[test]
    fn scores_are_those_of_the_map_in_the_masks_resolution() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..50 {
            // Few values, so that there are ties between cells as well as within them.
            let map = Array2::from_shape_fn((4, 8), |_| random.random_range(0..9) as f32 + 0.5);
            let mask = Array2::from_shape_fn((16, 32), |_| random.random_range(0..4) == 0);
            let fine = Array2::from_shape_fn((16, 32), |(row, column)| map[[row / 4, column / 4]]);
            let (sorted, region) =
                (SortedMap::new(map.view()).unwrap(), Covered::new(mask.view(), (4, 8)).unwrap());
            let ranking = Ranking::new(fine.view(), mask.view()).unwrap();
            let of = |score: fn(_, _, _) -> Result<f64, Undefined>| {
                score(fine.view(), mask.view(), DAAM_THRESHOLD).unwrap()
            };
            let scores = sorted.scores(&region, DAAM_THRESHOLD).unwrap();
            for (got, expected) in [
                (scores.auroc, ranking.auroc().unwrap()),
                (scores.average_precision, ranking.average_precision()),
                (scores.best_iou.unwrap(), ranking.best_iou().unwrap().iou),
                (scores.iou.unwrap(), of(iou)),
                (scores.ioa.unwrap(), of(intersection_over_map)),
                (scores.mass_ratio.unwrap(), mass_ratio(fine.view(), mask.view()).unwrap()),
            ] {
                assert!((got - expected).abs() < 1e-5, "{scores:?}: {got} is not {expected}");
            }
        }
    }

    #[test]
    fn what_has_no_score_says_why() {
        let mut mask = Array2::from_elem((4, 4), false);
        assert_eq!(Covered::new(mask.view(), (2, 2)), Err(Undefined::EmptyRegion));
        mask[[0, 0]] = true;
        // A quarter of one cell is enough.
        let region = Covered::new(mask.view(), (2, 2)).unwrap();
        mask.fill(true);
        assert_eq!(Covered::new(mask.view(), (2, 2)), Err(Undefined::FullRegion));
        let of = |value: f32| SortedMap::new(Array2::from_elem((2, 2), value).view());
        assert_eq!(of(f32::NAN).unwrap_err(), Undefined::NotFinite);
        assert_eq!(of(-1.0).unwrap_err(), Undefined::Negative);
        let constant = of(1.0).unwrap().scores(&region, DAAM_THRESHOLD).unwrap();
        assert_eq!((constant.auroc, constant.iou, constant.best_iou), (0.5, None, None));
        // A sixteenth of the image is covered.
        assert_eq!((constant.average_precision, constant.pointing), (0.0625, 0.0625));
        assert_eq!(of(0.0).unwrap().mass_ratio(&region), Err(Undefined::ZeroMass));
        let other = SortedMap::new(Array2::from_elem((2, 3), 1.0).view()).unwrap();
        assert!(matches!(other.scores(&region, 0.4), Err(Undefined::Shape { .. })));
        assert!(of(1.0).unwrap().scores(&region, 1.0).is_err());
    }
}
