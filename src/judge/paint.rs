//! Which of the world's colours a region has.

use super::grid::{Grid, Mask};
use crate::world::Colour;

/// Hues of the world's paints in degrees, in full and in half light.
const HUES: [(Colour, f32); 7] = [
    (Colour::Red, 358.5),
    (Colour::Orange, 29.0),
    (Colour::Yellow, 53.0),
    (Colour::Green, 130.0),
    (Colour::Cyan, 184.0),
    (Colour::Blue, 230.0),
    (Colour::Purple, 283.0),
];

/// What the colours of a region add up to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tint {
    /// The most likely colour.
    pub colour: Colour,
    /// The next most likely one.
    pub other: Colour,
    /// How sure that is, in \[0, 1\].
    pub sure: f32,
}

/// Hue in degrees and chroma (greatest less least channel) of a colour.
pub(super) fn hue_chroma(c: [f32; 3]) -> (f32, f32) {
    let most = c[0].max(c[1]).max(c[2]);
    let least = c[0].min(c[1]).min(c[2]);
    let chroma = most - least;
    if chroma <= 0.0 {
        return (0.0, 0.0);
    }
    let sixth = if most == c[0] {
        ((c[1] - c[2]) / chroma).rem_euclid(6.0)
    } else if most == c[1] {
        (c[2] - c[0]) / chroma + 2.0
    } else {
        (c[0] - c[1]) / chroma + 4.0
    };
    (60.0 * sixth, chroma)
}

/// Difference of two hues, 0 to 180 degrees.
pub(super) fn hue_apart(a: f32, b: f32) -> f32 {
    let d = (a - b).rem_euclid(360.0);
    d.min(360.0 - d)
}

/// The colour of a region: each pixel votes for the paint of the nearest hue with the weight of
/// its chroma, so that shade, highlights and pale dots count little; a region whose chroma is
/// small beside its brightness is white.
pub(super) fn tint(grid: &Grid, region: &Mask) -> Tint {
    /// Saturation of a region below which it is white.
    const WHITE: f32 = 0.28;
    let mut votes = [0.0_f32; HUES.len()];
    let (mut chroma_sum, mut most_sum) = (0.0, 0.0);
    for at in region.pixels() {
        let c = grid.rgb[at];
        let (hue, chroma) = hue_chroma(c);
        // Squared: mixtures with the background at edges have little chroma.
        let weight = chroma * chroma;
        chroma_sum += chroma;
        most_sum += c[0].max(c[1]).max(c[2]);
        votes[nearest_hue(hue)] += weight;
    }
    let saturation = if most_sum > 0.0 { chroma_sum / most_sum } else { 0.0 };
    let best = (0..HUES.len()).max_by(|&a, &b| votes[a].total_cmp(&votes[b])).unwrap_or(0);
    let all: f32 = votes.iter().sum();
    let rest = (0..HUES.len()).filter(|&i| i != best);
    let second = rest.max_by(|&a, &b| votes[a].total_cmp(&votes[b])).unwrap_or(0);
    // How far the saturation is from the limit between white and coloured, 1 at twice or zero.
    let clear = ((saturation - WHITE).abs() / WHITE).min(1.0);
    if saturation < WHITE {
        return Tint { colour: Colour::White, other: HUES[best].0, sure: clear };
    }
    let hue_clear = if all > 0.0 { (votes[best] - votes[second]) / all } else { 0.0 };
    let other = if clear < hue_clear { Colour::White } else { HUES[second].0 };
    Tint { colour: HUES[best].0, other, sure: hue_clear.min(clear) }
}

/// The colour of a pixel that is clearly one: bright and gray, or of a clear hue.
pub(super) fn clear_colour(c: [f32; 3]) -> Option<Colour> {
    const GRAY: f32 = 0.2;
    const BRIGHT: f32 = 0.55;
    const CLEAR: f32 = 0.5;
    /// Chroma below which a hue is uncertain, however dark the pixel.
    const LEAST_CHROMA: f32 = 0.12;
    let (hue, chroma) = hue_chroma(c);
    let most = c[0].max(c[1]).max(c[2]);
    if chroma < GRAY * most {
        return (most > BRIGHT).then_some(Colour::White);
    }
    (chroma > CLEAR * most && chroma > LEAST_CHROMA).then(|| HUES[nearest_hue(hue)].0)
}

/// Whether two colours differ by more than shading and blur make of one.
pub(super) fn far_apart(a: Colour, b: Colour) -> bool {
    const NEAR: f32 = 40.0;
    let hue = |c: Colour| HUES.iter().find(|h| h.0 == c).map(|h| h.1);
    match (hue(a), hue(b)) {
        (Some(a), Some(b)) => hue_apart(a, b) > NEAR,
        (a, b) => a.is_some() != b.is_some(),
    }
}

fn nearest_hue(hue: f32) -> usize {
    (0..HUES.len())
        .min_by(|&a, &b| hue_apart(hue, HUES[a].1).total_cmp(&hue_apart(hue, HUES[b].1)))
        .unwrap_or(0)
}
