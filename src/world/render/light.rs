//! Light, shading and soft shadows.

use super::Colour3;
use crate::world::scene::{Colour, Light};

/// A vector (x right, y down, z towards the viewer).
pub(super) type Vector = [f32; 3];

pub(super) fn dot(a: Vector, b: Vector) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn unit(v: Vector) -> Vector {
    let length = dot(v, v).sqrt();
    v.map(|c| c / length)
}

/// How a material takes light.
#[derive(Clone, Copy)]
pub(super) struct Material {
    /// Colour in full light.
    pub colour: Colour3,
    /// Brightness where no light falls, of the brightness in full light.
    pub ambient: f32,
    /// Strength of the highlight.
    pub gloss: f32,
}

impl Material {
    /// The material of a coloured object.
    pub(super) fn of(colour: Colour) -> Material {
        /// White's shaded side has to stay brighter than the gray background.
        const WHITE_AMBIENT: f32 = 0.64;
        const AMBIENT: f32 = 0.50;
        let ambient = if colour == Colour::White { WHITE_AMBIENT } else { AMBIENT };
        Material { colour: paint(colour), ambient, gloss: 0.55 }
    }

    /// The same material in another colour.
    pub(super) fn tinted(self, colour: Colour3) -> Material {
        Material { colour, ..self }
    }
}

/// The paint of a colour in full light.
pub(super) fn paint(colour: Colour) -> Colour3 {
    match colour {
        Colour::Red => [0.88, 0.09, 0.11],
        Colour::Green => [0.13, 0.66, 0.22],
        Colour::Blue => [0.12, 0.25, 0.92],
        Colour::Yellow => [0.98, 0.88, 0.08],
        Colour::Purple => [0.58, 0.14, 0.76],
        Colour::Orange => [1.00, 0.50, 0.04],
        Colour::Cyan => [0.08, 0.84, 0.90],
        Colour::White => [0.97, 0.97, 0.97],
    }
}

/// A distant lamp: Lambert's diffuse term with an ambient floor, and a Blinn highlight.
pub(super) struct Lamp {
    direction: Vector,
    half: Vector,
}

impl Lamp {
    pub(super) fn new(light: Light) -> Lamp {
        let direction = unit(match light {
            Light::Left => [-0.78, -0.40, 0.50],
            Light::Right => [0.78, -0.40, 0.50],
            Light::Above => [0.0, -0.86, 0.50],
        });
        let half = unit([direction[0], direction[1], direction[2] + 1.0]);
        Lamp { direction, half }
    }

    /// The direction towards the lamp within the image.
    pub(super) fn towards(&self) -> (f32, f32) {
        (self.direction[0], self.direction[1])
    }

    /// Colour of a material where its surface faces `normal` (unit length).
    pub(super) fn shade(&self, material: Material, normal: Vector) -> Colour3 {
        let diffuse = dot(normal, self.direction).max(0.0);
        let brightness = material.ambient + (1.08 - material.ambient) * diffuse;
        // Blinn's exponent 32 by repeated squaring.
        let mut highlight = dot(normal, self.half).max(0.0);
        for _ in 0..5 {
            highlight *= highlight;
        }
        let highlight = material.gloss * highlight;
        material.colour.map(|v| {
            let lit = (v * brightness).min(1.0);
            lit + (1.0 - lit) * highlight
        })
    }

    /// The shadow of something round: below it and away from the light.
    pub(super) fn shadow(&self, centre: (f32, f32), radius: f32) -> Shadow {
        let (lx, ly) = self.towards();
        Shadow {
            x: centre.0 - 0.62 * radius * lx,
            y: centre.1 + radius * (0.62 - 0.25 * ly),
            half_width: 1.15 * radius,
            half_height: 0.62 * radius,
        }
    }
}

/// A soft dark ellipse on the background.
pub(super) struct Shadow {
    x: f32,
    y: f32,
    half_width: f32,
    half_height: f32,
}

impl Shadow {
    /// Darkens the canvas under the shadow.
    pub(super) fn darken(&self, canvas: &mut [Colour3], size: usize) {
        /// Part of the light that the middle of a shadow takes away.
        const DEPTH: f32 = 0.34;
        let scale = size as f32;
        let span = |middle: f32, half: f32| {
            let from = ((middle - half) * scale).floor().clamp(0.0, scale) as usize;
            let to = ((middle + half) * scale).ceil().clamp(0.0, scale) as usize;
            from..to
        };
        for row in span(self.y, self.half_height) {
            let v = ((row as f32 + 0.5) / scale - self.y) / self.half_height;
            for column in span(self.x, self.half_width) {
                let u = ((column as f32 + 0.5) / scale - self.x) / self.half_width;
                let inside = (1.0 - u * u - v * v).max(0.0);
                let kept = 1.0 - DEPTH * inside * inside.sqrt().min(1.0);
                for channel in &mut canvas[row * size + column] {
                    *channel *= kept;
                }
            }
        }
    }
}
