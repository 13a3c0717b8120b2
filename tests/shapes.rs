//! The built-in model as it ships.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::pipeline::{Generation, Request, generate};
use denoscope::sampler::SamplerKind;

/// What all parts may take in f16.
const MOST_BYTES: u64 = 24_000_000;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/shapes"))
}

fn drawn(model: &DiffusionModel, prompts: &[&str], seed: u64) -> Generation {
    let request = Request {
        prompts: prompts.iter().map(|p| (*p).to_owned()).collect(),
        negative: String::new(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds: (0..prompts.len() as u64).map(|i| seed + i).collect(),
        steps: 25,
        sampler: SamplerKind::Ddim,
        guidance: 5.0,
        height: model.native_size(),
        width: model.native_size(),
        init_latents: None,
        image: None,
        guidance_rescale: 0.0,
        eta: 0.0,
    };
    generate(model, &request, None, &mut |_, _| {}).unwrap()
}

#[test]
fn it_is_small_and_the_program_carries_the_same_weights() {
    let mut bytes = 0;
    let built_in = DiffusionModel::open("shapes", Placement::default()).unwrap();
    let on_disk = DiffusionModel::open(folder().to_str().unwrap(), Placement::default()).unwrap();
    let digests = on_disk.digests();
    assert_eq!(built_in.digests(), digests);
    for weight in &digests {
        bytes += weight.bytes;
    }
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
}

#[test]
fn the_same_seed_gives_the_same_latents() {
    let model = DiffusionModel::open("shapes", Placement::default()).unwrap();
    let (a, b) = (drawn(&model, &["a red ball"], 3), drawn(&model, &["a red ball"], 3));
    assert!(a.latents == b.latents);
    let other = drawn(&model, &["a red ball"], 4);
    assert!(a.latents != other.latents);
}

#[test]
fn colours_follow_the_prompt() {
    let model = DiffusionModel::open("shapes", Placement::default()).unwrap();
    let redness = |prompt: &str| -> f64 {
        let made = drawn(&model, &[prompt; 4], 100);
        let pixels = made.images.iter().flat_map(|image| image.pixels());
        pixels.map(|p| f64::from(p[0]) - f64::from(p[2])).sum()
    };
    assert!(redness("a large red ball") > redness("a large blue ball"));
}

#[test]
fn the_main_command_leaves_a_whole_run() {
    let out = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args(["attention", "--prompt", "red ball left of blue cube", "--count", "2"])
        .arg("--out")
        .arg(out.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let findings = String::from_utf8(output.stdout).unwrap();
    for word in ["`red`", "`ball`", "`blue`", "`cube`"] {
        assert!(findings.contains(word), "{findings}");
    }
    let run = std::fs::read_dir(out.path()).unwrap().next().unwrap().unwrap().path();
    for file in [
        "report.html",
        "manifest.json",
        "spec.toml",
        "tables/attention.parquet",
        "tables/alignment.parquet",
        "images/001.png",
        "figures/share-by-timestep.png",
    ] {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    let again = Command::new(env!("CARGO_BIN_EXE_probe"))
        .arg("validate")
        .arg(run.join("spec.toml"))
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stdout));
}

#[test]
fn a_word_the_model_cannot_know_is_an_error_that_lists_the_nearest() {
    let output = Command::new(env!("CARGO_BIN_EXE_probe"))
        .args(["attention", "--prompt", "a rad ball"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("rad") && said.contains("red"), "{said}");
}
