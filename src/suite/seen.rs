//! What the exact judge sees in an image, decided by GenEval's rule: for what the world's grammar
//! cannot say, such as that an object is absent.
//!
//! The judge looks without the prompt, so its objects are detections like any other's; their class
//! is the shape, and each is as sure as can be. The rule asks for nothing of size, finish, light or
//! background.

use crate::judge::imported::geneval::{self, Metadata};
use crate::judge::imported::{self, Detection, Ruling};
use crate::judge::{self, Seen};
use crate::world::{Colour, Shape};

/// Name of this judge in tables.
pub const NAME: &str = "geneval-rule/exact";

/// Most objects of a scene in the world, up to which the exact judge is calibrated.
const MOST_OBJECTS: usize = 6;

/// Version of the rule, and of the judge that looks.
pub fn version() -> String {
    format!("{} of {} {}", imported::VERSION, judge::NAME, judge::VERSION)
}

/// Whether all that is asked for is of the world: shapes, colours, and as many as a scene holds.
pub fn is_of_the_world(asked: &Metadata) -> bool {
    let shape = |class: &str| Shape::ALL.iter().any(|shape| shape.name() == class);
    let colour = |name: &String| Colour::ALL.iter().any(|colour| colour.name() == name);
    let included: usize = asked.include.iter().map(|wanted| wanted.count).sum();
    included <= MOST_OBJECTS
        && asked
            .include
            .iter()
            .all(|wanted| shape(&wanted.class) && wanted.color.as_ref().is_none_or(colour))
        && asked
            .exclude
            .iter()
            .all(|unwanted| shape(&unwanted.class) && unwanted.count <= MOST_OBJECTS + 1)
}

/// Applies the rule to what was seen.
pub fn rule(seen: &Seen, asked: &Metadata) -> Ruling {
    let detections: Vec<Detection> = seen
        .objects
        .iter()
        .map(|object| {
            let (left, top, right, bottom) = object.bounds;
            Detection {
                class: object.shape.name().to_owned(),
                score: 1.0,
                bounds: [left, top, right, bottom].map(f64::from),
                colour: Some(object.colour.name().to_owned()),
            }
        })
        .collect();
    geneval::judge(&geneval::keep_as_they_are(&detections), asked)
}
