//! What is done of a suite's run, kept until all of it is: a killed run goes on where it was.
//!
//! A run in progress is a folder `.incomplete-<probe>-<hash8>` beside the finished runs, named by
//! what is asked (suites, model, sampling, judge), so that the same command finds it again:
//!
//! ```text
//! question.toml            what is asked, in full
//! parts/00000.{atoms,seen,outcome}.parquet   of each finished batch
//! images/…                 images that are kept
//! finished                 name of the run folder, once it is being put together
//! ```
//!
//! The outcomes of a batch are written last: what a batch has judged is there in full or not at
//! all ([`Unfinished`]).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::judging::Judged;
use crate::run::{
    AtomicFile, INCOMPLETE_PREFIX, MANIFEST_FILE, RunError, RunFolder, Unfinished, UnfinishedError,
    hash8, link_or_copy,
};
use crate::table::{
    JudgementRow, OutcomeRow, Row, SeenRow, TableError, frame, read_parquet, rows, write_parquet,
};

const FINISHED: &str = "finished";
const OUTCOME: &str = "outcome.parquet";
const ATOMS: &str = "atoms.parquet";
const SEEN: &str = "seen.parquet";

/// What tells an image of a run apart: digest of the suite, item, seed.
pub type Key = (String, String, u64);

/// Why a run cannot be begun or gone on with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process is at it, or the folder asks something else.
    #[error(transparent)]
    Unfinished(#[from] UnfinishedError),
    /// A part that another version of this program wrote.
    #[error("{0}; or begin anew with --fresh, which forgets what is done")]
    Version(TableError),
    /// A part cannot be read.
    #[error("{source}; remove {} (its batch is then made again) and run again", path.display())]
    Part {
        /// The part.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// The file system refused.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A table is not as declared.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// A run in progress.
#[derive(Debug)]
pub struct Incomplete {
    work: Unfinished,
    next_part: usize,
    done: BTreeMap<Key, OutcomeRow>,
}

impl Incomplete {
    /// Begins the run of a question below `out`, or goes on with it where one was cut short.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(out: &Path, probe: &str, question: &str) -> Result<Self, StoreError> {
        let work = work(out, probe, question)?;
        let mut run = Self { work, next_part: 0, done: BTreeMap::new() };
        for number in run.work.part_numbers(OUTCOME)? {
            run.next_part = run.next_part.max(number + 1);
            for row in run.read_part::<OutcomeRow>(number, OUTCOME)? {
                run.done.insert(key_of(&row), row);
            }
        }
        Ok(run)
    }

    /// Begins the run of a question, whatever is there of it, damaged or not: that is forgotten.
    ///
    /// # Errors
    /// [`StoreError::Unfinished`], [`StoreError::Run`].
    pub fn begin_anew(out: &Path, probe: &str, question: &str) -> Result<Self, StoreError> {
        let work = work(out, probe, question)?;
        work.begin_anew()?;
        Ok(Self { work, next_part: 0, done: BTreeMap::new() })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.work.root()
    }

    /// What is judged already.
    pub fn done(&self) -> &BTreeMap<Key, OutcomeRow> {
        &self.done
    }

    /// Where a file of the run is to be written; makes the folders above it.
    ///
    /// # Errors
    /// [`StoreError::Run`].
    pub fn path(&self, relative: &str) -> Result<PathBuf, StoreError> {
        Ok(self.work.path(relative)?)
    }

    /// Adds a finished batch.
    ///
    /// # Errors
    /// A full disk, or a value that is not as declared; then the batch is not there at all.
    pub fn add(&mut self, batch: &[Judged]) -> Result<(), StoreError> {
        let atoms = batch.iter().flat_map(|judged| judged.atoms.iter().cloned());
        let outcomes = batch.iter().map(|judged| judged.outcome.clone());
        let seen = batch.iter().flat_map(|judged| judged.seen.iter().cloned());
        // The outcomes last: they say that the batch is done.
        let part = |table| self.work.part(self.next_part, table);
        write_parquet::<SeenRow>(&mut frame(seen)?, &part(SEEN))?;
        write_parquet::<JudgementRow>(&mut frame(atoms)?, &part(ATOMS))?;
        write_parquet::<OutcomeRow>(&mut frame(outcomes)?, &part(OUTCOME))?;
        self.next_part += 1;
        for judged in batch {
            self.done.insert(key_of(&judged.outcome), judged.outcome.clone());
        }
        Ok(())
    }

    /// The single expectations of all parts, by image.
    ///
    /// # Errors
    /// [`StoreError::Part`].
    pub fn atoms(&self) -> Result<Vec<JudgementRow>, StoreError> {
        let mut atoms: Vec<JudgementRow> = self.all(ATOMS)?;
        atoms.sort_by_key(|row| row.sample);
        Ok(atoms)
    }

    /// What was seen in the images of all parts, by image.
    ///
    /// # Errors
    /// [`StoreError::Part`].
    pub fn seen(&self) -> Result<Vec<SeenRow>, StoreError> {
        let mut seen: Vec<SeenRow> = self.all(SEEN)?;
        seen.sort_by_key(|row| (row.sample, row.number));
        Ok(seen)
    }

    fn all<R: Row>(&self, table: &str) -> Result<Vec<R>, StoreError> {
        let mut all = Vec::new();
        for number in self.work.part_numbers(OUTCOME)? {
            all.extend(self.read_part::<R>(number, table)?);
        }
        Ok(all)
    }

    /// Puts the images that are kept into the run's folder as well, and notes its name, so that
    /// a process killed from here on leaves one run and not two.
    ///
    /// # Errors
    /// [`StoreError::Run`].
    pub fn hand_over(&self, folder: &RunFolder) -> Result<(), StoreError> {
        for file in self.done.values().filter_map(|row| row.image.as_deref()) {
            link_or_copy(&self.root().join(file), &folder.path(file)?)?;
        }
        Ok(AtomicFile::write(&self.root().join(FINISHED), folder.name().as_bytes())?)
    }

    /// Removes the folder: the run is finished.
    ///
    /// # Errors
    /// [`StoreError::Run`].
    pub fn remove(self) -> Result<(), StoreError> {
        Ok(self.work.remove()?)
    }

    fn read_part<R: Row>(&self, number: usize, table: &str) -> Result<Vec<R>, StoreError> {
        let path = self.work.part(number, table);
        let read = read_parquet::<R>(&path).and_then(|frame| rows(&frame));
        // Without its outcomes a batch counts as not done.
        let path = self.work.part(number, OUTCOME);
        read.map_err(|source| match source {
            TableError::Version { .. } => StoreError::Version(source),
            _ => StoreError::Part { path, source },
        })
    }
}

fn work(out: &Path, probe: &str, question: &str) -> Result<Unfinished, UnfinishedError> {
    let root = out.join(format!("{INCOMPLETE_PREFIX}{probe}-{}", hash8(question)));
    // Killed between finishing and cleaning up: its results are in the run folder.
    Unfinished::open(&root, question, |root| is_finished(out, root))
}

fn key_of(row: &OutcomeRow) -> Key {
    (row.suite_hash.clone(), row.item.clone(), row.seed)
}

fn is_finished(out: &Path, root: &Path) -> bool {
    fs::read_to_string(root.join(FINISHED))
        .is_ok_and(|name| out.join(name.trim()).join(MANIFEST_FILE).is_file())
}
