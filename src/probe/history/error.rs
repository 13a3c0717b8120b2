use std::path::PathBuf;

use thiserror::Error;

use crate::measure::Undefined;
use crate::probe::compare::CompareError;
use crate::run::RunError;
use crate::table::TableError;

/// Why there is no history to show; every message says what to do.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// A run cannot be opened.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// A folder cannot be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A folder without runs that judged anything.
    #[error(
        "{} holds no run of probe failures; give run folders, or a folder of them", path.display()
    )]
    NoRuns {
        /// The folder.
        path: PathBuf,
    },
    /// Fewer than two runs that ask the same.
    #[error(
        "{runs} run(s), but no two that ask the same in the same way: suite, judge, sampler, steps, \
         guidance, size and edits must be equal; repeat one of them on another day or checkpoint"
    )]
    NothingInCommon {
        /// Runs that were given.
        runs: usize,
    },
    /// Training steps for some runs only.
    #[error(
        "{given} training steps were given for {runs} runs; give one a run, in the order of the runs"
    )]
    Steps {
        /// Steps given.
        given: usize,
        /// Runs given.
        runs: usize,
    },
    /// Runs that do not say how far their model was trained.
    #[error(
        "{run} does not say how far its model was trained; make it with --training-step (and \
         --training-images), or give --steps with one number a run"
    )]
    NotTrained {
        /// The first such run.
        run: String,
    },
    /// Two runs of one checkpoint.
    #[error("{first} and {second} are both of {trained} {unit}; leave one out")]
    SameCheckpoint {
        /// A run.
        first: String,
        /// Another.
        second: String,
        /// How far both were trained.
        trained: u64,
        /// In what.
        unit: &'static str,
    },
    /// The tables of a run contradict each other.
    #[error(
        "{run}: the tables judgement and outcome are not of the same images (sample {sample}); \
         the run was changed, make it again"
    )]
    Torn {
        /// The run.
        run: String,
        /// The image.
        sample: u32,
    },
    /// A sort of atom that is not there.
    #[error("no prompt asks for {kind:?}; there are {known}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: String,
    },
    /// A statistic that does not exist.
    #[error("category {category}: {source}")]
    Measure {
        /// The category.
        category: String,
        /// Why.
        source: Undefined,
    },
}
