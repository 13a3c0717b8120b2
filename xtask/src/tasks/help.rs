//! `cargo xtask help`: the list of tasks.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;

use super::{TASKS, Task};

pub const TASK: Task = Task { name: "help", arguments: "", about: "Show this list", run };

const ENVIRONMENT: &str = "\
Environment:
  LIBTORCH            a libtorch to use instead of the folder libtorch/
  DENOSCOPE_LIBTORCH  what --libtorch says, for every task: python or wheels

`cargo probe ARGS` is short for `cargo xtask probe ARGS`.";

pub fn run(_arguments: &[OsString]) -> Result<ExitCode> {
    println!("Chores of the denoscope repository.\n\nUsage: cargo xtask <TASK>\n\nTasks:");
    let usage = |task: &Task| format!("{} {}", task.name, task.arguments);
    let width = TASKS.iter().map(|task| usage(task).len()).max().unwrap_or(0);
    for task in TASKS {
        println!("  {:width$}  {}", usage(task), task.about);
    }
    println!("\n{ENVIRONMENT}");
    Ok(ExitCode::SUCCESS)
}
