//! Runs and baselines: opening them by name, and saving a baseline.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::Builder;

use super::{CompareError, Outcomes};
use crate::run::{
    AtomicFile, FileRecord, MANIFEST_FILE, Manifest, RunError, SPEC_FILE, StoredRun, digest_file,
    list_runs, make_readable,
};
use crate::suggest::nearest;
use crate::table::{OutcomeRow, frame, read_parquet, rows, write_parquet};

/// The table that comparisons read.
const TABLE_FILE: &str = "tables/outcome.parquet";

/// One of the two runs of a comparison.
#[derive(Clone, Debug)]
pub struct Side {
    /// What it is called: of a run its folder's name, of a baseline the name it was saved under.
    pub name: String,
    /// The edits it ran under, as its spec has them.
    pub edits: Vec<String>,
    /// What was judged.
    pub outcomes: Outcomes,
    run: StoredRun,
}

impl Side {
    /// Opens the run folder at the path `name`, or else the baseline of this name.
    ///
    /// # Errors
    /// [`CompareError::Unknown`], [`CompareError::NoOutcomes`], [`CompareError::Twice`], and what
    /// reading can bring.
    pub fn open(name: &str, baselines: &Path) -> Result<Self, CompareError> {
        let run = open_run(name, baselines)?;
        let path = run.table("outcome").map_err(|error| match error {
            RunError::NoSuchFile { .. } => CompareError::NoOutcomes {
                path: run.root().to_owned(),
                probe: run.manifest().probe.clone(),
            },
            other => other.into(),
        })?;
        let folder = run.root().file_name().map(|name| name.to_string_lossy().into_owned());
        let name = folder.unwrap_or_else(|| run.manifest().run.clone());
        let outcomes = Outcomes::read(&path, &name)?;
        Ok(Self { edits: edits(&run)?, outcomes, run, name })
    }

    /// What the run says of itself.
    pub fn manifest(&self) -> &Manifest {
        self.run.manifest()
    }

    /// Where one of its tables is.
    ///
    /// # Errors
    /// As [`StoredRun::table`].
    pub(in crate::probe) fn table(&self, name: &str) -> Result<PathBuf, RunError> {
        self.run.table(name)
    }

    /// The bytes of one of its images, if it was kept and is still there.
    pub fn image(&self, file: &str) -> Option<Vec<u8>> {
        fs::read(self.run.file(file).ok()?).ok()
    }

    /// Saves what a comparison needs as a baseline: outcomes without images, spec, and manifest
    /// without the prompts, which the outcomes have. It appears whole or not at all. Returns its
    /// folder.
    ///
    /// # Errors
    /// [`CompareError::BaselineName`], [`CompareError::BaselineExists`] unless it may be
    /// replaced, and what reading and writing can bring.
    pub fn save_baseline(
        &self,
        name: &str,
        baselines: &Path,
        replace: bool,
    ) -> Result<PathBuf, CompareError> {
        let place = free_place(name, baselines, replace)?;
        fs::create_dir_all(baselines).map_err(RunError::io("create", baselines))?;
        let folder = Builder::new()
            .prefix(".tmp-")
            .tempdir_in(baselines)
            .map_err(RunError::io("write into", baselines))?;
        let root = folder.path();
        let tables = root.join("tables");
        fs::create_dir(&tables).map_err(RunError::io("create", &tables))?;

        let mut outcomes: Vec<OutcomeRow> =
            rows(&read_parquet::<OutcomeRow>(&self.run.table("outcome")?)?)?;
        outcomes.iter_mut().for_each(|row| row.image = None);
        write_parquet::<OutcomeRow>(&mut frame(outcomes)?, &root.join(TABLE_FILE))?;
        let spec = self.run.file(SPEC_FILE)?;
        fs::copy(&spec, root.join(SPEC_FILE)).map_err(RunError::io("copy", &spec))?;

        let mut manifest = self.manifest().clone();
        manifest.prompts.clear();
        manifest.files = [SPEC_FILE, TABLE_FILE]
            .into_iter()
            .map(|path| {
                let (sha256, bytes) = digest_file(&root.join(path))?;
                Ok(FileRecord { path: path.to_owned(), bytes, sha256 })
            })
            .collect::<Result<_, RunError>>()?;
        AtomicFile::write(&root.join(MANIFEST_FILE), &manifest.to_json()?)?;
        make_readable(root)?;
        if place.exists() {
            fs::remove_dir_all(&place).map_err(RunError::io("replace", &place))?;
        }
        fs::rename(root, &place).map_err(RunError::io("create", &place))?;
        Ok(place)
    }
}

/// Checks that a baseline of this name can be saved, before long work. Returns its folder.
///
/// # Errors
/// [`CompareError::BaselineName`]; [`CompareError::BaselineExists`] unless it may be replaced.
pub fn free_place(name: &str, baselines: &Path, replace: bool) -> Result<PathBuf, CompareError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(CompareError::BaselineName { name: name.to_owned() });
    }
    let path = baselines.join(name);
    if path.exists() && !replace {
        return Err(CompareError::BaselineExists { name: name.to_owned(), path });
    }
    Ok(path)
}

fn open_run(name: &str, baselines: &Path) -> Result<StoredRun, CompareError> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(StoredRun::open(path)?);
    }
    let saved = baselines.join(name);
    let is_name = path.components().count() == 1;
    if is_name && saved.join(MANIFEST_FILE).is_file() {
        return Ok(StoredRun::open(&saved)?);
    }
    let baseline_names = list_runs(baselines).unwrap_or_default();
    let nearest = nearest(name, baseline_names.iter().map(String::as_str));
    let (name, baselines) = (name.to_owned(), baselines.to_owned());
    Err(CompareError::Unknown { name, baselines, baseline_names, nearest })
}

/// The edits in a run's spec: an option of it, or of all items of a sweep of one condition. A spec that
/// is no TOML has none that could be read.
fn edits(run: &StoredRun) -> Result<Vec<String>, CompareError> {
    let path = run.file(SPEC_FILE)?;
    let text = fs::read_to_string(&path).map_err(RunError::io("read", &path))?;
    let spec: toml::Table = text.parse().unwrap_or_default();
    let of_sweep = ["options", "grid"].into_iter().filter_map(|part| spec.get(part)?.get("edit"));
    let mut edits = Vec::new();
    spec.get("edit").into_iter().chain(of_sweep).for_each(|value| texts(value, &mut edits));
    Ok(edits)
}

/// The texts of a value, in lists of lists too.
fn texts(value: &toml::Value, into: &mut Vec<String>) {
    match value {
        toml::Value::String(text) => into.push(text.clone()),
        toml::Value::Array(values) => values.iter().for_each(|value| texts(value, into)),
        _ => {}
    }
}
