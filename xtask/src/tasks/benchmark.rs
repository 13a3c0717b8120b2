//! `cargo xtask benchmark`: time and memory of `probe` beside diffusers on the same checkpoint.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use super::{Task, probe};
use crate::environment::Environment;
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "benchmark",
    arguments: "[--python PATH] [ARGS…]",
    about: "Time `probe` beside diffusers on a full-size checkpoint: --help lists ARGS",
    run,
};

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    let (environment, arguments) = Environment::from_arguments(&workspace, arguments)?;
    let program = probe::build(&workspace)?;
    environment.run_beside(&workspace, "fixtures/scripts/benchmark.py", &program, &arguments)
}
