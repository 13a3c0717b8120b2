//! `probe attention`'s analysis: it finds what was put in, and nothing where nothing is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod report;

use denoscope::judge::judge;
use denoscope::measure::record::{AttentionRecord, LayerMaps, MapNumbers};
use denoscope::probe::attention::report::findings;
use denoscope::probe::attention::score::{OTHER_IMAGES, PERMUTED_WORDS, mean_auroc, score};
use denoscope::probe::attention::tables::{attention_rows, judgement_rows, token_rows};
use denoscope::probe::attention::{
    AttentionRun, Detail, GivenRegion, JudgedImage, Level, PromptToken, WordMaps,
};
use denoscope::site::Branch;
use denoscope::table::{AlignmentRow, AttentionRow, JudgementRow, TokenRow, frame};
use denoscope::world::{
    Background, Colour, Content, Finish, Light, Object, Scene, Shape, Size, parse, render,
};
use ndarray::{Array2, Array4, Array5, Axis};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PROMPT: &str = "red ball left of blue cube";
const PIXELS: usize = 64;
/// Sides of the layers' maps: one as fine as the image, one as coarse as a real layer's.
const SIDES: [usize; 2] = [64, 16];
const HEADS: usize = 2;
const STEPS: usize = 3;

fn object(colour: Colour, shape: Shape, x: f32) -> Object {
    let radius = 0.16;
    let size = Size::of_radius(radius);
    Object { shape, colour, size, finish: Finish::Plain, x, y: 0.5, radius }
}

fn scene(objects: Vec<Object>) -> Scene {
    Scene { background: Background::Gray, light: Light::Above, content: Content::Objects(objects) }
}

fn ball_and_cube() -> Scene {
    let ball = object(Colour::Red, Shape::Ball, 0.27);
    scene(vec![ball, object(Colour::Blue, Shape::Cube, 0.73)])
}

/// A token for each word between start and end; `pieces` cuts a word into several.
fn tokens(prompt: &str, pieces: impl Fn(&str) -> Vec<usize>) -> Vec<PromptToken> {
    let edge =
        |id: i64, piece: &str| PromptToken { id, piece: piece.into(), word: None, span: (0, 0) };
    let mut tokens = vec![edge(0, "<|startoftext|>")];
    let mut at = 0;
    for (number, word) in prompt.split(' ').enumerate() {
        let mut from = at;
        for length in pieces(word) {
            tokens.push(PromptToken {
                id: tokens.len() as i64,
                piece: prompt[from..from + length].into(),
                word: Some((word.to_lowercase(), number)),
                span: (from, from + length),
            });
            from += length;
        }
        at += word.len() + 1;
    }
    tokens.push(edge(1, "<|endoftext|>"));
    tokens
}

fn whole_words(word: &str) -> Vec<usize> {
    vec![word.len()]
}

/// A run whose map of a token, in image `sample` and at layer `layer`, is what `map` makes.
/// `map(sample, token, side)` gives a map for each head and step anew.
fn run(
    prompt: &str,
    tokens: Vec<PromptToken>,
    scenes: &[Scene],
    map: &mut dyn FnMut(usize, usize, usize) -> Array2<f32>,
) -> AttentionRun {
    let expectations = parse(prompt).ok();
    let judged = |(i, scene): (usize, &Scene)| {
        let image = render(scene, PIXELS);
        let verdict = expectations.as_ref().map(|e| judge(&image, e));
        JudgedImage { seed: i as u64, image, verdict }
    };
    let images: Vec<JudgedImage> = scenes.iter().enumerate().map(judged).collect();
    let (n, count) = (images.len(), tokens.len());
    let layer = |(l, side): (usize, usize)| {
        let mut per_head = Array5::<f32>::zeros((n, HEADS, count, side, side));
        let mut per_step = Vec::new();
        for _ in 0..STEPS {
            let mut heads = Array5::<f32>::zeros((n, HEADS, count, side, side));
            for place in 0..n * HEADS * count {
                let (sample, head, token) =
                    (place / (HEADS * count), place / count % HEADS, place % count);
                let of_head = map(sample, token, side);
                heads.slice_mut(ndarray::s![sample, head, token, .., ..]).assign(&of_head);
            }
            per_head += &heads;
            let mean: Array4<f32> = heads.mean_axis(Axis(1)).unwrap();
            per_step.push(mean);
        }
        LayerMaps { site: format!("up.{l}.attn.0.block.0.cross.probs"), per_head, per_step }
    };
    let layers = SIDES.into_iter().enumerate().map(layer).collect();
    AttentionRun {
        run: "20260101T000000Z-attention-00000000".into(),
        prompt: prompt.into(),
        expectations,
        given: Vec::new(),
        tokens,
        images,
        film: Vec::new(),
        steps: (0..STEPS).map(|s| (900.0 - 300.0 * s as f64, 4.0 - s as f64)).collect(),
        record: AttentionRecord { layers, rows: Vec::new(), steps: STEPS },
    }
}

/// A region at another resolution, as the share of each cell that it covers.
fn coarse(region: &Array2<bool>, side: usize) -> Array2<f32> {
    let by = region.dim().0 / side;
    let covered = |(row, column): (usize, usize)| {
        let at = ndarray::s![row * by..(row + 1) * by, column * by..(column + 1) * by];
        let inside = region.slice(at).iter().filter(|x| **x).count();
        inside as f32 / (by * by) as f32
    };
    Array2::from_shape_fn((side, side), covered)
}

fn regions(scene: &Scene, prompt: &str) -> Vec<Option<Array2<bool>>> {
    let expectations = parse(prompt).unwrap();
    let verdict = judge(&render(scene, PIXELS), &expectations);
    (0..expectations.objects.len()).map(|phrase| verdict.mask(phrase)).collect()
}

/// Words of the ball look at the ball, words of the cube at the cube, all others anywhere.
fn planted(images: usize) -> AttentionRun {
    let of = regions(&ball_and_cube(), PROMPT);
    let region = |token: usize| match token {
        1 | 2 => of[0].as_ref(),
        5 | 6 => of[1].as_ref(),
        _ => None,
    };
    let mut map = |_: usize, token: usize, side: usize| match region(token) {
        Some(region) => coarse(region, side) * 0.5_f32 + 0.01_f32,
        None => Array2::from_elem((side, side), 0.05_f32),
    };
    run(PROMPT, tokens(PROMPT, whole_words), &vec![ball_and_cube(); images], &mut map)
}

fn own(rows: &[AlignmentRow]) -> Vec<&AlignmentRow> {
    rows.iter().filter(|r| r.control.is_none()).collect()
}

/// All layers and all steps together.
fn is_whole(row: &AlignmentRow) -> bool {
    row.site.is_none() && row.step.is_none()
}

fn controls(rows: &[AlignmentRow]) -> Vec<&AlignmentRow> {
    rows.iter().filter(|r| r.control.as_deref() == Some(PERMUTED_WORDS)).collect()
}

fn other_seeds(rows: &[AlignmentRow]) -> Vec<&AlignmentRow> {
    rows.iter().filter(|r| r.control.as_deref() == Some(OTHER_IMAGES)).collect()
}

#[test]
fn a_planted_effect_is_found_at_every_level() {
    let run = planted(3);
    let rows = score(&run, Detail::Full).unwrap();
    let levels = 1 + SIDES.len() + STEPS;
    let (own, controls) = (own(&rows), controls(&rows));
    assert_eq!(own.len(), 3 * 4 * levels, "images, words, levels");
    assert_eq!(controls.len(), 3 * 4 * 2 * levels, "two words of the other object each");
    for row in &own {
        let at = format!("{} at {:?} {:?}", row.word, row.site, row.step);
        assert!(row.auroc.unwrap() > 0.97, "{at}: {:?}", row.auroc);
        assert!(row.average_precision.unwrap() > 0.8, "{at}: {:?}", row.average_precision);
        assert!(row.mass_ratio.unwrap() > 3.0, "{at}: {:?}", row.mass_ratio);
        assert!(row.iou_tau.unwrap() > 0.7, "{at}: {:?}", row.iou_tau);
        assert!(row.iou_best >= row.iou_tau, "{at}: {:?}", row.iou_best);
        assert_eq!(row.pointing, Some(true), "{at}");
        assert_eq!(row.timestep, row.step.map(|s| 900.0 - 300.0 * f64::from(s)), "{at}");
    }
    // Another seed's map is scored over all layers and steps, and never better than the own one.
    let others = other_seeds(&rows);
    assert_eq!(others.len(), 3 * 4);
    for other in others {
        let same = |row: &&&AlignmentRow| {
            row.sample == other.sample && row.word == other.word && is_whole(row)
        };
        let best = own.iter().find(same).unwrap();
        assert!(is_whole(other) && other.auroc <= best.auroc, "{other:?}");
    }
    // At the image's own resolution nothing is lost.
    let fine = own.iter().filter(|r| r.site.as_deref() == Some("up.0.attn.0.block.0.cross.probs"));
    let exact: Vec<Option<f64>> = fine.map(|r| r.auroc).collect();
    assert_eq!(exact, [Some(1.0); 12]);
    for row in &controls {
        assert_eq!(row.control.as_deref(), Some(PERMUTED_WORDS));
        assert!(row.auroc.unwrap() < 0.5, "{}: {:?}", row.word, row.auroc);
        assert!(row.mass_ratio.unwrap() < 1.0, "{}: {:?}", row.word, row.mass_ratio);
        assert_eq!(row.pointing, Some(false));
    }
    let objects: Vec<(&str, &str, &str)> = own
        .iter()
        .filter(|r| r.sample == 0 && is_whole(r))
        .map(|r| (r.word.as_str(), r.role.as_str(), r.object.as_str()))
        .collect();
    let expected = [
        ("red", "colour", "red ball"),
        ("ball", "shape", "red ball"),
        ("blue", "colour", "blue cube"),
        ("cube", "shape", "blue cube"),
    ];
    assert_eq!(objects, expected);
}

#[test]
fn given_regions_take_the_place_of_the_judge() {
    let judged = planted(2);
    let given = |words: &[&str], object: usize| GivenRegion {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        mask: judged.region(0, object).unwrap(),
    };
    // The true regions score as the judge's do, without a verdict or a prompt that is understood.
    let mut run = judged.clone();
    run.expectations = None;
    run.images.iter_mut().for_each(|image| image.verdict = None);
    assert!(score(&run, Detail::Full).unwrap().is_empty());
    run.given = vec![given(&["red", "ball"], 0), given(&["cube"], 1)];
    let rows = score(&run, Detail::Full).unwrap();
    let of_judge = score(&judged, Detail::Full).unwrap();
    for row in own(&rows) {
        let same = |r: &&&AlignmentRow| {
            (&r.word, r.sample, &r.site, r.step) == (&row.word, row.sample, &row.site, row.step)
        };
        let theirs = own(&of_judge);
        let theirs = theirs.iter().find(same).unwrap();
        assert_eq!((row.auroc, row.pointing), (theirs.auroc, theirs.pointing), "{}", row.word);
        assert_eq!(row.role, "given");
    }
    let objects: Vec<(&str, &str)> = own(&rows)
        .iter()
        .filter(|r| r.sample == 0 && is_whole(r))
        .map(|r| (r.word.as_str(), r.object.as_str()))
        .collect();
    assert_eq!(objects, [("red", "red ball"), ("ball", "red ball"), ("cube", "cube")]);
    // Controls are words of other objects alone.
    assert!(controls(&rows).iter().all(|r| r.auroc.unwrap() < 0.5));

    // Exchanged regions: the effect is gone.
    run.given = vec![given(&["red", "ball"], 1), given(&["cube"], 0)];
    let rows = score(&run, Detail::Whole).unwrap();
    assert!(own(&rows).iter().all(|r| r.auroc.unwrap() < 0.5));
    assert!(findings(&run, &rows)[0].sentence().contains("attends away from the red ball"));
}

#[test]
fn each_level_scores_its_own_maps() {
    // The fine layer knows the ball, the coarse one looks at the cube instead.
    let of = regions(&ball_and_cube(), PROMPT);
    let mut map = |_: usize, token: usize, side: usize| match token {
        1 | 2 => coarse(of[usize::from(side != SIDES[0])].as_ref().unwrap(), side),
        _ => Array2::from_elem((side, side), 0.05_f32),
    };
    let scenes = [ball_and_cube()];
    let run = run(PROMPT, tokens(PROMPT, whole_words), &scenes, &mut map);
    let rows = score(&run, Detail::Full).unwrap();
    let auroc = |layer: usize| {
        let site = &run.record.layers[layer].site;
        let row = own(&rows).into_iter().find(|r| r.word == "red" && r.site.as_ref() == Some(site));
        row.unwrap().auroc.unwrap()
    };
    assert!(auroc(0) > 0.99, "{}", auroc(0));
    assert!(auroc(1) < 0.5, "{}", auroc(1));

    // The same for steps, and the whole is the mean of both.
    let maps = WordMaps::new(&run, 0, (PIXELS, PIXELS), Detail::Full).unwrap();
    let of = |level| maps.word(level, &[1]).unwrap();
    let mean = (of(Level::Layer(0)) + of(Level::Layer(1))) / 2.0_f32;
    let largest = (&of(Level::Whole) - &mean).iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    assert!(largest < 1e-5, "{largest}");
    let steps = (0..STEPS).map(|s| of(Level::Step(s)));
    let mean =
        steps.fold(Array2::<f32>::zeros((PIXELS, PIXELS)), |sum, map| sum + map) / STEPS as f32;
    let largest = (&of(Level::Whole) - &mean).iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    assert!(largest < 1e-3, "{largest}");
}

#[test]
fn random_maps_score_at_chance() {
    let mut random = ChaCha8Rng::seed_from_u64(17);
    let mut map = |_: usize, _: usize, side: usize| {
        Array2::from_shape_fn((side, side), |_| random.random::<f32>())
    };
    let images = 40;
    let scenes = vec![ball_and_cube(); images];
    let run = run(PROMPT, tokens(PROMPT, whole_words), &scenes, &mut map);
    let rows = score(&run, Detail::Full).unwrap();
    let at_chance = |name: &str, rows: Vec<&AlignmentRow>| {
        assert!(rows.len() >= images * 4, "{name}: {} rows", rows.len());
        let scored = mean_auroc(rows.into_iter()).unwrap();
        assert!((scored.mean - 0.5).abs() < 0.03, "{name}: {scored:?}");
        assert_eq!(scored.images, images);
    };
    at_chance("own", own(&rows));
    at_chance("control", controls(&rows));
    at_chance("own, whole", own(&rows).into_iter().filter(|r| is_whole(r)).collect());
    at_chance("control, whole", controls(&rows).into_iter().filter(|r| is_whole(r)).collect());
    let ratios: Vec<f64> = own(&rows).iter().map(|r| r.mass_ratio.unwrap()).collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!((mean - 1.0).abs() < 0.03, "mass ratio {mean}");
    for finding in findings(&run, &rows) {
        for scored in [&finding.own, &finding.control] {
            let scored = scored.as_ref().unwrap();
            assert!((scored.mean - 0.5).abs() < 0.05, "{}", finding.sentence());
        }
    }
}

#[test]
fn flat_maps_say_nothing() {
    let mut map = |_: usize, _: usize, side: usize| Array2::from_elem((side, side), 1.0_f32 / 8.0);
    let scenes = [ball_and_cube(), ball_and_cube()];
    let run = run(PROMPT, tokens(PROMPT, whole_words), &scenes, &mut map);
    let rows = score(&run, Detail::Full).unwrap();
    assert!(!rows.is_empty());
    for row in rows.iter().filter(|r| r.site.as_deref().is_some_and(|s| s.starts_with("up.0"))) {
        assert_eq!(row.auroc, Some(0.5));
        assert!((row.mass_ratio.unwrap() - 1.0).abs() < 1e-6);
        assert_eq!((row.pointing, row.iou_tau, row.iou_best), (None, None, None));
    }
    // Resizing may leave rounding, but no score that looks like knowledge.
    let scored = mean_auroc(rows.iter()).unwrap();
    assert!((scored.mean - 0.5).abs() < 0.03, "{scored:?}");
    frame(rows).unwrap();
}

#[test]
fn a_word_whose_object_is_missing_has_no_rows() {
    let scenes = [scene(vec![object(Colour::Red, Shape::Ball, 0.27)])];
    let of = regions(&scenes[0], PROMPT);
    assert!(of[0].is_some() && of[1].is_none(), "the judge sees the ball alone");
    let region = of[0].clone().unwrap();
    let mut map = |_: usize, _: usize, side: usize| coarse(&region, side);
    let run = run(PROMPT, tokens(PROMPT, whole_words), &scenes, &mut map);
    let rows = score(&run, Detail::Full).unwrap();
    let mut words: Vec<&str> = rows.iter().map(|r| r.word.as_str()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words, ["ball", "red"]);
    let findings = findings(&run, &rows);
    let of_word = |word: &str| findings.iter().find(|f| f.word == word).unwrap();
    assert!(of_word("red").own.is_some());
    assert!(of_word("cube").own.is_none() && of_word("cube").control.is_none());
    let sentence = of_word("cube").sentence();
    assert!(sentence.starts_with("`cube`: no score"), "{sentence}");
    assert!(sentence.contains("no blue cube"), "{sentence}");
}

#[test]
fn sub_words_are_one_word() {
    let prompt = "Red ball left of blue cube";
    let pieces = |word: &str| if word == "ball" { vec![2, 2] } else { vec![word.len()] };
    let of = regions(&ball_and_cube(), prompt);
    // Each piece of the ball knows one half of it; together they know all.
    let halves = |token: usize, side: usize| {
        let mut map = coarse(of[0].as_ref().unwrap(), side);
        let left = (side as f32 * 0.27) as usize;
        let away = if token == 2 { left..side } else { 0..left };
        map.slice_mut(ndarray::s![.., away]).fill(0.0);
        map
    };
    let mut map = |_: usize, token: usize, side: usize| match token {
        2 | 3 => halves(token, side),
        _ => Array2::from_elem((side, side), 0.05_f32),
    };
    let run = run(prompt, tokens(prompt, pieces), &[ball_and_cube()], &mut map);
    let words = run.words();
    let texts: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
    assert_eq!(texts, ["red", "ball", "left", "of", "blue", "cube"]);
    assert_eq!(words[1].positions, [2, 3]);
    let objects = run.object_words();
    let ball = objects.iter().find(|w| w.text == "ball").unwrap();
    assert_eq!(ball.positions, [2, 3]);
    let rows = score(&run, Detail::Full).unwrap();
    let mut own = own(&rows).into_iter();
    let auroc = own.find(|r| r.word == "ball" && is_whole(r)).unwrap().auroc.unwrap();
    assert!(auroc > 0.97, "{auroc}");
}

#[test]
fn repeated_words_are_merged_in_the_list_and_apart_in_the_score() {
    let prompt = "red ball left of red cube";
    let ball = object(Colour::Red, Shape::Ball, 0.27);
    let scenes = [scene(vec![ball, object(Colour::Red, Shape::Cube, 0.73)])];
    let of = regions(&scenes[0], prompt);
    let mut map = |_: usize, token: usize, side: usize| match token {
        1 | 2 => coarse(of[0].as_ref().unwrap(), side),
        5 | 6 => coarse(of[1].as_ref().unwrap(), side),
        _ => Array2::from_elem((side, side), 0.05_f32),
    };
    let run = run(prompt, tokens(prompt, whole_words), &scenes, &mut map);
    let words = run.words();
    assert_eq!(words.len(), 5);
    assert_eq!((words[0].text.as_str(), words[0].positions.as_slice()), ("red", &[1, 5][..]));
    let rows = score(&run, Detail::Full).unwrap();
    for object in ["red ball", "red cube"] {
        let of_red = own(&rows).into_iter().filter(|r| r.word == "red" && r.object == object);
        let scored = mean_auroc(of_red).unwrap();
        assert!(scored.mean > 0.97, "{object}: {scored:?}");
    }
    let findings = findings(&run, &rows);
    let reds: Vec<&str> =
        findings.iter().filter(|f| f.word == "red").map(|f| f.object.as_str()).collect();
    assert_eq!(reds, ["red ball", "red cube"]);
}

/// A token that an edit took all attention from: no entropy, no place, and no zeros instead.
#[test]
fn numbers_that_do_not_exist_are_null() {
    let mut run = planted(1);
    let (timestep, sigma) = run.steps[0];
    let numbers = MapNumbers {
        sample: 0,
        step: 0,
        timestep,
        sigma,
        branch: Branch::Cond,
        layer: 0,
        head: 0,
        token: 1,
        mass: 0.0,
        entropy: f64::NAN,
        centroid: [f64::NAN; 2],
        peak: [f64::NAN; 2],
    };
    // A concentrated map's entropy may be a rounding error below zero.
    let one_cell = MapNumbers { mass: 0.1, entropy: -1e-9, ..numbers };
    run.record.rows = vec![numbers, one_cell];
    let rows = attention_rows(&run, false);
    let places = |row: &AttentionRow| [row.centroid_x, row.centroid_y, row.peak_x, row.peak_y];
    assert_eq!((rows[0].mass, rows[0].entropy), (0.0, None));
    assert_eq!(places(&rows[0]), [None; 4]);
    assert_eq!(rows[1].entropy, Some(0.0));
    assert_eq!(frame::<AttentionRow>(rows).unwrap().height(), 2);
}

#[test]
fn all_tables_hold_to_their_declarations() {
    let run = planted(2);
    let rows = score(&run, Detail::Full).unwrap();
    // A word is scored as itself, by two others, and over all by another seed's map.
    let expected = 2 * 4 * (3 * (1 + SIDES.len() + STEPS) + 1);
    assert_eq!(frame::<AlignmentRow>(rows).unwrap().height(), expected);
    let maps = frame::<AttentionRow>(attention_rows(&run, true)).unwrap();
    assert_eq!(maps.height(), 2 * STEPS * SIDES.len() * run.tokens.len());
    let tokens = frame::<TokenRow>(token_rows(&run)).unwrap();
    assert_eq!(tokens.height(), 8);
    let judged = judgement_rows(&run);
    assert!(judged.iter().all(|row| row.holds == Some(true)), "{judged:?}");
    assert!(frame::<JudgementRow>(judged).unwrap().height() > 0);
}
