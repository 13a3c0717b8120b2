//! A run about the embedding space read back from its folder.

use image::RgbImage;

use super::report::{Found, picture_label};
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::table::{ClipPathRow, ImageRow};

/// The report.
///
/// # Errors
/// Tables that are missing, of another version or not as declared, and images that cannot be read.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let paths = stored.optional_rows::<ClipPathRow>()?;
    let found = Found {
        rows: stored.rows()?,
        similarities: stored.rows()?,
        analogies: stored.rows()?,
        orders: stored.rows()?,
        pictures: pictures(stored, &paths)?,
        paths,
    };
    Ok(found.report(facts(stored.manifest()), rerun)?)
}

/// The images of the first route and seed.
fn pictures(
    stored: &StoredReader<'_>,
    paths: &[ClipPathRow],
) -> Result<Vec<(String, RgbImage)>, StoredError> {
    let Some(first) = paths.first() else { return Ok(Vec::new()) };
    let images = stored.rows::<ImageRow>()?;
    let mut pictures = Vec::new();
    for row in paths.iter().filter(|row| row.is_beside(first)) {
        if let Some(image) = images.iter().find(|image| image.sample == row.sample) {
            pictures.push((picture_label(row), stored.image(&image.file)?));
        }
    }
    Ok(pictures)
}
