//! The background: a smooth surface fitted to the pixels that objects do not cover.

use super::grid::Grid;
use crate::world::{Background, Light};

/// Terms of the surface: 1, x, y. The world's backgrounds are planes in each channel; a surface
/// with more terms would bend into shadows.
const TERMS: usize = 3;
/// Rounds of fitting, each on the pixels that the last surface explains.
const ROUNDS: usize = 6;
/// Width of the frame that the first round looks at, in working pixels.
const FRAME: usize = 5;
/// Residual below which a pixel counts as background in the last round.
const CLOSE: f32 = 0.035;
/// Residual allowed in the first round; it halves until it reaches [`CLOSE`].
const FAR: f32 = 0.25;

/// The estimated background, one colour per working pixel.
#[derive(Clone, Debug)]
pub(super) struct Backdrop {
    pub rgb: Vec<[f32; 3]>,
    /// Per channel the value in the middle and the change from there to the right and to the
    /// lower edge.
    pub surface: [[f32; TERMS]; 3],
}

fn terms(at: usize, grid: &Grid) -> [f32; TERMS] {
    let x = 2.0 * ((at % grid.width) as f32 + 0.5) / grid.width as f32 - 1.0;
    let y = 2.0 * ((at / grid.width) as f32 + 0.5) / grid.height as f32 - 1.0;
    [1.0, x, y]
}

fn value(c: &[f32; TERMS], t: &[f32; TERMS]) -> f32 {
    c.iter().zip(t).map(|(a, b)| a * b).sum()
}

impl Backdrop {
    /// Fits the surface: first to the frame of the image around its median colour, then to all
    /// pixels near the last surface, ever nearer ones. `noise` is the deviation of pixel noise.
    pub fn of(grid: &Grid, noise: f32) -> Backdrop {
        let start = frame_median(grid);
        let mut surface = [[0.0; TERMS]; 3];
        for (c, s) in surface.iter_mut().zip(start) {
            c[0] = s;
        }
        let basis: Vec<[f32; TERMS]> = (0..grid.len()).map(|at| terms(at, grid)).collect();
        let mut allowed = FAR;
        for round in 0..ROUNDS {
            let near = |at: usize| {
                let there: [f32; 3] = std::array::from_fn(|k| value(&surface[k], &basis[at]));
                distance(grid.rgb[at], there) < allowed
            };
            let used: Vec<usize> = (0..grid.len())
                .filter(|&at| (round > 0 || in_frame(at, grid)) && near(at))
                .collect();
            if let Some(better) = fit(grid, &basis, &used) {
                surface = better;
            }
            allowed = (allowed / 2.0).max(CLOSE + 3.0 * noise);
        }
        let rgb = basis.iter().map(|t| std::array::from_fn(|k| value(&surface[k], t))).collect();
        Backdrop { rgb, surface }
    }
}

/// The greatest difference of a channel.
pub(super) fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    (0..3).map(|k| (a[k] - b[k]).abs()).fold(0.0, f32::max)
}

fn in_frame(at: usize, grid: &Grid) -> bool {
    let (x, y) = (at % grid.width, at / grid.width);
    x < FRAME || y < FRAME || x + FRAME >= grid.width || y + FRAME >= grid.height
}

/// The colour of the frame pixel of median brightness, channel by channel.
fn frame_median(grid: &Grid) -> [f32; 3] {
    let frame: Vec<usize> = (0..grid.len()).filter(|&at| in_frame(at, grid)).collect();
    std::array::from_fn(|k| {
        let mut channel: Vec<f32> = frame.iter().map(|&at| grid.rgb[at][k]).collect();
        if channel.is_empty() { 0.0 } else { super::grid::median(&mut channel) }
    })
}

/// Least squares on the pixels `used`; `None` when they are too few to tell.
fn fit(grid: &Grid, basis: &[[f32; TERMS]], used: &[usize]) -> Option<[[f32; TERMS]; 3]> {
    /// Fewer pixels than these leave the surface as it was.
    const ENOUGH: usize = 4 * TERMS;
    /// Holds back terms that the pixels do not determine.
    const RIDGE: f32 = 1e-3;
    if used.len() < ENOUGH {
        return None;
    }
    let mut normal = [[0.0_f32; TERMS]; TERMS];
    let mut right = [[0.0_f32; TERMS]; 3];
    for &at in used {
        let t = &basis[at];
        for i in 0..TERMS {
            for j in 0..=i {
                normal[i][j] += t[i] * t[j];
            }
            for (r, v) in right.iter_mut().zip(grid.rgb[at]) {
                r[i] += t[i] * v;
            }
        }
    }
    for (i, row) in normal.iter_mut().enumerate().skip(1) {
        row[i] += RIDGE * used.len() as f32;
    }
    let factor = cholesky(normal)?;
    Some(right.map(|r| solve(&factor, r)))
}

/// The lower factor of a symmetric positive matrix, given by its lower half.
fn cholesky(mut a: [[f32; TERMS]; TERMS]) -> Option<[[f32; TERMS]; TERMS]> {
    for i in 0..TERMS {
        for j in 0..=i {
            let inner: f32 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let rest = a[i][j] - inner;
            if i == j {
                if rest <= 0.0 {
                    return None;
                }
                a[i][i] = rest.sqrt();
            } else {
                a[i][j] = rest / a[j][j];
            }
        }
    }
    Some(a)
}

fn solve(l: &[[f32; TERMS]; TERMS], mut b: [f32; TERMS]) -> [f32; TERMS] {
    for i in 0..TERMS {
        let inner: f32 = (0..i).map(|k| l[i][k] * b[k]).sum();
        b[i] = (b[i] - inner) / l[i][i];
    }
    for i in (0..TERMS).rev() {
        let inner: f32 = (i + 1..TERMS).map(|k| l[k][i] * b[k]).sum();
        b[i] = (b[i] - inner) / l[i][i];
    }
    b
}

/// How a pixel differs from the background when shadows are allowed for: a shadow takes up to
/// [`DEEPEST`] of the background's light and leaves its hue.
pub(super) fn beyond_shadow(pixel: [f32; 3], backdrop: [f32; 3]) -> [f32; 3] {
    let dot = |a: [f32; 3], b: [f32; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let kept = dot(pixel, backdrop) / dot(backdrop, backdrop).max(1e-6);
    let kept = kept.clamp(1.0 - DEEPEST, 1.0);
    std::array::from_fn(|k| pixel[k] - kept * backdrop[k])
}

/// The greatest part of the light that a shadow takes.
const DEEPEST: f32 = 0.40;

/// How strongly each pixel stands out from the background beyond what a shadow explains: the
/// length of the difference of colours.
pub(super) fn standing_out(grid: &Grid, backdrop: &Backdrop) -> Vec<f32> {
    grid.rgb
        .iter()
        .zip(&backdrop.rgb)
        .map(|(&p, &b)| {
            let d = beyond_shadow(p, b);
            (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).sqrt()
        })
        .collect()
}

/// Which background this is: the nearest of the world's in the middle of the image; nothing
/// where none is near.
pub(super) fn classify(backdrop: &Backdrop) -> Option<Background> {
    /// Middle colours as drawn; a generator's are allowed to differ by [`NEAR`].
    const NEAR: f32 = 0.20;
    let middle = [0, 1, 2].map(|k| backdrop.surface[k][0]);
    let apart = |b: Background| distance(middle, middle_colour(b));
    let nearest = Background::ALL.iter().copied().min_by(|&a, &b| apart(a).total_cmp(&apart(b)))?;
    (apart(nearest) < NEAR).then_some(nearest)
}

/// The colour of a background in the middle of the image.
fn middle_colour(background: Background) -> [f32; 3] {
    match background {
        Background::Gray => [0.42, 0.42, 0.43],
        Background::Black => [0.09, 0.09, 0.10],
        Background::Beige => [0.78, 0.70, 0.56],
        Background::Lavender => [0.64, 0.60, 0.76],
    }
}

/// Where the light comes from: the world brightens the background towards a lamp at the side,
/// and leaves it level from left to right under a lamp above.
pub(super) fn light(backdrop: &Backdrop) -> Light {
    /// Half of the brightening from the middle to the edge that a lamp at the side gives.
    const LEVEL: f32 = 0.021;
    let slope = (0..3).map(|k| backdrop.surface[k][1]).sum::<f32>() / 3.0;
    if slope < -LEVEL {
        Light::Left
    } else if slope > LEVEL {
        Light::Right
    } else {
        Light::Above
    }
}
