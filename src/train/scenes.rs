//! Batches of rendered scenes and captions from the world.

use image::RgbImage;
use rayon::prelude::*;
use tch::{Device, Tensor};

use crate::model::tokenizer::Tokenizer;
use crate::pipeline::from_images;
use crate::train::TrainError;
use crate::world::{Generator, Mix, Sample, Split, render};

/// Draws scenes of the training split; scene `i` is always the same.
pub(crate) struct Scenes {
    generator: Generator,
    size: usize,
}

impl Scenes {
    /// Scenes for training, rendered at `size` pixels.
    pub(crate) fn new(seed: u64, mix: Mix, size: usize) -> Self {
        Self { generator: Generator::new(seed, mix, Split::Train), size }
    }

    /// Samples `first .. first + count`, rendered in parallel.
    pub(crate) fn rendered(&self, first: u64, count: usize) -> (Vec<Sample>, Vec<RgbImage>) {
        (first..first + count as u64)
            .into_par_iter()
            .map(|i| {
                let sample = self.generator.sample(i);
                let image = render(&sample.scene, self.size);
                (sample, image)
            })
            .unzip()
    }

    /// The captions alone; nothing is rendered.
    pub(crate) fn captions(&self, first: u64, count: usize) -> Vec<String> {
        let numbers = (first..first + count as u64).into_par_iter();
        numbers.map(|i| self.generator.sample(i).caption).collect()
    }

    /// The images alone, [n, 3, size, size] in [−1, 1].
    pub(crate) fn images(&self, first: u64, count: usize, device: Device) -> Tensor {
        from_images(&self.rendered(first, count).1).to_device(device)
    }
}

/// Ids of captions, [n, length].
pub(crate) fn caption_ids<'a>(
    tokenizer: &Tokenizer,
    captions: impl Iterator<Item = &'a str>,
) -> Result<Tensor, TrainError> {
    let mut rows = Vec::new();
    for caption in captions {
        let tokens =
            tokenizer.encode(caption).map_err(|e| TrainError::Plan(format!("{caption}: {e}")))?;
        if !tokens.cut.is_empty() {
            return Err(TrainError::Plan(format!("`{caption}` is too long for the tokenizer")));
        }
        rows.extend(tokenizer.padded(&tokens));
    }
    Ok(Tensor::from_slice(&rows).view([-1, tokenizer.max_length() as i64]))
}

/// Images side by side in rows, with a margin.
pub(crate) fn contact_sheet(images: &[RgbImage], columns: usize) -> RgbImage {
    const MARGIN: u32 = 2;
    let (w, h) = images.first().map_or((1, 1), RgbImage::dimensions);
    let rows = images.len().div_ceil(columns).max(1) as u32;
    let mut sheet = RgbImage::from_pixel(
        columns as u32 * (w + MARGIN) + MARGIN,
        rows * (h + MARGIN) + MARGIN,
        image::Rgb([255, 255, 255]),
    );
    for (i, picture) in images.iter().enumerate() {
        let x = (i % columns) as u32 * (w + MARGIN) + MARGIN;
        let y = (i / columns) as u32 * (h + MARGIN) + MARGIN;
        image::imageops::replace(&mut sheet, picture, x.into(), y.into());
    }
    sheet
}
