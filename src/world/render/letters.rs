//! Written words in stroke letters.

use std::sync::LazyLock;

use super::light::paint;
use super::{Colour3, Surface, Texel};
use crate::world::scene::{WORD_ADVANCE, Written};

/// Width of a letter's frame, of its height.
const FRAME: f32 = 0.52;
/// Half of a stroke's width, of the letter height.
const HALF_STROKE: f32 = 0.08;

/// A stroke in a letter's frame: x and y in \[0, 1\], y down.
enum Stroke {
    /// Straight lines through points.
    Line(&'static [(f32, f32)]),
    /// Part of an ellipse: centre, half axes, first and last angle in degrees (0 to the right,
    /// 90 down).
    Arc((f32, f32), (f32, f32), (f32, f32)),
}
use Stroke::{Arc, Line};

/// The strokes of A to Z.
const ALPHABET: [&[Stroke]; 26] = [
    &[Line(&[(0.0, 1.0), (0.5, 0.0), (1.0, 1.0)]), Line(&[(0.2, 0.66), (0.8, 0.66)])],
    &[
        Line(&[(0.6, 0.0), (0.0, 0.0), (0.0, 1.0), (0.65, 1.0)]),
        Line(&[(0.0, 0.48), (0.65, 0.48)]),
        Arc((0.6, 0.24), (0.33, 0.24), (-90.0, 90.0)),
        Arc((0.65, 0.74), (0.35, 0.26), (-90.0, 90.0)),
    ],
    &[Arc((0.55, 0.5), (0.55, 0.5), (45.0, 315.0))],
    &[
        Line(&[(0.4, 0.0), (0.0, 0.0), (0.0, 1.0), (0.4, 1.0)]),
        Arc((0.4, 0.5), (0.6, 0.5), (-90.0, 90.0)),
    ],
    &[Line(&[(1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (1.0, 1.0)]), Line(&[(0.0, 0.5), (0.8, 0.5)])],
    &[Line(&[(1.0, 0.0), (0.0, 0.0), (0.0, 1.0)]), Line(&[(0.0, 0.5), (0.8, 0.5)])],
    &[
        Arc((0.55, 0.5), (0.55, 0.5), (75.0, 315.0)),
        Line(&[(0.55, 0.58), (1.0, 0.58), (1.0, 1.0)]),
        Line(&[(0.55, 1.0), (0.85, 0.92), (1.0, 0.75)]),
    ],
    &[
        Line(&[(0.0, 0.0), (0.0, 1.0)]),
        Line(&[(1.0, 0.0), (1.0, 1.0)]),
        Line(&[(0.0, 0.5), (1.0, 0.5)]),
    ],
    &[
        Line(&[(0.5, 0.0), (0.5, 1.0)]),
        Line(&[(0.15, 0.0), (0.85, 0.0)]),
        Line(&[(0.15, 1.0), (0.85, 1.0)]),
    ],
    &[Line(&[(0.4, 0.0), (0.9, 0.0), (0.9, 0.65)]), Arc((0.45, 0.65), (0.45, 0.35), (0.0, 170.0))],
    &[
        Line(&[(0.0, 0.0), (0.0, 1.0)]),
        Line(&[(1.0, 0.0), (0.05, 0.55)]),
        Line(&[(0.3, 0.42), (1.0, 1.0)]),
    ],
    &[Line(&[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0)])],
    &[Line(&[(0.0, 1.0), (0.0, 0.0), (0.5, 0.55), (1.0, 0.0), (1.0, 1.0)])],
    &[Line(&[(0.0, 1.0), (0.0, 0.0), (1.0, 1.0), (1.0, 0.0)])],
    &[Arc((0.5, 0.5), (0.5, 0.5), (0.0, 360.0))],
    &[
        Line(&[(0.0, 1.0), (0.0, 0.0), (0.6, 0.0)]),
        Line(&[(0.0, 0.56), (0.6, 0.56)]),
        Arc((0.6, 0.28), (0.4, 0.28), (-90.0, 90.0)),
    ],
    &[Arc((0.5, 0.47), (0.5, 0.47), (0.0, 360.0)), Line(&[(0.55, 0.68), (1.0, 1.05)])],
    &[
        Line(&[(0.0, 1.0), (0.0, 0.0), (0.6, 0.0)]),
        Line(&[(0.0, 0.54), (0.6, 0.54)]),
        Arc((0.6, 0.27), (0.4, 0.27), (-90.0, 90.0)),
        Line(&[(0.5, 0.54), (1.0, 1.0)]),
    ],
    &[Arc((0.5, 0.25), (0.48, 0.25), (90.0, 330.0)), Arc((0.5, 0.75), (0.5, 0.25), (-90.0, 150.0))],
    &[Line(&[(0.5, 0.0), (0.5, 1.0)]), Line(&[(0.0, 0.0), (1.0, 0.0)])],
    &[
        Line(&[(0.0, 0.0), (0.0, 0.62)]),
        Arc((0.5, 0.62), (0.5, 0.38), (0.0, 180.0)),
        Line(&[(1.0, 0.62), (1.0, 0.0)]),
    ],
    &[Line(&[(0.0, 0.0), (0.5, 1.0), (1.0, 0.0)])],
    &[Line(&[(-0.08, 0.0), (0.22, 1.0), (0.5, 0.35), (0.78, 1.0), (1.08, 0.0)])],
    &[Line(&[(0.0, 0.0), (1.0, 1.0)]), Line(&[(1.0, 0.0), (0.0, 1.0)])],
    &[Line(&[(0.0, 0.0), (0.5, 0.5), (1.0, 0.0)]), Line(&[(0.5, 0.5), (0.5, 1.0)])],
    &[Line(&[(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])],
];

/// A straight piece of a stroke; lengths in letter heights, x from the middle of the letter.
#[derive(Clone, Copy)]
struct Segment {
    start: (f32, f32),
    step: (f32, f32),
    /// 1 / |step|².
    inverse_square: f32,
}

impl Segment {
    fn between(a: (f32, f32), b: (f32, f32)) -> Segment {
        let place = |(x, y): (f32, f32)| ((x - 0.5) * FRAME, y - 0.5);
        let (a, b) = (place(a), place(b));
        let step = (b.0 - a.0, b.1 - a.1);
        let square = step.0 * step.0 + step.1 * step.1;
        Segment { start: a, step, inverse_square: 1.0 / square.max(f32::MIN_POSITIVE) }
    }

    fn square_distance(&self, x: f32, y: f32) -> f32 {
        let (px, py) = (x - self.start.0, y - self.start.1);
        let along = (px * self.step.0 + py * self.step.1) * self.inverse_square;
        let along = along.clamp(0.0, 1.0);
        let (dx, dy) = (px - along * self.step.0, py - along * self.step.1);
        dx * dx + dy * dy
    }
}

static LETTERS: LazyLock<Vec<Vec<Segment>>> = LazyLock::new(|| {
    ALPHABET
        .iter()
        .map(|strokes| {
            let mut segments = Vec::new();
            for stroke in *strokes {
                let points = points_of(stroke);
                segments.extend(points.windows(2).map(|w| Segment::between(w[0], w[1])));
            }
            segments
        })
        .collect()
});

/// The corners of a stroke; arcs become short chords.
fn points_of(stroke: &Stroke) -> Vec<(f32, f32)> {
    const CHORD_DEGREES: f32 = 24.0;
    match stroke {
        Line(points) => points.to_vec(),
        Arc(centre, half, (from, to)) => {
            let chords = ((to - from) / CHORD_DEGREES).ceil().max(1.0);
            (0..=chords as usize)
                .map(|i| {
                    let degrees: f32 = from + (to - from) * i as f32 / chords;
                    let (sin, cos) = degrees.to_radians().sin_cos();
                    (centre.0 + half.0 * cos, centre.1 + half.1 * sin)
                })
                .collect()
        }
    }
}

/// A written word placed in the image.
pub(super) struct WordSurface<'a> {
    word: &'a Written,
    letters: Vec<&'static [Segment]>,
    colour: Colour3,
}

impl<'a> WordSurface<'a> {
    pub(super) fn new(word: &'a Written) -> WordSurface<'a> {
        // Anything that is not a letter leaves a gap.
        let letters = word
            .text
            .bytes()
            .map(|b| {
                let at = usize::from(b.to_ascii_uppercase().wrapping_sub(b'A'));
                LETTERS.get(at).map_or(&[] as &[Segment], Vec::as_slice)
            })
            .collect();
        WordSurface { word, letters, colour: paint(word.colour) }
    }

    /// Half of the word's width in letter heights.
    fn half_width(&self) -> f32 {
        0.5 * self.letters.len() as f32 * WORD_ADVANCE
    }
}

impl Surface for WordSurface<'_> {
    fn bounds(&self) -> [f32; 4] {
        let Written { x, y, height, .. } = *self.word;
        let (w, h) = (self.half_width() * height, (0.5 + 2.0 * HALF_STROKE) * height);
        [x - w, y - h, x + w, y + h]
    }

    fn at(&self, x: f32, y: f32) -> Option<Texel> {
        let u = (x - self.word.x) / self.word.height + self.half_width();
        let v = (y - self.word.y) / self.word.height;
        let place = (u / WORD_ADVANCE).floor();
        if place < 0.0 {
            return None;
        }
        let letter = self.letters.get(place as usize)?;
        let u = u - (place + 0.5) * WORD_ADVANCE;
        let near = letter.iter().any(|s| s.square_distance(u, v) < HALF_STROKE * HALF_STROKE);
        near.then_some(Texel { part: 0, colour: self.colour })
    }
}
