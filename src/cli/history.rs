//! `probe history`: how shares went over runs, or over checkpoints of a training run.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use polars::prelude::DataFrame;

use super::compare::parse_significance;
use super::output::{Format, OutputArgs, note};
use crate::probe::history::emergence::{Emergence, Settings, emergence};
use crate::probe::history::{
    Order, ReportInput, Series, Trends, findings, open, report, series, trends,
};
use crate::report::Rerun;
use crate::run::{Manifest, RunFolder};
use crate::table::{
    ChangePointRow, EmergenceOrderRow, EmergenceRow, EmergenceTimeRow, Row, TrendRow, frame,
    write_parquet,
};

const EXAMPLES: &str = "\
RUNS are run folders of `probe failures`, or folders of them. Runs that ask the same in the same way
(suite, judge, sampler, steps, guidance, size, edits) are a series; images that are in every run of
it are followed. A change point is a run from which on a category does better or worse, by a test
with prompts as the independent units.

Over checkpoints of a training run, made with `probe failures --training-step N`, the same command
shows what is learned first: the share of every sort of atom, everything together (joint), joint
less the product of the single attributes, and when each passes one half (t50).

Examples:
  probe history runs
  probe history runs --print changes --format json
  probe history checkpoints --by training-steps --print times
  probe history c1 c2 c3 --by training-steps --steps 500,1000,2000 \\
      --sequence colour,shape,binding,relation_strict";

/// Trends over runs, with change points; over checkpoints, what is learned first
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Run folders of `probe failures`, or folders of them
    #[arg(required = true, value_name = "RUNS")]
    runs: Vec<String>,
    /// What runs are put in order by
    #[arg(long, value_enum, default_value_t = By::Time)]
    by: By,
    /// Training steps of the runs in the order given, where they do not say themselves
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    steps: Vec<u64>,
    /// Level of the tests, for all categories together
    #[arg(long, value_name = "SHARE", default_value = "0.05", value_parser = parse_significance)]
    significance: f64,
    /// Share from which on something counts as learned
    #[arg(long, value_name = "SHARE", default_value = "0.5", value_parser = parse_level)]
    level: f64,
    /// Sorts of atoms whose order is tested, in the order expected [default:
    /// colour,shape,binding,relation_strict, as far as they are asked for]
    #[arg(long, value_name = "KIND,KIND,…", value_delimiter = ',')]
    sequence: Vec<String>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Printed::Trend)]
    print: Printed,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// When they were begun
    Time,
    /// Optimiser steps of their models' training
    TrainingSteps,
    /// Images of their models' training
    TrainingImages,
}

impl By {
    fn order(self) -> Order {
        match self {
            By::Time => Order::Time,
            By::TrainingSteps => Order::TrainingSteps,
            By::TrainingImages => Order::TrainingImages,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Printed {
    /// Shares by category and run
    Trend,
    /// Change points
    Changes,
    /// Shares of every sort of atom by checkpoint, joint, product and product gap
    Emergence,
    /// When each sort of atom passes the level
    Times,
    /// Which of two sorts of atoms comes first
    Order,
}

fn parse_level(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("a level is a share between 0 and 1, such as 0.5".to_owned()),
    }
}

/// The tables of a history.
struct Tables {
    trend: DataFrame,
    changes: DataFrame,
    emergence: DataFrame,
    times: DataFrame,
    order: DataFrame,
}

/// Columns of a trend that a terminal has room for.
const SHORT_TREND: [&str; 8] =
    ["series", "category", "place", "run", "training_step", "share", "low", "high"];
/// Columns of change points that a terminal has room for.
const SHORT_CHANGES: [&str; 11] = [
    "series",
    "category",
    "direction",
    "place",
    "place_low",
    "place_high",
    "before",
    "after",
    "difference",
    "low",
    "high",
];

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let order = args.by.order();
    let readings = open(&args.runs, &args.steps)?;
    let (all, alone) = series(readings, order)?;
    let kinds = args.sequence.clone();
    let settings = Settings { order, level: args.level, kinds, significance: args.significance };
    let of_trend: Vec<Trends> =
        all.iter().map(|one| trends(one, args.significance)).collect::<Result<_, _>>()?;
    let of_training: Vec<Emergence> = match order {
        Order::Time => Vec::new(),
        _ => all.iter().map(|one| emergence(one, &settings)).collect::<Result<_, _>>()?,
    };
    let tables = tables(&of_trend, &of_training)?;
    let rerun = Rerun { command: command(&args), spec: spec(&args)? };
    let input = ReportInput {
        series: &all,
        trends: &of_trend,
        emergence: &of_training,
        order,
        alone: &alone,
        rerun,
    };
    let at = write_run(&args, &input, &tables)?;
    args.output.format.print(&shown(&args, tables)?)?;
    for finding in findings(&input) {
        note(&finding.sentence);
    }
    tell_of_gaps(&all, &of_trend, &alone);
    note(&format!("report and tables: {}", at.display()));
    Ok(0)
}

fn tables(of_trend: &[Trends], of_training: &[Emergence]) -> Result<Tables> {
    Ok(Tables {
        trend: frame(of_trend.iter().flat_map(|one| one.trend.iter().cloned()))?,
        changes: frame(of_trend.iter().flat_map(|one| one.changes.iter().cloned()))?,
        emergence: frame(of_training.iter().flat_map(|one| one.curves.iter().cloned()))?,
        times: frame(of_training.iter().flat_map(|one| one.times.iter().cloned()))?,
        order: frame(of_training.iter().flat_map(|one| one.order.iter().cloned()))?,
    })
}

/// The table asked for; a terminal has no room for all columns.
fn shown(args: &Args, tables: Tables) -> Result<DataFrame> {
    let short = args.output.format.format == Format::Table;
    let all = match args.print {
        Printed::Trend if short => return Ok(tables.trend.select(SHORT_TREND)?),
        Printed::Changes if short => return Ok(tables.changes.select(SHORT_CHANGES)?),
        Printed::Trend => tables.trend,
        Printed::Changes => tables.changes,
        Printed::Emergence => tables.emergence,
        Printed::Times => tables.times,
        Printed::Order => tables.order,
    };
    Ok(all)
}

/// The run folder: tables, figures and report.
fn write_run(args: &Args, input: &ReportInput<'_>, tables: &Tables) -> Result<PathBuf> {
    let folder = RunFolder::create(&args.output.out, "history", &input.rerun.spec)?;
    write::<TrendRow>(&folder, &tables.trend)?;
    write::<ChangePointRow>(&folder, &tables.changes)?;
    if !input.emergence.is_empty() {
        write::<EmergenceRow>(&folder, &tables.emergence)?;
        write::<EmergenceTimeRow>(&folder, &tables.times)?;
        write::<EmergenceOrderRow>(&folder, &tables.order)?;
    }
    let page = report(input)?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    folder.write("report.json", page.to_json()?.as_bytes())?;
    let mut manifest = Manifest::new("history");
    manifest.schemas = crate::table::versions();
    Ok(folder.finish(manifest)?)
}

fn write<R: Row>(folder: &RunFolder, table: &DataFrame) -> Result<()> {
    let path = folder.path(&format!("tables/{}.parquet", R::TABLE.name))?;
    Ok(write_parquet::<R>(&mut table.clone(), &path)?)
}

fn tell_of_gaps(all: &[Series], of_trend: &[Trends], alone: &[String]) {
    if !alone.is_empty() {
        note(&format!("alone in what they ask, and left out: {}", alone.join(", ")));
    }
    for (series, trends) in all.iter().zip(of_trend) {
        if trends.left_out > 0 {
            let (number, count) = (series.number, trends.left_out);
            note(&format!("series {number}: {count} images are not in every run, or undecided"));
        }
    }
}

/// Options and their values, as a spec and a command line have them.
fn options(args: &Args) -> Vec<(&'static str, Vec<String>)> {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map(|value| value.get_name().to_owned()).into_iter().collect()
    };
    let all = [
        ("by", name(args.by.to_possible_value())),
        ("steps", args.steps.iter().map(u64::to_string).collect()),
        ("significance", vec![args.significance.to_string()]),
        ("level", vec![args.level.to_string()]),
        ("sequence", args.sequence.clone()),
        ("print", name(args.print.to_possible_value())),
    ];
    all.into_iter().filter(|(_, values): &(_, Vec<String>)| !values.is_empty()).collect()
}

fn spec(args: &Args) -> Result<String> {
    super::compare::spec_of("history", &args.runs, options(args), false)
}

fn command(args: &Args) -> String {
    super::compare::command_of("history", &args.runs, options(args), false)
}
