//! CLIP's byte-pair encoding (Radford et al. 2021), read from `vocab.json` and `merges.txt`,
//! or from `tokenizer.json`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior};

/// Errors of reading or using a tokenizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The files are not those of a CLIP tokenizer.
    #[error("{file}: {problem}")]
    File {
        /// Which file.
        file: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The text could not be encoded.
    #[error("the prompt cannot be tokenized: {0}")]
    Encode(String),
}

/// `tokenizer_config.json`, as far as it matters here.
#[derive(Deserialize)]
struct TokenizerConfig {
    #[serde(default = "default_length")]
    model_max_length: usize,
    #[serde(default)]
    pad_token: Option<TokenText>,
    #[serde(default)]
    added_tokens_decoder: Option<serde::de::IgnoredAny>,
}

/// `special_tokens_map.json`, as far as it matters here.
#[derive(Deserialize)]
struct SpecialTokens {
    #[serde(default)]
    pad_token: Option<TokenText>,
}

/// `tokenizer.json`, as far as it matters here.
#[derive(Deserialize)]
struct TokenizerJson {
    model: TokenizerModel,
}

#[derive(Deserialize)]
struct TokenizerModel {
    vocab: HashMap<String, u32>,
    merges: Vec<MergeText>,
}

/// A pair to merge, as older and newer files write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum MergeText {
    Pair(String, String),
    Text(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TokenText {
    Text(String),
    Added { content: String },
}

impl TokenText {
    fn text(&self) -> &str {
        match self {
            TokenText::Text(text) | TokenText::Added { content: text } => text,
        }
    }
}

fn default_length() -> usize {
    77
}

/// What becomes of a prompt that is longer than the text encoder's places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LongPrompt {
    /// What does not fit is cut off, with a warning that names it
    #[default]
    Truncate,
    /// Chunks of 75 tokens are encoded one by one and joined
    Chunk,
}

impl LongPrompt {
    /// Far more text than a model heeds; keeps a long file from taking all memory.
    const MOST_CHUNKS: usize = 32;

    /// How it is written on the command line.
    pub fn label(self) -> &'static str {
        match self {
            LongPrompt::Truncate => "truncate",
            LongPrompt::Chunk => "chunk",
        }
    }

    fn most_chunks(self) -> usize {
        match self {
            LongPrompt::Truncate => 1,
            LongPrompt::Chunk => Self::MOST_CHUNKS,
        }
    }
}

/// A prompt as the text encoder reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Ids, start and end token of each chunk included, without padding.
    pub ids: Vec<i64>,
    /// The piece of text behind each id.
    pub pieces: Vec<String>,
    /// The word each piece belongs to; `None` for start and end.
    pub words: Vec<Option<String>>,
    /// Which word of the prompt it is, counted from 0; `None` for start and end.
    #[serde(skip)]
    pub word_numbers: Vec<Option<usize>>,
    /// Where each piece stands in the prompt, as a byte range.
    #[serde(skip)]
    pub spans: Vec<(usize, usize)>,
    /// Words that were cut off because the prompt is too long.
    #[serde(skip)]
    pub cut: Vec<String>,
}

/// Text → ids.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    length: usize,
    start: i64,
    end: i64,
    pad: i64,
    largest_id: i64,
    /// Written before special tokens stood in `tokenizer_config.json`.
    older_folder: bool,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Tokenizer {
    const START: &str = "<|startoftext|>";
    const END: &str = "<|endoftext|>";
    const WORD_END: &str = "</w>";
    /// Start and end token.
    const FRAME: usize = 2;
    /// Start, a token, end.
    const FEWEST_PLACES: usize = 3;
    /// CLIP's split into words: contractions, letters, single digits, the rest.
    const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

    /// Reads the three files of a `tokenizer/` folder.
    ///
    /// # Errors
    /// Files that are not those of a CLIP tokenizer.
    pub fn new(vocab: &[u8], merges: &[u8], config: &[u8]) -> Result<Self, TokenizerError> {
        const MERGES: &str = "merges.txt";
        let merges = std::str::from_utf8(merges).map_err(|e| in_file(MERGES, e))?;
        let merges = merges
            .lines()
            .filter(|line| !line.starts_with("#version") && !line.is_empty())
            .map(|line| pair(line).ok_or_else(|| in_file(MERGES, format!("`{line}` is no pair"))))
            .collect::<Result<Vec<_>, TokenizerError>>()?;
        Self::build(json("vocab.json", vocab)?, merges, config)
    }

    /// Reads the two files that newer versions of transformers write. Splitting and
    /// normalisation are CLIP's, whatever the file says of them.
    ///
    /// # Errors
    /// Files that are not those of a CLIP tokenizer.
    pub fn from_tokenizer_json(tokenizer: &[u8], config: &[u8]) -> Result<Self, TokenizerError> {
        const FILE: &str = "tokenizer.json";
        let TokenizerModel { vocab, merges } = json::<TokenizerJson>(FILE, tokenizer)?.model;
        let merges = merges.into_iter().map(|merge| match merge {
            MergeText::Pair(a, b) => Ok((a, b)),
            MergeText::Text(text) => {
                pair(&text).ok_or_else(|| in_file(FILE, format!("`{text}` is no pair")))
            }
        });
        let merges = merges.collect::<Result<Vec<_>, TokenizerError>>()?;
        Self::build(vocab, merges, config)
    }

    /// Takes the padding from `special_tokens_map.json`, which older folders go by whatever
    /// `tokenizer_config.json` says (Stable Diffusion 2 pads with `!`).
    ///
    /// # Errors
    /// A file that is not such a map.
    pub fn with_special_tokens(self, map: &[u8]) -> Result<Self, TokenizerError> {
        const FILE: &str = "special_tokens_map.json";
        let SpecialTokens { pad_token } = json(FILE, map)?;
        let Some(pad) = pad_token.filter(|_| self.older_folder) else { return Ok(self) };
        let id = self.inner.token_to_id(pad.text());
        let id = id.ok_or_else(|| in_file(FILE, format!("`{}` is no token", pad.text())))?;
        let mut inner = self.inner;
        inner.add_special_tokens(&[special(pad.text())]);
        Ok(Self { pad: id.into(), inner, ..self })
    }

    fn build(
        vocab: HashMap<String, u32>,
        merges: Vec<(String, String)>,
        config: &[u8],
    ) -> Result<Self, TokenizerError> {
        const CONFIG: &str = "tokenizer_config.json";
        let config: TokenizerConfig = json(CONFIG, config)?;
        let id = |token: &str| {
            let missing = || format!("`{token}` is missing: not a CLIP tokenizer");
            vocab.get(token).copied().ok_or_else(|| in_file("vocab.json", missing()))
        };
        let (start, end) = (id(Self::START)?, id(Self::END)?);
        let pad_text = config.pad_token.as_ref().map_or(Self::END, TokenText::text);
        let no_pad = || in_file(CONFIG, format!("pad_token `{pad_text}` is none of vocab.json"));
        let pad = vocab.get(pad_text).copied().ok_or_else(no_pad)?;
        let largest_id = vocab.values().max().copied().unwrap_or_default().into();
        let bpe = BPE::builder()
            .vocab_and_merges(vocab.into_iter().collect::<Vocab>(), merges)
            .unk_token(Self::END.into())
            .end_of_word_suffix(Self::WORD_END.into())
            .build()
            .map_err(|e| in_file("vocab.json and merges.txt disagree", e))?;
        let mut inner = assemble(bpe, (start, end)).map_err(|e| in_file(CONFIG, e))?;
        // Special as the other two: where a text has it, it is no part of a word.
        inner.add_special_tokens(&[special(pad_text)]);
        // Some configs say 10³⁰ where they mean "no limit"; CLIP has 77 positions.
        let length = if config.model_max_length > 1 << 20 {
            default_length()
        } else {
            config.model_max_length.max(Self::FEWEST_PLACES)
        };
        let older_folder = config.added_tokens_decoder.is_none();
        let (start, end, pad) = (start.into(), end.into(), pad.into());
        Ok(Self { inner, length, start, end, pad, largest_id, older_folder })
    }

    /// Longest prompt in tokens, start and end included.
    pub fn max_length(&self) -> usize {
        self.length
    }

    /// The largest id it gives.
    pub fn largest_id(&self) -> i64 {
        self.largest_id
    }

    /// Number of ids.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Encodes a prompt; what does not fit is cut off and named in [`Tokens::cut`].
    ///
    /// # Errors
    /// Text the tokenizer cannot read.
    pub fn encode(&self, prompt: &str) -> Result<Tokens, TokenizerError> {
        self.encode_long(prompt, LongPrompt::Truncate)
    }

    /// Encodes a prompt of any length. Chunks are full, so a token's place in
    /// [`Tokens::ids`] is its place in the joined context.
    ///
    /// # Errors
    /// Text the tokenizer cannot read.
    pub fn encode_long(&self, prompt: &str, long: LongPrompt) -> Result<Tokens, TokenizerError> {
        let encoding = self
            .inner
            .encode_char_offsets(prompt, false)
            .map_err(|e| TokenizerError::Encode(e.to_string()))?;
        let chars: Vec<(usize, char)> = prompt.char_indices().collect();
        let byte = |at: usize| chars.get(at).map_or(prompt.len(), |(byte, _)| *byte);
        let in_chunk = self.length - Self::FRAME;
        let room = in_chunk.saturating_mul(long.most_chunks());
        let mut tokens = Tokens::default();
        tokens.frame(self.start, Self::START, 0);
        let spans: Vec<(usize, usize)> =
            encoding.get_offsets().iter().map(|&(a, b)| (byte(a), byte(b))).collect();
        for (i, &id) in encoding.get_ids().iter().enumerate() {
            let number = encoding.get_word_ids()[i].map(|n| n as usize);
            let word = number.map(|n| word_text(prompt, &spans, encoding.get_word_ids(), n));
            if i >= room {
                let word = word.unwrap_or_default();
                if tokens.cut.last() != Some(&word) {
                    tokens.cut.push(word);
                }
                continue;
            }
            if i > 0 && i % in_chunk == 0 {
                tokens.frame(self.end, Self::END, spans[i].0);
                tokens.frame(self.start, Self::START, spans[i].0);
            }
            tokens.ids.push(id.into());
            tokens.pieces.push(encoding.get_tokens()[i].clone());
            tokens.words.push(word);
            tokens.word_numbers.push(number);
            tokens.spans.push(spans[i]);
        }
        tokens.frame(self.end, Self::END, prompt.len());
        Ok(tokens)
    }

    /// How many chunks the tokens fill.
    pub fn chunks(&self, tokens: &Tokens) -> usize {
        tokens.ids.len().div_ceil(self.length)
    }

    /// The ids, padded to whole chunks.
    pub fn padded(&self, tokens: &Tokens) -> Vec<i64> {
        self.padded_to(tokens, self.chunks(tokens))
    }

    /// The ids, padded to so many chunks; those without text are the empty prompt.
    pub fn padded_to(&self, tokens: &Tokens, chunks: usize) -> Vec<i64> {
        let mut ids = tokens.ids.clone();
        ids.resize(self.chunks(tokens) * self.length, self.pad);
        while ids.len() < chunks * self.length {
            let end = ids.len() + self.length;
            ids.extend([self.start, self.end]);
            ids.resize(end, self.pad);
        }
        ids
    }
}

impl Tokens {
    /// A start or end token at a byte of the prompt.
    fn frame(&mut self, id: i64, piece: &str, at: usize) {
        self.ids.push(id);
        self.pieces.push(piece.into());
        self.words.push(None);
        self.word_numbers.push(None);
        self.spans.push((at, at));
    }
}

fn in_file(file: &'static str, problem: impl ToString) -> TokenizerError {
    TokenizerError::File { file, problem: problem.to_string() }
}

fn json<'a, T: Deserialize<'a>>(file: &'static str, bytes: &'a [u8]) -> Result<T, TokenizerError> {
    serde_json::from_slice(bytes).map_err(|e| in_file(file, e))
}

/// "a b" → (a, b).
fn pair(line: &str) -> Option<(String, String)> {
    let (a, b) = line.split_once(' ')?;
    Some((a.to_owned(), b.to_owned()))
}

fn word_text(
    prompt: &str,
    spans: &[(usize, usize)],
    words: &[Option<u32>],
    number: usize,
) -> String {
    let of_word = spans.iter().zip(words).filter(|(_, w)| **w == Some(number as u32));
    let (mut start, mut end) = (usize::MAX, 0);
    for ((a, b), _) in of_word {
        start = start.min(*a);
        end = end.max(*b);
    }
    prompt.get(start..end).unwrap_or_default().to_lowercase()
}

fn assemble(bpe: BPE, (start, end): (u32, u32)) -> tokenizers::Result<tokenizers::Tokenizer> {
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    let spaces =
        Replace::new(tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".into()), " ")?;
    tokenizer.with_normalizer(Some(Normalizers::new(vec![
        NFC.into(),
        spaces.into(),
        Lowercase.into(),
    ])));
    let words = Split::new(
        SplitPattern::Regex(Tokenizer::WORDS.into()),
        SplitDelimiterBehavior::Removed,
        true,
    )?;
    let bytes = ByteLevel::default().add_prefix_space(false);
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![words.into(), bytes.into()])));
    tokenizer.with_post_processor(Some(
        RobertaProcessing::new((Tokenizer::END.into(), end), (Tokenizer::START.into(), start))
            .trim_offsets(false)
            .add_prefix_space(false),
    ));
    tokenizer.add_special_tokens(&[special(Tokenizer::START), special(Tokenizer::END)]);
    Ok(tokenizer)
}

/// A token that is found in a text before it is split into words.
fn special(text: &str) -> AddedToken {
    AddedToken::from(text, true)
}
