//! The cells of a table's columns without row structs, for tables of a million rows; and CSV files
//! that users write.

use std::fs::File;
use std::path::Path;

use polars::prelude::*;

use super::TableError;

/// The cells of a text column, in order.
///
/// # Errors
/// [`TableError::Polars`] when there is no such column of texts.
pub fn texts<'a>(
    frame: &'a DataFrame,
    column: &str,
) -> Result<impl Iterator<Item = Option<&'a str>> + use<'a>, TableError> {
    Ok(frame.column(column)?.str()?.iter())
}

/// The cells of a column of whole numbers, in order.
///
/// # Errors
/// [`TableError::Polars`] when there is no such column of numbers.
pub fn numbers<'a>(
    frame: &'a DataFrame,
    column: &str,
) -> Result<Box<dyn Iterator<Item = Option<u64>> + 'a>, TableError> {
    let column = frame.column(column)?;
    Ok(match column.dtype() {
        DataType::UInt32 => Box::new(column.u32()?.iter().map(|cell| cell.map(u64::from))),
        _ => Box::new(column.u64()?.iter()),
    })
}

/// The cells of a column of numbers with fractions, in order.
///
/// # Errors
/// [`TableError::Polars`] when there is no such column.
pub fn fractions<'a>(
    frame: &'a DataFrame,
    column: &str,
) -> Result<impl Iterator<Item = Option<f64>> + use<'a>, TableError> {
    Ok(frame.column(column)?.f64()?.iter())
}

/// The cells of a column of yes and no, in order.
///
/// # Errors
/// [`TableError::Polars`] when there is no such column.
pub fn flags<'a>(
    frame: &'a DataFrame,
    column: &str,
) -> Result<impl Iterator<Item = Option<bool>> + use<'a>, TableError> {
    Ok(frame.column(column)?.bool()?.iter())
}

/// A table that a user wrote, every cell as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTable {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

impl TextTable {
    /// Reads a CSV file with a header line. Cells stay text, so that an item called `001` stays what
    /// it is; spaces around them are left out.
    ///
    /// # Errors
    /// [`TableError::Open`], [`TableError::Unreadable`].
    pub fn read_csv(path: &Path) -> Result<Self, TableError> {
        let file = File::open(path)
            .map_err(|source| TableError::Open { path: path.to_owned(), source })?;
        let unreadable = |source| TableError::Unreadable { path: path.to_owned(), source };
        let frame = CsvReadOptions::default()
            .with_infer_schema_length(Some(0))
            .into_reader_with_file_handle(file)
            .finish()
            .map_err(unreadable)?;
        let columns: Vec<String> =
            frame.get_column_names().into_iter().map(|name| name.trim().to_owned()).collect();
        let mut rows = vec![Vec::new(); frame.height()];
        for column in frame.columns() {
            for (row, cell) in rows.iter_mut().zip(column.str().map_err(unreadable)?.iter()) {
                row.push(cell.map(|text| text.trim().to_owned()));
            }
        }
        Ok(Self { columns, rows })
    }

    /// How many rows.
    pub fn height(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has a column.
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }

    /// A cell; `None` where it is empty, or there is no such row or column.
    pub fn cell(&self, row: usize, column: &str) -> Option<&str> {
        let column = self.columns.iter().position(|name| name == column)?;
        self.rows.get(row)?.get(column)?.as_deref().filter(|text| !text.is_empty())
    }
}
