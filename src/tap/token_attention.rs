//! Cross-attention of the prompt's tokens as table rows, one per head and token.

use std::collections::BTreeSet;

use tch::Tensor;

use super::channels::skips;
use super::recorder::Recorder;
use super::{AttentionRecorder, Moment, Tap, TapError};
use crate::measure::record::{AttentionRecord, MapNumbers};
use crate::site::Site;
use crate::table::{AttentionRow, MapOf};

/// A token as tables name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptToken {
    /// Its text as the tokenizer spells it.
    pub piece: String,
    /// The word it belongs to; none for start and end tokens.
    pub word: Option<String>,
}

/// Summarises cross-attention per head and token (mass, entropy, centre, peak), and sums DAAM's
/// maps over steps. Memory does not grow with the number of steps as long as its rows are taken.
#[derive(Debug)]
pub struct TokenAttention {
    recorder: AttentionRecorder,
    tokens: Vec<PromptToken>,
    steps: Option<BTreeSet<usize>>,
}

impl TokenAttention {
    /// Watches the given tokens, the first of the prompt, at the given sites and steps (all if
    /// `None`), for latents of `grid` rows and columns.
    pub fn new(
        tokens: Vec<PromptToken>,
        sites: impl IntoIterator<Item = String>,
        steps: Option<BTreeSet<usize>>,
        grid: [i64; 2],
    ) -> Self {
        let recorder = AttentionRecorder::new(tokens.len(), sites, grid).without_step_maps();
        Self { recorder, tokens, steps }
    }

    /// The tokens.
    pub fn tokens(&self) -> &[PromptToken] {
        &self.tokens
    }

    /// The maps that were summed over steps.
    ///
    /// # Errors
    /// As [`AttentionRecorder::finish`].
    pub fn finish(self) -> Result<AttentionRecord, TapError> {
        self.recorder.finish()
    }

    fn row(&self, run: &str, numbers: &MapNumbers) -> AttentionRow {
        let (site, shape) = self.recorder.layer_of(numbers);
        let token = &self.tokens[numbers.token];
        let shape = shape.map(|side| side as u32);
        let (piece, word) = (token.piece.as_str(), token.word.as_deref());
        AttentionRow::of_numbers(MapOf { run, site, shape, piece, word }, numbers)
    }
}

impl Tap for TokenAttention {
    fn selects(&self, site: &Site) -> bool {
        self.recorder.selects(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        if skips(self.steps.as_ref(), site, at) {
            return Ok(None);
        }
        self.recorder.visit(site, at, x)
    }
}

impl Recorder for TokenAttention {
    type Row = AttentionRow;

    fn take(&mut self, run: &str) -> Vec<AttentionRow> {
        let numbers = self.recorder.take_numbers();
        numbers.iter().map(|numbers| self.row(run, numbers)).collect()
    }
}
