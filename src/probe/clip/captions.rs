//! The captions that are asked about: all single objects, and pairs in a relation.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

use crate::world::{Colour, Relation, Shape};

/// An object with its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Single {
    /// Its colour.
    pub colour: Colour,
    /// What it is.
    pub shape: Shape,
}

impl Single {
    /// All of them, colour by colour.
    pub fn all() -> Vec<Self> {
        let of = |&colour: &Colour| Shape::ALL.iter().map(move |&shape| Self { colour, shape });
        Colour::ALL.iter().flat_map(of).collect()
    }

    /// "a red ball".
    pub fn caption(self) -> String {
        with_article(&format!("{} {}", self.colour, self.shape))
    }
}

/// "a ball", "an orange ball".
pub fn with_article(phrase: &str) -> String {
    let article = if phrase.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {phrase}")
}

/// Two objects in a relation, of different colours and shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Related {
    /// What is placed.
    pub subject: Single,
    /// How it lies.
    pub relation: Relation,
    /// What it is placed by.
    pub object: Single,
}

/// How a caption is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Other words for the relation: "to the left of". The same is meant.
    Paraphrase,
    /// Told from the other object: "a blue cube right of a red ball". The same is meant.
    Inverse,
    /// The objects change places: "a blue cube left of a red ball".
    Roles,
    /// They exchange colours: "a blue ball left of a red cube".
    Colours,
}

impl Change {
    /// All changes.
    pub const ALL: [Self; 4] = [Self::Paraphrase, Self::Inverse, Self::Roles, Self::Colours];

    /// As tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paraphrase => "paraphrase",
            Self::Inverse => "inverse",
            Self::Roles => "roles",
            Self::Colours => "colours",
        }
    }
}

impl Related {
    /// So many different ones, or all if there are fewer, drawn by the seed.
    pub fn drawn(count: usize, seed: u64) -> Vec<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let (mut drawn, mut taken) = (Vec::new(), BTreeSet::new());
        while drawn.len() < count.min(Self::possible()) {
            let one = Self::draw(&mut random);
            if one.subject.colour != one.object.colour
                && one.subject.shape != one.object.shape
                && taken.insert(one)
            {
                drawn.push(one);
            }
        }
        drawn
    }

    /// How many there are.
    pub fn possible() -> usize {
        let (colours, shapes) = (Colour::ALL.len(), Shape::ALL.len());
        colours * (colours - 1) * shapes * (shapes - 1) * Relation::ALL.len()
    }

    fn draw(random: &mut impl Rng) -> Self {
        let mut single = || Single {
            colour: *Colour::ALL.choose(random).unwrap_or(&Colour::Red),
            shape: *Shape::ALL.choose(random).unwrap_or(&Shape::Ball),
        };
        let (subject, object) = (single(), single());
        let relation = *Relation::ALL.choose(random).unwrap_or(&Relation::LeftOf);
        Self { subject, relation, object }
    }

    fn told(self, relation: &str) -> String {
        format!("{} {relation} {}", self.subject.caption(), self.object.caption())
    }

    /// "a red ball left of a blue cube".
    pub fn caption(self) -> String {
        self.told(self.relation.name())
    }

    /// The caption after a change.
    pub fn changed(self, change: Change) -> String {
        let Self { subject, relation, object } = self;
        match change {
            Change::Paraphrase => self.told(match relation {
                Relation::LeftOf => "to the left of",
                Relation::RightOf => "to the right of",
                Relation::Above => "over",
                Relation::Below => "under",
            }),
            Change::Inverse => {
                Self { subject: object, relation: relation.inverse(), object: subject }.caption()
            }
            Change::Roles => Self { subject: object, object: subject, ..self }.caption(),
            Change::Colours => Self {
                subject: Single { colour: object.colour, ..subject },
                object: Single { colour: subject.colour, ..object },
                relation,
            }
            .caption(),
        }
    }
}

/// All captions of a run.
#[derive(Clone, Debug)]
pub struct Captions {
    /// All single objects.
    pub singles: Vec<Single>,
    /// Pairs in a relation.
    pub related: Vec<Related>,
}

impl Captions {
    /// All single objects and `related` pairs drawn by the seed.
    pub fn new(related: usize, seed: u64) -> Self {
        Self { singles: Single::all(), related: Related::drawn(related, seed) }
    }

    /// Every text whose embedding is needed, each once.
    pub fn texts(&self) -> Vec<String> {
        let mut texts: BTreeSet<String> = self.singles.iter().map(|s| s.caption()).collect();
        texts.extend(Colour::ALL.iter().map(|colour| colour.name().to_owned()));
        texts.extend(Shape::ALL.iter().map(|shape| shape.name().to_owned()));
        for related in &self.related {
            texts.insert(related.caption());
            texts.extend(Change::ALL.map(|change| related.changed(change)));
        }
        texts.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Related, Single};
    use crate::world::{Colour, Relation, Shape, parse};

    #[test]
    fn changes_say_what_they_should() {
        let related = Related {
            subject: Single { colour: Colour::Red, shape: Shape::Ball },
            relation: Relation::LeftOf,
            object: Single { colour: Colour::Orange, shape: Shape::Cube },
        };
        assert_eq!(related.caption(), "a red ball left of an orange cube");
        let changed = |change| related.changed(change);
        assert_eq!(changed(Change::Paraphrase), "a red ball to the left of an orange cube");
        assert_eq!(changed(Change::Inverse), "an orange cube right of a red ball");
        assert_eq!(changed(Change::Roles), "an orange cube left of a red ball");
        assert_eq!(changed(Change::Colours), "an orange ball left of a red cube");
    }

    #[test]
    fn the_world_reads_them_all() {
        let drawn = Related::drawn(50, 1);
        assert_eq!(drawn.len(), 50);
        for related in drawn {
            let own = parse(&related.caption()).unwrap();
            assert_eq!((own.objects.len(), own.relations.len()), (2, 1));
            for change in Change::ALL {
                parse(&related.changed(change)).unwrap();
            }
        }
        assert_eq!(Related::drawn(usize::MAX, 0).len(), Related::possible());
    }
}
