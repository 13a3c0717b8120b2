//! Images that are drawn and watched: what is predicted at each step, and how attention changes.

use anyhow::{Result, bail};
use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::prompts::{Job, request};
use super::scenes::{SceneLatents, spectra};
use super::{Args, Part};
use crate::cli::kept::{Kept, KeptImage};
use crate::cli::output::bar;
use crate::cli::run_model::images_at_once;
use crate::judge;
use crate::measure::spectrum::agreement;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Generation, decode, generate};
use crate::probe::timesteps::NoiseLevels;
use crate::probe::timesteps::bands::BandTrajectory;
use crate::probe::timesteps::over_time::{CHANGE, COSINE, ENTROPY, OverTime};
use crate::probe::timesteps::trajectory::Trajectory;
use crate::table::{CommitmentRow, X0AnswerRow};
use crate::tap::{All, ChangeRecorder, Cx, EntropyRecorder, GuidanceRecorder, RawRecorder, Then};
use crate::world;

/// Most bytes that the predictions of one batch may take.
const BUDGET: u64 = 4 << 30;
/// Film strips, and frames of each.
const STRIPS: usize = 4;
const FRAMES: usize = 8;
const X0_SITE: &str = "step.x0";

/// What was found in the images that were drawn, or in one batch of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Sampled {
    pub levels: NoiseLevels,
    pub answers: Vec<X0AnswerRow>,
    pub commitments: Vec<CommitmentRow>,
    pub bands: Vec<BandTrajectory>,
    pub over_time: OverTime,
    pub strips: Vec<Strip>,
    /// What was not measured, in sentences.
    pub missing: Vec<String>,
}

impl Sampled {
    fn append(&mut self, batch: Self) {
        self.levels = batch.levels;
        self.answers.extend(batch.answers);
        self.commitments.extend(batch.commitments);
        self.bands.extend(batch.bands);
        self.over_time.append(batch.over_time);
        self.strips.extend(batch.strips);
        self.missing.extend(batch.missing);
    }
}

/// Predictions of one image, each with its label.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Strip {
    pub prompt: String,
    pub seed: u64,
    pub frames: Vec<(String, KeptImage)>,
}

/// Sites whose change or entropy is watched, in the order of the model.
pub(super) fn watched(model: &DiffusionModel) -> Vec<String> {
    let ends = [".cross.out", ".self.out", ".cross.probs"];
    let names = model.sites.iter().map(|(_, site)| site.name.clone());
    names.filter(|name| ends.iter().any(|end| name.ends_with(end))).collect()
}

/// Draws and watches all images.
pub(super) fn run(
    args: &Args,
    model: &DiffusionModel,
    jobs: &[Job],
    (run, kept, latents): (&str, &Kept, Option<&SceneLatents>),
) -> Result<Sampled> {
    let mut sampled = Sampled::default();
    // The judge knows the world's images: of a prompt that is none of the world's it says nothing.
    let judged =
        args.asks(Part::Trajectory) && jobs.iter().all(|job| world::parse(&job.prompt).is_ok());
    if args.asks(Part::Trajectory) && !judged {
        sampled.missing.push(
            "the predicted images were not judged: the exact judge knows the world's images, and \
             the prompt is none of the world's grammar"
                .to_owned(),
        );
    }
    let bar = bar(jobs.len() as u64, "images");
    for (number, batch) in jobs.chunks(images_at_once(model)).enumerate() {
        let first = number * images_at_once(model);
        let wanted = STRIPS.saturating_sub(sampled.strips.len());
        let watch = Watch { args, model, latents, run, judged, wanted };
        sampled.append(kept.piece(&format!("sampled-{number:05}"), || watch.batch(batch, first))?);
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    Ok(sampled)
}

/// How a batch is watched.
struct Watch<'a> {
    args: &'a Args,
    model: &'a DiffusionModel,
    latents: Option<&'a SceneLatents>,
    run: &'a str,
    /// Whether the judge looks at it.
    judged: bool,
    /// Film strips that are still wanted.
    wanted: usize,
}

impl Watch<'_> {
    /// Draws a batch, the first image of which has this number.
    fn batch(&self, batch: &[Job], first: usize) -> Result<Sampled> {
        let drawn = Drawn::new(self.args, self.model, batch)?;
        let made = &drawn.made;
        let (timesteps, sigmas) = (made.timesteps.clone(), made.sigmas.clone());
        let levels = NoiseLevels { timesteps, sigmas };
        let mut sampled = Sampled::default();
        if let (true, Some(latents)) = (self.args.asks(Part::Spectrum), self.latents) {
            sampled.bands = drawn.bands(batch, latents)?;
        }
        if self.args.asks(Part::Trajectory) {
            let images = drawn.images(self.model)?;
            sampled.strips = strips(batch, &images, &levels, self.wanted);
            if self.judged {
                for one in trajectories(batch, first, &images) {
                    let (answers, commitments) = one.rows(self.run, &levels);
                    sampled.answers.extend(answers);
                    sampled.commitments.extend(commitments);
                }
            }
        }
        drawn.attention(batch, &mut sampled.over_time);
        Ok(Sampled { levels, ..sampled })
    }
}

/// One batch with what was recorded of it.
struct Drawn {
    made: Generation,
    /// Predictions of each step, [n, c, h, w].
    x0: Vec<Tensor>,
    change: ChangeRecorder,
    entropy: EntropyRecorder,
    /// Where there is guidance to be seen.
    guidance: Option<GuidanceRecorder>,
}

impl Drawn {
    fn new(args: &Args, model: &DiffusionModel, batch: &[Job]) -> Result<Self> {
        let request = request(args, model, batch)?;
        let attention = args.asks(Part::Attention);
        let watched = if attention { watched(model) } else { Vec::new() };
        let of = |end: &str| {
            watched.iter().filter(|name| name.ends_with(end)).cloned().collect::<Vec<_>>()
        };
        let predictions = args.asks(Part::Trajectory) || args.asks(Part::Spectrum);
        let kept = predictions.then(|| X0_SITE.to_owned());
        let guided = attention && args.sample.guidance != 1.0;
        let guidance = All(guided.then(|| GuidanceRecorder::new(None)).into_iter().collect());
        let mut tap = Then(
            RawRecorder::new(kept, None, BUDGET),
            Then(
                ChangeRecorder::new([of(".cross.out"), of(".self.out")].concat(), None),
                Then(EntropyRecorder::new(of(".cross.probs")), guidance),
            ),
        );
        let made = generate(model, &request, Some(&mut tap), &mut |_, _| {})?;
        let Then(raw, Then(change, Then(entropy, All(mut guidance)))) = tap;
        let guidance = guidance.pop();
        let x0: Vec<Tensor> = raw.into_tensors().into_iter().map(|(_, x)| x).collect();
        if predictions && x0.len() != made.timesteps.len() {
            bail!("{} predictions for {} steps were recorded", x0.len(), made.timesteps.len());
        }
        Ok(Self { made, x0, change, entropy, guidance })
    }

    /// The predicted images, [step][image].
    fn images(&self, model: &DiffusionModel) -> Result<Vec<Vec<RgbImage>>> {
        let _no_grad = tch::no_grad_guard();
        let device = model.placement.device;
        let one = |x: &Tensor| Ok(decode(model, &x.to_device(device), &mut Cx::silent())?);
        self.x0.iter().map(one).collect()
    }

    /// How each band of each prediction agrees with the last one.
    fn bands(&self, batch: &[Job], latents: &SceneLatents) -> Result<Vec<BandTrajectory>> {
        let steps =
            self.x0.iter().map(|x| spectra(x, &latents.mean)).collect::<Result<Vec<_>>>()?;
        let Some(end) = steps.last() else { return Ok(Vec::new()) };
        let of_image = |(i, job): (usize, &Job)| {
            let of_step = |step: &Vec<Vec<_>>| Ok(agreement(&step[i], &end[i], &latents.bands)?);
            let steps = steps.iter().map(of_step).collect::<Result<_>>()?;
            Ok(BandTrajectory { unit: job.prompt.clone(), steps })
        };
        batch.iter().enumerate().map(of_image).collect()
    }

    fn attention(self, batch: &[Job], over_time: &mut OverTime) {
        let prompt = |sample: usize| batch[sample].prompt.as_str();
        for one in self.change.into_changes() {
            if one.branch != Some(crate::site::Branch::Cond) {
                continue;
            }
            let value = (one.relative, prompt(one.sample));
            over_time.add(CHANGE, Some(&one.site), one.at.step, value);
        }
        for one in self.entropy.into_entropies() {
            let value = (one.entropy, prompt(one.sample));
            over_time.add(ENTROPY, Some(&one.site), one.at.step, value);
        }
        for one in self.guidance.into_iter().flat_map(GuidanceRecorder::into_parts) {
            over_time.add(COSINE, None, one.at.step, (one.cosine, prompt(one.sample)));
        }
    }
}

/// What the judge sees in each prediction of each image.
fn trajectories(batch: &[Job], first: usize, images: &[Vec<RgbImage>]) -> Vec<Trajectory> {
    let of_image = |(i, job): (usize, &Job)| Trajectory {
        sample: (first + i) as u32,
        prompt: job.prompt.clone(),
        seed: job.seed,
        seen: images.par_iter().map(|step| judge::look(&step[i])).collect(),
    };
    batch.iter().enumerate().map(of_image).collect()
}

/// Film strips of the first image of each prompt, at most so many.
fn strips(
    batch: &[Job],
    images: &[Vec<RgbImage>],
    levels: &NoiseLevels,
    wanted: usize,
) -> Vec<Strip> {
    let last = images.len().saturating_sub(1);
    let frames = FRAMES.min(images.len()).max(1);
    let mut steps: Vec<usize> = (0..frames).map(|i| i * last / (frames - 1).max(1)).collect();
    steps.dedup();
    let is_first = |i: usize| i == 0 || batch[i - 1].prompt != batch[i].prompt;
    let strip = |i: usize| Strip {
        prompt: batch[i].prompt.clone(),
        seed: batch[i].seed,
        frames: steps
            .iter()
            .map(|&s| (format!("t = {:.0}", levels.timesteps[s]), KeptImage(images[s][i].clone())))
            .collect(),
    };
    (0..batch.len()).filter(|&i| is_first(i)).take(wanted).map(strip).collect()
}
