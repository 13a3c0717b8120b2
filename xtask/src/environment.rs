//! The Python environment in which diffusers runs: for reference tensors and to compare with.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::python::Python;
use crate::workspace::Workspace;

const SCRIPTS: &str = "fixtures/scripts";

/// Written into the environment when all is installed: a copy of the requirements.
const STAMP: &str = "requirements.installed";

/// Prints what of the requirements (the argument) is not installed in the pinned version, a line
/// each.
const CHECK: &str = "\
import sys, importlib.metadata as installed
for line in open(sys.argv[1]):
    name, equals, version = line.strip().partition('==')
    if equals:
        try:
            found = installed.version(name).split('+')[0]
        except installed.PackageNotFoundError:
            found = 'nothing'
        if found != version:
            print(f'{name}: needs {version}, has {found}')";

/// An interpreter with the pinned packages.
pub struct Environment {
    python: Python,
}

impl Environment {
    /// A virtual environment with just the pinned packages, made anew when these change.
    pub fn pinned(workspace: &Workspace) -> Result<Self> {
        Self::made(&workspace.target().join("goldens-python"), &requirements(workspace))
    }

    /// The virtual environment in which notebooks are run.
    pub fn of_notebooks(workspace: &Workspace) -> Result<Self> {
        let requirements = workspace.root().join("notebooks/requirements.txt");
        Self::made(&workspace.target().join("notebooks-python"), &requirements)
    }

    fn made(home: &Path, requirements: &Path) -> Result<Self> {
        let wanted = fs::read_to_string(requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let python = Python::of_environment(home);
        if fs::read_to_string(home.join(STAMP)).is_ok_and(|installed| installed == wanted) {
            return Ok(Self { python });
        }
        eprintln!("making a Python environment in {} …", home.display());
        let mut make = Python::find()?.command();
        make.args(["-m", "venv", "--clear"]).arg(home).stdout(std::io::stderr());
        let complaint = "python could not make the environment (Debian: apt install python3-venv)";
        finish(&mut make, complaint)?;
        let mut install = python.pip()?;
        install.args(["install", "--requirement"]).arg(requirements);
        finish(&mut install, "pip could not install the packages")?;
        fs::write(home.join(STAMP), wanted).context("cannot note what was installed")?;
        Ok(Self { python })
    }

    /// The interpreter that `--python PATH` names among the arguments, if it has the pinned
    /// packages, else [`Self::pinned`]; and the other arguments.
    pub fn from_arguments(
        workspace: &Workspace,
        arguments: &[OsString],
    ) -> Result<(Self, Vec<OsString>)> {
        let (given, rest) = take_option("--python", arguments)?;
        let environment = match given {
            Some(program) => Self::of_user(workspace, PathBuf::from(program))?,
            None => Self::pinned(workspace)?,
        };
        Ok((environment, rest))
    }

    fn of_user(workspace: &Workspace, program: PathBuf) -> Result<Self> {
        let python = Python::at(program);
        let mut check = python.command();
        let output = check.args(["-c", CHECK]).arg(requirements(workspace)).output();
        let output = output.with_context(|| format!("`{}` does not run", python.name()))?;
        let misfits = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() || !misfits.is_empty() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!(
                "`{}` has not the packages of {SCRIPTS}/requirements.txt:\n{misfits}{errors}\
                 install them there, or leave out --python to have an environment made",
                python.name()
            );
        }
        Ok(Self { python })
    }

    /// A command that runs one of the scripts of `fixtures/scripts` from the repository's root.
    pub fn script(&self, workspace: &Workspace, name: &str) -> Command {
        self.runs(workspace, &Path::new(SCRIPTS).join(name))
    }

    /// A command that runs a script, named by its path in the repository, from its root.
    pub fn runs(&self, workspace: &Workspace, script: &Path) -> Command {
        let mut command = self.python.command();
        command.arg(workspace.root().join(script)).current_dir(workspace.root());
        workspace.forget_cargo(&mut command);
        command
    }

    /// Runs a script, named by its path in the repository, that compares `probe` with diffusers,
    /// and has its exit code. Checkpoints that it makes are kept in the target folder.
    pub fn run_beside(
        &self,
        workspace: &Workspace,
        script: &str,
        probe: &Path,
        arguments: &[OsString],
    ) -> Result<ExitCode> {
        let mut command = self.runs(workspace, Path::new(script));
        command.arg("--probe").arg(probe);
        command.arg("--home").arg(workspace.target().join("checkpoints")).args(arguments);
        let status = command.status().with_context(|| format!("could not start {script}"))?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }
}

fn requirements(workspace: &Workspace) -> PathBuf {
    workspace.root().join(SCRIPTS).join("requirements.txt")
}

/// Runs a command; its failure is the complaint.
pub fn finish(command: &mut Command, complaint: &str) -> Result<()> {
    let status = command.status().with_context(|| complaint.to_owned())?;
    if !status.success() {
        bail!("{complaint}; its own message is above");
    }
    Ok(())
}

/// The value of an option (`--name VALUE` or `--name=VALUE`), and the other arguments.
pub fn take_option(
    name: &str,
    arguments: &[OsString],
) -> Result<(Option<OsString>, Vec<OsString>)> {
    let (mut value, mut rest) = (None, Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let joined = argument.to_str().and_then(|text| text.strip_prefix(name)?.strip_prefix('='));
        if argument == OsStr::new(name) {
            let next = arguments.next().with_context(|| format!("{name} needs a value"))?;
            value = Some(next.clone());
        } else if let Some(joined) = joined {
            value = Some(joined.into());
        } else {
            rest.push(argument.clone());
        }
    }
    Ok((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn an_option_is_taken_out_in_either_form() {
        for line in ["--size tiny --python p --steps 3", "--size tiny --python=p --steps 3"] {
            let (value, rest) = take_option("--python", &words(line)).unwrap();
            assert_eq!(value, Some("p".into()));
            assert_eq!(rest, words("--size tiny --steps 3"));
        }
        assert_eq!(take_option("--python", &words("--size")).unwrap(), (None, words("--size")));
        let error = take_option("--python", &words("--python")).unwrap_err().to_string();
        assert!(error.contains("--python needs a value"), "{error}");
    }
}
