//! Trends, change points and emergence: closed forms, planted effects, controls, and the command.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod planted;

use std::fs;
use std::path::{Path, PathBuf};

use denoscope::measure::Bootstrap;
use denoscope::measure::change_point::{RepeatedOutcomes, Search};
use denoscope::measure::emergence::{Checkpoint, Passing, passing, precedence, rising};
use denoscope::measure::paired::{
    MinimumDetectable, PairedOutcomes, minimum_detectable, pairs_needed,
};
use denoscope::run::{Manifest, TrainingRecord};
use denoscope::table::{JudgementRow, OutcomeRow, frame, write_parquet};
use planted::{probe, sampling};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tempfile::TempDir;

// --- change points ---------------------------------------------------------------------------

fn search(significance: f64) -> Search {
    let bootstrap = Bootstrap { resamples: 300, ..Bootstrap::default() };
    Search { significance, permutations: 499, bootstrap }
}

/// `prompts` prompts of two images whose chance at each time is given.
fn repeated(random: &mut ChaCha8Rng, prompts: usize, chances: &[f64]) -> RepeatedOutcomes {
    let images: Vec<(usize, Vec<bool>)> = (0..2 * prompts)
        .map(|i| (i / 2, chances.iter().map(|&chance| random.random_bool(chance)).collect()))
        .collect();
    let images = images.iter().map(|(prompt, holds)| (*prompt, holds.as_slice()));
    RepeatedOutcomes::new(chances.len(), images).unwrap()
}

#[test]
fn planted_changes_are_found_where_they_are() {
    const REPEATS: u64 = 20;
    let chances = [0.3, 0.3, 0.3, 0.75, 0.75, 0.75, 0.75, 0.35, 0.35];
    let mut others = 0;
    for seed in 0..REPEATS {
        let mut random = ChaCha8Rng::seed_from_u64(8100 + seed);
        let points = repeated(&mut random, 120, &chances).change_points(&search(0.05)).unwrap();
        for (place, planted) in [(3, 0.75 - 0.3), (7, 0.35 - 0.75)] {
            let point = points.iter().find(|point| point.at == place).unwrap();
            // Five standard errors of the difference of two shares of 240 images.
            assert!((point.difference.mean - planted).abs() < 0.22, "{point:?}");
            assert!((point.within.0..=point.within.1).contains(&place) && point.p <= 0.05);
        }
        others += points.len() - 2;
    }
    // Between the planted ones lie three stretches without change, each tested at 5 %: SciPy's
    // binom.ppf(0.999, 60, 0.05).
    assert!(others <= 9, "{others} more were found");
}

#[test]
fn where_nothing_changes_change_points_are_as_rare_as_the_level_says() {
    let mut random = ChaCha8Rng::seed_from_u64(82);
    // Prompts differ from one another and stay what they are.
    let runs = 200;
    let alarms = (0..runs)
        .filter(|_| {
            let images: Vec<(usize, Vec<bool>)> = (0..60)
                .map(|i| {
                    let chance = ((i / 2 % 10) as f64 + 0.5) / 10.0;
                    (i / 2, (0..6).map(|_| random.random_bool(chance)).collect())
                })
                .collect();
            let images = images.iter().map(|(prompt, holds)| (*prompt, holds.as_slice()));
            let outcomes = RepeatedOutcomes::new(6, images).unwrap();
            !outcomes.change_points(&search(0.05)).unwrap().is_empty()
        })
        .count();
    // SciPy's binom.ppf(0.999, 200, 0.05).
    assert!(alarms <= 21, "{alarms} of {runs}");
}

#[test]
fn two_times_are_tested_as_two_runs_are() {
    // Twelve prompts of one image, nine of them broken and one fixed: McNemar's exact p is
    // 2·(C(10,0) + C(10,1)) / 2¹⁰ = 22/1024, and the test exchanges times at random.
    let images: Vec<(usize, [bool; 2])> =
        (0..12).map(|i| (i, if i < 9 { [true, false] } else { [i > 9, true] })).collect();
    let images = images.iter().map(|(prompt, holds)| (*prompt, holds.as_slice()));
    let outcomes = RepeatedOutcomes::new(2, images).unwrap();
    let search = Search { permutations: 20_000, ..search(0.05) };
    let points = outcomes.change_points(&search).unwrap();
    assert_eq!((points.len(), points[0].at), (1, 1));
    let expected = 22.0 / 1024.0;
    // Four standard errors of a share of 20,000.
    let slack = 4.0 * (expected * (1.0 - expected) / 20_000.0_f64).sqrt();
    assert!((points[0].p - expected).abs() < slack, "{}", points[0].p);
}

// --- emergence -------------------------------------------------------------------------------

fn checkpoints(shares: &[f64]) -> Vec<Checkpoint> {
    let at = |(i, share): (usize, &f64)| Checkpoint {
        trained: 100.0 * i as f64,
        held: share * 50.0,
        images: 50.0,
    };
    shares.iter().enumerate().map(at).collect()
}

#[test]
fn a_curve_is_made_to_rise_and_passes_where_it_should() {
    // Pooling: 0.6 and 0.4 become 0.5 each, 0.9 0.8 0.7 become 0.8.
    let curve = rising(&checkpoints(&[0.1, 0.6, 0.4, 0.9, 0.8, 0.7]));
    for (got, expected) in curve.iter().zip([0.1, 0.5, 0.5, 0.8, 0.8, 0.8]) {
        assert!((got - expected).abs() < 1e-12, "{curve:?}");
    }
    // A straight line between 0.2 at 100 and 0.6 at 200 passes a half at 175.
    let Passing::At(time) = passing(&checkpoints(&[0.0, 0.2, 0.6, 1.0]), 0.5) else { panic!() };
    assert!((time - 175.0).abs() < 1e-9, "{time}");
    assert_eq!(passing(&checkpoints(&[0.1, 0.2, 0.3]), 0.5), Passing::AfterLast);
    assert_eq!(passing(&checkpoints(&[0.7, 0.8]), 0.5), Passing::BeforeFirst);
    // A lucky checkpoint in the middle is no passing.
    let lucky = passing(&checkpoints(&[0.1, 0.55, 0.2, 0.3, 0.9]), 0.5);
    assert!(lucky > Passing::At(300.0), "{lucky:?}");
}

#[test]
fn what_comes_first_is_counted_over_pairs() {
    let early = vec![Passing::BeforeFirst, Passing::At(1.0), Passing::At(2.0), Passing::At(5.0)];
    let late = vec![Passing::At(1.0), Passing::At(2.0), Passing::AfterLast, Passing::At(4.0)];
    assert!((precedence(&early, &late).unwrap().share - 0.75).abs() < 1e-12);
    // Both beyond the checkpoints is a tie.
    let never = vec![Passing::AfterLast; 50];
    let tie = precedence(&never, &never).unwrap();
    assert_eq!((tie.share, tie.p), (0.5, 1.0));
}

// --- plan ------------------------------------------------------------------------------------

#[test]
fn intraclass_correlation_is_that_of_the_definition() {
    // One-way analysis of variance by hand: clusters (1, 1), (0, 0), (−1, −1), (1, 0).
    // Mean 1/8; between = 2·[(7/8)² + (1/8)² + (9/8)² + (3/8)²] / 3; within = 2·(½)² / 4 = 0.125.
    let pairs = [
        (0, false, true),
        (0, false, true),
        (1, true, true),
        (1, false, false),
        (2, true, false),
        (2, true, false),
        (3, false, true),
        (3, true, true),
    ];
    let outcomes = PairedOutcomes::new(pairs).unwrap();
    let between = 2.0 * (49.0 + 1.0 + 81.0 + 9.0) / 64.0 / 3.0;
    let expected = (between - 0.125) / (between + 0.125);
    let got = outcomes.intraclass_correlation().unwrap();
    assert!((got - expected).abs() < 1e-12, "{got} {expected}");
    let single = PairedOutcomes::new([(0, true, false), (1, false, true)]).unwrap();
    assert_eq!(single.intraclass_correlation(), None);
}

#[test]
fn as_many_pairs_are_planned_as_see_the_effect() {
    for (discordance, effect) in [(0.1, 0.05), (0.2, 0.1), (0.02, 0.2)] {
        let plan = MinimumDetectable { pairs: 0, discordance, significance: 0.05, power: 0.8 };
        let needed = pairs_needed(plan, effect).unwrap();
        let seen = |pairs| minimum_detectable(MinimumDetectable { pairs, ..plan }).unwrap();
        assert!(seen(needed) <= effect + 1e-6, "{needed}: {}", seen(needed));
        // The exact power is a saw: a tenth fewer is beyond its teeth.
        assert!(seen(needed * 9 / 10) > effect, "{needed}");
    }
    let plan = MinimumDetectable { pairs: 0, discordance: 0.1, significance: 0.05, power: 0.8 };
    assert_eq!(pairs_needed(plan, 0.0), None);
}

// --- the commands ----------------------------------------------------------------------------

const KINDS: [&str; 4] = ["colour", "shape", "binding", "relation_strict"];

/// A run of 60 prompts of two images, of which each sort of atom is right with its own chance:
/// by itself, or all together where `coupled`.
fn checkpoint(out: &Path, step: u64, chances: [f64; 4], coupled: bool, seed: u64) -> PathBuf {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut outcomes, mut atoms) = (Vec::new(), Vec::new());
    for sample in 0..120_u32 {
        let prompt = format!("prompt {}", sample / 2);
        let together: f64 = random.random();
        let right = chances.map(|chance| {
            let own: f64 = random.random();
            (if coupled { together } else { own }) < chance
        });
        let held = right.iter().filter(|right| **right).count() as u32;
        outcomes.push(OutcomeRow {
            item: format!("item-{}", sample / 2),
            category: "relation".to_owned(),
            prompt: prompt.clone(),
            seed: u64::from(sample % 2),
            holds: Some(held == 4),
            atoms: 4,
            atoms_held: held,
            ..planted::outcome()
        });
        atoms.extend(KINDS.iter().zip(right).map(|(kind, holds)| JudgementRow {
            sample,
            prompt: prompt.clone(),
            seed: u64::from(sample % 2),
            category: "relation".to_owned(),
            atom: format!("{kind}[0]"),
            kind: (*kind).to_owned(),
            expected: "x".to_owned(),
            found: None,
            holds: Some(holds),
            reason: String::new(),
            judge: "exact".to_owned(),
            judge_version: "2".to_owned(),
        }));
    }
    let folder = planted::begun(out, outcomes);
    let path = folder.path("tables/judgement.parquet").unwrap();
    write_parquet::<JudgementRow>(&mut frame(atoms).unwrap(), &path).unwrap();
    let mut manifest = Manifest::new("failures");
    manifest.sampling = Some(sampling());
    manifest.training = Some(TrainingRecord { step, images: Some(step * 64) });
    folder.finish(manifest).unwrap()
}

/// A logistic curve that passes one half at `t50`.
fn learned(step: u64, t50: f64) -> f64 {
    1.0 / (1.0 + (-(step as f64 - t50) / 120.0).exp())
}

/// Eleven checkpoints of a training run whose sorts of atoms pass one half at these steps.
fn training_run(t50: [f64; 4], coupled: bool) -> TempDir {
    let folder = TempDir::new().unwrap();
    for step in (0..=2000).step_by(200) {
        let chances = t50.map(|t50| learned(step, t50));
        checkpoint(folder.path(), step, chances, coupled, 7 + step);
    }
    folder
}

fn printed(folder: &TempDir, what: &str) -> Vec<Value> {
    let out = TempDir::new().unwrap();
    let at = folder.path().display().to_string();
    let words = ["history", &at, "--by", "training-steps", "--print", what, "--format", "json"];
    let assert = probe(out.path(), &words).assert().success();
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[test]
fn a_planted_order_of_learning_is_found_with_its_times() {
    let t50 = [300.0, 700.0, 1100.0, 1500.0];
    let folder = training_run(t50, false);
    let times = printed(&folder, "times");
    for (kind, t50) in KINDS.iter().zip(t50) {
        let row = times.iter().find(|row| row["kind"] == *kind).unwrap();
        assert!((number(&row["trained"]) - t50).abs() < 100.0, "{row}");
        assert!(number(&row["low"]) < t50 + 60.0 && t50 - 60.0 < number(&row["high"]), "{row}");
    }
    let order = printed(&folder, "order");
    assert_eq!(order.len(), 6);
    for row in &order {
        let place = |side: &str| KINDS.iter().position(|kind| row[side] == *kind).unwrap();
        assert!(place("first") < place("second") && row["verdict"] == "first", "{row}");
    }
    // Independent atoms: joint less product is nothing but luck. `binding` is no factor, so what
    // is planted as one is a factor too many: the gap is not above zero at any checkpoint.
    let curves = printed(&folder, "emergence");
    let gaps: Vec<&Value> = curves.iter().filter(|row| row["kind"] == "product gap").collect();
    assert_eq!(gaps.len(), 11);
    assert!(gaps.iter().all(|row| number(&row["low"]) <= 0.0), "{gaps:?}");
    let trend = printed(&folder, "trend");
    assert_eq!(trend.len(), 11);
    assert_eq!(trend[0]["training_step"], 0);
    let changes = printed(&folder, "changes");
    assert!(changes.iter().all(|row| row["direction"] == "better") && !changes.is_empty());
}

#[test]
fn nothing_comes_first_where_all_is_learned_at_once_and_together() {
    let folder = training_run([900.0; 4], true);
    let order = printed(&folder, "order");
    assert!(order.iter().all(|row| row["verdict"] == "undecided"), "{order:?}");
    // The same images have all of it right: joint is well above the product in the middle.
    let curves = printed(&folder, "emergence");
    let in_the_middle =
        |row: &&Value| row["kind"] == "product gap" && number(&row["trained"]) == 1000.0;
    let gap = curves.iter().find(in_the_middle).unwrap();
    assert!(number(&gap["low"]) > 0.1, "{gap}");
}

#[test]
fn a_history_is_a_run_with_report_and_spec_and_says_what_it_leaves_out() {
    let folder = training_run([300.0, 700.0, 1100.0, 1500.0], false);
    let runs = folder.path().display().to_string();
    let out = TempDir::new().unwrap();
    // Another question: a run with other sampling is alone.
    let assert = probe(out.path(), &["history", &runs, "--out", "h"]).assert().success();
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.contains("got better with run"), "{said}");
    let made = fs::read_dir(out.path().join("h")).unwrap().next().unwrap().unwrap().path();
    for file in ["report.html", "report.md", "report.json", "tables/trend.parquet"] {
        assert!(made.join(file).is_file(), "{file}");
    }
    let spec = made.join("spec.toml").display().to_string();
    probe(out.path(), &["run", &spec, "--out", "again"]).assert().success();

    let refused = |words: &[&str], says: &str| {
        let assert = probe(out.path(), words).assert().code(2);
        let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(said.contains(says), "{said}");
    };
    let one = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let one = one.display().to_string();
    refused(&["history", &one], "no two that ask the same");
    refused(&["history", "nowhere"], "no run folder");
    refused(&["history", &one, &one, "--by", "training-steps"], "leave one out");
    refused(&["history", &runs, "--by", "training-steps", "--steps", "1,2"], "2 training steps");
    let sequence = ["history", &runs, "--by", "training-steps", "--sequence", "colour,smell"];
    refused(&sequence, "no prompt asks for \"smell\"");
    fs::create_dir(out.path().join("empty")).unwrap();
    refused(&["history", "empty"], "holds no run of probe failures");
}

#[cfg(feature = "torch")]
#[test]
fn a_plan_says_how_many_prompts_an_effect_needs_and_how_often_the_gate_errs() {
    let folder = TempDir::new().unwrap();
    for seed in 0..3 {
        checkpoint(folder.path(), seed, [0.9; 4], false, 40 + seed);
    }
    let plan = |extra: &[&str]| -> Vec<Value> {
        let runs = folder.path().display().to_string();
        let words = [&["failures", "plan", &runs, "--format", "json"][..], extra].concat();
        let assert = probe(folder.path(), &words).assert().success();
        serde_json::from_slice(&assert.get_output().stdout).unwrap()
    };
    let rows = plan(&["--effect", "0.1"]);
    assert_eq!(rows.len(), 4, "one category, four numbers of images");
    // Two pairs of runs of 120 images; 0.9⁴ = 0.656 hold, so 2·0.656·0.344 = 0.45 differ.
    assert_eq!(rows[0]["pairs"], 240);
    assert!((number(&rows[0]["discordance"]) - 0.451).abs() < 0.1, "{}", rows[0]);
    // Images of a prompt are independent here, so they are worth as much as prompts.
    let needed: Vec<f64> = rows.iter().map(|row| number(&row["images_needed"])).collect();
    assert!(needed.iter().all(|n| (n / needed[0] - 1.0).abs() < 1.5), "{needed:?}");
    // A smaller effect takes more prompts; the rule of thumb is 7.85·d/δ².
    let finer = plan(&["--effect", "0.05"]);
    let rule = 7.85 * number(&rows[0]["discordance"]) / 0.05_f64.powi(2);
    let prompts = number(&finer[0]["prompts_needed"]);
    assert!((prompts / rule - 1.0).abs() < 0.15, "{prompts} beside {rule}");
    let alarms = &plan(&["--a-a"])[0];
    // SciPy's binom.ppf(0.999, 1000, 0.05).
    assert!(number(&alarms["alarms"]) <= 73.0, "{alarms}");
}
