//! The command line: one file a subcommand. The only code that prints.
//!
//! Data goes to stdout, all else to stderr. Exit codes: 0 fine, 1 an expectation or a baseline
//! failed, 2 usage or run-time error, 3 inconclusive, 4 not comparable, 130 interrupted; a broken
//! pipe is no error.

#[cfg(feature = "torch")]
mod attention;
#[cfg(feature = "torch")]
mod clip;
mod compare;
mod completions;
mod defaults;
mod doctor;
#[cfg(feature = "torch")]
mod edits;
#[cfg(feature = "torch")]
mod failures;
#[cfg(feature = "torch")]
mod forward;
#[cfg(feature = "torch")]
mod generate;
#[cfg(feature = "torch")]
mod guidance;
mod history;
#[cfg(feature = "torch")]
mod image_args;
#[cfg(feature = "torch")]
mod image_file;
#[cfg(feature = "torch")]
mod kept;
#[cfg(feature = "torch")]
mod latent;
mod log_lines;
#[cfg(feature = "torch")]
mod masks;
#[cfg(feature = "torch")]
mod model_args;
#[cfg(feature = "torch")]
mod models;
mod output;
#[cfg(feature = "torch")]
mod patch;
mod report;
#[cfg(feature = "torch")]
mod round_trip;
#[cfg(feature = "torch")]
mod run_model;
mod schema;
#[cfg(feature = "torch")]
mod sites;
mod spec;
mod steps;
mod suites;
mod sweep;
#[cfg(feature = "torch")]
mod timesteps;
#[cfg(feature = "torch")]
mod tokens;
#[cfg(feature = "torch")]
mod trace;
#[cfg(feature = "torch")]
mod train;
#[cfg(feature = "torch")]
mod workers;
mod world;

use std::io::ErrorKind;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  probe attention --prompt \"red ball left of blue cube\"
  probe generate --prompt \"a large striped green cone\" --count 4 --out pictures
  probe sites 'up.*.cross.probs'
  probe trace --prompt \"a red ball\" --sites 'step.x0' --raw x0.safetensors
  probe doctor

Every command takes --help, with examples of its own.";

/// A scope on text-to-image diffusion models: watch every U-Net block at every timestep, and
/// measure what the model knows and where it fails.
#[derive(Debug, Parser)]
#[command(name = "probe", bin_name = "probe", version, propagate_version = true, after_long_help = EXAMPLES)]
#[command(help_expected = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more on stderr (-v: what is being done, -vv: details)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing on stderr but errors; no progress bars
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate images
    #[cfg(feature = "torch")]
    Generate(generate::Args),
    /// Where each word of the prompt looks: maps, scores with controls, a report
    #[cfg(feature = "torch")]
    Attention(attention::Args),
    /// The embedding space: analogies, sums, word order, layers, images, and paths through it
    #[cfg(feature = "torch")]
    Clip(clip::Args),
    /// Record any sites of a run: statistics, changes, guidance, or whole tensors
    #[cfg(feature = "torch")]
    Trace(trace::Args),
    /// Causal tracing: which sites, at which steps, carry the difference between two prompts
    #[cfg(feature = "torch")]
    Patch(patch::Args),
    /// What guidance buys and what it costs: alignment, diversity, quality against its scale
    #[cfg(feature = "torch")]
    Guidance(guidance::Args),
    /// What the autoencoder keeps: by frequency, by attribute, with changed latents
    #[cfg(feature = "torch")]
    Latent(latent::Args),
    /// What is decided at which noise level: predicted images, frequencies, switches, probes
    #[cfg(feature = "torch")]
    Timesteps(timesteps::Args),
    /// List the places in a model that can be watched
    #[cfg(feature = "torch")]
    Sites(sites::Args),
    /// List, inspect and fetch models
    #[cfg(feature = "torch")]
    Models(models::Args),
    /// Show how a prompt is tokenized
    #[cfg(feature = "torch")]
    Tokens(tokens::Args),
    /// The forward process: noise an image, show schedule and signal-to-noise ratio
    #[cfg(feature = "torch")]
    Forward(forward::Args),
    /// Render scenes with captions and masks; calibrate the judge
    World(world::Args),
    /// Where a model fails: judge its images of prompts the world understands
    #[cfg(feature = "torch")]
    Failures(failures::Args),
    /// Did a change make a model better or worse? Two runs of one suite, paired
    Compare(compare::Args),
    /// Trends over runs, with change points; over checkpoints, what is learned first
    History(history::Args),
    /// Make the reports of stored runs again, combine them, or show a folder of runs
    Report(report::Args),
    /// List, show and check suites of prompts
    Suites(suites::Args),
    /// Run a grid of prompts, seeds and options in shards: here, or as job arrays of Slurm
    Sweep(sweep::Args),
    /// Run a spec: a run written down as TOML
    Run(spec::RunArgs),
    /// Check specs without running them
    Validate(spec::ValidateArgs),
    /// Describe the tables: columns, units, ranges
    Schema(schema::Args),
    /// Train a part of the built-in model
    #[cfg(feature = "torch")]
    Train(train::Args),
    /// Check what denoscope needs: libtorch, devices, fonts, disk
    Doctor(doctor::Args),
    /// Print shell completions
    Completions(completions::Args),
}

impl Cli {
    /// The command line of this process, with the defaults of the `probe.toml` that holds in the
    /// working folder. Help, usage errors and a file that cannot be understood end the process.
    pub fn from_process() -> Self {
        let file = std::env::current_dir().ok().and_then(|folder| defaults::find(&folder));
        let Some(file) = file else { return Self::parse() };
        let command = match defaults::apply(Self::command(), &file) {
            Ok(command) => command,
            Err(error) => {
                eprintln!("error: {}", message(&error));
                std::process::exit(ERROR_CODE.into());
            }
        };
        let found = command.try_get_matches().and_then(|matches| Self::from_arg_matches(&matches));
        found.unwrap_or_else(|error| {
            let told = error.print();
            if error.use_stderr() && told.is_ok() {
                eprintln!("Defaults are those of {}.", file.display());
            }
            std::process::exit(error.exit_code())
        })
    }

    /// Runs the command and turns its outcome into the exit code.
    pub fn run(self) -> u8 {
        output::start_logging(self.verbose, self.quiet);
        watch_for_interrupt();
        match self.dispatch() {
            Ok(code) => code,
            Err(error) if is_broken_pipe(&error) => 0,
            Err(error) => {
                let code = if interrupted() { INTERRUPTED_CODE } else { ERROR_CODE };
                eprintln!("error: {}", message(&error));
                code
            }
        }
    }

    fn dispatch(self) -> Result<u8> {
        match self.command {
            #[cfg(feature = "torch")]
            Command::Generate(args) => generate::run(args),
            #[cfg(feature = "torch")]
            Command::Attention(args) => attention::run(args),
            #[cfg(feature = "torch")]
            Command::Clip(args) => clip::run(args),
            #[cfg(feature = "torch")]
            Command::Trace(args) => trace::run(args),
            #[cfg(feature = "torch")]
            Command::Patch(args) => patch::run(args),
            #[cfg(feature = "torch")]
            Command::Guidance(args) => guidance::run(args),
            #[cfg(feature = "torch")]
            Command::Latent(args) => latent::run(args),
            #[cfg(feature = "torch")]
            Command::Timesteps(args) => timesteps::run(args),
            #[cfg(feature = "torch")]
            Command::Sites(args) => sites::run(args),
            #[cfg(feature = "torch")]
            Command::Models(args) => models::run(args),
            #[cfg(feature = "torch")]
            Command::Tokens(args) => tokens::run(args),
            #[cfg(feature = "torch")]
            Command::Forward(args) => forward::run(args),
            Command::World(args) => world::run(args),
            #[cfg(feature = "torch")]
            Command::Failures(args) => failures::run(args),
            Command::Compare(args) => compare::run(args),
            Command::History(args) => history::run(args),
            Command::Report(args) => report::run(args),
            Command::Suites(args) => suites::run(args),
            Command::Sweep(args) => sweep::run(args),
            Command::Run(args) => spec::run(args),
            Command::Validate(args) => spec::validate(args),
            Command::Schema(args) => schema::run(args),
            #[cfg(feature = "torch")]
            Command::Train(args) => train::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Completions(args) => completions::run(args),
        }
    }
}

/// The error and its causes in one line; what a message has said already is not said again.
fn message(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !said.contains(&cause) {
            said += if said.is_empty() { "" } else { ": " };
            said += &cause;
        }
    }
    said
}

const ERROR_CODE: u8 = 2;
const INTERRUPTED_CODE: u8 = 130;

/// The first Ctrl-C lets the run stop at the next step and clean up; the second kills it.
fn watch_for_interrupt() {
    let set = ctrlc::set_handler(|| {
        if crate::INTERRUPTED.swap(true, std::sync::atomic::Ordering::SeqCst) {
            std::process::exit(INTERRUPTED_CODE.into());
        }
    });
    if let Err(error) = set {
        tracing::warn!("Ctrl-C will stop at once: {error}");
    }
}

fn interrupted() -> bool {
    crate::INTERRUPTED.load(std::sync::atomic::Ordering::SeqCst)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = |e: &(dyn std::error::Error + 'static)| {
        e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    };
    error.chain().any(io)
}
