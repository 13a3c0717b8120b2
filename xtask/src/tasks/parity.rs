//! `cargo xtask parity`: the same random checkpoints through `probe` and diffusers, as a table.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use super::{Task, probe};
use crate::environment::Environment;
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "parity",
    arguments: "[--python PATH] [ARGS…]",
    about: "Compare `probe` with diffusers on random checkpoints: --help lists ARGS",
    run,
};

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    let (environment, arguments) = Environment::from_arguments(&workspace, arguments)?;
    let program = probe::build(&workspace)?;
    environment.run_beside(&workspace, "fixtures/scripts/parity.py", &program, &arguments)
}
