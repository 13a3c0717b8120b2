//! CLIP's two towers (Radford et al. 2021): the text encoder that conditions the denoiser,
//! and the image encoder that it is trained against.

use tch::{Kind, Tensor};

use super::config::{ClipTextConfig, ClipVisionConfig};
use super::layers::{Embedding, LayerNorm, Linear};
use super::parameters::{Init, Scope};
use crate::site::{Axis, SiteId};
use crate::tap::{Cx, TapError};

#[derive(Clone, Copy, Debug)]
enum Activation {
    /// x·σ(1.702 x), the approximation of GELU that CLIP was trained with.
    QuickGelu,
    Gelu,
}

impl Activation {
    fn named(name: &str) -> Self {
        if name == "gelu" { Self::Gelu } else { Self::QuickGelu }
    }

    fn apply(self, x: &Tensor) -> Tensor {
        const QUICK_GELU_SLOPE: f64 = 1.702;
        match self {
            Self::QuickGelu => x * (x * QUICK_GELU_SLOPE).sigmoid(),
            Self::Gelu => x.gelu("none"),
        }
    }
}

/// The sizes of a tower.
struct TowerShape<'a> {
    hidden: i64,
    intermediate: i64,
    layers: i64,
    heads: i64,
    eps: f64,
    activation: &'a str,
    causal: bool,
}

/// One pre-norm transformer layer.
#[derive(Debug)]
struct Layer {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
    heads: i64,
    causal: bool,
    at: SiteId,
}

impl Layer {
    fn new(scope: &Scope<'_>, shape: &TowerShape<'_>) -> Self {
        let c = shape.hidden;
        let attention = |name| Linear::new(&scope.below("self_attn").below(name), c, c);
        let mlp = |name, from, to| Linear::new(&scope.below("mlp").below(name), from, to);
        Self {
            layer_norm1: LayerNorm::new(&scope.below("layer_norm1"), c, shape.eps),
            q_proj: attention("q_proj"),
            k_proj: attention("k_proj"),
            v_proj: attention("v_proj"),
            out_proj: attention("out_proj"),
            layer_norm2: LayerNorm::new(&scope.below("layer_norm2"), c, shape.eps),
            fc1: mlp("fc1", c, shape.intermediate),
            fc2: mlp("fc2", shape.intermediate, c),
            activation: Activation::named(shape.activation),
            heads: shape.heads,
            causal: shape.causal,
            at: scope.site("out", &[Axis::Image, Axis::Token, Axis::Channel(c)]),
        }
    }

    /// x [n, tokens, c] → [n, tokens, c].
    fn forward(&self, x: Tensor) -> Tensor {
        let x = self.attend(&self.layer_norm1.forward(&x)) + x;
        let y = self.fc1.forward(&self.layer_norm2.forward(&x));
        self.fc2.forward(&self.activation.apply(&y)) + x
    }

    fn attend(&self, x: &Tensor) -> Tensor {
        let (n, tokens) = (x.size()[0], x.size()[1]);
        let split = |x: Tensor| x.view([n, tokens, self.heads, -1]).transpose(1, 2);
        let q = split(self.q_proj.forward(x));
        let k = split(self.k_proj.forward(x));
        let v = split(self.v_proj.forward(x));
        let none = None::<Tensor>;
        let z =
            Tensor::scaled_dot_product_attention(&q, &k, &v, none, 0.0, self.causal, None, false);
        self.out_proj.forward(&z.transpose(1, 2).reshape([n, tokens, -1]))
    }
}

fn layers(scope: &Scope<'_>, shape: &TowerShape<'_>) -> Vec<Layer> {
    let layer =
        |i| Layer::new(&scope.at(format!("encoder.layers.{i}"), format!("layer.{i}")), shape);
    (0..shape.layers).map(layer).collect()
}

/// Prompt ids → one vector a token.
#[derive(Debug)]
pub struct TextEncoder {
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<Layer>,
    final_layer_norm: LayerNorm,
    eos: i64,
    at: SiteId,
}

/// What a text encoder says of prompts.
#[derive(Debug)]
pub struct TextEmbedding {
    /// [n, tokens, c], after the last norm: what Stable Diffusion 1 and 2 read.
    pub tokens: Tensor,
    /// [n, tokens, c], what the last layer reads: what SDXL reads.
    pub penultimate: Tensor,
    /// [n, c], the vector at the end token (of the first chunk).
    pub pooled: Tensor,
}

/// Prompts cut into chunks of the encoder's length, each read by itself.
struct Chunks {
    /// [n × chunks, tokens of a chunk].
    ids: Tensor,
    images: i64,
    each: i64,
}

impl Chunks {
    /// ids [n, chunks, tokens of a chunk], or [n, tokens] for one chunk.
    fn new(ids: &Tensor) -> Self {
        let shape = ids.size();
        let (images, length) = (shape[0], shape[shape.len() - 1]);
        let each = if shape.len() > 2 { shape[1] } else { 1 };
        Self { ids: ids.reshape([-1, length]), images, each }
    }

    /// Shows x [n × chunks, tokens of a chunk, c] to the tap as [n, tokens, c].
    fn tap(&self, at: SiteId, x: Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        if !cx.wants(at) {
            return Ok(x);
        }
        Ok(cx.tap(at, self.whole(&x))?.view_as(&x))
    }

    /// [n × chunks, tokens of a chunk, c] → [n, tokens, c].
    fn whole(&self, x: &Tensor) -> Tensor {
        x.reshape([self.images, self.each * x.size()[1], -1])
    }

    /// [n × chunks, c] → [n, c], that of each first chunk.
    fn first(&self, x: &Tensor) -> Tensor {
        x.view([self.images, self.each, -1]).select(1, 0)
    }
}

impl TextEncoder {
    /// Older files mark the end token by this id and mean the highest id in the prompt.
    const LEGACY_EOS: i64 = 2;

    /// Takes its parameters from `scope`, whose path ends where `embeddings` begins and whose
    /// site is the encoder's, `text` or `text2`.
    pub fn new(scope: &Scope<'_>, config: &ClipTextConfig) -> Self {
        let (c, embeddings) = (config.hidden_size, scope.below("embeddings"));
        let shape = TowerShape {
            hidden: c,
            intermediate: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps,
            activation: &config.hidden_act,
            causal: true,
        };
        let table = |name, rows| Embedding::new(&embeddings.below(name), rows, c);
        Self {
            tokens: table("token_embedding", config.vocab_size),
            positions: table("position_embedding", config.max_position_embeddings),
            layers: layers(scope, &shape),
            final_layer_norm: LayerNorm::new(
                &scope.below("final_layer_norm"),
                c,
                config.layer_norm_eps,
            ),
            eos: config.eos_token_id,
            at: scope.site("out", &[Axis::Image, Axis::Token, Axis::Channel(c)]),
        }
    }

    /// ids [n, tokens] (i64), or [n, chunks, tokens of a chunk] for prompts that are longer
    /// than the encoder's places → embeddings of all tokens.
    ///
    /// # Errors
    /// The tap's own.
    pub fn forward(&self, ids: &Tensor, cx: &mut Cx<'_>) -> Result<TextEmbedding, TapError> {
        let chunks = Chunks::new(ids);
        let penultimate = self.below_last(&chunks, cx)?;
        let mut x = penultimate.shallow_clone();
        if let Some(last) = self.layers.last() {
            x = chunks.tap(last.at, last.forward(x), cx)?;
        }
        let x = chunks.tap(self.at, self.final_layer_norm.forward(&x), cx)?;
        let ids = &chunks.ids;
        let ends = if self.eos == Self::LEGACY_EOS {
            ids.argmax(-1, false)
        } else {
            ids.eq(self.eos).to_kind(Kind::Int).argmax(-1, false)
        };
        let rows = Tensor::arange(ids.size()[0], (Kind::Int64, ids.device()));
        let pooled = x.index(&[Some(rows), Some(ends)]);
        Ok(TextEmbedding {
            tokens: chunks.whole(&x),
            penultimate: chunks.whole(&penultimate),
            pooled: chunks.first(&pooled),
        })
    }

    /// ids as for [`Self::forward`] → what the last layer reads, [n, tokens, c]. Last layer and norm
    /// are computed only for a tap, which can watch them but not change what nobody reads.
    ///
    /// # Errors
    /// The tap's own; a replacement at the last layer or behind it.
    pub fn penultimate(&self, ids: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        let chunks = Chunks::new(ids);
        let x = self.below_last(&chunks, cx)?;
        if let Some(last) = self.layers.last()
            && (cx.wants(last.at) || cx.wants(self.at))
        {
            let y = last.forward(x.shallow_clone());
            cx.show(last.at, &chunks.whole(&y), Self::READ_INSTEAD)?;
            let y = self.final_layer_norm.forward(&y);
            cx.show(self.at, &chunks.whole(&y), Self::READ_INSTEAD)?;
        }
        Ok(chunks.whole(&x))
    }

    const READ_INSTEAD: &str = "change the layer below the last, which the denoiser reads";

    /// Through all layers but the last, [n × chunks, tokens of a chunk, c].
    fn below_last(&self, chunks: &Chunks, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        let positions = self.positions.table().narrow(0, 0, chunks.ids.size()[1]);
        let mut x = self.tokens.forward(&chunks.ids) + positions;
        if let Some((_, below)) = self.layers.split_last() {
            for layer in below {
                x = chunks.tap(layer.at, layer.forward(x), cx)?;
            }
        }
        Ok(x)
    }
}

/// A text encoder with a projection of its pooled vector into the joint space of text and
/// images (`CLIPTextModelWithProjection`).
#[derive(Debug)]
pub struct ProjectedTextEncoder {
    tower: TextEncoder,
    projection: Linear,
    at: SiteId,
}

impl ProjectedTextEncoder {
    /// Takes its parameters from `scope`, whose path ends where `text_model` begins.
    pub fn new(scope: &Scope<'_>, config: &ClipTextConfig) -> Self {
        let (from, to) = (config.hidden_size, config.projection_dim);
        let tower = TextEncoder::new(&scope.below("text_model"), config);
        let scope = scope.below("text_projection");
        Self {
            tower,
            projection: Linear::without_bias(&scope, from, to),
            at: scope.site("pooled", &[Axis::Image, Axis::Channel(to)]),
        }
    }

    /// As [`TextEncoder::forward`], with the pooled vector projected.
    ///
    /// # Errors
    /// The tap's own.
    pub fn forward(&self, ids: &Tensor, cx: &mut Cx<'_>) -> Result<TextEmbedding, TapError> {
        let embedding = self.tower.forward(ids, cx)?;
        let pooled = cx.tap(self.at, self.projection.forward(&embedding.pooled))?;
        Ok(TextEmbedding { pooled, ..embedding })
    }
}

/// Image → one vector.
#[derive(Debug)]
pub struct ImageEncoder {
    class_embedding: Tensor,
    patch_embedding: Tensor,
    patch: i64,
    positions: Embedding,
    pre_layer_norm: LayerNorm,
    layers: Vec<Layer>,
    post_layer_norm: LayerNorm,
}

impl ImageEncoder {
    const CLASS_STD: f64 = 0.02;

    /// Takes its parameters from `scope`, whose path ends where `embeddings` begins.
    pub fn new(scope: &Scope<'_>, config: &ClipVisionConfig) -> Self {
        let scope = scope.at("", "vision");
        let (c, patch, embeddings) =
            (config.hidden_size, config.patch_size, scope.below("embeddings"));
        let patches = (config.image_size / patch).pow(2);
        let fan_in = 3 * patch * patch;
        let shape = TowerShape {
            hidden: c,
            intermediate: config.intermediate_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps,
            activation: &config.hidden_act,
            causal: false,
        };
        let norm = |name| LayerNorm::new(&scope.below(name), c, config.layer_norm_eps);
        Self {
            class_embedding: embeddings.tensor(
                "class_embedding",
                &[c],
                Init::Normal(Self::CLASS_STD),
            ),
            patch_embedding: embeddings.below("patch_embedding").tensor(
                "weight",
                &[c, 3, patch, patch],
                Init::FanIn(fan_in),
            ),
            patch,
            positions: Embedding::new(&embeddings.below("position_embedding"), patches + 1, c),
            // The missing letter is CLIP's own and part of every checkpoint.
            pre_layer_norm: norm("pre_layrnorm"),
            layers: layers(&scope, &shape),
            post_layer_norm: norm("post_layernorm"),
        }
    }

    /// Images [n, 3, h, w], normalised as the tower was trained → [n, c].
    ///
    /// # Errors
    /// The tap's own.
    pub fn forward(&self, images: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        let (n, p) = (images.size()[0], self.patch);
        let none = None::<Tensor>;
        let weight = self.patch_embedding.to_kind(images.kind());
        let x = images.conv2d(&weight, none, [p, p], [0, 0], [1, 1], 1);
        let x = x.flatten(2, 3).transpose(1, 2);
        let class = self.class_embedding.to_kind(x.kind()).expand([n, 1, -1], false);
        let x = Tensor::cat(&[class, x], 1) + self.positions.table().to_kind(images.kind());
        let mut x = self.pre_layer_norm.forward(&x);
        for layer in &self.layers {
            x = cx.tap(layer.at, layer.forward(x))?;
        }
        Ok(self.post_layer_norm.forward(&x.select(1, 0)))
    }
}

/// Both towers with their projections into the joint space.
#[derive(Debug)]
pub struct Clip {
    /// The text tower.
    pub text: TextEncoder,
    /// The image tower.
    pub image: ImageEncoder,
    text_projection: Linear,
    visual_projection: Linear,
    logit_scale: Tensor,
}

impl Clip {
    /// ln(1/0.07), the initial inverse temperature (Radford et al. 2021, section 2.5).
    const LOGIT_SCALE: f64 = 2.659_260_036_932_778;
    /// ln(100), which training may not exceed.
    const MOST_LOGIT_SCALE: f64 = 4.605_170_185_988_092;

    /// Takes its parameters from `scope`, named as in a transformers `CLIPModel`.
    pub fn new(scope: &Scope<'_>, text: &ClipTextConfig, image: &ClipVisionConfig) -> Self {
        let joint = text.projection_dim;
        let project = |name, from| Linear::without_bias(&scope.below(name), from, joint);
        Self {
            text: TextEncoder::new(&scope.at("text_model", "text"), text),
            image: ImageEncoder::new(&scope.below("vision_model"), image),
            text_projection: project("text_projection", text.hidden_size),
            visual_projection: project("visual_projection", image.hidden_size),
            logit_scale: scope.tensor("logit_scale", &[], Init::Constant(Self::LOGIT_SCALE)),
        }
    }

    /// ids [n, tokens] → unit vectors [n, joint].
    ///
    /// # Errors
    /// The tap's own.
    pub fn embed_text(&self, ids: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        Ok(self.project_text(&self.text.forward(ids, cx)?.pooled))
    }

    /// The text tower's pooled vectors [n, c] → unit vectors [n, joint].
    pub fn project_text(&self, pooled: &Tensor) -> Tensor {
        unit(&self.text_projection.forward(pooled))
    }

    /// Images [n, 3, h, w] → unit vectors [n, joint].
    ///
    /// # Errors
    /// The tap's own.
    pub fn embed_images(&self, images: &Tensor, cx: &mut Cx<'_>) -> Result<Tensor, TapError> {
        Ok(unit(&self.visual_projection.forward(&self.image.forward(images, cx)?)))
    }

    /// Inverse temperature of the contrastive loss, at most 100.
    pub fn scale(&self) -> Tensor {
        self.logit_scale.clamp_max(Self::MOST_LOGIT_SCALE).exp()
    }
}

fn unit(x: &Tensor) -> Tensor {
    x / x.square().sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>).sqrt()
}
