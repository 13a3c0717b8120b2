//! Draws scenes with their captions.

use std::collections::BTreeMap;
use std::str::FromStr;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::caption;
use super::layout;
use super::parse::{MAX_FINGERS, MAX_LETTERS};
use super::scene::{
    Background, Colour, Content, Finish, Hand, Light, Object, Relation, SMALL_RADII, Scene, Shape,
    Size, WORD_ADVANCE, Written,
};
use super::splits::{self, Split};
use super::written::WORDS;

/// The kinds of scenes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// One object.
    OneObject,
    /// Two objects that differ in colour or shape, placed freely.
    TwoObjects,
    /// Two such objects in a stated relation.
    Relation,
    /// One to six alike objects and their number.
    Count,
    /// A written word.
    Word,
    /// A hand with zero to five raised fingers.
    Hand,
}

/// A word that names no category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no category; choose from {names}", names = Category::names().join(", "))]
pub struct UnknownCategory(String);

impl FromStr for Category {
    type Err = UnknownCategory;
    fn from_str(name: &str) -> Result<Category, UnknownCategory> {
        let found = Category::ALL.iter().copied().find(|c| c.name() == name);
        found.ok_or_else(|| UnknownCategory(name.to_owned()))
    }
}

impl Category {
    /// All categories.
    pub const ALL: &'static [Category] = &[
        Category::OneObject,
        Category::TwoObjects,
        Category::Relation,
        Category::Count,
        Category::Word,
        Category::Hand,
    ];

    fn names() -> Vec<&'static str> {
        Category::ALL.iter().map(|c| c.name()).collect()
    }

    /// The name used in specs, tables and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Category::OneObject => "one-object",
            Category::TwoObjects => "two-objects",
            Category::Relation => "relation",
            Category::Count => "count",
            Category::Word => "word",
            Category::Hand => "hand",
        }
    }

    /// Whether scenes of this category can lie in the cells of a split.
    const fn occurs_in(self, split: Split) -> bool {
        match split {
            Split::Train => true,
            Split::HeldOutPairs => !matches!(self, Category::Word | Category::Hand),
            Split::HeldOutTriples | Split::RoleSwaps => matches!(self, Category::Relation),
            Split::HeldOutCounts => matches!(self, Category::Count),
            Split::HeldOutWords => matches!(self, Category::Word),
        }
    }
}

/// How often each category is drawn. Weights need not sum to one; a category without one is
/// never drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<Category, f64>", into = "BTreeMap<Category, f64>")]
pub struct Mix(BTreeMap<Category, f64>);

/// Weights that make no mix.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum MixError {
    /// Negative, infinite or not a number.
    #[error("the weight of {} is {weight}; weights are finite and not negative", category.name())]
    Weight {
        /// Whose weight.
        category: Category,
        /// The weight given.
        weight: f64,
    },
    /// Nothing would ever be drawn.
    #[error("all weights are zero; give at least one category a positive weight")]
    Empty,
}

impl Mix {
    /// The mix that the built-in model is trained on.
    pub fn training() -> Mix {
        Mix(BTreeMap::from([
            (Category::OneObject, 0.30),
            (Category::TwoObjects, 0.25),
            (Category::Relation, 0.25),
            (Category::Count, 0.08),
            (Category::Word, 0.07),
            (Category::Hand, 0.05),
        ]))
    }

    /// A mix of these weights.
    ///
    /// # Errors
    /// [`MixError`] if a weight is negative or not finite, or all are zero.
    pub fn from_weights(
        weights: impl IntoIterator<Item = (Category, f64)>,
    ) -> Result<Mix, MixError> {
        let weights: BTreeMap<Category, f64> = weights.into_iter().collect();
        for (&category, &weight) in &weights {
            if !weight.is_finite() || weight < 0.0 {
                return Err(MixError::Weight { category, weight });
            }
        }
        if weights.values().all(|&w| w == 0.0) {
            return Err(MixError::Empty);
        }
        Ok(Mix(weights))
    }

    /// Nothing but one category.
    pub fn only(category: Category) -> Mix {
        Mix(BTreeMap::from([(category, 1.0)]))
    }

    /// The weight of a category.
    pub fn weight(&self, category: Category) -> f64 {
        self.0.get(&category).copied().unwrap_or(0.0)
    }
}

impl TryFrom<BTreeMap<Category, f64>> for Mix {
    type Error = MixError;
    fn try_from(weights: BTreeMap<Category, f64>) -> Result<Mix, MixError> {
        Mix::from_weights(weights)
    }
}

impl From<Mix> for BTreeMap<Category, f64> {
    fn from(mix: Mix) -> Self {
        mix.0
    }
}

/// A scene and the caption that describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its number in the generator's sequence.
    pub index: u64,
    /// What kind of scene.
    pub category: Category,
    /// A description of the scene; [`parse`](super::parse) reads it.
    pub caption: String,
    /// The scene.
    pub scene: Scene,
}

/// An endless sequence of samples. Sample `index` is a pure function of the seed, the mix, the
/// split and the index: samples can be drawn in any order, on any number of threads, and a
/// training run resumes exactly.
#[derive(Clone, Debug)]
pub struct Generator {
    seed: u64,
    split: Split,
    /// Categories with positive weights.
    categories: Vec<(Category, f64)>,
}

impl Generator {
    /// A generator. Categories that cannot occur in the split are left out; if none of the
    /// mix's can, all that can are drawn alike.
    pub fn new(seed: u64, mix: Mix, split: Split) -> Generator {
        let possible = || Category::ALL.iter().copied().filter(|c| c.occurs_in(split));
        let mut categories: Vec<(Category, f64)> =
            possible().map(|c| (c, mix.weight(c))).filter(|&(_, w)| w > 0.0).collect();
        if categories.is_empty() {
            categories = possible().map(|c| (c, 1.0)).collect();
        }
        Generator { seed, split, categories }
    }

    /// The sample with a number.
    pub fn sample(&self, index: u64) -> Sample {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(index);
        let category =
            self.categories.choose_weighted(&mut rng, |c| c.1).map_or(Category::OneObject, |c| c.0);
        loop {
            let Some((scene, relation)) = draw(&mut rng, category, self.split) else { continue };
            if splits::cells().allow(self.split, &scene) {
                let caption = describe(&mut rng, category, &scene, relation);
                return Sample { index, category, caption, scene };
            }
        }
    }
}

fn describe(
    rng: &mut ChaCha8Rng,
    category: Category,
    scene: &Scene,
    relation: Option<Relation>,
) -> String {
    match &scene.content {
        Content::Word(written) => caption::of_word(rng, scene, written),
        Content::Hand(hand) => caption::of_hand(rng, scene, hand),
        Content::Objects(_) if category == Category::Count => caption::of_count(rng, scene),
        Content::Objects(_) => caption::of_objects(rng, scene, relation),
    }
}

/// Draws a scene of a category, and the relation its caption is to state; nothing if its
/// objects found no room. For an evaluation split the scene is made to lie in one of its cells.
fn draw(
    rng: &mut ChaCha8Rng,
    category: Category,
    split: Split,
) -> Option<(Scene, Option<Relation>)> {
    let background = any(rng, Background::ALL)?;
    let light = any(rng, Light::ALL)?;
    let mut stated = None;
    let content = match category {
        Category::OneObject => {
            let mut object = free_object(rng)?;
            if split == Split::HeldOutPairs {
                hold_out_pair(rng, &mut object)?;
            }
            scattered(rng, vec![object])?
        }
        Category::TwoObjects => {
            let (a, b) = two_objects(rng, split)?;
            scattered(rng, vec![a, b])?
        }
        Category::Relation => {
            let (mut a, mut b) = two_objects(rng, split)?;
            let relation = draw_relation(rng, split, &mut a, &mut b)?;
            stated = Some(relation);
            if !layout::relate(rng, &mut a, relation, &mut b) {
                return None;
            }
            Content::Objects(vec![a, b])
        }
        Category::Count => alike_objects(rng, split)?,
        Category::Word => Content::Word(draw_word(rng, split)?),
        Category::Hand => Content::Hand(draw_hand(rng)),
    };
    Some((Scene { background, light, content }, stated))
}

/// One of some values, all alike.
pub(super) fn any<T: Copy>(rng: &mut ChaCha8Rng, values: &[T]) -> Option<T> {
    values.choose(rng).copied()
}

pub(super) fn free_object(rng: &mut ChaCha8Rng) -> Option<Object> {
    const FINISHES: [(Finish, u32); 3] =
        [(Finish::Plain, 70), (Finish::Striped, 15), (Finish::Dotted, 15)];
    let size = any(rng, Size::ALL)?;
    let (least, greatest) = size.radii();
    Some(Object {
        shape: any(rng, Shape::ALL)?,
        colour: any(rng, Colour::ALL)?,
        size,
        finish: FINISHES.choose_weighted(rng, |f| f.1).ok()?.0,
        x: 0.5,
        y: 0.5,
        radius: rng.random_range(least..=greatest),
    })
}

fn hold_out_pair(rng: &mut ChaCha8Rng, object: &mut Object) -> Option<()> {
    (object.colour, object.shape) = any(rng, &splits::cells().pairs)?;
    Some(())
}

/// Two objects that differ in colour or shape.
fn two_objects(rng: &mut ChaCha8Rng, split: Split) -> Option<(Object, Object)> {
    let (mut a, mut b) = (free_object(rng)?, free_object(rng)?);
    if split == Split::HeldOutPairs {
        let held_out = if rng.random_bool(0.5) { &mut a } else { &mut b };
        hold_out_pair(rng, held_out)?;
    }
    ((a.colour, a.shape) != (b.colour, b.shape)).then_some((a, b))
}

/// The relation to be shown and stated; for an evaluation split of relations the objects are
/// changed to those of a held-out cell, told from either side.
fn draw_relation(
    rng: &mut ChaCha8Rng,
    split: Split,
    a: &mut Object,
    b: &mut Object,
) -> Option<Relation> {
    let cells = splits::cells();
    let (told_back, (first, second)) = (rng.random_bool(0.5), (&mut *a, &mut *b));
    let (first, second) = if told_back { (second, first) } else { (first, second) };
    let relation = match split {
        Split::HeldOutTriples => {
            let (x, relation, y) = any(rng, &cells.triples)?;
            (first.shape, second.shape) = (x, y);
            relation
        }
        Split::RoleSwaps => {
            let (x, relation, y) = any(rng, &cells.swaps)?;
            (first.colour, first.shape) = x;
            (second.colour, second.shape) = y;
            relation
        }
        _ => return any(rng, Relation::ALL),
    };
    Some(if told_back { relation.inverse() } else { relation })
}

fn scattered(rng: &mut ChaCha8Rng, mut objects: Vec<Object>) -> Option<Content> {
    layout::scatter(rng, &mut objects).then_some(Content::Objects(objects))
}

/// One to six objects that differ in nothing but their places.
fn alike_objects(rng: &mut ChaCha8Rng, split: Split) -> Option<Content> {
    /// Most objects that are drawn large.
    const FEW: u8 = 2;
    /// From this number on, objects are at the lower end of the small ones.
    const CROWD: u8 = 5;
    const CROWD_RADIUS: f32 = 0.125;
    let mut object = free_object(rng)?;
    let mut count: u8 = rng.random_range(1..=6);
    match split {
        Split::HeldOutCounts => (object.shape, count) = any(rng, &splits::cells().counts)?,
        Split::HeldOutPairs => hold_out_pair(rng, &mut object)?,
        _ => {}
    }
    if count > FEW {
        let greatest = if count < CROWD { SMALL_RADII.1 } else { CROWD_RADIUS };
        object.radius = rng.random_range(SMALL_RADII.0..=greatest);
        object.size = Size::Small;
    }
    scattered(rng, vec![object; usize::from(count)])
}

fn draw_word(rng: &mut ChaCha8Rng, split: Split) -> Option<Written> {
    /// Part of the words that are random letters, so that spelling has to be learned.
    const RANDOM: f64 = 0.35;
    let text = match split {
        Split::HeldOutWords => splits::cells().words.choose(rng)?.clone(),
        _ if rng.random_bool(RANDOM) => {
            let letters = rng.random_range(1..=MAX_LETTERS);
            (0..letters).map(|_| char::from(rng.random_range(b'A'..=b'Z'))).collect()
        }
        _ => any(rng, WORDS)?.to_owned(),
    };
    lay_word(rng, text, None)
}

/// A word in letters that fit the image, of a drawn colour unless one is given.
pub(super) fn lay_word(
    rng: &mut ChaCha8Rng,
    text: String,
    colour: Option<Colour>,
) -> Option<Written> {
    const GREATEST_HEIGHT: f32 = 0.34;
    /// Part of the image width that a word may take.
    const ROOM: f32 = 0.92;
    let advance = text.len() as f32 * WORD_ADVANCE;
    let height = (ROOM / advance).min(GREATEST_HEIGHT) * rng.random_range(0.86..=1.0);
    let slack = (0.5 * (ROOM - advance * height)).clamp(0.0, 0.08);
    Some(Written {
        text,
        colour: match colour {
            Some(colour) => colour,
            None => any(rng, Colour::ALL)?,
        },
        x: 0.5 + slack * rng.random_range(-1.0..=1.0),
        y: rng.random_range(0.36..=0.64),
        height,
    })
}

pub(super) fn draw_hand(rng: &mut ChaCha8Rng) -> Hand {
    Hand {
        fingers: rng.random_range(0..=MAX_FINGERS),
        x: rng.random_range(0.42..=0.58),
        y: rng.random_range(0.52..=0.61),
        scale: rng.random_range(0.90..=1.10),
        mirrored: rng.random_bool(0.5),
    }
}
