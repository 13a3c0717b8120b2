use std::io;
use std::path::{Path, PathBuf};

use crate::run::{RunError, UnfinishedError};
use crate::suite::SuiteError;
use crate::table::TableError;
use crate::world::UnknownCategory;

/// Shards named in a message.
const NAMED: usize = 8;

/// What can go wrong with a sweep; every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The spec cannot be read.
    #[error("{}: cannot be read: {source}; give a sweep's spec (TOML) or its folder", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The spec is not of the form of sweeps.
    #[error("{}: no sweep: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
    /// The grid asks for something that cannot be.
    #[error("{}: {problem}", path.display())]
    Grid {
        /// The spec.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A suite of the grid.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// A category of the grid.
    #[error(transparent)]
    Category(#[from] UnknownCategory),
    /// The folder belongs to another version of the spec or of denoscope.
    #[error(
        "{}: was written by another version: it is of sweep {found} (denoscope {denoscope}), and \
         this spec is {expected} (denoscope {}); versions never mix, so {remedy}",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// The folder of the sweep or the shard.
        path: PathBuf,
        /// Hash of the sweep it belongs to.
        found: String,
        /// The denoscope that wrote it.
        denoscope: String,
        /// Hash of this sweep.
        expected: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The weights are not those that the sweep began with.
    #[error(
        "the weights of {model} are not those that this sweep began with ({}); restore them, or \
         change the sweep's name and begin anew", path.display()
    )]
    Weights {
        /// The model.
        model: String,
        /// Where those that it began with are written down.
        path: PathBuf,
    },
    /// There is no such sweep.
    #[error("{}: nothing of this sweep is there; run it with `probe sweep` and the same --out", path.display())]
    NotBegun {
        /// Its folder.
        path: PathBuf,
    },
    /// A part or table of a shard cannot be read.
    #[error("{source}; remove {} (it is then made again) and resume", path.display())]
    Part {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// The rows of a shard are not those of its items.
    #[error("shard {shard}: {problem}; remove {} and resume", path.display())]
    Rows {
        /// Number of the shard.
        shard: u32,
        /// What is missing or there twice.
        problem: String,
        /// Its folder.
        path: PathBuf,
    },
    /// Shards are missing.
    #[error(
        "{} of {all} shards are not done ({}); run `probe sweep resume`, and `probe sweep status` \
         says why", missing.len(), listed(missing)
    )]
    Missing {
        /// Numbers of the shards.
        missing: Vec<u32>,
        /// How many there are.
        all: usize,
    },
    /// A folder cannot be put into its place at once.
    #[error(
        "{}: folders cannot be renamed into it ({source}); keep a sweep's whole folder on one file \
         system that renames, or choose another with --out DIR", path.display()
    )]
    Rename {
        /// Where to.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A program of Slurm is not there or refuses.
    #[error("{program}: {says}; {remedy}")]
    Slurm {
        /// The program.
        program: String,
        /// Its own words, or the system's.
        says: String,
        /// What to do.
        remedy: String,
    },
    /// A record of the sweep cannot be understood.
    #[error("{}: {source}; remove it and run again", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Another process is at the shard, or its folder asks something else.
    #[error(transparent)]
    Unfinished(#[from] UnfinishedError),
    /// The file system refused.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A table is not as declared, or cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl SweepError {
    pub(super) fn grid(path: &Path, problem: impl Into<String>) -> Self {
        Self::Grid { path: path.to_owned(), problem: problem.into() }
    }

    /// Whether the next shard would fail in the same way: the disk is full, cannot be written, or
    /// does not rename.
    pub fn is_of_the_disk(error: &(dyn std::error::Error + 'static)) -> bool {
        let is_io = |error: &RunError| matches!(error, RunError::Io { .. });
        match error.downcast_ref() {
            Some(Self::Run(error) | Self::Unfinished(UnfinishedError::Run(error))) => is_io(error),
            Some(Self::Table(error)) => error.is_of_the_disk(),
            Some(Self::Rename { .. }) => true,
            _ => error.downcast_ref().is_some_and(is_io),
        }
    }
}

/// Numbers of shards in a message, the first few.
fn listed(numbers: &[u32]) -> String {
    let named: Vec<String> = numbers.iter().take(NAMED).map(u32::to_string).collect();
    let more = if numbers.len() > NAMED { " …" } else { "" };
    format!("{}{more}", named.join(", "))
}
