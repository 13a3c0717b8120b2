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
    /// The pipeline's class where it is another family's or part of one.
    pub fn check(&self) -> Result<(), ConfigError> {
        let class = self.class_name.as_deref().unwrap_or("not given");
        if self.has("transformer") || (self.class_name.is_some() && !self.has("unet")) {
            let got = format!("{class} (no U-Net: Flux, Stable Diffusion 3 and kin have none)");
            let supported = "pipelines with a U-Net: Stable Diffusion 1.x, 2.x and XL";
            unsupported("_class_name", got, supported)?;
        }
        if self.parts.contains_key("text_encoder") && !self.has("text_encoder") {
            let got = format!("{class} without its first text encoder");
            unsupported("text_encoder", got, "base models; this may be a refiner")?;
        }
        if self.requires_aesthetics_score {
            unsupported("requires_aesthetics_score", true, "base models; this is a refiner")?;
        }
        Ok(())
    }

    /// Whether the pipeline has a part; one that it goes without is `[null, null]`.
    fn has(&self, part: &str) -> bool {
        let class = self.parts.get(part).map(|entry| entry.get(0).unwrap_or(entry));
        class.is_some_and(|class| !class.is_null())
    }
}
