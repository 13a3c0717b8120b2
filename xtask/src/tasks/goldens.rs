//! `cargo xtask goldens`: makes the reference tensors anew with PyTorch and diffusers.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use super::Task;
use crate::python::Python;
use crate::workspace::Workspace;

pub const TASK: Task = Task {
    name: "goldens",
    arguments: "[ARGS…]",
    about: "Make fixtures/goldens anew: fixtures/scripts/make_goldens.py in a Python environment",
    run,
};

const SCRIPTS: &str = "fixtures/scripts";

/// Written into the environment when all is installed: a copy of the requirements.
const STAMP: &str = "requirements.installed";

fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    let scripts = workspace.root().join(SCRIPTS);
    let home = environment(&workspace, &scripts.join("requirements.txt"))?;
    let mut command = Python::of_environment(&home).command();
    command.arg(scripts.join("make_goldens.py")).args(arguments).current_dir(workspace.root());
    finish(&mut command, "make_goldens.py failed")?;
    Ok(ExitCode::SUCCESS)
}

/// A virtual environment with just the pinned packages, made anew when these change.
fn environment(workspace: &Workspace, requirements: &Path) -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let home = workspace.target().join("goldens-python");
    if fs::read_to_string(home.join(STAMP)).is_ok_and(|installed| installed == wanted) {
        return Ok(home);
    }
    eprintln!("making a Python environment in {} …", home.display());
    let mut make = Python::find()?.command();
    make.args(["-m", "venv", "--clear"]).arg(&home).stdout(std::io::stderr());
    finish(&mut make, "python could not make the environment (Debian: apt install python3-venv)")?;
    let mut install = Python::of_environment(&home).pip()?;
    install.args(["install", "--requirement"]).arg(requirements);
    finish(&mut install, "pip could not install the packages")?;
    fs::write(home.join(STAMP), wanted).context("cannot note what was installed")?;
    Ok(home)
}

fn finish(command: &mut Command, complaint: &str) -> Result<()> {
    let status = command.status().with_context(|| complaint.to_owned())?;
    if !status.success() {
        bail!("{complaint}; its own message is above");
    }
    Ok(())
}
