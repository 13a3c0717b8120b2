//! The world: generator, grammar, splits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, HashSet};

use denoscope::world::{
    Background, Category, Colour, Content, Expectations, Finish, Generator, Light, Mismatch, Mix,
    MixError, Object, SIZE_LIMIT, Sample, Scene, Shape, Size, Split, parse, splits, vocabulary,
};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

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

// --- generator ---

#[test]
fn every_caption_parses_back_and_holds_in_its_own_scene() {
    for &split in Split::ALL {
        for sample in draw(split, if split == Split::Train { TRAINING_SAMPLES } else { 3_000 }) {
            let said = parse(&sample.caption).unwrap_or_else(|e| panic!("{}: {e}", sample.caption));
            let wrong = said.mismatches(&sample.scene);
            assert!(wrong.is_empty(), "{split:?} {}: {wrong:?}", sample.caption);
        }
    }
}

#[test]
fn a_caption_rarely_holds_in_another_scene() {
    let samples = draw(Split::Train, 4_000);
    let holds = samples
        .windows(2)
        .filter(|pair| parse(&pair[0].caption).unwrap().holds_in(&pair[1].scene))
        .count();
    assert!(holds < samples.len() / 10, "{holds} of {} hold elsewhere", samples.len());
}

#[test]
fn captions_state_what_their_category_promises() {
    for sample in draw(Split::Train, 6_000) {
        let said = parse(&sample.caption).unwrap();
        let caption = &sample.caption;
        match sample.category {
            Category::OneObject => assert_eq!(said.objects.len(), 1, "{caption}"),
            Category::TwoObjects => {
                assert_eq!((said.objects.len(), said.relations.len()), (2, 0), "{caption}");
            }
            Category::Relation => {
                assert_eq!((said.objects.len(), said.relations.len()), (2, 1), "{caption}");
            }
            Category::Count => {
                assert!(said.objects[0].counted, "{caption}");
                let count = usize::from(said.objects[0].count);
                assert_eq!(count, sample.scene.objects().len(), "{caption}");
            }
            Category::Word => assert!(said.word.is_some(), "{caption}"),
            Category::Hand => assert!(said.fingers.is_some(), "{caption}"),
        }
    }
}

#[test]
fn captions_are_short_lower_case_and_within_the_token_budget() {
    let samples = draw(Split::Train, TRAINING_SAMPLES);
    let mut lengths: Vec<usize> =
        samples.iter().map(|s| s.caption.split_whitespace().count()).collect();
    lengths.sort_unstable();
    assert!(*lengths.last().unwrap() <= 26);
    assert!(lengths[lengths.len() / 2] <= 8, "the median caption is short");
    for sample in &samples {
        assert!(!sample.caption.contains("  ") && sample.caption.trim() == sample.caption);
        for word in sample.caption.split(' ') {
            let known = vocabulary().binary_search(&word).is_ok();
            assert!(known || sample.category == Category::Word, "{word} in {}", sample.caption);
        }
    }
}

#[test]
fn attributes_are_mentioned_about_as_often_as_intended() {
    let samples = draw(Split::Train, TRAINING_SAMPLES);
    let said: Vec<Expectations> = samples.iter().map(|s| parse(&s.caption).unwrap()).collect();
    let rate = |holds: &dyn Fn(&Expectations) -> bool, among: &dyn Fn(&Expectations) -> bool| {
        let among: Vec<_> = said.iter().filter(|e| among(e)).collect();
        among.iter().filter(|e| holds(e)).count() as f64 / among.len() as f64
    };
    let all = |_: &Expectations| true;
    let with_objects = |e: &Expectations| !e.objects.is_empty();
    let colour = rate(&|e| e.objects.iter().all(|o| o.colour.is_some()), &with_objects);
    assert!((0.90..0.99).contains(&colour), "colour {colour}");
    for (what, rate) in [
        ("size", rate(&|e| e.objects.iter().any(|o| o.size.is_some()), &with_objects)),
        ("finish", rate(&|e| e.objects.iter().any(|o| o.finish.is_some()), &with_objects)),
        ("background", rate(&|e| e.background.is_some(), &all)),
        ("light", rate(&|e| e.light.is_some(), &with_objects)),
    ] {
        assert!((0.20..0.32).contains(&rate), "{what}: {rate}");
    }
}

#[test]
fn what_is_not_mentioned_varies() {
    let mut seen = HashSet::new();
    for sample in draw(Split::Train, TRAINING_SAMPLES) {
        if let [object] = sample.scene.objects()
            && sample.caption.ends_with("red ball")
            && parse(&sample.caption).unwrap().objects[0].words.len() == 2
        {
            seen.insert((object.size, sample.scene.light, sample.scene.background));
        }
    }
    let all = Size::ALL.len() * Light::ALL.len() * Background::ALL.len();
    assert!(seen.len() > all * 3 / 4, "{} of {all} combinations", seen.len());
}

#[test]
fn samples_are_a_pure_function_of_seed_mix_split_and_index() {
    for &split in Split::ALL {
        let generator = Generator::new(5, Mix::training(), split);
        let forward: Vec<Sample> = (0..64).map(|i| generator.sample(i)).collect();
        let again = Generator::new(5, Mix::training(), split);
        let backward: Vec<Sample> = (0..64).rev().map(|i| again.sample(i)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        let other = Generator::new(6, Mix::training(), split);
        let same = (0..64).filter(|&i| other.sample(i).scene == forward[i as usize].scene).count();
        assert_eq!(same, 0, "another seed gives other scenes");
    }
}

/// A model is trained on version 1: whoever changes what version 1 draws has to raise the
/// version (and the digest below).
#[test]
fn version_one_still_draws_the_samples_it_always_drew() {
    let mut digest = Sha256::new();
    for sample in draw(Split::Train, 512) {
        digest.update(serde_json::to_string(&sample).unwrap());
    }
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(denoscope::world::VERSION, 1);
    assert_eq!(hex, "85be7f2a16882a7a430bdffd0f3d2ab202c65eae6adc80615d0f5d800e39f713");
}

#[test]
fn categories_come_in_the_proportions_of_the_mix() {
    let mut counts: BTreeMap<Category, f64> = BTreeMap::new();
    for sample in draw(Split::Train, TRAINING_SAMPLES) {
        *counts.entry(sample.category).or_default() += 1.0;
    }
    for &category in Category::ALL {
        let share = counts[&category] / TRAINING_SAMPLES as f64;
        assert!((share - Mix::training().weight(category)).abs() < 0.015, "{category:?} {share}");
    }
    let words = Generator::new(0, Mix::only(Category::Word), Split::Train);
    assert!((0..50).all(|i| words.sample(i).category == Category::Word));
}

#[test]
fn mixes_are_checked_and_read_from_text() {
    let mix: Mix = serde_json::from_str(r#"{"one-object": 2, "word": 1.5}"#).unwrap();
    assert_eq!(mix.weight(Category::OneObject), 2.0);
    assert_eq!(mix.weight(Category::Hand), 0.0);
    let text = serde_json::to_string(&Mix::training()).unwrap();
    assert_eq!(serde_json::from_str::<Mix>(&text).unwrap(), Mix::training());
    assert_eq!(Mix::from_weights([(Category::Word, 0.0)]), Err(MixError::Empty));
    assert!(matches!(
        Mix::from_weights([(Category::Word, -1.0)]),
        Err(MixError::Weight { category: Category::Word, .. })
    ));
    assert!(serde_json::from_str::<Mix>(r#"{"word": -1}"#).is_err());
    assert!(serde_json::from_str::<Mix>(r#"{"wrod": 1}"#).is_err());
}

#[test]
fn objects_lie_inside_the_frame_and_apart_and_their_size_fits_their_radius() {
    for sample in draw(Split::Train, TRAINING_SAMPLES) {
        let objects = sample.scene.objects();
        for (i, a) in objects.iter().enumerate() {
            assert!(a.x - a.radius > 0.0 && a.x + a.radius < 1.0, "{a:?}");
            assert!(a.y - a.radius > 0.0 && a.y + a.radius < 1.0, "{a:?}");
            let (least, greatest) = a.size.radii();
            assert!((least..=greatest).contains(&a.radius), "{a:?}");
            assert_eq!(a.size == Size::Small, a.radius < SIZE_LIMIT);
            for b in &objects[i + 1..] {
                assert!((a.x - b.x).hypot(a.y - b.y) > a.radius + b.radius, "{a:?} {b:?}");
            }
        }
    }
}

#[test]
fn stated_relations_are_clear() {
    let generator = Generator::new(3, Mix::only(Category::Relation), Split::Train);
    for i in 0..4_000 {
        let sample = generator.sample(i);
        let [a, b] = sample.scene.objects() else { panic!("{sample:?}") };
        let (dx, dy) = ((a.x - b.x).abs(), (a.y - b.y).abs());
        assert!(dx.min(dy) < 0.5 * dx.max(dy), "{}: {dx} {dy}", sample.caption);
        assert!(a.colour != b.colour || a.shape != b.shape);
    }
}

// --- splits ---

/// The manifest, read without the library.
fn manifest() -> toml::Table {
    include_str!("../fixtures/world/splits.toml").parse().unwrap()
}

fn entries(list: &str) -> Vec<String> {
    let manifest = manifest();
    let list = manifest[list].as_array().unwrap();
    list.iter().map(|entry| entry.as_str().unwrap().to_owned()).collect()
}

/// Which entries of the manifest a scene shows, found with strings only; role swaps as the
/// manifest writes them, that is, unswapped.
fn shown(scene: &Scene) -> BTreeSet<(&'static str, String)> {
    let mut shown = BTreeSet::new();
    let objects = scene.objects();
    for a in objects {
        shown.insert(("pairs", format!("{} {}", a.colour, a.shape)));
        for b in objects {
            let (dx, dy) = (b.x - a.x, b.y - a.y);
            let relation = if dx > dy.abs() {
                "left of"
            } else if dy > dx.abs() {
                "above"
            } else {
                continue;
            };
            shown.insert(("triples", format!("{} {relation} {}", a.shape, b.shape)));
            let swapped = format!("{} {} {relation} {} {}", b.colour, b.shape, a.colour, a.shape);
            shown.insert(("role_swaps", swapped));
        }
    }
    const NUMBERS: [&str; 7] = ["zero", "one", "two", "three", "four", "five", "six"];
    if objects.len() > 2 {
        let entry = format!("{} {}", NUMBERS[objects.len()], objects[0].shape.plural());
        shown.insert(("counts", entry));
    }
    if let Content::Word(written) = &scene.content {
        shown.insert(("words", written.text.clone()));
    }
    shown
}

const LISTS: [(&str, Split); 5] = [
    ("pairs", Split::HeldOutPairs),
    ("triples", Split::HeldOutTriples),
    ("role_swaps", Split::RoleSwaps),
    ("counts", Split::HeldOutCounts),
    ("words", Split::HeldOutWords),
];

#[test]
fn training_never_shows_a_held_out_cell() {
    let held_out: HashSet<(&str, String)> = LISTS
        .iter()
        .flat_map(|&(list, _)| entries(list).into_iter().map(move |entry| (list, entry)))
        .collect();
    for category in Category::ALL {
        let generator = Generator::new(1, Mix::only(*category), Split::Train);
        (0..8_000u64).into_par_iter().for_each(|i| {
            let sample = generator.sample(i);
            for cell in shown(&sample.scene) {
                assert!(!held_out.contains(&cell), "{cell:?} in {}", sample.caption);
            }
        });
    }
}

#[test]
fn evaluation_splits_show_every_cell_of_their_own_kind_and_no_other() {
    for (list, split) in LISTS {
        let mut missing: HashSet<String> = entries(list).into_iter().collect();
        for sample in draw(split, 3_000) {
            let cells = shown(&sample.scene);
            for (other, _) in LISTS {
                let found =
                    entries(other).into_iter().filter(|e| cells.contains(&(other, e.clone())));
                let found: Vec<String> = found.collect();
                assert_eq!(!found.is_empty(), other == list, "{split:?}: {found:?}");
                if other == list {
                    found.iter().for_each(|entry| {
                        missing.remove(entry);
                    });
                }
            }
        }
        assert!(missing.is_empty(), "{split:?} never shows {missing:?}");
    }
}

#[test]
fn each_part_of_a_held_out_cell_is_seen_in_training() {
    let generator = Generator::new(2, Mix::only(Category::Relation), Split::Train);
    let told: HashSet<String> = (0..120_000u64)
        .into_par_iter()
        .flat_map_iter(|i| shown(&generator.sample(i).scene))
        .filter(|(list, _)| *list == "role_swaps")
        .map(|(_, swapped)| swapped)
        .collect();
    for entry in entries("role_swaps") {
        let said = parse(&entry).unwrap();
        let [a, b] = &said.objects[..] else { panic!("{entry}") };
        // `shown` tells arrangements swapped, so the entry as written is told like this.
        let written = format!("{b} {} {a}", said.relations[0].relation);
        assert!(told.contains(&written), "\"{entry}\" is not seen as written");
    }
}

#[test]
fn common_prompts_stay_in_training() {
    let allowed = |s: &Scene| splits::cells().allow(Split::Train, s);
    let left = object(Colour::Red, Shape::Ball, 0.25, 0.5);
    let right = object(Colour::Blue, Shape::Cube, 0.75, 0.5);
    assert!(allowed(&scene(vec![left.clone(), right.clone()])));
    let swapped = vec![Object { x: 0.75, ..left }, Object { x: 0.25, ..right }];
    assert!(!allowed(&scene(swapped)));
    let held_out = entries("words");
    for &colour in Colour::ALL {
        assert!(!held_out.contains(&colour.name().to_uppercase()));
        let seen =
            Shape::ALL.iter().filter(|&&s| allowed(&scene(vec![object(colour, s, 0.5, 0.5)])));
        assert!(seen.count() >= 3, "{colour} is seen with most shapes");
    }
}

#[test]
fn the_split_manifest_has_the_digest_that_model_cards_name() {
    assert_eq!(splits::hash(), "be6a239ec8fbdd638477f41fde0f38837273e9871f001a7b0543ce44734c08ea");
}

// --- truth ---

#[test]
fn each_broken_expectation_is_reported_with_what_is_there() {
    let scene = scene(vec![
        object(Colour::Red, Shape::Ball, 0.25, 0.5),
        object(Colour::Blue, Shape::Cube, 0.75, 0.5),
    ]);
    let wrong = |caption: &str| parse(caption).unwrap().mismatches(&scene);
    assert!(wrong("a small plain red ball and a blue cube on a gray background").is_empty());
    assert!(matches!(wrong("a green ball")[..], [Mismatch::Objects { found: 0, .. }]));
    assert!(matches!(wrong("a large red ball")[..], [Mismatch::Objects { .. }]));
    assert!(matches!(wrong("two red balls")[..], [Mismatch::Objects { found: 1, .. }]));
    assert_eq!(wrong("a red ball and a red ball").len(), 2, "two of them are asked for");
    assert!(matches!(wrong("red ball above blue cube")[..], [Mismatch::Relation { .. }]));
    assert!(matches!(
        wrong("red ball on a black background")[..],
        [Mismatch::Background { expected: Background::Black, found: Background::Gray }]
    ));
    assert!(matches!(wrong("red ball lit from the left")[..], [Mismatch::Light { .. }]));
    assert!(matches!(wrong("the word CAT")[..], [Mismatch::Word { .. }]));
    assert!(matches!(wrong("a hand with two fingers")[..], [Mismatch::Fingers { .. }]));
}
