//! `--edit` from the command line and from specs.

use std::path::Path;

use tempfile::TempDir;

use crate::{TINY, fails, probe, probe_in, run_folder};

const TWO_STEPS: [&str; 7] =
    ["generate", "--model", TINY, "--steps", "2", "--prompt", "a red ball"];

fn drawn(words: &[&str]) -> (image::RgbImage, TempDir) {
    let folder = TempDir::new().unwrap();
    probe_in(&folder, words).assert().success();
    let image = image::open(run_folder(&folder).join("images/000.png")).unwrap().to_rgb8();
    (image, folder)
}

fn edited(edit: &str) -> image::RgbImage {
    drawn(&[&TWO_STEPS[..], &["--edit", edit]].concat()).0
}

#[test]
fn an_edit_changes_the_image_and_stands_in_the_spec() {
    let (plain, _) = drawn(&TWO_STEPS);
    let words = [&TWO_STEPS[..], &["--edit", "mask=red,ball", "--edit", "scale=2 sites=mid.out"]];
    let (changed, folder) = drawn(&words.concat());
    assert_ne!(plain, changed);
    let spec = run_folder(&folder).join("spec.toml");
    let (again, _) = drawn(&["run", spec.to_str().unwrap()]);
    assert_eq!(changed, again, "the spec draws the same image");
    assert_eq!(plain, edited("scale=1 sites=mid.out"));
}

#[test]
fn another_prompt_from_the_first_step_is_that_prompts_image() {
    let other = [&TWO_STEPS[..6], &["three green cones"]].concat();
    assert_eq!(edited("prompt='three green cones'"), drawn(&other).0);
    assert_ne!(edited("prompt='three green cones' steps=1"), drawn(&other).0);
}

#[test]
fn a_recorded_run_replaces_itself_and_others() {
    let folder = TempDir::new().unwrap();
    let raw = folder.path().join("cone.safetensors");
    let raw = raw.to_str().unwrap();
    let record = ["trace", "--model", TINY, "--steps", "2", "--prompt", "three green cones"];
    probe_in(&folder, &[&record[..], &["--sites", "step.latent", "--raw", raw]].concat())
        .assert()
        .success();
    let other = [&TWO_STEPS[..6], &["three green cones"]].concat();
    let patch = format!("replace='{raw}' sites=step.latent");
    let patched = edited(&patch);
    assert_ne!(patched, drawn(&TWO_STEPS).0);
    // The last latent decides with one more step what is drawn; the prompt is still ours.
    assert_ne!(patched, drawn(&other).0);
    let own = [&other[..], &["--edit", &patch]].concat();
    assert_eq!(drawn(&own).0, drawn(&other).0);
    assert_ne!(edited(&format!("mean='{raw}' sites=step.latent")), patched);
    let steer = "steer='a red ball' from='three green cones' by=3 sites=mid.out";
    assert_ne!(edited(steer), drawn(&TWO_STEPS).0);
}

#[test]
fn edits_that_cannot_be_say_why() {
    let bad = |edit: &str, says: &[&str]| {
        fails(&[&TWO_STEPS[..], &["--edit", edit]].concat(), &[says, &["--edit"]].concat());
    };
    bad("mask=dog", &["`dog` is not in the prompt", "red, ball"]);
    bad("zero", &["sites=up.*.cross.out"]);
    bad("zero sites=mid.uot", &["nearest: mid.out"]);
    bad("zero scale=2 sites=mid.out", &["zero and scale"]);
    bad("sites=mid.out", &["one operation", "none"]);
    bad("blur=3", &["`blur` is not understood"]);
    bad("scale=x sites=mid.out", &["`x` is not a number"]);
    bad("scale= sites=mid.out", &["`scale` needs a value"]);
    bad("weigh=red", &["`by` is missing"]);
    bad("zero by=2 sites=mid.out", &["`by` goes with add, steer, weigh"]);
    bad("steer='a red ball' by=2 sites=mid.out", &["`from` is missing"]);
    bad("mask=red mask=ball", &["`mask` is given twice"]);
    bad("mask=red steps=5", &["step 5 does not exist"]);
    bad("mask=@900", &["no token 900"]);
    bad("mask=red heads=9", &["no head 9"]);
    bad("mask=red branch=both", &["cond or uncond"]);
    bad("prompt='a", &["quote"]);
    bad("prompt='a dog' sites=mid.out", &["*.cross.k"]);
    bad("replace=nothing.safetensors sites=mid.out", &["nothing.safetensors"]);
    bad("zero sites=mid.out region=nothing.png", &["nothing.png"]);
}

/// A trace of another architecture, of a longer run, and one that was cut off.
#[test]
fn traces_that_do_not_fit_say_why() {
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace.safetensors");
    let trace = trace.to_str().unwrap();
    let record = ["trace", "--model", TINY, "--steps", "3", "--prompt", "a red ball"];
    probe_in(&folder, &[&record[..], &["--sites", "mid.out", "--raw", trace]].concat())
        .assert()
        .success();
    let replace = format!("replace='{trace}' sites=mid.out");
    fails(&[&TWO_STEPS[..], &["--edit", &replace]].concat(), &["3 steps or more", "has 2"]);
    let shapes = ["generate", "--steps", "3", "--prompt", "a red ball", "--edit", &replace];
    fails(&shapes, &["mid.out", "[1, 32, 2, 2]", "the same model"]);
    let missing = format!("replace='{trace}' sites=mid.attn.0.out");
    let three = ["generate", "--model", TINY, "--steps", "3", "--prompt", "a red ball"];
    fails(&[&three[..], &["--edit", &missing]].concat(), &["has no `000/uncond/mid.attn.0.out`"]);
    let bytes = std::fs::read(trace).unwrap();
    std::fs::write(trace, &bytes[..bytes.len() - 100]).unwrap();
    fails(&[&three[..], &["--edit", &replace]].concat(), &["truncated or corrupted"]);
}

#[test]
fn all_specs_in_the_repository_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
    let specs: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| path.display().to_string())
        .collect();
    assert!(specs.len() >= 5, "{specs:?}");
    let words: Vec<&str> = specs.iter().map(String::as_str).collect();
    probe(&[&["validate"], &words[..]].concat()).assert().success();
}
