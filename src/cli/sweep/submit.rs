//! Sends shards to Slurm.

use std::env;

use anyhow::{Context, Result};

use crate::cli::output::{line, note};
use crate::sweep::slurm::{self, Launch};
use crate::sweep::{Folder, Plan, Shard};

/// Submits what is not done of these shards.
pub(super) fn run(plan: &Plan, folder: &Folder, shards: &[&Shard]) -> Result<u8> {
    let mut numbers = Vec::new();
    for shard in shards {
        if folder.finished(shard)?.is_none() {
            numbers.push(shard.number);
        }
    }
    if numbers.is_empty() {
        note("every shard is done");
        line(&folder.root().display().to_string())?;
        return Ok(0);
    }
    let engine = env::current_exe().context("cannot find this program")?;
    // Users call `probe`, which starts the engine beside it.
    let program = engine.with_file_name("probe");
    let program = if program.is_file() { program } else { engine };
    let directory = env::current_dir().context("cannot find the current folder")?;
    let launch = Launch { program, directory };
    for array in slurm::submit(folder, &plan.spec.slurm, &numbers, &launch)? {
        note(&format!("job {}: {} shards", array.job, array.shards.len()));
    }
    note(&format!("`probe sweep status {}` says where they stand", folder.root().display()));
    line(&folder.root().display().to_string())?;
    Ok(0)
}
