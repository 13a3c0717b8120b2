//! What is asked of the images of one guidance scale, and how its interval is made.

use ndarray::{Array2, ArrayView2, Axis};

use super::Shown;
use crate::measure::distribution::{NEIGHBOURS, frechet, kernel_distance, precision_recall};
use crate::measure::diversity::{mean_pairwise_distance, vendi_share};
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::measure::jackknife::jackknife;
use crate::measure::{Bootstrap, Proportion, Undefined};
use crate::table::GuidanceImageRow;

/// A measure of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Share of images that have all that the prompt says.
    Right,
    /// Share of what the prompt says that an image has.
    Atoms,
    /// Cosine of image and prompt in CLIP.
    ClipCosine,
    /// Fréchet distance to rendered scenes in CLIP's features.
    Frechet,
    /// Kernel distance to rendered scenes in CLIP's features.
    Kernel,
    /// Share of images that are like rendered scenes.
    Precision,
    /// Share of rendered scenes that images are like.
    Recall,
    /// Vendi score of a prompt's images over their number.
    Vendi,
    /// Mean feature distance of a prompt's images.
    Pairwise,
    /// Mean saturation.
    Saturation,
    /// RMS contrast.
    Contrast,
    /// Share of pixels at either end.
    Clipped,
    /// Energy of the Laplacian.
    Laplacian,
}

/// A value, and its interval with the name of how it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// `bootstrap`, `jackknife` or `wilson`, lower and upper end; none for too few prompts.
    pub interval: Option<(&'static str, f64, f64)>,
    /// Prompts it rests on.
    pub prompts: usize,
    /// Images it rests on.
    pub images: usize,
}

const BOOTSTRAP: &str = "bootstrap";
const JACKKNIFE: &str = "jackknife";
const WILSON: &str = "wilson";

/// Images and what they are held against, some prompts left out.
struct Sets {
    images: Array2<f32>,
    reference: Array2<f32>,
}

impl Measure {
    /// All measures, in the order of tables.
    pub const ALL: &'static [Measure] = &[
        Measure::Right,
        Measure::Atoms,
        Measure::ClipCosine,
        Measure::Frechet,
        Measure::Kernel,
        Measure::Precision,
        Measure::Recall,
        Measure::Vendi,
        Measure::Pairwise,
        Measure::Saturation,
        Measure::Contrast,
        Measure::Clipped,
        Measure::Laplacian,
    ];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Measure::Right => "right",
            Measure::Atoms => "atoms",
            Measure::ClipCosine => "clip_cosine",
            Measure::Frechet => "frechet_clip",
            Measure::Kernel => "kernel_clip",
            Measure::Precision => "precision_clip",
            Measure::Recall => "recall_clip",
            Measure::Vendi => "vendi_share",
            Measure::Pairwise => "pairwise",
            Measure::Saturation => "saturation",
            Measure::Contrast => "contrast",
            Measure::Clipped => "clipped",
            Measure::Laplacian => "laplacian",
        }
    }

    /// The name in sentences and figures.
    pub const fn label(self) -> &'static str {
        match self {
            Measure::Right => "share of images with all that the prompt says",
            Measure::Atoms => "share of the prompt that the judge finds",
            Measure::ClipCosine => "cosine of image and prompt in CLIP",
            Measure::Frechet => "Fréchet distance to renders, CLIP features",
            Measure::Kernel => "kernel distance to renders, CLIP features",
            Measure::Precision => "precision against renders, CLIP features",
            Measure::Recall => "recall of renders, CLIP features",
            Measure::Vendi => "Vendi score over images, within a prompt",
            Measure::Pairwise => "feature distance of a prompt's images",
            Measure::Saturation => "saturation",
            Measure::Contrast => "RMS contrast",
            Measure::Clipped => "share of clipped pixels",
            Measure::Laplacian => "Laplacian energy",
        }
    }

    /// Whether it holds images against their prompts.
    pub const fn is_of_prompts(self) -> bool {
        matches!(self, Measure::Atoms | Measure::ClipCosine)
    }

    /// Whether it is one number for all images together.
    pub const fn is_of_sets(self) -> bool {
        matches!(self, Measure::Frechet | Measure::Kernel | Measure::Precision | Measure::Recall)
    }

    /// The lowest and highest value it can have.
    const fn range(self) -> (f64, f64) {
        match self {
            Measure::Kernel => (f64::NEG_INFINITY, f64::INFINITY),
            Measure::Frechet => (0.0, f64::INFINITY),
            _ => (0.0, 1.0),
        }
    }

    /// The measure of some images. `None` where they lack what it needs: a prompt that the world
    /// understands, a CLIP, rendered scenes. `other`: hold them against the next prompt instead.
    ///
    /// # Errors
    /// Too few images for it, or features that are broken.
    pub fn of(
        self,
        shown: &Shown,
        reference: Option<&Shown>,
        prompts: usize,
        other: bool,
    ) -> Result<Option<Measured>, Undefined> {
        if self.is_of_sets() {
            let Some(reference) = reference else { return Ok(None) };
            let value = |kept: &[usize]| match sets(shown, reference, kept) {
                Some(sets) => self.of_set(&sets).map(Some),
                None => Ok(None),
            };
            return self.set_measured(shown.rows.len(), prompts, value);
        }
        let values = self.by_prompt(shown, prompts, other)?;
        let known: Vec<f64> = values.iter().copied().flatten().collect();
        let images = (0..prompts)
            .filter(|&prompt| values[prompt].is_some())
            .map(|prompt| shown.of_prompt(prompt).count())
            .sum();
        self.mean_measured(&known, images)
    }

    /// How it changes from some images to those of the same prompts and seeds at another scale.
    ///
    /// # Errors
    /// As [`Measure::of`].
    pub fn change(
        self,
        from: &Shown,
        to: &Shown,
        reference: Option<&Shown>,
        prompts: usize,
    ) -> Result<Option<Measured>, Undefined> {
        let images = to.rows.len();
        if self.is_of_sets() {
            let Some(reference) = reference else { return Ok(None) };
            let value = |kept: &[usize]| {
                let both = sets(from, reference, kept).zip(sets(to, reference, kept));
                both.map(|(from, to)| Ok(self.of_set(&to)? - self.of_set(&from)?)).transpose()
            };
            return set_interval(images, prompts, value);
        }
        let (from, to) =
            (self.by_prompt(from, prompts, false)?, self.by_prompt(to, prompts, false)?);
        let differences: Vec<f64> =
            from.iter().zip(&to).filter_map(|(from, to)| Some((*to)? - (*from)?)).collect();
        mean_interval(&differences, images)
    }

    /// The mean over each prompt's images; none for a prompt that it cannot be measured of.
    fn by_prompt(
        self,
        shown: &Shown,
        prompts: usize,
        other: bool,
    ) -> Result<Vec<Option<f64>>, Undefined> {
        let of_prompt = |prompt| {
            if matches!(self, Measure::Vendi | Measure::Pairwise) {
                return self.within(shown, prompt);
            }
            let rows = shown.of_prompt(prompt);
            let values: Vec<Option<f64>> = rows.map(|(_, row)| self.of_image(row, other)).collect();
            let known: Option<Vec<f64>> = values.into_iter().collect();
            let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
            Ok(known.filter(|values| !values.is_empty()).map(mean))
        };
        (0..prompts).map(of_prompt).collect()
    }

    fn of_image(self, row: &GuidanceImageRow, other: bool) -> Option<f64> {
        let share = || Some(f64::from(row.atoms_held?) / f64::from(row.atoms?));
        match (self, other) {
            (Measure::Atoms, true) => row.atoms_of_other,
            (Measure::ClipCosine, true) => row.clip_cosine_of_other,
            (Measure::Right, _) => Some(f64::from(u8::from(row.atoms_held? == row.atoms?))),
            (Measure::Atoms, false) => share(),
            (Measure::ClipCosine, false) => row.clip_cosine,
            (Measure::Saturation, _) => Some(row.saturation),
            (Measure::Contrast, _) => Some(row.contrast),
            (Measure::Clipped, _) => Some(row.clipped),
            (Measure::Laplacian, _) => Some(row.laplacian),
            _ => None,
        }
    }

    /// How different the images of one prompt are.
    fn within(self, shown: &Shown, prompt: usize) -> Result<Option<f64>, Undefined> {
        let Some(features) = &shown.features else { return Ok(None) };
        let rows: Vec<usize> = shown.of_prompt(prompt).map(|(i, _)| i).collect();
        let own = features.select(Axis(0), &rows);
        match self {
            Measure::Vendi => vendi_share(own.view()),
            _ => mean_pairwise_distance(own.view()),
        }
        .map(Some)
    }

    fn of_set(self, sets: &Sets) -> Result<f64, Undefined> {
        let (images, reference): (ArrayView2<'_, f32>, _) =
            (sets.images.view(), sets.reference.view());
        match self {
            Measure::Frechet => frechet(images, reference),
            Measure::Kernel => kernel_distance(images, reference),
            Measure::Precision => {
                precision_recall(images, reference, NEIGHBOURS).map(|both| both.precision)
            }
            _ => precision_recall(images, reference, NEIGHBOURS).map(|both| both.recall),
        }
    }

    fn set_measured(
        self,
        images: usize,
        prompts: usize,
        value: impl Fn(&[usize]) -> Result<Option<f64>, Undefined>,
    ) -> Result<Option<Measured>, Undefined> {
        let (least, most) = self.range();
        let measured = set_interval(images, prompts, value)?;
        Ok(measured.map(|measured| Measured {
            interval: measured
                .interval
                .map(|(kind, low, high)| (kind, low.max(least), high.min(most))),
            ..measured
        }))
    }

    /// A mean over prompts. Where all images agree on a share, resampling would say that there is
    /// no doubt: then it is Wilson's interval, with prompts as trials.
    fn mean_measured(self, known: &[f64], images: usize) -> Result<Option<Measured>, Undefined> {
        let measured = mean_interval(known, images)?;
        let agreed = |all: f64| known.iter().all(|&value| value == all);
        if !matches!(self, Measure::Right | Measure::Atoms) || !(agreed(0.0) || agreed(1.0)) {
            return Ok(measured);
        }
        let wilson = |measured: Measured| {
            let held = if agreed(1.0) { known.len() } else { 0 };
            let interval = Proportion::new(held, known.len())?.wilson(DEFAULT_CONFIDENCE)?;
            let interval = Some((WILSON, interval.low, interval.high));
            Ok(Measured { interval, ..measured })
        };
        measured.map(wilson).transpose()
    }
}

/// The mean of values of one prompt each.
fn mean_interval(values: &[f64], images: usize) -> Result<Option<Measured>, Undefined> {
    if values.is_empty() {
        return Ok(None);
    }
    let value = values.iter().sum::<f64>() / values.len() as f64;
    let interval = match Bootstrap::default().mean(values) {
        Ok(estimate) => Some((BOOTSTRAP, estimate.low, estimate.high)),
        Err(Undefined::TooFew { .. }) => None,
        Err(other) => return Err(other),
    };
    Ok(Some(Measured { value, interval, prompts: values.len(), images }))
}

/// A number of whole sets; `value` gets the prompts that are kept.
fn set_interval(
    images: usize,
    prompts: usize,
    value: impl Fn(&[usize]) -> Result<Option<f64>, Undefined>,
) -> Result<Option<Measured>, Undefined> {
    let all: Vec<usize> = (0..prompts).collect();
    let Some(whole) = value(&all)? else { return Ok(None) };
    let known = |kept: &[usize]| value(kept)?.ok_or(Undefined::Empty);
    let interval = match jackknife(prompts, DEFAULT_CONFIDENCE, known) {
        Ok(estimate) => Some((JACKKNIFE, estimate.low, estimate.high)),
        Err(Undefined::TooFew { .. }) => None,
        Err(other) => return Err(other),
    };
    Ok(Some(Measured { value: whole, interval, prompts, images }))
}

/// The features of some prompts' images and of the rendered scenes of the same prompts.
fn sets(shown: &Shown, reference: &Shown, kept: &[usize]) -> Option<Sets> {
    let of = |shown: &Shown| -> Option<Array2<f32>> {
        let rows: Vec<usize> =
            (0..shown.prompts.len()).filter(|&i| kept.contains(&shown.prompts[i])).collect();
        Some(shown.features.as_ref()?.select(Axis(0), &rows))
    };
    Some(Sets { images: of(shown)?, reference: of(reference)? })
}
