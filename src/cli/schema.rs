//! `probe schema`: the tables' columns.

use anyhow::Result;

use super::output::FormatArgs;
use crate::table;

const EXAMPLES: &str = "\
Examples:
  probe schema                     every column of every table
  probe schema attention           those of one table
  probe schema schedule --format json";

/// Describe the tables: columns, units, ranges.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Name of a table, as in `tables/<TABLE>.parquet` [default: all]
    table: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    args.format.print(&table::schema(args.table.as_deref())?)?;
    Ok(0)
}
