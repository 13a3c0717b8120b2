//! Figures of what an autoencoder keeps.

use super::{EVERYTHING, OTHER_IMAGE, PSNR, RENDERED, UNTRAINED};
use crate::figure::{Axis, Curve, CurveChart, CurvePoint, DotChart, DotSeries, Figure, Reference};
use crate::judge::Atom;
use crate::table::{LatentBandRow, LatentSurvivalRow};

/// A figure with its file name and its caption.
pub(super) type Captioned = (&'static str, &'static str, Box<dyn Figure>);

/// A kind of change: its name, the file names of its two figures, its axis.
pub(super) struct Kind {
    pub name: &'static str,
    figures: [&'static str; 2],
    axis: &'static str,
    /// Fewer bits are the stronger change.
    pub reversed: bool,
}

pub(super) const KINDS: [Kind; 3] = [
    Kind {
        name: "quantised",
        figures: ["quantised", "quantised-psnr"],
        axis: "bits a number",
        reversed: true,
    },
    Kind {
        name: "blurred",
        figures: ["blurred", "blurred-psnr"],
        axis: "standard deviation of the blur, in latent cells",
        reversed: false,
    },
    Kind {
        name: "noised",
        figures: ["noised", "noised-psnr"],
        axis: "standard deviation of the noise (sampling starts from 1)",
        reversed: false,
    },
];

/// What is drawn against the strength of a change; the rest is in the table.
const SURVIVING: [&str; 7] =
    [EVERYTHING, "shape", "colour", "finish", "count", "relation_strict", "word"];

/// The figures for which there are numbers.
pub(super) fn figures(survival: &[LatentSurvivalRow], bands: &[LatentBandRow]) -> Vec<Captioned> {
    let mut all: Vec<Captioned> = Vec::new();
    if let Some(chart) = attributes(survival) {
        all.push((
            "attributes",
            "Share of images in which the judge finds it. Lines: 95 % Wilson intervals.",
            Box::new(chart),
        ));
    }
    if let Some(chart) = by_band(bands) {
        all.push((
            "bands",
            "Power of the error over power of the image, by radial frequency. Lines: 95 % bootstrap \
             intervals over images.",
            Box::new(chart),
        ));
    }
    for kind in &KINDS {
        if let Some(chart) = shares(survival, kind) {
            let caption = "Ribbons: 95 % Wilson intervals over images.";
            all.push((kind.figures[0], caption, Box::new(chart)));
        }
        if let Some(chart) = ratios(survival, kind) {
            let caption = "Ribbon: 95 % interval over images. Line: latents left alone.";
            all.push((kind.figures[1], caption, Box::new(chart)));
        }
    }
    all
}

/// The row of one measure under one change.
pub(super) fn row<'a>(
    rows: &'a [LatentSurvivalRow],
    (change, amount): (&str, f64),
    measure: &str,
    control: Option<&str>,
) -> Option<&'a LatentSurvivalRow> {
    rows.iter().find(|row| {
        row.change == change
            && row.amount == amount
            && row.measure == measure
            && row.control.as_deref() == control
    })
}

/// The changes of one kind, the weakest first.
pub(super) fn of_kind<'a>(
    rows: &'a [LatentSurvivalRow],
    kind: &Kind,
    measure: &str,
) -> Vec<&'a LatentSurvivalRow> {
    let own = |row: &&LatentSurvivalRow| row.change == kind.name && row.measure == measure;
    let mut rows: Vec<&LatentSurvivalRow> = rows.iter().filter(own).collect();
    rows.sort_by(|a, b| a.amount.total_cmp(&b.amount));
    if kind.reversed {
        rows.reverse();
    }
    rows
}

/// What captions ask for, in the order of tables.
pub(super) fn asked(rows: &[LatentSurvivalRow]) -> Vec<&'static str> {
    let known = |kind: &&str| row(rows, ("none", 0.0), kind, None).is_some();
    [EVERYTHING].into_iter().chain(Atom::KINDS).filter(|kind| known(kind)).collect()
}

fn attributes(rows: &[LatentSurvivalRow]) -> Option<DotChart> {
    let kinds = asked(rows);
    if kinds.is_empty() {
        return None;
    }
    let series = |name: &str, control: Option<&str>| DotSeries {
        name: name.to_owned(),
        values: kinds
            .iter()
            .map(|kind| match row(rows, ("none", 0.0), kind, control) {
                Some(row) => (row.value, row.low.zip(row.high)),
                None => (f64::NAN, None),
            })
            .collect(),
        control: control.is_some(),
    };
    Some(DotChart {
        title: "What the autoencoder keeps".to_owned(),
        category_axis: "attribute".to_owned(),
        categories: kinds.iter().map(|kind| kind.replace('_', " ")).collect(),
        value: Axis::new("share of images").range(0.0, 1.0),
        series: vec![
            series("after the autoencoder", None),
            series("the images themselves", Some(RENDERED)),
            series("random weights", Some(UNTRAINED)),
        ],
        reference: None,
    })
}

/// "0", "1", "3–4".
pub(super) fn band_label(row: &LatentBandRow) -> String {
    if row.from_frequency == row.to_frequency {
        row.from_frequency.to_string()
    } else {
        format!("{}–{}", row.from_frequency, row.to_frequency)
    }
}

fn by_band(rows: &[LatentBandRow]) -> Option<DotChart> {
    let of = |control: Option<&str>| -> Vec<&LatentBandRow> {
        let own = |row: &&LatentBandRow| row.change == "none" && row.control.as_deref() == control;
        rows.iter().filter(own).collect()
    };
    let own = of(None);
    let value =
        |row: &&LatentBandRow| (row.relative_error.unwrap_or(f64::NAN), row.low.zip(row.high));
    let series = |name: &str, control: Option<&str>| DotSeries {
        name: name.to_owned(),
        values: of(control).iter().map(value).collect(),
        control: control.is_some(),
    };
    let mut all = vec![series("after the autoencoder", None)];
    for (name, control) in [("another image", OTHER_IMAGE), ("random weights", UNTRAINED)] {
        all.push(series(name, Some(control)));
    }
    all.retain(|series| series.values.len() == own.len());
    (!own.is_empty()).then(|| DotChart {
        title: "What is lost at each frequency".to_owned(),
        category_axis: "cycles over the image".to_owned(),
        categories: own.iter().map(|row| band_label(row)).collect(),
        value: Axis::new("error over power"),
        series: all,
        reference: Some(Reference { value: 1.0, label: "all of the band's power".to_owned() }),
    })
}

fn points(rows: &[&LatentSurvivalRow]) -> Vec<CurvePoint> {
    let point = |row: &&LatentSurvivalRow| CurvePoint {
        x: row.amount,
        y: row.value,
        interval: row.low.zip(row.high),
    };
    rows.iter().map(point).collect()
}

fn axis(kind: &Kind) -> Axis {
    let axis = Axis::new(kind.axis);
    if kind.reversed { axis.reversed() } else { axis }
}

fn shares(rows: &[LatentSurvivalRow], kind: &Kind) -> Option<CurveChart> {
    let curve = |measure: &&str| {
        let points = points(&of_kind(rows, kind, measure));
        let name = measure.replace('_', " ");
        (!points.is_empty()).then_some(Curve { name, points, control: false })
    };
    let curves: Vec<Curve> = SURVIVING.iter().filter_map(curve).collect();
    (!curves.is_empty()).then(|| CurveChart {
        title: format!("What survives when latents are {}", kind.name),
        x: axis(kind),
        y: Axis::new("share of images").range(0.0, 1.0),
        curves,
        reference: None,
    })
}

fn ratios(rows: &[LatentSurvivalRow], kind: &Kind) -> Option<CurveChart> {
    let points = points(&of_kind(rows, kind, PSNR));
    let alone = row(rows, ("none", 0.0), PSNR, None);
    (!points.is_empty()).then(|| CurveChart {
        title: String::new(),
        x: axis(kind),
        y: Axis::new("PSNR to the image in dB"),
        curves: vec![Curve { name: PSNR.to_uppercase(), points, control: false }],
        reference: alone
            .map(|row| Reference { value: row.value, label: "autoencoder alone".to_owned() }),
    })
}
