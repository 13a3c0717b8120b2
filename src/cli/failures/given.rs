//! Images from any generator, and detections of them, judged by a suite.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::RgbImage;

use super::Args;
use super::suite_args::{self, Found, Opened};
use crate::cli::image_file::read_image;
use crate::cli::output::bar;
use crate::judge::imported::read::{Evidences, key_of, read};
use crate::judge::imported::{PublishedRule, VERSION};
use crate::probe::stored::keep_facts;
use crate::report::Fact;
use crate::run::{Manifest, RunFolder, digest_file};
use crate::suite::imported::{check, rule, scores};
use crate::suite::judging::{Made, SuiteJudge, ruling_row};
use crate::suite::{Expect, Job, Suite};
use crate::table::OutcomeRow;

/// Images judged at once.
const BATCH: usize = 64;
/// Behind the name of a suite of which only a part was judged.
const PARTIAL: &str = " (partial)";
/// Names in a message.
const NAMED: usize = 5;
/// Endings of the images that are read.
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// Files by suite, prompt and seed.
type Files = BTreeMap<(String, String, u64), PathBuf>;

/// Judges what is given.
pub fn run(args: &Args) -> Result<u8> {
    let mut opened = Opened::open(&args.suite.suites)?;
    let files = args.suite.images.as_deref().map(|at| list(at, &opened)).transpose()?;
    let (found, judge) = match (&args.suite.detections, args.suite.rule) {
        (Some(path), Some(published)) => {
            for item in opened.each().flat_map(|(suite, _)| &suite.items) {
                check(published, item)?;
            }
            let evidence = of_one_suite(&opened, read(path)?)?;
            restrict(args, &mut opened, path, |suite, item, seed| {
                evidence.contains_key(&(item.to_owned(), seed))
                    && files.as_ref().is_none_or(|f| f.contains_key(&key(suite, item, seed)))
            })?;
            let judge = (published.judge().to_owned(), VERSION.to_string());
            (by_detections(&opened, published, &evidence, files.as_ref())?, judge)
        }
        _ => {
            let (Some(files), Some(at)) = (files.as_ref(), &args.suite.images) else {
                bail!("nothing to judge; give --images DIR, or --detections FILE with --rule");
            };
            restrict(args, &mut opened, at, |suite, item, seed| {
                files.contains_key(&key(suite, item, seed))
            })?;
            let mut judge = suite_args::image_judge(args, &opened)?;
            let mut found = by_looking(&opened.jobs(), files, &mut judge)?;
            found.scores = suite_args::readings(&opened, &args.suite, &found);
            (found, judge.name())
        }
    };
    let spec = toml::to_string_pretty(&suite_args::spec(args))?;
    let folder = RunFolder::create(&args.output.out, "failures", &spec)?;
    suite_args::write_tables(&folder, &found)?;
    let image = |row: &OutcomeRow| {
        let at = files.as_ref()?.get(&named(row))?;
        read_image(at).ok().map(|read| read.image)
    };
    let facts = vec![Fact { label: "judge".to_owned(), value: format!("{} {}", judge.0, judge.1) }];
    let mut manifest = Manifest::new("failures");
    keep_facts(&mut manifest, &facts);
    suite_args::write_report(&folder, &found, (facts, suite_args::rerun(&spec)), &image)?;
    suite_args::describe(&mut manifest, &judge);
    manifest.training = args.training();
    manifest.set_prompts(opened.jobs().iter().map(|job| job.item.prompt.clone()).collect());
    let at = folder.finish(manifest)?;
    suite_args::print(&args.suite, &args.output, &found, &at)?;
    Ok(0)
}

fn key(suite: &Suite, item: &str, seed: u64) -> (String, String, u64) {
    (suite.name.clone(), item.to_owned(), seed)
}

/// Where the image of an outcome is listed; the suite of a part is listed under the whole's name.
fn named(row: &OutcomeRow) -> (String, String, u64) {
    let suite = row.suite.strip_suffix(PARTIAL).unwrap_or(&row.suite);
    (suite.to_owned(), row.item.clone(), row.seed)
}

/// The images of a folder. With one suite its images may lie in the folder itself.
fn list(folder: &Path, opened: &Opened) -> Result<Files> {
    let mut files = Files::new();
    let one = opened.each().count() == 1;
    for (suite, _) in opened.each() {
        let own = folder.join(&suite.name);
        let root = if own.is_dir() || !one { own } else { folder.to_owned() };
        let mut unknown = Vec::new();
        for path in images_below(&root)? {
            let below = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
            let known = key_of(&below).filter(|(item, seed)| {
                suite.items.iter().any(|i| i.id == *item && suite.seeds_of(i).contains(seed))
            });
            let Some((item, seed)) = known else {
                unknown.push(below);
                continue;
            };
            if let Some(other) = files.insert(key(suite, &item, seed), path.clone()) {
                bail!(
                    "{} and {} are both of item {item}, seed {seed}; keep one",
                    other.display(),
                    path.display()
                );
            }
        }
        if !unknown.is_empty() {
            bail!(
                "{}: {} images belong to no prompt and seed of suite {}, such as {}; name them \
                 <item>_<seed>.png (`probe suites show {}` lists the items) or move them away",
                root.display(),
                unknown.len(),
                suite.name,
                some(&unknown),
                suite.name
            );
        }
    }
    Ok(files)
}

/// All images below a folder, sorted.
fn images_below(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| {
            format!("{}: cannot be listed; give a folder of images", folder.display())
        })?;
        for entry in entries {
            let path = entry?.path();
            let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
            if path.is_dir() {
                folders.push(path);
            } else if ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn some(names: &[String]) -> String {
    names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ")
}

/// Files of detections do not say which suite they are of.
fn of_one_suite(opened: &Opened, evidence: Evidences) -> Result<Evidences> {
    let mut suites = opened.each();
    let (Some((suite, _)), None) = (suites.next(), suites.next()) else {
        bail!("--detections takes one --suite at a time; run the others by themselves");
    };
    let known = |item: &str, seed: u64| {
        suite.items.iter().any(|i| i.id == item && suite.seeds_of(i).contains(&seed))
    };
    let unknown: Vec<String> = evidence
        .keys()
        .filter(|(item, seed)| !known(item, *seed))
        .map(|(item, seed)| format!("{item}_{seed}"))
        .collect();
    if !unknown.is_empty() {
        bail!(
            "{} detected images belong to no prompt and seed of suite {}, such as {}; give the \
             suite that they were made for",
            unknown.len(),
            suite.name,
            some(&unknown)
        );
    }
    Ok(evidence)
}

/// Leaves of the suites what is there; refused without `--partial` when anything is missing. A
/// part is another question than the whole, so name and digest change.
fn restrict(
    args: &Args,
    opened: &mut Opened,
    at: &Path,
    there: impl Fn(&Suite, &str, u64) -> bool,
) -> Result<()> {
    for (suite, identity) in opened.each_mut() {
        let mut missing = Vec::new();
        let mut part = suite.clone();
        for item in &mut part.items {
            let seeds = suite.seeds_of(item);
            let (kept, gone): (Vec<u64>, Vec<u64>) =
                seeds.iter().copied().partition(|&seed| there(suite, &item.id, seed));
            missing.extend(gone.iter().map(|seed| format!("{}_{seed}", item.id)));
            item.seeds = kept;
        }
        if missing.is_empty() {
            continue;
        }
        if !args.suite.partial {
            bail!(
                "{}: {} of {} images of suite {} are missing, such as {}; add them, or judge what \
                 is there with --partial",
                at.display(),
                missing.len(),
                suite.images(),
                suite.name,
                some(&missing)
            );
        }
        part.items.retain(|item| !item.seeds.is_empty());
        if part.items.is_empty() {
            bail!("{}: no image of suite {} is there", at.display(), suite.name);
        }
        part.seeds.clear();
        let mut of_part = part.identity();
        of_part.name = format!("{}{PARTIAL}", part.name);
        (*suite, *identity) = (part, of_part);
    }
    Ok(())
}

fn by_detections(
    opened: &Opened,
    published: PublishedRule,
    evidence: &Evidences,
    files: Option<&Files>,
) -> Result<Found> {
    let version = VERSION.to_string();
    let mut outcomes = Vec::new();
    for job in opened.jobs() {
        let Some(seen) = evidence.get(&(job.item.id.clone(), job.seed)) else { continue };
        let ruling = rule(published, job.item, seen)?;
        let file = files.and_then(|f| f.get(&key(job.suite, &job.item.id, job.seed)));
        let sha256 = file.map(|file| digest_file(file)).transpose()?.map(|digest| digest.0);
        let judge = (published.judge(), version.as_str());
        outcomes.push(ruling_row(job, judge, &ruling, &sha256.unwrap_or_default()));
    }
    let scores = scores(published, &outcomes, |id| {
        opened.each().flat_map(|(suite, _)| &suite.items).find_map(|item| match &item.expect {
            Some(Expect::Geneval(asked)) if item.id == id => Some(asked.tag.as_str()),
            _ => None,
        })
    });
    let (atoms, seen, human) = (Vec::new(), Vec::new(), Vec::new());
    Ok(Found { outcomes, atoms, seen, human, scores })
}

fn by_looking(jobs: &[Job<'_>], files: &Files, judge: &mut SuiteJudge) -> Result<Found> {
    let mut found = Found::default();
    let mut size = None;
    let bar = bar(jobs.len() as u64, "images");
    for (number, batch) in jobs.chunks(BATCH).enumerate() {
        let mut read = Vec::new();
        for job in batch {
            let Some(path) = files.get(&key(job.suite, &job.item.id, job.seed)) else { continue };
            let file = read_image(path)?;
            same_size(&mut size, path, &file.image, judge)?;
            read.push((job, path, file));
        }
        let first = number * BATCH;
        let made: Vec<Made<'_>> = (0..)
            .zip(&read)
            .map(|(i, (job, path, file))| Made {
                job: **job,
                sample: u32::try_from(first + i).unwrap_or(u32::MAX),
                image: &file.image,
                path,
                sha256: &file.sha256,
            })
            .collect();
        for judged in judge.judge(&made)? {
            found.outcomes.push(judged.outcome);
            found.atoms.extend(judged.atoms);
            found.seen.extend(judged.seen);
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(found)
}

/// All images of one generator have one size; the exact judge looks at square ones.
fn same_size(
    size: &mut Option<((u32, u32), PathBuf)>,
    path: &Path,
    image: &RgbImage,
    judge: &SuiteJudge,
) -> Result<()> {
    let (width, height) = image.dimensions();
    if matches!(judge, SuiteJudge::Exact) && (width != height || width < 16) {
        bail!(
            "{}: {width}×{height} pixels; the exact judge looks at square images from 16×16 on, \
             so crop or resize it",
            path.display()
        );
    }
    let (first, at) = size.get_or_insert_with(|| ((width, height), path.to_owned()));
    if *first != (width, height) {
        bail!(
            "{}: {width}×{height} pixels, but {} has {}×{}; images of one run have one size",
            path.display(),
            at.display(),
            first.0,
            first.1
        );
    }
    Ok(())
}
