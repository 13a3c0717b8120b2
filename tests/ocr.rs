//! Readings of letters: four published definitions on fixed transcripts, worked out by hand; and
//! the program itself, where it is installed.
#![allow(clippy::unwrap_used)]

use denoscope::judge::ocr::{anytext, hrs, mario, mario_scores, quoted_words, strict, words};

#[track_caller]
fn close(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-12, "got {got}, expected {expected}");
}

#[test]
fn words_are_lower_case_and_quoted_ones_are_found() {
    assert_eq!(words("  The STOP-sign, \n \"Ahead\"! "), ["the", "stop-sign", "ahead"]);
    assert_eq!(quoted_words("a sign that says 'Open Late' and 'NOW'"), ["open", "late", "now"]);
    assert!(quoted_words("a sign without quotes").is_empty());
}

#[test]
fn marios_precision_and_recall_are_of_multisets() {
    // Asked: the the cat; read: the cat dog the the. Common: the, the, cat.
    let image = mario(&words("the the cat"), &words("the cat dog the the"));
    close(image.precision, 3.0 / 5.0);
    close(image.recall, 1.0);
    assert!(!image.equal && mario(&words("cat the"), &words("The CAT")).equal);
    let nothing = mario(&words("cat"), &[]);
    assert_eq!((nothing.precision, nothing.recall, nothing.equal), (0.0, 0.0, false));
    // F is of the mean precision and the mean recall: P = (0.6 + 0.5) / 2, R = 1, F = 1.1 / 1.55.
    // The mean of the images' own F would be (0.75 + 2/3) / 2 = 0.708, another number.
    let more = mario(&words("cat"), &words("cat dog"));
    let scores = mario_scores(&[image, more]).unwrap();
    assert_eq!(scores.map(|(name, _)| name), ["precision", "recall", "F", "accuracy"]);
    for ((_, got), expected) in scores.iter().zip([0.55, 1.0, 1.1 / 1.55, 0.0]) {
        close(*got, expected);
    }
    assert_eq!(mario_scores(&[]), None);
}

#[test]
fn three_numbers_called_ned_are_three_numbers() {
    // kitten → sitting: three edits (k→s, e→i, +g), seven letters, an alignment of seven.
    let (exact, similarity) = anytext("kitten", "sitting");
    assert!(!exact);
    close(similarity, 1.0 - 3.0 / 7.0);
    close(hrs("kitten", "sitting").ned, 3.0 / 7.0);
    close(strict("kitten", "sitting").ned, 3.0 / 7.0);
    // They part where the shortest alignment is longer than the longer text: ab → ba takes two
    // edits; the longer text has 2 letters, and both substitutions align in 2 places; abc → bcd
    // takes two edits (−a, +d) over an alignment of 4, against 3 letters.
    close(hrs("abc", "bcd").ned, 2.0 / 3.0);
    close(anytext("abc", "bcd").1, 1.0 / 3.0);
    close(strict("abc", "bcd").ned, 2.0 / 4.0);
    close(strict("ab", "ba").ned, 1.0);
    close(strict("", "").ned, 0.0);
}

#[test]
fn error_rates_are_over_what_was_asked_for() {
    let errors = strict("red ball here", "red bell");
    // Characters: a→e and the five of " here" = 6 edits of 13; words: ball→bell, −here = 2 of 3.
    close(errors.cer, 6.0 / 13.0);
    close(errors.wer, 2.0 / 3.0);
    // More may be read than was asked for.
    close(hrs("a", "abcd").cer, 3.0);
    close(hrs("a", "a").wer, 0.0);
}

#[cfg(feature = "torch")]
#[test]
fn tesseract_reads_letters_that_the_world_draws() {
    use denoscope::suite::ocr::Tesseract;
    use denoscope::world::{Background, Colour, Content, Light, Scene, Written, render};

    let tesseract = match Tesseract::find() {
        Ok(tesseract) => tesseract,
        Err(error) => {
            eprintln!("skipped: {error}");
            return;
        }
    };
    // Large letters without a picture around them.
    let read = |text: &str| {
        let (colour, text) = (Colour::White, text.to_owned());
        let word = Written { text, colour, x: 0.5, y: 0.5, height: 0.22 };
        let (background, light) = (Background::Black, Light::Above);
        let scene = Scene { background, light, content: Content::Word(word) };
        words(&tesseract.read(&render(&scene, 512)).unwrap())
    };
    let right = ["STOP", "HOME", "BED"].iter().filter(|w| read(w) == [w.to_lowercase()]).count();
    assert!(right >= 2, "{right} of 3 plain words were read");
    let grey = image::RgbImage::from_pixel(64, 64, image::Rgb([128; 3]));
    assert!(words(&tesseract.read(&grey).unwrap()).is_empty());
}
