//! `probe guidance`: a sweep of a model with random weights, with and without a CLIP.

use std::fs;
use std::path::Path;

use denoscope::model::checkpoint::Placement;
use denoscope::model::checkpoint::{ModelFiles, read_tokenizer};
use denoscope::model::clip_folder::ClipModel;
use denoscope::table::{GuidanceImageRow, GuidanceRow};
use denoscope::train::clip::{ClipObjective, shapes_text_config, shapes_vision_config};
use denoscope::train::{Objective, TrainingPlan};
use denoscope::world::Mix;
use serde_json::Value;
use tempfile::TempDir;

use super::{TINY, fails, files, json, probe_in, run_folder, table};

const SWEEP: [&str; 12] = [
    "guidance",
    "--guidance",
    "3,1,6",
    "--from-world",
    "4",
    "--count",
    "2",
    "--steps",
    "2",
    "--format",
    "json",
    "--renders=3",
];

fn sweep(model: &str, extra: &[&str]) -> (Vec<Value>, TempDir) {
    let folder = TempDir::new().unwrap();
    let words = [&SWEEP[..], &["--model", model], extra].concat();
    let rows = json(&mut probe_in(&folder, &words)).as_array().unwrap().clone();
    (rows, folder)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// The tiny model with a CLIP of random weights, as `probe train clip` writes it.
pub(crate) fn with_clip() -> TempDir {
    let folder = TempDir::new().unwrap();
    copy(Path::new(TINY), folder.path());
    let tokenizer = read_tokenizer(&ModelFiles::folder(TINY.into()), "tokenizer").unwrap();
    let mut text = shapes_text_config(624, 77, 623);
    (text.hidden_size, text.intermediate_size, text.projection_dim) = (32, 32, 16);
    let mut vision = shapes_vision_config();
    (vision.hidden_size, vision.intermediate_size, vision.projection_dim) = (32, 32, 16);
    vision.image_size = 32;
    let plan = TrainingPlan {
        steps: 1,
        batch: 1,
        learning_rate: 1e-3,
        warmup: 1,
        weight_decay: 0.0,
        ema_decay: 0.9,
        clip_norm: 1.0,
        seed: 5,
        bf16: false,
        checkpoint_every: 1,
        preview_every: 1,
        snapshots: 0,
    };
    let cpu = Placement::default().device;
    ClipObjective::new((text, vision), None, tokenizer, Mix::training(), &plan, cpu)
        .unwrap()
        .export(folder.path())
        .unwrap();
    let files = ModelFiles::folder(folder.path().to_owned());
    assert!(ClipModel::open(&files, Placement::default()).unwrap().is_some());
    folder
}

fn of<'a>(rows: &'a [Value], measure: &str, control: Option<&str>) -> Vec<&'a Value> {
    let wanted = |row: &&Value| row["measure"] == measure && row["control"].as_str() == control;
    rows.iter().filter(wanted).collect()
}

#[test]
fn every_scale_has_the_same_prompts_and_seeds() {
    let (found, folder) = sweep(TINY, &[]);
    let scales: Vec<f64> =
        of(&found, "saturation", None).iter().map(|r| r["scale"].as_f64().unwrap()).collect();
    assert_eq!(scales, [1.0, 3.0, 6.0]);
    assert_eq!(of(&found, "saturation", Some("renders")).len(), 1);
    assert_eq!(of(&found, "atoms", Some("other-prompts")).len(), 3);
    assert!(of(&found, "vendi_share", None).is_empty(), "there is no CLIP");
    assert_eq!(found[0]["gamma"].as_f64(), Some(0.0));
    // Random weights draw no scene.
    assert!(of(&found, "right", None).iter().all(|row| row["value"].as_f64() == Some(0.0)));

    let run = run_folder(&folder);
    let images: Vec<GuidanceImageRow> = table(&run);
    let asked = |scale: Option<f64>| -> Vec<(String, u64)> {
        let own = images.iter().filter(|row| row.scale == scale);
        own.map(|row| (row.prompt.clone(), row.seed)).collect()
    };
    assert_eq!(asked(Some(1.0)).len(), 8);
    assert_eq!(asked(Some(1.0)), asked(Some(6.0)));
    assert!(images.iter().all(|row| row.scale.is_some() || row.control.is_some()));
    // Scale 1 has one branch, so no term: two scales × 8 images × 2 steps.
    let parts: Vec<GuidanceRow> = table(&run);
    assert_eq!(parts.len(), 2 * 8 * 2);
    assert!(parts.iter().all(|part| (8..24).contains(&part.sample)));

    let left = files(&run);
    for file in [
        "report.html",
        "tables/guidance_sweep.parquet",
        "tables/guidance_change.parquet",
        "figures/contact-sheet.png",
        "figures/saturation.png",
        "images/00023.png",
    ] {
        assert!(left.iter().any(|path| path.ends_with(file)), "{file} is missing: {left:?}");
    }
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("γ = 5"), "the other convention is missing");
    let again = TempDir::new().unwrap();
    let spec = run.join("spec.toml");
    probe_in(&again, &["validate", spec.to_str().unwrap()]).assert().success();
}

#[test]
fn a_clip_in_the_folder_adds_its_measures_and_changes_no_other() {
    let model = with_clip();
    let (plain, _) = sweep(TINY, &[]);
    let (found, _) = sweep(model.path().to_str().unwrap(), &[]);
    for measure in [
        "clip_cosine",
        "frechet_clip",
        "kernel_clip",
        "precision_clip",
        "recall_clip",
        "vendi_share",
        "pairwise",
    ] {
        assert_eq!(of(&found, measure, None).len(), 3, "{measure}");
        assert_eq!(of(&found, measure, Some("renders")).len(), 1, "{measure}");
    }
    for measure in ["atoms", "saturation", "laplacian"] {
        assert_eq!(of(&found, measure, None).len(), 3);
        for (a, b) in of(&found, measure, None).iter().zip(of(&plain, measure, None)) {
            assert_eq!(a["value"], b["value"], "{measure}");
        }
    }
    // Random weights are at chance: the cosine knows nothing of whose prompt it is.
    let (own, other) =
        (of(&found, "clip_cosine", None), of(&found, "clip_cosine", Some("other-prompts")));
    for (own, other) in own.iter().zip(other) {
        let low = own["low"].as_f64().unwrap();
        assert!(low <= other["high"].as_f64().unwrap(), "{own} {other}");
    }
}

#[test]
fn prompts_the_world_does_not_know_have_no_judge() {
    let (found, _) = sweep(TINY, &["--prompt", "a photo of a dog"]);
    assert!(of(&found, "saturation", Some("renders")).is_empty());
    let atoms = of(&found, "atoms", None);
    assert_eq!(atoms[0]["prompts"].as_u64(), Some(4), "those of the world are judged");
    assert_eq!(of(&found, "contrast", None)[0]["prompts"].as_u64(), Some(5));
}

#[test]
fn what_cannot_be_swept_says_why() {
    let refused = |extra: &[&str], says: &[&str]| {
        fails(&[&["guidance", "--model", TINY], extra].concat(), says);
    };
    refused(&["--guidance", "1,nan"], &["finite numbers"]);
    refused(&["--prompt", "a ball", "--prompt", "a ball"], &["given twice", "--count"]);
    refused(&["--prompt", " "], &["the prompt is empty"]);
    refused(&["--steps", "0", "--prompt", "a ball"], &["steps"]);
}
