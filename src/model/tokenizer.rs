//! CLIP's byte-pair encoding (Radford et al. 2021), read from `vocab.json` and `merges.txt`.

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

/// A prompt as the text encoder reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Ids, start and end token included, without padding.
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
    /// CLIP's split into words: contractions, letters, single digits, the rest.
    const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

    /// Reads the three files of a `tokenizer/` folder.
    ///
    /// # Errors
    /// Files that are not those of a CLIP tokenizer.
    pub fn new(vocab: &[u8], merges: &[u8], config: &[u8]) -> Result<Self, TokenizerError> {
        let file = |file, problem: String| TokenizerError::File { file, problem };
        let vocab: std::collections::HashMap<String, u32> = serde_json::from_slice(vocab)
            .map_err(|e| file("tokenizer/vocab.json", e.to_string()))?;
        let config: TokenizerConfig = serde_json::from_slice(config)
            .map_err(|e| file("tokenizer/tokenizer_config.json", e.to_string()))?;
        let merges =
            std::str::from_utf8(merges).map_err(|e| file("tokenizer/merges.txt", e.to_string()))?;
        let merges = merges
            .lines()
            .filter(|line| !line.starts_with("#version") && !line.is_empty())
            .map(|line| {
                let (a, b) = line.split_once(' ').ok_or_else(|| {
                    file("tokenizer/merges.txt", format!("`{line}` is not a pair"))
                })?;
                Ok((a.to_owned(), b.to_owned()))
            })
            .collect::<Result<Vec<_>, TokenizerError>>()?;
        let id = |token: &str| {
            vocab.get(token).copied().ok_or_else(|| {
                file("tokenizer/vocab.json", format!("`{token}` is missing: not a CLIP tokenizer"))
            })
        };
        let (start, end) = (id(Self::START)?, id(Self::END)?);
        let pad = id(config.pad_token.as_ref().map_or(Self::END, TokenText::text))?;
        let bpe = BPE::builder()
            .vocab_and_merges(vocab.into_iter().collect::<Vocab>(), merges)
            .unk_token(Self::END.into())
            .end_of_word_suffix(Self::WORD_END.into())
            .build()
            .map_err(|e| file("tokenizer/merges.txt", e.to_string()))?;
        let inner = assemble(bpe, (start, end))
            .map_err(|e| file("tokenizer/tokenizer_config.json", e.to_string()))?;
        // Some configs say 10³⁰ where they mean "no limit"; CLIP has 77 positions.
        let length = if config.model_max_length > 1 << 20 {
            default_length()
        } else {
            config.model_max_length.max(2)
        };
        Ok(Self { inner, length, start: start.into(), end: end.into(), pad: pad.into() })
    }

    /// Longest prompt in tokens, start and end included.
    pub fn max_length(&self) -> usize {
        self.length
    }

    /// Number of ids.
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The largest id.
    pub fn highest_id(&self) -> i64 {
        self.inner.get_vocab(true).into_values().max().unwrap_or_default().into()
    }

    /// Encodes a prompt; what does not fit is cut off and named in [`Tokens::cut`].
    ///
    /// # Errors
    /// Text the tokenizer cannot read.
    pub fn encode(&self, prompt: &str) -> Result<Tokens, TokenizerError> {
        let encoding = self
            .inner
            .encode_char_offsets(prompt, false)
            .map_err(|e| TokenizerError::Encode(e.to_string()))?;
        let chars: Vec<(usize, char)> = prompt.char_indices().collect();
        let byte = |at: usize| chars.get(at).map_or(prompt.len(), |(byte, _)| *byte);
        let room = self.length - 2;
        let mut tokens = Tokens {
            ids: vec![self.start],
            pieces: vec![Self::START.into()],
            words: vec![None],
            word_numbers: vec![None],
            spans: vec![(0, 0)],
            cut: Vec::new(),
        };
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
            tokens.ids.push(id.into());
            tokens.pieces.push(encoding.get_tokens()[i].clone());
            tokens.words.push(word);
            tokens.word_numbers.push(number);
            tokens.spans.push(spans[i]);
        }
        tokens.ids.push(self.end);
        tokens.pieces.push(Self::END.into());
        tokens.words.push(None);
        tokens.word_numbers.push(None);
        tokens.spans.push((prompt.len(), prompt.len()));
        Ok(tokens)
    }

    /// The ids, padded to the full length.
    pub fn padded(&self, tokens: &Tokens) -> Vec<i64> {
        let mut ids = tokens.ids.clone();
        ids.resize(self.length, self.pad);
        ids
    }
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
    let special = |text: &str| AddedToken::from(text, true);
    tokenizer.add_special_tokens(&[special(Tokenizer::START), special(Tokenizer::END)]);
    Ok(tokenizer)
}
