//! The kinds of items that need a model: each gives what its command gives.

use std::fs;
use std::path::Path;

use denoscope::table::{
    AttentionOverTimeRow, CommitmentRow, JudgementRow, LinearProbeRow, OutcomeRow, PatchRow,
    PooledRow, PromptSwitchRow, Row, SweepConditionRow, TraceStatisticsRow, read_parquet, rows,
};
use serde_json::Value;

use crate::{TINY, folder, items, merged, only, outcomes, probe, refused, said, succeeds};

fn table<R: Row>(run: &Path) -> Vec<R> {
    let path = run.join(format!("tables/{}.parquet", R::TABLE.name));
    rows(&read_parquet::<R>(&path).unwrap()).unwrap()
}

const SUITE: &str = r#"
form = 1
name = "mini"
version = 1
description = "d"
source = "s"
licence = "MIT"
seeds = [0, 1]
items = [
  { id = "a", prompt = "a red ball", category = "one" },
  { id = "b", prompt = "a blue cube", category = "one" },
  { id = "c", prompt = "two red balls", category = "two", difficulty = 2 },
]
"#;

fn suites(rest: &str) -> tempfile::TempDir {
    let text = format!(
        "kind = \"sweep\"\nversion = 1\nname = \"suites\"\nof = \"failures\"\nshard = 4\nbatch = 1\n\
         [grid]\nsuite = [\"mini.toml\"]\n{rest}[options]\nmodel = {TINY:?}\nsteps = 2\n"
    );
    let sweep = folder(&text);
    fs::write(sweep.path().join("mini.toml"), SUITE).unwrap();
    sweep
}

#[test]
fn a_suite_in_shards_is_the_suite() {
    let sweep = suites("");
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let run = merged(at);
    // One image at once, as in the sweep: rounding depends on it.
    let words = ["failures", "--suite", "mini.toml", "--model", TINY, "--steps", "2", "--batch"];
    succeeds(at, &[&words[..], &["1", "--out", "direct"]].concat());
    let direct = only(&at.join("direct"), "failures");
    let sorted = |run: &Path| {
        let mut outcomes = outcomes(run);
        for row in &mut outcomes {
            assert!(run.join(row.image.take().unwrap()).is_file(), "the image is kept");
        }
        outcomes.sort_by(|a, b| (&a.item, a.seed).cmp(&(&b.item, b.seed)));
        outcomes
    };
    assert_eq!(sorted(&run), sorted(&direct));
    assert_eq!(items(&run).len(), 6);
    let atoms = |run: &Path| {
        let mut rows = table::<JudgementRow>(run);
        rows.iter_mut().for_each(|row| row.sample = 0);
        rows.sort_by_key(|row| format!("{row:?}"));
        rows
    };
    assert_eq!(atoms(&run), atoms(&direct));
    // A comparison takes a merged sweep: nothing differs.
    let words = ["compare", direct.to_str().unwrap(), run.to_str().unwrap()];
    let output = probe(at, &words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn the_conditions_of_a_grid_are_runs_that_can_be_compared() {
    let sweep = suites("seed = [5]\nguidance = [1.0, 5.0]\n");
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let run = merged(at);
    let conditions: Vec<_> =
        fs::read_dir(run.join("conditions")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(conditions.len(), 2);
    for condition in &conditions {
        let rows: Vec<OutcomeRow> = outcomes(condition);
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.seed == 5));
    }
    let words = ["compare", conditions[0].to_str().unwrap(), conditions[1].to_str().unwrap()];
    let output = probe(at, &words).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "guidance differs: {}", said(&output));
    let allowed = [&words[..], &["--allow-different", "guidance"]].concat();
    let output = probe(at, &allowed).output().unwrap();
    assert_ne!(output.status.code(), Some(2), "{}", said(&output));
    assert_ne!(output.status.code(), Some(4), "{}", said(&output));
}

#[test]
fn traces_in_shards_are_traces() {
    let text = format!(
        "kind = \"sweep\"\nversion = 1\nname = \"traces\"\nof = \"trace\"\nshard = 3\nbatch = 1\n\
         [grid]\nprompt = [\"a red ball\", \"two blue cubes\"]\nseed = [3, 4]\n\
         edit = [[], [\"zero sites=mid.out\"]]\n\
         [options]\nmodel = {TINY:?}\nsteps = 2\nsites = [\"up.*.out\"]\n"
    );
    let sweep = folder(&text);
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let run = merged(at);
    let found = table::<TraceStatisticsRow>(&run);
    let items = items(&run);
    assert_eq!(items.len(), 8);
    let is = |item: &&denoscope::table::SweepItemRow| {
        item.condition == 1 && item.seed == 4 && item.prompt.as_deref() == Some("two blue cubes")
    };
    let item = items.iter().find(is).unwrap();
    let words = ["trace", "--prompt", "two blue cubes", "--seed", "4", "--model", TINY];
    let more = ["--steps", "2", "--sites", "up.*.out", "--edit", "zero sites=mid.out"];
    succeeds(at, &[&words[..], &more, &["--out", "direct"]].concat());
    let direct = table::<TraceStatisticsRow>(&only(&at.join("direct"), "trace"));
    let like_direct = |row: &TraceStatisticsRow| TraceStatisticsRow {
        run: direct[0].run.clone(),
        sample: 0,
        ..row.clone()
    };
    let of_item: Vec<TraceStatisticsRow> =
        found.iter().filter(|row| row.sample == item.sample).map(like_direct).collect();
    assert_eq!(of_item.len() as u32, item.rows);
    assert_eq!(of_item, direct);
}

#[test]
fn patches_in_shards_are_patches() {
    let text = format!(
        "kind = \"sweep\"\nversion = 1\nname = \"patches\"\nof = \"patch\"\nshard = 1\n\
         [grid]\nprompt = [\"red ball left of blue cube\"]\nexchange = [\"colours\", \"roles\"]\n\
         seed = [7]\n[options]\nmodel = {TINY:?}\nsteps = 2\nwindows = 1\nsites = [\"mid.*.cross.out\"]\n"
    );
    let sweep = folder(&text);
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let run = merged(at);
    let items = items(&run);
    let corrupted = "blue ball left of red cube";
    let item = items.iter().find(|item| item.corrupted.as_deref() == Some(corrupted)).unwrap();
    let words = ["patch", "--prompt", "red ball left of blue cube", "--corrupted", corrupted];
    let more = ["--seed", "7", "--count", "1", "--steps", "2", "--windows", "1", "--model", TINY];
    let sites = ["--sites", "mid.*.cross.out", "--out", "direct"];
    succeeds(at, &[&words[..], &more, &sites].concat());
    let direct = table::<PatchRow>(&only(&at.join("direct"), "patch"));
    let found: Vec<PatchRow> = table::<PatchRow>(&run)
        .into_iter()
        .filter(|row| row.sample == item.sample)
        .map(|row| PatchRow { run: direct[0].run.clone(), sample: 0, ..row })
        .collect();
    assert_eq!(found, direct);
}

/// A sweep of timesteps on the tiny model.
fn timesteps(grid: &str, options: &str) -> tempfile::TempDir {
    folder(&format!(
        "kind = \"sweep\"\nversion = 1\nname = \"levels\"\nof = \"timesteps\"\nshard = 2\n\
         [grid]\n{grid}[options]\nmodel = {TINY:?}\nsteps = 3\n{options}"
    ))
}

/// What `probe timesteps` gives with these options, as an item's own run would be called.
fn direct_timesteps(at: &Path, words: &[&str]) -> std::path::PathBuf {
    let all = [&["timesteps", "--model", TINY, "--steps", "3", "--out", "direct"], words].concat();
    succeeds(at, &all);
    only(&at.join("direct"), "timesteps")
}

#[test]
fn the_noise_levels_of_images_in_shards_are_those_of_the_command() {
    let parts = "parts = [\"trajectory\", \"attention\"]\n";
    let grid = "prompt = [\"a red ball\", \"two blue cubes\"]\nseed = [3, 4]\n";
    let sweep = timesteps(grid, parts);
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let run = merged(at);
    let items = items(&run);
    assert_eq!(items.len(), 4);
    let is = |item: &&denoscope::table::SweepItemRow| {
        item.seed == 4 && item.prompt.as_deref() == Some("two blue cubes")
    };
    let item = items.iter().find(is).unwrap();
    let words = ["--prompt", "two blue cubes", "--seed", "4", "--count", "1"];
    let direct =
        direct_timesteps(at, &[&words[..], &["--parts", "trajectory", "attention"]].concat());
    let commitments = table::<CommitmentRow>(&direct);
    let own: Vec<CommitmentRow> = table::<CommitmentRow>(&run)
        .into_iter()
        .filter(|row| row.sample == item.sample)
        .map(|row| CommitmentRow { run: commitments[0].run.clone(), sample: 0, ..row })
        .collect();
    assert_eq!(own, commitments);
    // Means have no number of an image: the name of their run has it.
    let attention = table::<AttentionOverTimeRow>(&direct);
    let of_item = format!("/{}", item.sample);
    let own: Vec<AttentionOverTimeRow> = table::<AttentionOverTimeRow>(&run)
        .into_iter()
        .filter(|row| row.run.ends_with(&of_item))
        .map(|row| AttentionOverTimeRow { run: attention[0].run.clone(), ..row })
        .collect();
    assert!(!attention.is_empty());
    assert_eq!(own, attention);
}

#[test]
fn what_seeds_draw_in_shards_is_what_the_command_draws() {
    let options = "parts = [\"switch\", \"probes\"]\npairs = 1\nswitches = 1\n\
                   attributes = [\"colour\"]\nscenes = 80\nat_steps = \"500\"\nsites = [\"mid.out\"]\n";
    let sweep = timesteps("seed = [5, 6]\n", options);
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let run = merged(at);
    let item = items(&run).into_iter().find(|item| item.seed == 6).unwrap();
    let words = ["--seed", "6", "--pairs", "1", "--switches", "1", "--attributes", "colour"];
    let more = ["--scenes", "80", "--at-steps", "500", "--sites", "mid.out"];
    let parts = ["--parts", "switch", "probes"];
    let direct = direct_timesteps(at, &[&words[..], &more, &parts].concat());
    let of_item = format!("/{}", item.sample);
    let probes = table::<LinearProbeRow>(&direct);
    let own: Vec<LinearProbeRow> = table::<LinearProbeRow>(&run)
        .into_iter()
        .filter(|row| row.run.ends_with(&of_item))
        .map(|row| LinearProbeRow { run: probes[0].run.clone(), ..row })
        .collect();
    assert!(probes.iter().any(|row| row.control.is_some()), "random weights are the control");
    assert_eq!(own, probes);
    let switches = table::<PromptSwitchRow>(&run);
    assert_eq!(switches.iter().filter(|row| row.run.ends_with(&of_item)).count(), 3);
}

#[test]
fn every_axis_of_a_grid_makes_conditions() {
    let sweep = folder("");
    let at = sweep.path();
    let mut copy = std::process::Command::new("cp");
    assert!(copy.args(["-r", TINY, "other"]).current_dir(at).status().unwrap().success());
    let spec = format!(
        "kind = \"sweep\"\nversion = 1\nname = \"axes\"\nof = \"trace\"\n\
         [grid]\nprompt = [\"a red ball\"]\nseed = [0]\nmodel = [{TINY:?}, \"other\"]\n\
         sampler = [\"ddim\", \"euler\"]\nguidance = [1.0, 3.0]\n\
         edit = [[], [\"zero sites=mid.out\"]]\nrecord = [[\"statistics\"], [\"pooled\"]]\n\
         [options]\nsites = [\"up.0.out\"]\nsteps = 2\n"
    );
    fs::write(at.join("sweep.toml"), spec).unwrap();
    succeeds(at, &["sweep", "sweep.toml"]);
    let run = merged(at);
    let items = items(&run);
    assert_eq!(items.len(), 32);
    let conditions = table::<SweepConditionRow>(&run);
    let value = |condition: u32, option: &str| {
        let is = |row: &&SweepConditionRow| row.condition == condition && row.option == option;
        conditions.iter().find(is).unwrap().value.clone()
    };
    let statistics = table::<TraceStatisticsRow>(&run);
    let norms = |options: &[(&str, &str)]| -> Vec<Option<f64>> {
        let of = |row: &TraceStatisticsRow| items[row.sample as usize].condition;
        let is = |row: &&TraceStatisticsRow| {
            options.iter().all(|(option, wanted)| value(of(row), option) == *wanted)
        };
        statistics.iter().filter(is).map(|row| row.norm).collect()
    };
    let plain = [("sampler", "ddim"), ("guidance", "1"), ("edit", "none")];
    let here = norms(&[&plain[..], &[("model", TINY)]].concat());
    assert_eq!(here.len(), 2, "two steps, one branch");
    assert_eq!(here, norms(&[&plain[..], &[("model", "other")]].concat()), "the same weights");
    for (changed, other) in [(0, "euler"), (1, "3"), (2, "zero sites=mid.out")] {
        let mut options = plain;
        options[changed].1 = other;
        let there = norms(&[&options[..], &[("model", TINY)]].concat());
        assert_ne!(here, there, "{other} changes what is recorded");
    }
    let pooled = table::<PooledRow>(&run);
    assert_eq!(pooled.len(), statistics.len(), "each recorder has half of the conditions");
}

#[test]
fn samplers_of_suites_are_conditions() {
    let sweep = suites("seed = [5]\nsampler = [\"ddim\", \"euler\"]\n");
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let conditions: Vec<_> = fs::read_dir(merged(at).join("conditions"))
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    let output = probe(at, &["compare", &conditions[0], &conditions[1]]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("euler"), "{}", said(&output));
}

#[test]
fn a_comparison_tells_the_edits_of_a_sweep() {
    let sweep = suites("");
    let at = sweep.path();
    succeeds(at, &["sweep", "sweep.toml"]);
    let plain = merged(at);
    let spec = fs::read_to_string(at.join("sweep.toml")).unwrap();
    let edited = spec.replace("\"suites\"", "\"edited\"") + "edit = \"zero sites=mid.out\"\n";
    fs::write(at.join("sweep.toml"), edited).unwrap();
    succeeds(at, &["sweep", "sweep.toml"]);
    let edited = merged(at);
    let words = ["compare", plain.to_str().unwrap(), edited.to_str().unwrap()];
    let output = probe(at, &words).output().unwrap();
    assert_ne!(output.status.code(), Some(2), "{}", said(&output));
    let report = fs::read_to_string(only(&at.join("runs"), "-compare-").join("report.md")).unwrap();
    assert!(report.contains("zero sites=mid.out"), "{report}");
}

#[test]
fn a_shard_that_fails_says_why_and_the_others_go_on() {
    // A site that this model does not have: only the run itself finds out.
    let text = format!(
        "kind = \"sweep\"\nversion = 1\nname = \"fails\"\nof = \"trace\"\nshard = 2\n\
         [grid]\nprompt = [\"a red ball\"]\nseed = [0, 1]\nsites = [[\"mid.out\"], [\"no.such\"]]\n\
         [options]\nmodel = {TINY:?}\nsteps = 2\n"
    );
    let sweep = folder(&text);
    let at = sweep.path();
    let output = probe(at, &["sweep", "sweep.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("1 shards failed"), "{}", said(&output));
    let text = succeeds(at, &["sweep", "status", "sweep.toml", "--format", "json"]);
    let states: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&states[0]["state"], &states[1]["state"]), (&"done".into(), &"failed".into()));
    assert!(states[1]["reason"].as_str().unwrap().contains("no.such"), "{states}");
}

#[test]
fn weights_that_change_in_the_middle_are_noticed() {
    let sweep = suites("");
    let at = sweep.path();
    let mut copy = std::process::Command::new("cp");
    assert!(copy.args(["-r", TINY, "model"]).current_dir(at).status().unwrap().success());
    let spec = fs::read_to_string(at.join("sweep.toml")).unwrap().replace(TINY, "model");
    fs::write(at.join("sweep.toml"), spec).unwrap();
    succeeds(at, &["sweep", "sweep.toml", "--only", "0"]);
    let weights = at.join("model/unet/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    // The last number of the last tensor, a little different.
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let output = probe(at, &["sweep", "sweep.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    refused_status(at);
}

/// The reason of the failed shard names the weights.
fn refused_status(at: &Path) {
    let text = succeeds(at, &["sweep", "status", "sweep.toml", "--format", "json"]);
    assert!(text.contains("are not those that this sweep began with"), "{text}");
    refused(at, &["sweep", "merge", "sweep.toml"], &["shards are not done"]);
}
