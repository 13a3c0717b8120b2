//! The configs of a diffusers folder, as far as they decide the architecture.

use serde::{Deserialize, Serialize};

/// A number for every block, or one number a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerBlock {
    /// The same everywhere.
    Same(i64),
    /// One a down block, highest resolution first.
    Each(Vec<i64>),
}

impl PerBlock {
    /// The number of down block `i`.
    pub fn of(&self, i: usize) -> i64 {
        match self {
            PerBlock::Same(n) => *n,
            PerBlock::Each(list) => list.get(i).or(list.last()).copied().unwrap_or_default(),
        }
    }

    fn numbers(&self) -> &[i64] {
        match self {
            PerBlock::Same(n) => std::slice::from_ref(n),
            PerBlock::Each(list) => list,
        }
    }
}

/// `unet/config.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnetConfig {
    /// Height and width of the latents it was trained on.
    pub sample_size: i64,
    /// Channels of the latents.
    pub in_channels: i64,
    /// Channels of the prediction.
    pub out_channels: i64,
    /// Channels of each down block.
    pub block_out_channels: Vec<i64>,
    /// `CrossAttnDownBlock2D` or `DownBlock2D` each.
    pub down_block_types: Vec<String>,
    /// `CrossAttnUpBlock2D` or `UpBlock2D` each.
    pub up_block_types: Vec<String>,
    /// `UNetMidBlock2DCrossAttn`.
    #[serde(default = "default_mid_block")]
    pub mid_block_type: Option<String>,
    /// Residual blocks a down block (up blocks have one more).
    #[serde(default = "two")]
    pub layers_per_block: i64,
    /// Channels of the prompt's embedding.
    pub cross_attention_dim: i64,
    /// The number of heads, despite its name (diffusers keeps it for old files).
    #[serde(default = "default_heads")]
    pub attention_head_dim: PerBlock,
    /// Transformer blocks in each transformer.
    #[serde(default = "one_each")]
    pub transformer_layers_per_block: PerBlock,
    /// Linear projections around the transformers.
    #[serde(default)]
    pub use_linear_projection: bool,
    /// Groups of all group norms.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: i64,
    /// ε of the residual blocks' norms.
    #[serde(default = "default_eps")]
    pub norm_eps: f64,
    /// Cosine before sine in the timestep embedding.
    #[serde(default = "yes")]
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies.
    #[serde(default)]
    pub freq_shift: f64,
    /// Padding of the downsampling convolutions.
    #[serde(default = "one")]
    pub downsample_padding: i64,
    /// Activation; only `silu` exists in Stable Diffusion.
    #[serde(default = "silu")]
    pub act_fn: String,
    /// Extra conditioning (SDXL's `text_time`), not read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addition_embed_type: Option<String>,
    /// Class conditioning, not supported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_embed_type: Option<String>,
}

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
}

/// `text_encoder/config.json`.
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

fn default_mid_block() -> Option<String> {
    Some("UNetMidBlock2DCrossAttn".into())
}
fn one() -> i64 {
    1
}
fn two() -> i64 {
    2
}
fn thirty_two() -> i64 {
    32
}
fn yes() -> bool {
    true
}
fn default_eps() -> f64 {
    1e-5
}
fn default_heads() -> PerBlock {
    PerBlock::Same(8)
}
fn one_each() -> PerBlock {
    PerBlock::Same(1)
}
fn default_scaling() -> f64 {
    0.18215
}
fn silu() -> String {
    "silu".into()
}
fn quick_gelu() -> String {
    "quick_gelu".into()
}
fn default_projection() -> i64 {
    512
}

/// A config that asks for what is not built here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{field}` is {got}; this version reads {supported}")]
pub struct ConfigError {
    /// The field.
    pub field: String,
    /// Its value.
    pub got: String,
    /// What is supported.
    pub supported: String,
}

fn refuse(field: &str, got: impl ToString, supported: &str) -> Result<(), ConfigError> {
    Err(ConfigError { field: field.into(), got: got.to_string(), supported: supported.into() })
}

/// Larger channel counts than any public model has; keeps a hostile config from asking for
/// all memory.
const MOST_CHANNELS: i64 = 16_384;
/// More layers, blocks or heads than any public model has.
const MOST_PARTS: i64 = 128;

fn check_range(field: &str, value: i64, most: i64) -> Result<(), ConfigError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    refuse(field, value, &format!("1 to {most}"))
}

fn check_channels(
    field: &str,
    channels: &[i64],
    groups: i64,
    blocks: usize,
) -> Result<(), ConfigError> {
    check_range("norm_num_groups", groups, MOST_CHANNELS)?;
    if channels.is_empty() || channels.len() != blocks {
        return refuse(
            field,
            format!("{channels:?}"),
            &format!("one number for each of {blocks} blocks"),
        );
    }
    for &c in channels {
        check_range(field, c, MOST_CHANNELS)?;
        if c % groups != 0 {
            return refuse(field, c, &format!("multiples of norm_num_groups ({groups})"));
        }
    }
    Ok(())
}

fn check_types(field: &str, types: &[String], supported: &[&str]) -> Result<(), ConfigError> {
    match types.iter().find(|t| !supported.contains(&t.as_str())) {
        Some(other) => refuse(field, other, &supported.join(" and ")),
        None => Ok(()),
    }
}

impl UnetConfig {
    /// Checks that the architecture is one that is built here, before any tensor is made.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let blocks = self.down_block_types.len();
        let channels = &self.block_out_channels;
        check_channels("block_out_channels", channels, self.norm_num_groups, blocks)?;
        check_types(
            "down_block_types",
            &self.down_block_types,
            &["CrossAttnDownBlock2D", "DownBlock2D"],
        )?;
        check_types("up_block_types", &self.up_block_types, &["CrossAttnUpBlock2D", "UpBlock2D"])?;
        if self.up_block_types.len() != blocks {
            refuse("up_block_types", self.up_block_types.len(), "as many as down blocks")?;
        }
        if self.mid_block_type.as_deref() != Some("UNetMidBlock2DCrossAttn") {
            let got = self.mid_block_type.as_deref().unwrap_or("null");
            refuse("mid_block_type", got, "UNetMidBlock2DCrossAttn")?;
        }
        for (field, value) in [
            ("addition_embed_type", &self.addition_embed_type),
            ("class_embed_type", &self.class_embed_type),
        ] {
            if let Some(value) = value {
                refuse(field, value, "models without it (Stable Diffusion 1 and 2)")?;
            }
        }
        if self.act_fn != "silu" {
            refuse("act_fn", &self.act_fn, "silu")?;
        }
        check_range("layers_per_block", self.layers_per_block, MOST_PARTS)?;
        check_range("cross_attention_dim", self.cross_attention_dim, MOST_CHANNELS)?;
        check_range("in_channels", self.in_channels, MOST_CHANNELS)?;
        check_range("out_channels", self.out_channels, MOST_CHANNELS)?;
        for &depth in self.transformer_layers_per_block.numbers() {
            check_range("transformer_layers_per_block", depth, MOST_PARTS)?;
        }
        for &heads in self.attention_head_dim.numbers() {
            check_range("attention_head_dim", heads, MOST_PARTS)?;
        }
        for (i, &c) in channels.iter().enumerate() {
            let heads = self.attention_head_dim.of(i);
            if c % heads != 0 {
                refuse("attention_head_dim", heads, &format!("divisors of the {c} channels"))?;
            }
        }
        Ok(())
    }
}

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
        if self.act_fn != "silu" {
            refuse("act_fn", &self.act_fn, "silu")?;
        }
        check_range("layers_per_block", self.layers_per_block, MOST_PARTS)?;
        check_range("latent_channels", self.latent_channels, MOST_CHANNELS)?;
        if !(self.scaling_factor.is_finite() && self.scaling_factor > 0.0) {
            refuse("scaling_factor", self.scaling_factor, "positive numbers")?;
        }
        Ok(())
    }

    /// Pixels a side of one latent cell.
    pub fn downscale(&self) -> i64 {
        1 << (self.block_out_channels.len().saturating_sub(1))
    }
}

impl ClipTextConfig {
    /// Checks that the architecture is one that is built here.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        const MOST_TOKENS: i64 = 1 << 20;
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
            refuse("patch_size", self.patch_size, "divisors of image_size")?;
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
        refuse("num_attention_heads", heads, &format!("divisors of hidden_size ({hidden})"))?;
    }
    if !["quick_gelu", "gelu"].contains(&act) {
        refuse("hidden_act", act, "quick_gelu and gelu")?;
    }
    Ok(())
}
