//! Runs of `probe` that chores make: for pages to be tried in a browser, for the gallery.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Calls `probe` from the repository's root.
pub struct Probe<'a> {
    pub workspace: &'a Workspace,
    pub program: PathBuf,
}

impl Probe<'_> {
    /// A command with these words; it says nothing on stdout.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.workspace.forget_cargo(&mut command);
        command.current_dir(self.workspace.root()).args(words);
        command
    }

    /// Makes a run with its folder below `out`; the run's folder.
    pub fn run(&self, words: &[&str], out: &Path) -> Result<PathBuf> {
        let mut command = self.command(words);
        command.arg("--out").arg(out).stdout(std::io::stderr());
        let status = command.status().with_context(|| self.program.display().to_string())?;
        // 1 and 3 are verdicts of comparisons, not failures.
        if !matches!(status.code(), Some(0 | 1 | 3)) {
            bail!("probe {} failed; its message is above", words.join(" "));
        }
        only_run(out)
    }
}

/// The one folder in an otherwise empty place.
pub fn only_run(runs: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(runs).with_context(|| format!("no runs in {}", runs.display()))?;
    let mut found = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    found.next().with_context(|| format!("{} holds no run", runs.display()))
}

/// An empty folder at this place.
pub fn emptied(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
