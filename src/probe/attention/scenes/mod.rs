//! Attention over many rendered scenes: each is encoded, noised to chosen timesteps of training and
//! shown to the denoiser once at each with its caption ("teacher-forced"), so that the masks of
//! its objects are exact and no judge is asked.
//!
//! [`Shown`] is a scene with its words and masks; [`Tally`] takes the words' maps batch by batch
//! and keeps means alone; [`ranking`] says which sites, heads and timesteps carry it; [`report`] is
//! for people.

mod figures;
mod levels;
pub mod ranking;
pub mod report;
pub mod stored;
mod tally;

use ndarray::Array2;

use super::{PromptToken, object_words_of, score::role_name};
use crate::world::{Expectations, Sample, masks, parse};

pub use levels::{Level, mean_map};
use tally::ADJECTIVE;
pub(super) use tally::binds;
pub use tally::{Tally, Weights};

/// Name of the control: the same scenes shown to a denoiser of the same architecture whose weights
/// are random. Each batch has random weights of its own, and intervals are over those.
pub const UNTRAINED: &str = "untrained";

/// The best of many heads and timesteps, chosen on one half of the scenes and measured on the other.
pub const CHOSEN: &str = "chosen-on-others";

/// Whom an object belongs to, as the table `leakage` calls it.
pub(super) const OWN: &str = "own";
/// An object that other words speak of.
pub(super) const OTHER: &str = "other";
/// What belongs to no object.
pub(super) const BACKGROUND: &str = "background";

/// A word of a caption that speaks of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneWord {
    /// Lower case.
    pub text: String,
    /// What it says of its object, as tables have it: `shape`, `colour`, `size` …
    pub role: &'static str,
    /// Which object phrase of the caption it belongs to.
    pub phrase: usize,
    /// Positions of its tokens in the encoded caption; 0 is the start token.
    pub positions: Vec<usize>,
}

/// A scene that is shown to the denoiser.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its number; intervals are over scenes.
    pub number: u32,
    /// The words that speak of its objects.
    pub words: Vec<SceneWord>,
    /// Where the object of each phrase is, in the image's resolution.
    pub regions: Vec<Array2<bool>>,
}

impl Shown {
    /// The words and masks of a sample of the world in images of `size` pixels a side; `tokens`
    /// are those of its caption. None for a scene that cannot be scored: its caption does not say
    /// which object is which, or an object is hidden.
    pub fn new(number: u32, sample: &Sample, tokens: &[PromptToken], size: usize) -> Option<Self> {
        let expectations = parse(&sample.caption).ok()?;
        let regions = regions(sample, &expectations, size)?;
        let word = |word: super::ObjectWord| SceneWord {
            role: role_name(word.role),
            text: word.text,
            phrase: word.phrase,
            positions: word.positions,
        };
        let words: Vec<SceneWord> =
            object_words_of(&sample.caption, &expectations, tokens).into_iter().map(word).collect();
        (!words.is_empty()).then_some(Self { number, words, regions })
    }
}

/// The visible pixels of what each phrase speaks of. None if two phrases fit one object, or a
/// phrase fits more or fewer objects than it names, or nothing of an object is seen.
fn regions(sample: &Sample, expectations: &Expectations, size: usize) -> Option<Vec<Array2<bool>>> {
    let of_objects = masks(&sample.scene, size);
    let objects = sample.scene.objects();
    let mut taken = vec![false; objects.len()];
    let mut regions = Vec::new();
    for phrase in &expectations.objects {
        let fitting: Vec<usize> =
            (0..objects.len()).filter(|&i| phrase.matches(&objects[i])).collect();
        if fitting.len() != usize::from(phrase.count) || fitting.iter().any(|&i| taken[i]) {
            return None;
        }
        let mut region = Array2::from_elem((size, size), false);
        for i in fitting {
            taken[i] = true;
            region.zip_mut_with(of_objects.get(i)?, |inside, &of_object| *inside |= of_object);
        }
        if !region.iter().any(|&inside| inside) {
            return None;
        }
        regions.push(region);
    }
    (!regions.is_empty()).then_some(regions)
}
