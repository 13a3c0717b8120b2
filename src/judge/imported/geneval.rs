//! GenEval's rule (Ghosh, Hajishirzi & Schmidt 2023, arXiv 2310.11513; `evaluate_images.py` and
//! `summary_scores.py` of github.com/djghosh13/geneval, MIT).
//!
//! Where it is easily got wrong:
//!
//! - a detection counts above a score of 0.3, for the tag `counting` above 0.9, and at most 16
//!   of a class count; nothing suppresses overlapping boxes;
//! - of a class that is asked for, only the `count` surest objects are looked at: colour and
//!   position of the others do not matter, and more objects than asked for fail an image only
//!   where the prompt's metadata excludes them;
//! - the order of equal scores is the machine's in the script (its sort is not stable); here the
//!   later one comes first, which is what a plain insertion sort reversed gives;
//! - the arithmetic is f32, as the detector's arrays are, so a score that is 0.3 in f32 does not
//!   pass;
//! - a position holds by the share of the whole distance that is left along an axis after a
//!   tenth of both objects' sizes is taken off: a diagonal can satisfy two positions, and two
//!   objects that overlap much satisfy none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Detection, Ruling};

/// Name of this judge: GenEval's rule on boxes that were imported.
pub const NAME: &str = "geneval-rule/imported";

/// Least score of a detection.
const LEAST_SCORE: f32 = 0.3;
/// The same for prompts with the tag `counting`.
const LEAST_SCORE_COUNTING: f32 = 0.9;
/// Most objects of one class.
const MOST_OBJECTS: usize = 16;
/// Share of both objects' sizes that a distance must exceed.
const SIZE_SHARE: f32 = 0.1;
/// Distances below this, in pixels, are none.
const NO_DISTANCE: f32 = 1e-3;
/// Share of the whole distance that lies along an axis for a position to hold.
const AXIS_SHARE: f32 = 0.5;
/// The tag whose detections have to be surer.
const COUNTING: &str = "counting";

/// What one prompt asks for: a line of GenEval's `evaluation_metadata.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The task: `single_object`, `two_object`, `counting`, `colors`, `position`, `color_attr`.
    pub tag: String,
    /// What has to be there, all of it.
    #[serde(default)]
    pub include: Vec<Wanted>,
    /// What must not be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Unwanted>,
    /// The prompt.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
}

/// Objects that have to be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Their class.
    pub class: String,
    /// At least so many.
    pub count: usize,
    /// Their colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
    /// How they lie to the objects of an earlier entry of `include`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<(Position, usize)>,
}

/// Objects of which there must be fewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unwanted {
    /// Their class.
    pub class: String,
    /// Fewer than so many.
    pub count: usize,
}

/// How one object lies to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// Left of it.
    #[serde(rename = "left of")]
    LeftOf,
    /// Right of it.
    #[serde(rename = "right of")]
    RightOf,
    /// Above it.
    #[serde(rename = "above")]
    Above,
    /// Below it.
    #[serde(rename = "below")]
    Below,
}

impl Position {
    /// As prompts say it.
    pub fn name(self) -> &'static str {
        match self {
            Position::LeftOf => "left of",
            Position::RightOf => "right of",
            Position::Above => "above",
            Position::Below => "below",
        }
    }
}

/// Metadata that no detections could decide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Nothing is asked for.
    #[error("nothing is included or excluded; say what the image must show")]
    Empty,
    /// Zero objects.
    #[error("{class:?} is asked for 0 times; use `exclude` with count 1 for what must be absent")]
    NoObjects {
        /// The class.
        class: String,
    },
    /// A position to something that does not come before.
    #[error(
        "the position of {class:?} refers to entry {target} of `include`, but it is entry {at}; refer to one before it"
    )]
    Target {
        /// The class.
        class: String,
        /// Its place in `include`.
        at: usize,
        /// The place referred to.
        target: usize,
    },
}

impl Metadata {
    /// Whether the rule can be applied at all.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn check(&self) -> Result<(), MetadataError> {
        if self.include.is_empty() && self.exclude.is_empty() {
            return Err(MetadataError::Empty);
        }
        for (at, wanted) in self.include.iter().enumerate() {
            let class = wanted.class.clone();
            if wanted.count == 0 {
                return Err(MetadataError::NoObjects { class });
            }
            if let Some((_, target)) = wanted.position
                && target >= at
            {
                return Err(MetadataError::Target { class, at, target });
            }
        }
        match self.exclude.iter().find(|unwanted| unwanted.count == 0) {
            Some(unwanted) => Err(MetadataError::NoObjects { class: unwanted.class.clone() }),
            None => Ok(()),
        }
    }
}

/// Detections by class, the surest first: what the rule looks at.
pub type Kept<'a> = BTreeMap<&'a str, Vec<&'a Detection>>;

/// The detections that count, by class, surest first.
pub fn keep<'a>(detections: &'a [Detection], tag: &str) -> Kept<'a> {
    let least = if tag == COUNTING { LEAST_SCORE_COUNTING } else { LEAST_SCORE };
    let mut kept: Kept<'a> = BTreeMap::new();
    for detection in detections {
        kept.entry(detection.class.as_str()).or_default().push(detection);
    }
    for of_class in kept.values_mut() {
        of_class.sort_by(|a, b| (a.score as f32).total_cmp(&(b.score as f32)));
        of_class.reverse();
        of_class.retain(|detection| detection.score as f32 > least);
        of_class.truncate(MOST_OBJECTS);
    }
    kept.retain(|_, of_class| !of_class.is_empty());
    kept
}

/// Detections by class in the order given, none left out: for the `details` of GenEval's
/// `results.jsonl`, in which its script has sorted and left out already.
pub fn keep_as_they_are(detections: &[Detection]) -> Kept<'_> {
    let mut kept: Kept<'_> = BTreeMap::new();
    for detection in detections {
        kept.entry(detection.class.as_str()).or_default().push(detection);
    }
    kept
}

/// What became of one entry of `include`.
enum Group<'a> {
    Matched(Vec<&'a Detection>),
    /// It is not there, or not as asked.
    Missing,
    /// Its colour is not known.
    Undecided,
}

/// Applies the rule. [`Metadata::check`] first: a position to a later entry counts as missing.
pub fn judge(kept: &Kept<'_>, metadata: &Metadata) -> Ruling {
    let mut ruling = Ruling::default();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for wanted in &metadata.include {
        ruling.asked += 1;
        let group = include(kept, wanted, &groups, &mut ruling.reasons);
        ruling.held += u32::from(matches!(group, Group::Matched(_)));
        groups.push(group);
    }
    let mut failed = groups.iter().any(|group| matches!(group, Group::Missing));
    for unwanted in &metadata.exclude {
        ruling.asked += 1;
        let found = kept.get(unwanted.class.as_str()).map_or(0, Vec::len);
        if found >= unwanted.count {
            failed = true;
            let (class, count) = (&unwanted.class, unwanted.count);
            ruling.reasons.push(format!("fewer than {count} {class} wanted, {found} found"));
        } else {
            ruling.held += 1;
        }
    }
    let undecided = groups.iter().any(|group| matches!(group, Group::Undecided));
    ruling.holds = if failed { Some(false) } else { (!undecided).then_some(true) };
    ruling
}

fn include<'a>(
    kept: &Kept<'a>,
    wanted: &Wanted,
    groups: &[Group<'a>],
    reasons: &mut Vec<String>,
) -> Group<'a> {
    let Wanted { class, count, color, position } = wanted;
    let found = kept.get(class.as_str()).map_or(&[][..], Vec::as_slice);
    let Some(found) = found.get(..*count) else {
        reasons.push(format!("{count} {class} wanted, {} found", found.len()));
        return Group::Missing;
    };
    if let Some(color) = color {
        let Some(colours) =
            found.iter().map(|object| object.colour.as_deref()).collect::<Option<Vec<_>>>()
        else {
            reasons.push(format!(
                "the colour of {class} is not among the detections; give each a `colour`"
            ));
            return Group::Undecided;
        };
        let right = colours.iter().filter(|found| *found == color).count();
        if right < *count {
            reasons.push(format!(
                "{count} {color} {class} wanted, the surest are {}",
                colours.join(", ")
            ));
            return Group::Missing;
        }
    }
    if let Some((position, target)) = position {
        let targets = match groups.get(*target) {
            Some(Group::Matched(targets)) => targets,
            Some(Group::Undecided) => return Group::Undecided,
            Some(Group::Missing) | None => {
                reasons.push(format!("nothing is there for {class} to be {}", position.name()));
                return Group::Missing;
            }
        };
        for object in found {
            for other in targets {
                let seen = positions(object, other);
                if !seen.contains(position) {
                    let names: Vec<&str> = seen.iter().map(|p| p.name()).collect();
                    let names =
                        if names.is_empty() { "nowhere near".into() } else { names.join(" and ") };
                    reasons.push(format!(
                        "{class} {} {} wanted, it is {names} it",
                        position.name(),
                        other.class
                    ));
                    return Group::Missing;
                }
            }
        }
    }
    Group::Matched(found.to_vec())
}

/// How one object lies to another: up to two positions.
pub fn positions(object: &Detection, other: &Detection) -> Vec<Position> {
    let axis = |low: usize, high: usize| {
        let narrow = |d: &Detection| (d.bounds[low] as f32, d.bounds[high] as f32);
        let ((a, b), (c, d)) = (narrow(object), narrow(other));
        let offset = (a + b) / 2.0 - (c + d) / 2.0;
        let sizes = (b - a).abs() + (d - c).abs();
        let left = (offset.abs() - SIZE_SHARE * sizes).max(0.0);
        (offset, if offset == 0.0 { 0.0 } else { left * offset.signum() })
    };
    let ((x, beyond_x), (y, beyond_y)) = (axis(0, 2), axis(1, 3));
    if beyond_x.abs() < NO_DISTANCE && beyond_y.abs() < NO_DISTANCE {
        return Vec::new();
    }
    let distance = (x * x + y * y).sqrt();
    let (x, y) = (beyond_x / distance, beyond_y / distance);
    let all = [
        (x < -AXIS_SHARE, Position::LeftOf),
        (x > AXIS_SHARE, Position::RightOf),
        (y < -AXIS_SHARE, Position::Above),
        (y > AXIS_SHARE, Position::Below),
    ];
    all.into_iter().filter_map(|(holds, position)| holds.then_some(position)).collect()
}

/// GenEval's summary of many images.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Images decided.
    pub images: usize,
    /// Share of them that are correct.
    pub correct_images: f64,
    /// Share of prompts with at least one correct image.
    pub correct_prompts: f64,
    /// Per tag, in the order in which tags first came: images, and the share that is correct.
    pub tasks: Vec<(String, usize, f64)>,
    /// The score: the plain mean over tags, however many images each has.
    pub overall: f64,
}

/// Summarises images: tag, prompt, and whether it is correct. `None` without images.
pub fn summarise<'a>(
    images: impl IntoIterator<Item = (&'a str, &'a str, bool)>,
) -> Option<Summary> {
    let mut tasks: Vec<(String, usize, usize)> = Vec::new();
    let mut prompts: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for (tag, prompt, correct) in images {
        *prompts.entry((tag, prompt)).or_default() |= correct;
        let at = tasks.iter().position(|(name, ..)| name == tag).unwrap_or_else(|| {
            tasks.push((tag.to_owned(), 0, 0));
            tasks.len() - 1
        });
        tasks[at].1 += 1;
        tasks[at].2 += usize::from(correct);
    }
    let images: usize = tasks.iter().map(|task| task.1).sum();
    if images == 0 {
        return None;
    }
    let right: usize = tasks.iter().map(|task| task.2).sum();
    let tasks: Vec<(String, usize, f64)> =
        tasks.into_iter().map(|(tag, of, right)| (tag, of, right as f64 / of as f64)).collect();
    Some(Summary {
        images,
        correct_images: right as f64 / images as f64,
        correct_prompts: prompts.values().filter(|any| **any).count() as f64 / prompts.len() as f64,
        overall: tasks.iter().map(|task| task.2).sum::<f64>() / tasks.len() as f64,
        tasks,
    })
}
