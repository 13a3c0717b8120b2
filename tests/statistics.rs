//! Intervals, resampling and controls of `denoscope::measure` against SciPy
//! (fixtures/goldens/measure.json), against closed forms, and on planted effects.

#![allow(clippy::unwrap_used)]

use denoscope::measure::{Bootstrap, Estimate, Proportion, Undefined, bootstrap, permutation};
use rand::{Rng, SeedableRng};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../fixtures/goldens/measure.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[track_caller]
fn assert_close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected} ± {tolerance}");
}

#[test]
fn intervals_agree_with_scipy() {
    let golden = golden();
    let golden = &golden["intervals"];
    for case in golden["wilson"].as_array().unwrap() {
        let successes = number(&case["successes"]) as usize;
        let rate = Proportion::new(successes, number(&case["trials"]) as usize).unwrap();
        let interval = rate.wilson(0.95).unwrap();
        assert_close(interval.low, number(&case["low"]), 1e-9);
        assert_close(interval.high, number(&case["high"]), 1e-9);
        match rate.upper_bound_if_none(0.95).unwrap() {
            Some(bound) => assert_close(bound, number(&case["one_sided_upper"]), 1e-9),
            None => assert!(successes > 0),
        }
    }
    let values = numbers(&golden["values"]);
    let student = Estimate::of_mean(&values, 0.9).unwrap();
    let expected = numbers(&golden["student_90"]);
    assert_close(student.low, expected[0], 1e-9);
    assert_close(student.high, expected[1], 1e-9);
    // Another generator draws other resamples: the ends agree to their own noise.
    let resampled = Bootstrap { resamples: 20_000, ..Bootstrap::default() };
    let resampled = resampled.mean(&values).unwrap();
    let expected = numbers(&golden["bootstrap_95"]);
    assert_close(resampled.low, expected[0], 0.004);
    assert_close(resampled.high, expected[1], 0.004);
    let mut sorted = values;
    sorted.sort_by(f64::total_cmp);
    let probabilities = numbers(&golden["probabilities"]);
    for (p, expected) in probabilities.iter().zip(numbers(&golden["quantiles"])) {
        assert_close(bootstrap::quantile(&sorted, *p), expected, 1e-12);
    }
}

/// 40 prompts of 8 images; images of one prompt share most of their score.
fn clustered_sample(seed: u64) -> (Vec<f64>, Vec<usize>) {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::new();
    let mut prompts = Vec::new();
    for prompt in 0..40 {
        let shared: f64 = random.random_range(-1.0..1.0);
        for _ in 0..8 {
            values.push(shared + random.random_range(-0.2..0.2));
            prompts.push(prompt);
        }
    }
    (values, prompts)
}

#[test]
fn resampling_prompts_covers_the_truth_where_resampling_images_does_not() {
    let settings = Bootstrap { resamples: 300, ..Bootstrap::default() };
    let (mut by_prompt, mut by_image) = (0, 0);
    for seed in 0..200 {
        let (values, prompts) = clustered_sample(seed);
        by_prompt += usize::from(settings.cluster_mean(&values, &prompts).unwrap().contains(0.0));
        by_image += usize::from(settings.mean(&values).unwrap().contains(0.0));
    }
    // Nominal 190 of 200; five standard deviations below are 174.
    assert!(by_prompt >= 174, "prompt intervals covered {by_prompt} of 200");
    assert!(by_image <= 140, "image intervals covered {by_image} of 200");
}

#[test]
fn the_bootstrap_repeats_with_its_seed_and_not_with_the_order_of_rows() {
    let (values, prompts) = clustered_sample(1);
    let settings = Bootstrap::default();
    let first = settings.cluster_mean(&values, &prompts).unwrap();
    assert_eq!(first, settings.cluster_mean(&values, &prompts).unwrap());
    assert_eq!(first.n, 40);
    let backwards: Vec<f64> = values.iter().rev().copied().collect();
    let prompts_backwards: Vec<usize> = prompts.iter().rev().copied().collect();
    let again = settings.cluster_mean(&backwards, &prompts_backwards).unwrap();
    assert_close(again.low, first.low, 1e-12);
    assert_close(again.high, first.high, 1e-12);
    let other = Bootstrap { seed: 7, ..settings }.cluster_mean(&values, &prompts).unwrap();
    assert_eq!(other.mean, first.mean);
    assert_ne!(other.low, first.low);
}

#[test]
fn a_planted_paired_difference_is_found_and_none_is_not() {
    let (a, prompts) = clustered_sample(3);
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let jitter: Vec<f64> = a.iter().map(|_| random.random_range(-0.1..0.1)).collect();
    let same: Vec<f64> = a.iter().zip(&jitter).map(|(a, j)| a + j).collect();
    let better: Vec<f64> = same.iter().map(|x| x + 0.05).collect();
    let settings = Bootstrap::default();
    let found = settings.paired_difference(&better, &a, &prompts).unwrap();
    assert!(found.low > 0.0 && found.contains(0.05), "{found}");
    assert!(settings.paired_difference(&same, &a, &prompts).unwrap().contains(0.0));
    let p = |b: &[f64]| permutation::sign_flip_test(b, &a, &prompts, 2000, 0).unwrap();
    assert!(p(&better) < 0.002, "{}", p(&better));
    assert!(p(&same) > 0.05, "{}", p(&same));
    assert_eq!(p(&a), 1.0, "no difference at all is reached by every flip");
}

/// Scores of prompts whose images go up or down together, with no change on average: exchanging whole
/// prompts keeps its level, exchanging single images does not.
#[test]
fn false_alarms_of_scores_stay_at_their_level() {
    const SIMULATED: u64 = 1_000;
    // SciPy's binom.ppf(0.999, 1000, 0.05).
    const MOST_ALARMS: usize = 73;
    let (mut by_prompt, mut by_image) = (0, 0);
    for seed in 0..SIMULATED {
        let (differences, prompts) = clustered_sample(10_000 + seed);
        let (images, before): (Vec<usize>, Vec<f64>) =
            (0..differences.len()).map(|image| (image, 0.0)).unzip();
        let p = |units: &[usize]| {
            permutation::sign_flip_test(&differences, &before, units, 199, seed).unwrap()
        };
        by_prompt += usize::from(p(&prompts) <= 0.05);
        by_image += usize::from(p(&images) <= 0.05);
    }
    assert!(by_prompt <= MOST_ALARMS, "{by_prompt} alarms of {SIMULATED}");
    assert!(by_image > 2 * MOST_ALARMS, "{by_image} alarms of {SIMULATED}");
}

#[test]
fn statistics_that_do_not_exist_say_why() {
    let settings = Bootstrap::default();
    assert_eq!(settings.mean(&[]), Err(Undefined::Empty));
    assert_eq!(settings.mean(&[1.0]), Err(Undefined::TooFew { needed: 2, got: 1 }));
    assert_eq!(settings.mean(&[1.0, f64::NAN]), Err(Undefined::NotFinite));
    let one_prompt = settings.cluster_mean(&[1.0, 2.0, 3.0], &["a", "a", "a"]);
    assert_eq!(one_prompt, Err(Undefined::TooFew { needed: 2, got: 1 }));
    let uneven = settings.cluster_mean(&[1.0], &["a", "b"]);
    assert_eq!(uneven, Err(Undefined::Length { expected: 1, got: 2 }));
    assert!(Bootstrap { confidence: 1.0, ..settings }.mean(&[1.0, 2.0]).is_err());
    assert!(Bootstrap { resamples: 0, ..settings }.mean(&[1.0, 2.0]).is_err());
    assert_eq!(Proportion::new(0, 0), Err(Undefined::Empty));
    assert!(Proportion::new(2, 1).is_err());
    assert_eq!(permutation::p_value(1.0, &[]), Err(Undefined::Empty));
    assert_eq!(permutation::p_value(f64::NAN, &[1.0]), Err(Undefined::NotFinite));
}

#[test]
fn estimates_print_what_a_reader_needs() {
    let even = Estimate { mean: 0.94, low: 0.92, high: 0.96, n: 200, confidence: 0.95 };
    assert_eq!(even.to_string(), "0.94 ± 0.02");
    assert_eq!(format!("{even:#}"), "0.94 ± 0.02 (n = 200, 95 %)");
    assert_eq!(format!("{even:.1}"), "0.9 ± 0.0");
    let skewed = Estimate { low: 0.81, ..even };
    assert_eq!(skewed.to_string(), "0.94 [0.81, 0.96]");
    let narrow = Estimate { low: 0.9396, high: 0.9404, ..even };
    assert_eq!(narrow.to_string(), "0.9400 ± 0.0004");
    let zero_wide = Estimate { low: 0.94, high: 0.94, ..even };
    assert_eq!(zero_wide.to_string(), "0.94 ± 0.00");
    let rate = Proportion::of([true, false, true, true]).unwrap();
    assert_eq!(rate.describe(0.95).unwrap(), "3/4 = 0.75 [0.30, 0.95]");
    let never = Proportion::new(0, 40).unwrap();
    assert_eq!(never.describe(0.95).unwrap(), "0/40, below 0.072 (95 %)");
    assert_eq!(never.describe(0.999).unwrap(), "0/40, below 0.159 (99.9 %)");
}

// --- controls ----------------------------------------------------------------------------

#[test]
fn a_derangement_gives_every_word_the_map_of_another_object() {
    let labels = ["ball", "ball", "cube", "cube", "none", "cube"];
    for seed in 0..50 {
        let order = permutation::derangement(&labels, seed).unwrap();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
        assert!(order.iter().enumerate().all(|(i, &other)| labels[i] != labels[other]));
    }
    let seeds: std::collections::BTreeSet<_> =
        (0..50).map(|seed| permutation::derangement(&labels, seed)).collect();
    assert!(seeds.len() > 5, "the seed matters");
    // Twenty pairs of two groups: a random shuffle is practically never good.
    let halves: Vec<bool> = (0..40).map(|i| i % 2 == 0).collect();
    let order = permutation::derangement(&halves, 0).unwrap();
    assert!(order.iter().enumerate().all(|(i, &other)| halves[i] != halves[other]));
    assert_eq!(permutation::derangement(&["ball", "ball"], 0), None);
    assert_eq!(permutation::derangement(&["a", "a", "b"], 0), None);
    assert_eq!(permutation::derangement::<u8>(&[], 0), None);
}

#[test]
fn p_values_count_themselves() {
    assert_eq!(permutation::p_value(3.0, &[1.0, 2.0, 3.0]), Ok(0.5));
    assert_eq!(permutation::p_value(9.0, &[1.0, 2.0, 3.0]), Ok(0.25));
}
