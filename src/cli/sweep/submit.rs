//! Sends shards to Slurm.

use std::env;

use anyhow::{Context, Result};

use crate::cli::defaults;
use crate::cli::output::{line, note};
use crate::sweep::slurm::{self, Launch};
use crate::sweep::{Folder, Plan, Shard};

/// Submits these shards.
pub(super) fn run(plan: &Plan, folder: &Folder, shards: &[&Shard]) -> Result<u8> {
    let numbers: Vec<u32> = shards.iter().map(|shard| shard.number).collect();
    let engine = env::current_exe().context("cannot find this program")?;
    // Users call `probe`, which starts the engine beside it.
    let program = engine.with_file_name("probe");
    let program = if program.is_file() { program } else { engine };
    let directory = env::current_dir().context("cannot find the current folder")?;
    let launch = Launch { program, directory };
    let settings = plan.spec.slurm.clone().or(defaults::slurm(&launch.directory)?);
    for array in slurm::submit(folder, &settings, &numbers, &launch)? {
        note(&format!("job {}: {} shards", array.job, array.shards.len()));
    }
    note(&format!("`probe sweep status {}` says where they stand", folder.root().display()));
    line(&folder.root().display().to_string())?;
    Ok(0)
}

/// Lets the sweep's held tasks go: they are on their way and are not submitted again.
pub(super) fn release_held(folder: &Folder) -> Result<()> {
    match slurm::release_held(&slurm::recorded(folder)?)? {
        0 => {}
        1 => note("a task that Slurm held is released"),
        count => note(&format!("{count} tasks that Slurm held are released")),
    }
    Ok(())
}
