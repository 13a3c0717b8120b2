//! The denoiser's config.

use serde::{Deserialize, Serialize};

use super::{
    ConfigError, MOST_CHANNELS, MOST_PARTS, Neutral, OtherFields, PerBlock, check_channels,
    check_neutral, check_range, check_types, damaged, default_eps, one, silu, thirty_two, two,
    unsupported, yes,
};

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
    #[serde(default, deserialize_with = "super::or_default")]
    pub use_linear_projection: bool,
    /// Scores of attention in f32 where they are written out, whatever the other kinds.
    #[serde(
        default,
        deserialize_with = "super::or_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub upcast_attention: bool,
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
    /// `text_time` where a pooled prompt and sizes are added to the timestep embedding (SDXL).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addition_embed_type: Option<String>,
    /// Sinusoids that each of the added sizes becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addition_time_embed_dim: Option<i64>,
    /// Channels of the pooled prompt and all sinusoids of the sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_class_embeddings_input_dim: Option<i64>,
    /// Fields that are not read; those that would change the computation are refused.
    #[serde(flatten)]
    pub other: OtherFields,
}

/// The widths of what is added to the timestep embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddedWidths {
    /// Channels of the pooled prompt.
    pub pooled: i64,
    /// Sinusoids that each size becomes.
    pub sinusoids: i64,
}

/// Height and width of the original, top and left of the crop, height and width of the target.
pub const ADDED_SIZES: i64 = 6;

fn default_mid_block() -> Option<String> {
    Some("UNetMidBlock2DCrossAttn".into())
}

fn default_heads() -> PerBlock {
    PerBlock::Same(8)
}

fn one_each() -> PerBlock {
    PerBlock::Same(1)
}

/// What would change the computation. Names, defaults and meaning: `UNet2DConditionModel` of
/// diffusers 0.42.
const NEUTRAL: [(&str, Neutral, &str); 24] = [
    ("center_input_sample", Neutral::Is(false), "latents as they come (false)"),
    ("num_class_embeds", Neutral::Absent, "denoisers without class conditioning"),
    ("class_embed_type", Neutral::Absent, "denoisers without class conditioning"),
    ("class_embeddings_concat", Neutral::Is(false), "denoisers without class conditioning"),
    ("dual_cross_attention", Neutral::Is(false), "one cross-attention a block (false)"),
    ("only_cross_attention", Neutral::Is(false), "blocks with self-attention (false)"),
    ("mid_block_only_cross_attention", Neutral::Is(false), "blocks with self-attention (false)"),
    ("cross_attention_norm", Neutral::Absent, "null"),
    ("attention_type", Neutral::Word("default"), "`default`: grounded generation is not supported"),
    ("num_attention_heads", Neutral::Absent, "null: `attention_head_dim` has the number of heads"),
    ("reverse_transformer_layers_per_block", Neutral::Absent, "up blocks as deep as down blocks"),
    ("encoder_hid_dim", Neutral::Absent, "text embeddings as they come (null)"),
    ("encoder_hid_dim_type", Neutral::Absent, "text embeddings as they come (null)"),
    ("resnet_time_scale_shift", Neutral::Word("default"), "`default`"),
    ("resnet_skip_time_act", Neutral::Is(false), "false"),
    ("resnet_out_scale_factor", Neutral::Number(1.0), "1"),
    ("mid_block_scale_factor", Neutral::Number(1.0), "1"),
    ("time_embedding_type", Neutral::Word("positional"), "`positional`"),
    ("time_embedding_dim", Neutral::Absent, "null: four times the first block's channels"),
    ("time_embedding_act_fn", Neutral::Absent, "null"),
    ("timestep_post_act", Neutral::Absent, "null"),
    ("time_cond_proj_dim", Neutral::Absent, "denoisers that are not told the guidance scale"),
    ("conv_in_kernel", Neutral::Number(3.0), "3"),
    ("conv_out_kernel", Neutral::Number(3.0), "3"),
];

impl UnetConfig {
    /// Checks that the architecture is one that is built here, before any tensor is made.
    ///
    /// # Errors
    /// The first field that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_task()?;
        self.check_blocks()?;
        check_neutral(&self.other, &NEUTRAL)?;
        if self.act_fn != "silu" {
            unsupported("act_fn", &self.act_fn, "silu")?;
        }
        check_range("cross_attention_dim", self.cross_attention_dim, MOST_CHANNELS)?;
        let blocks = self.down_block_types.len();
        self.transformer_layers_per_block.check(
            "transformer_layers_per_block",
            MOST_PARTS,
            blocks,
        )?;
        self.attention_head_dim.check("attention_head_dim", MOST_PARTS, blocks)?;
        for (i, &c) in self.block_out_channels.iter().enumerate() {
            let heads = self.attention_head_dim.of(i);
            if c % heads != 0 {
                damaged("attention_head_dim", heads, &format!("divisors of the {c} channels"))?;
            }
        }
        self.added().map(|_| ())
    }

    /// Denoisers that read more than the noisy latents say so by their channels.
    fn check_task(&self) -> Result<(), ConfigError> {
        check_range("in_channels", self.in_channels, MOST_CHANNELS)?;
        check_range("out_channels", self.out_channels, MOST_CHANNELS)?;
        if self.in_channels == self.out_channels {
            return Ok(());
        }
        let task = match self.in_channels {
            5 => "a depth-guided denoiser, which also reads a depth map",
            7 => "an upscaling denoiser, which also reads a small image",
            8 => "an image-editing denoiser, which also reads an image",
            9 => "an inpainting denoiser, which also reads a mask and the masked image",
            _ => "a denoiser that reads something else than it writes",
        };
        unsupported(
            "in_channels",
            format!("{} ({task})", self.in_channels),
            &format!("denoisers of noisy latents alone ({} channels)", self.out_channels),
        )
    }

    fn check_blocks(&self) -> Result<(), ConfigError> {
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
            damaged("up_block_types", self.up_block_types.len(), "as many as down blocks")?;
        }
        if self.mid_block_type.as_deref() != Some("UNetMidBlock2DCrossAttn") {
            let got = self.mid_block_type.as_deref().unwrap_or("null");
            unsupported("mid_block_type", got, "UNetMidBlock2DCrossAttn")?;
        }
        check_range("layers_per_block", self.layers_per_block, MOST_PARTS)
    }

    /// What is added to the timestep embedding, if anything is.
    ///
    /// # Errors
    /// A kind of addition that is not built here, or one that does not say its widths.
    pub fn added(&self) -> Result<Option<AddedWidths>, ConfigError> {
        match self.addition_embed_type.as_deref() {
            None => return Ok(None),
            Some("text_time") => {}
            Some(other) => unsupported("addition_embed_type", other, "null and text_time")?,
        }
        let sinusoids = self.addition_time_embed_dim.unwrap_or_default();
        let all = self.projection_class_embeddings_input_dim.unwrap_or_default();
        check_range("addition_time_embed_dim", sinusoids, MOST_CHANNELS)?;
        let pooled = all - ADDED_SIZES * sinusoids;
        if !(1..=MOST_CHANNELS).contains(&pooled) {
            let least = format!(
                "more than {ADDED_SIZES} × addition_time_embed_dim, {}",
                ADDED_SIZES * sinusoids
            );
            damaged("projection_class_embeddings_input_dim", all, &least)?;
        }
        Ok(Some(AddedWidths { pooled, sinusoids }))
    }
}
