//! T2I-CompBench's two UniDet metrics (Huang et al. 2023, arXiv 2307.06350;
//! `UniDet_eval/2D_spatial_eval.py` and `numeracy_eval.py` of
//! github.com/Karine-Huang/T2I-CompBench, MIT).
//!
//! Where they are easily got wrong:
//!
//! - of each name the *first* detection counts, in the detector's order, not the surest;
//! - girl, boy, man and woman are `person`;
//! - "next to", "near" and "on side of" hold within 150 pixels along *one* axis, whatever the
//!   size of the image;
//! - "on top of" (without "the") is a position to the script but scores 0, like no position;
//! - a position is worth half, both scores a quarter each, and a total below a half becomes 0;
//! - counts are taken after boxes of one name that overlap or contain each other by more than
//!   0.9 are merged, with areas that count both border pixels; a name that is found nowhere
//!   renames every detection whose name contains it.

use serde::{Deserialize, Serialize};

use super::{Detection, Ruling};

/// Name of this judge: CompBench's rules on boxes that were imported.
pub const NAME: &str = "compbench-rule/imported";

/// Overlap from which a position loses score.
const OVERLAP: f64 = 0.1;
/// Pixels within which objects are near.
const NEAR_PIXELS: f64 = 150.0;
/// Least total that is not taken for nothing.
const LEAST_TOTAL: f64 = 0.5;
/// Overlap or containment from which boxes of one name are one object.
const SAME: f64 = 0.9;

/// A 2-D position as prompts say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Locality {
    /// Anywhere near.
    #[serde(rename = "on side of")]
    OnSideOf,
    /// Anywhere near.
    #[serde(rename = "next to")]
    NextTo,
    /// Anywhere near.
    #[serde(rename = "near")]
    Near,
    /// To the left.
    #[serde(rename = "on the left of")]
    Left,
    /// To the right.
    #[serde(rename = "on the right of")]
    Right,
    /// Below.
    #[serde(rename = "on the bottom of")]
    Bottom,
    /// Above.
    #[serde(rename = "on the top of")]
    Top,
    /// Known to the script, but never scored.
    #[serde(rename = "on top of")]
    OnTopOf,
}

/// What a prompt of the spatial set asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spatial {
    /// Name of the first object.
    pub subject: String,
    /// How it lies.
    pub relation: Locality,
    /// Name of the other.
    pub object: String,
}

/// Objects of one name, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Their name.
    pub name: String,
    /// How many.
    pub count: usize,
}

/// Score of the first box's place relative to the second, in \[0, 1\]. `None` where both boxes
/// are empty, for which the script has no answer.
pub fn position(locality: Locality, a: &Detection, b: &Detection) -> Option<f64> {
    let ((ax, ay), (bx, by)) = (a.centre(), b.centre());
    let (x, y) = (bx - ax, by - ay);
    let overlap = overlap(a.bounds, b.bounds)?;
    let along = |towards: bool, along: f64, across: f64| {
        let holds = towards && along.abs() > across.abs();
        match holds {
            true if overlap < OVERLAP => 1.0,
            true => OVERLAP / overlap,
            false => 0.0,
        }
    };
    Some(match locality {
        Locality::OnSideOf | Locality::NextTo | Locality::Near => {
            if x.abs() < NEAR_PIXELS || y.abs() < NEAR_PIXELS {
                1.0
            } else {
                NEAR_PIXELS / x.abs().max(y.abs())
            }
        }
        Locality::Right => along(x < 0.0, x, y),
        Locality::Left => along(x > 0.0, x, y),
        Locality::Bottom => along(y < 0.0, y, x),
        Locality::Top => along(y > 0.0, y, x),
        Locality::OnTopOf => 0.0,
    })
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> Option<f64> {
    let across = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let down = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let area = |b: [f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let union = area(a) + area(b) - across * down;
    (union != 0.0).then(|| across * down / union)
}

/// Applies the 2-D rule. An image holds when its score is not 0.
pub fn spatial(detections: &[Detection], asked: &Spatial) -> Ruling {
    let first = |name: &str| {
        let name = if is_person(name) { "person" } else { name };
        detections.iter().find(|detection| detection.class == name)
    };
    let found = (first(&asked.subject), first(&asked.object));
    let mut reasons = Vec::new();
    let quarter = |detection: Option<&Detection>| detection.map_or(0.0, |d| 0.25 * d.score);
    let total = match found {
        (Some(a), Some(b)) => match position(asked.relation, a, b) {
            Some(place) => quarter(Some(a)) + quarter(Some(b)) + place / 2.0,
            None => {
                let reason = "both boxes are empty, for which the rule has no answer".to_owned();
                return Ruling { asked: 3, held: 2, reasons: vec![reason], ..Ruling::default() };
            }
        },
        (Some(only), None) | (None, Some(only)) => quarter(Some(only)),
        (None, None) => 0.0,
    };
    for (there, name) in [(found.0, &asked.subject), (found.1, &asked.object)] {
        if there.is_none() {
            reasons.push(format!("no {name} found"));
        }
    }
    let score = if total < LEAST_TOTAL { 0.0 } else { total };
    if score == 0.0 && reasons.is_empty() {
        reasons.push(format!("both are there, but score and position come to {total:.3} only"));
    }
    let there = u32::from(found.0.is_some()) + u32::from(found.1.is_some());
    let held = there + u32::from(score > 0.0);
    Ruling { holds: Some(score > 0.0), score: Some(score), asked: 3, held, reasons }
}

fn is_person(name: &str) -> bool {
    matches!(name, "girl" | "boy" | "man" | "woman")
}

/// Applies the numeracy rule. An image holds when its score is full.
pub fn numeracy(detections: &[Detection], asked: &[Counted]) -> Ruling {
    let mut names: Vec<&str> = merged(detections).iter().map(|d| d.class.as_str()).collect();
    let mut ruling = Ruling::default();
    let (mut score, weight) = (0.0, 1.0 / asked.len() as f64);
    for Counted { name, count } in asked {
        let name = told_otherwise(name);
        if !names.contains(&name) {
            for other in names.iter_mut().filter(|other| other.contains(name)) {
                *other = name;
            }
        }
        let found = names.iter().filter(|other| **other == name).count();
        ruling.asked += 2;
        if found > 0 {
            score += 0.5 * weight;
            ruling.held += 1;
            if found == *count {
                score += 0.5 * weight;
                ruling.held += 1;
            }
        }
        if found != *count {
            ruling.reasons.push(format!("{count} {name} wanted, {found} found"));
        }
    }
    ruling.holds = (!asked.is_empty()).then_some(ruling.held == ruling.asked);
    ruling.score = (!asked.is_empty()).then_some(score);
    ruling
}

/// The names that the script puts in place of a prompt's.
fn told_otherwise(name: &str) -> &str {
    match name {
        name if is_person(name) => "person",
        "ship" => "boat",
        // So spelt in the script.
        "telivision" => "tv",
        "goldfish" => "fish",
        "painting" => "picture",
        other => other,
    }
}

/// The detections without those that are an earlier one of the same name again.
fn merged(detections: &[Detection]) -> Vec<&Detection> {
    let mut kept: Vec<&Detection> = Vec::new();
    for detection in detections {
        let again = |other: &&Detection| {
            other.class == detection.class && same(detection.bounds, other.bounds)
        };
        if !kept.iter().any(again) {
            kept.push(detection);
        }
    }
    kept
}

/// Whether two boxes are one object, with areas that count both border pixels.
fn same(a: [f64; 4], b: [f64; 4]) -> bool {
    let across = (a[2].min(b[2]) - a[0].max(b[0]) + 1.0).max(0.0);
    let down = (a[3].min(b[3]) - a[1].max(b[1]) + 1.0).max(0.0);
    let area = |b: [f64; 4]| (b[2] - b[0] + 1.0) * (b[3] - b[1] + 1.0);
    let shared = across * down;
    let union = area(a) + area(b) - shared;
    [union, area(a), area(b)].into_iter().any(|whole| shared / whole > SAME)
}
