//! The embedding space of captions and images: what a text encoder makes of words, of their
//! sums and of their order, layer by layer; what images are near; and whether a generated image
//! follows an embedding.
//!
//! Capturing embeds texts and images and draws along paths; what is here turns vectors into rows:
//! [`similarity`] (matrices and analogies), [`structure`] (sums of parts, order), [`layers`],
//! [`pairs`] (retrieval, modality gap), [`path`]. [`report`] is for people.

pub mod captions;
mod figures;
pub mod layers;
pub mod pairs;
pub mod path;
pub mod report;
pub mod similarity;
pub mod stored;
pub mod structure;

use std::collections::BTreeMap;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use crate::measure::embedding::unit_rows;
use crate::measure::linear::shuffled;
use crate::measure::{Bootstrap, Undefined};
use crate::table::ClipRow;

/// Name of the control: the same encoder with random weights.
pub const UNTRAINED: &str = "untrained";
/// Name of the control: each caption has the embedding of another.
pub const SHUFFLED_CAPTIONS: &str = "shuffled-captions";
/// Name of the control: a probe of labels in another order.
pub const SHUFFLED_LABELS: &str = "shuffled-labels";
/// Name of the control: as far away, in a direction that means nothing.
pub const RANDOM_DIRECTION: &str = "random-direction";
/// Name of the control: two halves of the captions instead of captions and images.
pub const RANDOM_HALVES: &str = "random-halves";

/// Embeddings of texts, of length 1.
#[derive(Clone, Debug)]
pub struct Embedded {
    rows: BTreeMap<String, usize>,
    vectors: Array2<f64>,
}

impl Embedded {
    /// `vectors` [texts, channels], in the order of the texts.
    ///
    /// # Errors
    /// Vectors that have no direction or are no numbers; another number of them.
    pub fn new(texts: &[String], vectors: ArrayView2<'_, f32>) -> Result<Self, Undefined> {
        if texts.len() != vectors.nrows() {
            return Err(Undefined::Length { expected: texts.len(), got: vectors.nrows() });
        }
        let rows = texts.iter().cloned().zip(0..).collect();
        Ok(Self { rows, vectors: unit_rows(vectors)? })
    }

    /// The embedding of a text.
    ///
    /// # Errors
    /// [`Undefined::Empty`] for a text that was not embedded.
    pub fn of(&self, text: &str) -> Result<ArrayView1<'_, f64>, Undefined> {
        let row = self.rows.get(text).ok_or(Undefined::Empty)?;
        Ok(self.vectors.row(*row))
    }

    /// The embeddings of texts, [texts, channels].
    ///
    /// # Errors
    /// As [`Embedded::of`].
    pub fn of_all(&self, texts: &[String]) -> Result<Array2<f64>, Undefined> {
        let row = |text: &String| self.rows.get(text).copied().ok_or(Undefined::Empty);
        let rows: Vec<usize> = texts.iter().map(row).collect::<Result<_, _>>()?;
        Ok(self.vectors.select(Axis(0), &rows))
    }

    /// The control in which some texts have exchanged their embeddings at random.
    #[must_use]
    pub fn shuffled(&self, texts: &[String], seed: u64) -> Self {
        let mut other = self.clone();
        for (text, instead) in texts.iter().zip(shuffled(texts, seed)) {
            if let (Some(&row), Some(&from)) = (self.rows.get(text), self.rows.get(&instead)) {
                other.vectors.row_mut(row).assign(&self.vectors.row(from));
            }
        }
        other
    }
}

/// Which run rows belong to, and whether they are a control.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    /// Name of the run folder.
    pub run: &'a str,
    /// Name of the control, if they are one.
    pub control: Option<&'static str>,
}

/// What a row says, but for its numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Said<'a> {
    part: &'static str,
    measure: &'static str,
    subject: &'a str,
    site: Option<&'a str>,
    way: Option<f64>,
    chance: Option<f64>,
}

impl<'a> Whose<'a> {
    /// The same rows as a control.
    #[must_use]
    pub fn as_control(self, name: &'static str) -> Self {
        Self { control: Some(name), ..self }
    }

    /// The mean of values with its bootstrap interval over `clusters`; none without values.
    fn mean<K: Ord>(&self, said: Said<'_>, values: &[f64], clusters: &[K]) -> Option<ClipRow> {
        let known = values.iter().filter(|value| value.is_finite()).count();
        if known == 0 || known < values.len() {
            return None;
        }
        let estimate = Bootstrap::default().cluster_mean(values, clusters).ok();
        let units = clusters.iter().collect::<std::collections::BTreeSet<_>>().len();
        let value = values.iter().sum::<f64>() / values.len() as f64;
        let interval = estimate.map(|e| (e.low, e.high));
        Some(self.row(said, (value, interval), units))
    }

    /// As [`Whose::mean`], of values that are units by themselves.
    fn mean_of(&self, said: Said<'_>, values: &[f64]) -> Option<ClipRow> {
        let own: Vec<usize> = (0..values.len()).collect();
        self.mean(said, values, &own)
    }

    fn row(
        &self,
        said: Said<'_>,
        (value, interval): (f64, Option<(f64, f64)>),
        units: usize,
    ) -> ClipRow {
        ClipRow {
            run: self.run.to_owned(),
            part: said.part.to_owned(),
            measure: said.measure.to_owned(),
            subject: said.subject.to_owned(),
            site: said.site.map(str::to_owned),
            way: said.way,
            control: self.control.map(str::to_owned),
            value,
            low: interval.map(|i| i.0),
            high: interval.map(|i| i.1),
            chance: said.chance,
            units: units as u32,
        }
    }
}
