//! How many prompts and images a wanted effect needs, from the variance of runs that are there;
//! and how often the gate raises an alarm over the same runs though nothing changed.
//!
//! Pairs of images are those of the same item and seed in consecutive runs. Of a run that is alone,
//! the images of a prompt are paired among themselves: there nothing changed but the noise, and
//! shared noise would differ less, so the plan is careful.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::compare::{OVERALL, Side};
use super::history::HistoryError;
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::measure::multiplicity::holm;
use crate::measure::paired::{MinimumDetectable, PairedOutcomes, pairs_needed};
use crate::measure::{Proportion, Undefined};
use crate::table::{FalseAlarmRow, PlanRow};

/// Comparisons simulated for the rate of false alarms.
const COMPARISONS: u32 = 1000;

/// What is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Loss of share that is to be seen.
    pub effect: f64,
    /// Level for all categories together.
    pub significance: f64,
    /// Chance to see the loss.
    pub power: f64,
    /// Numbers of images a prompt to plan for.
    pub images: Vec<u32>,
}

/// Suite, judge, whether it is for all categories, category.
type Label = (Arc<str>, Arc<str>, bool, Arc<str>);

/// An image before and after, and the prompt they are of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    /// A prompt in one comparison.
    cluster: (usize, Arc<str>),
    before: bool,
    after: bool,
}

/// Pairs of images of a store, by category.
#[derive(Clone, Debug)]
pub struct Store {
    basis: &'static str,
    groups: BTreeMap<Label, Vec<Pair>>,
    prompts: BTreeMap<Label, usize>,
}

impl Store {
    /// From runs in their order that ask the same; one alone is enough.
    ///
    /// # Errors
    /// [`HistoryError::Measure`] where one run alone has no two decided images of a prompt.
    pub fn of(runs: &[&Side]) -> Result<Self, HistoryError> {
        let (basis, pairs) = match runs {
            [alone] => ("seeds", of_seeds(alone)),
            several => ("runs", of_runs(several)),
        };
        let mut groups: BTreeMap<Label, Vec<Pair>> = BTreeMap::new();
        let (mut prompts, mut categories) = (BTreeMap::new(), BTreeSet::new());
        for ((suite, judge, category), pair) in pairs {
            categories.insert((Arc::clone(&suite), Arc::clone(&judge), Arc::clone(&category)));
            for overall in [false, true] {
                let category = if overall { OVERALL.into() } else { Arc::clone(&category) };
                let label = (Arc::clone(&suite), Arc::clone(&judge), overall, category);
                groups.entry(label).or_default().push(pair.clone());
            }
        }
        groups.retain(|(suite, judge, overall, _), _| {
            let of = |(s, j, _): &&(Arc<str>, Arc<str>, Arc<str>)| s == suite && j == judge;
            !overall || categories.iter().filter(of).count() > 1
        });
        for (label, pairs) in &groups {
            let mut names: Vec<&str> = pairs.iter().map(|pair| &*pair.cluster.1).collect();
            names.sort_unstable();
            names.dedup();
            prompts.insert(label.clone(), names.len());
        }
        if groups.is_empty() {
            let source = Undefined::TooFew { needed: 2, got: 1 };
            return Err(HistoryError::Measure { category: OVERALL.to_owned(), source });
        }
        Ok(Self { basis, groups, prompts })
    }

    /// What the variance is from: `runs` or `seeds`.
    pub fn basis(&self) -> &'static str {
        self.basis
    }

    /// A row for each category and number of images a prompt.
    ///
    /// # Errors
    /// [`HistoryError::Measure`].
    pub fn plan(&self, wanted: &Wanted) -> Result<Vec<PlanRow>, HistoryError> {
        // Holm's first and strictest level, so that what is planned holds whatever the others do.
        let significance = wanted.significance / self.groups.len() as f64;
        let mut rows = Vec::new();
        for (label, pairs) in &self.groups {
            let measure = |source| HistoryError::Measure { category: label.3.to_string(), source };
            let outcomes = outcomes(pairs).map_err(measure)?;
            let changed = (outcomes.broken() + outcomes.fixed()) as f64;
            let discordance = (changed + 1.0) / (outcomes.pairs() as f64 + 2.0);
            let correlation = outcomes.intraclass_correlation().map(|icc| icc.clamp(0.0, 1.0));
            let plan =
                MinimumDetectable { pairs: 0, discordance, significance, power: wanted.power };
            let Some(needed) = pairs_needed(plan, wanted.effect) else {
                let allowed = "above 0 and up to 1, such as 0.05";
                let (name, got) = ("the effect", wanted.effect);
                return Err(measure(Undefined::Parameter { name, got, allowed }));
            };
            for &images in &wanted.images {
                // Kish's design effect of so many images of a prompt.
                let m = f64::from(images);
                let design = 1.0 + (m - 1.0) * correlation.unwrap_or(1.0);
                let prompts_needed = (needed as f64 * design / m).ceil() as u64;
                let prompts = self.prompts[label] as u64;
                rows.push(PlanRow {
                    suite: label.0.to_string(),
                    judge: label.1.to_string(),
                    category: label.3.to_string(),
                    basis: self.basis.to_owned(),
                    pairs: outcomes.pairs(),
                    discordance,
                    correlation,
                    effect: wanted.effect,
                    power: wanted.power,
                    significance,
                    images_per_prompt: images,
                    prompts_needed,
                    images_needed: prompts_needed * u64::from(images),
                    prompts,
                    enough: prompts >= prompts_needed,
                });
            }
        }
        Ok(rows)
    }

    /// The share of A/A comparisons in which the gate raises an alarm: before and after exchanged
    /// at random within every pair, so that nothing can have changed.
    ///
    /// # Errors
    /// [`HistoryError::Measure`].
    pub fn false_alarms(&self, significance: f64) -> Result<FalseAlarmRow, HistoryError> {
        let measure = |source| HistoryError::Measure { category: OVERALL.to_owned(), source };
        let alarms = (0..COMPARISONS)
            .into_par_iter()
            .map(|number| self.alarm(u64::from(number), significance))
            .collect::<Result<Vec<bool>, Undefined>>()
            .map_err(measure)?;
        let share = Proportion::of(alarms.iter().copied()).map_err(measure)?;
        let interval = share.wilson(DEFAULT_CONFIDENCE).map_err(measure)?;
        Ok(FalseAlarmRow {
            basis: self.basis.to_owned(),
            categories: u32::try_from(self.groups.len()).unwrap_or(u32::MAX),
            comparisons: COMPARISONS,
            alarms: u32::try_from(share.successes()).unwrap_or(u32::MAX),
            share: share.rate(),
            low: interval.low,
            high: interval.high,
            significance,
        })
    }

    fn alarm(&self, number: u64, significance: f64) -> Result<bool, Undefined> {
        let mut random = ChaCha8Rng::seed_from_u64(number);
        let p = self.groups.values().map(|pairs| {
            let exchanged: Vec<Pair> = pairs
                .iter()
                .map(|pair| match random.random() {
                    true => Pair { before: pair.after, after: pair.before, ..pair.clone() },
                    false => pair.clone(),
                })
                .collect();
            Ok(outcomes(&exchanged)?.flip_test())
        });
        let p = p.collect::<Result<Vec<f64>, Undefined>>()?;
        Ok(holm(&p).into_iter().any(|p| p <= significance))
    }
}

fn outcomes(pairs: &[Pair]) -> Result<PairedOutcomes, Undefined> {
    PairedOutcomes::new(pairs.iter().map(|pair| (&pair.cluster, pair.before, pair.after)))
}

/// Suite, judge and category of a pair.
type Of = (Arc<str>, Arc<str>, Arc<str>);

/// Seeds of a prompt and whether its images hold.
type Images = Vec<(u64, bool)>;

/// Two seeds of a prompt at a time, in the order of the seeds.
fn of_seeds(side: &Side) -> Vec<(Of, Pair)> {
    let mut images: BTreeMap<(Of, Arc<str>), Images> = BTreeMap::new();
    for row in &side.outcomes.rows {
        if let Some(holds) = row.holds {
            let judge = side.outcomes.judge_with_version(&row.judge).into();
            let of = (Arc::clone(&row.suite), judge, Arc::clone(&row.category));
            images.entry((of, Arc::clone(&row.prompt))).or_default().push((row.seed, holds));
        }
    }
    let mut pairs = Vec::new();
    for ((of, prompt), mut images) in images {
        images.sort_unstable();
        for two in images.chunks_exact(2) {
            let cluster = (0, Arc::clone(&prompt));
            pairs.push((of.clone(), Pair { cluster, before: two[0].1, after: two[1].1 }));
        }
    }
    pairs
}

/// The same item and seed in each run and the next.
fn of_runs(runs: &[&Side]) -> Vec<(Of, Pair)> {
    let mut pairs = Vec::new();
    for (number, two) in runs.windows(2).enumerate() {
        let after: HashMap<_, bool> = two[1]
            .outcomes
            .rows
            .iter()
            .filter_map(|row| Some(((&row.suite, &row.judge, &row.item, row.seed), row.holds?)))
            .collect();
        for row in &two[0].outcomes.rows {
            let key = (&row.suite, &row.judge, &row.item, row.seed);
            let (Some(before), Some(&after)) = (row.holds, after.get(&key)) else { continue };
            let judge = two[0].outcomes.judge_with_version(&row.judge).into();
            let of = (Arc::clone(&row.suite), judge, Arc::clone(&row.category));
            let cluster = (number, Arc::clone(&row.prompt));
            pairs.push((of, Pair { cluster, before, after }));
        }
    }
    pairs
}
