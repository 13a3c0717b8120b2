//! Linear probes of `denoscope::measure::linear` against scikit-learn
//! (fixtures/goldens/linear.json), on planted effects, and on shuffled labels.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use denoscope::measure::Undefined;
use denoscope::measure::linear::{
    Folds, Logistic, Ridge, Selectivity, indicators, largest, shuffled,
};
use ndarray::{Array2, Axis, array};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../fixtures/goldens/linear.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn whole(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as usize).collect()
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = value.as_array().unwrap().iter().map(numbers).collect();
    let shape = (rows.len(), rows[0].len());
    Array2::from_shape_vec(shape, rows.concat()).unwrap()
}

#[track_caller]
fn assert_close(got: &Array2<f64>, expected: &Array2<f64>, tolerance: f64) {
    assert_eq!(got.dim(), expected.dim());
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got - expected).abs() <= tolerance,
            "got {got}, expected {expected} ± {tolerance}"
        );
    }
}

// --- against scikit-learn ------------------------------------------------------------------

#[test]
fn ridge_is_that_of_scikit_learn() {
    let golden = golden();
    let case = &golden["ridge"];
    let ridge = Ridge { penalty: case["penalty"].as_f64().unwrap() };
    let (x, y) = (matrix(&case["standardised"]), matrix(&case["y"]));
    let fit = ridge.fit(x.view(), y.view()).unwrap();
    assert_close(&fit.weights, &matrix(&case["weights"]), 1e-9);
    let intercepts = fit.intercepts.clone().insert_axis(Axis(0));
    let expected = Array2::from_shape_vec((1, 3), numbers(&case["intercepts"])).unwrap();
    assert_close(&intercepts, &expected, 1e-9);
    let predicted = fit.predict(x.view());
    assert_close(&predicted, &(x.dot(&matrix(&case["weights"])) + &expected), 1e-9);
}

#[test]
fn held_out_predictions_are_those_of_scikit_learn_with_its_scaler() {
    let golden = golden();
    let x = matrix(&golden["x"]);
    let folds = Folds::known(whole(&golden["folds"])).unwrap();
    let case = &golden["ridge"];
    let ridge = Ridge { penalty: case["penalty"].as_f64().unwrap() };
    let held_out = ridge.held_out(x.view(), matrix(&case["y"]).view(), &folds).unwrap();
    assert_close(&held_out, &matrix(&case["held_out"]), 1e-6);
    let groups: Vec<usize> = (0..x.nrows()).collect();
    for (target, expected) in numbers(&case["r2"]).into_iter().enumerate() {
        let truth = matrix(&case["y"]).column(target).to_vec();
        let predicted = held_out.column(target).to_vec();
        let control = [(vec![0.0; truth.len()], truth.clone())];
        let found = Selectivity::of_numbers((&predicted, &truth), &control, &groups).unwrap().score;
        assert!((found.mean - expected).abs() < 1e-6, "R² {found}, expected {expected}");
    }
    for case in golden["logistic"].as_array().unwrap() {
        let logistic = Logistic { penalty: case["penalty"].as_f64().unwrap(), iterations: 1000 };
        let labels = whole(&case["labels"]);
        let held_out = logistic.held_out(x.view(), &labels, &folds).unwrap();
        assert_close(&held_out, &matrix(&case["held_out"]), 1e-4);
    }
}

#[test]
fn logistic_regression_is_that_of_scikit_learn_for_two_and_for_more_classes() {
    let golden = golden();
    let x = matrix(&golden["ridge"]["standardised"]);
    for case in golden["logistic"].as_array().unwrap() {
        let logistic = Logistic { penalty: case["penalty"].as_f64().unwrap(), iterations: 1000 };
        let labels = whole(&case["labels"]);
        let fit = logistic.fit(x.view(), &labels).unwrap();
        assert_eq!(fit.classes().len(), matrix(&case["probabilities"]).ncols());
        assert_close(&fit.probabilities(x.view()), &matrix(&case["probabilities"]), 1e-4);
    }
}

// --- planted effects and controls ----------------------------------------------------------

const ROWS: usize = 900;
const FEATURES: usize = 24;
const CLASSES: usize = 4;

/// Noise, and a label that is written into some channels with this strength.
fn planted(strength: f64, seed: u64) -> (Array2<f64>, Vec<usize>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let labels: Vec<usize> = (0..ROWS).map(|_| random.random_range(0..CLASSES)).collect();
    let mut x = Array2::from_shape_simple_fn((ROWS, FEATURES), || random.random_range(-1.0..1.0));
    for (row, &label) in labels.iter().enumerate() {
        x[[row, 3 + label]] += strength;
    }
    (x, labels)
}

/// Selectivity of the ridge probe for one label among four.
fn selectivity(x: &Array2<f64>, labels: &[usize]) -> Selectivity {
    let groups: Vec<usize> = (0..labels.len()).collect();
    let folds = Folds::grouped(&groups, 5, 0).unwrap();
    let ridge = Ridge { penalty: 50.0 };
    let named = |labels: &[usize]| {
        let scores = ridge.held_out(x.view(), indicators(labels).unwrap().view(), &folds).unwrap();
        largest(scores.view())
    };
    let controls: Vec<_> =
        (0..5).map(|seed| shuffled(labels, seed)).map(|labels| (named(&labels), labels)).collect();
    Selectivity::of_classes((&named(labels), labels), &controls, &groups).unwrap()
}

#[test]
fn a_label_written_into_a_channel_is_found() {
    let (x, labels) = planted(3.0, 1);
    let found = selectivity(&x, &labels);
    assert!(found.score.low > 0.97, "{}", found.score);
    assert!((found.control.mean - 0.25).abs() < 0.03, "{}", found.control);
    assert!((found.selectivity.mean - (found.score.mean - found.control.mean)).abs() < 1e-12);
}

#[test]
fn without_a_label_selectivity_is_nothing() {
    let (x, labels) = planted(0.0, 2);
    let found = selectivity(&x, &labels);
    assert!(found.selectivity.mean.abs() < 0.03, "{}", found.selectivity);
    assert!(found.selectivity.contains(0.0), "{}", found.selectivity);
}

/// Many copies of few scenes, each with a label of its own that nothing else tells: a probe that
/// sees copies of a held-out row during training would know it.
#[test]
fn copies_of_a_scene_tell_nothing_if_scenes_are_held_out_whole() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let scenes: Vec<usize> = (0..400).map(|row| row / 10).collect();
    let of_scene: Vec<bool> = (0..40).map(|_| random.random()).collect();
    let each = Array2::from_shape_simple_fn((40, 60), || random.random_range(-1.0..1.0));
    let x = each.select(Axis(0), &scenes);
    let labels: Vec<usize> = scenes.iter().map(|&scene| usize::from(of_scene[scene])).collect();
    let right = |groups: &[usize]| {
        let folds = Folds::grouped(groups, 5, 0).unwrap();
        let p = Logistic::default().held_out(x.view(), &labels, &folds).unwrap();
        let named = largest(p.view());
        named.iter().zip(&labels).filter(|(a, b)| a == b).count() as f64 / 400.0
    };
    let rows: Vec<usize> = (0..400).collect();
    assert!(right(&rows) > 0.99, "row by row the probe remembers scenes");
    assert!((right(&scenes) - 0.5).abs() < 0.25, "scene by scene it cannot: {}", right(&scenes));
}

#[test]
fn folds_hold_groups_together_and_are_even() {
    let groups: Vec<usize> = (0..100).map(|row| row % 23).collect();
    let folds = Folds::grouped(&groups, 5, 9).unwrap();
    let mut seen = BTreeSet::new();
    for fold in 0..folds.count() {
        let of_fold =
            |rows: Vec<usize>| rows.iter().map(|&row| groups[row]).collect::<BTreeSet<_>>();
        assert!(of_fold(folds.held_out(fold)).is_disjoint(&of_fold(folds.training(fold))));
        assert!((16..=24).contains(&folds.held_out(fold).len()));
        seen.extend(folds.held_out(fold));
    }
    assert_eq!(seen.len(), 100);
    assert_eq!(folds, Folds::grouped(&groups, 5, 9).unwrap());
    assert_ne!(folds, Folds::grouped(&groups, 5, 10).unwrap());
}

// --- what does not exist -------------------------------------------------------------------

#[test]
fn probes_that_cannot_be_say_why() {
    let x = array![[1.0, 2.0], [3.0, 4.0], [5.0, 7.0], [0.0, 1.0]];
    let y = array![[1.0], [2.0], [3.0], [4.0]];
    let ridge = Ridge { penalty: 1.0 };
    let fit = |x: &Array2<f64>, y: &Array2<f64>| ridge.fit(x.view(), y.view()).unwrap_err();
    assert_eq!(
        fit(&array![[1.0, f64::NAN], [0.0, 1.0]], &array![[1.0], [2.0]]),
        Undefined::NotFinite
    );
    assert_eq!(fit(&x, &array![[1.0], [2.0]]), Undefined::Length { expected: 4, got: 2 });
    assert_eq!(fit(&Array2::zeros((0, 2)), &Array2::zeros((0, 1))), Undefined::Empty);
    assert!(matches!(
        Ridge { penalty: 0.0 }.fit(x.view(), y.view()),
        Err(Undefined::Parameter { name: "the penalty", .. })
    ));
    let logistic = Logistic::default();
    assert_eq!(logistic.fit(x.view(), &[1, 1, 1, 1]).unwrap_err(), Undefined::OneClass);
    assert_eq!(indicators(&[2, 2]), Err(Undefined::OneClass));
    assert_eq!(indicators(&[]), Err(Undefined::Empty));
    assert_eq!(Folds::grouped(&[0, 0, 1], 3, 0), Err(Undefined::TooFew { needed: 3, got: 2 }));
    assert!(matches!(Folds::grouped(&[0, 1], 1, 0), Err(Undefined::Parameter { .. })));
    let folds = Folds::known(vec![0, 0, 1, 1]).unwrap();
    // The rows outside a fold have one class only.
    assert_eq!(logistic.held_out(x.view(), &[0, 0, 1, 1], &folds), Err(Undefined::OneClass));
    let flat = Selectivity::of_numbers((&[1.0, 2.0], &[3.0, 3.0]), &[], &[0, 1]);
    assert_eq!(flat, Err(Undefined::Constant));
}
