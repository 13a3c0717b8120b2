//! Curves with intervals: a measurement along a scale such as the timestep.

use super::axis::{Axis, Placed, Reference, extent};
use super::parts::{self, EDGE, GAP, Key, LEADING};
use super::{
    Anchor, Figure, FigureError, Frame, Ink, Paint, Scene, Stroke, csv_line, csv_number,
    format_number, theme,
};

/// One point of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Position.
    pub x: f64,
    /// Value; NaN interrupts the curve.
    pub y: f64,
    /// Interval of the value, lower then upper end; None when there is none.
    pub interval: Option<(f64, f64)>,
}

/// A series of points joined by a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Name in the legend.
    pub name: String,
    /// Points in any order; they are drawn by rising x.
    pub points: Vec<CurvePoint>,
    /// The measurement where the answer must be "nothing": drawn broken and grey.
    pub control: bool,
}

/// Curves over a common scale, each with a ribbon for its interval.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveChart {
    /// Title; may be empty.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// The curves; controls lie below the others.
    pub curves: Vec<Curve>,
    /// A value worth comparing with, such as chance.
    pub reference: Option<Reference>,
}

/// Height of a plot over its width, and its bounds in pixels.
const PLOT_SHARE: f64 = 0.52;
const PLOT_HEIGHTS: (f64, f64) = (190.0, 340.0);
/// Most points of a curve that are each given a marker.
const MOST_MARKERS: usize = 12;

impl CurveChart {
    fn y_values(&self) -> impl Iterator<Item = f64> {
        let points = self.curves.iter().flat_map(|c| &c.points);
        points
            .flat_map(|p| {
                let (low, high) = p.interval.unwrap_or((p.y, p.y));
                [p.y, low, high]
            })
            .chain(self.reference.as_ref().map(|r| r.value))
    }

    /// Grid lines and numbers of the vertical axis.
    fn y_grid(scene: &mut Scene, plot: &Frame, placed: &Placed) {
        for &value in &placed.ticks {
            let y = placed.at(value);
            scene.line(vec![(plot.x, y), (plot.right(), y)], Stroke::solid(Ink::Line, 1.0));
            let (x, base) = (plot.x - 7.0, y + theme::TICK * 0.36);
            scene.text(x, base, &placed.text(value), theme::TICK, Anchor::End, Ink::Quiet);
        }
    }
}

/// The points of a curve by rising x, cut where a value is missing.
fn runs(curve: &Curve) -> Vec<Vec<CurvePoint>> {
    let mut points: Vec<CurvePoint> =
        curve.points.iter().copied().filter(|p| p.x.is_finite()).collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
        .split(|p| !p.y.is_finite())
        .filter(|run| !run.is_empty())
        .map(<[CurvePoint]>::to_vec)
        .collect()
}

fn draw_ribbon(scene: &mut Scene, run: &[CurvePoint], x: &Placed, y: &Placed, paint: Paint) {
    let known: Vec<(f64, f64, f64)> = run
        .iter()
        .filter_map(|p| p.interval.map(|(low, high)| (p.x, low, high)))
        .filter(|(_, low, high)| low.is_finite() && high.is_finite())
        .collect();
    if known.len() < 2 {
        return;
    }
    let upper = known.iter().map(|&(at, _, high)| (x.at(at), y.at(high)));
    let lower = known.iter().rev().map(|&(at, low, _)| (x.at(at), y.at(low)));
    scene.polygon(upper.chain(lower).collect(), paint);
}

fn draw_curve(scene: &mut Scene, runs: &[Vec<CurvePoint>], key: Key, x: &Placed, y: &Placed) {
    let count: usize = runs.iter().map(Vec::len).sum();
    let every = count.div_ceil(MOST_MARKERS).max(1);
    for run in runs {
        let points: Vec<_> = run.iter().map(|p| (x.at(p.x), y.at(p.y))).collect();
        for &at in points.iter().step_by(every) {
            parts::point(scene, at, key.marker, key.ink, key.control);
        }
        if points.len() > 1 {
            scene.line(points, parts::series_stroke(key.ink, key.control));
        }
    }
}

/// Draws ribbons first, then curves, controls below the others.
fn draw_all(scene: &mut Scene, mut dressed: Vec<(&Curve, Key)>, x: &Placed, y: &Placed) {
    const RIBBON_OPACITY: f64 = 0.17;
    dressed.sort_by_key(|(_, key)| !key.control);
    let cut: Vec<_> = dressed.into_iter().map(|(curve, key)| (runs(curve), key)).collect();
    for (runs, key) in &cut {
        for run in runs {
            draw_ribbon(scene, run, x, y, Paint { ink: key.ink, opacity: RIBBON_OPACITY });
        }
    }
    for (runs, key) in &cut {
        draw_curve(scene, runs, *key, x, y);
    }
}

impl Figure for CurveChart {
    fn title(&self) -> &str {
        &self.title
    }

    fn describe(&self) -> String {
        let mut text = format!("Curves of {} against {}.", self.y.label, self.x.label);
        for curve in &self.curves {
            let (low, high) = extent(curve.points.iter().map(|p| p.y));
            if low.is_finite() {
                let (low, high) = (format_number(low, 2), format_number(high, 2));
                text += &format!(" {}: {low} to {high}.", curve.name);
            }
        }
        text
    }

    fn csv(&self) -> String {
        let mut out = csv_line(["series", &self.x.label, &self.y.label, "low", "high", "control"]);
        for curve in &self.curves {
            for point in &curve.points {
                let (low, high) = point.interval.unwrap_or((f64::NAN, f64::NAN));
                let [x, y, low, high] = [point.x, point.y, low, high].map(csv_number);
                out += &csv_line([&curve.name, &x, &y, &low, &high, &curve.control.to_string()]);
            }
        }
        out
    }

    fn scene(&self, width: f64) -> Result<Scene, FigureError> {
        let mut scene = Scene::new(width);
        let mut top = parts::title(&mut scene, &self.title);
        if !self.y_values().any(f64::is_finite) || self.curves.is_empty() {
            scene.height = parts::nothing(&mut scene, top, "nothing was measured");
            return Ok(scene);
        }
        let mut keys = parts::dress(self.curves.iter().map(|c| (c.name.as_str(), c.control)));
        let dressed: Vec<(&Curve, Key)> = self.curves.iter().zip(keys.iter().copied()).collect();
        keys.sort_by_key(|key| key.control);
        top =
            parts::legend(&mut scene, &keys, self.reference.as_ref(), top) + theme::LABEL * LEADING;
        let name = theme::fit(&self.y.label, theme::LABEL, width - 2.0 * EDGE);
        scene.text(EDGE, top, &name, theme::LABEL, Anchor::Start, Ink::Text);
        top += GAP;
        let height = (width * PLOT_SHARE).clamp(PLOT_HEIGHTS.0, PLOT_HEIGHTS.1);
        let y = Placed::new(&self.y, self.y_values(), (top + height, top), 5, true);
        let left = EDGE + parts::widest(y.ticks.iter().map(|&v| y.text(v))) + 8.0;
        let plot = Frame { x: left, y: top, width: width - left - 14.0, height };
        let x_values = self.curves.iter().flat_map(|c| &c.points).map(|p| p.x);
        let count = (plot.width / parts::TICK_ROOM) as usize;
        let x = Placed::new(&self.x, x_values, (plot.x, plot.right()), count, false);
        Self::y_grid(&mut scene, &plot, &y);
        if let Some(reference) = &self.reference {
            parts::reference(&mut scene, &plot, &y, reference.value, false);
        }
        draw_all(&mut scene, dressed, &x, &y);
        scene.height = parts::x_axis(&mut scene, &plot, &x, &self.x);
        Ok(scene)
    }
}
