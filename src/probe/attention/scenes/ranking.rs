//! Which sites, heads and timesteps carry it.

use super::levels::Level;
use super::tally::{Tally, with_interval};
use crate::measure::Estimate;
use crate::table::AttentionScoreRow;

/// The sites at each timestep (mean over heads), the best first.
pub fn sites_at_timesteps(rows: &[AttentionScoreRow]) -> Vec<&AttentionScoreRow> {
    ranked(rows, |row| row.site.is_some() && row.head.is_none() && row.timestep.is_some())
}

/// The heads (mean over timesteps), the best first.
pub fn heads(rows: &[AttentionScoreRow]) -> Vec<&AttentionScoreRow> {
    ranked(rows, |row| row.head.is_some() && row.timestep.is_none())
}

fn ranked(
    rows: &[AttentionScoreRow],
    wanted: impl Fn(&AttentionScoreRow) -> bool,
) -> Vec<&AttentionScoreRow> {
    let mut ranked: Vec<&AttentionScoreRow> = rows
        .iter()
        .filter(|row| of_all_words(row) && row.control.is_none() && wanted(row))
        .collect();
    ranked.sort_by(|a, b| b.auroc.total_cmp(&a.auroc));
    ranked
}

/// Whether a row is of all words together.
pub(super) fn of_all_words(row: &AttentionScoreRow) -> bool {
    row.role.is_none() && row.word.is_none()
}

/// The same cell of the table under a control.
pub fn beside<'a>(
    rows: &'a [AttentionScoreRow],
    row: &AttentionScoreRow,
    control: &str,
) -> Option<&'a AttentionScoreRow> {
    let place = |r: &AttentionScoreRow| {
        (r.role.clone(), r.word.clone(), r.site.clone(), r.head, r.timestep.map(f64::to_bits))
    };
    let wanted = place(row);
    rows.iter().find(|r| r.control.as_deref() == Some(control) && place(r) == wanted)
}

/// The best of many places. The largest of many means is too large by luck, so it is chosen on
/// the scenes of even number and measured on the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Where.
    pub level: Level,
    /// Mean AUROC of the scenes it was not chosen on, with its 95 % interval.
    pub measured: Estimate,
    /// Among how many places it was chosen.
    pub among: usize,
}

/// The best head at the best timestep.
pub fn best_head_and_timestep(tally: &Tally) -> Option<Best> {
    best(tally, |level| level.head.is_some() && level.step.is_some())
}

/// The best of the levels that are wanted; none with fewer than two scenes of odd number.
pub fn best(tally: &Tally, wanted: impl Fn(&Level) -> bool) -> Option<Best> {
    let mut among = 0;
    let mut chosen: Option<(f64, Level, Vec<f64>)> = None;
    for (level, scenes) in tally.by_scene().filter(|(level, _)| wanted(level)) {
        let known = || scenes.iter().filter(|(_, auroc)| auroc.is_finite());
        let even: Vec<f64> = known().filter(|(n, _)| n % 2 == 0).map(|(_, auroc)| *auroc).collect();
        let odd: Vec<f64> = known().filter(|(n, _)| n % 2 == 1).map(|(_, auroc)| *auroc).collect();
        if even.is_empty() || odd.len() < 2 {
            continue;
        }
        among += 1;
        let mean = even.iter().sum::<f64>() / even.len() as f64;
        if chosen.as_ref().is_none_or(|(best, ..)| mean > *best) {
            chosen = Some((mean, level, odd));
        }
    }
    let (_, level, odd) = chosen?;
    Some(Best { level, measured: with_interval(&odd)?, among })
}
