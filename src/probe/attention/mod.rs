//! Where does each word look? Cross-attention maps of a generation, scored against the
//! objects the words name.
//!
//! [`AttentionRun`] is what was captured. [`score`] says whether a word's map lies on its
//! object, beside a control; [`leakage`] how much of it lies on the others; [`tables`] are the rows
//! for storage, [`stored`] reads them back; [`report`] is for people. [`scenes`] does the same for many scenes whose masks are
//! known.

mod explore;
mod figures;
pub mod leakage;
mod maps;
pub mod report;
pub mod scenes;
pub mod score;
pub mod stored;
pub mod tables;

use image::RgbImage;
use ndarray::Array2;

use crate::judge::Verdict;
use crate::measure::record::AttentionRecord;
use crate::world::{Expectations, Role};

pub use explore::explored_steps;
pub use maps::{Detail, Level, WordMaps};
pub use scenes::mean_map;

/// A word of the prompt and the tokens it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptWord {
    /// Lower case.
    pub text: String,
    /// Positions of its tokens, all occurrences; 0 is the start token.
    pub positions: Vec<usize>,
}

/// The region of an object, given by somebody who knows the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenRegion {
    /// The words of the prompt that speak of the object, lower case.
    pub words: Vec<String>,
    /// Where it is, in the image's own resolution.
    pub mask: Array2<bool>,
}

/// A word that says something of an object the world knows, or whose region was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectWord {
    /// Lower case.
    pub text: String,
    /// What it says; none if all that is known of it is its region.
    pub role: Option<Role>,
    /// Which phrase of the prompt, or which given region, it belongs to.
    pub phrase: usize,
    /// Positions of its tokens: of this occurrence alone, or of all where the region was given.
    pub positions: Vec<usize>,
}

/// One generated image and what the judge found in it.
#[derive(Clone, Debug)]
pub struct JudgedImage {
    /// Its seed.
    pub seed: u64,
    /// The image.
    pub image: RgbImage,
    /// The judge's verdict, for prompts the world understands.
    pub verdict: Option<Verdict>,
}

/// One token of the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptToken {
    /// Number in the vocabulary.
    pub id: i64,
    /// The tokenizer's piece.
    pub piece: String,
    /// The word it belongs to and that word's number; none for start and end.
    pub word: Option<(String, usize)>,
    /// Where the piece stands in the prompt, as a byte range.
    pub span: (usize, usize),
}

/// What the model would draw if it stopped at a step: its prediction x̂0, decoded.
#[derive(Clone, Debug)]
pub struct FilmFrame {
    /// Which image of the run.
    pub sample: usize,
    /// The step.
    pub step: usize,
    /// The prediction as an image.
    pub image: RgbImage,
}

/// What `probe attention` captured.
#[derive(Clone, Debug)]
pub struct AttentionRun {
    /// Name of the run's folder.
    pub run: String,
    /// The prompt.
    pub prompt: String,
    /// What the prompt says, if the world understands it.
    pub expectations: Option<Expectations>,
    /// Regions that were given; where there are any, the judge's are not used.
    pub given: Vec<GivenRegion>,
    /// The prompt's tokens, start and end included.
    pub tokens: Vec<PromptToken>,
    /// The images.
    pub images: Vec<JudgedImage>,
    /// Predictions at single steps, by image and step; empty where none were kept.
    pub film: Vec<FilmFrame>,
    /// Timestep and σ of each step.
    pub steps: Vec<(f64, f64)>,
    /// Reduced attention.
    pub record: AttentionRecord,
}

impl AttentionRun {
    /// The prompt's words in order of first appearance, sub-words and occurrences merged.
    pub fn words(&self) -> Vec<PromptWord> {
        let mut words: Vec<PromptWord> = Vec::new();
        for (position, token) in self.tokens.iter().enumerate() {
            let Some((text, _)) = &token.word else { continue };
            match words.iter_mut().find(|w| w.text == *text) {
                Some(word) => word.positions.push(position),
                None => {
                    words.push(PromptWord { text: text.clone(), positions: vec![position] });
                }
            }
        }
        words
    }

    /// Whether there is anything to score maps against.
    pub fn is_scored(&self) -> bool {
        self.expectations.is_some() || !self.given.is_empty()
    }

    /// How many objects there are, as far as known.
    pub fn objects(&self) -> usize {
        match &self.expectations {
            _ if !self.given.is_empty() => self.given.len(),
            Some(expectations) => expectations.objects.len(),
            None => 0,
        }
    }

    /// Where an object is in an image; none if the judge did not find it.
    pub fn region(&self, sample: usize, object: usize) -> Option<Array2<bool>> {
        if !self.given.is_empty() {
            return self.given.get(object).map(|region| region.mask.clone());
        }
        self.images[sample].verdict.as_ref()?.mask(object)
    }

    /// What an object is called: its phrase as the prompt has it, without fillers (`red ball`),
    /// or the words that its region was given for.
    pub fn object_name(&self, object: usize) -> String {
        if let Some(region) = self.given.get(object) {
            return region.words.join(" ");
        }
        let Some(object) = self.expectations.as_ref().and_then(|e| e.objects.get(object)) else {
            return String::new();
        };
        let mut words: Vec<_> = object.words.iter().collect();
        words.sort_by_key(|w| w.range.start);
        let texts = words.iter().filter_map(|w| self.prompt.get(w.range.clone()));
        texts.collect::<Vec<_>>().join(" ").to_lowercase()
    }

    /// The words whose regions were given.
    fn given_words(&self) -> Vec<ObjectWord> {
        let known = self.words();
        let mut words = Vec::new();
        for (phrase, region) in self.given.iter().enumerate() {
            for text in &region.words {
                let word = known.iter().find(|word| word.text == *text);
                let positions = word.map(|word| word.positions.clone()).unwrap_or_default();
                if !positions.is_empty() {
                    words.push(ObjectWord { text: text.clone(), role: None, phrase, positions });
                }
            }
        }
        words
    }

    /// The words that describe objects, one entry an occurrence.
    pub fn object_words(&self) -> Vec<ObjectWord> {
        if !self.given.is_empty() {
            return self.given_words();
        }
        let Some(expectations) = &self.expectations else { return Vec::new() };
        object_words_of(&self.prompt, expectations, &self.tokens)
    }
}

/// The words of a prompt that describe objects, one entry an occurrence. `tokens` are the
/// prompt's, start and end included.
pub fn object_words_of(
    prompt: &str,
    expectations: &Expectations,
    tokens: &[PromptToken],
) -> Vec<ObjectWord> {
    let mut words = Vec::new();
    for (phrase, object) in expectations.objects.iter().enumerate() {
        for word in &object.words {
            let positions = positions_of(tokens, word.range.start, word.range.end);
            let text = prompt[word.range.clone()].to_lowercase();
            if !positions.is_empty() {
                let role = Some(word.role);
                words.push(ObjectWord { text, role, phrase, positions });
            }
        }
    }
    words
}

/// Positions of the tokens that overlap a byte range of the prompt.
pub(crate) fn positions_of(tokens: &[PromptToken], start: usize, end: usize) -> Vec<usize> {
    let overlaps = |t: &PromptToken| t.word.is_some() && t.span.0 < end && t.span.1 > start;
    let tokens = tokens.iter().enumerate();
    tokens.filter(|(_, t)| overlaps(t)).map(|(position, _)| position).collect()
}
