//! A run of suites, or a person's review of one, read back from its folder.

use std::path::Path;

use image::RgbImage;

use super::report::{FailuresInput, report};
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::run::StoredRun;
use crate::suite::gap::summarise;
use crate::table::OutcomeRow;

/// The report. Images of a review are those of the reviewed run, if it is still where it was.
///
/// # Errors
/// Tables that are missing, of another version or not as declared.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let outcomes = stored.rows::<OutcomeRow>()?;
    let summary = summarise(&outcomes).map_err(StoredError::probe)?;
    let arguments = stored.spec_list("arguments")?;
    let reviewed = arguments.last().and_then(|path| StoredRun::open(Path::new(path)).ok());
    let image = |row: &OutcomeRow| -> Option<RgbImage> {
        let file = row.image.as_deref()?;
        let of_reviewed = || StoredReader::new(reviewed.as_ref()?).image(file).ok();
        stored.image(file).ok().or_else(of_reviewed)
    };
    Ok(report(&FailuresInput {
        outcomes: &outcomes,
        summary: &summary,
        atoms: &stored.optional_rows()?,
        seen: &stored.optional_rows()?,
        human: &stored.optional_rows()?,
        image: &image,
        facts: facts(stored.manifest()),
        rerun,
    })?)
}
