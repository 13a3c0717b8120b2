//! `probe suites`: which suites there are, what is in them, and whether one is fine.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};

use super::output::{FormatArgs, line};
use crate::suite::{Item, Suite, built_in, built_in_names, import, open};
use crate::table::{SuiteRow, frame};

const EXAMPLES: &str = "\
A suite is TOML: name, version, description, source, licence, seeds, and items with id, prompt and
category; docs/guide/how-to/suites.md describes every field. `probe failures --suite` runs it.

Examples:
  probe suites                        # those that are built in
  probe suites show counting > mine.toml
  probe suites check mine.toml
  probe suites import geneval evaluation_metadata.jsonl > geneval.toml
  probe suites import visor > visor.toml";

/// Digits of a digest that are shown.
const SHORT_DIGITS: usize = 8;

/// List, show and check suites of prompts.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the built-in suites
    List {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Print a built-in suite as TOML
    Show {
        /// Its name
        #[arg(value_name = "NAME")]
        suite: String,
    },
    /// Make a suite of published prompts, as TOML on stdout
    Import {
        /// Whose prompts
        #[arg(value_enum)]
        of: Published,
        /// The file its authors publish: evaluation_metadata.jsonl, PartiPrompts.tsv; none for VISOR
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Check suites without running them; the exit code is 1 if any is wrong
    Check {
        /// Their names or files
        #[arg(value_name = "NAME|FILE", required = true)]
        suites: Vec<String>,
    },
}

/// Prompts that others have published.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Published {
    /// GenEval's 553 (MIT)
    Geneval,
    /// PartiPrompts' 1,632 (Apache-2.0)
    Parti,
    /// VISOR's 25,280 of SR2D (MIT), generated here
    Visor,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    match args.what {
        None => list(&args.format),
        Some(What::List { format }) => list(&format),
        Some(What::Show { suite }) => {
            match built_in(&suite) {
                Some(text) => line(text.trim_end())?,
                // A path, or nothing at all: either way opening it says what is wrong.
                None => line(toml::to_string_pretty(&open(&suite)?)?.trim_end())?,
            }
            Ok(0)
        }
        Some(What::Import { of, file }) => {
            let suite = match (of, &file) {
                (Published::Geneval, Some(file)) => import::geneval(file)?,
                (Published::Parti, Some(file)) => import::parti(file)?,
                (Published::Visor, None) => import::visor(),
                (Published::Visor, Some(_)) => {
                    bail!("VISOR's prompts are generated; leave out FILE")
                }
                (_, None) => bail!("name the file that its authors publish; --help lists them"),
            };
            line(toml::to_string(&suite)?.trim_end())?;
            Ok(0)
        }
        Some(What::Check { suites }) => check(&suites),
    }
}

fn list(format: &FormatArgs) -> Result<u8> {
    let suites: Vec<SuiteRow> =
        built_in_names().into_iter().map(|name| Ok(row(&open(name)?))).collect::<Result<_>>()?;
    format.print(&frame(suites)?)?;
    Ok(0)
}

fn check(suites: &[String]) -> Result<u8> {
    let mut code = 0;
    for name in suites {
        match open(name) {
            Ok(suite) => {
                let (prompts, images) = (suite.items.len(), suite.images());
                line(&format!("{name}: fine, {prompts} prompts, {images} images"))?;
            }
            Err(error) => {
                code = 1;
                line(&error.to_string())?;
            }
        }
    }
    Ok(code)
}

fn row(suite: &Suite) -> SuiteRow {
    let mut categories: Vec<&str> = suite.items.iter().map(|i| i.category.as_str()).collect();
    categories.sort_unstable();
    categories.dedup();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let decided_by: BTreeSet<&str> = suite.items.iter().map(Item::decided_by).collect();
    SuiteRow {
        suite: suite.name.clone(),
        version: suite.version,
        prompts: count(suite.items.len()),
        images: count(suite.images()),
        categories: categories.join(", "),
        decided_by: decided_by.into_iter().collect::<Vec<_>>().join("; "),
        licence: suite.licence.clone(),
        hash: suite.hash().chars().take(SHORT_DIGITS).collect(),
        description: suite.description.clone(),
    }
}
