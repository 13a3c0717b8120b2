//! Attention and the transformer that diffusers calls `Transformer2DModel`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tch::Tensor;

use super::layers::{Conv2d, GroupNorm, LayerNorm, Linear};
use super::parameters::Scope;
use crate::site::{Axis, SiteId};
use crate::tap::{Cx, TapError};

/// Which kernel computes attention.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum AttentionKernel {
    /// Explicit where somebody wants the probabilities, fused elsewhere.
    #[default]
    Auto,
    /// Always softmax(QKᵀ/√d) V written out.
    Explicit,
}

#[derive(Debug, Clone, Copy)]
struct AttentionSites {
    q: SiteId,
    k: SiteId,
    v: SiteId,
    probs: SiteId,
    out: SiteId,
}

/// What cross-attention reads of the prompts. The keys and values that the layers of one denoiser
/// make of it are the same at every step: they are made once and kept here.
#[derive(Debug)]
pub struct Context {
    tokens: Tensor,
    made: RefCell<BTreeMap<SiteId, [Tensor; 2]>>,
}

impl Context {
    /// Tokens [n, tokens, c'], for one denoiser.
    pub fn new(tokens: Tensor) -> Self {
        Self { tokens, made: RefCell::default() }
    }

    /// Keys and values of the layer that has this site, as `make` makes them the first time.
    fn keys_and_values(
        &self,
        at: SiteId,
        make: impl FnOnce(&Tensor) -> [Tensor; 2],
    ) -> [Tensor; 2] {
        let mut made = self.made.borrow_mut();
        made.entry(at).or_insert_with(|| make(&self.tokens)).each_ref().map(Tensor::shallow_clone)
    }
}

/// Multi-head attention of x to a context (itself, or the prompt); Vaswani et al. 2017, eq. 1.
#[derive(Debug)]
pub struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: i64,
    kernel: AttentionKernel,
    upcast: bool,
    at: AttentionSites,
}

/// The sizes of a transformer.
#[derive(Clone, Copy, Debug)]
pub struct TransformerShape {
    /// Channels of the stream it reads and writes.
    pub channels: i64,
    /// Attention heads; each has `channels / heads` dimensions.
    pub heads: i64,
    /// Channels of the prompt's embedding.
    pub context: i64,
    /// Transformer blocks in a row.
    pub depth: i64,
    /// Groups of the norm before it.
    pub groups: i64,
    /// Linear (SD 2, XL) instead of 1×1-convolution (SD 1) projections.
    pub linear_projection: bool,
    /// Which attention kernel.
    pub kernel: AttentionKernel,
    /// Scores in f32 where they are written out.
    pub upcast: bool,
    /// How often the latent grid's side was halved here, as a divisor.
    pub divisor: i64,
}

impl Attention {
    fn new(scope: &Scope<'_>, shape: &TransformerShape, cross: bool) -> Self {
        let (c, heads) = (shape.channels, shape.heads);
        let (context, key) =
            if cross { (shape.context, Axis::Token) } else { (c, Axis::Position(shape.divisor)) };
        let (head, query) = (Axis::Head(heads), Axis::Position(shape.divisor));
        let width = Axis::Channel(c / heads);
        let at = AttentionSites {
            q: scope.site("q", &[Axis::Image, head, query, width]),
            k: scope.site("k", &[Axis::Image, head, key, width]),
            v: scope.site("v", &[Axis::Image, head, key, width]),
            probs: scope.site("probs", &[Axis::Image, head, query, key]),
            out: scope.site("out", &[Axis::Image, query, Axis::Channel(c)]),
        };
        Self {
            to_q: Linear::without_bias(&scope.below("to_q"), c, c),
            to_k: Linear::without_bias(&scope.below("to_k"), context, c),
            to_v: Linear::without_bias(&scope.below("to_v"), context, c),
            to_out: Linear::new(&scope.below("to_out.0"), c, c),
            heads,
            kernel: shape.kernel,
            upcast: shape.upcast,
            at,
        }
    }

    /// x [n, queries, c], which looks at the context or, without one, at itself → the same shape.
    fn forward(
        &self,
        x: &Tensor,
        context: Option<&Context>,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, TapError> {
        let make = |from: &Tensor| {
            [&self.to_k, &self.to_v].map(|layer| self.split_heads(layer.forward(from)))
        };
        let q = cx.tap(self.at.q, self.split_heads(self.to_q.forward(x)))?;
        let [k, v] = match context {
            Some(context) => context.keys_and_values(self.at.k, make),
            None => make(x),
        };
        let (k, v) = (cx.tap(self.at.k, k)?, cx.tap(self.at.v, v)?);
        let z = if self.kernel == AttentionKernel::Explicit || cx.wants(self.at.probs) {
            let scale = 1.0 / (q.size()[3] as f64).sqrt();
            let kind = q.kind();
            let of = if self.upcast { tch::Kind::Float } else { kind };
            let scores = q.to_kind(of).matmul(&k.to_kind(of).transpose(-2, -1)) * scale;
            // Softmax in f32 whatever the kind of the scores.
            let probs = scores.softmax(-1, tch::Kind::Float).to_kind(kind);
            cx.tap(self.at.probs, probs)?.matmul(&v)
        } else {
            let none = None::<Tensor>;
            Tensor::scaled_dot_product_attention(&q, &k, &v, none, 0.0, false, None, false)
        };
        let (n, queries) = (x.size()[0], x.size()[1]);
        let z = z.transpose(1, 2).reshape([n, queries, -1]);
        cx.tap(self.at.out, self.to_out.forward(&z))
    }

    /// [n, tokens, c] → [n, heads, tokens, c / heads].
    fn split_heads(&self, x: Tensor) -> Tensor {
        let (n, tokens) = (x.size()[0], x.size()[1]);
        x.view([n, tokens, self.heads, -1]).transpose(1, 2)
    }
}

/// The gated feed-forward part (GEGLU, Shazeer 2020), four times as wide inside.
#[derive(Debug)]
struct FeedForward {
    proj: Linear,
    out: Linear,
    at: SiteId,
}

impl FeedForward {
    const EXPANSION: i64 = 4;

    fn new(scope: &Scope<'_>, shape: &TransformerShape) -> Self {
        let c = shape.channels;
        let inner = c * Self::EXPANSION;
        let axes = [Axis::Image, Axis::Position(shape.divisor), Axis::Channel(c)];
        Self {
            proj: Linear::new(&scope.below("net.0.proj"), c, inner * 2),
            out: Linear::new(&scope.below("net.2"), inner, c),
            at: scope.site("out", &axes),
        }
    }

    fn forward(&self, x: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        let parts = self.proj.forward(x).chunk(2, -1);
        cx.tap(self.at, self.out.forward(&(&parts[0] * parts[1].gelu("none"))))
    }
}

#[derive(Debug)]
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff: FeedForward,
    at: SiteId,
}

impl TransformerBlock {
    fn new(scope: &Scope<'_>, shape: &TransformerShape) -> Self {
        let norm = |name| LayerNorm::new(&scope.below(name), shape.channels, LayerNorm::EPS);
        let axes = [Axis::Image, Axis::Position(shape.divisor), Axis::Channel(shape.channels)];
        Self {
            norm1: norm("norm1"),
            attn1: Attention::new(&scope.at("attn1", "self"), shape, false),
            norm2: norm("norm2"),
            attn2: Attention::new(&scope.at("attn2", "cross"), shape, true),
            norm3: norm("norm3"),
            ff: FeedForward::new(&scope.at("ff", "ff"), shape),
            at: scope.site("out", &axes),
        }
    }

    /// x [n, positions, c] → the same shape.
    fn forward(&self, x: Tensor, context: &Context, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        let y = self.norm1.forward(&x);
        let x = self.attn1.forward(&y, None, cx)? + x;
        let x = self.attn2.forward(&self.norm2.forward(&x), Some(context), cx)? + x;
        let x = self.ff.forward(&self.norm3.forward(&x), cx)? + x;
        cx.tap(self.at, x)
    }
}

#[derive(Debug)]
enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn new(scope: &Scope<'_>, channels: i64, linear: bool) -> Self {
        if linear {
            Self::Linear(Linear::new(scope, channels, channels))
        } else {
            Self::Conv(Conv2d::one(scope, [channels, channels]))
        }
    }
}

/// Transformer blocks over the positions of a feature map, around which the map is kept.
#[derive(Debug)]
pub struct Transformer {
    norm: GroupNorm,
    proj_in: Projection,
    blocks: Vec<TransformerBlock>,
    proj_out: Projection,
    at: SiteId,
}

impl Transformer {
    /// ε of the norm before the transformer, the same in all public checkpoints.
    const NORM_EPS: f64 = 1e-6;

    /// Takes its parameters from `scope`.
    pub fn new(scope: &Scope<'_>, shape: &TransformerShape) -> Self {
        let (c, by) = (shape.channels, shape.divisor);
        let project = |name| Projection::new(&scope.below(name), c, shape.linear_projection);
        let block = |k| {
            let path = format!("transformer_blocks.{k}");
            TransformerBlock::new(&scope.at(path, format!("block.{k}")), shape)
        };
        Self {
            norm: GroupNorm::new(&scope.below("norm"), shape.groups, c, Self::NORM_EPS),
            proj_in: project("proj_in"),
            blocks: (0..shape.depth).map(block).collect(),
            proj_out: project("proj_out"),
            at: scope
                .site("out", &[Axis::Image, Axis::Channel(c), Axis::Row(by), Axis::Column(by)]),
        }
    }

    /// x [n, c, h, w] → the same shape.
    ///
    /// # Errors
    /// The tap's own.
    pub fn forward(
        &self,
        x: &Tensor,
        context: &Context,
        cx: &mut Cx<'_>,
    ) -> Result<Tensor, TapError> {
        let (h, w) = (x.size()[2], x.size()[3]);
        let to_tokens = |x: Tensor| x.permute([0, 2, 3, 1]).flatten(1, 2);
        let to_map = |x: Tensor| x.unflatten(1, [h, w]).permute([0, 3, 1, 2]);
        let y = self.norm.forward(x);
        let mut y = match &self.proj_in {
            Projection::Conv(conv) => to_tokens(conv.forward(&y)),
            Projection::Linear(linear) => linear.forward(&to_tokens(y)),
        };
        for block in &self.blocks {
            y = block.forward(y, context, cx)?;
        }
        let y = match &self.proj_out {
            Projection::Conv(conv) => conv.forward(&to_map(y)),
            Projection::Linear(linear) => to_map(linear.forward(&y)),
        };
        cx.tap(self.at, y + x)
    }
}
