//! From a prompt to another that differs in one attribute, in the middle of a run: which of them
//! does the image follow?

use image::RgbImage;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::answers::Attribute;
use super::levels::NoiseLevels;
use crate::judge::{look, match_seen};
use crate::measure::bootstrap::mean_over;
use crate::measure::crossover::half;
use crate::measure::{Bootstrap, Undefined};
use crate::table::{NoiseLevelRow, PromptSwitchRow};
use crate::world::{Background, Colour, Exchange, Finish, Light, Relation, Shape, Size, parse};

/// How rows of `noise_level` name this way of asking.
pub const SWITCH: &str = "switch";
/// Fewest pairs that say anything.
pub const FEWEST_PAIRS: usize = 5;

/// Two prompts that differ in one attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptPair {
    /// In what.
    pub attribute: Attribute,
    /// Number among the pairs of its attribute.
    pub number: u32,
    /// Before the switch.
    pub a: String,
    /// After it.
    pub b: String,
}

/// Which prompt an image follows in the attribute of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// The first.
    A,
    /// The second.
    B,
    /// None of them, or (never seen) both.
    Neither,
}

impl Follows {
    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Neither => "neither",
        }
    }
}

impl PromptPair {
    /// Pairs of an attribute, drawn by the seed; equal seeds give equal pairs.
    pub fn drawn(attribute: Attribute, count: usize, seed: u64) -> Vec<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let pair = |number: usize| {
            let (a, b) = prompts(attribute, &mut random)?;
            Some(Self { attribute, number: number as u32, a, b })
        };
        (0..count).filter_map(pair).collect()
    }

    /// Which prompt an image follows: the one of whose attribute the judge finds what it asks for.
    pub fn follows(&self, image: &RgbImage) -> Follows {
        let seen = look(image);
        let asks = |prompt: &str| {
            let asked = parse(prompt).ok()?;
            self.attribute.right(&match_seen(seen.clone(), &asked))
        };
        match (asks(&self.a), asks(&self.b)) {
            (Some(true), Some(false)) => Follows::A,
            (Some(false), Some(true)) => Follows::B,
            _ => Follows::Neither,
        }
    }
}

/// Two prompts that differ in an attribute alone.
fn prompts(attribute: Attribute, random: &mut ChaCha8Rng) -> Option<(String, String)> {
    let [shape, other_shape] = two(random, Shape::ALL)?;
    let [colour, other_colour] = two(random, Colour::ALL)?;
    let with = |words: [String; 2]| Some((words[0].clone(), words[1].clone()));
    match attribute {
        Attribute::Layout => {
            let relation = Relation::ALL.choose(random)?;
            let a = format!("a {colour} {shape} {relation} a {other_colour} {other_shape}");
            let b = Exchange::Roles.apply(&a)?;
            Some((a, b))
        }
        Attribute::Count => {
            let few = random.random_range(1..=2);
            let counts = [few, few + random.random_range(1..=2)];
            with(counts.map(|count| match count {
                1 => format!("one {colour} {shape}"),
                2 => format!("two {colour} {}", shape.plural()),
                3 => format!("three {colour} {}", shape.plural()),
                _ => format!("four {colour} {}", shape.plural()),
            }))
        }
        Attribute::Shape => with([shape, other_shape].map(|s| format!("a {colour} {s}"))),
        Attribute::Colour => with([colour, other_colour].map(|c| format!("a {c} {shape}"))),
        Attribute::Size => {
            let sizes = two(random, Size::ALL)?;
            with(sizes.map(|size| format!("a {size} {colour} {shape}")))
        }
        Attribute::Finish => {
            let finishes = two(random, Finish::ALL)?;
            with(finishes.map(|finish| format!("a {finish} {colour} {shape}")))
        }
        Attribute::Background => {
            let backgrounds = two(random, Background::ALL)?;
            with(backgrounds.map(|b| format!("a {colour} {shape} on a {b} background")))
        }
        Attribute::Light => {
            let lights = two(random, Light::ALL)?;
            let from = |light: Light| match light {
                Light::Above => "above".to_owned(),
                side => format!("the {side}"),
            };
            with(lights.map(|light| format!("a {colour} {shape} lit from {}", from(light))))
        }
        Attribute::Word => {
            const WORDS: &[&str] = &["CAT", "DOG", "SUN", "SKY", "RED", "ONE"];
            let words = two(random, WORDS)?;
            with(words.map(|word| format!("the word {word} in {colour} letters")))
        }
    }
}

/// Two different ones.
fn two<T: Copy>(random: &mut ChaCha8Rng, all: &[T]) -> Option<[T; 2]> {
    let chosen: Vec<T> = all.choose_multiple(random, 2).copied().collect();
    <[T; 2]>::try_from(chosen).ok()
}

/// Marks the rows of the pairs that count: without a switch each prompt is followed, the second
/// one at step 0, the first one at step `steps`.
pub fn mark(rows: &mut [PromptSwitchRow], steps: u32) {
    let ends: Vec<(String, u32, u64, bool)> = rows
        .iter()
        .filter(|row| row.switch_step == 0 || row.switch_step == steps)
        .map(|row| {
            let expected = if row.switch_step == 0 { Follows::B } else { Follows::A };
            (row.attribute.clone(), row.pair, row.seed, row.follows == expected.name())
        })
        .collect();
    for row in rows {
        let own = ends.iter().filter(|(attribute, pair, seed, _)| {
            *attribute == row.attribute && *pair == row.pair && *seed == row.seed
        });
        let (mut found, mut right) = (0, 0);
        for (.., as_asked) in own {
            found += 1;
            right += usize::from(*as_asked);
        }
        row.counts = found == 2 && right == 2;
    }
}

/// The step at which half of the images that follow either prompt follow the second one, by
/// attribute, with 95 % intervals over pairs; attributes with too few pairs that count have none.
pub fn noise_levels(
    run: &str,
    rows: &[PromptSwitchRow],
    levels: &NoiseLevels,
) -> Vec<NoiseLevelRow> {
    let of_attribute = |attribute: Attribute| {
        let own: Vec<&PromptSwitchRow> =
            rows.iter().filter(|row| row.attribute == attribute.name()).collect();
        let pairs = |counts: bool| {
            let chosen = own.iter().filter(|row| row.counts == counts);
            chosen.map(|row| (row.pair, row.seed)).collect::<std::collections::BTreeSet<_>>().len()
        };
        let half = half_step(&own).ok()?;
        (pairs(true) >= FEWEST_PAIRS).then(|| NoiseLevelRow {
            units: half.n as u32,
            left_out: pairs(false) as u32,
            ..levels.row((run, attribute.name(), SWITCH), half.mean, Some(half))
        })
    };
    Attribute::ALL.into_iter().filter_map(of_attribute).collect()
}

fn half_step(rows: &[&PromptSwitchRow]) -> Result<crate::measure::Estimate, Undefined> {
    const RESAMPLES: usize = 500;
    let decided: Vec<&&PromptSwitchRow> =
        rows.iter().filter(|row| row.counts && row.follows != Follows::Neither.name()).collect();
    let steps: Vec<f64> = decided.iter().map(|row| f64::from(row.switch_step)).collect();
    let follow: Vec<bool> = decided.iter().map(|row| row.follows == Follows::B.name()).collect();
    let pairs: Vec<u32> = decided.iter().map(|row| row.pair).collect();
    half(&steps, &follow, &pairs, &Bootstrap { resamples: RESAMPLES, ..Bootstrap::default() })
}

/// The share of images that follow the second prompt, at each switch step: (step, share, interval,
/// images), of an attribute's pairs that count.
pub fn shares(rows: &[PromptSwitchRow], attribute: Attribute) -> Vec<SwitchShare> {
    let own: Vec<&PromptSwitchRow> =
        rows.iter().filter(|row| row.attribute == attribute.name() && row.counts).collect();
    let steps: std::collections::BTreeSet<u32> = own.iter().map(|row| row.switch_step).collect();
    let of_step = |step: u32| {
        let here: Vec<&&PromptSwitchRow> = own.iter().filter(|r| r.switch_step == step).collect();
        let follow: Vec<f64> =
            here.iter().map(|row| f64::from(u8::from(row.follows == Follows::B.name()))).collect();
        let pairs: Vec<u32> = here.iter().map(|row| row.pair).collect();
        let interval = mean_over(&follow, &pairs).ok();
        SwitchShare {
            step,
            share: follow.iter().sum::<f64>() / follow.len() as f64,
            interval: interval.map(|e| (e.low, e.high)),
            images: follow.len(),
        }
    };
    steps.into_iter().map(of_step).collect()
}

/// How many images follow the second prompt if it comes in at a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SwitchShare {
    /// The first step with the second prompt.
    pub step: u32,
    /// The share, in [0, 1].
    pub share: f64,
    /// Its 95 % interval over pairs, where there are two or more.
    pub interval: Option<(f64, f64)>,
    /// Images.
    pub images: usize,
}
