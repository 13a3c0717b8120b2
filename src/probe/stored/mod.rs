//! Reports of stored runs, made of their tables and images: nothing is generated, nothing needs
//! libtorch.
//!
//! [`report_of`] finds out which kind of run a folder holds and has its report made again by the
//! probe that knows it; a run of any other kind gets a plain report of its tables, figures and
//! images. [`combine`] makes one document of several runs.

mod combine;
mod error;
mod facts;
mod plain;

use std::fs;

use image::RgbImage;

use crate::report::{Picture, Report, Rerun};
use crate::run::{FileProblem, Manifest, RunError, SPEC_FILE, StoredRun};
use crate::table::{Row, TableError, read_parquet, rows};

use super::{
    attention, clip, compare, diagnosis, failures, forward, guidance, latent, patch, timesteps,
};

pub use combine::{RunReport, combine};
pub use error::StoredError;
pub use facts::{facts, keep_facts};

/// How the report of one kind of run is made again.
struct Known {
    /// Which probe ran.
    probe: &'static str,
    /// The table that tells this kind of its runs from others; none where it has but one kind.
    table: Option<&'static str>,
    /// Makes the report.
    report: fn(&StoredReader<'_>, Rerun) -> Result<Report, StoredError>,
}

/// The kinds of runs whose reports can be made again; of a probe's kinds the first that fits. To
/// add one: a function that reads the tables, and a line here.
const KNOWN: &[Known] = &[
    known("attention", Some("attention"), attention::stored::rebuild),
    known("attention", Some("attention_scores"), attention::scenes::stored::rebuild),
    known("attention", Some("alignment"), attention::stored::rebuild_world),
    known("patch", Some("patch"), patch::stored::rebuild),
    known("patch", Some("head_ablation"), patch::heads::stored::rebuild),
    known("failures", Some("diagnosis"), diagnosis::stored::rebuild),
    known("failures", Some("outcome"), failures::stored::rebuild),
    known("review", Some("outcome"), failures::stored::rebuild),
    known("compare", None, compare::stored::rebuild),
    known("timesteps", None, timesteps::stored::rebuild),
    known("guidance", None, guidance::stored::rebuild),
    known("latent", None, latent::stored::rebuild),
    known("clip", None, clip::stored::rebuild),
    known("forward", None, forward::rebuild),
    known("history", None, of_other_runs),
];

const fn known(
    probe: &'static str,
    table: Option<&'static str>,
    report: fn(&StoredReader<'_>, Rerun) -> Result<Report, StoredError>,
) -> Known {
    Known { probe, table, report }
}

/// A report that is made of other runs' tables, with tests over all of them.
fn of_other_runs(_: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    Err(StoredError::OfOtherRuns { command: rerun.command })
}

/// Which of the known kinds a run is.
fn kind_of(stored: &StoredReader<'_>) -> Option<&'static Known> {
    let probe = &stored.manifest().probe;
    let is_it = |known: &&Known| {
        known.probe == probe && known.table.is_none_or(|table| stored.has_table(table))
    };
    KNOWN.iter().find(is_it)
}

/// Reads tables and images of a run.
#[derive(Clone, Copy, Debug)]
pub struct StoredReader<'a> {
    run: &'a StoredRun,
}

impl<'a> StoredReader<'a> {
    /// A reader of this run.
    pub fn new(run: &'a StoredRun) -> Self {
        Self { run }
    }

    /// What the run says of itself.
    pub fn manifest(&self) -> &'a Manifest {
        self.run.manifest()
    }

    /// Whether the run lists this table.
    pub fn has_table(&self, name: &str) -> bool {
        let path = format!("tables/{name}.parquet");
        self.manifest().files.iter().any(|file| file.path == path)
    }

    /// The rows of a table.
    ///
    /// # Errors
    /// The table is missing, was written in another version, or is not as declared.
    pub fn rows<R: Row>(&self) -> Result<Vec<R>, StoredError> {
        let path = self.run.table(R::TABLE.name)?;
        let read = read_parquet::<R>(&path).and_then(|frame| rows(&frame));
        read.map_err(|source| match source {
            TableError::Mismatch { .. } => StoredError::Edited { path, source },
            other => other.into(),
        })
    }

    /// The rows of a table that not every run has; none where the run does not list it.
    ///
    /// # Errors
    /// As for [`StoredReader::rows`].
    pub fn optional_rows<R: Row>(&self) -> Result<Vec<R>, StoredError> {
        if self.has_table(R::TABLE.name) { self.rows() } else { Ok(Vec::new()) }
    }

    /// The bytes of a listed file.
    ///
    /// # Errors
    /// It is not listed, is gone, or cannot be read.
    pub fn bytes(&self, file: &str) -> Result<Vec<u8>, StoredError> {
        let path = self.run.file(file)?;
        Ok(fs::read(&path).map_err(RunError::io("read", &path))?)
    }

    /// A listed image.
    ///
    /// # Errors
    /// As for [`StoredReader::bytes`]; it is no image.
    pub fn image(&self, file: &str) -> Result<RgbImage, StoredError> {
        let read = image::load_from_memory(&self.bytes(file)?);
        let path = self.run.root().join(file);
        Ok(read.map_err(|source| StoredError::Image { path, source })?.to_rgb8())
    }

    /// A figure as the run drew it: those of images, whose pixels no table has.
    ///
    /// # Errors
    /// As for [`StoredReader::bytes`].
    pub fn picture(&self, name: &str, caption: impl Into<String>) -> Result<Picture, StoredError> {
        Ok(Picture::stored(name, caption, self.bytes(&format!("figures/{name}.png"))?))
    }

    /// The arguments of the spec that are no options, such as the runs that were compared; none
    /// where there is no such list.
    ///
    /// # Errors
    /// As for [`StoredReader::bytes`].
    pub fn spec_list(&self, key: &str) -> Result<Vec<String>, StoredError> {
        let spec: toml::Table = self.spec()?.parse().unwrap_or_default();
        let list = spec.get(key).and_then(toml::Value::as_array).into_iter().flatten();
        Ok(list.filter_map(|value| Some(value.as_str()?.to_owned())).collect())
    }

    /// The spec, as text.
    ///
    /// # Errors
    /// As for [`StoredReader::bytes`].
    pub fn spec(&self) -> Result<String, StoredError> {
        Ok(String::from_utf8_lossy(&self.bytes(SPEC_FILE)?).into_owned())
    }
}

/// The report of a stored run. `rerun` says how to make the run again.
///
/// Files that are not what the run wrote are named in a notice; a file that the report needs and
/// that is gone is an error.
///
/// # Errors
/// See [`StoredError`].
pub fn report_of(run: &StoredRun, rerun: Rerun) -> Result<Report, StoredError> {
    let stored = StoredReader::new(run);
    let problems = run.verify()?;
    let mut report = match kind_of(&stored) {
        Some(known) => (known.report)(&stored, rerun)?,
        None => plain::report(run, &stored, rerun)?,
    };
    report.notices.extend(notice(&problems));
    Ok(report)
}

/// Files that reports are: they are made again.
const MADE_AGAIN: [&str; 2] = ["report.html", "report.md"];

/// What is to be said of files that are not what the run wrote.
fn notice(problems: &[FileProblem]) -> Option<String> {
    const NAMED: usize = 5;
    let names: Vec<String> = problems
        .iter()
        .map(|problem| match problem {
            FileProblem::Missing { path } => (path, "gone"),
            FileProblem::NotPlainFile { path } => (path, "no plain file"),
            FileProblem::Changed { path } => (path, "changed"),
        })
        .filter(|(path, _)| !MADE_AGAIN.contains(&path.as_str()))
        .map(|(path, what)| format!("`{path}` ({what})"))
        .collect();
    let rest = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| {
        format!(
            "Some files are not what the run wrote: {}{rest}. The report shows what is there now; \
             run it again for numbers that can be relied on.",
            names[..names.len().min(NAMED)].join(", ")
        )
    })
}
