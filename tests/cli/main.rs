//! The command line from outside: help, contracts, exit codes, and what is left behind.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)]

mod bad_input;
mod checkpoints;
mod clip;
mod commands;
mod edits;
mod failures;
mod guidance;
mod heads;
mod images;
mod latent;
mod manners;
mod patch;
mod rebuilt;
mod report;
mod resumed;
mod sessions;
mod suites;
mod timesteps;
mod trace;

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use denoscope::table::{Row, read_parquet, rows};
use serde_json::Value;
use tempfile::TempDir;

/// A whole model of random weights, 32 pixels a side.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/sd");

fn probe(words: &[&str]) -> Command {
    let mut command = assert_cmd::cargo::cargo_bin_cmd!("probe");
    command.args(words).env_remove("PROBE_LOG");
    command
}

/// Runs a command in an empty folder, so that what it leaves there can be seen.
fn probe_in(folder: &TempDir, words: &[&str]) -> Command {
    let mut command = probe(words);
    command.current_dir(folder.path());
    command
}

fn json(command: &mut Command) -> Value {
    let output = command.assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

/// Everything below a folder, hidden files too.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path.display().to_string());
    }
    found
}

/// The one run folder in `runs`.
fn run_folder(folder: &TempDir) -> PathBuf {
    let runs: Vec<_> = std::fs::read_dir(folder.path().join("runs")).unwrap().collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].as_ref().unwrap().path()
}

/// The rows of a table of a run.
fn table<R: Row>(run: &Path) -> Vec<R> {
    let path = run.join(format!("tables/{}.parquet", R::TABLE.name));
    rows(&read_parquet::<R>(&path).unwrap()).unwrap()
}

/// The command fails with exit code 2 and one message that has all of the words, prints nothing
/// on stdout and leaves no file behind.
fn fails(words: &[&str], says: &[&str]) {
    let folder = TempDir::new().unwrap();
    let assert = probe_in(&folder, words).assert().code(2).stdout("");
    let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert_eq!(message.matches("error:").count(), 1, "{words:?}: {message}");
    assert!(!message.contains("panicked"), "{message}");
    for part in says {
        assert!(message.contains(part), "{words:?}: no {part:?} in: {message}");
    }
    let left: Vec<String> =
        files(folder.path()).into_iter().filter(|path| !path.ends_with("/runs")).collect();
    assert!(left.is_empty(), "{words:?} left {left:?}");
}
