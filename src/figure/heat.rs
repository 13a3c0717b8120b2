//! Heat maps: a number for every row and column, as colour.

use ndarray::Array2;

use super::axis::extent;
use super::parts::{self, ColorBar, EDGE, GAP, LEADING};
use super::{
    Anchor, ColorMap, Figure, FigureError, Frame, Ink, Scene, Shape, Stroke, check_size, csv_line,
    csv_number, format_number, theme,
};

/// A table of numbers as colours, with row and column labels and a colour bar.
#[derive(Debug, Clone)]
pub struct HeatMap {
    /// Title; may be empty.
    pub title: String,
    /// What the rows are.
    pub row_axis: String,
    /// What the columns are.
    pub column_axis: String,
    /// One label a row, from the top.
    pub rows: Vec<String>,
    /// One label a column, from the left.
    pub columns: Vec<String>,
    /// Values, shape [rows, columns]; NaN where there is none (drawn hatched).
    pub values: Array2<f64>,
    /// Quantity and unit, for the colour bar.
    pub quantity: String,
    /// Values at the ends of the colour bar; None takes those of the data.
    pub range: Option<(f64, f64)>,
    /// Colours.
    pub colors: ColorMap,
    /// Columns are steps along a scale: when they are narrow, some labels may be left out.
    pub ordered_columns: bool,
}

const CELL_GAP: f64 = 1.0;
const SMALLEST_CELL: f64 = 20.0;
const TALLEST_CELL: f64 = 30.0;
const WIDEST_CELL: f64 = 92.0;
/// Largest share of the width given to row labels.
const LABEL_SHARE: f64 = 0.42;

impl HeatMap {
    fn bounds(&self) -> (f64, f64) {
        let (low, high) = self.range.unwrap_or_else(|| extent(self.values.iter().copied()));
        if low < high {
            (low, high)
        } else if low.is_finite() {
            (low, low + 1.0)
        } else {
            (0.0, 1.0)
        }
    }

    fn cell(&self, scene: &mut Scene, frame: Frame, value: f64, (low, high): (f64, f64)) {
        if !value.is_finite() {
            scene.hatch(frame);
            return;
        }
        let color = self.colors.color((value - low) / (high - low));
        scene.rect(frame, Ink::Fixed(color));
        let text = format_number(value, 2);
        if theme::text_width(&text, theme::VALUE) + 6.0 <= frame.width {
            let ink = Ink::Fixed(ColorMap::text_on(color));
            let (x, y) =
                (frame.x + frame.width / 2.0, frame.y + frame.height / 2.0 + theme::VALUE * 0.36);
            scene.text(x, y, &text, theme::VALUE, Anchor::Middle, ink);
        }
    }

    /// Draws rows of cells with their labels; `first` is the cell in the upper left corner.
    fn draw_cells(&self, scene: &mut Scene, labels: &[String], first: Frame) {
        /// Cells narrower than this touch.
        const GAP_FROM: f64 = 8.0;
        let bounds = self.bounds();
        let gap = if first.width < GAP_FROM { 0.0 } else { CELL_GAP };
        for (i, label) in labels.iter().enumerate() {
            let top = first.y + i as f64 * first.height;
            let base = top + first.height / 2.0 + theme::TICK * 0.36;
            scene.text(first.x - 8.0, base, label, theme::TICK, Anchor::End, Ink::Text);
            for (j, &value) in self.values.row(i).iter().enumerate() {
                let x = first.x + j as f64 * first.width;
                let (width, height) = (first.width - gap, first.height - CELL_GAP);
                self.cell(scene, Frame { x, y: top, width, height }, value, bounds);
            }
        }
    }

    /// Writes column labels below the cells: level if they fit, else turned or thinned out.
    fn column_labels(&self, scene: &mut Scene, left: f64, cell: f64, y: f64) -> f64 {
        const MOST_LENGTH: f64 = 150.0;
        let widths: Vec<f64> =
            self.columns.iter().map(|c| theme::text_width(c, theme::TICK)).collect();
        let widest = widths.iter().copied().fold(0.0, f64::max);
        let middle = |i: usize| left + (i as f64 + 0.5) * cell;
        if widest + 4.0 <= cell || self.ordered_columns {
            let every = ((widest + 8.0) / cell).ceil().max(1.0) as usize;
            let every = if widest + 4.0 <= cell { 1 } else { every };
            for (i, label) in self.columns.iter().enumerate().step_by(every) {
                let half = widths[i] / 2.0;
                let x = middle(i).min(scene.width - half).max(half);
                scene.text(
                    x,
                    y + theme::TICK + 2.0,
                    label,
                    theme::TICK,
                    Anchor::Middle,
                    Ink::Quiet,
                );
            }
            return y + theme::TICK * LEADING + 4.0;
        }
        let every = ((theme::TICK + 2.0) / cell).ceil().max(1.0) as usize;
        let length = widest.min(MOST_LENGTH);
        for (i, label) in self.columns.iter().enumerate().step_by(every) {
            scene.shapes.push(Shape::Text {
                x: middle(i) + theme::TICK * 0.36,
                y: y + 6.0,
                text: theme::fit(label, theme::TICK, length),
                size: theme::TICK,
                bold: false,
                anchor: Anchor::End,
                ink: Ink::Quiet,
                turned: true,
            });
        }
        y + length * 1.06 + 12.0
    }
}

impl Figure for HeatMap {
    fn title(&self) -> &str {
        &self.title
    }

    fn describe(&self) -> String {
        let (low, high) = extent(self.values.iter().copied());
        let known = self.values.iter().filter(|v| v.is_finite()).count();
        let mut text = format!(
            "Heat map of {} for {} rows ({}) and {} columns ({}).",
            self.quantity,
            self.rows.len(),
            self.row_axis,
            self.columns.len(),
            self.column_axis
        );
        if known > 0 {
            text +=
                &format!(" Values from {} to {}.", format_number(low, 3), format_number(high, 3));
        }
        let missing = self.values.len() - known;
        if missing > 0 {
            text += &format!(" {missing} without a value.");
        }
        text
    }

    fn csv(&self) -> String {
        let mut out = csv_line([&self.row_axis, &self.column_axis, &self.quantity]);
        for (row, line) in self.rows.iter().zip(self.values.rows()) {
            for (column, value) in self.columns.iter().zip(line) {
                out += &csv_line([row, column, &csv_number(*value)]);
            }
        }
        out
    }

    fn scene(&self, width: f64) -> Result<Scene, FigureError> {
        check_size(&self.title, "the rows of values", self.rows.len(), self.values.nrows())?;
        check_size(&self.title, "the columns of values", self.columns.len(), self.values.ncols())?;
        let mut scene = Scene::new(width);
        let mut y = parts::title(&mut scene, &self.title);
        if self.values.is_empty() {
            scene.height = parts::nothing(&mut scene, y, "nothing was recorded");
            return Ok(scene);
        }
        let most = width * LABEL_SHARE;
        let labels: Vec<String> =
            self.rows.iter().map(|r| theme::fit(r, theme::TICK, most)).collect();
        let left = EDGE + parts::widest(labels.iter()) + 8.0;
        let cell_width = ((width - left - EDGE) / self.columns.len() as f64).min(WIDEST_CELL);
        let cell_height = cell_width.clamp(SMALLEST_CELL, TALLEST_CELL);
        if !self.row_axis.is_empty() {
            let note = format!("{} ↓", self.row_axis);
            scene.text(EDGE, y + theme::TICK, &note, theme::TICK, Anchor::Start, Ink::Quiet);
            y += theme::TICK * LEADING + 4.0;
        }
        let first = Frame { x: left, y, width: cell_width, height: cell_height };
        self.draw_cells(&mut scene, &labels, first);
        y += self.rows.len() as f64 * cell_height;
        let grid_width = cell_width * self.columns.len() as f64;
        scene.line(vec![(left, y), (left + grid_width, y)], Stroke::solid(Ink::Line, 1.0));
        y = self.column_labels(&mut scene, left, cell_width, y);
        if !self.column_axis.is_empty() {
            y += theme::LABEL * LEADING;
            let middle = left + grid_width / 2.0;
            scene.text(middle, y, &self.column_axis, theme::LABEL, Anchor::Middle, Ink::Text);
        }
        let missing = self.values.iter().any(|v| !v.is_finite());
        let bar = ColorBar {
            label: &self.quantity,
            colors: self.colors,
            range: Some(self.bounds()),
            missing,
            left,
        };
        scene.height = parts::color_bar(&mut scene, &bar, y + GAP) + EDGE;
        Ok(scene)
    }
}
