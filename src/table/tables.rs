//! Several tables side by side: what one piece of work gives.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use polars::prelude::*;

use super::parquet::{read_declared, write_declared};
use super::{Row, TableDeclaration, TableError, declaration, frame};

/// Tables by their names, one of each.
#[derive(Clone, Debug, Default)]
pub struct Tables(BTreeMap<&'static str, (TableDeclaration, DataFrame)>);

impl Tables {
    /// No tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds rows to their table.
    ///
    /// # Errors
    /// A value that is not as declared.
    pub fn add<R: Row>(&mut self, rows: impl IntoIterator<Item = R>) -> Result<(), TableError> {
        self.stack(R::TABLE, frame(rows)?)
    }

    /// Adds the rows of other tables behind these.
    ///
    /// # Errors
    /// Polars cannot join them.
    pub fn append(&mut self, others: Tables) -> Result<(), TableError> {
        others.0.into_values().try_for_each(|(table, frame)| self.stack(table, frame))
    }

    fn stack(&mut self, table: TableDeclaration, frame: DataFrame) -> Result<(), TableError> {
        match self.0.get_mut(table.name) {
            Some((_, whole)) => {
                whole.vstack_mut_owned(frame)?;
            }
            None => {
                self.0.insert(table.name, (table, frame));
            }
        }
        Ok(())
    }

    /// Takes one table out, if it is among these.
    #[must_use]
    pub fn take(&mut self, name: &str) -> Tables {
        Tables(self.0.remove_entry(name).into_iter().collect())
    }

    /// Rows of each table.
    pub fn heights(&self) -> BTreeMap<String, u64> {
        let height = |(name, (_, frame)): (&&str, &(TableDeclaration, DataFrame))| {
            ((*name).to_owned(), frame.height() as u64)
        };
        self.0.iter().map(height).collect()
    }

    /// Whether there is no table.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes each table, whole or not at all, where `place` says.
    ///
    /// # Errors
    /// A full disk.
    pub fn write(&mut self, place: impl Fn(&str) -> PathBuf) -> Result<(), TableError> {
        self.0
            .iter_mut()
            .try_for_each(|(name, (table, frame))| write_declared(frame, table, &place(name)))
    }

    /// Adds the rows of a file of the table `name`.
    ///
    /// # Errors
    /// As [`super::read_parquet`].
    pub fn read(&mut self, name: &str, path: &Path) -> Result<(), TableError> {
        let table = declaration(name)?;
        self.stack(*table, read_declared(table, path)?)
    }

    /// Gives all rows the name of a run, and the n-th image of each table the n-th of `samples` as
    /// its number; hands over how many rows each image has in all tables.
    ///
    /// # Errors
    /// A table without these columns, or of more images.
    pub fn renumber(&mut self, run: &str, samples: &[u32]) -> Result<Vec<u32>, TableError> {
        const SAMPLE: &str = "sample";
        let mut rows = vec![0; samples.len()];
        for (_, frame) in self.0.values_mut() {
            let mut numbers = Vec::with_capacity(frame.height());
            for place in frame.column(SAMPLE)?.u32()?.iter() {
                let place = place.map_or(usize::MAX, |place| place as usize);
                let (Some(number), Some(count)) = (samples.get(place), rows.get_mut(place)) else {
                    let problem = format!("image {place} of {}", samples.len());
                    return Err(PolarsError::OutOfBounds(problem.into()).into());
                };
                numbers.push(*number);
                *count += 1;
            }
            frame.with_column(Column::new("run".into(), vec![run; frame.height()]))?;
            frame.with_column(Column::new(SAMPLE.into(), numbers))?;
        }
        Ok(rows)
    }

    /// The rows of one table; none where it is not among these.
    ///
    /// # Errors
    /// They are not as declared.
    pub fn rows_of<R: Row>(&self) -> Result<Vec<R>, TableError> {
        match self.0.get(R::TABLE.name) {
            Some((_, frame)) => super::rows(frame),
            None => Ok(Vec::new()),
        }
    }
}
