//! Rendered scenes: their latents, and what the denoiser makes of them when they are noised.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use image::RgbImage;
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::prompts::WORLD_SEED;
use super::{Args, Part};
use crate::cli::interrupted;
use crate::cli::kept::Kept;
use crate::cli::output::bar;
use crate::cli::run_model::{SampleArgs, images_at_once};
use crate::measure::linear::Sums;
use crate::measure::spectrum::{Agreement, Bands, NoiseCrossing, Spectrum, agreement, transform};
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Gallery, Request, encode, from_images, look};
use crate::probe::timesteps::NoiseLevels;
use crate::probe::timesteps::bands::BandTrajectory;
use crate::probe::timesteps::features::{
    Readings, SiteFeatures, Target, UNTRAINED, means, probe_row, read, similarities, targets,
};
use crate::probe::timesteps::masks;
use crate::sampler::{Schedule, SchedulerConfig};
use crate::site::Glob;
use crate::table::SiteSimilarityRow;
use crate::tap::{Cx, PlaceMomentsRecorder, PlaceTargets, PlaceTargetsRecorder, RawRecorder, Then};
use crate::world::{self, Category, Generator, Mix, Sample, Split};

/// Bytes of activations that are held at once; more timesteps are shown one after the other.
const HELD: usize = 1 << 30;
/// Most bytes that the predictions of one batch may take.
const BUDGET: u64 = 4 << 30;
/// Three in five scenes have one object, whose attributes and place are read; the others have
/// several alike, which are counted, or a written word.
const SCENES: [(Category, f64); 3] =
    [(Category::OneObject, 3.0), (Category::Count, 1.0), (Category::Word, 1.0)];
/// What is probed where no site is named: every block's and layer's output, and what the sampler
/// has.
const USUAL_SITES: [&str; 2] = ["*.out", "step.*"];
const X0_SITE: &str = "step.x0";

/// Scenes with their spectra.
#[derive(Debug)]
pub(super) struct SceneLatents {
    samples: Vec<Sample>,
    /// Mean latent, [c, h, w].
    pub mean: Tensor,
    /// Deviations from it, image by image.
    spectra: Vec<Vec<Spectrum>>,
    pub bands: Bands,
    pub null: NoiseCrossing,
}

/// What the denoiser made of them.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub bands: Vec<BandTrajectory>,
    pub levels: NoiseLevels,
    pub readings: Readings,
    pub similarities: Vec<SiteSimilarityRow>,
}

/// The sites that are probed.
pub(super) fn sites(args: &Args, model: &DiffusionModel) -> Result<Vec<String>> {
    let globs: Vec<Glob> = match args.sites.as_slice() {
        [] => USUAL_SITES.map(Glob::new).to_vec(),
        named => named.iter().map(Glob::new).collect(),
    };
    let chosen = model.sites.select(&globs)?;
    let known = |id: &crate::site::SiteId| PlaceMomentsRecorder::knows(model.sites.get(*id));
    let names: Vec<String> =
        chosen.into_iter().filter(known).map(|id| model.sites.get(id).name.clone()).collect();
    if names.is_empty() && args.asks(Part::Probes) {
        bail!(
            "none of these sites has places and channels to average over; name others, such as \
             --sites 'mid.*.out'"
        );
    }
    Ok(names)
}

/// Whether a site is the output of a block, as `mid.out` and `up.1.out` are: masks are read out of
/// these alone, for a regression on places takes more room than one on means.
fn is_of_block(site: &str) -> bool {
    const BLOCKS: [&str; 3] = ["down", "mid", "up"];
    let parts: Vec<&str> = site.split('.').collect();
    parts.len() <= 3 && parts.last() == Some(&"out") && BLOCKS.contains(&parts[0])
}

/// The latents of an image batch as spectra of deviations from the mean: [image][channel].
pub(super) fn spectra(latents: &Tensor, mean: &Tensor) -> Result<Vec<Vec<Spectrum>>> {
    let deviations = (latents.to_device(tch::Device::Cpu) - mean).to_kind(Kind::Double);
    let [images, channels, rows, columns] = deviations.size4().map(|(n, c, h, w)| [n, c, h, w])?;
    let shape = (usize::try_from(rows)?, usize::try_from(columns)?);
    let field = |image: i64, channel: i64| -> Result<Spectrum> {
        let plane = deviations.get(image).get(channel).contiguous().view([-1]);
        let values = Vec::<f64>::try_from(plane)?;
        Ok(transform(ArrayView2::from_shape(shape, &values)?))
    };
    let of_image = |image: i64| (0..channels).map(|channel| field(image, channel)).collect();
    (0..images).map(of_image).collect()
}

/// Draws and encodes the scenes.
pub(super) fn latents(args: &Args, model: &DiffusionModel, kept: &Kept) -> Result<SceneLatents> {
    let generator = Generator::new(
        args.sample.seed.wrapping_add(WORLD_SEED),
        Mix::from_weights(SCENES)?,
        Split::Train,
    );
    let samples: Vec<Sample> = (0..args.scenes).map(|i| generator.sample(i)).collect();
    let asked = request(args, model, &samples[..1])?;
    asked.check(model)?;
    let _no_grad = tch::no_grad_guard();
    let bar = bar(args.scenes, "scenes encoded");
    let mut all = Vec::new();
    for (number, batch) in samples.chunks(images_at_once(model)).enumerate() {
        let encoded = || {
            let pixels = from_images(&rendered(batch, &asked)?);
            numbers(&encode(model, &pixels, &mut Cx::silent())?)
        };
        let (shape, values) = kept.piece(&format!("latents-{number:05}"), encoded)?;
        all.push(Tensor::from_slice(&values).view(shape.as_slice()));
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    let all = Tensor::cat(&all, 0);
    let mean = all.mean_dim([0_i64].as_slice(), false, Kind::Float);
    let spectra = spectra(&all, &mean)?;
    let first = spectra.first().and_then(|image| image.first()).context("there is no scene")?;
    let bands = Bands::octaves(first.dim());
    let null = NoiseCrossing::of(&spectra, &bands)?;
    Ok(SceneLatents { samples, mean, spectra, bands, null })
}

/// A tensor as a piece keeps it: its shape and its numbers, row by row.
fn numbers(x: &Tensor) -> Result<(Vec<i64>, Vec<f32>)> {
    let x = x.to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous();
    Ok((x.size(), Vec::<f32>::try_from(x.view([-1]))?))
}

fn rendered(samples: &[Sample], asked: &Request) -> Result<Vec<RgbImage>> {
    let side = usize::try_from(asked.height)?;
    let [width, height] = [u32::try_from(asked.width)?, u32::try_from(asked.height)?];
    let image = |sample: &Sample| {
        crate::pipeline::resized(&world::render(&sample.scene, side), [width, height])
    };
    Ok(samples.par_iter().map(image).collect())
}

/// One look at each scene: with its caption, or with none.
fn request(args: &Args, model: &DiffusionModel, samples: &[Sample]) -> Result<Request> {
    let first = samples.first().map(|sample| sample.caption.clone());
    let guidance = if args.captions { 1.0 } else { 0.0 };
    let like = SampleArgs { prompt: first, count: Some(1), guidance, ..args.sample.clone() };
    let mut request = like.request(model)?;
    request.negative = String::new();
    request.prompts = samples.iter().map(|sample| sample.caption.clone()).collect();
    request.seeds =
        samples.iter().map(|sample| args.sample.seed.wrapping_add(sample.index)).collect();
    Ok(request)
}

/// Shows all scenes at all timesteps, and reads what can be read.
pub(super) fn shown(
    args: &Args,
    model: &mut DiffusionModel,
    (run, kept, timesteps, sites): (&str, &Kept, &[i64], &[String]),
    latents: &SceneLatents,
) -> Result<Shown> {
    let schedule = Schedule::new(&SchedulerConfig::read(&model.scheduler)?)?;
    let levels = NoiseLevels {
        timesteps: timesteps.iter().map(|&t| t as f64).collect(),
        sigmas: timesteps.iter().map(|&t| schedule.sigma(t)).collect(),
    };
    let sites = if args.asks(Part::Probes) { sites } else { &[] };
    let spectrum = args.asks(Part::Spectrum);
    let mask_sites: Vec<String> = sites.iter().filter(|name| is_of_block(name)).cloned().collect();
    let mask_sites = mask_sites.as_slice();
    let mut show = Show { args, latents, levels: &levels, run, kept, sites, mask_sites, spectrum };
    let mut shown = Shown { levels: levels.clone(), ..Shown::default() };
    show.all(model, timesteps, None, &mut shown)?;
    if sites.is_empty() {
        return Ok(shown);
    }
    tch::manual_seed(i64::from_ne_bytes(args.sample.seed.to_ne_bytes()));
    let untrained = model.untrained_denoiser()?;
    let trained = std::mem::replace(&mut model.unet, untrained);
    show.spectrum = false;
    let result = show.all(model, timesteps, Some(UNTRAINED), &mut shown);
    model.unet = trained;
    result?;
    Ok(shown)
}

/// How the predictions of one scene agree with it: [timestep][band].
type BandsOfScene = Vec<Vec<Option<Agreement>>>;

/// What was found at some timesteps.
#[derive(Serialize, Deserialize)]
struct Looked {
    bands: Vec<BandsOfScene>,
    /// Of each site at each timestep: its name, the timestep, and the means over places, a row a
    /// scene.
    means: Vec<(String, f64, Array2<f32>)>,
    readings: Readings,
}

/// What scenes leave behind that are shown at some timesteps.
struct Looks {
    features: Vec<SiteFeatures>,
    covered: PlaceTargetsRecorder,
    bands: Vec<BandsOfScene>,
}

/// The pixels of all objects of a scene.
fn all_objects(scene: &world::Scene, side: usize) -> Array2<bool> {
    let mut all = Array2::from_elem((side, side), false);
    for mask in world::masks(scene, side) {
        all.zip_mut_with(&mask, |all, &one| *all |= one);
    }
    all
}

/// What is shown, and what is made of it.
struct Show<'a> {
    args: &'a Args,
    latents: &'a SceneLatents,
    levels: &'a NoiseLevels,
    run: &'a str,
    kept: &'a Kept,
    sites: &'a [String],
    /// Sites out of whose places masks are read.
    mask_sites: &'a [String],
    spectrum: bool,
}

impl Show<'_> {
    fn all(
        &self,
        model: &DiffusionModel,
        timesteps: &[i64],
        control: Option<&str>,
        shown: &mut Shown,
    ) -> Result<()> {
        let scenes: Vec<&world::Scene> =
            self.latents.samples.iter().map(|sample| &sample.scene).collect();
        let targets = targets(&scenes);
        let at_once = self.timesteps_at_once(model).min(timesteps.len());
        let what = if control.is_some() { "looks, random weights" } else { "looks" };
        let bar = bar((scenes.len() * timesteps.len()) as u64, what);
        let mut compared: BTreeMap<String, Vec<(f64, Array2<f32>)>> = BTreeMap::new();
        let mut steps: Vec<BandsOfScene> = vec![Vec::new(); scenes.len()];
        for (chunk, of_chunk) in timesteps.chunks(at_once).enumerate() {
            let first = chunk * at_once;
            let look = || self.chunk(model, (of_chunk, first), (&targets, control), &bar);
            let name = format!("looks-{}-{chunk:05}", control.unwrap_or("trained"));
            let looked = self.kept.piece(&name, look)?;
            steps.iter_mut().zip(looked.bands).for_each(|(steps, more)| steps.extend(more));
            let shown_by_now = ((first + of_chunk.len()) * scenes.len()) as u64;
            // Looks that were made move the bar themselves.
            if bar.position() < shown_by_now {
                bar.set_position(shown_by_now);
            }
            for (site, timestep, means) in looked.means {
                compared.entry(site).or_default().push((timestep, means));
            }
            shown.readings.rows.extend(looked.readings.rows);
            shown.readings.missing.extend(looked.readings.missing);
        }
        shown.readings.missing.sort();
        shown.readings.missing.dedup();
        bar.finish_and_clear();
        if self.spectrum {
            let unit = |(i, steps): (usize, BandsOfScene)| BandTrajectory {
                unit: format!("{i:06}"),
                steps,
            };
            shown.bands = steps.into_iter().enumerate().map(unit).collect();
        }
        for site in self.sites {
            let Some(at) = compared.get(site) else { continue };
            match similarities(self.run, site, at) {
                Ok(rows) => shown.similarities.extend(rows),
                Err(reason) => {
                    let says = format!("{site} was not compared between timesteps: {reason}");
                    shown.readings.missing.push(says);
                }
            }
        }
        Ok(())
    }

    /// Shows all scenes at some timesteps, the first of which has this number, and reads them.
    fn chunk(
        &self,
        model: &DiffusionModel,
        (timesteps, first): (&[i64], usize),
        (targets, control): (&[(&'static str, Target)], Option<&str>),
        bar: &indicatif::ProgressBar,
    ) -> Result<Looked> {
        // Sites were read since the last look: that pause says nothing of looks to come.
        bar.reset_eta();
        let Looks { features, covered, bands } = self.looks(model, timesteps, first, bar)?;
        let of_site = |one: &SiteFeatures| (one.site.clone(), one.timestep, means(one));
        let compared = if control.is_none() { features.as_slice() } else { &[] };
        Ok(Looked {
            bands,
            means: compared.iter().map(of_site).collect(),
            readings: {
                let mut readings = self.read(model, &features, (targets, control))?;
                let of_masks = self.read_masks(covered, first, control);
                readings.rows.extend(of_masks.rows);
                readings.missing.extend(of_masks.missing);
                readings
            },
        })
    }

    /// Where objects are in each of some scenes, and in another of them.
    fn masks(&self, batch: &[Sample], asked: &Request) -> Result<Vec<PlaceTargets>> {
        if self.mask_sites.is_empty() {
            return Ok(Vec::new());
        }
        let side = usize::try_from(asked.height)?;
        let covered: Vec<Array2<bool>> =
            batch.par_iter().map(|sample| all_objects(&sample.scene, side)).collect();
        let shift = (batch.len() / 2).max(1);
        let of_scene = |(i, sample): (usize, &Sample)| PlaceTargets {
            fold: sample.index as usize % masks::FOLDS,
            masks: vec![covered[i].clone(), covered[(i + shift) % batch.len()].clone()],
        };
        Ok(batch.iter().enumerate().map(of_scene).collect())
    }

    fn read_masks(
        &self,
        covered: PlaceTargetsRecorder,
        first: usize,
        control: Option<&str>,
    ) -> Readings {
        let sums: Vec<_> = covered.finish().into_iter().collect();
        let scenes = self.latents.samples.len();
        let one = |((site, step), sums): &((String, usize), Vec<Option<Sums>>)| {
            let step = first + step;
            let at = (self.levels.timesteps[step], self.levels.sigmas[step]);
            masks::read(sums, scenes, &probe_row(self.run, site, at, control))
        };
        let all: Vec<Readings> = sums.par_iter().map(one).collect();
        Readings {
            rows: all.iter().flat_map(|one| one.rows.clone()).collect(),
            missing: all.into_iter().flat_map(|one| one.missing).collect(),
        }
    }

    /// How many timesteps' activations fit into what may be held.
    fn timesteps_at_once(&self, model: &DiffusionModel) -> usize {
        let width = |name: &String| {
            model.sites.find(name).map_or(0, |id| PlaceMomentsRecorder::width(model.sites.get(id)))
        };
        let numbers: usize = self.sites.iter().map(width).sum();
        let bytes = numbers * size_of::<f32>() * self.latents.samples.len();
        (HELD / bytes.max(1)).max(1)
    }

    /// Shows all scenes at some timesteps: their activations, and how each band of the predictions
    /// agrees with the scene, [scene][timestep][band].
    fn looks(
        &self,
        model: &DiffusionModel,
        timesteps: &[i64],
        first: usize,
        bar: &indicatif::ProgressBar,
    ) -> Result<Looks> {
        let samples = &self.latents.samples;
        let shape = request(self.args, model, &samples[..1])?.latent_shape(model);
        let grid = [shape[2], shape[3]];
        let mut pooled = PlaceMomentsRecorder::new(self.sites.to_vec(), grid);
        let mut covered = PlaceTargetsRecorder::new(self.mask_sites.to_vec(), grid, masks::FOLDS);
        let mut predicted = Vec::new();
        let size = images_at_once(model);
        for (number, batch) in samples.chunks(size).enumerate() {
            let asked = request(self.args, model, batch)?;
            let images = rendered(batch, &asked)?;
            let kept = self.spectrum.then(|| X0_SITE.to_owned());
            covered.show(self.masks(batch, &asked)?);
            let mut tap = Then(pooled, Then(covered, RawRecorder::new(kept, None, BUDGET)));
            let gallery = Gallery { images: &images, timesteps };
            look(model, &asked, gallery, Some(&mut tap), &mut |_, _| {})?;
            let Then(recorder, Then(sums, raw)) = tap;
            (pooled, covered) = (recorder, sums);
            if self.spectrum {
                let truth = &self.latents.spectra[number * size..][..batch.len()];
                predicted.extend(self.agreements(raw, truth)?);
            }
            bar.inc((batch.len() * timesteps.len()) as u64);
        }
        predicted.resize_with(samples.len(), Vec::new);
        Ok(Looks { features: self.features(pooled, first)?, covered, bands: predicted })
    }

    fn agreements(&self, raw: RawRecorder, truth: &[Vec<Spectrum>]) -> Result<Vec<BandsOfScene>> {
        let mut found = vec![Vec::new(); truth.len()];
        for (_, x0) in raw.into_tensors() {
            let of_images = spectra(&x0, &self.latents.mean)?;
            for ((found, x), y) in found.iter_mut().zip(&of_images).zip(truth) {
                found.push(agreement(x, y, &self.latents.bands)?);
            }
        }
        Ok(found)
    }

    /// What was pooled, in the order of sites; `first` is the number of the first timestep.
    fn features(&self, pooled: PlaceMomentsRecorder, first: usize) -> Result<Vec<SiteFeatures>> {
        let mut features = Vec::new();
        for ((site, step), pooled) in pooled.finish() {
            let rows = pooled.values.len() / pooled.width.max(1);
            let step = first + step;
            features.push(SiteFeatures {
                site,
                timestep: self.levels.timesteps[step],
                sigma: self.levels.sigmas[step],
                values: Array2::from_shape_vec((rows, pooled.width), pooled.values)?,
            });
        }
        let place = |name: &String| self.sites.iter().position(|site| site == name);
        features.sort_by_key(|one| place(&one.site));
        Ok(features)
    }

    fn read(
        &self,
        model: &DiffusionModel,
        features: &[SiteFeatures],
        (targets, control): (&[(&'static str, Target)], Option<&str>),
    ) -> Result<Readings> {
        if interrupted() {
            bail!("interrupted");
        }
        let logistic: Vec<String> = match control {
            None => {
                let globs: Vec<Glob> = self.args.logistic.iter().map(Glob::new).collect();
                let chosen = model.sites.select(&globs)?;
                chosen.into_iter().map(|id| model.sites.get(id).name.clone()).collect()
            }
            Some(_) => Vec::new(),
        };
        let bar = bar(features.len() as u64, "sites read");
        let found = read(self.run, features, targets, (control, &logistic), &|| bar.inc(1));
        bar.finish_and_clear();
        Ok(found)
    }
}
