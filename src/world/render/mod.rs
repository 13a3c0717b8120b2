//! From a scene to its image and its masks.
//!
//! Everything drawn is a [`Surface`]: a function from a point of the image to the colour seen
//! there, or nothing. Surfaces are sampled four times a pixel, and sixteen times where the
//! samples disagree about what they see (an edge, a fold, a border of a pattern), so edges are
//! smooth at any size and flat parts cost little. Colours are blended as sRGB values.

mod hand;
mod letters;
mod light;
mod solid;

use image::{Rgb, RgbImage};
use ndarray::Array2;

use self::hand::HandSurface;
use self::letters::WordSurface;
use self::light::{Lamp, Shadow};
use self::solid::Solid;
use super::scene::{Background, Content, Scene};

/// Red, green, blue in \[0, 1\], sRGB.
type Colour3 = [f32; 3];

/// What a surface shows at a point.
#[derive(Clone, Copy)]
struct Texel {
    /// Which part of the surface this is; neighbouring parts differ.
    part: u16,
    /// Its colour.
    colour: Colour3,
}

/// Something that can be drawn. Coordinates are fractions of the image width.
trait Surface {
    /// Left, top, right and bottom of a box around everything this surface covers.
    fn bounds(&self) -> [f32; 4];
    /// What is seen at a point; `None` where the surface does not cover it.
    fn at(&self, x: f32, y: f32) -> Option<Texel>;
}

/// Where the first four samples of a pixel lie: a rotated grid.
const FEW: [(f32, f32); 4] = [(0.375, 0.125), (0.875, 0.375), (0.125, 0.625), (0.625, 0.875)];
/// Samples along each side of a pixel on an edge.
const MANY: usize = 4;

/// Draws a scene as a `size` × `size` image. A pure function; `size` 0 gives an empty image.
pub fn render(scene: &Scene, size: usize) -> RgbImage {
    let lamp = Lamp::new(scene.light);
    let mut canvas = paint_background(scene, &lamp, size);
    for_each_surface(scene, &lamp, |surface| paint(surface, size, &mut canvas));
    let side = u32::try_from(size).unwrap_or(u32::MAX);
    let mut image = RgbImage::new(side, side);
    for (pixel, colour) in image.pixels_mut().zip(&canvas) {
        *pixel = Rgb(colour.map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8));
    }
    image
}

/// The visible pixels of each object, \[height, width\], in scene order; one mask for a word or
/// a hand. A pixel belongs to what covers at least half of it; shadows belong to nothing.
pub fn masks(scene: &Scene, size: usize) -> Vec<Array2<bool>> {
    let lamp = Lamp::new(scene.light);
    let mut masks: Vec<Array2<bool>> = Vec::new();
    for_each_surface(scene, &lamp, |surface| {
        let mut mask = Array2::from_elem((size, size), false);
        for_each_pixel(surface, size, |column, row, coverage, _| {
            if coverage >= 0.5 {
                mask[[row, column]] = true;
                for earlier in &mut masks {
                    earlier[[row, column]] = false;
                }
            }
        });
        masks.push(mask);
    });
    masks
}

/// Hands every surface of the scene to `visit`, back to front.
fn for_each_surface(scene: &Scene, lamp: &Lamp, mut visit: impl FnMut(&dyn Surface)) {
    match &scene.content {
        Content::Objects(objects) => {
            for object in objects {
                visit(&Solid::new(object, lamp));
            }
        }
        Content::Word(word) => visit(&WordSurface::new(word)),
        Content::Hand(hand) => visit(&HandSurface::new(hand, lamp)),
    }
}

fn paint(surface: &dyn Surface, size: usize, canvas: &mut [Colour3]) {
    for_each_pixel(surface, size, |column, row, coverage, colour| {
        let pixel = &mut canvas[row * size + column];
        for (below, above) in pixel.iter_mut().zip(colour) {
            *below += coverage * (above - *below);
        }
    });
}

/// Hands every pixel that the surface touches to `visit`: column, row, the fraction covered,
/// and the mean colour of the covered part.
fn for_each_pixel(
    surface: &dyn Surface,
    size: usize,
    mut visit: impl FnMut(usize, usize, f32, Colour3),
) {
    let scale = size as f32;
    let [left, top, right, bottom] = surface.bounds();
    let first = |v: f32| (v * scale).floor().clamp(0.0, scale) as usize;
    let last = |v: f32| (v * scale).ceil().clamp(0.0, scale) as usize;
    for row in first(top)..last(bottom) {
        for column in first(left)..last(right) {
            let (coverage, colour) = sample_pixel(surface, column as f32, row as f32, 1.0 / scale);
            if coverage > 0.0 {
                visit(column, row, coverage, colour);
            }
        }
    }
}

fn sample_pixel(surface: &dyn Surface, column: f32, row: f32, step: f32) -> (f32, Colour3) {
    let mut sum = Sum::default();
    for (dx, dy) in FEW {
        sum.add(surface.at((column + dx) * step, (row + dy) * step));
    }
    if sum.mixed {
        sum = Sum::default();
        for i in 0..MANY * MANY {
            let dx = ((i % MANY) as f32 + 0.5) / MANY as f32;
            let dy = ((i / MANY) as f32 + 0.5) / MANY as f32;
            sum.add(surface.at((column + dx) * step, (row + dy) * step));
        }
    }
    sum.mean()
}

/// Running mean of the samples of one pixel.
#[derive(Default)]
struct Sum {
    colour: Colour3,
    hits: f32,
    samples: f32,
    /// The part seen by the first sample.
    first: Option<u16>,
    /// Whether the samples saw different parts.
    mixed: bool,
}

impl Sum {
    fn add(&mut self, seen: Option<Texel>) {
        let part = seen.map(|t| t.part);
        if self.samples == 0.0 {
            self.first = part;
        }
        self.mixed |= part != self.first;
        self.samples += 1.0;
        if let Some(texel) = seen {
            self.hits += 1.0;
            for (total, v) in self.colour.iter_mut().zip(texel.colour) {
                *total += v;
            }
        }
    }

    fn mean(&self) -> (f32, Colour3) {
        if self.hits == 0.0 {
            return (0.0, [0.0; 3]);
        }
        (self.hits / self.samples, self.colour.map(|v| v / self.hits))
    }
}

/// Middle colour of a background.
fn background_colour(background: Background) -> Colour3 {
    match background {
        Background::Gray => [0.42, 0.42, 0.43],
        Background::Black => [0.09, 0.09, 0.10],
        Background::Beige => [0.78, 0.70, 0.56],
        Background::Lavender => [0.64, 0.60, 0.76],
    }
}

/// The background (a vertical gradient, brighter towards the light) with all shadows on it.
fn paint_background(scene: &Scene, lamp: &Lamp, size: usize) -> Vec<Colour3> {
    /// How much brighter the top is than the middle.
    const FALL: f32 = 0.12;
    /// How much brighter the side towards the light is than the middle, of full white.
    const GLOW: f32 = 0.11;
    let base = background_colour(scene.background);
    let (lx, ly) = lamp.towards();
    let mut canvas = Vec::with_capacity(size * size);
    for row in 0..size {
        let y = (row as f32 + 0.5) / size as f32 - 0.5;
        let vertical = 1.0 - 2.0 * FALL * y;
        for column in 0..size {
            let x = (column as f32 + 0.5) / size as f32 - 0.5;
            let glow = GLOW * (x * lx + y * ly);
            canvas.push(base.map(|v| v * vertical + glow));
        }
    }
    for shadow in shadows(scene, lamp) {
        shadow.darken(&mut canvas, size);
    }
    canvas
}

fn shadows(scene: &Scene, lamp: &Lamp) -> Vec<Shadow> {
    match &scene.content {
        Content::Objects(objects) => {
            objects.iter().map(|o| lamp.shadow(o.centre(), o.radius)).collect()
        }
        Content::Word(_) => Vec::new(),
        Content::Hand(hand) => vec![lamp.shadow((hand.x, hand.y), hand::PALM_RADIUS * hand.scale)],
    }
}
