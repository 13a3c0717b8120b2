use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::RunError;

/// A file that appears under its name only when it is complete.
///
/// It is written beside its target and renamed by [`AtomicFile::commit`]; dropped before that,
/// it is removed and what was at the target stays.
#[derive(Debug)]
pub struct AtomicFile {
    file: BufWriter<NamedTempFile>,
    target: PathBuf,
    /// Kind and words of the last error of writing.
    failed: Option<(io::ErrorKind, String)>,
}

impl AtomicFile {
    /// Starts writing `target`; its folder must exist.
    ///
    /// # Errors
    /// [`RunError::Io`] when the folder is missing or cannot be written to.
    pub fn create(target: &Path) -> Result<Self, RunError> {
        let folder = match target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut builder = Builder::new();
        builder.prefix(".tmp-");
        // A temporary file is private by default; the result should be as readable as any file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(RunError::io("write into", folder))?;
        Ok(Self { file: BufWriter::new(file), target: target.to_owned(), failed: None })
    }

    /// What the file system refused last: writers of formats wrap its words in theirs, and then
    /// a full disk cannot be told from a damaged table.
    pub fn failure(&self) -> Option<RunError> {
        let (kind, message) = self.failed.clone()?;
        let error = io::Error::new(kind, message);
        Some(RunError::io("write", &self.target)(error))
    }

    fn remember<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &outcome {
            self.failed = Some((error.kind(), error.to_string()));
        }
        outcome
    }

    /// Puts the file in its place, replacing what was there.
    ///
    /// # Errors
    /// [`RunError::Io`] when the disk is full or the target is a folder.
    pub fn commit(self) -> Result<(), RunError> {
        let write = || RunError::io("write", &self.target);
        let file = self.file.into_inner().map_err(|error| write()(error.into_error()))?;
        // Without this a power cut soon after could leave an empty file under the final name.
        file.as_file().sync_all().map_err(write())?;
        file.persist(&self.target).map_err(|error| write()(error.error))?;
        Ok(())
    }

    /// Writes a whole file at once.
    ///
    /// # Errors
    /// As [`AtomicFile::create`] and [`AtomicFile::commit`].
    pub fn write(target: &Path, bytes: &[u8]) -> Result<(), RunError> {
        let mut file = Self::create(target)?;
        file.write_all(bytes).map_err(RunError::io("write", target))?;
        file.commit()
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.file.write(bytes);
        self.remember(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.file.flush();
        self.remember(outcome)
    }
}
