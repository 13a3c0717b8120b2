//! Atoms: the smallest things a caption says that can be right or wrong in an image.

use std::fmt;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::seen::Seen;

/// How strictly "left of" and its kin are read. With `along` the distance of the two centres
/// in the relation's direction and `across` the distance square to it, both as fractions of
/// the image width:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// `along > MARGIN` and `along > |across|`: on the correct side, and more so than to any
    /// other side. At most one of the four relations holds.
    Strict,
    /// `along > MARGIN`: on the correct side. A diagonal satisfies two relations.
    Loose,
}

/// Least distance along a relation's axis, as a fraction of the image width, for either
/// [`Rule`]: about one pixel in 64, below which the order of two centres means nothing.
pub const MARGIN: f32 = 0.02;

/// One thing that a caption says. `phrase` is an index into
/// [`Expectations::objects`](crate::world::Expectations::objects), `relation` one into
/// [`Expectations::relations`](crate::world::Expectations::relations).
///
/// Colour, shape, binding and relation are scored separately: a generator that has the right
/// colours on the wrong shapes passes `Shape` and `Colour` and fails `Binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Atom {
    /// Everything the phrase says is true of one object of its own (of `count` objects).
    Object {
        /// The phrase.
        phrase: usize,
    },
    /// Enough objects have the phrase's shape, whatever their colours.
    Shape {
        /// The phrase.
        phrase: usize,
    },
    /// Enough objects have the phrase's colour, whatever their shapes.
    Colour {
        /// The phrase.
        phrase: usize,
    },
    /// The phrase's shape and colour are on the same object (on `count` objects).
    Binding {
        /// The phrase.
        phrase: usize,
    },
    /// The phrase's object has the size.
    Size {
        /// The phrase.
        phrase: usize,
    },
    /// The phrase's object has the finish.
    Finish {
        /// The phrase.
        phrase: usize,
    },
    /// Exactly as many objects match the phrase as its number says.
    Count {
        /// The phrase.
        phrase: usize,
    },
    /// Exactly as many objects are in the image as the caption names: none is extra.
    Total,
    /// Two objects that match the phrases lie so.
    Relation {
        /// The relation.
        relation: usize,
        /// How strictly it is read.
        rule: Rule,
    },
    /// The background's colour.
    Background,
    /// Where the light comes from.
    Light,
    /// The letters of the written word, all of them and no others.
    Word,
    /// The colour of the letters.
    LetterColour,
    /// The number of raised fingers.
    Fingers,
}

impl Atom {
    /// The kind, to group scores by: "shape", "relation_strict".
    pub fn kind(self) -> &'static str {
        match self {
            Atom::Object { .. } => "object",
            Atom::Shape { .. } => "shape",
            Atom::Colour { .. } => "colour",
            Atom::Binding { .. } => "binding",
            Atom::Size { .. } => "size",
            Atom::Finish { .. } => "finish",
            Atom::Count { .. } => "count",
            Atom::Total => "total",
            Atom::Relation { rule: Rule::Strict, .. } => "relation_strict",
            Atom::Relation { rule: Rule::Loose, .. } => "relation_loose",
            Atom::Background => "background",
            Atom::Light => "light",
            Atom::Word => "word",
            Atom::LetterColour => "letter_colour",
            Atom::Fingers => "fingers",
        }
    }

    /// All kinds, in the order of tables.
    pub const KINDS: [&'static str; 15] = [
        "object",
        "shape",
        "colour",
        "binding",
        "size",
        "finish",
        "count",
        "total",
        "relation_strict",
        "relation_loose",
        "background",
        "light",
        "word",
        "letter_colour",
        "fingers",
    ];
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Object { phrase }
            | Atom::Shape { phrase }
            | Atom::Colour { phrase }
            | Atom::Binding { phrase }
            | Atom::Size { phrase }
            | Atom::Finish { phrase }
            | Atom::Count { phrase } => write!(f, "{}[{phrase}]", self.kind()),
            Atom::Relation { relation, .. } => write!(f, "{}[{relation}]", self.kind()),
            _ => f.write_str(self.kind()),
        }
    }
}

/// Whether one atom holds, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtomVerdict {
    /// What was asked.
    pub atom: Atom,
    /// Whether the image shows it.
    pub holds: bool,
    /// What the caption says: "red ball", "exactly 3 balls".
    pub expected: String,
    /// What the image shows instead, or also: "blue ball", "4 balls".
    pub found: String,
    /// One sentence with both.
    pub reason: String,
}

/// All atoms of one caption on one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// In the order: per phrase, total, relations, background, light, word, fingers.
    pub atoms: Vec<AtomVerdict>,
    /// For each phrase the object (index into `seen.objects`) that stands for it: the best one
    /// in the best assignment of all phrases; `None` when no object left over has its shape or
    /// its colour. The object need not match the phrase in full: see [`Atom::Object`].
    pub assignment: Vec<Option<usize>>,
    /// For each phrase all its objects: as many as its number asks for, where there are as many.
    pub groups: Vec<Vec<usize>>,
    /// Objects that stand for no phrase.
    pub extras: Vec<usize>,
    /// What was seen.
    pub seen: Seen,
}

impl Verdict {
    /// Whether everything holds that the caption says.
    pub fn holds(&self) -> bool {
        self.atoms.iter().all(|a| a.holds)
    }

    /// The atoms that do not hold.
    pub fn failures(&self) -> impl Iterator<Item = &AtomVerdict> {
        self.atoms.iter().filter(|a| !a.holds)
    }

    /// The pixels of a phrase's objects, \[height, width\]; `None` when it has none.
    pub fn mask(&self, phrase: usize) -> Option<Array2<bool>> {
        let (first, rest) = self.groups.get(phrase)?.split_first()?;
        let mut mask = self.seen.objects.get(*first)?.mask.clone();
        for &other in rest {
            let other = &self.seen.objects.get(other)?.mask;
            if other.dim() != mask.dim() {
                return None;
            }
            mask.zip_mut_with(other, |a, &b| *a |= b);
        }
        Some(mask)
    }
}
