//! Sweeps in this machine's own processes.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use denoscope::table::{OutcomeSummaryRow, SweepConditionRow, read_parquet, rows};
use serde_json::Value;

use crate::{folder, items, merged, only, outcomes, probe, said, scenes, succeeds};

#[test]
fn a_sweep_runs_merges_and_is_done() {
    let sweep = folder(&scenes("whole", 60, 25));
    let at = sweep.path();
    let status = || -> Value {
        let text = succeeds(at, &["sweep", "status", "sweep.toml", "--format", "json"]);
        serde_json::from_str(&text).unwrap()
    };
    let printed = succeeds(at, &["sweep", "sweep.toml"]);
    let place = at.join(printed.trim());
    assert!(place.join("shards/00000/manifest.json").is_file());
    assert_eq!(fs::read_dir(place.join("work")).unwrap().count(), 0, "nothing is left over");
    let states = status();
    assert_eq!(states.as_array().unwrap().len(), 3);
    assert!(states.as_array().unwrap().iter().all(|shard| shard["state"] == "done"));

    let run = merged(at);
    let found = items(&run);
    assert_eq!(found.len(), 60);
    assert!(found.iter().enumerate().all(|(i, item)| item.sample == i as u32 && item.rows == 1));
    let outcomes = outcomes(&run);
    assert_eq!(outcomes.len(), 60);
    // What the world draws, its judge reads.
    assert!(outcomes.iter().all(|row| row.holds == Some(true)));
    let summary = read_parquet::<OutcomeSummaryRow>(&run.join("tables/outcome_summary.parquet"));
    let summary: Vec<OutcomeSummaryRow> = rows(&summary.unwrap()).unwrap();
    assert_eq!(summary.iter().map(|row| row.images).sum::<u32>(), 60);

    // Again: nothing to do, nothing changes.
    let written =
        || fs::metadata(place.join("shards/00001/manifest.json")).unwrap().modified().unwrap();
    let before = written();
    succeeds(at, &["sweep", "sweep.toml"]);
    succeeds(at, &["sweep", "resume", "sweep.toml"]);
    assert_eq!(before, written());
}

#[test]
fn parts_make_the_whole() {
    let whole = folder(&scenes("parts", 60, 10));
    succeeds(whole.path(), &["sweep", "sweep.toml"]);
    let parted = folder(&scenes("parts", 60, 10));
    let at = parted.path();
    succeeds(at, &["sweep", "sweep.toml", "--only", "0,4-5"]);
    let output = probe(at, &["sweep", "merge", "sweep.toml"]).output().unwrap();
    assert!(said(&output).contains("3 of 6 shards are not done (1, 2, 3)"), "{}", said(&output));
    succeeds(at, &["sweep", "sweep.toml", "--shard", "1/2"]);
    for (name, value) in [("JOB_COMPLETION_INDEX", "1"), ("PARALLEL_SEQ", "2")] {
        let mut call = probe(at, &["sweep", "sweep.toml", "--shard", "array/2"]);
        assert!(call.env(name, value).status().unwrap().success());
    }
    let (whole, parted) = (merged(whole.path()), merged(at));
    assert_eq!(outcomes(&whole), outcomes(&parted));
    assert_eq!(items(&whole), items(&parted));
}

#[test]
fn processes_share_the_work() {
    let shared = folder(&scenes("shared", 160, 10));
    let call = || {
        let mut call = probe(shared.path(), &["sweep", "sweep.toml"]);
        call.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut calls = [call(), call(), call()];
    for call in &mut calls {
        assert!(call.wait().unwrap().success());
    }
    succeeds(shared.path(), &["sweep", "sweep.toml"]);
    assert_eq!(items(&merged(shared.path())).len(), 160);
}

#[cfg(unix)]
#[test]
fn a_signal_to_end_keeps_what_is_done() {
    let sweep = folder(&scenes("signal", 3000, 1500));
    let at = sweep.path();
    let mut call = probe(at, &["sweep", "sweep.toml"]);
    let call = call.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let parts = || {
        let work = only(&at.join("runs"), "signal").join("work/00000/parts");
        fs::read_dir(work).map_or(0, Iterator::count)
    };
    let since = Instant::now();
    while !at.join("runs").is_dir() || parts() == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "nothing was kept");
        sleep(Duration::from_millis(5));
    }
    let id = call.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let output = call.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(said(&output).contains("goes on"), "{}", said(&output));
    let text = succeeds(at, &["sweep", "status", "sweep.toml", "--format", "json"]);
    let states: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(states[0]["state"], "begun");
    let kept = states[0]["done"].as_u64().unwrap();
    assert!(kept > 0 && kept < 1500, "{kept}");
}

#[test]
fn conditions_can_be_compared() {
    let spec = scenes("sizes", 60, 25) + "size = [16, 64]\n";
    let sweep = folder(&spec);
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let run = merged(at);
    let conditions =
        read_parquet::<SweepConditionRow>(&run.join("tables/sweep_conditions.parquet"));
    let conditions: Vec<SweepConditionRow> = rows(&conditions.unwrap()).unwrap();
    let values: Vec<(u32, &str)> =
        conditions.iter().map(|row| (row.condition, row.value.as_str())).collect();
    assert_eq!(values, [(0, "16"), (1, "64")]);
    let text = succeeds(at, &["sweep", "merge", "sweep.toml", "--format", "json"]);
    let merged: Value = serde_json::from_str(&text).unwrap();
    let folder_of = |condition: u32| {
        let tables = merged.as_array().unwrap();
        let is_of = |row: &&Value| row["condition"] == condition && row["table"] == "outcome";
        let file = tables.iter().find(is_of).unwrap()["file"].as_str().unwrap().to_owned();
        file.strip_suffix("/tables/outcome.parquet").unwrap().to_owned()
    };
    // At 16 pixels a side the judge cannot see what it sees at 64.
    let words = ["compare", &folder_of(1), &folder_of(0)];
    let output = probe(at, &words).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}

#[test]
fn a_dry_run_counts_and_estimates_and_writes_nothing() {
    let sweep = folder(&scenes("dry", 60, 25));
    let output =
        probe(sweep.path(), &["sweep", "sweep.toml", "--dry-run", "--format", "json"]).output();
    let output = output.unwrap();
    let shards: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shards.as_array().unwrap().len(), 3);
    assert!(shards[0]["seconds"].as_f64().unwrap() > 0.0);
    let said = said(&output);
    assert!(said.contains("60 items") && said.contains("the first item took"), "{said}");
    assert_eq!(fs::read_dir(sweep.path()).unwrap().count(), 1, "only the spec is there");
}
