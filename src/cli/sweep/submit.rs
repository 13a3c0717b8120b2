//! Sends shards to Slurm.

use std::env;

use anyhow::{Context, Result};

use crate::cli::defaults;
use crate::cli::output::{line, note};
use crate::sweep::slurm::{self, Launch, Queued};
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

/// Lets held tasks go.
pub(super) fn release(held: &[Queued]) -> Result<()> {
    slurm::release(held)?;
    note(&format!("shards that Slurm held, released: {}", held.len()));
    Ok(())
}
