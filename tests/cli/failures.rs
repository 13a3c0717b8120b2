//! `probe failures`: edits of many prompts, reports of the world's prompts, CLIP score, negation.

use std::fs;
use std::path::Path;

use denoscope::model::checkpoint::{ModelFiles, Placement};
use denoscope::model::clip_folder::ClipModel;
use denoscope::table::{OutcomeRow, OutcomeSummaryRow};
use image::RgbImage;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guidance::with_clip;
use crate::{TINY, fails, probe_in, run_folder, table};

/// A suite of these items, each a line of TOML, with seeds 3 and 4.
fn suite(items: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    let items: Vec<String> = items.iter().map(|item| format!("  {{ {item} }},\n")).collect();
    let text = format!(
        "form = 1\nname = \"mine\"\nversion = 1\ndescription = \"d\"\nsource = \"s\"\nlicence = \
         \"MIT\"\nseeds = [3, 4]\nitems = [\n{}]\n",
        items.concat()
    );
    fs::write(folder.path().join("mine.toml"), text).unwrap();
    folder
}

fn pixels(path: &Path) -> RgbImage {
    image::open(path).unwrap().to_rgb8()
}

// --- edits -----------------------------------------------------------------------------------

const PROMPTS: [&str; 2] = ["a red ball", "blue cube left of red ball"];

/// The images of seeds 3 and 4 of a prompt, drawn by themselves.
fn drawn(prompt: &str, edit: &str) -> Vec<RgbImage> {
    let folder = TempDir::new().unwrap();
    let words = ["generate", "--model", TINY, "--prompt", prompt, "--seed", "3", "--count", "2"];
    let sampling = ["--steps", "3", "--sampler", "ddim", "--edit", edit];
    probe_in(&folder, &[&words[..], &sampling].concat()).assert().success();
    let images = run_folder(&folder).join("images");
    ["000.png", "001.png"].map(|name| pixels(&images.join(name))).to_vec()
}

#[test]
fn an_edit_that_names_words_finds_them_in_every_prompt() {
    let items = ["a", "b"].iter().zip(PROMPTS);
    let items: Vec<String> = items
        .map(|(id, prompt)| format!("id = \"{id}\", prompt = \"{prompt}\", category = \"c\""))
        .collect();
    let folder = suite(&items.iter().map(String::as_str).collect::<Vec<_>>());
    let words = ["failures", "--suite", "mine.toml", "--model", TINY, "--steps", "3"];
    probe_in(&folder, &[&words[..], &["--edit", "mask=red"]].concat()).assert().success();
    let images = run_folder(&folder).join("images/mine");
    for (id, prompt) in ["a", "b"].iter().zip(PROMPTS) {
        let ours = [3, 4].map(|seed| pixels(&images.join(format!("{id}_{seed}.png")))).to_vec();
        assert_eq!(ours, drawn(prompt, "mask=red"), "{prompt}");
    }
    // The second prompt with the place that the word has in the first, a token behind "a".
    assert_ne!(drawn(PROMPTS[1], "mask=@2"), drawn(PROMPTS[1], "mask=red"));
    assert_eq!(drawn(PROMPTS[0], "mask=@2"), drawn(PROMPTS[0], "mask=red"));

    // A word that one of the prompts has not is refused before anything is drawn.
    let edit = ["--edit", "mask=cube", "--out", "none"];
    let refused = probe_in(&folder, &[&words[..], &edit].concat()).assert().code(2);
    refused.stderr(contains("`cube` is not in the prompt `a red ball`"));
    assert!(!folder.path().join("none").exists());
    let world = ["failures", "--model", TINY, "--category", "hand", "--count", "2"];
    fails(&[&world[..], &["--edit", "weigh=dog by=2"]].concat(), &["`dog` is not in the prompt"]);
}

// --- prompts of the world --------------------------------------------------------------------

#[test]
fn runs_of_the_worlds_prompts_have_the_report_of_suites() {
    let folder = TempDir::new().unwrap();
    let words = ["failures", "--model", TINY, "--category", "one-object", "--category", "hand"];
    let few = ["--count", "3", "--steps", "2"];
    probe_in(&folder, &[&words[..], &few].concat()).assert().success();
    let run = run_folder(&folder);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for part in ["The worst prompts", "Failed images", "headroom", "at the floor", "one-object"] {
        assert!(page.contains(part), "no {part:?}");
    }
    // Random weights get nothing right: all six are shown.
    assert_eq!(page.matches("data:image/png").count(), 6);
    let summary: Vec<OutcomeSummaryRow> = table(&run);
    let of: Vec<(&str, u32, u32)> =
        summary.iter().map(|row| (row.category.as_str(), row.images, row.right)).collect();
    assert_eq!(of, [("one-object", 3, 0), ("hand", 3, 0)]);
    let spec = run.join("spec.toml").display().to_string();
    probe_in(&folder, &["validate", &spec]).assert().success();
}

/// What the guide says to do with snapshots of a training run.
#[test]
fn snapshots_are_judged_in_a_loop_and_become_a_history() {
    let folder = TempDir::new().unwrap();
    for step in ["100", "200", "400"] {
        let words = ["failures", "--model", TINY, "--category", "relation", "--count", "4"];
        let more = ["--steps", "2", "--training-step", step, "--out", "judged"];
        probe_in(&folder, &[&words[..], &more].concat()).assert().success();
    }
    let history = |print: &str| -> Vec<Value> {
        let words = ["history", "judged", "--by", "training-steps", "--print", print];
        let mut command = probe_in(&folder, &[&words[..], &["--format", "json"]].concat());
        let output = command.assert().success();
        serde_json::from_slice(&output.get_output().stdout).unwrap()
    };
    let curves = history("emergence");
    let gaps: Vec<&Value> = curves.iter().filter(|row| row["kind"] == "product gap").collect();
    let at: Vec<f64> = gaps.iter().map(|row| row["trained"].as_f64().unwrap()).collect();
    assert_eq!(at, [100.0, 200.0, 400.0]);
    let times = history("times");
    for kind in ["colour", "shape", "binding", "relation_strict", "joint"] {
        let row = times.iter().find(|row| row["kind"] == kind).unwrap();
        assert_eq!(row["category"], "relation");
        // The same random weights thrice: nothing is learned in between.
        assert_ne!(row["passed"], "within", "{row}");
    }
    let page = fs::read_dir(folder.path().join("runs")).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_to_string(page.join("report.html")).unwrap().contains("what is right when"));
}

// --- CLIP score ------------------------------------------------------------------------------

#[test]
fn clip_scores_are_the_cosines_of_the_models_own_clip() {
    let model = with_clip();
    let model = model.path().to_str().unwrap();
    let folder = suite(&[
        "id = \"a\", prompt = \"a red ball\", category = \"c\"",
        "id = \"b\", prompt = \"a dog on the moon\", category = \"c\", expect = { words = \"x\" }",
    ]);
    let words = ["failures", "--suite", "mine.toml", "--model", model, "--steps", "2"];
    let judge = ["--judge", "clip-score", "--format", "json"];
    let output = probe_in(&folder, &[&words[..], &judge].concat()).assert().success();
    let printed: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let of = |key: &str| printed[0][key].clone();
    assert_eq!((of("images"), of("undecided"), of("share")), (json!(4), json!(0), Value::Null));
    assert!(of("score_low").as_f64() <= of("score").as_f64(), "{printed}");

    let run = run_folder(&folder);
    let rows: Vec<OutcomeRow> = table(&run);
    let files = ModelFiles::folder(model.into());
    let clip = ClipModel::open(&files, Placement::default()).unwrap().unwrap();
    let mut scores = 0;
    for row in &rows {
        assert_eq!((row.judge.as_str(), row.holds), ("clip-score/own", None), "{row:?}");
        assert!(row.judge_version.starts_with("1 weights "), "{row:?}");
        let image = pixels(&run.join(row.image.as_deref().unwrap()));
        let text = clip.embed_prompts(std::slice::from_ref(&row.prompt)).unwrap();
        let image = clip.embed_images(&[image]).unwrap();
        let cosine: f32 = text.iter().zip(&image).map(|(a, b)| a * b).sum();
        let expected = f64::from(cosine.max(0.0)) * 100.0;
        assert!((row.score.unwrap() - expected).abs() < 1e-3, "{row:?} {expected}");
        scores += 1;
    }
    assert_eq!(scores, 4);
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("How high is the score?") && page.contains("lowest scores"));

    let shapes = [&words[..], &["--judge", "clip-score", "--clip", "shapes", "--out", "by"]];
    probe_in(&folder, &shapes.concat()).assert().success();
    let by = fs::read_dir(folder.path().join("by")).unwrap().next().unwrap().unwrap().path();
    let compare = ["compare", run.to_str().unwrap(), by.to_str().unwrap()];
    let refused = probe_in(&folder, &compare).assert().code(4);
    refused.stderr(contains("clip-score/own").and(contains("clip-score/shapes")));
}

/// Rendered scenes of prompts: as they should be, or each of the next prompt.
fn rendered(folder: &TempDir, name: &str, next: usize) {
    let at = folder.path().join(name);
    fs::create_dir(&at).unwrap();
    for i in 0..OBJECTS.len() {
        let said = denoscope::world::parse(OBJECTS[(i + next) % OBJECTS.len()]).unwrap();
        for seed in [3, 4] {
            let scene = denoscope::world::compose(&said, seed).unwrap();
            let image = denoscope::world::render(&scene, 64);
            image.save(at.join(format!("i{i}_{seed}.png"))).unwrap();
        }
    }
}

const OBJECTS: [&str; 12] = [
    "a red ball",
    "a blue cube",
    "a green cone",
    "a yellow ring",
    "a white ball",
    "a purple cube",
    "an orange cone",
    "a cyan ring",
    "a blue ball",
    "a red cube",
    "a yellow cone",
    "a green ring",
];

#[test]
fn the_built_in_clip_sees_that_images_belong_to_other_prompts() {
    let items: Vec<String> = OBJECTS
        .iter()
        .enumerate()
        .map(|(i, prompt)| format!("id = \"i{i}\", prompt = \"{prompt}\", category = \"c\""))
        .collect();
    let folder = suite(&items.iter().map(String::as_str).collect::<Vec<_>>());
    rendered(&folder, "right", 0);
    rendered(&folder, "wrong", 1);
    let judge = |images: &str, more: &[&str]| {
        let words = ["failures", "--suite", "mine.toml", "--images", images, "--out", images];
        probe_in(&folder, &[&words[..], &["--judge", "clip-score"], more].concat())
    };
    judge("right", &[]).assert().code(2).stderr(contains("--clip DIR"));
    judge("right", &["--clip", "nowhere"]).assert().code(2).stderr(contains("nowhere"));
    let run = |images: &str| {
        judge(images, &["--clip", "shapes"]).assert().success();
        let made = fs::read_dir(folder.path().join(images)).unwrap().map(|entry| entry.unwrap());
        let mut runs = made.filter(|entry| entry.path().join("manifest.json").is_file());
        runs.next().unwrap().path().display().to_string()
    };
    let (right, wrong) = (run("right"), run("wrong"));
    let compare = ["compare", &right, &wrong, "--junit", "j.xml"];
    let said = probe_in(&folder, &compare).assert().code(1);
    said.stderr(contains("c regressed: mean score"));
    assert!(fs::read_to_string(folder.path().join("j.xml")).unwrap().contains("c, mean score"));
    probe_in(&folder, &["compare", &right, &right, "--strict"]).assert().code(0);
}

// --- negation and large counts ---------------------------------------------------------------

#[test]
fn the_exact_judge_sees_what_should_be_absent() {
    let expect = "expect = { geneval = { tag = \"negated\", include = [{ class = \"ball\", count = \
                  1, color = \"purple\" }], exclude = [{ class = \"cube\", count = 1 }] } }";
    let items = ["kept", "broken"]
        .map(|id| format!("id = \"{id}\", prompt = \"{id}\", category = \"c\", {expect}"));
    let folder = suite(&items.each_ref().map(String::as_str));
    let at = folder.path().join("pictures");
    fs::create_dir(&at).unwrap();
    for (id, shown) in [("kept", "a purple ball"), ("broken", "a purple ball and a white cube")] {
        let said = denoscope::world::parse(shown).unwrap();
        for seed in [3, 4] {
            let scene = denoscope::world::compose(&said, seed).unwrap();
            let image = denoscope::world::render(&scene, 64);
            image.save(at.join(format!("{id}_{seed}.png"))).unwrap();
        }
    }
    let words = ["failures", "--suite", "mine.toml", "--images", "pictures"];
    probe_in(&folder, &words).assert().success();
    let rows: Vec<OutcomeRow> = table(&run_folder(&folder));
    for row in rows {
        assert_eq!(row.judge, "geneval-rule/exact");
        assert_eq!(row.holds, Some(row.item == "kept"), "{row:?}");
        let says = if row.item == "kept" { "" } else { "fewer than 1 cube wanted, 1 found" };
        assert_eq!(row.reason, says);
    }
}

#[test]
fn twelve_cups_are_counted_by_detections_and_not_by_the_exact_judge() {
    let words = ["failures", "--suite", "counting-photos", "--model", TINY];
    fails(&words, &["cannot decide 48 of its items", "--rule geneval", "--judge-command"]);
    fails(&[&words[..], &["--judge", "ocr"]].concat(), &[]);
    let folder = TempDir::new().unwrap();
    let cups = |image: u64, count: u64| {
        let cup = |i: u64| json!({"image_id": image, "category_id": 1, "bbox": [i, 1, 5, 5], "score": 0.95});
        (0..count).map(cup).collect::<Vec<_>>()
    };
    let annotations = [cups(0, 12), cups(1, 13), cups(2, 6)].concat();
    let coco = json!({
        "images": [
            {"id": 0, "file_name": "count-12-046_0.png"}, {"id": 1, "file_name": "count-12-046_1.png"},
            {"id": 2, "file_name": "count-7-026_0.png"},
        ],
        "categories": [{"id": 1, "name": "cup"}],
        "annotations": annotations,
    });
    fs::write(folder.path().join("coco.json"), coco.to_string()).unwrap();
    let words = ["failures", "--suite", "counting-photos", "--detections", "coco.json"];
    let rule = ["--rule", "geneval", "--partial"];
    probe_in(&folder, &[&words[..], &rule].concat()).assert().success();
    let rows: Vec<OutcomeRow> = table(&run_folder(&folder));
    let of = |item: &str, seed| rows.iter().find(|row| row.item == item && row.seed == seed);
    assert_eq!(of("count-12-046", 0).unwrap().holds, Some(true));
    assert_eq!(of("count-12-046", 1).unwrap().holds, Some(false));
    let six = of("count-7-026", 0).unwrap();
    assert_eq!((six.holds, six.prompt.as_str()), (Some(false), "a photo of seven cups"));
}
