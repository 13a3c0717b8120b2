//! A sweep over guidance scales: what was planted is found, and nothing where nothing is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use denoscope::probe::guidance::report::Outcome;
use denoscope::probe::guidance::{
    Made, Measure, OTHER_PROMPTS, RENDERS, Shown, Sweep, contact_sheet, image_row,
};
use denoscope::report::{Picture, Rerun};
use denoscope::table::{GuidanceRow, GuidanceSweepRow, frame};
use denoscope::world::{compose, parse, render};
use image::RgbImage;
use ndarray::{Array1, Array2, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

const CAPTIONS: [&str; 8] = [
    "a red ball",
    "a blue cube",
    "a green cone",
    "a yellow ring",
    "a large white ball",
    "two orange cubes",
    "red ball left of blue cube",
    "a striped purple cone",
];
const COUNT: usize = 5;
const WIDTH: usize = 12;
const SIZE: usize = 64;
/// Spread of the features of rendered scenes within a prompt.
const SPREAD: f32 = 0.3;

fn noise(random: &mut ChaCha8Rng) -> f32 {
    StandardNormal.sample(random)
}

/// A direction of its own for each prompt.
fn centres() -> Array2<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let x = Array2::from_shape_simple_fn((CAPTIONS.len(), WIDTH), || noise(&mut random));
    unit(x)
}

fn unit(x: Array2<f32>) -> Array2<f32> {
    let norms: Array1<f32> = x.map_axis(Axis(1), |row| row.dot(&row).sqrt());
    &x / &norms.insert_axis(Axis(1))
}

/// Features around each prompt's centre, `spread` wide, moved by `shift` along the first axis.
fn features(count: usize, spread: f32, shift: f32, seed: u64) -> Array2<f32> {
    let (centres, mut random) = (centres(), ChaCha8Rng::seed_from_u64(seed));
    unit(Array2::from_shape_fn((CAPTIONS.len() * count, WIDTH), |(row, column)| {
        let moved = if column == 0 { shift } else { 0.0 };
        centres[(row / count, column)] + spread * noise(&mut random) + moved
    }))
}

/// Rendered scenes of the prompts: of the `right` first of each prompt its own, else another's.
fn shown(scale: Option<f64>, right: usize, features: Array2<f32>) -> Shown {
    let mut shown = Shown::default();
    for prompt in 0..CAPTIONS.len() {
        let next = (prompt + 1) % CAPTIONS.len();
        let (own, other) = (parse(CAPTIONS[prompt]).unwrap(), parse(CAPTIONS[next]).unwrap());
        for i in 0..COUNT {
            let said = if i < right { &own } else { &parse(CAPTIONS[(prompt + 3) % 8]).unwrap() };
            let image = render(&compose(said, i as u64).unwrap(), SIZE);
            let made = Made {
                sample: scale.map(|_| (prompt * COUNT + i) as u32),
                scale,
                prompt: CAPTIONS[prompt],
                seed: i as u64,
                said: Some(&own),
                other: Some(&other),
            };
            shown.rows.push(image_row("run", made, &image).unwrap());
            shown.prompts.push(prompt);
        }
    }
    shown.embed(features, &centres()).unwrap();
    shown
}

fn reference() -> Shown {
    let count = 8;
    Shown {
        rows: Vec::new(),
        prompts: (0..CAPTIONS.len() * count).map(|i| i / count).collect(),
        features: Some(features(count, SPREAD, 0.0, 77)),
    }
}

fn sweep(scales: Vec<(f64, Shown)>) -> Sweep {
    Sweep {
        run: "run".into(),
        prompts: CAPTIONS.map(str::to_owned).to_vec(),
        scales,
        renders: Some(shown(None, COUNT, features(COUNT, SPREAD, 0.0, 55))),
        reference: Some(reference()),
        parts: Vec::new(),
    }
}

fn row<'a>(
    rows: &'a [GuidanceSweepRow],
    measure: Measure,
    scale: Option<f64>,
    control: Option<&str>,
) -> &'a GuidanceSweepRow {
    let wanted = |row: &&GuidanceSweepRow| {
        row.measure == measure.name() && row.scale == scale && row.control.as_deref() == control
    };
    rows.iter().find(wanted).unwrap()
}

/// From scale to scale more images are right and those of a prompt more alike; at the middle one
/// features are spread as those of the reference, below and above they are moved.
fn planted() -> Sweep {
    sweep(vec![
        (1.0, shown(Some(1.0), 1, features(COUNT, 1.0, -0.6, 2))),
        (3.0, shown(Some(3.0), 3, features(COUNT, SPREAD, 0.0, 3))),
        (9.0, shown(Some(9.0), 5, features(COUNT, 0.1, 0.6, 4))),
    ])
}

#[test]
fn a_planted_trade_off_is_found_with_the_scale_that_is_nearest() {
    let outcome = Outcome::new(&planted());
    assert!(outcome.left_out.is_empty(), "{:?}", outcome.left_out);
    let rows = &outcome.rows;
    let at = |measure, scale| row(rows, measure, Some(scale), None).value;
    for (scale, share) in [(1.0, 0.2), (3.0, 0.6), (9.0, 1.0)] {
        assert!((at(Measure::Right, scale) - share).abs() < 0.08, "{}", at(Measure::Right, scale));
    }
    assert!(at(Measure::Vendi, 1.0) > at(Measure::Vendi, 3.0) + 0.1);
    assert!(at(Measure::Vendi, 3.0) > at(Measure::Vendi, 9.0) + 0.1);
    let renders = row(rows, Measure::Kernel, None, Some(RENDERS));
    assert!(renders.low.unwrap() < 0.0 && renders.high.unwrap() > 0.0, "{renders:?}");
    assert!(at(Measure::Recall, 9.0) < at(Measure::Recall, 3.0) - 0.2);
    // All right: Wilson's interval over prompts, which has width.
    let sure = row(rows, Measure::Right, None, Some(RENDERS));
    assert_eq!((sure.value, sure.interval.as_deref()), (1.0, Some("wilson")));
    assert!(sure.low.unwrap() < 0.8);
    let other = row(rows, Measure::ClipCosine, Some(9.0), Some(OTHER_PROMPTS));
    assert!(other.high.unwrap() < row(rows, Measure::ClipCosine, Some(9.0), None).low.unwrap());
    let own = row(rows, Measure::Atoms, Some(9.0), None);
    assert!(row(rows, Measure::Atoms, Some(9.0), Some(OTHER_PROMPTS)).value < own.value - 0.2);

    let findings = outcome.findings();
    assert!(findings[0].sentence.contains("trades diversity for alignment"), "{findings:?}");
    let nearest = findings.iter().find(|f| f.sentence.contains("nearest")).unwrap();
    assert!(nearest.sentence.contains("at s = 3"), "{}", nearest.sentence);
    let change = |measure: Measure| {
        let wanted = |c: &&denoscope::table::GuidanceChangeRow| {
            c.measure == measure.name() && (c.from_scale, c.to_scale) == (1.0, 9.0)
        };
        outcome.changes.iter().find(wanted).unwrap()
    };
    assert!((change(Measure::Right).difference - 0.8).abs() < 0.08);
    assert!(change(Measure::Right).low.unwrap() > 0.5);
    assert!(change(Measure::Vendi).high.unwrap() < 0.0);
    // Tables take the rows: no number is NaN.
    frame(outcome.rows.clone()).unwrap();
    frame(outcome.changes.clone()).unwrap();
    frame(planted().image_rows()).unwrap();
}

#[test]
fn the_same_images_at_every_scale_show_no_trade_off() {
    let same = || shown(Some(1.0), 3, features(COUNT, SPREAD, 0.0, 3));
    let outcome = Outcome::new(&sweep(vec![(1.0, same()), (4.0, same()), (9.0, same())]));
    let sentence = &outcome.findings()[0].sentence;
    assert!(sentence.starts_with("No trade-off is shown"), "{sentence}");
    assert!(outcome.changes.iter().all(|change| change.difference.abs() < 1e-9));
    for finding in outcome.findings() {
        assert!(!finding.sentence.contains("rises by"), "{}", finding.sentence);
        assert!(!finding.sentence.contains("falls by"), "{}", finding.sentence);
    }
}

#[test]
fn other_draws_of_one_distribution_show_no_trade_off() {
    // The scale is a name alone: each has the same shares and features of the same spread.
    let draw =
        |scale: f64, seed| (scale, shown(Some(scale), 3, features(COUNT, SPREAD, 0.0, seed)));
    let outcome = Outcome::new(&sweep(vec![draw(1.0, 11), draw(9.0, 12)]));
    let sentence = &outcome.findings()[0].sentence;
    assert!(sentence.starts_with("No trade-off is shown"), "{sentence}");
}

#[test]
fn without_clip_or_world_their_measures_are_left_out() {
    let mut plain = planted();
    for (_, shown) in &mut plain.scales {
        shown.features = None;
        for row in &mut shown.rows {
            (row.clip_cosine, row.clip_cosine_of_other) = (None, None);
            (row.atoms, row.atoms_held, row.atoms_of_other) = (None, None, None);
        }
    }
    (plain.renders, plain.reference) = (None, None);
    let outcome = Outcome::new(&plain);
    let known = [Measure::Saturation, Measure::Contrast, Measure::Clipped, Measure::Laplacian];
    assert_eq!(outcome.rows.iter().filter(|r| r.control.is_none()).count(), 3 * known.len());
    assert!(outcome.rows.iter().all(|r| known.iter().any(|m| m.name() == r.measure)));
    assert!(!outcome.findings().iter().any(|f| f.sentence.contains("trade")));
}

#[test]
fn one_prompt_is_too_few_for_an_interval_and_says_so() {
    let mut alone = planted();
    alone.prompts.truncate(1);
    for (_, shown) in &mut alone.scales {
        shown.rows.truncate(COUNT);
        shown.prompts.truncate(COUNT);
        shown.features = shown.features.take().map(|f| f.slice_move(ndarray::s![..COUNT, ..]));
    }
    (alone.renders, alone.reference) = (None, None);
    let outcome = Outcome::new(&alone);
    let all_right = |row: &GuidanceSweepRow| row.interval.as_deref() == Some("wilson");
    assert!(outcome.rows.iter().all(|row| row.low.is_none() || all_right(row)));
    let first = &outcome.findings()[0].sentence;
    assert!(first.contains("too few"), "{first}");

    // One image a prompt has no diversity: the reason is kept.
    let mut single = planted();
    for (_, shown) in &mut single.scales {
        let firsts: Vec<usize> = (0..CAPTIONS.len()).map(|prompt| prompt * COUNT).collect();
        shown.rows = firsts.iter().map(|&i| shown.rows[i].clone()).collect();
        shown.features = shown.features.take().map(|f| f.select(Axis(0), &firsts));
        shown.prompts = (0..CAPTIONS.len()).collect();
    }
    let outcome = Outcome::new(&single);
    let reasons = &outcome.left_out;
    assert!(reasons.iter().any(|reason| reason.contains("vendi_share")), "{reasons:?}");
}

#[test]
fn the_parts_of_the_term_are_reported_at_their_scale() {
    let mut swept = planted();
    let part = |sample: u32, step: u32| GuidanceRow {
        run: "run".into(),
        sample,
        step,
        timestep: 900.0 - f64::from(step),
        sigma: 1.0,
        cond_norm: 2.0,
        uncond_norm: 2.0,
        difference: 1.0,
        parallel: -0.6,
        orthogonal: 0.8,
        cosine: Some(0.5),
    };
    // Samples of the highest scale alone.
    for (number, row) in swept.scales[2].1.rows.iter_mut().enumerate() {
        row.sample = Some(1000 + number as u32);
    }
    swept.parts = (0..40).flat_map(|i| (0..2).map(move |step| part(1000 + i, step))).collect();
    let outcome = Outcome::new(&swept);
    let findings = outcome.findings();
    let term = findings.iter().find(|f| f.sentence.contains("guidance term")).unwrap();
    assert!((term.estimate.unwrap().value - 0.64).abs() < 1e-9, "{}", term.sentence);
    assert!(term.sentence.contains("s = 9"));

    let tile = RgbImage::new(8, 8);
    let sheet = contact_sheet(&[1.0, 3.0, 9.0], vec![("a red ball".into(), vec![tile; 3])]);
    let sheet = Picture::new("contact-sheet", "", &sheet).unwrap();
    let report = outcome.report(sheet, Vec::new(), Rerun::default()).unwrap();
    let html = report.to_html().unwrap();
    for part in ["contact-sheet", "trade-off", "term-by-timestep", "γ = 8", "no FID"] {
        assert!(html.contains(part), "{part} is missing");
    }
}
