//! Findings and the report of a ranking of heads.

use super::figures::{figures, short_layer};
use super::{
    Effect, HELD_OUT, LATENT_CHANGE, Mean, RANDOM_HEADS, RANKING, head_at_random, kinds, of_set,
    ranking, single_heads, untouched,
};
use crate::figure::FigureError;
use crate::report::{
    Block, Cell, Estimate, Fact, Finding, Picture, Report, Rerun, Scale, Section, Table,
};
use crate::table::HeadAblationRow;

fn estimate(mean: Mean) -> Estimate {
    match mean.interval {
        Some((low, high)) => Estimate::within(mean.mean, low, high),
        None => Estimate::new(mean.mean),
    }
}

fn name(effect: &Effect) -> String {
    effect.head.as_ref().map_or_else(String::new, |head| {
        format!("head {} of {}", head.number, short_layer(&head.layer))
    })
}

/// For each kind: what the heads that ranked first for it are worth on other images, beside as
/// many random ones.
pub fn findings(rows: &[HeadAblationRow]) -> Vec<Finding> {
    kinds(rows).into_iter().filter_map(|kind| finding(rows, kind)).collect()
}

fn finding(rows: &[HeadAblationRow], kind: &str) -> Option<Finding> {
    let chosen = of_set(rows, kind, kind)?;
    let random = of_set(rows, RANDOM_HEADS, kind);
    let whole = untouched(rows, HELD_OUT, kind)?;
    if whole.mean == 0.0 {
        return Some(Finding {
            sentence: format!("No {kind} statement holds untouched: nothing can be lost"),
            measure: "right untouched".to_owned(),
            estimate: Some(estimate(whole)),
            control: None,
            scale: None,
            basis: format!("n = {} held-out images", whole.images),
        });
    }
    let first = ranking(rows, kind).first().map(name).unwrap_or_default();
    let beside = random.as_ref().map_or_else(|| "none".to_owned(), |r| estimate(r.lost).text());
    Some(Finding {
        sentence: format!(
            "Without the {} heads that ranked first for {kind} ({first} before all), {} of {kind} \
             statements are lost on other images; without as many random heads {beside}",
            chosen.heads,
            estimate(chosen.lost).text(),
        ),
        measure: "share lost".to_owned(),
        estimate: Some(estimate(chosen.lost)),
        control: random.map(|effect| estimate(effect.lost)),
        scale: Some(Scale { low: 0.0, high: 1.0, nothing: Some(0.0) }),
        basis: format!(
            "n = {} held-out images, {} of the statements right untouched; 95 % interval from \
             resampling prompts",
            chosen.lost.images,
            estimate(whole).text()
        ),
    })
}

const FINDINGS_PROSE: &str = "A head is taken out at all steps. Heads were ranked on one half of \
    the images; the sets named here were taken out on the other half. A set that loses no more than \
    random heads do was noise in the ranking.";

const METHOD_PROSE: &str = "Loss is the share of statements of a kind that hold untouched minus \
    the share that hold without the heads, on the same prompt and noise. *Binding* asks that shape \
    and colour are on one object, *relation* that both objects are there and lie as stated: both \
    fall where shapes are lost, so read them beside shape. *Latent* is how far the last latent \
    moves, ‖ablated − untouched‖ / ‖untouched‖: a head that moves it and loses nothing does \
    something the judge does not ask. The table `head_ablation` in this run's folder has every \
    image.";

/// The report.
///
/// # Errors
/// Figures whose data disagree.
pub fn report(
    rows: &[HeadAblationRow],
    facts: Vec<Fact>,
    rerun: Rerun,
) -> Result<Report, FigureError> {
    let mut report = Report::new("Which heads does the model need, and what for?");
    report.maker = format!("probe patch --heads, denoscope {}", env!("CARGO_PKG_VERSION"));
    report.facts = facts;
    report
        .sections
        .push(Section::new("Findings").with(Block::Findings(findings(rows))).prose(FINDINGS_PROSE));
    let mut maps = Section::new("Layers and heads");
    for (file, caption, figure) in figures(rows) {
        maps = maps.picture(Picture::new(file, caption, figure.as_ref())?);
    }
    report.sections.push(maps);
    report.sections.push(ranked(rows));
    report.sections.push(sets(rows));
    report.sections.push(Section::new("How this was measured").prose(METHOD_PROSE));
    report.rerun = Some(rerun);
    Ok(report)
}

/// All heads with all kinds, by the most that a head loses of any.
fn ranked(rows: &[HeadAblationRow]) -> Section {
    let kinds = kinds(rows);
    let measures: Vec<&str> = kinds.iter().copied().chain([LATENT_CHANGE]).collect();
    let columns: Vec<Vec<Effect>> = measures.iter().map(|m| single_heads(rows, m)).collect();
    let find = |of: &Effect, column: usize| columns[column].iter().find(|e| e.head == of.head);
    let worst = |effect: &Effect| {
        let lost = (0..kinds.len()).filter_map(|kind| Some(find(effect, kind)?.lost.mean));
        lost.fold(f64::NEG_INFINITY, f64::max)
    };
    let mut order: Vec<&Effect> = columns.last().map_or_else(Vec::new, |all| all.iter().collect());
    order.sort_by(|a, b| worst(b).total_cmp(&worst(a)));
    let cell = |mean: Option<Mean>| mean.map_or(Cell::Missing, |m| Cell::Estimate(estimate(m)));
    let row = |effect: &&Effect| {
        let numbers = (0..measures.len()).map(|m| cell(find(effect, m).map(|found| found.lost)));
        [Cell::Text(name(effect))].into_iter().chain(numbers).collect()
    };
    let mut table = Table {
        name: "heads".to_owned(),
        caption: "Lost without one head, on the images of the ranking; 95 % intervals, each for \
                  itself: of so many, some exclude 0 by chance."
            .to_owned(),
        columns: ["taken out"].iter().chain(&measures).map(|name| (*name).to_owned()).collect(),
        rows: order.iter().map(row).collect(),
    };
    let at_random = measures.iter().map(|measure| cell(head_at_random(rows, measure)));
    let control = Cell::from("control: a head drawn at random (mean over all)");
    table.rows.push([control].into_iter().chain(at_random).collect());
    Section::new("All heads, ranked").with(Block::Table(table))
}

fn sets(rows: &[HeadAblationRow]) -> Section {
    let kinds = kinds(rows);
    let cell = |mean: Option<Mean>| mean.map_or(Cell::Missing, |m| Cell::Estimate(estimate(m)));
    let row = |label: String, of: &dyn Fn(&str) -> Option<Mean>| {
        let numbers = kinds.iter().map(|kind| cell(of(kind)));
        [Cell::Text(label)].into_iter().chain(numbers).collect::<Vec<_>>()
    };
    let lost = |set: &str, kind: &str| of_set(rows, set, kind).map(|effect| effect.lost);
    let mut all: Vec<Vec<Cell>> = kinds
        .iter()
        .map(|set| row(format!("lost without those chosen for {set}"), &|kind| lost(set, kind)))
        .collect();
    let random = "control: lost without as many random heads".to_owned();
    all.push(row(random, &|kind| lost(RANDOM_HEADS, kind)));
    for (part, label) in [(HELD_OUT, "right untouched"), (RANKING, "right untouched, ranking")] {
        all.push(row(label.to_owned(), &|kind| untouched(rows, part, kind)));
    }
    Section::new("Sets of heads on held-out images").with(Block::Table(Table {
        name: "sets".to_owned(),
        caption: "Shares of statements; 95 % intervals from resampling prompts.".to_owned(),
        columns: ["heads"].iter().chain(&kinds).map(|name| (*name).to_owned()).collect(),
        rows: all,
    }))
}
