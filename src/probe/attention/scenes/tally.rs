//! Scores of scenes, kept as means while they stream by: for each cell of the tables a number or
//! two a scene, and no map.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ndarray::Array2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::levels::{Level, maps_of_word};
use super::{BACKGROUND, OTHER, OWN, Shown, UNTRAINED};
use crate::measure::covered::{Covered, Scores, SortedMap};
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::measure::localisation::DAAM_THRESHOLD;
use crate::measure::record::WordLayer;
use crate::measure::{Bootstrap, Estimate, Undefined};
use crate::probe::attention::score::{OTHER_IMAGES, PERMUTED_WORDS};
use crate::table::{AttentionScoreRow, LeakageRow};

/// Words that describe an object, in the table of leakage.
const ADJECTIVES: [&str; 3] = ["colour", "size", "finish"];
/// All of them together.
pub(super) const ADJECTIVE: &str = "adjective";

/// Whose maps a batch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// The model's.
    Trained,
    /// Random weights, the same for all scenes of the batch; intervals are over such draws.
    Untrained {
        /// Number of the draw.
        draw: u32,
    },
}

/// The name of a role, an object or a control: one of ours, or one read back from a kept piece.
type Name = Cow<'static, str>;

/// Whose words are in a mean.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Whose {
    All,
    Role(Name),
    Word(String),
}

/// A cell of the table of scores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct ScoreKey {
    whose: Whose,
    level: Level,
    control: Option<Name>,
}

/// A cell of the table of leakage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct LeakageKey {
    role: Name,
    object: Name,
    step: Option<usize>,
    control: Option<Name>,
}

/// Numbers of one scene, NaN where there is none.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct OfScene<const N: usize> {
    unit: u32,
    #[serde(with = "values")]
    values: [f32; N],
}

/// Arrays of any length, which serde knows up to 32 and not by a parameter.
mod values {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<const N: usize, S: Serializer>(
        values: &[f32; N],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        values.as_slice().serialize(to)
    }

    pub fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[f32; N], D::Error> {
        let values = Vec::<f32>::deserialize(from)?;
        values.try_into().map_err(|_| Error::custom("another number of values"))
    }
}

/// The numbers of a cell of the table of scores, in this order: AUROC, mass ratio, average precision,
/// IoU, best IoU, IoA, pointing.
const SCORES: usize = 7;
/// Those of a cell of the table of leakage: mass ratio, and whether the word binds.
const LEAKAGE: usize = 2;

/// Mean over the words of a scene.
#[derive(Clone, Copy, Debug)]
struct Running<const N: usize> {
    sums: [f64; N],
    counts: [u32; N],
}

impl<const N: usize> Default for Running<N> {
    fn default() -> Self {
        Self { sums: [0.0; N], counts: [0; N] }
    }
}

impl<const N: usize> Running<N> {
    fn add(&mut self, values: [f64; N]) {
        for (i, value) in values.into_iter().enumerate().filter(|(_, value)| value.is_finite()) {
            self.sums[i] += value;
            self.counts[i] += 1;
        }
    }

    fn of_scene(self, unit: u32) -> OfScene<N> {
        let mean = |i: usize| (self.sums[i] / f64::from(self.counts[i])) as f32;
        OfScene { unit, values: std::array::from_fn(mean) }
    }
}

type Cells<K, const N: usize> = BTreeMap<K, Vec<OfScene<N>>>;
type Sums<K, const N: usize> = BTreeMap<K, Running<N>>;
type ScoreSums = Sums<ScoreKey, SCORES>;
type LeakageSums = Sums<LeakageKey, LEAKAGE>;

/// The scores of all scenes so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    timesteps: Vec<i64>,
    sites: Vec<String>,
    scores: Cells<ScoreKey, SCORES>,
    leakage: Cells<LeakageKey, LEAKAGE>,
}

/// The regions of a scene at each resolution that maps have: its phrases' objects, then the
/// background.
type Regions = BTreeMap<(usize, usize), Vec<Result<Covered, Undefined>>>;

impl Tally {
    /// Nothing yet, for scenes shown at these timesteps of training, in this order.
    pub fn new(timesteps: Vec<i64>) -> Self {
        Self { timesteps, ..Self::default() }
    }

    /// Adds a batch: `layers` have the maps of the scenes' words, in the same order. A word is also
    /// scored on the objects of the scene half the batch away, so a batch needs two scenes for
    /// that control.
    ///
    /// # Errors
    /// Maps that are no numbers, or that are not those of the timesteps.
    pub fn add(
        &mut self,
        scenes: &[Shown],
        layers: &[WordLayer],
        weights: Weights,
    ) -> Result<(), Undefined> {
        if let Some(odd) = layers.iter().find(|l| l.per_step.len() != self.timesteps.len()) {
            let (expected, got) = (self.timesteps.len(), odd.per_step.len());
            return Err(Undefined::Length { expected, got });
        }
        self.sites = layers.iter().map(|layer| layer.site.clone()).collect();
        let regions: Vec<Regions> =
            scenes.par_iter().map(|scene| covered(scene, layers)).collect::<Result<_, _>>()?;
        let shift = (scenes.len() / 2).max(1);
        let scored: Vec<(ScoreSums, LeakageSums)> = (0..scenes.len())
            .into_par_iter()
            .map(|image| {
                let other = (image + shift) % scenes.len();
                let other = (other != image).then(|| &regions[other]);
                let of_scene = OneScene { scene: &scenes[image], regions: &regions[image], other };
                of_scene.score((layers, image), weights)
            })
            .collect::<Result<_, _>>()?;
        for (scene, (scores, leakage)) in scenes.iter().zip(scored) {
            let unit = match weights {
                Weights::Trained => scene.number,
                Weights::Untrained { draw } => draw,
            };
            keep(&mut self.scores, scores, unit);
            keep(&mut self.leakage, leakage, unit);
        }
        Ok(())
    }

    /// Adds the scores of other scenes, shown at the same timesteps.
    pub fn append(&mut self, other: Self) {
        if !other.sites.is_empty() {
            self.sites = other.sites;
        }
        for (key, values) in other.scores {
            self.scores.entry(key).or_default().extend(values);
        }
        for (key, values) in other.leakage {
            self.leakage.entry(key).or_default().extend(values);
        }
    }

    /// The sites that were seen, in the order of the U-Net.
    pub fn sites(&self) -> &[String] {
        &self.sites
    }

    /// The timesteps, in the order in which they were shown.
    pub fn timesteps(&self) -> &[i64] {
        &self.timesteps
    }

    /// Each scene's mean AUROC of all words at a level, without control, by scene.
    pub(super) fn by_scene(&self) -> impl Iterator<Item = (Level, Vec<(u32, f64)>)> + '_ {
        let of_all = |key: &ScoreKey| key.whose == Whose::All && key.control.is_none();
        self.scores.iter().filter(move |(key, _)| of_all(key)).map(|(key, values)| {
            let auroc = |value: &OfScene<SCORES>| (value.unit, f64::from(value.values[0]));
            (key.level, values.iter().map(auroc).collect())
        })
    }

    /// The table `attention_scores`.
    pub fn score_rows(&self, run: &str) -> Vec<AttentionScoreRow> {
        let row = |(key, values): (&ScoreKey, &Vec<OfScene<SCORES>>)| {
            let auroc = Summary::new(values, 0)?;
            let mean = |which| Summary::mean_of(values, which);
            let (role, word) = match &key.whose {
                Whose::All => (None, None),
                Whose::Role(role) => (Some(role.to_string()), None),
                Whose::Word(word) => (None, Some(word.clone())),
            };
            Some(AttentionScoreRow {
                run: run.to_owned(),
                role,
                word,
                site: key.level.site.and_then(|site| self.sites.get(site).cloned()),
                head: key.level.head.map(|head| head as u32),
                timestep: self.timestep(key.level.step),
                control: key.control.as_deref().map(str::to_owned),
                auroc: auroc.mean,
                auroc_low: auroc.interval.map(|i| i.0.max(0.0)),
                auroc_high: auroc.interval.map(|i| i.1.min(1.0)),
                mass_ratio: mean(1),
                average_precision: mean(2),
                iou_tau: mean(3),
                iou_best: mean(4),
                ioa: mean(5),
                pointing: mean(6),
                units: auroc.units,
            })
        };
        self.scores.par_iter().filter_map(row).collect()
    }

    /// The table `leakage`, of roles instead of words.
    pub fn leakage_rows(&self, run: &str) -> Vec<LeakageRow> {
        let row = |(key, values): (&LeakageKey, &Vec<OfScene<LEAKAGE>>)| {
            let ratio = Summary::new(values, 0)?;
            let binds = Summary::new(values, 1);
            let interval = binds.as_ref().and_then(|b| b.interval);
            Some(LeakageRow {
                run: run.to_owned(),
                word: None,
                role: key.role.to_string(),
                object: None,
                relation: key.object.to_string(),
                timestep: self.timestep(key.step),
                control: key.control.as_deref().map(str::to_owned),
                mass_ratio: ratio.mean,
                mass_low: ratio.interval.map(|i| i.0),
                mass_high: ratio.interval.map(|i| i.1),
                binds: binds.as_ref().map(|b| b.mean),
                // A share lies within [0, 1], which Student's interval does not know.
                binds_low: interval.map(|i| i.0.max(0.0)),
                binds_high: interval.map(|i| i.1.min(1.0)),
                units: ratio.units,
            })
        };
        self.leakage.par_iter().filter_map(row).collect()
    }

    fn timestep(&self, step: Option<usize>) -> Option<f64> {
        step.and_then(|step| self.timesteps.get(step)).map(|&timestep| timestep as f64)
    }
}

fn keep<K: Ord, const N: usize>(cells: &mut Cells<K, N>, of_scene: Sums<K, N>, unit: u32) {
    for (key, sums) in of_scene {
        cells.entry(key).or_default().push(sums.of_scene(unit));
    }
}

fn covered(scene: &Shown, layers: &[WordLayer]) -> Result<Regions, Undefined> {
    let first = scene.regions.first().ok_or(Undefined::Empty)?;
    let mut background = Array2::from_elem(first.dim(), true);
    for region in &scene.regions {
        background.zip_mut_with(region, |outside, &inside| *outside &= !inside);
    }
    let shapes = layers.iter().filter_map(|layer| layer.per_step.first());
    let shapes = shapes.map(|maps| (maps.dim().3, maps.dim().4));
    let at = |shape: (usize, usize)| {
        let all = scene.regions.iter().chain([&background]);
        (shape, all.map(|region| Covered::new(region.view(), shape)).collect())
    };
    Ok(shapes.map(at).collect())
}

/// A scene, its regions, and those of another scene.
struct OneScene<'a> {
    scene: &'a Shown,
    regions: &'a Regions,
    other: Option<&'a Regions>,
}

impl OneScene<'_> {
    fn score(
        &self,
        (layers, image): (&[WordLayer], usize),
        weights: Weights,
    ) -> Result<(ScoreSums, LeakageSums), Undefined> {
        let (mut scores, mut leakage) = (ScoreSums::new(), LeakageSums::new());
        for (number, word) in self.scene.words.iter().enumerate() {
            for (level, map) in maps_of_word(layers, image, number)? {
                let shape = map.dim();
                let map = SortedMap::new(map.view())?;
                let (Some(regions), phrase) = (self.regions.get(&shape), word.phrase) else {
                    continue;
                };
                let mut add = |control: Option<&'static str>,
                               region: &Result<Covered, Undefined>| {
                    let Ok(region) = region else { return };
                    let Ok(of_map) = map.scores(region, DAAM_THRESHOLD) else { return };
                    let values = numbers(&of_map);
                    let mut whose = vec![Whose::All, Whose::Role(word.role.into())];
                    // Of single words at single heads there are too many to have controls too.
                    if level.head.is_none() || control.is_none() {
                        whose.push(Whose::Word(word.text.clone()));
                    }
                    for whose in whose {
                        let control = control.map(Name::Borrowed);
                        let key = ScoreKey { whose, level, control };
                        scores.entry(key).or_default().add(values);
                    }
                };
                let other = self.other.and_then(|regions| regions.get(&shape));
                let trained = weights == Weights::Trained;
                add((!trained).then_some(UNTRAINED), &regions[phrase]);
                if trained {
                    for other in (0..self.scene.regions.len()).filter(|&p| p != phrase) {
                        add(Some(PERMUTED_WORDS), &regions[other]);
                    }
                    if let Some(region) = other.and_then(|regions| objects(regions).get(phrase)) {
                        add(Some(OTHER_IMAGES), region);
                    }
                }
                if level.site.is_none() {
                    let control = (!trained).then_some(UNTRAINED);
                    leak(&mut leakage, (word.role, phrase), (&map, level.step), (regions, control));
                    if let Some(regions) = other.filter(|_| trained) {
                        let of_other = (regions.as_slice(), Some(OTHER_IMAGES));
                        leak(&mut leakage, (word.role, phrase), (&map, level.step), of_other);
                    }
                }
            }
        }
        Ok((scores, leakage))
    }
}

/// In the order of [`SCORES`].
fn numbers(scores: &Scores) -> [f64; SCORES] {
    [
        Some(scores.auroc),
        scores.mass_ratio,
        Some(scores.average_precision),
        scores.iou,
        scores.best_iou,
        scores.ioa,
        Some(scores.pointing),
    ]
    .map(|value| value.unwrap_or(f64::NAN))
}

/// The regions of objects, without the background.
fn objects(regions: &[Result<Covered, Undefined>]) -> &[Result<Covered, Undefined>] {
    &regions[..regions.len().saturating_sub(1)]
}

/// Where a word's mass lies: on its own object, on others, on what is none.
fn leak(
    sums: &mut LeakageSums,
    (role, phrase): (&'static str, usize),
    (map, step): (&SortedMap, Option<usize>),
    (regions, control): (&[Result<Covered, Undefined>], Option<&'static str>),
) {
    let ratio = |region: &Result<Covered, Undefined>| {
        region.as_ref().ok().and_then(|region| map.mass_ratio(region).ok()).unwrap_or(f64::NAN)
    };
    let roles = [Some(role), ADJECTIVES.contains(&role).then_some(ADJECTIVE)];
    let mut add = |object: &'static str, values: [f64; LEAKAGE]| {
        for role in roles.into_iter().flatten() {
            let (role, object) = (Name::Borrowed(role), Name::Borrowed(object));
            let control = control.map(Name::Borrowed);
            let key = LeakageKey { role, object, step, control };
            sums.entry(key).or_default().add(values);
        }
    };
    let own = objects(regions).get(phrase).map_or(f64::NAN, ratio);
    add(OWN, [own, f64::NAN]);
    for (_, other) in objects(regions).iter().enumerate().filter(|(p, _)| *p != phrase) {
        let other = ratio(other);
        add(OTHER, [other, binds(own, other)]);
    }
    if let Some(background) = regions.last() {
        add(BACKGROUND, [ratio(background), f64::NAN]);
    }
}

/// 1 if a word lies more on its own object than on another, 0 if less, ½ if alike; NaN if either
/// is not known.
pub(in crate::probe::attention) fn binds(own: f64, other: f64) -> f64 {
    own.partial_cmp(&other).map_or(f64::NAN, |order| 0.5 + 0.5 * f64::from(order as i8))
}

/// A mean with its interval over scenes, or over draws of random weights.
struct Summary {
    mean: f64,
    interval: Option<(f64, f64)>,
    units: u32,
}

impl Summary {
    /// Of the scenes' first or second number; none if no scene has one.
    fn new<const N: usize>(values: &[OfScene<N>], which: usize) -> Option<Self> {
        let mut by_unit: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for value in values.iter().filter(|value| value.values[which].is_finite()) {
            let (sum, count) = by_unit.entry(value.unit).or_default();
            *sum += f64::from(value.values[which]);
            *count += 1.0;
        }
        let means: Vec<f64> = by_unit.values().map(|(sum, count)| sum / count).collect();
        if means.is_empty() {
            return None;
        }
        let interval = with_interval(&means).map(|estimate| (estimate.low, estimate.high));
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        Some(Self { mean, interval, units: means.len() as u32 })
    }

    fn mean_of<const N: usize>(values: &[OfScene<N>], which: usize) -> Option<f64> {
        let known = values.iter().map(|value| f64::from(value.values[which]));
        let known: Vec<f64> = known.filter(|value| value.is_finite()).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }
}

/// The mean of independent numbers with its 95 % interval: percentile bootstrap, and of many
/// numbers Student's t, which is what resampling them comes to and takes no time for the tens of
/// thousands of cells that the tables have.
pub(super) fn with_interval(values: &[f64]) -> Option<Estimate> {
    const MANY: usize = 50;
    const RESAMPLES: usize = 1000;
    if values.len() >= MANY {
        return Estimate::of_mean(values, DEFAULT_CONFIDENCE).ok();
    }
    Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() }.mean(values).ok()
}
