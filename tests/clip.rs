//! The embedding space: what was planted is found, and nothing where nothing is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use denoscope::probe::clip::captions::Captions;
use denoscope::probe::clip::layers::{self, Place, Wanted};
use denoscope::probe::clip::pairs::Pairs;
use denoscope::probe::clip::path;
use denoscope::probe::clip::report::Found;
use denoscope::probe::clip::{
    Embedded, RANDOM_HALVES, SHUFFLED_CAPTIONS, SHUFFLED_LABELS, Whose, similarity, structure,
};
use denoscope::table::{ClipPathRow, ClipRow};
use denoscope::world::{Exchange, Generator, Mix, Sample, Split};
use ndarray::{Array1, Array2};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CHANNELS: usize = 96;
const SEED: u64 = 11;
const WHOSE: Whose<'_> = Whose { run: "run", control: None };

/// A vector that belongs to a text, as good as random.
fn vector(text: &str, salt: u64) -> Array1<f32> {
    let mut seed = salt;
    for byte in text.bytes() {
        seed = seed.wrapping_mul(1_099_511_628_211).wrapping_add(u64::from(byte) + 1);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    Array1::from_shape_fn(CHANNELS, |_| random.random::<f32>() - 0.5)
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').filter(|word| !["a", "an", "of", "to", "the"].contains(word)).collect()
}

/// An encoder that only counts words.
fn bag(text: &str) -> Array1<f32> {
    words(text).into_iter().fold(Array1::zeros(CHANNELS), |sum, word| sum + vector(word, 1))
}

/// One with a vector for each word in each place.
fn placed(text: &str) -> Array1<f32> {
    let places = words(text).into_iter().enumerate();
    places.fold(Array1::zeros(CHANNELS), |sum, (place, word)| sum + vector(word, 2 + place as u64))
}

/// One that knows nothing of words.
fn opaque(text: &str) -> Array1<f32> {
    vector(text, 3)
}

fn embedded(texts: &[String], encoder: fn(&str) -> Array1<f32>) -> Embedded {
    Embedded::new(texts, rows(texts, encoder).view()).unwrap()
}

fn rows(texts: &[String], encoder: impl Fn(&str) -> Array1<f32>) -> Array2<f32> {
    let flat: Vec<f32> = texts.iter().flat_map(|text| encoder(text).to_vec()).collect();
    Array2::from_shape_vec((texts.len(), CHANNELS), flat).unwrap()
}

fn row<'a>(
    rows: &'a [ClipRow],
    measure: &str,
    subject: &str,
    control: Option<&str>,
) -> &'a ClipRow {
    let wanted = |row: &&ClipRow| {
        row.measure == measure && row.subject == subject && row.control.as_deref() == control
    };
    rows.iter().find(wanted).unwrap_or_else(|| panic!("no {measure} of {subject} ({control:?})"))
}

#[test]
fn analogies_are_solved_where_words_add_up_and_nowhere_else() {
    let captions = Captions::new(10, SEED);
    let texts = captions.texts();
    let (scores, all) =
        similarity::analogies(&embedded(&texts, bag), &captions.singles, WHOSE).unwrap();
    for kind in ["colour", "shape"] {
        let found = row(&scores, "accuracy", kind, None);
        assert!(found.low.unwrap() > 0.9, "{found:?}");
        assert_eq!((found.chance, found.units), (Some(1.0 / 31.0), 32));
    }
    // 32 captions, each to 7 other colours and 3 other shapes.
    assert_eq!(all.len(), 32 * 10);
    let one = all.iter().find(|a| a.caption == "a red ball" && a.plus == "blue").unwrap();
    assert_eq!((one.minus.as_str(), one.nearest.as_str()), ("red", "a blue ball"));

    let (scores, _) =
        similarity::analogies(&embedded(&texts, opaque), &captions.singles, WHOSE).unwrap();
    for kind in ["colour", "shape"] {
        let found = row(&scores, "accuracy", kind, None);
        assert!(found.value < 0.12, "chance is 0.03: {found:?}");
    }
    let singles: Vec<String> = captions.singles.iter().map(|single| single.caption()).collect();
    let other = embedded(&texts, bag).shuffled(&singles, SEED);
    let whose = WHOSE.as_control(SHUFFLED_CAPTIONS);
    let (scores, _) = similarity::analogies(&other, &captions.singles, whose).unwrap();
    assert!(row(&scores, "accuracy", "colour", Some(SHUFFLED_CAPTIONS)).value < 0.2);
}

#[test]
fn captions_that_share_a_word_are_alike() {
    let captions = Captions::new(10, SEED);
    let (scores, all) =
        similarity::similarities(&embedded(&captions.texts(), bag), &captions.singles, WHOSE)
            .unwrap();
    let of = |subject: &str| row(&scores, "cosine", subject, None).value;
    // Two random vectors of one length: sharing one of two gives half.
    assert!((of("same colour") - 0.5).abs() < 0.12 && (of("same shape") - 0.5).abs() < 0.12);
    assert!(of("nothing in common").abs() < 0.12);
    let own = all.iter().filter(|row| row.caption == row.other);
    assert!(own.map(|row| row.cosine).all(|cosine| (cosine - 1.0).abs() < 1e-9));
}

#[test]
fn sums_of_parts_explain_what_is_a_sum() {
    let captions = Captions::new(400, SEED);
    let texts = captions.texts();
    let r2 = |encoder: fn(&str) -> Array1<f32>| {
        structure::additivity(&embedded(&texts, encoder), &captions, (WHOSE, SEED)).unwrap()
    };
    let (of_bag, of_placed, of_opaque) = (r2(bag), r2(placed), r2(opaque));
    let value = |rows: &[ClipRow], subject: &str| row(rows, "r2", subject, None).value;
    assert!(value(&of_bag, structure::COLOUR_AND_SHAPE) > 0.9);
    assert!(value(&of_opaque, structure::COLOUR_AND_SHAPE) < 0.05);
    // Without places, the words explain a bag of words and only a part of the placed ones.
    assert!(value(&of_bag, structure::WORDS) > 0.9);
    assert!(value(&of_placed, structure::WORDS) < 0.75);
    assert!(value(&of_placed, structure::WORDS_IN_PLACES) > 0.9);
    assert!(value(&of_opaque, structure::WORDS_IN_PLACES) < 0.05);
    for subject in [structure::COLOUR_AND_SHAPE, structure::WORDS, structure::WORDS_IN_PLACES] {
        let control = row(&of_bag, "r2", subject, Some(SHUFFLED_CAPTIONS));
        assert!(control.value < 0.05, "{control:?}");
    }
    let sum = row(&of_bag, "cosine", "sum of its words", None);
    assert!(sum.value > 0.95, "{sum:?}");
    let control = row(&of_bag, "cosine", "sum of its words", Some(SHUFFLED_CAPTIONS));
    assert!(control.value.abs() < 0.3, "{control:?}");
}

#[test]
fn order_counts_only_for_an_encoder_that_knows_places() {
    let captions = Captions::new(200, SEED);
    let texts = captions.texts();
    let of = |encoder: fn(&str) -> Array1<f32>| {
        structure::order(&embedded(&texts, encoder), &captions.related, WHOSE).unwrap().0
    };
    let of_bag = of(bag);
    for change in ["roles", "colours"] {
        assert!(row(&of_bag, "distance", change, None).value < 1e-6);
    }
    // "left" became "right": the only word that the bag has lost.
    assert!(row(&of_bag, "distance", "inverse", None).value > 0.05);
    assert_eq!(row(&of_bag, "share", "roles further than inverse", None).value, 0.0);

    // An encoder of meaning: who is placed by whom, told from either side.
    let meaning = |text: &str| {
        let said = denoscope::world::parse(text).unwrap();
        let Some(relation) = said.relations.first() else { return vector(text, 5) };
        let name = |i: usize| said.objects[i].to_string();
        let told =
            format!("{} {} {}", name(relation.subject), relation.relation, name(relation.object));
        let inverse = relation.relation.inverse();
        let back = format!("{} {inverse} {}", name(relation.object), name(relation.subject));
        vector(told.as_str().min(back.as_str()), 5)
    };
    let related: Vec<String> = texts.iter().filter(|text| words(text).len() > 2).cloned().collect();
    let meant = Embedded::new(&related, rows(&related, meaning).view()).unwrap();
    let scores = structure::order(&meant, &captions.related, WHOSE).unwrap().0;
    assert!(row(&scores, "distance", "inverse", None).value < 1e-6);
    for change in ["roles", "colours"] {
        let subject = format!("{change} further than inverse");
        let share = row(&scores, "share", &subject, None);
        assert!(share.low.unwrap() > 0.95 && share.chance == Some(0.5), "{share:?}");
    }
}

/// States in which a noun knows its own adjective, and the end token the relation.
fn state(wanted: &Wanted, random: &mut ChaCha8Rng) -> Array1<f32> {
    let words = words(&wanted.text);
    let noise = Array1::from_shape_fn(CHANNELS, |_| (random.random::<f32>() - 0.5) * 0.5);
    let planted = match (wanted.place, words.as_slice()) {
        (Place::Noun(0), [noun]) => vector(noun, 1),
        (Place::Noun(0), [colour, noun, ..]) => vector(noun, 1) + vector(colour, 1),
        (Place::Noun(_), [.., colour, noun]) => vector(noun, 1) + vector(colour, 1),
        (Place::End, [_, _, relation, ..]) => vector(relation, 1),
        _ => vector("end", 1),
    };
    planted + noise
}

#[test]
fn readouts_find_what_a_layer_knows_and_no_more() {
    let captions = Captions::new(400, SEED);
    let wanted = layers::wanted(&captions);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let flat: Vec<f32> = wanted.iter().flat_map(|one| state(one, &mut random).to_vec()).collect();
    let states = Array2::from_shape_vec((wanted.len(), CHANNELS), flat).unwrap();
    let found =
        layers::rows(&captions, ("text.layer.0.out", states.view()), (WHOSE, SEED)).unwrap();
    let accuracy = |subject: &str, control| row(&found, "accuracy", subject, control);
    assert!(accuracy(layers::OWN_COLOUR, None).low.unwrap() > 0.95);
    assert!(accuracy(layers::RELATION, None).low.unwrap() > 0.95);
    // Both objects have other colours, so that knowing one leaves seven for the other.
    for subject in [layers::OTHER_COLOUR, layers::LATER_COLOUR, layers::FIRST_COLOUR] {
        let found = accuracy(subject, None);
        assert!(found.value < 0.24, "chance is 1/7 at most: {found:?}");
    }
    for subject in [layers::OWN_COLOUR, layers::OTHER_COLOUR] {
        let control = accuracy(subject, Some(SHUFFLED_LABELS));
        assert!((control.value - 0.125).abs() < 0.06, "{control:?}");
    }
    assert!((accuracy(layers::RELATION, Some(SHUFFLED_LABELS)).value - 0.25).abs() < 0.09);
    let cosine = row(&found, "cosine", "noun with and without colour", None);
    assert!((cosine.value - 0.5_f64.sqrt()).abs() < 0.2, "half of it is the colour: {cosine:?}");
    assert!(row(&found, "r2", "noun: colour + shape", None).value > 0.5);
    assert!(row(&found, "r2", "end token: colour + shape", None).value < 0.1);
    assert_eq!(found[0].site.as_deref(), Some("text.layer.0.out"));
    let short = states.slice(ndarray::s![..5, ..]);
    assert!(layers::rows(&captions, ("x", short), (WHOSE, SEED)).is_err());
}

fn samples(count: u64) -> Vec<Sample> {
    let generator = Generator::new(5, Mix::training(), Split::Train);
    (0..count).map(|i| generator.sample(i)).collect()
}

#[test]
fn images_find_their_captions_where_they_share_a_direction() {
    let samples = samples(120);
    let captions: Vec<String> = samples.iter().map(|sample| sample.caption.clone()).collect();
    let texts = rows(&captions, placed);
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let noise = Array2::from_shape_fn(texts.dim(), |_| (random.random::<f32>() - 0.5) * 0.2);
    // Images lie to one side of texts: that is the gap.
    let shift = vector("gap", 9) * 2.0;
    let images = &texts + &noise + &shift;
    let pairs = Pairs::new(("new scenes", &samples), texts.view(), images.view()).unwrap();
    let found = pairs.retrieval((WHOSE, SEED)).unwrap();
    let first = |control| row(&found, "recall", "text to image, first 1, new scenes", control);
    assert!(first(None).value > 0.85, "{:?}", first(None));
    assert!(first(Some(SHUFFLED_CAPTIONS)).value < 0.1);
    let five = row(&found, "recall", "image to text, first 5, new scenes", Some(SHUFFLED_CAPTIONS));
    assert!((five.value - five.chance.unwrap()).abs() < 0.06, "{five:?}");
    // A caption may be true of several images.
    let fits = row(&found, "fits", "text to image, new scenes", None);
    assert!(fits.value >= first(None).value && fits.chance.unwrap() >= 1.0 / 120.0);

    let exchanged = Pairs::exchanged(&samples, Exchange::Colours);
    assert!(exchanged.len() > 20, "{}", exchanged.len());
    let wrong: Vec<String> = exchanged.iter().map(|(_, caption)| caption.clone()).collect();
    let of = |encoder: fn(&str) -> Array1<f32>| {
        let others = rows(&wrong, encoder);
        pairs.prefers(("colours", &exchanged), others.view(), WHOSE).unwrap().unwrap()
    };
    assert!(of(placed).low.unwrap() > 0.8);

    let gap = pairs.gap((WHOSE, SEED));
    let of_means =
        |control| row(&gap, "distance of means", "texts and images, new scenes", control).value;
    assert!(of_means(None) > 0.3 && of_means(Some(RANDOM_HALVES)) < 0.25);
    assert!(Pairs::new(("few", &samples[..3]), texts.view(), images.view()).is_err());
}

#[test]
fn an_encoder_that_counts_words_does_not_prefer_its_own_caption() {
    let samples = samples(120);
    let captions: Vec<String> = samples.iter().map(|sample| sample.caption.clone()).collect();
    let texts = rows(&captions, bag);
    let pairs = Pairs::new(("new scenes", &samples), texts.view(), texts.view()).unwrap();
    let exchanged = Pairs::exchanged(&samples, Exchange::Colours);
    let wrong: Vec<String> = exchanged.iter().map(|(_, caption)| caption.clone()).collect();
    let others = rows(&wrong, bag);
    let share = pairs.prefers(("colours", &exchanged), others.view(), WHOSE).unwrap().unwrap();
    assert_eq!((share.value, share.chance), (0.5, Some(0.5)), "all are ties");
}

#[test]
fn shares_along_a_path_are_those_of_its_images() {
    let image = |sample: u32, way: f64, shows: [bool; 2], control: Option<&str>| ClipPathRow {
        run: "run".to_owned(),
        sample,
        kind: "colour".to_owned(),
        from: format!("a red ball {}", sample % 2),
        to: "a blue ball".to_owned(),
        made: path::INTERPOLATED.to_owned(),
        way,
        seed: 0,
        control: control.map(str::to_owned),
        shows_from: shows[0],
        shows_to: shows[1],
    };
    let images = [
        image(0, 0.0, [true, false], None),
        image(1, 0.0, [true, false], None),
        image(2, 1.0, [false, true], None),
        image(3, 1.0, [true, false], None),
        image(4, 1.0, [true, false], Some("random-direction")),
    ];
    let found = path::rows(&images, "run");
    let share = |way: f64, end: &str, control: Option<&str>| {
        let subject = format!("colour, interpolated: {end}");
        let wanted = |row: &&ClipRow| {
            row.way == Some(way) && row.subject == subject && row.control.as_deref() == control
        };
        found.iter().find(wanted).map(|row| (row.value, row.units)).unwrap()
    };
    assert_eq!(share(0.0, path::SHOWS_TO, None), (0.0, 2));
    assert_eq!(share(0.0, path::SHOWS_FROM, None), (1.0, 2));
    assert_eq!(share(1.0, path::SHOWS_TO, None), (0.5, 2));
    assert_eq!(share(1.0, path::SHOWS_TO, Some("random-direction")), (0.0, 1));
}

#[test]
fn findings_say_what_the_numbers_allow() {
    let captions = Captions::new(60, SEED);
    let embedded = embedded(&captions.texts(), bag);
    let mut found = Found::default();
    let (rows, similarities) =
        similarity::similarities(&embedded, &captions.singles, WHOSE).unwrap();
    (found.rows, found.similarities) = (rows, similarities);
    let (rows, analogies) = similarity::analogies(&embedded, &captions.singles, WHOSE).unwrap();
    found.rows.extend(rows);
    found.analogies = analogies;
    found.rows.extend(structure::order(&embedded, &captions.related, WHOSE).unwrap().0);
    let sentences: BTreeMap<usize, String> =
        found.findings().into_iter().map(|f| f.sentence).enumerate().collect();
    let says = |text: &str| sentences.values().any(|sentence| sentence.contains(text));
    assert!(says("Analogies of colour are solved"), "{sentences:#?}");
    assert!(says("Exchanging roles does not move an embedding further"), "{sentences:#?}");
    for (name, figure) in found.figures() {
        assert!(!figure.png(denoscope::figure::WIDE).unwrap().is_empty(), "{name}");
    }
    let page = found.report(Vec::new(), Default::default()).unwrap().to_html().unwrap();
    assert!(page.contains("What is in the embedding?"));
}
