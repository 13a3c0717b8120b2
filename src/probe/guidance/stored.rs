//! A sweep over guidance scales read back from its folder.

use std::collections::BTreeMap;

use super::figures::ScaledPart;
use super::report::{Outcome, SHEET, SHEET_CAPTION};
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::table::{GuidanceImageRow, GuidanceRow};

/// The report; the sheet of images is as the run drew it.
///
/// # Errors
/// Tables that are missing, of another version or not as declared; a sheet that is gone.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let images = stored.rows::<GuidanceImageRow>()?;
    let mut prompts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &images {
        let next = prompts.len();
        prompts.entry(&row.prompt).or_insert(next);
    }
    let outcome = Outcome {
        rows: stored.rows()?,
        changes: stored.rows()?,
        left_out: stored.manifest().warnings.clone(),
        parts: scaled(&stored.rows::<GuidanceRow>()?, &images, &prompts),
        prompts: prompts.len(),
    };
    let sheet = stored.picture(SHEET, SHEET_CAPTION)?;
    Ok(outcome.report(sheet, facts(stored.manifest()), rerun)?)
}

/// The parts of the guidance term with the scale and prompt of their image.
fn scaled(
    parts: &[GuidanceRow],
    images: &[GuidanceImageRow],
    prompts: &BTreeMap<&str, usize>,
) -> Vec<ScaledPart> {
    let of_sample: BTreeMap<u32, (f64, usize)> = images
        .iter()
        .filter_map(|row| Some((row.sample?, (row.scale?, *prompts.get(row.prompt.as_str())?))))
        .collect();
    let part = |row: &GuidanceRow| {
        let &(scale, prompt) = of_sample.get(&row.sample)?;
        ScaledPart::new(scale, prompt, row)
    };
    parts.iter().filter_map(part).collect()
}
