//! Suites from outside: a run that is killed, images and detections of others, judges that crash.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use denoscope::table::{JudgementRow, OutcomeRow, SeenRow, read_parquet, rows};
use image::{Rgb, RgbImage};
use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::{TINY, json, probe, probe_in, run_folder};

const SUITE: &str = r#"
form = 1
name = "mini"
version = 1
description = "d"
source = "s"
licence = "MIT"
seeds = [0, 1, 2]
items = [
  { id = "a", prompt = "a red ball", category = "one", twin = "x", held_out = true },
  { id = "b", prompt = "a blue cube", category = "one", twin = "x", held_out = false },
  { id = "c", prompt = "two red balls", category = "two", difficulty = 2 },
]
"#;

/// An empty folder with the suite.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("mini.toml"), SUITE).unwrap();
    folder
}

fn outcomes(run: &Path) -> Vec<OutcomeRow> {
    rows(&read_parquet::<OutcomeRow>(&run.join("tables/outcome.parquet")).unwrap()).unwrap()
}

/// Code 2, one error, which says all of this.
fn refused(folder: &TempDir, words: &[&str], says: &[&str]) {
    let assert = probe_in(folder, words).assert().code(2);
    let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert_eq!(message.matches("error:").count(), 1, "{message}");
    for part in says {
        assert!(message.contains(part), "{words:?}: no {part:?} in: {message}");
    }
}

const DRAW: [&str; 9] =
    ["failures", "--suite", "mini.toml", "--model", TINY, "--batch", "2", "--steps", "20"];

/// Threads that wait for one another make a busy machine slow.
const ONE_THREAD: (&str, &str) = ("OMP_NUM_THREADS", "1");

#[test]
fn a_killed_run_goes_on_and_ends_like_one_that_was_not() {
    let whole = folder();
    probe_in(&whole, &DRAW).env(ONE_THREAD.0, ONE_THREAD.1).assert().success();
    let expected = outcomes(&run_folder(&whole));
    assert_eq!(expected.len(), 9);
    assert!(expected.iter().all(|row| row.image.is_some() && row.suite == "mini"));

    let cut = folder();
    let engine = probe(&[]).get_program().to_owned();
    let engine = Path::new(&engine).with_file_name("probe-engine");
    let mut child = Command::new(engine)
        .args(DRAW)
        .current_dir(cut.path())
        .env(ONE_THREAD.0, ONE_THREAD.1)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let parts = || -> usize {
        let hidden = fs::read_dir(cut.path().join("runs")).into_iter().flatten().flatten();
        let parts = hidden.map(|entry| entry.path().join("parts")).filter(|path| path.is_dir());
        let files = parts.flat_map(|parts| fs::read_dir(parts).into_iter().flatten().flatten());
        files.filter(|file| file.path().to_string_lossy().contains("outcome")).count()
    };
    let since = Instant::now();
    while parts() < 1 {
        assert!(since.elapsed() < Duration::from_secs(60), "no batch was finished");
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = parts();
    assert!((1..5).contains(&left), "killed in the middle, with {left} of 5 batches");

    // Going on where the disk is full loses nothing of that, and says what to do.
    #[cfg(unix)]
    {
        const LIMIT: &str = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
        let program = probe(&[]).get_program().to_owned();
        let mut full = assert_cmd::Command::new("sh");
        full.args(["-c", LIMIT]).arg(&program).args(DRAW).current_dir(cut.path());
        full.env(ONE_THREAD.0, ONE_THREAD.1);
        let refused = full.assert().code(2);
        refused.stderr(contains("goes on from").and(contains("--out")));
        assert_eq!(parts(), left, "parts of the run in progress");
    }
    let again = probe_in(&cut, &DRAW).env(ONE_THREAD.0, ONE_THREAD.1).assert().success();
    again.stderr(contains("images are there"));
    // One run folder: what was kept meanwhile is gone.
    assert_eq!(outcomes(&run_folder(&cut)), expected);
    let judgement = |folder: &TempDir| {
        let path = run_folder(folder).join("tables/judgement.parquet");
        rows::<JudgementRow>(&read_parquet::<JudgementRow>(&path).unwrap()).unwrap()
    };
    assert_eq!(judgement(&cut), judgement(&whole));
    for row in &expected {
        let file = row.image.as_deref().unwrap();
        let bytes = |folder: &TempDir| fs::read(run_folder(folder).join(file)).unwrap();
        assert_eq!(bytes(&cut), bytes(&whole), "{file}");
    }
}

#[test]
fn images_are_kept_as_asked() {
    let draw = ["failures", "--suite", "mini.toml", "--model", TINY, "--steps", "2"];
    for (keep, right, wrong) in [("none", false, false), ("failed", false, true)] {
        let folder = folder();
        probe_in(&folder, &[&draw[..], &["--keep-images", keep]].concat()).assert().success();
        let run = run_folder(&folder);
        for row in outcomes(&run) {
            let kept = if row.holds == Some(true) { right } else { wrong };
            assert_eq!(row.image.is_some(), kept, "{keep}: {row:?}");
            assert_eq!(
                run.join(format!("images/mini/{}_{}.png", row.item, row.seed)).is_file(),
                kept
            );
            assert_eq!(row.image_sha256.len(), 64);
        }
    }
}

#[test]
fn what_is_in_the_suites_is_checked_before_work() {
    let folder = folder();
    fn with<'a>(extra: &[&'a str]) -> Vec<&'a str> {
        [&["failures", "--suite", "mini.toml"][..], extra].concat()
    }
    refused(&folder, &["failures", "--suite", "countng"], &["did you mean \"counting\""]);
    refused(&folder, &with(&["--suite", "mini.toml"]), &["given twice"]);
    refused(&folder, &with(&["--judge-command", "no-such-program"]), &["cannot be started"]);
    refused(&folder, &with(&["--judge-command", "true"]), &["did not introduce itself", "hello"]);
    refused(&folder, &with(&["--judge-command", "'"]), &["close its quotes"]);
    let words =
        SUITE.replace("category = \"two\"", "category = \"two\", expect = { words = \"w\" }");
    fs::write(folder.path().join("words.toml"), words).unwrap();
    refused(
        &folder,
        &["failures", "--suite", "words.toml"],
        &["cannot decide 1 of its items", "--judge-command"],
    );
    let runs = fs::read_dir(folder.path().join("runs"));
    assert!(runs.is_err(), "nothing was begun");
}

/// Renders of the prompts, as if from another generator: seeds 0 and 1 right, seed 2 grey.
fn pictures(folder: &TempDir) -> std::path::PathBuf {
    let at = folder.path().join("pictures");
    fs::create_dir(&at).unwrap();
    for (item, prompt) in [("a", "a red ball"), ("b", "a blue cube"), ("c", "two red balls")] {
        let said = denoscope::world::parse(prompt).unwrap();
        for seed in 0..2 {
            let scene = denoscope::world::compose(&said, seed).unwrap();
            let image = denoscope::world::render(&scene, 64);
            image.save(at.join(format!("{item}_{seed}.png"))).unwrap();
        }
        let grey = RgbImage::from_pixel(64, 64, Rgb([128; 3]));
        grey.save(at.join(format!("{item}_2.png"))).unwrap();
    }
    at
}

const JUDGE: [&str; 5] = ["failures", "--suite", "mini.toml", "--images", "pictures"];

#[test]
fn images_of_any_generator_are_judged() {
    let folder = folder();
    let at = pictures(&folder);
    probe_in(&folder, &JUDGE).assert().success();
    for row in outcomes(&run_folder(&folder)) {
        assert_eq!(row.holds, Some(row.seed < 2), "{row:?}");
        assert_eq!(row.difficulty, (row.item == "c").then_some(2));
    }
    let words = [&JUDGE[..], &["--print", "gap", "--format", "json"]].concat();
    let gap = json(&mut probe_in(&folder, &words));
    assert_eq!((gap[0]["twins"].as_u64(), gap[0]["gap"].as_f64()), (Some(1), Some(0.0)));

    let replaced = |name: &str, bytes: &[u8], says: &[&str]| {
        let path = at.join(name);
        let before = fs::read(&path).ok();
        fs::write(&path, bytes).unwrap();
        refused(&folder, &JUDGE, says);
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    };
    let whole = fs::read(at.join("b_1.png")).unwrap();
    replaced("b_1.png", &whole[..whole.len() / 2], &["b_1.png", "no readable"]);
    replaced("b_1.png", b"not an image", &["b_1.png", "no readable"]);
    replaced("b_1.png", b"", &["b_1.png"]);
    replaced("b_1.png", &bomb(), &["b_1.png", "too large to decode"]);
    replaced("b_1.png", &png(32, 32), &["32×32", "64×64", "one size"]);
    replaced("b_1.png", &png(64, 32), &["square"]);
    replaced("b_7.png", &whole, &["belong to no prompt and seed", "b_7.png"]);
    replaced("b_1.jpg", &whole, &["both of item b, seed 1"]);

    fs::remove_file(at.join("c_1.png")).unwrap();
    refused(&folder, &JUDGE, &["1 of 9 images", "c_1", "--partial"]);
    let partial = [&JUDGE[..], &["--partial", "--format", "json"]].concat();
    let rows = json(&mut probe_in(&folder, &partial));
    assert!(rows.as_array().unwrap().iter().all(|row| row["suite"] == "mini (partial)"));
}

#[test]
fn a_report_shows_what_failed_and_a_person_is_heard_beside_the_judge() {
    let folder = folder();
    pictures(&folder);
    probe_in(&folder, &JUDGE).assert().success();
    let run = run_folder(&folder);
    let html = fs::read_to_string(run.join("report.html")).unwrap();
    // The three grey images fail; nothing is in them to draw a box around.
    assert_eq!(html.matches("data:image/png").count(), 3);
    assert!(html.contains("Failed images") && html.contains("The worst prompts"));

    let seen: Vec<SeenRow> =
        rows(&read_parquet::<SeenRow>(&run.join("tables/seen.parquet")).unwrap()).unwrap();
    // One ball, one cube and two balls, twice each.
    assert_eq!(seen.len(), 8);
    let scene = |prompt: &str| {
        denoscope::world::compose(&denoscope::world::parse(prompt).unwrap(), 0).unwrap()
    };
    let mask = denoscope::world::masks(&scene("a red ball"), 64).remove(0);
    let (mut left, mut right) = (64, 0);
    for ((_, x), _) in mask.indexed_iter().filter(|(_, on)| **on) {
        (left, right) = (left.min(x), right.max(x + 1));
    }
    let ball = seen.iter().find(|row| row.sample == 0).unwrap();
    assert!(ball.what.starts_with("red ") && ball.what.ends_with("ball"), "{}", ball.what);
    assert!(ball.stands_for.is_some(), "{ball:?}");
    // A pixel and a half either way.
    let near = |share: f64, pixel: usize| (share * 64.0 - pixel as f64).abs() <= 1.5;
    assert!(near(ball.left, left) && near(ball.right, right), "{ball:?} {left} {right}");

    let review = |text: &str| {
        fs::write(folder.path().join("mine.csv"), text).unwrap();
        let run = run.display().to_string();
        let words = ["failures", "review", &run, "--overrides", "mine.csv", "--out", "reviewed"];
        probe_in(&folder, &[&words[..], &["--format", "json"]].concat())
    };
    let human = json(&mut review("item,seed,holds,note\na,2,true,it is there\nb,0,yes,\n"));
    assert_eq!(human[0]["judge_holds"], false);
    assert_eq!(human[0]["human_holds"], true);
    assert_eq!(human[1]["judge_holds"], true);
    let made = fs::read_dir(folder.path().join("reviewed")).unwrap().next().unwrap().unwrap();
    assert_eq!(outcomes(&made.path()), outcomes(&run), "the judge's word stays");
    let html = fs::read_to_string(made.path().join("report.html")).unwrap();
    assert!(html.contains("disagrees with the judge on 1"), "no disagreement told");
    for (text, says) in [
        ("item,seed\na,2\n", "no column \"holds\""),
        ("item,seed,holds\na,9,true\n", "no image of this run"),
        ("item,seed,holds\na,2,perhaps\n", "holds is \"perhaps\""),
        ("item,seed,holds\na,2,true\na,2,false\n", "there twice"),
    ] {
        review(text).assert().code(2).stderr(contains(says));
    }
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::new(width, height).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A small file that claims 60,000 × 60,000 pixels.
fn bomb() -> Vec<u8> {
    let mut bytes = png(64, 64);
    bytes[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    let checksum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// The checksum of PNG's chunks.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}

#[test]
fn detections_are_judged_by_a_published_rule() {
    let folder = folder();
    let metadata = r#"{"tag": "counting", "include": [{"class": "cup", "count": 2}], "exclude": [{"class": "cup", "count": 3}], "prompt": "a photo of two cups"}"#;
    fs::write(folder.path().join("metadata.jsonl"), metadata).unwrap();
    let suite =
        probe_in(&folder, &["suites", "import", "geneval", "metadata.jsonl"]).assert().success();
    fs::write(folder.path().join("g.toml"), &suite.get_output().stdout).unwrap();
    let cups = |image: u64, scores: &[f64]| -> Vec<serde_json::Value> {
        let cup = |score| serde_json::json!({"image_id": image, "category_id": 1, "bbox": [1, 1, 5, 5], "score": score});
        scores.iter().map(cup).collect()
    };
    let write = |images: &[&str]| {
        let images: Vec<_> = (0..)
            .zip(images)
            .map(|(id, name)| serde_json::json!({"id": id, "file_name": name}))
            .collect();
        // Two, three, two of which one is not sure enough for counting, none.
        let annotations =
            [cups(0, &[0.95, 0.99]), cups(1, &[0.95, 0.99, 0.97]), cups(2, &[0.95, 0.89]), vec![]]
                .concat();
        let coco = serde_json::json!({"images": images, "categories": [{"id": 1, "name": "cup"}], "annotations": annotations});
        fs::write(folder.path().join("coco.json"), coco.to_string()).unwrap();
    };
    write(&["00000_0.png", "00000_1.png", "00000_2.png", "00000_3.png"]);
    let words = ["failures", "--suite", "g.toml", "--detections", "coco.json", "--rule", "geneval"];
    let all = [&words[..], &["--print", "benchmark", "--format", "json"]].concat();
    let scores = json(&mut probe_in(&folder, &all));
    let overall = scores.as_array().unwrap().iter().find(|row| row["metric"] == "overall").unwrap();
    assert_eq!(
        (overall["value"].as_f64(), &overall["judge"]),
        (Some(0.25), &"geneval-rule/imported".into())
    );
    let rows = outcomes(&run_folder(&folder));
    assert_eq!(
        rows.iter().map(|row| row.holds).collect::<Vec<_>>(),
        [Some(true), Some(false), Some(false), Some(false)]
    );

    write(&["00000_0.png", "00000_1.png", "00000_2.png", "00009_3.png"]);
    refused(&folder, &words, &["belong to no prompt", "00009_3"]);
    write(&["00000_0.png", "00000_1.png", "00000_2.png"]);
    refused(&folder, &words, &["1 of 4 images", "--partial"]);
    let mini = ["failures", "--suite", "mini.toml", "--detections", "coco.json", "--rule", "visor"];
    refused(&folder, &mini, &["no expectation for the rule visor"]);
}

/// Answers, but ends at one image and is silent at another.
const PROGRAM: &str = r#"
while read -r line; do
  case "$line" in
    *'"hello":true'*) echo '{"name": "toy", "version": "7"}'; continue ;;
    *'"item":"b"'*'"seed":0'*) exit 1 ;;
    *'"item":"b"'*'"seed":1'*) sleep 30 ;;
    *'"item":"c"'*'"seed":0'*) echo 'no JSON'; continue ;;
  esac
  id=$(echo "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
  file=$(echo "$line" | sed 's/.*"image":"\([^"]*\)".*/\1/')
  if [ -s "$file" ]; then
    echo "{\"id\": $id, \"holds\": true, \"score\": 0.5, \"atoms\": [{\"name\": \"it is there\", \"holds\": true}]}"
  fi
done
"#;

#[test]
fn a_program_that_crashes_loses_one_image() {
    let folder = folder();
    pictures(&folder);
    fs::write(folder.path().join("judge.sh"), PROGRAM).unwrap();
    let words = [&JUDGE[..], &["--judge-command", "sh judge.sh", "--judge-timeout", "1"]].concat();
    probe_in(&folder, &words).assert().success().stderr(contains("3 images could not be decided"));
    let rows = outcomes(&run_folder(&folder));
    let lost: Vec<(&str, u64, &str)> = rows
        .iter()
        .filter(|row| row.holds.is_none())
        .map(|row| (row.item.as_str(), row.seed, row.reason.as_str()))
        .collect();
    let why = [("b", 0, "it ended"), ("b", 1, "more than 1 s"), ("c", 0, "its answer is none")];
    assert_eq!(lost.len(), why.len(), "{lost:?}");
    for ((item, seed, reason), (of, at, says)) in lost.into_iter().zip(why) {
        assert!((item, seed) == (of, at) && reason.contains(says), "{item} {seed}: {reason}");
    }
    let decided: Vec<&OutcomeRow> = rows.iter().filter(|row| row.holds == Some(true)).collect();
    assert_eq!(decided.len(), 6);
    assert!(decided.iter().all(|row| row.judge == "external/toy" && row.judge_version == "7"));
    assert!(
        decided.iter().all(|row| row.score == Some(0.5) && (row.atoms, row.atoms_held) == (1, 1))
    );
}

#[test]
fn suites_are_listed_shown_and_checked() {
    let folder = folder();
    let listed = json(&mut probe(&["suites", "--format", "json"]));
    assert!(listed.as_array().unwrap().len() >= 10);
    assert!(
        listed.as_array().unwrap().iter().any(|row| row["suite"] == "systematic-generalisation")
    );
    let shown = probe(&["suites", "show", "counting"]).assert().success();
    fs::write(folder.path().join("mine.toml"), &shown.get_output().stdout).unwrap();
    probe_in(&folder, &["suites", "check", "mine.toml", "mini.toml"])
        .assert()
        .success()
        .stdout(contains("mine.toml: fine").and(contains("mini.toml: fine, 3 prompts, 9 images")));
    fs::write(folder.path().join("wrong.toml"), SUITE.replace("a red ball", "a red dog")).unwrap();
    probe_in(&folder, &["suites", "check", "mini.toml", "wrong.toml"])
        .assert()
        .code(1)
        .stdout(contains("fine").and(contains("\"dog\"")));
    refused(&folder, &["suites", "import", "geneval"], &["name the file"]);
}
