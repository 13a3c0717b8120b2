//! What the report of `probe attention` says.

use denoscope::probe::attention::Detail;
use denoscope::probe::attention::report::{Measured, WordFinding, findings, report};
use denoscope::probe::attention::score::{Scored, score};
use denoscope::report::Rerun;
use denoscope::world::parse;
use ndarray::Array2;

use super::{PROMPT, ball_and_cube, planted, run, tokens, whole_words};

fn rerun() -> Rerun {
    Rerun { command: format!("probe attention --prompt \"{PROMPT}\""), spec: String::new() }
}

#[test]
fn a_prompt_the_world_does_not_know_has_maps_but_no_scores() {
    let prompt = "an oil painting of my grandmother";
    assert!(parse(prompt).is_err());
    let mut map = |_: usize, _: usize, side: usize| Array2::from_elem((side, side), 0.1_f32);
    let run = run(prompt, tokens(prompt, whole_words), &[ball_and_cube()], &mut map);
    let rows = score(&run, Detail::Full).unwrap();
    assert!(rows.is_empty());
    assert!(findings(&run, &rows).is_empty());
    let page =
        report(&run, Measured { alignment: &rows, leakage: &[] }, Vec::new(), rerun()).unwrap();
    let html = page.to_html().unwrap();
    assert!(html.contains("shown but not scored"), "the report does not say why");
    assert!(html.contains("grandmother"));
    assert!(!html.contains("AUROC"), "a score is mentioned that was not made");
}

#[test]
fn a_hostile_prompt_is_only_text() {
    let attacks = ["<script>alert(1)</script>", "\"><img/src=x/onerror=alert(2)>", "</style><b>"];
    let prompt = attacks.join(" ");
    let mut map = |_: usize, _: usize, side: usize| {
        Array2::from_shape_fn((side, side), |(row, column)| (row * column) as f32)
    };
    let run = run(&prompt, tokens(&prompt, whole_words), &[ball_and_cube()], &mut map);
    let page =
        report(&run, Measured { alignment: &[], leakage: &[] }, Vec::new(), rerun()).unwrap();
    let html = page.to_html().unwrap();
    for attack in attacks {
        assert!(!html.contains(attack), "{attack} is in the page as it is");
    }
    assert!(html.contains("&lt;script&gt;alert(1)"), "the prompt is not shown");
    page.to_markdown().unwrap();
}

#[test]
fn a_report_of_a_planted_effect_says_so() {
    let run = planted(3);
    let rows = score(&run, Detail::Full).unwrap();
    let page =
        report(&run, Measured { alignment: &rows, leakage: &[] }, Vec::new(), rerun()).unwrap();
    let html = page.to_html().unwrap();
    let markdown = page.to_markdown().unwrap();
    for object in ["red ball", "blue cube"] {
        let sentence = format!("attends to the {object}: AUROC 0.9");
        assert!(html.contains(&sentence) || html.contains(&sentence.replace("0.9", "1.0")));
        assert!(markdown.contains(&format!("attends to the {object}")), "{markdown}");
    }
}

#[test]
fn findings_are_plain_sentences() {
    let run = planted(3);
    let rows = score(&run, Detail::Full).unwrap();
    let sentences: Vec<String> = findings(&run, &rows).iter().map(WordFinding::sentence).collect();
    assert_eq!(sentences.len(), 4);
    for (sentence, word, object) in [
        (&sentences[0], "red", "red ball"),
        (&sentences[1], "ball", "red ball"),
        (&sentences[2], "blue", "blue cube"),
        (&sentences[3], "cube", "blue cube"),
    ] {
        let start = format!("`{word}` attends to the {object}: AUROC ");
        assert!(sentence.starts_with(&start), "{sentence}");
        assert!(sentence.contains("; control 0."), "{sentence}");
    }

    let scored = |mean: f64, interval| Some(Scored { mean, interval, images: 4 });
    let finding = |own, images| WordFinding {
        other_seed: None,
        word: "red".into(),
        object: "red ball".into(),
        own,
        control: None,
        images,
    };
    let sentence = |own, images| finding(own, images).sentence();
    let expected = "`red` attends to the red ball: AUROC 0.94 [0.92, 0.96]";
    assert_eq!(sentence(scored(0.94, Some((0.92, 0.96))), 4), expected);
    let partly = sentence(scored(0.94, Some((0.92, 0.96))), 6);
    assert!(partly.contains("4 of 6 images"), "{partly}");
    let away = sentence(scored(0.2, Some((0.1, 0.3))), 4);
    assert!(away.contains("attends away from the red ball"), "{away}");
    let unsure = sentence(scored(0.55, Some((0.4, 0.7))), 4);
    assert!(unsure.contains("may or may not attend to"), "{unsure}");
    let one = sentence(scored(0.9, None), 4);
    assert!(one.contains("seems to attend to") && one.contains("no interval"), "{one}");
    let one = sentence(scored(0.4, None), 4);
    assert!(one.contains("does not seem to attend to"), "{one}");
}
