//! What a sweep would come to.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use indicatif::{DecimalBytes, HumanDuration};
use tempfile::TempDir;

use super::kinds::{Kind, Opener, Place};
use crate::cli::message;
use crate::cli::output::{Counted, FormatArgs, note};
use crate::sweep::{Plan, Shard};
use crate::table::{SweepItemRow, SweepShardRow, frame};

/// What one item took.
struct Cost {
    seconds: f64,
    bytes: u64,
}

/// Prints the shards with an estimate from the first item.
pub(super) fn run(plan: &Plan, kind: &Kind, format: &FormatArgs) -> Result<u8> {
    let cost = {
        let _counted = Counted::new();
        first_item(plan, kind)
    };
    if let Err(error) = &cost {
        note(&format!("no estimate, the first item does not run here: {}", message(error)));
    }
    let per_item = cost.as_ref().ok();
    let row = |shard: &Shard| SweepShardRow {
        shard: shard.number,
        condition: shard.condition,
        items: shard.items.len() as u32,
        done: 0,
        state: "missing".to_owned(),
        seconds: per_item.map(|cost| cost.seconds * shard.items.len() as f64),
        reason: None,
        log: None,
    };
    format.print(&frame(plan.shards.iter().map(row))?)?;
    let (items, conditions) = (plan.items.len(), plan.conditions.len());
    note(&format!("{items} items: {conditions} conditions in {} shards", plan.shards.len()));
    if let Some(Cost { seconds, bytes }) = per_item {
        let all = std::time::Duration::from_secs_f64(seconds * items as f64);
        note(&format!(
            "about {} one after the other, and {}: the first item took {seconds:.3} s and {}; \
             items that run at once take less each, other conditions more or less",
            HumanDuration(all),
            DecimalBytes(bytes * items as u64),
            DecimalBytes(*bytes)
        ));
    }
    Ok(0)
}

/// Runs the first item once to warm up and once to be timed.
fn first_item(plan: &Plan, kind: &Kind) -> Result<Cost> {
    let shard = plan.shards.first().context("the sweep has no shard")?;
    let items = &plan.items_of(shard)[..1];
    let mut opener = Opener::new(plan, kind, None);
    let work = opener.work(plan.condition_of(shard))?;
    work.check(items)?;
    let mut cost = Cost { seconds: 0.0, bytes: 0 };
    for _ in 0..2 {
        let folder = TempDir::new().context("cannot make a temporary folder")?;
        let path = |file: &str| {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
            Ok(path)
        };
        let began = Instant::now();
        let mut given = work.run(items, &Place { run: plan.folder_name(), path: &path })?;
        let seconds = began.elapsed().as_secs_f64();
        let rows = items.iter().map(|item| plan.item_row(shard, item, given.rows[0], seconds));
        given.tables.add::<SweepItemRow>(rows)?;
        given.tables.write(|name| folder.path().join(format!("{name}.parquet")))?;
        cost = Cost { seconds, bytes: size(folder.path())? };
    }
    Ok(cost)
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        bytes += if path.is_dir() { size(&path)? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
