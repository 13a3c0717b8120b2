//! Where each word of a prompt looks, in one call.

use image::RgbImage;
use ndarray::{Array2, Array3, Axis};

use crate::measure::{Undefined, daam};
use crate::model::checkpoint::DiffusionModel;
use crate::model::tokenizer::Tokens;
use crate::pipeline::{Generation, PipelineError, Request, generate};
use crate::tap::{AttentionRecorder, Tap, TapError, Then};

/// What can go wrong when words are watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The run failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The recorder failed.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// A map that does not exist.
    #[error(transparent)]
    Undefined(#[from] Undefined),
    /// A word that the prompt does not have.
    #[error("the prompt has no word `{word}`; it has {there}")]
    NoSuchWord {
        /// The word asked for.
        word: String,
        /// The words there are.
        there: String,
    },
    /// An image that was not made.
    #[error("there is no image {asked}: the run made {made}, counted from 0")]
    NoSuchImage {
        /// The image asked for.
        asked: usize,
        /// How many there are.
        made: usize,
    },
}

/// Images of one prompt, and where its words looked while they were made.
#[derive(Debug)]
pub struct Watched {
    /// What the run made.
    pub generation: Generation,
    tokens: Tokens,
    /// Of each image [tokens, rows, columns]: the mean over layers, heads and steps.
    maps: Vec<Array3<f32>>,
}

/// Runs a request and watches the cross-attention of its first prompt's words, aggregated over
/// layers, heads and steps as DAAM does ([`daam::aggregate`]). `change` sees every tensor first:
/// an edit, or `Edits::default()` for none.
///
/// ```
/// use denoscope::model::checkpoint::{DiffusionModel, Placement};
/// use denoscope::notebook::watch_words;
/// use denoscope::pipeline::Request;
/// use denoscope::tap::edit::Edits;
///
/// let model = DiffusionModel::open("shapes", Placement::default())?;
/// let request = Request { steps: 4, ..Request::new(&model, "red ball left of blue cube")? };
/// let watched = watch_words(&model, &request, Edits::default())?;
/// assert_eq!(watched.map(0, "ball")?.dim(), (16, 16));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A request that cannot run.
pub fn watch_words(
    model: &DiffusionModel,
    request: &Request,
    change: impl Tap,
) -> Result<Watched, WatchError> {
    let tokens = request.check(model)?.swap_remove(0);
    let sites = model.sites.iter().map(|(_, site)| site).filter(|site| site.is_cross_probs());
    let [_, _, rows, columns] = request.latent_shape(model);
    let names = sites.map(|site| site.name.clone());
    let recorder = AttentionRecorder::new(tokens.ids.len(), names, [rows, columns]);
    let mut tap = Then(change, recorder);
    let generation = generate(model, request, Some(&mut tap), &mut |_, _| {})?;
    let record = tap.1.finish()?;
    let shape = (rows as usize, columns as usize);
    let maps = (0..request.seeds.len()).map(|image| {
        let layers: Vec<_> =
            record.layers.iter().map(|layer| layer.per_head.index_axis(Axis(0), image)).collect();
        Ok(daam::aggregate(&layers, shape)? / record.steps.max(1) as f32)
    });
    let maps = maps.collect::<Result<_, Undefined>>()?;
    Ok(Watched { generation, tokens, maps })
}

impl Watched {
    /// The words of the prompt, in order.
    pub fn words(&self) -> Vec<&str> {
        let mut words: Vec<&str> = Vec::new();
        let mut last = None;
        for (word, number) in self.tokens.words.iter().zip(&self.tokens.word_numbers) {
            if let Some(word) = word
                && last != *number
            {
                words.push(word);
                last = *number;
            }
        }
        words
    }

    /// The image with this number, from 0.
    ///
    /// # Errors
    /// [`WatchError::NoSuchImage`].
    pub fn image(&self, image: usize) -> Result<&RgbImage, WatchError> {
        let made = self.generation.images.len();
        self.generation.images.get(image).ok_or(WatchError::NoSuchImage { asked: image, made })
    }

    /// Where a word looks in an image: attention probabilities [rows, columns] on the latent
    /// grid, the mean over the word's tokens and occurrences.
    ///
    /// # Errors
    /// [`WatchError::NoSuchWord`], [`WatchError::NoSuchImage`].
    pub fn map(&self, image: usize, word: &str) -> Result<Array2<f32>, WatchError> {
        let places: Vec<usize> = (self.tokens.words.iter().enumerate())
            .filter(|(_, of_token)| of_token.as_deref() == Some(word))
            .map(|(place, _)| place)
            .collect();
        if places.is_empty() {
            let (word, there) = (word.to_owned(), self.words().join(", "));
            return Err(WatchError::NoSuchWord { word, there });
        }
        let made = self.maps.len();
        let maps = self.maps.get(image).ok_or(WatchError::NoSuchImage { asked: image, made })?;
        Ok(daam::word_map(maps, &places)?)
    }
}
