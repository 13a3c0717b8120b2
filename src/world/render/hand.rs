//! A hand: palm, wrist and raised fingers, each a rounded solid.

use super::light::{Lamp, Material, Vector};
use super::{Surface, Texel};
use crate::world::scene::Hand;

/// Half of the palm's width at scale 1, as a fraction of the image width.
pub(super) const PALM_RADIUS: f32 = 0.135;

/// A capsule: all points within `radius` of a line from `start` along `step`.
struct Capsule {
    start: (f32, f32),
    step: (f32, f32),
    radius: f32,
}

/// The hand placed in the image; the palm's middle is (0, 0) in its own coordinates.
pub(super) struct HandSurface<'a> {
    hand: &'a Hand,
    lamp: &'a Lamp,
    material: Material,
    /// Fingers first, the wrist last.
    limbs: Vec<Capsule>,
}

impl<'a> HandSurface<'a> {
    pub(super) fn new(hand: &'a Hand, lamp: &'a Lamp) -> HandSurface<'a> {
        let material = Material { colour: [0.90, 0.61, 0.46], ambient: 0.55, gloss: 0.12 };
        let mut limbs = fingers(hand.fingers);
        limbs.push(Capsule { start: (0.0, 0.08), step: (0.0, 0.22), radius: 0.085 });
        HandSurface { hand, lamp, material, limbs }
    }
}

/// The raised fingers as a fan; the fifth is the thumb.
fn fingers(count: u8) -> Vec<Capsule> {
    const UPRIGHT: u8 = 4;
    const LENGTH: f32 = 0.25;
    const RADIUS: f32 = 0.037;
    /// Distance between neighbouring roots.
    const SPACING: f32 = 0.070;
    /// Angle between neighbours, radians.
    const SPREAD: f32 = 0.32;
    let upright = count.min(UPRIGHT);
    let mut limbs: Vec<Capsule> = (0..upright)
        .map(|i| {
            let middle = 0.5 * (f32::from(upright) - 1.0);
            // A single finger is the index finger, beside the thumb.
            let offset = if upright == 1 { 1.0 } else { f32::from(i) - middle };
            let (sin, cos) = (offset * SPREAD).sin_cos();
            Capsule {
                start: (offset * SPACING, -0.07),
                step: (LENGTH * sin, -LENGTH * cos),
                radius: RADIUS,
            }
        })
        .collect();
    if count > UPRIGHT {
        limbs.push(Capsule { start: (0.09, 0.05), step: (0.165, -0.075), radius: 0.040 });
    }
    limbs
}

impl Capsule {
    /// How deep a point lies inside (negative outside) and the surface normal there.
    fn at(&self, x: f32, y: f32) -> (f32, Vector) {
        let (px, py) = (x - self.start.0, y - self.start.1);
        let square = self.step.0 * self.step.0 + self.step.1 * self.step.1;
        let along = ((px * self.step.0 + py * self.step.1) / square).clamp(0.0, 1.0);
        let dx = (px - along * self.step.0) / self.radius;
        let dy = (py - along * self.step.1) / self.radius;
        let out = dx * dx + dy * dy;
        (self.radius * (1.0 - out.sqrt()), [dx, dy, (1.0 - out).max(0.0).sqrt()])
    }
}

/// The palm, a box with round corners: depth and normal as for a capsule.
fn palm(x: f32, y: f32) -> (f32, Vector) {
    /// Half sides of the box that the corners are rounded around.
    const CORE: (f32, f32) = (0.06, 0.055);
    const ROUND: f32 = PALM_RADIUS - 0.06;
    let dx = (x.abs() - CORE.0).max(0.0).copysign(x) / ROUND;
    let dy = (y.abs() - CORE.1).max(0.0).copysign(y) / ROUND;
    let out = dx * dx + dy * dy;
    (ROUND * (1.0 - out.sqrt()), [dx, dy, (1.0 - out).max(0.0).sqrt()])
}

impl Surface for HandSurface<'_> {
    fn bounds(&self) -> [f32; 4] {
        let Hand { x, y, scale, .. } = *self.hand;
        [x - 0.30 * scale, y - 0.37 * scale, x + 0.30 * scale, y + 0.39 * scale]
    }

    fn at(&self, x: f32, y: f32) -> Option<Texel> {
        let flip = if self.hand.mirrored { -1.0 } else { 1.0 };
        let u = flip * (x - self.hand.x) / self.hand.scale;
        let v = (y - self.hand.y) / self.hand.scale;
        let (mut depth, mut normal) = palm(u, v);
        let mut part = 0;
        for (i, limb) in (1u16..).zip(&self.limbs) {
            let (d, n) = limb.at(u, v);
            // A raised finger shows in front of the palm's round edge.
            if d > depth {
                (depth, normal, part) = (d, n, i);
            }
        }
        if depth <= 0.0 {
            return None;
        }
        normal[0] *= flip;
        Some(Texel { part, colour: self.lamp.shade(self.material, normal) })
    }
}
