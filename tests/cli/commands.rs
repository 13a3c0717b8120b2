//! What each command prints and writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clap::CommandFactory;
use denoscope::cli::Cli;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use tempfile::TempDir;

use crate::{TINY, fails, files, json, probe, probe_in, run_folder};

// --- help and usage ------------------------------------------------------------------------

#[test]
fn every_command_has_help_with_examples_of_itself() {
    let cli = Cli::command();
    let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    for wanted in
        ["generate", "attention", "trace", "sites", "tokens", "forward", "world", "doctor"]
    {
        assert!(names.contains(&wanted), "{wanted}");
    }
    for name in names {
        probe(&[name, "--help"]).assert().success().stdout(
            contains(format!("Usage: probe {name}")).and(contains(format!("\n  probe {name}"))),
        );
    }
    probe(&["--help"]).assert().success().stdout(contains("Examples:"));
    probe(&["--version"]).assert().success().stdout(contains(env!("CARGO_PKG_VERSION")));
}

/// `probe` shows pages that `probe-engine` printed once. `UPDATE_HELP_PAGES=1` writes them anew.
#[test]
fn help_pages_are_those_of_the_engine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/help");
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let engine = |words: &[&str]| {
        let mut engine = assert_cmd::cargo::cargo_bin_cmd!("probe-engine");
        let assert = engine.args(words).env("CLICOLOR_FORCE", "1").assert().success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    };
    let top = ("probe", engine(&["--help"]));
    let pages = commands.iter().map(|name| (*name, engine(&[name, "--help"])));
    let pages: BTreeMap<String, String> = std::iter::once(top)
        .chain(pages)
        .map(|(name, page)| (format!("{name}.ansi"), page))
        .collect();
    if std::env::var_os("UPDATE_HELP_PAGES").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, page) in &pages {
            fs::write(folder.join(name), page).unwrap();
        }
    }
    let stored: BTreeMap<String, String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().into(), fs::read_to_string(path).unwrap())
        })
        .collect();
    let differ: Vec<_> =
        pages.iter().filter(|(name, page)| stored.get(*name) != Some(page)).collect();
    assert!(differ.is_empty(), "run with UPDATE_HELP_PAGES=1; other pages: {differ:?}");
    assert_eq!(stored.len(), pages.len(), "docs/help has a page of a command that is gone");
}

#[test]
fn wrong_words_are_answered_with_the_right_ones() {
    fails(&["genrate"], &["generate"]);
    fails(&["generate", "--promt", "a ball"], &["--prompt"]);
    fails(&["world", "--split", "trian"], &["train"]);
    fails(&["schema", "attenton"], &["attention"]);
    fails(&["sites", "up.0.res.0.ot", "--model", TINY], &["up.0.res.0.out", "probe sites"]);
    fails(&["world", "--caption", "rad ball"], &["rad", "red"]);
    fails(&["forward", "--model", TINY, "--timesteps", "1000"], &["1000", "0 to 999"]);
    fails(&["forward", "--model", TINY, "--image", "none.png"], &["none.png"]);
    fails(&["completions", "tcsh"], &["bash"]);
}

#[test]
fn a_closed_pipe_is_no_error() {
    for words in [&["schema"][..], &["completions", "bash"], &["sites", "--model", TINY]] {
        let mut child = std::process::Command::new(probe(words).get_program())
            .args(words)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), message.as_str()), (Some(0), ""), "{words:?}");
    }
}

// --- lists ---------------------------------------------------------------------------------

#[test]
fn tokens_are_one_object_of_three_equal_lists() {
    let words = ["tokens", "--prompt", "a Striped ball, left", "--model", TINY];
    let tokens = json(&mut probe(&words));
    let list = |key: &str| tokens[key].as_array().unwrap().clone();
    let (ids, pieces, named) = (list("ids"), list("pieces"), list("words"));
    assert_eq!((ids.len(), pieces.len()), (named.len(), named.len()));
    assert!(named.first().unwrap().is_null() && named.last().unwrap().is_null());
    assert!(named.contains(&Value::from("striped")), "{named:?}");
    assert!(ids.iter().all(Value::is_u64));
    let rows = probe(&[&words[..], &["--format", "csv"]].concat()).assert().success();
    let text = String::from_utf8(rows.get_output().stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1 + ids.len());
    probe(&["tokens", "--prompt", &"ball ".repeat(10_000), "--model", TINY])
        .assert()
        .success()
        .stderr(contains("not read").and(predicate::function(|text: &str| text.len() < 500)));
}

#[test]
fn sites_have_the_shapes_of_the_size_asked_for() {
    let list = |extra: &[&str]| {
        let words = [&["sites", "--model", TINY, "--format", "json"][..], extra].concat();
        json(&mut probe(&words)).as_array().unwrap().clone()
    };
    let latent = list(&["step.x0"]);
    assert_eq!(latent.len(), 1);
    assert_eq!(latent[0]["shape"], "1 × 4 × 8 × 8");
    assert_eq!(latent[0]["megabytes"], 4.0 * 4.0 * 8.0 * 8.0 / 1e6);
    assert_eq!(list(&["step.x0", "--width", "64"])[0]["shape"], "1 × 4 × 8 × 16");
    assert_eq!(list(&["vae.decode.out"])[0]["shape"], "1 × 3 × 32 × 32");
    let cross = list(&["down.0.*.cross.probs"]);
    assert_eq!(cross[0]["shape"], "1 × 4 × 64 × 77");
    assert_eq!(cross[0]["path"], "down_blocks.0.attentions.0.transformer_blocks.0.attn2");
    assert!(list(&[]).len() > 50);
    fails(&["sites", "--model", TINY, "--width", "30"], &["30×32", "multiples of 4"]);
}

#[test]
fn the_schema_lists_every_column() {
    let rows = json(&mut probe(&["schema", "--format", "json"]));
    let count: usize = denoscope::table::declarations().iter().map(|t| t.columns.len()).sum();
    assert_eq!(rows.as_array().unwrap().len(), count);
    let rows = json(&mut probe(&["schema", "schedule", "--format", "json"]));
    assert_eq!(rows[0]["column"], "timestep");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        probe(&["completions", shell]).assert().success().stdout(contains("attention"));
    }
}

#[test]
fn the_doctor_exits_by_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let assert = probe_in(&folder, &["doctor", "--format", "json"]).assert();
    let output = assert.get_output();
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = rows.as_array().unwrap();
    let missing: Vec<&Value> = rows.iter().filter(|row| row["status"] == "missing").collect();
    assert_eq!(output.status.code(), Some(i32::from(!missing.is_empty())));
    assert!(missing.iter().all(|row| row["remedy"].is_string()));
    for check in ["libtorch", "built-in model", "figure font", "output folder"] {
        assert!(rows.iter().any(|row| row["check"] == check), "{check}");
    }
    assert!(files(folder.path()).is_empty());
    fs::write(folder.path().join("runs"), "a file").unwrap();
    probe_in(&folder, &["doctor"]).assert().code(1).stderr(contains("output folder"));
}

// --- runs ----------------------------------------------------------------------------------

#[test]
fn a_trace_keeps_statistics_and_tensors_of_the_chosen_steps() {
    let folder = TempDir::new().unwrap();
    let words = [
        "trace",
        "--model",
        TINY,
        "--prompt",
        "a ball",
        "--steps",
        "4",
        "--count",
        "2",
        "--sites",
        "step.x0",
        "mid.out",
        "text.out",
        "vae.*",
        "--at-steps",
        "0,2-3",
        "--raw",
        "raw.safetensors",
        "--format",
        "json",
    ];
    let plan = json(probe_in(&folder, &words).arg("--dry-run"));
    assert!(files(folder.path()).is_empty(), "a dry run writes nothing");
    let rows = json(&mut probe_in(&folder, &words));
    let of = |site: &str| -> Vec<Value> {
        rows.as_array().unwrap().iter().filter(|row| row["site"] == site).cloned().collect()
    };
    // Images × steps × halves of guidance.
    assert_eq!(of("step.x0").len(), 2 * 3);
    assert_eq!(of("mid.out").len(), 2 * 3 * 2);
    assert_eq!(of("text.out").len(), 2 * 2);
    assert_eq!(of("vae.decode.out").len(), 2);
    assert!(of("text.out").iter().all(|row| row["step"].is_null()));
    assert!(of("vae.encode.moments").is_empty(), "nothing is encoded in a run");
    let steps: Vec<_> = of("step.x0").iter().map(|row| row["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 0, 2, 2, 3, 3]);

    let raw = fs::read(folder.path().join("raw.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&raw).unwrap();
    let x0 = tensors.tensor("002/step.x0").unwrap();
    assert_eq!(x0.shape(), [2, 4, 8, 8]);
    assert_eq!(tensors.tensor("003/uncond/mid.out").unwrap().shape()[0], 2);
    assert!(tensors.tensor("000/cond/mid.out").is_ok() && tensors.tensor("001/step.x0").is_err());
    let kept: usize = tensors.tensors().iter().map(|(_, tensor)| tensor.data().len()).sum();
    let planned: u64 =
        plan.as_array().unwrap().iter().map(|row| row["bytes"].as_u64().unwrap()).sum();
    assert_eq!(kept as u64, planned, "the dry run says what is kept");

    let run = run_folder(&folder);
    for file in ["manifest.json", "spec.toml", "tables/trace_statistics.parquet", "images/001.png"]
    {
        assert!(run.join(file).is_file(), "{file}");
    }
}

#[test]
fn statistics_are_those_of_the_tensors() {
    let folder = TempDir::new().unwrap();
    let words = [
        "trace",
        "--model",
        TINY,
        "--prompt",
        "a ball",
        "--steps",
        "2",
        "--sites",
        "step.x0",
        "--raw",
        "raw.safetensors",
        "--format",
        "json",
    ];
    let rows = json(&mut probe_in(&folder, &words));
    let raw = fs::read(folder.path().join("raw.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&raw).unwrap();
    let bytes = tensors.tensor("001/step.x0").unwrap();
    let x: Vec<f64> = bytes
        .data()
        .chunks_exact(4)
        .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
        .collect();
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let low = x.iter().copied().fold(f64::INFINITY, f64::min);
    for (key, expected) in [("mean", mean), ("std", variance.sqrt()), ("norm", norm), ("min", low)]
    {
        let got = rows[1][key].as_f64().unwrap();
        assert!((got - expected).abs() < 1e-9 * expected.abs().max(1.0), "{key}: {got} {expected}");
    }
}

#[test]
fn a_trace_that_cannot_be_is_refused_before_it_runs() {
    let trace = |extra: &[&'static str], says: &[&str]| {
        let words = ["trace", "--model", TINY, "--prompt", "a ball", "--steps", "5", "--sites"];
        fails(&[&words[..], extra].concat(), says);
    };
    trace(&["step.x0", "--at-steps", "5"], &["step 5", "0 to 4"]);
    trace(&["step.x0", "--at-steps", "x"], &["`x`", "0,5,10-12"]);
    trace(&["nowhere"], &["nowhere", "nearest"]);
    trace(&["vae.encode.*"], &["never"]);
    trace(
        &["step.x0", "--raw", "t.safetensors", "--budget", "1kB"],
        &["5120", "1000", "leave out"],
    );
    trace(&["step.x0", "--raw", "t.safetensors", "--budget", "3kB"], &["5120", "at most 2 steps"]);
    trace(&["step.x0", "--raw", "no/such/t.safetensors"], &["no/such", "folder"]);
    trace(&["step.x0", "--budget", "much"], &["500MB"]);
}

#[test]
fn forward_writes_schedule_figures_and_report() {
    let folder = TempDir::new().unwrap();
    let words = ["forward", "--model", TINY, "--timesteps", "0,500,999", "--format", "json"];
    let rows = json(&mut probe_in(&folder, &words));
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 3);
    let share = |row: &Value| row["alpha_bar"].as_f64().unwrap();
    // ᾱ of the first timestep is 1 − β of the config.
    assert!((share(&rows[0]) - (1.0 - 0.00085)).abs() < 1e-12);
    assert!(share(&rows[0]) > share(&rows[1]) && share(&rows[1]) > share(&rows[2]));
    let run = run_folder(&folder);
    for file in [
        "tables/schedule.parquet",
        "figures/signal.svg",
        "figures/signal-to-noise.png",
        "figures/noised.png",
        "images/t0500.png",
        "report.html",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    let image = |name: &str| image::open(run.join("images").join(name)).unwrap().to_rgb8();
    assert_ne!(image("t0000.png"), image("t0999.png"));
}

#[test]
fn the_world_writes_images_masks_and_captions() {
    let folder = TempDir::new().unwrap();
    let words =
        ["world", "--caption", "a red ball left of a blue cube", "--count", "3", "--seed", "5"];
    let assert = probe_in(&folder, &words).assert().success();
    let run = run_folder(&folder);
    let printed = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(printed.trim().ends_with(run.file_name().unwrap().to_str().unwrap()));
    let lines = fs::read_to_string(run.join("captions.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let scene: denoscope::world::Scene = serde_json::from_value(line["scene"].clone()).unwrap();
        let said = denoscope::world::parse(line["caption"].as_str().unwrap()).unwrap();
        assert!(said.holds_in(&scene));
        let image = image::open(run.join(line["image"].as_str().unwrap())).unwrap().to_rgb8();
        assert_eq!(image, denoscope::world::render(&scene, 64));
        let masks = denoscope::world::masks(&scene, 64);
        for (file, mask) in line["masks"].as_array().unwrap().iter().zip(&masks) {
            let stored = image::open(run.join(file.as_str().unwrap())).unwrap().to_luma8();
            let white = stored.pixels().filter(|pixel| pixel.0 == [255]).count();
            assert_eq!(white, mask.iter().filter(|&&m| m).count());
        }
        assert_eq!(line["masks"].as_array().unwrap().len(), masks.len());
    }
    let sheet = ["world", "--category", "word", "--count", "4", "--sheet", "sheet.png"];
    probe_in(&folder, &sheet).assert().success();
    assert!(image::open(folder.path().join("sheet.png")).is_ok());
}

#[test]
fn the_judge_is_calibrated_with_intervals() {
    let words = ["world", "--calibrate-judge=rates", "--count", "40", "--format", "json"];
    let folder = TempDir::new().unwrap();
    let with_model = [&words[..], &["--model", TINY]].concat();
    let rows = json(&mut probe_in(&folder, &with_model));
    let all: Vec<&Value> =
        rows.as_array().unwrap().iter().filter(|row| row["kind"] == "all").collect();
    assert_eq!(all.len(), 5, "clean, noise, blur, resampled, autoencoder");
    let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
    for row in &all {
        assert!(number(row, "right_low") <= number(row, "right"));
        assert!(number(row, "right") <= number(row, "right_high"));
    }
    let (clean, random) = (all[0], all[4]);
    assert_eq!(clean["distortion"], "none");
    // Random weights leave nothing of an image.
    assert!(number(clean, "right") > number(random, "right") + 0.3);
    assert!(files(folder.path()).is_empty());
}
