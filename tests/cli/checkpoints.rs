//! Checkpoints of other architectures than the built-in model's.

use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::{TINY, fails, json, probe, probe_in, run_folder};

/// A model of SDXL's architecture with random weights, 16 pixels a side.
const XL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/xl");

const ONE_STEP: [&str; 5] = ["generate", "--steps", "1", "--prompt", "a red ball"];

#[test]
fn sdxl_draws_and_is_told_sizes() {
    let folder = TempDir::new().unwrap();
    let sizes = ["--original-size", "64x48", "--crop", "1x2", "--width", "24", "--height", "16"];
    let words = [&ONE_STEP[..], &["--model", XL], &sizes].concat();
    probe_in(&folder, &words).assert().success();
    let run = run_folder(&folder);
    let spec = std::fs::read_to_string(run.join("spec.toml")).unwrap();
    assert!(
        spec.contains("original_size = \"64x48\"") && spec.contains("crop = \"1x2\""),
        "{spec}"
    );
    let drawn = image::open(run.join("images/000.png")).unwrap();
    assert_eq!((drawn.width(), drawn.height()), (24, 16));

    let again = TempDir::new().unwrap();
    probe_in(&again, &["run", run.join("spec.toml").to_str().unwrap()]).assert().success();
    let redrawn = image::open(run_folder(&again).join("images/000.png")).unwrap();
    assert_eq!(drawn.to_rgb8(), redrawn.to_rgb8(), "the spec draws the same image");

    let plain = TempDir::new().unwrap();
    let words = [&ONE_STEP[..], &["--model", XL, "--width", "24", "--height", "16"]].concat();
    probe_in(&plain, &words).assert().success();
    let other = image::open(run_folder(&plain).join("images/000.png")).unwrap();
    assert_ne!(drawn.to_rgb8(), other.to_rgb8(), "sizes that are told change the image");
}

#[test]
fn sdxl_lists_the_sites_of_its_second_encoder() {
    let rows = json(&mut probe(&["sites", "text2.*", "time.*", "--model", XL, "--format", "json"]));
    let names: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["site"].as_str().unwrap()).collect();
    let layers = ["text2.layer.0.out", "text2.layer.1.out", "text2.layer.2.out"];
    let rest = ["text2.out", "text2.pooled", "time.embed", "time.added"];
    assert_eq!(names, [&layers[..], &rest].concat());
}

#[test]
fn sizes_are_not_told_where_nobody_reads_them() {
    let with = |extra: [&'static str; 2], says: &[&str]| {
        fails(&[&ONE_STEP[..], &["--model", TINY], &extra].concat(), says);
    };
    with(["--crop", "1x2"], &["not told sizes", "leave out"]);
    with(["--original-size", "64"], &["--original-size", "1024x768"]);
    fails(
        &[&ONE_STEP[..], &["--model", XL, "--target-size", "0x8"]].concat(),
        &["target size", "from 1"],
    );
}

#[test]
fn long_prompts_are_cut_by_name_or_read_in_chunks() {
    let long = format!("{} violet zebra", "red ball ".repeat(60));
    let words = ["generate", "--steps", "1", "--model", XL, "--negative", "", "--prompt", &long];
    let folder = TempDir::new().unwrap();
    let cut = predicate::function(|text: &str| text.contains("not read: ball red"));
    let end = contains("violet zebra").and(contains("--long-prompt chunk"));
    probe_in(&folder, &words).assert().success().stderr(cut.and(end));
    let chunked = [&words[..], &["--long-prompt", "chunk"]].concat();
    let folder = TempDir::new().unwrap();
    probe_in(&folder, &chunked).assert().success().stderr(contains("not read").not());
    let negative =
        ["generate", "--steps", "1", "--model", XL, "--prompt", "a ball", "--negative", &long];
    let folder = TempDir::new().unwrap();
    probe_in(&folder, &negative)
        .assert()
        .success()
        .stderr(contains("the negative prompt has more"));
    let tokens = json(&mut probe(&["tokens", "--long-prompt", "chunk", "--prompt", &long]));
    assert!(tokens["ids"].as_array().unwrap().len() > 77);
}

#[test]
fn a_trace_of_chunks_has_the_sizes_it_planned() {
    let folder = TempDir::new().unwrap();
    let long = "red ball ".repeat(60);
    let words = ["trace", "--model", XL, "--steps", "1", "--prompt", &long, "--guidance", "1"];
    let record = ["--long-prompt", "chunk", "--sites", "text2.out", "--raw", "raw.safetensors"];
    probe_in(&folder, &[&words[..], &record].concat()).assert().success();
    let bytes = std::fs::read(folder.path().join("raw.safetensors")).unwrap();
    let header = String::from_utf8_lossy(&bytes[..bytes.len().min(1_000)]).into_owned();
    let tokens: usize = header
        .split("\"shape\":[1,")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .and_then(|number| number.parse().ok())
        .unwrap();
    assert!(tokens > 77 && tokens.is_multiple_of(77), "{header}");
}
