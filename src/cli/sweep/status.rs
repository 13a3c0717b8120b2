//! Where the shards of a sweep stand.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;

use crate::cli::output::{Format, FormatArgs, note};
use crate::sweep::slurm::{self, Queued};
use crate::sweep::{Folder, Plan, Shard, ShardState, SweepError};
use crate::table::{SweepShardRow, frame};

/// States in the order in which they are counted, with the words for them.
const STATES: [&str; 8] =
    ["done", "running", "queued", "held", "failed", "begun", "damaged", "missing"];

/// Prints the state of every shard; on a terminal, of those that are not done.
pub(super) fn run(plan: &Plan, folder: &Folder, format: &FormatArgs) -> Result<u8> {
    let cluster = Cluster::ask(folder)?;
    let rows: Vec<SweepShardRow> =
        plan.shards.iter().map(|shard| row(folder, shard, &cluster)).collect::<Result<_>>()?;
    let counts = STATES.map(|state| (state, rows.iter().filter(|row| row.state == state).count()));
    let told: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let items: u32 = rows.iter().map(|row| row.done).sum();
    let shown: Vec<SweepShardRow> = match format.format {
        Format::Table => rows.iter().filter(|row| row.state != "done").cloned().collect(),
        _ => rows.clone(),
    };
    if !(shown.is_empty() && format.format == Format::Table) {
        format.print(&frame(shown)?)?;
    }
    note(&format!(
        "{} shards: {}; {items} of {} items",
        rows.len(),
        told.join(", "),
        plan.items.len()
    ));
    Ok(0)
}

/// What is left to do of some shards.
pub(super) struct Left<'a> {
    /// Those that are neither done nor on their way.
    pub(super) missing: Vec<&'a Shard>,
    /// Tasks that wait until they are released.
    pub(super) held: Vec<Queued>,
}

/// What is left of these shards; without Slurm none is on its way there.
pub(super) fn left<'a>(folder: &Folder, shards: &[&'a Shard], slurm: bool) -> Result<Left<'a>> {
    let cluster = if slurm { Cluster::ask(folder)? } else { Cluster::default() };
    let mut left = Left { missing: Vec::new(), held: Vec::new() };
    for shard in shards {
        match row(folder, shard, &cluster)?.state.as_str() {
            "done" | "running" | "queued" => {}
            "held" => left.held.extend(cluster.queue.get(&shard.number).cloned()),
            _ => left.missing.push(*shard),
        }
    }
    Ok(left)
}

/// What is known of the shards that were submitted.
#[derive(Default)]
struct Cluster {
    queue: BTreeMap<u32, Queued>,
    logs: BTreeMap<u32, String>,
}

impl Cluster {
    fn ask(folder: &Folder) -> Result<Self, SweepError> {
        let arrays = slurm::recorded(folder)?;
        let logs = slurm::logs(folder, &arrays);
        Ok(Self { queue: slurm::queue(&arrays)?, logs })
    }
}

fn row(folder: &Folder, shard: &Shard, cluster: &Cluster) -> Result<SweepShardRow> {
    let log = cluster.logs.get(&shard.number).cloned();
    let mut row = SweepShardRow {
        shard: shard.number,
        condition: shard.condition,
        items: shard.items.len() as u32,
        done: 0,
        state: String::new(),
        seconds: None,
        reason: None,
        log,
    };
    let state = folder.state(shard)?;
    let is_done = matches!(state, ShardState::Done(_));
    let name = match state {
        ShardState::Done(manifest) => {
            (row.done, row.seconds) = (row.items, Some(manifest.seconds));
            "done"
        }
        ShardState::Running(kept) => {
            row.done = kept;
            "running"
        }
        ShardState::Failed(failure, kept) => {
            (row.done, row.reason) = (kept, Some(failure.reason));
            "failed"
        }
        ShardState::Begun(kept) => {
            row.done = kept;
            "begun"
        }
        ShardState::Damaged => "damaged",
        ShardState::Missing => "missing",
    };
    let queued = cluster.queue.get(&shard.number).filter(|_| !is_done);
    if let Some(held) = queued.filter(|queued| queued.is_held()) {
        row.state = "held".to_owned();
        row.reason = Some(format!("Slurm: {}; `probe sweep resume` lets it go", held.reason));
        return Ok(row);
    }
    row.state = match (queued.map(|queued| queued.state.as_str()), name) {
        (Some("RUNNING" | "COMPLETING"), _) => "running",
        (Some(_), _) => "queued",
        // Its task is over and left nothing but its log.
        (None, "begun" | "missing") if row.log.is_some() => "failed",
        (None, name) => name,
    }
    .to_owned();
    if row.state == "failed" && row.reason.is_none() {
        row.reason = row.log.as_deref().and_then(|log| last_line(folder, log));
    }
    Ok(row)
}

/// The last thing a log says.
fn last_line(folder: &Folder, log: &str) -> Option<String> {
    let text = fs::read_to_string(folder.root().join(log)).ok()?;
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(line.trim().to_owned())
}
