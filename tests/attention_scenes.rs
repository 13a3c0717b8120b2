//! Attention over many scenes: what was planted is found, and nothing where nothing is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use denoscope::measure::Undefined;
use denoscope::measure::record::WordLayer;
use denoscope::probe::attention::PromptToken;
use denoscope::probe::attention::leakage;
use denoscope::probe::attention::scenes::ranking::{beside, best_head_and_timestep, heads};
use denoscope::probe::attention::scenes::report::Scores;
use denoscope::probe::attention::scenes::{Shown, Tally, UNTRAINED, Weights};
use denoscope::probe::attention::score::{OTHER_IMAGES, PERMUTED_WORDS};
use denoscope::table::{AttentionScoreRow, LeakageRow};
use denoscope::world::{Category, Generator, Mix, Sample, Split};
use ndarray::{Array2, Array5, s};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const PIXELS: usize = 64;
const SIDES: [usize; 2] = [8, 16];
const HEADS: usize = 2;
const TIMESTEPS: [i64; 2] = [900, 100];
const BATCH: u64 = 20;

fn tokens(caption: &str) -> Vec<PromptToken> {
    let edge = || PromptToken { id: 0, piece: String::new(), word: None, span: (0, 0) };
    let mut tokens = vec![edge()];
    let mut at = 0;
    for (number, word) in caption.split(' ').enumerate() {
        let span = (at, at + word.len());
        let piece = word.to_owned();
        tokens.push(PromptToken { id: 1, piece, word: Some((word.to_lowercase(), number)), span });
        at += word.len() + 1;
    }
    tokens.push(edge());
    tokens
}

fn scenes(from: u64, count: u64) -> Vec<Shown> {
    let mix = Mix::from_weights([(Category::TwoObjects, 1.0), (Category::Relation, 1.0)]).unwrap();
    let generator = Generator::new(7, mix, Split::Train);
    let shown = |i: u64| {
        let sample: Sample = generator.sample(i);
        Shown::new(u32::try_from(i).unwrap(), &sample, &tokens(&sample.caption), PIXELS)
    };
    (from..from + count).filter_map(shown).collect()
}

/// The map of a word at a place, as a test plants it.
type Planted<'a> = dyn FnMut(&Shown, usize, [usize; 4]) -> Array2<f32> + 'a;

/// A map for each word of each scene, head and step of each layer.
fn layers(scenes: &[Shown], map: &mut Planted<'_>) -> Vec<WordLayer> {
    let most = scenes.iter().map(|scene| scene.words.len()).max().unwrap();
    let layer = |(number, side): (usize, usize)| {
        let per_step = (0..TIMESTEPS.len()).map(|step| {
            let mut maps = Array5::zeros((scenes.len(), most, HEADS, side, side));
            for (i, scene) in scenes.iter().enumerate() {
                for word in 0..scene.words.len() {
                    for head in 0..HEADS {
                        let of_head = map(scene, word, [number, head, step, side]);
                        maps.slice_mut(s![i, word, head, .., ..]).assign(&of_head);
                    }
                }
            }
            maps
        });
        WordLayer { site: format!("up.{number}.cross.probs"), per_step: per_step.collect() }
    };
    SIDES.into_iter().enumerate().map(layer).collect()
}

fn coarse(region: &Array2<bool>, side: usize) -> Array2<f32> {
    let by = PIXELS / side;
    Array2::from_shape_fn((side, side), |(row, column)| {
        let at = s![row * by..(row + 1) * by, column * by..(column + 1) * by];
        let inside = region.slice(at).iter().filter(|inside| **inside).count();
        inside as f32 / (by * by) as f32
    })
}

fn whole<'a>(
    rows: &'a [AttentionScoreRow],
    role: Option<&str>,
    control: Option<&str>,
) -> &'a AttentionScoreRow {
    let wanted = |row: &&AttentionScoreRow| {
        row.role.as_deref() == role
            && row.word.is_none()
            && row.site.is_none()
            && row.timestep.is_none()
            && row.control.as_deref() == control
    };
    rows.iter().find(wanted).unwrap()
}

fn binding<'a>(rows: &'a [LeakageRow], role: &str, control: Option<&str>) -> &'a LeakageRow {
    let wanted = |row: &&LeakageRow| {
        row.role == role
            && row.relation == "other"
            && row.timestep.is_none()
            && row.control.as_deref() == control
    };
    rows.iter().find(wanted).unwrap()
}

#[test]
fn the_head_site_and_timestep_that_carry_it_are_found() {
    // Head 1 of the second layer knows the objects, at the last timestep only; the rest is noise.
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut tally = Tally::new(TIMESTEPS.to_vec());
    for batch in 0..3 {
        let scenes = scenes(batch * BATCH, BATCH);
        assert!(scenes.len() > 10, "captions say which object is which");
        let mut map = |scene: &Shown, word: usize, [layer, head, step, side]: [usize; 4]| {
            let noise = Array2::from_shape_fn((side, side), |_| random.random::<f32>() * 0.1);
            if [layer, head, step] == [1, 1, 1] {
                return noise + coarse(&scene.regions[scene.words[word].phrase], side);
            }
            noise
        };
        tally.add(&scenes, &layers(&scenes, &mut map), Weights::Trained).unwrap();
    }
    let best = best_head_and_timestep(&tally).unwrap();
    assert_eq!([best.level.site, best.level.head, best.level.step], [Some(1); 3]);
    assert!(best.measured.low > 0.9, "{best:?}");
    assert_eq!(best.among, SIDES.len() * HEADS * TIMESTEPS.len());

    let rows = tally.score_rows("run");
    let first = heads(&rows)[0];
    assert_eq!((first.site.as_deref(), first.head), (Some("up.1.cross.probs"), Some(1)));
    let other = beside(&rows, first, PERMUTED_WORDS).unwrap();
    assert!(other.auroc < first.auroc - 0.2, "{other:?}");
    for role in ["colour", "shape"] {
        let own = whole(&rows, Some(role), None);
        assert!(own.auroc_low.unwrap() > 0.7 && own.mass_ratio.unwrap() > 1.1, "{own:?}");
    }
    let leakage = tally.leakage_rows("run");
    let bound = binding(&leakage, "adjective", None);
    assert!(bound.binds_low.unwrap() > 0.9, "{bound:?}");
    let chance = binding(&leakage, "adjective", Some(OTHER_IMAGES));
    assert!((chance.binds.unwrap() - 0.5).abs() < 0.2, "{chance:?}");
    let sentences = Scores::new(tally, "run").findings();
    assert!(sentences.iter().any(|f| f.sentence.contains("head 1 of up.1 at timestep 100")));
}

#[test]
fn words_that_look_at_the_other_object_are_said_to_leak() {
    let mut tally = Tally::new(TIMESTEPS.to_vec());
    let scenes = scenes(0, BATCH);
    // Colour words look at the other object, nouns at both alike.
    let mut map = |scene: &Shown, word: usize, [_, _, _, side]: [usize; 4]| {
        let word = &scene.words[word];
        let own = coarse(&scene.regions[word.phrase], side);
        let other = coarse(&scene.regions[1 - word.phrase], side);
        match word.role {
            "colour" => other + 0.01,
            _ => own + other + 0.01,
        }
    };
    tally.add(&scenes, &layers(&scenes, &mut map), Weights::Trained).unwrap();
    let rows = tally.leakage_rows("run");
    let colour = binding(&rows, "colour", None);
    assert!(colour.binds_high.unwrap() < 0.1 && colour.mass_low.unwrap() > 2.0, "{colour:?}");
    let scores = tally.score_rows("run");
    assert!(whole(&scores, Some("colour"), None).auroc < 0.5);
    assert!(whole(&scores, Some("shape"), None).auroc > 0.7);
}

#[test]
fn noise_scores_at_chance_and_draws_of_weights_are_the_units() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let mut tally = Tally::new(TIMESTEPS.to_vec());
    for draw in 0..4 {
        let scenes = scenes(u64::from(draw) * BATCH, BATCH);
        let mut map = |_: &Shown, _: usize, [_, _, _, side]: [usize; 4]| {
            Array2::from_shape_fn((side, side), |_| random.random::<f32>())
        };
        tally.add(&scenes, &layers(&scenes, &mut map), Weights::Trained).unwrap();
        tally.add(&scenes, &layers(&scenes, &mut map), Weights::Untrained { draw }).unwrap();
    }
    let rows = tally.score_rows("run");
    for control in [None, Some(UNTRAINED), Some(OTHER_IMAGES), Some(PERMUTED_WORDS)] {
        let row = whole(&rows, None, control);
        assert!((row.auroc - 0.5).abs() < 0.03, "{row:?}");
        assert!((row.mass_ratio.unwrap() - 1.0).abs() < 0.03, "{row:?}");
    }
    assert_eq!(whole(&rows, None, Some(UNTRAINED)).units, 4);
    // Maps of other timesteps than the tally's are refused.
    let scenes = scenes(0, 2);
    let mut flat = |_: &Shown, _: usize, [_, _, _, side]: [usize; 4]| Array2::ones((side, side));
    let layers = layers(&scenes, &mut flat);
    let error = Tally::new(vec![500]).add(&scenes, &layers, Weights::Trained).unwrap_err();
    assert_eq!(error, Undefined::Length { expected: 1, got: 2 });
}

#[test]
fn a_scene_whose_captions_and_objects_agree_has_a_region_for_each_phrase() {
    for scene in scenes(0, 100) {
        assert_eq!(scene.regions.len(), 2);
        let both = scene.regions[0].iter().zip(&scene.regions[1]).filter(|(a, b)| **a && **b);
        assert_eq!(both.count(), 0, "a pixel shows one object");
        assert!(scene.words.iter().all(|word| word.phrase < 2 && !word.positions.is_empty()));
    }
}

#[test]
fn a_run_without_words_of_objects_has_no_leakage() {
    let run = denoscope::probe::attention::AttentionRun {
        run: String::new(),
        prompt: "over there".into(),
        expectations: None,
        given: Vec::new(),
        tokens: tokens("over there"),
        images: Vec::new(),
        film: Vec::new(),
        steps: Vec::new(),
        record: denoscope::measure::record::AttentionRecord {
            layers: Vec::new(),
            rows: Vec::new(),
            steps: 0,
        },
    };
    assert!(leakage::rows(&run).unwrap().is_empty());
}
