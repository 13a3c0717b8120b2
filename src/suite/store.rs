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
//! Files are only ever added, each whole or not at all, the outcomes of a batch last: what a
//! batch has judged is there in full or not at all, so nothing is lost and nothing counted twice.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::judging::Judged;
use crate::run::{AtomicFile, INCOMPLETE_PREFIX, MANIFEST_FILE, RunError, RunFolder, hash8};
use crate::table::{
    JudgementRow, OutcomeRow, Row, SeenRow, TableError, frame, read_parquet, rows, write_parquet,
};

const QUESTION: &str = "question.toml";
const FINISHED: &str = "finished";
const LOCK: &str = ".lock";
const OUTCOME: &str = "outcome.parquet";
const ATOMS: &str = "atoms.parquet";
const SEEN: &str = "seen.parquet";

/// What tells an image of a run apart: digest of the suite, item, seed.
pub type Key = (String, String, u64);

/// Why a run cannot be begun or gone on with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
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
    root: PathBuf,
    /// Held locked while this process lives.
    _lock: File,
    next_part: usize,
    done: BTreeMap<Key, OutcomeRow>,
}

impl Incomplete {
    /// Begins the run of a question below `out`, or goes on with it where one was cut short.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(out: &Path, probe: &str, question: &str) -> Result<Self, StoreError> {
        let root = out.join(format!("{INCOMPLETE_PREFIX}{probe}-{}", hash8(question)));
        let create = |path: &Path| fs::create_dir_all(path).map_err(RunError::io("create", path));
        create(&root)?;
        let lock = lock(&root)?;
        if is_finished(out, &root) {
            // Killed between finishing and cleaning up: its results are in the run folder.
            clear(&root)?;
        }
        create(&root.join("parts"))?;
        let asked = root.join(QUESTION);
        match fs::read_to_string(&asked) {
            Ok(text) if text != question => return Err(StoreError::Question { path: root }),
            Ok(_) => {}
            Err(_) => AtomicFile::write(&asked, question.as_bytes())?,
        }
        let mut run = Self { root, _lock: lock, next_part: 0, done: BTreeMap::new() };
        for number in run.part_numbers()? {
            run.next_part = run.next_part.max(number + 1);
            for row in run.read_part::<OutcomeRow>(number, OUTCOME)? {
                run.done.insert(key_of(&row), row);
            }
        }
        Ok(run)
    }

    /// Forgets what is done.
    ///
    /// # Errors
    /// [`StoreError::Run`].
    pub fn begin_anew(mut self) -> Result<Self, StoreError> {
        let question = self.root.join(QUESTION);
        let asked = fs::read(&question).map_err(RunError::io("read", &question))?;
        clear(&self.root)?;
        self.path("parts/any")?;
        AtomicFile::write(&question, &asked)?;
        (self.next_part, self.done) = (0, BTreeMap::new());
        Ok(self)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
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
        let path = self.root.join(relative);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(RunError::io("create", folder))?;
        }
        Ok(path)
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
        write_parquet::<SeenRow>(&mut frame(seen)?, &self.part(self.next_part, SEEN))?;
        write_parquet::<JudgementRow>(&mut frame(atoms)?, &self.part(self.next_part, ATOMS))?;
        write_parquet::<OutcomeRow>(&mut frame(outcomes)?, &self.part(self.next_part, OUTCOME))?;
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
        for number in self.part_numbers()? {
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
            let (from, to) = (self.root.join(file), folder.path(file)?);
            // A second name for the same bytes, where the file system can.
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to).map_err(RunError::io("copy", &from))?;
            }
        }
        Ok(AtomicFile::write(&self.root.join(FINISHED), folder.name().as_bytes())?)
    }

    /// Removes the folder: the run is finished.
    ///
    /// # Errors
    /// [`StoreError::Run`].
    pub fn remove(self) -> Result<(), StoreError> {
        Ok(fs::remove_dir_all(&self.root).map_err(RunError::io("remove", &self.root))?)
    }

    fn part(&self, number: usize, table: &str) -> PathBuf {
        self.root.join("parts").join(format!("{number:05}.{table}"))
    }

    /// Numbers of the batches that are done.
    fn part_numbers(&self) -> Result<Vec<usize>, StoreError> {
        let folder = self.root.join("parts");
        let entries = fs::read_dir(&folder).map_err(RunError::io("list", &folder))?;
        let mut numbers: Vec<usize> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.strip_suffix(OUTCOME)?.strip_suffix('.')?.parse().ok()
            })
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read_part<R: Row>(&self, number: usize, table: &str) -> Result<Vec<R>, StoreError> {
        let path = self.part(number, table);
        let read = read_parquet::<R>(&path).and_then(|frame| rows(&frame));
        // Without its outcomes a batch counts as not done.
        let path = self.part(number, OUTCOME);
        read.map_err(|source| StoreError::Part { path, source })
    }
}

fn key_of(row: &OutcomeRow) -> Key {
    (row.suite_hash.clone(), row.item.clone(), row.seed)
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join(LOCK);
    let file = File::create(&path).map_err(RunError::io("write", &path))?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Busy { path: root.to_owned() }),
        // A file system without locks is no reason to fail.
        Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(file),
    }
}

fn is_finished(out: &Path, root: &Path) -> bool {
    fs::read_to_string(root.join(FINISHED))
        .is_ok_and(|name| out.join(name.trim()).join(MANIFEST_FILE).is_file())
}

/// Removes everything but the lock.
fn clear(root: &Path) -> Result<(), StoreError> {
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
