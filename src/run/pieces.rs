//! What a long command has worked out so far, piece by piece: after Ctrl-C or a kill the same
//! command goes on with it, and repeats no finished piece.
//!
//! ```
//! # use denoscope::run::{Pieces, RunError};
//! # let out = tempfile::tempdir().unwrap();
//! # let out = out.path();
//! let pieces = Pieces::open(out, "timesteps", "kind = 'timesteps'").unwrap();
//! let first: Vec<f64> = pieces.piece("means-0", || Ok::<_, RunError>(vec![0.5, 0.25])).unwrap();
//! drop(pieces); // killed here
//! let pieces = Pieces::open(out, "timesteps", "kind = 'timesteps'").unwrap();
//! let again: Vec<f64> = pieces.piece("means-0", || Err(RunError::ProbeName { name: String::new() })).unwrap();
//! assert_eq!((pieces.found(), first), (1, again));
//! ```

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::folder::{INCOMPLETE_PREFIX, RunFolder};
use super::manifest::MANIFEST_FILE;
use super::{AtomicFile, RunError, Unfinished, UnfinishedError, hash8};

/// Under this piece the run's name is kept.
const RUN: &str = "run";
const ENDING: &str = "piece";

/// The name of a run, which stands in its rows, and when it began.
#[derive(Serialize, Deserialize)]
struct Begun {
    name: String,
    /// UTC, as RFC 3339 has it.
    started: String,
}

/// Finished pieces of a run that is not whole yet, in a folder `.incomplete-<probe>-<hash8>` beside
/// the finished runs, named by what is asked.
#[derive(Debug)]
pub struct Pieces {
    work: Unfinished,
    found: usize,
}

impl Pieces {
    /// Begins the run of a question below `out`, or goes on with it where one was cut short. The
    /// question says in full what is asked, so that pieces of another one are never taken.
    ///
    /// # Errors
    /// [`UnfinishedError`].
    pub fn open(out: &Path, probe: &str, question: &str) -> Result<Self, UnfinishedError> {
        let root = out.join(format!("{INCOMPLETE_PREFIX}{probe}-{}", hash8(question)));
        // Killed between finishing and cleaning up: its results are in the run folder.
        let is_over = |root: &Path| {
            let begun = fs::read(root.join(file(RUN))).ok();
            let begun = begun.and_then(|bytes| postcard::from_bytes::<Begun>(&bytes).ok());
            begun.is_some_and(|begun| out.join(begun.name).join(MANIFEST_FILE).is_file())
        };
        let work = Unfinished::open(&root, question, is_over)?;
        let is_piece = |name: &String| name.ends_with(ENDING) && *name != format!("{RUN}.{ENDING}");
        let found = work.part_files()?.iter().filter(|name| is_piece(name)).count();
        Ok(Self { work, found })
    }

    /// How many pieces were there when it was opened.
    pub fn found(&self) -> usize {
        self.found
    }

    /// Forgets all pieces.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn begin_anew(&mut self) -> Result<(), RunError> {
        self.found = 0;
        self.work.begin_anew()
    }

    /// The piece of this name: read where it is there, else made, and kept. A piece that cannot be
    /// read, such as one of another version, is made again.
    ///
    /// # Errors
    /// Those of `make`; [`RunError::Io`] where it cannot be kept.
    pub fn piece<T, E>(&self, name: &str, make: impl FnOnce() -> Result<T, E>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<RunError>,
    {
        let path = self.work.path(&file(name))?;
        if let Some(found) =
            fs::read(&path).ok().and_then(|bytes| postcard::from_bytes(&bytes).ok())
        {
            return Ok(found);
        }
        let made = make()?;
        let bytes = postcard::to_stdvec(&made)
            .map_err(|source| RunError::io("write", &path)(std::io::Error::other(source)))?;
        AtomicFile::write(&path, &bytes)?;
        Ok(made)
    }

    /// The folder of the run, under the name that it had when it was begun: rows carry it.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn run_folder(
        &mut self,
        out: &Path,
        probe: &str,
        spec: &str,
    ) -> Result<RunFolder, RunError> {
        let path = self.work.path(&file(RUN))?;
        let begun = fs::read(&path).ok().and_then(|b| postcard::from_bytes::<Begun>(&b).ok());
        if let Some(begun) = begun
            && let Ok(started) = begun.started.parse()
            && let Some(folder) = RunFolder::go_on(out, probe, spec, (&begun.name, started))?
        {
            return Ok(folder);
        }
        // New, or somebody has taken the name: then rows under the old one are of no use.
        self.begin_anew()?;
        let folder = RunFolder::create(out, probe, spec)?;
        let begun = Begun { name: folder.name().to_owned(), started: folder.started().to_string() };
        self.piece(RUN, || Ok::<_, RunError>(begun))?;
        Ok(folder)
    }

    /// Removes the pieces: the run is finished.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn remove(self) -> Result<(), RunError> {
        self.work.remove()
    }
}

fn file(name: &str) -> String {
    format!("parts/{name}.{ENDING}")
}
