//! `probe failures`: generates images of prompts the world understands, and judges them.

mod diagnosed;
mod drawn;
mod given;
mod plan;
mod review;
mod suite_args;

pub(super) use drawn::{Batch, draw_batch};
pub(super) use suite_args::{Opened, describe, image_judge};

use std::collections::BTreeMap;

use anyhow::Result;

use super::image_file::read_image;
use super::model_args::ModelArgs;
use super::output::{OutputArgs, bar, line, note, quoted, seed_value};
use super::run_model::{facts, finish, manifest};
use crate::figure::encode_png;
use crate::judge;
use crate::measure::Proportion;
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::pipeline::{Request, generate};
use crate::probe::judgement::{JudgedImage, judgement_rows};
use crate::probe::outcome::{SuiteIdentity, SuiteImage, outcome_row, world_held_out, world_item};
use crate::report::Rerun;
use crate::run::{RunFolder, TrainingRecord, digest_bytes};
use crate::sampler::SamplerKind;
use crate::suite::Job;
pub(super) use crate::suite::judging::SuiteJudge;
use crate::table::{ImageRow, JudgementRow, JudgementSummaryRow, OutcomeRow, frame, write_parquet};
use crate::world::{self, Category, Generator, Mix, Sample, Split};

const EXAMPLES: &str = "\
Examples:
  probe failures                              # 50 prompts of every category
  probe failures --category relation --count 200
  probe failures --model runs/shapes --count 500 --format md
  probe failures --category two-objects --count 300 --diagnose   # can a failure be foretold?
  probe failures --edit \"zero sites=*.cross.out\"   # what is left without reading the prompt

Prompts are drawn from the world with a seed of their own, so that training never saw their
scenes; shares come with 95 % Wilson intervals. The images, the judge's reasons and the tables
are kept in the run's folder; `probe compare` compares two such folders.

A suite (`probe suites` lists them) is drawn in batches, each kept when it is done: the same command
goes on where a killed run stopped, and loses or repeats no image. Its intervals resample prompts.
Held-out prompts are compared with their seen twins in the table `gap`.";

/// Judge a model's images of prompts the world understands.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Prompts of each category
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    count: u64,
    /// Categories, all if none is given
    #[arg(long = "category", value_name = "NAME", value_parser = super::world::category_parser())]
    categories: Vec<Category>,
    /// Seed of prompts and noise
    #[arg(long, value_name = "N", default_value_t = 1_000_003)]
    seed: u64,
    /// Sampling steps
    #[arg(long, value_name = "N", default_value_t = 25)]
    steps: usize,
    /// Guidance scale
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    guidance: f64,
    /// Images generated at once
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=1024))]
    batch: u64,
    /// Change what flows, such as "zero sites=mid.out steps=0-5"; may be repeated
    #[arg(long = "edit", value_name = "EDIT", long_help = super::edits::HELP)]
    pub(super) edits: Vec<String>,
    /// Optimiser steps that the model was trained for; kept for `probe history`
    #[arg(long, value_name = "N")]
    training_step: Option<u64>,
    /// Images that the model was trained with; kept for `probe history`
    #[arg(long, value_name = "N", requires = "training_step")]
    training_images: Option<u64>,
    #[command(flatten)]
    pub(super) suite: suite_args::SuiteArgs,
    #[command(flatten)]
    diagnosis: diagnosed::DiagnoseArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// How many prompts and images a wanted effect needs, from the variance of runs
    Plan(plan::Args),
    /// A stored run's report anew, with what a person says of single images beside the judge
    Review(review::Args),
}

impl Args {
    /// How far the model was trained, where the command line says so.
    fn training(&self) -> Option<TrainingRecord> {
        Some(TrainingRecord { step: self.training_step?, images: self.training_images })
    }

    /// The same as options of a spec.
    fn put_training(&self, spec: &mut toml::Table) {
        let given =
            [("training_step", self.training_step), ("training_images", self.training_images)];
        for (name, value) in given {
            if let Some(value) = value {
                spec.insert(name.to_owned(), seed_value(value));
            }
        }
    }
}

/// One judged image.
struct Judged {
    category: &'static str,
    verdict: judge::Verdict,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    match &args.action {
        Some(Action::Plan(args)) => return plan::run(args),
        Some(Action::Review(args)) => return review::run(args),
        None => {}
    }
    if args.suite.images.is_some() || args.suite.detections.is_some() {
        return given::run(&args);
    }
    if !args.suite.suites.is_empty() {
        return drawn::run(&args);
    }
    let model = args.model.open()?;
    let categories =
        if args.categories.is_empty() { Category::ALL.to_vec() } else { args.categories.clone() };
    let samples = prompts(&categories, args.count, args.seed);
    let suite = SuiteIdentity::of_world(&categories, args.seed, &samples);
    let all = request(&args, &model, &samples);
    all.check(&model)?;
    super::edits::edits(&args.edits, &model, &all)?;
    let mut manifest = manifest("failures", &args.model, &model, &all);
    manifest.world_version = Some(world::VERSION.to_string());
    manifest.judge_version = Some(format!("{} {}", judge::NAME, judge::VERSION));
    manifest.schemas = crate::table::versions();
    manifest.training = args.training();
    let spec = toml::to_string_pretty(&spec(&args, &categories))?;
    let folder = RunFolder::create(&args.output.out, "failures", &spec)?;

    let diagnoses = args.diagnosis.diagnose;
    let mut watching = diagnoses.then(|| diagnosed::Watching::new(&model)).transpose()?;
    let bar = bar(samples.len() as u64, "images");
    let (mut judged, mut rows, mut images) = (Vec::new(), Vec::new(), Vec::new());
    let mut outcomes = Vec::new();
    for batch in samples.chunks(args.batch as usize) {
        let request = request(&args, &model, batch);
        let mut edits = super::edits::edits(&args.edits, &model, &request)?;
        let made = match &mut watching {
            Some(watching) => watching.generate(&model, &request, edits)?,
            None => generate(&model, &request, Some(&mut edits), &mut |_, _| {})?,
        };
        for (sample, image) in batch.iter().zip(&made.images) {
            let number = judged.len() as u32;
            let expectations = world::parse(&sample.caption)?;
            let verdict = judge::judge(image, &expectations);
            if let Some(watching) = &mut watching {
                watching.judged(judged.len(), group(sample), &verdict);
            }
            let file = format!("images/{number:05}.png");
            let png = encode_png(image)?;
            folder.write(&file, &png)?;
            let sha256 = digest_bytes(&png);
            let image = SuiteImage {
                suite: &suite,
                item: &world_item(sample),
                category: group(sample),
                prompt: &sample.caption,
                seed: noise_seed(args.seed, sample),
                held_out: Some(world_held_out(sample)),
                file: Some(&file),
                sha256: &sha256,
            };
            outcomes.push(outcome_row(image, &verdict));
            images.push(ImageRow {
                sample: number,
                prompt: sample.caption.clone(),
                seed: noise_seed(args.seed, sample),
                file,
                sha256,
            });
            let of = JudgedImage {
                sample: number,
                prompt: &sample.caption,
                seed: noise_seed(args.seed, sample),
                category: sample.category.name(),
            };
            rows.extend(judgement_rows(of, &verdict));
            judged.push(Judged { category: group(sample), verdict });
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();

    let mut summary = frame(summarise(&judged)?)?;
    write_parquet::<ImageRow>(&mut frame(images)?, &folder.path("tables/images.parquet")?)?;
    let path = folder.path("tables/outcome.parquet")?;
    write_parquet::<OutcomeRow>(&mut frame(outcomes.iter().cloned())?, &path)?;
    let path = folder.path("tables/judgement.parquet")?;
    write_parquet::<JudgementRow>(&mut frame(rows.iter().cloned())?, &path)?;
    let path = folder.path("tables/judgement_summary.parquet")?;
    write_parquet::<JudgementSummaryRow>(&mut summary, &path)?;
    let foretold = match watching {
        Some(watching) => {
            let rerun = Rerun { command: command(&args, &categories), spec };
            Some(watching.finish(&folder, &args, (facts(&model, &all, &manifest), rerun))?)
        }
        None => {
            let found = suite_args::Found { outcomes, atoms: rows, ..Default::default() };
            let rerun = Rerun { command: command(&args, &categories), spec };
            let facts = facts(&model, &all, &manifest);
            let image = |row: &OutcomeRow| {
                let file = folder.path(row.image.as_deref()?).ok()?;
                read_image(&file).ok().map(|read| read.image)
            };
            suite_args::write_report(&folder, &found, (facts, rerun), &image)?;
            None
        }
    };
    let at = finish(folder, manifest, &args.model, &model)?;
    match foretold {
        Some(findings) => findings.iter().try_for_each(|f| line(&f.sentence))?,
        None => args.output.format.print(&summary)?,
    }
    note(&format!("images, reasons and tables: {}", at.display()));
    Ok(0)
}

/// The arguments as a spec that makes the same run again.
fn spec(args: &Args, categories: &[Category]) -> toml::Table {
    let names: Vec<&str> = categories.iter().map(|category| category.name()).collect();
    let mut spec = toml::Table::new();
    let mut put = |key: &str, value: toml::Value| spec.insert(key.to_owned(), value);
    put("kind", "failures".into());
    put("version", 1.into());
    put("model", args.model.model.clone().into());
    for (name, value) in args.model.load.options() {
        put(name, value.into());
    }
    put("count", seed_value(args.count));
    put("seed", seed_value(args.seed));
    put("steps", seed_value(args.steps as u64));
    put("guidance", args.guidance.into());
    put("category", names.into());
    if args.diagnosis.diagnose {
        put("diagnose", true.into());
        put("precision", args.diagnosis.precision.into());
    }
    if !args.edits.is_empty() {
        put("edit", args.edits.clone().into());
    }
    args.put_training(&mut spec);
    spec
}

/// The command line that makes the same run again.
fn command(args: &Args, categories: &[Category]) -> String {
    let mut words = format!("probe failures --model {}", quoted(&args.model.model));
    for category in categories {
        words += &format!(" --category {}", category.name());
    }
    words += &format!(
        " --count {} --seed {} --steps {} --guidance {}",
        args.count, args.seed, args.steps, args.guidance
    );
    if args.diagnosis.diagnose {
        words += &format!(" --diagnose --precision {}", args.diagnosis.precision);
    }
    for edit in &args.edits {
        words += &format!(" --edit {}", quoted(edit));
    }
    words
}

/// Prompts never seen in training: another seed, and cells of the training split.
fn prompts(categories: &[Category], count: u64, seed: u64) -> Vec<Sample> {
    categories
        .iter()
        .flat_map(|&category| {
            let generator = Generator::new(seed, Mix::only(category), Split::Train);
            (0..count).map(move |i| generator.sample(i)).collect::<Vec<_>>()
        })
        .collect()
}

fn request(
    args: &Args,
    model: &crate::model::checkpoint::DiffusionModel,
    samples: &[Sample],
) -> Request {
    let prompts = samples.iter().map(|s| s.caption.clone()).collect();
    sampled(args, model, prompts, samples.iter().map(|s| noise_seed(args.seed, s)).collect())
}

/// The request for some images of suites.
pub(super) fn request_of(
    args: &Args,
    model: &crate::model::checkpoint::DiffusionModel,
    jobs: &[Job<'_>],
) -> Request {
    let prompts = jobs.iter().map(|job| job.item.prompt.clone()).collect();
    sampled(args, model, prompts, jobs.iter().map(|job| job.seed).collect())
}

fn sampled(
    args: &Args,
    model: &crate::model::checkpoint::DiffusionModel,
    prompts: Vec<String>,
    seeds: Vec<u64>,
) -> Request {
    Request {
        prompts,
        negative: String::new(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds,
        steps: args.steps,
        sampler: SamplerKind::Ddim,
        guidance: args.guidance,
        height: model.native_size(),
        width: model.native_size(),
        init_latents: None,
        image: None,
        guidance_rescale: 0.0,
        eta: 0.0,
    }
}

/// Seed of an image's noise.
fn noise_seed(seed: u64, sample: &Sample) -> u64 {
    seed.wrapping_add(sample.index)
}

/// The row of the summary that a sample belongs to: its category, counts in two groups.
fn group(sample: &Sample) -> &'static str {
    const FEW: usize = 4;
    match sample.category {
        Category::Count if sample.scene.objects().len() <= FEW => "count 1–4",
        Category::Count => "count 5–6",
        other => other.name(),
    }
}

/// Per category: everything right, and each kind of atom.
fn summarise(judged: &[Judged]) -> Result<Vec<JudgementSummaryRow>> {
    const EVERYTHING: &str = "everything";
    let mut outcomes: BTreeMap<(&str, usize, &str), Vec<bool>> = BTreeMap::new();
    for image in judged {
        let mut add = |place, kind, holds| {
            outcomes.entry((image.category, place, kind)).or_default().push(holds);
        };
        add(0, EVERYTHING, image.verdict.holds());
        for (i, kind) in judge::Atom::KINDS.iter().enumerate() {
            let mut of_kind =
                image.verdict.atoms.iter().filter(|a| a.atom.kind() == *kind).peekable();
            if of_kind.peek().is_some() {
                add(i + 1, kind, of_kind.all(|a| a.holds));
            }
        }
    }
    outcomes
        .into_iter()
        .map(|((category, _, kind), holds)| {
            let share = Proportion::of(holds)?;
            let interval = share.wilson(DEFAULT_CONFIDENCE)?;
            Ok(JudgementSummaryRow {
                category: category.to_owned(),
                kind: kind.to_owned(),
                images: share.trials() as u32,
                right: share.successes() as u32,
                share: share.rate(),
                low: interval.low,
                high: interval.high,
                judge: format!("{} {}", judge::NAME, judge::VERSION),
            })
        })
        .collect()
}
