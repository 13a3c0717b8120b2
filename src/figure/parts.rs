//! Parts that figures share: title, legend, colour bar, frames of axes.

use image::{Rgba, RgbaImage};

use super::axis::{Axis, Placed, Reference};
use super::{Anchor, ColorMap, Frame, Ink, Marker, Scene, Shape, Stroke, format_number, theme};

/// Room above and below a block, in pixels.
pub const GAP: f64 = 10.0;
/// Line distance over text size.
pub const LEADING: f64 = 1.3;
/// Room left free at the edges of a figure.
pub const EDGE: f64 = 1.0;

/// Writes the title at the top; returns the height used.
pub fn title(scene: &mut Scene, title: &str) -> f64 {
    const MOST_LINES: usize = 3;
    // The weight of the title makes it wider than measured.
    let lines = theme::wrap(title, theme::TITLE, (scene.width - 2.0 * EDGE) * 0.93, MOST_LINES);
    let mut y = 0.0;
    for line in &lines {
        y += theme::TITLE * LEADING;
        scene.shapes.push(Shape::Text {
            x: EDGE,
            y: y - 3.0,
            text: line.clone(),
            size: theme::TITLE,
            bold: true,
            anchor: Anchor::Start,
            ink: Ink::Text,
            turned: false,
        });
    }
    if lines.is_empty() { y } else { y + 6.0 }
}

/// Room for a number on a horizontal axis, in pixels.
pub const TICK_ROOM: f64 = 58.0;

/// Gives each series its look: measured ones take the palette in order, controls are grey.
pub fn dress<'a>(series: impl Iterator<Item = (&'a str, bool)>) -> Vec<Key<'a>> {
    let mut number = 0;
    series
        .map(|(name, control)| {
            if control {
                return Key { name, ink: Ink::Control, marker: Marker::Circle, control };
            }
            number += 1;
            let (ink, marker) = (Ink::Series(number - 1), Marker::of(number - 1));
            Key { name, ink, marker, control }
        })
        .collect()
}

/// The widest of some texts, in pixels at tick size, with room for other fonts.
pub fn widest<S: AsRef<str>>(texts: impl Iterator<Item = S>) -> f64 {
    const OTHER_FONTS: f64 = 1.05;
    texts.map(|t| theme::text_width(t.as_ref(), theme::TICK)).fold(0.0, f64::max) * OTHER_FONTS
}

/// How a series looks, and its name.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// Name.
    pub name: &'a str,
    /// Colour.
    pub ink: Ink,
    /// Shape of its points.
    pub marker: Marker,
    /// A control is drawn broken.
    pub control: bool,
}

/// Writes the legend from `y` down, the line to compare with last; returns the new y.
pub fn legend(scene: &mut Scene, keys: &[Key], line_at: Option<&Reference>, y: f64) -> f64 {
    const SAMPLE: f64 = 22.0;
    const BETWEEN: f64 = 18.0;
    let line = theme::LABEL * LEADING + 3.0;
    let most = scene.width - 2.0 * EDGE;
    let (mut x, mut y) = (EDGE, y + line);
    let last = line_at.map(|r| format!("{} ({})", r.label, format_number(r.value, 2)));
    let entries = keys.iter().map(|key| (key.name, Some(key)));
    for (name, key) in entries.chain(last.as_deref().map(|name| (name, None))) {
        let name = theme::fit(name, theme::LABEL, most - SAMPLE - 6.0);
        let width = SAMPLE + 6.0 + theme::text_width(&name, theme::LABEL) * 1.04;
        if x > EDGE && x + width > scene.width {
            (x, y) = (EDGE, y + line);
        }
        let middle = y - theme::LABEL * 0.36;
        let sample = vec![(x, middle), (x + SAMPLE, middle)];
        match key {
            Some(key) => {
                scene.line(sample, series_stroke(key.ink, key.control));
                point(scene, (x + SAMPLE / 2.0, middle), key.marker, key.ink, key.control);
            }
            None => scene.line(sample, reference_stroke()),
        }
        scene.text(x + SAMPLE + 6.0, y, &name, theme::LABEL, Anchor::Start, Ink::Text);
        x += width + BETWEEN;
    }
    y + 8.0
}

/// The line of a series.
pub fn series_stroke(ink: Ink, control: bool) -> Stroke {
    if control { Stroke::dashed(ink, 1.8, 6.0, 4.0) } else { Stroke::solid(ink, 2.2) }
}

/// A data point; controls are hollow.
pub fn point(scene: &mut Scene, (x, y): (f64, f64), marker: Marker, ink: Ink, control: bool) {
    const RADIUS: f64 = 4.0;
    scene.polygon(marker.polygon(x, y, RADIUS), ink);
    if control {
        scene.polygon(marker.polygon(x, y, RADIUS - 1.7), Ink::Paper);
    }
}

/// Says that there is nothing to show; returns the new y.
pub fn nothing(scene: &mut Scene, y: f64, what: &str) -> f64 {
    const HEIGHT: f64 = 72.0;
    let frame = Frame { x: EDGE, y, width: scene.width - 2.0 * EDGE, height: HEIGHT };
    scene.hatch(frame);
    let x = scene.width / 2.0;
    let half = theme::text_width(what, theme::LABEL) / 2.0 + 10.0;
    let back = Frame { x: x - half, y: y + 22.0, width: 2.0 * half, height: 28.0 };
    scene.rect(back, Ink::Paper);
    scene.text(x, y + 41.0, what, theme::LABEL, Anchor::Middle, Ink::Quiet);
    y + HEIGHT + GAP
}

/// A colour bar with its quantity and three numbers, from `y` down; returns the new y.
pub fn color_bar(scene: &mut Scene, bar: &ColorBar, y: f64) -> f64 {
    const MOST_WIDTH: f64 = 260.0;
    const HEIGHT: f64 = 11.0;
    let width = MOST_WIDTH.min(scene.width - 2.0 * EDGE - 16.0);
    let x = if bar.left + width + 16.0 > scene.width { EDGE + 8.0 } else { bar.left };
    let mut y = y;
    for line in theme::wrap(bar.label, theme::LABEL, scene.width - x, 2) {
        y += theme::LABEL * LEADING;
        scene.text(x, y - 3.0, &line, theme::LABEL, Anchor::Start, Ink::Text);
    }
    y += 4.0;
    let table = bar.colors.table();
    let strip = RgbaImage::from_fn(table.len() as u32, 1, |i, _| {
        let [r, g, b] = table[i as usize];
        Rgba([r, g, b, u8::MAX])
    });
    scene.image(Frame { x, y, width, height: HEIGHT }, strip, true);
    let ticks_y = y + HEIGHT + theme::TICK * 1.15;
    for (share, anchor) in [(0.0, Anchor::Start), (0.5, Anchor::Middle), (1.0, Anchor::End)] {
        let at = x + share * width;
        let text = bar.text(share);
        scene.line(vec![(at, y + HEIGHT), (at, y + HEIGHT + 3.0)], Stroke::solid(Ink::Quiet, 1.0));
        scene.text(at, ticks_y, &text, theme::TICK, anchor, Ink::Quiet);
    }
    if bar.missing {
        missing_key(scene, (x, width), y, HEIGHT);
    }
    ticks_y + 6.0
}

/// The sample of a missing value beside a colour bar, where there is room for it.
fn missing_key(scene: &mut Scene, (x, width): (f64, f64), y: f64, height: f64) {
    const NAME: &str = "no value";
    let left = x + width + 20.0;
    let room = left + 24.0 + theme::text_width(NAME, theme::TICK) < scene.width;
    let (left, y) = if room { (left, y) } else { (x + width - 90.0, y - height - 9.0) };
    scene.hatch(Frame { x: left, y, width: 18.0, height });
    scene.text(left + 24.0, y + height - 1.0, NAME, theme::TICK, Anchor::Start, Ink::Quiet);
}

/// What a colour bar says.
pub struct ColorBar<'a> {
    /// Quantity and unit.
    pub label: &'a str,
    /// Colours.
    pub colors: ColorMap,
    /// Values at its ends; None when each map has its own.
    pub range: Option<(f64, f64)>,
    /// Whether to explain the mark of a missing value.
    pub missing: bool,
    /// Left edge.
    pub left: f64,
}

impl ColorBar<'_> {
    /// The number, or the word, at a share of the way along.
    fn text(&self, share: f64) -> String {
        match self.range {
            Some((low, high)) => number_between(low + share * (high - low), low, high),
            None if share == 0.0 => "least".into(),
            None if share == 1.0 => "greatest".into(),
            None => String::new(),
        }
    }
}

/// A number of a scale, with the decimals that tell values of that scale apart.
fn number_between(value: f64, low: f64, high: f64) -> String {
    const DIGITS: i32 = 2;
    const MOST_DECIMALS: i32 = 5;
    let decimals = DIGITS - 1 - (high - low).abs().log10().floor() as i32;
    if !(0..=MOST_DECIMALS).contains(&decimals) || !(high - low).is_finite() {
        return format_number(value, DIGITS as usize + 1);
    }
    format!("{value:.*}", decimals as usize).replace('-', "−")
}

/// Draws the horizontal axis below a plot: ticks, numbers, name; returns the new y.
pub fn x_axis(scene: &mut Scene, plot: &Frame, placed: &Placed, axis: &Axis) -> f64 {
    let base = plot.bottom();
    scene.line(vec![(plot.x, base), (plot.right(), base)], Stroke::solid(Ink::Quiet, 1.0));
    let mut last_right = f64::NEG_INFINITY;
    let mut ticks: Vec<f64> = placed.ticks.clone();
    if axis.reversed {
        ticks.reverse();
    }
    for value in ticks {
        let x = placed.at(value);
        scene.line(vec![(x, base), (x, base + 4.0)], Stroke::solid(Ink::Quiet, 1.0));
        let text = placed.text(value);
        let half = theme::text_width(&text, theme::TICK) / 2.0;
        if x - half > last_right + 6.0 {
            let y = base + 5.0 + theme::TICK;
            scene.text(x, y, &text, theme::TICK, Anchor::Middle, Ink::Quiet);
            last_right = x + half;
        }
    }
    let mut y = base + 8.0 + theme::TICK;
    let middle = plot.x + plot.width / 2.0;
    let label_width = 2.0 * middle.min(scene.width - middle);
    for line in theme::wrap(&axis.label, theme::LABEL, label_width, 2) {
        y += theme::LABEL * LEADING;
        scene.text(middle, y, &line, theme::LABEL, Anchor::Middle, Ink::Text);
    }
    y + 8.0
}

/// The line of a value worth comparing with.
fn reference_stroke() -> Stroke {
    Stroke::dashed(Ink::Quiet, 1.4, 1.6, 3.0)
}

/// Draws the line of a value worth comparing with inside a plot; with `along_x`, the value is one
/// of the horizontal axis and the line is upright.
pub fn reference(scene: &mut Scene, plot: &Frame, placed: &Placed, value: f64, along_x: bool) {
    if !placed.holds(value) {
        return;
    }
    let at = placed.at(value);
    let points = if along_x {
        vec![(at, plot.y), (at, plot.bottom())]
    } else {
        vec![(plot.x, at), (plot.right(), at)]
    };
    scene.line(points, reference_stroke());
}
