//! `probe compare`: did a change make a model better or worse?

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;
use clap::builder::PossibleValue;
use polars::prelude::DataFrame;

use super::output::{Format, OutputArgs, note, quoted};
use crate::figure::{Figure, WIDE};
use crate::probe::compare::{
    Aspect, CompareError, Comparison, Gate, ReportInput, Side, Verdict, compare, difference_chart,
    facts, findings, free_place, junit, report, summary, warnings,
};
use crate::probe::stored::keep_facts;
use crate::report::Rerun;
use crate::run::{AtomicFile, Manifest, RunFolder};
use crate::table::{ChangeOfOutcomeRow, ComparisonRow, ScoreComparisonRow, frame, write_parquet};

const EXAMPLES: &str = "\
A and B are run folders of `probe failures`, or names of baselines. Images of the same prompt and
seed are pairs; prompts are the independent units of all tests and intervals.

  regressed     worse, after Holm's correction for all categories
  improved      better, likewise
  equivalent    different by less than the margin (two one-sided tests)
  inconclusive  none of these; the table says which loss would have been seen

Examples:
  probe compare runs/20261123T101500Z-failures-1a2b3c4d runs/20261124T090000Z-failures-1a2b3c4d
  probe compare runs/20261123T101500Z-failures-1a2b3c4d --save-baseline shapes
  probe compare shapes runs/20261124T090000Z-failures-1a2b3c4d --strict --junit compare.xml
  probe compare shapes runs/20261124T090000Z-failures-1a2b3c4d --margin 0.05 --margin count=0.1

Exit codes: 0 nothing regressed, 1 a category regressed, 3 with --strict: a category is
inconclusive, 4 the runs are not comparable, 2 any other error.";

/// Exit code where something got worse.
const REGRESSED: u8 = 1;
/// Exit code where something cannot be told and must be.
const INCONCLUSIVE: u8 = 3;
/// Exit code where the runs are not comparable.
const NOT_COMPARABLE: u8 = 4;

/// Columns of a comparison that a terminal has room for.
const SHORT: [&str; 12] = [
    "category",
    "verdict",
    "pairs",
    "prompts",
    "share_a",
    "share_b",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "minimum_detectable",
];

/// The same of scores.
const SHORT_SCORES: [&str; 11] = [
    "category",
    "verdict",
    "pairs",
    "prompts",
    "mean_a",
    "mean_b",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
];

/// Did a change make a model better or worse? Two runs of one suite, paired
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Run folders or baselines: the one before and the one after; only one to save it
    #[arg(required = true, num_args = 1..=2, value_names = ["A", "B"])]
    runs: Vec<String>,
    /// Differences smaller than this do not matter; NAME=SHARE for one category alone; may be
    /// repeated [default: 0.05]
    #[arg(long = "margin", value_name = "[NAME=]SHARE", value_parser = parse_margin)]
    margins: Vec<Margin>,
    /// Differences of mean scores smaller than this do not matter, in the scale of the judge; for
    /// judges that score and decide nothing, such as clip-score
    #[arg(long, value_name = "POINTS", value_parser = parse_points)]
    score_margin: Option<f64>,
    /// Level of the tests, for all categories together
    #[arg(long, value_name = "SHARE", default_value = "0.05", value_parser = parse_significance)]
    significance: f64,
    /// Fail where a category is inconclusive
    #[arg(long)]
    strict: bool,
    /// Compare although the runs differ in these
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    allow_different: Vec<Aspect>,
    /// Write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the result in short as Markdown
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Save the last of the runs named as a baseline
    #[arg(long, value_name = "NAME")]
    save_baseline: Option<String>,
    /// Let the baseline saved replace one of the same name
    #[arg(long, requires = "save_baseline")]
    replace_baseline: bool,
    /// Folder of the baselines
    #[arg(long, value_name = "DIR", default_value = "reports/baselines")]
    baselines: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

impl ValueEnum for Aspect {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// A margin for all categories, or for one.
#[derive(Clone, Debug)]
struct Margin {
    category: Option<String>,
    share: f64,
}

fn parse_margin(text: &str) -> Result<Margin, String> {
    let (category, share) = match text.rsplit_once('=') {
        Some((category, share)) => (Some(category.to_owned()), share),
        None => (None, text),
    };
    Ok(Margin { category, share: parse_share(share)? })
}

fn parse_points(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(points) if points > 0.0 && f64::is_finite(points) => Ok(points),
        _ => Err("it is a number above 0, such as 0.5".to_owned()),
    }
}

/// A share above 0 and up to 1.
pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("it is a share above 0 and up to 1, such as 0.05".to_owned()),
    }
}

pub(super) fn parse_significance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 0.5 => Ok(share),
        _ => Err("a level is a share between 0 and 0.5, such as 0.05".to_owned()),
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    match run_or_refuse(&args) {
        Err(error) if is_refusal(&error) => {
            eprintln!("error: {error}");
            Ok(NOT_COMPARABLE)
        }
        other => other,
    }
}

fn is_refusal(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(CompareError::NotComparable { .. } | CompareError::NothingInCommon { .. })
    )
}

fn run_or_refuse(args: &Args) -> Result<u8> {
    if args.runs.len() == 1 && args.save_baseline.is_none() {
        bail!("one run alone cannot be compared: name a second, or --save-baseline NAME");
    }
    if let Some(name) = &args.save_baseline {
        free_place(name, &args.baselines, args.replace_baseline)?;
    }
    let open = |name: &String| Side::open(name, &args.baselines);
    let sides: Vec<Side> = args.runs.iter().map(open).collect::<Result<_, _>>()?;
    let code = match sides.as_slice() {
        [a, b] => compare_runs(args, a, b)?,
        _ => 0,
    };
    if let (Some(name), Some(last)) = (&args.save_baseline, sides.last()) {
        let at = last.save_baseline(name, &args.baselines, args.replace_baseline)?;
        note(&format!("baseline: {}", at.display()));
    }
    Ok(code)
}

fn compare_runs(args: &Args, a: &Side, b: &Side) -> Result<u8> {
    let comparison = compare(a, b, &gate(args))?;
    let rerun = Rerun { command: command(args), spec: spec(args)? };
    let input = ReportInput {
        comparison: &comparison,
        sides: [Some(a), Some(b)],
        facts: facts(a, b, &comparison),
        warnings: warnings(&comparison),
        rerun,
    };
    if let Some(file) = &args.junit {
        AtomicFile::write(file, &junit(&comparison, args.strict)?)?;
    }
    if let Some(file) = &args.summary {
        AtomicFile::write(file, summary(&input).to_markdown()?.as_bytes())?;
    }
    let shares = frame(comparison.groups.iter().map(|group| group.row.clone()))?;
    let scores = frame(comparison.scores.iter().map(|group| group.row.clone()))?;
    let at = write_run(args, &input, (&shares, &scores))?;
    let format = args.output.format.format;
    match comparison.groups.is_empty() {
        true => args.output.format.print(&shown(&scores, &SHORT_SCORES, format)?)?,
        false => args.output.format.print(&shown(&shares, &SHORT, format)?)?,
    }
    for finding in findings(&comparison) {
        note(&finding.sentence);
    }
    tell_of_gaps(&comparison);
    note(&format!("report and tables: {}", at.display()));
    Ok(match () {
        () if comparison.any(Verdict::Regressed) => REGRESSED,
        () if args.strict && comparison.any(Verdict::Inconclusive) => INCONCLUSIVE,
        () => 0,
    })
}

fn gate(args: &Args) -> Gate {
    let (significance, score_margin) = (args.significance, args.score_margin);
    let mut gate = Gate { significance, score_margin, ..Gate::default() };
    gate.allowed = args.allow_different.iter().copied().collect::<BTreeSet<_>>();
    let (single, all): (Vec<&Margin>, Vec<&Margin>) =
        args.margins.iter().partition(|margin| margin.category.is_some());
    if let Some(last) = all.last() {
        gate.margin = last.share;
    }
    let named = |margin: &&Margin| Some((margin.category.clone()?, margin.share));
    gate.margins = single.iter().filter_map(named).collect::<BTreeMap<_, _>>();
    gate
}

/// The run folder: tables, figure and report.
fn write_run(
    args: &Args,
    input: &ReportInput<'_>,
    (shares, scores): (&DataFrame, &DataFrame),
) -> Result<PathBuf> {
    let folder = RunFolder::create(&args.output.out, "compare", &input.rerun.spec)?;
    let path = folder.path("tables/comparison.parquet")?;
    write_parquet::<ComparisonRow>(&mut shares.clone(), &path)?;
    if scores.height() > 0 {
        let path = folder.path("tables/score_comparison.parquet")?;
        write_parquet::<ScoreComparisonRow>(&mut scores.clone(), &path)?;
    }
    let mut changes = frame(input.comparison.changes.iter().cloned())?;
    let path = folder.path("tables/outcome_change.parquet")?;
    write_parquet::<ChangeOfOutcomeRow>(&mut changes, &path)?;
    let chart = difference_chart(input.comparison);
    folder.write("figures/difference.png", &chart.png(WIDE)?)?;
    folder.write("figures/difference.svg", chart.svg(WIDE)?.as_str().as_bytes())?;
    let page = report(input)?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    let mut manifest = Manifest::new("compare");
    let [_, b] = input.sides;
    manifest.judge_version = b.map(|run| run.outcomes.judges());
    keep_facts(&mut manifest, &input.facts);
    manifest.warnings.clone_from(&input.warnings);
    manifest.schemas = crate::table::versions();
    Ok(folder.finish(manifest)?)
}

/// A terminal has no room for all columns.
fn shown(table: &DataFrame, short: &[&str], format: Format) -> Result<DataFrame> {
    let columns = short.iter().copied();
    Ok(if format == Format::Table { table.select(columns)? } else { table.clone() })
}

fn tell_of_gaps(comparison: &Comparison) {
    for difference in &comparison.allowed {
        let (what, a, b) = (&difference.what, &difference.a, &difference.b);
        note(&format!("the runs differ in {what}: {a} in A, {b} in B; this was allowed"));
    }
    for (count, run) in [(comparison.only_in_a, "A"), (comparison.only_in_b, "B")] {
        if count > 0 {
            note(&format!("{count} images are in {run} only: a part of the suite is compared"));
        }
    }
    if comparison.undecided > 0 {
        note(&format!("{} pairs are left out: not decided by a judge", comparison.undecided));
    }
}

/// Options and their values, as a spec and a command line have them.
fn options(args: &Args) -> Vec<(&'static str, Vec<String>)> {
    let margin = |margin: &Margin| match &margin.category {
        Some(category) => format!("{category}={}", margin.share),
        None => margin.share.to_string(),
    };
    let allowed = args.allow_different.iter().map(|aspect| aspect.name().to_owned());
    let all = [
        ("margin", args.margins.iter().map(margin).collect::<Vec<_>>()),
        ("score-margin", args.score_margin.iter().map(f64::to_string).collect()),
        ("significance", vec![args.significance.to_string()]),
        ("allow-different", allowed.collect()),
        ("baselines", vec![args.baselines.display().to_string()]),
    ];
    all.into_iter().filter(|(_, values)| !values.is_empty()).collect()
}

fn spec(args: &Args) -> Result<String> {
    spec_of("compare", &args.runs, options(args), args.strict)
}

fn command(args: &Args) -> String {
    command_of("compare", &args.runs, options(args), args.strict)
}

/// A command over runs as a spec.
pub(super) fn spec_of(
    kind: &str,
    runs: &[String],
    options: Vec<(&'static str, Vec<String>)>,
    strict: bool,
) -> Result<String> {
    let mut spec = toml::Table::new();
    spec.insert("kind".to_owned(), kind.into());
    spec.insert("version".to_owned(), 1.into());
    spec.insert("arguments".to_owned(), runs.to_vec().into());
    for (name, values) in options {
        spec.insert(name.replace('-', "_"), values.into());
    }
    if strict {
        spec.insert("strict".to_owned(), true.into());
    }
    Ok(toml::to_string_pretty(&spec)?)
}

/// A command over runs as a command line.
pub(super) fn command_of(
    kind: &str,
    runs: &[String],
    options: Vec<(&'static str, Vec<String>)>,
    strict: bool,
) -> String {
    let mut words = vec!["probe".to_owned(), kind.to_owned()];
    words.extend(runs.iter().map(|run| quoted(run)));
    for (name, values) in options {
        for value in values {
            words.extend([format!("--{name}"), quoted(&value)]);
        }
    }
    if strict {
        words.push("--strict".to_owned());
    }
    words.join(" ")
}
