//! Dots with intervals: a measurement for each of several named things.

use super::axis::{Axis, Placed, Reference};
use super::parts::{self, EDGE, Key, LEADING};
use super::{
    Anchor, Figure, FigureError, Frame, Ink, Scene, Stroke, check_size, csv_line, csv_number,
    format_number, theme,
};

/// One value for each category.
#[derive(Debug, Clone, PartialEq)]
pub struct DotSeries {
    /// Name in the legend.
    pub name: String,
    /// One entry a category: value (NaN when missing) and its interval.
    pub values: Vec<(f64, Option<(f64, f64)>)>,
    /// The measurement where the answer must be "nothing": drawn hollow and grey.
    pub control: bool,
}

/// Categories from the top, values along the horizontal axis: layers, sites, words.
#[derive(Debug, Clone, PartialEq)]
pub struct DotChart {
    /// Title; may be empty.
    pub title: String,
    /// What the categories are.
    pub category_axis: String,
    /// Category labels, from the top.
    pub categories: Vec<String>,
    /// The axis of values.
    pub value: Axis,
    /// The series.
    pub series: Vec<DotSeries>,
    /// A value worth comparing with, such as chance.
    pub reference: Option<Reference>,
}

/// Distance of the series within a category, and between categories.
const SERIES_STEP: f64 = 11.0;
const CATEGORY_STEP: f64 = 17.0;
/// Share of the width beyond which category labels go above their dots.
const LABEL_SHARE: f64 = 0.4;

impl DotChart {
    fn keys(&self) -> Vec<Key<'_>> {
        parts::dress(self.series.iter().map(|s| (s.name.as_str(), s.control)))
    }

    fn numbers(&self) -> impl Iterator<Item = f64> {
        let values = self.series.iter().flat_map(|s| &s.values);
        values
            .flat_map(|(value, interval)| {
                let (low, high) = interval.unwrap_or((*value, *value));
                [*value, low, high]
            })
            .chain(self.reference.as_ref().map(|r| r.value))
    }

    fn draw_rows(&self, scene: &mut Scene, plot: &Frame, x: &Placed, rows: &Rows) {
        for (i, category) in self.categories.iter().enumerate() {
            let top = plot.y + i as f64 * rows.step;
            if i > 0 {
                let from = if rows.stacked { EDGE } else { plot.x };
                scene.line(vec![(from, top), (plot.right(), top)], Stroke::solid(Ink::Line, 0.7));
            }
            if rows.stacked {
                let label = theme::fit(category, theme::TICK, scene.width - 2.0 * EDGE);
                // Keeps grid lines from running through the label.
                let width = theme::text_width(&label, theme::TICK) * 1.05 + 6.0;
                scene.rect(
                    Frame { x: EDGE, y: top + 2.0, width, height: theme::TICK + 3.0 },
                    Ink::Paper,
                );
                scene.text(
                    EDGE,
                    top + theme::TICK + 2.0,
                    &label,
                    theme::TICK,
                    Anchor::Start,
                    Ink::Text,
                );
            } else {
                let base = top + rows.step / 2.0 + theme::TICK * 0.36;
                scene.text(plot.x - 8.0, base, category, theme::TICK, Anchor::End, Ink::Text);
            }
        }
        for (j, (series, key)) in self.series.iter().zip(self.keys()).enumerate() {
            for (i, &(value, interval)) in series.values.iter().enumerate() {
                let top = plot.y + i as f64 * rows.step + rows.head;
                let y = top + CATEGORY_STEP / 2.0 + 1.0 + j as f64 * SERIES_STEP;
                if !value.is_finite() {
                    continue;
                }
                if let Some((low, high)) = interval.filter(|(l, h)| l.is_finite() && h.is_finite())
                {
                    scene.line(vec![(x.at(low), y), (x.at(high), y)], Stroke::solid(key.ink, 2.0));
                }
                parts::point(scene, (x.at(value), y), key.marker, key.ink, key.control);
            }
        }
    }
}

/// How the rows of a chart are laid out.
struct Rows {
    /// Height of a category.
    step: f64,
    /// Room for the label above the dots.
    head: f64,
    /// Labels above instead of to the left.
    stacked: bool,
}

impl Figure for DotChart {
    fn title(&self) -> &str {
        &self.title
    }

    fn describe(&self) -> String {
        let mut text = format!("Dots of {} for each {}.", self.value.label, self.category_axis);
        for series in &self.series {
            let known =
                series.values.iter().zip(&self.categories).filter(|((v, _), _)| v.is_finite());
            let best = known.max_by(|a, b| a.0.0.total_cmp(&b.0.0));
            if let Some(((value, _), category)) = best {
                let value = format_number(*value, 2);
                text += &format!(" {}: highest {value} at {category}.", series.name);
            }
        }
        text
    }

    fn csv(&self) -> String {
        let mut out =
            csv_line(["series", &self.category_axis, &self.value.label, "low", "high", "control"]);
        for series in &self.series {
            for (category, (value, interval)) in self.categories.iter().zip(&series.values) {
                let (low, high) = interval.unwrap_or((f64::NAN, f64::NAN));
                let [value, low, high] = [*value, low, high].map(csv_number);
                out += &csv_line([
                    &series.name,
                    category,
                    &value,
                    &low,
                    &high,
                    &series.control.to_string(),
                ]);
            }
        }
        out
    }

    fn scene(&self, width: f64) -> Result<Scene, FigureError> {
        for series in &self.series {
            check_size(&self.title, &series.name, self.categories.len(), series.values.len())?;
        }
        let mut scene = Scene::new(width);
        let mut top = parts::title(&mut scene, &self.title);
        if self.categories.is_empty() || self.series.is_empty() {
            scene.height = parts::nothing(&mut scene, top, "nothing was measured");
            return Ok(scene);
        }
        top = parts::legend(&mut scene, &self.keys(), self.reference.as_ref(), top);
        let widest = parts::widest(self.categories.iter());
        let stacked = widest > width * LABEL_SHARE;
        let head = if stacked { theme::TICK * LEADING } else { 0.0 };
        let step = head + CATEGORY_STEP + (self.series.len() - 1) as f64 * SERIES_STEP + 2.0;
        let left = if stacked { EDGE + 10.0 } else { EDGE + widest + 14.0 };
        let height = step * self.categories.len() as f64;
        let plot = Frame { x: left, y: top, width: width - left - 14.0, height };
        let count = (plot.width / parts::TICK_ROOM) as usize;
        let x = Placed::new(&self.value, self.numbers(), (plot.x, plot.right()), count, true);
        for &value in &x.ticks {
            let at = x.at(value);
            scene.line(vec![(at, plot.y), (at, plot.bottom())], Stroke::solid(Ink::Line, 1.0));
        }
        if let Some(reference) = &self.reference {
            parts::reference(&mut scene, &plot, &x, reference.value, true);
        }
        self.draw_rows(&mut scene, &plot, &x, &Rows { step, head, stacked });
        scene.height = parts::x_axis(&mut scene, &plot, &x, &self.value);
        Ok(scene)
    }
}
