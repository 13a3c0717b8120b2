//! `cargo xtask goldens`: makes the reference tensors anew with PyTorch and diffusers.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use super::Task;
use crate::environment::{Environment, finish};
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "goldens",
    arguments: "[ARGS…]",
    about: "Make fixtures/goldens anew: fixtures/scripts/make_goldens.py in a Python environment",
    run,
};

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    let mut command = Environment::pinned(&workspace)?.script(&workspace, "make_goldens.py");
    command.args(arguments);
    finish(&mut command, "make_goldens.py failed")?;
    Ok(ExitCode::SUCCESS)
}
