//! Rates per category, and the gap between held-out prompts and their seen twins.
//!
//! Images of one prompt resemble each other, so intervals are over prompts
//! ([`Bootstrap::cluster_rate`]).

use std::collections::BTreeMap;

use crate::measure::{Bootstrap, Undefined};
use crate::table::{GapRow, OutcomeRow, OutcomeSummaryRow};

/// Suite, category or label, and judge: what rows are grouped by.
type Group<'a> = (&'a str, &'a str, &'a str);

/// The images of one side of a comparison.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    images: usize,
    right: usize,
}

impl Side {
    fn count(&mut self, holds: bool) {
        self.images += 1;
        self.right += usize::from(holds);
    }

    fn rate(self) -> f64 {
        self.right as f64 / self.images as f64
    }
}

/// Held-out prompts beside the seen ones of the same label.
#[derive(Clone, Copy, Debug, Default)]
struct Twins<'a> {
    /// Category of the held-out prompts.
    category: Option<&'a str>,
    seen: Side,
    held_out: Side,
}

/// Rates per suite, judge and category, in the order in which they first come; an image that is
/// undecided counts in `undecided` only.
///
/// # Errors
/// [`Undefined`] where an interval cannot be made.
pub fn summarise(outcomes: &[OutcomeRow]) -> Result<Vec<OutcomeSummaryRow>, Undefined> {
    let mut groups: Vec<(Group<'_>, Vec<&OutcomeRow>)> = Vec::new();
    for row in outcomes {
        let name = (row.suite.as_str(), row.category.as_str(), row.judge.as_str());
        match groups.iter_mut().find(|group| group.0 == name) {
            Some(group) => group.1.push(row),
            None => groups.push((name, vec![row])),
        }
    }
    groups.into_iter().map(|(name, rows)| summary(name, &rows)).collect()
}

fn summary(
    (suite, category, judge): Group<'_>,
    rows: &[&OutcomeRow],
) -> Result<OutcomeSummaryRow, Undefined> {
    let decided: Vec<(bool, &str)> =
        rows.iter().filter_map(|row| Some((row.holds?, row.item.as_str()))).collect();
    let rate =
        if decided.is_empty() { None } else { Some(Bootstrap::default().cluster_rate(&decided)?) };
    let (scores, of_items): (Vec<f64>, Vec<&str>) =
        rows.iter().filter_map(|row| Some((row.score?, row.item.as_str()))).unzip();
    let score = match Bootstrap::default().cluster_mean(&scores, &of_items) {
        Ok(estimate) => Some(estimate),
        Err(Undefined::TooFew { .. } | Undefined::Empty) => None,
        Err(error) => return Err(error),
    };
    // A judge that decides none of them and scores some is one that scores.
    let told = if decided.is_empty() { scores.len() } else { decided.len() };
    let mut items: Vec<&str> = rows.iter().map(|row| row.item.as_str()).collect();
    items.sort_unstable();
    items.dedup();
    Ok(OutcomeSummaryRow {
        suite: suite.to_owned(),
        category: category.to_owned(),
        prompts: count(items.len()),
        images: count(rows.len()),
        undecided: count(rows.len() - told),
        right: count(decided.iter().filter(|(holds, _)| *holds).count()),
        share: rate.map(|rate| rate.mean),
        low: rate.map(|rate| rate.low),
        high: rate.map(|rate| rate.high),
        score: (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64),
        score_low: score.map(|score| score.low),
        score_high: score.map(|score| score.high),
        judge: judge.to_owned(),
    })
}

/// Seen minus held-out, per suite, judge and category of the held-out prompts. Its unit is a
/// label that joins held-out prompts to seen ones ([`super::Item::twin`]): the mean of the seen
/// images less that of the held-out ones, and the interval resamples labels.
///
/// A label of which either side has no decided image is left out. With fewer than two labels
/// there is no interval.
///
/// # Errors
/// [`Undefined`] where an interval cannot be made.
pub fn gaps(outcomes: &[OutcomeRow]) -> Result<Vec<GapRow>, Undefined> {
    let mut labels: BTreeMap<Group<'_>, Twins<'_>> = BTreeMap::new();
    for row in outcomes {
        let (Some(twin), Some(held_out), Some(holds)) =
            (row.twin.as_deref(), row.held_out, row.holds)
        else {
            continue;
        };
        let twins = labels.entry((&row.suite, &row.judge, twin)).or_default();
        if held_out {
            twins.category = Some(&row.category);
            twins.held_out.count(holds);
        } else {
            twins.seen.count(holds);
        }
    }
    let mut groups: BTreeMap<Group<'_>, Vec<Twins<'_>>> = BTreeMap::new();
    for ((suite, judge, _), twins) in labels {
        if let Some(category) = twins.category
            && twins.seen.images > 0
        {
            groups.entry((suite, judge, category)).or_default().push(twins);
        }
    }
    groups.into_iter().map(|(name, twins)| gap(name, &twins)).collect()
}

fn gap((suite, judge, category): Group<'_>, twins: &[Twins<'_>]) -> Result<GapRow, Undefined> {
    let over = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let seen: Vec<f64> = twins.iter().map(|twins| twins.seen.rate()).collect();
    let held_out: Vec<f64> = twins.iter().map(|twins| twins.held_out.rate()).collect();
    let pairs: Vec<usize> = (0..twins.len()).collect();
    let interval = match Bootstrap::default().paired_difference(&seen, &held_out, &pairs) {
        Ok(estimate) => Some(estimate),
        Err(Undefined::TooFew { .. }) => None,
        Err(error) => return Err(error),
    };
    Ok(GapRow {
        suite: suite.to_owned(),
        category: category.to_owned(),
        twins: count(twins.len()),
        images: count(twins.iter().map(|twins| twins.seen.images + twins.held_out.images).sum()),
        seen: over(&seen),
        held_out: over(&held_out),
        gap: over(&seen) - over(&held_out),
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        judge: judge.to_owned(),
    })
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
