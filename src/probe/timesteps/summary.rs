//! All ways of asking on one axis: the table `noise_level`.

use super::answers::Attribute;
use super::levels::NoiseLevels;
use super::masks::MASK;
use crate::table::{LinearProbeRow, NoiseLevelRow};

/// How rows of `noise_level` name this way of asking.
pub const PROBE: &str = "probe";

/// One attribute's selectivity at one timestep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Read {
    /// Timestep of training.
    pub timestep: f64,
    /// Noise over signal there.
    pub sigma: f64,
    /// Selectivity, its lower and its upper end.
    pub selectivity: [f64; 3],
}

/// The attributes of the table `linear_probe` that one aspect is read by.
pub(super) fn read_by(aspect: Attribute) -> &'static [&'static str] {
    match aspect {
        Attribute::Layout => &["x", "y"],
        Attribute::Count => &["count"],
        Attribute::Shape => &["shape"],
        Attribute::Colour => &["colour"],
        Attribute::Size => &["size"],
        Attribute::Background => &["background"],
        Attribute::Light => &["light"],
        Attribute::Finish => &["finish"],
        Attribute::Word => &["letters", "first letter"],
    }
}

/// The site of the denoiser that tells most: the largest selectivity of ridge regressions, mean
/// over the attributes that every site is read for, and timesteps; masks are read out of blocks
/// alone. None without any.
pub fn most_telling_site(rows: &[LinearProbeRow]) -> Option<&str> {
    let mut sums: Vec<(&str, f64, usize)> = Vec::new();
    let counts = |row: &&LinearProbeRow| {
        is_ridge(row) && row.attribute != MASK && !row.site.starts_with("step.")
    };
    for row in rows.iter().filter(counts) {
        match sums.iter_mut().find(|(site, ..)| *site == row.site) {
            Some((_, sum, count)) => (*sum, *count) = (*sum + row.selectivity, *count + 1),
            None => sums.push((&row.site, row.selectivity, 1)),
        }
    }
    let mean = |&(_, sum, count): &(&str, f64, usize)| sum / count as f64;
    sums.iter().max_by(|a, b| mean(a).total_cmp(&mean(b))).map(|(site, ..)| *site)
}

fn is_ridge(row: &LinearProbeRow) -> bool {
    row.control.is_none() && row.regression == "ridge"
}

/// Selectivity of an aspect at a site, from the noisiest timestep on; the mean over the numbers
/// that it is read by.
pub fn read_at(
    rows: &[LinearProbeRow],
    site: &str,
    aspect: Attribute,
    control: Option<&str>,
) -> Vec<Read> {
    let names = read_by(aspect);
    let own: Vec<&LinearProbeRow> = rows
        .iter()
        .filter(|row| {
            row.site == site
                && row.regression == "ridge"
                && row.control.as_deref() == control
                && names.contains(&row.attribute.as_str())
        })
        .collect();
    let mut timesteps: Vec<f64> = own.iter().map(|row| row.timestep).collect();
    timesteps.sort_by(|a, b| b.total_cmp(a));
    timesteps.dedup();
    let at = |timestep: f64| {
        let here: Vec<&&LinearProbeRow> =
            own.iter().filter(|row| row.timestep == timestep).collect();
        let mean = |of: fn(&LinearProbeRow) -> f64| {
            here.iter().map(|row| of(row)).sum::<f64>() / here.len() as f64
        };
        Read {
            timestep,
            sigma: mean(|row| row.sigma),
            selectivity: [
                mean(|row| row.selectivity),
                mean(|row| row.selectivity_low),
                mean(|row| row.selectivity_high),
            ],
        }
    };
    timesteps.into_iter().map(at).collect()
}

/// Where, coming from the noise, selectivity first reaches half of the most it reaches, by
/// attribute at one site. An attribute whose best interval includes 0 has no row.
pub fn probe_levels(
    run: &str,
    rows: &[LinearProbeRow],
    site: &str,
    levels: &NoiseLevels,
) -> Vec<NoiseLevelRow> {
    let of_aspect = |aspect: Attribute| {
        let read = read_at(rows, site, aspect, None);
        let best = read.iter().max_by(|a, b| a.selectivity[0].total_cmp(&b.selectivity[0]))?;
        if best.selectivity[1] <= 0.0 {
            return None;
        }
        let half = best.selectivity[0] / 2.0;
        let (timestep, sigma) = reaches(&read, 0, half)?;
        let scenes = rows
            .iter()
            .find(|row| row.site == site && read_by(aspect).contains(&row.attribute.as_str()))?;
        Some(NoiseLevelRow {
            run: run.to_owned(),
            aspect: aspect.name().to_owned(),
            method: PROBE.to_owned(),
            step: levels.step_of_sigma(sigma),
            timestep,
            timestep_low: reaches(&read, 1, half).map(|(timestep, _)| timestep),
            timestep_high: reaches(&read, 2, half).map(|(timestep, _)| timestep),
            sigma,
            units: scenes.scenes,
            left_out: scenes.left_out,
        })
    };
    Attribute::ALL.into_iter().filter_map(of_aspect).collect()
}

/// Timestep and σ at which a curve (0: selectivity, 1 and 2: its ends) first reaches a value,
/// between two timesteps where it lies there.
fn reaches(read: &[Read], curve: usize, value: f64) -> Option<(f64, f64)> {
    let first = read.iter().position(|at| at.selectivity[curve] >= value)?;
    let here = &read[first];
    let Some(before) = first.checked_sub(1).map(|i| &read[i]) else {
        return Some((here.timestep, here.sigma));
    };
    let (low, high) = (before.selectivity[curve], here.selectivity[curve]);
    let share = (value - low) / (high - low);
    let timestep = before.timestep + share * (here.timestep - before.timestep);
    let sigma = if before.sigma.is_finite() {
        (before.sigma.ln() + share * (here.sigma.ln() - before.sigma.ln())).exp()
    } else {
        here.sigma
    };
    Some((timestep, sigma))
}

/// The aspects of a summary in the order of a figure: attributes from layout to texture, then bands
/// from low to high frequencies.
pub fn aspects(rows: &[NoiseLevelRow]) -> Vec<String> {
    let attributes = Attribute::ALL.iter().map(|a| a.name().to_owned());
    let mut bands: Vec<String> = Vec::new();
    for row in rows.iter().filter(|row| row.aspect.starts_with("band ")) {
        if !bands.contains(&row.aspect) {
            bands.push(row.aspect.clone());
        }
    }
    let known = |aspect: &String| rows.iter().any(|row| row.aspect == *aspect);
    attributes.filter(known).chain(bands).collect()
}
