//! `cargo xtask probe`, better known as `cargo probe`: builds the command and becomes it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use super::Task;
use crate::cargo;
use crate::libtorch::{self, Wanted};
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "probe",
    arguments: "[ARGS…]",
    about: "Make sure of libtorch, build `probe` in release, and run it with ARGS",
    run,
};

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    let binary = build(&workspace)?;
    // Becoming the process, rather than starting one, leaves its exit code, its signals and
    // its streams untouched.
    let mut command = Command::new(&binary);
    workspace.forget_cargo(&mut command);
    let error = command.args(arguments).exec();
    Err(error).with_context(|| format!("could not start {}", binary.display()))
}

/// Makes sure of libtorch and builds; the path of `probe`.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    libtorch::ensure(workspace, Wanted::from_environment()?)?;
    let mut build = workspace.cargo();
    build.args(["build", "--release", "--package", "denoscope", "--bins"]);
    let status = cargo::run_silent_when_fresh(&mut build)?;
    if !status.success() {
        bail!("probe did not build; the compiler's message is above");
    }
    Ok(workspace.release().join("probe"))
}
