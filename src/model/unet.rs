//! The denoiser: `UNet2DConditionModel` (Ronneberger et al. 2015; Rombach et al. 2022).

use tch::{Kind, Tensor};

use super::attention::{AttentionKernel, Context, Transformer, TransformerShape};
use super::conditioning::{Added, Conditioning, ConditioningError};
use super::config::{ADDED_SIZES, AddedWidths, UnetConfig};
use super::layers::{Conv2d, GroupNorm};
use super::parameters::Scope;
use super::resnet::{
    Downsample, Resnet, ResnetShape, Sinusoids, Upsample, VectorEmbedding, map_axes,
};
use crate::site::SiteId;
use crate::tap::{Cx, TapError};

/// The timestep embedding is this many times as wide as the first block.
const TIME_WIDTH: i64 = 4;

#[derive(Debug)]
struct DownBlock {
    resnets: Vec<Resnet>,
    attentions: Vec<Transformer>,
    downsample: Option<Downsample>,
    at: SiteId,
}

#[derive(Debug)]
struct MidBlock {
    resnets: [Resnet; 2],
    attention: Transformer,
    at: SiteId,
}

#[derive(Debug)]
struct UpBlock {
    resnets: Vec<Resnet>,
    attentions: Vec<Transformer>,
    upsample: Option<Upsample>,
    at: SiteId,
}

/// The pooled prompt and sizes that are added to the timestep embedding (SDXL; Podell et al.
/// 2023, section 2.2).
#[derive(Debug)]
struct AddedEmbedding {
    sinusoids: Sinusoids,
    pooled: i64,
    embedding: VectorEmbedding,
}

/// Predicts the noise (or v, or x0) in noisy latents, told the timestep and the prompt.
#[derive(Debug)]
pub struct Unet {
    context: i64,
    conv_in: Conv2d,
    sinusoids: Sinusoids,
    time: VectorEmbedding,
    added: Option<AddedEmbedding>,
    down: Vec<DownBlock>,
    mid: MidBlock,
    up: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// What all blocks of one U-Net share.
struct Plan<'a> {
    config: &'a UnetConfig,
    kernel: AttentionKernel,
}

impl Plan<'_> {
    fn resnet(&self, scope: &Scope<'_>, j: i64, channels: [i64; 2], divisor: i64) -> Resnet {
        let shape = ResnetShape {
            channels,
            time: Some(self.config.block_out_channels[0] * TIME_WIDTH),
            groups: self.config.norm_num_groups,
            eps: self.config.norm_eps,
            axes: map_axes(channels[1], divisor),
        };
        Resnet::new(&scope.at(format!("resnets.{j}"), format!("res.{j}")), &shape)
    }

    fn transformer(&self, scope: &Scope<'_>, j: i64, level: usize) -> Transformer {
        let shape = TransformerShape {
            channels: self.config.block_out_channels[level],
            heads: self.config.attention_head_dim.of(level),
            context: self.config.cross_attention_dim,
            depth: self.config.transformer_layers_per_block.of(level),
            groups: self.config.norm_num_groups,
            linear_projection: self.config.use_linear_projection,
            kernel: self.kernel,
            upcast: self.config.upcast_attention,
            divisor: 1 << level,
        };
        Transformer::new(&scope.at(format!("attentions.{j}"), format!("attn.{j}")), &shape)
    }

    fn sinusoids(&self, count: i64) -> Sinusoids {
        let UnetConfig { flip_sin_to_cos, freq_shift, .. } = *self.config;
        Sinusoids { count, flip_sin_to_cos, freq_shift }
    }

    fn added(&self, root: &Scope<'_>) -> Option<AddedEmbedding> {
        // The config has passed its check: there is nothing to report here.
        let AddedWidths { pooled, sinusoids } = self.config.added().ok()??;
        let scope = root.at("add_embedding", "time");
        let widths =
            [pooled + ADDED_SIZES * sinusoids, self.config.block_out_channels[0] * TIME_WIDTH];
        Some(AddedEmbedding {
            sinusoids: self.sinusoids(sinusoids),
            pooled,
            embedding: VectorEmbedding::new(&scope, "added", widths),
        })
    }

    fn down(&self, root: &Scope<'_>, level: usize) -> DownBlock {
        let config = self.config;
        let scope = root.at(format!("down_blocks.{level}"), format!("down.{level}"));
        let outputs = config.block_out_channels[level];
        let inputs = config.block_out_channels[level.saturating_sub(1)];
        let divisor = 1 << level;
        let has_attention = config.down_block_types[level].starts_with("CrossAttn");
        let (mut resnets, mut attentions) = (Vec::new(), Vec::new());
        for j in 0..config.layers_per_block {
            let from = if j == 0 { inputs } else { outputs };
            resnets.push(self.resnet(&scope, j, [from, outputs], divisor));
            if has_attention {
                attentions.push(self.transformer(&scope, j, level));
            }
        }
        let is_last = level + 1 == config.block_out_channels.len();
        let downsample =
            || Downsample::new(&scope.below("downsamplers.0"), outputs, config.downsample_padding);
        let after = if is_last { divisor } else { divisor * 2 };
        DownBlock {
            resnets,
            attentions,
            downsample: (!is_last).then(downsample),
            at: scope.site("out", &map_axes(outputs, after)),
        }
    }

    fn mid(&self, root: &Scope<'_>) -> MidBlock {
        let scope = root.at("mid_block", "mid");
        let level = self.config.block_out_channels.len() - 1;
        let (c, divisor) = (self.config.block_out_channels[level], 1 << level);
        let first = self.resnet(&scope, 0, [c, c], divisor);
        let attention = self.transformer(&scope, 0, level);
        let second = self.resnet(&scope, 1, [c, c], divisor);
        let at = scope.site("out", &map_axes(c, divisor));
        MidBlock { resnets: [first, second], attention, at }
    }

    fn up(&self, root: &Scope<'_>, i: usize) -> UpBlock {
        let config = self.config;
        let scope = root.at(format!("up_blocks.{i}"), format!("up.{i}"));
        let last = config.block_out_channels.len() - 1;
        let level = last - i;
        let outputs = config.block_out_channels[level];
        let below = config.block_out_channels[(level + 1).min(last)];
        let skip_of_next = config.block_out_channels[level.saturating_sub(1)];
        let divisor = 1 << level;
        let has_attention = config.up_block_types[i].starts_with("CrossAttn");
        let (mut resnets, mut attentions) = (Vec::new(), Vec::new());
        for j in 0..=config.layers_per_block {
            let from = if j == 0 { below } else { outputs };
            let skip = if j == config.layers_per_block { skip_of_next } else { outputs };
            resnets.push(self.resnet(&scope, j, [from + skip, outputs], divisor));
            if has_attention {
                attentions.push(self.transformer(&scope, j, level));
            }
        }
        let upsample = || Upsample::new(&scope.below("upsamplers.0"), outputs);
        let after = if level == 0 { divisor } else { divisor / 2 };
        UpBlock {
            resnets,
            attentions,
            upsample: (level > 0).then(upsample),
            at: scope.site("out", &map_axes(outputs, after)),
        }
    }
}

impl Unet {
    /// Takes its parameters from `scope`; the config must have passed its check.
    pub fn new(scope: &Scope<'_>, config: &UnetConfig, kernel: AttentionKernel) -> Self {
        let plan = Plan { config, kernel };
        let first = config.block_out_channels[0];
        let levels = config.block_out_channels.len();
        let sinusoids = plan.sinusoids(first);
        let widths = [first, first * TIME_WIDTH];
        Self {
            context: config.cross_attention_dim,
            conv_in: Conv2d::three(&scope.below("conv_in"), [config.in_channels, first]),
            sinusoids,
            time: VectorEmbedding::new(&scope.at("time_embedding", "time"), "embed", widths),
            added: plan.added(scope),
            down: (0..levels).map(|level| plan.down(scope, level)).collect(),
            mid: plan.mid(scope),
            up: (0..levels).map(|i| plan.up(scope, i)).collect(),
            conv_norm_out: GroupNorm::new(
                &scope.below("conv_norm_out"),
                config.norm_num_groups,
                first,
                config.norm_eps,
            ),
            conv_out: Conv2d::three(&scope.below("conv_out"), [first, config.out_channels]),
        }
    }

    /// Puts together what the denoiser is told of the prompts, once a run: context
    /// [n, tokens, c'], and what is added to the timestep embedding.
    ///
    /// # Errors
    /// What does not fit this denoiser, or what it lacks.
    pub fn condition(
        &self,
        context: Tensor,
        added: Option<&Added>,
    ) -> Result<Conditioning, ConditioningError> {
        let shape = context.size();
        let [n, _, width] = shape[..] else {
            return Err(ConditioningError::Context { expected: self.context, got: shape });
        };
        if width != self.context {
            return Err(ConditioningError::Context { expected: self.context, got: shape });
        }
        let added = match (&self.added, added) {
            (None, None) => None,
            (Some(of), Some(added)) => Some(of.joined(added, n)?),
            (Some(_), None) => return Err(ConditioningError::AddedMissing),
            (None, Some(_)) => return Err(ConditioningError::AddedUnread),
        };
        Ok(Conditioning { context: Context::new(context), added })
    }

    /// Latents x [n, c, h, w], timesteps `[n]`, what [`Self::condition`] made of n prompts →
    /// prediction [n, c, h, w].
    ///
    /// # Errors
    /// The tap's own.
    pub fn forward(
        &self,
        x: &Tensor,
        timesteps: &Tensor,
        conditioning: &Conditioning,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, TapError> {
        let context = &conditioning.context;
        // 1. timestep, and what is added to it
        let time = self.time.forward(&self.sinusoids.of(timesteps).to_kind(x.kind()), cx)?;
        let time = match (&self.added, &conditioning.added) {
            (Some(of), Some(added)) => time + of.embedding.forward(&added.to_kind(x.kind()), cx)?,
            _ => time,
        };
        // 2. in
        let x = self.conv_in.forward(x);
        // 3. down, keeping what each layer wrote
        let mut kept = vec![x.shallow_clone()];
        let mut x = x;
        for block in &self.down {
            x = block.forward(x, &time, context, &mut kept, cx)?;
        }
        // 4. middle
        x = self.mid.forward(&x, &time, context, cx)?;
        // 5. up, reading it back
        for block in &self.up {
            x = block.forward(x, &time, context, &mut kept, cx)?;
        }
        // 6. out
        // Samplers and their files have the plain order of numbers, whatever that of the weights.
        Ok(self.conv_out.forward(&self.conv_norm_out.forward(&x).silu()).contiguous())
    }
}

impl AddedEmbedding {
    /// The pooled prompts and the sinusoids of their sizes side by side, in f32.
    fn joined(&self, added: &Added, n: i64) -> Result<Tensor, ConditioningError> {
        let misfit =
            |expected, got: &Tensor| Err(ConditioningError::Added { expected, got: got.size() });
        if added.pooled.size() != [n, self.pooled] {
            return misfit([n, self.pooled], &added.pooled);
        }
        if added.sizes.size() != [n, ADDED_SIZES] {
            return misfit([n, ADDED_SIZES], &added.sizes);
        }
        let sizes = self.sinusoids.of(&added.sizes.flatten(0, -1)).view([n, -1]);
        Ok(Tensor::cat(&[added.pooled.to_kind(Kind::Float), sizes], -1))
    }
}

impl DownBlock {
    fn forward(
        &self,
        mut x: Tensor,
        time: &Tensor,
        context: &Context,
        kept: &mut Vec<Tensor>,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, TapError> {
        for (j, resnet) in self.resnets.iter().enumerate() {
            x = resnet.forward(&x, Some(time), cx)?;
            if let Some(attention) = self.attentions.get(j) {
                x = attention.forward(&x, context, cx)?;
            }
            kept.push(x.shallow_clone());
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(&x);
        }
        x = cx.tap(self.at, x)?;
        if self.downsample.is_some() {
            kept.push(x.shallow_clone());
        }
        Ok(x)
    }
}

impl MidBlock {
    fn forward(
        &self,
        x: &Tensor,
        time: &Tensor,
        context: &Context,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, TapError> {
        let x = self.resnets[0].forward(x, Some(time), cx)?;
        let x = self.attention.forward(&x, context, cx)?;
        let x = self.resnets[1].forward(&x, Some(time), cx)?;
        cx.tap(self.at, x)
    }
}

impl UpBlock {
    fn forward(
        &self,
        mut x: Tensor,
        time: &Tensor,
        context: &Context,
        kept: &mut Vec<Tensor>,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, TapError> {
        for (j, resnet) in self.resnets.iter().enumerate() {
            if let Some(skip) = kept.pop() {
                x = Tensor::cat(&[x, skip], 1);
            }
            x = resnet.forward(&x, Some(time), cx)?;
            if let Some(attention) = self.attentions.get(j) {
                x = attention.forward(&x, context, cx)?;
            }
        }
        if let Some(upsample) = &self.upsample {
            let size = |axis| kept.last().map_or(x.size()[axis] * 2, |skip| skip.size()[axis]);
            x = upsample.forward(&x, [size(2), size(3)]);
        }
        cx.tap(self.at, x)
    }
}
