//! The figures of a run.

use ndarray::Array2;

use super::answers::Attribute;
use super::bands::{BAND, NOISE, RENDERED, SAMPLED};
use super::features::UNTRAINED;
use super::masks::MASK;
use super::over_time::{CHANGE, COSINE, ENTROPY};
use super::report::TimestepsRun;
use super::summary::{PROBE, aspects, most_telling_site, read_at};
use super::switch::{self, SWITCH};
use super::trajectory::{self, X0};
use crate::figure::{
    Axis, ColorMap, Curve, CurveChart, CurvePoint, DotChart, DotSeries, Figure, HeatMap, Reference,
};
use crate::table::{AttentionOverTimeRow, BandAgreementRow};

/// A figure and its file name without ending.
pub type NamedFigure = (String, Box<dyn Figure>);

/// The axis of noise.
fn noise_axis() -> Axis {
    Axis::new("timestep (noise → image)").reversed()
}

/// All figures for which there are numbers.
pub fn figures(run: &TimestepsRun) -> Vec<NamedFigure> {
    let mut all: Vec<NamedFigure> = Vec::new();
    let mut add = |name: &str, figure: Box<dyn Figure>| all.push((name.to_owned(), figure));
    if !run.noise_levels.is_empty() {
        add("abstraction-by-noise", Box::new(abstraction(run)));
    }
    if !run.commitments.is_empty() {
        add("decided-by-timestep", Box::new(decided(run)));
    }
    for (source, title) in [
        (SAMPLED, "Which frequencies agree with the end, and when?"),
        (RENDERED, "Which frequencies are guessed from a noised scene?"),
    ] {
        if run.bands.iter().any(|row| row.source == source) {
            add(&format!("bands-{source}"), Box::new(bands(&run.bands, source, title)));
        }
    }
    if run.switches.iter().any(|row| row.counts) {
        add("prompt-switch", Box::new(switched(run)));
    }
    for (measure, title, label) in [
        (CHANGE, "How much attention's output changes from step to step", "relative change"),
        (ENTROPY, "How spread out cross-attention is over tokens", "entropy over ln(tokens)"),
        (COSINE, "How alike the predictions with and without the prompt are", "cosine"),
    ] {
        if run.over_time.iter().any(|row| row.measure == measure) {
            add(&format!("attention-{measure}"), Box::new(over_time(run, measure, title, label)));
        }
    }
    if !run.similarities.is_empty() {
        add("site-similarity", Box::new(similarity(run)));
    }
    if let Some(site) = most_telling_site(&run.probes.rows) {
        add("read-by-timestep", Box::new(read_by_timestep(run, site)));
        for attribute in ["x", "shape", "colour", "finish"] {
            add(&format!("read-{attribute}"), Box::new(read_by_site(run, attribute)));
        }
    }
    if run.probes.rows.iter().any(|row| row.attribute == MASK) {
        add(&format!("read-{MASK}"), Box::new(read_by_site(run, MASK)));
    }
    all
}

/// The summary: at which noise level each aspect is decided, by each way of asking.
fn abstraction(run: &TimestepsRun) -> DotChart {
    let categories = aspects(&run.noise_levels);
    let series = |(method, name): (&str, &str)| {
        let value = |aspect: &String| {
            let found =
                run.noise_levels.iter().find(|row| row.method == method && row.aspect == *aspect);
            let interval =
                |row: &crate::table::NoiseLevelRow| row.timestep_low.zip(row.timestep_high);
            found.map_or((f64::NAN, None), |row| (row.timestep, interval(row)))
        };
        DotSeries {
            name: name.to_owned(),
            values: categories.iter().map(value).collect(),
            control: method == NOISE,
        }
    };
    let asked = |(method, _): &(&str, &str)| run.noise_levels.iter().any(|r| r.method == *method);
    DotChart {
        title: "What is decided at which noise level?".to_owned(),
        category_axis: "from layout to texture".to_owned(),
        value: noise_axis(),
        series: [
            (X0, "the predicted image shows it from here on"),
            (SWITCH, "a new prompt changes half of the images until here"),
            (PROBE, "activations tell half of what they ever tell from here on"),
            (BAND, "the band agrees with the end from here on"),
            (NOISE, "noise alone lets the band through (null model)"),
        ]
        .into_iter()
        .filter(asked)
        .map(series)
        .collect(),
        categories,
        reference: None,
    }
}

/// The share of images in which each attribute is decided.
fn decided(run: &TimestepsRun) -> CurveChart {
    let curve = |(attribute, shares): (Attribute, Vec<f64>)| {
        let point = |(step, share): (usize, f64)| CurvePoint {
            x: run.levels.timesteps[step],
            y: share,
            interval: None,
        };
        Curve {
            name: attribute.name().to_owned(),
            points: shares.into_iter().enumerate().map(point).collect(),
            control: false,
        }
    };
    CurveChart {
        title: "From when on does the predicted image show what the last one shows?".to_owned(),
        x: noise_axis(),
        y: Axis::new("share of images").range(0.0, 1.0),
        curves: trajectory::shares(&run.commitments, &run.levels).into_iter().map(curve).collect(),
        reference: None,
    }
}

/// Coherence of each band, with what noise alone predicts.
fn bands(rows: &[BandAgreementRow], source: &str, title: &str) -> CurveChart {
    let own: Vec<&BandAgreementRow> = rows.iter().filter(|row| row.source == source).collect();
    let mut labels: Vec<&str> = Vec::new();
    for row in &own {
        if !labels.contains(&row.band.as_str()) {
            labels.push(&row.band);
        }
    }
    let of_band = |label: &&str| own.iter().filter(|row| row.band == *label).collect::<Vec<_>>();
    let measured = labels.iter().map(|label| Curve {
        name: format!("{label} cycles"),
        points: of_band(label)
            .iter()
            .map(|row| CurvePoint {
                x: row.timestep,
                y: row.coherence,
                interval: row.coherence_low.zip(row.coherence_high),
            })
            .collect(),
        control: false,
    });
    let predicted = labels.iter().map(|label| Curve {
        name: format!("{label}, noise alone"),
        points: of_band(label)
            .iter()
            .filter_map(|row| {
                Some(CurvePoint { x: row.timestep, y: row.predicted?, interval: None })
            })
            .collect(),
        control: true,
    });
    CurveChart {
        title: title.to_owned(),
        x: noise_axis(),
        y: Axis::new("coherence"),
        curves: measured.chain(predicted).collect(),
        reference: Some(Reference { value: super::bands::COHERENT, label: "decided".to_owned() }),
    }
}

/// The share of images that follow the second prompt, by attribute.
fn switched(run: &TimestepsRun) -> CurveChart {
    let curve = |attribute: Attribute| {
        let shares = switch::shares(&run.switches, attribute);
        // The first prompt throughout lies beyond the last timestep.
        let point = |at: switch::SwitchShare| CurvePoint {
            x: run.levels.timesteps.get(at.step as usize).copied().unwrap_or(0.0),
            y: at.share,
            interval: at.interval,
        };
        (!shares.is_empty()).then(|| Curve {
            name: attribute.name().to_owned(),
            points: shares.into_iter().map(point).collect(),
            control: false,
        })
    };
    CurveChart {
        title: "Until when does an image follow a new prompt?".to_owned(),
        x: Axis::new("timestep of the switch (noise → image)").reversed(),
        y: Axis::new("share that follows the new prompt").range(0.0, 1.0),
        curves: Attribute::ALL.into_iter().filter_map(curve).collect(),
        reference: Some(Reference { value: 0.5, label: "half".to_owned() }),
    }
}

/// A measure of attention: the mean over all sites of a kind, or the one curve that there is.
fn over_time(run: &TimestepsRun, measure: &str, title: &str, label: &str) -> CurveChart {
    let own: Vec<&AttentionOverTimeRow> =
        run.over_time.iter().filter(|row| row.measure == measure).collect();
    let kinds = [(".cross.", "cross-attention"), (".self.", "self-attention")];
    let mut curves: Vec<Curve> = kinds
        .into_iter()
        .map(|(part, name)| {
            let of_kind = |row: &&&AttentionOverTimeRow| {
                row.site.as_ref().is_some_and(|site| site.contains(part))
            };
            mean_curve(name, &own.iter().filter(of_kind).copied().collect::<Vec<_>>())
        })
        .collect();
    let without_site: Vec<&AttentionOverTimeRow> =
        own.iter().filter(|row| row.site.is_none()).copied().collect();
    curves.push(mean_curve(label, &without_site));
    curves.retain(|curve| !curve.points.is_empty());
    CurveChart {
        title: title.to_owned(),
        x: noise_axis(),
        y: Axis::new(label),
        curves,
        reference: None,
    }
}

/// The mean over sites at each step; the interval is that of the one site, if there is one alone.
fn mean_curve(name: &str, rows: &[&AttentionOverTimeRow]) -> Curve {
    let steps: std::collections::BTreeSet<u32> = rows.iter().map(|row| row.step).collect();
    let point = |step: u32| {
        let here: Vec<&&AttentionOverTimeRow> = rows.iter().filter(|r| r.step == step).collect();
        let interval = match here.as_slice() {
            [row] => row.low.zip(row.high),
            _ => None,
        };
        CurvePoint {
            x: here[0].timestep,
            y: here.iter().map(|row| row.value).sum::<f64>() / here.len() as f64,
            interval,
        }
    };
    Curve { name: name.to_owned(), points: steps.into_iter().map(point).collect(), control: false }
}

/// How alike each site is at each timestep to what it is at the last.
fn similarity(run: &TimestepsRun) -> HeatMap {
    let rows = &run.similarities;
    let sites = in_order(rows.iter().map(|row| row.site.as_str()));
    let last = rows.iter().map(|row| row.other_timestep).fold(f64::INFINITY, f64::min);
    let timesteps = descending(rows.iter().map(|row| row.timestep));
    let value = |(site, step): (usize, usize)| {
        let here = rows.iter().find(|row| {
            row.site == sites[site] && row.timestep == timesteps[step] && row.other_timestep == last
        });
        here.map_or(f64::NAN, |row| row.cka)
    };
    HeatMap {
        title: "How alike is each site to itself at the last timestep?".to_owned(),
        row_axis: "site".to_owned(),
        column_axis: "timestep (noise → image)".to_owned(),
        values: Array2::from_shape_fn((sites.len(), timesteps.len()), value),
        rows: sites.into_iter().map(str::to_owned).collect(),
        columns: timesteps.iter().map(|t| format!("{t:.0}")).collect(),
        quantity: "linear CKA".to_owned(),
        range: Some((0.0, 1.0)),
        colors: ColorMap::default(),
        ordered_columns: true,
    }
}

/// Selectivity of each aspect at the site that tells most.
fn read_by_timestep(run: &TimestepsRun, site: &str) -> CurveChart {
    let curve = |attribute: Attribute, control: Option<&str>| {
        let read = read_at(&run.probes.rows, site, attribute, control);
        let point = |at: &super::summary::Read| CurvePoint {
            x: at.timestep,
            y: at.selectivity[0],
            interval: Some((at.selectivity[1], at.selectivity[2])),
        };
        let name = attribute.name();
        (!read.is_empty()).then(|| Curve {
            name: match control {
                None => name.to_owned(),
                Some(_) => format!("{name}, random weights"),
            },
            points: read.iter().map(point).collect(),
            control: control.is_some(),
        })
    };
    let all = Attribute::ALL.into_iter();
    let controls = [Attribute::Layout, Attribute::Shape].into_iter();
    CurveChart {
        title: format!("What does {site} tell, and from when on?"),
        x: noise_axis(),
        y: Axis::new("selectivity (accuracy or R² beyond shuffled labels)"),
        curves: all
            .filter_map(|attribute| curve(attribute, None))
            .chain(controls.filter_map(|attribute| curve(attribute, Some(UNTRAINED))))
            .collect(),
        reference: Some(Reference { value: 0.0, label: "nothing".to_owned() }),
    }
}

/// Selectivity of one attribute at every site and timestep.
fn read_by_site(run: &TimestepsRun, attribute: &str) -> HeatMap {
    let rows: Vec<_> = run
        .probes
        .rows
        .iter()
        .filter(|row| {
            row.attribute == attribute && row.regression == "ridge" && row.control.is_none()
        })
        .collect();
    let sites = in_order(rows.iter().map(|row| row.site.as_str()));
    let timesteps = descending(rows.iter().map(|row| row.timestep));
    let value = |(site, step): (usize, usize)| {
        let here =
            rows.iter().find(|row| row.site == sites[site] && row.timestep == timesteps[step]);
        here.map_or(f64::NAN, |row| row.selectivity)
    };
    HeatMap {
        title: format!("Where and when is {attribute} told?"),
        row_axis: "site".to_owned(),
        column_axis: "timestep (noise → image)".to_owned(),
        values: Array2::from_shape_fn((sites.len(), timesteps.len()), value),
        rows: sites.into_iter().map(str::to_owned).collect(),
        columns: timesteps.iter().map(|t| format!("{t:.0}")).collect(),
        quantity: "selectivity".to_owned(),
        range: None,
        colors: ColorMap::default(),
        ordered_columns: true,
    }
}

/// Each once, in the order of their first appearance.
fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

fn descending(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_by(|a, b| b.total_cmp(a));
    all.dedup();
    all
}
