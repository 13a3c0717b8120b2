//! What guidance is said to spoil in an image: colours too strong, contrast too hard, values cut
//! off, edges too sharp or too few.

use ndarray::{Array2, ArrayView3};

use super::Undefined;

/// Shares of red, green and blue in the luma of an image (ITU-R BT.601).
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];
const WHITE: f64 = 255.0;

/// Numbers of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Appearance {
    /// Mean saturation over pixels, (max − min)/max of the three channels, 0 for black; in [0, 1].
    pub saturation: f64,
    /// Standard deviation of the luma in [0, 1] (RMS contrast, Peli 1990).
    pub contrast: f64,
    /// Share of pixels with a channel at 0 or 255, in [0, 1].
    pub clipped: f64,
    /// Mean square of the luma's Laplacian with four neighbours, pixels at the border left out:
    /// how much fine detail there is.
    pub laplacian: f64,
}

impl Appearance {
    /// Measures 8-bit pixels [rows, columns, 3].
    ///
    /// # Errors
    /// [`Undefined::Empty`] for images of less than three pixels a side, [`Undefined::Length`] for
    /// another number of channels.
    pub fn of(pixels: ArrayView3<'_, u8>) -> Result<Self, Undefined> {
        let (height, width, channels) = pixels.dim();
        if channels != LUMA.len() {
            return Err(Undefined::Length { expected: LUMA.len(), got: channels });
        }
        if height < 3 || width < 3 {
            return Err(Undefined::Empty);
        }
        let count = (height * width) as f64;
        let (mut saturation, mut clipped) = (0.0, 0_usize);
        let mut luma = Array2::<f64>::zeros((height, width));
        for ((row, column), luma) in luma.indexed_iter_mut() {
            let [r, g, b] = [0, 1, 2].map(|channel| pixels[(row, column, channel)]);
            let (least, most) = (r.min(g).min(b), r.max(g).max(b));
            if most > 0 {
                saturation += f64::from(most - least) / f64::from(most);
            }
            clipped += usize::from(least == u8::MIN || most == u8::MAX);
            *luma = [r, g, b].iter().zip(LUMA).map(|(&v, share)| f64::from(v) * share).sum::<f64>()
                / WHITE;
        }
        Ok(Self {
            saturation: saturation / count,
            contrast: luma.std(0.0),
            clipped: clipped as f64 / count,
            laplacian: laplacian_energy(&luma),
        })
    }
}

fn laplacian_energy(luma: &Array2<f64>) -> f64 {
    let (height, width) = luma.dim();
    let mut sum = 0.0;
    for row in 1..height - 1 {
        for column in 1..width - 1 {
            let around = luma[(row - 1, column)]
                + luma[(row + 1, column)]
                + luma[(row, column - 1)]
                + luma[(row, column + 1)];
            sum += (around - 4.0 * luma[(row, column)]).powi(2);
        }
    }
    sum / ((height - 2) * (width - 2)) as f64
}
