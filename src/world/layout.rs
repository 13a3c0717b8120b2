//! Where objects go: inside the frame, apart from each other, in the relation asked for.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::scene::{Object, Relation};

/// Free space between a silhouette's circle and the frame.
const MARGIN: f32 = 0.035;
/// Free space between the circles of two objects.
const GAP: f32 = 0.045;
/// Greatest distance across a relation's axis, of the distance along it.
const CLEAR: f32 = 0.45;
/// Places tried for one object before the whole layout starts again.
const TRIES: usize = 60;
/// Layouts tried before the caller has to draw other objects.
const RESTARTS: usize = 40;

/// A place anywhere inside the frame.
fn anywhere(rng: &mut ChaCha8Rng, radius: f32) -> (f32, f32) {
    let room = radius + MARGIN..=1.0 - radius - MARGIN;
    (rng.random_range(room.clone()), rng.random_range(room))
}

/// Places the objects freely; `false` if they found no room.
pub(super) fn scatter(rng: &mut ChaCha8Rng, objects: &mut [Object]) -> bool {
    (0..RESTARTS).any(|_| scatter_once(rng, objects))
}

fn scatter_once(rng: &mut ChaCha8Rng, objects: &mut [Object]) -> bool {
    for at in 0..objects.len() {
        let (placed, rest) = objects.split_at_mut(at);
        let Some(object) = rest.first_mut() else { return false };
        let found = (0..TRIES).any(|_| {
            (object.x, object.y) = anywhere(rng, object.radius);
            placed.iter().all(|other| apart(object, other))
        });
        if !found {
            return false;
        }
    }
    true
}

fn apart(a: &Object, b: &Object) -> bool {
    (a.x - b.x).hypot(a.y - b.y) >= a.radius + b.radius + GAP
}

/// Places `subject` so that it clearly has the relation to `object`; `false` if there was no
/// room.
pub(super) fn relate(
    rng: &mut ChaCha8Rng,
    subject: &mut Object,
    relation: Relation,
    object: &mut Object,
) -> bool {
    let (ux, uy) = relation.direction();
    (0..RESTARTS * TRIES).any(|_| {
        (subject.x, subject.y) = anywhere(rng, subject.radius);
        (object.x, object.y) = anywhere(rng, object.radius);
        let (dx, dy) = (subject.x - object.x, subject.y - object.y);
        let along = dx * ux + dy * uy;
        let across = (dx * uy - dy * ux).abs();
        along >= subject.radius + object.radius + GAP && across <= CLEAR * along
    })
}
