//! A run over many scenes read back from its folder.

use super::report::Scores;
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::table::{AttentionScoreRow, LeakageRow};
use crate::world;

/// The report.
///
/// # Errors
/// Tables that are missing, of another version or not as declared.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let places = stored.rows::<AttentionScoreRow>()?;
    let leakage = stored.rows::<LeakageRow>()?;
    let manifest = stored.manifest();
    let mut timesteps: Vec<f64> = Vec::new();
    for timestep in places.iter().filter_map(|row| row.timestep) {
        if !timesteps.contains(&timestep) {
            timesteps.push(timestep);
        }
    }
    let world = manifest.world_version.clone().unwrap_or_else(|| world::VERSION.to_string());
    let facts =
        super::report::shown_facts(facts(manifest), manifest.prompts.len(), &timesteps, &world);
    Ok(Scores { places, leakage }.report(facts, rerun)?)
}
