//! Distances between sets, diversity, appearance, power by frequency and responses: against NumPy, SciPy and
//! scikit-learn (fixtures/goldens/sets.json), against closed forms, and with planted effects.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use denoscope::measure::appearance::Appearance;
use denoscope::measure::distribution::{NEIGHBOURS, frechet, kernel_distance, precision_recall};
use denoscope::measure::diversity::{mean_pairwise_distance, vendi_share};
use denoscope::measure::impulse::radius_holding;
use denoscope::measure::jackknife::jackknife;
use denoscope::measure::spectrum::{Bands, band_power, transform};
use denoscope::measure::{Estimate, Undefined, blur};
use ndarray::{Array2, Array3, Axis, array, concatenate, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../fixtures/goldens/sets.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn map(shape: &Value, values: &Value) -> Array2<f32> {
    let shape = numbers(shape);
    let values = numbers(values).into_iter().map(|x| x as f32).collect();
    Array2::from_shape_vec((shape[0] as usize, shape[1] as usize), values).unwrap()
}

/// [rows, columns, numbers].
fn features(value: &Value) -> Array2<f32> {
    map(&Value::from(value.as_array().unwrap()[..2].to_vec()), &value[2])
}

#[track_caller]
fn assert_close(got: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    let allowed = tolerance * expected.abs().max(1.0);
    assert!((got - expected).abs() <= allowed, "got {got}, expected {expected}");
}

fn normal(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    Array2::from_shape_fn((rows, columns), |_| StandardNormal.sample(&mut random))
}

// --- against other programs --------------------------------------------------------------

#[test]
fn distances_between_sets_agree_with_scipy_and_scikit_learn() {
    for case in golden()["sets"].as_array().unwrap() {
        let (a, b) = (features(&case["a"]), features(&case["b"]));
        // Square roots of what should be zero: half of the digits.
        assert_close(frechet(a.view(), b.view()).unwrap(), &case["frechet"], 2e-6);
        assert_close(kernel_distance(a.view(), b.view()).unwrap(), &case["kernel"], 1e-9);
        let both = precision_recall(a.view(), b.view(), NEIGHBOURS).unwrap();
        assert_close(both.precision, &case["precision"], 1e-12);
        assert_close(both.recall, &case["recall"], 1e-12);
    }
}

#[test]
fn diversity_and_appearance_agree_with_scipy() {
    let golden = golden();
    for case in golden["diversity"].as_array().unwrap() {
        let x = features(&case["features"]);
        assert_close(vendi_share(x.view()).unwrap(), &case["vendi_share"], 1e-6);
        assert_close(mean_pairwise_distance(x.view()).unwrap(), &case["pairwise"], 1e-6);
    }
    let case = &golden["appearance"];
    let shape = numbers(&case["shape"]);
    let pixels = numbers(&case["pixels"]).into_iter().map(|x| x as u8).collect();
    let shape = (shape[0] as usize, shape[1] as usize, 3);
    let got = Appearance::of(Array3::from_shape_vec(shape, pixels).unwrap().view()).unwrap();
    assert_close(got.saturation, &case["saturation"], 1e-9);
    assert_close(got.contrast, &case["contrast"], 1e-9);
    assert_close(got.clipped, &case["clipped"], 1e-12);
    assert_close(got.laplacian, &case["laplacian"], 1e-9);
}

#[test]
fn blurred_maps_agree_with_scipy() {
    for case in golden()["blur"].as_array().unwrap() {
        let x = map(&case["shape"], &case["map"]);
        let blurred = blur::gaussian(x.view(), case["sigma"].as_f64().unwrap()).unwrap();
        let expected = case["blurred"].as_array().unwrap();
        for (got, expected) in blurred.iter().zip(expected) {
            assert_close((*got).into(), expected, 1e-6);
        }
    }
}

// --- closed forms, planted effects, controls ---------------------------------------------

#[test]
fn a_moved_set_is_as_far_as_it_was_moved_and_a_copy_is_nowhere_else() {
    let a = normal(60, 5, 1);
    assert!(frechet(a.view(), a.view()).unwrap() < 1e-6);
    let moved = &a + &array![3.0_f32, 0.0, 4.0, 0.0, 0.0];
    assert!((frechet(a.view(), moved.view()).unwrap() - 25.0).abs() < 1e-4);
    let same = precision_recall(a.view(), a.view(), NEIGHBOURS).unwrap();
    assert_eq!((same.precision, same.recall), (1.0, 1.0));
    let far = precision_recall(a.view(), (&a + 100.0).view(), NEIGHBOURS).unwrap();
    assert_eq!((far.precision, far.recall), (0.0, 0.0));
}

#[test]
fn the_kernel_distance_of_one_distribution_is_zero_on_average() {
    let of = |shift: f32| -> Vec<f64> {
        let pair = |seed: u64| (normal(30, 4, 2 * seed), normal(30, 4, 2 * seed + 1) + shift);
        let pairs = (0..60).map(pair);
        pairs.map(|(a, b)| kernel_distance(a.view(), b.view()).unwrap()).collect()
    };
    let control = Estimate::of_mean(&of(0.0), 0.99).unwrap();
    assert!(control.contains(0.0), "{control}");
    let planted = Estimate::of_mean(&of(0.7), 0.99).unwrap();
    assert!(planted.low > 0.0, "{planted}");
}

#[test]
fn a_mode_that_is_never_drawn_costs_recall_and_not_precision() {
    let (left, right) = (normal(80, 3, 5), normal(80, 3, 6) + 50.0);
    let real = concatenate(Axis(0), &[left.view(), right.view()]).unwrap();
    let drawn = normal(160, 3, 7);
    let both = precision_recall(drawn.view(), real.view(), NEIGHBOURS).unwrap();
    assert!(both.precision > 0.8, "{both:?}");
    assert!(both.recall <= 0.5 && both.recall > 0.35, "{both:?}");
}

#[test]
fn copies_have_no_diversity_and_strangers_have_all_of_it() {
    let copies = Array2::from_shape_fn((4, 6), |(_, column)| column as f32 + 1.0);
    assert!((vendi_share(copies.view()).unwrap() - 0.25).abs() < 1e-6);
    assert!(mean_pairwise_distance(copies.view()).unwrap() < 1e-9);
    let strangers = Array2::<f32>::eye(4);
    assert!((vendi_share(strangers.view()).unwrap() - 1.0).abs() < 1e-9);
    assert!((mean_pairwise_distance(strangers.view()).unwrap() - 1.0).abs() < 1e-9);
    // Two of one kind and two of another: as two images.
    let pairs = array![[1.0_f32, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 5.0]];
    assert!((vendi_share(pairs.view()).unwrap() - 0.5).abs() < 1e-9);
}

#[test]
fn the_jackknife_of_a_mean_is_students_interval() {
    let values: Vec<f64> = normal(1, 9, 3).iter().map(|&x| f64::from(x)).collect();
    let mean =
        |kept: &[usize]| Ok(kept.iter().map(|&i| values[i]).sum::<f64>() / kept.len() as f64);
    let ours = jackknife(values.len(), 0.9, mean).unwrap();
    let student = Estimate::of_mean(&values, 0.9).unwrap();
    assert!((ours.mean - student.mean).abs() < 1e-12);
    assert!((ours.low - student.low).abs() < 1e-12 && (ours.high - student.high).abs() < 1e-12);
    assert_eq!(jackknife(2, 0.9, mean), Err(Undefined::TooFew { needed: 3, got: 2 }));
    assert_eq!(jackknife(4, 0.9, |_| Ok(f64::NAN)), Err(Undefined::NotFinite));
}

#[test]
fn a_wave_has_its_power_in_its_band_and_a_flat_map_in_the_first() {
    let side = 32;
    let wave = Array2::from_shape_fn((side, side), |(_, column)| {
        (std::f64::consts::TAU * 6.0 * column as f64 / side as f64).cos()
    });
    let bands = Bands::octaves((side, side));
    let power = band_power(&[transform(wave.view())], &bands).unwrap();
    // Six cycles over the width are in 5–8; the mean square of a cosine is one half.
    assert!((power[4] - 0.5).abs() < 1e-9, "{power:?}");
    assert!(power.iter().sum::<f64>() - power[4] < 1e-9, "{power:?}");
    let flat = transform(Array2::from_elem((side, side), 3.0).view());
    let power = band_power(&[flat.clone(), transform(wave.view())], &bands).unwrap();
    assert!((power[0] - 9.0).abs() < 1e-9 && (power[4] - 0.5).abs() < 1e-9, "channels add up");
    let wrong = band_power(&[flat], &Bands::octaves((8, 8)));
    assert_eq!(wrong, Err(Undefined::Shape { expected: (8, 8), got: (side, side) }));
}

#[test]
fn a_radius_holds_the_share_of_what_was_planted() {
    let mut energy = Array2::<f64>::zeros((41, 41));
    energy[(20, 25)] = 2.0;
    assert_eq!(radius_holding(energy.view(), (20.0, 20.0), 0.5), Ok(5.0));
    // A disc of radius 15: half of its energy lies within 15/√2.
    let disc = Array2::from_shape_fn((41, 41), |(row, column)| {
        f64::from((row as f64 - 20.0).hypot(column as f64 - 20.0) <= 15.0)
    });
    let half = radius_holding(disc.view(), (20.0, 20.0), 0.5).unwrap();
    assert!((half - 15.0 / 2.0_f64.sqrt()).abs() < 0.5, "{half}");
    assert_eq!(radius_holding(disc.view(), (20.0, 20.0), 1.0), Ok(15.0));
    let none = Array2::<f64>::zeros((3, 3));
    assert_eq!(radius_holding(none.view(), (1.0, 1.0), 0.5), Err(Undefined::ZeroMass));
}

#[test]
fn a_grey_image_has_no_colour_and_a_flat_one_no_contrast() {
    let grey = Appearance::of(Array3::from_elem((8, 8, 3), 128).view()).unwrap();
    assert_eq!((grey.saturation, grey.clipped, grey.laplacian), (0.0, 0.0, 0.0));
    assert!(grey.contrast < 1e-9);
    let mut red = Array3::<u8>::zeros((8, 8, 3));
    red.slice_mut(s![.., .., 0]).fill(200);
    let red = Appearance::of(red.view()).unwrap();
    assert_eq!((red.saturation, red.clipped), (1.0, 1.0));
    assert_eq!(Appearance::of(Array3::zeros((2, 8, 3)).view()), Err(Undefined::Empty));
}

#[test]
fn what_cannot_be_measured_says_why() {
    let (one, two) = (normal(1, 3, 0), normal(5, 3, 1));
    assert_eq!(frechet(one.view(), two.view()), Err(Undefined::TooFew { needed: 2, got: 1 }));
    let other = normal(5, 4, 2);
    let wide = Err(Undefined::Length { expected: 3, got: 4 });
    assert_eq!(kernel_distance(two.view(), other.view()), wide);
    let few = precision_recall(two.view(), normal(3, 3, 1).view(), NEIGHBOURS);
    assert_eq!(few, Err(Undefined::TooFew { needed: 4, got: 3 }));
    let mut broken = two.clone();
    broken[(0, 0)] = f32::NAN;
    assert_eq!(frechet(broken.view(), two.view()), Err(Undefined::NotFinite));
    assert_eq!(vendi_share(broken.view()), Err(Undefined::NotFinite));
    assert_eq!(vendi_share(Array2::zeros((3, 2)).view()), Err(Undefined::ZeroMass));
    assert!(blur::gaussian(two.view(), -1.0).is_err());
}
