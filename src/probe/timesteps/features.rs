//! What linear regressions read out of activations, site by site and timestep by timestep.

use ndarray::{Array2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::measure::Undefined;
use crate::measure::linear::folds::DEFAULT_FOLDS;
use crate::measure::linear::{Folds, Logistic, Ridge, Selectivity, indicators, largest, shuffled};
use crate::measure::record::POOLED_MOMENTS;
use crate::measure::similarity::{alignment, reordered, unit_gram};
use crate::table::{LinearProbeRow, SiteSimilarityRow};
use crate::world::{Content, Scene};

/// Name of the control: the same scenes shown to the same model with random weights.
pub const UNTRAINED: &str = "untrained";
/// Ridge's penalty for each row that is learnt from; features are standardised.
const PENALTY_PER_ROW: f64 = 0.1;
/// Times that labels are shuffled.
const SHUFFLES: u64 = 3;
/// Fewest scenes with an attribute for which anything is said of it.
pub const FEWEST_SCENES: usize = 50;
/// Most scenes whose activations are compared between timesteps.
const MOST_COMPARED: usize = 300;

/// Pooled activations of all scenes at one site and timestep.
#[derive(Clone, Debug)]
pub struct SiteFeatures {
    /// Name of the site.
    pub site: String,
    /// Timestep of training.
    pub timestep: f64,
    /// Noise over signal there.
    pub sigma: f64,
    /// [scenes, features]: of each channel the mean over places, the mean weighted by x and the
    /// one weighted by y, both from −1 to 1.
    pub values: Array2<f32>,
}

/// What is known of one attribute in each scene.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A class; none where a scene does not have the attribute.
    Classes(Vec<Option<usize>>),
    /// A number, likewise.
    Numbers(Vec<Option<f64>>),
}

/// The attributes of scenes, by name: of the first object where there is one alone, the number of
/// objects, the number of letters and the first letter of a written word, and what all scenes have.
pub fn targets(scenes: &[&Scene]) -> Vec<(&'static str, Target)> {
    let single = |scene: &&Scene| match &scene.content {
        Content::Objects(objects) if objects.len() == 1 => objects.first().cloned(),
        _ => None,
    };
    let objects: Vec<_> = scenes.iter().map(single).collect();
    let class = |of: &dyn Fn(&crate::world::Object) -> usize| {
        Target::Classes(objects.iter().map(|object| object.as_ref().map(of)).collect())
    };
    let number = |of: &dyn Fn(&crate::world::Object) -> f32| {
        let value = |object: &crate::world::Object| f64::from(of(object));
        Target::Numbers(objects.iter().map(|object| object.as_ref().map(value)).collect())
    };
    let count = |scene: &&Scene| scene.objects().len().checked_sub(1);
    let of_word = |of: &dyn Fn(&str) -> Option<usize>| {
        let value = |scene: &&Scene| match &scene.content {
            Content::Word(word) => of(&word.text),
            _ => None,
        };
        Target::Classes(scenes.iter().map(value).collect())
    };
    vec![
        ("x", number(&|o| o.x)),
        ("y", number(&|o| o.y)),
        ("count", Target::Classes(scenes.iter().map(count).collect())),
        ("size", class(&|o| o.size as usize)),
        ("shape", class(&|o| o.shape as usize)),
        (
            "background",
            Target::Classes(scenes.iter().map(|s| Some(s.background as usize)).collect()),
        ),
        ("colour", class(&|o| o.colour as usize)),
        ("light", Target::Classes(scenes.iter().map(|s| Some(s.light as usize)).collect())),
        ("finish", class(&|o| o.finish as usize)),
        ("letters", of_word(&|text| text.len().checked_sub(1))),
        ("first letter", of_word(&|text| text.bytes().next().map(usize::from))),
    ]
}

impl Target {
    fn known(&self) -> Vec<bool> {
        match self {
            Self::Classes(all) => all.iter().map(Option::is_some).collect(),
            Self::Numbers(all) => all.iter().map(Option::is_some).collect(),
        }
    }

    /// The target in some scenes that all have it, as columns that a ridge regression predicts,
    /// plain and shuffled.
    fn columns(&self, rows: &[usize]) -> Result<Prepared, Undefined> {
        let seeds = 0..SHUFFLES;
        match self {
            Self::Classes(all) => {
                let mut labels: Vec<usize> = rows.iter().filter_map(|&row| all[row]).collect();
                // Classes without a scene have no column.
                let mut present = labels.clone();
                present.sort_unstable();
                present.dedup();
                let place = |label: &usize| present.binary_search(label).unwrap_or(0);
                labels = labels.iter().map(place).collect();
                let versions: Vec<Vec<usize>> = std::iter::once(labels.clone())
                    .chain(seeds.map(|seed| shuffled(&labels, seed)))
                    .collect();
                let columns =
                    versions.iter().map(|v| indicators(v)).collect::<Result<Vec<_>, _>>()?;
                Ok(Prepared { columns, truth: Truth::Classes(versions) })
            }
            Self::Numbers(all) => {
                let numbers: Vec<f64> = rows.iter().filter_map(|&row| all[row]).collect();
                let versions: Vec<Vec<f64>> = std::iter::once(numbers.clone())
                    .chain(seeds.map(|seed| shuffled(&numbers, seed)))
                    .collect();
                let column = |v: &Vec<f64>| Array2::from_shape_fn((v.len(), 1), |(i, _)| v[i]);
                let columns = versions.iter().map(column).collect();
                Ok(Prepared { columns, truth: Truth::Numbers(versions) })
            }
        }
    }
}

/// A target with its shuffled versions.
struct Prepared {
    columns: Vec<Array2<f64>>,
    truth: Truth,
}

enum Truth {
    Classes(Vec<Vec<usize>>),
    Numbers(Vec<Vec<f64>>),
}

impl Prepared {
    fn width(&self) -> usize {
        self.columns.iter().map(Array2::ncols).sum()
    }

    /// What was found, given the predictions of all its columns.
    fn selectivity(
        &self,
        predicted: ndarray::ArrayView2<'_, f64>,
        groups: &[usize],
    ) -> Result<(&'static str, Selectivity), Undefined> {
        let mut parts = Vec::new();
        let mut at = 0;
        for columns in &self.columns {
            parts.push(predicted.slice(s![.., at..at + columns.ncols()]));
            at += columns.ncols();
        }
        match &self.truth {
            Truth::Classes(versions) => {
                let named: Vec<Vec<usize>> = parts.into_iter().map(largest).collect();
                let controls: Vec<_> =
                    named[1..].iter().cloned().zip(versions[1..].iter().cloned()).collect();
                let own = (named[0].as_slice(), versions[0].as_slice());
                Ok(("accuracy", Selectivity::of_classes(own, &controls, groups)?))
            }
            Truth::Numbers(versions) => {
                let numbers: Vec<Vec<f64>> =
                    parts.into_iter().map(|part| part.column(0).to_vec()).collect();
                let controls: Vec<_> =
                    numbers[1..].iter().cloned().zip(versions[1..].iter().cloned()).collect();
                let own = (numbers[0].as_slice(), versions[0].as_slice());
                Ok(("r2", Selectivity::of_numbers(own, &controls, groups)?))
            }
        }
    }
}

/// The rows of the table `linear_probe`, and what could not be read, in sentences.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Readings {
    /// The rows.
    pub rows: Vec<LinearProbeRow>,
    /// Why some are missing.
    pub missing: Vec<String>,
}

/// Reads all attributes out of all sites by ridge regression. `logistic_sites` are read by
/// logistic regression as well, from the means over places alone.
pub fn read(
    run: &str,
    features: &[SiteFeatures],
    targets: &[(&'static str, Target)],
    (control, logistic_sites): (Option<&str>, &[String]),
    done: &(dyn Fn() + Sync),
) -> Readings {
    let of_site = |features: &SiteFeatures| {
        let mut readings = Readings::default();
        let at = (features.timestep, features.sigma);
        let like = probe_row(run, &features.site, at, control);
        ridge(features, targets, &like, &mut readings);
        if logistic_sites.contains(&features.site) {
            logistic(features, targets, &like, &mut readings);
        }
        done();
        readings
    };
    let all: Vec<Readings> = features.par_iter().map(of_site).collect();
    let mut joined = Readings::default();
    for one in all {
        joined.rows.extend(one.rows);
        joined.missing.extend(one.missing);
    }
    joined.missing.sort();
    joined.missing.dedup();
    joined
}

/// Scenes whose activations are all finite numbers.
fn finite(values: &Array2<f32>) -> Vec<bool> {
    values.rows().into_iter().map(|row| row.iter().all(|v| v.is_finite())).collect()
}

/// The attributes that the same scenes have are read at once: they share all that is costly.
fn ridge(
    features: &SiteFeatures,
    targets: &[(&'static str, Target)],
    like: &LinearProbeRow,
    readings: &mut Readings,
) {
    let finite = finite(&features.values);
    let mut done = vec![false; targets.len()];
    for first in 0..targets.len() {
        if done[first] {
            continue;
        }
        let known = targets[first].1.known();
        let together: Vec<usize> =
            (first..targets.len()).filter(|&i| targets[i].1.known() == known).collect();
        together.iter().for_each(|&i| done[i] = true);
        let rows: Vec<usize> = (0..known.len()).filter(|&i| known[i] && finite[i]).collect();
        let left_out = known.iter().filter(|known| **known).count() - rows.len();
        let names: Vec<&str> = together.iter().map(|&i| targets[i].0).collect();
        if rows.len() < FEWEST_SCENES {
            readings.missing.push(too_few(&names, rows.len(), left_out));
            continue;
        }
        let mut prepared = Vec::new();
        for &i in &together {
            match targets[i].1.columns(&rows) {
                Ok(columns) => prepared.push((targets[i].0, columns)),
                Err(reason) => {
                    readings.missing.push(format!("{} was not read: {reason}", targets[i].0))
                }
            }
        }
        let like = LinearProbeRow {
            regression: "ridge".to_owned(),
            scenes: rows.len() as u32,
            left_out: left_out as u32,
            ..like.clone()
        };
        if let Err(reason) = ridge_together(features, &rows, &prepared, &like, &mut readings.rows) {
            readings.missing.push(format!("{} was not read: {reason}", features.site));
        }
    }
}

fn too_few(names: &[&str], scenes: usize, left_out: usize) -> String {
    let because = match left_out {
        0 => String::new(),
        n => format!(" ({n} with activations that are no numbers were left out)"),
    };
    format!(
        "{} was not read: {scenes} scenes have it{because}, at least {FEWEST_SCENES} are needed; \
         raise --scenes",
        names.join(", ")
    )
}

fn ridge_together(
    features: &SiteFeatures,
    rows: &[usize],
    prepared: &[(&'static str, Prepared)],
    like: &LinearProbeRow,
    out: &mut Vec<LinearProbeRow>,
) -> Result<(), Undefined> {
    let x = features.values.select(Axis(0), rows).mapv(f64::from);
    let parts: Vec<_> =
        prepared.iter().flat_map(|(_, one)| one.columns.iter().map(Array2::view)).collect();
    if parts.is_empty() {
        return Ok(());
    }
    let y = ndarray::concatenate(Axis(1), &parts).map_err(|_| Undefined::Empty)?;
    let groups: Vec<usize> = (0..rows.len()).collect();
    let folds = Folds::grouped(&groups, DEFAULT_FOLDS, 0)?;
    let penalty = PENALTY_PER_ROW * rows.len() as f64;
    let predicted = Ridge { penalty }.held_out(x.view(), y.view(), &folds)?;
    let mut at = 0;
    for (name, one) in prepared {
        let own = predicted.slice(s![.., at..at + one.width()]);
        at += one.width();
        let (measure, found) = one.selectivity(own, &groups)?;
        out.push(row(like, (name, measure), &found, x.ncols()));
    }
    Ok(())
}

fn logistic(
    features: &SiteFeatures,
    targets: &[(&'static str, Target)],
    like: &LinearProbeRow,
    readings: &mut Readings,
) {
    let finite = finite(&features.values);
    for (name, target) in targets {
        let Target::Classes(all) = target else { continue };
        let rows: Vec<usize> = (0..all.len()).filter(|&i| all[i].is_some() && finite[i]).collect();
        if rows.len() < FEWEST_SCENES {
            continue;
        }
        let like = LinearProbeRow {
            regression: "logistic".to_owned(),
            scenes: rows.len() as u32,
            left_out: (all.iter().flatten().count() - rows.len()) as u32,
            ..like.clone()
        };
        match logistic_of(features, &rows, target) {
            Ok((found, columns)) => {
                readings.rows.push(row(&like, (name, "accuracy"), &found, columns));
            }
            Err(reason) => readings
                .missing
                .push(format!("{name} was not read by logistic regression: {reason}")),
        }
    }
}

/// What a logistic regression finds in the means over places, and how many they are.
fn logistic_of(
    features: &SiteFeatures,
    rows: &[usize],
    target: &Target,
) -> Result<(Selectivity, usize), Undefined> {
    /// Enough for an accuracy; the loss may still fall in its last digits.
    const ITERATIONS: u64 = 60;
    const FOLDS: usize = 3;
    let means = features.values.ncols() / POOLED_MOMENTS;
    let x = features.values.slice(s![.., ..means]).select(Axis(0), rows).mapv(f64::from);
    let Truth::Classes(versions) = target.columns(rows)?.truth else {
        return Err(Undefined::OneClass);
    };
    let groups: Vec<usize> = (0..rows.len()).collect();
    let folds = Folds::grouped(&groups, FOLDS, 0)?;
    let penalty = PENALTY_PER_ROW * rows.len() as f64;
    let regression = Logistic { penalty, iterations: ITERATIONS };
    let named =
        |labels: &Vec<usize>| Ok(largest(regression.held_out(x.view(), labels, &folds)?.view()));
    let own = named(&versions[0])?;
    let control = (named(&versions[1])?, versions[1].clone());
    let found = Selectivity::of_classes((&own, &versions[0]), &[control], &groups)?;
    Ok((found, means))
}

fn row(
    like: &LinearProbeRow,
    (attribute, measure): (&str, &str),
    found: &Selectivity,
    features: usize,
) -> LinearProbeRow {
    LinearProbeRow {
        attribute: attribute.to_owned(),
        measure: measure.to_owned(),
        score: found.score.mean,
        score_low: found.score.low,
        score_high: found.score.high,
        shuffled: found.control.mean,
        selectivity: found.selectivity.mean,
        selectivity_low: found.selectivity.low,
        selectivity_high: found.selectivity.high,
        features: features as u32,
        ..like.clone()
    }
}

/// A row that says what is read, where, and nothing of what was found.
pub fn probe_row(
    run: &str,
    site: &str,
    (timestep, sigma): (f64, f64),
    control: Option<&str>,
) -> LinearProbeRow {
    LinearProbeRow {
        run: run.to_owned(),
        site: site.to_owned(),
        timestep,
        sigma,
        control: control.map(str::to_owned),
        ..empty_row()
    }
}

pub(super) fn empty_row() -> LinearProbeRow {
    LinearProbeRow {
        run: String::new(),
        site: String::new(),
        timestep: 0.0,
        sigma: 0.0,
        attribute: String::new(),
        regression: String::new(),
        measure: String::new(),
        score: 0.0,
        score_low: 0.0,
        score_high: 0.0,
        shuffled: 0.0,
        selectivity: 0.0,
        selectivity_low: 0.0,
        selectivity_high: 0.0,
        scenes: 0,
        features: 0,
        left_out: 0,
        control: None,
    }
}

/// The means over places of the first scenes, which is all that is kept to compare timesteps.
pub fn means(features: &SiteFeatures) -> Array2<f32> {
    let columns = features.values.ncols() / POOLED_MOMENTS;
    let rows = features.values.nrows().min(MOST_COMPARED);
    features.values.slice(s![..rows, ..columns]).to_owned()
}

/// How alike a site is at each two of some timesteps, from the noisiest on: the rows of the table
/// `site_similarity`. `at` holds the same scenes at each; those with activations that are no
/// numbers are left out.
///
/// # Errors
/// Fewer than two scenes, other numbers of scenes, or activations that do not vary.
pub fn similarities(
    run: &str,
    site: &str,
    at: &[(f64, Array2<f32>)],
) -> Result<Vec<SiteSimilarityRow>, Undefined> {
    let Some((_, first)) = at.first() else { return Ok(Vec::new()) };
    let mut fine = vec![true; first.nrows()];
    for (_, values) in at {
        fine.iter_mut().zip(finite(values)).for_each(|(all, one)| *all &= one);
    }
    let scenes: Vec<usize> = (0..fine.len()).filter(|&i| fine[i]).collect();
    let gram = |(_, values): &(f64, Array2<f32>)| {
        unit_gram(values.select(Axis(0), &scenes).mapv(f64::from).view())
    };
    let grams: Vec<Array2<f64>> = at.iter().map(gram).collect::<Result<_, _>>()?;
    let order = shuffled(&(0..scenes.len()).collect::<Vec<_>>(), 0);
    let mut rows = Vec::new();
    for (i, a) in grams.iter().enumerate() {
        for (j, b) in grams.iter().enumerate().skip(i) {
            rows.push(SiteSimilarityRow {
                run: run.to_owned(),
                site: site.to_owned(),
                timestep: at[i].0,
                other_timestep: at[j].0,
                cka: alignment(a, b)?.clamp(0.0, 1.0),
                shuffled: alignment(a, &reordered(b, &order))?.clamp(0.0, 1.0),
                scenes: scenes.len() as u32,
            });
        }
    }
    Ok(rows)
}
