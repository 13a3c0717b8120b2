//! The report of a sweep, and its findings in sentences.

use std::collections::BTreeMap;

use super::figures::{ScaledPart, alignment, figures, of_measure};
use super::{Measure, OTHER_PROMPTS, RENDERS, Sweep};
use crate::figure::{Figure, FigureError};
use crate::measure;
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::report::{Block, Cell, Estimate, Fact, Finding, Picture, Report, Rerun, Section, Table};
use crate::table::{GuidanceChangeRow, GuidanceRow, GuidanceSweepRow};

/// File name of the sheet of images, without ending.
pub const SHEET: &str = "contact-sheet";
/// What it shows.
pub const SHEET_CAPTION: &str = "Columns: guidance scales; rows: prompts and seeds.";

/// The numbers of a sweep, made into tables.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The table `guidance_sweep`.
    pub rows: Vec<GuidanceSweepRow>,
    /// The table `guidance_change`.
    pub changes: Vec<GuidanceChangeRow>,
    /// Measures that were left out, and why.
    pub left_out: Vec<String>,
    pub(super) prompts: usize,
    pub(super) parts: Vec<ScaledPart>,
}

/// Which way something goes, as far as its interval shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
    Unclear,
    TooFew,
}

impl Way {
    fn of(change: &GuidanceChangeRow) -> Self {
        match change.low.zip(change.high) {
            None => Self::TooFew,
            Some((low, _)) if low > 0.0 => Self::Up,
            Some((_, high)) if high < 0.0 => Self::Down,
            Some(_) => Self::Unclear,
        }
    }
}

impl Outcome {
    /// Measures a sweep.
    pub fn new(sweep: &Sweep) -> Self {
        let (rows, left_out) = sweep.rows();
        Self {
            rows,
            changes: sweep.changes(),
            left_out,
            prompts: sweep.prompts.len(),
            parts: scaled_parts(sweep),
        }
    }

    /// What was found.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = vec![];
        all.extend(self.trade_off());
        let aligned = alignment(&self.rows);
        let changing = [
            aligned,
            Some(Measure::Vendi),
            Some(Measure::Recall),
            Some(Measure::Saturation),
            Some(Measure::Contrast),
            Some(Measure::Clipped),
            Some(Measure::Laplacian),
        ];
        all.extend(changing.into_iter().flatten().filter_map(|measure| self.changing(measure)));
        all.extend(self.nearest(Measure::Kernel));
        all.extend(self.term());
        all
    }

    /// From the lowest scale to the highest.
    fn widest(&self, measure: Measure) -> Option<&GuidanceChangeRow> {
        self.changes.iter().rfind(|change| change.measure == measure.name())
    }

    fn row(
        &self,
        measure: Measure,
        scale: Option<f64>,
        control: Option<&str>,
    ) -> Option<&GuidanceSweepRow> {
        self.rows.iter().find(|row| {
            row.measure == measure.name() && row.scale == scale && row.control.as_deref() == control
        })
    }

    fn trade_off(&self) -> Option<Finding> {
        let aligned = alignment(&self.rows)?;
        let (gain, loss) = (self.widest(aligned)?, self.widest(Measure::Vendi)?);
        let sentence = match (Way::of(gain), Way::of(loss)) {
            (Way::TooFew, _) | (_, Way::TooFew) => {
                "One prompt is too few to tell a trade-off: give more prompts"
            }
            (Way::Up, Way::Down) => {
                "Guidance trades diversity for alignment: one rises, the other falls"
            }
            (Way::Up, _) => "Alignment rises; that diversity falls is not shown",
            (_, Way::Down) => "Diversity falls; that alignment rises is not shown",
            _ => "No trade-off is shown: neither a gain in alignment nor a loss of diversity",
        };
        Some(Finding {
            sentence: format!(
                "{sentence} (s = {} to {}: {} {}, {} {})",
                gain.from_scale,
                gain.to_scale,
                aligned.label(),
                signed(gain),
                Measure::Vendi.label(),
                signed(loss)
            ),
            measure: "change of Vendi score over images".to_owned(),
            estimate: Some(of_change(loss)),
            basis: basis(loss.prompts, "bootstrap"),
            ..Finding::default()
        })
    }

    fn changing(&self, measure: Measure) -> Option<Finding> {
        let change = self.widest(measure)?;
        let verb = match Way::of(change) {
            Way::Up => "rises by",
            Way::Down => "falls by",
            Way::Unclear => "is not shown to change:",
            Way::TooFew => "has too few prompts for an interval:",
        };
        let at = |scale: f64| self.row(measure, Some(scale), None);
        let (first, last) = (at(change.from_scale)?, at(change.to_scale)?);
        let control = self.control_of(measure, change.to_scale);
        let beside = control
            .map_or_else(String::new, |(name, row)| format!("; {name} {}", of_row(row).text()));
        Some(Finding {
            sentence: format!(
                "From s = {} to {}, {} {verb} {}: {} to {}{beside}",
                change.from_scale,
                change.to_scale,
                measure.label(),
                signed(change),
                of_row(first).text(),
                of_row(last).text()
            ),
            measure: measure.label().to_owned(),
            estimate: Some(of_row(last)),
            control: control.map(|(_, row)| of_row(row)),
            basis: basis(change.prompts, last.interval.as_deref().unwrap_or("no")),
            ..Finding::default()
        })
    }

    /// What the measure says where nothing was generated, or nothing asked.
    fn control_of(
        &self,
        measure: Measure,
        scale: f64,
    ) -> Option<(&'static str, &GuidanceSweepRow)> {
        let other = self.row(measure, Some(scale), Some(OTHER_PROMPTS));
        let renders = || self.row(measure, None, Some(RENDERS));
        other
            .map(|row| ("held against other prompts", row))
            .or_else(|| renders().map(|row| ("rendered scenes", row)))
    }

    fn nearest(&self, measure: Measure) -> Option<Finding> {
        let best =
            of_measure(&self.rows, measure, None).min_by(|a, b| a.value.total_cmp(&b.value))?;
        let renders = self.row(measure, None, Some(RENDERS))?;
        let first = of_measure(&self.rows, measure, None).next()?;
        Some(Finding {
            sentence: format!(
                "Images come nearest to rendered scenes at s = {}: {} {} ({} at s = {}); other \
                 renders {}",
                best.scale.unwrap_or_default(),
                measure.label(),
                of_row(best).text(),
                of_row(first).text(),
                first.scale.unwrap_or_default(),
                of_row(renders).text()
            ),
            measure: measure.label().to_owned(),
            estimate: Some(of_row(best)),
            control: Some(of_row(renders)),
            basis: format!(
                "{}; {} images and as many renders; the least of several is a little too small",
                basis(best.prompts, best.interval.as_deref().unwrap_or("no")),
                best.images
            ),
            ..Finding::default()
        })
    }

    /// How much of the guidance term lies across the prediction.
    fn term(&self) -> Option<Finding> {
        let scale = self.parts.last()?.scale;
        let share = |prompt: usize| -> Option<f64> {
            let own = self.parts.iter().filter(|p| p.scale == scale && p.prompt == prompt);
            let (along, across) = own.fold((0.0, 0.0), |(along, across), part| {
                (along + part.parallel.powi(2), across + part.orthogonal.powi(2))
            });
            let share = across / (along + across);
            share.is_finite().then_some(share)
        };
        let shares: Vec<f64> = (0..self.prompts).filter_map(share).collect();
        let estimate = match measure::Estimate::of_mean(&shares, DEFAULT_CONFIDENCE) {
            Ok(found) => Estimate::within(found.mean, found.low.max(0.0), found.high.min(1.0)),
            Err(_) => Estimate::new(*shares.first()?),
        };
        Some(Finding {
            sentence: format!(
                "Across the conditional prediction lies {} of the guidance term's square at \
                 s = {scale}; the rest lies along it and changes its length alone",
                estimate.text()
            ),
            measure: "share of ‖γ(ε_c − ε_u)‖²".to_owned(),
            estimate: Some(estimate),
            basis: basis(shares.len() as u32, "t"),
            ..Finding::default()
        })
    }

    /// Curves with their file names.
    pub fn figures(&self) -> Vec<(&'static str, Box<dyn Figure>)> {
        let all = figures(&self.rows, &self.parts).into_iter();
        all.map(|(name, _, figure)| (name, figure)).collect()
    }

    /// The report.
    ///
    /// # Errors
    /// Figures whose data disagree.
    pub fn report(
        &self,
        sheet: Picture,
        facts: Vec<Fact>,
        rerun: Rerun,
    ) -> Result<Report, FigureError> {
        let mut report = Report::new("What does guidance buy, and what does it cost?");
        report.maker = format!("probe guidance, denoscope {}", env!("CARGO_PKG_VERSION"));
        report.facts = facts;
        let mut findings =
            Section::new("Findings").with(Block::Findings(self.findings())).prose(FINDINGS_PROSE);
        for reason in &self.left_out {
            findings.blocks.push(Block::Warning(format!("Left out: {reason}")));
        }
        report.sections.push(findings);
        report.sections.push(Section::new("Contact sheet").picture(sheet));
        let mut curves = Section::new("Measures against the scale");
        let mut term = Section::new("The guidance term").prose(TERM_PROSE);
        for (name, caption, figure) in figures(&self.rows, &self.parts) {
            let section = if name.starts_with("term") { &mut term } else { &mut curves };
            let picture = Picture::new(name, caption, figure.as_ref())?;
            section.blocks.push(Block::Picture(Box::new(picture)));
        }
        report.sections.push(curves);
        if !self.parts.is_empty() {
            report.sections.push(term);
        }
        report.sections.push(Section::new("All numbers").with(Block::Table(self.table())));
        report.sections.push(Section::new("How this was measured").prose(METHOD_PROSE));
        report.rerun = Some(rerun);
        Ok(report)
    }

    /// Measures down, scales across.
    fn table(&self) -> Table {
        let mut scales: Vec<Option<f64>> = Vec::new();
        for row in self.rows.iter().filter(|row| row.control.as_deref() != Some(OTHER_PROMPTS)) {
            if !scales.contains(&row.scale) {
                scales.push(row.scale);
            }
        }
        scales.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
        let heading = |scale: &Option<f64>| match scale {
            Some(scale) => format!("s = {scale} (γ = {})", scale - 1.0),
            None => "rendered scenes".to_owned(),
        };
        let mut columns = vec!["measure".to_owned()];
        columns.extend(scales.iter().map(heading));
        let cells = |measure: &Measure, other: Option<&'static str>| {
            let name = match other {
                Some(_) => format!("{}, other prompts", measure.label()),
                None => measure.label().to_owned(),
            };
            let mut cells = vec![Cell::Text(name)];
            cells.extend(scales.iter().map(|&scale| {
                let control = other.or(scale.is_none().then_some(RENDERS));
                let row = self.row(*measure, scale, control);
                row.map_or(Cell::Missing, |row| Cell::Estimate(of_row(row)))
            }));
            cells
        };
        let mut rows = Vec::new();
        for measure in Measure::ALL {
            let kinds = [None, measure.is_of_prompts().then_some(OTHER_PROMPTS)];
            let wanted = kinds.iter().enumerate().filter(|(i, kind)| *i == 0 || kind.is_some());
            rows.extend(wanted.map(|(_, kind)| cells(measure, *kind)));
        }
        rows.retain(|cells| cells[1..].iter().any(|cell| *cell != Cell::Missing));
        Table {
            name: "guidance".to_owned(),
            caption: format!("{} prompts; 95 % intervals over prompts.", self.prompts),
            columns,
            rows,
        }
    }
}

fn scaled_parts(sweep: &Sweep) -> Vec<ScaledPart> {
    let mut of_sample: BTreeMap<u32, (f64, usize)> = BTreeMap::new();
    for (scale, shown) in &sweep.scales {
        let samples = shown.rows.iter().zip(&shown.prompts);
        of_sample
            .extend(samples.filter_map(|(row, &prompt)| Some((row.sample?, (*scale, prompt)))));
    }
    let part = |row: &GuidanceRow| {
        let &(scale, prompt) = of_sample.get(&row.sample)?;
        ScaledPart::new(scale, prompt, row)
    };
    sweep.parts.iter().filter_map(part).collect()
}

fn of_row(row: &GuidanceSweepRow) -> Estimate {
    Estimate { value: row.value, interval: row.low.zip(row.high) }
}

fn of_change(change: &GuidanceChangeRow) -> Estimate {
    Estimate { value: change.difference, interval: change.low.zip(change.high) }
}

/// "+0.12 [0.05, 0.20]".
fn signed(change: &GuidanceChangeRow) -> String {
    let sign = if change.difference > 0.0 { "+" } else { "" };
    format!("{sign}{}", of_change(change).text())
}

fn basis(prompts: u32, interval: &str) -> String {
    format!("{prompts} prompts; 95 % {interval} interval over prompts")
}

const FINDINGS_PROSE: &str = "Every scale has the same prompts and the same noise. Changes are \
    between the lowest and the highest scale, prompt by prompt. The convention is \
    ε = ε_u + s(ε_c − ε_u); papers also write (1+γ)ε_c − γε_u with γ = s − 1.";

const TERM_PROSE: &str = "What guidance adds to the conditional prediction is γ(ε_c − ε_u). Its \
    part along ε_c makes the prediction longer or shorter; its part across turns it elsewhere \
    (Sadat et al. 2024, there of the predicted clean image). At s = 0 and s = 1 one branch alone \
    runs, and there is no term.";

const METHOD_PROSE: &str = "Rendered scenes are drawn by the world for the same prompts, with seeds \
    of their own: as many as a scale has images for the control, and others to hold all images \
    against. Distances are measured in the image features of the CLIP in the model's folder; they \
    are no FID and no KID, whose names stand for one other network. The Fréchet distance is too \
    large for few images: read it beside that of the rendered scenes. Distances between sets have \
    jackknife intervals over prompts, since a resampled copy of an image would be its own nearest \
    neighbour; all else has bootstrap intervals over prompts.";
