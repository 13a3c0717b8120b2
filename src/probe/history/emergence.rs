//! What is learned first, over checkpoints of a training run.
//!
//! Per category and checkpoint: the share of images that have each sort of atom right, all of them
//! (*joint*), the product of the single attributes' shares, and joint less product. If attributes
//! were right independently of one another, the joint share would be their product (Okawa et al.
//! 2023); a gap below zero says that what is right by itself does not come together (colours and
//! shapes, but on the wrong objects), one above zero that the same images have all of it right.
//! t50 is when a share passes half, and from prompts resampled alike for all sorts follows which
//! comes first.

use std::collections::{BTreeMap, BTreeSet};

use super::trend::number;
use super::{HistoryError, Order, Reading, Series};
use crate::measure::emergence::{Checkpoint, Passing, passing, passing_interval, precedence};
use crate::measure::multiplicity::holm;
use crate::measure::{Bootstrap, Undefined};
use crate::table::{
    EmergenceOrderRow, EmergenceRow, EmergenceTimeRow, JudgementRow, read_parquet, rows,
};

/// Everything a prompt asks for.
pub const JOINT: &str = "joint";
/// Product of the shares of the single attributes.
pub const PRODUCT: &str = "product";
/// Joint less product.
pub const GAP: &str = "product gap";

/// The order in which two-object scenes are learned by the literature (Wang et al. 2026).
pub const SEQUENCE: [&str; 4] = ["colour", "shape", "binding", "relation_strict"];

/// Atoms that ask for one thing each. The others (`object`, `binding`, `total`, `relation_loose`)
/// follow from several of them.
const ATTRIBUTES: [&str; 11] = [
    "shape",
    "colour",
    "size",
    "finish",
    "count",
    "relation_strict",
    "background",
    "light",
    "word",
    "letter_colour",
    "fingers",
];

/// How emergence is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What checkpoints are ordered by.
    pub order: Order,
    /// Share that is called learned.
    pub level: f64,
    /// Sorts of atoms whose order is tested, in the order expected; none given: those of
    /// [`SEQUENCE`] that are asked for.
    pub kinds: Vec<String>,
    /// Level of the tests of a category together.
    pub significance: f64,
}

/// Emergence of the categories of a series.
#[derive(Clone, Debug, Default)]
pub struct Emergence {
    /// Shares by checkpoint.
    pub curves: Vec<EmergenceRow>,
    /// When they pass the level.
    pub times: Vec<EmergenceTimeRow>,
    /// Which comes first.
    pub order: Vec<EmergenceOrderRow>,
    /// Per category, in how many resamples (a share) all sorts tested pass in the order expected.
    pub chains: Vec<(String, Vec<String>, f64)>,
}

/// Images of one prompt: how many have a sort of atom, and how many have it right, by checkpoint.
#[derive(Default)]
struct Prompt {
    asked: Vec<f64>,
    held: Vec<Vec<f64>>,
}

/// The images of a category at all checkpoints.
struct Learned {
    category: String,
    /// Sorts of atoms, and [`JOINT`] last.
    kinds: Vec<String>,
    prompts: Vec<Prompt>,
    trained: Vec<f64>,
}

/// Item, seed, prompt, category.
type Image = (String, u64, String, String);
/// Whether each sort of atom of an image holds.
type Atoms = BTreeMap<String, bool>;

/// Emergence over the checkpoints of a series. Images that are not in every run are left out.
///
/// # Errors
/// [`HistoryError::NotTrained`], [`HistoryError::Torn`], [`HistoryError::UnknownKind`],
/// [`HistoryError::Measure`], and runs without the table `judgement`.
pub fn emergence(series: &Series, settings: &Settings) -> Result<Emergence, HistoryError> {
    let all = learned(series, settings.order)?;
    check_kinds(&all, &settings.kinds)?;
    let mut found = Emergence::default();
    for learned in &all {
        let measure = |source| HistoryError::Measure { category: learned.category.clone(), source };
        found.curves.extend(learned.curves(series).map_err(measure)?);
        learned.times(series.number, settings, &mut found).map_err(measure)?;
    }
    Ok(found)
}

fn check_kinds(all: &[Learned], asked: &[String]) -> Result<(), HistoryError> {
    let known: BTreeSet<&str> = all.iter().flat_map(|l| &l.kinds).map(String::as_str).collect();
    match asked.iter().find(|kind| !known.contains(kind.as_str())) {
        None => Ok(()),
        Some(kind) => Err(HistoryError::UnknownKind {
            kind: kind.clone(),
            known: known.into_iter().collect::<Vec<_>>().join(", "),
        }),
    }
}

fn learned(series: &Series, order: Order) -> Result<Vec<Learned>, HistoryError> {
    let runs: Vec<BTreeMap<Image, Atoms>> =
        series.readings.iter().map(atoms).collect::<Result<_, _>>()?;
    let mut trained = Vec::new();
    for reading in &series.readings {
        let Some(step) = reading.trained(order) else {
            return Err(HistoryError::NotTrained { run: reading.side.name.clone() });
        };
        trained.push(step as f64);
    }
    let mut categories: BTreeMap<&str, Vec<(&Image, Vec<&Atoms>)>> = BTreeMap::new();
    for image in runs[0].keys() {
        let everywhere: Option<Vec<&Atoms>> = runs.iter().map(|run| run.get(image)).collect();
        if let Some(atoms) = everywhere {
            categories.entry(&image.3).or_default().push((image, atoms));
        }
    }
    let of = |(category, images): (&str, Vec<_>)| Learned::of(category, &images, trained.clone());
    Ok(categories.into_iter().map(of).collect())
}

/// The atoms of every decided image of a run.
fn atoms(reading: &Reading) -> Result<BTreeMap<Image, Atoms>, HistoryError> {
    let side = &reading.side;
    let table = rows::<JudgementRow>(&read_parquet::<JudgementRow>(&side.table("judgement")?)?)?;
    let mut images: BTreeMap<Image, Atoms> = BTreeMap::new();
    for row in table {
        let outcome = side.outcomes.rows.get(row.sample as usize);
        let Some(outcome) = outcome.filter(|o| *o.prompt == *row.prompt && o.seed == row.seed)
        else {
            return Err(HistoryError::Torn { run: side.name.clone(), sample: row.sample });
        };
        let (Some(joint), Some(holds)) = (outcome.holds, row.holds) else { continue };
        let item = format!("{}/{}", outcome.suite, outcome.item);
        let key = (item, row.seed, row.prompt, outcome.category.to_string());
        let atoms = images.entry(key).or_insert_with(|| Atoms::from([(JOINT.to_owned(), joint)]));
        // Several atoms of one sort are right together or not at all.
        *atoms.entry(row.kind).or_insert(true) &= holds;
    }
    Ok(images)
}

impl Learned {
    fn of(category: &str, images: &[(&Image, Vec<&Atoms>)], trained: Vec<f64>) -> Self {
        let named: BTreeSet<&String> = images.iter().flat_map(|(_, runs)| runs[0].keys()).collect();
        let mut kinds: Vec<String> =
            named.into_iter().filter(|kind| *kind != JOINT).cloned().collect();
        kinds.push(JOINT.to_owned());
        let mut prompts: BTreeMap<&str, Prompt> = BTreeMap::new();
        for ((_, _, prompt, _), runs) in images {
            let prompt = prompts.entry(prompt).or_insert_with(|| Prompt {
                asked: vec![0.0; kinds.len()],
                held: vec![vec![0.0; trained.len()]; kinds.len()],
            });
            for (k, kind) in kinds.iter().enumerate() {
                if !runs.iter().all(|atoms| atoms.contains_key(kind)) {
                    continue;
                }
                prompt.asked[k] += 1.0;
                for (held, atoms) in prompt.held[k].iter_mut().zip(runs) {
                    *held += f64::from(u8::from(atoms.get(kind) == Some(&true)));
                }
            }
        }
        let prompts = prompts.into_values().collect();
        Self { category: category.to_owned(), kinds, prompts, trained }
    }

    /// Share that has a sort of atom right at a checkpoint, of the prompts drawn.
    fn share(&self, kind: usize, time: usize, drawn: &[usize]) -> f64 {
        let (held, asked) = drawn.iter().fold((0.0, 0.0), |(held, asked), &prompt| {
            let prompt = &self.prompts[prompt];
            (held + prompt.held[kind][time], asked + prompt.asked[kind])
        });
        held / asked
    }

    fn joint(&self) -> usize {
        self.kinds.len() - 1
    }

    /// Images that a sort of atom is asked of, and their prompts.
    fn asked(&self, kind: usize) -> (u32, u32) {
        let asked = self.prompts.iter().map(|prompt| prompt.asked[kind]);
        let images = asked.clone().sum::<f64>();
        (images as u32, number(asked.filter(|asked| *asked > 0.0).count()))
    }

    /// The attributes that every image is asked for: what the product is of.
    fn factors(&self) -> Vec<usize> {
        let every = self.asked(self.joint()).0;
        (0..self.joint())
            .filter(|&kind| ATTRIBUTES.contains(&self.kinds[kind].as_str()))
            .filter(|&kind| self.asked(kind).0 == every)
            .collect()
    }

    fn curves(&self, series: &Series) -> Result<Vec<EmergenceRow>, Undefined> {
        let factors = self.factors();
        let product = |time: usize, drawn: &[usize]| {
            factors.iter().map(|&kind| self.share(kind, time, drawn)).product::<f64>()
        };
        let mut table = Vec::new();
        for (time, reading) in series.readings.iter().enumerate() {
            let mut add = |kind: &str, of: usize, share: &dyn Fn(&[usize]) -> f64| {
                table.push(self.row(series, (time, reading), (kind, of), share)?);
                Ok::<_, Undefined>(())
            };
            for (k, kind) in self.kinds.iter().enumerate() {
                add(kind, k, &|drawn| self.share(k, time, drawn))?;
            }
            if factors.len() > 1 {
                let joint = self.joint();
                add(PRODUCT, joint, &|drawn| product(time, drawn))?;
                let gap = |drawn: &[usize]| self.share(joint, time, drawn) - product(time, drawn);
                add(GAP, joint, &gap)?;
            }
        }
        Ok(table)
    }

    fn row(
        &self,
        series: &Series,
        (time, reading): (usize, &Reading),
        (kind, of): (&str, usize),
        share: &dyn Fn(&[usize]) -> f64,
    ) -> Result<EmergenceRow, Undefined> {
        let everyone: Vec<usize> = (0..self.prompts.len()).collect();
        let interval = match Bootstrap::default().statistic(self.prompts.len(), share) {
            Ok(estimate) => Some(estimate),
            Err(Undefined::TooFew { .. }) => None,
            Err(other) => return Err(other),
        };
        let (images, prompts) = self.asked(of);
        Ok(EmergenceRow {
            series: series.number,
            category: self.category.clone(),
            run: reading.side.name.clone(),
            trained: self.trained[time],
            kind: kind.to_owned(),
            images,
            prompts,
            value: share(&everyone),
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
        })
    }

    fn passing(&self, kind: usize, level: f64, drawn: &[usize]) -> Passing {
        let images: f64 = drawn.iter().map(|&prompt| self.prompts[prompt].asked[kind]).sum();
        let at = |(time, &trained): (usize, &f64)| Checkpoint {
            trained,
            held: self.share(kind, time, drawn) * images,
            images,
        };
        passing(&self.trained.iter().enumerate().map(at).collect::<Vec<_>>(), level)
    }

    /// When each sort passes the level, and which comes first.
    fn times(
        &self,
        series: u32,
        settings: &Settings,
        found: &mut Emergence,
    ) -> Result<(), Undefined> {
        let bootstrap = Bootstrap::default();
        let everyone: Vec<usize> = (0..self.prompts.len()).collect();
        let mut drawn: BTreeMap<&str, Vec<Passing>> = BTreeMap::new();
        for (k, kind) in self.kinds.iter().enumerate() {
            let passings = match bootstrap
                .draws(self.prompts.len(), |drawn| self.passing(k, settings.level, drawn))
            {
                Ok(passings) => passings,
                Err(Undefined::TooFew { .. }) => Vec::new(),
                Err(other) => return Err(other),
            };
            let interval = passing_interval(passings.clone(), &bootstrap);
            let passed = self.passing(k, settings.level, &everyone);
            found.times.push(EmergenceTimeRow {
                series,
                category: self.category.clone(),
                kind: kind.clone(),
                level: settings.level,
                passed: described(passed).to_owned(),
                trained: passed.time(),
                low: interval.and_then(|(low, _)| low.time()),
                high: interval.and_then(|(_, high)| high.time()),
                last: self.share(k, self.trained.len() - 1, &everyone),
            });
            drawn.insert(kind, passings);
        }
        let tested: Vec<&str> = match settings.kinds.as_slice() {
            [] => SEQUENCE.to_vec(),
            given => given.iter().map(String::as_str).collect(),
        };
        let there: Vec<&str> = tested
            .into_iter()
            .filter(|kind| drawn.get(kind).is_some_and(|d| !d.is_empty()))
            .collect();
        if there.len() > 1 {
            found.order.extend(self.order(series, settings.significance, &there, &drawn)?);
            let chain = chain(&there, &drawn);
            let names = there.iter().map(|kind| (*kind).to_owned()).collect();
            found.chains.push((self.category.clone(), names, chain));
        }
        Ok(())
    }

    fn order(
        &self,
        series: u32,
        significance: f64,
        kinds: &[&str],
        drawn: &BTreeMap<&str, Vec<Passing>>,
    ) -> Result<Vec<EmergenceOrderRow>, Undefined> {
        let mut table = Vec::new();
        for (i, a) in kinds.iter().enumerate() {
            for b in &kinds[i + 1..] {
                let found = precedence(&drawn[a], &drawn[b])?;
                let as_given = found.share >= 0.5;
                let (first, second) = if as_given { (a, b) } else { (b, a) };
                table.push(EmergenceOrderRow {
                    series,
                    category: self.category.clone(),
                    first: (*first).to_owned(),
                    second: (*second).to_owned(),
                    share: if as_given { found.share } else { 1.0 - found.share },
                    p: found.p,
                    p_holm: found.p,
                    verdict: String::new(),
                });
            }
        }
        let p: Vec<f64> = table.iter().map(|row| row.p).collect();
        for (row, p_holm) in table.iter_mut().zip(holm(&p)) {
            let decided = p_holm <= significance;
            row.p_holm = p_holm;
            row.verdict = if decided { "first" } else { "undecided" }.to_owned();
        }
        Ok(table)
    }
}

/// Share of resamples in which every sort passes before the next.
fn chain(kinds: &[&str], drawn: &BTreeMap<&str, Vec<Passing>>) -> f64 {
    let resamples = drawn[kinds[0]].len();
    let in_order = |i: &usize| kinds.windows(2).all(|w| drawn[w[0]][*i] < drawn[w[1]][*i]);
    (0..resamples).filter(in_order).count() as f64 / resamples as f64
}

fn described(passing: Passing) -> &'static str {
    match passing {
        Passing::BeforeFirst => "before first",
        Passing::At(_) => "within",
        Passing::AfterLast => "after last",
    }
}
