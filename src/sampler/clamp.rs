//! Keeping the predicted clean latent in range.

use tch::Tensor;

use super::config::Defaults;
use super::{SamplerKind, ScheduleError, SchedulerConfig};

/// What is done to each predicted clean latent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Clamp {
    /// Nothing.
    None,
    /// It is kept within ± this.
    Range(f64),
    /// Dynamic thresholding (Saharia et al. 2022, section 2.3): each image is kept within ± a
    /// quantile of its own magnitudes, that quantile being no less than 1 and no more than
    /// `most`, and divided by it.
    Dynamic {
        /// Which quantile, in [0, 1].
        quantile: f64,
        /// The largest range.
        most: f64,
    },
}

impl Clamp {
    /// Whatever the config asks for.
    pub fn of(config: &SchedulerConfig, kind: SamplerKind) -> Result<Self, ScheduleError> {
        if config.thresholding {
            return Self::dynamic(config);
        }
        let clip = config.clip_sample.unwrap_or(Defaults::of(kind).clip_sample);
        Ok(if clip { Self::Range(config.clip_sample_range) } else { Self::None })
    }

    /// Dynamic thresholding or nothing: for samplers that never clip.
    pub fn threshold_of(config: &SchedulerConfig) -> Result<Self, ScheduleError> {
        if config.thresholding { Self::dynamic(config) } else { Ok(Self::None) }
    }

    fn dynamic(config: &SchedulerConfig) -> Result<Self, ScheduleError> {
        let quantile = config.option("dynamic_thresholding_ratio", 0.995)?;
        if !(0.0..=1.0).contains(&quantile) {
            let needed = "a quantile is within [0, 1]";
            return Err(config.unsupported("dynamic_thresholding_ratio", quantile, needed));
        }
        Ok(Self::Dynamic { quantile, most: config.option("sample_max_value", 1.0)? })
    }

    /// The clean latents [n, c, h, w] in range.
    pub fn apply(self, x0: Tensor) -> Tensor {
        match self {
            Self::None => x0,
            Self::Range(range) => x0.clamp(-range, range),
            Self::Dynamic { quantile, most } => {
                let magnitudes = x0.abs().flatten(1, -1);
                let s = magnitudes.quantile_scalar(quantile, 1, false, "linear");
                let s = s.clamp_min(1.0).clamp_max(most).view([-1, 1, 1, 1]);
                x0.clamp_tensor(Some(-&s), Some(s.shallow_clone())) / s
            }
        }
    }
}
