//! A comparison read back from its folder.

use std::path::Path;

use super::{Comparison, Group, ReportInput, ScoreGroup, Side, Verdict, report};
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::table::{ComparisonRow, ScoreComparisonRow};

/// The report. Images are those of the compared runs, if they are still where they were.
///
/// # Errors
/// Tables that are missing, of another version or not as declared; a verdict that is none.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let groups = stored.rows::<ComparisonRow>()?.into_iter().map(group);
    let scores = stored.optional_rows::<ScoreComparisonRow>()?.into_iter().map(score);
    let comparison = Comparison {
        groups: groups.collect::<Result<_, _>>()?,
        scores: scores.collect::<Result<_, _>>()?,
        changes: stored.rows()?,
        only_in_a: 0,
        only_in_b: 0,
        undecided: 0,
        allowed: Vec::new(),
        remarks: Vec::new(),
    };
    let baselines = stored.spec_list("baselines")?;
    let baselines = Path::new(baselines.first().map_or("", String::as_str));
    let runs = stored.spec_list("arguments")?;
    let side = |at: usize| Side::open(runs.get(at)?, baselines).ok();
    let (a, b) = (side(0), side(1));
    Ok(report(&ReportInput {
        comparison: &comparison,
        sides: [a.as_ref(), b.as_ref()],
        facts: facts(stored.manifest()),
        warnings: stored.manifest().warnings.clone(),
        rerun,
    })?)
}

fn group(row: ComparisonRow) -> Result<Group, StoredError> {
    Ok(Group { verdict: verdict(&row.verdict)?, row })
}

fn score(row: ScoreComparisonRow) -> Result<ScoreGroup, StoredError> {
    Ok(ScoreGroup { verdict: verdict(&row.verdict)?, row })
}

fn verdict(name: &str) -> Result<Verdict, StoredError> {
    let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.name() == name);
    verdict.ok_or_else(|| StoredError::Verdict { name: name.to_owned() })
}
