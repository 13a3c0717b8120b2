//! Scores of a coarse map against a fine mask, without resizing the map.
//!
//! A cell of the map that the mask covers by a share c counts c inside and 1 − c outside. Where
//! cells are whole blocks of pixels, that is the score of the map whose pixels all have their
//! cell's value, pixel by pixel on the mask itself; no object is too small for it, and a map is
//! sorted once for all the regions it is scored against. What a cell cannot tell apart counts as
//! a tie, so that a map of few cells cannot reach 1.

use ndarray::{Array2, ArrayView2};

use super::Undefined;
use super::map::same_shape;
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
        let shares = coverage(mask, shape)?;
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

    /// Probability that a place inside the mask has a larger value than one outside, ties counted
    /// half; 0.5 for a constant map.
    ///
    /// # Errors
    /// [`Undefined::Shape`].
    pub fn auroc(&self, region: &Covered) -> Result<f64, Undefined> {
        let shares = self.shares(region)?;
        let (mut above, mut wins) = (0.0, 0.0);
        for group in self.cells.chunk_by(|a, b| a.1 == b.1) {
            let inside: f64 = group.iter().map(|cell| shares(cell.0)).sum();
            wins += (group.len() as f64 - inside) * (above + 0.5 * inside);
            above += inside;
        }
        let outside = self.cells.len() as f64 - region.inside;
        Ok(wins / (region.inside * outside))
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
        let inside: f64 = self.cells.iter().map(|&(at, value)| shares(at) * f64::from(value)).sum();
        Ok(inside / self.mass * self.cells.len() as f64 / region.inside)
    }

    /// The share of each cell that the region covers.
    fn shares<'a>(&self, region: &'a Covered) -> Result<impl Fn(u32) -> f64 + 'a, Undefined> {
        same_shape(self.shape, region.shares.dim())?;
        let columns = self.shape.1 as u32;
        let cell = move |at: u32| [(at / columns) as usize, (at % columns) as usize];
        Ok(move |at: u32| f64::from(region.shares[cell(at)]))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::{Covered, SortedMap};
    use crate::measure::Undefined;
    use crate::measure::localisation::{Ranking, mass_ratio};

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
            let auroc = Ranking::new(fine.view(), mask.view()).unwrap().auroc().unwrap();
            assert!((sorted.auroc(&region).unwrap() - auroc).abs() < 1e-6);
            let ratio = mass_ratio(fine.view(), mask.view()).unwrap();
            assert!((sorted.mass_ratio(&region).unwrap() - ratio).abs() < 1e-5);
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
        assert_eq!(of(1.0).unwrap().auroc(&region), Ok(0.5));
        assert_eq!(of(0.0).unwrap().mass_ratio(&region), Err(Undefined::ZeroMass));
        let other = SortedMap::new(Array2::from_elem((2, 3), 1.0).view()).unwrap();
        assert!(matches!(other.auroc(&region), Err(Undefined::Shape { .. })));
    }
}
