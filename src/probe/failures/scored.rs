//! What the report says where the judge scores images and decides nothing.

use std::collections::BTreeMap;

use super::report::WORST;
use crate::figure::{Axis, DotChart, DotSeries, FigureError};
use crate::report::{Block, Cell, Estimate, Picture, Section, Table};
use crate::table::{OutcomeRow, OutcomeSummaryRow};

/// Whether the judge scored images and decided none.
pub(super) fn is_scored(outcomes: &[OutcomeRow]) -> bool {
    outcomes.iter().all(|row| row.holds.is_none()) && outcomes.iter().any(|row| row.score.is_some())
}

/// The mean of all images.
pub(super) fn subtitle(outcomes: &[OutcomeRow]) -> String {
    let scores: Vec<f64> = outcomes.iter().filter_map(|row| row.score).collect();
    format!("{:.2} is the mean score of {} images", mean(&scores), scores.len())
}

fn mean(scores: &[f64]) -> f64 {
    scores.iter().sum::<f64>() / scores.len() as f64
}

/// Mean scores per category.
pub(super) fn scores(summary: &[OutcomeSummaryRow]) -> Result<Section, FigureError> {
    let value = |row: &OutcomeSummaryRow| row.score.unwrap_or(f64::NAN);
    let interval = |row: &OutcomeSummaryRow| row.score_low.zip(row.score_high);
    let chart = DotChart {
        title: "Mean score".to_owned(),
        category_axis: "category".to_owned(),
        categories: summary.iter().map(|row| row.category.clone()).collect(),
        value: Axis::new("score"),
        series: vec![DotSeries {
            name: "95 % interval over prompts".to_owned(),
            values: summary.iter().map(|row| (value(row), interval(row))).collect(),
            control: false,
        }],
        reference: None,
    };
    let row = |row: &OutcomeSummaryRow| {
        let score = match interval(row) {
            Some((low, high)) => Cell::Estimate(Estimate::within(value(row), low, high)),
            None => row.score.map_or(Cell::Missing, Cell::Number),
        };
        vec![
            Cell::from(row.suite.as_str()),
            Cell::from(row.category.as_str()),
            Cell::Text(row.prompts.to_string()),
            Cell::Text(row.images.to_string()),
            Cell::Text(row.undecided.to_string()),
            score,
            Cell::from(row.judge.as_str()),
        ]
    };
    let columns = ["suite", "category", "prompts", "images", "not scored", "mean score", "judge"];
    let table = Table {
        name: "outcome_summary".to_owned(),
        caption: "A score decides nothing: what is high for one judge or one prompt is low for \
                  another."
            .to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: summary.iter().map(row).collect(),
    };
    let caption = "Mean score with its 95 % bootstrap interval over prompts.";
    Ok(Section::new("How high is the score?")
        .picture(Picture::new("scores", caption, &chart)?)
        .with(Block::Table(table)))
}

/// The prompts with the lowest mean score.
pub(super) fn lowest(outcomes: &[OutcomeRow]) -> Table {
    let mut prompts: BTreeMap<(&str, &str), (Vec<f64>, &OutcomeRow)> = BTreeMap::new();
    for row in outcomes {
        if let Some(score) = row.score {
            prompts.entry((&row.suite, &row.item)).or_insert((Vec::new(), row)).0.push(score);
        }
    }
    let mut means: Vec<(f64, usize, &OutcomeRow)> =
        prompts.into_values().map(|(scores, row)| (mean(&scores), scores.len(), row)).collect();
    means.sort_by(|a, b| a.0.total_cmp(&b.0));
    let row = |(score, images, row): (f64, usize, &OutcomeRow)| {
        vec![
            Cell::from(row.category.as_str()),
            Cell::from(row.item.as_str()),
            Cell::from(row.prompt.as_str()),
            Cell::Text(images.to_string()),
            Cell::Number(score),
        ]
    };
    Table {
        name: "worst_prompts".to_owned(),
        caption: format!("The {WORST} prompts with the lowest mean score."),
        columns: ["category", "item", "prompt", "images", "mean score"].map(str::to_owned).to_vec(),
        rows: means.into_iter().take(WORST).map(row).collect(),
    }
}
