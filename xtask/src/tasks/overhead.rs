//! `cargo xtask overhead`: what recording costs `probe`, beside ways of recording with diffusers.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use super::{Task, probe};
use crate::environment::Environment;
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "overhead",
    arguments: "[--python PATH] [ARGS…]",
    about: "What recording attention costs, beside hooks on diffusers: --help lists ARGS",
    run,
};

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    let (environment, arguments) = Environment::from_arguments(&workspace, arguments)?;
    let program = probe::build(&workspace)?;
    environment.run_beside(&workspace, "benches/peers/overhead.py", &program, &arguments)
}
