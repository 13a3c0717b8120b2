//! The world's grammar: captions, their meaning, and what is wrong with them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashSet;

use denoscope::world::{
    Background, Colour, Content, Expectations, Finish, Generator, Light, Mix, Object, ParseError,
    Relation, Role, Sample, Scene, Shape, Size, Split, parse, vocabulary,
};
use rayon::prelude::*;

const TRAINING_SAMPLES: u64 = 24_000;

fn draw(split: Split, count: u64) -> Vec<Sample> {
    let generator = Generator::new(11, Mix::training(), split);
    (0..count).into_par_iter().map(|i| generator.sample(i)).collect()
}

fn object(colour: Colour, shape: Shape, x: f32, y: f32) -> Object {
    let radius = 0.13;
    Object { shape, colour, size: Size::of_radius(radius), finish: Finish::Plain, x, y, radius }
}

fn scene(objects: Vec<Object>) -> Scene {
    Scene { background: Background::Gray, light: Light::Above, content: Content::Objects(objects) }
}

/// Expectations without the positions of words.
fn meaning(caption: &str) -> Expectations {
    let mut said = parse(caption).unwrap_or_else(|e| panic!("{caption}: {e}"));
    said.objects.iter_mut().for_each(|o| o.words.clear());
    said.relations.iter_mut().for_each(|r| r.words.clear());
    said.background.iter_mut().for_each(|b| b.words.clear());
    said.light.iter_mut().for_each(|l| l.words.clear());
    said.word.iter_mut().for_each(|w| w.words.clear());
    said.fingers.iter_mut().for_each(|f| f.words.clear());
    said
}

#[test]
fn captions_that_mean_the_same_parse_alike() {
    let groups: &[&[&str]] = &[
        &[
            "red ball left of blue cube",
            "a red ball to the left of a blue cube",
            "A Red Ball, on the left of the blue cube.",
            "a photo of a red ball to the left of a blue cube",
            "the red ball is left of the blue cube",
            "there is a red ball left of a blue cube",
        ],
        &["a green ring above a cone", "green ring on top of cone", "green ring over the cone"],
        &["a cube below a ring", "cube under ring", "a cube is beneath a ring"],
        &[
            "three green cones",
            "3 green cones",
            "there are three green cones",
            "exactly 3 green cones",
        ],
        &["a large striped red ball", "big red striped ball", "red striped large ball"],
        &["a ball on a gray background", "ball against grey background", "ball, gray background"],
        &["a ball lit from the left", "ball with light from the left", "a ball is lit from left"],
        &[
            "a ball on a black background lit from above",
            "a ball lit from above on a black background",
        ],
        &[
            "the word CAT in red letters",
            "the word \"cat\" written in red",
            "red letters spelling CAT",
            "a sign that says CAT in red letters",
            "the red word CAT",
            "red text saying CAT",
            "the text CAT in red",
        ],
        &[
            "a hand with four fingers",
            "hand holding up 4 fingers",
            "a hand with four raised fingers",
        ],
        &["a hand with no fingers", "hand showing zero fingers raised"],
        &["red ball and blue cube", "a picture of a red ball and a blue cube"],
    ];
    let mut meanings: Vec<Expectations> = Vec::new();
    for group in groups {
        let first = meaning(group[0]);
        for caption in *group {
            assert_eq!(meaning(caption), first, "{caption}");
        }
        assert!(!meanings.contains(&first), "{} means the same as another group", group[0]);
        meanings.push(first);
    }
}

#[test]
fn a_role_swap_means_something_else() {
    let (one, other) = ("red ball left of blue cube", "blue cube left of red ball");
    let show = |red_x: f32| {
        scene(vec![
            object(Colour::Red, Shape::Ball, red_x, 0.5),
            object(Colour::Blue, Shape::Cube, 1.0 - red_x, 0.5),
        ])
    };
    let holds = |caption: &str, red_x: f32| parse(caption).unwrap().holds_in(&show(red_x));
    assert!(holds(one, 0.25) && !holds(one, 0.75));
    assert!(holds(other, 0.75) && !holds(other, 0.25));
    assert!(holds("blue cube right of red ball", 0.25));
}

#[test]
fn at_most_one_relation_holds_and_its_inverse_from_the_other_side() {
    for step in 0..360 {
        let angle = (step as f32).to_radians();
        let (a, b) = ((0.5 + 0.3 * angle.cos(), 0.5 + 0.3 * angle.sin()), (0.5, 0.5));
        let holding: Vec<_> = Relation::ALL.iter().filter(|r| r.holds(a, b)).collect();
        assert!(holding.len() <= 1);
        for relation in Relation::ALL {
            assert_eq!(relation.holds(a, b), relation.inverse().holds(b, a));
        }
    }
}

#[test]
fn words_point_at_their_places_in_the_caption() {
    let caption = "A photo of three SMALL, red balls to the left of a dotted cube.";
    let said = parse(caption).unwrap();
    let words = |words: &[denoscope::world::Word]| -> Vec<(usize, String, Role)> {
        words.iter().map(|w| (w.index, caption[w.range.clone()].to_owned(), w.role)).collect()
    };
    assert_eq!(
        words(&said.objects[0].words),
        [
            (3, "three".into(), Role::Count),
            (4, "SMALL".into(), Role::Size),
            (5, "red".into(), Role::Colour),
            (6, "balls".into(), Role::Noun)
        ]
    );
    assert_eq!(
        words(&said.objects[1].words),
        [(12, "dotted".into(), Role::Finish), (13, "cube".into(), Role::Noun)]
    );
    let relation: Vec<String> = words(&said.relations[0].words).into_iter().map(|w| w.1).collect();
    assert_eq!(relation, ["to", "the", "left", "of"]);
}

#[test]
fn unknown_words_are_all_listed_with_their_nearest() {
    let Err(ParseError::UnknownWords(unknown)) = parse("a red bal left of a bleu dog 🙂") else {
        panic!("these words are unknown");
    };
    let words: Vec<_> = unknown.iter().map(|u| (u.word.as_str(), u.index)).collect();
    assert_eq!(words, [("bal", 2), ("bleu", 6), ("dog", 7), ("🙂", 8)]);
    assert!(unknown[0].nearest.contains(&"ball"), "{:?}", unknown[0].nearest);
    assert!(unknown[1].nearest.contains(&"blue"), "{:?}", unknown[1].nearest);
    let message = parse("red bal").unwrap_err().to_string();
    assert!(message.contains("bal") && message.contains("ball"), "{message}");
}

#[test]
fn captions_outside_the_grammar_get_the_error_that_helps() {
    assert_eq!(parse(""), Err(ParseError::Empty));
    assert_eq!(parse(" , . "), Err(ParseError::Empty));
    assert_eq!(parse(&"red ".repeat(10_000)), Err(ParseError::TooLong { words: 10_000 }));
    assert!(matches!(parse("red balls"), Err(ParseError::PluralWithoutNumber { .. })));
    assert!(matches!(parse("a red"), Err(ParseError::Incomplete { .. })));
    assert!(matches!(parse("a red ball left of"), Err(ParseError::Incomplete { .. })));
    assert!(matches!(parse("the word"), Err(ParseError::Incomplete { .. })));
    for (caption, at, hint) in [
        ("a ball on a white background", 4, "background colour"),
        ("a red blue ball", 2, "an object"),
        ("a hand with six fingers", 3, "0 to 5"),
        ("a ball lit from below", 4, "above"),
        ("a ball the cube", 2, "the end"),
        ("a ball lit from the left lit from the right", 6, "the end"),
    ] {
        match parse(caption) {
            Err(ParseError::Unexpected { index, wanted, .. }) => {
                assert_eq!(index, at, "{caption}");
                assert!(wanted.contains(hint), "{caption}: {wanted}");
            }
            other => panic!("{caption}: {other:?}"),
        }
    }
    for text in ["ELEPHANTS", "C4T", "É"] {
        let said = parse(&format!("the word {text}"));
        assert!(matches!(said, Err(ParseError::NotWritable { .. })), "{text}: {said:?}");
    }
}

/// Any order of vocabulary words gives a result, never a panic.
#[test]
fn the_parser_survives_any_order_of_words() {
    use rand::{Rng, SeedableRng, seq::IndexedRandom};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..50_000 {
        let length = rng.random_range(1..9);
        let words: Vec<&str> =
            (0..length).map(|_| *vocabulary().choose(&mut rng).unwrap()).collect();
        match parse(&words.join(" ")) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 0 && refused > read, "{read} read, {refused} refused");
}

#[test]
fn the_vocabulary_is_sorted_and_all_of_it_is_used_in_training() {
    assert!(vocabulary().windows(2).all(|pair| pair[0] < pair[1]));
    let samples = draw(Split::Train, TRAINING_SAMPLES);
    let used: HashSet<&str> = samples.iter().flat_map(|s| s.caption.split(' ')).collect();
    let unused: Vec<_> = vocabulary().iter().filter(|w| !used.contains(**w)).collect();
    assert!(unused.is_empty(), "never in a caption: {unused:?}");
}
