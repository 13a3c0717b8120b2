//! Maps laid over images, and outlines of regions.

use std::collections::BTreeMap;

use image::{Rgba, RgbaImage};
use ndarray::Array2;

use super::ColorMap;
use super::axis::extent;

/// A region drawn as an outline.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// What the region is: "ball".
    pub label: String,
    /// True inside; shape [height, width], stretched over the image.
    pub mask: Array2<bool>,
}

/// A map to lay over an image, such as where a word's attention goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlay {
    /// Values, shape [height, width], stretched over the image; NaN is left clear.
    pub map: Array2<f32>,
    /// Values at the ends of the colours; None takes those of the map.
    pub range: Option<(f64, f64)>,
    /// Colours.
    pub colors: ColorMap,
    /// Opacity in [0, 1] of the map's greatest value; it falls towards the least, so that the
    /// image stays visible where there is nothing to see.
    pub opacity: f64,
    /// Regions to outline.
    pub outlines: Vec<Outline>,
}

/// Opacity of the least value of a map over that of its greatest.
pub const FAINTEST: f64 = 0.2;

impl Overlay {
    /// An overlay with the usual colours and opacity.
    pub fn new(map: Array2<f32>) -> Self {
        const OPACITY: f64 = 0.8;
        Self {
            map,
            range: None,
            colors: ColorMap::default(),
            opacity: OPACITY,
            outlines: Vec::new(),
        }
    }

    /// Values at the ends of the colours.
    pub fn bounds(&self) -> (f64, f64) {
        let (low, high) =
            self.range.unwrap_or_else(|| extent(self.map.iter().map(|&v| f64::from(v))));
        if low < high {
            (low, high)
        } else if low.is_finite() {
            (low, low + 1.0)
        } else {
            (0.0, 1.0)
        }
    }

    /// The map as colours with opacity, large enough that it shows no blocks.
    pub(super) fn pixels(&self) -> Option<RgbaImage> {
        /// Longer side in pixels of a drawn map; the viewer interpolates further.
        const DRAWN_SIDE: usize = 96;
        let (height, width) = self.map.dim();
        if height == 0 || width == 0 {
            return None;
        }
        let grow = (DRAWN_SIDE as f64 / height.max(width) as f64).max(1.0);
        let grown = |side: usize| (side as f64 * grow).round().max(1.0) as usize;
        let drawn = resize_map(&self.map, grown(height), grown(width));
        let (low, high) = self.bounds();
        let opacity = self.opacity.clamp(0.0, 1.0);
        let (rows, columns) = drawn.dim();
        Some(RgbaImage::from_fn(columns as u32, rows as u32, |x, y| {
            let value = f64::from(drawn[[y as usize, x as usize]]);
            let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
            let [r, g, b] = self.colors.color(share);
            let alpha = opacity * (FAINTEST + (1.0 - FAINTEST) * share) * 255.0;
            Rgba([r, g, b, if value.is_finite() { alpha.round() as u8 } else { 0 }])
        }))
    }
}

/// Bilinear interpolation of a map to another size; pixels are areas, edges are continued.
pub fn resize_map(map: &Array2<f32>, height: usize, width: usize) -> Array2<f32> {
    let (rows, columns) = map.dim();
    if rows == 0 || columns == 0 {
        return Array2::from_elem((height, width), f32::NAN);
    }
    let place = |i: usize, from: usize, to: usize| {
        let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).clamp(0.0, (from - 1) as f64);
        let below = at.floor() as usize;
        (below, (below + 1).min(from - 1), (at - below as f64) as f32)
    };
    Array2::from_shape_fn((height, width), |(y, x)| {
        let (top, bottom, down) = place(y, rows, height);
        let (left, right, across) = place(x, columns, width);
        let mix = |a: f32, b: f32, share: f32| if share == 0.0 { a } else { a + (b - a) * share };
        let upper = mix(map[[top, left]], map[[top, right]], across);
        let lower = mix(map[[bottom, left]], map[[bottom, right]], across);
        mix(upper, lower, down)
    })
}

/// The borders of a region as closed loops of points (x, y) in [0, 1].
///
/// Loops run through the middles of pixel edges, which rounds the steps of slanted borders.
pub fn outline_loops(mask: &Array2<bool>) -> Vec<Vec<(f64, f64)>> {
    let (height, width) = mask.dim();
    let mut edges = border_edges(mask);
    let mut loops = Vec::new();
    while let Some((&start, _)) = edges.iter().next() {
        let mut corners = vec![start];
        let mut at = start;
        let mut came_from = None;
        while let Some(next) = take_edge(&mut edges, came_from, at) {
            came_from = Some(at);
            at = next;
            corners.push(at);
            if at == start {
                break;
            }
        }
        let middles = corners.windows(2).map(|pair| {
            let ((y0, x0), (y1, x1)) = (pair[0], pair[1]);
            let middle = |a: usize, b: usize, side: usize| (a + b) as f64 / 2.0 / side as f64;
            (middle(x0, x1, width), middle(y0, y1, height))
        });
        loops.push(without_straight(&middles.collect::<Vec<_>>()));
    }
    loops
}

type Corner = (usize, usize);

/// Pixel edges between inside and outside, by their first corner, inside on the right hand.
fn border_edges(mask: &Array2<bool>) -> BTreeMap<Corner, Vec<Corner>> {
    let mut edges: BTreeMap<Corner, Vec<Corner>> = BTreeMap::new();
    let inside = |y: usize, x: usize, dy: isize, dx: isize| {
        let moved = y.checked_add_signed(dy).zip(x.checked_add_signed(dx));
        moved.and_then(|at| mask.get(at).copied()).unwrap_or(false)
    };
    for ((y, x), _) in mask.indexed_iter().filter(|&(_, &filled)| filled) {
        let sides = [
            ((-1, 0), (y, x), (y, x + 1)),
            ((0, 1), (y, x + 1), (y + 1, x + 1)),
            ((1, 0), (y + 1, x + 1), (y + 1, x)),
            ((0, -1), (y + 1, x), (y, x)),
        ];
        for ((dy, dx), from, to) in sides {
            if !inside(y, x, dy, dx) {
                edges.entry(from).or_default().push(to);
            }
        }
    }
    edges
}

/// Removes the edge that goes on from a corner. Where pixels touch only there, two do; the right
/// turn stays with the pixel, so that the loop does not cross itself.
fn take_edge(
    edges: &mut BTreeMap<Corner, Vec<Corner>>,
    came_from: Option<Corner>,
    at: Corner,
) -> Option<Corner> {
    let ends = edges.get_mut(&at)?;
    let right_turn = |end: &Corner| {
        came_from.is_some_and(|from| {
            // Along y, x: a step (a, b) turns right into (b, -a); written as sums to stay unsigned.
            end.0 + from.1 == at.0 + at.1 && end.1 + at.0 == at.1 + from.0
        })
    };
    let chosen = ends.iter().position(right_turn).unwrap_or(0);
    let end = (!ends.is_empty()).then(|| ends.swap_remove(chosen));
    if ends.is_empty() {
        edges.remove(&at);
    }
    end
}

/// Leaves out points of a closed loop that lie on the line between their neighbours.
fn without_straight(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let count = points.len();
    (0..count)
        .filter(|&i| {
            let (ax, ay) = points[(i + count - 1) % count];
            let (bx, by) = points[i];
            let (cx, cy) = points[(i + 1) % count];
            ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)).abs() > 1e-12
        })
        .map(|i| points[i])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn bilinear_keeps_constants_and_mirrors_ramps() {
        let flat = resize_map(&Array2::from_elem((3, 3), 2.5), 7, 5);
        assert!(flat.iter().all(|&v| v == 2.5));
        let ramp = resize_map(&array![[0.0, 1.0]], 1, 4);
        assert_eq!(ramp, array![[0.0, 0.25, 0.75, 1.0]]);
    }

    #[test]
    fn a_square_and_a_hole_give_two_loops() {
        let mut mask = Array2::from_elem((5, 5), true);
        mask[[2, 2]] = false;
        let loops = outline_loops(&mask);
        assert_eq!(loops.len(), 2);
        assert!(
            loops
                .iter()
                .flatten()
                .all(|&(x, y)| (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y))
        );
    }

    #[test]
    fn no_region_gives_no_loops() {
        assert!(outline_loops(&Array2::from_elem((4, 4), false)).is_empty());
        assert!(outline_loops(&Array2::from_elem((0, 0), true)).is_empty());
    }

    #[test]
    fn pixels_that_touch_at_a_corner_are_both_outlined() {
        let loops = outline_loops(&array![[true, false], [false, true]]);
        let points: usize = loops.iter().map(Vec::len).sum();
        assert_eq!(points, 8);
    }
}
