//! Images through the autoencoder, with latents left alone and changed.

use anyhow::{Context, Result};
use image::RgbImage;
use indicatif::ProgressBar;
use ndarray::{Array3, Array4, ArrayD, ArrayView4, Axis, Ix4, concatenate, s};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::cli::kept::{Kept, KeptImage};
use crate::cli::output::bar;
use crate::cli::world::check_interrupt;
use crate::figure::ContactSheet;
use crate::measure::spectrum::Bands;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{decode, encode, from_images};
use crate::probe::latent::{
    Change, ChannelRanges, Condition, Impulse, LatentRun, OTHER_IMAGE, RENDERED, Seen, UNTRAINED,
    look,
};
use crate::tap::Cx;
use crate::world::Expectations;

/// Pixels that go through the autoencoder at once: 32 images of 64 pixels a side, one of 512.
const BATCH_PIXELS: i64 = 32 * 64 * 64;
/// By how much one number of a latent is changed, in standard deviations of the unit noise.
const IMPULSE: f32 = 1.0;
/// Cells that are touched in each direction, away from the edges.
const TOUCHED: usize = 3;
/// Rows of the contact sheet.
const SHEET_ROWS: usize = 8;

/// What goes through.
pub(super) struct RoundTrips<'a> {
    pub images: &'a [RgbImage],
    /// What their captions say.
    pub said: &'a [Option<Expectations>],
    /// What is done to latents; the first is nothing.
    pub changes: &'a [Change],
    /// Images whose latents' numbers are changed one by one.
    pub impulses: usize,
    pub seed: u64,
    pub kept: &'a Kept,
}

impl RoundTrips<'_> {
    /// Everything, and a sheet to look at.
    pub fn run(
        &self,
        model: &mut DiffusionModel,
        run: &str,
        captions: &[String],
    ) -> Result<(LatentRun, ContactSheet)> {
        let _no_grad = tch::no_grad_guard();
        let (width, height) = self.images.first().context("there is no image")?.dimensions();
        let bands = Bands::octaves((height as usize, width as usize));
        let bar = bar((self.images.len() * (self.changes.len() + 1)) as u64, "images");
        let latents = self.encoded(model)?;
        let ranges = ChannelRanges::of(latents.view())?;
        let mut conditions = self.controls(&bands)?;
        let mut columns = vec![("image".to_owned(), self.images.to_vec())];
        for &change in self.changes {
            let changed = change.apply(latents.view(), &ranges, (self.seed, 0))?;
            let name = format!("decoded-{}", column_name(change).replace(' ', "-"));
            let images = self.pictures(&name, || self.decoded(model, changed.view()))?;
            bar.inc(images.len() as u64);
            conditions.push(self.condition(change, None, &images, &bands)?);
            columns.push((column_name(change), images));
        }
        tch::manual_seed(i64::from_ne_bytes(self.seed.to_ne_bytes()));
        let untrained = model.untrained_autoencoder()?;
        let trained = std::mem::replace(&mut model.vae, untrained);
        let pass = || self.encoded(model).and_then(|x| self.decoded(model, x.view()));
        let passed = self.pictures("decoded-untrained", pass);
        model.vae = trained;
        conditions.push(self.condition(Change::None, Some(UNTRAINED), &passed?, &bands)?);
        bar.finish_and_clear();
        let impulses = self.responses(model, latents.view())?;
        let run = LatentRun { run: run.to_owned(), conditions, bands, impulses };
        Ok((run, sheet(&columns, captions)))
    }

    /// Images that are kept once they are made.
    fn pictures(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Vec<RgbImage>>,
    ) -> Result<Vec<RgbImage>> {
        let make = || Ok(make()?.into_iter().map(KeptImage).collect::<Vec<_>>());
        Ok(self.kept.piece(name, make)?.into_iter().map(|image| image.0).collect())
    }

    /// The images themselves, and each against the next.
    fn controls(&self, bands: &Bands) -> Result<Vec<Condition>> {
        let mut all = vec![self.condition(Change::None, Some(RENDERED), self.images, bands)?];
        if self.images.len() > 1 {
            let mut others = self.images.to_vec();
            others.rotate_left(1);
            all.push(self.condition(Change::None, Some(OTHER_IMAGE), &others, bands)?);
        }
        Ok(all)
    }

    fn condition(
        &self,
        change: Change,
        control: Option<&'static str>,
        left: &[RgbImage],
        bands: &Bands,
    ) -> Result<Condition> {
        let see = |i: usize| Ok(look(&self.images[i], &left[i], self.said[i].as_ref(), bands)?);
        let seen: Vec<Seen> = (0..left.len()).into_par_iter().map(see).collect::<Result<_>>()?;
        Ok(Condition { change, control, seen })
    }

    /// Latents [n, c, h, w] as the denoiser has them.
    fn encoded(&self, model: &DiffusionModel) -> Result<Array4<f32>> {
        let mut parts = Vec::new();
        for batch in self.images.chunks(batch(model)) {
            check_interrupt()?;
            parts.push(array(&encode(model, &from_images(batch), &mut Cx::silent())?)?);
        }
        joined(&parts)
    }

    fn decoded(
        &self,
        model: &DiffusionModel,
        latents: ArrayView4<'_, f32>,
    ) -> Result<Vec<RgbImage>> {
        let mut images = Vec::new();
        for part in latents.axis_chunks_iter(Axis(0), batch(model)) {
            check_interrupt()?;
            let latents = tensor(part)?.to_device(model.placement.device);
            images.extend(decode(model, &latents, &mut Cx::silent())?);
        }
        Ok(images)
    }

    /// Responses to changes of single numbers, of all channels.
    fn responses(
        &self,
        model: &DiffusionModel,
        latents: ArrayView4<'_, f32>,
    ) -> Result<Vec<Impulse>> {
        let count = self.impulses.min(self.images.len());
        let (_, channels, rows, columns) = latents.dim();
        let (rows, columns) = (touched(rows), touched(columns));
        let cells: Vec<(usize, usize)> =
            rows.iter().flat_map(|&row| columns.iter().map(move |&column| (row, column))).collect();
        let bar = bar((count * channels) as u64, "channels");
        let mut impulses = Vec::new();
        for image in 0..count {
            let own = latents.slice(s![image..image + 1, .., .., ..]);
            let respond = || responses_of(model, (image, own.view()), &cells, &bar);
            impulses.extend(self.kept.piece(&format!("impulses-{image:05}"), respond)?);
            bar.set_position(((image + 1) * channels) as u64);
        }
        bar.finish_and_clear();
        Ok(impulses)
    }
}

/// Responses of one image, channel by channel; `own` is its latent [1, c, h, w].
fn responses_of(
    model: &DiffusionModel,
    (image, own): (usize, ArrayView4<'_, f32>),
    cells: &[(usize, usize)],
    bar: &ProgressBar,
) -> Result<Vec<Impulse>> {
    let before = pixels(model, own)?;
    let response = |changed: Array4<f32>| -> Result<Array3<f32>> {
        let after = pixels(model, changed.view())?;
        Ok((after - &before).index_axis_move(Axis(0), 0))
    };
    let mut impulses = Vec::new();
    for channel in 0..own.dim().1 {
        let mut touched = Vec::new();
        for &(row, column) in cells {
            check_interrupt()?;
            let mut changed = own.to_owned();
            changed[(0, channel, row, column)] += IMPULSE;
            touched.push((response(changed)?, centre(model, (row, column))));
        }
        let mut changed = own.to_owned();
        changed.slice_mut(s![.., channel, .., ..]).mapv_inplace(|x| x + IMPULSE);
        let all = response(changed)?;
        let views: Vec<_> = touched.iter().map(|(r, at)| (r.view(), *at)).collect();
        let which = (image, channel, f64::from(IMPULSE));
        impulses.push(Impulse::of(which, &views, all.view())?);
        bar.inc(1);
    }
    Ok(impulses)
}

/// Images that go through at once.
fn batch(model: &DiffusionModel) -> usize {
    (BATCH_PIXELS / model.native_size().pow(2)).max(1) as usize
}

/// Places along one side that are touched: quarters, or all of a short side.
fn touched(side: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (1..=TOUCHED).map(|i| i * side / (TOUCHED + 1)).collect();
    places.dedup();
    places
}

/// Centre of a latent's cell in the image, in pixels; pixel centres are whole numbers.
fn centre(model: &DiffusionModel, (row, column): (usize, usize)) -> (f64, f64) {
    let by = model.downscale() as f64;
    let middle = |cell: usize| (cell as f64 + 0.5) * by - 0.5;
    (middle(row), middle(column))
}

/// The decoder's image before it is rounded to bytes, about 0 to 1: [n, 3, h, w].
fn pixels(model: &DiffusionModel, latents: ArrayView4<'_, f32>) -> Result<Array4<f32>> {
    let kind = model.vae_config.kind(model.placement.kind);
    let latents = tensor(latents)?.to_device(model.placement.device).to_kind(kind);
    let unscaled = latents / model.vae_config.scaling_factor;
    let image = model.vae.decode(&unscaled, &mut Cx::silent())?;
    array(&(image.to_kind(Kind::Float) * 0.5 + 0.5))
}

fn tensor(latents: ArrayView4<'_, f32>) -> Result<Tensor> {
    Ok(Tensor::try_from(&latents.as_standard_layout())?)
}

fn array(x: &Tensor) -> Result<Array4<f32>> {
    let x = x.to_device(Device::Cpu).to_kind(Kind::Float).contiguous();
    let array: ArrayD<f32> = (&x).try_into()?;
    Ok(array.into_dimensionality::<Ix4>()?)
}

fn joined(parts: &[Array4<f32>]) -> Result<Array4<f32>> {
    let views: Vec<_> = parts.iter().map(Array4::view).collect();
    Ok(concatenate(Axis(0), &views)?)
}

fn column_name(change: Change) -> String {
    match change {
        Change::None => "round trip".to_owned(),
        Change::Quantised { bits: 1 } => "1 bit".to_owned(),
        Change::Quantised { bits } => format!("{bits} bits"),
        Change::Blurred { sigma } => format!("blur {sigma}"),
        Change::Noised { sigma } => format!("noise {sigma}"),
    }
}

/// The image, the round trip, and of each kind of change two strengths.
fn sheet(columns: &[(String, Vec<RgbImage>)], captions: &[String]) -> ContactSheet {
    let mut kept: Vec<&(String, Vec<RgbImage>)> = columns.iter().take(2).collect();
    for kind in ["bit", "blur", "noise"] {
        let own: Vec<_> = columns.iter().filter(|(name, _)| name.contains(kind)).collect();
        kept.extend(own.get(own.len() / 3));
        kept.extend(own.get(2 * own.len() / 3).filter(|_| own.len() > 1));
    }
    let row = |i: usize| {
        let images = kept.iter().map(|(_, images)| images[i].clone()).collect();
        (captions[i].clone(), images)
    };
    ContactSheet {
        title: "Images, and what is left of them".to_owned(),
        column_axis: "what was done to the latents".to_owned(),
        columns: kept.iter().map(|(name, _)| name.clone()).collect(),
        rows: (0..captions.len().min(SHEET_ROWS)).map(row).collect(),
    }
}
