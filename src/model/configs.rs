//! All configs of a model's folder, and whether they belong together.

use super::checkpoint::{ModelError, ModelFiles};
use super::config::{ClipTextConfig, ModelIndex, UnetConfig, VaeConfig};

/// All configs of a folder.
pub(super) struct Configs {
    pub index: ModelIndex,
    pub unet: UnetConfig,
    pub vae: VaeConfig,
    pub text: ClipTextConfig,
    pub second_text: Option<ClipTextConfig>,
}

impl Configs {
    /// Reads and checks them.
    ///
    /// # Errors
    /// The first that is missing, unreadable, asks for what is not built here, or does not fit
    /// the others.
    pub fn read(files: &ModelFiles) -> Result<Self, ModelError> {
        const UNET: &str = "unet/config.json";
        const TRANSFORMER: &str = "transformer/config.json";
        const SECOND_TEXT: &str = "text_encoder_2/config.json";
        let config = |file: &str| {
            let path = files.path(file);
            move |source| ModelError::Config { path, source }
        };
        let index = files.index()?;
        let unet: UnetConfig = match files.json(UNET) {
            Err(ModelError::MissingFile { .. }) if files.read(TRANSFORMER).is_ok() => {
                return Err(ModelError::Disagree(format!(
                    "{}: a transformer in place of the U-Net (Flux, Stable Diffusion 3 and kin); this \
                     version runs U-Nets: choose a checkpoint of Stable Diffusion 1, 2 or XL",
                    files.path(TRANSFORMER).display()
                )));
            }
            other => other?,
        };
        unet.check().map_err(config(UNET))?;
        let vae: VaeConfig = files.json("vae/config.json")?;
        vae.check().map_err(config("vae/config.json"))?;
        let text: ClipTextConfig = files.json("text_encoder/config.json")?;
        text.check().map_err(config("text_encoder/config.json"))?;
        let added = unet.added().map_err(config(UNET))?;
        let second_text = match added {
            Some(_) => Some(files.json::<ClipTextConfig>(SECOND_TEXT)?),
            None => None,
        };
        if let Some(second) = &second_text {
            second.check().map_err(config(SECOND_TEXT))?;
        }
        let all = Self { index, unet, vae, text, second_text };
        all.agree()?;
        Ok(all)
    }

    /// Parts of one model fit each other.
    fn agree(&self) -> Result<(), ModelError> {
        let Self { unet, vae, text, second_text: second, .. } = self;
        let width = text.hidden_size + second.as_ref().map_or(0, |second| second.hidden_size);
        if unet.cross_attention_dim != width {
            let both = second.as_ref().map_or("", |_| ", with that of text_encoder_2");
            return Err(ModelError::Disagree(format!(
                "unet/config.json has cross_attention_dim {}, but text_encoder/config.json has \
                 hidden_size {width}{both}: these parts belong to different models",
                unet.cross_attention_dim
            )));
        }
        if let (Some(second), Ok(Some(added))) = (second, unet.added())
            && added.pooled != second.projection_dim
        {
            return Err(ModelError::Disagree(format!(
                "unet/config.json adds a pooled prompt of {} channels, but \
                 text_encoder_2/config.json has projection_dim {}: these parts belong to \
                 different models",
                added.pooled, second.projection_dim
            )));
        }
        if unet.in_channels != vae.latent_channels {
            return Err(ModelError::Disagree(format!(
                "the denoiser reads and writes {} channels, the autoencoder's latents have {}: \
                 these parts belong to different models",
                unet.in_channels, vae.latent_channels
            )));
        }
        Ok(())
    }
}
