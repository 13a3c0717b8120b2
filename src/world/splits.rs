//! The cells of the world that training never sees, from a manifest in the fixtures.
//!
//! A scene can lie in cells of five kinds. The training generator draws scenes that lie in
//! none, by what the scene *is*, not only by what its caption says: two objects that merely
//! happen to lie in a held-out relation are left out as well. An evaluation generator draws
//! scenes that lie in cells of its own kind and of no other.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::expectation::ObjectPhrase;
use super::parse::{ParseError, parse};
use super::scene::{Colour, Content, Object, Relation, Scene, Shape};

/// Which part of the world a generator draws from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Everything but the held-out cells.
    Train,
    /// At least one object has a colour and a shape that never meet in training.
    HeldOutPairs,
    /// Two shapes lie to each other as they never do in training.
    HeldOutTriples,
    /// Two objects seen in one order lie in the other.
    RoleSwaps,
    /// As many alike objects of a shape as training never shows.
    HeldOutCounts,
    /// A word that training never shows.
    HeldOutWords,
}

impl Split {
    /// All splits, training first.
    pub const ALL: &'static [Split] = &[
        Split::Train,
        Split::HeldOutPairs,
        Split::HeldOutTriples,
        Split::RoleSwaps,
        Split::HeldOutCounts,
        Split::HeldOutWords,
    ];

    /// The name used in specs and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::HeldOutPairs => "held-out-pairs",
            Split::HeldOutTriples => "held-out-triples",
            Split::RoleSwaps => "role-swaps",
            Split::HeldOutCounts => "held-out-counts",
            Split::HeldOutWords => "held-out-words",
        }
    }
}

/// The manifest as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    pairs: Vec<String>,
    triples: Vec<String>,
    role_swaps: Vec<String>,
    counts: Vec<String>,
    words: Vec<String>,
}

/// A relation told from its left or upper side: `relation` is `LeftOf` or `Above`.
pub type Arrangement<T> = (T, Relation, T);
/// What an object is, for the purpose of splits.
pub type Kind = (Colour, Shape);

/// The held-out cells.
#[derive(Clone, Debug)]
pub struct Cells {
    /// Colours and shapes that never meet.
    pub pairs: Vec<Kind>,
    /// Arrangements of shapes never seen.
    pub triples: Vec<Arrangement<Shape>>,
    /// Arrangements of coloured shapes never seen, although seen with the roles swapped.
    pub swaps: Vec<Arrangement<Kind>>,
    /// Shapes and the numbers of them never seen.
    pub counts: Vec<(Shape, u8)>,
    /// Words never written.
    pub words: Vec<String>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// Not TOML of the right form.
    #[error("the split manifest cannot be read: {0}")]
    Toml(#[from] toml::de::Error),
    /// An entry that the grammar does not read.
    #[error("split manifest, entry \"{entry}\": {error}")]
    Grammar {
        /// The entry.
        entry: String,
        /// What the parser says.
        error: ParseError,
    },
    /// An entry that says something else than its list is for.
    #[error("split manifest, entry \"{entry}\": expected {wanted}")]
    Entry {
        /// The entry.
        entry: String,
        /// What the list holds.
        wanted: &'static str,
    },
}

const MANIFEST: &str = include_str!("../../fixtures/world/splits.toml");

#[expect(clippy::expect_used, reason = "the manifest is part of the program; a test loads it")]
static LOADED: LazyLock<(Cells, String)> =
    LazyLock::new(|| load(MANIFEST).expect("the built-in split manifest is valid"));

/// The held-out cells of the built-in manifest.
pub fn cells() -> &'static Cells {
    &LOADED.0
}

/// SHA-256 of the manifest's content in canonical form, as lower-case hexadecimal digits.
/// Layout and comments of the file do not count; every entry and its order does.
pub fn hash() -> &'static str {
    &LOADED.1
}

fn load(text: &str) -> Result<(Cells, String), SplitError> {
    let manifest: Manifest = toml::from_str(text)?;
    // Canonical form: a line for the version, then one "list: entry" line each.
    let mut digest = Sha256::new();
    digest.update(format!("version: {}\n", manifest.version));
    let lists = [
        ("pairs", &manifest.pairs),
        ("triples", &manifest.triples),
        ("role_swaps", &manifest.role_swaps),
        ("counts", &manifest.counts),
        ("words", &manifest.words),
    ];
    for (name, entries) in lists {
        for entry in entries {
            digest.update(format!("{name}: {entry}\n"));
        }
    }
    let hash = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let cells = Cells {
        pairs: each(&manifest.pairs, "a colour and a shape", |o, _| kind(o.first()?))?,
        triples: each(&manifest.triples, "two shapes and a relation", |o, r| {
            let (a, b) = (o.first()?, o.get(1)?);
            Some(told_forward((a.shape, r?, b.shape)))
        })?,
        swaps: each(&manifest.role_swaps, "two coloured shapes and a relation", |o, r| {
            let (a, b) = (kind(o.first()?)?, kind(o.get(1)?)?);
            Some(told_forward((b, r?, a)))
        })?,
        counts: each(&manifest.counts, "a number and a shape", |o, _| {
            let phrase = o.first()?;
            phrase.counted.then_some((phrase.shape, phrase.count))
        })?,
        words: manifest.words,
    };
    Ok((cells, hash))
}

/// Reads every entry of a list with the caption grammar.
fn each<T>(
    entries: &[String],
    wanted: &'static str,
    read: impl Fn(&[ObjectPhrase], Option<Relation>) -> Option<T>,
) -> Result<Vec<T>, SplitError> {
    let one = |entry: &String| {
        let said =
            parse(entry).map_err(|error| SplitError::Grammar { entry: entry.clone(), error })?;
        read(&said.objects, said.relations.first().map(|r| r.relation))
            .ok_or_else(|| SplitError::Entry { entry: entry.clone(), wanted })
    };
    entries.iter().map(one).collect()
}

fn kind(phrase: &ObjectPhrase) -> Option<Kind> {
    Some((phrase.colour?, phrase.shape))
}

/// The same arrangement with `LeftOf` or `Above`.
fn told_forward<T>((a, relation, b): Arrangement<T>) -> Arrangement<T> {
    match relation {
        Relation::LeftOf | Relation::Above => (a, relation, b),
        Relation::RightOf | Relation::Below => (b, relation.inverse(), a),
    }
}

impl Cells {
    /// Whether the scene lies in a held-out cell of this kind; for [`Split::Train`], whether it
    /// lies in none at all.
    pub fn contain(&self, split: Split, scene: &Scene) -> bool {
        let objects = scene.objects();
        match split {
            Split::Train => !Split::ALL[1..].iter().any(|&s| self.contain(s, scene)),
            Split::HeldOutPairs => {
                objects.iter().any(|o| self.pairs.contains(&(o.colour, o.shape)))
            }
            Split::HeldOutTriples => {
                arrangements(objects).any(|(a, r, b)| self.triples.contains(&(a.shape, r, b.shape)))
            }
            Split::RoleSwaps => arrangements(objects).any(|(a, r, b)| {
                self.swaps.contains(&((a.colour, a.shape), r, (b.colour, b.shape)))
            }),
            Split::HeldOutCounts => self.counts.iter().any(|&(shape, count)| {
                objects.len() == usize::from(count) && objects.iter().all(|o| o.shape == shape)
            }),
            Split::HeldOutWords => match &scene.content {
                Content::Word(written) => self.words.contains(&written.text),
                Content::Objects(_) | Content::Hand(_) => false,
            },
        }
    }

    /// Whether a generator of this split may draw the scene: it lies in the split's own kind of
    /// cell and in no other held-out cell.
    pub fn allow(&self, split: Split, scene: &Scene) -> bool {
        Split::ALL[1..].iter().all(|&s| self.contain(s, scene) == (s == split))
    }
}

/// Every arrangement of two objects in the scene, told with `LeftOf` or `Above`.
fn arrangements(objects: &[Object]) -> impl Iterator<Item = (&Object, Relation, &Object)> {
    objects.iter().flat_map(move |a| {
        objects.iter().flat_map(move |b| {
            [Relation::LeftOf, Relation::Above]
                .into_iter()
                .filter(|r| r.holds(a.centre(), b.centre()))
                .map(move |r| (a, r, b))
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const EMPTY: &str =
        "version = 1\npairs = []\ntriples = []\nrole_swaps = []\ncounts = []\nwords = []\n";

    fn with(list: &str, entry: &str) -> Result<(Cells, String), SplitError> {
        load(&EMPTY.replace(&format!("{list} = []"), &format!("{list} = [\"{entry}\"]")))
    }

    #[test]
    fn entries_are_read_with_the_grammar_and_told_forward() {
        let (cells, _) = with("triples", "ring below cube").unwrap();
        assert_eq!(cells.triples, [(Shape::Cube, Relation::Above, Shape::Ring)]);
        let (cells, _) = with("role_swaps", "red ball left of blue cube").unwrap();
        let (red, blue) = ((Colour::Red, Shape::Ball), (Colour::Blue, Shape::Cube));
        assert_eq!(cells.swaps, [(blue, Relation::LeftOf, red)]);
        let (cells, _) = with("counts", "five cubes").unwrap();
        assert_eq!(cells.counts, [(Shape::Cube, 5)]);
    }

    #[test]
    fn bad_entries_are_named() {
        for (list, entry) in [
            ("pairs", "ball"),
            ("triples", "cone and ring"),
            ("role_swaps", "red ball left of cube"),
            ("counts", "cube"),
        ] {
            let error = with(list, entry).unwrap_err();
            assert!(matches!(&error, SplitError::Entry { entry: e, .. } if e == entry), "{error}");
        }
        assert!(matches!(with("pairs", "mauve ball"), Err(SplitError::Grammar { .. })));
        assert!(matches!(load("version = 1"), Err(SplitError::Toml(_))));
        assert!(matches!(load(&format!("{EMPTY}colours = []")), Err(SplitError::Toml(_))));
    }

    #[test]
    fn the_digest_is_of_the_content_not_of_the_layout() {
        let hash = |text: &str| load(text).unwrap().1;
        assert_eq!(hash(EMPTY), hash(&format!("# a comment\n{}", EMPTY.replace(" = ", "="))));
        assert_ne!(hash(EMPTY), with("words", "CAT").unwrap().1);
        assert_ne!(with("words", "CAT").unwrap().1, with("words", "DOG").unwrap().1);
    }
}
