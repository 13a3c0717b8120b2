//! Comparing runs: pairing, verdicts, refusals, what is written; and the gate of the built-in model.
#![allow(clippy::unwrap_used)]

mod planted;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use denoscope::measure::paired::exact_mcnemar;
use denoscope::probe::compare::{
    Aspect, CompareError, Comparison, Gate, Side, Verdict, compare, junit,
};
use denoscope::run::{Guidance, Manifest, RunFolder, SamplingRecord};
use denoscope::table::{
    ChangeOfOutcomeRow, ComparisonRow, OutcomeRow, ScoreComparisonRow, read_parquet, rows,
};
use planted::{probe, sampling};
use serde_json::Value;
use tempfile::TempDir;

/// An outcome of prompt `index` of a category.
fn outcome(category: &str, index: u64, holds: bool) -> OutcomeRow {
    OutcomeRow {
        item: format!("{category}/{index:03}"),
        category: category.to_owned(),
        prompt: format!("prompt {index} of {category}"),
        seed: 7 + index,
        holds: Some(holds),
        atoms_held: u32::from(holds),
        reason: if holds { String::new() } else { "expected a ball, found a cube".to_owned() },
        ..planted::outcome()
    }
}

/// 60 prompts of each of two categories; of `relation` the first so many fail.
fn outcomes(failing: u64) -> Vec<OutcomeRow> {
    let relation = (0..60).map(|i| outcome("relation", i, i >= failing));
    relation.chain((0..60).map(|i| outcome("count", i, i % 2 == 0))).collect()
}

/// A run folder with these outcomes; images that they name are grey.
fn stored(out: &Path, outcomes: Vec<OutcomeRow>, sampling: SamplingRecord) -> PathBuf {
    let files: Vec<String> = outcomes.iter().filter_map(|row| row.image.clone()).collect();
    let folder = planted::begun(out, outcomes);
    for file in files {
        let grey = image::RgbImage::from_pixel(4, 4, image::Rgb([128; 3]));
        folder.write(&file, &denoscope::figure::encode_png(&grey).unwrap()).unwrap();
    }
    planted::finished(folder, sampling)
}

fn side(outcomes: Vec<OutcomeRow>) -> (TempDir, Side) {
    let folder = TempDir::new().unwrap();
    let run = stored(folder.path(), outcomes, sampling());
    let side = open(&run).unwrap();
    (folder, side)
}

fn open(run: &Path) -> Result<Side, CompareError> {
    Side::open(run.to_str().unwrap(), Path::new("no-baselines"))
}

fn compared(a: Vec<OutcomeRow>, b: Vec<OutcomeRow>) -> Result<Comparison, CompareError> {
    let ((_a, a), (_b, b)) = (side(a), side(b));
    compare(&a, &b, &Gate::default())
}

fn verdicts(comparison: &Comparison) -> BTreeMap<&str, Verdict> {
    comparison.groups.iter().map(|group| (group.row.category.as_str(), group.verdict)).collect()
}

// --- verdicts --------------------------------------------------------------------------------

#[test]
fn a_planted_loss_is_a_regression_and_the_other_category_is_none() {
    let result = compared(outcomes(5), outcomes(25)).unwrap();
    let expected = [
        ("count", Verdict::Equivalent),
        ("overall", Verdict::Regressed),
        ("relation", Verdict::Regressed),
    ];
    assert_eq!(verdicts(&result), BTreeMap::from(expected));
    let row = &result.groups[1].row;
    assert_eq!((row.category.as_str(), row.pairs, row.prompts), ("relation", 60, 60));
    assert_eq!((row.broken, row.fixed), (20, 0));
    assert!((row.difference + 20.0 / 60.0).abs() < 1e-12);
    assert!(row.low < row.difference && row.difference < row.high && row.high < 0.0);
    // One image a prompt: the test is McNemar's, and Holm's factor for the second of three is 2
    // at most, for the smallest 3.
    assert!((row.p - exact_mcnemar(20, 0)).abs() < 1e-12 && (row.p - row.mcnemar_p).abs() < 1e-12);
    assert!((row.p_holm - 3.0 * row.p).abs() < 1e-12);
    assert_eq!(result.groups.last().unwrap().row.category, "overall");
    assert_eq!(result.changes.len(), 20);
    assert!(result.changes.iter().all(|c| c.change == "broken" && c.reason.contains("a cube")));
    // The other way round it is an improvement, and what was broken is fixed.
    let back = compared(outcomes(25), outcomes(5)).unwrap();
    assert_eq!(verdicts(&back)["relation"], Verdict::Improved);
    assert!(back.changes.iter().all(|c| c.change == "fixed" && c.reason.contains("a cube")));
}

#[test]
fn a_run_against_itself_changes_nothing_and_small_suites_say_what_they_could_see() {
    let same = compared(outcomes(5), outcomes(5)).unwrap();
    assert!(same.groups.iter().all(|group| group.verdict == Verdict::Equivalent));
    assert!(same.changes.is_empty());
    let few = |holds: bool| (0..10).map(|i| outcome("hand", i, holds || i > 1)).collect();
    let result = compared(few(true), few(false)).unwrap();
    assert_eq!(verdicts(&result), BTreeMap::from([("hand", Verdict::Inconclusive)]));
    let least = result.groups[0].row.minimum_detectable.unwrap();
    assert!(least > 0.5, "ten prompts cannot see {least}");
}

#[test]
fn margins_decide_what_matters_and_must_name_categories_that_exist() {
    let ((_a, a), (_b, b)) = (side(outcomes(5)), side(outcomes(25)));
    let gate = |name: &str, share| Gate {
        margins: BTreeMap::from([(name.to_owned(), share)]),
        ..Gate::default()
    };
    let lenient = compare(&a, &b, &gate("relation", 0.6)).unwrap();
    assert_eq!(verdicts(&lenient)["relation"], Verdict::Equivalent);
    assert_eq!(verdicts(&lenient)["overall"], Verdict::Regressed);
    let error = compare(&a, &b, &gate("relations", 0.6)).unwrap_err().to_string();
    assert!(error.contains("count, overall, relation"), "{error}");
}

#[test]
fn several_images_of_a_prompt_are_one_cluster() {
    // Three prompts of 20 images, all broken: 60 coins to McNemar, three to the verdict.
    let images = |holds| {
        let row = |i: u64| OutcomeRow {
            prompt: format!("prompt {}", i % 3),
            ..outcome("relation", i, holds)
        };
        (0..60).map(row).collect::<Vec<_>>()
    };
    let result = compared(images(true), images(false)).unwrap();
    let row = &result.groups[0].row;
    assert_eq!((row.pairs, row.prompts, row.broken), (60, 3, 60));
    assert!(row.mcnemar_p < 1e-12 && (row.p - 0.25).abs() < 1e-12);
    assert_eq!(result.groups[0].verdict, Verdict::Inconclusive);
}

// --- scores ----------------------------------------------------------------------------------

/// Thirty prompts of four images of two categories with scores and no verdict; those of `text` are
/// lower by `loss`, prompt by prompt a little more or less.
fn scored(loss: f64) -> Vec<OutcomeRow> {
    let score = |category: &str, i: u64| {
        let base = 20.0 + (i * 7 % 11) as f64;
        let more_or_less = 0.8 + 0.1 * (i / 4 % 5) as f64;
        if category == "text" { base - loss * more_or_less } else { base }
    };
    let row = |category: &'static str, i: u64| OutcomeRow {
        prompt: format!("prompt {} of {category}", i / 4),
        judge: "clip-score/own".to_owned(),
        holds: None,
        score: Some(score(category, i)),
        ..outcome(category, i, false)
    };
    ["text", "scene"].into_iter().flat_map(|name| (0..120).map(move |i| row(name, i))).collect()
}

#[test]
fn scores_are_compared_by_their_means_with_prompts_as_units() {
    let result = compared(scored(0.0), scored(2.0)).unwrap();
    assert!(result.groups.is_empty() && result.changes.is_empty() && result.undecided == 0);
    let verdicts: BTreeMap<&str, Verdict> =
        result.scores.iter().map(|group| (group.row.category.as_str(), group.verdict)).collect();
    let expected = [
        ("overall", Verdict::Regressed),
        ("scene", Verdict::Equivalent),
        ("text", Verdict::Regressed),
    ];
    assert_eq!(verdicts, BTreeMap::from(expected));
    let row = &result.scores.iter().find(|group| group.row.category == "text").unwrap().row;
    // The mean of 0.8 … 1.2 is 1. All thirty prompts fell, so no exchange of 9,999 is as far.
    assert!((row.difference + 2.0).abs() < 1e-9 && (row.pairs, row.prompts) == (120, 30));
    assert!(row.low.unwrap() < -2.0 && -2.0 < row.high.unwrap() && row.high.unwrap() < -1.8);
    assert!((row.p - 1e-4).abs() < 1e-12 && (row.p_holm - 3e-4).abs() < 1e-12, "{row:?}");
    let back = compared(scored(2.0), scored(0.0)).unwrap();
    assert!(back.any(Verdict::Improved) && !back.any(Verdict::Regressed));
    let text = String::from_utf8(junit(&result, false).unwrap()).unwrap();
    assert!(text.contains("failures=\"2\"") && text.contains("text, mean score"), "{text}");
}

#[test]
fn a_few_prompts_show_what_exchanging_them_can_show() {
    // Ten prompts of one image, all lower: 2 of 1,024 exchanges are as far.
    let some = |loss| scored(loss).into_iter().filter(|row| row.category == "text").step_by(4);
    let (a, b) = (some(0.0).take(10).collect(), some(2.0).take(10).collect());
    let result = compared(a, b).unwrap();
    let [group] = result.scores.as_slice() else { unreachable!("{result:?}") };
    let expected = 2.0 / 1024.0;
    // Four standard errors of a share of 9,999.
    let slack = 4.0 * (expected / 9_999.0_f64).sqrt() + 1e-4;
    assert!((group.row.p - expected).abs() < slack, "{}", group.row.p);
    // One prompt is no sample.
    let (a, b) = (some(0.0).take(1).collect(), some(2.0).take(1).collect());
    let alone = compared(a, b).unwrap();
    assert_eq!((alone.scores[0].row.p, alone.scores[0].row.low), (1.0, None));
    assert_eq!(alone.scores[0].verdict, Verdict::Inconclusive);
}

#[test]
fn scores_are_equivalent_within_a_margin_of_their_own_scale() {
    let ((_a, a), (_b, b)) = (side(scored(0.0)), side(scored(0.05)));
    let verdict = |margin| {
        let gate = Gate { score_margin: margin, significance: 1e-6, ..Gate::default() };
        let result = compare(&a, &b, &gate).unwrap();
        result.scores.iter().find(|group| group.row.category == "text").unwrap().verdict
    };
    assert_eq!(verdict(None), Verdict::Inconclusive);
    assert_eq!(verdict(Some(0.04)), Verdict::Inconclusive);
    assert_eq!(verdict(Some(0.1)), Verdict::Equivalent);
}

#[test]
fn a_judge_that_decides_is_not_compared_by_the_scores_of_what_it_could_not_decide() {
    let mut rows = outcomes(5);
    rows.iter_mut().for_each(|row| row.score = Some(1.0));
    rows[3].holds = None;
    let result = compared(rows.clone(), rows).unwrap();
    assert!(result.scores.is_empty());
    assert_eq!((result.undecided, result.groups.len()), (1, 3));
}

// --- pairing and refusals --------------------------------------------------------------------

#[test]
fn order_does_not_matter_and_gaps_are_counted() {
    let mut shuffled = outcomes(25);
    shuffled.reverse();
    let (ordered, reversed) =
        (compared(outcomes(5), outcomes(25)).unwrap(), compared(outcomes(5), shuffled).unwrap());
    let numbers =
        |c: &Comparison| c.groups.iter().map(|g| (g.row.p, g.row.low)).collect::<Vec<_>>();
    assert_eq!(numbers(&ordered), numbers(&reversed));
    let mut gaps = outcomes(5);
    gaps[3].holds = None;
    gaps[4].prompt = "another prompt under the same id".to_owned();
    let result = compared(outcomes(5), gaps[..100].to_vec()).unwrap();
    assert_eq!((result.only_in_a, result.only_in_b, result.undecided), (21, 1, 1));
    assert_eq!(result.groups.last().unwrap().row.pairs, 98);
}

#[test]
fn all_that_must_be_the_same_is_named_at_once_and_can_be_allowed() {
    let folder = TempDir::new().unwrap();
    let a = open(&stored(folder.path(), outcomes(5), sampling())).unwrap();
    let mut other = outcomes(5);
    for row in &mut other {
        row.suite_hash = "cd".repeat(32);
        row.judge_version = "3".to_owned();
    }
    let guidance = Guidance::from_scale(7.5);
    let changed = SamplingRecord { steps: 10, guidance, sampler: "euler".to_owned(), ..sampling() };
    let b = open(&stored(folder.path(), other, changed)).unwrap();
    let error = compare(&a, &b, &Gate::default()).unwrap_err();
    let CompareError::NotComparable { differences, .. } = &error else { unreachable!("{error}") };
    let aspects: Vec<Aspect> = differences.iter().map(|d| d.aspect).collect();
    use Aspect::{Guidance as Guided, Judge, Sampler, Steps, Suite};
    assert_eq!(aspects, [Suite, Judge, Sampler, Steps, Guided]);
    let message = error.to_string();
    for part in [
        "planted version 1 (abababab) in A",
        "(cdcdcdcd) in B",
        "exact 3 in B",
        "steps: 25 in A, 10 in B",
        "--allow-different suite,judge,sampler,steps,guidance",
    ] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    let gate = Gate { allowed: BTreeSet::from(Aspect::ALL), ..Gate::default() };
    let result = compare(&a, &b, &gate).unwrap();
    assert_eq!((result.allowed.len(), result.groups[0].row.pairs), (5, 60));
    assert_eq!(result.groups[0].row.judge, "exact 2 → exact 3");
}

#[test]
fn runs_that_cannot_be_compared_say_why() {
    let other: Vec<OutcomeRow> =
        outcomes(5).into_iter().map(|row| OutcomeRow { seed: row.seed + 1000, ..row }).collect();
    let error = compared(outcomes(5), other).unwrap_err();
    assert!(matches!(error, CompareError::NothingInCommon { .. }), "{error}");
    let folder = TempDir::new().unwrap();
    let mut twice = outcomes(5);
    twice.push(outcome("relation", 3, true));
    let error = open(&stored(folder.path(), twice, sampling())).unwrap_err().to_string();
    assert!(error.contains("relation/003") && error.contains("twice"), "{error}");
    let newer = stored(folder.path(), outcomes(5), sampling());
    planted::raise_version(&newer.join("tables/outcome.parquet"));
    let error = open(&newer).unwrap_err().to_string();
    assert!(error.contains("holds version 9") && error.contains("the denoscope that"), "{error}");
    let torn = stored(folder.path(), outcomes(5), sampling());
    let table = torn.join("tables/outcome.parquet");
    let bytes = fs::read(&table).unwrap();
    fs::write(&table, &bytes[..bytes.len() / 2]).unwrap();
    let error = open(&torn).unwrap_err().to_string();
    assert!(error.contains("outcome.parquet") && error.contains("damaged"), "{error}");
    let run = RunFolder::create(folder.path(), "generate", "kind = \"generate\"").unwrap();
    let run = run.finish(Manifest::new("generate")).unwrap();
    let error = open(&run).unwrap_err().to_string();
    assert!(error.contains("a run of `probe generate`"), "{error}");
}

// --- what is written -------------------------------------------------------------------------

#[test]
fn junit_is_well_formed_whatever_a_prompt_holds() {
    let nasty = |holds| {
        let row = |i: u64| OutcomeRow {
            category: "a<b>&\"c\"".to_owned(),
            prompt: format!("]]> & <i> \u{1b}[31m {i}"),
            ..outcome("x", i, holds)
        };
        (0..20).map(row).collect::<Vec<_>>()
    };
    let result = compared(nasty(true), nasty(false)).unwrap();
    let text = String::from_utf8(junit(&result, false).unwrap()).unwrap();
    assert!(!text.contains('\u{1b}'), "no control characters in XML 1.0");
    let mut reader = quick_xml::Reader::from_str(&text);
    let (mut names, mut failures) = (Vec::new(), 0);
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Start(e) if e.name().as_ref() == b"testcase" => {
                let name = e.try_get_attribute("name").unwrap().unwrap();
                names.push(name.unescape_value().unwrap().into_owned());
            }
            quick_xml::events::Event::Start(e) if e.name().as_ref() == b"failure" => failures += 1,
            _ => {}
        }
    }
    assert_eq!((names, failures), (vec!["a<b>&\"c\"".to_owned()], 1));
    assert!(text.contains("failures=\"1\""), "{text}");
    // What cannot be told is skipped, or fails where that is asked for.
    let few = compared(nasty(true)[..3].to_vec(), nasty(false)[..3].to_vec()).unwrap();
    let text = |strict| String::from_utf8(junit(&few, strict).unwrap()).unwrap();
    assert!(text(false).contains("skipped=\"1\"") && text(false).contains("<skipped"));
    assert!(text(true).contains("failures=\"1\"") && text(true).contains("type=\"inconclusive\""));
}

#[test]
fn a_baseline_is_small_compares_as_its_run_does_and_is_not_replaced_unasked() {
    let folder = TempDir::new().unwrap();
    let mut kept = outcomes(5);
    kept[0].image = Some("images/0.png".to_owned());
    let run = stored(folder.path(), kept, sampling());
    let baselines = folder.path().join("baselines");
    let saved = open(&run).unwrap().save_baseline("shapes", &baselines, false).unwrap();
    assert!(saved.join("manifest.json").is_file() && !saved.join("images").exists());
    let baseline = Side::open("shapes", &baselines).unwrap();
    let (_b, b) = side(outcomes(25));
    let from_run = compare(&open(&run).unwrap(), &b, &Gate::default()).unwrap();
    let from_baseline = compare(&baseline, &b, &Gate::default()).unwrap();
    assert_eq!(verdicts(&from_run), verdicts(&from_baseline));
    assert!(from_baseline.changes.iter().all(|change| change.image_a.is_none()));

    let again = |replace| b.save_baseline("shapes", &baselines, replace);
    assert!(matches!(again(false), Err(CompareError::BaselineExists { .. })));
    again(true).unwrap();
    let replaced = compare(&Side::open("shapes", &baselines).unwrap(), &b, &Gate::default());
    assert!(replaced.unwrap().changes.is_empty());
    for name in ["", ".hidden", "../up", "a/b", "a b"] {
        let error = b.save_baseline(name, &baselines, false).unwrap_err();
        assert!(matches!(error, CompareError::BaselineName { .. }), "{name}: {error}");
    }
    let error = Side::open("shape", &baselines).unwrap_err().to_string();
    assert!(error.contains("did you mean \"shapes\"?"), "{error}");
    assert_eq!(fs::read_dir(&baselines).unwrap().count(), 1, "nothing temporary is left");
}

// --- the command -----------------------------------------------------------------------------

/// Three runs of a folder: before, after a loss, and after with other steps.
fn three_runs(folder: &TempDir) -> [String; 3] {
    let with_images = |failing| {
        let mut rows = outcomes(failing);
        rows.iter_mut().for_each(|row| row.image = Some(format!("images/{}.png", row.seed)));
        rows
    };
    let other = SamplingRecord { steps: 10, ..sampling() };
    [(5, sampling()), (25, sampling()), (25, other)].map(|(failing, sampling)| {
        stored(folder.path(), with_images(failing), sampling).display().to_string()
    })
}

#[test]
fn exit_codes_tell_what_came_of_it() {
    let folder = TempDir::new().unwrap();
    let [a, b, other] = three_runs(&folder);
    let code = |words: &[&str], code| {
        let mut all = vec!["compare"];
        all.extend(words);
        let assert = probe(folder.path(), &all).assert().code(code);
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    assert!(code(&[&a, &b], 1).contains("relation regressed"));
    code(&[&b, &a], 0);
    code(&[&a, &a, "--strict"], 0);
    // A hundredth is too little for 60 prompts.
    code(&[&a, &a, "--margin", "0.01"], 0);
    code(&[&a, &a, "--margin", "0.01", "--strict"], 3);
    let refusal = code(&[&a, &other], 4);
    assert!(refusal.starts_with("error: ") && refusal.contains("steps: 25 in A, 10 in B"));
    let allowed = code(&[&a, &other, "--allow-different", "steps"], 1);
    assert!(allowed.contains("this was allowed"), "{allowed}");
    assert!(code(&[&a], 2).contains("--save-baseline"));
    assert!(code(&[&a, "nowhere"], 2).contains("no run folder and no baseline"));
    assert!(code(&[&a, &b, "--margin", "2"], 2).contains("above 0 and up to 1"));
}

#[test]
fn the_run_folder_has_tables_figure_and_both_images_side_by_side() {
    let folder = TempDir::new().unwrap();
    let [a, b, _] = three_runs(&folder);
    let words = ["compare", &a, &b, "--out", "compared", "--format", "json", "--junit", "j.xml"];
    let summary = ["--summary", "summary.md", "--save-baseline", "after"];
    let output = probe(folder.path(), &[&words[..], &summary].concat()).assert().code(1);
    let table: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(table[1]["verdict"], "regressed");
    assert!(folder.path().join("reports/baselines/after/manifest.json").is_file());

    let run = fs::read_dir(folder.path().join("compared")).unwrap().next().unwrap().unwrap().path();
    let groups = read_parquet::<ComparisonRow>(&run.join("tables/comparison.parquet")).unwrap();
    assert_eq!(rows::<ComparisonRow>(&groups).unwrap().len(), 3);
    let changes = read_parquet::<ChangeOfOutcomeRow>(&run.join("tables/outcome_change.parquet"));
    assert_eq!(changes.unwrap().height(), 20);
    let html = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(html.contains("Something got worse"));
    assert_eq!(html.matches("data:image/png").count(), 24, "twelve pairs are shown");
    assert!(run.join("figures/difference.png").is_file());
    let said = fs::read_to_string(folder.path().join("summary.md")).unwrap();
    assert!(said.contains("| relation | regressed |"), "{said}");
    assert!(fs::read_to_string(folder.path().join("j.xml")).unwrap().contains("<testsuite "));
    // The spec makes the same comparison again.
    let spec = run.join("spec.toml").display().to_string();
    probe(folder.path(), &["run", &spec, "--out", "again"]).assert().code(1);
}

/// The gate of the built-in model: it does not regress against its own baseline; with a sampler
/// that takes half of the noise for all of it, or with the prompt cut off, it does. Outcomes of
/// single prompts are not looked at: the weights may change.
#[cfg(feature = "torch")]
#[test]
fn a_broken_sampler_is_caught_and_the_intact_model_passes() {
    let folder = TempDir::new().unwrap();
    let run = |out: &str, edit: &[&str]| {
        let small = ["failures", "--category", "one-object", "--count", "16", "--steps", "8"];
        let words = [&small[..], &["--out", out, "-q"], edit].concat();
        probe(folder.path(), &words).assert().success();
        let made = fs::read_dir(folder.path().join(out)).unwrap().next().unwrap().unwrap();
        made.path().display().to_string()
    };
    let first = run("first", &[]);
    probe(folder.path(), &["compare", &first, "--save-baseline", "own"]).assert().success();
    let again = run("again", &[]);
    probe(folder.path(), &["compare", "own", &again]).assert().success();
    let damage = [("sampler", "scale=0.5 sites=step.eps"), ("prompt", "zero sites=*.cross.out")];
    for (what, edit) in damage {
        let broken = run(what, &["--edit", edit]);
        let assert = probe(folder.path(), &["compare", "own", &broken]).assert().code(1);
        let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(said.contains("one-object regressed"), "{what}: {said}");
    }
    let report = fs::read_dir(folder.path().join("runs")).unwrap().count();
    assert_eq!(report, 3, "one comparison with each");
}

/// Two runs of a million images: in less than ten seconds and a gigabyte on an idle machine.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "takes a minute, and its limits are for an idle machine"]
fn a_million_images_are_compared_in_seconds() {
    use std::time::{Duration, Instant};

    const IMAGES: u64 = 1_000_000;
    let folder = TempDir::new().unwrap();
    let run = |changed_every: u64| {
        let rows = (0..IMAGES).map(|i| OutcomeRow {
            item: format!("item-{:06}", i / 4),
            category: format!("category {}", i % 8),
            prompt: format!("a prompt of some words, number {}", i / 4),
            seed: i % 4,
            image: Some(format!("images/planted/item-{:06}_{}.png", i / 4, i % 4)),
            ..outcome("any", 0, i % 3 != 0 && i % changed_every != 0)
        });
        let out = folder.path().join(changed_every.to_string());
        let folder = planted::begun(&out, rows.collect());
        planted::finished(folder, sampling()).display().to_string()
    };
    let (a, b) = (run(101), run(97));
    let engine = Path::new(env!("CARGO_BIN_EXE_probe-engine"));
    let start = Instant::now();
    let mut child = std::process::Command::new(engine)
        .args(["compare", &a, &b, "--quiet"])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut kibibytes = 0;
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let most = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kibibytes = kibibytes.max(most.unwrap_or(0_u64));
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{seconds:.1} s, {kibibytes} KiB");
    assert!(seconds < 10.0, "{seconds} s");
    assert!(kibibytes < 1_000_000_000 / 1024, "{kibibytes} KiB");
}

#[test]
fn a_run_of_scores_prints_and_keeps_its_own_table() {
    let folder = TempDir::new().unwrap();
    let [a, b] = [0.0, 2.0]
        .map(|loss| stored(folder.path(), scored(loss), sampling()).display().to_string());
    let words = ["compare", &a, &b, "--format", "json", "--out", "compared"];
    let output = probe(folder.path(), &words).assert().code(1);
    let printed: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(printed.as_array().unwrap().len(), 3);
    let run = fs::read_dir(folder.path().join("compared")).unwrap().next().unwrap().unwrap().path();
    let table = run.join("tables/score_comparison.parquet");
    let table = read_parquet::<ScoreComparisonRow>(&table).unwrap();
    assert_eq!(rows::<ScoreComparisonRow>(&table).unwrap().len(), 3);
    let page = fs::read_to_string(run.join("report.md")).unwrap();
    assert!(page.contains("mean in A") && !page.contains("share in A"), "{page}");
    let same = ["compare", &a, &a, "--strict", "--score-margin", "0.5"];
    probe(folder.path(), &same).assert().code(0);
    probe(folder.path(), &["compare", &a, &b, "--score-margin", "0"]).assert().code(2);
}
