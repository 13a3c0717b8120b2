//! Work in progress, kept until all of it is done: a killed run goes on where it was.
//!
//! ```text
//! question.toml            what is asked, in full
//! parts/00000.<table>.parquet …   files of one part, the last of which says that it is whole
//! .lock                    held as long as the process that writes here lives
//! ```
//!
//! Files are only ever added, each whole or not at all. A part counts once its last file is there,
//! so nothing is lost and nothing counted twice.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::{AtomicFile, RunError};

const QUESTION: &str = "question.toml";
const PARTS: &str = "parts";
const LOCK: &str = ".lock";

/// Why work cannot be begun or gone on with.
#[derive(Debug, thiserror::Error)]
pub enum UnfinishedError {
    /// Another process is at it.
    #[error(
        "{}: another run of the same question is writing here; wait for it, or choose another \
         folder with --out DIR", path.display()
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of the same name asks something else.
    #[error("{}: holds another question; remove the folder and run again", path.display())]
    Question {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refused.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A folder of work in progress, which this process alone writes to.
#[derive(Debug)]
pub struct Unfinished {
    root: PathBuf,
    /// Held locked while this process lives.
    _lock: File,
}

impl Unfinished {
    /// Begins the work in the folder `root`, or goes on with what is there. Where `is_over` says
    /// so of the folder, what is there belongs to finished work and is removed first.
    ///
    /// # Errors
    /// [`UnfinishedError`].
    pub fn open(
        root: &Path,
        question: &str,
        is_over: impl FnOnce(&Path) -> bool,
    ) -> Result<Self, UnfinishedError> {
        fs::create_dir_all(root).map_err(RunError::io("create", root))?;
        let work = Self { root: root.to_owned(), _lock: lock(root)? };
        if is_over(root) {
            work.clear()?;
        }
        work.path("parts/any")?;
        let asked = root.join(QUESTION);
        match fs::read_to_string(&asked) {
            Ok(text) if text != question => {
                return Err(UnfinishedError::Question { path: root.to_owned() });
            }
            Ok(_) => {}
            Err(_) => AtomicFile::write(&asked, question.as_bytes())?,
        }
        Ok(work)
    }

    /// Whether another process is at work in the folder `root`.
    pub fn is_busy(root: &Path) -> bool {
        let file = File::open(root.join(LOCK));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
    }

    /// Forgets what is done.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn begin_anew(&self) -> Result<(), RunError> {
        let question = self.root.join(QUESTION);
        let asked = fs::read(&question).map_err(RunError::io("read", &question))?;
        self.clear()?;
        self.path("parts/any")?;
        AtomicFile::write(&question, &asked)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a file of the work is to be written; makes the folders above it.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn path(&self, relative: &str) -> Result<PathBuf, RunError> {
        let path = self.root.join(relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(RunError::io("create", folder))?;
        }
        Ok(path)
    }

    /// A file of a part.
    pub fn part(&self, number: usize, file: &str) -> PathBuf {
        self.root.join(PARTS).join(format!("{number:05}.{file}"))
    }

    /// Numbers of the parts that have the file `last`, ascending.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn part_numbers(&self, last: &str) -> Result<Vec<usize>, RunError> {
        let number = |name: &str| name.strip_suffix(last)?.strip_suffix('.')?.parse().ok();
        let mut numbers: Vec<usize> =
            self.part_files()?.iter().filter_map(|name| number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Names of the files of all parts.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn part_files(&self) -> Result<Vec<String>, RunError> {
        let folder = self.root.join(PARTS);
        let entries = fs::read_dir(&folder).map_err(RunError::io("list", &folder))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// Removes the folder: the work is finished.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn remove(self) -> Result<(), RunError> {
        fs::remove_dir_all(&self.root).map_err(RunError::io("remove", &self.root))
    }

    /// Removes everything but the lock.
    fn clear(&self) -> Result<(), RunError> {
        let root = &self.root;
        for entry in fs::read_dir(root).map_err(RunError::io("list", root))?.flatten() {
            let path = entry.path();
            let removed = match entry.file_type() {
                _ if entry.file_name() == LOCK => Ok(()),
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            removed.map_err(RunError::io("remove", &path))?;
        }
        Ok(())
    }
}

fn lock(root: &Path) -> Result<File, UnfinishedError> {
    let path = root.join(LOCK);
    let file = File::create(&path).map_err(RunError::io("write", &path))?;
    match file.try_lock() {
        // A file system without locks is no reason to fail.
        Ok(()) | Err(fs::TryLockError::Error(_)) if is_there_still(&file, &path) => Ok(file),
        _ => Err(UnfinishedError::Busy { path: root.to_owned() }),
    }
}

/// Whether the file is still the one under its name: another process may have finished, and
/// removed the folder, between our opening and our locking it.
#[cfg(unix)]
fn is_there_still(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => identity(ours) == identity(named),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_there_still(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Lets everybody read a temporary folder, which is private by default, before it is moved into its
/// place.
///
/// # Errors
/// [`RunError::Io`].
pub fn make_readable(folder: &Path) -> Result<(), RunError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder, mode).map_err(RunError::io("write into", folder))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Gives a file a second name for the same bytes, or copies it where the file system cannot.
///
/// # Errors
/// [`RunError::Io`].
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), RunError> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).map_err(RunError::io("copy", from))?;
    }
    Ok(())
}
