//! Long commands that are stopped go on where they were, and find what an undisturbed run finds.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use denoscope::table::{
    AlignmentRow, AttentionScoreRow, ClipPathRow, CommitmentRow, DiagnosisFeatureRow,
    GuidanceImageRow, LatentImpulseRow, PromptSwitchRow, Row,
};
use tempfile::TempDir;

use super::{TINY, probe_in, run_folder, table};

/// One command line for each way in which pieces are made, long enough to be stopped in the middle.
const TRAJECTORY: &str = "timesteps --parts trajectory --prompts 17 --count 2 --steps 2";
const SWITCH: &str =
    "timesteps --parts switch --attributes colour --pairs 33 --switches 1 --steps 2";
const GUIDANCE: &str = "guidance --from-world 2 --count 2 --guidance 1,2,3,4 --steps 2 --renders 2";
const LATENT: &str = "latent --count 3 --impulses 2 --bits 2 --blur 1 --noise 1";
const CLIP: &str = "clip --captions 10 --pairs 10 --routes 2 --images 1 --places 2 --steps 2";
const SCENES: &str = "attention --from-world 64 --at-steps 100,500,900";
const PROMPTS: &str = "attention --from-world 5 --steps 2";
const DIAGNOSIS: &str = "failures --diagnose --category relation --count 16 --batch 2 --steps 2";

fn words(line: &str) -> Vec<&str> {
    line.split(' ').chain(["--model", TINY, "--dtype", "f32"]).collect()
}

/// Pieces below the folder.
fn pieces(folder: &TempDir) -> usize {
    let Ok(entries) = fs::read_dir(folder.path().join("runs")) else { return 0 };
    let parts = entries.flatten().map(|entry| entry.path().join("parts"));
    let names = parts.filter_map(|parts| fs::read_dir(parts).ok()).flatten().flatten();
    let is_piece = |name: &str| name.ends_with(".piece") && name != "run.piece";
    names.filter(|entry| is_piece(&entry.file_name().to_string_lossy())).count()
}

/// Starts the command, and sends it the signal once it has kept a piece.
fn stopped(folder: &TempDir, line: &str, signal: &str) -> (std::process::Output, usize) {
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("probe"));
    command.args(words(line)).current_dir(folder.path()).env_remove("PROBE_LOG");
    let mut child: Child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let since = Instant::now();
    while pieces(folder) < 2 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "{line}: it was over before anything was kept"
        );
        assert!(since.elapsed() < Duration::from_secs(300), "{line}: nothing was kept");
        sleep(Duration::from_millis(2));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success(), "{line}: it was over before it was stopped");
    (output, pieces(folder))
}

/// The rows of a table, but for the names of their runs.
fn rows_of<R: Row + std::fmt::Debug>(run: &Path) -> Vec<String> {
    let name = run.file_name().unwrap().to_string_lossy().into_owned();
    let text: Vec<String> = table::<R>(run).iter().map(|row| format!("{row:?}")).collect();
    assert!(text.iter().all(|row| row.contains(&name)), "rows of another run: {}", text[0]);
    text.into_iter().map(|row| row.replace(&name, "this run")).collect()
}

/// Stopped by the signal, the command goes on with the same words: no kept piece is made again, all
/// rows are those of an undisturbed run, and nothing is left behind.
fn goes_on<R: Row + std::fmt::Debug>(line: &str, signal: &str) {
    let folder = TempDir::new().unwrap();
    let (output, kept) = stopped(&folder, line, signal);
    let said = String::from_utf8_lossy(&output.stderr);
    if signal == "-INT" {
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("the same command goes on"), "{said}");
    }
    let again = probe_in(&folder, &words(line)).assert().success();
    let said = String::from_utf8_lossy(&again.get_output().stderr).into_owned();
    assert!(said.contains(&format!("{kept} of its pieces are there")), "{kept} kept: {said}");
    let undisturbed = TempDir::new().unwrap();
    probe_in(&undisturbed, &words(line)).assert().success();
    let rows = rows_of::<R>(&run_folder(&folder));
    assert!(!rows.is_empty());
    assert_eq!(rows, rows_of::<R>(&run_folder(&undisturbed)), "{line}");
}

#[test]
fn trajectories_go_on() {
    goes_on::<CommitmentRow>(TRAJECTORY, "-INT");
}

#[test]
fn prompt_switches_go_on() {
    goes_on::<PromptSwitchRow>(SWITCH, "-KILL");
}

#[test]
fn guidance_sweeps_go_on() {
    goes_on::<GuidanceImageRow>(GUIDANCE, "-INT");
}

#[test]
fn round_trips_go_on() {
    goes_on::<LatentImpulseRow>(LATENT, "-KILL");
}

#[test]
fn paths_between_embeddings_go_on() {
    goes_on::<ClipPathRow>(CLIP, "-INT");
}

#[test]
fn scenes_with_attention_go_on() {
    goes_on::<AttentionScoreRow>(SCENES, "-KILL");
}

#[test]
fn prompts_with_attention_go_on() {
    goes_on::<AlignmentRow>(PROMPTS, "-INT");
}

#[test]
fn fresh_begins_anew() {
    let folder = TempDir::new().unwrap();
    stopped(&folder, PROMPTS, "-KILL");
    let line = format!("{PROMPTS} --fresh");
    let anew = probe_in(&folder, &words(&line)).assert().success();
    let said = String::from_utf8_lossy(&anew.get_output().stderr).into_owned();
    assert!(!said.contains("going on"), "{said}");
    run_folder(&folder);
}

#[test]
fn images_that_are_watched_go_on() {
    goes_on::<DiagnosisFeatureRow>(DIAGNOSIS, "-KILL");
}
