//! `probe report` on runs of every probe: what it says is what the run's own report said.

use std::fs;
use std::path::{Path, PathBuf};

use denoscope::run::StoredRun;
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::{TINY, fails, probe, probe_in, run_folder};

/// A small run of each kind whose report is made of its tables, on random weights.
const RUNS: &[&[&str]] = &[
    &["forward", "--timesteps", "0,500,999"],
    &["latent", "--count", "4", "--bits", "2", "--blur", "1", "--noise", "0.5", "--impulses", "2"],
    &["guidance", "--guidance", "1,3", "--from-world", "3", "--count", "2", "--renders", "2"],
    &["guidance", "--guidance", "1,3", "--prompt", "a photo of a dog"],
    &["clip", "--captions", "12", "--routes", "1", "--images", "1", "--places", "2"],
    &["timesteps", "--prompts", "2", "--pairs", "1", "--switches", "1", "--scenes", "40"],
    &["timesteps", "--parts", "switch", "--pairs", "1", "--switches", "1"],
    &["failures", "--category", "two-objects", "--count", "3"],
    &["failures", "--category", "two-objects", "--count", "4", "--diagnose"],
    &["patch", "--heads", "--prompt", PROMPT, "--count", "4", "--together", "1"],
];
const PROMPT: &str = "red ball left of blue cube";

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The lines of a report but how to run it again, whose options a spec has in another order, and
/// what readers who cannot see it are told of a figure: of one drawn before, that is its caption.
fn said(page: &str) -> Vec<&str> {
    let (before, _) = page.split_once("## Run this again").unwrap();
    before.lines().filter(|line| !line.starts_with("![")).collect()
}

#[track_caller]
fn assert_says_the_same(run: &Path) {
    let (page, words) = (run.join("report.html"), run.join("report.md"));
    let before = text(&words);
    assert!(said(&before).len() > 10, "{before}");
    for file in [&page, &words] {
        fs::remove_file(file).unwrap();
    }
    probe(&["report"]).arg(run).assert().success().stderr(contains("report: "));
    let after = text(&words);
    assert_eq!(said(&before), said(&after), "{}", run.display());
    assert!(page.exists() && !after.contains("What it recorded"));
    assert!(StoredRun::open(run).unwrap().verify().unwrap().is_empty());
}

#[test]
fn a_report_made_again_says_what_the_run_said() {
    for words in RUNS {
        let folder = TempDir::new().unwrap();
        let few = match words[0] {
            "forward" => vec![],
            "latent" => vec!["--model", TINY],
            _ => vec!["--model", TINY, "--steps", "2"],
        };
        probe_in(&folder, &[words, &few[..]].concat()).assert().success();
        assert_says_the_same(&run_folder(&folder));
    }
}

/// The run of a probe among several in `runs`.
fn run_of(folder: &TempDir, probe: &str) -> PathBuf {
    let runs = fs::read_dir(folder.path().join("runs")).unwrap();
    let mut paths = runs.map(|entry| entry.unwrap().path());
    paths.find(|path| path.to_str().unwrap().contains(probe)).unwrap()
}

#[test]
fn what_is_made_of_other_runs_is_made_again_or_says_how() {
    let folder = TempDir::new().unwrap();
    let baselines = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/baselines");
    let (earlier, present) = (format!("{baselines}/shapes-earlier"), format!("{baselines}/shapes"));
    let compare = ["compare", &earlier, &present, "--margin", "0.1"];
    let code = probe_in(&folder, &compare).assert().get_output().status.code().unwrap();
    assert!(matches!(code, 0 | 1), "{code}");
    assert_says_the_same(&run_of(&folder, "-compare-"));

    probe_in(&folder, &["failures", "review", &present]).assert().success();
    assert_says_the_same(&run_of(&folder, "-review-"));

    probe_in(&folder, &["history", &earlier, &present]).assert().success();
    let history = run_of(&folder, "-history-");
    let before = text(&history.join("report.html"));
    let remedy = contains("made of the runs that it names").and(contains("probe history"));
    probe(&["report"]).arg(&history).assert().code(2).stderr(remedy);
    assert_eq!(before, text(&history.join("report.html")), "the run's own report is kept");
}

#[test]
fn a_verdict_that_was_made_up_is_refused() {
    use denoscope::table::{ComparisonRow, Row, frame, read_parquet, rows, write_parquet};

    let folder = TempDir::new().unwrap();
    let shapes = concat!(env!("CARGO_MANIFEST_DIR"), "/reports/baselines/shapes");
    probe_in(&folder, &["compare", shapes, shapes]).assert().success();
    let run = run_of(&folder, "-compare-");
    let path = run.join(format!("tables/{}.parquet", ComparisonRow::TABLE.name));
    let mut edited: Vec<ComparisonRow> =
        rows(&read_parquet::<ComparisonRow>(&path).unwrap()).unwrap();
    edited[0].verdict = "splendid".to_owned();
    write_parquet::<ComparisonRow>(&mut frame(edited).unwrap(), &path).unwrap();
    fails(&["report", run.to_str().unwrap()], &["splendid", "restore the file"]);
}
