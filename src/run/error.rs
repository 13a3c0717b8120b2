use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What can go wrong with a run folder; every message says what to do.
#[derive(Debug, Error)]
pub enum RunError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was tried, as a verb: "create".
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The probe's name cannot be part of a folder name.
    #[error("probe name {name:?} cannot name a folder; use lower-case letters, digits and dashes")]
    ProbeName {
        /// The name given.
        name: String,
    },
    /// A path inside a run leads, or could lead, out of it.
    #[error(
        "path {path:?} does not stay inside the run folder; \
         paths in a run are relative, with plain names between slashes"
    )]
    Escapes {
        /// The path given or found in the manifest.
        path: String,
    },
    /// Something in the folder is neither a file nor a folder.
    #[error(
        "{} is not a plain file; a run holds only files and folders, so remove it or copy what \
         it points to", path.display()
    )]
    NotPlainFile {
        /// Where it is.
        path: PathBuf,
    },
    /// Too many runs of the same second, probe and spec.
    #[error(
        "{} has {tried} folders named {name} already; choose another folder with --out",
        out.display()
    )]
    NamesTaken {
        /// The folder of runs.
        out: PathBuf,
        /// The name that is taken.
        name: String,
        /// How many suffixes were tried.
        tried: usize,
    },
    /// The folder to read holds no finished run.
    #[error("{} is not a finished run: {reason}", path.display())]
    NotARun {
        /// What was to be opened.
        path: PathBuf,
        /// What is missing, and what to do.
        reason: String,
    },
    /// The manifest cannot be understood.
    #[error(
        "cannot read {}: {source}; the file was changed or cut off, restore it or run again",
        path.display()
    )]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it, with line and column.
        source: serde_json::Error,
    },
    /// The manifest was written by a later version.
    #[error(
        "{} has manifest version {found}, this denoscope reads up to {known}; \
         update denoscope, or repeat the run with this version", path.display()
    )]
    ManifestVersion {
        /// The manifest.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The latest version known here.
        known: u32,
    },
    /// The manifest could not be turned into JSON.
    #[error("cannot write the manifest: {source}; give finite numbers only")]
    Encode {
        /// What the encoder said.
        source: serde_json::Error,
    },
    /// The run has no such file.
    #[error("run {run} has no file {path:?}{}", nearest.as_ref().map_or(String::new(), |name| format!("; did you mean {name:?}?")))]
    NoSuchFile {
        /// Name of the run.
        run: String,
        /// The file asked for.
        path: String,
        /// The listed file with the most similar name.
        nearest: Option<String>,
    },
}

impl RunError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// What to do about an error of the file system, to go behind its message.
fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::PermissionDenied => "; choose a folder you may write to with --out DIR",
        Kind::ReadOnlyFilesystem => "; this disk is read-only, choose another with --out DIR",
        Kind::StorageFull | Kind::QuotaExceeded => {
            "; free some space, or choose another disk with --out DIR"
        }
        Kind::FileTooLarge => {
            "; raise the limit on the size of files (ulimit -f), or choose another disk with --out DIR"
        }
        Kind::NotADirectory | Kind::AlreadyExists => {
            "; a file is in the way, move it or choose another folder with --out DIR"
        }
        Kind::NotFound => "; check the spelling of the path",
        Kind::InvalidFilename => "; use a shorter path with plain characters",
        _ => "",
    }
}
