//! Figures, findings and report of a history.

use super::emergence::{Emergence, GAP, JOINT, PRODUCT};
use super::{Order, Series, Trends};
use crate::figure::{Axis, Curve, CurveChart, CurvePoint, FigureError, Reference};
use crate::report::{
    Block, Cell, Estimate, Finding, Picture, Report, Rerun, Scale, Section, Table,
};
use crate::table::{ChangePointRow, EmergenceRow, TrendRow};

/// Points of a whole.
const PERCENT: f64 = 100.0;
/// Most curves that one figure can tell apart.
const MOST_CURVES: usize = 8;

/// What a report is made of.
#[derive(Clone, Debug)]
pub struct ReportInput<'a> {
    /// The series, in order.
    pub series: &'a [Series],
    /// What became of each.
    pub trends: &'a [Trends],
    /// What each learned when, where training was looked at.
    pub emergence: &'a [Emergence],
    /// What runs are ordered by.
    pub order: Order,
    /// Runs that are alone in what they ask.
    pub alone: &'a [String],
    /// How to make it again.
    pub rerun: Rerun,
}

/// A sentence for each change point, then for each order of learning that is beyond doubt, then
/// for the product gap at the last checkpoint.
pub fn findings(input: &ReportInput<'_>) -> Vec<Finding> {
    let changes = input.trends.iter().flat_map(|trends| &trends.changes).map(of_change);
    let order = input.emergence.iter().flat_map(of_order);
    let gaps = input.emergence.iter().flat_map(of_gaps);
    changes.chain(order).chain(gaps).collect()
}

fn of_change(row: &ChangePointRow) -> Finding {
    Finding {
        sentence: format!(
            "{} got {} with run {} (`{}`; place {}–{}): {:.1} % → {:.1} %, {:+.1} points [{:+.1}, \
             {:+.1}], p = {} for all categories together",
            row.category,
            row.direction,
            row.place,
            row.first_after,
            row.place_low,
            row.place_high,
            row.before * PERCENT,
            row.after * PERCENT,
            row.difference * PERCENT,
            row.low * PERCENT,
            row.high * PERCENT,
            crate::figure::format_number(row.p_adjusted, 2),
        ),
        measure: "difference".to_owned(),
        estimate: Some(Estimate::within(row.difference, row.low, row.high)),
        control: None,
        scale: Some(Scale { low: -1.0, high: 1.0, nothing: Some(0.0) }),
        basis: format!("prompts are the independent units; judge {}", row.judge),
    }
}

fn of_order(found: &Emergence) -> Vec<Finding> {
    let pairs = found.order.iter().filter(|row| row.verdict == "first").map(|row| Finding {
        sentence: format!("{}: `{}` is learned before `{}`", row.category, row.first, row.second),
        measure: "share of resamples".to_owned(),
        estimate: Some(Estimate::new(row.share)),
        scale: Some(Scale { low: 0.0, high: 1.0, nothing: Some(0.5) }),
        basis: format!("p = {:.4} (Holm) over resampled prompts", row.p_holm),
        ..Finding::default()
    });
    let chains = found.chains.iter().map(|(category, kinds, share)| Finding {
        sentence: format!(
            "{category}: the order `{}` holds in {:.0} % of the resamples",
            kinds.join("` → `"),
            share * PERCENT
        ),
        measure: "share of resamples".to_owned(),
        estimate: Some(Estimate::new(*share)),
        scale: Some(Scale { low: 0.0, high: 1.0, nothing: None }),
        basis: "prompts resampled alike for all".to_owned(),
        ..Finding::default()
    });
    pairs.chain(chains).collect()
}

fn of_gaps(found: &Emergence) -> Vec<Finding> {
    let last = |category: &str| {
        let of = found.curves.iter().filter(|row| row.category == category && row.kind == GAP);
        of.max_by(|a, b| a.trained.total_cmp(&b.trained))
    };
    categories(&found.curves)
        .into_iter()
        .filter_map(last)
        .map(|row| {
            let (low, high) = (row.low.unwrap_or(f64::NAN), row.high.unwrap_or(f64::NAN));
            let said = match () {
                () if high < 0.0 => "what is right by itself does not come together",
                () if low > 0.0 => "what is right by itself comes together in the same images",
                () => "all of it is right as often as independent attributes would be",
            };
            Finding {
                sentence: format!("{}: at the last checkpoint {said}", row.category),
                measure: "joint less product".to_owned(),
                estimate: Some(Estimate::within(row.value, low, high)),
                scale: Some(Scale { low: -1.0, high: 1.0, nothing: Some(0.0) }),
                basis: format!("{} images of {} prompts", row.images, row.prompts),
                ..Finding::default()
            }
        })
        .collect()
}

/// The report.
///
/// # Errors
/// Figures whose data disagree.
pub fn report(input: &ReportInput<'_>) -> Result<Report, FigureError> {
    let changes: usize = input.trends.iter().map(|trends| trends.changes.len()).sum();
    let mut report = Report::new("How did it go?");
    report.maker = format!("probe history, denoscope {}", env!("CARGO_PKG_VERSION"));
    let runs: usize = input.series.iter().map(|series| series.readings.len()).sum();
    report.subtitle = format!("{runs} runs, {changes} change points");
    if let [only] = input.series {
        for (what, value) in &only.asked {
            report.fact(*what, value);
        }
    }
    let mut found = Section::new("What was found").with(Block::Findings(findings(input)));
    for warning in warnings(input) {
        found = found.with(Block::Warning(warning));
    }
    report.section(found);
    for (series, trends) in input.series.iter().zip(input.trends) {
        report.section(trend_section(series, trends, input.order)?);
    }
    for (series, found) in input.series.iter().zip(input.emergence) {
        report.section(emergence_section(series, found, input.order)?);
    }
    let mut method = Section::new("How this was measured").prose(TREND_METHOD);
    if !input.emergence.is_empty() {
        method = method.prose(EMERGENCE_METHOD);
    }
    report.section(method);
    report.rerun = Some(input.rerun.clone());
    Ok(report)
}

fn warnings(input: &ReportInput<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if !input.alone.is_empty() {
        warnings.push(format!(
            "Left out, since no other run asks the same in the same way: `{}`.",
            input.alone.join("`, `")
        ));
    }
    for (series, trends) in input.series.iter().zip(input.trends) {
        if trends.left_out > 0 {
            warnings.push(format!(
                "Series {}: {} images are not in every run, or not decided in each; they are left \
                 out of all of them.",
                series.number, trends.left_out
            ));
        }
    }
    warnings
}

fn trend_section(series: &Series, trends: &Trends, order: Order) -> Result<Section, FigureError> {
    let mut section = Section::new(format!("Series {}: trends", series.number));
    let asked = series.asked.iter().map(|(what, value)| format!("{what}: {value}"));
    section = section.prose(asked.collect::<Vec<_>>().join("; "));
    for (part, chart) in (1..).zip(trend_charts(trends, order)) {
        let name = format!("trend-{}-{part}", series.number);
        section = section.picture(Picture::new(name, TREND_CAPTION, &chart)?);
    }
    let section = section.with(Block::Table(change_table(trends)));
    Ok(section.with(Block::Table(run_table(series))))
}

/// Shares over runs, a curve a category, in figures of few curves.
fn trend_charts(trends: &Trends, order: Order) -> Vec<CurveChart> {
    let mut curves: Vec<(&str, &str, Curve)> = Vec::new();
    for row in &trends.trend {
        let point =
            CurvePoint { x: place(row, order), y: row.share, interval: Some((row.low, row.high)) };
        let name = (row.suite.as_str(), row.category.as_str());
        match curves.iter_mut().find(|(suite, category, _)| (*suite, *category) == name) {
            Some((.., curve)) => curve.points.push(point),
            None => {
                let curve =
                    Curve { name: row.category.clone(), points: vec![point], control: false };
                curves.push((name.0, name.1, curve));
            }
        }
    }
    let chart = |curves: &[(&str, &str, Curve)]| CurveChart {
        title: "Share of images that have everything right".to_owned(),
        x: Axis::new(order.unit()),
        y: Axis::new("share").range(0.0, 1.0),
        curves: curves.iter().map(|(.., curve)| curve.clone()).collect(),
        reference: None,
    };
    curves.chunks(MOST_CURVES).map(chart).collect()
}

fn place(row: &TrendRow, order: Order) -> f64 {
    match order {
        Order::Time => f64::from(row.place),
        Order::TrainingSteps => row.training_step.map_or(f64::NAN, |step| step as f64),
        Order::TrainingImages => row.training_images.map_or(f64::NAN, |images| images as f64),
    }
}

fn change_table(trends: &Trends) -> Table {
    let row = |row: &ChangePointRow| {
        vec![
            Cell::from(row.category.as_str()),
            Cell::from(row.direction.as_str()),
            Cell::from(row.first_after.as_str()),
            Cell::Text(format!("{} ({}–{})", row.place, row.place_low, row.place_high)),
            Cell::Number(row.before),
            Cell::Number(row.after),
            Cell::Estimate(Estimate::within(row.difference, row.low, row.high)),
            Cell::Number(row.p_adjusted),
        ]
    };
    let columns =
        ["category", "direction", "from run", "place", "before", "after", "difference", "p"];
    Table {
        name: "change_point".to_owned(),
        caption: "Change points; place with the range that resampled prompts give; p for all \
                  categories together."
            .to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: trends.changes.iter().map(row).collect(),
    }
}

fn run_table(series: &Series) -> Table {
    let text = |text: Option<String>| text.map_or(Cell::Missing, Cell::Text);
    let row = |(place, reading): (usize, &super::Reading)| {
        let manifest = reading.side.manifest();
        vec![
            Cell::Text((place + 1).to_string()),
            Cell::from(reading.side.name.as_str()),
            Cell::Text(manifest.started.to_string()),
            text(manifest.model.as_ref().map(|model| model.name.clone())),
            text(reading.training.map(|training| training.step.to_string())),
        ]
    };
    let columns = ["place", "run", "begun", "model", "training step"];
    Table {
        name: format!("runs-{}", series.number),
        caption: "The runs in their order.".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: series.readings.iter().enumerate().map(row).collect(),
    }
}

fn emergence_section(
    series: &Series,
    found: &Emergence,
    order: Order,
) -> Result<Section, FigureError> {
    let mut section = Section::new(format!("Series {}: what is learned first", series.number));
    for (n, category) in (1..).zip(categories(&found.curves)) {
        let of_category = || found.curves.iter().filter(|row| row.category == category);
        let chart = emergence_chart(category, of_category(), order);
        let name = format!("emergence-{}-{n}", series.number);
        section = section.picture(Picture::new(name, EMERGENCE_CAPTION, &chart)?);
        if of_category().any(|row| row.kind == GAP) {
            let chart = gap_chart(category, of_category(), order);
            let name = format!("product-gap-{}-{n}", series.number);
            section = section.picture(Picture::new(name, GAP_CAPTION, &chart)?);
        }
    }
    Ok(section.with(Block::Table(time_table(found))).with(Block::Table(order_table(found))))
}

fn categories(curves: &[EmergenceRow]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in curves {
        if !names.contains(&row.category.as_str()) {
            names.push(&row.category);
        }
    }
    names
}

fn curve<'a>(rows: impl Iterator<Item = &'a EmergenceRow>, kind: &str) -> Curve {
    let point = |row: &EmergenceRow| CurvePoint {
        x: row.trained,
        y: row.value,
        interval: row.low.zip(row.high),
    };
    let points = rows.filter(|row| row.kind == kind).map(point).collect();
    Curve { name: kind.to_owned(), points, control: kind == PRODUCT }
}

fn emergence_chart<'a>(
    category: &str,
    rows: impl Iterator<Item = &'a EmergenceRow> + Clone,
    order: Order,
) -> CurveChart {
    // Parts of the others, which would hide them.
    const NOT_SHOWN: [&str; 4] = [GAP, "object", "relation_loose", "total"];
    let mut kinds: Vec<&str> = Vec::new();
    for row in rows.clone() {
        let kind = row.kind.as_str();
        if !kinds.contains(&kind) && !NOT_SHOWN.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.sort_by_key(|kind| (*kind == PRODUCT, *kind == JOINT));
    CurveChart {
        title: format!("{category}: what is right when"),
        x: Axis::new(order.unit()),
        y: Axis::new("share of images").range(0.0, 1.0),
        curves: kinds.into_iter().map(|kind| curve(rows.clone(), kind)).collect(),
        reference: Some(Reference { value: 0.5, label: "half".to_owned() }),
    }
}

fn gap_chart<'a>(
    category: &str,
    rows: impl Iterator<Item = &'a EmergenceRow>,
    order: Order,
) -> CurveChart {
    CurveChart {
        title: format!("{category}: joint less product"),
        x: Axis::new(order.unit()),
        y: Axis::new("difference of shares"),
        curves: vec![curve(rows, GAP)],
        reference: Some(Reference { value: 0.0, label: "independent".to_owned() }),
    }
}

fn time_table(found: &Emergence) -> Table {
    let rows = found.times.iter().map(|row| {
        let when = match row.trained {
            Some(trained) => Cell::Estimate(Estimate::within(
                trained,
                row.low.unwrap_or(f64::NAN),
                row.high.unwrap_or(f64::NAN),
            )),
            None => Cell::from(row.passed.as_str()),
        };
        let kind = row.kind.as_str();
        vec![Cell::from(row.category.as_str()), kind.into(), when, Cell::Number(row.last)]
    });
    let columns = ["category", "sort of atom", "passes the level at", "share at the end"];
    Table {
        name: "emergence_time".to_owned(),
        caption: "When each sort passes the level (t50 for one half); – as an end of an interval: \
                  beyond the checkpoints."
            .to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

fn order_table(found: &Emergence) -> Table {
    let rows = found.order.iter().map(|row| {
        vec![
            Cell::from(row.category.as_str()),
            Cell::from(row.first.as_str()),
            Cell::from(row.second.as_str()),
            Cell::Number(row.share),
            Cell::Number(row.p_holm),
            Cell::from(row.verdict.as_str()),
        ]
    });
    let columns = ["category", "earlier", "later", "share of resamples", "p (Holm)", "verdict"];
    Table {
        name: "emergence_order".to_owned(),
        caption: "Which of two passes the level first, over resampled prompts.".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

const TREND_CAPTION: &str = "Share of the same images that have everything right, by run, with \
    its 95 % interval over prompts.";
const EMERGENCE_CAPTION: &str = "Share of images that have all atoms of a sort right, by \
    checkpoint, with 95 % bootstrap intervals over prompts; broken: the product of the single \
    attributes.";
const GAP_CAPTION: &str = "Share of images that have everything right less the product of the \
    single attributes' shares, with its 95 % bootstrap interval over prompts; 0 is what \
    independent attributes would give.";
const TREND_METHOD: &str = "Only images that are in every run of a series, and decided in each, \
    count. A change point is the split of the runs with the largest cumulative sum; the test \
    exchanges the times of each prompt and counts how often that gives a split as clear. The \
    clearest split comes first, then its two parts, as long as p is at most the level divided by \
    the number of categories. No change point does not mean that nothing changed: `probe compare` \
    says what two runs could have shown.";
const EMERGENCE_METHOD: &str = "A sort of atom is right in an image where all its atoms hold. \
    `relation_strict` needs the right objects too, and `binding` the right colour and shape on one \
    object. Shares are made to rise before it is asked when they pass the level; between two \
    checkpoints the curve is straight. Which comes first is counted over prompts resampled alike \
    for all sorts, with Holm's correction for all pairs of a category; it speaks of prompts, not \
    of other training runs: repeat with several seeds of training.";
