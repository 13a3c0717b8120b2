//! `cargo xtask notebooks`: runs the notebooks from scratch, in a Rust kernel of their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use super::Task;
use crate::environment::{Environment, finish};
use crate::libtorch::{self, Wanted};
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "notebooks",
    arguments: "[--check] [NOTEBOOK…]",
    about: "Run notebooks/*.ipynb from scratch and keep their outputs; --check keeps the files",
    run,
};

/// The kernel and the version that is known to work.
const KERNEL: (&str, &str) = ("evcxr_jupyter", "0.22.0");

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    let libtorch = libtorch::ensure(&workspace, Wanted::from_environment()?)?;
    let kernel = kernel(&workspace)?;
    let environment = Environment::of_notebooks(&workspace)?;
    let mut script = environment.runs(&workspace, Path::new("notebooks/run.py"));
    script.arg("--kernel").arg(kernel).arg("--libtorch").arg(libtorch.libraries());
    script.arg("--home").arg(workspace.target().join("notebooks")).args(arguments);
    finish(&mut script, "a notebook failed")?;
    Ok(ExitCode::SUCCESS)
}

/// The kernel's program, built once into the target folder.
fn kernel(workspace: &Workspace) -> Result<PathBuf> {
    let (name, version) = KERNEL;
    let tools = workspace.target().join("tools");
    let program = tools.join("bin").join(name);
    if !program.exists() {
        eprintln!("building {name} {version}, which takes some minutes …");
        let mut install = workspace.cargo();
        // Without its lock file it does not compile.
        install.args(["install", "--locked", name, "--version", version, "--root"]).arg(&tools);
        finish(&mut install, &format!("{name} could not be installed"))?;
    }
    Ok(program)
}
