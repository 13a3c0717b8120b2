//! From prompts to what the denoiser is told of them: one path for one text encoder (Stable
//! Diffusion 1 and 2) and for two (XL).

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::attention::Context;
use super::checkpoint::DiffusionModel;
use super::clip::ProjectedTextEncoder;
use super::tokenizer::{LongPrompt, Tokenizer, TokenizerError};
use crate::site::Branch;
use crate::tap::{BatchLayout, Cx, TapError};

/// What one denoiser is told besides noisy latents and timestep, made by its
/// [`super::unet::Unet::condition`].
#[derive(Debug)]
pub struct Conditioning {
    /// What cross-attention reads.
    pub(super) context: Context,
    /// [n, c], what is embedded and added to the timestep embedding.
    pub(super) added: Option<Tensor>,
}

/// What SDXL's denoiser is told besides the tokens (Podell et al. 2023, section 2.2).
#[derive(Debug)]
pub struct Added {
    /// [n, c], the second encoder's projected vector.
    pub pooled: Tensor,
    /// [n, 6] in pixels, as [`Framing::numbers`] has them.
    pub sizes: Tensor,
}

/// What does not fit together in a prompt's conditioning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConditioningError {
    /// A context of another shape.
    #[error(
        "the context is {got:?}; this denoiser reads [n, tokens, {expected}]: encode the \
         prompts with the text encoders of the same checkpoint"
    )]
    Context {
        /// Channels.
        expected: i64,
        /// The whole shape.
        got: Vec<i64>,
    },
    /// Added conditions of another shape.
    #[error(
        "a pooled prompt or its sizes are {got:?}; this denoiser adds {expected:?}: encode the \
         prompts with the text encoders of the same checkpoint"
    )]
    Added {
        /// Rows and channels.
        expected: [i64; 2],
        /// The whole shape.
        got: Vec<i64>,
    },
    /// The denoiser adds what it was not given.
    #[error(
        "this denoiser also reads a pooled prompt and sizes, and was given none: its checkpoint \
         needs a second text encoder"
    )]
    AddedMissing,
    /// The denoiser was given what it has no use for.
    #[error("this denoiser reads neither a pooled prompt nor sizes: leave them out")]
    AddedUnread,
    /// A size to tell the denoiser that has no use for it.
    #[error(
        "this model is not told sizes or crops, as SDXL is: leave out original size, crop and \
         target size"
    )]
    FramingUnread,
    /// A size no image has.
    #[error("{what} {got:?}: give numbers of pixels from {least} to {most}")]
    Framing {
        /// Which.
        what: &'static str,
        /// Both numbers.
        got: [i64; 2],
        /// The smallest.
        least: i64,
        /// The largest.
        most: i64,
    },
    /// The prompt cannot be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The tap stopped the run.
    #[error(transparent)]
    Tap(#[from] TapError),
}

/// What SDXL is told of the image that a picture was cut from. The default is what diffusers
/// gives: an original of the size that is drawn, not cropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framing {
    /// Height and width of the original in pixels; none for those that are drawn.
    pub original: Option<[i64; 2]>,
    /// Rows cut off at the top and columns cut off at the left.
    pub crop: [i64; 2],
    /// Height and width to aim at; none for those that are drawn.
    pub target: Option<[i64; 2]>,
}

impl Framing {
    /// Original height and width, crop from the top and left, target height and width, for
    /// an image of `size` [height, width].
    pub fn numbers(&self, size: [i64; 2]) -> [i64; 6] {
        let ([a, b], [c, d]) = (self.original.unwrap_or(size), self.crop);
        let [e, f] = self.target.unwrap_or(size);
        [a, b, c, d, e, f]
    }

    /// Checks the sizes, and that the model is told of them at all.
    ///
    /// # Errors
    /// Sizes no image has; any for a model that does not read them.
    pub fn check(&self, model: &DiffusionModel) -> Result<(), ConditioningError> {
        /// More than any training image had.
        const MOST: i64 = 1 << 16;
        if model.second_text.is_none() && *self != Self::default() {
            return Err(ConditioningError::FramingUnread);
        }
        let sizes = [("original size", self.original), ("target size", self.target)];
        let sizes = sizes.into_iter().filter_map(|(what, size)| Some((what, size?, 1)));
        for (what, got, least) in sizes.chain([("crop", self.crop, 0)]) {
            if got.iter().any(|n| !(least..=MOST).contains(n)) {
                return Err(ConditioningError::Framing { what, got, least, most: MOST });
            }
        }
        Ok(())
    }
}

/// A second text encoder with its tokenizer (SDXL).
#[derive(Debug)]
pub struct SecondText {
    /// Text → ids; it pads otherwise than the first.
    pub tokenizer: Tokenizer,
    /// Ids → context and pooled vector.
    pub encoder: ProjectedTextEncoder,
    /// Without a negative prompt the unconditional half is zero.
    pub zeros_for_empty: bool,
}

/// The prompts of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Prompts<'a> {
    /// One an image.
    pub texts: &'a [String],
    /// For the unconditional half, empty for none.
    pub negative: &'a str,
    /// Which halves there are.
    pub layout: BatchLayout,
    /// What becomes of long prompts.
    pub long: LongPrompt,
    /// What is said of sizes.
    pub framing: Framing,
    /// Height and width of the images in pixels.
    pub size: [i64; 2],
}

/// Prompts' embeddings from all text encoders.
struct Embedded {
    /// [n, tokens, c'].
    context: Tensor,
    /// [n, c], where there is a second encoder.
    pooled: Option<Tensor>,
}

impl Embedded {
    /// Zeros of the same shape.
    fn zeroed(self) -> Self {
        Self { context: self.context.zeros_like(), pooled: self.pooled.map(|x| x.zeros_like()) }
    }

    /// So many rows of zeros in front.
    fn with_zeros_first(self, rows: usize) -> Self {
        let grown = |x: Tensor| {
            let mut shape = x.size();
            shape[0] = rows as i64;
            Tensor::cat(&[x.new_zeros(shape, (x.kind(), x.device())), x], 0)
        };
        Self { context: grown(self.context), pooled: self.pooled.map(grown) }
    }
}

impl DiffusionModel {
    /// Encodes prompts, unconditional rows first where both halves run.
    ///
    /// # Errors
    /// Text that cannot be tokenized, sizes the model does not read, and the tap's own.
    pub fn condition(
        &self,
        prompts: &Prompts<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<Conditioning, ConditioningError> {
        prompts.framing.check(self)?;
        let n = prompts.texts.len();
        let zeros = prompts.negative.is_empty()
            && self.second_text.as_ref().is_some_and(|second| second.zeros_for_empty);
        let texts: Vec<&str> = prompts.texts.iter().map(String::as_str).collect();
        let negatives = vec![prompts.negative; n];
        let embedded = match prompts.layout {
            BatchLayout::UncondThenCond if zeros => {
                let cond = BatchLayout::One(Branch::Cond);
                self.embed(&texts, prompts.long, cond, cx)?.with_zeros_first(n)
            }
            BatchLayout::UncondThenCond => {
                let rows = [negatives, texts].concat();
                self.embed(&rows, prompts.long, prompts.layout, cx)?
            }
            BatchLayout::One(Branch::Uncond) => {
                let all = self.embed(&negatives, prompts.long, prompts.layout, cx)?;
                if zeros { all.zeroed() } else { all }
            }
            layout => self.embed(&texts, prompts.long, layout, cx)?,
        };
        let rows = embedded.context.size()[0];
        let added = embedded.pooled.map(|pooled| {
            let numbers = Tensor::from_slice(&prompts.framing.numbers(prompts.size));
            let sizes = numbers.to_device(pooled.device()).unsqueeze(0).repeat([rows, 1]);
            Added { pooled, sizes: sizes.to_kind(Kind::Float) }
        });
        self.unet.condition(embedded.context, added.as_ref())
    }

    /// Encodes one row a text with every encoder there is.
    fn embed(
        &self,
        texts: &[&str],
        long: LongPrompt,
        layout: BatchLayout,
        cx: &mut Cx<'_>,
    ) -> Result<Embedded, ConditioningError> {
        let Some(second) = &self.second_text else {
            let [ids] = self.ids([&self.tokenizer], texts, long)?;
            let embedding = cx.with_layout(layout, |cx| self.text.forward(&ids, cx))?;
            return Ok(Embedded { context: embedding.tokens, pooled: None });
        };
        let [ids, ids2] = self.ids([&self.tokenizer, &second.tokenizer], texts, long)?;
        let first = cx.with_layout(layout, |cx| self.text.penultimate(&ids, cx))?;
        let second = cx.with_layout(layout, |cx| second.encoder.forward(&ids2, cx))?;
        Ok(Embedded {
            context: Tensor::cat(&[first, second.penultimate], -1),
            pooled: Some(second.pooled),
        })
    }

    /// Ids [n, chunks, tokens] by each tokenizer, all padded to as many chunks as the longest needs.
    fn ids<const N: usize>(
        &self,
        tokenizers: [&Tokenizer; N],
        texts: &[&str],
        long: LongPrompt,
    ) -> Result<[Tensor; N], TokenizerError> {
        let mut tokens = Vec::with_capacity(N);
        for tokenizer in tokenizers {
            let encode = |text: &&str| tokenizer.encode_long(text, long);
            tokens.push(texts.iter().map(encode).collect::<Result<Vec<_>, _>>()?);
        }
        let each = tokenizers.iter().zip(&tokens);
        let counts = each.flat_map(|(t, rows)| rows.iter().map(|row| t.chunks(row)));
        let chunks = counts.max().unwrap_or(1);
        Ok(std::array::from_fn(|i| {
            let rows = tokens[i].iter().flat_map(|row| tokenizers[i].padded_to(row, chunks));
            let ids = Tensor::from_slice(&rows.collect::<Vec<i64>>());
            let shape = [texts.len() as i64, chunks as i64, -1];
            ids.view(shape).to_device(self.placement.device)
        }))
    }
}
