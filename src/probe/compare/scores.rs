//! What judges score without deciding it, such as CLIP score: is the mean another one?

use super::pairing::Label;
use super::report::{THOUSAND, chance};
use super::{CompareError, Gate, Side, Tested, Verdict};
use crate::figure::{Axis, DotChart, DotSeries, Reference};
use crate::measure::permutation::sign_flip_test;
use crate::measure::{Bootstrap, Estimate, Undefined};
use crate::report::{self, Cell, Table};
use crate::table::ScoreComparisonRow;

/// Exchanges of the two runs for a test: its smallest p is one in ten thousand.
const EXCHANGES: usize = 9_999;
/// Seed of them.
const SEED: u64 = 0;

/// The scores of a category in both runs, pair by pair, with their prompts.
pub(super) struct PairedScores<'a> {
    pub a: Vec<f64>,
    pub b: Vec<f64>,
    pub prompts: Vec<&'a str>,
}

/// A category whose mean scores are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreGroup {
    /// Its row of the table.
    pub row: ScoreComparisonRow,
    /// Its verdict, which the row has in words.
    pub verdict: Verdict,
}

impl PairedScores<'_> {
    /// How likely a difference as large is if the two runs could be exchanged, prompt by prompt; of
    /// one prompt nothing can be said.
    pub fn flip_test(&self) -> Result<f64, Undefined> {
        match sign_flip_test(&self.b, &self.a, &self.prompts, EXCHANGES, SEED) {
            Err(Undefined::TooFew { .. }) => Ok(1.0),
            other => other,
        }
    }

    fn interval(&self, confidence: f64) -> Result<Option<Estimate>, Undefined> {
        let settings = Bootstrap { confidence, ..Bootstrap::default() };
        match settings.paired_difference(&self.b, &self.a, &self.prompts) {
            Err(Undefined::TooFew { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Whether the difference is smaller than the margin by two one-sided tests; where not one
    /// score differs, the runs are the same and no margin is needed.
    fn is_equivalent(&self, gate: &Gate) -> Result<bool, Undefined> {
        if self.a == self.b {
            return Ok(true);
        }
        let Some(margin) = gate.score_margin else { return Ok(false) };
        let interval = self.interval(1.0 - 2.0 * gate.significance)?;
        Ok(interval.is_some_and(|within| -margin < within.low && within.high < margin))
    }

    pub fn group(
        &self,
        (a, b): (&Side, &Side),
        label: &Label,
        tested: Tested,
        gate: &Gate,
    ) -> Result<ScoreGroup, CompareError> {
        let measure = |source| label.measure(source);
        let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
        let difference = mean(&self.b) - mean(&self.a);
        let interval = self.interval(Bootstrap::default().confidence).map_err(measure)?;
        let verdict = match () {
            () if self.is_equivalent(gate).map_err(measure)? => Verdict::Equivalent,
            () if tested.p_holm > gate.significance => Verdict::Inconclusive,
            () if difference < 0.0 => Verdict::Regressed,
            () => Verdict::Improved,
        };
        let mut prompts = self.prompts.clone();
        prompts.sort_unstable();
        prompts.dedup();
        let row = ScoreComparisonRow {
            run_a: a.name.clone(),
            run_b: b.name.clone(),
            suite: label.suite.to_string(),
            judge: label.judge.to_string(),
            category: label.category.to_string(),
            pairs: self.a.len() as u64,
            prompts: prompts.len() as u64,
            mean_a: mean(&self.a),
            mean_b: mean(&self.b),
            difference,
            low: interval.map(|interval| interval.low),
            high: interval.map(|interval| interval.high),
            p: tested.p,
            p_holm: tested.p_holm,
            verdict: verdict.name().to_owned(),
            margin: gate.score_margin,
        };
        Ok(ScoreGroup { row, verdict })
    }
}

/// A category's result in a sentence, with its numbers.
pub(super) fn sentence(group: &ScoreGroup) -> String {
    let row = &group.row;
    let interval = match (row.low, row.high) {
        (Some(low), Some(high)) => format!(" [{low:+.2}, {high:+.2}]"),
        _ => String::new(),
    };
    format!(
        "{} {}: mean score {:.2} → {:.2}, {:+.2}{interval} over {} pairs of {} prompts, p = {} \
         (Holm {})",
        row.category,
        row.verdict,
        row.mean_a,
        row.mean_b,
        row.difference,
        row.pairs,
        row.prompts,
        chance(row.p),
        chance(row.p_holm),
    )
}

pub(super) fn difference(row: &ScoreComparisonRow) -> report::Estimate {
    let rounded = |value: f64| (value * THOUSAND).round() / THOUSAND + 0.0;
    match (row.low, row.high) {
        (Some(low), Some(high)) => {
            report::Estimate::within(rounded(row.difference), rounded(low), rounded(high))
        }
        _ => report::Estimate::new(rounded(row.difference)),
    }
}

/// The difference of each category's mean score with its interval, as dots.
pub(super) fn chart(groups: &[ScoreGroup]) -> DotChart {
    let value = |group: &ScoreGroup| {
        let row = &group.row;
        (row.difference, row.low.zip(row.high))
    };
    DotChart {
        title: "What changed from A to B".to_owned(),
        category_axis: "category".to_owned(),
        categories: groups
            .iter()
            .map(|group| format!("{}: {}", group.row.category, group.row.verdict))
            .collect(),
        value: Axis::new("mean score of B less mean score of A"),
        series: vec![DotSeries {
            name: "difference, 95 % interval by prompt".to_owned(),
            values: groups.iter().map(value).collect(),
            control: false,
        }],
        reference: Some(Reference { value: 0.0, label: "no change".to_owned() }),
    }
}

pub(super) fn table(groups: &[ScoreGroup]) -> Table {
    let row = |group: &ScoreGroup| {
        let row = &group.row;
        vec![
            Cell::from(row.judge.as_str()),
            Cell::from(row.category.as_str()),
            Cell::from(row.verdict.as_str()),
            Cell::Text(row.pairs.to_string()),
            Cell::Text(row.prompts.to_string()),
            Cell::Number(row.mean_a),
            Cell::Number(row.mean_b),
            Cell::Estimate(difference(row)),
            Cell::Number(row.p),
            Cell::Number(row.p_holm),
        ]
    };
    let columns = [
        "judge",
        "category",
        "verdict",
        "pairs",
        "prompts",
        "mean in A",
        "mean in B",
        "difference",
        "p",
        "p (Holm)",
    ];
    Table {
        name: "score_comparison".to_owned(),
        caption: "Mean scores where the judge decides nothing: 95 % bootstrap intervals over \
                  prompts, and a test that exchanges the runs prompt by prompt. `equivalent` needs \
                  --score-margin, or scores that are all the same."
            .to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: groups.iter().map(row).collect(),
    }
}
