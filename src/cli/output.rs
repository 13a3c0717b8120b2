//! How commands speak: tables to stdout, progress and logs to stderr.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use polars::prelude::DataFrame;

use super::log_lines::LogLines;
use crate::table;

/// How tables are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// One JSON array of objects
    Json,
    /// Comma-separated values
    Csv,
    /// Markdown
    Md,
}

impl Format {
    fn of_tables(self) -> table::Format {
        match self {
            Format::Table => table::Format::Table,
            Format::Json => table::Format::Json,
            Format::Csv => table::Format::Csv,
            Format::Md => table::Format::Markdown,
        }
    }
}

/// Where results go.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Folder for the run's folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// How tables are printed.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct FormatArgs {
    /// How tables are printed on stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

impl FormatArgs {
    /// Prints a table on stdout.
    pub fn print(&self, frame: &DataFrame) -> Result<()> {
        let mut out = std::io::stdout().lock();
        table::render(frame, self.format.of_tables(), &mut out)?;
        Ok(out.flush()?)
    }
}

/// Prints a line on stdout.
pub fn line(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{text}")?)
}

/// A seed in a spec: a number, or text where TOML's numbers, which end at 2⁶³, are too small.
pub fn seed_value(seed: u64) -> toml::Value {
    i64::try_from(seed).map_or_else(|_| seed.to_string().into(), toml::Value::from)
}

/// A word as a POSIX shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

static QUIET: AtomicBool = AtomicBool::new(false);

/// Whether a bar is shown that counts the whole of what is being done.
static COUNTED: AtomicBool = AtomicBool::new(false);

/// As long as it lives, [`bar`] makes hidden bars: what they would count are parts of what a bar
/// counts that is shown already.
#[must_use]
pub struct Counted(());

impl Counted {
    /// Hides bars from now on.
    pub fn new() -> Self {
        COUNTED.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNTED.store(false, Ordering::Relaxed);
    }
}

/// Sets what is said on stderr: `PROBE_LOG`, or by `-v` and `-q`.
pub fn start_logging(verbose: u8, quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("PROBE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(colors())
        .without_time()
        .try_init();
    // Already started: another command of the same process (tests) has done it.
    drop(started);
}

/// Whether messages may be coloured: where somebody watches and does not mind
/// (<https://no-color.org>).
fn colors() -> bool {
    let minds = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !minds
}

/// Says something on stderr, unless `--quiet`.
pub fn note(text: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        eprintln!("{text}");
    }
}

/// A progress bar on stderr; where nobody watches, a line from time to time. Silent with `--quiet`.
pub fn bar(length: u64, unit: &str) -> ProgressBar {
    let watched = std::io::stderr().is_terminal();
    let style = if watched {
        format!("{{wide_bar}} {{pos}}/{{len}} {unit} {{msg}} {{elapsed}} <{{eta}}")
    } else {
        format!("{{pos}}/{{len}} {unit} {{msg}} {{elapsed}} <{{eta}}")
    };
    let hidden = QUIET.load(Ordering::Relaxed) || COUNTED.load(Ordering::Relaxed);
    let target = match (hidden, watched) {
        (true, _) => ProgressDrawTarget::hidden(),
        (false, true) => ProgressDrawTarget::stderr(),
        (false, false) => ProgressDrawTarget::term_like_with_hz(Box::new(LogLines::new()), 1),
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    if let Ok(style) = ProgressStyle::with_template(&style) {
        bar.set_style(style);
    }
    bar
}
