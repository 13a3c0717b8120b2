//! Sweeps from outside: what is planned, what survives kills, what a cluster does, what is merged,
//! what is refused.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod cluster;
mod kills;
mod kinds;
mod local;
mod plan;
mod slurm;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use denoscope::table::{OutcomeRow, SweepItemRow, read_parquet, rows};
use tempfile::TempDir;

/// A whole model of random weights, 32 pixels a side.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/sd");

/// The program itself, so that a signal to it reaches what works.
fn engine() -> PathBuf {
    env!("CARGO_BIN_EXE_probe-engine").into()
}

/// A call of the program in a folder, on one thread: many processes share the machine.
fn probe(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(engine());
    command.args(words).current_dir(folder).env_remove("PROBE_LOG");
    command.env("OMP_NUM_THREADS", "1").env("RAYON_NUM_THREADS", "1");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a call to its end, which is a good one; what it prints.
#[track_caller]
fn succeeds(folder: &Path, words: &[&str]) -> String {
    let output = probe(folder, words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a call that is refused with one message, which has all of this.
#[track_caller]
fn refused(folder: &Path, words: &[&str], says: &[&str]) {
    let output = probe(folder, words).output().unwrap();
    let message = said(&output);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {message}");
    assert_eq!(message.matches("error:").count(), 1, "{words:?}: {message}");
    for part in says {
        assert!(message.contains(part), "{words:?}: no {part:?} in: {message}");
    }
}

/// An empty folder with a spec in it.
fn folder(spec: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("sweep.toml"), spec).unwrap();
    folder
}

/// A sweep of scenes, which need no model.
fn scenes(name: &str, items: u32, shard: u32) -> String {
    format!(
        "kind = \"sweep\"\nversion = 1\nname = {name:?}\nof = \"world\"\nshard = {shard}\nbatch = 8\n\
         [grid]\ncategory = [\"one-object\", \"relation\"]\nseed = {{ from = 0, count = {} }}\n",
        items / 2
    )
}

/// Below a folder of runs, the one entry of which the name has this.
fn only(folder: &Path, part: &str) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().contains(part)).collect();
    assert_eq!(found.len(), 1, "{part}: {found:?}");
    found.remove(0)
}

/// Merges a sweep and returns the run folder.
#[track_caller]
fn merged(folder: &Path) -> PathBuf {
    let printed = succeeds(folder, &["sweep", "merge", "sweep.toml", "--format", "json"]);
    let tables: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let file = tables[0]["file"].as_str().unwrap();
    folder.join(file).parent().unwrap().parent().unwrap().to_owned()
}

fn outcomes(run: &Path) -> Vec<OutcomeRow> {
    rows(&read_parquet::<OutcomeRow>(&run.join("tables/outcome.parquet")).unwrap()).unwrap()
}

/// The items of a merged sweep, without the time they took, which is no result.
fn items(run: &Path) -> Vec<SweepItemRow> {
    let path = run.join("tables/sweep_items.parquet");
    let mut items: Vec<SweepItemRow> = rows(&read_parquet::<SweepItemRow>(&path).unwrap()).unwrap();
    items.iter_mut().for_each(|item| item.seconds = 0.0);
    items
}
