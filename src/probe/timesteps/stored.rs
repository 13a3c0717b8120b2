//! A run read back from its folder.

use super::features::Readings;
use super::levels::NoiseLevels;
use super::report::{STRIP, STRIP_CAPTION, TimestepsRun};
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::table::X0AnswerRow;

/// The report; strips of predicted images are as the run drew them.
///
/// # Errors
/// Tables of another version or not as declared, and figures that are gone.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let mut run = TimestepsRun {
        noise_levels: stored.optional_rows()?,
        commitments: stored.optional_rows()?,
        bands: stored.optional_rows()?,
        switches: stored.optional_rows()?,
        over_time: stored.optional_rows()?,
        similarities: stored.optional_rows()?,
        probes: Readings { rows: stored.optional_rows()?, missing: Vec::new() },
        missing: stored.manifest().warnings.clone(),
        ..TimestepsRun::default()
    };
    run.levels = levels(&run, &stored.optional_rows()?);
    let figures = stored.manifest().files.iter();
    let names = figures.filter_map(|f| f.path.strip_prefix("figures/")?.strip_suffix(".png"));
    let mut strips: Vec<(usize, &str)> =
        names.filter_map(|name| Some((name.strip_prefix(STRIP)?.parse().ok()?, name))).collect();
    strips.sort_unstable();
    let strips = strips
        .into_iter()
        .map(|(_, name)| stored.picture(name, STRIP_CAPTION))
        .collect::<Result<_, _>>()?;
    Ok(run.report(strips, facts(stored.manifest()), rerun)?)
}

/// The noise levels of the sampler's steps, from the tables that have a row a step.
fn levels(run: &TimestepsRun, answers: &[X0AnswerRow]) -> NoiseLevels {
    let mut levels = NoiseLevels::default();
    let mut add = |step: u32, level: Option<(f64, f64)>| {
        // A switch after the last step has no level: it tells how many steps there are.
        let step = step as usize;
        let length = step + usize::from(level.is_some());
        if levels.timesteps.len() < length {
            levels.timesteps.resize(length, f64::NAN);
            levels.sigmas.resize(length, f64::NAN);
        }
        if let Some((timestep, sigma)) = level {
            (levels.timesteps[step], levels.sigmas[step]) = (timestep, sigma);
        }
    };
    for row in &run.switches {
        add(row.switch_step, row.timestep.zip(row.sigma));
    }
    for row in &run.over_time {
        add(row.step, Some((row.timestep, row.sigma)));
    }
    for row in run.bands.iter().filter(|row| row.source == super::bands::SAMPLED) {
        add(row.step, Some((row.timestep, row.sigma)));
    }
    for row in answers {
        add(row.step, Some((row.timestep, row.sigma)));
    }
    levels
}
