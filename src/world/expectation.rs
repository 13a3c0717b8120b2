//! What a caption says: the expectations a judge can check, each with the words that say it.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::scene::{
    Background, Colour, Content, Finish, Light, Object, Relation, Scene, Shape, Size,
};

/// What a word of a caption contributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The noun of an object: "ball".
    Noun,
    /// A colour word (of an object or of letters).
    Colour,
    /// "small", "large".
    Size,
    /// "plain", "striped", "dotted".
    Finish,
    /// A number word or digit before a noun or "fingers".
    Count,
    /// A word of a relation: each of "to the left of".
    Relation,
    /// The background's colour word or the word "background".
    Background,
    /// A word that says where the light comes from.
    Light,
    /// The word that is to be written.
    Written,
    /// "word", "letters", "sign": says that something is written.
    Letters,
    /// "hand", "finger", "fingers".
    Hand,
}

/// One word of a caption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Position among the caption's words, from 0 (punctuation standing alone is not counted).
    pub index: usize,
    /// Bytes of the caption it covers, without punctuation around it.
    pub range: Range<usize>,
    /// What it contributes.
    pub role: Role,
}

/// An object the caption names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPhrase {
    /// How many; 1 unless a number says otherwise.
    pub count: u8,
    /// Whether a number was given: then exactly `count` are expected, else at least one.
    pub counted: bool,
    /// The solid.
    pub shape: Shape,
    /// Its colour, if mentioned.
    pub colour: Option<Colour>,
    /// Its size, if mentioned.
    pub size: Option<Size>,
    /// Its finish, if mentioned.
    pub finish: Option<Finish>,
    /// The words that speak of it, in caption order (articles left out).
    pub words: Vec<Word>,
}

impl ObjectPhrase {
    /// Whether an object has the shape and every attribute mentioned.
    pub fn matches(&self, object: &Object) -> bool {
        self.shape == object.shape
            && self.colour.is_none_or(|c| c == object.colour)
            && self.size.is_none_or(|s| s == object.size)
            && self.finish.is_none_or(|f| f == object.finish)
    }
}

impl fmt::Display for ObjectPhrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.counted {
            write!(f, "{} ", self.count)?;
        }
        if let Some(size) = self.size {
            write!(f, "{size} ")?;
        }
        if let Some(finish) = self.finish {
            write!(f, "{finish} ")?;
        }
        if let Some(colour) = self.colour {
            write!(f, "{colour} ")?;
        }
        f.write_str(if self.count == 1 { self.shape.name() } else { self.shape.plural() })
    }
}

/// A relation the caption states: `objects[subject] relation objects[object]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationPhrase {
    /// Index into [`Expectations::objects`] of what is placed.
    pub subject: usize,
    /// How it lies.
    pub relation: Relation,
    /// Index into [`Expectations::objects`] of what it is placed by.
    pub object: usize,
    /// The words of the relation: "to", "the", "left", "of".
    pub words: Vec<Word>,
}

/// The background the caption names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackgroundPhrase {
    /// Its colour.
    pub background: Background,
    /// The colour word and "background".
    pub words: Vec<Word>,
}

/// The light the caption names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LightPhrase {
    /// Where it comes from.
    pub light: Light,
    /// "lit", "from", "left".
    pub words: Vec<Word>,
}

/// The word to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenPhrase {
    /// One to six letters A–Z, upper case.
    pub text: String,
    /// Colour of the letters, if mentioned.
    pub colour: Option<Colour>,
    /// The words that speak of it.
    pub words: Vec<Word>,
}

/// The fingers to be raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FingersPhrase {
    /// 0 to 5.
    pub count: u8,
    /// "hand", the number, "fingers".
    pub words: Vec<Word>,
}

/// Everything a caption says about its image. What it does not mention is free.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectations {
    /// The objects, in caption order.
    pub objects: Vec<ObjectPhrase>,
    /// Relations between them.
    pub relations: Vec<RelationPhrase>,
    /// The background, if mentioned.
    pub background: Option<BackgroundPhrase>,
    /// The light, if mentioned.
    pub light: Option<LightPhrase>,
    /// The written word, if the caption asks for one.
    pub word: Option<WrittenPhrase>,
    /// The raised fingers, if the caption asks for a hand.
    pub fingers: Option<FingersPhrase>,
}

/// An expectation that a scene does not meet, with what the scene has instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Wrong number of matching objects.
    #[error("{phrase}: expected {expected}, the scene has {found}")]
    Objects {
        /// The phrase, written out.
        phrase: String,
        /// "at least 1" or "exactly 3".
        expected: String,
        /// Matching objects in the scene.
        found: usize,
    },
    /// No pair of matching objects lies so.
    #[error("no {subject} is {relation} a {object}")]
    Relation {
        /// The described object.
        subject: String,
        /// The relation.
        relation: Relation,
        /// The reference object.
        object: String,
    },
    /// Another background.
    #[error("expected a {expected} background, the scene has a {found} one")]
    Background {
        /// Named by the caption.
        expected: Background,
        /// In the scene.
        found: Background,
    },
    /// Another light.
    #[error("expected light from {expected}, the scene is lit from {found}")]
    Light {
        /// Named by the caption.
        expected: Light,
        /// In the scene.
        found: Light,
    },
    /// Another word, colour of letters, or none.
    #[error("expected the written word {expected}, the scene has {found}")]
    Word {
        /// The word asked for, with its colour if mentioned.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Another number of fingers, or no hand.
    #[error("expected a hand with {expected} fingers, the scene has {found}")]
    Fingers {
        /// Fingers asked for.
        expected: u8,
        /// What is there.
        found: String,
    },
}

impl Expectations {
    /// Whether all expectations hold on the scene graph.
    pub fn holds_in(&self, scene: &Scene) -> bool {
        self.mismatches(scene).is_empty()
    }

    /// The expectations that the scene does not meet; empty when all hold.
    ///
    /// Each object phrase needs at least one matching object (exactly `count` where a number
    /// was given), the uncounted phrases need different objects, and a relation needs two
    /// different matching objects that lie so ([`Relation::holds`]).
    pub fn mismatches(&self, scene: &Scene) -> Vec<Mismatch> {
        let mut out = self.object_mismatches(scene);
        out.extend(self.relations.iter().filter_map(|r| self.relation_mismatch(r, scene)));
        if let Some(p) = &self.background
            && p.background != scene.background
        {
            out.push(Mismatch::Background { expected: p.background, found: scene.background });
        }
        if let Some(p) = &self.light
            && p.light != scene.light
        {
            out.push(Mismatch::Light { expected: p.light, found: scene.light });
        }
        out.extend(self.word_mismatch(scene));
        out.extend(self.fingers_mismatch(scene));
        out
    }

    fn object_mismatches(&self, scene: &Scene) -> Vec<Mismatch> {
        let objects = scene.objects();
        self.objects
            .iter()
            .filter_map(|phrase| {
                let found = objects.iter().filter(|o| phrase.matches(o)).count();
                // "a red ball and a red ball" asks for two of them.
                let alike = self.objects.iter().filter(|p| !p.counted && p.same_as(phrase)).count();
                let (holds, expected) = if phrase.counted {
                    (found == usize::from(phrase.count), format!("exactly {}", phrase.count))
                } else {
                    (found >= alike, format!("at least {alike}"))
                };
                (!holds).then(|| Mismatch::Objects { phrase: phrase.to_string(), expected, found })
            })
            .collect()
    }

    fn relation_mismatch(&self, r: &RelationPhrase, scene: &Scene) -> Option<Mismatch> {
        let (subject, object) = (self.objects.get(r.subject)?, self.objects.get(r.object)?);
        let objects = scene.objects();
        let holds = objects.iter().enumerate().filter(|(_, a)| subject.matches(a)).any(|(i, a)| {
            objects.iter().enumerate().any(|(j, b)| {
                i != j && object.matches(b) && r.relation.holds(a.centre(), b.centre())
            })
        });
        (!holds).then(|| Mismatch::Relation {
            subject: subject.to_string(),
            relation: r.relation,
            object: object.to_string(),
        })
    }

    fn word_mismatch(&self, scene: &Scene) -> Option<Mismatch> {
        let phrase = self.word.as_ref()?;
        let found = match &scene.content {
            Content::Word(w)
                if w.text == phrase.text && phrase.colour.is_none_or(|c| c == w.colour) =>
            {
                return None;
            }
            Content::Word(w) => format!("{} in {}", w.text, w.colour),
            Content::Objects(_) | Content::Hand(_) => "none".into(),
        };
        let expected = match phrase.colour {
            Some(colour) => format!("{} in {colour}", phrase.text),
            None => phrase.text.clone(),
        };
        Some(Mismatch::Word { expected, found })
    }

    fn fingers_mismatch(&self, scene: &Scene) -> Option<Mismatch> {
        let phrase = self.fingers.as_ref()?;
        let found = match &scene.content {
            Content::Hand(h) if h.fingers == phrase.count => return None,
            Content::Hand(h) => format!("{}", h.fingers),
            Content::Objects(_) | Content::Word(_) => "no hand".into(),
        };
        Some(Mismatch::Fingers { expected: phrase.count, found })
    }
}

impl ObjectPhrase {
    fn same_as(&self, other: &ObjectPhrase) -> bool {
        (self.shape, self.colour, self.size, self.finish)
            == (other.shape, other.colour, other.size, other.finish)
    }
}
