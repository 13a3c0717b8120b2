//! The words of the grammar and what they mean.

use std::sync::LazyLock;

use super::scene::{Background, Colour, Finish, Shape, Size};

/// What a word of the grammar can mean. A word has one meaning; "left" and "above" serve
/// relations and light alike and are told apart by the words around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lexeme {
    /// "a", "an", "the".
    Article,
    /// Zero to six.
    Number(u8),
    /// A shape's noun, and whether it is a plural.
    Noun(Shape, bool),
    /// A colour of objects and letters.
    Colour(Colour),
    /// A size word.
    Size(Size),
    /// A finish word.
    Finish(Finish),
    /// A background's colour word.
    Background(Background),
    /// A word that the grammar knows by its spelling: "of", "left", "lit".
    Plain,
}

/// Words with a meaning of their own besides the names of the scene's values.
const SYNONYMS: &[(&str, Lexeme)] = &[
    ("a", Lexeme::Article),
    ("an", Lexeme::Article),
    ("the", Lexeme::Article),
    ("no", Lexeme::Number(0)),
    ("grey", Lexeme::Background(Background::Gray)),
    ("big", Lexeme::Size(Size::Large)),
];

/// Number words, from zero.
pub(super) const NUMBERS: &[&str] = &["zero", "one", "two", "three", "four", "five", "six"];
/// The same as digits.
pub(super) const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6"];

/// Words the grammar knows by their spelling, grouped by the rule that reads them: openings,
/// relations, background, light, written words, hands.
const PLAIN: &[&[&str]] = &[
    OPENINGS,
    &["there", "exactly"],
    &["is", "are", "and", "of", "to", "on", "left", "right", "above", "over", "top"],
    &["below", "under", "beneath"],
    &["against", "background"],
    &["lit", "light", "from", "with"],
    SAYS,
    &["word", "text", "sign", "letters", "that", "written", "in"],
    &["hand", "finger", "fingers", "raised", "showing", "holding", "up"],
];

/// Before "of" at the beginning.
pub(super) const OPENINGS: &[&str] = &["photo", "picture", "image", "render"];

/// Between letters, a text or a sign and the word they show.
pub(super) const SAYS: &[&str] = &["says", "saying", "reading", "spelling"];

/// The word after one of these is the word to write, whatever it is.
pub(super) const BEFORE_WRITTEN: &[&str] =
    &["word", "text", "says", "saying", "reading", "spelling"];

static LEXICON: LazyLock<Vec<(&'static str, Lexeme)>> = LazyLock::new(|| {
    let mut all: Vec<(&'static str, Lexeme)> = SYNONYMS.to_vec();
    for &s in Shape::ALL {
        all.push((s.name(), Lexeme::Noun(s, false)));
        all.push((s.plural(), Lexeme::Noun(s, true)));
    }
    all.extend(Colour::ALL.iter().map(|&c| (c.name(), Lexeme::Colour(c))));
    all.extend(Size::ALL.iter().map(|&s| (s.name(), Lexeme::Size(s))));
    all.extend(Finish::ALL.iter().map(|&f| (f.name(), Lexeme::Finish(f))));
    all.extend(Background::ALL.iter().map(|&b| (b.name(), Lexeme::Background(b))));
    for names in [NUMBERS, DIGITS] {
        all.extend((0u8..).zip(names).map(|(n, &w)| (w, Lexeme::Number(n))));
    }
    all.extend(PLAIN.iter().copied().flatten().map(|&w| (w, Lexeme::Plain)));
    all.sort_by_key(|&(word, _)| word);
    all
});

static VOCABULARY: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| LEXICON.iter().map(|&(word, _)| word).collect());

/// Every word that captions can hold or the parser accepts, lower case, sorted, without
/// repetition. Words to be *written* ("the word CAT") are free strings of letters and not
/// among them: a tokenizer needs the 26 letters besides.
pub fn vocabulary() -> &'static [&'static str] {
    &VOCABULARY
}

/// The meaning of a lower-case word, if the grammar knows it.
pub(super) fn lookup(word: &str) -> Option<Lexeme> {
    LEXICON.binary_search_by_key(&word, |&(w, _)| w).ok().map(|at| LEXICON[at].1)
}

/// The vocabulary words nearest to an unknown one, best first (Jaro–Winkler similarity).
pub(super) fn nearest(word: &str) -> Vec<&'static str> {
    const SHOWN: usize = 3;
    const LONG_ENOUGH: usize = 2;
    let mut scored: Vec<(f64, &'static str)> = VOCABULARY
        .iter()
        .filter(|known| known.len() >= LONG_ENOUGH)
        .map(|&known| (strsim::jaro_winkler(word, known), known))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(SHOWN).map(|(_, known)| known).collect()
}
