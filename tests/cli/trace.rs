//! `probe trace --record`: what recorders say against the tensors themselves.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::{TINY, fails, files, json, probe_in, run_folder};

const RUN: [&str; 9] =
    ["trace", "--model", TINY, "--prompt", "a ball", "--count", "2", "--format", "json"];

fn trace<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    [&RUN[..], extra].concat()
}

/// Runs a trace that also keeps tensors; its rows, and the tensors of one image by key.
fn rows_and_tensors(extra: &[&str]) -> (Vec<Value>, impl Fn(&str, usize) -> Vec<f64>) {
    let folder = TempDir::new().unwrap();
    let words = trace(&[extra, &["--raw", "raw.safetensors"]].concat());
    let rows = json(&mut probe_in(&folder, &words)).as_array().unwrap().clone();
    let raw = fs::read(folder.path().join("raw.safetensors")).unwrap();
    let of_image = move |key: &str, sample: usize| {
        let tensors = safetensors::SafeTensors::deserialize(&raw).unwrap();
        let tensor = tensors.tensor(key).unwrap();
        let size = tensor.data().len() / tensor.shape()[0];
        tensor.data()[sample * size..][..size]
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
            .collect()
    };
    (rows, of_image)
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap()
}

#[track_caller]
fn assert_near(row: &Value, key: &str, expected: f64) {
    let got = number(row, key);
    assert!((got - expected).abs() < 1e-5 * expected.abs().max(1e-3), "{key}: {expected}, {row}");
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[test]
fn guidance_comes_apart_into_a_parallel_and_an_orthogonal_part() {
    let sites = ["--sites", "step.eps.cond", "step.eps.uncond"];
    let words = [&["--record", "guidance", "--steps", "3"], &sites[..]].concat();
    let (rows, of_image) = rows_and_tensors(&words);
    assert_eq!(rows.len(), 2 * 3);
    for row in &rows {
        let [step, sample] = ["step", "sample"].map(|key| row[key].as_u64().unwrap() as usize);
        let [cond, uncond] =
            ["cond", "uncond"].map(|half| of_image(&format!("{step:03}/step.eps.{half}"), sample));
        let added = difference(&cond, &uncond);
        let norm = |x: &[f64]| dot(x, x).sqrt();
        assert_near(row, "cond_norm", norm(&cond));
        assert_near(row, "uncond_norm", norm(&uncond));
        assert_near(row, "difference", norm(&added));
        assert_near(row, "parallel", dot(&added, &cond) / norm(&cond));
        assert_near(row, "cosine", dot(&cond, &uncond) / norm(&cond) / norm(&uncond));
        let squares = number(row, "parallel").powi(2) + number(row, "orthogonal").powi(2);
        let whole = number(row, "difference").powi(2);
        assert!(whole > 0.0 && (squares / whole - 1.0).abs() < 1e-9, "{row}");
    }
}

#[test]
fn changes_are_those_of_the_tensors() {
    let sites = ["--sites", "*.cross.out", "step.x0", "text.out"];
    let words = [&["--record", "change", "--steps", "3"], &sites[..]].concat();
    let (rows, of_image) = rows_and_tensors(&words);
    assert!(rows.iter().any(|row| row["branch"] == "uncond"));
    assert!(rows.iter().all(|row| row["site"] != "text.out"), "it runs once, and changes nothing");
    for row in &rows {
        let [step, sample] = ["step", "sample"].map(|key| row[key].as_u64().unwrap() as usize);
        let site = row["site"].as_str().unwrap();
        let place = match row["branch"].as_str() {
            Some(branch) => format!("{branch}/{site}"),
            None => site.to_owned(),
        };
        let [now, before] = [step, step - 1].map(|s| of_image(&format!("{s:03}/{place}"), sample));
        let change = difference(&now, &before);
        let change = dot(&change, &change).sqrt();
        assert_near(row, "norm", dot(&now, &now).sqrt());
        assert_near(row, "change", change);
        assert_near(row, "relative", change / dot(&before, &before).sqrt());
    }
    // Without sites: cross-attention. A chosen step says what it says among all.
    let folder = TempDir::new().unwrap();
    let words = trace(&["--record", "change", "--steps", "3", "--at-steps", "2"]);
    let chosen = json(&mut probe_in(&folder, &words)).as_array().unwrap().clone();
    let is_chosen = |row: &&Value| row["step"] == 2 && row["branch"].is_string();
    let expected: Vec<&Value> = rows.iter().filter(is_chosen).collect();
    assert_eq!(chosen.len(), expected.len());
    for (row, expected) in chosen.iter().zip(expected) {
        assert_eq!((&row["site"], &row["change"]), (&expected["site"], &expected["change"]));
    }
}

#[test]
fn recorders_share_a_run_and_say_before_it_what_they_hold() {
    let folder = TempDir::new().unwrap();
    let recorders = ["--record", "guidance", "change", "statistics", "--steps", "3"];
    let words = trace(&[&recorders[..], &["--sites", "mid.*.cross.out"]].concat());
    let plan = json(probe_in(&folder, &words).arg("--dry-run"));
    assert!(files(folder.path()).is_empty(), "a dry run writes nothing");
    let plan: Vec<&Value> = plan.as_array().unwrap().iter().collect();
    let of =
        |site: &str| plan.iter().find(|row| row["site"].as_str().unwrap().ends_with(site)).unwrap();
    let cross = of(".cross.out");
    assert_eq!(cross["recorders"], "change, statistics");
    assert_eq!(cross["held_bytes"], cross["step_bytes"], "one step, however many there are");
    assert_eq!(number(cross, "bytes"), 3.0 * number(cross, "step_bytes"));
    // As f64, until the other half is seen: 2 images × 4 channels × 8 × 8.
    assert_eq!(of("eps.uncond")["held_bytes"], 2 * 4 * 8 * 8 * 8);
    assert_eq!(of("eps.cond")["held_bytes"], 0);
    let printed = json(&mut probe_in(&folder, &words));
    assert!(printed[0]["parallel"].is_number(), "the recorder named first is printed");
    let tables = run_folder(&folder).join("tables");
    for table in ["guidance", "change", "trace_statistics"] {
        assert!(tables.join(format!("{table}.parquet")).is_file(), "{table}");
    }
}

#[test]
fn a_spec_with_recorders_runs() {
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
    let tables = [
        ("block-statistics", "trace_statistics"),
        ("guidance-parts", "guidance"),
        ("cross-attention-change", "change"),
    ];
    for (spec, table) in tables {
        let folder = TempDir::new().unwrap();
        let text = fs::read_to_string(specs.join(format!("{spec}.toml"))).unwrap();
        let small = text.replace("steps = 25", "steps = 2").replace("count = 4", "count = 1");
        assert_ne!(small, text);
        let small = format!("{small}model = {TINY:?}\n");
        fs::write(folder.path().join("spec.toml"), small).unwrap();
        probe_in(&folder, &["run", "spec.toml"]).assert().success();
        let run = run_folder(&folder);
        assert!(run.join(format!("tables/{table}.parquet")).is_file(), "{spec}");
        // What the run wrote down of itself can be run again.
        let again = run.join("spec.toml").display().to_string();
        probe_in(&folder, &["validate", &again]).assert().success();
    }
}

#[test]
fn recorders_with_nothing_to_say_are_refused() {
    let refused = |extra: &[&'static str], says: &[&str]| {
        fails(&[&RUN[..], &["--steps", "3"], extra].concat(), says);
    };
    for scale in ["0", "1"] {
        let says = [format!("--guidance {scale}"), "other than 0 and 1".to_owned()];
        let says: Vec<&str> = says.iter().map(String::as_str).collect();
        refused(&["--record", "guidance", "--guidance", scale], &says);
    }
    refused(&["--record", "guidance", "--sites", "mid.out"], &["--sites", "step.eps.cond"]);
    refused(&["--record", "statistics"], &["--sites"]);
    refused(&["--record", "change", "--raw", "t.safetensors"], &["--raw", "--sites"]);
    refused(&["--record", "change", "--sites", "text.out"], &["denoising loop"]);
    refused(&["--record", "change", "--at-steps", "0"], &["--at-steps", "step 0"]);
    refused(&["--record", "everything"], &["statistics", "change", "guidance"]);
    refused(&[], &["--sites"]);
    fails(&[&RUN[..], &["--steps", "1", "--record", "change"]].concat(), &["--steps"]);
}
