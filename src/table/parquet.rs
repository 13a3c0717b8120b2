//! Tables as Parquet files, which name their table and its version.

use std::fs::File;
use std::path::Path;

use polars::prelude::*;

use super::check::check_columns;
use super::{Row, TableDeclaration, TableError, check};
use crate::run::AtomicFile;

/// Key of the table's name in a file's metadata.
const TABLE_KEY: &str = "denoscope.table";
/// Key of the version of the table's declaration.
const VERSION_KEY: &str = "denoscope.version";

/// Writes a table, after checking it; the file appears whole or not at all.
///
/// # Errors
/// [`TableError::Mismatch`], [`TableError::Write`].
pub fn write_parquet<R: Row>(frame: &mut DataFrame, path: &Path) -> Result<(), TableError> {
    write_declared(frame, &R::TABLE, path)
}

/// As [`write_parquet`], of a table known by its declaration alone.
pub(super) fn write_declared(
    frame: &mut DataFrame,
    table: &TableDeclaration,
    path: &Path,
) -> Result<(), TableError> {
    check(frame, table)?;
    let mut file = AtomicFile::create(path)?;
    let written =
        ParquetWriter::new(&mut file).with_key_value_metadata(Some(stated_of(table))).finish(frame);
    // Polars wraps the words of the file system in its own.
    if let Some(error) = file.failure() {
        return Err(error.into());
    }
    written?;
    Ok(file.commit()?)
}

/// What a file says of its table.
pub(super) fn stated_of(table: &TableDeclaration) -> KeyValueMetadata {
    let pairs = [
        (TABLE_KEY.to_owned(), table.name.to_owned()),
        (VERSION_KEY.to_owned(), table.version.to_string()),
    ];
    KeyValueMetadata::from_static(pairs.to_vec())
}

/// Reads a table and checks it against its declaration; columns come in the declared order.
///
/// A file without denoscope's metadata (rewritten by another program, say) is taken at its
/// columns.
///
/// # Errors
/// [`TableError::Open`], [`TableError::Unreadable`], [`TableError::OtherTable`],
/// [`TableError::Version`], [`TableError::Mismatch`].
pub fn read_parquet<R: Row>(path: &Path) -> Result<DataFrame, TableError> {
    read_declared(&R::TABLE, path)
}

/// As [`read_parquet`], of a table known by its declaration alone.
pub(super) fn read_declared(
    table: &TableDeclaration,
    path: &Path,
) -> Result<DataFrame, TableError> {
    let frame = open_table(table, path)?.finish().map_err(unreadable(path))?;
    check(&frame, table)?;
    Ok(frame.select(table.columns.iter().map(|column| column.name))?)
}

/// Some columns of a table, in the order given: a long table has columns that not every reader
/// needs the memory of.
///
/// # Errors
/// As [`read_parquet`].
pub fn read_parquet_columns<R: Row>(
    path: &Path,
    columns: &[&str],
) -> Result<DataFrame, TableError> {
    let names = columns.iter().map(|&name| name.to_owned()).collect();
    let read = open_table(&R::TABLE, path)?.with_columns(Some(names)).finish();
    let Ok(frame) = read else {
        // A column that is missing: reading all of it says which.
        return Ok(read_parquet::<R>(path)?.select(columns.iter().copied())?);
    };
    check_columns(&frame, &R::TABLE, columns.iter().filter_map(|name| R::TABLE.column(name)))?;
    Ok(frame.select(columns.iter().copied())?)
}

fn unreadable(path: &Path) -> impl Fn(PolarsError) -> TableError + '_ {
    move |source| TableError::Unreadable { path: path.to_owned(), source }
}

/// A file that says that it holds this table.
fn open_table(table: &TableDeclaration, path: &Path) -> Result<ParquetReader<File>, TableError> {
    let mut reader = open(path)?;
    let (name, version) = stated(&mut reader).map_err(unreadable(path))?;
    check_stated(path, table, name, version)?;
    Ok(reader)
}

/// A file, not read yet.
pub(super) fn open(path: &Path) -> Result<ParquetReader<File>, TableError> {
    let file =
        File::open(path).map_err(|source| TableError::Open { path: path.to_owned(), source })?;
    Ok(ParquetReader::new(file))
}

/// Name and version of the table, as far as the file says them.
pub(super) fn stated(
    reader: &mut ParquetReader<File>,
) -> PolarsResult<(Option<String>, Option<String>)> {
    let stated = reader.get_metadata()?.key_value_metadata();
    let stated = |key: &str| {
        stated.iter().flatten().find(|pair| pair.key == key).and_then(|pair| pair.value.clone())
    };
    Ok((stated(TABLE_KEY), stated(VERSION_KEY)))
}

fn check_stated(
    path: &Path,
    table: &TableDeclaration,
    name: Option<String>,
    version: Option<String>,
) -> Result<(), TableError> {
    let path = path.to_owned();
    match (name, version) {
        (Some(found), _) if found != table.name => {
            Err(TableError::OtherTable { path, expected: table.name, found })
        }
        (Some(_), Some(found)) if found != table.version.to_string() => {
            Err(TableError::Version { path, table: table.name, found, known: table.version })
        }
        _ => Ok(()),
    }
}
