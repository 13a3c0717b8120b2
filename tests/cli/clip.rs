//! `probe clip` and `probe failures --diagnose`: what they write, and what they refuse.

use serde_json::Value;
use tempfile::TempDir;

use crate::{TINY, fails, files, json, probe_in, run_folder};

const CLIP: [&str; 13] = [
    "clip",
    "--model",
    TINY,
    "--captions",
    "20",
    "--routes",
    "1",
    "--images",
    "1",
    "--places",
    "2",
    "--steps",
    "2",
];

#[test]
fn the_embedding_space_is_measured_beside_its_controls() {
    let folder = TempDir::new().unwrap();
    let words = [&CLIP[..], &["--format", "json"]].concat();
    let rows = json(&mut probe_in(&folder, &words));
    let rows: Vec<Value> = rows.as_array().unwrap().clone();
    let has = |part: &str, control: Option<&str>| {
        rows.iter().any(|row| row["part"] == part && row["control"].as_str() == control)
    };
    for part in ["similarity", "analogy", "additivity", "order", "layers"] {
        assert!(has(part, None) && has(part, Some("untrained")), "{part}");
    }
    assert!(has("analogy", Some("shuffled-captions")) && has("layers", Some("shuffled-labels")));
    // The tiny model's folder has no clip/.
    assert!(!has("retrieval", None) && !has("modality-gap", None));
    assert!(has("path", None) && has("path", Some("random-direction")));
    let run = run_folder(&folder);
    let left = files(&run);
    for file in [
        "report.html",
        "tables/clip.parquet",
        "tables/clip_similarity.parquet",
        "tables/clip_analogy.parquet",
        "tables/clip_order.parquet",
        "tables/clip_path.parquet",
        "figures/similarity.png",
        "figures/layers.png",
        "images/0000.png",
    ] {
        assert!(left.iter().any(|path| path.ends_with(file)), "{file} is missing: {left:?}");
    }
    let spec = run.join("spec.toml");
    probe_in(&folder, &["validate", spec.to_str().unwrap()]).assert().success();
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let with = |extra: &[&str], says: &[&str]| {
        fails(&[&["clip", "--model", TINY][..], extra].concat(), says);
    };
    with(&["--encoder", "clip"], &["clip/config.json", "probe train clip", "--encoder text"]);
    with(&["--guidance", "0"], &["guidance 0"]);
    with(&["--captions", "3"], &["3", "10"]);
    with(&["--places", "1"], &["1", "2"]);
}

#[test]
fn failures_are_foretold_or_said_to_be_too_few() {
    let folder = TempDir::new().unwrap();
    let words = [
        "failures",
        "--model",
        TINY,
        "--category",
        "two-objects",
        "--count",
        "4",
        "--steps",
        "2",
        "--diagnose",
    ];
    let assert = probe_in(&folder, &words).assert().success();
    let said = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(said.contains("Nothing can be said of two-objects"), "{said}");
    let run = run_folder(&folder);
    let left = files(&run);
    for file in ["report.html", "tables/diagnosis_features.parquet", "tables/diagnosis.parquet"] {
        assert!(left.iter().any(|path| path.ends_with(file)), "{file} is missing: {left:?}");
    }
    let spec = run.join("spec.toml");
    assert!(std::fs::read_to_string(&spec).unwrap().contains("diagnose = true"));
    probe_in(&folder, &["validate", spec.to_str().unwrap()]).assert().success();
    fails(&["failures", "--precision", "0.5"], &["--diagnose"]);
    fails(&["failures", "--diagnose", "--precision", "1.5"], &["share above 0"]);
}
