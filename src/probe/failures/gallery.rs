//! Failed images with boxes around what the judge saw.

use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};

use crate::figure::{FigureError, encode_png};
use crate::table::SeenRow;

/// Images are enlarged by a whole number until a side has so many pixels.
const SHOWN: u32 = 192;
/// Most that an image is enlarged.
const MOST_ENLARGED: u32 = 12;
/// Lines of boxes in pixels.
const LINE: u32 = 2;
/// Around what stands for something in the prompt, and around what is extra.
const EXPECTED: Rgb<u8> = Rgb([255, 255, 255]);
const EXTRA: Rgb<u8> = Rgb([255, 0, 200]);
/// Beside every line, so that it shows on any ground.
const SHADE: Rgb<u8> = Rgb([0, 0, 0]);

/// An image as PNG, enlarged with its pixels kept, with boxes around what was seen: white around
/// what stands for something in the prompt, magenta around what is extra.
///
/// # Errors
/// When the encoder refuses, as for an image without pixels.
pub fn boxed(image: &RgbImage, seen: &[&SeenRow]) -> Result<Vec<u8>, FigureError> {
    let side = image.width().max(image.height()).max(1);
    let times = SHOWN.div_ceil(side).clamp(1, MOST_ENLARGED);
    let (width, height) = (image.width() * times, image.height() * times);
    let mut drawn = resize(image, width, height, FilterType::Nearest);
    for row in seen {
        let at = |share: f64, of: u32| (share * f64::from(of)).round() as i64;
        let corners = [
            at(row.left, width),
            at(row.top, height),
            at(row.right, width) - 1,
            at(row.bottom, height) - 1,
        ];
        let colour = if row.stands_for.is_some() { EXPECTED } else { EXTRA };
        frame(&mut drawn, corners, i64::from(LINE), SHADE);
        frame(&mut drawn, corners, i64::from(LINE) - 1, colour);
    }
    encode_png(&drawn)
}

/// A frame whose lines reach `line` pixels outwards.
fn frame(image: &mut RgbImage, [left, top, right, bottom]: [i64; 4], line: i64, colour: Rgb<u8>) {
    let mut dot = |x: i64, y: i64| {
        if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
            && let Some(pixel) = image.get_pixel_mut_checked(x, y)
        {
            *pixel = colour;
        }
    };
    for out in 0..=line {
        for x in left - out..=right + out {
            dot(x, top - out);
            dot(x, bottom + out);
        }
        for y in top - out..=bottom + out {
            dot(left - out, y);
            dot(right + out, y);
        }
    }
}
