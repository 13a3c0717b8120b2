//! The four solids, as functions of local coordinates: the centre is (0, 0) and the circle
//! around the silhouette has radius 1. All are seen by parallel projection.

use std::f32::consts::{FRAC_1_SQRT_2, TAU};

use super::light::{Lamp, Material, Vector, dot};
use super::{Colour3, Surface, Texel};
use crate::world::scene::{Colour, Finish, Object, Shape};

/// A solid placed in the image.
pub(super) struct Solid<'a> {
    object: &'a Object,
    lamp: &'a Lamp,
    material: Material,
    marked: Material,
}

impl<'a> Solid<'a> {
    pub(super) fn new(object: &'a Object, lamp: &'a Lamp) -> Solid<'a> {
        let material = Material::of(object.colour);
        let marked = material.tinted(mark_colour(object.colour, object.finish, material.colour));
        Solid { object, lamp, material, marked }
    }
}

/// The colour of stripes and dots on a paint: stripes are darker, dots are lighter (on white
/// darker too).
fn mark_colour(colour: Colour, finish: Finish, paint: Colour3) -> Colour3 {
    const DARKER: f32 = 0.44;
    const LIGHTER: f32 = 0.82;
    match finish {
        Finish::Dotted if colour != Colour::White => paint.map(|v| v + (1.0 - v) * LIGHTER),
        Finish::Plain | Finish::Striped | Finish::Dotted => paint.map(|v| v * DARKER),
    }
}

/// A visible point of a solid.
struct Point {
    /// Which smooth part of the solid.
    face: u16,
    normal: Vector,
    /// Whether the finish marks this point.
    marked: bool,
}

impl Surface for Solid<'_> {
    fn bounds(&self) -> [f32; 4] {
        let Object { x, y, radius: r, .. } = *self.object;
        [x - r, y - r, x + r, y + r]
    }

    fn at(&self, x: f32, y: f32) -> Option<Texel> {
        let u = (x - self.object.x) / self.object.radius;
        let v = (y - self.object.y) / self.object.radius;
        let point = match self.object.shape {
            Shape::Ball => ball(u, v, self.object.finish),
            Shape::Cube => cube(u, v, self.object.finish),
            Shape::Cone => cone(u, v, self.object.finish),
            Shape::Ring => ring(u, v, self.object.finish),
        }?;
        let material = if point.marked { self.marked } else { self.material };
        Some(Texel {
            part: 2 * point.face + u16::from(point.marked),
            colour: self.lamp.shade(material, point.normal),
        })
    }
}

/// Whether `q` lies in a band: bands of relative width `DUTY` repeat with `period`.
fn banded(q: f32, period: f32) -> bool {
    const DUTY: f32 = 0.45;
    let phase = q / period + 0.5 * DUTY;
    phase - phase.floor() < DUTY
}

/// A unit sphere.
fn ball(u: f32, v: f32, finish: Finish) -> Option<Point> {
    /// Poles of the stripes.
    const AXIS: Vector = [0.30, 0.917, 0.262];
    /// Period of the stripes along the axis.
    const PERIOD: f32 = 0.62;
    /// Six dots around one in the middle: their distance from it, sine and cosine.
    const RIM: (f32, f32) = (0.74, 0.6726);
    /// Cosine of a dot's angular radius.
    const DOT: f32 = 0.968;
    let flat = u * u + v * v;
    if flat > 1.0 {
        return None;
    }
    let normal = [u, v, (1.0 - flat).sqrt()];
    let marked = match finish {
        Finish::Plain => false,
        Finish::Striped => banded(dot(normal, AXIS), PERIOD),
        Finish::Dotted => {
            normal[2] > DOT || {
                // The nearest of the six: only its angle counts.
                let sector = (v.atan2(u) * 6.0 / TAU).round() * TAU / 6.0;
                dot(normal, [RIM.0 * sector.cos(), RIM.0 * sector.sin(), RIM.1]) > DOT
            }
        }
    };
    Some(Point { face: 0, normal, marked })
}

/// A cube seen over one edge, from 24° above.
fn cube(u: f32, v: f32, finish: Finish) -> Option<Point> {
    const SIN: f32 = 0.406_737;
    const COS: f32 = 0.913_545;
    /// Edge length that puts the four side corners on the unit circle.
    const EDGE: f32 = 1.187;
    const ACROSS: f32 = FRAC_1_SQRT_2 * EDGE;
    /// Half of the silhouette's height.
    const HALF_HEIGHT: f32 = 0.5 * (2.0 * ACROSS * SIN + EDGE * COS);
    /// Height in the image of the corner nearest to the viewer.
    const CORNER: f32 = -HALF_HEIGHT + 2.0 * ACROSS * SIN;

    // Coordinates on the left and right side: along the face from the near edge, and down it.
    let along = u.abs() / ACROSS;
    if along > 1.0 {
        return None;
    }
    let down = (v - CORNER + along * ACROSS * SIN) / (EDGE * COS);
    if (0.0..=1.0).contains(&down) {
        let side = u.signum();
        let normal = [side * FRAC_1_SQRT_2, FRAC_1_SQRT_2 * SIN, FRAC_1_SQRT_2 * COS];
        return Some(Point {
            face: if side < 0.0 { 1 } else { 2 },
            normal,
            marked: face_marked(finish, along, down),
        });
    }
    // Coordinates on the top, from its far corner along both edges.
    let depth = (v + HALF_HEIGHT) / (ACROSS * SIN);
    let (s, t) = (0.5 * (depth + u / ACROSS), 0.5 * (depth - u / ACROSS));
    let on_top = (0.0..=1.0).contains(&s) && (0.0..=1.0).contains(&t);
    on_top.then(|| Point { face: 3, normal: [0.0, -COS, SIN], marked: face_marked(finish, s, t) })
}

/// The finish of a cube's face with coordinates in \[0, 1\]: three bands, or two by two dots.
fn face_marked(finish: Finish, s: f32, t: f32) -> bool {
    const PERIOD: f32 = 0.40;
    const DOT: f32 = 0.165;
    match finish {
        Finish::Plain => false,
        Finish::Striped => banded(t - 0.5, PERIOD),
        Finish::Dotted => {
            let near = |q: f32| if q < 0.5 { q - 0.26 } else { q - 0.74 };
            near(s).hypot(near(t)) < DOT
        }
    }
}

/// A cone on its base: as ellipses shrinking towards the apex, the visible point lies on the
/// front half of the ellipse at height `t` (0 apex, 1 base).
fn cone(u: f32, v: f32, finish: Finish) -> Option<Point> {
    const APEX: f32 = -0.97;
    const HEIGHT: f32 = 1.55;
    const HALF_WIDTH: f32 = 0.80;
    const HALF_DEPTH: f32 = 0.26;
    /// Upward and outward parts of the normal.
    const SLOPE: (f32, f32) = (0.42, 0.907);
    let y = v - APEX;
    let x = u / HALF_WIDTH;
    // y = t HEIGHT + HALF_DEPTH √(t² − x²), solved for t.
    let a = HEIGHT * HEIGHT - HALF_DEPTH * HALF_DEPTH;
    let c = y * y + HALF_DEPTH * HALF_DEPTH * x * x;
    let discriminant = y * y * HEIGHT * HEIGHT - a * c;
    if y <= 0.0 || discriminant < 0.0 {
        return None;
    }
    let t = (y * HEIGHT - discriminant.sqrt()) / a;
    if t <= 0.0 || t > 1.0 {
        return None;
    }
    let side = (x / t).clamp(-1.0, 1.0);
    let front = (1.0 - side * side).sqrt();
    let normal = [side * SLOPE.1, -SLOPE.0, front * SLOPE.1];
    let marked = match finish {
        Finish::Plain => false,
        Finish::Striped => banded(t - 0.62, 0.30),
        Finish::Dotted => cone_dotted(side.asin() * t * HALF_WIDTH, t * HEIGHT),
    };
    Some(Point { face: 0, normal, marked })
}

/// Dots in three rows on a cone, at arc length `s` from the middle line and `h` below the apex.
fn cone_dotted(s: f32, h: f32) -> bool {
    /// Row heights, and how far the dots of each row are shifted.
    const ROWS: [(f32, f32); 3] = [(0.55, 0.0), (0.95, 0.5), (1.33, 0.0)];
    const SPACING: f32 = 0.50;
    const DOT: f32 = 0.155;
    ROWS.iter().any(|&(row, shift)| {
        let q = s / SPACING + shift;
        ((q - q.round()) * SPACING).hypot(h - row) < DOT
    })
}

/// A torus: the union of discs of radius `TUBE` around the points of an ellipse.
fn ring(u: f32, v: f32, finish: Finish) -> Option<Point> {
    const A: f32 = 0.72;
    const B: f32 = 0.62;
    const TUBE: f32 = 0.28;
    const SEGMENTS: f32 = 8.0;
    const DOTS: f32 = 7.0;
    let reach = (A + TUBE) * (A + TUBE);
    let flat = u * u + v * v;
    if flat > reach || flat < (B - TUBE) * (B - TUBE) {
        return None;
    }
    // Nearest point of the ellipse: Newton steps on the angle from a good start.
    let mut angle = (v / B).atan2(u / A);
    for _ in 0..2 {
        let (sin, cos) = angle.sin_cos();
        let slope = (B * B - A * A) * sin * cos + A * u * sin - B * v * cos;
        let curvature = (B * B - A * A) * (cos * cos - sin * sin) + A * u * cos + B * v * sin;
        angle -= slope / curvature.max(0.05);
    }
    let (sin, cos) = angle.sin_cos();
    let (dx, dy) = ((u - A * cos) / TUBE, (v - B * sin) / TUBE);
    let out = dx * dx + dy * dy;
    if out > 1.0 {
        return None;
    }
    let marked = match finish {
        Finish::Plain => false,
        Finish::Striped => banded(angle, TAU / SEGMENTS),
        Finish::Dotted => {
            let around = angle * DOTS / TAU;
            let along = (around - around.round()) * TAU / DOTS * 0.5 * (A + B);
            along.hypot(out.sqrt() * TUBE) < 0.64 * TUBE
        }
    };
    Some(Point { face: 0, normal: [dx, dy, (1.0 - out).sqrt()], marked })
}
