//! Figure, findings and report of a comparison.

use super::{Comparison, Group, OVERALL, Side, Verdict, scores};
use crate::figure::{Axis, DotChart, DotSeries, FigureError, Reference};
use crate::report::{
    Block, Cell, Estimate, Fact, Finding, LabelledImage, Picture, Report, Rerun, Scale, Section,
    Table,
};
use crate::table::ChangeOfOutcomeRow;

/// Pairs of images shown in a report, for each way of changing.
const PICTURED: usize = 12;
/// Changed images listed in a report and in a summary, for each way of changing.
const LISTED: usize = 100;
/// Decimals of shares in reports: a tenth of a point.
pub(super) const THOUSAND: f64 = 1e3;
/// Points of a whole.
const PERCENT: f64 = 100.0;

/// What a report is made of.
#[derive(Clone, Debug)]
pub struct ReportInput<'a> {
    /// What came of it.
    pub comparison: &'a Comparison,
    /// Runs A and B, whose images are shown; none where they are gone.
    pub sides: [Option<&'a Side>; 2],
    /// What stands in the head: see [`facts`].
    pub facts: Vec<Fact>,
    /// What limits the comparison: see [`warnings`].
    pub warnings: Vec<String>,
    /// How to compare again.
    pub rerun: Rerun,
}

/// The difference of each category with its interval, as dots: of shares, or of mean scores where
/// there are only scores.
pub fn difference_chart(comparison: &Comparison) -> DotChart {
    if comparison.groups.is_empty() {
        return scores::chart(&comparison.scores);
    }
    let rows = || comparison.groups.iter().map(|group| &group.row);
    let several = rows().any(|row| Some(&row.suite) != rows().next().map(|first| &first.suite))
        || rows().any(|row| Some(&row.judge) != rows().next().map(|first| &first.judge));
    let label = |group: &Group| {
        let row = &group.row;
        let of = if several { format!(" ({}, {})", row.suite, row.judge) } else { String::new() };
        format!("{}{of}: {}", row.category, row.verdict)
    };
    DotChart {
        title: "What changed from A to B".to_owned(),
        category_axis: "category".to_owned(),
        categories: comparison.groups.iter().map(label).collect(),
        value: Axis::new("share right in B less share right in A"),
        series: vec![DotSeries {
            name: "difference, 95 % interval by prompt".to_owned(),
            values: rows().map(|row| (row.difference, Some((row.low, row.high)))).collect(),
            control: false,
        }],
        reference: Some(Reference { value: 0.0, label: "no change".to_owned() }),
    }
}

/// A category's result in a sentence, with its numbers.
pub(super) fn sentence(group: &Group) -> String {
    let row = &group.row;
    format!(
        "{} {}: {:.1} % → {:.1} %, {} points [{}, {}] over {} pairs of {} prompts, p = {} (Holm \
         {}), {} broken, {} fixed{}",
        row.category,
        row.verdict,
        row.share_a * PERCENT,
        row.share_b * PERCENT,
        signed_points(row.difference),
        signed_points(row.low),
        signed_points(row.high),
        row.pairs,
        row.prompts,
        chance(row.p),
        chance(row.p_holm),
        row.broken,
        row.fixed,
        if group.verdict == Verdict::Inconclusive { what_could_be_seen(group) } else { "".into() },
    )
}

fn what_could_be_seen(group: &Group) -> String {
    match group.row.minimum_detectable {
        None => "; too few prompts to see any loss".to_owned(),
        Some(least) if least > group.row.share_a => format!(
            "; only a loss of {:.1} points would be seen for sure, more than A has to lose",
            least * PERCENT
        ),
        Some(least) => {
            format!("; a loss of {:.1} points would be seen four times of five", least * PERCENT)
        }
    }
}

fn signed_points(share: f64) -> String {
    format!("{:+.1}", rounded(share) * PERCENT)
}

/// A p-value with as many digits as matter.
pub(super) fn chance(p: f64) -> String {
    const SMALL: f64 = 0.001;
    if p < SMALL { format!("{p:.1e}") } else { format!("{p:.3}") }
}

/// One sentence for each category that is not equivalent: regressions first, then what improved,
/// then what cannot be told.
pub fn findings(comparison: &Comparison) -> Vec<Finding> {
    const BASIS: &str = "pairs of one prompt and seed; prompts are the independent units";
    let finding = |sentence: String, estimate: Estimate| Finding {
        sentence,
        measure: "difference".to_owned(),
        estimate: Some(estimate),
        basis: BASIS.to_owned(),
        ..Finding::default()
    };
    let of_share = |group: &Group| Finding {
        scale: Some(Scale { low: -1.0, high: 1.0, nothing: Some(0.0) }),
        ..finding(sentence(group), difference(group))
    };
    let mut findings = Vec::new();
    for verdict in [Verdict::Regressed, Verdict::Improved, Verdict::Inconclusive] {
        let shares = comparison.groups.iter().filter(|group| group.verdict == verdict);
        findings.extend(shares.map(of_share));
        let scored = comparison.scores.iter().filter(|group| group.verdict == verdict);
        findings.extend(
            scored.map(|group| finding(scores::sentence(group), scores::difference(&group.row))),
        );
    }
    findings
}

/// The report.
///
/// # Errors
/// Figures whose data disagree.
pub fn report(input: &ReportInput<'_>) -> Result<Report, FigureError> {
    let comparison = input.comparison;
    let mut report = head(input);
    let mut verdicts = Section::new("Verdicts");
    for warning in &input.warnings {
        verdicts = verdicts.with(Block::Warning(warning.clone()));
    }
    verdicts = verdicts.with(Block::Findings(findings(comparison)));
    let chart = difference_chart(comparison);
    verdicts = verdicts.picture(Picture::new("difference", FIGURE_CAPTION, &chart)?);
    report.section(with_tables(verdicts, comparison));
    for (change, heading) in
        [("broken", "Right before, wrong now"), ("fixed", "Wrong before, right now")]
    {
        report.section(changed(input, change, heading));
    }
    report.section(Section::new("How this was measured").prose(METHOD));
    report.rerun = Some(input.rerun.clone());
    Ok(report)
}

/// The same in short and without pictures, for a page of continuous integration.
pub fn summary(input: &ReportInput<'_>) -> Report {
    let mut report = head(input);
    let mut verdicts = Section::new("Verdicts");
    for warning in &input.warnings {
        verdicts = verdicts.with(Block::Warning(warning.clone()));
    }
    report.section(with_tables(verdicts, input.comparison));
    let broken = listed(input.comparison, "broken");
    report.section(Section::new("Right before, wrong now").with(Block::Table(broken)));
    report
}

/// The table of shares, and that of scores, where there are any.
fn with_tables(mut section: Section, comparison: &Comparison) -> Section {
    if !comparison.groups.is_empty() {
        section = section.with(Block::Table(table(comparison)));
    }
    if !comparison.scores.is_empty() {
        section = section.with(Block::Table(scores::table(&comparison.scores)));
    }
    section
}

fn head(input: &ReportInput<'_>) -> Report {
    let shares = input.comparison.groups.iter().map(|group| group.verdict);
    let all: Vec<Verdict> =
        shares.chain(input.comparison.scores.iter().map(|group| group.verdict)).collect();
    let count = |verdict: Verdict| all.iter().filter(|one| **one == verdict).count();
    let verdicts =
        [Verdict::Regressed, Verdict::Improved, Verdict::Equivalent, Verdict::Inconclusive]
            .map(|verdict| format!("{} {}", count(verdict), verdict.name()));
    let mut report = Report::new(if input.comparison.any(Verdict::Regressed) {
        "Something got worse"
    } else {
        "Better, worse, or the same?"
    });
    report.maker = format!("probe compare, denoscope {}", env!("CARGO_PKG_VERSION"));
    report.subtitle = verdicts.join(", ");
    report.facts.clone_from(&input.facts);
    report
}

/// Which runs were compared, what they share, and what else differs.
pub fn facts(a: &Side, b: &Side, comparison: &Comparison) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |label: String, value: String| facts.push(Fact { label, value });
    add("A, before".to_owned(), a.name.clone());
    add("B, after".to_owned(), b.name.clone());
    add("suite".to_owned(), a.outcomes.suites());
    add("judge".to_owned(), a.outcomes.judges());
    if let Some(sampling) = &b.manifest().sampling {
        add("sampler".to_owned(), format!("{}, {} steps", sampling.sampler, sampling.steps));
        let guidance = sampling.guidance;
        add("guidance".to_owned(), format!("s = {} (γ = {})", guidance.scale, guidance.gamma));
    }
    for (what, a, b) in &comparison.remarks {
        add(format!("differs: {what}"), format!("{a} → {b}"));
    }
    facts
}

/// Differences that were allowed, and images that could not be compared.
pub fn warnings(comparison: &Comparison) -> Vec<String> {
    let mut warnings: Vec<String> = comparison
        .allowed
        .iter()
        .map(|d| {
            format!("The runs differ in {}: {} in A, {} in B; this was allowed.", d.what, d.a, d.b)
        })
        .collect();
    let unpaired = [(comparison.only_in_a, "A"), (comparison.only_in_b, "B")];
    for (count, run) in unpaired.into_iter().filter(|(count, _)| *count > 0) {
        warnings.push(format!(
            "{count} images are in {run} only: the comparison is of a part of the suite."
        ));
    }
    if comparison.undecided > 0 {
        let count = comparison.undecided;
        warnings.push(format!("{count} pairs are left out, since a judge could not decide them."));
    }
    warnings
}

fn rounded(share: f64) -> f64 {
    // Adding zero makes −0 a 0.
    (share * THOUSAND).round() / THOUSAND + 0.0
}

fn difference(group: &Group) -> Estimate {
    let row = &group.row;
    Estimate::within(rounded(row.difference), rounded(row.low), rounded(row.high))
}

fn table(comparison: &Comparison) -> Table {
    let row = |group: &Group| {
        let row = &group.row;
        vec![
            Cell::from(row.category.as_str()),
            Cell::from(row.verdict.as_str()),
            Cell::Text(row.pairs.to_string()),
            Cell::Text(row.prompts.to_string()),
            Cell::Number(rounded(row.share_a)),
            Cell::Number(rounded(row.share_b)),
            Cell::Estimate(difference(group)),
            Cell::Text(row.broken.to_string()),
            Cell::Text(row.fixed.to_string()),
            Cell::Number(row.p),
            Cell::Number(row.p_holm),
            row.minimum_detectable.map_or(Cell::Missing, |least| Cell::Number(rounded(least))),
        ]
    };
    let columns = [
        "category",
        "verdict",
        "pairs",
        "prompts",
        "share in A",
        "share in B",
        "difference",
        "broken",
        "fixed",
        "p",
        "p (Holm)",
        "detectable",
    ];
    Table {
        name: "comparison".to_owned(),
        caption: format!(
            "95 % intervals and exact tests with prompts as independent units; `{OVERALL}` is \
             all categories; detectable: the smallest loss seen four times of five."
        ),
        columns: columns.map(str::to_owned).to_vec(),
        rows: comparison.groups.iter().map(row).collect(),
    }
}

fn of_kind<'a>(
    comparison: &'a Comparison,
    change: &'a str,
) -> impl Iterator<Item = &'a ChangeOfOutcomeRow> {
    comparison.changes.iter().filter(move |row| row.change == change)
}

fn listed(comparison: &Comparison, change: &str) -> Table {
    let row = |row: &ChangeOfOutcomeRow| {
        vec![
            Cell::from(row.item.as_str()),
            Cell::Text(row.seed.to_string()),
            Cell::from(row.prompt.as_str()),
            Cell::from(row.reason.as_str()),
        ]
    };
    let all = of_kind(comparison, change).count();
    let shown = all.min(LISTED);
    Table {
        name: change.to_owned(),
        caption: format!("{shown} of {all}; the table `outcome_change` has all with their files."),
        columns: ["item", "seed", "prompt", "reason"].map(str::to_owned).to_vec(),
        rows: of_kind(comparison, change).take(LISTED).map(row).collect(),
    }
}

/// Images of both runs side by side where both kept them, and the list.
fn changed(input: &ReportInput<'_>, change: &str, heading: &str) -> Section {
    let section = Section::new(heading);
    if of_kind(input.comparison, change).next().is_none() {
        return section.prose("None.");
    }
    let images: Vec<LabelledImage> = of_kind(input.comparison, change)
        .filter_map(|row| beside(input, row))
        .take(PICTURED)
        .flatten()
        .collect();
    let section = match images.is_empty() {
        true => section.prose("One of the runs has no images to show side by side."),
        false => section.with(Block::Images(images)),
    };
    section.with(Block::Table(listed(input.comparison, change)))
}

fn beside(input: &ReportInput<'_>, row: &ChangeOfOutcomeRow) -> Option<[LabelledImage; 2]> {
    let (a, b) = (row.image_a.as_deref()?, row.image_b.as_deref()?);
    let image = |label: &str, note: &str, png: Vec<u8>| LabelledImage {
        label: format!("{label}: {}", row.prompt),
        note: note.to_owned(),
        png,
    };
    let right = format!("seed {}: right", row.seed);
    let wrong = format!("seed {}: {}", row.seed, row.reason);
    let (of_a, of_b) = if row.change == "broken" { (right, wrong) } else { (wrong, right) };
    let [of_run_a, of_run_b] = input.sides;
    Some([image("A", &of_a, of_run_a?.image(a)?), image("B", &of_b, of_run_b?.image(b)?)])
}

const FIGURE_CAPTION: &str = "Difference of the share of images that have everything right (or of \
    the mean score, where there are only scores), with its 95 % interval by prompt; 0 is no change. The verdict takes all categories into account.";

const METHOD: &str = "Images of the same item and seed are pairs. The test exchanges the two runs \
    in whole prompts and counts how often the total is at least as far from zero (for one image \
    a prompt this is McNemar's exact test); p-values of all rows are corrected as Holm 1979 does. \
    Intervals are the wider of a bootstrap of whole prompts and Tango's score interval for as many \
    pairs as the prompts are worth. `equivalent` means that the 90 % interval lies within the \
    margin (two one-sided tests), `inconclusive` that nothing can be said, which is not the same \
    as no change.";
