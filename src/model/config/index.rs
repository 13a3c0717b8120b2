//! What a whole folder says of itself.

use serde::Deserialize;

use super::{ConfigError, OtherFields, unsupported};

/// `model_index.json`; all its fields may be missing.
#[derive(Clone, Debug, Deserialize)]
pub struct ModelIndex {
    /// The pipeline it was saved from.
    #[serde(rename = "_class_name", default)]
    pub class_name: Option<String>,
    /// Without a negative prompt the unconditional embedding is zero, not that of the empty
    /// prompt. Read where there are two text encoders; there it is usual.
    #[serde(default = "super::yes")]
    pub force_zeros_for_empty_prompt: bool,
    /// Whether the denoiser is told an aesthetics score (SDXL's refiner).
    #[serde(default)]
    pub requires_aesthetics_score: bool,
    /// The parts, by name.
    #[serde(flatten)]
    pub parts: OtherFields,
}

impl Default for ModelIndex {
    /// That of a folder without such a file.
    fn default() -> Self {
        Self {
            class_name: None,
            force_zeros_for_empty_prompt: super::yes(),
            requires_aesthetics_score: false,
            parts: OtherFields::default(),
        }
    }
}

impl ModelIndex {
    /// Checks that the folder holds a U-Net that goes from text to image.
    ///
    /// # Errors
    /// The pipeline's class where it is another family's.
    pub fn check(&self) -> Result<(), ConfigError> {
        let class = self.class_name.as_deref().unwrap_or("not given");
        let has = |part: &str| self.parts.get(part).is_some_and(|value| !value.is_null());
        if has("transformer") || (self.class_name.is_some() && !has("unet")) {
            let got = format!("{class} (no U-Net: Flux, Stable Diffusion 3 and kin have none)");
            unsupported("_class_name", got, "pipelines with a U-Net")?;
        }
        if self.requires_aesthetics_score {
            unsupported("requires_aesthetics_score", true, "base models; this is a refiner")?;
        }
        Ok(())
    }
}
