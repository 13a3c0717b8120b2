//! The same prompts at several times, each outcome yes or no: when did they change?
//!
//! Prompts are the independent units. If nothing changed, the order of a prompt's outcomes in time
//! means nothing, so each prompt's times may be exchanged; the test counts how often that gives a
//! break as clear as the one seen. Breaks are found by binary segmentation (Scott & Knott 1974;
//! Vostrikova 1981): the clearest first, then within the two parts, as long as the test says so.
//! At two times this is the test of [`super::PairedOutcomes::flip_test`], by resampling.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::permutation::p_value;
use super::{Bootstrap, Estimate, Undefined};

/// Outcomes of the same images at several times, summed by prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatedOutcomes {
    times: usize,
    prompts: Vec<Prompt>,
}

/// One prompt at all times.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Prompt {
    /// Images that hold at each time.
    held: Vec<u32>,
    /// Images, the same at each time.
    images: u32,
}

/// How breaks are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Level of each test; the chance to see any break where there is none.
    pub significance: f64,
    /// How often times are exchanged.
    pub permutations: usize,
    /// Intervals, and the seed of all random numbers.
    pub bootstrap: Bootstrap,
}

/// A break: the share was one before and another from then on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// First time of the new share, from 1.
    pub at: usize,
    /// Earliest and latest first time that resampled prompts give.
    pub within: (usize, usize),
    /// Share from the break before to this one.
    pub before: f64,
    /// Share from this break to the next.
    pub after: f64,
    /// After less before, resampling prompts.
    pub difference: Estimate,
    /// Chance of a break as clear if nothing changed.
    pub p: f64,
}

impl RepeatedOutcomes {
    /// From outcomes of the same images at all times: the prompt, and whether the image holds at
    /// each time.
    ///
    /// # Errors
    /// [`Undefined::Empty`] without images; [`Undefined::Length`] where an image has not one
    /// outcome a time.
    pub fn new<'a, K: Ord>(
        times: usize,
        images: impl IntoIterator<Item = (K, &'a [bool])>,
    ) -> Result<Self, Undefined> {
        let mut prompts: BTreeMap<K, Prompt> = BTreeMap::new();
        for (prompt, outcomes) in images {
            if outcomes.len() != times {
                return Err(Undefined::Length { expected: times, got: outcomes.len() });
            }
            let new = || Prompt { held: vec![0; times], images: 0 };
            let prompt = prompts.entry(prompt).or_insert_with(new);
            prompt.images += 1;
            for (held, holds) in prompt.held.iter_mut().zip(outcomes) {
                *held += u32::from(*holds);
            }
        }
        if prompts.is_empty() || times == 0 {
            return Err(Undefined::Empty);
        }
        Ok(Self { times, prompts: prompts.into_values().collect() })
    }

    /// How many prompts.
    pub fn prompts(&self) -> usize {
        self.prompts.len()
    }

    /// How many images at each time.
    pub fn images(&self) -> u64 {
        self.prompts.iter().map(|prompt| u64::from(prompt.images)).sum()
    }

    /// Share of images that hold over some times.
    pub fn share(&self, times: Range<usize>) -> f64 {
        share(self.prompts.iter(), times)
    }

    /// All breaks in the order of time, none where there is none to be seen.
    ///
    /// # Errors
    /// Fewer than two prompts, or settings out of range.
    pub fn change_points(&self, search: &Search) -> Result<Vec<ChangePoint>, Undefined> {
        let mut found: Vec<(usize, f64, (usize, usize))> = Vec::new();
        let mut segments: Vec<Range<usize>> = std::iter::once(0..self.times).collect();
        while let Some(segment) = segments.pop() {
            let Some((at, p)) = self.clearest(&segment, search)? else { continue };
            if p > search.significance {
                continue;
            }
            found.push((at, p, self.place(&segment, search)?));
            segments.extend([segment.start..at, at..segment.end]);
        }
        found.sort_unstable_by_key(|(at, ..)| *at);
        let ends: Vec<usize> = found.iter().map(|(at, ..)| *at).chain([self.times]).collect();
        let mut start = 0;
        let mut points = Vec::new();
        for (i, (at, p, within)) in found.into_iter().enumerate() {
            let (before, after) = (start..at, at..ends[i + 1]);
            let difference = search.bootstrap.statistic(self.prompts(), |drawn| {
                share(self.drawn(drawn), after.clone()) - share(self.drawn(drawn), before.clone())
            })?;
            let (before, after) = (self.share(before), self.share(after));
            points.push(ChangePoint { at, within, before, after, difference, p });
            start = at;
        }
        Ok(points)
    }

    /// The clearest break within a segment, and its p-value; `None` where no prompt changed.
    fn clearest(
        &self,
        segment: &Range<usize>,
        search: &Search,
    ) -> Result<Option<(usize, f64)>, Undefined> {
        let moving: Vec<Vec<u32>> = self
            .prompts
            .iter()
            .map(|prompt| prompt.held[segment.clone()].to_vec())
            .filter(|held| held.iter().any(|n| *n != held[0]))
            .collect();
        let Some((split, clearness)) = clearest_split(&totals(&moving, segment.len())) else {
            return Ok(None);
        };
        if search.permutations == 0 {
            let allowed = "at least 1";
            return Err(Undefined::Parameter { name: "permutations", got: 0.0, allowed });
        }
        let mut random = ChaCha8Rng::seed_from_u64(search.bootstrap.seed);
        let mut shuffled = moving;
        let control: Vec<f64> = (0..search.permutations)
            .map(|_| {
                shuffled.iter_mut().for_each(|held| held.shuffle(&mut random));
                let totals = totals(&shuffled, segment.len());
                clearest_split(&totals).map_or(0.0, |(_, clearness)| clearness)
            })
            .collect();
        // An order that gives the same totals must count as equal.
        let slack = 1e-9 * clearness;
        Ok(Some((segment.start + split, p_value(clearness - slack, &control)?)))
    }

    /// The earliest and the latest break that resampled prompts give.
    fn place(&self, segment: &Range<usize>, search: &Search) -> Result<(usize, usize), Undefined> {
        let mut places = search.bootstrap.draws(self.prompts(), |drawn| {
            let held: Vec<&[u32]> =
                self.drawn(drawn).map(|prompt| &prompt.held[segment.clone()]).collect();
            clearest_split(&totals(&held, segment.len())).map(|(split, _)| segment.start + split)
        })?;
        places.retain(Option::is_some);
        let mut places: Vec<usize> = places.into_iter().flatten().collect();
        places.sort_unstable();
        let Some(last) = places.len().checked_sub(1) else {
            return Ok((segment.start + 1, segment.end.saturating_sub(1)));
        };
        let tail = (1.0 - search.bootstrap.confidence) / 2.0 * last as f64;
        Ok((places[tail.floor() as usize], places[last - tail.floor() as usize]))
    }

    fn drawn<'a>(&'a self, drawn: &'a [usize]) -> impl Iterator<Item = &'a Prompt> + Clone {
        drawn.iter().map(|&prompt| &self.prompts[prompt])
    }
}

fn share<'a>(prompts: impl Iterator<Item = &'a Prompt>, times: Range<usize>) -> f64 {
    let (mut held, mut images) = (0, 0);
    for prompt in prompts {
        held += prompt.held[times.clone()].iter().map(|n| u64::from(*n)).sum::<u64>();
        images += u64::from(prompt.images) * times.len() as u64;
    }
    held as f64 / images as f64
}

/// Images that hold at each time.
fn totals<H: AsRef<[u32]>>(prompts: &[H], times: usize) -> Vec<f64> {
    let mut totals = vec![0.0; times];
    for held in prompts {
        for (total, held) in totals.iter_mut().zip(held.as_ref()) {
            *total += f64::from(*held);
        }
    }
    totals
}

/// The split with the largest |mean after − mean before| · √(k (n − k) / n), the cumulative sum's
/// statistic (Page 1955), where k of n times lie before it; `None` where all times are alike.
///
/// Exchanging a prompt's times changes neither its variance nor that of the totals' null
/// distribution, so nothing has to be divided by.
fn clearest_split(totals: &[f64]) -> Option<(usize, f64)> {
    let n = totals.len() as f64;
    let all: f64 = totals.iter().sum();
    let mut before = 0.0;
    let mut best: Option<(usize, f64)> = None;
    for (i, total) in totals.iter().enumerate().take(totals.len().saturating_sub(1)) {
        before += total;
        let k = (i + 1) as f64;
        let step = (all - before) / (n - k) - before / k;
        let clearness = step.abs() * (k * (n - k) / n).sqrt();
        if clearness > best.map_or(0.0, |(_, clearest)| clearest) {
            best = Some((i + 1, clearness));
        }
    }
    best
}
