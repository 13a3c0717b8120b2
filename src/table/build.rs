use polars::prelude::*;

use super::{Row, TableError, check};

/// Rows gathered before they become columns: a row struct takes several times the memory.
const CHUNK_ROWS: usize = 1 << 16;

/// Collects rows into a DataFrame.
///
/// Rows become columns in chunks, so that long tables take the memory of their columns only.
#[derive(Debug)]
pub struct TableBuilder<R> {
    rows: Vec<R>,
    frame: Option<DataFrame>,
    len: usize,
}

impl<R> Default for TableBuilder<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), frame: None, len: 0 }
    }
}

impl<R: Row> TableBuilder<R> {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`TableError::Mismatch`] when a chunk is complete and a value in it is not as declared.
    pub fn push(&mut self, row: R) -> Result<(), TableError> {
        self.rows.push(row);
        self.len += 1;
        if self.rows.len() >= CHUNK_ROWS { self.close_chunk() } else { Ok(()) }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The table, checked against its declaration.
    ///
    /// # Errors
    /// [`TableError::Mismatch`] naming column, row and value: of bad values in a column the first.
    pub fn finish(mut self) -> Result<DataFrame, TableError> {
        if self.frame.is_none() || !self.rows.is_empty() {
            self.close_chunk()?;
        }
        Ok(self.frame.unwrap_or_default())
    }

    fn close_chunk(&mut self) -> Result<(), TableError> {
        let before = self.frame.as_ref().map_or(0, DataFrame::height);
        let chunk = checked(std::mem::take(&mut self.rows), before)?;
        match &mut self.frame {
            Some(frame) => {
                frame.vstack_mut_owned(chunk)?;
            }
            None => self.frame = Some(chunk),
        }
        Ok(())
    }
}

/// Rows as columns, checked against their declaration; messages count rows from `first` on.
pub(super) fn checked<R: Row>(rows: Vec<R>, first: usize) -> Result<DataFrame, TableError> {
    let frame = DataFrame::new_infer_height(R::columns(rows))?;
    check(&frame, &R::TABLE).map_err(|error| error.with_rows_from(first))?;
    Ok(frame)
}

/// A DataFrame of some rows, checked against its declaration.
///
/// # Errors
/// As [`TableBuilder::finish`].
pub fn frame<R: Row>(rows: impl IntoIterator<Item = R>) -> Result<DataFrame, TableError> {
    let mut builder = TableBuilder::new();
    for row in rows {
        builder.push(row)?;
    }
    builder.finish()
}

/// The rows of a DataFrame, after checking it against their declaration.
///
/// # Errors
/// [`TableError::Mismatch`].
pub fn rows<R: Row>(frame: &DataFrame) -> Result<Vec<R>, TableError> {
    check(frame, &R::TABLE)?;
    Ok(R::from_frame(frame)?)
}
