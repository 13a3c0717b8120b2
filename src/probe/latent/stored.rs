//! A run about the autoencoder read back from its folder.

use super::report::{Outcome, SHEET, SHEET_CAPTION};
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};

/// The report; the sheet of images is as the run drew it.
///
/// # Errors
/// Tables that are missing, of another version or not as declared; a sheet that is gone.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let outcome =
        Outcome { survival: stored.rows()?, bands: stored.rows()?, impulses: stored.rows()? };
    let sheet = stored.picture(SHEET, SHEET_CAPTION)?;
    Ok(outcome.report(sheet, facts(stored.manifest()), rerun)?)
}
