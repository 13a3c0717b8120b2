//! Failures foretold: what was planted is found, and nothing where nothing is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use denoscope::measure::record::WordLayer;
use denoscope::measure::stopping::auroc_within_folds;
use denoscope::probe::diagnosis::features::{Features, NAMES, WatchedWord, of_steps};
use denoscope::probe::diagnosis::{Diagnosed, Diagnosis, Pages, SHUFFLED_OUTCOMES, Watched};
use denoscope::table::DiagnosisRow;
use denoscope::world::Role;
use ndarray::{Array2, Array5, s};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const STEPS: usize = 6;
const TIMESTEPS: [f64; STEPS] = [950.0, 800.0, 600.0, 400.0, 200.0, 50.0];
/// From this step on the planted feature tells failures.
const FROM: usize = 2;

/// Images of which half fail; the first feature says so from step [`FROM`] on, if `planted`.
fn images(count: usize, planted: bool) -> Vec<Watched> {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let image = |number: usize| {
        let failed = random.random::<bool>();
        let features = (0..STEPS).map(|step| {
            let mut features: Features = std::array::from_fn(|_| random.random::<f64>());
            // One that prompts of this category do not have.
            features[1] = f64::NAN;
            if planted && failed && step >= FROM {
                features[0] += 2.0;
            }
            features
        });
        let features = features.collect();
        let category = "relation".to_owned();
        Watched { prompt: format!("prompt {number}"), seed: 0, category, failed, features }
    };
    (0..count).map(image).collect()
}

fn diagnosis(precision: f64) -> Diagnosis<'static> {
    Diagnosis { run: "run", timesteps: &TIMESTEPS, precision, seed: 1 }
}

fn after<'a>(found: &'a Diagnosed, seen: u32, control: Option<&str>) -> &'a DiagnosisRow {
    let wanted = |row: &&DiagnosisRow| row.steps_seen == seen && row.control.as_deref() == control;
    found.rows.iter().find(wanted).unwrap()
}

#[test]
fn a_failure_is_foretold_from_the_step_on_that_tells_it() {
    let found = diagnosis(0.9).of(&images(200, true)).unwrap();
    assert!(found.left_out.is_empty(), "{:?}", found.left_out);
    for seen in 1..=STEPS as u32 {
        let row = after(&found, seen, None);
        if seen as usize <= FROM {
            assert!((row.auroc - 0.5).abs() < 0.12, "nothing is there to tell yet: {row:?}");
        } else {
            assert!(row.auroc_low.unwrap() > 0.95, "{row:?}");
        }
        assert_eq!(row.timestep, TIMESTEPS[seen as usize - 1]);
    }
    // A lower precision stops more: just so many good images that the share asked for is kept.
    let stop = |precision: f64| {
        let found = diagnosis(precision).of(&images(200, true)).unwrap();
        found.stops.into_iter().find(|stop| stop.steps_seen == 3).unwrap()
    };
    let (strict, lax) = (stop(1.0), stop(0.9));
    assert!(strict.precision.unwrap() > 0.97 && strict.good_lost.unwrap() < 0.05, "{strict:?}");
    assert!((strict.stopped - strict.failure_rate).abs() < 0.05, "{strict:?}");
    assert!(lax.precision_low.unwrap() < 0.9 && lax.precision_high.unwrap() > 0.9, "{lax:?}");
    assert!(lax.stopped > strict.stopped, "{lax:?}");
    // Half of their steps are left.
    assert!((strict.saved - strict.stopped * 0.5).abs() < 1e-12);
    let pages = Pages { found: &found, steps: STEPS };
    let findings = pages.findings();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].sentence.starts_with("After 2 of 6 steps failures of relation"));
    for (name, figure) in pages.figures() {
        assert!(!figure.png(denoscope::figure::WIDE).unwrap().is_empty(), "{name}");
    }
    assert!(pages.report(Vec::new(), Default::default()).unwrap().to_html().is_ok());
    // All features but the one that no prompt has.
    let rows = diagnosis(0.9).feature_rows(&images(10, true));
    assert_eq!(rows.len(), 10 * STEPS * (NAMES.len() - 1));
}

#[test]
fn shuffled_outcomes_and_features_of_nothing_give_one_half() {
    for planted in [true, false] {
        let found = diagnosis(0.9).of(&images(400, planted)).unwrap();
        for seen in 1..=STEPS as u32 {
            let control = after(&found, seen, Some(SHUFFLED_OUTCOMES));
            assert!((control.auroc - 0.5).abs() < 0.03, "{control:?}");
        }
    }
    let found = diagnosis(0.9).of(&images(400, false)).unwrap();
    let mean = (1..=STEPS as u32).map(|seen| after(&found, seen, None).auroc).sum::<f64>();
    assert!((mean / STEPS as f64 - 0.5).abs() < 0.05, "{mean}");
    assert!(found.stops.iter().all(|stop| stop.saved < 0.05), "{:?}", found.stops);
}

#[test]
fn too_few_images_are_said_to_be_too_few() {
    let mut few = images(60, true);
    few.iter_mut().skip(3).for_each(|image| image.failed = false);
    let found = diagnosis(0.8).of(&few).unwrap();
    assert!(found.rows.is_empty() && found.stops.is_empty());
    assert_eq!(found.left_out[0].0, "relation");
    assert!(found.left_out[0].1.contains("--count"), "{}", found.left_out[0].1);
    let sentence = Pages { found: &found, steps: STEPS }.findings()[0].sentence.clone();
    assert!(sentence.contains("Nothing can be said of relation"), "{sentence}");
    assert!(diagnosis(0.8).of(&[]).unwrap().left_out.is_empty());
}

#[test]
fn a_golden_of_folds_is_scikit_learns() {
    let text = include_str!("../fixtures/goldens/scores.json");
    let golden: serde_json::Value = serde_json::from_str(text).unwrap();
    for case in golden["within_folds"].as_array().unwrap() {
        let numbers = |key: &str| -> Vec<f64> {
            case[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let failed: Vec<bool> = numbers("failed").iter().map(|x| *x > 0.5).collect();
        let folds: Vec<usize> = numbers("folds").iter().map(|x| *x as usize).collect();
        let auroc = auroc_within_folds(&numbers("scores"), &failed, &folds).unwrap();
        assert!((auroc - case["auroc"].as_f64().unwrap()).abs() < 1e-12);
    }
}

/// One layer with two heads and one step, whose maps are these.
fn layer(maps: &[Array2<f32>]) -> Vec<WordLayer> {
    let (rows, columns) = maps[0].dim();
    let mut all = Array5::zeros((1, maps.len(), 2, rows, columns));
    for (word, map) in maps.iter().enumerate() {
        for head in 0..2 {
            all.slice_mut(s![0, word, head, .., ..]).assign(map);
        }
    }
    vec![WordLayer { site: "up.0.cross.probs".to_owned(), per_step: vec![all] }]
}

#[test]
fn features_are_those_of_the_maps() {
    // "red ball", "blue cube": a map of four cells each.
    let word = |role, phrase| WatchedWord { role, phrase, positions: vec![1] };
    let words =
        [word(Role::Colour, 0), word(Role::Noun, 0), word(Role::Colour, 1), word(Role::Noun, 1)];
    let map = |values: [f32; 4]| Array2::from_shape_vec((2, 2), values.to_vec()).unwrap();
    let [left, right] = [[0.4, 0.0, 0.0, 0.0], [0.0, 0.2, 0.0, 0.0]].map(map);
    let of = |maps: &[Array2<f32>]| of_steps(&words, &layer(maps), 0).unwrap()[0];
    // Each adjective lies with its own noun.
    let bound = of(&[left.clone(), left.clone(), right.clone(), right.clone()]);
    // They lie with the other's.
    let leaking = of(&[right.clone(), left.clone(), left.clone(), right.clone()]);
    let value = |features: &Features, name: &str| {
        features[NAMES.iter().position(|known| *known == name).unwrap()]
    };
    assert_eq!((value(&bound, "noun overlap"), value(&bound, "leakage")), (0.0, -1.0));
    assert_eq!(value(&leaking, "leakage"), 1.0);
    assert!((value(&bound, "missing mass") - (1.0 - 0.05)).abs() < 1e-6);
    assert!((value(&bound, "neglect") - (1.0 - 0.2)).abs() < 1e-6);
    assert!(value(&bound, "entropy").abs() < 1e-6);
    // A flat noun: all of it overlaps by a quarter, and its entropy is the largest.
    let flat = map([0.1; 4]);
    let spread = of(&[left.clone(), left, right, flat]);
    assert!((value(&spread, "noun overlap") - 0.25).abs() < 1e-6);
    assert!((value(&spread, "largest entropy") - 1.0).abs() < 1e-6);
}
