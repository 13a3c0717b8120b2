//! The autoencoder between pixels and latents: `AutoencoderKL` (Kingma & Welling 2014;
//! Rombach et al. 2022, section 3.1).

use tch::Tensor;

use super::config::VaeConfig;
use super::layers::{Conv2d, GroupNorm, Linear};
use super::parameters::Scope;
use super::resnet::{Downsample, Resnet, ResnetShape, Upsample, fine_axes};
use crate::site::SiteId;
use crate::tap::{Cx, TapError};

/// ε of all norms, whatever the config says of others.
const EPS: f64 = 1e-6;

/// Single-head self-attention over all positions of the smallest map.
#[derive(Debug)]
struct MidAttention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl MidAttention {
    fn new(scope: &Scope<'_>, groups: i64, c: i64) -> Self {
        let linear = |name| Linear::new(&scope.below(name), c, c);
        Self {
            group_norm: GroupNorm::new(&scope.below("group_norm"), groups, c, EPS),
            to_q: linear("to_q"),
            to_k: linear("to_k"),
            to_v: linear("to_v"),
            to_out: linear("to_out.0"),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let (h, w) = (x.size()[2], x.size()[3]);
        let y = self.group_norm.forward(x).permute([0, 2, 3, 1]).flatten(1, 2);
        let one_head = |y: Tensor| y.unsqueeze(1);
        let q = one_head(self.to_q.forward(&y));
        let k = one_head(self.to_k.forward(&y));
        let v = one_head(self.to_v.forward(&y));
        let none = None::<Tensor>;
        let z = Tensor::scaled_dot_product_attention(&q, &k, &v, none, 0.0, false, None, false);
        let z = self.to_out.forward(&z.squeeze_dim(1));
        z.unflatten(1, [h, w]).permute([0, 3, 1, 2]) + x
    }
}

#[derive(Debug)]
struct Mid {
    resnets: [Resnet; 2],
    attention: MidAttention,
    at: SiteId,
}

impl Mid {
    fn new(scope: &Scope<'_>, config: &VaeConfig, c: i64) -> Self {
        let scope = scope.at("mid_block", "mid");
        let resnet = |j| resnet(&scope, config, j, [c, c], 1);
        Self {
            resnets: [resnet(0), resnet(1)],
            attention: MidAttention::new(&scope.below("attentions.0"), config.norm_num_groups, c),
            at: scope.site("out", &fine_axes(c, 1)),
        }
    }

    fn forward(&self, x: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        let x = self.resnets[0].forward(x, None, cx)?;
        let x = self.attention.forward(&x);
        let x = self.resnets[1].forward(&x, None, cx)?;
        cx.tap(self.at, x)
    }
}

#[derive(Debug)]
struct Level<R> {
    resnets: Vec<Resnet>,
    resample: Option<R>,
    at: SiteId,
}

/// Pixels → the mean and log variance of the latents.
#[derive(Debug)]
struct Encoder {
    conv_in: Conv2d,
    down: Vec<Level<Downsample>>,
    mid: Mid,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// Latents → pixels.
#[derive(Debug)]
struct Decoder {
    conv_in: Conv2d,
    mid: Mid,
    up: Vec<Level<Upsample>>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

fn resnet(scope: &Scope<'_>, config: &VaeConfig, j: i64, channels: [i64; 2], times: i64) -> Resnet {
    let (groups, axes) = (config.norm_num_groups, fine_axes(channels[1], times));
    let shape = ResnetShape { channels, time: None, groups, eps: EPS, axes };
    Resnet::new(&scope.at(format!("resnets.{j}"), format!("res.{j}")), &shape)
}

impl Encoder {
    fn new(scope: &Scope<'_>, config: &VaeConfig) -> Self {
        let scope = scope.at("encoder", "encode");
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let level = |i: usize| {
            let scope = scope.at(format!("down_blocks.{i}"), format!("down.{i}"));
            let (from, to) = (channels[i.saturating_sub(1)], channels[i]);
            let (times, after) = (1 << (last - i), 1 << (last - i).saturating_sub(1));
            let resnet = |j| resnet(&scope, config, j, [if j == 0 { from } else { to }, to], times);
            let downsample = || Downsample::new(&scope.below("downsamplers.0"), to, 0);
            Level {
                resnets: (0..config.layers_per_block).map(resnet).collect(),
                resample: (i < last).then(downsample),
                at: scope.site("out", &fine_axes(to, after)),
            }
        };
        let (c, out) = (channels[last], 2 * config.latent_channels);
        Self {
            conv_in: Conv2d::three(&scope.below("conv_in"), [config.in_channels, channels[0]]),
            down: (0..=last).map(level).collect(),
            mid: Mid::new(&scope, config, c),
            conv_norm_out: GroupNorm::new(
                &scope.below("conv_norm_out"),
                config.norm_num_groups,
                c,
                EPS,
            ),
            conv_out: Conv2d::three(&scope.below("conv_out"), [c, out]),
        }
    }

    fn forward(&self, x: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        let mut x = self.conv_in.forward(x);
        for level in &self.down {
            for resnet in &level.resnets {
                x = resnet.forward(&x, None, cx)?;
            }
            if let Some(downsample) = &level.resample {
                x = downsample.forward(&x);
            }
            x = cx.tap(level.at, x)?;
        }
        let x = self.mid.forward(&x, cx)?;
        Ok(self.conv_out.forward(&self.conv_norm_out.forward(&x).silu()))
    }
}

impl Decoder {
    fn new(scope: &Scope<'_>, config: &VaeConfig) -> Self {
        let scope = scope.at("decoder", "decode");
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let level = |i: usize| {
            let scope = scope.at(format!("up_blocks.{i}"), format!("up.{i}"));
            let (from, to) = (channels[(last - i + 1).min(last)], channels[last - i]);
            let (times, after) = (1 << i, 1 << (i + 1).min(last));
            let resnet = |j| resnet(&scope, config, j, [if j == 0 { from } else { to }, to], times);
            let upsample = || Upsample::new(&scope.below("upsamplers.0"), to);
            Level {
                resnets: (0..=config.layers_per_block).map(resnet).collect(),
                resample: (i < last).then(upsample),
                at: scope.site("out", &fine_axes(to, after)),
            }
        };
        let c = channels[last];
        Self {
            conv_in: Conv2d::three(&scope.below("conv_in"), [config.latent_channels, c]),
            mid: Mid::new(&scope, config, c),
            up: (0..=last).map(level).collect(),
            conv_norm_out: GroupNorm::new(
                &scope.below("conv_norm_out"),
                config.norm_num_groups,
                channels[0],
                EPS,
            ),
            conv_out: Conv2d::three(&scope.below("conv_out"), [channels[0], config.out_channels]),
        }
    }

    fn forward(&self, x: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        let mut x = self.mid.forward(&self.conv_in.forward(x), cx)?;
        for level in &self.up {
            for resnet in &level.resnets {
                x = resnet.forward(&x, None, cx)?;
            }
            if let Some(upsample) = &level.resample {
                x = upsample.forward(&x, [x.size()[2] * 2, x.size()[3] * 2]);
            }
            x = cx.tap(level.at, x)?;
        }
        Ok(self.conv_out.forward(&self.conv_norm_out.forward(&x).silu()))
    }
}

/// A normal distribution over latents, one mean and variance a number.
#[derive(Debug)]
pub struct Moments {
    /// [n, c, h, w].
    pub mean: Tensor,
    /// Log variance in [−30, 20], [n, c, h, w].
    pub log_var: Tensor,
}

impl Moments {
    /// Bounds that diffusers keeps the log variance in.
    const LOG_VAR: [f64; 2] = [-30.0, 20.0];

    fn new(moments: &Tensor) -> Self {
        let parts = moments.chunk(2, 1);
        let log_var = parts[1].clamp(Self::LOG_VAR[0], Self::LOG_VAR[1]);
        Self { mean: parts[0].shallow_clone(), log_var }
    }

    /// A latent drawn from the distribution.
    pub fn sample(&self) -> Tensor {
        &self.mean + (&self.log_var * 0.5).exp() * self.mean.randn_like()
    }

    /// KL divergence from the unit normal, summed over the latent, `[n]`
    /// (Kingma & Welling 2014, appendix B).
    pub fn kl(&self) -> Tensor {
        let each = self.mean.square() + self.log_var.exp() - 1.0 - &self.log_var;
        each.flatten(1, -1).sum_dim_intlist([1_i64].as_slice(), false, None::<tch::Kind>) * 0.5
    }
}

/// Encoder and decoder between images in [−1, 1] and latents.
#[derive(Debug)]
pub struct Vae {
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
    moments: SiteId,
    image: SiteId,
}

impl Vae {
    /// Takes its parameters from `scope`; the config must have passed its check.
    pub fn new(scope: &Scope<'_>, config: &VaeConfig) -> Self {
        let (c, scope) = (config.latent_channels, scope.at("", "vae"));
        let quant = || Conv2d::one(&scope.below("quant_conv"), [2 * c, 2 * c]);
        let post_quant = || Conv2d::one(&scope.below("post_quant_conv"), [c, c]);
        Self {
            encoder: Encoder::new(&scope, config),
            quant_conv: config.use_quant_conv.then(quant),
            post_quant_conv: config.use_post_quant_conv.then(post_quant),
            decoder: Decoder::new(&scope, config),
            moments: scope.site("encode.moments", &fine_axes(2 * c, 1)),
            image: scope.site("decode.out", &fine_axes(config.out_channels, config.downscale())),
        }
    }

    /// Images [n, 3, h, w] in [−1, 1] → the distribution of their latents, before the
    /// scaling factor.
    ///
    /// # Errors
    /// The tap's own.
    pub fn encode(&self, images: &Tensor, cx: &mut Cx<'_>) -> Result<Moments, TapError> {
        let encoded = self.encoder.forward(images, cx)?;
        let moments = match &self.quant_conv {
            Some(conv) => conv.forward(&encoded),
            None => encoded,
        };
        Ok(Moments::new(&cx.tap(self.moments, moments)?))
    }

    /// Latents [n, c, h, w], before the scaling factor → images [n, 3, h, w], about [−1, 1].
    ///
    /// # Errors
    /// The tap's own.
    pub fn decode(&self, latents: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        let images = match &self.post_quant_conv {
            Some(conv) => self.decoder.forward(&conv.forward(latents), cx)?,
            None => self.decoder.forward(latents, cx)?,
        };
        cx.tap(self.image, images)
    }
}
