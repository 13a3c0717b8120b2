//! What the judge sees in an image.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::world::{Background, Colour, Content, Finish, Light, Scene, Shape, Size};

/// Everything seen in one image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Solids, from left to right. Empty when a word or a hand is seen.
    pub objects: Vec<SeenObject>,
    /// The background; `None` when it is like none of the world's.
    pub background: Option<Background>,
    /// Where the light comes from; `None` in an empty image.
    pub light: Option<Light>,
    /// The written word, if letters are seen.
    pub word: Option<SeenWord>,
    /// Raised fingers, if a hand is seen.
    pub fingers: Option<u8>,
}

/// One solid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeenObject {
    /// The most likely shape.
    pub shape: Shape,
    /// The most likely colour.
    pub colour: Colour,
    /// The size class.
    pub size: Size,
    /// The surface pattern.
    pub finish: Finish,
    /// Its visible pixels, \[height, width\] of the image. Not serialised.
    #[serde(skip)]
    pub mask: Array2<bool>,
    /// Box around the mask in pixels: left, top, right, bottom; right and bottom lie one past
    /// the last pixel.
    pub bounds: (u32, u32, u32, u32),
    /// Centre of the box, in \[0, 1\]: x to the right, y down.
    pub centre: (f32, f32),
    /// Radius of the circle around the silhouette as a fraction of the image width.
    pub radius: f32,
    /// How sure the judge is of the whole object, in \[0, 1\]: the least of `sure`.
    pub confidence: f32,
    /// How sure it is of each attribute.
    pub sure: Sureness,
}

/// How sure the judge is of each attribute of an object, each in \[0, 1\]: 0 where the next best
/// answer is as good, 1 where it is far off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sureness {
    /// That there is an object at all.
    pub object: f32,
    /// Of the shape.
    pub shape: f32,
    /// Of the colour.
    pub colour: f32,
    /// Of the size class.
    pub size: f32,
    /// Of the finish.
    pub finish: f32,
}

impl Sureness {
    /// Complete certainty.
    pub const FULL: Sureness =
        Sureness { object: 1.0, shape: 1.0, colour: 1.0, size: 1.0, finish: 1.0 };

    /// The least of them.
    pub fn least(self) -> f32 {
        [self.object, self.shape, self.colour, self.size, self.finish]
            .into_iter()
            .fold(1.0, f32::min)
    }
}

/// A written word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenWord {
    /// The letters A–Z, read from left to right.
    pub text: String,
    /// Colour of the letters.
    pub colour: Colour,
    /// Box around the word in pixels: left, top, right, bottom (one past the last pixel).
    pub bounds: (u32, u32, u32, u32),
    /// How sure the judge is of each letter, in \[0, 1\].
    pub sure: Vec<f32>,
}

impl Seen {
    /// What a judge without fault would see in a scene; masks are left empty. It gives the
    /// truth that [`calibrate`](super::calibrate()) compares the judge with, through the same
    /// rules as everything else that is judged.
    pub fn of_scene(scene: &Scene) -> Seen {
        let mut seen = Seen {
            background: Some(scene.background),
            light: Some(scene.light),
            ..Seen::default()
        };
        match &scene.content {
            Content::Objects(objects) => {
                seen.objects = objects
                    .iter()
                    .map(|o| SeenObject {
                        shape: o.shape,
                        colour: o.colour,
                        size: o.size,
                        finish: o.finish,
                        mask: Array2::default((0, 0)),
                        bounds: (0, 0, 0, 0),
                        centre: o.centre(),
                        radius: o.radius,
                        confidence: 1.0,
                        sure: Sureness::FULL,
                    })
                    .collect();
                seen.objects.sort_by(|a, b| a.centre.0.total_cmp(&b.centre.0));
            }
            Content::Word(w) => {
                seen.word = Some(SeenWord {
                    text: w.text.clone(),
                    colour: w.colour,
                    bounds: (0, 0, 0, 0),
                    sure: vec![1.0; w.text.len()],
                });
            }
            Content::Hand(h) => seen.fingers = Some(h.fingers),
        }
        seen
    }
}
