//! A sweep's folder, which any number of processes on any number of machines write to.
//!
//! ```text
//! <out>/<name>-<hash8>/
//!   spec.toml, sweep.json     what is run, and the hash of it
//!   shards/00012/             a finished shard: tables, images, manifest.json
//!   work/00012/               a shard in progress
//!   failed/00012.json         why a shard failed the last time
//!   weights/<hash8>.json      digests of the weights of a model that the sweep began with
//!   slurm/, logs/             what was submitted, and what came of it
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Plan, Shard, SweepError};
use crate::run::{
    AtomicFile, FileRecord, MANIFEST_FILE, Manifest, ModelRecord, RunError, SPEC_FILE, Unfinished,
    hash8,
};
use crate::table::{Row, SweepItemRow};

/// The record of a sweep in its folder.
const SWEEP_FILE: &str = "sweep.json";

/// Finished shards.
const SHARDS: &str = "shards";

/// Shards in progress.
const WORK: &str = "work";
/// How folders are called that try whether renaming works.
const TRIED: &str = ".tmp-try-";

/// A sweep's folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    hash: String,
}

/// What `sweep.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    sweep: String,
    denoscope: String,
    conditions: usize,
    items: usize,
    shards: usize,
}

/// What a finished shard says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShardManifest {
    /// Hash of the sweep, 64 hexadecimal digits.
    pub sweep: String,
    /// Number of the shard.
    pub shard: u32,
    /// Number of its condition.
    pub condition: u32,
    /// Items in it.
    pub items: u32,
    /// Rows of each table.
    pub rows: BTreeMap<String, u64>,
    /// Time that its items took together, in seconds.
    pub seconds: f64,
    /// How it ran, and every file but this one.
    pub manifest: Manifest,
}

/// Why a shard failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The message.
    pub reason: String,
    /// The machine.
    pub host: Option<String>,
    /// Where more is said.
    pub log: Option<String>,
}

/// Where a shard stands.
#[derive(Clone, Debug)]
pub enum ShardState {
    /// Finished.
    Done(Box<ShardManifest>),
    /// A process is at it; so many of its items are kept.
    Running(u32),
    /// It failed; so many of its items are kept.
    Failed(Failure, u32),
    /// It was cut short; so many of its items are kept.
    Begun(u32),
    /// Its folder is not whole: the file system did not put it into place at once, or files of it
    /// were lost. It is made again.
    Damaged,
    /// Nothing of it is there.
    Missing,
}

impl Folder {
    /// The folder of a plan at `root`; makes it where it is not there yet, and finds out whether the
    /// file system can be trusted with it.
    ///
    /// # Errors
    /// [`SweepError::Version`], [`SweepError::Rename`], [`SweepError::Run`].
    pub fn create(root: &Path, plan: &Plan) -> Result<Self, SweepError> {
        let folder = Self { root: root.to_owned(), hash: plan.hash.clone() };
        if folder.root.join(SWEEP_FILE).exists() {
            folder.check_version()?;
        }
        for name in [SHARDS, WORK, "failed", "weights", "slurm", "logs"] {
            let path = folder.root.join(name);
            fs::create_dir_all(&path).map_err(RunError::io("create", &path))?;
        }
        folder.check_rename()?;
        let record = folder.root.join(SWEEP_FILE);
        if !record.exists() {
            AtomicFile::write(&folder.root.join(SPEC_FILE), plan.spec.text.as_bytes())?;
            let content = Record {
                sweep: plan.hash.clone(),
                denoscope: env!("CARGO_PKG_VERSION").to_owned(),
                conditions: plan.conditions.len(),
                items: plan.items.len(),
                shards: plan.shards.len(),
            };
            write_json(&record, &content)?;
        }
        folder.check_version()?;
        Ok(folder)
    }

    /// The folder of a plan at `root`, which must be there.
    ///
    /// # Errors
    /// [`SweepError::NotBegun`], [`SweepError::Version`].
    pub fn open(root: &Path, plan: &Plan) -> Result<Self, SweepError> {
        let folder = Self { root: root.to_owned(), hash: plan.hash.clone() };
        if !folder.root.join(SWEEP_FILE).is_file() {
            return Err(SweepError::NotBegun { path: folder.root });
        }
        folder.check_version()?;
        Ok(folder)
    }

    /// The spec of the sweep that has this folder; none where `path` is no folder of a sweep.
    pub fn spec_in(path: &Path) -> Option<PathBuf> {
        path.join(SWEEP_FILE).is_file().then(|| path.join(SPEC_FILE))
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Hash of the sweep.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    fn check_version(&self) -> Result<(), SweepError> {
        let record: Record = read_json(&self.root.join(SWEEP_FILE))?;
        if record.sweep == self.hash {
            return Ok(());
        }
        Err(SweepError::Version {
            path: self.root.clone(),
            found: record.sweep,
            denoscope: record.denoscope,
            expected: self.hash.clone(),
            remedy: "use what wrote it, or change the sweep's name and begin anew",
        })
    }

    /// Renames a folder into each place that shards go through, and back, since everything depends
    /// on it: such a place may have been moved to another disk.
    fn check_rename(&self) -> Result<(), SweepError> {
        let places = [WORK, SHARDS].map(|name| self.root.join(name));
        places.iter().chain([&self.root]).for_each(|place| remove_tried(place));
        let folder = tempfile::Builder::new()
            .prefix(TRIED)
            .tempdir_in(&self.root)
            .map_err(RunError::io("write into", &self.root))?;
        for place in places {
            let there = place.join(folder.path().file_name().unwrap_or_default());
            let tried =
                fs::rename(folder.path(), &there).and_then(|()| fs::rename(&there, folder.path()));
            match tried {
                // Another process that begins has just taken it for one that was left.
                Err(gone) if gone.kind() == io::ErrorKind::NotFound && place.is_dir() => {
                    return Ok(());
                }
                tried => tried.map_err(|source| SweepError::Rename { path: place, source })?,
            }
        }
        Ok(())
    }

    /// Where a finished shard is.
    pub fn place_of(&self, shard: &Shard) -> PathBuf {
        self.root.join(SHARDS).join(format!("{:05}", shard.number))
    }

    /// Where a shard in progress is.
    pub fn work_of(&self, shard: &Shard) -> PathBuf {
        self.root.join(WORK).join(format!("{:05}", shard.number))
    }

    fn failure_of(&self, shard: &Shard) -> PathBuf {
        self.root.join("failed").join(format!("{:05}.json", shard.number))
    }

    /// The manifest of a finished shard; none where it is not there, or not whole.
    ///
    /// # Errors
    /// [`SweepError::Version`].
    pub fn finished(&self, shard: &Shard) -> Result<Option<ShardManifest>, SweepError> {
        let place = self.place_of(shard);
        let Ok(bytes) = fs::read(place.join(MANIFEST_FILE)) else { return Ok(None) };
        let Ok(found) = serde_json::from_slice::<ShardManifest>(&bytes) else { return Ok(None) };
        if found.sweep != self.hash || found.shard != shard.number {
            return Err(SweepError::Version {
                path: place,
                found: found.sweep,
                denoscope: found.manifest.denoscope,
                expected: self.hash.clone(),
                remedy: "move the shard's folder away and resume",
            });
        }
        let is_whole = |file: &FileRecord| {
            fs::metadata(place.join(&file.path)).is_ok_and(|there| there.len() == file.bytes)
        };
        Ok(found.manifest.files.iter().all(is_whole).then_some(found))
    }

    /// Where a shard stands.
    ///
    /// # Errors
    /// [`SweepError::Version`].
    pub fn state(&self, shard: &Shard) -> Result<ShardState, SweepError> {
        if let Some(manifest) = self.finished(shard)? {
            return Ok(ShardState::Done(Box::new(manifest)));
        }
        let work = self.work_of(shard);
        let kept = self.kept(shard);
        if Unfinished::is_busy(&work) {
            return Ok(ShardState::Running(kept));
        }
        if let Ok(failure) = read_json::<Failure>(&self.failure_of(shard)) {
            return Ok(ShardState::Failed(failure, kept));
        }
        Ok(match work.exists() {
            true => ShardState::Begun(kept),
            false if self.place_of(shard).exists() => ShardState::Damaged,
            false => ShardState::Missing,
        })
    }

    /// How many items of a shard in progress are kept, by the names of its parts, which say it.
    fn kept(&self, shard: &Shard) -> u32 {
        let entries = fs::read_dir(self.work_of(shard).join("parts")).into_iter().flatten();
        let count = |name: String| {
            let rest = name.strip_suffix(".parquet")?.strip_suffix(SweepItemRow::TABLE.name)?;
            rest.trim_matches('.').split('.').nth(1)?.parse::<u32>().ok()
        };
        entries.flatten().filter_map(|entry| count(entry.file_name().into_string().ok()?)).sum()
    }

    /// Writes down why a shard failed.
    ///
    /// # Errors
    /// [`SweepError::Run`].
    pub fn note_failure(&self, shard: &Shard, failure: &Failure) -> Result<(), SweepError> {
        write_json(&self.failure_of(shard), failure)
    }

    /// Forgets that a shard failed.
    pub(super) fn forget_failure(&self, shard: &Shard) {
        // Nothing depends on it: a finished shard is finished.
        drop(fs::remove_file(self.failure_of(shard)));
    }

    /// Writes down which weights the sweep runs with, or refuses others than those it began with.
    /// `loaded` is how the model was asked for.
    ///
    /// # Errors
    /// [`SweepError::Weights`], [`SweepError::Run`].
    pub fn pin(&self, loaded: &str, model: &ModelRecord) -> Result<(), SweepError> {
        let path = self.root.join("weights").join(format!("{}.json", hash8(loaded)));
        if !path.exists() {
            write_json(&path, &model.weights)?;
        }
        let pinned: Vec<FileRecord> = read_json(&path)?;
        let same = |record: &FileRecord| (record.path.clone(), record.sha256.clone());
        if pinned.iter().map(same).eq(model.weights.iter().map(same)) {
            return Ok(());
        }
        Err(SweepError::Weights { model: model.name.clone(), path })
    }
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), SweepError> {
    let mut json =
        serde_json::to_vec_pretty(value).map_err(|source| RunError::Encode { source })?;
    json.push(b'\n');
    Ok(AtomicFile::write(path, &json)?)
}

/// Removes the empty folders that processes leave which are killed while they try renaming.
fn remove_tried(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TRIED) {
            // It fails for a folder that is not empty, and so none of ours.
            drop(fs::remove_dir(entry.path()));
        }
    }
}

pub(super) fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, SweepError> {
    let bytes = fs::read(path).map_err(RunError::io("read", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|source| SweepError::Record { path: path.to_owned(), source })
}
