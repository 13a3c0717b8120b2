//! Tables that are written while their rows come in.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use polars::prelude::*;

use super::build::checked;
use super::parquet::stated_of;
use super::{Row, TableError};
use crate::run::{AtomicFile, RunError};

/// A Parquet file that is written in row groups as rows come in, so that memory holds one group,
/// however long the table grows. The file appears under its name, whole, with
/// [`ParquetStream::finish`]; a program that is killed before leaves nothing under that name.
pub struct ParquetStream<R> {
    writer: polars::io::parquet::write::BatchedWriter<Shared>,
    file: Shared,
    path: PathBuf,
    rows: Vec<R>,
    group: usize,
    written: usize,
}

impl<R> fmt::Debug for ParquetStream<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetStream")
            .field("path", &self.path)
            .field("written", &self.written)
            .field("waiting", &self.rows.len())
            .finish_non_exhaustive()
    }
}

impl<R: Row> ParquetStream<R> {
    /// Rows of a group unless a caller says otherwise: few enough for memory, enough for readers to
    /// be fast.
    pub const GROUP_ROWS: usize = 1 << 16;

    /// Starts the table at `path`, in groups of `group` rows (at least one).
    ///
    /// # Errors
    /// [`TableError::Write`] when the folder is missing or cannot be written to.
    pub fn create(path: &Path, group: usize) -> Result<Self, TableError> {
        let file = Shared::new(AtomicFile::create(path)?);
        let empty = checked::<R>(Vec::new(), 0)?;
        let writer = ParquetWriter::new(file.clone())
            .with_key_value_metadata(Some(stated_of(&R::TABLE)))
            .batched(empty.schema())
            .map_err(|error| file.explained(path, error))?;
        let (path, rows, group) = (path.to_owned(), Vec::new(), group.max(1));
        Ok(Self { writer, file, path, rows, group, written: 0 })
    }

    /// Adds a row; writes a group when one is complete.
    ///
    /// # Errors
    /// [`TableError::Mismatch`] for a value that is not as declared, [`TableError::Write`] when
    /// the disk is full.
    pub fn push(&mut self, row: R) -> Result<(), TableError> {
        self.rows.push(row);
        if self.rows.len() >= self.group { self.write_group() } else { Ok(()) }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.written + self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes what is left and puts the file in its place.
    ///
    /// # Errors
    /// As [`ParquetStream::push`]; then nothing is left.
    pub fn finish(mut self) -> Result<(), TableError> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        let Self { writer, file, path, .. } = self;
        writer.finish().map_err(|error| file.explained(&path, error))?;
        drop(writer);
        Ok(file.into_file(&path)?.commit()?)
    }

    fn write_group(&mut self) -> Result<(), TableError> {
        let group = checked(std::mem::take(&mut self.rows), self.written)?;
        self.writer.write_batch(&group).map_err(|error| self.file.explained(&self.path, error))?;
        self.written += group.height();
        Ok(())
    }
}

/// The file, which the writer does not give back, and what the system said when it could not be
/// written: polars makes text of it.
#[derive(Clone)]
struct Shared(Rc<RefCell<Written>>);

struct Written {
    file: AtomicFile,
    failed: Option<io::Error>,
}

impl Shared {
    fn new(file: AtomicFile) -> Self {
        Self(Rc::new(RefCell::new(Written { file, failed: None })))
    }

    fn explained(&self, path: &Path, error: PolarsError) -> TableError {
        match self.0.borrow_mut().failed.take() {
            Some(source) => RunError::io("write", path)(source).into(),
            None => error.into(),
        }
    }

    fn into_file(self, path: &Path) -> Result<AtomicFile, RunError> {
        let held = || io::Error::other("it is still being written");
        let written = Rc::try_unwrap(self.0).map_err(|_| RunError::io("write", path)(held()))?;
        Ok(written.into_inner().file)
    }

    fn attempt<T>(&self, work: impl FnOnce(&mut AtomicFile) -> io::Result<T>) -> io::Result<T> {
        let mut written = self.0.borrow_mut();
        work(&mut written.file).inspect_err(|error| {
            let same = match error.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(error.kind(), error.to_string()),
            };
            written.failed = Some(same);
        })
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(|file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(AtomicFile::flush)
    }
}
