//! VISOR's rule (Gokhale et al. 2022, arXiv 2212.10015; `visor.py` and
//! `text2image_realtime_evaluate.ipynb` of github.com/microsoft/VISOR, MIT).
//!
//! Where it is easily got wrong:
//!
//! - *any* pair of boxes whose centres satisfy the relation makes it hold, however unsure; equal
//!   coordinates satisfy nothing;
//! - the unconditional score is the conditional one times object accuracy;
//! - VISOR_n divides by all prompts in `visor.py`, but in the notebook only by the prompts of
//!   which some image shows both objects. Both are here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Detection, Ruling};

/// Name of this judge: VISOR's rule on boxes that were imported.
pub const NAME: &str = "visor-rule/imported";

/// Least score of a detection.
const LEAST_SCORE: f32 = 0.1;

/// The classes of COCO in the order in which SR2D pairs them.
const CLASSES: [&str; 80] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
];

/// A relation of SR2D.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Relation {
    /// Its centre is further left.
    #[serde(rename = "to the left of")]
    LeftOf,
    /// Its centre is further right.
    #[serde(rename = "to the right of")]
    RightOf,
    /// Its centre is higher.
    #[serde(rename = "above")]
    Above,
    /// Its centre is lower.
    #[serde(rename = "below")]
    Below,
}

impl Relation {
    /// All, in the order in which SR2D states them.
    pub const ALL: [Relation; 4] =
        [Relation::LeftOf, Relation::RightOf, Relation::Above, Relation::Below];

    /// As prompts say it.
    pub fn name(self) -> &'static str {
        match self {
            Relation::LeftOf => "to the left of",
            Relation::RightOf => "to the right of",
            Relation::Above => "above",
            Relation::Below => "below",
        }
    }

    /// Whether two centres lie so; equal coordinates do not.
    pub fn holds(self, a: (f64, f64), b: (f64, f64)) -> bool {
        match self {
            Relation::LeftOf => a.0 < b.0,
            Relation::RightOf => a.0 > b.0,
            Relation::Above => a.1 < b.1,
            Relation::Below => a.1 > b.1,
        }
    }
}

/// What a prompt of SR2D asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Class of the object named first.
    pub subject: String,
    /// How it lies to the other.
    pub relation: Relation,
    /// Class of the other.
    pub object: String,
}

/// What is in one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The subject is detected.
    pub subject: bool,
    /// The object is detected.
    pub object: bool,
    /// Some pair of them lies as asked.
    pub relation: bool,
}

impl Shown {
    /// Both objects are detected.
    pub fn both(self) -> bool {
        self.subject && self.object
    }

    /// The ruling on the image: right only with both objects in their relation.
    pub fn ruling(self, asked: &Asked) -> Ruling {
        let mut reasons = Vec::new();
        for (there, class) in [(self.subject, &asked.subject), (self.object, &asked.object)] {
            if !there {
                reasons.push(format!("no {class} found"));
            }
        }
        let relation = self.both() && self.relation;
        if self.both() && !relation {
            let Asked { subject, relation, object } = asked;
            reasons.push(format!("no {subject} lies {} a {object}", relation.name()));
        }
        let held = u32::from(self.subject) + u32::from(self.object) + u32::from(relation);
        Ruling { holds: Some(relation), score: None, asked: 3, held, reasons }
    }
}

/// Applies the rule to detections.
pub fn look(detections: &[Detection], asked: &Asked) -> Shown {
    let centres = |class: &str| -> Vec<(f64, f64)> {
        detections
            .iter()
            .filter(|d| d.class == class && d.score as f32 > LEAST_SCORE)
            .map(Detection::centre)
            .collect()
    };
    look_at_centres(&centres(&asked.subject), &centres(&asked.object), asked.relation)
}

/// Applies the rule to the centres of the subject's and the object's boxes.
pub fn look_at_centres(
    subjects: &[(f64, f64)],
    objects: &[(f64, f64)],
    relation: Relation,
) -> Shown {
    let pair = |a: &(f64, f64)| objects.iter().any(|b| relation.holds(*a, *b));
    Shown {
        subject: !subjects.is_empty(),
        object: !objects.is_empty(),
        relation: subjects.iter().any(pair),
    }
}

/// VISOR's scores, all as shares in \[0, 1\].
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Images.
    pub images: usize,
    /// Object accuracy: share of images with both objects.
    pub object_accuracy: f64,
    /// Share of images with both objects in which the relation holds; `None` without such.
    pub conditional: Option<f64>,
    /// Share of images with both objects in their relation.
    pub unconditional: f64,
    /// VISOR_1 to VISOR_4: share of all prompts with at least so many right images.
    pub at_least: [f64; 4],
    /// The same among prompts of which some image shows both objects, as the notebook divides;
    /// `None` without such.
    pub at_least_of_detected: Option<[f64; 4]>,
}

/// Scores many images, each with its prompt's id. `None` without images.
pub fn score<K: Ord>(images: impl IntoIterator<Item = (K, Shown)>) -> Option<Scores> {
    let (mut all, mut both, mut right) = (0_usize, 0_usize, 0_usize);
    // Right images, and whether any shows both objects.
    let mut prompts: BTreeMap<K, (usize, bool)> = BTreeMap::new();
    for (prompt, shown) in images {
        let holds = shown.both() && shown.relation;
        all += 1;
        both += usize::from(shown.both());
        right += usize::from(holds);
        let entry = prompts.entry(prompt).or_default();
        entry.0 += usize::from(holds);
        entry.1 |= shown.both();
    }
    if all == 0 {
        return None;
    }
    let share = |of: usize| {
        [1, 2, 3, 4].map(|n| prompts.values().filter(|p| p.0 >= n).count() as f64 / of as f64)
    };
    let detected = prompts.values().filter(|prompt| prompt.1).count();
    Some(Scores {
        images: all,
        object_accuracy: both as f64 / all as f64,
        conditional: (both > 0).then(|| right as f64 / both as f64),
        unconditional: right as f64 / all as f64,
        at_least: share(prompts.len()),
        at_least_of_detected: (detected > 0).then(|| share(detected)),
    })
}

/// A relational prompt of SR2D.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sr2dPrompt {
    /// `unique_id` in the published list of 31,680 prompts.
    pub id: u32,
    /// The prompt.
    pub text: String,
    /// What it asks for.
    pub asked: Asked,
}

/// The 25,280 relational prompts of SR2D: both orders of every pair of COCO classes in each of
/// four relations. Ids count the two prompts with "and" after each pair as well, which ask for no
/// relation and are left out.
pub fn sr2d() -> impl Iterator<Item = Sr2dPrompt> {
    const PER_PAIR: u32 = 10;
    let pairs = (0..CLASSES.len()).flat_map(|i| (i + 1..CLASSES.len()).map(move |j| (i, j)));
    pairs.zip(0_u32..).flat_map(|((i, j), pair)| {
        let (first, second) = (CLASSES[i], CLASSES[j]);
        let stated = Relation::ALL
            .into_iter()
            .flat_map(move |relation| [(first, relation, second), (second, relation, first)]);
        stated.zip(0_u32..).map(move |((a, relation, b), at)| Sr2dPrompt {
            id: pair * PER_PAIR + at,
            text: format!("{} {} {}", with_article(a), relation.name(), with_article(b)),
            asked: Asked { subject: a.to_owned(), relation, object: b.to_owned() },
        })
    })
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Numbers and ids from the published list: the paper's count of prompts, and id 1103 and
    /// 11036 in the repository's README.
    #[test]
    fn prompts_are_those_of_the_published_list() {
        let all: Vec<Sr2dPrompt> = sr2d().collect();
        assert_eq!(all.len(), 25_280);
        let text = |id| all.iter().find(|p| p.id == id).map(|p| p.text.clone());
        assert_eq!(text(1103).as_deref(), Some("a kite to the right of a bicycle"));
        assert_eq!(text(11036).as_deref(), Some("a cat below a bottle"));
    }
}
