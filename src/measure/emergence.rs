//! When in training something is learned: a share that grows along the checkpoints.

use std::cmp::Ordering;

use super::permutation::p_value;
use super::{Bootstrap, Undefined};

/// A share at one checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checkpoint {
    /// Training steps (or images) until then.
    pub trained: f64,
    /// Images that hold.
    pub held: f64,
    /// Images.
    pub images: f64,
}

/// When a rising curve passes a level. Orders by time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Passing {
    /// It was above at the first checkpoint already.
    BeforeFirst,
    /// Then, in training steps (or images).
    At(f64),
    /// It is below at the last checkpoint still.
    AfterLast,
}

impl Passing {
    /// The time, if it lies within the checkpoints.
    pub fn time(self) -> Option<f64> {
        match self {
            Passing::At(time) => Some(time),
            Passing::BeforeFirst | Passing::AfterLast => None,
        }
    }

    /// As a number to order by.
    fn place(self) -> f64 {
        match self {
            Passing::BeforeFirst => f64::NEG_INFINITY,
            Passing::At(time) => time,
            Passing::AfterLast => f64::INFINITY,
        }
    }
}

impl PartialOrd for Passing {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.place().partial_cmp(&other.place())
    }
}

/// When the share passes `level`: the shares are made to rise first (pool adjacent violators,
/// Ayer et al. 1955, weighted by images), so that a lucky checkpoint is no passing; between two
/// checkpoints the curve is a straight line. Checkpoints in the order of training.
pub fn passing(checkpoints: &[Checkpoint], level: f64) -> Passing {
    let shares = rising(checkpoints);
    let Some(first) = shares.iter().position(|share| *share >= level) else {
        return Passing::AfterLast;
    };
    let Some(before) = first.checked_sub(1) else { return Passing::BeforeFirst };
    let (from, to) = (checkpoints[before].trained, checkpoints[first].trained);
    let part = (level - shares[before]) / (shares[first] - shares[before]);
    Passing::At(from + part * (to - from))
}

/// The shares of a curve that never falls and lies nearest to those seen, by least squares
/// weighted by images.
pub fn rising(checkpoints: &[Checkpoint]) -> Vec<f64> {
    struct Block {
        held: f64,
        images: f64,
        checkpoints: usize,
    }
    let share = |block: &Block| block.held / block.images;
    let mut blocks: Vec<Block> = Vec::new();
    for checkpoint in checkpoints {
        let Checkpoint { held, images, .. } = *checkpoint;
        blocks.push(Block { held, images, checkpoints: 1 });
        while let [.., left, right] = blocks.as_slice()
            && share(left) > share(right)
        {
            let Some(right) = blocks.pop() else { break };
            if let Some(left) = blocks.last_mut() {
                left.held += right.held;
                left.images += right.images;
                left.checkpoints += right.checkpoints;
            }
        }
    }
    blocks.iter().flat_map(|block| vec![share(block); block.checkpoints]).collect()
}

/// The range of resampled passings: the middle `bootstrap.confidence` of them, each end a passing
/// that was drawn, so that ends beyond the checkpoints stay what they are.
pub fn passing_interval(
    mut drawn: Vec<Passing>,
    bootstrap: &Bootstrap,
) -> Option<(Passing, Passing)> {
    drawn.sort_by(|a, b| a.place().total_cmp(&b.place()));
    let last = drawn.len().checked_sub(1)?;
    let tail = ((1.0 - bootstrap.confidence) / 2.0 * last as f64).floor() as usize;
    Some((drawn[tail], drawn[last - tail]))
}

/// Which of two things passed first in paired resamples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Precedence {
    /// Share of resamples in which the first is earlier; ties count half.
    pub share: f64,
    /// Two-sided p-value that neither comes first.
    pub p: f64,
}

/// Whether `first` passes before `second`, from resamples that drew the same prompts for both.
///
/// # Errors
/// [`Undefined::Length`] where there are not as many of both, [`Undefined::Empty`] without any.
pub fn precedence(first: &[Passing], second: &[Passing]) -> Result<Precedence, Undefined> {
    if first.len() != second.len() {
        return Err(Undefined::Length { expected: first.len(), got: second.len() });
    }
    let score = |(a, b): (&Passing, &Passing)| match a.partial_cmp(b) {
        Some(Ordering::Less) => 1.0,
        Some(Ordering::Greater) => 0.0,
        _ => 0.5,
    };
    let scores: Vec<f64> = first.iter().zip(second).map(score).collect();
    let share = scores.iter().sum::<f64>() / scores.len() as f64;
    // As far on the wrong side of a tie as the result is on the right one, either way.
    let wrong: Vec<f64> = scores.iter().map(|s| if share < 0.5 { *s } else { 1.0 - s }).collect();
    let p = (2.0 * p_value(0.5, &wrong)?).min(1.0);
    Ok(Precedence { share, p })
}
