//! `cargo xtask setup`: makes sure of libtorch, so that plain cargo commands work.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use super::{Task, no_arguments};
use crate::libtorch::{self, Wanted};
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "setup",
    arguments: "[--libtorch python|wheels]",
    about: "Make sure of libtorch: LIBTORCH, else a Python torch if asked for, else from wheels",
    run,
};

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let (wanted, rest) = Wanted::from_arguments(arguments)?;
    no_arguments(TASK.name, &rest)?;
    let workspace = Workspace::locate()?;
    let ready = libtorch::ensure(&workspace, wanted)?;
    eprintln!("libtorch {} is ready: {}", libtorch::VERSION, ready.describe());
    if let Some(hint) = ready.accelerator_hint() {
        eprintln!("{hint}");
    }
    Ok(ExitCode::SUCCESS)
}
