//! Bad input: one clear message with a remedy, the right exit code, nothing half-written.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use predicates::prelude::*;
use predicates::str::contains;
use tempfile::TempDir;

use crate::{TINY, fails, files, probe, probe_in};

/// `probe generate` and `probe attention` of the small model, in one step unless said otherwise.
fn both(extra: &[&str], says: &[&str]) {
    for command in ["generate", "attention"] {
        let mut words = vec![command, "--model", TINY];
        words.extend(extra);
        fails(&words, says);
    }
}

const BALL: [&str; 2] = ["--prompt", "a ball"];

#[test]
fn prompts_that_say_nothing() {
    both(&["--prompt", ""], &["prompt is empty", "say what"]);
    both(&["--prompt", "  \t "], &["prompt is empty"]);
    fails(&["generate", "--model", TINY], &["--prompt"]);
}

#[test]
fn prompts_too_long_are_cut_and_say_so_briefly() {
    let folder = TempDir::new().unwrap();
    let long = "red ball ".repeat(5_000);
    probe_in(&folder, &["generate", "--model", TINY, "--steps", "1", "--prompt", &long])
        .assert()
        .success()
        .stderr(contains("not read").and(predicate::function(|text: &str| text.len() < 1_000)));
}

#[test]
fn emoji_and_control_characters_are_prompts_like_any_other() {
    for prompt in ["a 🔴 ball 👩‍👩‍👧", "\u{202e}ball\u{7}\u{1b}[31m", "玉"] {
        let folder = TempDir::new().unwrap();
        let words = ["generate", "--model", TINY, "--steps", "1", "--prompt", prompt];
        probe_in(&folder, &words).assert().success();
        let shown = ["tokens", "--model", TINY, "--prompt", prompt, "--format", "table"];
        let assert = probe(&shown).assert().success();
        let printed = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        assert!(!printed.contains('\u{1b}'), "a prompt must not steer the terminal");
    }
}

#[test]
fn steps_and_sizes_that_cannot_be() {
    let with = |extra: [&'static str; 2], says: &[&str]| both(&[BALL, extra].concat(), says);
    with(["--steps", "0"], &["steps", "1 to 1000"]);
    with(["--steps", "-3"], &["steps", "1 to 1000"]);
    with(["--steps", "1001"], &["1001", "1 to 1000"]);
    with(["--width", "30"], &["30×32", "multiples of 4", "nearest"]);
    with(["--height", "-32"], &["multiples of 4"]);
    with(["--height", "0"], &["multiples of 4"]);
    with(["--width", "1000000"], &["4096"]);
    with(["--guidance", "NaN"], &["finite"]);
    with(["--count", "0"], &["--count"]);
    with(["--device", "abacus"], &["abacus", "cpu"]);
    with(["--init-latents", "none.safetensors"], &["none.safetensors"]);
}

#[test]
fn initial_latents_of_another_shape() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("latents.safetensors");
    let path = file.to_str().unwrap();
    let save = ["generate", "--model", TINY, "--steps", "1", "--save-latents", path];
    probe_in(&folder, &[&save[..], &BALL].concat()).assert().success();
    let load = [&BALL[..], &["--init-latents", path, "--width", "64", "--count", "1"]].concat();
    both(&load, &["256", "512"]);
}

// --- models --------------------------------------------------------------------------------

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A copy of the small model with something done to it is refused with these words.
fn spoiled(change: impl Fn(&Path), says: &[&str]) {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join("model");
    copy(Path::new(TINY), &model);
    change(&model);
    let words = ["generate", "--steps", "1", "--model", model.to_str().unwrap()];
    fails(&[&words[..], &BALL].concat(), says);
}

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn models_that_are_not_there() {
    fails(
        &["generate", "--model", "no-such-model", "--prompt", "a ball"],
        &["no-such-model", "shapes"],
    );
    spoiled(|model| fs::remove_file(model.join(UNET)).unwrap(), &[UNET, "missing"]);
    spoiled(
        |m| fs::remove_file(m.join("vae/config.json")).unwrap(),
        &["vae/config.json", "missing"],
    );
    spoiled(|m| fs::remove_dir_all(m.join("tokenizer")).unwrap(), &["vocab.json", "missing"]);
}

#[test]
fn weights_that_are_truncated_or_corrupted() {
    let bytes = fs::read(Path::new(TINY).join(UNET)).unwrap();
    let with = |bytes: &[u8], says: &[&str]| {
        spoiled(|model| fs::write(model.join(UNET), bytes).unwrap(), says);
    };
    with(&bytes[..bytes.len() - 1], &[UNET, "truncated"]);
    with(&bytes[..100], &[UNET, "truncated"]);
    with(&[], &[UNET]);
    let mut header = bytes.clone();
    header[20..60].fill(0xff);
    with(&header, &[UNET, "corrupted"]);
    // The last tensor's last number: not a number.
    let mut numbers = bytes.clone();
    let end = numbers.len();
    numbers[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    with(&numbers, &[UNET, "NaN"]);
}

#[test]
fn configs_that_disagree_with_the_tensors() {
    let config = |model: &Path| model.join("unet/config.json");
    spoiled(
        |m| edit(&config(m), "\"layers_per_block\": 1", "\"layers_per_block\": 2"),
        &[UNET, "do not fit the config", "missing"],
    );
    spoiled(
        |m| edit(&config(m), "\"cross_attention_dim\": 32", "\"cross_attention_dim\": 48"),
        &["cross_attention_dim 48", "hidden_size 32"],
    );
    spoiled(
        |m| edit(&config(m), "\"UNetMidBlock2DCrossAttn\"", "\"UNetMidBlock2D\""),
        &["mid_block_type"],
    );
    spoiled(|m| fs::write(config(m), "{ not json").unwrap(), &["unet/config.json"]);
    spoiled(
        |m| {
            let file = m.join("scheduler/scheduler_config.json");
            edit(&file, "\"num_train_timesteps\": 1000", "\"num_train_timesteps\": 0");
        },
        &["num_train_timesteps"],
    );
}

#[test]
fn pickle_files_are_refused() {
    let remedy = ["pickle", "safetensors"];
    spoiled(
        |m| fs::rename(m.join(UNET), m.join("unet/diffusion_pytorch_model.bin")).unwrap(),
        &remedy,
    );
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("model.ckpt");
    fs::write(&file, b"\x80\x04.").unwrap();
    fails(&["generate", "--model", file.to_str().unwrap(), "--prompt", "a ball"], &remedy);
}

// --- output --------------------------------------------------------------------------------

/// The words to add for every command that writes a run folder.
const WRITERS: [&[&str]; 5] = [
    &["generate", "--model", TINY, "--steps", "1", "--prompt", "a ball"],
    &["attention", "--model", TINY, "--steps", "1", "--prompt", "a ball"],
    &["trace", "--model", TINY, "--steps", "1", "--prompt", "a ball", "--sites", "step.x0"],
    &["forward", "--model", TINY],
    &["world", "--count", "1"],
];

#[test]
fn output_where_nothing_can_be_written() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    for words in WRITERS {
        fails(&[words, &["--out", file.to_str().unwrap()]].concat(), &["--out", "in the way"]);
        let below = file.join("runs");
        fails(&[words, &["--out", below.to_str().unwrap()]].concat(), &["--out"]);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "in the way");
}

#[cfg(unix)]
#[test]
fn a_read_only_output_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("sealed");
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser writes everywhere; nothing to see then.
    if fs::write(out.join("probe"), "").is_ok() {
        return;
    }
    for words in WRITERS {
        fails(&[words, &["--out", out.to_str().unwrap()]].concat(), &["--out"]);
    }
    assert!(files(&out).is_empty());
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let folder = TempDir::new().unwrap();
    let words =
        ["generate", "--model", TINY, "--prompt", "a ball", "--steps", "500", "--count", "64"];
    let mut child = std::process::Command::new(probe(&[]).get_program())
        .args(words)
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The folder is there from the start of the run on.
    let start = Instant::now();
    while files(folder.path()).len() < 2 && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(files(folder.path()), [folder.path().join("runs").display().to_string()]);
}

/// A disk that is full in the middle of a run, played by a limit on the size of files (a real
/// one needs the superuser): one message that names the file, and no run folder.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_in_the_middle() {
    // In blocks of 512 or 1,024 bytes, by shell: below every table and picture.
    const LIMIT: &str = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let program = probe(&[]).get_program().to_owned();
    let commands: [&[&str]; 2] = [
        &["attention", "--model", TINY, "--prompt", "red ball", "--steps", "2", "--count", "1"],
        &["generate", "--model", TINY, "--prompt", "red ball", "--steps", "2"],
    ];
    for words in commands {
        let folder = TempDir::new().unwrap();
        let mut shell = assert_cmd::Command::new("sh");
        shell.args(["-c", LIMIT]).arg(&program).args(words).current_dir(folder.path());
        let assert = shell.assert().code(2).stdout("");
        let message = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        for part in ["error: cannot write", "runs", "too large", "ulimit -f", "--out"] {
            assert_eq!(message.matches(part).count(), 1, "{part}: {message}");
        }
        let runs = folder.path().join("runs").display().to_string();
        assert_eq!(files(folder.path()), [runs], "{words:?}");
    }
}
