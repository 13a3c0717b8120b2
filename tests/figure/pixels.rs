//! Figures as they are seen: drawn, made small, and held against committed pictures. Small
//! pictures forgive another rounding of an edge, and show a curve, colour or label that went
//! elsewhere. `UPDATE_FIGURES=1` writes the pictures anew: look at them before you commit them.

use std::path::{Path, PathBuf};

use denoscope::figure::{ColorMap, Figure, NARROW};
use image::RgbImage;
use image::imageops::{FilterType, resize};

use super::{all, curve, heat};

/// Set to write the pictures anew.
const UPDATE: &str = "UPDATE_FIGURES";
/// Width of the pictures.
const SMALL: u32 = 180;
/// Side of the squares that are compared.
const SQUARE: u32 = 12;
/// Most that a square may differ in the mean, of 255.
const ALIKE: f64 = 4.0;

fn drawn(figure: &dyn Figure) -> RgbImage {
    let png = figure.png(NARROW).expect("draws");
    let image = image::load_from_memory(&png).expect("a readable PNG").to_rgb8();
    let height = image.height() * SMALL / image.width();
    resize(&image, SMALL, height, FilterType::Triangle)
}

/// The mean absolute difference of the square where it is largest; none for other sizes.
fn difference(a: &RgbImage, b: &RgbImage) -> Option<f64> {
    if a.dimensions() != b.dimensions() {
        return None;
    }
    let columns = a.width().div_ceil(SQUARE);
    let mut squares = vec![(0.0, 0.0); (columns * a.height().div_ceil(SQUARE)) as usize];
    for (x, y, pixel) in a.enumerate_pixels() {
        let other = b.get_pixel(x, y);
        let apart: u32 = (0..3).map(|c| u32::from(pixel.0[c].abs_diff(other.0[c]))).sum();
        let (sum, count) = &mut squares[(y / SQUARE * columns + x / SQUARE) as usize];
        *sum += f64::from(apart) / 3.0;
        *count += 1.0;
    }
    squares.into_iter().map(|(sum, count)| sum / count).reduce(f64::max)
}

fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/figures/{name}.png"))
}

#[test]
fn figures_look_as_they_did() {
    for (name, figure) in ["heat", "curve", "dots", "grid", "film"].into_iter().zip(all()) {
        let (drawn, path) = (drawn(figure.as_ref()), reference(name));
        if std::env::var_os(UPDATE).is_some() {
            drawn.save(&path).expect("writes");
        }
        let stored = image::open(&path).expect("a stored picture").to_rgb8();
        let apart = difference(&drawn, &stored);
        assert!(
            apart.is_some_and(|apart| apart <= ALIKE),
            "{name} looks different ({apart:?} of 255, sizes {:?} and {:?}): {UPDATE}=1 writes \
             fixtures/figures anew, then look at it",
            drawn.dimensions(),
            stored.dimensions()
        );
    }
}

#[test]
fn a_change_that_a_reader_would_see_is_seen() {
    let apart = |a: &dyn Figure, b: &dyn Figure| difference(&drawn(a), &drawn(b)).unwrap_or(255.0);
    assert!(apart(&curve(), &curve()) == 0.0);

    let mut moved = curve();
    moved.curves[1].points.iter_mut().for_each(|point| point.y -= 0.04);
    assert!(apart(&curve(), &moved) > 2.0 * ALIKE, "a curve lies elsewhere");

    let mut recoloured = heat();
    recoloured.colors = ColorMap::Cividis;
    assert!(apart(&heat(), &recoloured) > 2.0 * ALIKE, "another scale of colours");

    let mut relabelled = heat();
    relabelled.rows.swap(0, 1);
    assert!(apart(&heat(), &relabelled) > ALIKE, "two labels changed places");
}
