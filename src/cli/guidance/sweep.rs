//! The sweep itself: every prompt and seed at every scale, and rendered scenes beside them.

use anyhow::{Context, Result, bail};
use image::RgbImage;
use ndarray::Array2;
use rayon::prelude::*;

use crate::cli::kept::{Kept, KeptImage};
use crate::cli::output::bar;
use crate::figure::{ContactSheet, encode_png};
use crate::model::checkpoint::DiffusionModel;
use crate::model::clip_folder::ClipModel;
use crate::pipeline::{Request, generate};
use crate::probe::guidance::{Made, Shown, Sweep, contact_sheet, image_row};
use crate::run::{RunFolder, digest_bytes};
use crate::table::{GuidanceRow, ImageRow};
use crate::tap::guidance_row;
use crate::tap::{GuidanceParts, GuidanceRecorder};
use crate::world::{self, Expectations};

/// Added to the seed of rendered scenes that images are held against, and to that of those which
/// take the images' place: neither is training's, nor the other.
const REFERENCE_SEED: u64 = 3_000_017;
const RENDERS_SEED: u64 = 4_000_037;
/// Distance of the seeds of one prompt's scenes from those of the next.
const SEEDS_OF_PROMPT: u64 = 100_003;
/// Images of the contact sheet, over all prompts.
const SHEET_ROWS: usize = 12;

/// What is drawn.
pub(super) struct Plan {
    /// Sampler, steps, size.
    pub base: Request,
    pub prompts: Vec<String>,
    /// What the world understands of each prompt.
    pub said: Vec<Option<Expectations>>,
    /// Ascending.
    pub scales: Vec<f64>,
    /// Images of each prompt at each scale.
    pub count: u64,
    /// Scenes of each prompt that images are held against.
    pub renders: u64,
    pub seed: u64,
    pub batch: usize,
}

/// What was drawn.
pub(super) struct Drawn {
    pub sweep: Sweep,
    /// The table `images`.
    pub images: Vec<ImageRow>,
    pub sheet: ContactSheet,
}

/// An image to be drawn: its prompt's number, and its seed.
pub(super) type Job = (usize, u64);

impl Plan {
    /// Every image of one scale, prompt by prompt. All prompts have the same seeds.
    pub fn jobs(&self) -> Vec<Job> {
        let seeds = || (0..self.count).map(|i| self.seed.wrapping_add(i));
        (0..self.prompts.len()).flat_map(|prompt| seeds().map(move |seed| (prompt, seed))).collect()
    }

    /// Some images at one scale.
    pub fn request(&self, scale: f64, jobs: &[Job]) -> Request {
        Request {
            prompts: jobs.iter().map(|(prompt, _)| self.prompts[*prompt].clone()).collect(),
            seeds: jobs.iter().map(|(_, seed)| *seed).collect(),
            guidance: scale,
            ..self.base.clone()
        }
    }

    /// Draws and measures all.
    pub fn run(
        &self,
        model: &DiffusionModel,
        clip: Option<&ClipModel>,
        (folder, kept): (&RunFolder, &Kept),
    ) -> Result<Drawn> {
        let embedded =
            clip.map(|clip| Ok::<_, anyhow::Error>((clip, clip.embed_prompts(&self.prompts)?)));
        let embedded = embedded.transpose()?;
        let clip = embedded.as_ref().map(|(clip, prompts)| (*clip, prompts));
        let jobs = self.jobs();
        let bar = bar((self.scales.len() * jobs.len()) as u64, "images");
        let mut drawn = Progress { folder, kept, images: Vec::new(), parts: Vec::new() };
        let mut sweep = Sweep {
            run: folder.name().to_owned(),
            prompts: self.prompts.clone(),
            ..Sweep::default()
        };
        let mut columns = Vec::new();
        for &scale in &self.scales {
            let mut images = Vec::new();
            for batch in jobs.chunks(self.batch) {
                images.extend(drawn.batch(self, model, scale, batch)?);
                bar.inc(batch.len() as u64);
            }
            let first = drawn.images.len() - images.len();
            let made = |i: usize| (Some((first + i) as u32), Some(scale));
            sweep.scales.push((scale, self.shown(folder, &jobs, &images, made, clip)?));
            columns.push(images);
        }
        bar.finish_and_clear();
        sweep.parts = drawn.parts;
        if self.said.iter().all(Option::is_some) {
            let rendered = |seed, count| self.rendered(folder, seed, count, clip);
            sweep.renders = Some(rendered(RENDERS_SEED, self.count)?);
            sweep.reference = Some(rendered(REFERENCE_SEED, self.renders)?);
        }
        Ok(Drawn { sweep, images: drawn.images, sheet: self.sheet(&jobs, &columns) })
    }

    /// What is measured of each image; `made` gives the sample and the scale of the i-th.
    fn shown(
        &self,
        folder: &RunFolder,
        jobs: &[Job],
        images: &[RgbImage],
        made: impl Fn(usize) -> (Option<u32>, Option<f64>) + Sync,
        clip: Option<(&ClipModel, &Array2<f32>)>,
    ) -> Result<Shown> {
        let row = |(i, (&(prompt, seed), image)): (usize, (&Job, &RgbImage))| {
            let (sample, scale) = made(i);
            let next = (prompt + 1) % self.prompts.len();
            let made = Made {
                sample,
                scale,
                prompt: &self.prompts[prompt],
                seed,
                said: self.said[prompt].as_ref(),
                other: self.said[next].as_ref().filter(|_| next != prompt),
            };
            image_row(folder.name(), made, image)
        };
        let pairs: Vec<(usize, (&Job, &RgbImage))> = jobs.iter().zip(images).enumerate().collect();
        let rows = pairs.into_par_iter().map(row).collect::<Result<_, _>>()?;
        let prompts = jobs.iter().map(|(prompt, _)| *prompt).collect();
        let mut shown = Shown { rows, prompts, features: None };
        if let Some((clip, of_prompts)) = clip {
            shown.embed(clip.embed_images(images)?, of_prompts)?;
        }
        Ok(shown)
    }

    /// Rendered scenes of the prompts.
    fn rendered(
        &self,
        folder: &RunFolder,
        seed: u64,
        count: u64,
        clip: Option<(&ClipModel, &Array2<f32>)>,
    ) -> Result<Shown> {
        let size = usize::try_from(self.base.width)?;
        let job = |prompt: usize, i: u64| {
            let of_prompt = (prompt as u64).wrapping_mul(SEEDS_OF_PROMPT).wrapping_add(i);
            (prompt, self.seed.wrapping_add(seed).wrapping_add(of_prompt))
        };
        let jobs: Vec<Job> = (0..self.prompts.len())
            .flat_map(|prompt| (0..count).map(move |i| job(prompt, i)))
            .collect();
        let render = |&(prompt, seed): &Job| -> Result<RgbImage> {
            let said = self.said[prompt].as_ref().context("a prompt without a scene")?;
            let scene = world::compose(said, seed)
                .with_context(|| format!("`{}`", self.prompts[prompt]))?;
            Ok(world::render(&scene, size))
        };
        let images: Vec<RgbImage> = jobs.par_iter().map(render).collect::<Result<_>>()?;
        self.shown(folder, &jobs, &images, |_| (None, None), clip)
    }

    /// The first images of as many prompts as the sheet has rows for.
    fn sheet(&self, jobs: &[Job], columns: &[Vec<RgbImage>]) -> ContactSheet {
        let each = (SHEET_ROWS / self.prompts.len().max(1)).clamp(1, self.count as usize);
        let wanted = jobs.iter().enumerate().filter(|(i, _)| i % (self.count as usize) < each);
        let row = |(i, (prompt, seed)): (usize, &Job)| {
            let images = columns.iter().map(|images| images[i].clone()).collect();
            (format!("{}, seed {seed}", self.prompts[*prompt]), images)
        };
        contact_sheet(&self.scales, wanted.take(SHEET_ROWS).map(row).collect())
    }
}

/// What has been drawn so far.
struct Progress<'a> {
    folder: &'a RunFolder,
    kept: &'a Kept,
    images: Vec<ImageRow>,
    parts: Vec<GuidanceRow>,
}

impl Progress<'_> {
    /// Draws a batch and keeps its images and what guidance added.
    fn batch(
        &mut self,
        plan: &Plan,
        model: &DiffusionModel,
        scale: f64,
        jobs: &[Job],
    ) -> Result<Vec<RgbImage>> {
        let first = self.images.len();
        let draw = || self.draw(&plan.request(scale, jobs), model, first);
        let drawn = self.kept.piece(&format!("images-{first:06}"), draw);
        let (images, parts) = drawn.with_context(|| format!("at guidance {scale}"))?;
        self.parts.extend(parts);
        let images: Vec<RgbImage> = images.into_iter().map(|image| image.0).collect();
        for (image, &(prompt, seed)) in images.iter().zip(jobs) {
            let sample = self.images.len() as u32;
            let file = format!("images/{sample:05}.png");
            let png = encode_png(image)?;
            self.folder.write(&file, &png)?;
            self.images.push(ImageRow {
                sample,
                prompt: plan.prompts[prompt].clone(),
                seed,
                file,
                sha256: digest_bytes(&png),
            });
        }
        Ok(images)
    }

    /// Draws a batch, the first image of which has this number.
    fn draw(
        &self,
        request: &Request,
        model: &DiffusionModel,
        first: usize,
    ) -> Result<(Vec<KeptImage>, Vec<GuidanceRow>)> {
        let mut recorder = GuidanceRecorder::new(None);
        let made = generate(model, request, Some(&mut recorder), &mut |_, _| {})?;
        if made.images.len() != request.seeds.len() {
            bail!("{} images where {} were asked for", made.images.len(), request.seeds.len());
        }
        let row = |part: GuidanceParts| {
            let sample = (first + part.sample) as u32;
            GuidanceRow { sample, ..guidance_row(self.folder.name(), part) }
        };
        let parts = recorder.into_parts().into_iter().map(row).collect();
        Ok((made.images.into_iter().map(KeptImage).collect(), parts))
    }
}
