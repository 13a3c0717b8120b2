//! Paired outcomes of `denoscope::measure::paired` against SciPy and statsmodels
//! (fixtures/goldens/paired.json), against closed forms, and over simulated comparisons.

#![allow(clippy::unwrap_used)]

use denoscope::measure::multiplicity::{benjamini_hochberg, holm};
use denoscope::measure::paired::{
    MinimumDetectable, exact_mcnemar, minimum_detectable, score_interval,
};
use denoscope::measure::{Bootstrap, PairedOutcomes, Undefined};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn golden(part: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../fixtures/goldens/paired.json")).unwrap();
    all[part].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[track_caller]
fn assert_close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected} ± {tolerance}");
}

fn outcomes(clusters: &Value) -> PairedOutcomes {
    let clusters = clusters.as_array().unwrap().iter().enumerate();
    let pairs = clusters.flat_map(|(i, cluster)| {
        let holds = |pair: &Value, side: usize| pair[side].as_bool().unwrap();
        let pairs = cluster.as_array().unwrap().iter();
        pairs.map(move |pair| (i, holds(pair, 0), holds(pair, 1))).collect::<Vec<_>>()
    });
    PairedOutcomes::new(pairs).unwrap()
}

/// One pair a cluster: so many of each kind.
fn single(broken: u64, fixed: u64, unchanged: u64) -> PairedOutcomes {
    let pairs = (0..broken + fixed + unchanged)
        .map(|i| (i, i < broken || i >= broken + fixed, i >= broken));
    PairedOutcomes::new(pairs).unwrap()
}

// --- against SciPy and statsmodels -----------------------------------------------------------

#[test]
fn mcnemar_agrees_with_statsmodels() {
    for case in golden("mcnemar") {
        let (broken, fixed) = (count(&case["broken"]), count(&case["fixed"]));
        assert_close(exact_mcnemar(broken, fixed), number(&case["p"]), 1e-9);
        let outcomes = single(broken, fixed, 17);
        assert_close(outcomes.mcnemar(), number(&case["p"]), 1e-9);
        assert_close(outcomes.flip_test(), number(&case["p"]), 1e-9);
    }
}

#[test]
fn clusters_agree_with_scipy_and_statsmodels() {
    for case in golden("clusters") {
        let outcomes = outcomes(&case["clusters"]);
        assert_close(outcomes.flip_test(), number(&case["flip_p"]), 1e-9);
        let variance = outcomes.clustered_variance().unwrap();
        assert_close(variance, number(&case["clustered_variance"]), 1e-9);
        let settings = Bootstrap { resamples: 50_000, confidence: 0.9, ..Bootstrap::default() };
        let drawn = outcomes.bootstrap(&settings).unwrap();
        // Other random numbers: the ends agree to their own noise, or to one step of the few
        // values that so few clusters can take.
        for (got, expected) in
            [drawn.low, drawn.high].into_iter().zip(numbers(&case["bootstrap_90"]))
        {
            assert_close(got, expected, 0.01);
        }
    }
}

#[test]
fn score_intervals_agree_with_a_numerical_maximum() {
    for case in golden("score") {
        let [broken, fixed, pairs, confidence] =
            ["broken", "fixed", "pairs", "confidence"].map(|name| number(&case[name]));
        let (low, high) = score_interval(broken, fixed, pairs, confidence).unwrap();
        assert_close(low, number(&case["low"]), 1e-5);
        assert_close(high, number(&case["high"]), 1e-5);
        let (other_low, other_high) = score_interval(fixed, broken, pairs, confidence).unwrap();
        assert_close(other_low, -high, 1e-9);
        assert_close(other_high, -low, 1e-9);
    }
}

#[test]
fn the_detectable_difference_has_the_power_that_scipy_sums() {
    for case in golden("power") {
        let plan = MinimumDetectable {
            pairs: count(&case["pairs"]),
            discordance: number(&case["discordance"]),
            significance: number(&case["significance"]),
            power: number(&case["power"]),
        };
        assert_close(minimum_detectable(plan).unwrap(), number(&case["loss"]), 1e-6);
    }
}

#[test]
fn several_tests_agree_with_statsmodels() {
    for case in golden("multiplicity") {
        let p = numbers(&case["p"]);
        for (got, expected) in holm(&p).into_iter().zip(numbers(&case["holm"])) {
            assert_close(got, expected, 1e-12);
        }
        let expected = numbers(&case["benjamini_hochberg"]);
        for (got, expected) in benjamini_hochberg(&p).into_iter().zip(expected) {
            assert_close(got, expected, 1e-12);
        }
    }
    assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
}

// --- closed forms and edges ------------------------------------------------------------------

#[test]
fn counts_are_what_they_say() {
    let outcomes = single(3, 5, 12);
    assert_eq!((outcomes.pairs(), outcomes.clusters()), (20, 20));
    assert_eq!((outcomes.broken(), outcomes.fixed()), (3, 5));
    assert_eq!((outcomes.share_a(), outcomes.share_b()), (0.75, 0.85));
    assert_close(outcomes.difference(), 0.1, 1e-12);
    assert_close(outcomes.discordance(), 0.4, 1e-12);
    let none = PairedOutcomes::new(Vec::<(u8, bool, bool)>::new());
    assert_eq!(none, Err(Undefined::Empty));
}

#[test]
fn nothing_changed_is_not_the_same_as_nothing_could_have() {
    let few = single(0, 0, 10);
    assert_eq!((few.mcnemar(), few.flip_test()), (1.0, 1.0));
    let settings = Bootstrap::default();
    let interval = few.interval(&settings).unwrap();
    let z2 = 1.959_963_984_540_054_f64.powi(2);
    assert_close(interval.high, z2 / (10.0 + z2), 1e-9);
    assert_close(interval.low, -interval.high, 1e-9);
    assert!(!few.is_within(0.05, 0.05, &settings).unwrap());
    assert!(few.minimum_detectable(0.05, 0.8).unwrap() > 0.5);
    // z² / (n + z²) with z = 1.645 falls below 0.05 from 52 pairs on.
    assert!(!single(0, 0, 51).is_within(0.05, 0.05, &settings).unwrap());
    assert!(single(0, 0, 52).is_within(0.05, 0.05, &settings).unwrap());
    // 520 images of ten prompts are no more than ten prompts.
    let crowded = PairedOutcomes::new((0..520).map(|i| (i % 10, true, true))).unwrap();
    assert_close(crowded.effective_pairs(), 10.0, 1e-9);
    assert!(!crowded.is_within(0.05, 0.05, &settings).unwrap());
    assert_eq!(single(0, 0, 3).minimum_detectable(0.05, 0.8), None, "three pairs show nothing");
    let one = PairedOutcomes::new([(0, true, false)]).unwrap();
    assert_eq!(one.clustered_variance(), None);
    let interval = one.interval(&settings).unwrap();
    assert!(interval.low >= -1.0 && interval.high > 0.0, "{interval:?}");
}

#[test]
fn whole_prompts_that_move_together_are_one_observation_each() {
    // Four prompts of eight images, all broken: McNemar sees 32 coins, the flips four.
    let together = PairedOutcomes::new((0..32).map(|i| (i / 8, true, false))).unwrap();
    assert!(together.mcnemar() < 1e-8);
    assert_close(together.flip_test(), 0.125, 1e-12);
    // Half of the prompts all fixed, half all broken: each image is worth an eighth.
    let mixed = PairedOutcomes::new((0..320).map(|i| (i / 8, i / 8 % 2 == 0, i / 8 % 2 == 1)));
    assert_close(mixed.unwrap().design_effect(), 8.0 * 40.0 / 39.0, 1e-9);
}

#[test]
fn long_lists_of_changes_are_tested_as_short_ones_are() {
    // The exact distribution of 9,000 changes, and 30,000 for which the normal one is taken.
    assert_close(single(4_400, 4_600, 0).flip_test(), exact_mcnemar(4_400, 4_600), 1e-9);
    assert_close(single(14_800, 15_200, 0).flip_test(), exact_mcnemar(14_800, 15_200), 1e-4);
}

#[test]
fn the_detectable_difference_is_the_rule_of_thumb_for_many_pairs() {
    // 2.8 √(discordance / n), before the change itself adds to the discordance.
    let plan =
        |pairs| MinimumDetectable { pairs, discordance: 0.2, significance: 0.05, power: 0.8 };
    let many = minimum_detectable(plan(40_000)).unwrap();
    assert_close(many, 2.801_585 * (0.2_f64 / 40_000.0).sqrt(), 2e-4);
    // Where the exact sum ends, the approximation goes on.
    let (exact, approximate) =
        (minimum_detectable(plan(2_000)).unwrap(), minimum_detectable(plan(2_001)).unwrap());
    assert!((exact / approximate - 1.0).abs() < 0.03, "{exact} and {approximate}");
}

// --- simulated comparisons -------------------------------------------------------------------

const SIMULATED: usize = 1_000;

/// A run of some categories of prompts with some images each. A change moves every prompt's chance
/// by an amount of its own: `spread` either way, less `loss`.
struct Simulated {
    categories: usize,
    prompts: usize,
    images: usize,
    spread: f64,
    loss: f64,
}

impl Simulated {
    /// Paired outcomes of each category.
    fn compare(&self, random: &mut ChaCha8Rng) -> Vec<PairedOutcomes> {
        let mut category = || {
            let mut pairs = Vec::new();
            for prompt in 0..self.prompts {
                let before = random.random_range(self.spread..1.0 - self.spread);
                let moved = if random.random() { self.spread } else { -self.spread };
                let after = before + moved;
                for _ in 0..self.images {
                    let held = random.random_bool(before);
                    // What is lost is lost from images that would have been right.
                    let kept = random.random_bool(after)
                        && !(self.loss > 0.0 && random.random_bool((self.loss * 2.0).min(1.0)));
                    pairs.push((prompt, held, kept));
                }
            }
            PairedOutcomes::new(pairs).unwrap()
        };
        (0..self.categories).map(|_| category()).collect()
    }
}

/// Whether any category is called changed after Holm's correction at 5 %.
fn alarm(p: Vec<f64>) -> bool {
    holm(&p).into_iter().any(|p| p <= 0.05)
}

/// The most alarms of 1,000 that a rate of 5 % gives but once in a thousand times: the quantile
/// of the binomial distribution (SciPy's `binom.ppf(0.999, 1000, 0.05)`).
const MOST_ALARMS: usize = 73;
/// The fewest detections of 1,000 at a power of 80 %, likewise: `binom.ppf(0.001, 1000, 0.8)`.
const FEWEST_DETECTIONS: usize = 760;

#[test]
fn false_alarms_of_clustered_comparisons_stay_at_their_level() {
    let mut random = ChaCha8Rng::seed_from_u64(71);
    // Six categories; prompts of four images that move together, with no gain or loss on average.
    let same = Simulated { categories: 6, prompts: 15, images: 4, spread: 0.4, loss: 0.0 };
    let (mut by_prompt, mut by_image, mut covered) = (0, 0, 0);
    for _ in 0..SIMULATED {
        let compared = same.compare(&mut random);
        by_prompt += usize::from(alarm(compared.iter().map(PairedOutcomes::flip_test).collect()));
        by_image += usize::from(alarm(compared.iter().map(PairedOutcomes::mcnemar).collect()));
        let settings = Bootstrap { resamples: 500, ..Bootstrap::default() };
        covered += usize::from(compared[0].interval(&settings).unwrap().contains(0.0));
    }
    assert!(by_prompt <= MOST_ALARMS, "{by_prompt} alarms of {SIMULATED}");
    // The control: what takes images for independent raises false alarms.
    assert!(by_image > 2 * MOST_ALARMS, "{by_image} alarms of {SIMULATED}");
    assert!(covered >= SIMULATED - MOST_ALARMS, "{covered} intervals of {SIMULATED} cover 0");
}

#[test]
fn the_stated_detectable_difference_is_detected() {
    let mut random = ChaCha8Rng::seed_from_u64(72);
    for (prompts, images, spread) in [(60, 4, 0.2), (120, 1, 0.1)] {
        let same = Simulated { categories: 1, prompts, images, spread, loss: 0.0 };
        let mut detected = 0;
        for _ in 0..SIMULATED {
            // What one comparison of the unchanged says it could see, the next shall see.
            let stated = same.compare(&mut random)[0].minimum_detectable(0.05, 0.8).unwrap();
            let worse = Simulated { loss: stated, ..same };
            detected += usize::from(worse.compare(&mut random)[0].flip_test() <= 0.05);
        }
        assert!(detected >= FEWEST_DETECTIONS, "{detected} of {SIMULATED} detected");
    }
}

#[test]
fn differences_beyond_the_margin_are_seldom_called_equivalent() {
    let mut random = ChaCha8Rng::seed_from_u64(73);
    let settings = Bootstrap { resamples: 500, ..Bootstrap::default() };
    // The true loss is the margin itself: at most 5 % may be called smaller.
    let loss = 0.1;
    let worse = Simulated { categories: 1, prompts: 150, images: 3, spread: 0.1, loss };
    let equivalent = (0..SIMULATED)
        .filter(|_| worse.compare(&mut random)[0].is_within(loss, 0.05, &settings).unwrap())
        .count();
    assert!(equivalent <= MOST_ALARMS, "{equivalent} of {SIMULATED}");
    // And no difference at all is called so when there are enough prompts.
    let same = Simulated { categories: 1, prompts: 600, images: 3, spread: 0.1, loss: 0.0 };
    assert!(same.compare(&mut random)[0].is_within(loss, 0.05, &settings).unwrap());
}
