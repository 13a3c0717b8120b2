//! Captions and rendered images in one space: which finds which, whether an image tells its
//! caption from one with exchanged words, and how far apart the two kinds of vectors lie.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use super::{RANDOM_HALVES, SHUFFLED_CAPTIONS, Said, Whose};
use crate::measure::Undefined;
use crate::measure::embedding::{among_first, nearest, unit_rows};
use crate::measure::linear::shuffled;
use crate::table::ClipRow;
use crate::world::{Exchange, Expectations, Sample, parse};

/// Part of the table: retrieval.
pub const RETRIEVAL: &str = "retrieval";
/// Part of the table: the gap between texts and images.
pub const MODALITY_GAP: &str = "modality-gap";

/// Places that count as found.
const FIRST: [usize; 2] = [1, 5];
/// Fewest pairs that halves are made of.
const FEWEST: usize = 4;

/// Scenes with the embeddings of their captions and images.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    /// Which scenes, such as `new scenes`.
    pub name: &'a str,
    /// The scenes.
    pub samples: &'a [Sample],
    /// [scenes, channels].
    texts: Array2<f64>,
    /// [scenes, channels].
    images: Array2<f64>,
}

impl<'a> Pairs<'a> {
    /// Of each scene the embedding of its caption and that of its image.
    ///
    /// # Errors
    /// Vectors that have no direction or are no numbers; not one for each scene.
    pub fn new(
        (name, samples): (&'a str, &'a [Sample]),
        texts: ArrayView2<'_, f32>,
        images: ArrayView2<'_, f32>,
    ) -> Result<Self, Undefined> {
        for got in [texts.nrows(), images.nrows()] {
            if got != samples.len() {
                return Err(Undefined::Length { expected: samples.len(), got });
            }
        }
        Ok(Self { name, samples, texts: unit_rows(texts)?, images: unit_rows(images)? })
    }

    /// Retrieval in both directions, by pair and by what fits; with exchanged captions (`shuffle`
    /// is their seed) as a control.
    ///
    /// # Errors
    /// [`Undefined::Empty`] without scenes, or with a caption that the world does not read.
    pub fn retrieval(&self, (whose, shuffle): (Whose<'_>, u64)) -> Result<Vec<ClipRow>, Undefined> {
        let fits = self.fits()?;
        let order: Vec<usize> = (0..self.samples.len()).collect();
        let mut rows = self.found(&self.texts, &fits, whose);
        if whose.control.is_none() {
            let other = self.texts.select(Axis(0), &shuffled(&order, shuffle));
            rows.extend(self.found(&other, &fits, whose.as_control(SHUFFLED_CAPTIONS)));
        }
        Ok(rows)
    }

    /// Whether the caption (row) is true of the scene (column).
    fn fits(&self) -> Result<Array2<bool>, Undefined> {
        let said: Vec<Expectations> = self
            .samples
            .iter()
            .map(|sample| parse(&sample.caption).map_err(|_| Undefined::Empty))
            .collect::<Result<_, _>>()?;
        let of_caption = |said: &Expectations| -> Vec<bool> {
            self.samples.iter().map(|sample| said.holds_in(&sample.scene)).collect()
        };
        let rows: Vec<Vec<bool>> = said.par_iter().map(of_caption).collect();
        let n = self.samples.len();
        Array2::from_shape_vec((n, n), rows.concat()).map_err(|_| Undefined::Empty)
    }

    fn found(&self, texts: &Array2<f64>, fits: &Array2<bool>, whose: Whose<'_>) -> Vec<ClipRow> {
        let n = self.samples.len();
        let scores = texts.dot(&self.images.t());
        let mut rows = Vec::new();
        for (direction, scores, fits) in
            [("text to image", scores.view(), fits.view()), ("image to text", scores.t(), fits.t())]
        {
            for count in FIRST {
                let found: Vec<f64> =
                    (0..n).map(|own| among_first(scores.row(own), own, count)).collect();
                let subject = format!("{direction}, first {count}, {}", self.name);
                let chance = Some((count as f64 / n as f64).min(1.0));
                let (part, measure) = (RETRIEVAL, "recall");
                let said = Said { part, measure, subject: &subject, chance, ..Said::default() };
                rows.extend(whose.mean_of(said, &found));
            }
            let first = |row: usize| {
                let found = nearest(scores.row(row), &[]).is_some_and(|i| fits[[row, i]]);
                f64::from(u8::from(found))
            };
            let fitting: Vec<f64> = (0..n).map(first).collect();
            let all = fits.iter().filter(|&&fits| fits).count() as f64;
            let subject = format!("{direction}, {}", self.name);
            let said = Said {
                part: RETRIEVAL,
                measure: "fits",
                subject: &subject,
                chance: Some(all / (n * n) as f64),
                ..Said::default()
            };
            rows.extend(whose.mean_of(said, &fitting));
        }
        rows
    }

    /// The captions with exchanged words that are false of their scenes: number of the scene and
    /// the caption.
    pub fn exchanged(samples: &[Sample], exchange: Exchange) -> Vec<(usize, String)> {
        let other = |(i, sample): (usize, &Sample)| {
            let caption = exchange.apply(&sample.caption)?;
            let said = parse(&caption).ok()?;
            (!said.holds_in(&sample.scene)).then_some((i, caption))
        };
        samples.iter().enumerate().filter_map(other).collect()
    }

    /// How often an image is nearer to its own caption than to the one with exchanged words;
    /// `others` [captions, channels] are the embeddings of those of [`Pairs::exchanged`].
    ///
    /// # Errors
    /// Vectors that have no direction, or not one for each caption.
    pub fn prefers(
        &self,
        (exchange, captions): (&str, &[(usize, String)]),
        others: ArrayView2<'_, f32>,
        whose: Whose<'_>,
    ) -> Result<Option<ClipRow>, Undefined> {
        if captions.is_empty() {
            return Ok(None);
        }
        if others.nrows() != captions.len() {
            return Err(Undefined::Length { expected: captions.len(), got: others.nrows() });
        }
        let others = unit_rows(others)?;
        let right: Vec<f64> = captions
            .iter()
            .zip(others.rows())
            .map(|((scene, _), other)| {
                let image = self.images.row(*scene);
                super::structure::more(image.dot(&self.texts.row(*scene)), image.dot(&other))
            })
            .collect();
        let subject = format!("own caption before exchanged {exchange}, {}", self.name);
        let said = Said {
            part: RETRIEVAL,
            measure: "share",
            subject: &subject,
            chance: Some(0.5),
            ..Said::default()
        };
        Ok(whose.mean_of(said, &right))
    }

    /// How far texts and images lie apart: the distance of their means (Liang et al. 2022), beside
    /// that of two halves of the texts, and mean cosines within and between.
    pub fn gap(&self, (whose, shuffle): (Whose<'_>, u64)) -> Vec<ClipRow> {
        let n = self.samples.len();
        if n < FEWEST {
            return Vec::new();
        }
        let subject = format!("texts and images, {}", self.name);
        let distance = distance_of_means(&self.texts, &self.images);
        let mut rows =
            vec![whose.row(said("distance of means", &subject), (distance, None), 2 * n)];
        let order = shuffled(&(0..n).collect::<Vec<_>>(), shuffle);
        let halves = order.split_at(n / 2);
        let [a, b] = [halves.0, halves.1].map(|rows| self.texts.select(Axis(0), rows));
        let control = whose.as_control(RANDOM_HALVES);
        rows.push(control.row(
            said("distance of means", &subject),
            (distance_of_means(&a, &b), None),
            n,
        ));
        let own: Vec<f64> =
            self.texts.rows().into_iter().zip(self.images.rows()).map(|(t, i)| t.dot(&i)).collect();
        let subject = format!("caption and its image, {}", self.name);
        rows.extend(whose.mean_of(said("cosine", &subject), &own));
        for (name, a, b) in [
            ("caption and another image", &self.texts, &self.images),
            ("two captions", &self.texts, &self.texts),
            ("two images", &self.images, &self.images),
        ] {
            let subject = format!("{name}, {}", self.name);
            rows.extend(whose.mean_of(said("cosine", &subject), &with_others(a, b)));
        }
        rows
    }
}

fn said<'a>(measure: &'static str, subject: &'a str) -> Said<'a> {
    Said { part: MODALITY_GAP, measure, subject, ..Said::default() }
}

fn distance_of_means(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    let mean = |x: &Array2<f64>| x.sum_axis(Axis(0)) / x.nrows() as f64;
    let difference = mean(a) - mean(b);
    difference.dot(&difference).sqrt()
}

/// For each vector of `a` its mean cosine with the vectors of `b` in other rows.
fn with_others(a: &Array2<f64>, b: &Array2<f64>) -> Vec<f64> {
    let sum = b.sum_axis(Axis(0));
    let others = b.nrows().saturating_sub(1).max(1) as f64;
    let rows = a.rows().into_iter().zip(b.rows());
    rows.map(|(a, b)| (a.dot(&sum) - a.dot(&b)) / others).collect()
}
