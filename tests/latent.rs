//! What an autoencoder keeps: what was planted is found, and nothing where nothing is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use denoscope::figure::ContactSheet;
use denoscope::measure::spectrum::Bands;
use denoscope::probe::latent::report::Outcome;
use denoscope::probe::latent::{
    Change, ChannelRanges, Condition, EVERYTHING, Impulse, LatentRun, OTHER_IMAGE, PSNR, RENDERED,
    look,
};
use denoscope::report::{Picture, Rerun};
use denoscope::table::{LatentSurvivalRow, frame};
use denoscope::world::{Expectations, compose, parse, render};
use image::RgbImage;
use ndarray::{Array3, Array4, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SIZE: usize = 64;
const COLOURS: [&str; 6] = ["red", "green", "blue", "yellow", "purple", "orange"];
const SHAPES: [&str; 4] = ["ball", "cube", "cone", "ring"];

/// One object, of a colour that is `shift` further on.
fn scene(i: usize, shift: usize) -> (RgbImage, Expectations) {
    let colour = COLOURS[(i + shift) % COLOURS.len()];
    let said = parse(&format!("a large {colour} {}", SHAPES[i % SHAPES.len()])).unwrap();
    (render(&compose(&said, i as u64).unwrap(), SIZE), said)
}

/// Images, and what a change leaves of each.
fn condition(
    change: Change,
    control: Option<&'static str>,
    left: impl Fn(usize, &RgbImage) -> RgbImage,
) -> Condition {
    let bands = Bands::octaves((SIZE, SIZE));
    let seen = (0..24).map(|i| {
        let (image, said) = scene(i, 0);
        look(&image, &left(i, &image), Some(&said), &bands).unwrap()
    });
    Condition { change, control, seen: seen.collect() }
}

fn outcome(conditions: Vec<Condition>) -> Outcome {
    let run = LatentRun {
        run: "run".into(),
        conditions,
        bands: Bands::octaves((SIZE, SIZE)),
        impulses: Vec::new(),
    };
    let outcome = Outcome::new(&run).unwrap();
    frame(outcome.survival.clone()).unwrap();
    frame(outcome.bands.clone()).unwrap();
    outcome
}

fn value(outcome: &Outcome, change: &str, measure: &str) -> f64 {
    let wanted = |row: &&LatentSurvivalRow| {
        row.change == change && row.measure == measure && row.control.is_none()
    };
    outcome.survival.iter().find(wanted).unwrap().value
}

fn rendered() -> Condition {
    condition(Change::None, Some(RENDERED), |_, image| image.clone())
}

#[test]
fn a_lost_attribute_is_named_and_the_others_are_not() {
    // The autoencoder gives everything back but the colour.
    let other_colour = |i: usize, _: &RgbImage| scene(i, 1).0;
    let outcome = outcome(vec![rendered(), condition(Change::None, None, other_colour)]);
    assert_eq!(value(&outcome, "none", "colour"), 0.0);
    assert!(value(&outcome, "none", "shape") > 0.9);
    assert_eq!(value(&outcome, "none", EVERYTHING), 0.0);
    let findings = outcome.findings();
    let lost = findings.iter().find(|f| f.sentence.contains("alone loses")).unwrap();
    assert!(lost.sentence.contains("colour"), "{}", lost.sentence);
    assert!(!lost.sentence.contains("shape"), "{}", lost.sentence);
}

#[test]
fn an_autoencoder_that_changes_nothing_loses_nothing() {
    let outcome = outcome(vec![rendered(), condition(Change::None, None, |_, i| i.clone())]);
    assert!(outcome.survival.iter().all(|row| row.measure != PSNR), "there is no finite ratio");
    assert!(outcome.bands.iter().all(|row| row.error == 0.0));
    let findings = outcome.findings();
    let kept = findings.iter().any(|f| f.sentence.contains("No attribute is shown to be lost"));
    assert!(kept, "{findings:?}");
}

/// What is left of given images.
fn looked(pairs: &[(RgbImage, RgbImage)], control: Option<&'static str>) -> Condition {
    let bands = Bands::octaves((SIZE, SIZE));
    let seen = pairs.iter().map(|(image, left)| look(image, left, None, &bands).unwrap());
    Condition { change: Change::None, control, seen: seen.collect() }
}

#[test]
fn an_error_is_found_in_the_band_where_it_was_put() {
    const STEP: u8 = 20;
    // Columns lighter and darker by turns: 32 cycles over the image, and no other frequency.
    let pairs: Vec<(RgbImage, RgbImage)> = (0..6)
        .map(|i| {
            let mut image = scene(i, 0).0;
            // Room for the step, so that nothing is cut off.
            image.pixels_mut().flat_map(|p| &mut p.0).for_each(|v| *v = STEP + *v / 4 * 3);
            let mut left = image.clone();
            for (x, _, pixel) in left.enumerate_pixels_mut() {
                let step = |v: &mut u8| *v = if x % 2 == 0 { *v + STEP } else { *v - STEP };
                pixel.0.iter_mut().for_each(step);
            }
            (image, left)
        })
        .collect();
    let outcome = outcome(vec![looked(&pairs, None)]);
    let errors: Vec<f64> = outcome.bands.iter().map(|row| row.error).collect();
    let planted = (f64::from(STEP) / 255.0).powi(2);
    let (last, others) = errors.split_last().unwrap();
    assert!((last - planted).abs() < 1e-6, "{errors:?}");
    assert!(others.iter().all(|error| *error < 1e-9), "{errors:?}");
    let expected = -10.0 * planted.log10();
    assert!((value(&outcome, "none", PSNR) - expected).abs() < 1e-3);
}

#[test]
fn two_unrelated_images_differ_by_twice_the_power() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let mut noise =
        || RgbImage::from_fn(SIZE as u32, SIZE as u32, |_, _| image::Rgb(random.random()));
    let pairs: Vec<(RgbImage, RgbImage)> = (0..12).map(|_| (noise(), noise())).collect();
    let outcome = outcome(vec![looked(&pairs, Some(OTHER_IMAGE))]);
    // In the low bands are few coefficients.
    for row in outcome.bands.iter().filter(|row| row.band >= 4) {
        let error = row.relative_error.unwrap();
        assert!((error - 2.0).abs() < 0.1, "{row:?}");
        assert!(row.low.unwrap() <= error && error <= row.high.unwrap(), "{row:?}");
    }
}

#[test]
fn the_weakest_change_that_breaks_images_is_found() {
    let grey = |_: usize, _: &RgbImage| RgbImage::from_pixel(64, 64, image::Rgb([128; 3]));
    let outcome = outcome(vec![
        rendered(),
        condition(Change::None, None, |_, image| image.clone()),
        condition(Change::Noised { sigma: 0.1 }, None, |_, image| image.clone()),
        condition(Change::Noised { sigma: 0.5 }, None, grey),
        condition(Change::Noised { sigma: 1.0 }, None, grey),
        condition(Change::Quantised { bits: 8 }, None, |_, image| image.clone()),
        condition(Change::Quantised { bits: 2 }, None, |_, image| image.clone()),
    ]);
    let findings = outcome.findings();
    let says = |part: &str| findings.iter().any(|f| f.sentence.contains(part));
    assert!(says("noised by 0.5 lose it"), "{findings:?}");
    assert!(
        says("quantised to 2 bits, and all that are changed less, are not shown to lose"),
        "{findings:?}"
    );
    let sheet = Picture::new("contact-sheet", "", &ContactSheet::default()).unwrap();
    let report = outcome.report(sheet, Vec::new(), Rerun::default()).unwrap();
    let html = report.to_html().unwrap();
    assert!(html.contains("standard deviation of the noise") && html.contains("bits a number"));
}

#[test]
fn a_response_is_as_wide_as_it_was_planted() {
    let disc = |radius: f64| {
        Array3::from_shape_fn((3, 33, 33), |(_, row, column)| {
            let distance = (row as f64 - 16.0).hypot(column as f64 - 16.0);
            if distance <= radius { 0.5_f32 } else { 0.0 }
        })
    };
    let red = Array3::from_shape_fn((3, 33, 33), |(c, ..)| if c == 0 { 0.25 } else { -0.5 });
    let of = |channel, radius| {
        let response = disc(radius);
        let touched = [(response.view(), (16.0, 16.0)), (response.view(), (16.0, 16.0))];
        Impulse::of((0, channel, 1.0), &touched, red.view()).unwrap()
    };
    let run = LatentRun {
        run: "run".into(),
        conditions: Vec::new(),
        bands: Bands::octaves((33, 33)),
        impulses: vec![of(0, 4.0), of(1, 10.0)],
    };
    let rows = run.impulse_rows().unwrap();
    let value = |channel: u32, measure: &str| {
        rows.iter().find(|r| r.channel == channel && r.measure == measure).unwrap().value
    };
    for (channel, radius) in [(0, 4.0), (1, 10.0)] {
        assert!((value(channel, "radius_50") - radius / 2.0_f64.sqrt()).abs() < 0.6);
        assert!((value(channel, "radius_90") - radius * 0.9_f64.sqrt()).abs() < 0.6);
    }
    assert_eq!([value(0, "red"), value(0, "green")], [0.25, -0.5]);
    // Nothing changed: there is no radius, and no row that would claim one.
    let flat = Array3::<f32>::zeros((3, 33, 33));
    let silent = Impulse::of((0, 0, 1.0), &[(flat.view(), (1.0, 1.0))], flat.view()).unwrap();
    assert_eq!((silent.radii, silent.rms), (None, 0.0));
    let run = LatentRun { impulses: vec![silent], ..run };
    assert!(run.impulse_rows().unwrap().iter().all(|row| !row.measure.starts_with("radius")));
    let wrong = flat.index_axis(Axis(0), 0).insert_axis(Axis(0)).to_owned();
    assert!(Impulse::of((0, 0, 1.0), &[(flat.view(), (1.0, 1.0))], wrong.view()).is_err());
}

// --- changes of latents ---------------------------------------------------------------------

/// Two images, two channels: 0 to 7 in the first, all equal in the second.
fn latents() -> Array4<f32> {
    Array4::from_shape_fn((2, 2, 2, 2), |(image, channel, row, column)| {
        if channel == 0 { (4 * image + 2 * row + column) as f32 } else { 3.0 }
    })
}

fn changed(change: Change) -> Array4<f32> {
    let latents = latents();
    let ranges = ChannelRanges::of(latents.view()).unwrap();
    change.apply(latents.view(), &ranges, (5, 0)).unwrap()
}

#[test]
fn few_bits_leave_few_levels_and_enough_bits_leave_all() {
    let one = changed(Change::Quantised { bits: 1 });
    let first: Vec<f32> = one.index_axis(Axis(1), 0).iter().copied().collect();
    assert_eq!(first, [0.0, 0.0, 0.0, 0.0, 7.0, 7.0, 7.0, 7.0]);
    assert!(one.index_axis(Axis(1), 1).iter().all(|&x| x == 3.0), "a flat channel stays");
    assert_eq!(changed(Change::Quantised { bits: 3 }), latents());
    let latents = latents();
    let ranges = ChannelRanges::of(latents.view()).unwrap();
    let refused = Change::Quantised { bits: 0 }.apply(latents.view(), &ranges, (0, 0));
    assert!(refused.is_err());
}

#[test]
fn a_blur_keeps_what_is_flat_and_levels_the_rest() {
    let blurred = changed(Change::Blurred { sigma: 50.0 });
    let image = blurred.index_axis(Axis(0), 1).index_axis(Axis(0), 0).to_owned();
    assert!(image.iter().all(|&x| (x - 5.5).abs() < 0.1), "{image}");
    assert!(blurred.index_axis(Axis(1), 1).iter().all(|&x| (x - 3.0).abs() < 1e-6));
    assert_eq!(changed(Change::Blurred { sigma: 0.0 }), latents());
}

#[test]
fn noise_depends_on_seed_and_image_and_not_on_the_batch() {
    let many = Array4::<f32>::zeros((40, 2, 8, 8));
    let ranges = ChannelRanges::of(many.view()).unwrap();
    let noised = |latents: &Array4<f32>, first| {
        Change::Noised { sigma: 0.5 }.apply(latents.view(), &ranges, (9, first)).unwrap()
    };
    let all = noised(&many, 0);
    let single = noised(&many.slice_axis(Axis(0), (7..8).into()).to_owned(), 7);
    assert_eq!(all.index_axis(Axis(0), 7), single.index_axis(Axis(0), 0));
    assert!((all.std(0.0) - 0.5).abs() < 0.02, "{}", all.std(0.0));
    assert_eq!(changed(Change::Noised { sigma: 0.0 }), latents());
}
