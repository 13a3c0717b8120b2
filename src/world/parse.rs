//! From a caption to its expectations.

use std::fmt;
use std::ops::Range;

use super::expectation::{
    BackgroundPhrase, Expectations, FingersPhrase, LightPhrase, ObjectPhrase, RelationPhrase, Role,
    Word, WrittenPhrase,
};
use super::lexicon::{BEFORE_WRITTEN, Lexeme, OPENINGS, SAYS, lookup, nearest};
use super::scene::{Light, Relation};

/// Most words a caption may have.
pub const MAX_WORDS: usize = 64;
/// Most letters a written word may have.
pub const MAX_LETTERS: usize = 6;
/// Most fingers a hand may raise.
pub const MAX_FINGERS: u8 = 5;

const OBJECTS: &str = "an object (ball, cube, cone or ring)";
const BACKGROUNDS: &str = "a background colour (gray, black, beige or lavender)";

/// A word the grammar does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    /// The word as written.
    pub word: String,
    /// Its position among the caption's words, from 0.
    pub index: usize,
    /// The vocabulary words most like it, best first.
    pub nearest: Vec<&'static str>,
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" (nearest: {})", self.word, self.nearest.join(", "))
    }
}

/// Why a caption has no expectations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No words at all.
    #[error("the caption is empty; try \"red ball left of blue cube\"")]
    Empty,
    /// More words than any caption of the world has.
    #[error("the caption has {words} words; the world's grammar reads at most {MAX_WORDS}")]
    TooLong {
        /// Words in the caption.
        words: usize,
    },
    /// Words outside the vocabulary.
    #[error("the world does not know {}", list(.0))]
    UnknownWords(Vec<UnknownWord>),
    /// A known word in a place where the grammar has no use for it.
    #[error("word {} of the caption is \"{word}\"; expected {wanted}", index + 1)]
    Unexpected {
        /// The word as written.
        word: String,
        /// Its position among the caption's words, from 0.
        index: usize,
        /// What could stand there.
        wanted: &'static str,
    },
    /// The caption stops too early.
    #[error("the caption ends where {wanted} was expected")]
    Incomplete {
        /// What is missing.
        wanted: &'static str,
    },
    /// "red balls": how many is not said.
    #[error("\"{word}\" is a plural without a number; say \"two {word}\" or use the singular")]
    PluralWithoutNumber {
        /// The noun.
        word: String,
    },
    /// Something to write that is no word of one to six letters.
    #[error("\"{text}\" cannot be written; use 1 to {MAX_LETTERS} letters A to Z")]
    NotWritable {
        /// As written in the caption.
        text: String,
    },
}

fn list(words: &[UnknownWord]) -> String {
    words.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Reads a caption. Case, punctuation and articles do not matter, nor does the wording of a
/// relation: "a red ball to the left of a blue cube" and "red ball left of blue cube" give equal
/// expectations but for the words' positions.
///
/// # Errors
/// [`ParseError`]; every word outside the vocabulary is listed at once with its nearest
/// vocabulary words.
pub fn parse(caption: &str) -> Result<Expectations, ParseError> {
    let tokens = tokens_of(caption);
    if tokens.is_empty() {
        return Err(ParseError::Empty);
    }
    if tokens.len() > MAX_WORDS {
        return Err(ParseError::TooLong { words: tokens.len() });
    }
    let unknown: Vec<UnknownWord> = tokens
        .iter()
        .enumerate()
        .filter(|(_, t)| t.lexeme.is_none() && !t.written)
        .map(|(index, t)| UnknownWord {
            word: caption[t.range.clone()].to_owned(),
            index,
            nearest: nearest(&t.lower),
        })
        .collect();
    if !unknown.is_empty() {
        return Err(ParseError::UnknownWords(unknown));
    }
    Parser { tokens: &tokens, at: 0 }.caption()
}

/// One word of the caption, without punctuation around it.
struct Token {
    lower: String,
    range: Range<usize>,
    lexeme: Option<Lexeme>,
    /// Whether this is the word to write.
    written: bool,
}

fn tokens_of(caption: &str) -> Vec<Token> {
    const PUNCTUATION: &[char] =
        &[',', '.', ';', ':', '!', '?', '"', '\'', '(', ')', '“', '”', '‘', '’'];
    let mut tokens: Vec<Token> = Vec::new();
    for chunk in caption.split_whitespace() {
        // `chunk` is a part of `caption`: the difference of their addresses is its offset.
        let start = chunk.as_ptr() as usize - caption.as_ptr() as usize;
        let head = chunk.len() - chunk.trim_start_matches(PUNCTUATION).len();
        let word = chunk.trim_matches(PUNCTUATION);
        if word.is_empty() {
            continue;
        }
        let lower = word.to_lowercase();
        let written = tokens.last().is_some_and(|previous| {
            !previous.written
                && BEFORE_WRITTEN.contains(&previous.lower.as_str())
                // "text saying CAT": the word comes later.
                && !(previous.lower == "text" && SAYS.contains(&lower.as_str()))
        });
        let range = start + head..start + head + word.len();
        tokens.push(Token { lexeme: lookup(&lower), lower, range, written });
    }
    tokens
}

/// What a caption is about.
enum Subject {
    Objects,
    Written,
    Hand,
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn caption(mut self) -> Result<Expectations, ParseError> {
        let mut said = Expectations::default();
        self.opening();
        match self.subject()? {
            Subject::Objects => self.objects(&mut said)?,
            Subject::Written => said.word = Some(self.written()?),
            Subject::Hand => said.fingers = Some(self.hand()?),
        }
        while self.at < self.tokens.len() {
            self.modifier(&mut said)?;
        }
        Ok(said)
    }

    // --- tokens ---

    fn lower(&self, ahead: usize) -> &str {
        self.tokens
            .get(self.at + ahead)
            .filter(|t| !t.written)
            .map_or("", |token| token.lower.as_str())
    }

    fn lexeme(&self, ahead: usize) -> Option<Lexeme> {
        self.tokens.get(self.at + ahead).filter(|t| !t.written)?.lexeme
    }

    /// Moves past the word if it is one of `words`.
    fn accept(&mut self, words: &[&str]) -> bool {
        let found = words.contains(&self.lower(0));
        self.at += usize::from(found);
        found
    }

    fn skip_articles(&mut self) {
        while self.lexeme(0) == Some(Lexeme::Article) {
            self.at += 1;
        }
    }

    /// Moves past the word and returns it in a role.
    fn take(&mut self, role: Role) -> Word {
        let range = self.tokens.get(self.at).map_or(0..0, |t| t.range.clone());
        let word = Word { index: self.at, range, role };
        self.at += 1;
        word
    }

    fn fail(&self, wanted: &'static str) -> ParseError {
        match self.tokens.get(self.at) {
            Some(token) => {
                ParseError::Unexpected { word: token.lower.clone(), index: self.at, wanted }
            }
            None => ParseError::Incomplete { wanted },
        }
    }

    // --- grammar ---

    /// "a photo of", "there is", "exactly".
    fn opening(&mut self) {
        let start = self.at;
        self.skip_articles();
        if self.accept(OPENINGS) {
            if !self.accept(&["of"]) {
                self.at = start;
            }
        } else if self.accept(&["there"]) {
            self.accept(&["is", "are"]);
        } else {
            self.at = start;
        }
        self.accept(&["exactly"]);
    }

    /// What the caption is about: the first noun decides.
    fn subject(&self) -> Result<Subject, ParseError> {
        for token in self.tokens.iter().skip(self.at) {
            match token.lexeme {
                Some(Lexeme::Noun(..)) => return Ok(Subject::Objects),
                Some(Lexeme::Plain) => match token.lower.as_str() {
                    "word" | "text" | "sign" | "letters" => return Ok(Subject::Written),
                    "hand" | "finger" | "fingers" => return Ok(Subject::Hand),
                    _ => {}
                },
                _ => {}
            }
        }
        Err(ParseError::Incomplete { wanted: "an object, a word or a hand" })
    }

    fn objects(&mut self, said: &mut Expectations) -> Result<(), ParseError> {
        said.objects.push(self.object()?);
        loop {
            if self.accept(&["and"]) {
                said.objects.push(self.object()?);
            } else if let Some((relation, words)) = self.relation() {
                let subject = said.objects.len() - 1;
                said.objects.push(self.object()?);
                let object = said.objects.len() - 1;
                said.relations.push(RelationPhrase { subject, relation, object, words });
            } else {
                return Ok(());
            }
        }
    }

    /// Articles, a number, attributes in any order, the noun.
    fn object(&mut self) -> Result<ObjectPhrase, ParseError> {
        let (mut count, mut colour, mut size, mut finish) = (None, None, None, None);
        let mut words = Vec::new();
        loop {
            self.skip_articles();
            let role = match self.lexeme(0) {
                Some(Lexeme::Number(n)) if n > 0 && count.is_none() => {
                    count = Some(n);
                    Role::Count
                }
                Some(Lexeme::Colour(c)) if colour.is_none() => {
                    colour = Some(c);
                    Role::Colour
                }
                Some(Lexeme::Size(s)) if size.is_none() => {
                    size = Some(s);
                    Role::Size
                }
                Some(Lexeme::Finish(f)) if finish.is_none() => {
                    finish = Some(f);
                    Role::Finish
                }
                Some(Lexeme::Noun(shape, plural)) => {
                    if plural && count.is_none() {
                        return Err(ParseError::PluralWithoutNumber { word: self.lower(0).into() });
                    }
                    words.push(self.take(Role::Noun));
                    let (count, counted) = (count.unwrap_or(1), count.is_some());
                    return Ok(ObjectPhrase { count, counted, shape, colour, size, finish, words });
                }
                _ => return Err(self.fail(OBJECTS)),
            };
            words.push(self.take(role));
        }
    }

    /// "(is) (to|on) (the) left of", "above", "on (the) top of"; nothing is consumed otherwise.
    fn relation(&mut self) -> Option<(Relation, Vec<Word>)> {
        let start = self.at;
        self.accept(&["is", "are"]);
        let first = self.at;
        let placed = self.accept(&["to", "on"]);
        self.skip_articles();
        let (relation, needs_of) = match self.lower(0) {
            "left" => (Relation::LeftOf, true),
            "right" => (Relation::RightOf, true),
            "top" => (Relation::Above, true),
            "above" | "over" if !placed => (Relation::Above, false),
            "below" | "under" | "beneath" if !placed => (Relation::Below, false),
            _ => {
                self.at = start;
                return None;
            }
        };
        self.at += 1;
        if needs_of && !self.accept(&["of"]) {
            self.at = start;
            return None;
        }
        let last = self.at;
        self.at = first;
        let words = (first..last).map(|_| self.take(Role::Relation)).collect();
        Some((relation, words))
    }

    /// "the word CAT in red letters", "red letters spelling CAT", "a sign that says CAT".
    fn written(&mut self) -> Result<WrittenPhrase, ParseError> {
        const WANTED: &str = "a word to write (\"the word CAT in red letters\")";
        let (mut text, mut colour, mut words) = (None, None, Vec::new());
        loop {
            self.skip_articles();
            if self.tokens.get(self.at).is_some_and(|t| t.written) {
                text = Some(self.writable()?);
                words.push(self.take(Role::Written));
                continue;
            }
            match (self.lexeme(0), self.lower(0)) {
                (Some(Lexeme::Colour(c)), _) if colour.is_none() => {
                    colour = Some(c);
                    words.push(self.take(Role::Colour));
                }
                (_, "word" | "text" | "sign" | "letters") => words.push(self.take(Role::Letters)),
                (_, "that" | "in" | "written") => self.at += 1,
                (_, word) if SAYS.contains(&word) => self.at += 1,
                _ => break,
            }
        }
        let text = text.ok_or_else(|| self.fail(WANTED))?;
        Ok(WrittenPhrase { text, colour, words })
    }

    fn writable(&self) -> Result<String, ParseError> {
        let text = self.tokens.get(self.at).map_or("", |t| t.lower.as_str());
        let fits = (1..=MAX_LETTERS).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_lowercase()) {
            Ok(text.to_ascii_uppercase())
        } else {
            Err(ParseError::NotWritable { text: text.to_owned() })
        }
    }

    /// "a hand with four fingers", "hand showing 2 raised fingers", "three fingers".
    fn hand(&mut self) -> Result<FingersPhrase, ParseError> {
        let mut words = Vec::new();
        self.skip_articles();
        if self.lower(0) == "hand" {
            words.push(self.take(Role::Hand));
            self.accept(&["with", "showing", "holding"]);
            self.accept(&["up"]);
        }
        self.skip_articles();
        let Some(Lexeme::Number(count @ 0..=MAX_FINGERS)) = self.lexeme(0) else {
            return Err(self.fail("a number of fingers from 0 to 5"));
        };
        words.push(self.take(Role::Count));
        self.accept(&["raised"]);
        if !matches!(self.lower(0), "finger" | "fingers") {
            return Err(self.fail("\"fingers\""));
        }
        words.push(self.take(Role::Hand));
        self.accept(&["raised", "up"]);
        Ok(FingersPhrase { count, words })
    }

    /// A background or a light.
    fn modifier(&mut self, said: &mut Expectations) -> Result<(), ParseError> {
        const WANTED: &str = "\"on a gray background\", \"lit from the left\" or the end";
        let start = self.at;
        self.accept(&["and"]);
        self.accept(&["is", "are"]);
        let before = self.accept(&["on", "against", "with"]);
        self.skip_articles();
        match (self.lexeme(0), self.lower(0)) {
            (_, "lit" | "light") if said.light.is_none() => said.light = Some(self.light()?),
            (Some(Lexeme::Background(background)), _) if said.background.is_none() => {
                let colour = self.take(Role::Background);
                if self.lower(0) != "background" {
                    return Err(self.fail("\"background\""));
                }
                let words = vec![colour, self.take(Role::Background)];
                said.background = Some(BackgroundPhrase { background, words });
            }
            _ => {
                if before && self.lower(1) == "background" {
                    return Err(self.fail(BACKGROUNDS));
                }
                self.at = start;
                return Err(self.fail(WANTED));
            }
        }
        Ok(())
    }

    /// "lit from the left", "light from above".
    fn light(&mut self) -> Result<LightPhrase, ParseError> {
        let mut words = vec![self.take(Role::Light)];
        if self.lower(0) != "from" {
            return Err(self.fail("\"from\""));
        }
        words.push(self.take(Role::Light));
        self.skip_articles();
        let light = match self.lower(0) {
            "left" => Light::Left,
            "right" => Light::Right,
            "above" => Light::Above,
            _ => return Err(self.fail("\"the left\", \"the right\" or \"above\"")),
        };
        words.push(self.take(Role::Light));
        Ok(LightPhrase { light, words })
    }
}
