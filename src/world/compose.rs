//! A scene that a caption describes: what the caption says is fixed, the rest is drawn.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::expectation::{Expectations, ObjectPhrase};
use super::generate::{any, draw_hand, free_object, lay_word};
use super::layout;
use super::scene::{Background, Content, Hand, Light, Object, Scene, Size};

/// Scenes drawn before a caption is given up.
const TRIES: usize = 400;
/// From this number of objects on, those of no stated size are small.
const MANY: usize = 3;
/// From this number on, small objects are at the lower end.
const CROWD: usize = 5;
const CROWD_RADIUS: f32 = 0.125;

/// A caption that no scene was found for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no scene was found that this caption describes: its objects need more room than the image \
     has, or its parts contradict each other; name fewer objects, or small ones"
)]
pub struct ComposeError;

/// Draws a scene in which the expectations hold; equal seeds give equal scenes. What the
/// caption does not mention is drawn as the generator draws it.
///
/// # Errors
/// [`ComposeError`] where objects find no room or the caption contradicts itself.
pub fn compose(expectations: &Expectations, seed: u64) -> Result<Scene, ComposeError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..TRIES)
        .filter_map(|_| draw(&mut rng, expectations))
        .find(|scene| expectations.holds_in(scene))
        .ok_or(ComposeError)
}

fn draw(rng: &mut ChaCha8Rng, said: &Expectations) -> Option<Scene> {
    let background = match &said.background {
        Some(phrase) => phrase.background,
        None => any(rng, Background::ALL)?,
    };
    let light = match &said.light {
        Some(phrase) => phrase.light,
        None => any(rng, Light::ALL)?,
    };
    let content = if let Some(phrase) = &said.word {
        Content::Word(lay_word(rng, phrase.text.clone(), phrase.colour)?)
    } else if let Some(phrase) = &said.fingers {
        Content::Hand(Hand { fingers: phrase.count, ..draw_hand(rng) })
    } else {
        Content::Objects(objects(rng, said)?)
    };
    Some(Scene { background, light, content })
}

fn objects(rng: &mut ChaCha8Rng, said: &Expectations) -> Option<Vec<Object>> {
    let total = said.objects.iter().map(|phrase| usize::from(phrase.count)).sum();
    let mut objects = Vec::new();
    for phrase in &said.objects {
        let object = object(rng, phrase, total)?;
        objects.extend(vec![object; usize::from(phrase.count)]);
    }
    let placed = match (&mut objects[..], &said.relations[..]) {
        ([a, b], [relation]) => layout::relate(rng, a, relation.relation, b),
        (all, _) => layout::scatter(rng, all),
    };
    placed.then_some(objects)
}

/// One object as a phrase has it, of a size that leaves room for the others.
fn object(rng: &mut ChaCha8Rng, phrase: &ObjectPhrase, total: usize) -> Option<Object> {
    let free = free_object(rng)?;
    let mut object = Object {
        shape: phrase.shape,
        colour: phrase.colour.unwrap_or(free.colour),
        finish: phrase.finish.unwrap_or(free.finish),
        ..free
    };
    let room_for_large = total < MANY;
    let size = phrase.size.unwrap_or(if room_for_large { object.size } else { Size::Small });
    if size != object.size || !room_for_large {
        let (least, greatest) = size.radii();
        let crowded = size == Size::Small && total >= CROWD;
        let greatest = if crowded { CROWD_RADIUS } else { greatest };
        object.radius = rng.random_range(least..=greatest);
        object.size = size;
    }
    Some(object)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn composed_scenes_meet_every_kind_of_caption() {
        for caption in [
            "ball",
            "a large striped green cone on a beige background lit from the left",
            "red ball left of blue cube",
            "a large ring below a large white ring",
            "six dotted yellow rings",
            "two red balls and three blue cubes",
            "ball above cube left of cone",
            "the word CAT in red letters",
            "a hand with no fingers",
        ] {
            let expectations = parse(caption).unwrap();
            for seed in 0..20 {
                let scene = compose(&expectations, seed).unwrap();
                let missed = expectations.mismatches(&scene);
                assert!(missed.is_empty(), "{caption}, seed {seed}: {missed:?}");
                assert_eq!(scene, compose(&expectations, seed).unwrap(), "{caption}");
            }
            assert_ne!(compose(&expectations, 0), compose(&expectations, 1), "{caption}");
        }
    }

    #[test]
    fn captions_that_contradict_themselves_are_refused() {
        for caption in ["two red balls and three red balls", "six large balls and six large cubes"]
        {
            assert_eq!(compose(&parse(caption).unwrap(), 0), Err(ComposeError), "{caption}");
        }
    }
}
