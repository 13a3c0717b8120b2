//! Run folders: `<out>/<UTC>-<probe>-<hash8>/`, written beside and renamed into place.
//!
//! [`RunFolder`] writes one. Until [`RunFolder::finish`] everything lies in a hidden sibling,
//! `.tmp-<name>`; a run that ends early removes it, and what a killed process leaves behind is
//! removed by the next run. So a folder without `.tmp-` is always whole.
//!
//! [`StoredRun`] reads one back, with its [`Manifest`]: what was run, on what, and the size and
//! SHA-256 of every file.
//!
//! [`AtomicFile`] does the same for a single file. [`Unfinished`] keeps what is done of long work
//! until all of it is; [`Pieces`] are what most long commands put there.

mod atomic;
mod digest;
mod error;
mod folder;
mod manifest;
mod paths;
mod pieces;
mod stored;
mod unfinished;

pub use atomic::AtomicFile;
pub use digest::{digest_bytes, digest_file, digest_prompts, hash8};
pub use error::RunError;
pub(crate) use folder::INCOMPLETE_PREFIX;
pub use folder::RunFolder;
pub use manifest::{
    FileRecord, Guidance, ImageRecord, MANIFEST_FILE, MANIFEST_VERSION, Manifest, ModelRecord,
    RuntimeRecord, SPEC_FILE, SamplingRecord, TrainingRecord, git_revision,
};
pub use pieces::Pieces;
pub use stored::{FileProblem, InProgress, StoredRun, list_runs, unfinished_runs};
pub use unfinished::{Unfinished, UnfinishedError, link_or_copy, make_readable};
