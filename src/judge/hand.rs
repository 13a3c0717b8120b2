//! Raised fingers: arcs around the palm cross each finger once.

use super::grid::{Grid, Mask, components};
use super::paint::{hue_apart, hue_chroma};
use super::regions::{depth, filled};

/// Hue and saturation of skin as the world paints it. Orange has a near hue and twice the
/// saturation.
const SKIN_HUE: f32 = 20.0;
const SKIN_HUE_WITHIN: f32 = 9.0;
const SKIN_SATURATION: (f32, f32) = (0.33, 0.66);
/// Least area of a hand in working pixels (a fist with its wrist has about 500).
const LEAST_AREA: usize = 220;
/// Radius of the circle within the palm, of the palm's own unit (the image width at scale 1).
const PALM: f32 = 0.130;
/// Radii of the arcs, in the same unit.
const ARCS: [f32; 5] = [0.215, 0.23, 0.245, 0.26, 0.275];
/// Half of the angle around straight down that belongs to the wrist, in degrees.
const WRIST: f32 = 52.0;
/// Steps along an arc.
const STEPS: usize = 220;

/// The number of raised fingers, if the greatest region is a hand.
pub(super) fn fingers(grid: &Grid, mask: &Mask) -> Option<u8> {
    let hand = components(mask, false).into_iter().next()?;
    if hand.area() < LEAST_AREA || !is_skin(grid, &hand) {
        return None;
    }
    let depth = depth(&filled(&hand));
    let (palm, radius) = palm(&depth, grid.width)?;
    let unit = radius / PALM;
    let mut counts: Vec<usize> =
        ARCS.iter().map(|arc| crossings(&hand, palm, arc * unit)).collect();
    counts.sort_unstable();
    u8::try_from(counts[counts.len() / 2]).ok()
}

fn is_skin(grid: &Grid, region: &Mask) -> bool {
    const MOST: f32 = 0.6;
    let like = region.pixels().filter(|&at| {
        let c = grid.rgb[at];
        let (hue, chroma) = hue_chroma(c);
        let saturation = chroma / c[0].max(c[1]).max(c[2]).max(1e-6);
        hue_apart(hue, SKIN_HUE) < SKIN_HUE_WITHIN
            && (SKIN_SATURATION.0..SKIN_SATURATION.1).contains(&saturation)
    });
    like.count() as f32 > MOST * region.area() as f32
}

/// Middle and radius of the greatest circle in the hand, in working pixels: the mean of all
/// pixels that are nearly as deep as the deepest.
fn palm(depth: &[f32], width: usize) -> Option<((f32, f32), f32)> {
    const NEARLY: f32 = 0.93;
    let most = depth.iter().copied().fold(0.0, f32::max);
    let (mut x, mut y, mut n) = (0.0, 0.0, 0.0);
    for (at, _) in depth.iter().enumerate().filter(|(_, d)| **d >= NEARLY * most) {
        x += (at % width) as f32 + 0.5;
        y += (at / width) as f32 + 0.5;
        n += 1.0;
    }
    // Depth is measured to the middle of the nearest pixel outside.
    (n > 0.0).then(|| ((x / n, y / n), most - 0.5))
}

/// How often an arc around the palm, open below, enters the mask.
fn crossings(mask: &Mask, (x, y): (f32, f32), radius: f32) -> usize {
    /// Shorter runs along the arc, in working pixels, are no fingers.
    const THINNEST: f32 = 1.2;
    let sweep = (360.0 - 2.0 * WRIST).to_radians();
    let step = sweep * radius / STEPS as f32;
    let (mut count, mut run) = (0, 0.0);
    for i in 0..=STEPS {
        let angle = (90.0 + WRIST).to_radians() + sweep * i as f32 / STEPS as f32;
        if i < STEPS && covered(mask, x + radius * angle.cos(), y + radius * angle.sin()) {
            run += step;
        } else {
            count += usize::from(run > THINNEST);
            run = 0.0;
        }
    }
    count
}

fn covered(mask: &Mask, x: f32, y: f32) -> bool {
    x >= 0.0
        && y >= 0.0
        && (x as usize) < mask.width
        && (y as usize) < mask.height
        && mask.on[y as usize * mask.width + x as usize]
}
