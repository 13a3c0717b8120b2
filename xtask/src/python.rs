//! The Python interpreter, and what is asked of it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Exits with failure on a Python too old for today's pip.
const IS_RECENT: &str = "import sys; sys.exit(sys.version_info < (3, 8))";

/// Prints the folder of the installed torch package. It is looked up and not imported: the
/// import takes seconds and may fail for reasons that are not ours.
const TORCH_FOLDER: &str = "\
import importlib.util, os
found = importlib.util.find_spec('torch')
print(os.path.dirname(found.origin) if found and found.origin else '')";

/// An interpreter.
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// The active virtual environment's Python, else `python3`, else `python`.
    pub fn find() -> Result<Self> {
        let active = env::var_os("VIRTUAL_ENV").map(|home| Path::new(&home).join("bin/python"));
        let candidates = active.into_iter().chain(["python3".into(), "python".into()]);
        for program in candidates {
            let python = Self { program };
            if python.succeeds(&["-c", IS_RECENT]) {
                return Ok(python);
            }
        }
        bail!("found no Python 3.8 or newer (looked for `python3` and `python`)")
    }

    /// The interpreter at a path; whether it runs is seen when it is used.
    pub fn at(program: PathBuf) -> Self {
        Self { program }
    }

    /// The interpreter inside a virtual environment.
    pub fn of_environment(home: &Path) -> Self {
        Self::at(home.join("bin/python"))
    }

    /// A command that runs this interpreter.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null());
        command
    }

    /// `python -m pip …`, its progress on stderr.
    pub fn pip(&self) -> Result<Command> {
        if !self.succeeds(&["-m", "pip", "--version"]) {
            bail!(
                "`{} -m pip` does not run; install pip (Debian, Ubuntu: apt install python3-pip)",
                self.program.display()
            );
        }
        let mut command = self.command();
        command.args(["-m", "pip"]).stdout(std::io::stderr());
        Ok(command)
    }

    /// Where the torch package is installed, if it is.
    pub fn torch_folder(&self) -> Option<PathBuf> {
        let output = self.command().args(["-c", TORCH_FOLDER]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        Some(text.trim()).filter(|folder| !folder.is_empty()).map(PathBuf::from)
    }

    /// How the interpreter is called.
    pub fn name(&self) -> std::path::Display<'_> {
        self.program.display()
    }

    fn succeeds(&self, arguments: &[&str]) -> bool {
        let mut command = self.command();
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}
