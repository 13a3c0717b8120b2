//! `cargo xtask gate`: the built-in model against its own baseline.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, bail};

use super::{Task, probe};
use crate::runs::only_run;
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "gate",
    arguments: "[--update] [ARGS…]",
    about: "Run the suite of the baseline `shapes` and compare: ARGS go to probe compare",
    run,
};

/// The baseline, and below `reports/baselines/` its folder.
const BASELINE: &str = "shapes";
/// Where the suite's run goes; git ignores it.
const RUNS: &str = "runs/gate";

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    Ok(ExitCode::from(compare(&Workspace::locate()?, arguments)?))
}

/// Runs the suite of the baseline and compares; returns the exit code of the comparison: 0 where
/// nothing got worse.
pub fn compare(workspace: &Workspace, arguments: &[OsString]) -> Result<u8> {
    let program = probe::build(workspace)?;
    let (updates, arguments): (Vec<&OsString>, Vec<&OsString>) =
        arguments.iter().partition(|argument| *argument == "--update");
    let runs = workspace.root().join(RUNS);
    if runs.exists() {
        fs::remove_dir_all(&runs).with_context(|| format!("cannot remove {}", runs.display()))?;
    }
    // Paths from the root folder: they end up in the baseline's manifest.
    let call = |words: &[&Path], more: &[&OsString]| -> Result<ExitStatus> {
        let mut command = Command::new(&program);
        workspace.forget_cargo(&mut command);
        command.current_dir(workspace.root()).args(words).args(more);
        command.status().with_context(|| format!("could not start {}", program.display()))
    };
    let spec = format!("reports/baselines/{BASELINE}/spec.toml");
    let suite = call(&["run".as_ref(), spec.as_ref(), "--out".as_ref(), RUNS.as_ref()], &[])?;
    if !suite.success() {
        bail!("the suite did not run; the message is above");
    }
    let made = only_run(&runs)?;
    let words: Vec<&Path> = if updates.is_empty() {
        vec!["compare".as_ref(), BASELINE.as_ref(), &made]
    } else {
        let save = ["--save-baseline", BASELINE, "--replace-baseline"].map(Path::new);
        [vec!["compare".as_ref(), made.as_path()], save.to_vec()].concat()
    };
    let code = call(&words, &arguments)?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(2))
}
