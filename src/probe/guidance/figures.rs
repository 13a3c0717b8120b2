//! Figures of a sweep.

use std::collections::BTreeMap;

use image::RgbImage;

use super::{Measure, OTHER_PROMPTS, RENDERS};
use crate::figure::{Axis, ContactSheet, Curve, CurveChart, CurvePoint, Figure, Reference};
use crate::table::{GuidanceRow, GuidanceSweepRow};

/// A figure with its file name and its caption.
pub(super) type Captioned = (&'static str, &'static str, Box<dyn Figure>);

const SCALE_AXIS: &str = "guidance scale s (γ = s − 1)";

/// Measures that share the axis from 0 to 1, and are good when high.
const TRADED: [Measure; 4] = [Measure::Atoms, Measure::Right, Measure::Vendi, Measure::Recall];
const LOOKS: [(&str, Measure); 4] = [
    ("saturation", Measure::Saturation),
    ("contrast", Measure::Contrast),
    ("clipped", Measure::Clipped),
    ("laplacian", Measure::Laplacian),
];
const DISTANCES: [(&str, Measure); 2] =
    [("frechet-clip", Measure::Frechet), ("kernel-clip", Measure::Kernel)];

/// The figures for which there are numbers.
pub(super) fn figures(rows: &[GuidanceSweepRow], parts: &[ScaledPart]) -> Vec<Captioned> {
    let mut all: Vec<Captioned> = Vec::new();
    if let Some(chart) = traded(rows) {
        all.push(("trade-off-by-scale", "What rises and what falls with the scale. Ribbons: 95 % intervals over prompts; broken line: the images held against other prompts.", Box::new(chart)));
    }
    if let Some(chart) = trade_off(rows) {
        all.push(("trade-off", "Each point is a scale, joined in the order of diversity: up and to the right is better in both. Ribbon: 95 % interval over prompts.", Box::new(chart)));
    }
    for (name, measure) in DISTANCES.into_iter().chain(LOOKS) {
        if let Some(chart) = by_scale(rows, measure) {
            all.push((name, "Ribbon: 95 % interval over prompts. Line: other rendered scenes of the same prompts.", Box::new(chart)));
        }
    }
    if !parts.is_empty() {
        all.push(("term-by-scale", "Mean over images and steps of the guidance term's parts, over the norm of the conditional prediction.", Box::new(term_by_scale(parts))));
        all.push((
            "term-by-timestep",
            "The same at each timestep, at the scale nearest to 5.",
            Box::new(term_by_timestep(parts)),
        ));
    }
    all
}

/// The measurements of one measure, by rising scale.
pub(super) fn of_measure<'a>(
    rows: &'a [GuidanceSweepRow],
    measure: Measure,
    control: Option<&'a str>,
) -> impl Iterator<Item = &'a GuidanceSweepRow> {
    rows.iter()
        .filter(move |row| row.measure == measure.name() && row.control.as_deref() == control)
}

fn interval(row: &GuidanceSweepRow) -> Option<(f64, f64)> {
    row.low.zip(row.high)
}

fn curve(rows: &[GuidanceSweepRow], measure: Measure, control: Option<&str>) -> Option<Curve> {
    let points: Vec<CurvePoint> = of_measure(rows, measure, control)
        .filter_map(|row| Some(CurvePoint { x: row.scale?, y: row.value, interval: interval(row) }))
        .collect();
    let name = match control {
        Some(control) => format!("{}, {}", measure.label(), control.replace('-', " ")),
        None => measure.label().to_owned(),
    };
    (!points.is_empty()).then_some(Curve { name, points, control: control.is_some() })
}

fn traded(rows: &[GuidanceSweepRow]) -> Option<CurveChart> {
    let mut curves: Vec<Curve> =
        TRADED.into_iter().filter_map(|measure| curve(rows, measure, None)).collect();
    if curves.is_empty() {
        return None;
    }
    curves.extend(curve(rows, Measure::Atoms, Some(OTHER_PROMPTS)));
    Some(CurveChart {
        title: "Alignment and diversity".to_owned(),
        x: Axis::new(SCALE_AXIS),
        y: Axis::new("share").range(0.0, 1.0),
        curves,
        reference: None,
    })
}

/// Alignment against diversity, one point a scale.
fn trade_off(rows: &[GuidanceSweepRow]) -> Option<CurveChart> {
    let aligned = alignment(rows)?;
    let points: Vec<CurvePoint> = of_measure(rows, aligned, None)
        .filter_map(|row| {
            let diverse = of_measure(rows, Measure::Vendi, None).find(|d| d.scale == row.scale)?;
            Some(CurvePoint { x: diverse.value, y: row.value, interval: interval(row) })
        })
        .collect();
    (points.len() > 1).then(|| CurveChart {
        title: "The trade-off".to_owned(),
        x: Axis::new(Measure::Vendi.label()),
        y: Axis::new(aligned.label()),
        curves: vec![Curve { name: "scales".to_owned(), points, control: false }],
        reference: None,
    })
}

/// The measure that says how well images follow prompts: the judge's where there is one.
pub(super) fn alignment(rows: &[GuidanceSweepRow]) -> Option<Measure> {
    [Measure::Atoms, Measure::ClipCosine]
        .into_iter()
        .find(|&measure| of_measure(rows, measure, None).next().is_some())
}

fn by_scale(rows: &[GuidanceSweepRow], measure: Measure) -> Option<CurveChart> {
    let own = curve(rows, measure, None)?;
    let reference = of_measure(rows, measure, Some(RENDERS))
        .next()
        .map(|row| Reference { value: row.value, label: "rendered scenes".to_owned() });
    Some(CurveChart {
        title: String::new(),
        x: Axis::new(SCALE_AXIS),
        y: Axis::new(measure.label()),
        curves: vec![own],
        reference,
    })
}

/// The guidance term γ(ε_c − ε_u) of one image at one step, over ‖ε_c‖.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScaledPart {
    /// Guidance scale.
    pub scale: f64,
    /// Number of the prompt.
    pub prompt: usize,
    /// Timestep.
    pub timestep: f64,
    /// Along ε_c, without its sign.
    pub parallel: f64,
    /// Across ε_c.
    pub orthogonal: f64,
}

impl ScaledPart {
    /// None where the conditional prediction is zero.
    pub(super) fn new(scale: f64, prompt: usize, row: &GuidanceRow) -> Option<Self> {
        let factor = (scale - 1.0).abs() / row.cond_norm;
        factor.is_finite().then_some(Self {
            scale,
            prompt,
            timestep: row.timestep,
            parallel: row.parallel.abs() * factor,
            orthogonal: row.orthogonal * factor,
        })
    }
}

/// Both parts' means, grouped by a number.
fn part_curves<'a>(
    parts: impl Iterator<Item = &'a ScaledPart>,
    along: impl Fn(&ScaledPart) -> f64,
) -> Vec<Curve> {
    // Keys in tenths of thousandths: floating numbers have no order of their own.
    let key = |x: f64| (x * 1e4).round() as i64;
    let mut sums: BTreeMap<i64, [f64; 3]> = BTreeMap::new();
    for part in parts {
        let sum = sums.entry(key(along(part))).or_default();
        for (sum, value) in sum.iter_mut().zip([part.parallel, part.orthogonal, 1.0]) {
            *sum += value;
        }
    }
    let curve = |name: &str, which: usize| Curve {
        name: name.to_owned(),
        points: sums
            .iter()
            .map(|(x, sum)| CurvePoint {
                x: *x as f64 / 1e4,
                y: sum[which] / sum[2],
                interval: None,
            })
            .collect(),
        control: false,
    };
    vec![curve("along ε_c", 0), curve("across ε_c", 1)]
}

const TERM_AXIS: &str = "‖part of γ(ε_c − ε_u)‖ over ‖ε_c‖";

fn term_by_scale(parts: &[ScaledPart]) -> CurveChart {
    CurveChart {
        title: "The guidance term".to_owned(),
        x: Axis::new(SCALE_AXIS),
        y: Axis::new(TERM_AXIS),
        curves: part_curves(parts.iter(), |part| part.scale),
        reference: None,
    }
}

fn term_by_timestep(parts: &[ScaledPart]) -> CurveChart {
    const USUAL: f64 = 5.0;
    let nearest = parts.iter().map(|part| part.scale).fold(f64::INFINITY, |best, scale| {
        if (scale - USUAL).abs() < (best - USUAL).abs() { scale } else { best }
    });
    let own = parts.iter().filter(|part| part.scale == nearest);
    CurveChart {
        title: format!("The guidance term at s = {nearest}"),
        x: Axis::new("timestep").reversed(),
        y: Axis::new(TERM_AXIS),
        curves: part_curves(own, |part| part.timestep),
        reference: None,
    }
}

/// Scales across, prompts and seeds down: `rows` are labels with an image for each scale.
pub fn contact_sheet(scales: &[f64], rows: Vec<(String, Vec<RgbImage>)>) -> ContactSheet {
    ContactSheet {
        title: "The same noise at every scale".to_owned(),
        column_axis: "guidance scale s".to_owned(),
        columns: scales.iter().map(|scale| format!("s = {scale}")).collect(),
        rows,
    }
}
