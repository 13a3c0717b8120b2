//! A ranking of heads read back from its folder.

use super::report;
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::table::HeadAblationRow;

/// The report.
///
/// # Errors
/// A table that is missing, of another version or not as declared.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let rows = stored.rows::<HeadAblationRow>()?;
    Ok(report(&rows, facts(stored.manifest()), rerun)?)
}
