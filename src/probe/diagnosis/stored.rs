//! A diagnosis read back from its folder.

use std::collections::BTreeMap;

use super::{Diagnosed, Pages, TOO_FEW_PROMPTS, too_few_images};
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::table::{DiagnosisFeatureRow, DiagnosisRow, EarlyStopRow, OutcomeRow};

/// The report.
///
/// # Errors
/// Tables that are missing, of another version or not as declared.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let rows = stored.rows::<DiagnosisRow>()?;
    let found = Diagnosed {
        left_out: left_out(&stored.rows::<OutcomeRow>()?, &rows),
        stops: stored.rows::<EarlyStopRow>()?,
        rows,
    };
    let features = stored.rows::<DiagnosisFeatureRow>()?;
    let steps = features.iter().map(|row| row.step as usize + 1).max().unwrap_or(0);
    Ok(Pages { found: &found, steps }.report(facts(stored.manifest()), rerun)?)
}

/// Categories that were drawn and not measured, and why.
fn left_out(outcomes: &[OutcomeRow], measured: &[DiagnosisRow]) -> Vec<(String, String)> {
    let mut of_category: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for row in outcomes {
        let (failures, images) = of_category.entry(&row.category).or_default();
        *failures += usize::from(row.holds == Some(false));
        *images += 1;
    }
    of_category
        .into_iter()
        .filter(|(category, _)| measured.iter().all(|row| row.category != *category))
        .map(|(category, (failures, images))| {
            let why = too_few_images(failures, images);
            (category.to_owned(), why.unwrap_or_else(|| TOO_FEW_PROMPTS.to_owned()))
        })
        .collect()
}
