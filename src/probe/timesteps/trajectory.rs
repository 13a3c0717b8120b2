//! From when on the predicted clean image shows what the last one shows.

use std::collections::BTreeMap;

use super::answers::Attribute;
use super::levels::NoiseLevels;
use crate::judge::{Seen, match_seen};
use crate::measure::Bootstrap;
use crate::measure::bootstrap::quantile;
use crate::measure::commitment::{committed_from, median};
use crate::table::{CommitmentRow, NoiseLevelRow, X0AnswerRow};
use crate::world;

/// How rows of `noise_level` name this way of asking.
pub const X0: &str = "x0";

/// One image: what the judge sees in each prediction of it.
#[derive(Clone, Debug)]
pub struct Trajectory {
    /// Its number in the run.
    pub sample: u32,
    /// Its prompt.
    pub prompt: String,
    /// Its seed.
    pub seed: u64,
    /// What is seen at each step; the last is what the image shows.
    pub seen: Vec<Seen>,
}

impl Trajectory {
    /// The rows of the tables `x0_answer` and `commitment`; none for an image without steps.
    pub fn rows(&self, run: &str, levels: &NoiseLevels) -> (Vec<X0AnswerRow>, Vec<CommitmentRow>) {
        let (mut answers, mut commitments) = (Vec::new(), Vec::new());
        let Some(end) = self.seen.last() else { return (answers, commitments) };
        let verdict = world::parse(&self.prompt).ok().map(|asked| match_seen(end.clone(), &asked));
        for attribute in Attribute::ALL {
            let of_steps: Option<Vec<_>> =
                self.seen.iter().map(|seen| attribute.answer(seen, end)).collect();
            let Some(of_steps) = of_steps else { continue };
            let agrees: Vec<bool> = of_steps.iter().map(|answer| answer.agrees).collect();
            let Some(step) = committed_from(&agrees) else { continue };
            commitments.push(CommitmentRow {
                run: run.to_owned(),
                sample: self.sample,
                prompt: self.prompt.clone(),
                seed: self.seed,
                attribute: attribute.name().to_owned(),
                answer: of_steps.last().and_then(|answer| answer.text.clone()),
                right: verdict.as_ref().and_then(|verdict| attribute.right(verdict)),
                step: step as u32,
                timestep: levels.timestep(step as f64),
                sigma: levels.sigma(step as f64),
            });
            answers.extend(of_steps.into_iter().enumerate().map(|(step, answer)| X0AnswerRow {
                run: run.to_owned(),
                sample: self.sample,
                step: step as u32,
                timestep: levels.timestep(step as f64),
                sigma: levels.sigma(step as f64),
                attribute: attribute.name().to_owned(),
                answer: answer.text,
                agrees: answer.agrees,
            }));
        }
        (answers, commitments)
    }
}

/// The median commitment of each attribute, from layout to texture, with 95 % intervals over
/// prompts; without an interval where there are fewer than two prompts.
pub fn noise_levels(run: &str, rows: &[CommitmentRow], levels: &NoiseLevels) -> Vec<NoiseLevelRow> {
    let images = rows.iter().map(|row| row.sample).collect::<std::collections::BTreeSet<_>>().len();
    let of_attribute = |attribute: Attribute| {
        let own: Vec<&CommitmentRow> =
            rows.iter().filter(|row| row.attribute == attribute.name()).collect();
        let steps: Vec<f64> = own.iter().map(|row| f64::from(row.step)).collect();
        let prompts: Vec<&str> = own.iter().map(|row| row.prompt.as_str()).collect();
        let interval = median(&steps, &prompts, &Bootstrap::default()).ok();
        let mut sorted = steps;
        sorted.sort_by(f64::total_cmp);
        let middle = quantile(&sorted, 0.5);
        middle.is_finite().then(|| NoiseLevelRow {
            units: prompts.iter().collect::<std::collections::BTreeSet<_>>().len() as u32,
            left_out: (images - own.len()) as u32,
            ..levels.row((run, attribute.name(), X0), middle, interval)
        })
    };
    Attribute::ALL.into_iter().filter_map(of_attribute).collect()
}

/// The share of images in which an attribute is decided, at each step; by attribute.
pub fn shares(rows: &[CommitmentRow], levels: &NoiseLevels) -> BTreeMap<Attribute, Vec<f64>> {
    let of_attribute = |attribute: Attribute| {
        let own: Vec<u32> = rows
            .iter()
            .filter(|row| row.attribute == attribute.name())
            .map(|row| row.step)
            .collect();
        let share = |step: usize| {
            own.iter().filter(|&&from| from as usize <= step).count() as f64 / own.len() as f64
        };
        (!own.is_empty()).then(|| (attribute, (0..levels.len()).map(share).collect()))
    };
    Attribute::ALL.into_iter().filter_map(of_attribute).collect()
}
