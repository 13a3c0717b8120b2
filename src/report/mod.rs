//! Reports as data: a [`Report`] value goes in; HTML, Markdown or JSON comes out.
//!
//! Renderers are pure: the same value gives the same bytes. Every text is data from elsewhere
//! (prompts, labels, paths), so every text is escaped; the HTML loads nothing, is one file, and
//! its content policy forbids all scripts but its own.
//!
//! In prose and findings, text between backticks is set as code; nothing else is interpreted.

mod blocks;
mod explorer;
mod html;
mod index;
mod markdown;
mod strip;

use serde::Serialize;

use crate::figure::{self, Figure, FigureError, Svg};

pub use explorer::{Explorer, ExplorerFrame, ExplorerImage, ExplorerMap, StepLabel};
pub use index::{Index, IndexedRun, UnfinishedRun};

/// What can go wrong when a report is made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A map of the explorer does not fit its own description.
    #[error(
        "explorer, image {image}: a map {problem}; give each map values of height × width and indices into words, sites, heads and steps"
    )]
    Map {
        /// Title of the image.
        image: String,
        /// What is wrong.
        problem: String,
    },
    /// A row of a table is too short or too long.
    #[error(
        "table {table}: row {row} has {got} cells where {expected} are needed; use Cell::Missing for gaps"
    )]
    Row {
        /// Caption of the table.
        table: String,
        /// Number of the row, from 0.
        row: usize,
        /// Cells needed.
        expected: usize,
        /// Cells given.
        got: usize,
    },
    /// JSON could not be written.
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A number with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The number; NaN when it could not be measured.
    pub value: f64,
    /// Lower and upper end of its interval.
    pub interval: Option<(f64, f64)>,
}

impl Estimate {
    /// A number without an interval.
    pub fn new(value: f64) -> Self {
        Self { value, interval: None }
    }

    /// A number with its interval.
    pub fn within(value: f64, low: f64, high: f64) -> Self {
        Self { value, interval: Some((low, high)) }
    }

    /// As text: "0.94 [0.92, 0.96]"; "not measured" without a value.
    pub fn text(&self) -> String {
        if !self.value.is_finite() {
            return "not measured".into();
        }
        let value = short(self.value);
        match self.interval {
            Some((low, high)) => format!("{value} [{}, {}]", short(low), short(high)),
            None => value,
        }
    }
}

/// A number with few digits: two decimals below 10, fewer above.
pub(crate) fn short(value: f64) -> String {
    const TWO_DECIMALS_BELOW: f64 = 10.0;
    const SMALL: f64 = 0.01;
    let size = value.abs();
    if !value.is_finite() || (size < SMALL && size > 0.0) || size >= TWO_DECIMALS_BELOW {
        return figure::format_number(value, 3);
    }
    format!("{value:.2}").replace('-', "−")
}

/// The range a number lives in, for the small strip beside it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scale {
    /// Left end.
    pub low: f64,
    /// Right end.
    pub high: f64,
    /// The value that means "nothing", such as chance.
    pub nothing: Option<f64>,
}

/// A statement with the numbers it rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Finding {
    /// The statement, one sentence.
    pub sentence: String,
    /// The quantity: "AUROC".
    pub measure: String,
    /// Its value.
    pub estimate: Option<Estimate>,
    /// The same measurement where the answer must be "nothing".
    pub control: Option<Estimate>,
    /// Range for the strip; no strip without one.
    pub scale: Option<Scale>,
    /// What it rests on: count, kind of interval, judge.
    pub basis: String,
}

/// A number to be seen at a glance.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Metric {
    /// What it is.
    pub label: String,
    /// Its value; None or NaN shows as "not measured".
    pub estimate: Option<Estimate>,
    /// Unit, written behind the value; may be empty.
    pub unit: String,
    /// The control.
    pub control: Option<Estimate>,
    /// Range for the strip; no strip without one.
    pub scale: Option<Scale>,
    /// A remark; may be empty.
    pub note: String,
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
    /// A number with its interval.
    Estimate(Estimate),
    /// No value.
    Missing,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

/// A table with a caption.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Table {
    /// File name without ending, for the download.
    pub name: String,
    /// Caption: what is shown, n, interval.
    pub caption: String,
    /// Column names with units.
    pub columns: Vec<String>,
    /// Rows, each as long as `columns`.
    pub rows: Vec<Vec<Cell>>,
}

/// A figure with its caption and its numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Picture {
    /// File name without ending, for downloads and links.
    pub name: String,
    /// Caption: what is shown, n, interval, judge, control.
    pub caption: String,
    /// The figure in words.
    pub describe: String,
    /// The numbers drawn.
    pub csv: String,
    #[serde(skip)]
    drawing: Drawing,
}

/// How a picture is drawn.
#[derive(Debug, Clone, PartialEq)]
enum Drawing {
    /// For page and phone.
    Figure { wide: Svg, narrow: Svg },
    /// A PNG that was drawn before.
    Stored(Vec<u8>),
}

impl Picture {
    /// Draws a figure for page and phone.
    ///
    /// # Errors
    /// When the figure's data disagree; see [`Figure::scene`].
    pub fn new(
        name: impl Into<String>,
        caption: impl Into<String>,
        figure: &dyn Figure,
    ) -> Result<Self, FigureError> {
        Ok(Self {
            name: name.into(),
            caption: caption.into(),
            describe: figure.describe(),
            csv: figure.csv(),
            drawing: Drawing::Figure {
                wide: figure.svg(figure::WIDE)?,
                narrow: figure.svg(figure::NARROW)?,
            },
        })
    }

    /// A figure that an earlier run drew as PNG; its numbers are in the tables.
    pub fn stored(name: impl Into<String>, caption: impl Into<String>, png: Vec<u8>) -> Self {
        let (name, caption) = (name.into(), caption.into());
        let (describe, csv) = (caption.clone(), String::new());
        Self { name, caption, describe, csv, drawing: Drawing::Stored(png) }
    }
}

/// An image with a label.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LabelledImage {
    /// Label, also its text for readers who cannot see it.
    pub label: String,
    /// A remark, such as the seed; may be empty.
    pub note: String,
    /// The image as PNG bytes.
    #[serde(skip)]
    pub png: Vec<u8>,
}

/// One piece of a section.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Block {
    /// A paragraph.
    Prose(String),
    /// Statements with their numbers.
    Findings(Vec<Finding>),
    /// Numbers to be seen at a glance.
    Metrics(Vec<Metric>),
    /// A table.
    Table(Table),
    /// A figure.
    Picture(Box<Picture>),
    /// Images side by side.
    Images(Vec<LabelledImage>),
    /// Something the reader must know before trusting what is shown.
    Warning(String),
    /// The interactive explorer; pass the same facts as pictures for readers without scripts.
    Explorer(Explorer),
    /// A command to copy.
    Command(String),
}

/// A part of a report with a heading.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Section {
    /// Heading.
    pub heading: String,
    /// What it holds, in order.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section without blocks.
    pub fn new(heading: impl Into<String>) -> Self {
        Self { heading: heading.into(), blocks: Vec::new() }
    }

    /// Adds a block.
    pub fn with(mut self, block: Block) -> Self {
        self.blocks.push(block);
        self
    }

    /// Adds a paragraph.
    pub fn prose(self, text: impl Into<String>) -> Self {
        self.with(Block::Prose(text.into()))
    }

    /// Adds a figure.
    pub fn picture(self, picture: Picture) -> Self {
        self.with(Block::Picture(Box::new(picture)))
    }
}

/// A name and a value in the head of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// Name.
    pub label: String,
    /// Value.
    pub value: String,
}

/// How to make the same run again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rerun {
    /// The command.
    pub command: String,
    /// The spec as TOML, offered as a download; may be empty.
    pub spec: String,
}

/// A document about one run, or about several.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// What was asked: "Where does each word look?"
    pub title: String,
    /// The kind of report and what made it: "probe attention, denoscope 0.1.0".
    pub maker: String,
    /// The prompt or another line of prominence; may be empty.
    pub subtitle: String,
    /// Model, seed, sampler, steps and the like.
    pub facts: Vec<Fact>,
    /// Images beside the title; one or two look best.
    pub cover: Vec<LabelledImage>,
    /// The body.
    pub sections: Vec<Section>,
    /// How to make the same run again.
    pub rerun: Option<Rerun>,
    /// What must be known of the whole report before it is read.
    pub notices: Vec<String>,
    /// Reports that this one is made of, shown one after the other behind its own sections.
    pub parts: Vec<Report>,
}

impl Report {
    /// A report with a title.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a fact.
    pub fn fact(&mut self, label: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.facts.push(Fact { label: label.into(), value: value.into() });
        self
    }

    /// Adds a section.
    pub fn section(&mut self, section: Section) -> &mut Self {
        self.sections.push(section);
        self
    }

    /// One HTML file that loads nothing.
    ///
    /// # Errors
    /// When a table's rows or the explorer's maps do not fit their description.
    pub fn to_html(&self) -> Result<String, ReportError> {
        html::render(self)
    }

    /// Markdown that links figures as `figures/<name>.png` and tables as `tables/<name>.csv`.
    ///
    /// # Errors
    /// When a table's rows do not fit its columns.
    pub fn to_markdown(&self) -> Result<String, ReportError> {
        markdown::render(self)
    }

    /// The report as JSON, without pictures and maps; numbers that are not finite are null.
    ///
    /// # Errors
    /// When the JSON cannot be written.
    pub fn to_json(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

impl Table {
    /// The table as comma-separated values: an estimate takes three columns.
    pub fn csv(&self) -> String {
        let is_estimate = |column: usize| {
            self.rows.iter().any(|row| matches!(row.get(column), Some(Cell::Estimate(_))))
        };
        let wide: Vec<bool> = (0..self.columns.len()).map(is_estimate).collect();
        let mut header = Vec::new();
        for (name, &wide) in self.columns.iter().zip(&wide) {
            header.push(name.clone());
            if wide {
                header.extend([format!("{name} low"), format!("{name} high")]);
            }
        }
        let mut out = figure::csv_line(header);
        for row in &self.rows {
            let fields = row.iter().zip(&wide).flat_map(|(cell, &wide)| cell_fields(cell, wide));
            out += &figure::csv_line(fields);
        }
        out
    }

    /// Checks that every row has a cell for every column.
    fn check(&self) -> Result<(), ReportError> {
        let expected = self.columns.len();
        match self.rows.iter().enumerate().find(|(_, row)| row.len() != expected) {
            Some((row, cells)) => Err(ReportError::Row {
                table: self.caption.clone(),
                row,
                expected,
                got: cells.len(),
            }),
            None => Ok(()),
        }
    }
}

/// The CSV fields of a cell: one, or three in a column of estimates.
fn cell_fields(cell: &Cell, wide: bool) -> Vec<String> {
    let (value, interval) = match cell {
        Cell::Text(text) => (text.clone(), None),
        Cell::Number(value) => (figure::csv_number(*value), None),
        Cell::Estimate(estimate) => (figure::csv_number(estimate.value), estimate.interval),
        Cell::Missing => (String::new(), None),
    };
    if !wide {
        return vec![value];
    }
    let (low, high) = interval.unwrap_or((f64::NAN, f64::NAN));
    vec![value, figure::csv_number(low), figure::csv_number(high)]
}
