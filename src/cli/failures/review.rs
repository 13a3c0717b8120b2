//! `probe failures review`: a stored run beside what a person says of its images.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::suite_args::{self, Found};
use crate::cli::image_file::read_image;
use crate::cli::output::{OutputArgs, note, quoted};
use crate::probe::failures::read_overrides;
use crate::probe::stored::keep_facts;
use crate::report::{Fact, Rerun};
use crate::run::{Manifest, RunFolder, StoredRun};
use crate::table::{HumanRow, OutcomeRow, Row, frame, read_parquet, rows};

const EXAMPLES: &str = "\
The file has a line for each image that a person looked at:

  item,seed,holds,note
  pair-001,0,true,the cube is there but dark
  pair-002,3,false,

The judge's word stays where it is: the person's is in the table `human`, beside it.

Example:
  probe failures review runs/20261123T101500Z-failures-1a2b3c4d --overrides mine.csv";

/// A stored run's report anew, with what a person says of single images beside the judge
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Run folder of `probe failures`
    run: PathBuf,
    /// CSV file with the columns item, seed, holds and, if you like, suite and note
    #[arg(long, value_name = "FILE")]
    overrides: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let stored = StoredRun::open(&args.run)?;
    let outcomes: Vec<OutcomeRow> = table(&stored)?.with_context(|| {
        format!("{}: no table outcome; give a run of probe failures", args.run.display())
    })?;
    let human = match &args.overrides {
        Some(path) => read_overrides(path, &outcomes)?,
        None => table::<HumanRow>(&stored)?.unwrap_or_default(),
    };
    let found = Found {
        atoms: table(&stored)?.unwrap_or_default(),
        seen: table(&stored)?.unwrap_or_default(),
        scores: table(&stored)?.unwrap_or_default(),
        outcomes,
        human,
    };
    let mut spec = toml::Table::new();
    spec.insert("kind".to_owned(), "failures".into());
    spec.insert("version".to_owned(), 1.into());
    let mut arguments = vec!["review".to_owned(), args.run.display().to_string()];
    spec.insert("arguments".to_owned(), arguments.clone().into());
    if let Some(path) = &args.overrides {
        spec.insert("overrides".to_owned(), path.display().to_string().into());
        arguments.push(format!("--overrides={}", path.display()));
    }
    let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
    let spec = toml::to_string_pretty(&spec)?;
    let rerun =
        Rerun { command: format!("probe failures {}", words.join(" ")), spec: spec.clone() };
    let folder = RunFolder::create(&args.output.out, "review", &spec)?;
    suite_args::write_tables(&folder, &found)?;
    let image = |row: &OutcomeRow| {
        let file = stored.file(row.image.as_deref()?).ok()?;
        read_image(&file).ok().map(|read| read.image)
    };
    let mut manifest = Manifest::new("review");
    let facts = facts(&stored);
    keep_facts(&mut manifest, &facts);
    suite_args::write_report(&folder, &found, (facts, rerun), &image)?;
    manifest.schemas = crate::table::versions();
    manifest.judge_version.clone_from(&stored.manifest().judge_version);
    let at = folder.finish(manifest)?;
    args.output.format.print(&frame(found.human)?)?;
    note(&format!("report and tables: {}", at.display()));
    Ok(0)
}

/// The rows of a table, if the run has it.
fn table<R: Row>(stored: &StoredRun) -> Result<Option<Vec<R>>> {
    match stored.table(R::TABLE.name) {
        Ok(path) => Ok(Some(rows(&read_parquet::<R>(&path)?)?)),
        Err(crate::run::RunError::NoSuchFile { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn facts(stored: &StoredRun) -> Vec<Fact> {
    let manifest = stored.manifest();
    let model = manifest.model.as_ref().map(|model| model.name.clone());
    let sampler = manifest.sampling.as_ref().map(|s| format!("{}, {} steps", s.sampler, s.steps));
    let all = [
        ("run", Some(manifest.run.clone())),
        ("model", model),
        ("sampler", sampler),
        ("judge", manifest.judge_version.clone()),
    ];
    let fact =
        |(label, value): (&str, Option<String>)| Some(Fact { label: label.into(), value: value? });
    all.into_iter().filter_map(fact).collect()
}
