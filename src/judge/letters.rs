//! Written words: each letter is compared with the world's own alphabet.

use std::sync::LazyLock;

use super::grid::{Grid, Mask, between, mean_colour};
use super::look::Ground;
use super::paint::tint;
use super::regions::depth;
use super::seen::SeenWord;
use crate::world::{
    Background, Colour, Content, Light, MAX_LETTERS, Scene, WORD_ADVANCE, Written, masks,
};

/// Points at which a letter is sampled, across and down.
const ACROSS: usize = 12;
const DOWN: usize = 19;
const POINTS: usize = ACROSS * DOWN;
/// Height of the sampled frame in letter heights; its width is the letter's advance.
const FRAME_HEIGHT: f32 = 1.26;
/// Height of a letter's ink in letter heights: strokes reach half their width beyond.
const INK: f32 = 1.16;
/// Letter heights in working pixels for which the alphabet is kept.
const HEIGHTS: [f32; 4] = [10.0, 12.0, 15.0, 19.0];
/// Widths of the blurs in working pixels for which it is kept: what a pixel and the
/// interpolation between pixels blur, and a soft image.
const BLURS: [f32; 2] = [1.4, 3.0];
/// Heights of ink that letters can have, in working pixels.
const INK_HEIGHTS: (f32, f32) = (8.0, 30.0);
/// Least mean likeness of all letters for the marks to be a word.
const LEGIBLE: f32 = 0.80;

/// Samples of one letter with their mean taken off, of length 1.
type Samples = [f32; POINTS];

/// Whether marks are as thin as strokes of letters are: a cheap look that spares words the
/// comparison with solids. Blurred words can fail it and rings pass it.
pub(super) fn are_strokes(marks: &Mask) -> bool {
    /// Depth of the sharpest joints of strokes (W), of the ink's height, and working pixels more
    /// that edges add.
    const DEEPEST_JOINT: (f32, f32) = (0.20, 1.2);
    let Some((_, top, _, bottom)) = marks.bounds() else { return false };
    let deepest = DEEPEST_JOINT.0 * (bottom - top) as f32 + DEEPEST_JOINT.1;
    depth(marks).into_iter().all(|d| d <= deepest)
}

/// Reads the word that the marks in an image are, if they are one.
pub(super) fn read(grid: &Grid, ground: &Ground, size: (u32, u32)) -> Option<SeenWord> {
    let ink = Ink::of(grid, ground)?;
    let text = ink.read()?;
    let to_image = |v: usize, own: usize, image: u32| (v as f32 * image as f32 / own as f32) as u32;
    let (x0, y0, x1, y1) = ink.bounds;
    Some(SeenWord {
        text: text.iter().map(|l| l.0).collect(),
        colour: tint(grid, &ink.strong).colour,
        bounds: (
            to_image(x0, grid.width, size.0),
            to_image(y0, grid.height, size.1),
            to_image(x1, grid.width, size.0),
            to_image(y1, grid.height, size.1),
        ),
        sure: text.iter().map(|l| l.1).collect(),
    })
}

/// The marks in an image, each pixel by how much of it they cover.
struct Ink {
    width: usize,
    height: usize,
    coverage: Vec<f32>,
    bounds: (usize, usize, usize, usize),
    /// The pixels that are covered most.
    strong: Mask,
}

/// Where a line of letters lies, in working pixels: middle of the first letter, and height.
#[derive(Clone, Copy)]
struct Line {
    x: f32,
    y: f32,
    height: f32,
}

/// A letter and how clearly it is that one.
type ReadLetter = (char, f32);

impl Ink {
    fn of(grid: &Grid, ground: &Ground) -> Option<Ink> {
        let bounds = ground.mask.bounds()?;
        let height = (bounds.3 - bounds.1) as f32;
        if !(INK_HEIGHTS.0..=INK_HEIGHTS.1).contains(&height) {
            return None;
        }
        let strong = strongest(ground);
        let colour = mean_colour(grid, &strong);
        let coverage = (0..grid.len())
            .map(|at| {
                let (p, b) = (grid.rgb[at], ground.backdrop.rgb[at]);
                let (mut dot, mut square) = (0.0, 0.0);
                for k in 0..3 {
                    dot += (p[k] - b[k]) * (colour[k] - b[k]);
                    square += (colour[k] - b[k]) * (colour[k] - b[k]);
                }
                (dot / square.max(1e-4)).clamp(0.0, 1.0)
            })
            .collect();
        Some(Ink { width: grid.width, height: grid.height, coverage, bounds, strong })
    }

    /// The letters, if they are legible, sharp or blurred.
    fn read(&self) -> Option<Vec<ReadLetter>> {
        let (x0, y0, x1, y1) = self.soft_bounds();
        let height = (y1 - y0) / INK;
        // The outer letters' ink reaches from 0.26 (I) to 0.38 (W) heights beyond their middles.
        const REACH: (f32, f32) = (0.26, 0.38);
        let middle = 0.5 * (REACH.0 + REACH.1);
        let advances = ((x1 - x0) / height - 2.0 * middle) / WORD_ADVANCE;
        let letters = 1 + advances.round().max(0.0) as usize;
        if letters > MAX_LETTERS {
            return None;
        }
        // Blur makes the ink higher than the letters.
        for (blur, taller) in [(0, 0.0), (1, 0.0), (1, 1.5)] {
            let height = height - taller;
            let alphabet = alphabet(height, blur);
            let start = Line { x: x0 + 0.5 * taller + middle * height, y: 0.5 * (y0 + y1), height };
            let line = self.settle(alphabet, start, letters);
            let read: Vec<(char, f32, f32)> =
                (0..letters).map(|i| self.letter(alphabet, line, i)).collect();
            let likeness = read.iter().map(|r| r.1).sum::<f32>() / letters as f32;
            if likeness >= LEGIBLE {
                let sure = |best: f32, second: f32| (best - second) / (1.0 - second).max(1e-3);
                return Some(read.iter().map(|&(l, a, b)| (l, sure(a, b).min(1.0))).collect());
            }
        }
        None
    }

    /// Moves and scales the line to where its letters are most like letters.
    fn settle(&self, alphabet: &[Samples], start: Line, letters: usize) -> Line {
        let worth =
            |line: Line| -> f32 { (0..letters).map(|i| self.letter(alphabet, line, i).1).sum() };
        // The first letter's middle is known to an eighth of a height either way.
        const PLACES: i32 = 3;
        const REACH: f32 = 0.09;
        let mut line = start;
        let mut most = f32::NEG_INFINITY;
        for i in -PLACES..=PLACES {
            let x = start.x + REACH * start.height * i as f32 / PLACES as f32;
            let there = worth(Line { x, ..start });
            if there > most {
                (line, most) = (Line { x, ..start }, there);
            }
        }
        for step in [0.5, 0.25] {
            for (dx, dy, dh) in [(0.0, 0.0, step), (0.0, step, 0.0), (step, 0.0, 0.0)] {
                for sign in [1.0, -1.0] {
                    let next = Line {
                        // A taller line also spreads: keep its middle where it was.
                        x: line.x + sign * dx
                            - sign * dh * 0.5 * WORD_ADVANCE * (letters as f32 - 1.0),
                        y: line.y + sign * dy,
                        height: line.height + sign * dh,
                    };
                    let there = worth(next);
                    if there > most {
                        (line, most) = (next, there);
                        break;
                    }
                }
            }
        }
        line
    }

    /// The letter at a place in a line, its likeness (−1 to 1), and that of the next best.
    fn letter(&self, alphabet: &[Samples], line: Line, place: usize) -> (char, f32, f32) {
        let samples = self.samples(line, place);
        let (mut best, mut second, mut letter) = (f32::NEG_INFINITY, f32::NEG_INFINITY, b'A');
        for (name, known) in (b'A'..=b'Z').zip(alphabet) {
            let likeness: f32 = samples.iter().zip(known).map(|(a, b)| a * b).sum();
            if likeness > best {
                (second, best, letter) = (best, likeness, name);
            } else if likeness > second {
                second = likeness;
            }
        }
        (char::from(letter), best, second)
    }

    fn samples(&self, line: Line, place: usize) -> Samples {
        let middle = line.x + place as f32 * WORD_ADVANCE * line.height;
        let mut samples = [0.0; POINTS];
        for (i, sample) in samples.iter_mut().enumerate() {
            let (u, v) = point(i);
            let at = (middle + u * line.height, line.y + v * line.height);
            *sample = between(&self.coverage, self.width, at);
        }
        normalised(samples)
    }

    /// The box of the ink with its sides placed within pixels by the coverage there.
    fn soft_bounds(&self) -> (f32, f32, f32, f32) {
        let (x0, y0, x1, y1) = self.bounds;
        let most_in_column =
            |x: usize| (y0..y1).map(|y| self.coverage[y * self.width + x]).fold(0.0, f32::max);
        let most_in_row =
            |y: usize| (x0..x1).map(|x| self.coverage[y * self.width + x]).fold(0.0, f32::max);
        let around = |most: &dyn Fn(usize) -> f32, low: usize, high: usize, end: usize| {
            let before = if low > 0 { most(low - 1) } else { 0.0 };
            let after = if high < end { most(high) } else { 0.0 };
            let first = low as f32 + 1.0 - most(low) - before;
            let last = high as f32 - 1.0 + most(high - 1) + after;
            (first, last)
        };
        let (left, right) = around(&most_in_column, x0, x1, self.width);
        let (top, bottom) = around(&most_in_row, y0, y1, self.height);
        (left, top, right, bottom)
    }
}

/// The half of the standing-out pixels that stand out most.
fn strongest(ground: &Ground) -> Mask {
    let mut strengths: Vec<f32> = ground.mask.pixels().map(|at| ground.strength[at]).collect();
    let limit = if strengths.is_empty() { 0.0 } else { super::grid::median(&mut strengths) };
    let mut strong = ground.mask.clone();
    for (on, &s) in strong.on.iter_mut().zip(&ground.strength) {
        *on &= s >= limit;
    }
    strong
}

/// A sample's place in letter heights from the letter's middle.
fn point(i: usize) -> (f32, f32) {
    let u = ((i % ACROSS) as f32 + 0.5) / ACROSS as f32 - 0.5;
    let v = ((i / ACROSS) as f32 + 0.5) / DOWN as f32 - 0.5;
    (u * WORD_ADVANCE, v * FRAME_HEIGHT)
}

fn normalised(mut samples: Samples) -> Samples {
    let mean = samples.iter().sum::<f32>() / POINTS as f32;
    let square: f32 = samples.iter().map(|s| (s - mean) * (s - mean)).sum();
    let scale = 1.0 / square.sqrt().max(1e-3);
    for s in &mut samples {
        *s = (*s - mean) * scale;
    }
    samples
}

/// A to Z as letters of about this height in working pixels look, with one of [`BLURS`].
fn alphabet(height: f32, blur: usize) -> &'static [Samples] {
    static ALPHABETS: LazyLock<Vec<Vec<Samples>>> = LazyLock::new(|| {
        let drawn: Vec<Drawn> = (b'A'..=b'Z').map(|l| Drawn::of(char::from(l))).collect();
        let kinds = HEIGHTS.iter().flat_map(|&h| BLURS.map(|blur| blur / h));
        kinds.map(|blur| drawn.iter().map(|d| d.samples(blur)).collect()).collect()
    });
    let nearest = (0..HEIGHTS.len())
        .min_by(|&a, &b| (HEIGHTS[a] - height).abs().total_cmp(&(HEIGHTS[b] - height).abs()))
        .unwrap_or(0);
    &ALPHABETS[nearest * BLURS.len() + blur]
}

/// A letter as the world draws it, large, as sums over rectangles.
struct Drawn {
    sums: Vec<f32>,
}

/// Side of a drawn letter's image in pixels, and the letter's height as a part of it.
const DRAWN: usize = 144;
const DRAWN_HEIGHT: f32 = 0.6;

impl Drawn {
    fn of(letter: char) -> Drawn {
        let word = Written {
            text: letter.to_string(),
            colour: Colour::White,
            x: 0.5,
            y: 0.5,
            height: DRAWN_HEIGHT,
        };
        let scene = Scene {
            background: Background::Black,
            light: Light::Above,
            content: Content::Word(word),
        };
        let masks = masks(&scene, DRAWN);
        let side = DRAWN + 1;
        let mut sums = vec![0.0; side * side];
        for y in 0..DRAWN {
            let mut row = 0.0;
            for x in 0..DRAWN {
                let on = masks.first().is_some_and(|m| m.get([y, x]) == Some(&true));
                row += f32::from(u8::from(on));
                sums[(y + 1) * side + x + 1] = sums[y * side + x + 1] + row;
            }
        }
        Drawn { sums }
    }

    /// The letter averaged over squares whose side is `blur` letter heights.
    fn samples(&self, blur: f32) -> Samples {
        let unit = DRAWN as f32 * DRAWN_HEIGHT;
        let half = 0.5 * blur * unit;
        let mut samples = [0.0; POINTS];
        for (i, sample) in samples.iter_mut().enumerate() {
            let (u, v) = point(i);
            let (x, y) = (u * unit + 0.5 * DRAWN as f32, v * unit + 0.5 * DRAWN as f32);
            *sample = self.mean((x - half, y - half), (x + half, y + half));
        }
        normalised(samples)
    }

    fn mean(&self, low: (f32, f32), high: (f32, f32)) -> f32 {
        let edge = |v: f32| v.round().clamp(0.0, DRAWN as f32) as usize;
        let (x0, y0, x1, y1) = (edge(low.0), edge(low.1), edge(high.0), edge(high.1));
        let at = |x: usize, y: usize| self.sums[y * (DRAWN + 1) + x];
        let area = ((high.0 - low.0) * (high.1 - low.1)).max(1.0);
        (at(x1, y1) - at(x0, y1) - at(x1, y0) + at(x0, y0)) / area
    }
}
