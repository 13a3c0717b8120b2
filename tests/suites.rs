//! Suites: what is refused, what the built-in ones promise, rates, gaps, and the store that
//! outlives a killed run.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod planted;

use std::collections::BTreeMap;
use std::path::Path;

use denoscope::judge::imported::read::Evidence;
use denoscope::judge::imported::{Detection, PublishedRule};
use denoscope::run::UnfinishedError;
use denoscope::suite::gap::{gaps, summarise};
use denoscope::suite::judging::{Judged, ruling_row};
use denoscope::suite::store::{Incomplete, StoreError};
use denoscope::suite::{Expect, Item, Suite, built_in_names, import, imported, open};
use denoscope::table::OutcomeRow;
use denoscope::world::{Split, compose, parse, splits};

const SUITE: &str = r#"
form = 1
name = "mine"
version = 1
description = "what it measures"
source = "me"
licence = "MIT"
seeds = [0, 1]
items = [
  { id = "seen", prompt = "a red cube", category = "pair", twin = "t", held_out = false },
  { id = "unseen", prompt = "a cyan ball", category = "pair", twin = "t", held_out = true },
]
"#;

fn opened(text: &str) -> Result<Suite, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, text).unwrap();
    open(path.to_str().unwrap()).map_err(|error| error.to_string())
}

#[test]
fn a_suite_that_cannot_be_run_is_refused_with_a_remedy() {
    assert_eq!(opened(SUITE).unwrap().images(), 4);
    for (from, to, says) in [
        ("name = \"mine\"", "name = \"mine\"\ncolour = 1", "unknown field `colour`"),
        (
            "category = \"pair\", twin = \"t\", held_out = false",
            "category = \"x\", words = 1",
            "unknown field `words`",
        ),
        ("id = \"unseen\"", "id = \"seen\"", "give every item its own id"),
        ("a red cube", "a red dog", "\"dog\""),
        ("a red cube", "a red dog", "give it `expect` for another judge"),
        ("seeds = [0, 1]", "seeds = []", "it has no seeds"),
        ("seeds = [0, 1]", "seeds = [3, 3]", "a seed is there twice"),
        ("form = 1", "form = 2", "this version reads form 1"),
        ("version = 1\n", "version = 0\n", "versions begin with 1"),
        ("licence = \"MIT\"", "licence = \"\"", "licence is empty"),
        ("id = \"seen\"", "id = \"../seen\"", "cannot name a file"),
        ("twin = \"t\", held_out = false", "held_out = false", "twin \"t\""),
        ("name = \"mine\"", "name = \"My suite\"", "lower-case"),
    ] {
        assert!(SUITE.contains(from), "{from}");
        let message = opened(&SUITE.replacen(from, to, 1)).unwrap_err();
        assert!(message.contains(says) && message.contains("mine.toml"), "{to}: {message}");
    }
    // Everything that is wrong is said at once.
    let two =
        SUITE.replace("a red cube", "a red dog").replace("licence = \"MIT\"", "licence = \"\"");
    let message = opened(&two).unwrap_err();
    assert!(message.contains("dog") && message.contains("licence"), "{message}");
    let unknown = open("countng").unwrap_err().to_string();
    assert!(unknown.contains("did you mean \"counting\""), "{unknown}");
    assert!(open("none.toml").unwrap_err().to_string().contains("none.toml"));
}

#[test]
fn an_expectation_that_its_rule_cannot_decide_is_refused() {
    let with = |expect: &str| {
        let item = format!("a red cube\", expect = {{ {expect} }}, category = \"pair\", twin");
        opened(&SUITE.replacen("a red cube\", category = \"pair\", twin", &item, 1))
    };
    assert!(with("words = \"a cube\"").is_ok());
    assert!(with("words = \" \"").unwrap_err().contains("say in words"));
    assert!(with("numeracy = []").unwrap_err().contains("counts from 1"));
    let later = r#"geneval = { tag = "position", include = [{ class = "dog", count = 1, position = ["above", 1] }] }"#;
    assert!(with(later).unwrap_err().contains("refer to one before it"));
    assert!(
        with("spatial = { subject = \"a\", relation = \"inside\", object = \"b\" }")
            .unwrap_err()
            .contains("inside")
    );
    assert!(with("opinion = 1").unwrap_err().contains("opinion"));
}

#[test]
fn the_digest_is_of_what_is_asked() {
    let hash = |text: &str| opened(text).unwrap().hash();
    let whole = hash(SUITE);
    assert_eq!(whole, hash(&SUITE.replace("what it measures", "something else")));
    assert_eq!(whole, hash(&format!("# a comment\n{SUITE}")));
    for (from, to) in [
        ("a red cube", "a blue cube"),
        ("seeds = [0, 1]", "seeds = [0, 2]"),
        ("version = 1\n", "version = 2\n"),
        ("held_out = true", "held_out = false"),
        ("id = \"seen\"", "id = \"other\""),
    ] {
        assert_ne!(whole, hash(&SUITE.replacen(from, to, 1)), "{to}");
    }
}

#[test]
fn built_in_suites_are_fine_and_say_truly_what_training_leaves_out() {
    let names = built_in_names();
    for wanted in [
        "attribute-binding",
        "counting",
        "hands",
        "counting-photos",
        "lighting",
        "negation",
        "negation-photos",
        "role-swap",
        "spatial-relations",
        "synonyms",
        "systematic-generalisation",
        "two-three-objects",
        "words",
    ] {
        assert!(names.contains(&wanted), "{wanted}");
    }
    let mut prompts = 0;
    for name in names {
        let suite = open(name).unwrap();
        assert_eq!(suite.name, name);
        for item in &suite.items {
            let Some(held_out) = item.held_out else { continue };
            prompts += 1;
            assert_eq!(is_held_out(item), held_out, "{name}: {}", item.prompt);
        }
    }
    assert!(prompts > 250, "{prompts}");
}

/// Whether no scene of the prompt is one that training draws.
fn is_held_out(item: &Item) -> bool {
    let said = parse(&item.prompt).unwrap();
    let in_training = |seed| splits::cells().contain(Split::Train, &compose(&said, seed).unwrap());
    !(0..20).any(in_training)
}

#[test]
fn synonyms_mean_the_same() {
    let suite = open("synonyms").unwrap();
    let mut groups: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
    for item in &suite.items {
        groups.entry(item.twin.as_deref().unwrap()).or_default().push(item);
    }
    for group in groups.values() {
        assert!(group.len() >= 2);
        let scene = compose(&parse(&group[0].prompt).unwrap(), 5).unwrap();
        for item in group {
            let said = parse(&item.prompt).unwrap();
            assert!(said.holds_in(&scene), "{} is not {}", item.prompt, group[0].prompt);
        }
    }
}

// --- rates and gaps ------------------------------------------------------------------------

fn outcome(item: &str, seed: u64, twin: (&str, bool), holds: Option<bool>) -> OutcomeRow {
    OutcomeRow {
        item: item.into(),
        category: if twin.1 { "unseen" } else { "seen" }.into(),
        prompt: item.into(),
        seed,
        twin: Some(twin.0.into()),
        held_out: Some(twin.1),
        holds,
        ..planted::outcome()
    }
}

/// Thirty labels; held-out images hold less often by `gap` in tenths, in a fixed pattern.
fn with_gap(seen_of_ten: u64, held_out_of_ten: u64) -> Vec<OutcomeRow> {
    let mut rows = Vec::new();
    for label in 0..30_u64 {
        for seed in 0..10_u64 {
            let twin = format!("t{label}");
            let holds = |of_ten| Some((seed * 7 + label * 3) % 10 < of_ten);
            rows.push(outcome(&format!("a{label}"), seed, (&twin, false), holds(seen_of_ten)));
            rows.push(outcome(&format!("b{label}"), seed, (&twin, true), holds(held_out_of_ten)));
        }
    }
    rows
}

#[test]
fn a_planted_gap_is_found_and_none_where_none_is() {
    let mut rows = with_gap(8, 5);
    // Labels differ: in a third of them the held-out side is as good as the seen one.
    for row in &mut rows {
        if row.held_out == Some(true) && row.twin.as_deref().unwrap().ends_with(['0', '3', '6']) {
            row.holds = Some((row.seed * 7) % 10 < 8);
        }
    }
    let found = gaps(&rows).unwrap();
    let [gap] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((gap.twins, gap.images, gap.category.as_str()), (30, 600, "unseen"));
    assert!((gap.seen - 0.8).abs() < 1e-12 && (gap.gap - (gap.seen - gap.held_out)).abs() < 1e-12);
    assert!((gap.gap - 0.21).abs() < 1e-9, "{gap:?}");
    assert!(gap.low.unwrap() > 0.1 && gap.high.unwrap() < 0.3, "{gap:?}");
    let none = &gaps(&with_gap(6, 6)).unwrap()[0];
    assert_eq!((none.gap, none.low, none.high), (0.0, Some(0.0), Some(0.0)));
    // What is undecided counts on neither side, and one label makes no interval.
    let mut one: Vec<OutcomeRow> = with_gap(8, 5).into_iter().take(20).collect();
    one[0].holds = None;
    let one = &gaps(&one).unwrap()[0];
    assert_eq!((one.twins, one.images, one.low), (1, 19, None));
}

#[test]
fn rates_have_intervals_over_prompts() {
    let rows = summarise(&with_gap(8, 0)).unwrap();
    let [seen, unseen] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((seen.prompts, seen.images, seen.right), (30, 300, 240));
    assert_eq!(seen.share, Some(0.8));
    // All prompts have one rate, so resampling them shows no width: Wilson's for 24 of 30 prompts
    // is [0.627, 0.905].
    assert!((seen.low.unwrap() - 0.627).abs() < 1e-3 && (seen.high.unwrap() - 0.905).abs() < 1e-3);
    // None of 30 prompts: Wilson's upper end is 0.1135.
    assert_eq!((unseen.right, unseen.low), (0, Some(0.0)));
    assert!((unseen.high.unwrap() - 0.1135).abs() < 1e-3, "{unseen:?}");
    let undecided = summarise(&[outcome("a", 0, ("t", false), None)]).unwrap();
    assert_eq!((undecided[0].undecided, undecided[0].share), (1, None));
}

// --- the store -----------------------------------------------------------------------------

fn judged(suite: &Suite, from: usize, to: usize) -> Vec<Judged> {
    let identity = suite.identity();
    let ruling = Default::default();
    let jobs = suite.jobs(&identity).skip(from).take(to - from);
    let of = |job| Judged {
        outcome: ruling_row(job, ("j", "1"), &ruling, "00"),
        atoms: vec![],
        seen: vec![],
    };
    jobs.map(of).collect()
}

#[test]
fn what_is_done_is_found_again_and_a_torn_batch_is_not() {
    let out = tempfile::tempdir().unwrap();
    let suite = opened(SUITE).unwrap();
    let open = || Incomplete::open(out.path(), "failures", "question");
    let mut store = open().unwrap();
    store.add(&judged(&suite, 0, 2)).unwrap();
    let second = open();
    let is_busy = matches!(second, Err(StoreError::Unfinished(UnfinishedError::Busy { .. })));
    assert!(is_busy, "two writers at once");
    let part = |name: &str| store.root().join("parts").join(name);
    // Killed between the two files of the second batch: it counts as not done.
    std::fs::copy(part("00000.atoms.parquet"), part("00001.atoms.parquet")).unwrap();
    let torn = part("00001.outcome.parquet");
    drop(store);

    let mut again = open().unwrap();
    assert_eq!(again.done().len(), 2);
    again.add(&judged(&suite, 2, 4)).unwrap();
    drop(again);
    assert_eq!(open().unwrap().done().len(), 4);

    std::fs::write(&torn, b"PAR1").unwrap();
    let message = open().unwrap_err().to_string();
    assert!(message.contains("remove") && message.contains("00001.outcome.parquet"), "{message}");
    std::fs::remove_file(&torn).unwrap();
    assert_eq!(open().unwrap().done().len(), 2);

    let other = Incomplete::open(out.path(), "failures", "another question").unwrap();
    assert!(other.done().is_empty(), "another question begins by itself");
    // What cannot be read can still be forgotten.
    std::fs::write(&torn, b"PAR1").unwrap();
    let anew = Incomplete::begin_anew(out.path(), "failures", "question").unwrap();
    assert!(anew.done().is_empty());
    drop(anew);
    assert!(open().unwrap().done().is_empty());
}

/// Every file of a part torn in turn: the message names what to remove, and after that the batch
/// alone is made again, so that nothing is lost and nothing counted twice.
#[test]
fn a_torn_last_file_costs_its_batch_and_nothing_else() {
    let out = tempfile::tempdir().unwrap();
    let suite = opened(SUITE).unwrap();
    let open = || Incomplete::open(out.path(), "failures", "question");
    let mut store = open().unwrap();
    store.add(&judged(&suite, 0, 2)).unwrap();
    store.add(&judged(&suite, 2, 4)).unwrap();
    let part = |name: &str| store.root().join("parts").join(name);
    let outcome = part("00001.outcome.parquet");
    let files = [outcome.clone(), part("00001.atoms.parquet"), part("00001.seen.parquet")];
    drop(store);
    for torn in files {
        let bytes = std::fs::read(&torn).unwrap();
        std::fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
        let read = || -> Result<usize, StoreError> {
            let store = open()?;
            store.atoms()?;
            store.seen()?;
            Ok(store.done().len())
        };
        let message = read().unwrap_err().to_string();
        let names = ["remove", "00001.outcome.parquet", "made again"];
        assert!(names.iter().all(|part| message.contains(part)), "{message}");
        std::fs::remove_file(&outcome).unwrap();
        let mut store = open().unwrap();
        assert_eq!(store.done().len(), 2, "the first batch is whole");
        store.add(&judged(&suite, 2, 4)).unwrap();
        drop(store);
        assert_eq!(read().unwrap(), 4);
        let rows = open().unwrap().done().len();
        assert_eq!(rows, 4, "nothing twice");
    }
}

#[test]
fn a_store_of_a_newer_version_is_kept_and_said_to_be_one() {
    let out = tempfile::tempdir().unwrap();
    let suite = opened(SUITE).unwrap();
    let open = || Incomplete::open(out.path(), "failures", "question");
    let mut store = open().unwrap();
    store.add(&judged(&suite, 0, 2)).unwrap();
    let part = store.root().join("parts/00000.outcome.parquet");
    drop(store);
    planted::raise_version(&part);
    let bytes = std::fs::read(&part).unwrap();
    let message = open().unwrap_err().to_string();
    let says = ["holds version 9 of table outcome", "use the denoscope that wrote it", "--fresh"];
    assert!(says.iter().all(|part| message.contains(part)), "{message}");
    assert!(!message.contains("remove"), "what a newer program made is not damaged: {message}");
    assert_eq!(std::fs::read(&part).unwrap(), bytes, "nothing is touched");
}

// --- imports -------------------------------------------------------------------------------

fn file(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

const METADATA: &str = r#"{"tag": "position", "include": [{"class": "dog", "count": 1}, {"class": "cat", "count": 1, "position": ["left of", 0]}], "prompt": "a photo of a cat left of a dog"}
{"tag": "colors", "include": [{"class": "cup", "count": 1, "color": "red"}], "prompt": "a photo of a red cup"}
"#;

#[test]
fn published_prompts_become_suites() {
    let (_folder, path) = file("evaluation_metadata.jsonl", METADATA);
    let suite = import::geneval(&path).unwrap();
    assert_eq!(suite.check(), Vec::<String>::new());
    assert_eq!((suite.items[1].id.as_str(), suite.items[1].category.as_str()), ("00001", "colors"));
    let text = toml::to_string(&suite).unwrap();
    assert_eq!(opened(&text).unwrap().hash(), suite.hash(), "written and read again");

    let (_folder, path) =
        file("PartiPrompts.tsv", "Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tb\n");
    let suite = import::parti(&path).unwrap();
    assert_eq!(suite.check(), Vec::<String>::new());
    assert_eq!((suite.items.len(), suite.items[0].category.as_str()), (1, "Abstract"));
    let visor = import::visor();
    assert_eq!((visor.items.len(), visor.check()), (25_280, vec![]));

    let (_folder, path) = file("x.jsonl", "{}");
    let message = import::geneval(&path).unwrap_err().to_string();
    assert!(message.contains("line 1") && message.contains("evaluation_metadata"), "{message}");
    assert!(import::parti(&path).unwrap_err().to_string().contains("PartiPrompts.tsv"));
    assert!(import::parti(Path::new("none")).unwrap_err().to_string().contains("none"));
}

#[test]
fn colours_of_geneval_come_from_its_script_and_positions_from_its_boxes() {
    let (_folder, path) = file("evaluation_metadata.jsonl", METADATA);
    let suite = import::geneval(&path).unwrap();
    let boxes = |class: &str, x: f64| Detection {
        class: class.into(),
        score: 0.9,
        bounds: [x, 0.0, x + 10.0, 10.0],
        colour: None,
    };
    let evidence = |item: &Item, details: Vec<Detection>, correct| {
        let Some(Expect::Geneval(metadata)) = item.expect.clone() else { panic!("{item:?}") };
        Evidence::GenEval { details, metadata, correct, reason: "why".into() }
    };
    let rule = |item: &Item, evidence: &Evidence| {
        imported::rule(PublishedRule::GenEval, item, evidence).unwrap()
    };
    let [position, colour] = suite.items.as_slice() else { panic!() };
    let cat_left = vec![boxes("dog", 100.0), boxes("cat", 0.0)];
    assert_eq!(rule(position, &evidence(position, cat_left, false)).holds, Some(true));
    let cup = vec![boxes("cup", 0.0)];
    assert_eq!(rule(colour, &evidence(colour, cup.clone(), true)).holds, Some(true));
    assert_eq!(rule(colour, &evidence(colour, cup.clone(), false)).reasons, ["why"]);
    assert_eq!(rule(colour, &Evidence::Boxes(cup.clone())).holds, None, "no colour, no ruling");
    let foreign = imported::rule(PublishedRule::GenEval, colour, &evidence(position, cup, true));
    assert!(foreign.unwrap_err().to_string().contains("another prompt"));
    assert!(imported::rule(PublishedRule::Visor, colour, &Evidence::Boxes(vec![])).is_err());
}
