//! Masks that users give: where the object of a word is.

mod coco;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use image::imageops::{FilterType, grayscale, resize};
use image::{GrayImage, Luma};
use ndarray::Array2;

use super::image_file::read_image;
use crate::probe::attention::GivenRegion;

/// Where objects are, as a user says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenMask {
    /// Words of the prompt, and the file with the region of what they speak of.
    Word {
        /// Lower case.
        words: Vec<String>,
        /// White on black.
        file: PathBuf,
    },
    /// A COCO file, whose categories are words of the prompt.
    Coco(PathBuf),
}

impl GivenMask {
    /// Reads `WORD=FILE`, or the name of a `.json` file.
    ///
    /// # Errors
    /// Text without a word, or without a file.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('=') && Path::new(text).extension().is_some_and(|e| e == "json") {
            return Ok(Self::Coco(text.into()));
        }
        let parts = text.split_once('=').map(|(words, file)| (lower_case(words), file.trim()));
        match parts {
            Some((words, file)) if !words.is_empty() && !file.is_empty() => {
                Ok(Self::Word { words, file: file.into() })
            }
            _ => {
                let examples = "as in dog=dog.png, or a COCO file, as in masks.json";
                Err(format!("give a word of the prompt and a file, {examples}"))
            }
        }
    }
}

impl fmt::Display for GivenMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word { words, file } => write!(f, "{}={}", words.join(" "), file.display()),
            Self::Coco(file) => write!(f, "{}", file.display()),
        }
    }
}

fn lower_case(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_lowercase).collect()
}

/// What regions are given for.
pub(super) struct Shown<'a> {
    /// The words of the prompt.
    pub prompt: &'a [&'a str],
    /// The file of the image, by whose name a COCO file knows it.
    pub image: &'a Path,
    /// Width and height of the run's images.
    pub size: [i64; 2],
}

/// The regions of the masks. Masks of one file are one object, and so is a category of a COCO
/// file.
pub(super) fn given_regions(masks: &[GivenMask], shown: &Shown<'_>) -> Result<Vec<GivenRegion>> {
    let mut files: Vec<(&PathBuf, usize)> = Vec::new();
    let mut regions: Vec<GivenRegion> = Vec::new();
    for mask in masks {
        match mask {
            GivenMask::Word { words, file } => {
                check_words(mask, words, (shown, &regions))?;
                let at = match files.iter().find(|(known, _)| *known == file) {
                    Some((_, at)) => *at,
                    None => {
                        let gray = grayscale(&read_image(file)?.image);
                        let read = region(mask, gray, shown.size)?;
                        files.push((file, regions.len()));
                        regions.push(GivenRegion { words: Vec::new(), mask: read });
                        regions.len() - 1
                    }
                };
                regions[at].words.extend(words.iter().cloned());
            }
            GivenMask::Coco(file) => {
                let more = of_coco((mask, file), (shown, &regions))?;
                regions.extend(more);
            }
        }
    }
    Ok(regions)
}

/// The categories that the prompt names; others are left out.
fn of_coco(
    (mask, file): (&GivenMask, &Path),
    (shown, known): (&Shown<'_>, &[GivenRegion]),
) -> Result<Vec<GivenRegion>> {
    let image = shown.image.to_string_lossy();
    let found = coco::regions(file, &image)?;
    let names: Vec<String> = found.keys().cloned().collect();
    let mut regions = Vec::new();
    for (name, inside) in found {
        let words = lower_case(&name);
        if words.iter().any(|word| !shown.prompt.contains(&word.as_str())) {
            continue;
        }
        check_words(mask, &words, (shown, known))?;
        let (height, width) = inside.dim();
        let gray = GrayImage::from_fn(width as u32, height as u32, |x, y| {
            Luma([if inside[[y as usize, x as usize]] { u8::MAX } else { 0 }])
        });
        regions.push(GivenRegion { words, mask: region(mask, gray, shown.size)? });
    }
    if regions.is_empty() {
        bail!(
            "--mask {mask}: none of its categories is in the prompt; they are: {}; the prompt's \
             words: {}",
            names.join(", "),
            shown.prompt.join(", ")
        );
    }
    Ok(regions)
}

/// Each word is in the prompt and has no mask yet.
fn check_words(
    mask: &GivenMask,
    words: &[String],
    (shown, known): (&Shown<'_>, &[GivenRegion]),
) -> Result<()> {
    for word in words {
        if !shown.prompt.contains(&word.as_str()) {
            let known = shown.prompt.join(", ");
            bail!("--mask {mask}: the prompt has no word `{word}`; its words: {known}");
        }
        if known.iter().any(|region| region.words.contains(word)) {
            bail!("--mask {mask}: `{word}` has a mask already; give each word one");
        }
    }
    Ok(())
}

/// What is nearer to white than to black, at [width, height].
fn region(mask: &GivenMask, gray: GrayImage, [width, height]: [i64; 2]) -> Result<Array2<bool>> {
    const HALF: u8 = 128;
    let gray = resize(&gray, width as u32, height as u32, FilterType::Triangle);
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
    use super::GivenMask;

    #[test]
    fn masks_are_words_and_a_file() {
        let mask = GivenMask::parse("Red  ball = a=b.png").unwrap();
        let words = vec!["red".to_owned(), "ball".to_owned()];
        assert_eq!(mask, GivenMask::Word { words, file: "a=b.png".into() });
        assert_eq!(mask.to_string(), "red ball=a=b.png");
        let coco = GivenMask::parse("some/masks.json").unwrap();
        assert_eq!(coco, GivenMask::Coco("some/masks.json".into()));
        for bad in ["", "ball", "=a.png", "ball=", " =a.png"] {
            assert!(GivenMask::parse(bad).is_err(), "{bad:?}");
        }
    }
}
