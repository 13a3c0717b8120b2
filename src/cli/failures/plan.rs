//! `probe failures plan`: how many prompts and images a wanted effect needs.

use anyhow::Result;

use crate::cli::compare::{parse_share, parse_significance};
use crate::cli::output::{FormatArgs, note};
use crate::probe::compare::Side;
use crate::probe::history::{Order, open, series};
use crate::probe::plan::{Store, Wanted};
use crate::table::frame;

const EXAMPLES: &str = "\
RUNS are run folders of `probe failures`, or folders of them: runs that ask the same show how much
outcomes change from one to the next, and how alike the changes of one prompt's images are. One run
alone shows it by the seeds of its prompts, which differ more than two runs on shared seeds.

Examples:
  probe failures plan runs --effect 0.05
  probe failures plan runs/20261123T101500Z-failures-1a2b3c4d --effect 0.1 --images-per-prompt 4
  probe failures plan runs --a-a --format json       # how often the gate cries wolf";

/// How many prompts and images a wanted effect needs
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Run folders of `probe failures`, or folders of them
    #[arg(required = true, value_name = "RUNS")]
    runs: Vec<String>,
    /// Loss of share that is to be seen
    #[arg(long, value_name = "SHARE", default_value = "0.05", value_parser = parse_share)]
    effect: f64,
    /// Chance to see it
    #[arg(long, value_name = "SHARE", default_value = "0.8", value_parser = parse_share)]
    power: f64,
    /// Level of the tests, for all categories together
    #[arg(long, value_name = "SHARE", default_value = "0.05", value_parser = parse_significance)]
    significance: f64,
    /// Numbers of images a prompt to plan for
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "1,2,4,8", value_parser = clap::value_parser!(u32).range(1..=1000))]
    images_per_prompt: Vec<u32>,
    /// Print instead how often the gate raises an alarm over these runs though nothing changed
    #[arg(long)]
    a_a: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let mut readings = open(&args.runs, &[])?;
    let store = if readings.len() == 1 {
        let alone = readings.remove(0);
        Store::of(&[&alone.side])?
    } else {
        let (all, alone) = series(readings, Order::Time)?;
        let left = all.len() - 1 + alone.len();
        if left > 0 {
            note(&format!(
                "the longest series is planned from; {left} other series or runs ask \
                           something else"
            ));
        }
        let sides: Vec<&Side> = all[0].readings.iter().map(|reading| &reading.side).collect();
        Store::of(&sides)?
    };
    if store.basis() == "seeds" {
        note("one run: its variance is that between seeds, more than between runs on shared seeds");
    }
    let alarms = store.false_alarms(args.significance)?;
    if args.a_a {
        args.format.print(&frame([alarms])?)?;
        return Ok(0);
    }
    let wanted = Wanted {
        effect: args.effect,
        significance: args.significance,
        power: args.power,
        images: args.images_per_prompt.clone(),
    };
    args.format.print(&frame(store.plan(&wanted)?)?)?;
    note(&format!(
        "{} of {} A/A comparisons of these images raised an alarm: {:.1} % [{:.1}, {:.1}] where {} % \
         are allowed",
        alarms.alarms,
        alarms.comparisons,
        alarms.share * 100.0,
        alarms.low * 100.0,
        alarms.high * 100.0,
        args.significance * 100.0
    ));
    Ok(0)
}
