//! Reading: does the text encoder know what a caption says?
//!
//! The contrastive objective is content with a bag of words, and a denoiser's gradient reaches the
//! text encoder late. Reading asks directly: small linear classifiers, used in training alone, name
//! from the encoder's states what the caption says, so that it comes to lie there in plain
//! (linearly readable) form. Three kinds of places are asked:
//!
//! - the token of each noun, the first that can know its phrase in a causal encoder: shape, colour,
//!   size, finish, number, whether it comes first or second, and, for the second of a relation, on
//!   which side of the other it lies;
//! - the last place of the prompt, which sees all of it: relation, number, background, light,
//!   fingers, length and colour of a written word;
//! - for a written word, the last six places, one a letter: which letter, and where in the image it
//!   comes to stand.
//!
//! Captions come from the training split, like everything that is trained on.

use tch::{Kind, Tensor};

use super::TrainError;
use crate::model::layers::Linear;
use crate::model::parameters::Scope;
use crate::model::tokenizer::Tokenizer;
use crate::world::{
    Background, Colour, Expectations, Finish, Light, MAX_FINGERS, MAX_LETTERS, ObjectPhrase,
    Relation, Role, Shape, Size, parse,
};

/// Letters A to Z, and the place of none.
const LETTERS: i64 = 27;
/// Columns of the image in which a letter can stand.
const COLUMNS: i64 = 8;
/// "Not said" and the counts one to six.
const COUNTS: i64 = 7;

/// Names and numbers of classes of the questions about an object; the first class is "not said"
/// where that can be.
const OF_OBJECT: [(&str, i64); 7] = [
    ("shape", Shape::ALL.len() as i64),
    ("colour", Colour::ALL.len() as i64 + 1),
    ("size", Size::ALL.len() as i64 + 1),
    ("finish", Finish::ALL.len() as i64 + 1),
    ("number", COUNTS),
    ("order", 2),
    ("side", Relation::ALL.len() as i64 + 1),
];
/// The same about the whole scene.
const OF_SCENE: [(&str, i64); 7] = [
    ("relation", Relation::ALL.len() as i64 + 1),
    ("count", COUNTS),
    ("background", Background::ALL.len() as i64 + 1),
    ("light", Light::ALL.len() as i64 + 1),
    ("fingers", MAX_FINGERS as i64 + 2),
    ("letters", MAX_LETTERS as i64 + 1),
    ("letter_colour", Colour::ALL.len() as i64 + 1),
];
/// The same about one place of a written word.
const OF_LETTER: [(&str, i64); 2] = [("letter", LETTERS), ("column", COLUMNS)];

/// Questions of one kind of place.
type Questions = &'static [(&'static str, i64)];

/// One kind of questions: which states are asked, and the right answers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Answers {
    /// Rows of the states [n × places, c].
    places: Vec<i64>,
    /// A class for each question, place by place.
    classes: Vec<i64>,
}

impl Answers {
    fn add(&mut self, place: i64, classes: &[i64]) {
        self.places.push(place);
        self.classes.extend_from_slice(classes);
    }
}

/// What some captions say, as questions to the encoder's states.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Said {
    objects: Answers,
    scenes: Answers,
    letters: Answers,
}

impl Said {
    /// Reads captions that are encoded one a row, in this order.
    ///
    /// # Errors
    /// A caption that the grammar or the tokenizer does not read.
    pub fn of<'a>(
        tokenizer: &Tokenizer,
        captions: impl Iterator<Item = &'a str>,
    ) -> Result<Self, TrainError> {
        let mut said = Self::default();
        let length = tokenizer.max_length() as i64;
        for (row, caption) in captions.enumerate() {
            let refuse = |problem: String| TrainError::Plan(format!("{caption}: {problem}"));
            let expectations = parse(caption).map_err(|e| refuse(e.to_string()))?;
            let tokens = tokenizer.encode(caption).map_err(|e| refuse(e.to_string()))?;
            let first = row as i64 * length;
            for (i, phrase) in expectations.objects.iter().enumerate() {
                let noun = phrase.words.iter().find(|word| word.role == Role::Noun);
                // The last piece of the noun.
                let piece = noun.and_then(|noun| {
                    tokens.spans.iter().rposition(|&(from, to)| to == noun.range.end && from < to)
                });
                if let Some(piece) = piece {
                    said.objects.add(first + piece as i64, &of_object(&expectations, i, phrase));
                }
            }
            let last = first + length - 1;
            said.scenes.add(last, &of_scene(&expectations));
            if let Some(word) = &expectations.word {
                let start = first + length - MAX_LETTERS as i64;
                for (k, classes) in of_letters(&word.text).iter().enumerate() {
                    said.letters.add(start + k as i64, classes);
                }
            }
        }
        Ok(said)
    }
}

/// Class of a value that may not be said: 0, else its number from 1.
fn class<T: PartialEq>(all: &[T], value: Option<T>) -> i64 {
    let place = value.and_then(|value| all.iter().position(|x| *x == value));
    place.map_or(0, |place| place as i64 + 1)
}

fn of_object(all: &Expectations, i: usize, phrase: &ObjectPhrase) -> [i64; 7] {
    let side = all.relations.iter().find(|r| r.object == i).map(|r| r.relation.inverse());
    [
        class(Shape::ALL, Some(phrase.shape)) - 1,
        class(Colour::ALL, phrase.colour),
        class(Size::ALL, phrase.size),
        class(Finish::ALL, phrase.finish),
        if phrase.counted { i64::from(phrase.count) } else { 0 },
        i64::from(i > 0),
        class(Relation::ALL, side),
    ]
}

fn of_scene(all: &Expectations) -> [i64; 7] {
    let count = all.objects.iter().find(|o| o.counted).map_or(0, |o| i64::from(o.count));
    [
        class(Relation::ALL, all.relations.first().map(|r| r.relation)),
        count,
        class(Background::ALL, all.background.as_ref().map(|b| b.background)),
        class(Light::ALL, all.light.as_ref().map(|l| l.light)),
        all.fingers.as_ref().map_or(0, |f| i64::from(f.count) + 1),
        all.word.as_ref().map_or(0, |w| w.text.len() as i64),
        class(Colour::ALL, all.word.as_ref().and_then(|w| w.colour)),
    ]
}

/// Letter and column of each of the six places; beyond the word's end, no letter, and the last
/// column.
fn of_letters(text: &str) -> [[i64; 2]; MAX_LETTERS] {
    let count = text.len().max(1) as f64;
    // Words are centred, and longer ones reach further (see `world`): six letters take 0.92 of
    // the width, and none takes more than 0.27.
    let advance = (0.92 / count).min(0.27);
    let mut places = [[0, COLUMNS - 1]; MAX_LETTERS];
    for ((k, letter), place) in text.bytes().enumerate().zip(&mut places) {
        let x = 0.5 + (k as f64 + 0.5 - count / 2.0) * advance;
        let column = (x * COLUMNS as f64) as i64;
        *place = [i64::from(letter - b'A') + 1, column.clamp(0, COLUMNS - 1)];
    }
    places
}

/// The classifiers, one layer for each kind of place.
#[derive(Debug)]
pub struct Readers {
    object: Linear,
    scene: Linear,
    letter: Linear,
}

impl Readers {
    /// Takes its parameters from `scope`, for states of `hidden` channels.
    pub fn new(scope: &Scope<'_>, hidden: i64) -> Self {
        let reader = |name: &str, questions: Questions| {
            Linear::new(&scope.below(name), hidden, questions.iter().map(|q| q.1).sum())
        };
        Self {
            object: reader("object", &OF_OBJECT),
            scene: reader("scene", &OF_SCENE),
            letter: reader("letter", &OF_LETTER),
        }
    }

    fn each<'a>(&'a self, said: &'a Said) -> [(&'a Linear, &'a Answers, Questions); 3] {
        [
            (&self.object, &said.objects, &OF_OBJECT),
            (&self.scene, &said.scenes, &OF_SCENE),
            (&self.letter, &said.letters, &OF_LETTER),
        ]
    }

    /// Mean over the questions of the cross-entropy of their answers, given states
    /// [n, places, c].
    pub fn loss(&self, states: &Tensor, said: &Said) -> Tensor {
        let mut losses = Vec::new();
        self.ask(states, said, |_, logits, classes| {
            losses.push(logits.cross_entropy_for_logits(classes));
        });
        Tensor::stack(&losses, 0).mean(Kind::Float)
    }

    /// Share of answers that are right, by the name of each question that was asked.
    pub fn right(&self, states: &Tensor, said: &Said) -> Vec<(&'static str, f64)> {
        let mut shares = Vec::new();
        self.ask(states, said, |name, logits, classes| {
            let right = logits.argmax(-1, false).eq_tensor(classes);
            let share = right.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
            shares.push((name, share));
        });
        shares
    }

    /// Hands the logits and classes of each question to `see`.
    fn ask(
        &self,
        states: &Tensor,
        said: &Said,
        mut see: impl FnMut(&'static str, &Tensor, &Tensor),
    ) {
        let states = states.flatten(0, 1);
        for (reader, answers, questions) in self.each(said) {
            if answers.places.is_empty() {
                continue;
            }
            let places = Tensor::from_slice(&answers.places).to_device(states.device());
            let logits = reader.forward(&states.index_select(0, &places)).to_kind(Kind::Float);
            let classes = Tensor::from_slice(&answers.classes).to_device(states.device());
            let classes = classes.view([-1, questions.len() as i64]);
            let mut at = 0;
            for (i, &(name, count)) in questions.iter().enumerate() {
                see(name, &logits.narrow(1, at, count), &classes.select(1, i as i64));
                at += count;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::model::checkpoint::ModelFiles;

    fn tokenizer() -> Tokenizer {
        let files = ModelFiles::built_in();
        let read = |name: &str| files.read(&format!("tokenizer/{name}")).unwrap();
        Tokenizer::new(&read("vocab.json"), &read("merges.txt"), &read("tokenizer_config.json"))
            .unwrap()
    }

    #[test]
    fn nouns_are_asked_for_their_phrase_and_side() {
        let caption = "a large red ball left of a striped blue cube";
        let said = Said::of(&tokenizer(), std::iter::once(caption)).unwrap();
        // Start, a, large, red, ball: 4; left of a striped blue cube: 10.
        assert_eq!(said.objects.places, [4, 10]);
        let ball = [0, 1, 2, 0, 0, 0, 0];
        let cube = [1, 3, 0, 2, 0, 1, 2];
        assert_eq!(said.objects.classes, [ball, cube].concat());
        assert_eq!(said.scenes.classes[0], 1, "left of");
        assert_eq!(said.scenes.places, [tokenizer().max_length() as i64 - 1]);
        assert!(said.letters.places.is_empty());
    }

    #[test]
    fn letters_are_asked_from_left_to_right() {
        let places = of_letters("AZ");
        assert_eq!(places[0][0], 1);
        assert_eq!(places[1][0], 26);
        assert_eq!(places[2][0], 0);
        assert!(places[0][1] < places[1][1]);
        let six = of_letters("ABCDEF");
        assert_eq!((six[0][1], six[5][1]), (0, 7));
    }
}
