//! Tables of sweeps: what is run, where it stands, what came of it.

use super::{ANY, NOT_NEGATIVE};
use crate::table::declare::table;
use crate::table::{Row, TableDeclaration};

table! {
    /// One item of a sweep. Other tables of the sweep refer to it by `sample`.
    SweepItemRow, "sweep_items", version 1;
    /// Number of the item in the sweep, from 0.
    sample: u32, "", ANY;
    /// First digits of the SHA-256 of all that it asks: items are in the order of these within
    /// their condition.
    key: String, "", ANY;
    /// Number of the condition it runs under, from 0; the table `sweep_conditions` has them.
    condition: u32, "", ANY;
    /// Number of the shard it is part of, from 0.
    shard: u32, "", ANY;
    /// The suite, or the category of the world's scenes; null where prompts were listed.
    suite: Option<String>, "", ANY;
    /// The prompt's id in the suite.
    suite_item: Option<String>, "", ANY;
    /// The prompt; null for a scene that is yet to be drawn.
    prompt: Option<String>, "", ANY;
    /// The prompt whose run is changed, where there are two.
    corrupted: Option<String>, "", ANY;
    /// Seed of its noise, or of its scene.
    seed: u64, "", ANY;
    /// Rows that it has in all other tables together.
    rows: u32, "row", ANY;
    /// Time it took: of items that ran at once, an even share.
    seconds: f64, "s", NOT_NEGATIVE;
}

table! {
    /// One option of one condition of a sweep: what the grid says, one row an option.
    SweepConditionRow, "sweep_conditions", version 1;
    /// Number of the condition, from 0.
    condition: u32, "", ANY;
    /// The option, as in the spec.
    option: String, "", ANY;
    /// Its value; several are between semicolons.
    value: String, "", ANY;
}

table! {
    /// One shard of a sweep and where it stands: what `probe sweep status` and `--dry-run` print.
    SweepShardRow, "sweep_shards", version 1;
    /// Number of the shard, from 0.
    shard: u32, "", ANY;
    /// Number of its condition, from 0.
    condition: u32, "", ANY;
    /// Items in it.
    items: u32, "item", ANY;
    /// Those of them that are kept.
    done: u32, "item", ANY;
    /// `done`, `running`, `queued`, `held` (in the queue until `resume` lets it go), `failed`,
    /// `begun` (cut short, goes on where it was), `damaged` (is made again) or `missing`.
    state: String, "", ANY;
    /// Seconds it took, or as an estimate will take; null where nothing is known.
    seconds: Option<f64>, "s", NOT_NEGATIVE;
    /// Why it failed.
    reason: Option<String>, "", ANY;
    /// Where more is said: its log.
    log: Option<String>, "", ANY;
}

table! {
    /// One file that `probe sweep merge` wrote.
    SweepMergedRow, "sweep_merged", version 1;
    /// Number of the condition whose rows it has; null where it has those of all.
    condition: Option<u32>, "", ANY;
    /// The table.
    table: String, "", ANY;
    /// Rows in it.
    rows: u64, "row", ANY;
    /// The file.
    file: String, "", ANY;
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] =
    &[SweepItemRow::TABLE, SweepConditionRow::TABLE, SweepShardRow::TABLE, SweepMergedRow::TABLE];
