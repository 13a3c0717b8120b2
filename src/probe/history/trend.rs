//! Shares per category over the runs of a series, and the runs from which on they are others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{HistoryError, Reading, Series};
use crate::measure::Bootstrap;
use crate::measure::change_point::{ChangePoint, RepeatedOutcomes, Search};
use crate::probe::compare::OVERALL;
use crate::table::{ChangePointRow, TrendRow};

/// Exchanges of times for a test at level 1; a stricter test takes as many more.
const PERMUTATIONS: f64 = 50.0;
/// Fewest exchanges of times.
const FEWEST_PERMUTATIONS: usize = 999;

/// What became of the categories of a series.
#[derive(Clone, Debug, Default)]
pub struct Trends {
    /// A row for each category and run.
    pub trend: Vec<TrendRow>,
    /// The change points.
    pub changes: Vec<ChangePointRow>,
    /// Images left out, since they are not in every run or were not decided in each.
    pub left_out: usize,
}

/// Suite, judge, whether it is for all categories, category.
type Label = (Arc<str>, Arc<str>, bool, Arc<str>);

/// An image in every run: its prompt, and whether it holds in each.
struct Followed {
    prompt: Arc<str>,
    holds: Vec<bool>,
}

/// Shares per category and run, and change points at level `significance` for all categories
/// together (Bonferroni).
///
/// # Errors
/// [`HistoryError::Measure`].
pub fn trends(series: &Series, significance: f64) -> Result<Trends, HistoryError> {
    let (groups, left_out) = followed(series);
    let tests = groups.len().max(1) as f64;
    let level = significance / tests;
    let permutations = ((PERMUTATIONS / level).ceil() as usize).max(FEWEST_PERMUTATIONS);
    let bootstrap = Bootstrap::default();
    let search = Search { significance: level, permutations, bootstrap };
    let mut all = Trends { left_out, ..Trends::default() };
    for (label, images) in &groups {
        let measure = |source| HistoryError::Measure { category: label.3.to_string(), source };
        let runs = series.readings.len();
        let outcomes = RepeatedOutcomes::new(
            runs,
            images.iter().map(|image| (&image.prompt, image.holds.as_slice())),
        )
        .map_err(measure)?;
        // One prompt alone cannot tell a change of the model from its own luck.
        let points = match outcomes.prompts() {
            1 => Vec::new(),
            _ => outcomes.change_points(&search).map_err(measure)?,
        };
        for place in 0..runs {
            let of_run: Vec<(bool, &str)> =
                images.iter().map(|image| (image.holds[place], &*image.prompt)).collect();
            let share = bootstrap.cluster_rate(&of_run).map_err(measure)?;
            let row = trend_row(series, label, place, &outcomes, &points);
            all.trend.push(TrendRow { share: share.mean, low: share.low, high: share.high, ..row });
        }
        let change = |point: &ChangePoint| change_row(series, label, point, tests);
        all.changes.extend(points.iter().map(change));
    }
    Ok(all)
}

/// The images that are in every run and decided in each, by category and all together.
fn followed(series: &Series) -> (BTreeMap<Label, Vec<Followed>>, usize) {
    let runs = series.readings.len();
    let mut images: HashMap<(&str, &str, &str, u64), Vec<bool>> = HashMap::new();
    let mut left_out = BTreeSet::new();
    for (time, Reading { side, .. }) in series.readings.iter().enumerate() {
        for row in &side.outcomes.rows {
            let key = (&*row.suite, &*row.judge, &*row.item, row.seed);
            let holds = images.entry(key).or_default();
            match row.holds {
                Some(answer) if holds.len() == time => holds.push(answer),
                _ => drop(left_out.insert(key)),
            }
        }
    }
    left_out.extend(images.iter().filter(|(_, holds)| holds.len() < runs).map(|(key, _)| *key));
    let mut groups: BTreeMap<Label, Vec<Followed>> = BTreeMap::new();
    let first = &series.readings[0].side.outcomes;
    for row in &first.rows {
        let key = (&*row.suite, &*row.judge, &*row.item, row.seed);
        let Some(holds) = images.remove(&key).filter(|holds| holds.len() == runs) else { continue };
        let judge: Arc<str> = first.judge_with_version(&row.judge).into();
        for overall in [false, true] {
            let category = if overall { OVERALL.into() } else { Arc::clone(&row.category) };
            let label = (Arc::clone(&row.suite), Arc::clone(&judge), overall, category);
            let image = Followed { prompt: Arc::clone(&row.prompt), holds: holds.clone() };
            groups.entry(label).or_default().push(image);
        }
    }
    without_single_overall(&mut groups);
    (groups, left_out.len())
}

/// Of a single category "overall" would be the same twice.
fn without_single_overall(groups: &mut BTreeMap<Label, Vec<Followed>>) {
    let mut categories: BTreeMap<(Arc<str>, Arc<str>), usize> = BTreeMap::new();
    for (suite, judge, overall, _) in groups.keys() {
        let of = (Arc::clone(suite), Arc::clone(judge));
        *categories.entry(of).or_default() += usize::from(!overall);
    }
    groups.retain(|(suite, judge, overall, _), _| {
        let of = (Arc::clone(suite), Arc::clone(judge));
        !overall || categories.get(&of).is_some_and(|count| *count > 1)
    });
}

fn trend_row(
    series: &Series,
    (suite, judge, _, category): &Label,
    place: usize,
    outcomes: &RepeatedOutcomes,
    points: &[ChangePoint],
) -> TrendRow {
    let Reading { side, training } = &series.readings[place];
    let level = points.iter().filter(|point| point.at <= place).count();
    let start = level.checked_sub(1).map_or(0, |last| points[last].at);
    let end = points.get(level).map_or(series.readings.len(), |next| next.at);
    TrendRow {
        series: series.number,
        suite: suite.to_string(),
        judge: judge.to_string(),
        category: category.to_string(),
        place: number(place + 1),
        run: side.name.clone(),
        started: side.manifest().started.to_string(),
        training_step: training.map(|training| training.step),
        training_images: training.and_then(|training| training.images),
        model: side.manifest().model.as_ref().map(|model| model.name.clone()),
        prompts: number(outcomes.prompts()),
        images: u32::try_from(outcomes.images()).unwrap_or(u32::MAX),
        share: f64::NAN,
        low: f64::NAN,
        high: f64::NAN,
        level: number(level + 1),
        level_share: outcomes.share(start..end),
    }
}

fn change_row(
    series: &Series,
    (suite, judge, _, category): &Label,
    point: &ChangePoint,
    tests: f64,
) -> ChangePointRow {
    let run = |place: usize| series.readings[place].side.name.clone();
    let better = point.difference.mean > 0.0;
    ChangePointRow {
        series: series.number,
        suite: suite.to_string(),
        judge: judge.to_string(),
        category: category.to_string(),
        direction: if better { "better" } else { "worse" }.to_owned(),
        last_before: run(point.at - 1),
        first_after: run(point.at),
        place: number(point.at + 1),
        place_low: number(point.within.0 + 1),
        place_high: number(point.within.1 + 1),
        before: point.before,
        after: point.after,
        difference: point.difference.mean,
        low: point.difference.low,
        high: point.difference.high,
        p: point.p,
        p_adjusted: (point.p * tests).min(1.0),
    }
}

pub(super) fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
