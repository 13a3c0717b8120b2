//! Images of prompts drawn from the world: per category a number of captions that training never
//! saw.

use std::collections::BTreeMap;

use anyhow::Result;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::diagnosed::Watching;
use super::suite_args::{self, Found};
use super::{Args, sampled};
use crate::cli::edits;
use crate::cli::kept::{KeepArgs, Kept, KeptImage};
use crate::cli::output::{bar, line, note, quoted, seed_value};
use crate::cli::run_model::{facts, manifest};
use crate::figure::encode_png;
use crate::judge::{self, Atom, Verdict};
use crate::measure::Proportion;
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Request, generate};
use crate::probe::diagnosis::Watched;
use crate::probe::judgement::{JudgedImage, judgement_rows, seen_rows};
use crate::probe::outcome::{SuiteIdentity, SuiteImage, outcome_row, world_held_out, world_item};
use crate::probe::stored::keep_facts;
use crate::report::{Finding, Rerun};
use crate::run::{RunFolder, digest_bytes};
use crate::table::{JudgementSummaryRow, OutcomeRow, frame, write_parquet};
use crate::world::{self, Category, Generator, Mix, Sample, Split};

/// One judged image.
struct Judged {
    category: &'static str,
    verdict: Verdict,
}

/// Draws, judges and reports.
pub fn run(args: &Args) -> Result<u8> {
    let model = args.model.open()?;
    let categories =
        if args.categories.is_empty() { Category::ALL.to_vec() } else { args.categories.clone() };
    let samples = prompts(&categories, args.count, args.seed);
    let all = request(args, &model, &samples);
    all.check(&model)?;
    edits::check(&args.edits, &model, &all, args.batch as usize)?;
    let mut manifest = manifest("failures", &args.model, &model, &all);
    suite_args::describe(&mut manifest, &(judge::NAME.to_owned(), judge::VERSION.to_string()));
    manifest.training = args.training();
    let spec = toml::to_string_pretty(&spec(args, &categories))?;
    let record = args.model.record(&model);
    let keep = KeepArgs { fresh: args.suite.fresh };
    let (kept, folder) = Kept::open(keep, &args.output, ("failures", &spec), &record)?;

    let mut drawing = Drawing {
        args,
        model: &model,
        suite: SuiteIdentity::of_world(&categories, args.seed, &samples),
        folder: &folder,
        kept: &kept,
        watching: args.diagnosis.diagnose.then(|| Watching::new(&model)).transpose()?,
        judged: Vec::new(),
        found: Found::default(),
    };
    let bar = bar(samples.len() as u64, "images");
    for batch in edits::batches(&args.edits, &samples, args.batch as usize, |s| &s.caption) {
        drawing.batch(batch)?;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();

    let Drawing { watching, judged, found, .. } = drawing;
    let mut summary = frame(summarise(&judged)?)?;
    suite_args::write_tables(&folder, &found)?;
    let path = folder.path("tables/judgement_summary.parquet")?;
    write_parquet::<JudgementSummaryRow>(&mut summary, &path)?;
    let facts = facts(&model, &all, &manifest);
    keep_facts(&mut manifest, &facts);
    let rerun = Rerun { command: command(args, &categories), spec };
    let foretold: Option<Vec<Finding>> = match watching {
        Some(watching) => Some(watching.finish(&folder, args, (facts, rerun))?),
        None => {
            let image = |row: &OutcomeRow| suite_args::kept_image(&folder, row);
            suite_args::write_report(&folder, &found, (facts, rerun), &image)?;
            None
        }
    };
    manifest.model = Some(record);
    let at = folder.finish(manifest)?;
    kept.finish()?;
    match foretold {
        Some(findings) => findings.iter().try_for_each(|f| line(&f.sentence))?,
        None => args.output.format.print(&summary)?,
    }
    note(&format!("report, images, reasons and tables: {}", at.display()));
    Ok(0)
}

/// Some images.
#[derive(Serialize, Deserialize)]
struct Made {
    images: Vec<KeptImage>,
    /// What their attention was like, where it is watched, at these timesteps.
    watched: Vec<Watched>,
    timesteps: Vec<f64>,
}

/// What is drawn so far.
struct Drawing<'a> {
    args: &'a Args,
    model: &'a DiffusionModel,
    suite: SuiteIdentity,
    folder: &'a RunFolder,
    kept: &'a Kept,
    watching: Option<Watching>,
    judged: Vec<Judged>,
    found: Found,
}

impl Drawing<'_> {
    /// Draws and judges some samples at once.
    fn batch(&mut self, samples: &[Sample]) -> Result<()> {
        let name = format!("images-{:06}", self.judged.len());
        let Made { images, watched, timesteps } = self.kept.piece(&name, || self.made(samples))?;
        if let Some(watching) = &mut self.watching {
            watching.add(watched, timesteps);
        }
        let mut each = samples.iter().zip(&images);
        each.try_for_each(|(sample, image)| self.judge(sample, &image.0))
    }

    fn made(&self, samples: &[Sample]) -> Result<Made> {
        let request = request(self.args, self.model, samples);
        let mut edits = edits::edits(&self.args.edits, self.model, &request)?;
        let (made, watched) = match &self.watching {
            Some(watching) => watching.generate(self.model, &request, edits)?,
            None => (generate(self.model, &request, Some(&mut edits), &mut |_, _| {})?, Vec::new()),
        };
        let images = made.images.into_iter().map(KeptImage).collect();
        Ok(Made { images, watched, timesteps: made.timesteps })
    }

    fn judge(&mut self, sample: &Sample, image: &RgbImage) -> Result<()> {
        let number = self.judged.len();
        let verdict = judge::judge(image, &world::parse(&sample.caption)?);
        let category = group(sample);
        if let Some(watching) = &mut self.watching {
            watching.judged(number, category, &verdict);
        }
        let file = format!("images/{number:05}.png");
        let png = encode_png(image)?;
        self.folder.write(&file, &png)?;
        let seed = noise_seed(self.args.seed, sample);
        let of_suite = SuiteImage {
            suite: &self.suite,
            item: &world_item(sample),
            category,
            prompt: &sample.caption,
            seed,
            held_out: Some(world_held_out(sample)),
            file: Some(&file),
            sha256: &digest_bytes(&png),
        };
        let number = u32::try_from(number)?;
        let of = JudgedImage {
            sample: number,
            prompt: &sample.caption,
            seed,
            category: sample.category.name(),
        };
        self.found.outcomes.push(outcome_row(of_suite, &verdict));
        self.found.atoms.extend(judgement_rows(of, &verdict));
        self.found.seen.extend(seen_rows(number, image.dimensions(), &verdict));
        self.judged.push(Judged { category, verdict });
        Ok(())
    }
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
    put("dtype", args.model.dtype.name().into());
    put("count", seed_value(args.count));
    put("seed", seed_value(args.seed));
    put("steps", seed_value(args.steps as u64));
    put("sampler", args.sampler.label().into());
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
        " --count {} --seed {} --steps {} --sampler {} --guidance {}",
        args.count,
        args.seed,
        args.steps,
        args.sampler.label(),
        args.guidance
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

fn request(args: &Args, model: &DiffusionModel, samples: &[Sample]) -> Request {
    let prompts = samples.iter().map(|s| s.caption.clone()).collect();
    sampled(args, model, prompts, samples.iter().map(|s| noise_seed(args.seed, s)).collect())
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
        for (i, kind) in Atom::KINDS.iter().enumerate() {
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
