//! Images that a model draws for suites: in batches, each kept when it is done, so that a killed
//! run goes on with the next.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use image::RgbImage;
use rayon::prelude::*;

use super::suite_args::{self, Found, Keep, Opened};
use super::{Args, request_of};
use crate::cli::edits;
use crate::cli::kept;
use crate::cli::output::{bar, note, seed_value};
use crate::cli::run_model::{facts, manifest};
use crate::figure::encode_png;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::generate;
use crate::run::{AtomicFile, ModelRecord, RunError, RunFolder, digest_bytes};
use crate::suite::Job;
use crate::suite::judging::{Judged, Made, SuiteJudge};
use crate::suite::store::Incomplete;
use crate::table::OutcomeRow;

/// Draws and judges.
pub fn run(args: &Args) -> Result<u8> {
    let opened = Opened::open(&args.suite.suites)?;
    let jobs = opened.jobs();
    let mut judge = suite_args::image_judge(args, &opened)?;
    let model = args.model.open()?;
    let all = request_of(args, &model, &jobs);
    all.check(&model)?;
    edits::check(&args.edits, &model, &all, args.batch as usize)?;
    let record = args.model.record(&model);
    let spec = spec(args);
    let question = question(&spec, &opened, &record, &judge)?;
    let begin = if args.suite.fresh { Incomplete::begin_anew } else { Incomplete::open };
    let mut store = begin(&args.output.out, "failures", &question)?;
    draw(args, &model, &jobs, &mut judge, &mut store)?;

    let mut manifest = manifest("failures", &args.model, &model, &all);
    suite_args::describe(&mut manifest, &judge.name());
    manifest.model = Some(record);
    manifest.training = args.training();
    let mut found = Found {
        outcomes: jobs.iter().filter_map(|job| store.done().get(&job.key()).cloned()).collect(),
        atoms: store.atoms()?,
        seen: store.seen()?,
        human: Vec::new(),
        scores: Vec::new(),
    };
    found.scores = suite_args::readings(&opened, &args.suite, &found);
    let spec = toml::to_string_pretty(&spec)?;
    let folder = RunFolder::create(&args.output.out, "failures", &spec)?;
    suite_args::write_tables(&folder, &found)?;
    store.hand_over(&folder)?;
    let facts = facts(&model, &all, &manifest);
    let image = |row: &OutcomeRow| suite_args::kept_image(&folder, row);
    suite_args::write_report(&folder, &found, (facts, suite_args::rerun(&spec)), &image)?;
    let at = folder.finish(manifest)?;
    store.remove()?;
    suite_args::print(&args.suite, &args.output, &found, &at)?;
    Ok(0)
}

/// Makes and judges every image that is not there yet.
fn draw(
    args: &Args,
    model: &DiffusionModel,
    jobs: &[Job<'_>],
    judge: &mut SuiteJudge,
    store: &mut Incomplete,
) -> Result<()> {
    let left: Vec<(u32, Job<'_>)> = (0_u32..)
        .zip(jobs)
        .map(|(n, job)| (n, *job))
        .filter(|(_, job)| !store.done().contains_key(&job.key()))
        .collect();
    let done = jobs.len() - left.len();
    if done > 0 {
        note(&format!("{done} of {} images are there from a run that was cut short", jobs.len()));
    }
    let bar = bar(jobs.len() as u64, "images");
    bar.set_position(done as u64);
    let at_once = args.batch as usize;
    for batch in edits::batches(&args.edits, &left, at_once, |(_, job)| &job.item.prompt) {
        let path = |file: &str| Ok(store.path(file)?);
        let drawn = Batch { jobs: batch, images: "images", path: &path };
        let judged = draw_batch(args, model, &drawn, judge).with_context(|| {
            format!("the run stopped; the same command goes on from {}", store.root().display())
        })?;
        store.add(&judged)?;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Images that are drawn at once.
pub(in crate::cli) struct Batch<'a> {
    /// What is asked, each with its place in the run.
    pub jobs: &'a [(u32, Job<'a>)],
    /// Folder of the images in the run.
    pub images: &'a str,
    /// Where a file of the run is to be written; makes the folders above it.
    pub path: &'a dyn Fn(&str) -> Result<PathBuf>,
}

/// Draws images and judges them.
pub(in crate::cli) fn draw_batch(
    args: &Args,
    model: &DiffusionModel,
    batch: &Batch<'_>,
    judge: &mut SuiteJudge,
) -> Result<Vec<Judged>> {
    let jobs: Vec<Job<'_>> = batch.jobs.iter().map(|(_, job)| *job).collect();
    let request = request_of(args, model, &jobs);
    let mut edits = edits::edits(&args.edits, model, &request)?;
    let made = generate(model, &request, Some(&mut edits), &mut |_, _| {})?;
    judge_batch(args.suite.keep_images, batch, &made.images, judge)
}

/// A drawn image as a file.
struct Encoded {
    /// Relative to the run.
    file: String,
    path: PathBuf,
    png: Vec<u8>,
    sha256: String,
}

fn judge_batch(
    keep: Keep,
    batch: &Batch<'_>,
    images: &[RgbImage],
    judge: &mut SuiteJudge,
) -> Result<Vec<Judged>> {
    let png: Vec<Vec<u8>> = images.par_iter().map(encode_png).collect::<Result<_, _>>()?;
    let encode = |((_, job), png): (&(u32, Job<'_>), Vec<u8>)| -> Result<Encoded> {
        let file = format!("{}/{}.png", batch.images, job.file_stem());
        Ok(Encoded { path: (batch.path)(&file)?, file, sha256: digest_bytes(&png), png })
    };
    let encoded: Vec<Encoded> = batch.jobs.iter().zip(png).map(encode).collect::<Result<_>>()?;
    // A program reads images from their files; the exact judge needs none.
    let from_files = matches!(judge, SuiteJudge::External(_));
    if from_files {
        encoded.iter().try_for_each(|one| AtomicFile::write(&one.path, &one.png))?;
    }
    let made: Vec<Made<'_>> = batch
        .jobs
        .iter()
        .zip(images)
        .zip(&encoded)
        .map(|(((sample, job), image), encoded)| Made {
            job: *job,
            sample: *sample,
            image,
            path: &encoded.path,
            sha256: &encoded.sha256,
        })
        .collect();
    let mut judged = judge.judge(&made)?;
    for (judged, encoded) in judged.iter_mut().zip(&encoded) {
        let kept = keep.keeps(&judged.outcome);
        if kept {
            judged.outcome.image = Some(encoded.file.clone());
        }
        match (kept, from_files) {
            (true, false) => AtomicFile::write(&encoded.path, &encoded.png)?,
            (false, true) => {
                fs::remove_file(&encoded.path).map_err(RunError::io("remove", &encoded.path))?
            }
            _ => {}
        }
    }
    Ok(judged)
}

/// The arguments as a spec that makes the same run again.
fn spec(args: &Args) -> toml::Table {
    let mut spec = suite_args::spec(args);
    let mut put = |key: &str, value: toml::Value| spec.insert(key.to_owned(), value);
    put("model", args.model.model.clone().into());
    for (name, value) in args.model.load.options() {
        put(name, value.into());
    }
    put("dtype", args.model.dtype.name().into());
    put("steps", seed_value(args.steps as u64));
    put("sampler", args.sampler.label().into());
    put("guidance", args.guidance.into());
    put("batch", seed_value(args.batch));
    if !args.edits.is_empty() {
        put("edit", args.edits.clone().into());
    }
    spec
}

/// What the run asks, down to the bytes of weights and suites: what is there of another question
/// is not gone on with.
fn question(
    spec: &toml::Table,
    opened: &Opened,
    record: &ModelRecord,
    judge: &SuiteJudge,
) -> Result<String> {
    let mut question = kept::question(&toml::to_string_pretty(spec)?, record);
    for (suite, identity) in opened.each() {
        question += &format!("# suite {} {}\n", suite.name, identity.hash);
    }
    let (name, version) = judge.name();
    Ok(question + &format!("# judge {name} {version}\n"))
}
