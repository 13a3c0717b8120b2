//! `probe failures --suite`: which suites, which judge, and what is written and printed at the end.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;
use image::RgbImage;

use super::Args;
use super::clip::Clip;
use crate::cli::image_file::read_image;
use crate::cli::output::{OutputArgs, note};
use crate::judge::imported::PublishedRule;
use crate::probe::failures::{FailuresInput, report};
use crate::probe::outcome::SuiteIdentity;
use crate::report::{Fact, Rerun};
use crate::run::{Manifest, RunFolder};
use crate::suite::external::ExternalJudge;
use crate::suite::gap::{gaps, summarise};
use crate::suite::judging::SuiteJudge;
use crate::suite::ocr::{self, Tesseract};
use crate::suite::{Job, Suite, open};
use crate::table::{
    BenchmarkRow, GapRow, HumanRow, ImageRow, JudgementRow, OutcomeRow, OutcomeSummaryRow, SeenRow,
    frame, write_parquet,
};
use crate::world;

/// Suites, and whose images are judged by whom.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Suites")]
pub struct SuiteArgs {
    /// Judge this suite: a built-in one (`probe suites`) or a TOML file; may be repeated
    #[arg(long = "suite", value_name = "NAME|FILE", conflicts_with_all = ["categories", "count", "seed"])]
    pub suites: Vec<String>,
    /// Images that are kept in the run folder
    #[arg(long, value_enum, default_value_t = Keep::All, requires = "suites")]
    pub keep_images: Keep,
    /// Begin anew, whatever a stopped run of the same question has left; without it the same
    /// command goes on where it was stopped
    #[arg(long, conflicts_with_all = ["images", "detections"])]
    pub fresh: bool,
    /// Judge the images in this folder instead of drawing any: <item>_<seed>.png, or
    /// <item>/<seed>.png, from any generator; with several suites in a folder per suite
    #[arg(long, value_name = "DIR", requires = "suites", conflicts_with = "edits")]
    pub images: Option<PathBuf>,
    /// Judge by these detections: COCO JSON, GenEval's results.jsonl or VISOR's detection file
    #[arg(long, value_name = "FILE", requires_all = ["suites", "rule"], conflicts_with_all = ["judge_command", "edits"])]
    pub detections: Option<PathBuf>,
    /// Published rule that decides by the detections
    #[arg(long, value_name = "RULE", value_parser = rule_parser(), requires = "detections")]
    pub rule: Option<PublishedRule>,
    /// Who looks at the images
    #[arg(long, value_enum, default_value_t = Judge::Exact, requires = "suites", conflicts_with_all = ["detections", "judge_command"])]
    pub judge: Judge,
    /// The CLIP of --judge clip-score: `shapes`, a model's folder with clip/ in it, or a folder
    /// that transformers' CLIPModel wrote [default: clip/ of the model that draws]
    #[arg(long, value_name = "shapes|DIR", requires = "suites", conflicts_with_all = ["detections", "judge_command"])]
    pub clip: Option<String>,
    /// Let this program judge, by JSON lines (docs/guide/how-to/external-judges.md)
    #[arg(long, value_name = "COMMAND", requires = "suites")]
    pub judge_command: Option<String>,
    /// Seconds that the program may take for one image
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub judge_timeout: u64,
    /// Judge a part of a suite's images where the others are missing; the suite's name and
    /// digest then say so
    #[arg(long, requires = "suites")]
    pub partial: bool,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Printed::Summary, requires = "suites")]
    pub print: Printed,
}

/// Who looks at images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Judge {
    /// The world's own judge, for prompts of its grammar
    Exact,
    /// Tesseract, for prompts that ask for letters; `probe doctor` says whether it is there
    Ocr,
    /// CLIP's cosine of image and prompt × 100: a score that decides nothing, for any prompt
    ClipScore,
}

/// Images that are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// All
    All,
    /// Those that did not hold, or were not decided
    Failed,
    /// None
    None,
}

impl Keep {
    /// Whether the image of an outcome is kept.
    pub fn keeps(self, outcome: &OutcomeRow) -> bool {
        match self {
            Keep::All => true,
            Keep::Failed => outcome.holds != Some(true),
            Keep::None => false,
        }
    }
}

/// The table on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Printed {
    /// Rates per category
    Summary,
    /// Held-out prompts beside their seen twins
    Gap,
    /// With --rule: the scores that the benchmark is known by
    Benchmark,
}

fn rule_parser() -> impl clap::builder::TypedValueParser<Value = PublishedRule> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    let named = |name: String| PublishedRule::ALL.into_iter().find(|rule| rule.name() == name);
    PossibleValuesParser::new(PublishedRule::ALL.map(PublishedRule::name))
        .try_map(move |name| named(name).ok_or("no such rule"))
}

/// The suites of a run with their identities, which jobs refer to.
pub struct Opened {
    suites: Vec<(Suite, SuiteIdentity)>,
}

impl Opened {
    /// Opens and checks all suites.
    pub fn open(names: &[String]) -> Result<Opened> {
        let mut suites = Vec::new();
        let mut taken = BTreeSet::new();
        for name in names {
            let suite = open(name)?;
            if !taken.insert(suite.name.clone()) {
                bail!("suite {:?} is given twice; leave one out, or rename it", suite.name);
            }
            let identity = suite.identity();
            suites.push((suite, identity));
        }
        Ok(Opened { suites })
    }

    /// All images to be judged, suite by suite.
    pub fn jobs(&self) -> Vec<Job<'_>> {
        self.suites.iter().flat_map(|(suite, identity)| suite.jobs(identity)).collect()
    }

    /// The suites with their identities.
    pub fn each(&self) -> impl Iterator<Item = (&Suite, &SuiteIdentity)> {
        self.suites.iter().map(|(suite, identity)| (suite, identity))
    }

    /// Has every prompt drawn with these seeds instead of its own.
    pub fn take_seeds(&mut self, seeds: &[u64]) {
        let seeds: Vec<u64> = seeds.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        for (suite, identity) in &mut self.suites {
            suite.seeds.clone_from(&seeds);
            suite.items.iter_mut().for_each(|item| item.seeds.clear());
            *identity = suite.identity();
        }
    }

    /// The suites with their identities, to be changed.
    pub fn each_mut(&mut self) -> impl Iterator<Item = &mut (Suite, SuiteIdentity)> {
        self.suites.iter_mut()
    }
}

/// The judge that looks at images, after making sure that it can decide every item.
pub fn image_judge(args: &Args, opened: &Opened) -> Result<SuiteJudge> {
    let suite = &args.suite;
    if suite.clip.is_some() && suite.judge != Judge::ClipScore {
        bail!("--clip names the CLIP of --judge clip-score; give both, or neither");
    }
    let judge = match (&suite.judge_command, suite.judge) {
        (None, Judge::Exact) => SuiteJudge::Exact,
        (None, Judge::Ocr) => SuiteJudge::Ocr(Tesseract::find()?),
        (None, Judge::ClipScore) => SuiteJudge::ClipScore(Box::new(Clip::open(args)?)),
        (Some(command), _) => {
            let timeout = Duration::from_secs(suite.judge_timeout);
            SuiteJudge::External(Box::new(ExternalJudge::start(command, timeout)?))
        }
    };
    for (suite, _) in opened.each() {
        judge.check(&suite.name, &suite.items)?;
    }
    Ok(judge)
}

/// What a run found, in the order of its images.
#[derive(Default)]
pub struct Found {
    pub outcomes: Vec<OutcomeRow>,
    pub atoms: Vec<JudgementRow>,
    /// What was seen where.
    pub seen: Vec<SeenRow>,
    /// What a person says.
    pub human: Vec<HumanRow>,
    /// Scores of a published benchmark, where its rule judged.
    pub scores: Vec<BenchmarkRow>,
}

/// The scores of readings of letters, suite by suite.
pub fn readings(opened: &Opened, args: &SuiteArgs, found: &Found) -> Vec<BenchmarkRow> {
    if args.judge != Judge::Ocr {
        return Vec::new();
    }
    let of_suite = |identity: &SuiteIdentity| {
        let atoms = found.atoms.iter().filter(|atom| {
            let outcome = found.outcomes.get(atom.sample as usize);
            outcome.is_some_and(|outcome| outcome.suite == identity.name)
        });
        ocr::scores(&identity.name, &atoms.cloned().collect::<Vec<_>>())
    };
    opened.each().flat_map(|(_, identity)| of_suite(identity)).collect()
}

/// What the manifest of every suite's run says.
pub fn describe(manifest: &mut Manifest, (name, version): &(String, String)) {
    manifest.world_version = Some(world::VERSION.to_string());
    manifest.judge_version = Some(format!("{name} {version}"));
    manifest.schemas = crate::table::versions();
}

/// Writes the tables of a run.
pub fn write_tables(folder: &RunFolder, found: &Found) -> Result<()> {
    let table = |name: &str| folder.path(&format!("tables/{name}.parquet"));
    let kept = (0_u32..).zip(&found.outcomes).filter_map(|(sample, row)| {
        Some(ImageRow {
            sample,
            prompt: row.prompt.clone(),
            seed: row.seed,
            file: row.image.clone()?,
            sha256: row.image_sha256.clone(),
        })
    });
    let kept: Vec<ImageRow> = kept.collect();
    if !kept.is_empty() {
        write_parquet::<ImageRow>(&mut frame(kept)?, &table("images")?)?;
    }
    write_parquet::<OutcomeRow>(&mut frame(found.outcomes.iter().cloned())?, &table("outcome")?)?;
    if !found.atoms.is_empty() {
        let mut atoms = frame(found.atoms.iter().cloned())?;
        write_parquet::<JudgementRow>(&mut atoms, &table("judgement")?)?;
    }
    if !found.seen.is_empty() {
        let mut seen = frame(found.seen.iter().cloned())?;
        write_parquet::<SeenRow>(&mut seen, &table("seen")?)?;
    }
    let mut summary = frame(summarise(&found.outcomes)?)?;
    write_parquet::<OutcomeSummaryRow>(&mut summary, &table("outcome_summary")?)?;
    if !found.human.is_empty() {
        let mut human = frame(found.human.iter().cloned())?;
        write_parquet::<HumanRow>(&mut human, &table("human")?)?;
    }
    if !found.scores.is_empty() {
        let mut scores = frame(found.scores.iter().cloned())?;
        write_parquet::<BenchmarkRow>(&mut scores, &table("benchmark")?)?;
    }
    let gaps = gaps(&found.outcomes)?;
    if !gaps.is_empty() {
        write_parquet::<GapRow>(&mut frame(gaps)?, &table("gap")?)?;
    }
    Ok(())
}

/// Writes the report; `image` finds the image of an outcome.
pub fn write_report(
    folder: &RunFolder,
    found: &Found,
    (facts, rerun): (Vec<Fact>, Rerun),
    image: &dyn Fn(&OutcomeRow) -> Option<RgbImage>,
) -> Result<()> {
    let summary = summarise(&found.outcomes)?;
    let page = report(&FailuresInput {
        outcomes: &found.outcomes,
        summary: &summary,
        atoms: &found.atoms,
        seen: &found.seen,
        human: &found.human,
        image,
        facts,
        rerun,
    })?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    Ok(())
}

/// An outcome's image in the folder of the run that kept it.
pub fn kept_image(folder: &RunFolder, row: &OutcomeRow) -> Option<RgbImage> {
    let path = folder.path(row.image.as_deref()?).ok()?;
    read_image(&path).ok().map(|read| read.image)
}

/// The command that makes the run again from its spec.
pub fn rerun(spec: &str) -> Rerun {
    Rerun { command: "probe run spec.toml".to_owned(), spec: spec.to_owned() }
}

/// Prints what was asked for, and where the rest is.
pub fn print(args: &SuiteArgs, output: &OutputArgs, found: &Found, at: &Path) -> Result<()> {
    let gaps = gaps(&found.outcomes)?;
    match args.print {
        Printed::Summary => output.format.print(&frame(summarise(&found.outcomes)?)?)?,
        Printed::Benchmark => output.format.print(&frame(found.scores.iter().cloned())?)?,
        Printed::Gap => output.format.print(&frame(gaps.iter().cloned())?)?,
    }
    let said_nothing = |row: &&OutcomeRow| row.holds.is_none() && row.score.is_none();
    let undecided = found.outcomes.iter().filter(said_nothing).count();
    if undecided > 0 {
        tracing::warn!("{undecided} images could not be decided; the column `reason` says why");
    }
    if !gaps.is_empty() && args.print == Printed::Summary {
        note("held-out prompts beside their seen twins: the table gap, or --print gap");
    }
    note(&format!("outcomes, reasons and tables: {}", at.display()));
    Ok(())
}

/// The part of a spec that says what is judged by whom.
pub fn spec(args: &Args) -> toml::Table {
    let suite = &args.suite;
    let mut spec = toml::Table::new();
    let mut put = |key: &str, value: toml::Value| spec.insert(key.to_owned(), value);
    put("kind", "failures".into());
    put("version", 1.into());
    put("suite", suite.suites.clone().into());
    let path = |path: &PathBuf| toml::Value::from(path.display().to_string());
    if let Some(images) = &suite.images {
        put("images", path(images));
    }
    if let (Some(detections), Some(rule)) = (&suite.detections, suite.rule) {
        put("detections", path(detections));
        put("rule", rule.name().into());
    }
    if let Some(command) = &suite.judge_command {
        put("judge_command", command.clone().into());
    }
    if suite.judge != Judge::Exact {
        put("judge", value_name(suite.judge).into());
    }
    if let Some(clip) = &suite.clip {
        put("clip", clip.clone().into());
    }
    if suite.partial {
        put("partial", true.into());
    }
    put("keep_images", value_name(suite.keep_images).into());
    args.put_training(&mut spec);
    spec
}

/// The name of a value on the command line.
fn value_name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|named| named.get_name().to_owned()).unwrap_or_default()
}
