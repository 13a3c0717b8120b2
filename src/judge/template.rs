//! What each solid looks like, drawn once by the world's own renderer.

use std::sync::{Arc, OnceLock};

use ndarray::Array2;

use super::grid::Mask;
use crate::world::{
    Background, Colour, Content, Finish, Light, Object, Scene, Shape, Size, masks, render,
};

/// Radius of the solid in a template, in template pixels.
const RADIUS: f32 = 32.0;
/// Side of a template: the circle around the silhouette and a little air.
const SIDE: usize = 68;
/// Side of the table of sums, which has a row and a column of zeros before the rest.
const ROW: usize = SIDE + 1;

/// What a patch of the plain solid shows: its colour times coverage, and the coverage.
pub(super) type Plain = [f32; 4];
/// What stripes add to that colour, and a zero; then the same of dots.
pub(super) type Patterns = [f32; 8];
/// Where the coverage is in a plain patch.
pub(super) const COVERAGE: usize = 3;
/// Where stripes and dots begin in patterns.
pub(super) const PATTERNS: [usize; 2] = [0, 4];

/// A solid of one colour under one light, as sums over rectangles: any patch of it can be
/// averaged with four look-ups, at any scale and offset, which is how a pixel sees it.
pub(super) struct Template {
    pub shape: Shape,
    /// `plain[y * ROW + x]` is the sum over all template pixels above and to the left. Patterns lie
    /// apart: most pixels are asked for the plain solid only, whose table fits a near cache.
    plain: Vec<Plain>,
    patterns: Vec<Patterns>,
}

/// A place for a template in the working image, in working pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub x: f32,
    pub y: f32,
    /// Radius of the circle around the silhouette, across.
    pub radius: f32,
    /// The same downwards, of `radius`: 1 in the world, anything in a badly drawn image.
    pub tall: f32,
}

/// What a pixel sees of a template along one axis, in template pixels.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    from: usize,
    to: usize,
    /// One over the pixel's extent, which can be more than what lies within the template.
    share: f32,
}

impl Template {
    fn draw(shape: Shape, colour: Colour, light: Light) -> Template {
        // The renderer wants whole scenes: one with the object in the middle.
        let radius = Size::Large.radii().1;
        let size = (RADIUS / radius).round() as usize;
        let scene = |finish: Finish| {
            let object =
                Object { shape, colour, size: Size::Large, finish, x: 0.5, y: 0.5, radius };
            let content = Content::Objects(vec![object]);
            Scene { background: Background::Black, light, content }
        };
        let finishes = [Finish::Plain, Finish::Striped, Finish::Dotted];
        let images = finishes.map(|finish| render(&scene(finish), size));
        // Coverage from a mask at four times the size.
        const FINE: usize = 4;
        let fine = masks(&scene(Finish::Plain), FINE * size);
        let from = (size - SIDE) / 2;
        let mut plain = vec![[0.0; 4]; ROW * ROW];
        let mut patterns = vec![[0.0; 8]; ROW * ROW];
        for y in 0..SIDE {
            let (mut row, mut patterned): (Plain, Patterns) = ([0.0; 4], [0.0; 8]);
            for x in 0..SIDE {
                let (ix, iy) = (x + from, y + from);
                let hits = (0..FINE * FINE).filter(|i| {
                    let at = [FINE * iy + i / FINE, FINE * ix + i % FINE];
                    fine.first().is_some_and(|m| m.get(at) == Some(&true))
                });
                let coverage = hits.count() as f32 / (FINE * FINE) as f32;
                let colours = images
                    .each_ref()
                    .map(|i| i.get_pixel(ix as u32, iy as u32).0.map(|v| f32::from(v) / 255.0));
                row[COVERAGE] += coverage;
                for k in 0..3 {
                    row[k] += coverage * colours[0][k];
                    patterned[PATTERNS[0] + k] += coverage * (colours[1][k] - colours[0][k]);
                    patterned[PATTERNS[1] + k] += coverage * (colours[2][k] - colours[0][k]);
                }
                let (above, at) = (y * ROW + x + 1, (y + 1) * ROW + x + 1);
                plain[at] = std::array::from_fn(|k| plain[above][k] + row[k]);
                patterns[at] = std::array::from_fn(|k| patterns[above][k] + patterned[k]);
            }
        }
        Template { shape, plain, patterns }
    }

    /// What a working pixel sees of the plain solid, given its extents across and down
    /// ([`Place::columns`], [`Place::rows`]).
    pub fn plain(&self, across: Extent, down: Extent) -> Plain {
        mean(&self.plain, across, down)
    }

    /// What patterns add to that.
    pub fn patterns(&self, across: Extent, down: Extent) -> Patterns {
        mean(&self.patterns, across, down)
    }

    fn coverage(&self, across: Extent, down: Extent) -> f32 {
        self.plain(across, down)[COVERAGE]
    }
}

/// The mean over a patch from sums over rectangles.
fn mean<const N: usize>(sums: &[[f32; N]], across: Extent, down: Extent) -> [f32; N] {
    let (above, below) = (down.from * ROW, down.to * ROW);
    let (a, b) = (&sums[above + across.from], &sums[above + across.to]);
    let (c, d) = (&sums[below + across.from], &sums[below + across.to]);
    // Around the solid the template has air: the part of a pixel beyond it sees nothing.
    let scale = across.share * down.share;
    std::array::from_fn(|k| (d[k] - b[k] - c[k] + a[k]) * scale)
}

/// One template per shape, in the order of [`Shape::ALL`].
pub(super) type Shapes = [Template; 4];

/// All shapes and finishes of a colour under a light; drawn when first asked for.
pub(super) fn templates(colour: Colour, light: Light) -> Arc<Shapes> {
    const CELLS: usize = 8 * 3;
    static BANK: [OnceLock<Arc<Shapes>>; CELLS] = [const { OnceLock::new() }; CELLS];
    let cell = (colour as usize) * Light::ALL.len() + light as usize;
    BANK[cell]
        .get_or_init(|| {
            let shapes = [Shape::Ball, Shape::Cube, Shape::Cone, Shape::Ring];
            Arc::new(shapes.map(|shape| Template::draw(shape, colour, light)))
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
            tall: 1.0,
        }
    }

    /// Where a solid lies that is stretched to fill this box.
    pub fn stretched_to(shape: Shape, bounds: [f32; 4]) -> Place {
        let o = outline(shape);
        let across = (bounds[2] - bounds[0]) / (o[2] - o[0]);
        let down = (bounds[3] - bounds[1]) / (o[3] - o[1]);
        Place {
            x: 0.5 * (bounds[0] + bounds[2]) - 0.5 * across * (o[0] + o[2]),
            y: 0.5 * (bounds[1] + bounds[3]) - 0.5 * down * (o[1] + o[3]),
            radius: across,
            tall: down / across.max(1e-3),
        }
    }

    /// Radius of the circle of the same area.
    pub fn mean_radius(&self) -> f32 {
        self.radius * self.tall.sqrt()
    }

    /// What columns see of a template: [`Extent`]s of `count` pixels from `first` on. Pixels of a
    /// soft image see `softness` pixels more on either side.
    pub fn columns(&self, first: usize, count: usize, softness: f32) -> Vec<Extent> {
        extents(self.x, self.radius, first, count, softness)
    }

    /// The same of rows.
    pub fn rows(&self, first: usize, count: usize, softness: f32) -> Vec<Extent> {
        extents(self.y, self.radius * self.tall, first, count, softness)
    }

    /// Whether the middle of a pixel of an image of this width lies within the circle.
    pub fn contains(&self, at: usize, width: usize) -> bool {
        let (x, y) = ((at % width) as f32 + 0.5, (at / width) as f32 + 0.5);
        (x - self.x).hypot((y - self.y) / self.tall) <= self.radius
    }

    /// The working pixels around the circle: left, top, right, bottom (one past the end).
    pub fn window(&self, mask: &Mask) -> (usize, usize, usize, usize) {
        const AIR: f32 = 1.5;
        let (across, down) = (self.radius + AIR, self.radius * self.tall + AIR);
        let low = |v: f32| v.floor().max(0.0) as usize;
        let high = |v: f32, end: usize| (v.ceil().max(0.0) as usize).min(end);
        (
            low(self.x - across),
            low(self.y - down),
            high(self.x + across, mask.width),
            high(self.y + down, mask.height),
        )
    }
}

fn extents(centre: f32, radius: f32, first: usize, count: usize, softness: f32) -> Vec<Extent> {
    let scale = RADIUS / radius;
    // Rounded; far enough from zero that the cast cuts towards minus infinity.
    const FAR: i32 = 1 << 14;
    let edge = |v: f32| ((v - centre) * scale + 0.5 * SIDE as f32 + 0.5 + FAR as f32) as i32 - FAR;
    (first..first + count)
        .map(|v| {
            let from = edge(v as f32 - softness);
            // In an image finer than the template a pixel lies between two of its lines.
            let to = edge(v as f32 + 1.0 + softness).max(from + 1);
            let inside = |v: i32| v.clamp(0, SIDE as i32) as usize;
            Extent { from: inside(from), to: inside(to), share: 1.0 / (to - from) as f32 }
        })
        .collect()
}

/// The pixels of an image that a solid covers by half or more; `scale` is image pixels a working
/// pixel.
pub(super) fn silhouette(
    template: &Template,
    place: Place,
    scale: f32,
    (w, h): (u32, u32),
) -> Array2<bool> {
    let place = Place {
        x: place.x * scale,
        y: place.y * scale,
        radius: place.radius * scale,
        tall: place.tall,
    };
    let columns = place.columns(0, w as usize, 0.0);
    let rows = place.rows(0, h as usize, 0.0);
    Array2::from_shape_fn((h as usize, w as usize), |(y, x)| {
        template.coverage(columns[x], rows[y]) >= 0.5
    })
}
