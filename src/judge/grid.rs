//! The working image: linear arrays of fixed width, so that every threshold of the judge is a
//! number of pixels in an image 64 wide, whatever the size of the image that was given.

use image::RgbImage;
use image::imageops::{FilterType, resize};
use ndarray::Array2;

/// Width of the working image in pixels.
pub(super) const WIDTH: usize = 64;

/// Colours of the working image, row-major, each channel in \[0, 1\].
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub width: usize,
    pub height: usize,
    pub rgb: Vec<[f32; 3]>,
}

impl Grid {
    /// The image scaled to the working width, its aspect kept.
    pub fn of_image(image: &RgbImage) -> Grid {
        let (w, h) = image.dimensions();
        if w == 0 || h == 0 {
            return Grid { width: 0, height: 0, rgb: Vec::new() };
        }
        let width = WIDTH as u32;
        let height = ((u64::from(h) * u64::from(width) + u64::from(w) / 2) / u64::from(w)).max(1);
        // An image narrower than a fiftieth of its height has nothing of the world in it.
        let height = height.min(50 * u64::from(width)) as u32;
        let scaled;
        let image = if (w, h) == (width, height) {
            image
        } else {
            scaled = resize(image, width, height, FilterType::Triangle);
            &scaled
        };
        let rgb = image.pixels().map(|p| p.0.map(|v| f32::from(v) / 255.0)).collect();
        Grid { width: WIDTH, height: height as usize, rgb }
    }

    pub fn len(&self) -> usize {
        self.rgb.len()
    }

    /// A 3 × 3 binomial blur, edges repeated.
    pub fn smoothed(&self) -> Grid {
        let (w, h) = (self.width, self.height);
        let mix = |a: [f32; 3], b: [f32; 3], c: [f32; 3]| -> [f32; 3] {
            std::array::from_fn(|k| 0.25 * a[k] + 0.5 * b[k] + 0.25 * c[k])
        };
        let mut rows = Vec::with_capacity(self.len());
        for y in 0..h {
            let row = &self.rgb[y * w..(y + 1) * w];
            for x in 0..w {
                rows.push(mix(row[x.saturating_sub(1)], row[x], row[(x + 1).min(w - 1)]));
            }
        }
        let mut rgb = Vec::with_capacity(self.len());
        for y in 0..h {
            let (up, down) = (y.saturating_sub(1) * w, (y + 1).min(h - 1) * w);
            for x in 0..w {
                rgb.push(mix(rows[up + x], rows[y * w + x], rows[down + x]));
            }
        }
        Grid { width: w, height: h, rgb }
    }

    /// Standard deviation of pixel noise, from the median of second differences along rows
    /// (edges are few, so the median does not see them).
    pub fn noise(&self) -> f32 {
        // A second difference of white noise has 6 times its variance; the median of |z| of a
        // normal variable is 0.6745 standard deviations.
        const PER_SIGMA: f32 = 0.6745 * 2.449_49;
        let (w, h) = (self.width, self.height);
        let mut differences = Vec::with_capacity(self.len());
        for y in 0..h {
            for x in 1..w.saturating_sub(1) {
                let at = y * w + x;
                let d = self.rgb[at - 1][1] - 2.0 * self.rgb[at][1] + self.rgb[at + 1][1];
                differences.push(d.abs());
            }
        }
        if differences.is_empty() { 0.0 } else { median(&mut differences) / PER_SIGMA }
    }
}

/// The middle value; sorts partly. `values` must not be empty.
pub(super) fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// The mean colour of a mask's pixels.
pub(super) fn mean_colour(grid: &Grid, mask: &Mask) -> [f32; 3] {
    let mut sum = [0.0; 3];
    let mut n: f32 = 0.0;
    for at in mask.pixels() {
        n += 1.0;
        for (s, v) in sum.iter_mut().zip(grid.rgb[at]) {
            *s += v;
        }
    }
    sum.map(|s| s / n.max(1.0))
}

/// A value between pixel middles, of row-major values; zero beyond the image.
pub(super) fn between(values: &[f32], width: usize, (x, y): (f32, f32)) -> f32 {
    let (x, y) = (x - 0.5, y - 0.5);
    let (column, row) = (x.floor(), y.floor());
    let (fx, fy) = (x - column, y - row);
    let get = |c: f32, r: f32| {
        let inside = c >= 0.0 && r >= 0.0 && c < width as f32;
        let at = if inside { r as usize * width + c as usize } else { usize::MAX };
        values.get(at).copied().unwrap_or(0.0)
    };
    let top = get(column, row) * (1.0 - fx) + get(column + 1.0, row) * fx;
    let bottom = get(column, row + 1.0) * (1.0 - fx) + get(column + 1.0, row + 1.0) * fx;
    top * (1.0 - fy) + bottom * fy
}

/// Pixels of the working image that belong together, row-major flags.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mask {
    pub width: usize,
    pub height: usize,
    pub on: Vec<bool>,
}

impl Mask {
    pub fn empty(width: usize, height: usize) -> Mask {
        Mask { width, height, on: vec![false; width * height] }
    }

    pub fn area(&self) -> usize {
        self.on.iter().filter(|&&b| b).count()
    }

    /// The pixels of either mask.
    pub fn or(mut self, other: &Mask) -> Mask {
        for (own, &on) in self.on.iter_mut().zip(&other.on) {
            *own |= on;
        }
        self
    }

    /// Indices of the pixels that are on.
    pub fn pixels(&self) -> impl Iterator<Item = usize> + '_ {
        self.on.iter().enumerate().filter(|(_, b)| **b).map(|(i, _)| i)
    }

    /// Left, top, right, bottom; the last two one past the end. `None` when nothing is on.
    pub fn bounds(&self) -> Option<(usize, usize, usize, usize)> {
        let mut b = (usize::MAX, usize::MAX, 0, 0);
        for i in self.pixels() {
            let (x, y) = (i % self.width, i / self.width);
            b = (b.0.min(x), b.1.min(y), b.2.max(x + 1), b.3.max(y + 1));
        }
        (b.2 > 0).then_some(b)
    }

    /// The mask at an image's own size, edges interpolated.
    pub fn scaled_to(&self, width: u32, height: u32) -> Array2<bool> {
        let (w, h) = (width as usize, height as usize);
        if (w, h) == (self.width, self.height) {
            return Array2::from_shape_fn((h, w), |(y, x)| self.on[y * w + x]);
        }
        let value = |x: usize, y: usize| f32::from(u8::from(self.on[y * self.width + x]));
        // Position of a pixel's centre among the centres of the working pixels.
        let place = |at: usize, of: usize, own: usize| {
            let p = ((at as f32 + 0.5) * own as f32 / of as f32 - 0.5).clamp(0.0, own as f32 - 1.0);
            let low = p as usize;
            (low, (low + 1).min(own - 1), p - low as f32)
        };
        Array2::from_shape_fn((h, w), |(y, x)| {
            let (x0, x1, fx) = place(x, w, self.width);
            let (y0, y1, fy) = place(y, h, self.height);
            let top = value(x0, y0) * (1.0 - fx) + value(x1, y0) * fx;
            let bottom = value(x0, y1) * (1.0 - fx) + value(x1, y1) * fx;
            top * (1.0 - fy) + bottom * fy >= 0.5
        })
    }
}

/// The connected parts of a mask, greatest first; `corners` joins pixels that touch by a corner.
pub(super) fn components(mask: &Mask, corners: bool) -> Vec<Mask> {
    let (w, h) = (mask.width, mask.height);
    let mut left = mask.on.clone();
    let mut parts = Vec::new();
    let mut stack = Vec::new();
    for start in 0..left.len() {
        if !left[start] {
            continue;
        }
        let mut part = Mask::empty(w, h);
        let mut area = 0;
        left[start] = false;
        stack.push(start);
        while let Some(at) = stack.pop() {
            part.on[at] = true;
            area += 1;
            for next in neighbours(at, w, h, corners) {
                if left[next] {
                    left[next] = false;
                    stack.push(next);
                }
            }
        }
        parts.push((area, part));
    }
    parts.sort_by_key(|&(area, _)| std::cmp::Reverse(area));
    parts.into_iter().map(|(_, part)| part).collect()
}

/// The pixels beside one, within the image.
pub(super) fn neighbours(
    at: usize,
    w: usize,
    h: usize,
    corners: bool,
) -> impl Iterator<Item = usize> {
    const STEPS: [(isize, isize); 8] =
        [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)];
    let (x, y) = ((at % w) as isize, (at / w) as isize);
    STEPS[..if corners { 8 } else { 4 }].iter().filter_map(move |&(dx, dy)| {
        let (nx, ny) = (x + dx, y + dy);
        let inside = nx >= 0 && ny >= 0 && nx < w as isize && ny < h as isize;
        inside.then(|| ny as usize * w + nx as usize)
    })
}
