//! Findings, figures and the report of a diagnosis.

use super::{Diagnosed, SHUFFLED_OUTCOMES};
use crate::figure::{Axis, Curve, CurveChart, CurvePoint, Figure, FigureError, Reference};
use crate::report::{
    Block, Cell, Estimate, Fact, Finding, Picture, Report, Rerun, Scale, Section, Table,
};
use crate::table::{DiagnosisRow, EarlyStopRow};

/// AUROC of a forecast that knows nothing.
const CHANCE: f64 = 0.5;
/// Share of the steps after which findings are told: early enough to save something.
const TOLD_AFTER: f64 = 0.3;

/// A figure and its file name without ending.
pub type NamedFigure = (&'static str, Box<dyn Figure>);

/// What people read.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'a> {
    /// What was found.
    pub found: &'a Diagnosed,
    /// Steps of a whole run.
    pub steps: usize,
}

impl Pages<'_> {
    fn categories(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for row in &self.found.rows {
            if !all.contains(&row.category.as_str()) {
                all.push(&row.category);
            }
        }
        all
    }

    fn row(&self, category: &str, seen: u32, control: Option<&str>) -> Option<&DiagnosisRow> {
        self.found.rows.iter().find(|row| {
            row.category == category && row.steps_seen == seen && row.control.as_deref() == control
        })
    }

    fn stop(&self, category: &str, seen: u32) -> Option<&EarlyStopRow> {
        self.found.stops.iter().find(|row| row.category == category && row.steps_seen == seen)
    }

    /// How many steps have been seen where findings are told.
    fn told_after(&self) -> u32 {
        ((self.steps as f64 * TOLD_AFTER).round() as u32).max(1)
    }

    /// What was found of each category, and what could not be measured.
    pub fn findings(&self) -> Vec<Finding> {
        let measured = self.categories().into_iter().filter_map(|category| self.of(category));
        let left_out = self.found.left_out.iter().map(|(category, why)| Finding {
            sentence: format!("Nothing can be said of {category}: {why}"),
            ..Finding::default()
        });
        measured.chain(left_out).collect()
    }

    fn of(&self, category: &str) -> Option<Finding> {
        let seen = self.told_after();
        let row = self.row(category, seen, None)?;
        let control = self.row(category, seen, Some(SHUFFLED_OUTCOMES));
        let verb = match (row.auroc_low, row.auroc_high) {
            (Some(low), _) if low > CHANCE => "can be foretold",
            _ => "cannot be told from chance",
        };
        let stop = self.stop(category, seen).map(|stop| self.saving(stop));
        Some(Finding {
            sentence: format!(
                "After {seen} of {} steps failures of {category} {verb}: AUROC {}, with shuffled \
                 outcomes {}{}",
                self.steps,
                estimate(row).text(),
                control.map_or_else(|| "not measured".to_owned(), |row| estimate(row).text()),
                stop.map(|text| format!("; {text}")).unwrap_or_default()
            ),
            measure: "AUROC".to_owned(),
            estimate: Some(estimate(row)),
            control: control.map(estimate),
            scale: Some(Scale { low: 0.0, high: 1.0, nothing: Some(CHANCE) }),
            basis: format!(
                "n = {} images of prompts that the forecast was not fitted to, {} failures by the \
                 judge; 95 % bootstrap interval over prompts, for the control over orders of the \
                 outcomes",
                row.images, row.failures
            ),
        })
    }

    fn saving(&self, stop: &EarlyStopRow) -> String {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        match stop.precision {
            Some(precision) => format!(
                "stopping at a precision of {} on other prompts stops {} of the images, {} of \
                 them failures (all images: {}), and saves {} of the steps",
                percent(stop.precision_wanted),
                percent(stop.stopped),
                percent(precision),
                percent(stop.failure_rate),
                percent(stop.saved)
            ),
            None => format!(
                "no threshold reaches a precision of {} on other prompts: nothing is saved",
                percent(stop.precision_wanted)
            ),
        }
    }

    /// The figures with their file names.
    pub fn figures(&self) -> Vec<NamedFigure> {
        vec![("forecast", Box::new(self.forecast())), ("saved", Box::new(self.saved()))]
    }

    /// AUROC against the steps seen.
    fn forecast(&self) -> CurveChart {
        let curve = |category: &str, name: String, control: Option<&str>| {
            let rows = self
                .found
                .rows
                .iter()
                .filter(|row| row.category == category && row.control.as_deref() == control);
            let point = |row: &DiagnosisRow| CurvePoint {
                x: f64::from(row.steps_seen),
                y: row.auroc,
                interval: row.auroc_low.zip(row.auroc_high),
            };
            Curve { name, points: rows.map(point).collect(), control: control.is_some() }
        };
        let mut curves = Vec::new();
        for category in self.categories() {
            curves.push(curve(category, category.to_owned(), None));
            let name = format!("{category}, shuffled outcomes (control)");
            curves.push(curve(category, name, Some(SHUFFLED_OUTCOMES)));
        }
        CurveChart {
            title: "From when on can a failure be foretold?".to_owned(),
            x: Axis::new(format!("steps seen, of {}", self.steps)),
            y: Axis::new("AUROC, prompts held out"),
            curves,
            reference: Some(Reference { value: CHANCE, label: "chance".to_owned() }),
        }
    }

    /// Share of the steps saved against the steps seen.
    fn saved(&self) -> CurveChart {
        let curve = |category: &str| {
            let rows = self.found.stops.iter().filter(|row| row.category == category);
            let point = |row: &EarlyStopRow| CurvePoint {
                x: f64::from(row.steps_seen),
                y: row.saved,
                interval: None,
            };
            Curve { name: category.to_owned(), points: rows.map(point).collect(), control: false }
        };
        CurveChart {
            title: "What stopping early would save".to_owned(),
            x: Axis::new(format!("steps seen, of {}", self.steps)),
            y: Axis::new("share of all steps"),
            curves: self.categories().into_iter().map(curve).collect(),
            reference: None,
        }
    }

    /// The report.
    ///
    /// # Errors
    /// Figures whose data disagree.
    pub fn report(&self, facts: Vec<Fact>, rerun: Rerun) -> Result<Report, FigureError> {
        let mut report = Report::new("Can a failure be foretold?");
        report.maker = format!("probe failures, denoscope {}", env!("CARGO_PKG_VERSION"));
        report.facts = facts;
        let findings = Section::new("Findings").with(Block::Findings(self.findings()));
        report.sections.push(findings.prose(FINDINGS_PROSE));
        let mut section = Section::new("Against the steps seen");
        for (name, figure) in self.figures() {
            let caption = match name {
                "forecast" => "Ribbons: 95 % bootstrap intervals over prompts.",
                _ => "Shares of images stopped times the share of steps that is left.",
            };
            let picture = Picture::new(name, caption, figure.as_ref())?;
            section.blocks.push(Block::Picture(Box::new(picture)));
        }
        section.blocks.push(Block::Table(self.table()));
        report.sections.push(section);
        report.sections.push(Section::new("How this was measured").prose(METHOD_PROSE));
        report.rerun = Some(rerun);
        Ok(report)
    }

    fn table(&self) -> Table {
        let row = |stop: &EarlyStopRow| {
            let number = |value: Option<f64>| value.map_or(Cell::Missing, Cell::Number);
            let auroc = self.row(&stop.category, stop.steps_seen, None);
            let precision = stop.precision.map(|value| Estimate {
                value,
                interval: stop.precision_low.zip(stop.precision_high),
            });
            vec![
                Cell::Text(stop.category.clone()),
                Cell::Text(stop.steps_seen.to_string()),
                auroc.map_or(Cell::Missing, |row| Cell::Estimate(estimate(row))),
                Cell::Number(stop.stopped),
                precision.map_or(Cell::Missing, Cell::Estimate),
                number(stop.good_lost),
                Cell::Number(stop.saved),
                Cell::Number(stop.failure_rate),
            ]
        };
        Table {
            name: "early-stop".to_owned(),
            caption: "What the first steps tell, and what stopping then would do. Thresholds are \
                      those of other prompts."
                .to_owned(),
            columns: [
                "category",
                "steps seen",
                "AUROC",
                "stopped",
                "failures among them",
                "good images lost",
                "steps saved",
                "failures of all",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows: self.found.stops.iter().map(row).collect(),
        }
    }
}

fn estimate(row: &DiagnosisRow) -> Estimate {
    Estimate { value: row.auroc, interval: row.auroc_low.zip(row.auroc_high) }
}

const FINDINGS_PROSE: &str = "AUROC is the probability that an image that fails has a higher \
    forecast than one that does not; 0.5 is chance, and what shuffled outcomes must give.";

const METHOD_PROSE: &str = "At each step, of the maps of the prompt's words (all cross-attention \
    layers and heads): the largest overlap of two nouns; how much more adjectives overlap with \
    another noun than with their own; one minus the least share of attention and one minus the \
    least peak of a noun; and entropies. A logistic regression on their means over the steps seen \
    and their last values foretells the judge's verdict; prompts are in five folds, and each is \
    foretold from the others. The tables `diagnosis`, `early_stop` and `diagnosis_features` in \
    this run's folder hold every number.";
