//! `probe sweep`: a grid of prompts, seeds and options, run in shards.

mod dry_run;
mod kinds;
mod merge;
mod run;
mod status;
mod submit;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};

use super::output::{FormatArgs, line, note};
use super::steps;
use crate::sweep::{Folder, Plan, Shard, Spec};
use kinds::Kind;
use status::Left;

const EXAMPLES: &str = "\
A sweep's spec is TOML: `of` is the kind of probe (failures, trace, patch, timesteps, world), every
combination of the lists in [grid] is run, [options] are the same for all, and [slurm], there or in
probe.toml, says how it runs on a cluster (docs/guide/how-to/sweeps.md). What is done is kept: the
same command goes on where a killed one stopped, and several processes share the work.

Examples:
  probe sweep probes/sweeps/guidance.toml --dry-run   # how many, how long, how large
  probe sweep probes/sweeps/guidance.toml             # here; Ctrl-C, and again to go on
  probe sweep probes/sweeps/guidance.toml --engine slurm
  probe sweep status probes/sweeps/guidance.toml
  probe sweep resume probes/sweeps/guidance.toml      # only what is missing
  probe sweep merge probes/sweeps/guidance.toml       # tables of all shards

Under other launchers, one call a task:
  probe sweep SPEC --shard 3/8                        # the third of eight parts
  parallel probe sweep SPEC --shard {}/8 ::: 1 2 3 4 5 6 7 8
  probe sweep SPEC --shard array/8                    # which one: SLURM_ARRAY_TASK_ID,
                                                      # JOB_COMPLETION_INDEX or PARALLEL_SEQ";

/// Run a grid of prompts, seeds and options in shards: here, or as job arrays of Slurm.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// The sweep's spec, or its folder
    #[arg(required = true, value_name = "SPEC|FOLDER")]
    spec: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
    /// Print the shards with an estimate from one timed item, and stop
    #[arg(long)]
    dry_run: bool,
    /// Go on with what is there, as it does without this: for scripts that say what they mean
    #[arg(long = "resume", conflicts_with = "dry_run")]
    _resume: bool,
    /// Who runs the shards
    #[arg(long, value_enum, default_value_t = Engine::Local)]
    engine: Engine,
    /// Run this part of the shards, such as 3/8; array/8 asks the launcher's environment which
    #[arg(long, value_name = "I/N|array/N", value_parser = parse_part, conflicts_with_all = ["only", "dry_run"])]
    shard: Option<Part>,
    /// Run these shards, such as 0,4,7-9
    #[arg(long, value_name = "LIST", conflicts_with = "dry_run")]
    only: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Where a sweep's folder is.
#[derive(Clone, Debug, clap::Args)]
struct PlaceArgs {
    /// Folder for the sweep's folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Where the shards stand: done, running, failed and why, missing
    Status {
        /// The sweep's spec, or its folder
        #[arg(value_name = "SPEC|FOLDER")]
        spec: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Run or submit what is missing
    Resume {
        /// The sweep's spec, or its folder
        #[arg(value_name = "SPEC|FOLDER")]
        spec: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
        /// Who runs the shards [default: slurm if it has run some, else local]
        #[arg(long, value_enum)]
        engine: Option<Engine>,
    },
    /// Put the tables of all shards together, after checking that nothing is missing or double
    Merge {
        /// The sweep's spec, or its folder
        #[arg(value_name = "SPEC|FOLDER")]
        spec: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
}

/// Who runs shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// This process
    Local,
    /// Slurm, as job arrays with one task a shard
    Slurm,
}

/// Some of the shards, for launchers that start several processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    /// From 1; none where the environment says it.
    number: Option<usize>,
    of: usize,
}

fn parse_part(text: &str) -> Result<Part, String> {
    let parts = text.split_once('/').map(|(i, n)| (i.trim(), n.trim().parse::<usize>()));
    match parts {
        Some(("array", Ok(of))) if of > 0 => Ok(Part { number: None, of }),
        Some((number, Ok(of))) => match number.parse() {
            Ok(number) if (1..=of).contains(&number) => Ok(Part { number: Some(number), of }),
            _ => Err(format!("give 1/{of} to {of}/{of}, or array/{of}")),
        },
        _ => Err("give a part and their number, such as 3/8, or array/8".to_owned()),
    }
}

/// Variables by which launchers number their processes, with the number of the first.
const LAUNCHERS: [(&str, usize); 3] =
    [("SLURM_ARRAY_TASK_ID", 0), ("JOB_COMPLETION_INDEX", 0), ("PARALLEL_SEQ", 1)];

impl Part {
    /// Whether a shard is of this part.
    fn has(self, shard: &Shard) -> Result<bool> {
        let number = match self.number {
            Some(number) => number - 1,
            None => number_of_launcher(|name| std::env::var(name).ok())?,
        };
        if number >= self.of {
            bail!(
                "the launcher's process {number} (from 0) is beyond the {} of --shard array/{}; \
                 give the number of processes that it starts",
                self.of,
                self.of
            );
        }
        Ok(shard.number as usize % self.of == number)
    }
}

/// Number of this process among those of its launcher, from 0.
fn number_of_launcher(variable: impl Fn(&str) -> Option<String>) -> Result<usize> {
    for (name, first) in LAUNCHERS {
        let Some(text) = variable(name) else { continue };
        // Slurm's arrays may begin anywhere; it says where.
        let first = match variable("SLURM_ARRAY_TASK_MIN") {
            Some(least) if name.starts_with("SLURM") => least.parse().unwrap_or(first),
            _ => first,
        };
        return match text.parse::<usize>() {
            Ok(number) if number >= first => Ok(number - first),
            _ => bail!("{name}={text} is no number of a process, from {first}"),
        };
    }
    let names = LAUNCHERS.map(|(name, _)| name).join(", ");
    bail!("--shard array/N: none of {names} is set; give the part itself, such as --shard 1/8")
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    match args.what {
        Some(What::Status { spec, place, format }) => {
            let (plan, _, root) = open(&spec, &place)?;
            status::run(&plan, &Folder::open(&root, &plan)?, &format)
        }
        Some(What::Resume { spec, place, engine }) => {
            let (plan, kind, root) = open(&spec, &place)?;
            resume(&plan, kind, &Folder::open(&root, &plan)?, engine)
        }
        Some(What::Merge { spec, place, format }) => {
            let (plan, _, root) = open(&spec, &place)?;
            merge::run(&plan, &Folder::open(&root, &plan)?, &format)
        }
        None => begin(&args),
    }
}

fn begin(args: &Args) -> Result<u8> {
    let Some(spec) = &args.spec else { bail!("give a spec") };
    let (plan, kind, root) = open(spec, &args.place)?;
    kinds::check(kind, &plan)?;
    if args.dry_run {
        return dry_run::run(&plan, kind, &args.format);
    }
    let shards = chosen(args, &plan)?;
    if args.engine == Engine::Slurm {
        return go_on(&plan, kind, &Folder::create(&root, &plan)?, &shards, args.engine);
    }
    let is_part = args.shard.is_some() || args.only.is_some();
    run::run(&plan, kind, &Folder::create(&root, &plan)?, &shards, is_part)
}

/// The shards that were asked for.
fn chosen<'a>(args: &Args, plan: &'a Plan) -> Result<Vec<&'a Shard>> {
    if let Some(list) = &args.only {
        let numbers = steps::parse(list, plan.shards.len() - 1, "shard")?;
        return Ok(numbers.into_iter().map(|number| &plan.shards[number]).collect());
    }
    let Some(part) = args.shard else { return Ok(plan.shards.iter().collect()) };
    let mut shards = Vec::new();
    for shard in &plan.shards {
        if part.has(shard)? {
            shards.push(shard);
        }
    }
    Ok(shards)
}

fn resume(plan: &Plan, kind: &Kind, folder: &Folder, engine: Option<Engine>) -> Result<u8> {
    kinds::check(kind, plan)?;
    let before = crate::sweep::slurm::recorded(folder)?;
    let usual = if before.is_empty() { Engine::Local } else { Engine::Slurm };
    let shards: Vec<&Shard> = plan.shards.iter().collect();
    go_on(plan, kind, folder, &shards, engine.unwrap_or(usual))
}

/// Runs or submits those of the shards that are neither done nor on their way, and lets those go
/// that Slurm holds.
fn go_on(
    plan: &Plan,
    kind: &Kind,
    folder: &Folder,
    shards: &[&Shard],
    engine: Engine,
) -> Result<u8> {
    let Left { missing, held } = status::left(folder, shards, engine == Engine::Slurm)?;
    if !held.is_empty() {
        submit::release(&held)?;
    }
    if missing.is_empty() {
        note("nothing is missing");
        line(&folder.root().display().to_string())?;
        return Ok(0);
    }
    match engine {
        Engine::Slurm => submit::run(plan, folder, &missing),
        Engine::Local => run::run(plan, kind, folder, &missing, false),
    }
}

/// The plan of a spec, or of the spec in a sweep's folder, and the sweep's folder.
fn open(path: &Path, place: &PlaceArgs) -> Result<(Plan, &'static Kind, PathBuf)> {
    let spec_of_folder = Folder::spec_in(path);
    let spec = Spec::read(spec_of_folder.as_deref().unwrap_or(path))?;
    let kind = kinds::of(&spec)?;
    let plan = kinds::plan(kind, spec)?;
    let root = match spec_of_folder {
        Some(_) => path.to_owned(),
        None => place.out.join(plan.folder_name()),
    };
    Ok((plan, kind, root))
}

/// Checks a spec without running it.
pub(super) fn check(spec: &Path) -> Result<()> {
    let spec = Spec::read(spec)?;
    let kind = kinds::of(&spec)?;
    kinds::check(kind, &kinds::plan(kind, spec)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_from_one() {
        assert_eq!(parse_part("3/8"), Ok(Part { number: Some(3), of: 8 }));
        assert_eq!(parse_part("array/8"), Ok(Part { number: None, of: 8 }));
        for bad in ["", "3", "0/8", "9/8", "a/8", "1/0", "array/0", "1/b", "-1/8"] {
            assert!(parse_part(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn launchers_say_which_process_this_is() {
        let number = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> =
                set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let find = |name: &str| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
            number_of_launcher(find).ok()
        };
        assert_eq!(number(&[("JOB_COMPLETION_INDEX", "0")]), Some(0));
        assert_eq!(number(&[("PARALLEL_SEQ", "1")]), Some(0));
        let slurm = [("SLURM_ARRAY_TASK_ID", "12"), ("SLURM_ARRAY_TASK_MIN", "10")];
        assert_eq!(number(&slurm), Some(2));
        assert_eq!(number(&[("PARALLEL_SEQ", "0")]), None);
        assert_eq!(number(&[("JOB_COMPLETION_INDEX", "one")]), None);
        assert_eq!(number(&[]), None);
    }
}
