//! From an image to what is seen in it.

use image::RgbImage;
use ndarray::{Array2, Zip};

use super::backdrop::{Backdrop, beyond_shadow, classify, light, standing_out};
use super::fit::{Fit, PATTERNED, Presence, View, bounds_of};
use super::grid::{Grid, Mask, components, median};
use super::paint::{Tint, tint};
use super::regions::{SPECK, bridged, split, split_by_colour, standing_out_mask};
use super::seen::{Seen, SeenObject, Sureness};
use super::template::{silhouette, templates};
use super::{hand, letters};
use crate::world::{Colour, Finish, SIZE_LIMIT, Size};

/// Looks at an image. The image alone is looked at: neither scene nor caption can be known.
///
/// The image is scaled to a width of 64 pixels first; masks and boxes come back at its own
/// size. An empty image shows nothing.
pub fn look(image: &RgbImage) -> Seen {
    let grid = Grid::of_image(image);
    if grid.len() == 0 {
        return Seen::default();
    }
    let ground = Ground::of(&grid);
    let mut seen = Seen {
        background: classify(&ground.backdrop),
        light: Some(light(&ground.backdrop)),
        ..Seen::default()
    };
    seen.fingers = hand::fingers(&ground.calm, &ground.mask, &ground.strength, ground.noise);
    if seen.fingers.is_some() {
        return seen;
    }
    if letters::are_strokes(&ground.mask) {
        seen.word = letters::read(&ground.calm, &ground, image.dimensions());
        if seen.word.is_some() {
            return seen;
        }
    }
    let found = candidates(&grid, &ground);
    if explained(&found) < SOLID {
        seen.word = letters::read(&ground.calm, &ground, image.dimensions());
    }
    if seen.word.is_none() {
        seen.objects = objects(found, &grid, &ground, image.dimensions());
    }
    seen
}

/// Part of the marks' difference from the background from which they are solids beyond doubt;
/// below it they may be letters.
const SOLID: f32 = 0.80;

/// Part of the difference from the background that all solids together explain.
fn explained(found: &[Candidate]) -> f32 {
    let nothing: f32 = found.iter().map(|c| c.fit.nothing).sum();
    let left: f32 = found.iter().map(|c| c.fit.cost).sum();
    if nothing > 0.0 { 1.0 - left / nothing } else { 0.0 }
}

/// The background and what stands out from it.
pub(super) struct Ground {
    /// The working image, smoothed if it is noisy.
    pub calm: Grid,
    pub backdrop: Backdrop,
    /// How the pixels of the image that was given differ from it, shadows allowed.
    bare: Vec<[f32; 3]>,
    /// How strongly each pixel stands out.
    pub strength: Vec<f32>,
    /// The pixels that do.
    pub mask: Mask,
    /// Standard deviation of pixel noise.
    pub noise: f32,
}

impl Ground {
    fn of(grid: &Grid) -> Ground {
        /// Difference of colours from which a pixel stands out in an image without noise.
        const FAINT: f32 = 0.075;
        /// Noise deviations that a pixel of the smoothed image has to stand out by (smoothing
        /// leaves 0.375 of the noise in each channel).
        const NOISE: f32 = 1.7;
        /// Noise from which the image is smoothed before it is cut into regions.
        const NOISY: f32 = 0.012;
        let noise = grid.noise();
        let calm = if noise > NOISY { grid.smoothed() } else { grid.clone() };
        let backdrop = Backdrop::of(&calm, noise);
        let strength = standing_out(&calm, &backdrop);
        let marks = standing_out_mask(&strength, grid.width, FAINT.max(NOISE * noise));
        let mut mask = Mask::empty(grid.width, grid.height);
        for part in components(&marks, true).into_iter().filter(|part| part.area() >= DUST) {
            mask = mask.or(&part);
        }
        let differs = |(&pixel, &behind): (&[f32; 3], &[f32; 3])| beyond_shadow(pixel, behind);
        let bare = grid.rgb.iter().zip(&backdrop.rgb).map(differs).collect();
        Ground { calm, backdrop, bare, strength, mask, noise }
    }

    /// How much of each pixel something covers, going by how strongly the region stands out.
    fn presence(&self, region: &Mask) -> Presence {
        /// Part of the median strength from which a pixel is covered in full.
        const FULL: f32 = 0.8;
        let usual = self.usual_strength(region);
        let full = FULL * usual.max(1e-3);
        let coverage = self.strength.iter().map(|s| (s / full).min(1.0)).collect();
        Presence { coverage, worth: usual * usual }
    }

    fn usual_strength(&self, region: &Mask) -> f32 {
        let mut strengths: Vec<f32> = region.pixels().map(|at| self.strength[at]).collect();
        if strengths.is_empty() { 0.0 } else { median(&mut strengths) }
    }

    /// The pixels of a region that stand out by a good part of what its stronger ones do.
    fn bright(&self, region: &Mask) -> Mask {
        /// Part of the median strength.
        const PART: f32 = 0.4;
        let limit = PART * self.usual_strength(region);
        let mut bright = region.clone();
        for (on, &strength) in bright.on.iter_mut().zip(&self.strength) {
            *on &= strength >= limit;
        }
        bright
    }
}

/// A region with its colour and the solid that explains it.
struct Candidate {
    region: Mask,
    tint: Tint,
    fit: Fit,
}

impl Candidate {
    /// Whether the region may be a piece of an object whose rest looks like the background: a
    /// solid explains it badly, and it is white (whose dark marks look like shadow) or small.
    fn is_loose(&self) -> bool {
        /// Less than the area of the smallest solid, in working pixels.
        const SMALL: usize = 76;
        /// Explained part from which a region is no piece.
        const WHOLE: f32 = 0.90;
        let explained = self.fit.is_good() && self.fit.explained() >= WHOLE;
        !explained && (self.tint.colour == Colour::White || self.region.area() < SMALL)
    }
}

/// All regions with the solids that explain them best: first those that a solid explains, then
/// what pieces make together.
fn candidates(grid: &Grid, ground: &Ground) -> Vec<Candidate> {
    let parts = components(&ground.mask, false);
    let (specks, parts): (Vec<Mask>, Vec<Mask>) =
        parts.into_iter().partition(|part| part.area() < SPECK);
    let whole = parts.iter().flat_map(split).filter(|part| part.area() >= SPECK);
    let (mut loose, mut found): (Vec<Candidate>, Vec<Candidate>) = whole
        .map(|region| candidate(region, grid, ground, &ground.mask))
        .flat_map(|c| by_colour(c, grid, ground))
        .partition(|c| c.is_loose());
    let mut pieces = Mask::empty(grid.width, grid.height);
    for at in loose.iter().map(|c| &c.region).chain(&specks).flat_map(Mask::pixels) {
        pieces.on[at] = true;
    }
    let joined = bridged(&pieces);
    if joined == pieces {
        found.append(&mut loose);
    } else {
        let marks = ground.mask.clone().or(&joined);
        for part in components(&joined, false).into_iter().filter(|part| part.area() >= SPECK) {
            let whole = candidate(part, grid, ground, &marks);
            if whole.fit.explained() >= ONE_BODY {
                found.push(whole);
            } else {
                let parts = split(&whole.region).into_iter().filter(|p| p.area() >= SPECK);
                found.extend(parts.map(|r| candidate(r, grid, ground, &marks)));
            }
        }
    }
    without_leftovers(found)
}

/// Drops regions that lie within the circle of a solid which explains more: leftovers of its
/// pattern.
fn without_leftovers(mut found: Vec<Candidate>) -> Vec<Candidate> {
    /// Part of a region within the circle from which it is a leftover.
    const WITHIN: f32 = 0.6;
    let weight = |c: &Candidate| c.fit.nothing - c.fit.cost;
    found.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    let mut kept: Vec<Candidate> = Vec::new();
    for c in found {
        let most = WITHIN * c.region.area() as f32;
        let inside = |k: &Candidate| {
            c.region.pixels().filter(|&at| k.fit.place.contains(at, c.region.width)).count() as f32
        };
        if !kept.iter().any(|k| inside(k) > most) {
            kept.push(c);
        }
    }
    kept
}

/// The solids from left to right.
fn objects(
    found: Vec<Candidate>,
    grid: &Grid,
    ground: &Ground,
    size: (u32, u32),
) -> Vec<SeenObject> {
    let mut seen: Vec<SeenObject> =
        found.into_iter().map(|c| seen_object(c, grid, ground, size)).collect();
    seen.sort_by(|a, b| a.centre.0.total_cmp(&b.centre.0));
    seen
}

/// Softness of images in which no sharp solid explains a region, in working pixels.
const SOFT: [f32; 2] = [0.6, 1.2];
/// Explained part of a region's difference from the background below which solids may be bent.
const WELL_DRAWN: f32 = 0.93;
/// The same below which another colour is
/// tried, and how much more that has to explain.
const DOUBTFUL: f32 = 0.5;
const BETTER: f32 = 0.1;
/// Part of the difference from the background that one solid has to explain of pieces joined, to
/// be taken for one body.
const ONE_BODY: f32 = 0.75;
/// Marks smaller than this many working pixels are not even pieces of objects or letters.
const DUST: usize = 5;

/// A region that no solid explains, cut where its colour changes, if it has several colours.
fn by_colour(c: Candidate, grid: &Grid, ground: &Ground) -> Vec<Candidate> {
    /// Explained part from which a region is one body.
    const ONE: f32 = 0.85;
    if c.fit.explained() >= ONE {
        return vec![c];
    }
    let parts = split_by_colour(&ground.calm, &c.region);
    if parts.len() < 2 {
        return vec![c];
    }
    parts.into_iter().map(|part| candidate(part, grid, ground, &ground.mask)).collect()
}

fn candidate(region: Mask, grid: &Grid, ground: &Ground, marks: &Mask) -> Candidate {
    let mut others = marks.clone();
    for at in region.pixels() {
        others.on[at] = false;
    }
    let mut view = View {
        grid,
        backdrop: &ground.backdrop,
        bare: &ground.bare,
        others: &others,
        bounds: region.bounds().unwrap_or((0, 0, 0, 0)),
        noise: ground.noise,
        softness: 0.0,
        lenient: None,
    };
    let tint = tint(&ground.calm, &region);
    let light = light(&ground.backdrop);
    let mut fit = view.fit(&templates(tint.colour, light));
    let mut sharpest = view.softness;
    for softness in SOFT {
        if fit.is_good() {
            break;
        }
        view.softness = softness;
        let soft = view.fit(&templates(tint.colour, light));
        if soft.cost < fit.cost {
            (fit, sharpest) = (soft, softness);
        }
    }
    view.softness = sharpest;
    if !fit.is_good() && fit.explained() < WELL_DRAWN {
        view.lenient = Some(ground.presence(&region));
        fit = view.fit(&templates(tint.colour, light));
    }
    if fit.explained() < DOUBTFUL {
        // A mixture with the background may have misled the eye: the solid decides.
        let other = view.fit(&templates(tint.other, light));
        if other.explained() > fit.explained() + BETTER {
            let tint = Tint { colour: tint.other, other: tint.colour, sure: 0.0 };
            return Candidate { region, tint, fit: other };
        }
    }
    Candidate { region, tint, fit }
}

fn seen_object(c: Candidate, grid: &Grid, ground: &Ground, (w, h): (u32, u32)) -> SeenObject {
    let scale = grid.width as f32;
    let radius = c.fit.place.mean_radius() / scale;
    let bounds = bounds_of(&c.fit);
    let sure = sureness(&c, radius);
    // A solid that explains its region well has its own silhouette; anything else keeps its
    // pixels that stand out or lie within it.
    let shapes = templates(c.tint.colour, light(&ground.backdrop));
    let template = &shapes[c.fit.shape as usize];
    let mut mask = silhouette(template, c.fit.place, w as f32 / scale, (w, h));
    if !c.fit.is_good() {
        let (region, marks) = (c.region.scaled_to(w, h), ground.bright(&c.region).scaled_to(w, h));
        Zip::from(&mut mask).and(&region).and(&marks).for_each(|on, &own, &mark| {
            *on = own && (mark || *on);
        });
    }
    SeenObject {
        shape: c.fit.shape,
        colour: c.tint.colour,
        size: Size::of_radius(radius),
        finish: c.fit.finish,
        bounds: mask_bounds(&mask),
        mask,
        centre: (
            0.5 * (bounds[0] + bounds[2]) / scale,
            0.5 * (bounds[1] + bounds[3]) / grid.height as f32,
        ),
        radius,
        confidence: sure.least(),
        sure,
    }
}

/// Left, top, right, bottom of a mask; the last two one past the end.
fn mask_bounds(mask: &Array2<bool>) -> (u32, u32, u32, u32) {
    let mut b = (u32::MAX, u32::MAX, 0, 0);
    for ((y, x), _) in mask.indexed_iter().filter(|(_, on)| **on) {
        let (x, y) = (x as u32, y as u32);
        b = (b.0.min(x), b.1.min(y), b.2.max(x + 1), b.3.max(y + 1));
    }
    if b.2 == 0 { (0, 0, 0, 0) } else { b }
}

fn sureness(c: &Candidate, radius: f32) -> Sureness {
    /// Half of the gap between the greatest small and the least large radius.
    const HALF_GAP: f32 = 0.0175;
    /// Area from which a region is surely more than a speck.
    const SOLID: f32 = 3.0 * SPECK as f32;
    let patterned = c.fit.finish != Finish::Plain;
    let finish = if patterned {
        (c.fit.contrast - c.fit.other_contrast.max(PATTERNED)) / (1.0 - PATTERNED)
    } else {
        1.0 - c.fit.contrast / PATTERNED
    };
    Sureness {
        object: (c.region.area() as f32 / SOLID).min(1.0).min(c.fit.explained()),
        shape: c.fit.clear.clamp(0.0, 1.0),
        colour: c.tint.sure.clamp(0.0, 1.0),
        size: ((radius - SIZE_LIMIT).abs() / HALF_GAP).min(1.0),
        finish: finish.clamp(0.0, 1.0),
    }
}
