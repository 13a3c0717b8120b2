//! How well a transcript agrees with the text that was asked for, by four published definitions
//! that share names and disagree: each is here under its authors' name.
//!
//! | definition | NED | rates |
//! |---|---|---|
//! | MARIO-Eval | – | precision and recall of words, F, accuracy |
//! | AnyText | 1 − Lev / longer length, higher is better | exact lines |
//! | HRS | Lev / longer length, lower is better | CER, WER |
//! | STRICT | Lev / length of the edit path, lower is better | CER, WER |
//!
//! Lev is Levenshtein's distance. No reader of letters runs here: a transcript comes from one, and
//! a number is named by both, such as `mario-rule/tesseract`.

use std::collections::BTreeMap;

use strsim::generic_levenshtein;

/// Version of these definitions as they are implemented here.
pub const VERSION: u32 = 1;

/// MARIO-Eval's look at one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarioImage {
    /// Share of the words read that were asked for; 0 where none was read.
    pub precision: f64,
    /// Share of the words asked for that were read; 0 where none was asked for.
    pub recall: f64,
    /// Whether the sorted words are the same.
    pub equal: bool,
}

/// Errors of one transcript.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// Normalised edit distance, in \[0, 1\]; lower is better.
    pub ned: f64,
    /// Character error rate: Lev / characters asked for; may exceed 1.
    pub cer: f64,
    /// Word error rate: Lev over words / words asked for; may exceed 1.
    pub wer: f64,
}

/// The words of a text in lower case, without punctuation around them.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect()
}

/// The words between single quotes in a prompt, as MARIO-Eval finds what is asked for.
pub fn quoted_words(prompt: &str) -> Vec<String> {
    prompt.split('\'').skip(1).step_by(2).flat_map(words).collect()
}

/// MARIO-Eval: lower-case words as multisets.
pub fn mario(asked: &[String], read: &[String]) -> MarioImage {
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for word in asked {
        *left.entry(word).or_default() += 1;
    }
    let mut common = 0;
    for word in read {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    let over = |all: usize| if all == 0 { 0.0 } else { f64::from(common) / all as f64 };
    let sorted = |words: &[String]| {
        let mut words = words.to_vec();
        words.sort_unstable();
        words.concat()
    };
    MarioImage {
        precision: over(read.len()),
        recall: over(asked.len()),
        equal: sorted(asked) == sorted(read),
    }
}

/// MARIO-Eval's scores over images: mean precision, mean recall, F of the two means, accuracy.
/// `None` without images.
pub fn mario_scores(images: &[MarioImage]) -> Option<[(&'static str, f64); 4]> {
    let mean = |value: &dyn Fn(&MarioImage) -> f64| {
        images.iter().map(value).sum::<f64>() / images.len() as f64
    };
    if images.is_empty() {
        return None;
    }
    let (precision, recall) = (mean(&|image| image.precision), mean(&|image| image.recall));
    let f = if precision + recall > 0.0 {
        2.0 * precision * recall / (precision + recall)
    } else {
        0.0
    };
    let accuracy = mean(&|image| f64::from(u8::from(image.equal)));
    Some([("precision", precision), ("recall", recall), ("F", f), ("accuracy", accuracy)])
}

/// AnyText: whether the line is exact, and 1 − Lev / longer length (its "NED", higher is better).
/// Its authors read lines at known places; a transcript of the whole image is a line here.
pub fn anytext(asked: &str, read: &str) -> (bool, f64) {
    (asked == read, 1.0 - over_longer(asked, read))
}

/// HRS: Lev / longer length, CER and WER.
pub fn hrs(asked: &str, read: &str) -> Errors {
    Errors { ned: over_longer(asked, read), ..rates(asked, read) }
}

/// STRICT: Lev / length of the edit path (matches, substitutions, insertions and deletions of an
/// alignment with the fewest edits; of several, the shortest), CER and WER.
pub fn strict(asked: &str, read: &str) -> Errors {
    let (edits, length) = edit_path(asked, read);
    let ned = if length == 0 { 0.0 } else { edits as f64 / length as f64 };
    Errors { ned, ..rates(asked, read) }
}

fn rates(asked: &str, read: &str) -> Errors {
    let over = |edits: usize, all: usize| match (edits, all) {
        (0, _) => 0.0,
        // Nothing was asked for: everything read is one error too many.
        (edits, all) => edits as f64 / all.max(1) as f64,
    };
    let (asked_words, read_words): (Vec<&str>, Vec<&str>) =
        (asked.split_whitespace().collect(), read.split_whitespace().collect());
    Errors {
        ned: f64::NAN,
        cer: over(distance(asked, read), asked.chars().count()),
        wer: over(generic_levenshtein(&asked_words, &read_words), asked_words.len()),
    }
}

fn distance(a: &str, b: &str) -> usize {
    strsim::levenshtein(a, b)
}

fn over_longer(a: &str, b: &str) -> f64 {
    let longer = a.chars().count().max(b.chars().count());
    if longer == 0 { 0.0 } else { distance(a, b) as f64 / longer as f64 }
}

/// Fewest edits between two texts, and the length of the shortest alignment with so few.
fn edit_path(a: &str, b: &str) -> (usize, usize) {
    let b: Vec<char> = b.chars().collect();
    let mut above: Vec<(usize, usize)> = (0..=b.len()).map(|i| (i, i)).collect();
    for (i, from) in a.chars().enumerate() {
        let mut row = vec![(i + 1, i + 1)];
        for (j, to) in b.iter().enumerate() {
            let step = |(edits, length): (usize, usize), cost: usize| (edits + cost, length + 1);
            let ways =
                [step(above[j], usize::from(from != *to)), step(above[j + 1], 1), step(row[j], 1)];
            row.push(ways.into_iter().min().unwrap_or_default());
        }
        above = row;
    }
    above[b.len()]
}
