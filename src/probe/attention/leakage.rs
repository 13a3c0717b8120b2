//! How much of a word's attention lies on the objects of other words.
//!
//! The mass ratio of a word on an object is the object's share of the map's mass over its share of
//! the area: 1 where the map knows nothing of the object. A word *binds* in an image if its ratio
//! is larger on its own object than on another.

use ndarray::{Array2, ArrayView2};

use super::scenes::{BACKGROUND, OTHER, OWN, binds};
use super::score::{OTHER_IMAGES, role_name};
use super::{AttentionRun, Detail, Level, ObjectWord, WordMaps};
use crate::figure::{ColorMap, HeatMap};
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::measure::localisation::mass_ratio;
use crate::measure::{Estimate, Undefined};
use crate::table::LeakageRow;

/// Where one word lies in one image: the ratio for each object and for the background; NaN where
/// there is no such region.
struct Lies {
    word: usize,
    level: Level,
    other_regions: bool,
    ratios: Vec<f64>,
}

/// The matrix of words × objects, all steps together and at each step; all layers. The control
/// reads each image's maps in the regions of the image half the list away.
///
/// # Errors
/// Maps that are no numbers.
pub fn rows(run: &AttentionRun) -> Result<Vec<LeakageRow>, Undefined> {
    let words = run.object_words();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = Vec::new();
    for sample in 0..run.images.len() {
        all.extend(image(run, sample, &words)?);
    }
    let mut levels: Vec<Level> = all.iter().map(|lies| lies.level).collect();
    levels.sort_unstable();
    levels.dedup();
    let mut rows = Vec::new();
    for level in levels {
        for (number, word) in words.iter().enumerate() {
            for control in [None, Some(OTHER_IMAGES)] {
                let of_word: Vec<&Lies> = all
                    .iter()
                    .filter(|lies| lies.word == number && lies.level == level)
                    .filter(|lies| lies.other_regions == control.is_some())
                    .collect();
                let objects = 0..=run.objects();
                rows.extend(objects.filter_map(|o| row(run, word, (o, level, control), &of_word)));
            }
        }
    }
    Ok(rows)
}

/// All words of one image in its own regions and in another image's.
fn image(run: &AttentionRun, sample: usize, words: &[ObjectWord]) -> Result<Vec<Lies>, Undefined> {
    let (width, height) = run.images[sample].image.dimensions();
    let maps = WordMaps::new(run, sample, (height as usize, width as usize), Detail::Full)?;
    let other = (sample + (run.images.len() / 2).max(1)) % run.images.len();
    let mut seen = vec![(false, regions(run, sample))];
    if other != sample {
        seen.push((true, regions(run, other)));
    }
    let mut all = Vec::new();
    for level in maps.levels().filter(|level| !matches!(level, Level::Layer(_))) {
        for (number, word) in words.iter().enumerate() {
            let map = maps.word(level, &word.positions)?;
            for (other_regions, regions) in &seen {
                let ratios = regions.iter().map(|region| ratio(map.view(), region.as_ref()));
                let (other_regions, ratios) = (*other_regions, ratios.collect());
                all.push(Lies { word: number, level, other_regions, ratios });
            }
        }
    }
    Ok(all)
}

/// Where each object is, then the background.
fn regions(run: &AttentionRun, sample: usize) -> Vec<Option<Array2<bool>>> {
    let mut regions: Vec<Option<Array2<bool>>> =
        (0..run.objects()).map(|object| run.region(sample, object)).collect();
    let mut background: Option<Array2<bool>> = None;
    for region in regions.iter().flatten() {
        let outside = region.mapv(|inside| !inside);
        background = Some(match background {
            Some(background) => background & outside,
            None => outside,
        });
    }
    regions.push(background);
    regions
}

fn ratio(map: ArrayView2<'_, f32>, region: Option<&Array2<bool>>) -> f64 {
    region.and_then(|region| mass_ratio(map, region.view()).ok()).unwrap_or(f64::NAN)
}

/// One cell of the matrix: `object` counts objects, and the background after them.
fn row(
    run: &AttentionRun,
    word: &ObjectWord,
    (object, level, control): (usize, Level, Option<&str>),
    images: &[&Lies],
) -> Option<LeakageRow> {
    let relation = match object {
        _ if object == run.objects() => BACKGROUND,
        _ if object == word.phrase => OWN,
        _ => OTHER,
    };
    let numbers = |of: &dyn Fn(&Lies) -> f64| -> Vec<f64> {
        images.iter().map(|lies| of(lies)).filter(|value| value.is_finite()).collect()
    };
    let ratios = numbers(&|lies| lies.ratios[object]);
    let bound = match relation {
        OTHER => numbers(&|lies| binds(lies.ratios[word.phrase], lies.ratios[object])),
        _ => Vec::new(),
    };
    let interval = |values: &[f64]| {
        Estimate::of_mean(values, DEFAULT_CONFIDENCE).ok().map(|e| (e.low, e.high))
    };
    let (mass, binding) = (interval(&ratios), interval(&bound));
    let step = match level {
        Level::Step(step) => run.steps.get(step).map(|(timestep, _)| *timestep),
        _ => None,
    };
    Some(LeakageRow {
        run: run.run.clone(),
        word: Some(word.text.clone()),
        role: role_name(word.role).to_owned(),
        object: (relation != BACKGROUND).then(|| run.object_name(object)),
        relation: relation.to_owned(),
        timestep: step,
        control: control.map(str::to_owned),
        mass_ratio: mean(&ratios)?,
        mass_low: mass.map(|i| i.0),
        mass_high: mass.map(|i| i.1),
        binds: mean(&bound),
        // A share lies within [0, 1], which Student's interval of few images does not know.
        binds_low: binding.map(|i| i.0.max(0.0)),
        binds_high: binding.map(|i| i.1.min(1.0)),
        units: ratios.len() as u32,
    })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The matrix of a run, all steps together.
pub fn matrix(run: &AttentionRun, rows: &[LeakageRow]) -> HeatMap {
    let words = run.object_words();
    let mut columns: Vec<String> = (0..run.objects()).map(|o| run.object_name(o)).collect();
    columns.push(BACKGROUND.to_owned());
    let value = |(word, column): (usize, usize)| {
        let relation = if column == words[word].phrase { OWN } else { OTHER };
        let here = |row: &&LeakageRow| {
            row.word.as_deref() == Some(words[word].text.as_str())
                && row.control.is_none()
                && row.timestep.is_none()
                && match column == run.objects() {
                    true => row.relation == BACKGROUND,
                    false => {
                        row.relation == relation
                            && row.object.as_deref() == Some(columns[column].as_str())
                    }
                }
        };
        rows.iter().find(here).map_or(f64::NAN, |row| row.mass_ratio)
    };
    HeatMap {
        title: "How much of each word lies on each object".to_owned(),
        row_axis: "word".to_owned(),
        column_axis: "object".to_owned(),
        rows: words.iter().map(|word| word.text.clone()).collect(),
        values: Array2::from_shape_fn((words.len(), columns.len()), value),
        columns,
        quantity: "share of mass over share of area (1 is chance)".to_owned(),
        range: None,
        colors: ColorMap::default(),
        ordered_columns: false,
    }
}
