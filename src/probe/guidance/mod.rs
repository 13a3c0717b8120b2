//! What guidance buys and what it costs: the same prompts and seeds at several guidance scales,
//! each held against rendered scenes of the same prompts.
//!
//! [`Shown`] are the images of one scale; [`Measure`] what is asked of them; [`Sweep`] has all
//! scales and makes the tables; [`report`] is for people.

mod figures;
mod measure;
pub mod report;
pub mod stored;

use image::RgbImage;
use ndarray::{Array2, ArrayView3};

pub use figures::contact_sheet;
pub use measure::{Measure, Measured};

use crate::judge;
use crate::measure::Undefined;
use crate::measure::appearance::Appearance;
use crate::run::Guidance;
use crate::table::{GuidanceChangeRow, GuidanceImageRow, GuidanceRow, GuidanceSweepRow};
use crate::world::Expectations;

/// Name of the control: scenes that the world's renderer draws for the same prompts.
pub const RENDERS: &str = "renders";
/// Name of the control: images held against prompts they were not made for.
pub const OTHER_PROMPTS: &str = "other-prompts";

/// What an image was made for.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// Its place in the run; none for rendered scenes.
    pub sample: Option<u32>,
    /// Its guidance scale; none for rendered scenes.
    pub scale: Option<f64>,
    /// Its prompt.
    pub prompt: &'a str,
    /// Seed of its noise or its scene.
    pub seed: u64,
    /// What the prompt asks for, where the world understands it.
    pub said: Option<&'a Expectations>,
    /// What the sweep's next prompt asks for.
    pub other: Option<&'a Expectations>,
}

/// The row of one image, without what CLIP says of it; `run` is the name of the run's folder.
///
/// # Errors
/// An image of less than three pixels a side.
pub fn image_row(
    run: &str,
    made: Made<'_>,
    image: &RgbImage,
) -> Result<GuidanceImageRow, Undefined> {
    let (width, height) = image.dimensions();
    let pixels = ArrayView3::from_shape((height as usize, width as usize, 3), image.as_raw())
        .map_err(|_| Undefined::Empty)?;
    let look = Appearance::of(pixels)?;
    let seen = (made.said.is_some() || made.other.is_some()).then(|| judge::look(image));
    let held = |said: Option<&Expectations>| -> Option<(u32, u32)> {
        let verdict = judge::match_seen(seen.clone()?, said?);
        let atoms = verdict.atoms.len() as u32;
        Some((atoms, atoms - verdict.failures().count() as u32))
    };
    let (own, other) = (held(made.said), held(made.other));
    Ok(GuidanceImageRow {
        run: run.to_owned(),
        sample: made.sample,
        scale: made.scale,
        gamma: made.scale.map(|scale| Guidance::from_scale(scale).gamma),
        prompt: made.prompt.to_owned(),
        seed: made.seed,
        control: made.scale.is_none().then(|| RENDERS.to_owned()),
        atoms: own.map(|(atoms, _)| atoms),
        atoms_held: own.map(|(_, held)| held),
        atoms_of_other: other.map(|(atoms, held)| f64::from(held) / f64::from(atoms.max(1))),
        clip_cosine: None,
        clip_cosine_of_other: None,
        saturation: look.saturation,
        contrast: look.contrast,
        clipped: look.clipped,
        laplacian: look.laplacian,
    })
}

/// Images in the order prompt by prompt, every prompt with as many.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// One an image.
    pub rows: Vec<GuidanceImageRow>,
    /// Number of the prompt of each image, from 0.
    pub prompts: Vec<usize>,
    /// Features of the images, one row each, where the model's folder has a CLIP.
    pub features: Option<Array2<f32>>,
}

impl Shown {
    /// The rows of images of one prompt.
    fn of_prompt(&self, prompt: usize) -> impl Iterator<Item = (usize, &GuidanceImageRow)> {
        let own = move |(i, _): &(usize, &GuidanceImageRow)| self.prompts[*i] == prompt;
        self.rows.iter().enumerate().filter(own)
    }

    /// Writes what CLIP says into the rows: unit vectors of the images, one row each, and of the
    /// prompts.
    ///
    /// # Errors
    /// Vectors of another number or width.
    pub fn embed(&mut self, images: Array2<f32>, prompts: &Array2<f32>) -> Result<(), Undefined> {
        let fits = images.nrows() == self.rows.len() && images.ncols() == prompts.ncols();
        if !fits {
            return Err(Undefined::Length { expected: self.rows.len(), got: images.nrows() });
        }
        let count = prompts.nrows();
        for (i, row) in self.rows.iter_mut().enumerate() {
            let prompt = self.prompts[i];
            let cosine =
                |with: usize| f64::from(images.row(i).dot(&prompts.row(with))).clamp(-1.0, 1.0);
            row.clip_cosine = Some(cosine(prompt));
            row.clip_cosine_of_other = (count > 1).then(|| cosine((prompt + 1) % count));
        }
        self.features = Some(images);
        Ok(())
    }
}

/// A whole sweep.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    /// Name of the run's folder.
    pub run: String,
    /// The prompts.
    pub prompts: Vec<String>,
    /// The scales, ascending, with their images: the same prompts and seeds at each.
    pub scales: Vec<(f64, Shown)>,
    /// As many rendered scenes as each scale has images, where the world understands all prompts.
    pub renders: Option<Shown>,
    /// Other rendered scenes of the same prompts: what images are held against.
    pub reference: Option<Shown>,
    /// What the prompt adds at each step; of scales other than 0 and 1.
    pub parts: Vec<GuidanceRow>,
}

impl Sweep {
    /// The table `guidance_sweep`, and what was left out with the reason.
    pub fn rows(&self) -> (Vec<GuidanceSweepRow>, Vec<String>) {
        let (mut rows, mut left_out) = (Vec::new(), Vec::new());
        for &measure in Measure::ALL {
            let mut add = |scale: Option<f64>, shown: &Shown, control: Option<&str>| {
                let against = control == Some(OTHER_PROMPTS);
                match measure.of(shown, self.reference.as_ref(), self.prompts.len(), against) {
                    Ok(Some(measured)) => rows.push(self.row(measure, scale, &measured, control)),
                    Ok(None) => {}
                    Err(reason) => left_out.push(format!("{}: {reason}", measure.name())),
                }
            };
            for (scale, shown) in &self.scales {
                add(Some(*scale), shown, None);
                if measure.is_of_prompts() {
                    add(Some(*scale), shown, Some(OTHER_PROMPTS));
                }
            }
            if let Some(renders) = &self.renders {
                add(None, renders, Some(RENDERS));
            }
        }
        left_out.dedup();
        (rows, left_out)
    }

    fn row(
        &self,
        measure: Measure,
        scale: Option<f64>,
        measured: &Measured,
        control: Option<&str>,
    ) -> GuidanceSweepRow {
        GuidanceSweepRow {
            run: self.run.clone(),
            scale,
            gamma: scale.map(|scale| Guidance::from_scale(scale).gamma),
            measure: measure.name().to_owned(),
            value: measured.value,
            low: measured.interval.map(|(_, low, _)| low),
            high: measured.interval.map(|(_, _, high)| high),
            interval: measured.interval.map(|(kind, ..)| kind.to_owned()),
            prompts: measured.prompts as u32,
            images: measured.images as u32,
            control: control.map(str::to_owned),
        }
    }

    /// The table `guidance_change`: each scale against the lowest. What cannot be measured has no
    /// row; [`Sweep::rows`] says why.
    pub fn changes(&self) -> Vec<GuidanceChangeRow> {
        let Some(((from, lowest), others)) = self.scales.split_first() else { return Vec::new() };
        let mut rows = Vec::new();
        for &measure in Measure::ALL {
            for (to, shown) in others {
                let prompts = self.prompts.len();
                let changed = measure.change(lowest, shown, self.reference.as_ref(), prompts);
                let Ok(Some(measured)) = changed else { continue };
                rows.push(GuidanceChangeRow {
                    run: self.run.clone(),
                    measure: measure.name().to_owned(),
                    from_scale: *from,
                    to_scale: *to,
                    difference: measured.value,
                    low: measured.interval.map(|(_, low, _)| low),
                    high: measured.interval.map(|(_, _, high)| high),
                    prompts: measured.prompts as u32,
                });
            }
        }
        rows
    }

    /// The rows of all images: those of the scales, then the renders.
    pub fn image_rows(&self) -> Vec<GuidanceImageRow> {
        let shown = self.scales.iter().map(|(_, shown)| shown).chain(&self.renders);
        shown.flat_map(|shown| shown.rows.iter().cloned()).collect()
    }
}
