//! At which noise level things are decided: what was planted is found, and nothing where nothing is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[cfg(feature = "torch")]
mod recorders;

use denoscope::judge::Seen;
use denoscope::measure::Undefined;
use denoscope::measure::record::POOLED_MOMENTS;
use denoscope::measure::spectrum::{Agreement, Bands, NoiseCrossing, Spectrum, transform};
use denoscope::probe::timesteps::bands::{self, BAND, BandTrajectory, NOISE, SAMPLED};
use denoscope::probe::timesteps::features::{
    Readings, SiteFeatures, Target, means, read, similarities, targets,
};
use denoscope::probe::timesteps::report::TimestepsRun;
use denoscope::probe::timesteps::summary::{most_telling_site, probe_levels};
use denoscope::probe::timesteps::switch;
use denoscope::probe::timesteps::trajectory::{self, Trajectory};
use denoscope::probe::timesteps::{Attribute, NoiseLevels};
use denoscope::report::Rerun;
use denoscope::table::{CommitmentRow, LinearProbeRow, PromptSwitchRow, frame};
use denoscope::world::{
    self, Background, Category, Colour, Content, Finish, Generator, Light, Mix, Object, Scene,
    Shape, Size, Split, Written,
};
use ndarray::Array2;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Ten steps from timestep 950 to 50, with σ that falls by a factor a step.
fn levels() -> NoiseLevels {
    NoiseLevels {
        timesteps: (0..10).map(|step| 950.0 - 100.0 * f64::from(step)).collect(),
        sigmas: (0..10).map(|step| 16.0 / 2.0_f64.powi(step)).collect(),
    }
}

// --- the judge on predicted images ---------------------------------------------------------

fn object(colour: Colour, finish: Finish, x: f32) -> Object {
    Object { shape: Shape::Ball, colour, size: Size::Large, finish, x, y: 0.5, radius: 0.2 }
}

fn scene(objects: Vec<Object>) -> Scene {
    Scene { background: Background::Gray, light: Light::Left, content: Content::Objects(objects) }
}

/// Layout comes at step 2, colour at 5 after it was right for a while at 3, finish at 7; all else is
/// there from the start.
fn seen(step: usize) -> Seen {
    let x = if step < 2 { 0.4 } else { 0.5 };
    let colour = if step == 3 || step >= 5 { Colour::Red } else { Colour::Orange };
    let finish = if step >= 7 { Finish::Striped } else { Finish::Plain };
    Seen::of_scene(&scene(vec![object(colour, finish, x)]))
}

fn trajectory(prompt: &str, sample: u32, seen: impl Fn(usize) -> Seen) -> Trajectory {
    let seen = (0..10).map(seen).collect();
    Trajectory { sample, prompt: prompt.to_owned(), seed: sample.into(), seen }
}

fn step_of(rows: &[CommitmentRow], attribute: &str) -> Option<u32> {
    rows.iter().find(|row| row.attribute == attribute).map(|row| row.step)
}

#[test]
fn an_attribute_is_decided_where_its_answer_last_changes() {
    let one = trajectory("a striped red cube lit from the left", 0, seen);
    let (answers, rows) = one.rows("run", &levels());
    assert_eq!(step_of(&rows, "layout"), Some(2));
    assert_eq!(step_of(&rows, "colour"), Some(5));
    assert_eq!(step_of(&rows, "finish"), Some(7));
    for from_the_start in ["count", "shape", "size", "background", "light"] {
        assert_eq!(step_of(&rows, from_the_start), Some(0), "{from_the_start}");
    }
    assert_eq!(step_of(&rows, "word"), None, "no word in the last image");
    let right = |attribute: &str| rows.iter().find(|r| r.attribute == attribute).unwrap().right;
    assert_eq!(right("colour"), Some(true));
    assert_eq!(right("shape"), Some(false), "a ball where a cube was asked for");
    assert_eq!(right("background"), None, "the prompt does not say");
    let colour = rows.iter().find(|row| row.attribute == "colour").unwrap();
    assert_eq!((colour.timestep, colour.sigma), (450.0, 0.5));
    let of_colour: Vec<_> = answers.iter().filter(|row| row.attribute == "colour").collect();
    assert_eq!(of_colour.len(), 10);
    assert_eq!(of_colour[4].answer.as_deref(), Some("orange"));
    assert!(of_colour[3].agrees && !of_colour[4].agrees);
    frame(answers).unwrap();
    frame(rows).unwrap();
}

#[test]
fn objects_that_are_not_there_yet_and_words_are_told_apart() {
    let pair = |step: usize| {
        let first = object(Colour::Red, Finish::Plain, 0.2);
        let second = object(Colour::Blue, Finish::Plain, 0.8);
        let objects = if step < 4 { vec![first] } else { vec![first, second] };
        Seen::of_scene(&scene(objects))
    };
    let (answers, rows) = trajectory("a red ball and a blue ball", 0, pair).rows("run", &levels());
    for attribute in ["layout", "count", "shape", "colour"] {
        assert_eq!(step_of(&rows, attribute), Some(4), "{attribute}");
    }
    let first = answers.iter().find(|row| row.attribute == "colour" && row.step == 0).unwrap();
    assert_eq!(first.answer.as_deref(), Some("red; –"));
    let written = |step: usize| {
        let text = if step < 8 { "CAB" } else { "CAT" }.to_owned();
        let word = Written { text, colour: Colour::Red, x: 0.5, y: 0.5, height: 0.3 };
        Seen::of_scene(&Scene { content: Content::Word(word), ..scene(Vec::new()) })
    };
    let (_, rows) = trajectory("the word CAT", 1, written).rows("run", &levels());
    assert_eq!(step_of(&rows, "word"), Some(8));
    assert_eq!(step_of(&rows, "layout"), None, "no objects");
}

#[test]
fn medians_are_over_images_and_intervals_over_prompts() {
    let mut rows = Vec::new();
    for sample in 0..24_u32 {
        let late = (sample / 2 % 3) as usize;
        let shown = move |step: usize| {
            let colour = if step >= 4 + late { Colour::Red } else { Colour::Cyan };
            Seen::of_scene(&scene(vec![object(colour, Finish::Plain, 0.5)]))
        };
        let prompt = format!("prompt {}", sample / 2);
        rows.extend(trajectory(&prompt, sample, shown).rows("run", &levels()).1);
    }
    let found = trajectory::noise_levels("run", &rows, &levels());
    let colour = found.iter().find(|row| row.aspect == "colour").unwrap();
    assert_eq!((colour.step, colour.timestep, colour.units), (Some(5.0), 450.0, 12));
    let (low, high) = (colour.timestep_low.unwrap(), colour.timestep_high.unwrap());
    assert!((350.0..450.0).contains(&low) && (450.0..=550.0).contains(&high), "{low} to {high}");
    let shares = trajectory::shares(&rows, &levels());
    assert_eq!(shares[&Attribute::Colour][4], 8.0 / 24.0);
    assert_eq!(shares[&Attribute::Colour][9], 1.0);
    let one: Vec<CommitmentRow> = rows.into_iter().filter(|row| row.sample == 0).collect();
    let alone = trajectory::noise_levels("run", &one, &levels());
    assert!(alone.iter().all(|row| row.timestep_low.is_none()), "one prompt has no interval");
    frame(found).unwrap();
}

// --- frequencies ---------------------------------------------------------------------------

fn white(random: &mut ChaCha8Rng) -> Vec<Spectrum> {
    let field = Array2::from_shape_simple_fn((16, 16), || random.sample(StandardNormal));
    vec![transform(Array2::view(&field))]
}

/// Bands that cohere from a set step on, whatever noise alone would say.
#[test]
fn bands_are_decided_where_they_were_put_in() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let fields: Vec<Vec<Spectrum>> = (0..50).map(|_| white(&mut random)).collect();
    let all = Bands::octaves((16, 16));
    let null = NoiseCrossing::of(&fields, &all).unwrap();
    let planted = [7, 5, 3, 2, 1];
    let image = |prompt: usize| BandTrajectory {
        unit: format!("prompt {prompt}"),
        steps: (0..10)
            .map(|step| {
                let of_band = |&from: &usize| {
                    let coherence = if step >= from + prompt % 2 { 0.97 } else { 0.4 };
                    Some(Agreement { coherence, share: coherence })
                };
                planted.iter().map(of_band).collect()
            })
            .collect(),
    };
    let images: Vec<BandTrajectory> = (0..12).map(image).collect();
    let found = bands::noise_levels("run", &images, (&all, &null), &levels());
    for (band, from) in planted.into_iter().enumerate() {
        let aspect = bands::aspect(&all, band);
        let of = |method: &str| {
            found.iter().find(|row| row.aspect == aspect && row.method == method).unwrap()
        };
        assert_eq!(of(BAND).step, Some(from as f64 + 0.5), "{aspect}");
        // White data cross at σ = √(1/0.9² − 1) ≈ 0.48, between steps 5 and 6: one for all.
        let crossing = of(NOISE).step.unwrap();
        assert!((4.7..5.4).contains(&crossing), "{aspect}: {crossing}");
    }
    let rows = bands::rows(("run", SAMPLED), &images, (&all, &null), &levels()).unwrap();
    assert_eq!(rows.len(), 50);
    assert!(rows.iter().all(|row| row.coherence_low.is_some() && row.images == 12));
    frame(rows).unwrap();
    frame(found).unwrap();
    let short = BandTrajectory { unit: String::new(), steps: Vec::new() };
    let uneven = bands::rows(("run", SAMPLED), &[short], (&all, &null), &levels());
    assert_eq!(uneven, Err(Undefined::Length { expected: 10, got: 0 }));
}

// --- switched prompts ----------------------------------------------------------------------

/// Pairs whose images follow the new prompt up to a step of their own.
fn switched(attribute: &str, pairs: u32, turn: impl Fn(u32) -> f64) -> Vec<PromptSwitchRow> {
    let mut rows = Vec::new();
    for pair in 0..pairs {
        for step in 0..=10_u32 {
            rows.push(PromptSwitchRow {
                run: "run".to_owned(),
                attribute: attribute.to_owned(),
                pair,
                prompt_a: "a".to_owned(),
                prompt_b: "b".to_owned(),
                seed: 0,
                switch_step: step,
                timestep: levels().timesteps.get(step as usize).copied(),
                sigma: levels().sigmas.get(step as usize).copied(),
                follows: if f64::from(step) < turn(pair) { "b" } else { "a" }.to_owned(),
                counts: false,
            });
        }
    }
    rows
}

#[test]
fn the_half_lies_where_images_turn() {
    let mut rows = switched("colour", 20, |pair| 3.5 + f64::from(pair % 3));
    rows.extend(switched("layout", 20, |_| 1.5));
    switch::mark(&mut rows, 10);
    assert!(rows.iter().all(|row| row.counts));
    let found = switch::noise_levels("run", &rows, &levels());
    let of = |aspect: &str| found.iter().find(|row| row.aspect == aspect).unwrap();
    let colour = of("colour").step.unwrap();
    assert!((3.8..4.6).contains(&colour), "{colour}");
    let layout = of("layout");
    assert!((1.0..=2.0).contains(&layout.step.unwrap()), "{layout:?}");
    assert!(layout.timestep > of("colour").timestep_high.unwrap(), "layout is earlier");
    let shares = switch::shares(&rows, Attribute::Colour);
    assert_eq!((shares[0].share, shares[10].share), (1.0, 0.0));
}

#[test]
fn pairs_that_do_not_follow_their_own_prompts_do_not_count() {
    let mut rows = switched("colour", 6, |_| 4.5);
    // Two pairs never draw what the first prompt asks for, not even without a switch.
    for row in rows.iter_mut().filter(|row| row.pair < 2 && row.follows == "a") {
        row.follows = "neither".to_owned();
    }
    switch::mark(&mut rows, 10);
    let counting = rows.iter().filter(|row| row.counts).count();
    assert_eq!(counting, 4 * 11);
    assert!(switch::noise_levels("run", &rows, &levels()).is_empty(), "four pairs are too few");
    assert_eq!(switch::shares(&rows, Attribute::Colour)[0].images, 4);
}

// --- linear probes -------------------------------------------------------------------------

const SCENES: u64 = 1200;
const CHANNELS: usize = 10;

fn scenes() -> Vec<Scene> {
    let generator = Generator::new(5, Mix::only(Category::OneObject), Split::Train);
    (0..SCENES).map(|i| generator.sample(i).scene).collect()
}

/// Noise; at one site a shape's channel from timestep 500 on, and the place in a moment at 100.
fn features(scenes: &[Scene], site: &str, timestep: f64) -> SiteFeatures {
    let seed = site.len() as u64 * 1000 + timestep as u64;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let shape = (scenes.len(), CHANNELS * POOLED_MOMENTS);
    let mut values = Array2::from_shape_simple_fn(shape, || random.sample(StandardNormal));
    if site == "mid.out" {
        for (row, scene) in scenes.iter().enumerate() {
            let object = &scene.objects()[0];
            if timestep <= 500.0 {
                values[[row, object.shape as usize]] += 4.0;
            }
            if timestep <= 100.0 {
                values[[row, CHANNELS + 2]] += 40.0 * object.x;
            }
        }
    }
    SiteFeatures { site: site.to_owned(), timestep, sigma: timestep / 100.0, values }
}

fn read_all(features: &[SiteFeatures], targets: &[(&'static str, Target)]) -> Readings {
    read("run", features, targets, (None, &["mid.out".to_owned()]), &|| {})
}

fn row<'a>(
    rows: &'a [LinearProbeRow],
    (site, timestep): (&str, f64),
    (attribute, regression): (&str, &str),
) -> &'a LinearProbeRow {
    let wanted = |row: &&LinearProbeRow| {
        row.site == site
            && row.timestep == timestep
            && row.attribute == attribute
            && row.regression == regression
    };
    rows.iter().find(wanted).unwrap()
}

#[test]
fn planted_labels_are_read_where_they_are_and_nothing_elsewhere() {
    let scenes = scenes();
    let targets = targets(&scenes.iter().collect::<Vec<_>>());
    let at = [900.0, 500.0, 100.0];
    let features: Vec<SiteFeatures> = ["mid.out", "up.0.out"]
        .iter()
        .flat_map(|site| at.map(|timestep| features(&scenes, site, timestep)))
        .collect();
    let found = read_all(&features, &targets);
    let rows = &found.rows;
    for (timestep, there) in [(900.0, false), (500.0, true), (100.0, true)] {
        for regression in ["ridge", "logistic"] {
            let row = row(rows, ("mid.out", timestep), ("shape", regression));
            assert_eq!(row.measure, "accuracy");
            if there {
                assert!(row.score > 0.9 && row.selectivity_low > 0.6, "{row:?}");
            } else {
                assert!(row.selectivity.abs() < 0.05, "{row:?}");
            }
        }
    }
    let place = row(rows, ("mid.out", 100.0), ("x", "ridge"));
    assert!(place.measure == "r2" && place.score > 0.8 && place.selectivity > 0.8, "{place:?}");
    // Where nothing was put in: the mean over all attributes is nothing.
    let elsewhere: Vec<f64> = rows
        .iter()
        .filter(|row| row.site == "up.0.out" && row.measure == "accuracy")
        .map(|row| row.selectivity)
        .collect();
    let mean = elsewhere.iter().sum::<f64>() / elsewhere.len() as f64;
    assert!(mean.abs() < 0.03, "{mean}");
    assert!(elsewhere.iter().all(|s| s.abs() < 0.06), "{elsewhere:?}");

    assert_eq!(most_telling_site(rows), Some("mid.out"));
    let levels = probe_levels("run", rows, "mid.out", &levels());
    let shape = levels.iter().find(|row| row.aspect == "shape").unwrap();
    assert!((500.0..900.0).contains(&shape.timestep), "{shape:?}");
    let layout = levels.iter().find(|row| row.aspect == "layout").unwrap();
    assert!((100.0..500.0).contains(&layout.timestep), "{layout:?}");
    assert!(!levels.iter().any(|row| row.aspect == "colour"), "colour is told nowhere");
    // All scenes have one object: there is nothing to count.
    assert!(found.missing.iter().any(|says| says.contains("count") && says.contains("same")));
    frame(found.rows).unwrap();
}

#[test]
fn what_cannot_be_read_is_left_out_and_said() {
    let scenes: Vec<Scene> = scenes().into_iter().take(200).collect();
    let shown: Vec<&Scene> = scenes.iter().collect();
    let all = targets(&shown);
    let mut broken = features(&scenes, "mid.out", 100.0);
    for row in 0..12 {
        broken.values[[row * 3, 1]] = f32::NAN;
    }
    let found = read_all(std::slice::from_ref(&broken), &all);
    let shape = row(&found.rows, ("mid.out", 100.0), ("shape", "ridge"));
    assert_eq!((shape.scenes, shape.left_out), (188, 12));
    assert!(shape.score.is_finite() && shape.score > 0.8);

    let few = targets(&shown[..30]);
    let one = features(&scenes[..30], "mid.out", 100.0);
    let found = read_all(&[one], &few);
    assert!(found.rows.is_empty());
    assert!(
        found.missing.iter().any(|says| says.contains("30 scenes") && says.contains("--scenes"))
    );

    broken.values.fill(f32::NAN);
    let found = read_all(&[broken], &all);
    assert!(found.rows.is_empty());
    assert!(found.missing.iter().any(|says| says.contains("no numbers were left out")));
}

#[test]
fn sites_are_compared_with_themselves_over_time() {
    let scenes = scenes();
    let all = [900.0, 500.0, 100.0].map(|t| (t, means(&features(&scenes, "mid.out", t))));
    let rows = similarities("run", "mid.out", &all).unwrap();
    assert_eq!(rows.len(), 6);
    let at = |a: f64, b: f64| {
        rows.iter().find(|row| row.timestep == a && row.other_timestep == b).unwrap()
    };
    assert!((at(500.0, 500.0).cka - 1.0).abs() < 1e-9);
    // The label that both have is what they share; noise shares nothing.
    assert!(at(500.0, 100.0).cka > at(500.0, 100.0).shuffled + 0.3, "{:?}", at(500.0, 100.0));
    assert!((at(900.0, 500.0).cka - at(900.0, 500.0).shuffled).abs() < 0.05);
    frame(rows).unwrap();
    assert!(similarities("run", "mid.out", &[]).unwrap().is_empty());
}

// --- the report ----------------------------------------------------------------------------

#[test]
fn a_report_says_what_was_found_and_what_was_not() {
    let rows: Vec<CommitmentRow> = (0..16)
        .flat_map(|sample| {
            trajectory(&format!("prompt {sample}"), sample, seen).rows("run", &levels()).1
        })
        .collect();
    let mut switches = switched("colour", 8, |_| 4.5);
    switch::mark(&mut switches, 10);
    let mut noise_levels = trajectory::noise_levels("run", &rows, &levels());
    noise_levels.extend(switch::noise_levels("run", &switches, &levels()));
    let run = TimestepsRun {
        levels: levels(),
        noise_levels,
        commitments: rows,
        switches,
        missing: vec!["nothing was probed".to_owned()],
        ..TimestepsRun::default()
    };
    let sentences: Vec<String> = run.findings().into_iter().map(|f| f.sentence).collect();
    assert!(
        sentences.iter().any(|s| s.contains("`finish` is decided at timestep 250")),
        "{sentences:?}"
    );
    assert!(sentences.iter().any(|s| s.contains("another `colour` changes half")), "{sentences:?}");
    let page = run.report(Vec::new(), Vec::new(), Rerun::default()).unwrap().to_html().unwrap();
    for part in ["abstraction-by-noise", "prompt-switch", "nothing was probed", "null model"] {
        assert!(page.contains(part), "{part}");
    }
    let empty = TimestepsRun::default().report(Vec::new(), Vec::new(), Rerun::default()).unwrap();
    assert!(empty.to_html().unwrap().contains("No findings"));
}

// --- noise levels and pairs of prompts -----------------------------------------------------

#[test]
fn levels_lie_between_steps() {
    let levels = NoiseLevels {
        timesteps: vec![900.0, 500.0, 100.0],
        sigmas: vec![f64::INFINITY, 1.0, 0.01],
    };
    assert_eq!(levels.timestep(0.5), 700.0);
    assert_eq!(levels.timestep(7.0), 100.0);
    assert!((levels.sigma(1.5) - 0.1).abs() < 1e-12);
    assert_eq!(levels.sigma(0.0), f64::INFINITY);
    assert!((levels.step_of_sigma(0.1).unwrap() - 1.5).abs() < 1e-12);
    assert_eq!(levels.step_of_sigma(3.0), Some(1.0), "somewhere before: the step that has it");
    assert_eq!(levels.step_of_sigma(0.001), None);
}

/// A rendered scene of either prompt is told to follow it, whatever the attribute.
#[test]
fn rendered_scenes_follow_their_own_prompts() {
    for attribute in Attribute::ALL {
        let pairs = switch::PromptPair::drawn(attribute, 12, 3);
        assert_eq!(pairs.len(), 12, "{attribute:?}");
        let mut right = 0;
        for pair in &pairs {
            let image = |prompt: &str| {
                world::render(&world::compose(&world::parse(prompt).unwrap(), 1).unwrap(), 64)
            };
            right += usize::from(pair.follows(&image(&pair.a)) == switch::Follows::A);
            right += usize::from(pair.follows(&image(&pair.b)) == switch::Follows::B);
        }
        // The judge errs now and then on small details.
        assert!(right >= 21, "{attribute:?}: {right} of 24");
    }
}
