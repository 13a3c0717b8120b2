//! Numbers of the attention at one step that may foretell a failure.

use ndarray::Array2;

use crate::measure::Undefined;
use crate::measure::map::summarise;
use crate::measure::record::WordLayer;
use crate::probe::attention::{PromptToken, mean_map, positions_of};
use crate::world::{Expectations, Role, Word};

/// A word of a prompt that says something that the judge checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedWord {
    /// What it says.
    pub role: Role,
    /// Which object phrase it belongs to; those of written words and hands are one of their own.
    pub phrase: usize,
    /// Positions of its tokens.
    pub positions: Vec<usize>,
}

impl WatchedWord {
    /// Whether it names the thing and does not describe it.
    fn is_noun(&self) -> bool {
        matches!(self.role, Role::Noun | Role::Written | Role::Hand)
    }

    fn is_adjective(&self) -> bool {
        matches!(self.role, Role::Colour | Role::Size | Role::Finish)
    }
}

/// The words of a prompt that are watched; `tokens` are the prompt's, start and end included.
pub fn watched(expectations: &Expectations, tokens: &[PromptToken]) -> Vec<WatchedWord> {
    let objects = expectations.objects.len();
    let of_objects = expectations.objects.iter().map(|object| object.words.as_slice()).enumerate();
    let written = expectations.word.iter().map(|word| (objects, word.words.as_slice()));
    let fingers = expectations.fingers.iter().map(|hand| (objects + 1, hand.words.as_slice()));
    let mut all = Vec::new();
    for (phrase, words) in of_objects.chain(written).chain(fingers) {
        for Word { range, role, .. } in words {
            let positions = positions_of(tokens, range.start, range.end);
            if !positions.is_empty() {
                all.push(WatchedWord { role: *role, phrase, positions });
            }
        }
    }
    all
}

/// Names of the features, in the order of [`Features`].
pub const NAMES: [&str; 6] =
    ["noun overlap", "leakage", "missing mass", "neglect", "entropy", "largest entropy"];

/// The features of one image at one step; NaN where the prompt has no such words.
pub type Features = [f64; NAMES.len()];

/// A word's map: as a distribution over its cells, and what it was like before.
struct Spread {
    shares: Array2<f64>,
    mass: f64,
    peak: f64,
    entropy: f64,
}

impl Spread {
    fn new(map: &Array2<f32>) -> Result<Self, Undefined> {
        let summary = summarise(map.view())?;
        Ok(Self {
            shares: map.mapv(|x| f64::from(x) / summary.mass),
            mass: summary.mean,
            peak: summary.peak.value,
            entropy: summary.entropy / (map.len() as f64).ln(),
        })
    }

    /// What two distributions have in common, in [0, 1].
    fn overlap(&self, other: &Self) -> f64 {
        self.shares.iter().zip(&other.shares).map(|(a, b)| a.min(*b)).sum()
    }
}

/// The features of image `image` of a batch at each step, from the maps of its words:
///
/// - *noun overlap*: the largest of what the maps of two nouns have in common, Σ min(p, q);
/// - *leakage*: how much more adjectives have in common with another noun than with their own, the
///   mean over pairs;
/// - *missing mass*: 1 − the least share of attention that a noun has;
/// - *neglect*: 1 − the least of the nouns' largest probabilities (Chefer et al. 2023);
/// - *entropy* and *largest entropy* of the words' maps over ln(cells), mean and of nouns alone.
///
/// # Errors
/// A record without maps, maps that are no numbers or zero everywhere.
pub fn of_steps(
    words: &[WatchedWord],
    layers: &[WordLayer],
    image: usize,
) -> Result<Vec<Features>, Undefined> {
    let steps = layers.first().map_or(0, |layer| layer.per_step.len());
    (0..steps).map(|step| of_step(words, layers, (image, step))).collect()
}

fn of_step(
    words: &[WatchedWord],
    layers: &[WordLayer],
    (image, step): (usize, usize),
) -> Result<Features, Undefined> {
    let spread = |number| Spread::new(&mean_map(layers, (image, number), step)?);
    let spreads: Vec<Spread> = (0..words.len()).map(spread).collect::<Result<_, _>>()?;
    let with = || words.iter().zip(&spreads);
    let nouns: Vec<(&WatchedWord, &Spread)> = with().filter(|(word, _)| word.is_noun()).collect();
    let mut overlap = f64::NAN;
    for (i, (a, of_a)) in nouns.iter().enumerate() {
        for (_, of_b) in nouns[i + 1..].iter().filter(|(b, _)| b.phrase != a.phrase) {
            overlap = overlap.max(of_a.overlap(of_b));
        }
    }
    let mut leaks = Vec::new();
    for (word, of_word) in with().filter(|(word, _)| word.is_adjective()) {
        let own = nouns.iter().find(|(noun, _)| noun.phrase == word.phrase);
        for (_, other) in nouns.iter().filter(|(noun, _)| noun.phrase != word.phrase) {
            leaks.extend(own.map(|(_, own)| of_word.overlap(other) - of_word.overlap(own)));
        }
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let least = |of: &dyn Fn(&Spread) -> f64| {
        nouns.iter().map(|(_, spread)| of(spread)).fold(f64::NAN, f64::min)
    };
    let entropies: Vec<f64> = spreads.iter().map(|spread| spread.entropy).collect();
    Ok([
        overlap,
        mean(&leaks),
        1.0 - least(&|spread| spread.mass),
        1.0 - least(&|spread| spread.peak),
        mean(&entropies),
        -least(&|spread| -spread.entropy),
    ])
}
