//! Figures of the embedding space.

use ndarray::Array2;

use super::captions::Change;
use super::layers::{FIRST_COLOUR, LATER_COLOUR, LAYERS, OTHER_COLOUR, OWN_COLOUR, RELATION};
use super::pairs::RETRIEVAL;
use super::path::{COMPOSED, INTERPOLATED, PATH, SHOWS_TO};
use super::similarity::ANALOGY;
use super::structure::{ADDITIVITY, ORDER};
use super::{RANDOM_DIRECTION, SHUFFLED_CAPTIONS, SHUFFLED_LABELS, UNTRAINED};
use crate::figure::{
    Axis, ColorMap, Curve, CurveChart, CurvePoint, DotChart, DotSeries, Figure, HeatMap, Reference,
};
use crate::table::{ClipRow, ClipSimilarityRow};

/// A figure and its file name without ending.
pub type NamedFigure = (&'static str, Box<dyn Figure>);

/// All figures that there are numbers for.
pub fn figures(rows: &[ClipRow], similarities: &[ClipSimilarityRow]) -> Vec<NamedFigure> {
    let of = |part: &str| rows.iter().any(|row| row.part == part);
    let mut all: Vec<NamedFigure> =
        vec![("similarity", Box::new(matrix(similarities)) as Box<dyn Figure>)];
    all.push((ANALOGY, Box::new(analogies(rows))));
    all.push((ADDITIVITY, Box::new(additivity(rows))));
    all.push((ORDER, Box::new(order(rows))));
    all.push((LAYERS, Box::new(readouts(rows))));
    all.push(("compound", Box::new(compound(rows))));
    if of(RETRIEVAL) {
        all.push((RETRIEVAL, Box::new(retrieval(rows))));
    }
    if of(PATH) {
        all.push((PATH, Box::new(path(rows))));
    }
    all
}

fn matrix(similarities: &[ClipSimilarityRow]) -> HeatMap {
    let measured = || similarities.iter().filter(|row| row.control.is_none());
    let mut captions: Vec<&str> = Vec::new();
    for row in measured() {
        if !captions.contains(&row.caption.as_str()) {
            captions.push(&row.caption);
        }
    }
    let place = |caption: &str| captions.iter().position(|other| *other == caption);
    let mut values = Array2::from_elem((captions.len(), captions.len()), f64::NAN);
    for row in measured() {
        if let (Some(a), Some(b)) = (place(&row.caption), place(&row.other)) {
            values[[a, b]] = row.cosine;
        }
    }
    let labels: Vec<String> = captions.iter().map(|caption| (*caption).to_owned()).collect();
    HeatMap {
        title: "How alike captions are".to_owned(),
        row_axis: "caption".to_owned(),
        column_axis: "caption".to_owned(),
        rows: labels.clone(),
        columns: labels,
        values,
        quantity: "cosine".to_owned(),
        range: None,
        colors: ColorMap::default(),
        ordered_columns: false,
    }
}

/// A dot with its interval.
type Dot = (f64, Option<(f64, f64)>);

fn dot(row: Option<&ClipRow>) -> Dot {
    row.map_or((f64::NAN, None), |row| (row.value, row.low.zip(row.high)))
}

/// A series of dots: the rows of a part and measure with these subjects, under a control.
fn series(
    rows: &[ClipRow],
    (part, measure): (&str, &str),
    subjects: &[String],
    (name, control): (&str, Option<&str>),
) -> Option<DotSeries> {
    let found = |subject: &String| {
        rows.iter().find(|row| {
            row.part == part
                && row.measure == measure
                && row.subject == *subject
                && row.control.as_deref() == control
        })
    };
    let values: Vec<Dot> = subjects.iter().map(|subject| dot(found(subject))).collect();
    let any = values.iter().any(|(value, _)| value.is_finite());
    any.then(|| DotSeries { name: name.to_owned(), values, control: control.is_some() })
}

/// The subjects of a part and measure, in the order of the table.
fn subjects(rows: &[ClipRow], part: &str, measure: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| row.part == part && row.measure == measure) {
        if !all.contains(&row.subject) {
            all.push(row.subject.clone());
        }
    }
    all
}

fn chance(rows: &[ClipRow], part: &str, measure: &str) -> Option<Reference> {
    let row = rows.iter().find(|row| row.part == part && row.measure == measure)?;
    Some(Reference { value: row.chance?, label: "chance".to_owned() })
}

const MEASURED: (&str, Option<&str>) = ("this encoder", None);
const RANDOM_WEIGHTS: (&str, Option<&str>) = ("random weights (control)", Some(UNTRAINED));
const OTHER_CAPTIONS: (&str, Option<&str>) =
    ("exchanged captions (control)", Some(SHUFFLED_CAPTIONS));

fn dots(
    rows: &[ClipRow],
    (part, measure): (&str, &str),
    (title, label): (&str, &str),
    (subjects, reference): (Vec<String>, Option<Reference>),
) -> DotChart {
    let all = [MEASURED, OTHER_CAPTIONS, RANDOM_WEIGHTS];
    let made = all.into_iter().filter_map(|of| series(rows, (part, measure), &subjects, of));
    DotChart {
        title: title.to_owned(),
        category_axis: String::new(),
        series: made.collect(),
        categories: subjects,
        value: Axis::new(label),
        reference,
    }
}

fn analogies(rows: &[ClipRow]) -> DotChart {
    let subjects = subjects(rows, ANALOGY, "accuracy");
    let reference = chance(rows, ANALOGY, "accuracy");
    let names = ("Analogies: the exchanged word's caption is nearest", "share of analogies");
    dots(rows, (ANALOGY, "accuracy"), names, (subjects, reference))
}

fn additivity(rows: &[ClipRow]) -> DotChart {
    let subjects = subjects(rows, ADDITIVITY, "r2");
    let names = ("How much of an embedding is a sum of parts", "R², captions held out");
    let reference = Some(Reference { value: 0.0, label: "the mean of all".to_owned() });
    dots(rows, (ADDITIVITY, "r2"), names, (subjects, reference))
}

fn order(rows: &[ClipRow]) -> DotChart {
    let subjects = Change::ALL.map(|change| change.name().to_owned()).to_vec();
    let names = ("How far an embedding moves with each change", "1 − cosine");
    dots(rows, (ORDER, "distance"), names, (subjects, None))
}

fn retrieval(rows: &[ClipRow]) -> DotChart {
    let subjects = subjects(rows, RETRIEVAL, "recall");
    dots(
        rows,
        (RETRIEVAL, "recall"),
        ("Captions and images find each other", "share found"),
        (subjects, None),
    )
}

/// A curve over layers.
fn over_layers(
    rows: &[ClipRow],
    name: &str,
    (measure, subject): (&str, &str),
    control: Option<&str>,
) -> Curve {
    let of_layers: Vec<&ClipRow> = rows
        .iter()
        .filter(|row| {
            row.part == LAYERS
                && row.measure == measure
                && row.subject == subject
                && row.control.as_deref() == control
        })
        .collect();
    let point = |(number, row): (usize, &&ClipRow)| CurvePoint {
        x: (number + 1) as f64,
        y: row.value,
        interval: row.low.zip(row.high),
    };
    Curve {
        name: name.to_owned(),
        points: of_layers.iter().enumerate().map(point).collect(),
        control: control.is_some(),
    }
}

const LAYER_AXIS: &str = "layer (the last is behind the final norm)";

fn readouts(rows: &[ClipRow]) -> CurveChart {
    let subjects = [OWN_COLOUR, OTHER_COLOUR, LATER_COLOUR, FIRST_COLOUR, RELATION];
    let mut curves: Vec<Curve> = subjects
        .iter()
        .map(|subject| over_layers(rows, subject, ("accuracy", subject), None))
        .collect();
    let name = "its colour, shuffled labels (control)";
    curves.push(over_layers(rows, name, ("accuracy", OWN_COLOUR), Some(SHUFFLED_LABELS)));
    let name = "its colour, random weights (control)";
    curves.push(over_layers(rows, name, ("accuracy", OWN_COLOUR), Some(UNTRAINED)));
    CurveChart {
        title: "What a linear readout finds in each layer".to_owned(),
        x: Axis::new(LAYER_AXIS),
        y: Axis::new("accuracy, captions held out"),
        curves,
        reference: chance(rows, LAYERS, "accuracy")
            .map(|reference| Reference { label: "chance, colours".to_owned(), ..reference }),
    }
}

fn compound(rows: &[ClipRow]) -> CurveChart {
    let cosine = "noun with and without colour";
    let mut curves = Vec::new();
    for (control, beside) in [(None, ""), (Some(UNTRAINED), ", random weights (control)")] {
        let named = |name: &str| format!("{name}{beside}");
        curves.push(over_layers(
            rows,
            &named("cosine of a noun with and without its colour"),
            ("cosine", cosine),
            control,
        ));
        for subject in ["noun: colour + shape", "end token: colour + shape"] {
            let name = named(&format!("R² of {subject}"));
            curves.push(over_layers(rows, &name, ("r2", subject), control));
        }
    }
    CurveChart {
        title: "Where the compound forms".to_owned(),
        x: Axis::new(LAYER_AXIS),
        y: Axis::new("cosine, or R² with captions held out"),
        curves,
        reference: None,
    }
}

fn path(rows: &[ClipRow]) -> CurveChart {
    let curve = |name: &str, kind: &str, made: &str, control: Option<&str>| {
        let subject = format!("{kind}, {made}: {SHOWS_TO}");
        let wanted = |row: &&ClipRow| {
            row.part == PATH && row.subject == subject && row.control.as_deref() == control
        };
        let point = |row: &ClipRow| {
            Some(CurvePoint { x: row.way?, y: row.value, interval: row.low.zip(row.high) })
        };
        let points = rows.iter().filter(wanted).filter_map(point).collect();
        Curve { name: name.to_owned(), points, control: control.is_some() }
    };
    let curves = [
        curve("another colour", "colour", INTERPOLATED, None),
        curve("another shape", "shape", INTERPOLATED, None),
        curve("another colour, composed", "colour", COMPOSED, None),
        curve("another shape, composed", "shape", COMPOSED, None),
        curve("random direction (control)", "colour", INTERPOLATED, Some(RANDOM_DIRECTION)),
    ];
    CurveChart {
        title: "Does the image follow the embedding?".to_owned(),
        x: Axis::new("share of the way to the second prompt"),
        y: Axis::new("share of images that show the second prompt"),
        curves: curves.into_iter().filter(|curve| !curve.points.is_empty()).collect(),
        reference: None,
    }
}
