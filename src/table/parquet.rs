//! Tables as Parquet files, which name their table and its version.

use std::fs::File;
use std::path::Path;

use polars::prelude::*;

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
    let unreadable = |source| TableError::Unreadable { path: path.to_owned(), source };
    let file =
        File::open(path).map_err(|source| TableError::Open { path: path.to_owned(), source })?;
    let mut reader = ParquetReader::new(file);
    let stated = reader.get_metadata().map_err(unreadable)?.key_value_metadata();
    let stated = |key: &str| {
        stated.iter().flatten().find(|pair| pair.key == key).and_then(|pair| pair.value.clone())
    };
    check_stated(path, table, stated(TABLE_KEY), stated(VERSION_KEY))?;
    let frame = reader.finish().map_err(unreadable)?;
    check(&frame, table)?;
    Ok(frame.select(table.columns.iter().map(|column| column.name))?)
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
