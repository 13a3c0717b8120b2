//! Many files of one table as one: a lazy scan, which holds a piece of them at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use polars::prelude::*;

use super::parquet::stated_of;
use super::{TableDeclaration, TableError};

/// Rows that are written at a time: a piece this size of every column is held.
const ROW_GROUP: usize = 1 << 17;

/// One lazy scan over files of a table, in the order given. Columns are checked when it runs.
///
/// # Errors
/// Polars refuses the scan: there is no file, or a path is not UTF-8.
pub fn scan(table: &TableDeclaration, files: &[PathBuf]) -> Result<LazyFrame, TableError> {
    let paths: Vec<PlRefPath> =
        files.iter().map(|file| PlRefPath::try_from_path(file)).collect::<Result<_, _>>()?;
    let args = ScanArgsParquet {
        schema: Some(Arc::new(table.schema())),
        glob: false,
        cache: false,
        low_memory: true,
        use_statistics: false,
        ..ScanArgsParquet::default()
    };
    Ok(LazyFrame::scan_parquet_files(paths.into_iter().collect(), args)?)
}

/// Writes all files of a table into one, in the order given, without holding more than a piece of
/// them at a time. Values were checked when each file was written.
///
/// # Errors
/// A file has other columns or cannot be read, or the disk is full.
pub fn concatenate(
    table: &TableDeclaration,
    files: &[PathBuf],
    target: &Path,
) -> Result<(), TableError> {
    let options = ParquetWriteOptions {
        key_value_metadata: Some(stated_of(table)),
        row_group_size: Some(ROW_GROUP),
        ..ParquetWriteOptions::default()
    };
    let target = SinkTarget::Path(PlRefPath::try_from_path(target)?);
    scan(table, files)?
        .sink(
            SinkDestination::File { target },
            FileWriteFormat::Parquet(Arc::new(options)),
            UnifiedSinkArgs::default(),
        )?
        .collect_with_engine(Engine::Streaming)?;
    Ok(())
}
