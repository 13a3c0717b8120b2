//! `cargo xtask sweeps`: the long forms of the tests of sweeps, and what sweeps cost.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use super::{Task, no_arguments};
use crate::environment::finish;
use crate::libtorch::{self, Wanted};
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "sweeps",
    arguments: "",
    about: "Long tests of sweeps (200 kills, a cluster that is badly treated) and their cost",
    run,
};

/// What makes the tests long.
const LONG: [(&str, &str); 2] = [("SWEEP_KILLS", "200"), ("SWEEP_ITEMS", "2000")];

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    no_arguments(TASK.name, arguments)?;
    let workspace = Workspace::locate()?;
    libtorch::ensure(&workspace, Wanted::from_environment()?)?;
    let mut tests = workspace.cargo();
    tests
        .args(["test", "--release", "--locked", "--test", "sweep", "--", "--nocapture"])
        .envs(LONG);
    finish(&mut tests, "a test of sweeps failed")?;
    let mut bench = workspace.cargo();
    bench.args(["bench", "--locked", "--bench", "sweep"]);
    finish(&mut bench, "the bench of sweeps failed")?;
    Ok(ExitCode::SUCCESS)
}
