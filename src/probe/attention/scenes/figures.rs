//! The figures of many scenes.

use ndarray::Array2;

use super::ranking::of_all_words;
use super::{BACKGROUND, OTHER, OWN, UNTRAINED};
use crate::figure::{Axis, ColorMap, Curve, CurveChart, CurvePoint, Figure, HeatMap, Reference};
use crate::probe::attention::figures::short_site;
use crate::probe::attention::score::OTHER_IMAGES;
use crate::table::{AttentionScoreRow, LeakageRow};

/// AUROC and share of a map that knows nothing.
pub(super) const CHANCE: f64 = 0.5;

/// A figure and its file name without ending.
pub type NamedFigure = (&'static str, Box<dyn Figure>);

/// All figures.
pub fn figures(scores: &[AttentionScoreRow], leakage: &[LeakageRow]) -> Vec<NamedFigure> {
    vec![
        ("sites-by-timestep", Box::new(by_place(scores, false))),
        ("heads-by-timestep", Box::new(by_place(scores, true))),
        ("score-by-timestep", Box::new(score_by_timestep(scores))),
        ("leakage", Box::new(matrix(leakage))),
        ("binding-by-timestep", Box::new(binding_by_timestep(leakage))),
    ]
}

/// AUROC of every site, or every head, at every timestep.
fn by_place(scores: &[AttentionScoreRow], heads: bool) -> HeatMap {
    let wanted = |row: &&AttentionScoreRow| {
        of_all_words(row)
            && row.control.is_none()
            && row.timestep.is_some()
            && row.site.is_some()
            && row.head.is_some() == heads
    };
    let rows: Vec<&AttentionScoreRow> = scores.iter().filter(wanted).collect();
    // The table is in the order of the U-Net.
    let mut places: Vec<(&str, Option<u32>)> = Vec::new();
    for row in &rows {
        let place = (row.site.as_deref().unwrap_or_default(), row.head);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    // Likewise in the order in which they were shown.
    let mut timesteps: Vec<f64> = Vec::new();
    for timestep in rows.iter().filter_map(|row| row.timestep) {
        if !timesteps.contains(&timestep) {
            timesteps.push(timestep);
        }
    }
    let value = |(place, step): (usize, usize)| {
        let here = |row: &&&AttentionScoreRow| {
            (row.site.as_deref().unwrap_or_default(), row.head) == places[place]
                && row.timestep == Some(timesteps[step])
        };
        rows.iter().find(here).map_or(f64::NAN, |row| row.auroc)
    };
    let label = |(site, head): &(&str, Option<u32>)| match head {
        Some(head) => format!("{} head {head}", short_site(site)),
        None => short_site(site),
    };
    HeatMap {
        title: format!("Which {} carry it, and when", if heads { "heads" } else { "sites" }),
        row_axis: if heads { "head" } else { "site" }.to_owned(),
        column_axis: "timestep (noise → image)".to_owned(),
        rows: places.iter().map(label).collect(),
        values: Array2::from_shape_fn((places.len(), timesteps.len()), value),
        columns: timesteps.iter().map(|t| format!("{t:.0}")).collect(),
        quantity: "AUROC (0.5 is chance)".to_owned(),
        range: None,
        colors: ColorMap::default(),
        ordered_columns: true,
    }
}

/// AUROC of each role against the timestep, with the controls; all sites.
fn score_by_timestep(scores: &[AttentionScoreRow]) -> CurveChart {
    let curve = |name: &str, role: Option<&str>, control: Option<&str>| {
        let wanted = |row: &&AttentionScoreRow| {
            row.site.is_none()
                && row.word.is_none()
                && row.role.as_deref() == role
                && row.control.as_deref() == control
        };
        let point = |row: &AttentionScoreRow| {
            let interval = row.auroc_low.zip(row.auroc_high);
            Some(CurvePoint { x: row.timestep?, y: row.auroc, interval })
        };
        let points = scores.iter().filter(wanted).filter_map(point).collect();
        Curve { name: name.to_owned(), points, control: control.is_some() }
    };
    let mut curves: Vec<Curve> =
        roles(scores).into_iter().map(|role| curve(role, Some(role), None)).collect();
    curves.push(curve("random weights (control)", None, Some(UNTRAINED)));
    curves.push(curve("another scene (control)", None, Some(OTHER_IMAGES)));
    CurveChart {
        title: "From which timestep on do words find their objects?".to_owned(),
        x: Axis::new("timestep (noise → image)").reversed(),
        y: Axis::new("AUROC"),
        curves,
        reference: Some(Reference { value: CHANCE, label: "chance".to_owned() }),
    }
}

/// The roles that words have, by name.
pub(super) fn roles(scores: &[AttentionScoreRow]) -> Vec<&str> {
    let roles: std::collections::BTreeSet<&str> =
        scores.iter().filter_map(|row| row.role.as_deref()).collect();
    roles.into_iter().collect()
}

/// Roles × own object, other object, background.
fn matrix(leakage: &[LeakageRow]) -> HeatMap {
    let columns = [OWN, OTHER, BACKGROUND];
    let of_all = |row: &&LeakageRow| row.control.is_none() && row.timestep.is_none();
    let roles: std::collections::BTreeSet<&str> =
        leakage.iter().filter(of_all).map(|row| row.role.as_str()).collect();
    let roles: Vec<&str> = roles.into_iter().collect();
    let value = |(role, column): (usize, usize)| {
        let here = |row: &&LeakageRow| row.role == roles[role] && row.relation == columns[column];
        leakage.iter().filter(of_all).find(here).map_or(f64::NAN, |row| row.mass_ratio)
    };
    HeatMap {
        title: "How much of a word's attention lies where".to_owned(),
        row_axis: "role of the word".to_owned(),
        column_axis: "region".to_owned(),
        values: Array2::from_shape_fn((roles.len(), columns.len()), value),
        rows: roles.into_iter().map(str::to_owned).collect(),
        columns: ["own object", "other object", "background"].map(str::to_owned).to_vec(),
        quantity: "share of mass over share of area (1 is chance)".to_owned(),
        range: None,
        colors: ColorMap::default(),
        ordered_columns: false,
    }
}

/// How often words lie more on their own object, against the timestep.
fn binding_by_timestep(leakage: &[LeakageRow]) -> CurveChart {
    let curve = |name: &str, role: &str, control: Option<&str>| {
        let wanted = |row: &&LeakageRow| {
            row.role == role && row.relation == OTHER && row.control.as_deref() == control
        };
        let point = |row: &LeakageRow| {
            let interval = row.binds_low.zip(row.binds_high);
            Some(CurvePoint { x: row.timestep?, y: row.binds?, interval })
        };
        let points = leakage.iter().filter(wanted).filter_map(point).collect();
        Curve { name: name.to_owned(), points, control: control.is_some() }
    };
    CurveChart {
        title: "From which timestep on do words bind?".to_owned(),
        x: Axis::new("timestep (noise → image)").reversed(),
        y: Axis::new("share on the own object"),
        curves: vec![
            curve("adjectives", super::ADJECTIVE, None),
            curve("nouns", "shape", None),
            curve("adjectives, random weights (control)", super::ADJECTIVE, Some(UNTRAINED)),
            curve("adjectives, another scene (control)", super::ADJECTIVE, Some(OTHER_IMAGES)),
        ],
        reference: Some(Reference { value: CHANCE, label: "chance".to_owned() }),
    }
}
