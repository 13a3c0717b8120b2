//! Rows that are held out together.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::measure::Undefined;

/// Folds unless a caller asks for another number.
pub const DEFAULT_FOLDS: usize = 5;

/// Each row's fold. A fold is predicted from all others; rows of one group (scene, prompt) are in
/// one fold, so that no row is predicted from its own scene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folds {
    of_row: Vec<usize>,
    count: usize,
}

impl Folds {
    /// Divides groups into `count` folds of about as many rows each: in an order that the seed
    /// draws, the largest groups first, each group goes to the fold with the fewest rows.
    ///
    /// # Errors
    /// Fewer than two folds, or fewer groups than folds.
    pub fn grouped<K: Ord>(groups: &[K], count: usize, seed: u64) -> Result<Self, Undefined> {
        let mut rows: BTreeMap<&K, Vec<usize>> = BTreeMap::new();
        for (row, group) in groups.iter().enumerate() {
            rows.entry(group).or_default().push(row);
        }
        let mut rows: Vec<Vec<usize>> = rows.into_values().collect();
        Self::check(count, rows.len())?;
        rows.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        rows.sort_by_key(|of_group| std::cmp::Reverse(of_group.len()));
        let mut sizes = vec![0; count];
        let mut of_row = vec![0; groups.len()];
        for of_group in rows {
            let smallest = (0..count).min_by_key(|&fold| sizes[fold]).unwrap_or(0);
            sizes[smallest] += of_group.len();
            of_group.into_iter().for_each(|row| of_row[row] = smallest);
        }
        Ok(Self { of_row, count })
    }

    /// Folds that are known: the fold of each row.
    ///
    /// # Errors
    /// Fewer than two folds, or a fold without rows.
    pub fn known(of_row: Vec<usize>) -> Result<Self, Undefined> {
        let count = of_row.iter().max().map_or(0, |&most| most + 1);
        let filled = (0..count).filter(|fold| of_row.contains(fold)).count();
        Self::check(count, filled)?;
        Ok(Self { of_row, count })
    }

    fn check(count: usize, groups: usize) -> Result<(), Undefined> {
        if count < 2 {
            let allowed = "at least 2";
            return Err(Undefined::Parameter {
                name: "the number of folds",
                got: count as f64,
                allowed,
            });
        }
        if groups < count {
            return Err(Undefined::TooFew { needed: count, got: groups });
        }
        Ok(())
    }

    /// How many folds there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.of_row.len()
    }

    /// The rows of a fold, which are held out together.
    pub fn held_out(&self, fold: usize) -> Vec<usize> {
        (0..self.rows()).filter(|&row| self.of_row[row] == fold).collect()
    }

    /// All other rows.
    pub fn training(&self, fold: usize) -> Vec<usize> {
        (0..self.rows()).filter(|&row| self.of_row[row] != fold).collect()
    }
}
