//! Raised fingers: arcs around the palm cross each finger once.

use super::grid::{Grid, Mask, between, components, mean_colour};
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
/// Radii of the arcs, in the same unit: from outside the palm's corners to the thumb's tip.
const ARCS: [f32; 9] = [0.190, 0.205, 0.220, 0.235, 0.250, 0.265, 0.280, 0.295, 0.310];
/// A number of fingers counts when so many arcs cross that many or more: near the palm fingers
/// run together, far out some have ended.
const AGREEING: usize = 3;
/// Height of the lowest hand, a fist on its wrist, in working pixels; no solid is as high.
const LEAST_HEIGHT: usize = 29;
/// Half of the angle around straight down that belongs to the wrist, in degrees.
const WRIST: f32 = 52.0;
/// Strength of an arc's strongest point below which it crosses nothing.
const FAINTEST: f32 = 0.12;
/// Steps along an arc.
const STEPS: usize = 220;

/// The number of raised fingers, if the greatest region is a hand. `strength` says how strongly
/// each pixel stands out from the background, `noise` is the deviation of pixel noise.
pub(super) fn fingers(grid: &Grid, mask: &Mask, strength: &[f32], noise: f32) -> Option<u8> {
    let hand = components(mask, false).into_iter().next()?;
    let (_, top, _, bottom) = hand.bounds()?;
    if bottom - top < LEAST_HEIGHT || hand.area() < LEAST_AREA || !is_skin(mean_colour(grid, &hand))
    {
        return None;
    }
    let depth = depth(&filled(&hand));
    let (palm, radius) = palm(&depth, grid.width)?;
    let unit = radius / PALM;
    let mut counts: Vec<usize> =
        ARCS.iter().map(|arc| crossings(strength, noise, grid.width, palm, arc * unit)).collect();
    counts.sort_unstable();
    u8::try_from(counts[counts.len() - AGREEING]).ok()
}

fn is_skin(colour: [f32; 3]) -> bool {
    let (hue, chroma) = hue_chroma(colour);
    let saturation = chroma / colour[0].max(colour[1]).max(colour[2]).max(1e-6);
    hue_apart(hue, SKIN_HUE) < SKIN_HUE_WITHIN
        && (SKIN_SATURATION.0..SKIN_SATURATION.1).contains(&saturation)
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

/// How many fingers an arc around the palm crosses: peaks of strength along it, between
/// which it falls clearly. The arc is open below, where the wrist is.
fn crossings(strength: &[f32], noise: f32, width: usize, (x, y): (f32, f32), radius: f32) -> usize {
    /// Strength of the strongest point from which a peak is a finger.
    const HIGH: f32 = 0.45;
    /// Part of the strongest that strength falls and rises by between two fingers.
    const FALL: f32 = 0.18;
    let sweep = (360.0 - 2.0 * WRIST).to_radians();
    let profile: Vec<f32> = (0..=STEPS)
        .map(|i| {
            let angle = (90.0 + WRIST).to_radians() + sweep * i as f32 / STEPS as f32;
            let at = (x + radius * angle.cos(), y + radius * angle.sin());
            between(strength, width, at)
        })
        .collect();
    let most = profile.iter().copied().fold(0.0, f32::max);
    let fall = FALL * most + noise;
    let (mut count, mut rising) = (0, true);
    // The highest since the last fall, or the lowest since the last rise.
    let mut turn = 0.0;
    for value in profile.into_iter().chain([0.0]) {
        if rising {
            turn = value.max(turn);
            if turn - value > fall {
                count += usize::from(turn > HIGH * most);
                (rising, turn) = (false, value);
            }
        } else {
            turn = value.min(turn);
            if value - turn > fall {
                (rising, turn) = (true, value);
            }
        }
    }
    // An arc through nothing has no peaks, however weak.
    if most > FAINTEST { count } else { 0 }
}
