//! What tells at which noise level something is decided: `denoscope::measure`'s commitment,
//! crossover, spectrum and similarity against NumPy and SciPy (fixtures/goldens/noise_level.json),
//! closed forms, and planted effects.

#![allow(clippy::unwrap_used)]

use denoscope::measure::commitment::{committed_from, median};
use denoscope::measure::crossover::{Crossover, half};
use denoscope::measure::similarity::{alignment, reordered, unit_gram};
use denoscope::measure::spectrum::{Bands, NoiseCrossing, Spectrum, agreement, transform};
use denoscope::measure::{Bootstrap, Undefined};
use ndarray::{Array2, ArrayView2};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../fixtures/goldens/noise_level.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows = rows(value);
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

#[track_caller]
fn assert_close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected} ± {tolerance}");
}

fn noise(random: &mut ChaCha8Rng, shape: (usize, usize)) -> Array2<f64> {
    Array2::from_shape_simple_fn(shape, || random.sample(StandardNormal))
}

// --- commitment ----------------------------------------------------------------------------

#[test]
fn an_answer_is_committed_from_its_last_change_on() {
    let of = |text: &str| committed_from(&text.chars().map(|c| c == 'y').collect::<Vec<_>>());
    assert_eq!(of("nnyynyyy"), Some(5));
    assert_eq!(of("yyyy"), Some(0));
    assert_eq!(of("nnny"), Some(3));
    assert_eq!(of("yyyn"), None);
    assert_eq!(of(""), None);
}

#[test]
fn medians_have_intervals_over_prompts() {
    // 30 prompts of 4 seeds each: prompts commit around step 8, seeds of one prompt together.
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let (mut steps, mut prompts) = (Vec::new(), Vec::new());
    for prompt in 0..30 {
        let own: f64 = 8.0 + 2.0 * random.sample::<f64, _>(StandardNormal);
        for _ in 0..4 {
            steps.push(own.round());
            prompts.push(prompt);
        }
    }
    let found = median(&steps, &prompts, &Bootstrap::default()).unwrap();
    assert_eq!(found.n, 30);
    assert!(found.contains(8.0) && found.low < found.high, "{found}");
    let one = median(&[1.0, 2.0], &["a", "a"], &Bootstrap::default());
    assert_eq!(one, Err(Undefined::TooFew { needed: 2, got: 1 }));
    assert_eq!(median::<u8>(&[], &[], &Bootstrap::default()), Err(Undefined::Empty));
}

// --- crossover -----------------------------------------------------------------------------

#[test]
fn logistic_curves_are_those_of_scipy() {
    for case in golden()["crossover"].as_array().unwrap() {
        let yes: Vec<bool> =
            case["yes"].as_array().unwrap().iter().map(|x| x.as_bool().unwrap()).collect();
        let fit = Crossover::fit(&numbers(&case["levels"]), &yes).unwrap();
        assert_close(fit.half, case["half"].as_f64().unwrap(), 1e-3);
        assert_close(fit.slope, case["slope"].as_f64().unwrap(), 1e-3);
        assert_close(fit.at(fit.half), 0.5, 1e-12);
    }
}

#[test]
fn a_planted_crossover_is_within_its_interval() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let (mut levels, mut yes, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..40 {
        let own = 9.0 + random.sample::<f64, _>(StandardNormal);
        for level in 0..=20 {
            levels.push(f64::from(level));
            yes.push(f64::from(level) < own);
            pairs.push(pair);
        }
    }
    let settings = Bootstrap { resamples: 400, ..Bootstrap::default() };
    let found = half(&levels, &yes, &pairs, &settings).unwrap();
    // At whole levels, the last yes lies half a level below the turn on average.
    assert!(found.low < 9.1 && found.high > 8.4 && found.half_width() < 0.6, "{found}");
    assert!(Crossover::fit(&levels, &yes).unwrap().slope < 0.0);
}

#[test]
fn outcomes_that_turn_at_once_have_a_half_between() {
    let levels: Vec<f64> = (0..10).map(f64::from).collect();
    let yes: Vec<bool> = levels.iter().map(|&level| level > 5.0).collect();
    let fit = Crossover::fit(&levels, &yes).unwrap();
    assert!(fit.half > 5.0 && fit.half < 6.0, "{}", fit.half);
    assert_eq!(Crossover::fit(&levels, &[true; 10]), Err(Undefined::OneClass));
    assert_eq!(Crossover::fit(&[1.0, 1.0], &[true, false]), Err(Undefined::Constant));
    assert_eq!(Crossover::fit(&[], &[]), Err(Undefined::Empty));
    assert_eq!(Crossover::fit(&[1.0, f64::NAN], &[true, false]), Err(Undefined::NotFinite));
}

// --- spectrum ------------------------------------------------------------------------------

fn spectra(channels: &Value, shape: (usize, usize)) -> Vec<Spectrum> {
    let rows = rows(channels);
    rows.iter().map(|row| transform(ArrayView2::from_shape(shape, row).unwrap())).collect()
}

#[test]
fn agreement_by_band_is_that_of_numpy() {
    for case in golden()["spectrum"].as_array().unwrap() {
        let shape = numbers(&case["shape"]);
        let shape = (shape[0] as usize, shape[1] as usize);
        let bands = Bands::octaves(shape);
        let limits: Vec<Vec<f64>> = rows(&case["limits"]);
        let own: Vec<Vec<f64>> =
            bands.limits.iter().map(|&(low, high)| vec![low.into(), high.into()]).collect();
        assert_eq!(own, limits);
        let (x, y) = (spectra(&case["x"], shape), spectra(&case["y"], shape));
        let found = agreement(&x, &y, &bands).unwrap();
        let crossing = NoiseCrossing::of(&[x.clone(), x], &bands).unwrap();
        for ((found, power), expected) in
            found.iter().zip(crossing.power()).zip(case["bands"].as_array().unwrap())
        {
            let found = found.unwrap();
            assert_close(found.coherence, expected["coherence"].as_f64().unwrap(), 1e-12);
            assert_close(found.share, expected["share"].as_f64().unwrap(), 1e-12);
            assert_close(power, expected["power"].as_f64().unwrap(), 1e-12);
        }
    }
}

/// A pattern of one frequency has all its power in one band, and equal fields agree there alone.
#[test]
fn a_wave_lies_in_its_band() {
    let wave = Array2::from_shape_fn((16, 16), |(_, x)| {
        (2.0 * std::f64::consts::PI * 3.0 * x as f64 / 16.0).cos()
    });
    let bands = Bands::octaves((16, 16));
    let x = vec![transform(wave.view())];
    let found = agreement(&x, &x, &bands).unwrap();
    let place = bands.limits.iter().position(|limits| *limits == (3, 4)).unwrap();
    assert_close(found[place].unwrap().coherence, 1.0, 1e-12);
    let power = NoiseCrossing::of(&[x.clone(), x], &bands).unwrap().power();
    assert!(power.iter().enumerate().all(|(band, &p)| (p > 1e-3) == (band == place)), "{power:?}");
    assert_eq!(bands.label(place), "3–4");
}

/// White data are as strong at every frequency: they come out of the noise all at once, at
/// σ = √(S (1/c² − 1)).
#[test]
fn white_data_cross_the_noise_at_their_own_level() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let bands = Bands::octaves((16, 16));
    let fields: Vec<Vec<Spectrum>> =
        (0..4000).map(|_| vec![transform((noise(&mut random, (16, 16)) * 2.0).view())]).collect();
    let crossing = NoiseCrossing::of(&fields, &bands).unwrap();
    let expected = 2.0 * (1.0_f64 / 0.64 - 1.0).sqrt();
    for (band, sigma) in crossing.crossing(0.8).into_iter().enumerate() {
        assert!((sigma.unwrap() / expected - 1.0).abs() < 0.05, "band {band}: {sigma:?}");
    }
    for coherence in crossing.coherence(2.0) {
        assert_close(coherence.unwrap(), 0.5_f64.sqrt(), 0.01);
    }
}

/// What the null model predicts is what the best linear guess does: Gaussian data of a spectrum
/// that falls, noised, guessed, compared with the truth.
#[test]
fn the_null_model_is_what_the_best_linear_guess_reaches() {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let (side, sigma) = (8, 0.7);
    let bands = Bands::octaves((side, side));
    let strength = |(row, column): (usize, usize)| {
        let cycles = |i: usize| i.min(side - i) as f64;
        1.0 / (0.5 + cycles(row).hypot(cycles(column)))
    };
    let coloured = |random: &mut ChaCha8Rng| {
        let mut spectrum = transform(noise(random, (side, side)).view());
        spectrum.indexed_iter_mut().for_each(|(at, v)| *v *= strength(at));
        spectrum
    };
    let data: Vec<Vec<Spectrum>> = (0..3000).map(|_| vec![coloured(&mut random)]).collect();
    let crossing = NoiseCrossing::of(&data, &bands).unwrap();
    let mut sums = vec![[0.0; 3]; bands.count()];
    for field in &data {
        let noise = transform((noise(&mut random, (side, side)) * sigma).view());
        let mut guess = &field[0] + &noise;
        guess.indexed_iter_mut().for_each(|(at, v)| {
            let power = strength(at).powi(2);
            *v *= power / (power + sigma * sigma);
        });
        for (sums, band) in sums.iter_mut().zip(0..) {
            let inside = |at: (usize, usize)| {
                let cycles = |i: usize| i.min(side - i) as f64;
                let ring = cycles(at.0).hypot(cycles(at.1)).round() as u32;
                (bands.limits[band].0..=bands.limits[band].1).contains(&ring)
            };
            for (at, v) in guess.indexed_iter().filter(|(at, _)| inside(*at)) {
                let truth = field[0][at];
                sums[0] += (v * truth.conj()).re;
                sums[1] += v.norm_sqr();
                sums[2] += truth.norm_sqr();
            }
        }
    }
    for (predicted, [both, guess, truth]) in crossing.coherence(sigma).into_iter().zip(sums) {
        assert_close(both / (guess * truth).sqrt(), predicted.unwrap(), 0.01);
    }
}

/// A band that is put in at a set step commits there, and no other does.
#[test]
fn a_band_that_commits_at_a_set_step_is_found_there() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let bands = Bands::octaves((16, 16));
    let end = vec![transform(noise(&mut random, (16, 16)).view())];
    let from = [0, 2, 4, 7, 11];
    let mut agrees = vec![Vec::new(); bands.count()];
    for step in 0..14 {
        let mut x = transform(noise(&mut random, (16, 16)).view());
        for (at, v) in x.indexed_iter_mut() {
            let cycles = |i: usize| i.min(16 - i) as f64;
            let ring = cycles(at.0).hypot(cycles(at.1)).round() as u32;
            let band = bands.limits.iter().position(|&(low, high)| (low..=high).contains(&ring));
            if band.is_some_and(|band| step >= from[band]) {
                *v = end[0][at];
            }
        }
        for (agrees, found) in agrees.iter_mut().zip(agreement(&[x], &end, &bands).unwrap()) {
            agrees.push(found.is_some_and(|found| found.coherence >= 0.9));
        }
    }
    // The mean is one number: by luck its sign is right before.
    for (band, agrees) in agrees.iter().enumerate().skip(1) {
        assert_eq!(committed_from(agrees), Some(from[band]), "band {}", bands.label(band));
    }
}

#[test]
fn spectra_that_do_not_fit_say_so() {
    let bands = Bands::octaves((8, 8));
    let flat = vec![transform(Array2::zeros((8, 8)).view())];
    assert!(agreement(&flat, &flat, &bands).unwrap().iter().all(Option::is_none));
    let small = vec![transform(Array2::zeros((4, 4)).view())];
    assert!(matches!(agreement(&small, &small, &bands), Err(Undefined::Shape { .. })));
    assert!(matches!(agreement(&flat, &[], &bands), Err(Undefined::Length { .. })));
    let one = NoiseCrossing::of(std::slice::from_ref(&flat), &bands);
    assert_eq!(one, Err(Undefined::TooFew { needed: 2, got: 1 }));
    let none = NoiseCrossing::of(&[flat.clone(), flat], &bands).unwrap();
    assert!(none.crossing(0.8).iter().all(Option::is_none));
}

// --- similarity ----------------------------------------------------------------------------

#[test]
fn alignment_is_that_of_the_formula_over_features() {
    for case in golden()["cka"].as_array().unwrap() {
        let [x, y] = ["x", "y"].map(|name| unit_gram(matrix(&case[name]).view()).unwrap());
        assert_close(alignment(&x, &y).unwrap(), case["cka"].as_f64().unwrap(), 1e-12);
        assert_close(alignment(&x, &x).unwrap(), 1.0, 1e-12);
    }
}

#[test]
fn alignment_knows_no_rotation_and_needs_the_same_examples() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let x = noise(&mut random, (200, 3));
    let turn = ndarray::array![[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, -1.0]] * 5.0;
    let [a, b] = [x.clone(), x.dot(&turn) + 4.0].map(|x| unit_gram(x.view()).unwrap());
    assert_close(alignment(&a, &b).unwrap(), 1.0, 1e-9);
    let order: Vec<usize> = (0..200).map(|i| (i + 71) % 200).collect();
    assert!(alignment(&a, &reordered(&b, &order)).unwrap() < 0.1);
    assert_eq!(unit_gram(Array2::ones((4, 2)).view()), Err(Undefined::Constant));
    assert_eq!(
        unit_gram(Array2::ones((1, 2)).view()),
        Err(Undefined::TooFew { needed: 2, got: 1 })
    );
    assert!(matches!(alignment(&a, &Array2::zeros((2, 2))), Err(Undefined::Shape { .. })));
}
