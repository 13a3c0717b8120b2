//! Does a word's map lie on its object? And the control: does another word's map?

use std::collections::BTreeMap;

use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{AttentionRun, Detail, JudgedImage, Level, ObjectWord, WordMaps};
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::measure::localisation::{DAAM_THRESHOLD, Localisation};
use crate::measure::{Estimate, Undefined};
use crate::table::AlignmentRow;
use crate::world::Role;

/// Name of the control: the maps of the prompt's other words, scored on this word's object.
pub const PERMUTED_WORDS: &str = "permuted-words";

/// Scores every object word of every image, at every level, with its control.
///
/// Regions are those that were given, or the judge's: images in which it found no object for a
/// phrase have no region to score against and
/// no rows for its words.
///
/// # Errors
/// A record whose maps are no numbers.
pub fn score(run: &AttentionRun, detail: Detail) -> Result<Vec<AlignmentRow>, Undefined> {
    let words = run.object_words();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let per_image: Vec<Vec<AlignmentRow>> = (0..run.images.len())
        .into_par_iter()
        .map(|sample| score_image(run, sample, &words, detail))
        .collect::<Result<_, _>>()?;
    Ok(per_image.concat())
}

/// Name of the control: another image's map scored on this image's object. Of one prompt that is the
/// same word in the image of another seed; of many prompts any word.
pub const OTHER_IMAGES: &str = "other-images";

/// A word's map and its object's region in one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placed {
    row: AlignmentRow,
    map: Array2<f32>,
    region: Array2<bool>,
}

/// The maps (all layers and steps) of the run's first image, with their regions.
///
/// # Errors
/// A record whose maps are no numbers.
pub fn placed(run: &AttentionRun) -> Result<Vec<Placed>, Undefined> {
    let Some(JudgedImage { image, .. }) = run.images.first() else { return Ok(Vec::new()) };
    let shape = (image.height() as usize, image.width() as usize);
    let maps = WordMaps::new(run, 0, shape, Detail::Whole)?;
    let mut all = Vec::new();
    for word in run.object_words() {
        let Some(region) = run.region(0, word.phrase) else { continue };
        let map = maps.word(Level::Whole, &word.positions)?;
        let row = row(run, (0, &word), Level::Whole, None, (&map, &region));
        all.push(Placed { row, map, region });
    }
    Ok(all)
}

/// Scores each image's maps on the regions of the image half the list away: what knowing
/// nothing of the image gives, the usual places of objects included.
pub fn across_images(images: &[Vec<Placed>]) -> Vec<AlignmentRow> {
    let shift = images.len() / 2;
    let mut rows = Vec::new();
    for (i, placed) in images.iter().enumerate() {
        let others = &images[(i + shift.max(1)) % images.len()];
        for (own, other) in placed.iter().zip(others) {
            let scores =
                Localisation::new(own.map.view(), other.region.view(), DAAM_THRESHOLD).ok();
            let number = |pick: fn(&Localisation) -> Option<f64>| scores.as_ref().and_then(pick);
            rows.push(AlignmentRow {
                object: other.row.object.clone(),
                sample: i as u32,
                control: Some(OTHER_IMAGES.to_owned()),
                auroc: number(|s| s.auroc.as_ref().ok().copied()),
                average_precision: number(|s| s.average_precision.as_ref().ok().copied()),
                iou_tau: number(|s| s.iou.as_ref().ok().copied()),
                iou_best: number(|s| s.best_iou.as_ref().ok().map(|b| b.iou)),
                ioa: number(|s| s.ioa.as_ref().ok().copied()),
                mass_ratio: number(|s| s.mass_ratio.as_ref().ok().copied()),
                pointing: scores.as_ref().and_then(|s| s.pointing.as_ref().ok().copied()),
                ..own.row.clone()
            });
        }
    }
    rows
}

fn score_image(
    run: &AttentionRun,
    sample: usize,
    words: &[ObjectWord],
    detail: Detail,
) -> Result<Vec<AlignmentRow>, Undefined> {
    let (width, height) = run.images[sample].image.dimensions();
    let shape = (height as usize, width as usize);
    let maps = WordMaps::new(run, sample, shape, detail)?;
    let levels: Vec<Level> = maps.levels().collect();
    let other_seed = (sample + (run.images.len() / 2).max(1)) % run.images.len();
    let of_other = match other_seed == sample {
        true => None,
        false => Some(WordMaps::new(run, other_seed, shape, Detail::Whole)?),
    };
    let mut rows = Vec::new();
    for word in words {
        let Some(region) = run.region(sample, word.phrase) else { continue };
        if let Some(maps) = &of_other {
            let map = maps.word(Level::Whole, &word.positions)?;
            let control = Some(OTHER_IMAGES.to_owned());
            rows.push(row(run, (sample, word), Level::Whole, control, (&map, &region)));
        }
        let others = words.iter().filter(|other| other.phrase != word.phrase);
        let others: Vec<&ObjectWord> = others.collect();
        for &level in &levels {
            let own = maps.word(level, &word.positions)?;
            rows.push(row(run, (sample, word), level, None, (&own, &region)));
            for other in &others {
                let map = maps.word(level, &other.positions)?;
                let control = Some(PERMUTED_WORDS.to_owned());
                rows.push(row(run, (sample, word), level, control, (&map, &region)));
            }
        }
    }
    Ok(rows)
}

fn row(
    run: &AttentionRun,
    (sample, word): (usize, &ObjectWord),
    level: Level,
    control: Option<String>,
    (map, region): (&Array2<f32>, &Array2<bool>),
) -> AlignmentRow {
    let (site, step) = match level {
        Level::Whole => (None, None),
        Level::Layer(layer) => (Some(run.record.layers[layer].site.clone()), None),
        Level::Step(step) => (None, Some(step)),
    };
    let scores = Localisation::new(map.view(), region.view(), DAAM_THRESHOLD).ok();
    let number = |pick: fn(&Localisation) -> Option<f64>| scores.as_ref().and_then(pick);
    AlignmentRow {
        run: run.run.clone(),
        sample: sample as u32,
        prompt: run.prompt.clone(),
        word: word.text.clone(),
        role: role_name(word.role).to_owned(),
        object: run.object_name(word.phrase),
        site,
        step: step.map(|s| s as u32),
        timestep: step.and_then(|s| run.steps.get(s)).map(|(timestep, _)| *timestep),
        control,
        auroc: number(|s| s.auroc.as_ref().ok().copied()),
        average_precision: number(|s| s.average_precision.as_ref().ok().copied()),
        iou_tau: number(|s| s.iou.as_ref().ok().copied()),
        iou_best: number(|s| s.best_iou.as_ref().ok().map(|b| b.iou)),
        ioa: number(|s| s.ioa.as_ref().ok().copied()),
        mass_ratio: number(|s| s.mass_ratio.as_ref().ok().copied()),
        pointing: scores.as_ref().and_then(|s| s.pointing.as_ref().ok().copied()),
    }
}

/// What a word does in its phrase, as the table calls it; none: its region was given.
pub fn role_name(role: Option<Role>) -> &'static str {
    match role {
        None => "given",
        Some(Role::Noun) => "shape",
        Some(Role::Colour) => "colour",
        Some(Role::Size) => "size",
        Some(Role::Finish) => "finish",
        Some(Role::Count) => "count",
        Some(_) => "other",
    }
}

/// A mean AUROC.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The mean over rows.
    pub mean: f64,
    /// 95 % interval over images (Student's t of their means), if there are two or more.
    pub interval: Option<(f64, f64)>,
    /// Images it rests on.
    pub images: usize,
}

/// Mean AUROC of the rows: the mean over images of each image's mean, since the words of one
/// image are not independent. `None` if no row has one.
pub fn mean_auroc<'a>(rows: impl Iterator<Item = &'a AlignmentRow>) -> Option<Scored> {
    let mut by_image: BTreeMap<(&str, u32), (f64, f64)> = BTreeMap::new();
    for row in rows {
        if let Some(auroc) = row.auroc {
            let (sum, count) = by_image.entry((&row.prompt, row.sample)).or_default();
            *sum += auroc;
            *count += 1.0;
        }
    }
    let means: Vec<f64> = by_image.values().map(|(sum, count)| sum / count).collect();
    let images = means.len();
    if images == 0 {
        return None;
    }
    let mean = means.iter().sum::<f64>() / images as f64;
    let estimate = Estimate::of_mean(&means, DEFAULT_CONFIDENCE).ok();
    // An AUROC lies within [0, 1], which Student's interval of few images does not know.
    let interval = estimate.map(|e| (e.low.max(0.0), e.high.min(1.0)));
    Some(Scored { mean, interval, images })
}
