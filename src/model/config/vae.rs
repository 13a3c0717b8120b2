//! The autoencoder's config.

use serde::{Deserialize, Serialize};
use tch::Kind;

use super::{
    ConfigError, MOST_CHANNELS, MOST_PARTS, Neutral, OtherFields, check_channels, check_neutral,
    check_range, check_types, damaged, one, silu, thirty_two, unsupported, yes,
};

/// `vae/config.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VaeConfig {
    /// Image channels in.
    pub in_channels: i64,
    /// Image channels out.
    pub out_channels: i64,
    /// Channels of the latents.
    pub latent_channels: i64,
    /// Channels of each level, highest resolution first; each but the last is halved.
    pub block_out_channels: Vec<i64>,
    /// `DownEncoderBlock2D` each.
    pub down_block_types: Vec<String>,
    /// `UpDecoderBlock2D` each.
    pub up_block_types: Vec<String>,
    /// Residual blocks a level (the decoder has one more).
    #[serde(default = "one")]
    pub layers_per_block: i64,
    /// Groups of all group norms.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: i64,
    /// Side of the images it was trained on, in pixels.
    #[serde(default)]
    pub sample_size: i64,
    /// Latents are multiplied by this after encoding, so that they have unit variance.
    #[serde(default = "default_scaling")]
    pub scaling_factor: f64,
    /// Activation.
    #[serde(default = "silu")]
    pub act_fn: String,
    /// A 1×1 convolution behind the encoder.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub use_quant_conv: bool,
    /// A 1×1 convolution before the decoder.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub use_post_quant_conv: bool,
    /// Its activations overflow f16: it computes in f32 where the model is f16.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub force_upcast: bool,
    /// Fields that are not read; those that would change the computation are refused.
    #[serde(flatten)]
    pub other: OtherFields,
}

fn is_yes(flag: &bool) -> bool {
    *flag
}

fn default_scaling() -> f64 {
    0.18215
}

/// What would change the computation. Names and defaults: `AutoencoderKL` of diffusers 0.42.
const NEUTRAL: [(&str, Neutral, &str); 4] = [
    ("shift_factor", Neutral::Number(0.0), "latents that are scaled, not shifted (null)"),
    ("latents_mean", Neutral::Absent, "latents that are scaled by one number (null)"),
    ("latents_std", Neutral::Absent, "latents that are scaled by one number (null)"),
    ("mid_block_add_attention", Neutral::Is(true), "autoencoders with attention (true)"),
];

impl VaeConfig {
    /// Checks that the architecture is one that is built here.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let blocks = self.down_block_types.len();
        let channels = &self.block_out_channels;
        check_channels("block_out_channels", channels, self.norm_num_groups, blocks)?;
        check_types("down_block_types", &self.down_block_types, &["DownEncoderBlock2D"])?;
        check_types("up_block_types", &self.up_block_types, &["UpDecoderBlock2D"])?;
        check_neutral(&self.other, &NEUTRAL)?;
        if self.act_fn != "silu" {
            unsupported("act_fn", &self.act_fn, "silu")?;
        }
        check_range("layers_per_block", self.layers_per_block, MOST_PARTS)?;
        check_range("latent_channels", self.latent_channels, MOST_CHANNELS)?;
        if !(self.scaling_factor.is_finite() && self.scaling_factor > 0.0) {
            damaged("scaling_factor", self.scaling_factor, "positive numbers")?;
        }
        Ok(())
    }

    /// Pixels a side of one latent cell.
    pub fn downscale(&self) -> i64 {
        1 << (self.block_out_channels.len().saturating_sub(1))
    }

    /// The kind the autoencoder computes in where the rest of the model computes in `kind`.
    pub fn kind(&self, kind: Kind) -> Kind {
        if self.force_upcast && kind == Kind::Half { Kind::Float } else { kind }
    }
}
