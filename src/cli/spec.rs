//! `probe run` and `probe validate`: runs written down as TOML.
//!
//! A spec names a command as `kind` and its options as keys, so that there is one list of
//! options, one set of checks and one help text for both.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;

use super::Cli;
use super::output::line;

const EXAMPLES: &str = "\
A spec is TOML: `kind` is the command, the other keys are its options; `arguments` is the list
of what the command is given without an option.

  kind = \"attention\"
  version = 1
  prompt = \"red ball left of blue cube\"
  steps = 25

Examples:
  probe run probes/attention-first-look.toml
  probe run runs/20261123T101500Z-attention-1a2b3c4d/spec.toml --out again
  probe validate probes/*.toml";

/// Key of what a command is given without an option.
const ARGUMENTS: &str = "arguments";

/// The newest version of specs that is understood.
const VERSION: i64 = 1;

/// Run a spec.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct RunArgs {
    /// The spec
    spec: PathBuf,
    /// Folder for the run's folder
    #[arg(long, value_name = "DIR", default_value = "runs")]
    out: PathBuf,
}

/// Check specs without running them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ValidateArgs {
    /// The specs
    #[arg(required = true)]
    specs: Vec<PathBuf>,
}

/// The kind of spec that is a grid of others.
const SWEEP: &str = "sweep";

/// Runs a spec.
pub fn run(args: RunArgs) -> Result<u8> {
    let mut words = read(&args.spec)?;
    words.extend(["--out".to_owned(), args.out.display().to_string()]);
    parse(&args.spec, &words)?.dispatch()
}

/// Checks specs; 1 if any is wrong.
pub fn validate(args: ValidateArgs) -> Result<u8> {
    let mut code = 0;
    for spec in &args.specs {
        let checked = read(spec).and_then(|words| match words[1].as_str() {
            SWEEP => super::sweep::check(spec),
            _ => parse(spec, &words).map(drop),
        });
        match checked {
            Ok(_) => line(&format!("{}: fine", spec.display()))?,
            Err(error) => {
                code = 1;
                line(&format!("{error:#}"))?;
            }
        }
    }
    Ok(code)
}

pub(super) fn parse(spec: &Path, words: &[String]) -> Result<Cli> {
    Cli::try_parse_from(words).map_err(|error| {
        // clap speaks of options; the spec has them as keys of the same names.
        let text = error.render().to_string();
        let first: Vec<&str> = text.lines().take_while(|l| !l.starts_with("Usage")).collect();
        anyhow::anyhow!(
            "{}: {}",
            spec.display(),
            first.join(" ").trim().trim_start_matches("error: ")
        )
    })
}

fn read(spec: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(spec).with_context(|| spec.display().to_string())?;
    command_line(spec, &text)
}

/// The command line a spec stands for; errors name the file.
pub(super) fn command_line(spec: &Path, text: &str) -> Result<Vec<String>> {
    let table: toml::Table =
        text.parse().with_context(|| format!("{}: not TOML", spec.display()))?;
    let name = |key: &str| table.get(key).and_then(toml::Value::as_str);
    let Some(kind) = name("kind") else {
        bail!("{}: `kind` is missing: say which command it is for", spec.display());
    };
    match table.get("version").and_then(toml::Value::as_integer) {
        Some(VERSION) => {}
        Some(other) => bail!("{}: version {other}; this probe reads {VERSION}", spec.display()),
        None => bail!("{}: `version` is missing: write version = {VERSION}", spec.display()),
    }
    if kind == SWEEP {
        return Ok(["probe", SWEEP, &spec.display().to_string()].map(str::to_owned).to_vec());
    }
    words_of(spec, kind, &table)
}

/// The command line of a command with options as a spec has them.
pub(super) fn words_of(spec: &Path, kind: &str, table: &toml::Table) -> Result<Vec<String>> {
    let mut words = vec!["probe".to_owned(), kind.to_owned()];
    for argument in table.get(ARGUMENTS).and_then(toml::Value::as_array).into_iter().flatten() {
        match argument.as_str().filter(|text| !text.starts_with('-')) {
            Some(text) => words.push(text.to_owned()),
            None => bail!("{}: `{ARGUMENTS}` cannot have {argument}", spec.display()),
        }
    }
    let descriptive = ["kind", "version", "question", "reference", "expect", ARGUMENTS];
    for (key, value) in table.iter().filter(|(key, _)| !descriptive.contains(&key.as_str())) {
        let flag = format!("--{}", key.replace('_', "-"));
        let values = match value {
            toml::Value::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        for value in values {
            match value {
                toml::Value::Boolean(true) => words.push(flag.clone()),
                toml::Value::Boolean(false) => {}
                toml::Value::String(text) => words.push(format!("{flag}={text}")),
                toml::Value::Integer(n) => words.push(format!("{flag}={n}")),
                toml::Value::Float(x) => words.push(format!("{flag}={x}")),
                other => bail!("{}: `{key}` cannot be {other}", spec.display()),
            }
        }
    }
    Ok(words)
}
