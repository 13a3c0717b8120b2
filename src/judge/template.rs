//! What each solid looks like, drawn once by the world's own renderer.

use std::sync::{Arc, OnceLock};

use super::grid::Mask;
use crate::world::{
    Background, Colour, Content, Finish, Light, Object, Scene, Shape, Size, masks, render,
};

/// Radius of the solid in a template, in template pixels.
const RADIUS: f32 = 32.0;
/// Side of a template: the circle around the silhouette and a little air.
const SIDE: usize = 68;
/// Channels: red, green, blue times coverage, and coverage.
const CHANNELS: usize = 4;

/// A solid with its finish under one light, as sums over rectangles: any patch of it can be
/// averaged with four look-ups, at any scale and offset, which is how a pixel sees it.
pub(super) struct Template {
    pub shape: Shape,
    pub finish: Finish,
    /// `sums[y][x]` is the sum over all template pixels above and to the left.
    sums: Vec<[f32; CHANNELS]>,
}

/// A place for a template in the working image, in working pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
}

impl Template {
    fn draw(shape: Shape, colour: Colour, finish: Finish, light: Light) -> Template {
        // The renderer wants whole scenes: one with the object in the middle.
        let radius = Size::Large.radii().1;
        let size = (RADIUS / radius).round() as usize;
        let object = Object { shape, colour, size: Size::Large, finish, x: 0.5, y: 0.5, radius };
        let content = Content::Objects(vec![object]);
        let scene = Scene { background: Background::Black, light, content };
        let image = render(&scene, size);
        // Coverage from a mask at four times the size.
        const FINE: usize = 4;
        let fine = masks(&scene, FINE * size);
        let from = (size - SIDE) / 2;
        let mut sums = vec![[0.0; CHANNELS]; (SIDE + 1) * (SIDE + 1)];
        for y in 0..SIDE {
            let mut row = [0.0; CHANNELS];
            for x in 0..SIDE {
                let (ix, iy) = (x + from, y + from);
                let hits = (0..FINE * FINE).filter(|i| {
                    let at = [FINE * iy + i / FINE, FINE * ix + i % FINE];
                    fine.first().is_some_and(|m| m.get(at) == Some(&true))
                });
                let coverage = hits.count() as f32 / (FINE * FINE) as f32;
                let pixel = image.get_pixel(ix as u32, iy as u32).0;
                for (sum, v) in row.iter_mut().zip(pixel) {
                    *sum += coverage * f32::from(v) / 255.0;
                }
                row[CHANNELS - 1] += coverage;
                let above = sums[y * (SIDE + 1) + x + 1];
                sums[(y + 1) * (SIDE + 1) + x + 1] = std::array::from_fn(|k| above[k] + row[k]);
            }
        }
        Template { shape, finish, sums }
    }

    /// What a working pixel sees of the solid at a place: colour times coverage, and coverage.
    pub fn pixel(&self, place: Place, column: usize, row: usize) -> [f32; CHANNELS] {
        let scale = RADIUS / place.radius;
        let edge = |v: f32, centre: f32| {
            let t = (v - centre) * scale + 0.5 * SIDE as f32;
            t.round().clamp(0.0, SIDE as f32) as usize
        };
        let (x0, x1) = (edge(column as f32, place.x), edge(column as f32 + 1.0, place.x));
        let (y0, y1) = (edge(row as f32, place.y), edge(row as f32 + 1.0, place.y));
        let at = |x: usize, y: usize| &self.sums[y * (SIDE + 1) + x];
        let (a, b, c, d) = (at(x0, y0), at(x1, y0), at(x0, y1), at(x1, y1));
        // By the pixel's own area: where it reaches over the template's edge, nothing is there.
        let area = scale * scale;
        std::array::from_fn(|k| ((d[k] - b[k] - c[k] + a[k]) / area).min(1.0))
    }
}

/// A shape and its three finishes in the order of [`Finish::ALL`].
pub(super) type Shapes = [[Template; 3]; 4];

/// All shapes and finishes of a colour under a light; drawn when first asked for.
pub(super) fn templates(colour: Colour, light: Light) -> Arc<Shapes> {
    const CELLS: usize = 8 * 3;
    static BANK: [OnceLock<Arc<Shapes>>; CELLS] = [const { OnceLock::new() }; CELLS];
    let cell = (colour as usize) * Light::ALL.len() + light as usize;
    BANK[cell]
        .get_or_init(|| {
            let draw =
                |s: usize, f: usize| Template::draw(Shape::ALL[s], colour, Finish::ALL[f], light);
            Arc::new(std::array::from_fn(|s| std::array::from_fn(|f| draw(s, f))))
        })
        .clone()
}

/// Box of a shape's silhouette in units of its circle's radius: left, top, right, bottom.
pub(super) const fn outline(shape: Shape) -> [f32; 4] {
    match shape {
        Shape::Ball => [-1.0, -1.0, 1.0, 1.0],
        Shape::Cube => [-0.839, -0.884, 0.839, 0.884],
        Shape::Cone => [-0.80, -0.97, 0.80, 0.84],
        Shape::Ring => [-1.0, -0.90, 1.0, 0.90],
    }
}

impl Place {
    /// Where a solid lies whose silhouette has this box (left, top, right, bottom in pixels).
    pub fn of_bounds(shape: Shape, bounds: [f32; 4]) -> Place {
        let o = outline(shape);
        let (w, h) = (bounds[2] - bounds[0], bounds[3] - bounds[1]);
        // The two estimates of the radius, weighted by the extents they come from.
        let radius = (w + h) / (o[2] - o[0] + o[3] - o[1]);
        Place {
            x: 0.5 * (bounds[0] + bounds[2]) - 0.5 * radius * (o[0] + o[2]),
            y: 0.5 * (bounds[1] + bounds[3]) - 0.5 * radius * (o[1] + o[3]),
            radius,
        }
    }

    /// The working pixels around the circle: left, top, right, bottom (one past the end).
    pub fn window(&self, mask: &Mask) -> (usize, usize, usize, usize) {
        const AIR: f32 = 1.5;
        let reach = self.radius + AIR;
        let low = |v: f32| (v - reach).floor().max(0.0) as usize;
        let high = |v: f32, end: usize| ((v + reach).ceil().max(0.0) as usize).min(end);
        (low(self.x), low(self.y), high(self.x, mask.width), high(self.y, mask.height))
    }
}
