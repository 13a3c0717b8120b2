//! `probe patch`: what is planted is found, and nothing where there is nothing.

use serde_json::Value;
use tempfile::TempDir;

use crate::{TINY, fails, files, probe_in, run_folder};

const PATCH: [&str; 8] =
    ["patch", "--model", TINY, "--steps", "2", "--prompt", "red ball left of blue cube", "--count"];

fn rows(extra: &[&str]) -> (Vec<Value>, TempDir) {
    let folder = TempDir::new().unwrap();
    let words = [&PATCH[..], &["2", "--format", "json"], extra].concat();
    let output = probe_in(&folder, &words).assert().success().get_output().stdout.clone();
    let rows: Value = serde_json::from_slice(&output).unwrap();
    (rows.as_array().unwrap().clone(), folder)
}

fn values(rows: &[Value], measure: &str, control: Option<&str>) -> Vec<f64> {
    let chosen = rows.iter().filter(|row| row["measure"] == measure);
    let chosen = chosen.filter(|row| row["control"].as_str() == control);
    chosen.map(|row| row["value"].as_f64().unwrap()).collect()
}

/// With all cross-attention restored at all steps the corrupted prompt has no say: by induction
/// over steps the run is the clean one, bit for bit.
#[test]
fn all_cross_attention_at_all_steps_is_the_clean_run() {
    let sites = ["--sites", "*.cross.out", "mid.res.0.out", "--windows", "1"];
    let (rows, folder) = rows(&[&["--exchange", "colours"], &sites[..]].concat());
    let of_group = |group: &str| -> Vec<Value> {
        rows.iter().filter(|row| row["group"] == group).cloned().collect()
    };
    assert_eq!(values(&of_group("*.cross.out"), "latent", None), [1.0, 1.0]);
    assert_eq!(values(&of_group("*.cross.out"), "image", None), [1.0, 1.0]);
    assert!(values(&of_group("mid.res.0.out"), "latent", None).iter().all(|v| *v < 1.0));
    assert_eq!(values(&rows, "latent", Some("clean")), [1.0, 1.0]);
    assert_eq!(values(&rows, "latent", Some("corrupted")), [0.0, 0.0]);
    assert_eq!(values(&rows, "latent", Some("itself")), [0.0, 0.0]);
    assert_eq!(values(&rows, "latent", Some("random-sites")).len(), 2);

    let run = run_folder(&folder);
    let left = files(&run);
    for file in
        ["report.html", "tables/patch.parquet", "figures/latent.png", "images/clean-001.png"]
    {
        assert!(left.iter().any(|path| path.ends_with(file)), "{file} is missing: {left:?}");
    }
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("blue ball left of red cube"), "the corrupted prompt is not named");
    let again = TempDir::new().unwrap();
    let spec = run.join("spec.toml");
    probe_in(&again, &["validate", spec.to_str().unwrap()]).assert().success();
}

#[test]
fn groups_are_blocks_and_kinds_in_every_window() {
    let (rows, _) = rows(&["--corrupted", "three green cones", "--windows", "2"]);
    let has = |group: &str, window: u64| {
        rows.iter().any(|row| row["group"] == group && row["first_step"] == window)
    };
    for group in ["up.1 cross-attention", "mid residual blocks", "down.0 feed-forward"] {
        assert!(has(group, 0) && has(group, 1), "{group}");
    }
    // Two images in the first window, which runs whole, and in the last, which begins midway.
    assert_eq!(values(&rows, "latent", Some("itself")), [0.0; 4]);
}

#[test]
fn what_cannot_be_traced_says_why() {
    let patch = |extra: &[&str], says: &[&str]| {
        fails(&[&PATCH[..], &["1"], extra].concat(), says);
    };
    patch(&[], &["--corrupted"]);
    patch(&["--corrupted", ""], &["prompt"]);
    patch(&["--exchange", "colours", "--sites", "mid.uot"], &["nearest: mid.out"]);
    patch(&["--exchange", "colours", "--budget", "1kB"], &["over the budget", "--sites"]);
    patch(&["--exchange", "colours", "--guidance", "0"], &["guidance 0"]);
    patch(&["--exchange", "colours", "--edit", "mask=red"], &["--edit"]);
    let one = ["patch", "--model", TINY, "--prompt", "a red ball", "--exchange", "roles"];
    fails(&one, &["no two objects", "--corrupted"]);
}
