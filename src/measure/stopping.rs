//! Early warnings: how well scores tell failures apart on rows that they were not fitted to, and
//! what stopping at a warning would save.

use super::Undefined;
use super::linear::Folds;

/// Probability that a row that failed has a higher score than one that did not, ties counted half,
/// over pairs within one fold. Scores of different folds come from different fits, so that pairs
/// across them would compare those: where the scores know nothing it would give less than 0.5.
///
/// # Errors
/// [`Undefined::Length`], [`Undefined::NotFinite`]; [`Undefined::OneClass`] if no fold has both
/// outcomes.
pub fn auroc_within_folds(
    scores: &[f64],
    failed: &[bool],
    folds: &[usize],
) -> Result<f64, Undefined> {
    for got in [failed.len(), folds.len()] {
        if got != scores.len() {
            return Err(Undefined::Length { expected: scores.len(), got });
        }
    }
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| folds[a].cmp(&folds[b]).then(scores[a].total_cmp(&scores[b])));
    let (mut wins, mut pairs) = (0.0, 0.0);
    for fold in order.chunk_by(|&a, &b| folds[a] == folds[b]) {
        let (mut below, mut positives) = (0.0, 0.0);
        for ties in fold.chunk_by(|&a, &b| scores[a] == scores[b]) {
            let positive = ties.iter().filter(|&&row| failed[row]).count() as f64;
            let negative = ties.len() as f64 - positive;
            wins += positive * (below + 0.5 * negative);
            below += negative;
            positives += positive;
        }
        pairs += positives * below;
    }
    if pairs > 0.0 { Ok(wins / pairs) } else { Err(Undefined::OneClass) }
}

/// What stopping at a warning would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Rows that would be stopped.
    pub stopped: usize,
    /// Those of them that would have failed.
    pub failed: usize,
    /// All rows.
    pub rows: usize,
    /// All rows that did not fail.
    pub good: usize,
}

/// Stops the rows of each fold whose score reaches a threshold, which is the lowest at which at
/// least a share `precision` of the stopped rows of all other folds failed; nothing is stopped where
/// there is none. So the share of failures among the stopped rows is measured on rows that
/// the threshold has not seen.
///
/// # Errors
/// As [`auroc_within_folds`]; [`Undefined::Parameter`] for a precision outside (0, 1].
pub fn stopped_at(
    precision: f64,
    (scores, failed): (&[f64], &[bool]),
    folds: &Folds,
) -> Result<Stopped, Undefined> {
    for got in [failed.len(), folds.rows()] {
        if got != scores.len() {
            return Err(Undefined::Length { expected: scores.len(), got });
        }
    }
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(Undefined::NotFinite);
    }
    if !(precision > 0.0 && precision <= 1.0) {
        let (name, allowed) = ("the precision", "above 0 and at most 1");
        return Err(Undefined::Parameter { name, got: precision, allowed });
    }
    let good = failed.iter().filter(|&&failed| !failed).count();
    let mut result = Stopped { rows: scores.len(), good, ..Stopped::default() };
    for fold in 0..folds.count() {
        let others = folds.training(fold);
        let Some(threshold) = lowest_threshold(precision, (scores, failed), &others) else {
            continue;
        };
        for row in folds.held_out(fold).into_iter().filter(|&row| scores[row] >= threshold) {
            result.stopped += 1;
            result.failed += usize::from(failed[row]);
        }
    }
    Ok(result)
}

/// The lowest score at which enough of the rows that reach it failed.
fn lowest_threshold(
    precision: f64,
    (scores, failed): (&[f64], &[bool]),
    rows: &[usize],
) -> Option<f64> {
    let mut rows = rows.to_vec();
    rows.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let (mut above, mut right, mut lowest) = (0_usize, 0_usize, None);
    for ties in rows.chunk_by(|&a, &b| scores[a] == scores[b]) {
        above += ties.len();
        right += ties.iter().filter(|&&row| failed[row]).count();
        if right as f64 >= precision * above as f64 {
            lowest = Some(scores[ties[0]]);
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::{Stopped, auroc_within_folds, stopped_at};
    use crate::measure::Undefined;
    use crate::measure::linear::Folds;

    #[test]
    fn pairs_are_counted_within_folds_alone() {
        // In each fold the failure is on top, though the folds' scores lie apart.
        let scores = [0.9, 0.8, 0.2, 0.1];
        let failed = [true, false, true, false];
        assert_eq!(auroc_within_folds(&scores, &failed, &[0, 0, 1, 1]), Ok(1.0));
        assert_eq!(auroc_within_folds(&scores, &failed, &[0; 4]), Ok(0.75));
        assert_eq!(auroc_within_folds(&[0.5; 4], &failed, &[0; 4]), Ok(0.5));
        let alone = auroc_within_folds(&scores, &failed, &[0, 1, 2, 3]);
        assert_eq!(alone, Err(Undefined::OneClass));
    }

    #[test]
    fn the_threshold_is_the_other_folds() {
        let folds = Folds::known(vec![0, 0, 0, 1, 1, 1]).unwrap();
        let failed = [true, true, false, true, false, false];
        let scores = [0.9, 0.7, 0.3, 0.8, 0.75, 0.2];
        // Fold 0 gives 0.7 as the lowest at precision 1: in fold 1 it stops 0.8 and 0.75. Fold 1
        // gives 0.8, which stops 0.9 in fold 0.
        let all = stopped_at(1.0, (&scores, &failed), &folds).unwrap();
        assert_eq!(all, Stopped { stopped: 3, failed: 2, rows: 6, good: 3 });
        let none = stopped_at(1.0, (&scores, &[false; 6]), &folds).unwrap();
        assert_eq!(none, Stopped { stopped: 0, failed: 0, rows: 6, good: 6 });
        assert!(stopped_at(0.0, (&scores, &failed), &folds).is_err());
    }
}
