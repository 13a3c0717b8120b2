//! Puts the tables of all shards together.
//!
//! Everything goes through one lazy scan over the shards' files, which holds a piece of them at a
//! time. A table that says of each row which item it is of is merged over all conditions; one that
//! does not, such as `outcome`, has a run folder for each condition, which `probe compare` takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use indicatif::ParallelProgressIterator;
use polars::prelude::*;
use rayon::prelude::*;

use crate::cli::output::{FormatArgs, bar, note};
use crate::run::{Manifest, RunFolder, link_or_copy};
use crate::suite::gap::summarise;
use crate::sweep::{Condition, Folder, Plan, Shard, ShardManifest, SweepError};
use crate::table::{
    OutcomeRow, OutcomeSummaryRow, Row, SweepConditionRow, SweepItemRow, SweepMergedRow,
    TableDeclaration, concatenate, declaration, frame, read_parquet, rows, scan, write_parquet,
};

/// The column by which a row says which item of the sweep it is of.
const SAMPLE: &str = "sample";

/// Most outcomes of a condition that rates are made of: they are held in memory for it.
const MOST_OUTCOMES: u64 = 1_000_000;

/// Merges a sweep into a run folder beside its own and prints which tables it has.
pub(super) fn run(plan: &Plan, folder: &Folder, format: &FormatArgs) -> Result<u8> {
    let out = match folder.root().parent() {
        Some(out) if !out.as_os_str().is_empty() => out,
        _ => Path::new("."),
    };
    let merge = Merge { plan, folder, shards: finished(plan, folder)? };
    let run = RunFolder::create(out, "sweep", &plan.spec.text)?;
    let mut merged = merge.tables_of_all(&run)?;
    write_parquet::<SweepConditionRow>(
        &mut frame(plan.condition_rows())?,
        &run.path("tables/sweep_conditions.parquet")?,
    )?;
    for condition in &plan.conditions {
        merged.extend(merge.tables_of(condition, &run)?);
    }
    let manifest = match plan.conditions.as_slice() {
        [only] => merge.manifest(only)?,
        _ => Manifest { schemas: crate::table::versions(), ..Manifest::new("sweep") },
    };
    let at = run.finish(manifest)?;
    for row in &mut merged {
        row.file = at.join(&row.file).display().to_string();
    }
    format.print(&frame(merged)?)?;
    let (items, shards) = (plan.items.len(), plan.shards.len());
    note(&format!("{items} items of {shards} shards: {}", at.display()));
    Ok(0)
}

/// The manifests of all shards.
fn finished(plan: &Plan, folder: &Folder) -> Result<Vec<ShardManifest>> {
    let bar = bar(plan.shards.len() as u64, "shards");
    let shards = plan.shards.par_iter().progress_with(bar.clone());
    let found: Vec<Option<ShardManifest>> =
        shards.map(|shard| folder.finished(shard)).collect::<Result<_, SweepError>>()?;
    bar.finish_and_clear();
    let missing: Vec<u32> = plan
        .shards
        .iter()
        .zip(&found)
        .filter(|(_, manifest)| manifest.is_none())
        .map(|(shard, _)| shard.number)
        .collect();
    if !missing.is_empty() {
        return Err(SweepError::Missing { missing, all: plan.shards.len() }.into());
    }
    Ok(found.into_iter().flatten().collect())
}

struct Merge<'a> {
    plan: &'a Plan,
    folder: &'a Folder,
    /// By number.
    shards: Vec<ShardManifest>,
}

impl Merge<'_> {
    /// Files of a table in all shards, or those of a condition, that have it.
    fn files(&self, table: &str, condition: Option<u32>) -> Vec<PathBuf> {
        let wanted = |shard: &&Shard| condition.is_none_or(|number| shard.condition == number);
        let has = |shard: &&Shard| self.shards[shard.number as usize].rows.contains_key(table);
        let file = |shard: &Shard| self.folder.place_of(shard).join(format!("{table}.parquet"));
        self.plan.shards.iter().filter(wanted).filter(has).map(file).collect()
    }

    /// Rows of each table, of all shards or those of a condition.
    fn heights(&self, condition: Option<u32>) -> BTreeMap<&str, u64> {
        let mut heights = BTreeMap::new();
        let of = |shard: &&ShardManifest| condition.is_none_or(|one| shard.condition == one);
        for (table, rows) in self.shards.iter().filter(of).flat_map(|shard| &shard.rows) {
            *heights.entry(table.as_str()).or_default() += rows;
        }
        heights
    }

    /// Whether every item of the plan is in the merged table, once, with all the rows it gave.
    fn check_items(&self, merged: &Path) -> Result<()> {
        let table = SweepItemRow::TABLE;
        let items = scan(&table, &[merged.to_owned()])?
            .select([col(SAMPLE), col("rows")])
            .collect_with_engine(Engine::Streaming)?
            .unwrap_single();
        let numbers: Vec<u32> = items.column(SAMPLE)?.u32()?.into_no_null_iter().collect();
        if let Some(problem) = first_difference(&numbers, self.plan.items.len() as u32) {
            bail!("{problem}; remove the shard's folder and resume");
        }
        let given: u64 = items.column("rows")?.u32()?.into_no_null_iter().map(u64::from).sum();
        let there: u64 = self
            .heights(None)
            .iter()
            .filter(|(name, _)| **name != table.name)
            .map(|(_, rows)| rows)
            .sum();
        if given != there {
            bail!("the items gave {given} rows and {there} are there; see `probe sweep status`");
        }
        Ok(())
    }

    /// The tables that are merged over all conditions.
    fn tables_of_all(&self, run: &RunFolder) -> Result<Vec<SweepMergedRow>> {
        let items = SweepItemRow::TABLE.name;
        let mut heights: Vec<(&str, u64)> = self.heights(None).into_iter().collect();
        // The small table of items comes first: what is wrong with them is said before the rest.
        heights.sort_by_key(|(name, _)| *name != items);
        let mut merged = Vec::new();
        for (name, rows) in heights {
            let table = declaration(name)?;
            if table.column(SAMPLE).is_none() {
                continue;
            }
            let file = file_of(name);
            write(table, &self.files(name, None), &run.path(&file)?, rows)?;
            if name == items {
                self.check_items(&run.path(&file)?)?;
            }
            merged.push(SweepMergedRow { condition: None, table: name.to_owned(), rows, file });
        }
        Ok(merged)
    }

    /// The tables of one condition whose rows do not say which item they are of.
    fn tables_of(&self, condition: &Condition, run: &RunFolder) -> Result<Vec<SweepMergedRow>> {
        let heights = self.heights(Some(condition.number));
        let mut merged = Vec::new();
        // The folder of the only condition is that of the sweep.
        let own = match self.plan.conditions.len() {
            1 => None,
            _ => {
                let spec = condition.options.to_string();
                Some(RunFolder::create(
                    &run.path("conditions/any")?.with_file_name(""),
                    "sweep",
                    &spec,
                )?)
            }
        };
        let into = own.as_ref().unwrap_or(run);
        for (name, rows) in heights {
            let table = declaration(name)?;
            if table.column(SAMPLE).is_some() {
                continue;
            }
            let file = file_of(name);
            let files = self.files(name, Some(condition.number));
            write(table, &files, &into.path(&file)?, rows)?;
            let number = Some(condition.number);
            merged.push(SweepMergedRow { condition: number, table: name.to_owned(), rows, file });
        }
        if merged.is_empty() {
            return Ok(merged);
        }
        merged.extend(self.rates(condition, into)?);
        self.link_images(condition, into)?;
        if let Some(own) = own {
            let at = own.finish(self.manifest(condition)?)?;
            let name = at.file_name().unwrap_or_default().to_string_lossy().into_owned();
            merged.iter_mut().for_each(|row| row.file = format!("conditions/{name}/{}", row.file));
        }
        Ok(merged)
    }

    /// Rates with intervals, where images were judged.
    fn rates(&self, condition: &Condition, into: &RunFolder) -> Result<Option<SweepMergedRow>> {
        let outcomes = self.heights(Some(condition.number)).get(OutcomeRow::TABLE.name).copied();
        let Some(outcomes) = outcomes else { return Ok(None) };
        if outcomes > MOST_OUTCOMES {
            tracing::warn!(
                "{outcomes} outcomes: no rates, which are made of {MOST_OUTCOMES} at most"
            );
            return Ok(None);
        }
        let path = into.path("tables/outcome.parquet")?;
        let outcomes: Vec<OutcomeRow> = rows(&read_parquet::<OutcomeRow>(&path)?)?;
        let file = "tables/outcome_summary.parquet".to_owned();
        let mut summary = frame(summarise(&outcomes)?)?;
        write_parquet::<OutcomeSummaryRow>(&mut summary, &into.path(&file)?)?;
        let table = OutcomeSummaryRow::TABLE.name.to_owned();
        let rows = summary.height() as u64;
        Ok(Some(SweepMergedRow { condition: Some(condition.number), table, rows, file }))
    }

    fn of_condition(&self, condition: &Condition) -> impl Iterator<Item = &ShardManifest> {
        self.shards.iter().filter(move |shard| shard.condition == condition.number)
    }

    fn link_images(&self, condition: &Condition, into: &RunFolder) -> Result<()> {
        for shard in self.of_condition(condition) {
            let place = self.folder.place_of(&self.plan.shards[shard.shard as usize]);
            let images =
                shard.manifest.files.iter().filter(|file| file.path.starts_with("images/"));
            for file in images {
                link_or_copy(&place.join(&file.path), &into.path(&file.path)?)?;
            }
        }
        Ok(())
    }

    /// How a condition ran: as its first shard says, with the prompts and seeds of all.
    fn manifest(&self, condition: &Condition) -> Result<Manifest> {
        let Some(first) = self.of_condition(condition).next() else {
            bail!("condition {} has no shard", condition.number);
        };
        let mut manifest = first.manifest.clone();
        let shards = self.plan.shards.iter().filter(|s| s.condition == condition.number);
        let items = || shards.clone().flat_map(|shard| self.plan.items_of(shard));
        manifest.set_prompts(items().filter_map(|item| item.asked.prompt.clone()).collect());
        if let Some(sampling) = &mut manifest.sampling {
            sampling.seeds = items().map(|item| item.asked.seed).collect();
        }
        Ok(manifest)
    }
}

/// Where a run folder has a table.
fn file_of(table: &str) -> String {
    format!("tables/{table}.parquet")
}

/// Merges files into one and makes sure that it has as many rows as they say.
fn write(table: &TableDeclaration, files: &[PathBuf], target: &Path, expected: u64) -> Result<()> {
    concatenate(table, files, target)?;
    let mut reader = ParquetReader::new(std::fs::File::open(target)?);
    let found = reader.num_rows()? as u64;
    if found != expected {
        bail!(
            "table {}: {found} rows, and the shards say {expected}; a shard was changed after it \
             was finished: remove its folder and resume",
            table.name
        );
    }
    Ok(())
}

/// The first number that is missing or double where all from 0 are expected in their order.
fn first_difference(numbers: &[u32], count: u32) -> Option<String> {
    for (expected, &found) in (0..count).zip(numbers) {
        match found.cmp(&expected) {
            std::cmp::Ordering::Less => return Some(format!("item {found} is there twice")),
            std::cmp::Ordering::Greater => return Some(format!("item {expected} is missing")),
            std::cmp::Ordering::Equal => {}
        }
    }
    match numbers.len() as u32 {
        found if found < count => Some(format!("item {found} is missing")),
        found if found > count => Some(format!("{} items are there twice", found - count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn what_is_missing_or_double_is_named() {
        assert_eq!(first_difference(&[0, 1, 2], 3), None);
        let says = |numbers: &[u32]| first_difference(numbers, 3).unwrap_or_default();
        assert!(says(&[0, 2]).contains("item 1 is missing"));
        assert!(says(&[0, 1]).contains("item 2 is missing"));
        assert!(says(&[0, 1, 1]).contains("item 1 is there twice"));
        assert!(says(&[0, 1, 2, 2]).contains("1 items are there twice"));
    }
}
