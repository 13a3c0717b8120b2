//! Masks that users give: where the object of a word is.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use image::imageops::{FilterType, grayscale, resize};
use ndarray::Array2;

use super::image_file::read_image;
use crate::probe::attention::GivenRegion;

/// Words of the prompt, and the file with the region of what they speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordMask {
    words: Vec<String>,
    file: PathBuf,
}

impl WordMask {
    /// Reads `WORD=FILE`.
    ///
    /// # Errors
    /// Text without a word, or without a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').map(|(words, file)| {
            let words: Vec<String> =
                words.split_whitespace().map(|word| word.to_lowercase()).collect();
            (words, file.trim())
        });
        match parts {
            Some((words, file)) if !words.is_empty() && !file.is_empty() => {
                Ok(Self { words, file: file.into() })
            }
            _ => Err("give a word of the prompt and a file, as in dog=dog.png".to_owned()),
        }
    }
}

impl fmt::Display for WordMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.words.join(" "), self.file.display())
    }
}

/// The regions of the masks in an image of `size`, [width, height]. Masks of one file are one
/// object; `prompt` has the words there are.
pub(super) fn given_regions(
    masks: &[WordMask],
    prompt: &[&str],
    [width, height]: [i64; 2],
) -> Result<Vec<GivenRegion>> {
    let mut files: Vec<&PathBuf> = Vec::new();
    let mut regions: Vec<GivenRegion> = Vec::new();
    for mask in masks {
        if let Some(word) = mask.words.iter().find(|word| !prompt.contains(&word.as_str())) {
            let known = prompt.join(", ");
            bail!("--mask {mask}: the prompt has no word `{word}`; its words: {known}");
        }
        let at = match files.iter().position(|file| **file == mask.file) {
            Some(at) => at,
            None => {
                let read = region(mask, [width, height].map(|side| side as u32))?;
                files.push(&mask.file);
                regions.push(GivenRegion { words: Vec::new(), mask: read });
                regions.len() - 1
            }
        };
        for word in &mask.words {
            if regions.iter().any(|region| region.words.contains(word)) {
                bail!("--mask {mask}: `{word}` has a mask already; give each word one");
            }
            regions[at].words.push(word.clone());
        }
    }
    Ok(regions)
}

/// What is nearer to white than to black.
fn region(mask: &WordMask, [width, height]: [u32; 2]) -> Result<Array2<bool>> {
    const HALF: u8 = 128;
    let gray = grayscale(&read_image(&mask.file)?.image);
    let gray = resize(&gray, width, height, FilterType::Triangle);
    let region = Array2::from_shape_fn((height as usize, width as usize), |(row, column)| {
        gray.get_pixel(column as u32, row as u32).0[0] >= HALF
    });
    let inside = region.iter().filter(|inside| **inside).count();
    if inside == 0 || inside == region.len() {
        let color = if inside == 0 { "black" } else { "white" };
        bail!(
            "--mask {mask}: all {color} at this size; make what the word names white, all else \
               black"
        );
    }
    Ok(region)
}

#[cfg(test)]
mod tests {
    use super::WordMask;

    #[test]
    fn masks_are_words_and_a_file() {
        let mask = WordMask::parse("Red  ball = a=b.png").unwrap();
        assert_eq!(
            (mask.words.join(","), mask.to_string()),
            ("red,ball".into(), "red ball=a=b.png".into())
        );
        for bad in ["", "ball", "=a.png", "ball=", " =a.png"] {
            assert!(WordMask::parse(bad).is_err(), "{bad:?}");
        }
    }
}
