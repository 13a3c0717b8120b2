//! Runs that are given an image, from outside.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::{TINY, fails, json, probe_in, run_folder};

const BALL: [&str; 4] = ["--model", TINY, "--prompt", "red ball left of blue cube"];

/// A folder with `image.png` of another size than the model's, masks of its left and right half,
/// and `black.png`.
fn pictures() -> TempDir {
    const SIDES: [u32; 2] = [50, 40];
    let folder = TempDir::new().unwrap();
    let save = |name: &str, level: &dyn Fn(u32, u32) -> [u8; 3]| {
        let [width, height] = SIDES;
        let image = image::RgbImage::from_fn(width, height, |x, y| image::Rgb(level(x, y)));
        image.save(folder.path().join(name)).unwrap();
    };
    save("image.png", &|x, y| [(5 * x) as u8, (6 * y) as u8, 90]);
    save("left.png", &|x, _| [if x < SIDES[0] / 2 { 255 } else { 0 }; 3]);
    save("right.png", &|x, _| [if x < SIDES[0] / 2 { 0 } else { 255 }; 3]);
    save("black.png", &|_, _| [0; 3]);
    folder
}

fn words<'a>(command: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    [&[command][..], &BALL, extra].concat()
}

fn manifest(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("manifest.json")).unwrap()).unwrap()
}

#[test]
fn an_image_is_sampled_on_from_and_its_spec_does_the_same() {
    let folder = pictures();
    let extra = ["--image", "image.png", "--strength", "0.5", "--steps", "4", "--sampler", "euler"];
    let extra = [&extra[..], &["--guidance-rescale", "0.5", "--format", "json"]].concat();
    let first = json(&mut probe_in(&folder, &words("generate", &extra)));
    let run = run_folder(&folder);
    let input = image::open(run.join("images/input.png")).unwrap();
    assert_eq!((input.width(), input.height()), (32, 32));
    let sampling = manifest(&run)["sampling"].clone();
    assert_eq!(sampling["image"]["purpose"], "start");
    assert_eq!(sampling["image"]["strength"], 0.5);
    assert_eq!(sampling["guidance_rescale"], 0.5);
    let digest = denoscope::run::digest_file(&folder.path().join("image.png")).unwrap().0;
    assert_eq!(sampling["image"]["sha256"], digest);

    let spec = run.join("spec.toml");
    let again = ["run", spec.to_str().unwrap(), "--out", "again"];
    probe_in(&folder, &again).assert().success();
    let again = fs::read_dir(folder.path().join("again")).unwrap().next().unwrap().unwrap().path();
    let drawn = |run: &Path| fs::read(run.join("images/000.png")).unwrap();
    assert_eq!(drawn(&again), drawn(&run));
    assert_eq!(first[0]["file"], "images/000.png");
}

#[test]
fn an_inversion_says_how_close_it_came_and_saves_its_noise() {
    let folder = pictures();
    let extra = ["--image", "image.png", "--invert", "--guidance", "1", "--steps", "20"];
    let kept = ["--save-latents", "noise.safetensors", "--format", "json"];
    let rows = json(&mut probe_in(&folder, &words("generate", &[&extra[..], &kept].concat())));
    let number = |key: &str| rows[0][key].as_f64().unwrap();
    assert!(number("latent_error") > 0.0 && number("psnr_to_round_trip") > 0.0);
    let run = run_folder(&folder);
    for file in ["images/input.png", "images/autoencoder.png", "tables/inversion.parquet"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    // The two images that were compared give the ratio that was written.
    let levels = |name: &str| image::open(run.join("images").join(name)).unwrap().to_rgb8();
    let (ours, theirs) = (levels("000.png"), levels("autoencoder.png"));
    let squares = ours
        .as_raw()
        .iter()
        .zip(theirs.as_raw())
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    let error = squares.sum::<f64>() / ours.as_raw().len() as f64;
    let ratio = 10.0 * (255.0_f64.powi(2) / error).log10();
    assert!((ratio - number("psnr_to_round_trip")).abs() < 1e-9, "{ratio}");

    let from = ["--init-latents", "noise.safetensors", "--guidance", "1", "--steps", "20"];
    let out = ["--sampler", "ddim", "--out", "drawn"];
    probe_in(&folder, &words("generate", &[&from[..], &out].concat())).assert().success();
    let drawn: PathBuf =
        fs::read_dir(folder.path().join("drawn")).unwrap().next().unwrap().unwrap().path();
    let bytes = |run: &Path| fs::read(run.join("images/000.png")).unwrap();
    assert_eq!(bytes(&drawn), bytes(&run));
}

#[test]
fn a_look_records_each_timestep_as_a_step() {
    let folder = pictures();
    let extra = ["--image", "image.png", "--at-steps", "100,500,900", "--count", "2"];
    let sites = ["--format", "json", "--sites", "step.latent", "mid.out", "vae.*"];
    let all = words("trace", &[&extra[..], &sites].concat());
    let plan = json(probe_in(&folder, &all).arg("--dry-run"));
    let rows = json(&mut probe_in(&folder, &all));
    let of = |site: &str| -> Vec<Value> {
        rows.as_array().unwrap().iter().filter(|row| row["site"] == site).cloned().collect()
    };
    let at: Vec<(u64, f64)> = of("step.latent")
        .iter()
        .map(|row| (row["step"].as_u64().unwrap(), row["timestep"].as_f64().unwrap()))
        .collect();
    let expected = [(0, 900.0), (1, 500.0), (2, 100.0)];
    assert_eq!(at, expected.into_iter().flat_map(|at| [at, at]).collect::<Vec<_>>());
    assert_eq!(of("mid.out").len(), 2 * 3 * 2);
    // Encoded once, not decoded.
    assert_eq!(of("vae.encode.moments").len(), 1);
    assert!(of("vae.decode.out").is_empty());
    let planned =
        |site: &str| plan.as_array().unwrap().iter().find(|row| row["site"] == site).cloned();
    assert_eq!(planned("vae.encode.moments").unwrap()["shape"], "1 × 8 × 8 × 8");
    assert!(planned("vae.decode.out").is_none());
    let sampling = manifest(&run_folder(&folder))["sampling"].clone();
    assert_eq!((&sampling["sampler"], &sampling["steps"]), (&"none".into(), &3.into()));
    assert_eq!(sampling["image"]["timesteps"][0], 900);
}

#[test]
fn masked_words_are_scored_on_a_real_image() {
    let folder = pictures();
    let extra =
        ["--image", "image.png", "--at-steps", "300,600", "--count", "2", "--format", "json"];
    let masks = ["--mask", "Red ball=left.png", "--mask", "cube=right.png"];
    let rows = json(&mut probe_in(&folder, &words("attention", &[&extra[..], &masks].concat())));
    let rows = rows.as_array().unwrap();
    let own: Vec<&Value> = rows
        .iter()
        .filter(|row| row["control"].is_null() && row["site"].is_null() && row["step"].is_null())
        .collect();
    let named: Vec<(&str, &str)> = own
        .iter()
        .map(|row| (row["word"].as_str().unwrap(), row["object"].as_str().unwrap()))
        .collect();
    let expected = [("red", "red ball"), ("ball", "red ball"), ("cube", "cube")];
    assert_eq!(named, [expected, expected].concat());
    assert!(rows.iter().all(|row| row["role"] == "given"));
    assert!(rows.iter().all(|row| row["auroc"].is_f64()), "both halves are there to score");
    let run = run_folder(&folder);
    assert!(run.join("report.html").is_file() && !run.join("tables/judgement.parquet").exists());
    let spec = fs::read_to_string(run.join("spec.toml")).unwrap();
    assert!(
        spec.contains("red ball=left.png") && spec.contains("at_steps = \"300,600\""),
        "{spec}"
    );
    probe_in(&folder, &["validate", run.join("spec.toml").to_str().unwrap()]).assert().success();
}

#[test]
fn masks_may_come_from_a_coco_file() {
    let folder = pictures();
    // The left half as a polygon, the lower right quarter as a box, and what the prompt has not.
    let coco = r#"{"images": [{"id": 1, "file_name": "image.png", "width": 10, "height": 8}],
        "categories": [{"id": 1, "name": "Red ball"}, {"id": 2, "name": "cube"}, {"id": 3, "name": "dog"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 8, 0, 8]]},
            {"image_id": 1, "category_id": 2, "bbox": [5, 4, 5, 4]},
            {"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1]}]}"#;
    fs::write(folder.path().join("masks.json"), coco).unwrap();
    let extra = [
        "--image",
        "image.png",
        "--at-steps",
        "300",
        "--count",
        "2",
        "--format",
        "json",
        "--masks",
        "masks.json",
    ];
    let rows = json(&mut probe_in(&folder, &words("attention", &extra)));
    let named: std::collections::BTreeSet<(&str, &str)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["word"].as_str().unwrap(), row["object"].as_str().unwrap()))
        .collect();
    let expected = [("ball", "red ball"), ("cube", "cube"), ("red", "red ball")];
    assert_eq!(named.into_iter().collect::<Vec<_>>(), expected);
    fs::write(
        folder.path().join("masks.json"),
        coco.replace("Red ball", "cat").replace("cube", "cow"),
    )
    .unwrap();
    let failed = probe_in(&folder, &words("attention", &extra)).assert().code(2);
    let message = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(message.contains("cat, cow, dog") && message.contains("red, ball"), "{message}");
    fs::write(folder.path().join("masks.json"), "{}").unwrap();
    let failed = probe_in(&folder, &words("attention", &extra)).assert().code(2);
    let message = String::from_utf8(failed.get_output().stderr.clone()).unwrap();
    assert!(message.contains("COCO JSON"), "{message}");
}

/// Fails in a folder with the pictures, and writes nothing.
fn refused(command: &str, extra: &[&str], says: &[&str]) {
    let folder = pictures();
    let assert = probe_in(&folder, &words(command, extra)).assert().code(2).stdout("");
    let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert_eq!(message.matches("error:").count(), 1, "{extra:?}: {message}");
    for part in says {
        assert!(message.contains(part), "{extra:?}: no {part:?} in: {message}");
    }
    let runs = folder.path().join("runs");
    assert!(!runs.exists() || fs::read_dir(runs).unwrap().next().is_none(), "{extra:?}");
}

#[test]
fn images_that_are_none() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("text.png"), "no image").unwrap();
    let file = fs::File::create(path("huge.png")).unwrap();
    file.set_len(300 << 20).unwrap();
    let mut half = fs::read(pictures().path().join("image.png")).unwrap();
    half.truncate(half.len() / 2);
    fs::write(path("half.png"), half).unwrap();
    fs::write(path("wide.png"), header_of_a_png(60_000, 60_000)).unwrap();
    for command in ["generate", "attention"] {
        let with = |name: &str, says: &[&str]| {
            let file = path(name);
            let says = [&[name][..], says].concat();
            fails(&words(command, &["--image", &file, "--strength", "0.5"]), &says);
        };
        with("none.png", &["PNG"]);
        with("text.png", &["PNG", "convert"]);
        with("half.png", &["PNG"]);
        with("huge.png", &["256 MiB", "resize"]);
        with("wide.png", &["too large", "resize"]);
        with("", &["folder"]);
    }
    fails(&["forward", "--model", TINY, "--image", &path("wide.png")], &["too large"]);
}

/// An image that says how large it is and nothing more.
fn header_of_a_png(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let sum = chunk.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xEDB8_8320 * (sum & 1)))
    });
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    bytes.extend(chunk);
    bytes.extend((!sum).to_be_bytes());
    bytes
}

#[test]
fn options_of_images_that_contradict_each_other() {
    let image = ["--image", "image.png"];
    let with = |command: &str, extra: &[&str], says: &[&str]| {
        refused(command, &[&image[..], extra].concat(), says);
    };
    for command in ["generate", "trace", "attention"] {
        let sites: &[&str] = if command == "trace" { &["--sites", "step.x0"] } else { &[] };
        let with = |extra: &[&str], says: &[&str]| with(command, &[sites, extra].concat(), says);
        with(&["--strength", "0"], &["strength 0", "above 0, at most 1"]);
        with(&["--strength", "-1"], &["strength -1"]);
        with(&["--strength", "1.01"], &["strength 1.01"]);
        with(&["--strength", "0.01"], &["none of 25 steps", "0.04"]);
        with(&["--strength", "0.5", "--init-latents", "a.safetensors"], &["--init-latents"]);
        with(&["--strength", "0.5", "--invert"], &["--invert"]);
        with(&["--invert", "--sampler", "euler"], &["DDIM", "euler"]);
        with(&["--invert", "--count", "2"], &["one noise"]);
        with(&["--invert", "--eta", "0.5"], &["eta", "inverted"]);
    }
    with("attention", &[], &["--at-steps", "--strength", "--invert"]);
    with("trace", &["--sites", "step.x0"], &["--at-steps", "--strength", "--invert"]);
    with("attention", &["--at-steps", "1000"], &["timestep 1000", "0 to 999"]);
    with("attention", &["--at-steps", "5", "--strength", "0.5"], &["--strength"]);
    let look =
        |mask: &str, says: &[&str]| with("attention", &["--at-steps", "5", "--mask", mask], says);
    look("dog=left.png", &["dog", "red, ball"]);
    look("ball", &["dog=dog.png"]);
    look("ball=none.png", &["none.png"]);
    look("ball=black.png", &["black", "white"]);
    refused("generate", &["--strength", "0.5"], &["--image"]);
    refused("attention", &["--at-steps", "5"], &["--image"]);
    refused("attention", &["--mask", "ball=left.png"], &["--image"]);
    refused("generate", &["--eta", "0.5", "--sampler", "euler"], &["euler", "--sampler ddim"]);
    refused("generate", &["--eta", "2"], &["eta 2", "0 (deterministic)"]);
    refused("generate", &["--guidance-rescale", "0.7", "--guidance", "1"], &["guidance 1"]);
    refused("generate", &["--guidance-rescale", "1.7"], &["0 (none) to 1"]);
}

#[test]
fn rendered_scenes_are_looked_at_beside_random_weights() {
    let folder = TempDir::new().unwrap();
    let words = ["attention", "--from-world", "64", "--at-steps", "100,500", "--format", "json"];
    let rows = json(&mut probe_in(&folder, &words));
    let whole = |role: Option<&str>, control: Option<&str>| -> (f64, u64) {
        let row = rows.as_array().unwrap().iter().find(|row| {
            row["role"].as_str() == role
                && row["control"].as_str() == control
                && ["word", "site", "head", "timestep"].iter().all(|key| row[*key].is_null())
        });
        let row = row.unwrap();
        (row["auroc"].as_f64().unwrap(), row["units"].as_u64().unwrap())
    };
    // The built-in model's nouns know their objects; a model that learned nothing knows none.
    assert!(whole(Some("shape"), None).0 > 0.8, "{:?}", whole(Some("shape"), None));
    let (untrained, draws) = whole(None, Some("untrained"));
    assert!((untrained - 0.5).abs() < 0.03, "{untrained}");
    assert_eq!(draws, 4, "random weights are drawn anew for each batch");
    let run = run_folder(&folder);
    let files = [
        "report.html",
        "tables/attention_scores.parquet",
        "tables/leakage.parquet",
        "figures/sites-by-timestep.png",
        "figures/leakage.png",
    ];
    for file in files {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert_eq!(manifest(&run)["sampling"]["sampler"], "none");
    let spec = fs::read_to_string(run.join("spec.toml")).unwrap();
    assert!(spec.contains("from_world = 64") && spec.contains("at_steps = \"100,500\""), "{spec}");
}

#[test]
fn scenes_that_cannot_be_looked_at_are_refused() {
    let refused = |extra: &[&str], says: &str| {
        let folder = TempDir::new().unwrap();
        let words = [&["attention", "--model", TINY, "--from-world", "4"][..], extra].concat();
        let assert = probe_in(&folder, &words).assert().code(2).stdout("");
        let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(message.contains(says), "{extra:?}: {message}");
        assert!(!folder.path().join("runs").exists(), "nothing is written");
    };
    refused(&["--at-steps", "1000"], "timestep 1000");
    refused(&["--at-steps", "x"], "`x`");
    refused(&["--at-steps", "5", "--edit", "zero sites=mid.out"], "--edit");
    refused(&["--at-steps", "5", "--width", "63"], "63");
}
