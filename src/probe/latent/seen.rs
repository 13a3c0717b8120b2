//! What is left of one image.

use image::RgbImage;
use ndarray::{Array2, Array3};

use super::EVERYTHING;
use crate::judge;
use crate::measure::Undefined;
use crate::measure::image::psnr;
use crate::measure::spectrum::{Bands, Spectrum, band_power, transform};

use crate::world::Expectations;

/// The largest value of a pixel.
const WHITE: f32 = 255.0;

/// What is left of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Signal to noise in decibel; none where both images agree in every byte.
    pub psnr: Option<f64>,
    /// Each expectation's kind, and whether it holds; empty without a caption.
    pub atoms: Vec<(&'static str, bool)>,
    /// Power of the image in each band, the mean over channels.
    pub power: Vec<f64>,
    /// Power of the difference in each band, likewise.
    pub error: Vec<f64>,
}

impl Seen {
    /// Whether all expectations of a kind hold, or all of any kind for [`EVERYTHING`]; none where
    /// the caption asks for nothing of the kind.
    pub fn holds(&self, kind: &str) -> Option<bool> {
        let mut own =
            self.atoms.iter().filter(|(of, _)| *of == kind || kind == EVERYTHING).peekable();
        own.peek()?;
        Some(own.all(|(_, holds)| *holds))
    }
}

/// The red, green and blue of an image, each from 0 to 1: [channel, row, column].
pub fn channels(image: &RgbImage) -> Array3<f32> {
    let (width, height) = image.dimensions();
    Array3::from_shape_fn((3, height as usize, width as usize), |(channel, row, column)| {
        f32::from(image.get_pixel(column as u32, row as u32)[channel]) / WHITE
    })
}

/// Compares an image with what is left of it; `said` is what its caption says.
///
/// # Errors
/// Images of different sizes, or of another size than the bands.
pub fn look(
    image: &RgbImage,
    left: &RgbImage,
    said: Option<&Expectations>,
    bands: &Bands,
) -> Result<Seen, Undefined> {
    let (before, after) = (channels(image), channels(left));
    let ratio = match psnr(before.view(), after.view(), 1.0) {
        Ok(ratio) => Some(ratio),
        Err(Undefined::Identical) => None,
        Err(other) => return Err(other),
    };
    let atoms = said.map_or_else(Vec::new, |said| {
        let verdict = judge::judge(left, said);
        verdict.atoms.iter().map(|atom| (atom.atom.kind(), atom.holds)).collect()
    });
    Ok(Seen {
        psnr: ratio,
        atoms,
        power: powers(&before, bands)?,
        error: powers(&(after - before), bands)?,
    })
}

fn powers(channels: &Array3<f32>, bands: &Bands) -> Result<Vec<f64>, Undefined> {
    let plane = |channel: ndarray::ArrayView2<'_, f32>| -> Spectrum {
        let plane: Array2<f64> = channel.mapv(f64::from);
        transform(plane.view())
    };
    let spectra: Vec<Spectrum> = channels.outer_iter().map(plane).collect();
    let count = spectra.len() as f64;
    Ok(band_power(&spectra, bands)?.into_iter().map(|power| power / count).collect())
}
