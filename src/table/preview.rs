//! The first rows of any stored table, whatever it is: for pages that show tables they do not
//! know.

use std::path::Path;

use polars::prelude::*;

use super::parquet::{open, stated};
use super::{TableDeclaration, TableError, declaration};

/// A value of any column, for people.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text, and what is neither text nor number.
    Text(String),
    /// A number.
    Number(f64),
    /// Null.
    Missing,
}

/// The first rows of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// Its declaration, if the file names a table that is declared in this version.
    pub declaration: Option<&'static TableDeclaration>,
    /// The table's name in the file, else the file's.
    pub name: String,
    /// How many rows there are.
    pub rows: usize,
    /// Names of the columns; those of lists are left out.
    pub columns: Vec<String>,
    /// The first rows, a value for each of the columns.
    pub first: Vec<Vec<Value>>,
}

/// Reads at most `most` rows of a Parquet file.
///
/// # Errors
/// [`TableError::Open`], [`TableError::Unreadable`].
pub fn preview(path: &Path, most: usize) -> Result<Preview, TableError> {
    let unreadable = |source| TableError::Unreadable { path: path.to_owned(), source };
    let mut reader = open(path)?;
    let (stated_name, version) = stated(&mut reader).map_err(unreadable)?;
    let rows = reader.num_rows().map_err(unreadable)?;
    let frame = reader.with_slice(Some((0, most))).finish().map_err(unreadable)?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = stated_name.or(stem).unwrap_or_default();
    let known = declaration(&name).ok();
    let declaration = known.filter(|d| version.is_none_or(|v| v == d.version.to_string()));
    let shown: Vec<&Column> =
        frame.columns().iter().filter(|column| !column.dtype().is_list()).collect();
    let columns = shown.iter().map(|column| column.name().to_string()).collect();
    let row = |row: usize| -> PolarsResult<Vec<Value>> {
        shown.iter().map(|column| Ok(value(column.get(row)?))).collect()
    };
    let first = (0..frame.height()).map(row).collect::<PolarsResult<_>>()?;
    Ok(Preview { declaration, name, rows, columns, first })
}

fn value(value: AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Missing,
        AnyValue::String(text) => Value::Text(text.to_owned()),
        AnyValue::Boolean(true) => Value::Text("yes".to_owned()),
        AnyValue::Boolean(false) => Value::Text("no".to_owned()),
        // Whole numbers are names and counts: none of their digits may go.
        AnyValue::Float32(x) => Value::Number(f64::from(x)),
        AnyValue::Float64(x) => Value::Number(x),
        other => Value::Text(other.to_string()),
    }
}
