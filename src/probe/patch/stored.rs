//! A patching run read back from its folder.

use super::{CLEAN, CORRUPTED, LATENT, PatchImages, report};
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::table::{ImageRow, PatchRow};

/// The report.
///
/// # Errors
/// Tables that are missing, of another version or not as declared, and images that cannot be read.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let rows = stored.rows::<PatchRow>()?;
    let images = stored.rows::<ImageRow>()?;
    let first = |name: &str| {
        let found = images.iter().find(|row| row.file.starts_with(&format!("images/{name}-")));
        let row = found.ok_or_else(|| StoredError::NoImage { name: name.to_owned() })?;
        Ok::<_, StoredError>((row.prompt.clone(), stored.image(&row.file)?))
    };
    let kept = stored.manifest().files.iter().any(|file| file.path == RESTORED_FILE);
    let best = match best_change(&rows) {
        Some(label) if kept => Some((label, stored.image(RESTORED_FILE)?)),
        _ => None,
    };
    let pictures = PatchImages { clean: first(CLEAN)?, corrupted: first(CORRUPTED)?, best };
    Ok(report(&rows, &pictures, facts(stored.manifest()), rerun)?)
}

/// Where the image of the change that brought back most is kept.
pub const RESTORED_FILE: &str = "images/restored.png";

/// The group and the steps of the change that brought back most of the latents, as the report of
/// the run itself has them: of equals the first.
fn best_change(rows: &[PatchRow]) -> Option<String> {
    let mut changes: Vec<(&str, u32, u32, f64)> = Vec::new();
    for row in rows.iter().filter(|row| row.measure == LATENT && row.control.is_none()) {
        let (Some(group), Some(first), Some(last)) = (&row.group, row.first_step, row.last_step)
        else {
            continue;
        };
        let value = row.value.unwrap_or_default();
        match changes.iter_mut().find(|(g, f, ..)| g == group && *f == first) {
            Some((.., sum)) => *sum += value,
            None => changes.push((group.as_str(), first, last, value)),
        }
    }
    let best = changes.into_iter().reduce(|best, next| if next.3 > best.3 { next } else { best });
    best.map(|(group, first, last, _)| format!("{group}, steps {first}–{last}"))
}
