//! Configs of CLIP's towers.

use serde::{Deserialize, Serialize};

use super::{
    ConfigError, MOST_CHANNELS, MOST_PARTS, Neutral, OtherFields, check_neutral, check_range,
    damaged, default_eps, two, unsupported,
};

/// `text_encoder/config.json` and `text_encoder_2/config.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClipTextConfig {
    /// Rows of the token table.
    pub vocab_size: i64,
    /// Channels of the stream.
    pub hidden_size: i64,
    /// Channels inside the feed-forward parts.
    pub intermediate_size: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Heads.
    pub num_attention_heads: i64,
    /// Longest prompt in tokens, start and end included.
    pub max_position_embeddings: i64,
    /// `quick_gelu` or `gelu`.
    #[serde(default = "quick_gelu")]
    pub hidden_act: String,
    /// ε of the norms.
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
    /// Id whose first place is pooled; 2 means the highest id, as old files have it.
    #[serde(default = "two")]
    pub eos_token_id: i64,
    /// Channels of the joint space of text and images.
    #[serde(default = "default_projection")]
    pub projection_dim: i64,
    /// Fields that are not read; those that would change the computation are refused.
    #[serde(flatten)]
    pub other: OtherFields,
}

/// The image tower of a CLIP (a vision transformer, Dosovitskiy et al. 2021).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClipVisionConfig {
    /// Channels of the stream.
    pub hidden_size: i64,
    /// Channels inside the feed-forward parts.
    pub intermediate_size: i64,
    /// Layers.
    pub num_hidden_layers: i64,
    /// Heads.
    pub num_attention_heads: i64,
    /// Side of the image in pixels.
    pub image_size: i64,
    /// Side of a patch in pixels.
    pub patch_size: i64,
    /// `quick_gelu` or `gelu`.
    #[serde(default = "quick_gelu")]
    pub hidden_act: String,
    /// ε of the norms.
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f64,
    /// Channels of the joint space of text and images.
    pub projection_dim: i64,
}

fn quick_gelu() -> String {
    "quick_gelu".into()
}

fn default_projection() -> i64 {
    512
}

/// What would make it another encoder.
const NEUTRAL: [(&str, Neutral, &str); 1] =
    [("model_type", Neutral::Word("clip_text_model"), "CLIP's text encoders (clip_text_model)")];

impl ClipTextConfig {
    /// Checks that the architecture is one that is built here.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        const MOST_TOKENS: i64 = 1 << 20;
        check_neutral(&self.other, &NEUTRAL)?;
        check_range("projection_dim", self.projection_dim, MOST_CHANNELS)?;
        check_range("vocab_size", self.vocab_size, MOST_TOKENS)?;
        check_range("max_position_embeddings", self.max_position_embeddings, MOST_TOKENS)?;
        check_tower(
            [self.hidden_size, self.intermediate_size],
            self.num_hidden_layers,
            self.num_attention_heads,
            &self.hidden_act,
        )
    }
}

impl ClipVisionConfig {
    /// Checks that the architecture is one that is built here.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_range("patch_size", self.patch_size, self.image_size)?;
        if self.image_size % self.patch_size != 0 {
            damaged("patch_size", self.patch_size, "divisors of image_size")?;
        }
        check_tower(
            [self.hidden_size, self.intermediate_size],
            self.num_hidden_layers,
            self.num_attention_heads,
            &self.hidden_act,
        )
    }
}

fn check_tower(
    [hidden, intermediate]: [i64; 2],
    layers: i64,
    heads: i64,
    act: &str,
) -> Result<(), ConfigError> {
    check_range("hidden_size", hidden, MOST_CHANNELS)?;
    check_range("intermediate_size", intermediate, 4 * MOST_CHANNELS)?;
    check_range("num_hidden_layers", layers, MOST_PARTS)?;
    check_range("num_attention_heads", heads, MOST_PARTS)?;
    if hidden % heads != 0 {
        damaged("num_attention_heads", heads, &format!("divisors of hidden_size ({hidden})"))?;
    }
    if !["quick_gelu", "gelu"].contains(&act) {
        unsupported("hidden_act", act, "quick_gelu and gelu")?;
    }
    Ok(())
}
