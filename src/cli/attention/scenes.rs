//! `probe attention --from-world N --at-steps …`: many rendered scenes, looked at and not sampled.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use image::RgbImage;

use super::{Args, prompt_tokens};
use crate::cli::kept::Kept;
use crate::cli::output::{Format, bar, line, note};
use crate::cli::run_model::{SampleArgs, WORLD_SEED, facts, images_at_once, manifest, quoted};
use crate::cli::steps;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Gallery, Request, look};
use crate::probe::attention::report::FIGURE_WIDTH;
use crate::probe::attention::scenes::report::{Scores, shown_facts};
use crate::probe::attention::scenes::{Shown, Tally, Weights};
use crate::report::Rerun;
use crate::run::{Manifest, RunFolder};
use crate::sampler::SchedulerConfig;
use crate::table::{AttentionScoreRow, LeakageRow, frame, write_parquet};
use crate::tap::WordRecorder;
use crate::world::{self, Category, Generator, Mix, Sample, Split};

/// More scenes would only fill memory: a thousand give intervals of a hundredth.
const MOST_SCENES: u64 = 20_000;
/// Random weights that are drawn; each is shown one batch. More would double the time of the whole
/// run for a control whose mean they hardly move.
const DRAWS: usize = 10;

/// Scenes to be shown, and how.
struct Show<'a> {
    model: &'a DiffusionModel,
    sample: &'a SampleArgs,
    timesteps: Vec<i64>,
    sites: Vec<String>,
}

/// Runs the command.
pub(super) fn run(mut args: Args, count: u64) -> Result<u8> {
    let list = args.at_steps.clone().unwrap_or_default();
    if count > MOST_SCENES {
        bail!("--from-world {count} with --at-steps: give at most {MOST_SCENES} scenes");
    }
    if !args.sample.edits.is_empty() {
        bail!("--edit goes with runs that sample or look at --image; leave it out here");
    }
    // One prediction, that of the caption.
    args.sample.guidance = 1.0;
    let mut model = args.model.open()?;
    args.sample.settle(&model)?;
    let trained = SchedulerConfig::read(&model.scheduler)?.num_train_timesteps;
    let asked = steps::parse(&list, trained.saturating_sub(1), "timestep")?;
    let timesteps: Vec<i64> = asked.into_iter().rev().map(|t| t as i64).collect();
    let samples = drawn(args.sample.seed, count)?;
    let first = request(&model, &args.sample, &samples[..1])?;
    first.check(&model)?;
    let mut manifest = manifest("attention", &args.model, &model, &first);
    describe(&mut manifest, &samples, timesteps.len());
    let mut spec = args.sample.spec("attention", &args.model);
    spec.insert("from_world".into(), i64::try_from(count)?.into());
    spec.insert("at_steps".into(), list.clone().into());
    let spec = toml::to_string_pretty(&spec)?;
    let record = args.model.record(&model);
    let (kept, folder) = Kept::open(args.keep, &args.output, ("attention", &spec), &record)?;

    let started = Instant::now();
    let tally = shown(&mut model, &args.sample, (&timesteps, &samples), &kept)?;
    let seconds = started.elapsed().as_secs_f64();
    let scores = Scores::new(tally, folder.name());
    write(&folder, &scores)?;
    let mut command = vec!["probe attention".to_owned(), "--from-world".into(), count.to_string()];
    command.extend(["--at-steps".into(), quoted(&list), "--model".into()]);
    command.extend([quoted(&args.model.model), "--seed".into(), args.sample.seed.to_string()]);
    let rerun = Rerun { command: command.join(" "), spec };
    let shown: Vec<f64> = timesteps.iter().map(|&timestep| timestep as f64).collect();
    let facts = facts(&model, &first, &manifest);
    let facts = shown_facts(facts, samples.len(), &shown, &world::VERSION.to_string());
    let page = scores.report(facts, rerun)?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    manifest.model = Some(record);
    let at = folder.finish(manifest)?;
    kept.finish()?;

    match args.output.format.format {
        Format::Table => {
            scores.findings().iter().try_for_each(|finding| line(&finding.sentence))?;
        }
        _ => args.output.format.print(&frame(scores.places)?)?,
    }
    note(&format!(
        "{count} scenes × {} timesteps in {seconds:.1} s: {:.0} a second, a part of them also with \
         random weights",
        timesteps.len(),
        count as f64 * timesteps.len() as f64 / seconds
    ));
    note(&format!("report: {}", at.join("report.html").display()));
    Ok(0)
}

/// Scenes of pairs and relations.
fn drawn(seed: u64, count: u64) -> Result<Vec<Sample>> {
    let mix = Mix::from_weights([(Category::TwoObjects, 1.0), (Category::Relation, 1.0)])?;
    let generator = Generator::new(seed.wrapping_add(WORLD_SEED), mix, Split::Train);
    Ok((0..count).map(|i| generator.sample(i)).collect())
}

fn describe(manifest: &mut Manifest, samples: &[Sample], timesteps: usize) {
    manifest.set_prompts(samples.iter().map(|sample| sample.caption.clone()).collect());
    manifest.world_version = Some(world::VERSION.to_string());
    manifest.schemas = crate::table::versions();
    if let Some(sampling) = &mut manifest.sampling {
        crate::cli::image_args::NOT_SAMPLED.clone_into(&mut sampling.sampler);
        sampling.steps = timesteps;
    }
}

fn request(model: &DiffusionModel, args: &SampleArgs, samples: &[Sample]) -> Result<Request> {
    let first = samples.first().context("there is no scene to show")?;
    let prompt = Some(first.caption.clone());
    let mut request = SampleArgs { prompt, count: Some(1), ..args.clone() }.request(model)?;
    request.prompts = samples.iter().map(|sample| sample.caption.clone()).collect();
    request.seeds = samples.iter().map(|sample| args.seed.wrapping_add(sample.index)).collect();
    Ok(request)
}

/// Shows all scenes, some batches also to denoisers with random weights.
fn shown(
    model: &mut DiffusionModel,
    sample: &SampleArgs,
    (timesteps, samples): (&[i64], &[Sample]),
    kept: &Kept,
) -> Result<Tally> {
    let sites: Vec<String> = model
        .sites
        .iter()
        .filter(|(_, site)| site.is_cross_probs())
        .map(|(_, site)| site.name.clone())
        .collect();
    if sites.is_empty() {
        bail!("this model has no cross-attention: there is nothing to look at");
    }
    let mut tally = Tally::new(timesteps.to_vec());
    let bar = bar(samples.len() as u64, "scenes");
    let most = images_at_once(model);
    let seed = i64::from_ne_bytes(sample.seed.to_ne_bytes());
    // Batches of one size, give or take one, so that none is of a single scene.
    let batches = samples.len().div_ceil(most);
    for batch in 0..batches {
        let bounds = [batch, batch + 1].map(|b| b * samples.len() / batches);
        let of_batch = &samples[bounds[0]..bounds[1]];
        let show = |model: &DiffusionModel, tally: &mut Tally, weights: Weights| {
            let show = Show { model, sample, timesteps: timesteps.to_vec(), sites: sites.clone() };
            show.batch(of_batch, weights, tally)
        };
        let of_both = || {
            let mut tally = Tally::new(timesteps.to_vec());
            show(model, &mut tally, Weights::Trained)?;
            if is_drawn(batch, batches) {
                // Of the batch's own seed, so that it is the same after a stop.
                tch::manual_seed(seed.wrapping_add(i64::try_from(batch)?));
                let untrained = model.untrained_denoiser()?;
                let trained = std::mem::replace(&mut model.unet, untrained);
                let draw = Weights::Untrained { draw: u32::try_from(batch)? };
                let result = show(model, &mut tally, draw);
                model.unet = trained;
                result?;
            }
            Ok(tally)
        };
        tally.append(kept.piece(&format!("scenes-{batch:05}"), of_both)?);
        bar.inc(of_batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(tally)
}

/// Whether a batch is also shown to random weights: all of a few, [`DRAWS`] spread over many.
fn is_drawn(batch: usize, batches: usize) -> bool {
    let draws = DRAWS.min(batches);
    (batch + 1) * draws / batches > batch * draws / batches
}

impl Show<'_> {
    fn batch(&self, samples: &[Sample], weights: Weights, tally: &mut Tally) -> Result<()> {
        let asked = request(self.model, self.sample, samples)?;
        let mut kept = Vec::new();
        let mut scenes = Vec::new();
        for sample in samples {
            let tokens = prompt_tokens(&asked.encode(self.model, &sample.caption)?);
            let size = usize::try_from(asked.height)?;
            let number = u32::try_from(sample.index)?;
            if let Some(scene) = Shown::new(number, sample, &tokens, size) {
                kept.push(sample.clone());
                scenes.push(scene);
            }
        }
        if scenes.is_empty() {
            return Ok(());
        }
        let asked = request(self.model, self.sample, &kept)?;
        let side = usize::try_from(asked.height)?;
        let images: Vec<RgbImage> =
            kept.iter().map(|sample| world::render(&sample.scene, side)).collect();
        let positions = |scene: &Shown| scene.words.iter().map(|w| w.positions.clone()).collect();
        let words: Vec<Vec<Vec<usize>>> = scenes.iter().map(positions).collect();
        let shape = asked.latent_shape(self.model);
        let tokens = asked.context_length(self.model)?;
        let mut recorder =
            WordRecorder::new(&words, tokens, self.sites.clone(), [shape[2], shape[3]]);
        let gallery = Gallery { images: &images, timesteps: &self.timesteps };
        let started = Instant::now();
        look(self.model, &asked, gallery, Some(&mut recorder), &mut |_, _| {})?;
        let shown = started.elapsed();
        tally.add(&scenes, &recorder.finish(), weights)?;
        tracing::debug!("{} scenes shown in {shown:?}, all in {:?}", kept.len(), started.elapsed());
        Ok(())
    }
}

fn write(folder: &RunFolder, scores: &Scores) -> Result<()> {
    let path = |name: &str| folder.path(&format!("tables/{name}.parquet"));
    let mut table = frame(scores.places.clone())?;
    write_parquet::<AttentionScoreRow>(&mut table, &path("attention_scores")?)?;
    let mut table = frame(scores.leakage.clone())?;
    write_parquet::<LeakageRow>(&mut table, &path("leakage")?)?;
    for (name, figure) in scores.figures() {
        folder.write(&format!("figures/{name}.png"), &figure.png(FIGURE_WIDTH)?)?;
    }
    Ok(())
}
