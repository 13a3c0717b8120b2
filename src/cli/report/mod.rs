//! `probe report`: reports of runs that were stored, made again, combined, or shown in a browser.

mod serve;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::output::{line, note, quoted};
use super::spec;
use crate::probe::stored::{RunReport, StoredError, StoredReader, combine, report_of};
use crate::report::{Block, Report, Rerun};
use crate::run::{AtomicFile, RunError, SPEC_FILE, StoredRun, list_runs};

const EXAMPLES: &str = "\
A report is made of the run's tables and images; nothing is generated and no model is loaded. The
report of one run takes the place of the one in its folder; several runs become one document, in
which any two images can be explored side by side.

Examples:
  probe report runs/20261123T101500Z-attention-1a2b3c4d
  probe report runs/20261123T101500Z-attention-1a2b3c4d --format md
  probe report runs/20261123T101500Z-attention-1a2b3c4d runs/20261124T090000Z-attention-5e6f7a8b --to both.html
  probe report runs --serve
  probe report runs --serve --port 0            # any free port

--serve shows a folder of runs on this machine alone, until Ctrl-C; its list renews itself while
a run is in progress.";

/// Where runs are kept unless something else is said.
const RUNS: &str = "runs";
/// Where several runs' document goes unless something else is said.
const COMBINED: &str = "report.html";

/// Make the reports of stored runs again, or show a folder of runs in a browser.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Run folders; with --serve the folder that holds them [default with --serve: runs]
    #[arg(value_name = "RUN", required_unless_present = "serve")]
    runs: Vec<PathBuf>,
    /// File for the document [default: of one run its report.html, of several report.html here]
    #[arg(long, value_name = "FILE", conflicts_with = "serve")]
    to: Option<PathBuf>,
    /// What is made: a page, or text on stdout
    #[arg(long, value_enum, default_value_t = Form::Html, conflicts_with = "serve")]
    format: Form,
    /// Show a folder of runs at http://127.0.0.1
    #[arg(long)]
    serve: bool,
    /// Port for --serve; 0: any that is free
    #[arg(long, value_name = "N", default_value_t = 8642, requires = "serve")]
    port: u16,
}

/// What is made of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A page that opens in a browser, written to a file
    Html,
    /// Markdown on stdout
    Md,
    /// The report's texts and numbers on stdout
    Json,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    if args.serve {
        return match args.runs.as_slice() {
            [] => serve::run(Path::new(RUNS), args.port),
            [folder] => serve::run(folder, args.port),
            _ => bail!("--serve shows one folder of runs: name the folder that holds them"),
        };
    }
    let mut runs = args.runs.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
    let mut reports = runs.iter().map(made_again).collect::<Result<Vec<_>>>()?;
    let report = match reports.len() {
        1 => reports.remove(0).report,
        _ => combine(reports),
    };
    for notice in report.notices.iter().chain(report.parts.iter().flat_map(|p| &p.notices)) {
        tracing::warn!("{notice}");
    }
    match (args.format, args.to, runs.as_mut_slice()) {
        (Form::Md, ..) => line(report.to_markdown()?.trim_end())?,
        (Form::Json, ..) => line(&report.to_json()?)?,
        (Form::Html, None, [run]) => {
            run.replace("report.html", report.to_html()?.as_bytes())?;
            run.replace("report.md", report.to_markdown()?.as_bytes())?;
            finished(&report, &run.root().join("report.html"))?;
        }
        (Form::Html, to, _) => {
            let to = to.unwrap_or_else(|| COMBINED.into());
            AtomicFile::write(&to, report.to_html()?.as_bytes())?;
            finished(&report, &to)?;
        }
    }
    Ok(0)
}

/// Says what was found and where the page is.
fn finished(report: &Report, at: &Path) -> Result<()> {
    let reports = std::iter::once(report).chain(&report.parts);
    let blocks = reports.flat_map(|report| &report.sections).flat_map(|section| &section.blocks);
    for block in blocks {
        if let Block::Findings(findings) = block {
            findings.iter().try_for_each(|finding| line(&finding.sentence))?;
        }
    }
    note(&format!("report: {}", at.display()));
    Ok(())
}

/// Opens a run by its folder, or by its name among the runs of this folder.
fn open(path: &Path) -> Result<StoredRun> {
    let among = Path::new(RUNS).join(path);
    if !path.exists() && path.components().count() == 1 && among.exists() {
        return Ok(StoredRun::open(&among)?);
    }
    StoredRun::open(path).map_err(|error| with_nearest(error, path))
}

/// Says which run was perhaps meant.
fn with_nearest(error: RunError, path: &Path) -> anyhow::Error {
    let folder = match path.parent() {
        Some(parent) if parent.is_dir() => parent,
        _ => Path::new(RUNS),
    };
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    let names = if path.exists() { Vec::new() } else { list_runs(folder).unwrap_or_default() };
    match crate::suggest::nearest(&wanted, names.iter().map(String::as_str)) {
        Some(name) => {
            let meant = folder.join(name);
            anyhow::anyhow!("{error}; did you mean {}?", quoted(&meant.display().to_string()))
        }
        None => error.into(),
    }
}

/// The report of a run and the run's name.
fn made_again(run: &StoredRun) -> Result<RunReport> {
    let report = report_of(run, rerun(run)?).map_err(|error| match error {
        StoredError::Run(error) => anyhow::Error::from(error).context(format!(
            "{} is not whole; restore what is missing, or run it again",
            run.root().display()
        )),
        other => other.into(),
    })?;
    Ok(RunReport { name: run.manifest().run.clone(), report })
}

/// How to make a run again, from its spec.
fn rerun(run: &StoredRun) -> Result<Rerun> {
    let text = StoredReader::new(run).spec().context("the run's spec cannot be read")?;
    let path = run.root().join(SPEC_FILE);
    let command = match spec::command_line(&path, &text) {
        Ok(words) => words.iter().map(|word| quoted_option(word)).collect::<Vec<_>>().join(" "),
        // A spec of a later version, or one that was edited: the file itself says what is wrong.
        Err(_) => format!("probe run {}", quoted(&path.display().to_string())),
    };
    Ok(Rerun { command, spec: text })
}

/// `--prompt=a red ball` as a shell reads it: the value in quotes, the option before them.
fn quoted_option(word: &str) -> String {
    match word.split_once('=').filter(|(option, _)| option.starts_with("--")) {
        Some((option, value)) => format!("{option} {}", quoted(value)),
        None => quoted(word),
    }
}
