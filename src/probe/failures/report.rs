//! The report of a run of suites.

use std::collections::BTreeMap;

use super::{boxed, scored};
use crate::figure::{Axis, DotChart, DotSeries, FigureError};
use crate::measure::{Bootstrap, Undefined};
use crate::report::{
    Block, Cell, Estimate, Fact, LabelledImage, Picture, Report, Rerun, Section, Table,
};
use crate::table::{HumanRow, JudgementRow, OutcomeRow, OutcomeSummaryRow, SeenRow};

/// Rates beyond which a category has no room for one more change: see [`limits`].
const CEILING: f64 = 0.95;
const FLOOR: f64 = 0.05;
/// Prompts in the list of the worst.
pub(super) const WORST: usize = 20;
/// Failed images shown.
const PICTURED: usize = 36;

/// What a report is made of.
pub struct FailuresInput<'a> {
    /// All images, in the order of the run.
    pub outcomes: &'a [OutcomeRow],
    /// Rates per category.
    pub summary: &'a [OutcomeSummaryRow],
    /// The single expectations.
    pub atoms: &'a [JudgementRow],
    /// What was seen where.
    pub seen: &'a [SeenRow],
    /// What a person says.
    pub human: &'a [HumanRow],
    /// The image of an outcome, where it is to be had.
    pub image: &'a dyn Fn(&OutcomeRow) -> Option<image::RgbImage>,
    /// Model, sampler and the like.
    pub facts: Vec<Fact>,
    /// How to make it again.
    pub rerun: Rerun,
}

/// What a category cannot show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Nearly all is right: a better model cannot do better here.
    Saturated,
    /// Nearly nothing is right: a worse model cannot do worse here.
    Floor,
}

/// What a rate with its interval cannot show: saturated where the whole interval lies above 95 %,
/// at the floor where it lies below 5 %, or where nothing at all is right.
pub fn limits(row: &OutcomeSummaryRow) -> Option<Limits> {
    let (share, low, high) = (row.share?, row.low?, row.high?);
    match () {
        () if low >= CEILING || share >= 1.0 => Some(Limits::Saturated),
        () if high <= FLOOR || share <= 0.0 => Some(Limits::Floor),
        () => None,
    }
}

/// The report.
///
/// # Errors
/// Figures whose data disagree, or images that cannot be encoded.
pub fn report(input: &FailuresInput<'_>) -> Result<Report, FigureError> {
    let mut report = Report::new("Where does it fail?");
    report.maker = format!("probe failures, denoscope {}", env!("CARGO_PKG_VERSION"));
    report.facts.clone_from(&input.facts);
    let is_scored = scored::is_scored(input.outcomes);
    let worst = if is_scored {
        report.subtitle = scored::subtitle(input.outcomes);
        report.section(scored::scores(input.summary)?);
        scored::lowest(input.outcomes)
    } else {
        let decided: Vec<bool> = input.outcomes.iter().filter_map(|row| row.holds).collect();
        let right = decided.iter().filter(|holds| **holds).count();
        report.subtitle = format!("{right} of {} images have everything right", decided.len());
        report.section(rates(input)?);
        report.section(Section::new("What goes wrong").with(Block::Table(by_kind(input))));
        worst(input)
    };
    if !input.human.is_empty() {
        report.section(human_section(input));
    }
    report.section(Section::new("The worst prompts").with(Block::Table(worst)));
    report.section(gallery(input, is_scored)?);
    report.section(Section::new("How this was measured").prose(if is_scored {
        SCORES
    } else {
        METHOD
    }));
    report.rerun = Some(input.rerun.clone());
    Ok(report)
}

fn rates(input: &FailuresInput<'_>) -> Result<Section, FigureError> {
    let mut section = Section::new("How often is everything right?");
    for (row, limit) in input.summary.iter().filter_map(|row| Some((row, limits(row)?))) {
        section = section.with(Block::Warning(match limit {
            Limits::Saturated => format!(
                "{}: saturated. Nearly everything is right, so no model can be seen to do better; \
                 take harder prompts.",
                row.category
            ),
            Limits::Floor => format!(
                "{}: at the floor. Nearly nothing is right, so nothing can be seen to get worse; \
                 take easier prompts.",
                row.category
            ),
        }));
    }
    if input.summary.iter().any(|row| row.suite.ends_with("(partial)")) {
        let text = "Only a part of the suite was judged; its numbers are not those of the suite.";
        section = section.with(Block::Warning(text.to_owned()));
    }
    let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
    let chart = DotChart {
        title: "Share of images that have everything right".to_owned(),
        category_axis: "category".to_owned(),
        categories: input.summary.iter().map(|row| row.category.clone()).collect(),
        value: Axis::new("share").range(0.0, 1.0),
        series: vec![DotSeries {
            name: "95 % interval over prompts".to_owned(),
            values: input
                .summary
                .iter()
                .map(|row| (number(row.share), row.low.zip(row.high)))
                .collect(),
            control: false,
        }],
        reference: None,
    };
    section = section.picture(Picture::new("rates", CAPTION, &chart)?);
    Ok(section.with(Block::Table(summary_table(input))))
}

fn summary_table(input: &FailuresInput<'_>) -> Table {
    let row = |row: &OutcomeSummaryRow| {
        let share = match (row.share, row.low, row.high) {
            (Some(share), Some(low), Some(high)) => {
                Cell::Estimate(Estimate::within(share, low, high))
            }
            _ => Cell::Missing,
        };
        let headroom = row.share.map_or(Cell::Missing, |share| Cell::Number(1.0 - share));
        vec![
            Cell::from(row.suite.as_str()),
            Cell::from(row.category.as_str()),
            Cell::Text(row.prompts.to_string()),
            Cell::Text(row.images.to_string()),
            Cell::Text(row.undecided.to_string()),
            share,
            headroom,
            Cell::from(row.judge.as_str()),
        ]
    };
    let columns =
        ["suite", "category", "prompts", "images", "undecided", "share right", "headroom", "judge"];
    Table {
        name: "outcome_summary".to_owned(),
        caption: "Headroom: what is left to get better by.".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: input.summary.iter().map(row).collect(),
    }
}

/// Per category and sort of atom: in how many images it is wrong.
fn by_kind(input: &FailuresInput<'_>) -> Table {
    let mut images: BTreeMap<(&str, &str, u32), bool> = BTreeMap::new();
    for row in input.atoms {
        if let Some(holds) = row.holds {
            *images.entry((&row.category, &row.kind, row.sample)).or_insert(true) &= holds;
        }
    }
    let mut groups: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for ((category, kind, _), holds) in images {
        let group = groups.entry((category, kind)).or_default();
        group.0 += usize::from(!holds);
        group.1 += 1;
    }
    let mut rows: Vec<_> = groups.into_iter().filter(|(_, (wrong, _))| *wrong > 0).collect();
    rows.sort_by(|(a, (wrong_a, _)), (b, (wrong_b, _))| {
        a.0.cmp(b.0).then(wrong_b.cmp(wrong_a)).then(a.1.cmp(b.1))
    });
    let row = |((category, kind), (wrong, of)): ((&str, &str), (usize, usize))| {
        let share = Cell::Number(wrong as f64 / of as f64);
        vec![category.into(), kind.into(), Cell::Text(format!("{wrong} of {of}")), share]
    };
    Table {
        name: "wrong_by_kind".to_owned(),
        caption: "Images in which something of a sort is wrong, the most frequent first."
            .to_owned(),
        columns: ["category", "sort of atom", "images", "share"].map(str::to_owned).to_vec(),
        rows: rows.into_iter().map(row).collect(),
    }
}

/// The prompts whose images fail most, those of more images first among equals.
fn worst(input: &FailuresInput<'_>) -> Table {
    let mut prompts: BTreeMap<(&str, &str), (usize, usize, &OutcomeRow)> = BTreeMap::new();
    for row in input.outcomes {
        let Some(holds) = row.holds else { continue };
        let prompt = prompts.entry((&row.suite, &row.item)).or_insert((0, 0, row));
        prompt.0 += usize::from(holds);
        prompt.1 += 1;
        if !holds && prompt.2.reason.is_empty() {
            prompt.2 = row;
        }
    }
    let mut rows: Vec<_> = prompts.into_values().filter(|(right, of, _)| right < of).collect();
    rows.sort_by(|a, b| {
        let share = |(right, of, _): &(usize, usize, &OutcomeRow)| *right as f64 / *of as f64;
        share(a).total_cmp(&share(b)).then(b.1.cmp(&a.1))
    });
    let row = |(right, of, row): (usize, usize, &OutcomeRow)| {
        vec![
            Cell::from(row.category.as_str()),
            Cell::from(row.item.as_str()),
            Cell::from(row.prompt.as_str()),
            Cell::Text(format!("{right} of {of}")),
            Cell::from(row.reason.as_str()),
        ]
    };
    Table {
        name: "worst_prompts".to_owned(),
        caption: format!(
            "The {WORST} prompts that fail most, with the reason of one failed image."
        ),
        columns: ["category", "item", "prompt", "right", "a reason"].map(str::to_owned).to_vec(),
        rows: rows.into_iter().take(WORST).map(row).collect(),
    }
}

/// What the judge and the person say, side by side.
fn human_section(input: &FailuresInput<'_>) -> Section {
    let against = |row: &&HumanRow| row.judge_holds.is_some_and(|judge| judge != row.human_holds);
    let said = |holds: bool| if holds { "right" } else { "wrong" };
    let text = format!(
        "A person looked at {} images and disagrees with the judge on {}. The judge's word stays in \
         all tables; with the person's instead of it: {}.",
        input.human.len(),
        input.human.iter().filter(against).count(),
        with_overrides(input).unwrap_or_else(|_| "nothing is decided".to_owned()),
    );
    let row = |row: &HumanRow| {
        vec![
            Cell::from(row.item.as_str()),
            Cell::Text(row.seed.to_string()),
            row.judge_holds.map_or(Cell::Missing, |holds| said(holds).into()),
            said(row.human_holds).into(),
            Cell::from(row.note.as_str()),
        ]
    };
    let table = Table {
        name: "human".to_owned(),
        caption: "Images where the person disagrees come first.".to_owned(),
        columns: ["item", "seed", "judge", "person", "note"].map(str::to_owned).to_vec(),
        rows: {
            let (first, rest): (Vec<_>, Vec<_>) = input.human.iter().partition(against);
            first.into_iter().chain(rest).map(row).collect()
        },
    };
    Section::new("What a person says").prose(text).with(Block::Table(table))
}

/// The rate over all suites with the person's word where there is one.
fn with_overrides(input: &FailuresInput<'_>) -> Result<String, Undefined> {
    let human: BTreeMap<(&str, &str, u64), bool> = input
        .human
        .iter()
        .map(|row| ((row.suite.as_str(), row.item.as_str(), row.seed), row.human_holds))
        .collect();
    let decided: Vec<(bool, &str)> = input
        .outcomes
        .iter()
        .filter_map(|row| {
            let own = human.get(&(row.suite.as_str(), row.item.as_str(), row.seed)).copied();
            Some((own.or(row.holds)?, row.prompt.as_str()))
        })
        .collect();
    let rate = Bootstrap::default().cluster_rate(&decided)?;
    Ok(format!("{rate} of {} images are right", decided.len()))
}

/// Failed images of all categories in turn, with boxes and reasons; where images are scored, those
/// with the lowest scores.
fn gallery(input: &FailuresInput<'_>, is_scored: bool) -> Result<Section, FigureError> {
    let mut of_category: BTreeMap<(&str, &str), Vec<(u32, &OutcomeRow)>> = BTreeMap::new();
    for (sample, row) in (0_u32..).zip(input.outcomes).filter(|(_, row)| row.holds != Some(true)) {
        of_category.entry((&row.suite, &row.category)).or_default().push((sample, row));
    }
    if is_scored {
        for rows in of_category.values_mut() {
            let score = |row: &OutcomeRow| row.score.unwrap_or(f64::INFINITY);
            rows.sort_by(|(_, a), (_, b)| score(a).total_cmp(&score(b)));
        }
    }
    let failed: usize = of_category.values().map(Vec::len).sum();
    let longest = of_category.values().map(Vec::len).max().unwrap_or(0);
    let in_turn = (0..longest).flat_map(|i| of_category.values().filter_map(move |c| c.get(i)));
    let mut shown = Vec::new();
    for (sample, row) in in_turn {
        if shown.len() == PICTURED {
            break;
        }
        let Some(image) = (input.image)(row) else { continue };
        let seen: Vec<&SeenRow> = input.seen.iter().filter(|s| s.sample == *sample).collect();
        shown.push(LabelledImage {
            label: row.prompt.clone(),
            note: match row.score.filter(|_| is_scored) {
                Some(score) => format!("{} seed {}: score {score:.2}", row.item, row.seed),
                None => format!("{} seed {}: {}", row.item, row.seed, row.reason),
            },
            png: boxed(&image, &seen)?,
        });
    }
    let heading = if is_scored { "Images with the lowest scores" } else { "Failed images" };
    let section = Section::new(heading);
    Ok(match (failed, shown.len()) {
        (0, _) => section.prose("None."),
        (_, 0) => section.prose("No image of the failed ones was kept (`--keep-images`)."),
        (all, count) if is_scored => section
            .prose(format!("{count} of {all}, categories in turn."))
            .with(Block::Images(shown)),
        (failed, count) => section
            .prose(format!(
                "{count} of {failed}, categories in turn. White boxes are around what stands for \
                 something in the prompt, magenta ones around what is extra."
            ))
            .with(Block::Images(shown)),
    })
}

const CAPTION: &str = "Share of images that have everything right, with its 95 % interval over \
    prompts.";
const SCORES: &str = "The judge gives each image a number and decides nothing, so there is no share \
    of right images. Images of one prompt resemble each other, so intervals resample prompts.";
const METHOD: &str = "An image is right where all that its prompt asks for holds. Images that the \
    judge could not decide count neither way. Images of one prompt resemble each other, so \
    intervals resample prompts; where all prompts have one rate they are Wilson's for the number \
    of prompts.";
