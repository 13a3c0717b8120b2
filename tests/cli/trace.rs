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

/// Every recorder and every edit stands in a spec, and all of those run. The first makes what some
/// of the others read.
const SPECS: [(&str, &[&str]); 15] = [
    ("reference-run", &["trace_statistics"]),
    ("block-statistics", &["trace_statistics"]),
    ("channels-of-the-bottleneck", &["trace_channels", "trace_pooled"]),
    ("cross-attention-change", &["change"]),
    ("guidance-parts", &["guidance"]),
    ("token-attention", &["attention", "daam"]),
    ("self-attention-reach", &["self_attention"]),
    ("zero-ablation", &[]),
    ("mean-ablation", &[]),
    ("borrowed-maps", &[]),
    ("added-vector", &[]),
    ("weighed-word", &[]),
    ("noun-knockout", &[]),
    ("prompt-switch", &[]),
    ("frozen-attention", &[]),
];

/// What makes a spec small.
const SMALLER: [(&str, &str); 6] = [
    ("steps = 25", "steps = 2"),
    ("count = 4", "count = 1"),
    ("steps=0-9", "steps=0-1"),
    ("steps=8-24", "steps=1"),
    ("freeze=8", "freeze=0"),
    ("from_world = 32", "from_world = 4"),
];

fn smaller(spec: &str) -> String {
    let specs = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
    let mut text = fs::read_to_string(specs.join(format!("{spec}.toml"))).unwrap();
    for (large, small) in SMALLER {
        text = text.replace(large, small);
    }
    format!("{text}model = {TINY:?}\n")
}

#[test]
fn specs_of_every_recorder_and_edit_run() {
    let folder = TempDir::new().unwrap();
    let mut said = String::new();
    for (spec, tables) in SPECS {
        let small = smaller(spec);
        said += &small;
        let file = format!("{spec}.toml");
        fs::write(folder.path().join(&file), small).unwrap();
        probe_in(&folder, &["run", &file, "--out", spec]).assert().success();
        let runs: Vec<_> = fs::read_dir(folder.path().join(spec)).unwrap().collect();
        assert_eq!(runs.len(), 1, "{spec}");
        let run = runs[0].as_ref().unwrap().path();
        for table in tables {
            assert!(run.join(format!("tables/{table}.parquet")).is_file(), "{spec}: {table}");
        }
        // What the run wrote down of itself can be run again.
        let again = run.join("spec.toml").display().to_string();
        probe_in(&folder, &["validate", &again]).assert().success();
    }
    let recorders =
        ["statistics", "channels", "pooled", "change", "guidance", "attention", "self-attention"];
    for name in recorders {
        assert!(said.contains(&format!("\"{name}\"")), "no spec records {name}");
    }
    let edits = ["mean", "replace", "add", "steer", "mask", "weigh", "scale", "prompt", "freeze"];
    for name in edits {
        assert!(said.contains(&format!("{name}=")), "no spec has {name}=");
    }
    assert!(said.contains("\"zero "), "no spec has zero");
}

#[test]
fn token_attention_is_that_of_the_probabilities() {
    let folder = TempDir::new().unwrap();
    // As fine as the latent, so that DAAM resizes nothing.
    let site = "down.0.attn.0.block.0.cross.probs";
    let words =
        ["--record", "attention", "--steps", "2", "--sites", site, "--raw", "t.safetensors"];
    let rows = json(&mut probe_in(&folder, &trace(&words))).as_array().unwrap().clone();
    let raw = fs::read(folder.path().join("t.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&raw).unwrap();
    let tokens = rows.iter().map(|row| row["token"].as_u64().unwrap()).max().unwrap() + 1;
    assert_eq!(rows[0]["word"], Value::Null, "the start token is no word");
    let (mut summed, mut maps_summed) = (Vec::new(), 0);
    for row in &rows {
        let [step, sample, head, token] =
            ["step", "sample", "head", "token"].map(|key| row[key].as_u64().unwrap() as usize);
        let branch = row["branch"].as_str().unwrap();
        let tensor = tensors.tensor(&format!("{step:03}/{branch}/{site}")).unwrap();
        let [_, heads, places, width] = tensor.shape() else { unreachable!() };
        let at = |place: usize| {
            let number = ((sample * heads + head) * places + place) * width + token;
            let bytes = &tensor.data()[4 * number..4 * number + 4];
            f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let map: Vec<f64> = (0..*places).map(at).collect();
        let sum: f64 = map.iter().sum();
        assert_near(row, "mass", sum / *places as f64);
        let nats = map.iter().map(|p| p / sum).map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 });
        assert_near(row, "entropy", nats.sum());
        if (branch, sample, token) == ("cond", 0, 1) {
            summed.resize(map.len(), 0.0);
            summed.iter_mut().zip(&map).for_each(|(sum, p)| *sum += p);
            maps_summed += 1;
        }
    }
    // DAAM sums over steps and averages over heads.
    let run = run_folder(&folder).join("tables/daam.parquet");
    let frame = denoscope::table::read_parquet::<denoscope::table::DaamRow>(&run).unwrap();
    assert_eq!(frame.height() as u64, 2 * tokens);
    let maps: Vec<denoscope::table::DaamRow> = denoscope::table::rows(&frame).unwrap();
    let map = maps.iter().find(|row| row.sample == 0 && row.token == 1).unwrap();
    let cells = map.map.as_ref().unwrap();
    assert_eq!((map.steps, cells.len() as u32), (2, map.height * map.width));
    assert_eq!(cells.len(), summed.len());
    let heads = f64::from(maps_summed) / f64::from(map.steps);
    for (cell, sum) in cells.iter().zip(summed) {
        assert!((f64::from(*cell) - sum / heads).abs() < 1e-6, "{cell}, {}", sum / heads);
    }
}

#[test]
fn a_killed_trace_leaves_no_table_that_looks_whole() {
    let folder = TempDir::new().unwrap();
    let words = trace(&["--record", "channels", "--sites", "*.out", "--steps", "900"]);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_probe-engine"))
        .args(&words)
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Until rows are on disk: whole groups are written while the run goes on.
    let on_disk = || {
        let below = folder.path().join("runs");
        let found = if below.is_dir() { files(&below) } else { Vec::new() };
        let size = |path: &String| fs::metadata(path).map_or(0, |file| file.len());
        found.iter().filter(|path| path.contains("/tables/")).map(size).max().unwrap_or(0)
    };
    while on_disk() < 100_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before a group was written");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = files(&folder.path().join("runs"));
    assert!(left.iter().all(|path| path.contains("/.tmp-")), "{left:?}");
    assert!(!left.iter().any(|path| path.ends_with("trace_channels.parquet")), "{left:?}");
    // The next run clears it away.
    probe_in(&folder, &trace(&["--sites", "mid.out", "--steps", "1"])).assert().success();
    let left = files(&folder.path().join("runs"));
    assert!(!left.iter().any(|path| path.contains("/.tmp-")), "{left:?}");
}

#[cfg(unix)]
#[test]
fn a_full_disk_in_the_middle_is_one_message() {
    let folder = TempDir::new().unwrap();
    // Blocks of 1024 bytes; writing past the limit fails as on a full disk.
    const LIMIT: &str = "trap '' XFSZ; ulimit -f 1500; exec \"$0\" \"$@\"";
    let words = trace(&["--record", "channels", "--sites", "*.out", "--steps", "200"]);
    let output = std::process::Command::new("bash")
        .args(["-c", LIMIT, env!("CARGO_BIN_EXE_probe-engine")])
        .args(&words)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    for part in ["error: ", "cannot write", "trace_channels.parquet", "too large", "ulimit -f"] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    assert_eq!(message.matches("error:").count(), 1, "{message}");
    let left = files(&folder.path().join("runs"));
    assert!(left.is_empty(), "{left:?}");
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
    refused(&["--record", "everything"], &["statistics", "change", "guidance", "self-attention"]);
    refused(&["--record", "channels"], &["--record channels", "--sites"]);
    refused(&["--record", "pooled", "--sites", "*.cross.probs"], &["--record pooled", "channels"]);
    refused(&["--record", "attention", "--sites", "mid.out"], &["cross-attention", "--sites"]);
    refused(&["--record", "self-attention", "--sites", "mid.out"], &["self-attention", "--sites"]);
    let edited = ["--record", "self-attention", "--edit", "zero sites=mid.*.self.probs"];
    refused(&edited, &["self-attention", "mid.attn.0.block.0.self.probs", "*.self.q"]);
    refused(&[], &["--sites"]);
    fails(&[&RUN[..], &["--steps", "1", "--record", "change"]].concat(), &["--steps"]);
}
