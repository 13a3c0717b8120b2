//! Causal tracing: what comes back when some sites of a clean run are restored in the run of a
//! corrupted prompt, for groups of sites and windows of steps (Meng et al. 2022, section 2, for
//! language models; Basu et al. 2024 for text-to-image models).

pub mod heads;
mod report;
pub mod stored;

pub use report::{PatchImages, findings, heat_map, report};

use std::collections::BTreeMap;

use crate::measure::interval::{DEFAULT_CONFIDENCE, Estimate};
use crate::table::PatchRow;

/// As many sites, drawn at random.
pub const RANDOM_SITES: &str = "random-sites";
/// The corrupted run restored into itself, which must change nothing.
pub const ITSELF: &str = "itself";
/// The clean prompt's run.
pub const CLEAN: &str = "clean";
/// The corrupted prompt's run.
pub const CORRUPTED: &str = "corrupted";

/// Measure: how near the last latent is to the clean run's.
pub const LATENT: &str = "latent";
/// Measure: how near the image is.
pub const IMAGE: &str = "image";
/// Measure: what of the clean prompt the judge finds.
pub const ATOMS: &str = "atoms";

/// The group that a site of the denoiser belongs to: its block and what it is the output of.
/// `None` for sites within an attention layer and all others.
pub fn group_of(site: &str) -> Option<String> {
    let kind = match site {
        s if s.ends_with(".cross.out") => "cross-attention",
        s if s.ends_with(".self.out") => "self-attention",
        s if s.ends_with(".ff.out") => "feed-forward",
        s if s.contains(".res.") && s.ends_with(".out") => "residual blocks",
        _ => return None,
    };
    let mut parts = site.split('.');
    match (parts.next()?, parts.next()?) {
        (side @ ("down" | "up"), level) => Some(format!("{side}.{level} {kind}")),
        ("mid", _) => Some(format!("mid {kind}")),
        _ => None,
    }
}

/// `count` windows of steps, first and last of each, that cover `steps` as evenly as may be.
pub fn windows(steps: usize, count: usize) -> Vec<(usize, usize)> {
    let count = count.clamp(1, steps.max(1));
    let start = |window: usize| window * steps / count;
    (0..count).map(|window| (start(window), start(window + 1) - 1)).collect()
}

/// 1 − ‖patched − clean‖ / ‖corrupted − clean‖; `None` where the corruption changed nothing.
pub fn recovery(patched: &[f32], clean: &[f32], corrupted: &[f32]) -> Option<f64> {
    let distance = |a: &[f32]| {
        let squares = a.iter().zip(clean).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let whole = distance(corrupted);
    (whole > 0.0).then(|| 1.0 - distance(patched) / whole)
}

/// What one group in one window brings back, over images.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The group; `None` where no site was restored.
    pub group: Option<String>,
    /// First step of the window.
    pub first_step: Option<u32>,
    /// Timesteps of the window's ends.
    pub timesteps: Option<(f64, f64)>,
    /// Name of the control, if it is one.
    pub control: Option<String>,
    /// The mean over images.
    pub mean: f64,
    /// Its 95 % interval over images (Student's t), if there are two or more.
    pub interval: Option<(f64, f64)>,
    /// Images it rests on.
    pub images: usize,
}

/// The means over images of one measure, the largest first; those of controls too.
pub fn effects(rows: &[PatchRow], measure: &str) -> Vec<Effect> {
    let mut changes: BTreeMap<_, Vec<&PatchRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.measure == measure) {
        let key = (row.control.clone(), row.group.clone(), row.first_step);
        changes.entry(key).or_default().push(row);
    }
    let effect = |((control, group, first_step), rows): ((_, _, _), Vec<&PatchRow>)| {
        let values: Vec<f64> = rows.iter().filter_map(|row| row.value).collect();
        let timesteps = rows.first().and_then(|row| row.from_timestep.zip(row.to_timestep));
        let images = values.len();
        let mean = values.iter().sum::<f64>() / images.max(1) as f64;
        let estimate = Estimate::of_mean(&values, DEFAULT_CONFIDENCE).ok();
        let interval = estimate.map(|estimate| (estimate.low, estimate.high));
        Effect { group, first_step, timesteps, control, mean, interval, images }
    };
    let mut effects: Vec<Effect> = changes.into_iter().map(effect).collect();
    effects.retain(|effect| effect.images > 0);
    effects.sort_by(|a, b| b.mean.total_cmp(&a.mean));
    effects
}

#[cfg(test)]
mod tests {
    use super::{group_of, recovery, windows};

    #[test]
    fn sites_are_grouped_by_block_and_kind() {
        let group = |site: &str| group_of(site).unwrap_or_default();
        assert_eq!(group("up.1.attn.0.block.0.cross.out"), "up.1 cross-attention");
        assert_eq!(group("mid.attn.0.block.0.ff.out"), "mid feed-forward");
        assert_eq!(group("down.0.res.1.out"), "down.0 residual blocks");
        assert_eq!(group("mid.res.0.out"), "mid residual blocks");
        for other in ["up.1.attn.0.block.0.cross.q", "up.1.out", "step.eps", "text.out"] {
            assert_eq!(group_of(other), None, "{other}");
        }
    }

    #[test]
    fn windows_cover_all_steps_once() {
        assert_eq!(windows(25, 5), [(0, 4), (5, 9), (10, 14), (15, 19), (20, 24)]);
        assert_eq!(windows(3, 2), [(0, 0), (1, 2)]);
        assert_eq!(windows(2, 5), [(0, 0), (1, 1)]);
        assert_eq!(windows(7, 1), [(0, 6)]);
    }

    #[test]
    fn recovery_is_one_at_the_clean_run_and_zero_at_the_corrupted() {
        let (clean, corrupted) = ([1.0, 2.0, 3.0], [1.0, 4.0, 3.0]);
        assert_eq!(recovery(&clean, &clean, &corrupted), Some(1.0));
        assert_eq!(recovery(&corrupted, &clean, &corrupted), Some(0.0));
        assert_eq!(recovery(&[1.0, 3.0, 3.0], &clean, &corrupted), Some(0.5));
        assert_eq!(recovery(&[1.0, 6.0, 3.0], &clean, &corrupted), Some(-1.0));
        assert_eq!(recovery(&clean, &clean, &clean), None);
    }
}
