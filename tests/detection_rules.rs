//! The published rules of GenEval, VISOR and T2I-CompBench against what a reference in Python makes
//! of the same detections (`fixtures/scripts/golden_detection_rules.py`, which was compared with the
//! published scripts' own functions).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use denoscope::judge::imported::read::{Evidence, ImportError, read};
use denoscope::judge::imported::{Detection, compbench, geneval, visor};
use serde::Deserialize;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/goldens/detection_rules.json");

#[derive(Deserialize)]
struct Golden {
    geneval: Vec<GenEval>,
    visor: Vec<Visor>,
    spatial: Vec<Spatial>,
    numeracy: Vec<Numeracy>,
}

#[derive(Deserialize)]
struct GenEval {
    detections: Vec<(String, f64, f64, f64, f64, f64, String)>,
    metadata: geneval::Metadata,
    correct: bool,
}

type Plain = (String, f64, f64, f64, f64, f64);

#[derive(Deserialize)]
struct Visor {
    detections: Vec<Plain>,
    #[serde(flatten)]
    asked: visor::Asked,
    shown: (bool, bool, bool),
}

#[derive(Deserialize)]
struct Spatial {
    detections: Vec<Plain>,
    #[serde(flatten)]
    asked: compbench::Spatial,
    score: f64,
}

#[derive(Deserialize)]
struct Numeracy {
    detections: Vec<Plain>,
    asked: Vec<(String, usize)>,
    score: f64,
}

fn golden() -> Golden {
    serde_json::from_slice(&std::fs::read(GOLDEN).unwrap()).unwrap()
}

fn detections(of: &[Plain]) -> Vec<Detection> {
    let one = |(class, a, b, c, d, score): &Plain| Detection {
        class: class.clone(),
        score: *score,
        bounds: [*a, *b, *c, *d],
        colour: None,
    };
    of.iter().map(one).collect()
}

#[test]
fn geneval_decides_as_its_script() {
    let cases = golden().geneval;
    assert!(cases.len() >= 200);
    let right = cases.iter().filter(|case| case.correct).count();
    assert!(right > 60 && right < cases.len() - 60, "{right} of {}", cases.len());
    for (number, GenEval { detections, metadata, correct }) in cases.into_iter().enumerate() {
        let detections: Vec<Detection> = detections
            .into_iter()
            .map(|(class, a, b, c, d, score, colour)| Detection {
                class,
                score,
                bounds: [a, b, c, d],
                colour: Some(colour),
            })
            .collect();
        metadata.check().unwrap();
        let ruling = geneval::judge(&geneval::keep(&detections, &metadata.tag), &metadata);
        assert_eq!(ruling.holds, Some(correct), "case {number}: {metadata:?} {ruling:?}");
        assert_eq!(ruling.reasons.is_empty(), correct, "case {number}: {ruling:?}");
        // Without colours the rule decides only what does not hang on them.
        let blind: Vec<Detection> =
            detections.iter().map(|d| Detection { colour: None, ..d.clone() }).collect();
        let blind = geneval::judge(&geneval::keep(&blind, &metadata.tag), &metadata).holds;
        let coloured = metadata.include.iter().any(|wanted| wanted.color.is_some());
        match blind {
            None => assert!(coloured, "case {number}"),
            decided => assert_eq!(decided, Some(correct), "case {number}"),
        }
    }
}

#[test]
fn visor_decides_as_its_script() {
    let cases = golden().visor;
    for (number, Visor { detections: of, asked, shown }) in cases.iter().enumerate() {
        let seen = visor::look(&detections(of), asked);
        assert_eq!((seen.subject, seen.object, seen.relation), *shown, "case {number}");
        assert_eq!(seen.ruling(asked).holds, Some(shown.0 && shown.1 && shown.2), "case {number}");
    }
}

/// Two prompts with four images each, by hand: one never shows both objects.
#[test]
fn visor_scores_divide_as_script_and_notebook_do() {
    let shown = |subject, object, relation| visor::Shown { subject, object, relation };
    let images = [
        (0, shown(true, true, true)),
        (0, shown(true, true, true)),
        (0, shown(true, true, false)),
        (0, shown(false, true, false)),
        (1, shown(true, false, false)),
        (1, shown(false, false, false)),
        (1, shown(true, false, false)),
        (1, shown(false, true, false)),
    ];
    let scores = visor::score(images).unwrap();
    assert_eq!(scores.object_accuracy, 3.0 / 8.0);
    assert_eq!(scores.conditional, Some(2.0 / 3.0));
    assert!((scores.unconditional - scores.conditional.unwrap() * 3.0 / 8.0).abs() < 1e-12);
    assert_eq!(scores.at_least, [0.5, 0.5, 0.0, 0.0]);
    assert_eq!(scores.at_least_of_detected, Some([1.0, 1.0, 0.0, 0.0]));
    assert!(visor::score(Vec::<(u32, visor::Shown)>::new()).is_none());
    let nothing = visor::score([(0, shown(true, false, false))]).unwrap();
    assert_eq!((nothing.conditional, nothing.at_least_of_detected), (None, None));
}

#[test]
fn compbench_scores_as_its_scripts() {
    let golden = golden();
    for (number, Spatial { detections: of, asked, score }) in golden.spatial.iter().enumerate() {
        let ruling = compbench::spatial(&detections(of), asked);
        let found = ruling.score.unwrap();
        assert!((found - score).abs() < 1e-12, "case {number}: {found} for {score}, {asked:?}");
        assert_eq!(ruling.holds, Some(*score > 0.0), "case {number}");
    }
    for (number, Numeracy { detections: of, asked, score }) in golden.numeracy.iter().enumerate() {
        let asked: Vec<compbench::Counted> = asked
            .iter()
            .map(|(name, count)| compbench::Counted { name: name.clone(), count: *count })
            .collect();
        let ruling = compbench::numeracy(&detections(of), &asked);
        let found = ruling.score.unwrap();
        assert!((found - score).abs() < 1e-12, "case {number}: {found} for {score}, {asked:?}");
        assert_eq!(ruling.holds, Some(*score > 1.0 - 1e-9), "case {number}");
    }
}

/// GenEval's summary by hand: the score is the mean of tasks, not of images.
#[test]
fn geneval_summarises_by_task() {
    let images = [
        ("colors", "a", true),
        ("colors", "a", false),
        ("position", "b", false),
        ("colors", "c", true),
        ("colors", "c", true),
    ];
    let summary = geneval::summarise(images).unwrap();
    assert_eq!(summary.tasks, [("colors".into(), 4, 0.75), ("position".into(), 1, 0.0)]);
    assert_eq!((summary.overall, summary.correct_images), (0.375, 0.6));
    assert_eq!(summary.correct_prompts, 2.0 / 3.0);
    assert_eq!(geneval::summarise([]), None);
}

#[test]
fn metadata_that_nothing_decides_is_refused() {
    let check = |json: &str| {
        serde_json::from_str::<geneval::Metadata>(json).unwrap().check().unwrap_err().to_string()
    };
    assert!(check(r#"{"tag": "x"}"#).contains("say what the image must show"));
    let zero = r#"{"tag": "x", "include": [{"class": "dog", "count": 0}]}"#;
    assert!(check(zero).contains("`exclude` with count 1"));
    let later =
        r#"{"tag": "x", "include": [{"class": "dog", "count": 1, "position": ["above", 1]}]}"#;
    assert!(check(later).contains("refer to one before it"));
}

fn file(name: &str, text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

const COCO: &str = r#"{"images": [{"id": 4, "file_name": "a_0.png"}, {"id": 5, "file_name": "a_1.png"}],
 "categories": [{"id": 18, "name": "dog"}],
 "annotations": [{"image_id": 4, "category_id": 18, "bbox": [10, 20, 30, 40], "score": 0.75, "color": "red"}]}"#;

#[test]
fn files_of_all_three_forms_are_read() {
    let (_folder, path) = file("coco.json", COCO);
    let found = read(&path).unwrap();
    let dog = Detection {
        class: "dog".into(),
        score: 0.75,
        bounds: [10.0, 20.0, 40.0, 60.0],
        colour: Some("red".into()),
    };
    assert_eq!(found[&("a".to_owned(), 0)], Evidence::Boxes(vec![dog]));
    assert_eq!(found[&("a".to_owned(), 1)], Evidence::Boxes(vec![]));

    let line = serde_json::json!({
        "filename": "out/00003/samples/0002.png", "tag": "colors", "prompt": "a photo of a red dog",
        "correct": true, "reason": "",
        "metadata": r#"{"tag": "colors", "include": [{"class": "dog", "count": 1, "color": "red"}], "prompt": "p"}"#,
        "details": r#"{"dog": [[1.0, 2.0, 3.0, 4.0, 0.5]]}"#,
    });
    let (_folder, path) = file("results.jsonl", &format!("{line}\n"));
    let found = read(&path).unwrap();
    let Evidence::GenEval { details, metadata, correct, .. } = &found[&("00003".to_owned(), 2)]
    else {
        panic!("{found:?}")
    };
    assert_eq!((details[0].score, details[0].bounds), (0.5, [1.0, 2.0, 3.0, 4.0]));
    assert_eq!((metadata.include[0].color.as_deref(), *correct), (Some("red"), true));

    let text = r#"{"1103_0": {"classes": ["kite"], "centroid": [[170.6, 135.7]], "recall": 1, "sra": 0, "text": "a kite to the right of a bicycle"}}"#;
    let (_folder, path) = file("visor.json", text);
    let expected = Evidence::Visor { classes: vec!["kite".into()], relation: false };
    assert_eq!(read(&path).unwrap()[&("1103".to_owned(), 0)], expected);
}

#[test]
fn files_that_are_wrong_say_what_to_do() {
    let message = |text: &str| {
        let (_folder, path) = file("detections.json", text);
        read(&path).unwrap_err().to_string()
    };
    assert!(message("{").contains("GenEval's results.jsonl"));
    assert!(message("{}").contains("no image"));
    assert!(message(&COCO.replace("a_1.png", "a_0.png")).contains("there twice"));
    assert!(message(&COCO.replace("a_1.png", "a.png")).contains("<item>_<seed>.png"));
    assert!(message(&COCO.replace("0.75", "75")).contains("not within 0 and 1"));
    assert!(message(&COCO.replace("30, 40", "-30, 40")).contains("left, top, width, height"));
    assert!(message(&COCO.replace("\"image_id\": 4", "\"image_id\": 9")).contains("image 9"));
    let missing = read(std::path::Path::new("none.json")).unwrap_err();
    assert!(matches!(missing, ImportError::Io { .. }) && missing.to_string().contains("none.json"));
}
