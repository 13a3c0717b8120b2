//! Findings, figures and the report of a patching run.

use std::collections::BTreeSet;

use image::RgbImage;
use ndarray::Array2;

use super::{ATOMS, CLEAN, CORRUPTED, Effect, IMAGE, ITSELF, LATENT, RANDOM_SITES, effects};
use crate::figure::{ColorMap, FigureError, HeatMap, encode_png};
use crate::judge;
use crate::report::{
    Block, Cell, Estimate, Fact, Finding, LabelledImage, Picture, Report, Rerun, Scale, Section,
    Table,
};
use crate::table::PatchRow;

/// Findings that are told in sentences.
const TOLD: usize = 3;

/// The images of the first seed: of both runs, and of the change that brought back most.
#[derive(Clone, Debug)]
pub struct PatchImages {
    /// The clean prompt and its image.
    pub clean: (String, RgbImage),
    /// The corrupted prompt and its image.
    pub corrupted: (String, RgbImage),
    /// The group and window that brought most of the latent back, and the image.
    pub best: Option<(String, RgbImage)>,
}

/// A thousandth is far below what an image shows; the table has all digits.
fn rounded(value: f64) -> f64 {
    const THOUSAND: f64 = 1e3;
    // Adding zero makes −0 a 0.
    (value * THOUSAND).round() / THOUSAND + 0.0
}

fn estimate(effect: &Effect) -> Estimate {
    match effect.interval {
        Some((low, high)) => Estimate::within(rounded(effect.mean), rounded(low), rounded(high)),
        None => Estimate::new(rounded(effect.mean)),
    }
}

fn window(effect: &Effect) -> String {
    let Some((from, to)) = effect.timesteps else { return String::new() };
    format!("timesteps {from:.0} to {to:.0}")
}

fn of_control<'a>(all: &'a [Effect], control: &str, at: &Effect) -> Option<&'a Effect> {
    let is_it = |effect: &&Effect| {
        effect.control.as_deref() == Some(control) && effect.first_step == at.first_step
    };
    all.iter().find(is_it)
}

/// What brings back most of the latent, beside as many random sites in the same window.
pub fn findings(rows: &[PatchRow]) -> Vec<Finding> {
    let all = effects(rows, LATENT);
    let measured = all.iter().filter(|effect| effect.control.is_none());
    let finding = |effect: &Effect| {
        let group = effect.group.as_deref().unwrap_or("nothing");
        let random = of_control(&all, RANDOM_SITES, effect);
        let beside = random.map(|r| format!("; random sites {}", estimate(r).text()));
        Finding {
            sentence: format!(
                "Restoring {group} at {} brings back {} of the latent{}",
                window(effect),
                estimate(effect).text(),
                beside.unwrap_or_default()
            ),
            measure: "recovery".to_owned(),
            estimate: Some(estimate(effect)),
            control: random.map(estimate),
            scale: Some(Scale { low: 0.0, high: 1.0, nothing: Some(0.0) }),
            basis: format!(
                "n = {} images; 95 % t interval over images; control: as many sites drawn at \
                 random, in the same window",
                effect.images
            ),
        }
    };
    measured.take(TOLD).map(finding).collect()
}

/// What each group brings back in each window, as colour; groups in the order of the model.
pub fn heat_map(rows: &[PatchRow], measure: &str, title: &str) -> HeatMap {
    let measured = || rows.iter().filter(|r| r.measure == measure && r.control.is_none());
    let mut groups: Vec<&str> = Vec::new();
    let mut windows: Vec<(u32, String)> = Vec::new();
    for row in measured() {
        let Some(group) = row.group.as_deref() else { continue };
        if !groups.contains(&group) {
            groups.push(group);
        }
        let (Some(first), Some(from), Some(to)) =
            (row.first_step, row.from_timestep, row.to_timestep)
        else {
            continue;
        };
        if !windows.iter().any(|(step, _)| *step == first) {
            windows.push((first, format!("{from:.0}–{to:.0}")));
        }
    }
    windows.sort();
    let mut values = Array2::from_elem((groups.len(), windows.len()), f64::NAN);
    for effect in effects(rows, measure).into_iter().filter(|effect| effect.control.is_none()) {
        let row = groups.iter().position(|group| Some(*group) == effect.group.as_deref());
        let column = windows.iter().position(|(step, _)| Some(*step) == effect.first_step);
        if let (Some(row), Some(column)) = (row, column) {
            values[[row, column]] = rounded(effect.mean);
        }
    }
    // What leads away is below the bar: its numbers say how far, its colour would drown the rest.
    let most = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    HeatMap {
        title: title.to_owned(),
        row_axis: "restored".to_owned(),
        column_axis: "timesteps (noise → image)".to_owned(),
        rows: groups.into_iter().map(str::to_owned).collect(),
        columns: windows.into_iter().map(|(_, label)| label).collect(),
        values,
        quantity: "share brought back".to_owned(),
        range: (most > 0.0).then_some((0.0, most)),
        colors: ColorMap::default(),
        ordered_columns: true,
    }
}

/// The report.
///
/// # Errors
/// Figures whose data disagree.
pub fn report(
    rows: &[PatchRow],
    images: &PatchImages,
    facts: Vec<Fact>,
    rerun: Rerun,
) -> Result<Report, FigureError> {
    let mut report = Report::new("What carries the difference?");
    report.maker = format!("probe patch, denoscope {}", env!("CARGO_PKG_VERSION"));
    report.subtitle = format!("{} ← {}", images.corrupted.0, images.clean.0);
    report.facts = facts;
    report.cover = cover(images)?;
    report
        .sections
        .push(Section::new("Findings").with(Block::Findings(findings(rows))).prose(FINDINGS_PROSE));
    let mut where_and_when = Section::new("Where and when");
    let images = rows.iter().map(|row| row.sample).collect::<BTreeSet<_>>().len();
    for (measure, title, text) in HEAT_MAPS {
        let map = heat_map(rows, measure, title);
        let judged = if measure == ATOMS {
            format!(", judge {} {}", judge::NAME, judge::VERSION)
        } else {
            String::new()
        };
        let caption = format!(
            "{text} Mean over n = {images} images of this pair of prompts{judged}; intervals and \
             controls are in the tables below."
        );
        if !map.rows.is_empty() {
            where_and_when = where_and_when.picture(Picture::new(measure, caption, &map)?);
        }
    }
    report.sections.push(where_and_when);
    report.sections.push(ranked(rows));
    report.sections.push(controls(rows));
    report.sections.push(Section::new("How this was measured").prose(METHOD_PROSE));
    report.rerun = Some(rerun);
    Ok(report)
}

const HEAT_MAPS: [(&str, &str, &str); 3] = [
    (LATENT, "The last latent", "1: the clean run's latent is back; 0: nothing came of it."),
    (IMAGE, "The image", "The same for pixels."),
    (
        ATOMS,
        "What the judge sees",
        "Share of what the clean prompt asks for that the judge finds in the image.",
    ),
];

const FINDINGS_PROSE: &str = "Both prompts start from the same noise. In the corrupted prompt's \
    run the outputs of a group of sites are replaced, in one window of steps, by those of the \
    clean prompt's run. Recovery is 1 − ‖patched − clean‖ / ‖corrupted − clean‖ of the last \
    latent: 1 brings the clean run back, 0 changes nothing, below 0 leads away.";

const METHOD_PROSE: &str = "Activations of the conditional branch were restored; the branch \
    without prompt was left alone. Groups differ in their number of sites (`sites` in the table). \
    Intervals are over images of different noise, for this pair of prompts alone: other prompts \
    may tell another story. The table `patch` in this run's folder has every number.";

fn cover(images: &PatchImages) -> Result<Vec<LabelledImage>, FigureError> {
    let labelled = |label: &str, (note, image): &(String, RgbImage)| {
        let png = encode_png(image)?;
        Ok::<_, FigureError>(LabelledImage { label: label.to_owned(), note: note.clone(), png })
    };
    let mut cover = vec![labelled("clean", &images.clean)?];
    cover.push(labelled("corrupted", &images.corrupted)?);
    if let Some(best) = &images.best {
        cover.push(labelled("restored", best)?);
    }
    Ok(cover)
}

fn ranked(rows: &[PatchRow]) -> Section {
    let latent = effects(rows, LATENT);
    let others = [effects(rows, IMAGE), effects(rows, ATOMS)];
    let same = |a: &Effect, b: &Effect| {
        (&a.group, a.first_step, &a.control) == (&b.group, b.first_step, &b.control)
    };
    let cell = |of: &Effect, all: &[Effect]| {
        let found = all.iter().find(|other| same(of, other));
        found.map_or(Cell::Missing, |effect| Cell::Estimate(estimate(effect)))
    };
    let row = |effect: &Effect| {
        vec![
            Cell::Text(effect.group.clone().unwrap_or_default()),
            Cell::Text(window(effect)),
            Cell::Estimate(estimate(effect)),
            cell(effect, &others[0]),
            cell(effect, &others[1]),
        ]
    };
    let measured = latent.iter().filter(|effect| effect.control.is_none());
    Section::new("All groups, ranked").with(Block::Table(Table {
        name: "ranked".to_owned(),
        caption: "By what comes back of the latent; 95 % t intervals over images.".to_owned(),
        columns: ["restored", "when", "latent", "image", "atoms"].map(str::to_owned).to_vec(),
        rows: measured.map(row).collect(),
    }))
}

fn controls(rows: &[PatchRow]) -> Section {
    let described = [
        (RANDOM_SITES, "random sites, as many as the median group has"),
        (ITSELF, "the corrupted run restored into itself: must be 0"),
        (CLEAN, "the clean run"),
        (CORRUPTED, "the corrupted run"),
    ];
    let mut table = Table {
        name: "controls".to_owned(),
        caption: "What the measurement says where the answer is known.".to_owned(),
        columns: ["control", "when", "measure", "value"].map(str::to_owned).to_vec(),
        rows: Vec::new(),
    };
    for (name, text) in described {
        for measure in [LATENT, IMAGE, ATOMS] {
            let of_measure = effects(rows, measure);
            for effect in of_measure.iter().filter(|e| e.control.as_deref() == Some(name)) {
                table.rows.push(vec![
                    Cell::from(text),
                    Cell::Text(window(effect)),
                    Cell::from(measure),
                    Cell::Estimate(estimate(effect)),
                ]);
            }
        }
    }
    Section::new("Controls").with(Block::Table(table))
}
