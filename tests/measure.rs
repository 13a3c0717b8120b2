//! The maths of `denoscope::measure` against PyTorch, scikit-learn and SciPy
//! (fixtures/goldens/measure.json, scores.json), against closed forms, and as properties.

#![allow(clippy::unwrap_used)]

use denoscope::measure::covered::{Covered, SortedMap};
use denoscope::measure::localisation::{
    DAAM_THRESHOLD, Localisation, Ranking, intersection_over_map, intersection_over_region, iou,
    mass_ratio, pointing, region_iou,
};
use denoscope::measure::segmentation::{run_lengths, runs};
use denoscope::measure::{Bootstrap, Undefined, daam, image, map, permutation, resize};
use ndarray::{Array2, Array3, Array4, Axis, array};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../fixtures/goldens/measure.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|x| x as f32).collect()
}

fn flags(value: &Value) -> Vec<bool> {
    value.as_array().unwrap().iter().map(|x| x.as_bool().unwrap()).collect()
}

fn shape(value: &Value) -> (usize, usize) {
    let sizes = numbers(value);
    (sizes[0] as usize, sizes[1] as usize)
}

fn grid<T: Clone>(size: &Value, values: Vec<T>) -> Array2<T> {
    Array2::from_shape_vec(shape(size), values).unwrap()
}

#[track_caller]
fn assert_close(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "got {got}, expected {expected} ± {tolerance}");
}

/// Large goldens hold every 37th value.
#[track_caller]
fn assert_map(got: &Array2<f32>, expected: &Value) {
    let expected = floats(expected);
    let stride = if got.len() > expected.len() { 37 } else { 1 };
    let got: Vec<f32> = got.iter().copied().step_by(stride).collect();
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert_close(f64::from(*got), f64::from(*expected), 2e-6);
    }
}

// --- resizing and DAAM -------------------------------------------------------------------

#[test]
fn resizing_agrees_with_pytorch() {
    let golden = golden();
    for case in golden["resize"].as_array().unwrap() {
        let x = grid(&case["shape"], floats(&case["map"]));
        let out = shape(&case["out"]);
        assert_map(&resize::bilinear(x.view(), out).unwrap(), &case["bilinear"]);
        assert_map(&resize::bicubic(x.view(), out).unwrap(), &case["bicubic"]);
    }
    let area = &golden["area"];
    let mask = grid(&area["shape"], flags(&area["mask"]));
    assert_map(&resize::coverage(mask.view(), shape(&area["out"])).unwrap(), &area["area"]);
}

#[test]
fn resizing_to_no_cells_is_refused() {
    let x = Array2::<f32>::ones((2, 2));
    assert_eq!(resize::bicubic(x.view(), (0, 3)), Err(Undefined::Empty));
    assert_eq!(resize::bilinear(Array2::zeros((0, 2)).view(), (2, 2)), Err(Undefined::Empty));
}

#[test]
fn a_region_is_what_is_covered_by_half() {
    let mask = array![[true, true, false, true], [false, false, false, false]];
    assert_eq!(resize::region(mask.view(), (1, 2)).unwrap(), array![[true, false]]);
    // Three columns onto two: the middle one counts half on either side.
    let strip = array![[true, true, false]];
    let shares = resize::coverage(strip.view(), (1, 2)).unwrap();
    assert_close(f64::from(shares[(0, 0)]), 1.0, 1e-6);
    assert_close(f64::from(shares[(0, 1)]), 1.0 / 3.0, 1e-6);
}

#[test]
fn daam_agrees_with_its_formula_in_pytorch() {
    let golden = golden();
    let case = &golden["daam"];
    let mut layers: Vec<daam::HeadMaps> = Vec::new();
    for step in case["steps"].as_array().unwrap() {
        for (i, layer) in step.as_array().unwrap().iter().enumerate() {
            let (heads, side) = shape(&case["heads_side"][i]);
            let maps = Array4::from_shape_vec((heads, 5, side, side), floats(layer)).unwrap();
            if layers.len() <= i {
                layers.push(daam::HeadMaps::new(heads, 5, (side, side)));
            }
            layers[i].add(maps.view()).unwrap();
        }
    }
    assert!(layers.iter().all(|layer| layer.steps() == 3));
    let sums: Vec<_> = layers.iter().map(daam::HeadMaps::sum).collect();
    let maps = daam::aggregate(&sums, shape(&case["out"])).unwrap();
    let flat = |maps: &Array3<f32>| Array2::from_shape_vec((40, 8), maps.iter().copied().collect());
    assert_map(&flat(&maps).unwrap(), &case["map"]);
    let share = daam::share_among_tokens(&maps, 1..4).unwrap();
    assert_map(&flat(&share).unwrap(), &case["share"]);
    assert_map(&daam::word_map(&maps, &[1, 3]).unwrap(), &case["word_1_3"]);
}

#[test]
fn the_mean_over_steps_is_the_sum_over_their_number() {
    let mut layer = daam::HeadMaps::new(1, 1, (2, 2));
    assert_eq!(layer.mean_over_steps(), Err(Undefined::Empty));
    layer.add(Array4::from_elem((1, 1, 2, 2), 0.25).view()).unwrap();
    layer.add(Array4::from_elem((1, 1, 2, 2), 0.75).view()).unwrap();
    assert_eq!(layer.sum(), Array4::<f32>::ones((1, 1, 2, 2)));
    assert_eq!(layer.mean_over_steps().unwrap(), Array4::from_elem((1, 1, 2, 2), 0.5));
}

#[test]
fn daam_refuses_what_does_not_fit() {
    let mut layer = daam::HeadMaps::new(2, 3, (4, 4));
    let wrong_size = Array4::zeros((2, 3, 4, 5));
    let expected = Undefined::Shape { expected: (4, 4), got: (4, 5) };
    assert_eq!(layer.add(wrong_size.view()), Err(expected));
    let wrong_heads = Array4::zeros((1, 3, 4, 4));
    assert_eq!(layer.add(wrong_heads.view()), Err(Undefined::Length { expected: 2, got: 1 }));
    let broken = Array4::from_elem((2, 3, 4, 4), f32::NAN);
    assert_eq!(layer.add(broken.view()), Err(Undefined::NotFinite));
    assert_eq!(layer.steps(), 0, "a refused step is not counted");
    assert_eq!(daam::aggregate(&[], (4, 4)), Err(Undefined::Empty));
    let maps = Array3::<f32>::ones((3, 2, 2));
    assert_eq!(daam::word_map(&maps, &[]), Err(Undefined::Empty));
    assert_eq!(daam::word_map(&maps, &[3]), Err(Undefined::Length { expected: 3, got: 3 }));
    assert!(daam::share_among_tokens(&maps, 1..4).is_err());
}

// --- summaries of a map ------------------------------------------------------------------

#[test]
fn a_single_full_cell_has_no_entropy_and_is_its_own_centroid_and_peak() {
    let mut x = Array2::<f32>::zeros((2, 4));
    x[(1, 0)] = 0.5;
    let summary = map::summarise(x.view()).unwrap();
    assert_eq!((summary.mass, summary.mean), (0.5, 0.0625));
    assert_eq!(summary.entropy, 0.0);
    let here = map::Point { x: 0.125, y: 0.75 };
    assert_eq!((summary.centroid, summary.peak.at), (here, here));
    assert_eq!((summary.peak.row, summary.peak.column, summary.peak.value), (1, 0, 0.5));
}

#[test]
fn a_flat_map_has_the_largest_entropy_and_the_middle_as_centroid() {
    let x = Array2::<f32>::from_elem((3, 5), 0.2);
    assert_close(map::entropy(x.view()).unwrap(), 15.0_f64.ln(), 1e-12);
    assert_close(map::relative_entropy(x.view()).unwrap(), 1.0, 1e-12);
    let centre = map::centroid(x.view()).unwrap();
    assert_close(centre.x, 0.5, 1e-12);
    assert_close(centre.y, 0.5, 1e-12);
    assert_eq!(map::min_max(x.view()), Err(Undefined::Constant));
}

#[test]
fn maps_without_a_reading_say_why() {
    let of = |values: [f32; 2]| map::summarise(array![values].view()).map(|_| ());
    assert_eq!(of([0.0, 0.0]), Err(Undefined::ZeroMass));
    assert_eq!(of([1.0, -0.1]), Err(Undefined::Negative));
    assert_eq!(of([1.0, f32::NAN]), Err(Undefined::NotFinite));
    assert_eq!(of([1.0, f32::INFINITY]), Err(Undefined::NotFinite));
    assert_eq!(map::mass(Array2::zeros((0, 3)).view()), Err(Undefined::Empty));
}

#[test]
fn rounding_noise_is_not_stretched_into_a_picture() {
    let noisy = array![[0.25_f32, 0.25 + f32::EPSILON / 4.0, 0.25 - f32::EPSILON / 4.0]];
    assert_eq!(map::min_max(noisy.view()), Err(Undefined::Constant));
    let real = array![[0.25_f32, 0.2501, 0.2499]];
    let stretched = map::min_max(real.view()).unwrap();
    assert_eq!((stretched[(0, 1)], stretched[(0, 2)]), (1.0, 0.0));
}

#[test]
fn a_difference_of_maps_compares_shapes_not_masses() {
    let x = array![[1.0_f32, 3.0]];
    let zero = map::difference(x.view(), (&x * 7.0).view()).unwrap();
    assert!(zero.iter().all(|d| d.abs() < 1e-7));
    let moved = map::difference(x.view(), array![[3.0_f32, 1.0]].view()).unwrap();
    assert_eq!(moved, array![[-0.5, 0.5]]);
}

// --- a map against a region --------------------------------------------------------------

#[test]
fn scores_agree_with_scikit_learn_and_scipy() {
    let golden = golden();
    for case in golden["scores"].as_array().unwrap() {
        let x = grid(&case["shape"], floats(&case["map"]));
        let mask = grid(&case["shape"], flags(&case["mask"]));
        let scores = Localisation::new(x.view(), mask.view(), DAAM_THRESHOLD).unwrap();
        assert_close(scores.auroc.unwrap(), number(&case["auroc"]), 1e-12);
        assert_close(scores.auroc.unwrap(), number(&case["mann_whitney"]), 1e-12);
        assert_close(scores.average_precision.unwrap(), number(&case["average_precision"]), 1e-12);
        assert_close(scores.iou.unwrap(), number(&case["iou_0.4"]), 1e-12);
        assert_close(scores.best_iou.unwrap().iou, number(&case["best_iou"]), 1e-12);
        let precision = intersection_over_map(x.view(), mask.view(), DAAM_THRESHOLD).unwrap();
        assert_close(precision, number(&case["precision_0.4"]), 1e-12);
        let recall = intersection_over_region(x.view(), mask.view(), DAAM_THRESHOLD).unwrap();
        assert_close(recall, number(&case["recall_0.4"]), 1e-12);
        let best = scores.best_iou.unwrap();
        assert_close(iou(x.view(), mask.view(), best.threshold).unwrap(), best.iou, 1e-12);
        assert_close(map::entropy(x.view()).unwrap(), number(&case["entropy"]), 1e-6);
        // SciPy counts cells from 0; a cell's centre lies half a cell further.
        let (rows, columns) = x.dim();
        let centre = numbers(&case["centre_of_mass"]);
        let got = map::centroid(x.view()).unwrap();
        assert_close(got.y, (centre[0] + 0.5) / rows as f64, 1e-9);
        assert_close(got.x, (centre[1] + 0.5) / columns as f64, 1e-9);
    }
}

#[test]
fn a_map_equal_to_its_region_is_perfect() {
    let mask = array![[true, false, false], [true, true, false]];
    let x = mask.mapv(|inside| if inside { 0.3_f32 } else { 0.0 });
    let scores = Localisation::new(x.view(), mask.view(), DAAM_THRESHOLD).unwrap();
    assert_eq!(scores.auroc, Ok(1.0));
    assert_eq!(scores.average_precision, Ok(1.0));
    assert_eq!(scores.iou, Ok(1.0));
    assert_eq!(scores.best_iou.unwrap().iou, 1.0);
    assert_close(scores.mass_ratio.unwrap(), 2.0, 1e-12);
    assert_eq!(scores.pointing, Ok(true));
    let inverse = x.mapv(|v| 0.3 - v);
    let scores = Localisation::new(inverse.view(), mask.view(), DAAM_THRESHOLD).unwrap();
    assert_eq!(scores.auroc, Ok(0.0));
    assert_eq!(scores.iou, Ok(0.0));
    assert_eq!(scores.mass_ratio, Ok(0.0));
    assert_eq!(scores.pointing, Ok(false));
}

#[test]
fn a_constant_map_knows_nothing_and_has_no_threshold() {
    let mask = array![[true, false, false, false]];
    let x = Array2::<f32>::ones((1, 4));
    let scores = Localisation::new(x.view(), mask.view(), DAAM_THRESHOLD).unwrap();
    assert_eq!(scores.auroc, Ok(0.5));
    assert_eq!(scores.average_precision, Ok(0.25));
    assert_eq!(scores.mass_ratio, Ok(1.0));
    assert_eq!(scores.iou, Err(Undefined::Constant));
    assert_eq!(scores.best_iou, Err(Undefined::Constant));
    assert_eq!(scores.pointing, Err(Undefined::TiedPeak));
}

#[test]
fn scores_that_do_not_exist_say_why() {
    let x = array![[0.1_f32, 0.9]];
    let nothing = array![[false, false]];
    let everything = array![[true, true]];
    let score = |map: &Array2<f32>, mask: &Array2<bool>| {
        Localisation::new(map.view(), mask.view(), DAAM_THRESHOLD)
    };
    assert_eq!(score(&x, &nothing), Err(Undefined::EmptyRegion));
    let full = score(&x, &everything).unwrap();
    assert_eq!(full.auroc, Err(Undefined::FullRegion));
    assert_eq!(full.mass_ratio, Ok(1.0));
    assert_eq!(score(&array![[f32::NAN, 1.0]], &everything), Err(Undefined::NotFinite));
    let other = array![[true], [false]];
    let expected = Undefined::Shape { expected: (1, 2), got: (2, 1) };
    assert_eq!(score(&x, &other), Err(expected));
    let signed = array![[-1.0_f32, 1.0]];
    let mask = array![[false, true]];
    assert_eq!(mass_ratio(signed.view(), mask.view()), Err(Undefined::Negative));
    assert_eq!(score(&signed, &mask).unwrap().auroc, Ok(1.0), "ranks need no weights");
    assert_eq!(mass_ratio((&x * 0.0).view(), mask.view()), Err(Undefined::ZeroMass));
    for threshold in [-0.1, 1.0, f64::NAN] {
        assert!(matches!(
            iou(x.view(), mask.view(), threshold),
            Err(Undefined::Parameter { name: "the threshold", .. })
        ));
    }
}

#[test]
fn tied_peaks_on_one_side_still_point() {
    let x = array![[0.9_f32, 0.9, 0.1]];
    assert_eq!(pointing(x.view(), array![[true, true, false]].view()), Ok(true));
    assert_eq!(pointing(x.view(), array![[false, false, true]].view()), Ok(false));
    let split = array![[true, false, false]];
    assert_eq!(pointing(x.view(), split.view()), Err(Undefined::TiedPeak));
}

#[test]
fn regions_overlap_by_intersection_over_union() {
    let a = array![[true, true, false]];
    assert_eq!(region_iou(a.view(), array![[false, true, true]].view()), Ok(1.0 / 3.0));
    let none = array![[false, false, false]];
    assert_eq!(region_iou(a.view(), none.view()), Ok(0.0));
    assert_eq!(region_iou(none.view(), none.view()), Err(Undefined::EmptyRegion));
}

proptest! {
    #[test]
    fn auroc_turns_around_with_the_map_and_ignores_its_scale(
        values in prop::collection::vec(0_u8..6, 12),
        inside in prop::collection::vec(any::<bool>(), 12),
    ) {
        prop_assume!(inside.iter().any(|&x| x) && !inside.iter().all(|&x| x));
        let x = Array2::from_shape_vec((3, 4), values).unwrap().mapv(f32::from);
        let mask = Array2::from_shape_vec((3, 4), inside).unwrap();
        let auroc = |x: &Array2<f32>| Ranking::new(x.view(), mask.view()).unwrap().auroc().unwrap();
        prop_assert!((auroc(&x) + auroc(&x.mapv(|v| -v)) - 1.0).abs() < 1e-12);
        prop_assert!((auroc(&x) - auroc(&x.mapv(|v| (v + 1.0).powi(3)))).abs() < 1e-12);
        // The definition, pair by pair.
        let mut wins = 0.0;
        let mut pairs = 0.0;
        for (a, _) in x.iter().zip(&mask).filter(|pair| *pair.1) {
            for (b, _) in x.iter().zip(&mask).filter(|pair| !*pair.1) {
                pairs += 1.0;
                wins += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
            }
        }
        prop_assert!((auroc(&x) - wins / pairs).abs() < 1e-12);
    }

    #[test]
    fn resizing_keeps_constants_and_linear_resizing_keeps_the_range(
        rows in 1_usize..9, columns in 1_usize..9,
        out_rows in 1_usize..20, out_columns in 1_usize..20, seed in any::<u64>(),
    ) {
        let flat = Array2::<f32>::from_elem((rows, columns), 0.37);
        let out = (out_rows, out_columns);
        for resized in [resize::bilinear(flat.view(), out), resize::bicubic(flat.view(), out)] {
            prop_assert!(resized.unwrap().iter().all(|x| (x - 0.37).abs() < 1e-6));
        }
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let x = Array2::from_shape_simple_fn((rows, columns), || random.random::<f32>());
        let resized = resize::bilinear(x.view(), out).unwrap();
        prop_assert!(resized.iter().all(|v| (-1e-6..=1.0 + 1e-6).contains(v)));
        let mask = x.mapv(|v| v < 0.5);
        let covered = resize::coverage(mask.view(), out).unwrap();
        let share = mask.iter().filter(|&&v| v).count() as f32 / mask.len() as f32;
        prop_assert!((covered.mean().unwrap() - share).abs() < 1e-5);
        prop_assert!(covered.iter().all(|v| (-1e-6..=1.0 + 1e-6).contains(v)));
    }
}

// --- controls ------------------------------------------------------------------------------

/// A planted effect and its control: maps that lie on their objects score high, the same maps
/// on other images' objects at chance.
#[test]
fn planted_attention_is_found_and_its_control_is_at_chance() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(11);
    let mut maps = Vec::new();
    let mut masks = Vec::new();
    for _ in 0..120 {
        let (row, column) = (random.random_range(0..13_usize), random.random_range(0..13_usize));
        let mask = Array2::from_shape_fn((16, 16), |(r, c)| {
            (row..row + 4).contains(&r) && (column..column + 4).contains(&c)
        });
        maps.push(mask.mapv(|x| random.random::<f32>() + if x { 0.6 } else { 0.0 }));
        masks.push(mask);
    }
    let score = |map: usize, mask: usize| {
        Ranking::new(maps[map].view(), masks[mask].view()).unwrap().auroc().unwrap()
    };
    let labels: Vec<usize> = (0..120).collect();
    let others = permutation::derangement(&labels, 5).unwrap();
    let own: Vec<f64> = (0..120).map(|i| score(i, i)).collect();
    let control: Vec<f64> = (0..120).map(|i| score(others[i], i)).collect();
    let settings = Bootstrap::default();
    assert!(settings.mean(&own).unwrap().low > 0.85);
    assert!(settings.mean(&control).unwrap().contains(0.5));
}

// --- images ------------------------------------------------------------------------------

#[test]
fn psnr_follows_its_formula() {
    let a = Array3::<f32>::zeros((3, 2, 2));
    let b = a.mapv(|x| x + 0.1);
    assert_close(image::psnr(a.view(), b.view(), 1.0).unwrap(), 20.0, 1e-6);
    assert_close(image::psnr(a.view(), b.view(), 2.0).unwrap(), 26.020_599_913, 1e-6);
    assert_eq!(image::psnr(a.view(), a.view(), 1.0), Err(Undefined::Identical));
    assert!(image::psnr(a.view(), a.index_axis(Axis(0), 0).insert_axis(Axis(0)), 1.0).is_err());
    assert!(image::psnr(a.view(), b.view(), 0.0).is_err());
    let broken = a.mapv(|_| f32::NAN);
    assert_eq!(image::psnr(a.view(), broken.view(), 1.0), Err(Undefined::NotFinite));
}

fn golden_scores() -> Value {
    serde_json::from_str(include_str!("../fixtures/goldens/scores.json")).unwrap()
}

#[test]
fn coarse_maps_on_fine_masks_are_scored_as_by_scikit_learn() {
    for case in golden_scores()["covered"].as_array().unwrap() {
        let map = grid(&case["shape"], floats(&case["map"]));
        let mask = grid(&case["mask_shape"], flags(&case["mask"]));
        let region = Covered::new(mask.view(), map.dim()).unwrap();
        let scores = SortedMap::new(map.view()).unwrap().scores(&region, DAAM_THRESHOLD).unwrap();
        for (got, key) in [
            (scores.auroc, "auroc"),
            (scores.average_precision, "average_precision"),
            (scores.iou.unwrap(), "iou"),
            (scores.ioa.unwrap(), "ioa"),
            (scores.best_iou.unwrap(), "best_iou"),
        ] {
            assert_close(got, number(&case[key]), 1e-6);
        }
    }
}

#[test]
fn run_lengths_are_read_as_by_pycocotools() {
    for case in golden_scores()["runs"].as_array().unwrap() {
        let mask = grid(&case["shape"], flags(&case["mask"]));
        let counts = run_lengths(case["text"].as_str().unwrap()).unwrap();
        let (height, width) = mask.dim();
        assert_eq!(runs(&counts, [height, width]).unwrap(), mask);
    }
}
