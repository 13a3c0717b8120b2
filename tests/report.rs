//! Reports: nothing runs or loads but the page's own script, whatever the text says.
#![allow(clippy::expect_used)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use denoscope::figure::{Axis, Curve, CurveChart, CurvePoint, WIDE, encode_png};
use denoscope::report::{
    Block, Cell, Estimate, Explorer, ExplorerFrame, ExplorerImage, ExplorerMap, Finding, Index,
    IndexedRun, LabelledImage, Metric, Picture, Report, ReportError, Rerun, Scale, Section,
    StepLabel, Table, UnfinishedRun,
};
use image::{Rgb, RgbImage};
use ndarray::Array2;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "\" onmouseover=\"alert(1)",
    "`</code><svg onload=alert(1)>`",
    "](javascript:alert(1)) \u{2028} \u{202e} & 🙂",
];

fn png() -> Vec<u8> {
    encode_png(&RgbImage::from_fn(64, 64, |x, y| Rgb([x as u8, y as u8, 128]))).expect("encodes")
}

fn chart(text: &str) -> CurveChart {
    let points = (0..5)
        .map(|i| CurvePoint {
            x: f64::from(i),
            y: 0.5 + 0.1 * f64::from(i),
            interval: Some((0.4, 0.9)),
        })
        .collect();
    CurveChart {
        title: text.into(),
        x: Axis::new(text),
        y: Axis::new("AUROC"),
        curves: vec![Curve { name: text.into(), points, control: false }],
        reference: None,
    }
}

fn explorer(text: &str, steps: usize, side: usize) -> Explorer {
    let words = vec![text.to_owned(), "ball".into(), "cube".into(), "of".into()];
    let sites: Vec<String> = (0..6).map(|i| format!("up.{i} {text}")).collect();
    let mut labels = vec![StepLabel::All];
    labels.extend(
        (0..steps).map(|step| StepLabel::At { step, timestep: 981.0 - 40.0 * step as f64 }),
    );
    let mut maps = Vec::new();
    for word in 0..words.len() {
        for site in 0..sites.len() {
            for step in 0..labels.len() {
                let value = |i: usize| ((i * 7 + word * 3 + site * 5 + step) % 23) as f32 / 23.0;
                let values = (0..side * side).map(value).collect();
                maps.push(ExplorerMap {
                    word,
                    site,
                    head: 0,
                    step,
                    height: side,
                    width: side,
                    values,
                });
            }
        }
    }
    let mask =
        Array2::from_shape_fn((64, 64), |(y, x)| (20..40).contains(&y) && (8..30).contains(&x));
    let image = ExplorerImage {
        title: text.into(),
        png: png(),
        words,
        sites,
        heads: vec!["mean of heads".into()],
        steps: labels,
        maps,
        masks: vec![(text.into(), mask)],
        film: (0..steps).step_by(2).map(|step| ExplorerFrame { step, png: png() }).collect(),
    };
    Explorer {
        quantity: "attention probability".into(),
        images: vec![image],
        ..Explorer::default()
    }
}

/// A report that puts a text in every place that takes one.
fn report(text: &str) -> Report {
    let mut report = Report::new(text);
    report.maker = text.into();
    report.subtitle = text.into();
    report.fact(text, text);
    report.cover = vec![LabelledImage { label: text.into(), note: text.into(), png: png() }];
    let estimate = Some(Estimate::within(0.94, 0.91, 0.96));
    let scale = Some(Scale { low: 0.0, high: 1.0, nothing: Some(0.5) });
    let control = Some(Estimate::within(0.51, 0.45, 0.56));
    let finding = Finding {
        sentence: text.into(),
        measure: text.into(),
        estimate,
        control,
        scale,
        basis: text.into(),
    };
    let metric = Metric {
        label: text.into(),
        estimate,
        unit: text.into(),
        control,
        scale,
        note: text.into(),
    };
    let unknown =
        Metric { label: text.into(), estimate: Some(Estimate::new(f64::NAN)), ..metric.clone() };
    let table = Table {
        name: text.into(),
        caption: text.into(),
        columns: vec![text.into(), "AUROC".into()],
        rows: vec![
            vec![text.into(), Cell::Estimate(Estimate::new(0.9))],
            vec![text.into(), Cell::Missing],
        ],
    };
    let picture = Picture::new(text, text, &chart(text)).expect("draws");
    report.section(
        Section::new(text)
            .prose(text)
            .with(Block::Findings(vec![finding]))
            .with(Block::Metrics(vec![metric, unknown]))
            .with(Block::Table(table))
            .with(Block::Warning(text.into()))
            .with(Block::Command(text.into()))
            .with(Block::Images(report.cover.clone())),
    );
    report.section(Section::new(text).picture(picture));
    report.section(Section::new("Explore").with(Block::Explorer(explorer(text, 4, 8))));
    report.rerun = Some(Rerun { command: text.into(), spec: text.into() });
    report
}

/// The names of all tags, and of all their attributes, as a browser would read them.
fn tags_and_attributes(html: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        let mut inside_quotes = false;
        let mut word = String::new();
        let mut end = rest.len();
        for (at, c) in rest.char_indices() {
            match c {
                '"' => inside_quotes = !inside_quotes,
                '>' if !inside_quotes => {
                    end = at;
                    break;
                }
                '=' if !inside_quotes => {
                    found.push(format!("{name} {}", std::mem::take(&mut word)))
                }
                c if !inside_quotes && (c.is_whitespace() || c == '/') => word.clear(),
                c if !inside_quotes => word.push(c),
                _ => {}
            }
        }
        rest = &rest[end..];
        // The text of scripts and styles is not markup.
        if name == "script" || name == "style" {
            let close = rest.find(&format!("</{name}>")).expect("the element ends");
            rest = &rest[close..];
        }
        found.push(name);
    }
    found
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).expect("the start is there").1;
    rest.split_once(end).expect("the end is there").0
}

#[test]
fn hostile_text_adds_no_markup_anywhere() {
    let plain = tags_and_attributes(&report("plain").to_html().expect("renders"));
    for text in HOSTILE {
        let html = report(text).to_html().expect("renders");
        assert!(!html.contains("<script>alert"), "{text}");
        assert!(!html.contains("<img src=x"), "{text}");
        let found = tags_and_attributes(&html);
        let count = |all: &[String], tag: &str| all.iter().filter(|t| *t == tag).count();
        for tag in ["script", "img", "iframe", "object", "link", "base", "form"] {
            assert_eq!(count(&found, tag), count(&plain, tag), "{tag} for {text}");
        }
        let handlers: Vec<_> = found.iter().filter(|t| t.contains(" on")).collect();
        assert!(handlers.is_empty(), "{handlers:?} for {text}");
    }
}

#[test]
fn the_data_block_cannot_be_left_and_says_what_was_put_in() {
    for text in HOSTILE {
        let html = report(text).to_html().expect("renders");
        let data = between(&html, "data-role=\"data\">", "</script>");
        assert!(!data.contains('<') && !data.contains('>') && !data.contains('\u{2028}'));
        let value: serde_json::Value = serde_json::from_str(data).expect("is JSON");
        assert_eq!(value["images"][0]["words"][0], text);
        assert_eq!(value["images"][0]["outlines"][0]["label"], text);
    }
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let html = report("red ball").to_html().expect("renders");
    for attribute in ["src=\"", "href=\"", "srcset=\"", "action=\"", "poster=\""] {
        for piece in html.split(attribute).skip(1) {
            let target = piece.split('"').next().expect("an end");
            assert!(
                target.starts_with('#') || target.starts_with("data:"),
                "{attribute}{target:.40}"
            );
        }
    }
    let style = between(&html, "<style>", "</style>");
    assert!(!style.contains("url(") && !style.contains("@import"));
    for word in ["fetch(", "XMLHttpRequest", "WebSocket", "import(", "innerHTML", "eval("] {
        assert!(!html.contains(word), "{word}");
    }
}

#[test]
fn the_policy_names_exactly_the_script_and_style_of_the_page() {
    let html = report("red ball").to_html().expect("renders");
    let policy = between(&html, "Content-Security-Policy\" content=\"", "\"").replace("&#39;", "'");
    let digest = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let script = between(&html, "<script>", "</script>");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(policy.contains(&format!("script-src {}", digest(script))), "{policy}");
    assert!(
        policy.contains(&format!("style-src {}", digest(between(&html, "<style>", "</style>")))),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(
        !tags_and_attributes(&html).iter().any(|t| t.ends_with(" style")),
        "inline styles are refused"
    );
}

#[test]
fn a_page_without_explorer_has_no_script() {
    let mut plain = Report::new("Plain");
    plain.section(Section::new("One").prose("Text."));
    let html = plain.to_html().expect("renders");
    assert!(!html.contains("<script") && html.contains("script-src"));
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    let (first, second) = (report("red ball"), report("red ball"));
    assert_eq!(first.to_html().expect("renders"), second.to_html().expect("renders"));
    assert_eq!(first.to_markdown().expect("renders"), second.to_markdown().expect("renders"));
    assert_eq!(first.to_json().expect("renders"), second.to_json().expect("renders"));
}

#[test]
fn a_usual_run_stays_below_three_megabytes() {
    let mut usual = report("red ball left of blue cube");
    usual.section(Section::new("More").with(Block::Explorer(explorer("red", 50, 16))));
    let html = usual.to_html().expect("renders");
    assert!(html.len() < 3_000_000, "{} bytes", html.len());
}

#[test]
fn headings_pictures_and_controls_are_labelled() {
    let html = report("red ball").to_html().expect("renders");
    assert!(html.contains("<html lang=\"en\">") && html.contains("name=\"viewport\""));
    assert!(html.contains("href=\"#content\"") && html.contains("id=\"content\""));
    let tags = tags_and_attributes(&html);
    let count = |tag: &str| tags.iter().filter(|t| *t == tag).count();
    assert_eq!(count("img"), count("img alt"));
    assert_eq!(count("h1"), 1);
    assert_anchored(&html);
}

#[test]
fn missing_values_and_empty_parts_are_said_not_hidden() {
    let mut sparse = Report::new("Empty");
    let empty =
        Table { caption: "Scores".into(), columns: vec!["word".into()], ..Table::default() };
    sparse.section(
        Section::new("Nothing")
            .with(Block::Table(empty))
            .with(Block::Findings(vec![]))
            .with(Block::Images(vec![]))
            .with(Block::Explorer(Explorer::default()))
            .with(Block::Metrics(vec![Metric { label: "IoU".into(), ..Metric::default() }])),
    );
    let html = sparse.to_html().expect("renders");
    for words in ["No rows.", "No findings.", "No images.", "Nothing was recorded", "not measured"]
    {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("NaN") && !html.contains("<script"));
    assert!(sparse.to_markdown().expect("renders").contains("No rows."));
    let full = report("x");
    assert!(!full.to_html().expect("renders").contains(">NaN"));
    let json: serde_json::Value =
        serde_json::from_str(&full.to_json().expect("renders")).expect("is JSON");
    let unknown = &json["sections"][0]["blocks"][2]["metrics"][1]["estimate"]["value"];
    assert!(unknown.is_null(), "a value that was not measured is null, got {unknown}");
}

#[test]
fn rows_and_maps_that_do_not_fit_are_errors() {
    let mut short = Report::new("t");
    let table = Table {
        caption: "Scores".into(),
        columns: vec!["a".into(), "b".into()],
        rows: vec![vec!["x".into()]],
        ..Table::default()
    };
    short.section(Section::new("s").with(Block::Table(table)));
    assert!(matches!(short.to_html(), Err(ReportError::Row { row: 0, expected: 2, got: 1, .. })));
    assert!(short.to_markdown().is_err());
    let mut wrong = explorer("red", 2, 4);
    wrong.images[0].maps[3].values.pop();
    let mut report = Report::new("t");
    report.section(Section::new("s").with(Block::Explorer(wrong)));
    let error = report.to_html().expect_err("a value is missing");
    assert!(error.to_string().contains("15 values for 4 × 4"), "{error}");
}

#[test]
fn downloads_hold_the_numbers() {
    let html = report("red").to_html().expect("renders");
    let files: Vec<String> = html
        .split("href=\"data:text/csv;charset=utf-8;base64,")
        .skip(1)
        .map(|piece| {
            let bytes =
                STANDARD.decode(piece.split('"').next().expect("an end")).expect("is base64");
            String::from_utf8(bytes).expect("is text")
        })
        .collect();
    assert_eq!(files.len(), 2, "one for the table, one for the figure");
    assert!(files.iter().any(|f| f.starts_with("red,AUROC,AUROC low,AUROC high\r\nred,0.9,,")));
    assert!(files.iter().any(|f| f.contains("red,0,0.5,0.4,0.9,false")));
}

#[test]
fn markdown_escapes_what_it_would_interpret() {
    let text = report("<script>*bold* [x](javascript:1) | `a`").to_markdown().expect("renders");
    let outside_code: String = text.split("```").step_by(2).collect();
    assert!(!outside_code.contains("<script>") && !outside_code.contains("[x](javascript"));
    assert!(text.contains("&lt;script&gt;\\*bold\\*"));
    let ends = report("```\nrm\n```").to_markdown().expect("renders");
    assert!(ends.contains("````sh"), "the fence is longer than any in the command");
}

#[test]
fn the_picture_of_a_report_is_the_figure() {
    let figure = chart("ball");
    let picture = Picture::new("scores", "Scores.", &figure).expect("draws");
    let mut report = Report::new("t");
    report.section(Section::new("s").picture(picture));
    let html = report.to_html().expect("renders");
    use denoscope::figure::Figure;
    assert!(html.contains(figure.svg(WIDE).expect("draws").as_str()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_text_leaves_the_page_whole(text in "\\PC{0,60}") {
        let html = report(&text).to_html().expect("renders");
        let plain = report("plain").to_html().expect("renders");
        let count = |html: &str, tag: &str| {
            tags_and_attributes(html).iter().filter(|t| t.as_str() == tag).count()
        };
        for tag in ["script", "style", "img", "svg", "section", "table"] {
            prop_assert_eq!(count(&html, tag), count(&plain, tag), "{}", tag);
        }
    }
}

/// Ids of a page are unique, and every link inside it and every label leads to one.
#[track_caller]
fn assert_anchored(html: &str) {
    let mut ids: Vec<&str> =
        html.split(" id=\"").skip(1).filter_map(|p| p.split('"').next()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "ids are unique");
    for start in ["href=\"#", " for=\"", "aria-labelledby=\""] {
        let values = html.split(start).skip(1).filter_map(|p| p.split('"').next());
        for target in values.flat_map(str::split_whitespace) {
            assert!(ids.binary_search(&target).is_ok(), "{start}{target}");
        }
    }
}

#[test]
fn reports_of_which_a_document_is_made_keep_all_they_have() {
    let mut whole = Report::new("Two runs");
    whole.notices.push("<b>bold</b> was `changed`".into());
    whole.section(Section::new("Runs").prose("Both."));
    // The same report twice: every heading and anchor meets its double.
    whole.parts = vec![report("red ball"), report("red ball")];
    let html = whole.to_html().expect("renders");
    assert_anchored(&html);
    let tags = tags_and_attributes(&html);
    let count = |tag: &str| tags.iter().filter(|t| *t == tag).count();
    assert_eq!((count("h1"), count("article")), (1, 2));
    let one = report("red ball").to_html().expect("renders");
    let of_one = tags_and_attributes(&one);
    for tag in ["table", "canvas", "svg", "select"] {
        assert_eq!(count(tag), 2 * of_one.iter().filter(|t| *t == tag).count(), "{tag}");
    }
    assert!(html.contains("&lt;b&gt;bold&lt;/b&gt; was <code>changed</code>"));
    // Sections of a part are a level below its title.
    assert_eq!(count("h3"), 2 * of_one.iter().filter(|t| *t == "h2").count());
    let text = whole.to_markdown().expect("renders");
    assert!(text.starts_with("# Two runs\n") && text.matches("\n## red ball\n").count() == 2);
    assert_eq!(text.matches("\n### Run this again\n").count(), 2);
}

#[test]
fn a_list_of_runs_links_to_each_and_says_what_is_wrong_with_others() {
    let run = |name: &str, problem: Option<&str>| IndexedRun {
        name: name.into(),
        probe: "attention".into(),
        prompt: HOSTILE[0].into(),
        problem: problem.map(str::to_owned),
        ..IndexedRun::default()
    };
    let index = Index {
        folder: "runs".into(),
        runs: vec![run("one", None), run("two", Some("its manifest was cut off"))],
        unfinished: vec![UnfinishedRun { name: "three".into(), images: 7 }],
        renewed_after: Some(3),
    };
    let html = index.to_html();
    assert_anchored(&html);
    assert!(html.contains("href=\"/one/\"") && !html.contains("href=\"/two/\""));
    assert!(html.contains("its manifest was cut off") && html.contains("7 images so far"));
    assert!(!html.contains("<script") && html.contains("&lt;script&gt;alert"));
    assert!(Index::default().to_html().contains("No finished run is here yet"));
}
