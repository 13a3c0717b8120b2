//! Where in the text encoder a compound forms: what can be read, layer by layer, from the state of
//! a noun and from that of the end token.

use ndarray::{Array2, ArrayView2, Axis};

use super::captions::{Captions, with_article};
use super::structure::{explained, of_singles};
use super::{SHUFFLED_LABELS, Said, Whose};
use crate::measure::Undefined;
use crate::measure::embedding::{cosine, unit_rows};
use crate::measure::linear::folds::DEFAULT_FOLDS;
use crate::measure::linear::{Folds, Ridge, indicators, largest, shuffled};
use crate::table::ClipRow;
use crate::world::{Colour, Relation, Shape};

/// Part of the table.
pub const LAYERS: &str = "layers";

/// Subject: the colour of a noun's own adjective, read from the noun.
pub const OWN_COLOUR: &str = "second noun: its colour";
/// Subject: the colour of the caption's first object, read from the second noun.
pub const OTHER_COLOUR: &str = "second noun: the other colour";
/// Subject: what comes later, which a causal encoder cannot know.
pub const LATER_COLOUR: &str = "first noun: the later colour";
/// Subject: the relation, read from the end token.
pub const RELATION: &str = "end token: the relation";
/// Subject: which colour the caption's first object has, read from the end token.
pub const FIRST_COLOUR: &str = "end token: the first colour";

/// A token of a caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The noun of this object, counted from 0.
    Noun(usize),
    /// The end token, whose state is pooled.
    End,
}

/// A state that is wanted: a text and a token of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The text.
    pub text: String,
    /// Which token.
    pub place: Place,
    /// The noun that stands there, if one does.
    pub noun: Option<&'static str>,
}

/// All states that are wanted, in the order in which [`rows`] takes them.
pub fn wanted(captions: &Captions) -> Vec<Wanted> {
    let mut all = Vec::new();
    for shape in Shape::ALL {
        let text = with_article(shape.name());
        all.push(Wanted { text, place: Place::Noun(0), noun: Some(shape.name()) });
    }
    for place in [Place::Noun(0), Place::End] {
        all.extend(captions.singles.iter().map(|single| Wanted {
            text: single.caption(),
            place,
            noun: (place != Place::End).then(|| single.shape.name()),
        }));
    }
    for place in [Place::Noun(0), Place::Noun(1), Place::End] {
        all.extend(captions.related.iter().map(|related| Wanted {
            text: related.caption(),
            place,
            noun: match place {
                Place::Noun(0) => Some(related.subject.shape.name()),
                Place::Noun(_) => Some(related.object.shape.name()),
                Place::End => None,
            },
        }));
    }
    all
}

/// The states of one layer, cut into groups.
struct States<'a> {
    bare: ArrayView2<'a, f64>,
    nouns: ArrayView2<'a, f64>,
    ends: ArrayView2<'a, f64>,
    first: ArrayView2<'a, f64>,
    second: ArrayView2<'a, f64>,
    related_ends: ArrayView2<'a, f64>,
}

impl<'a> States<'a> {
    fn cut(states: &'a Array2<f64>, captions: &Captions) -> Result<Self, Undefined> {
        let (singles, related) = (captions.singles.len(), captions.related.len());
        let expected = Shape::ALL.len() + 2 * singles + 3 * related;
        if states.nrows() != expected {
            return Err(Undefined::Length { expected, got: states.nrows() });
        }
        let (bare, rest) = states.view().split_at(Axis(0), Shape::ALL.len());
        let (nouns, rest) = rest.split_at(Axis(0), singles);
        let (ends, rest) = rest.split_at(Axis(0), singles);
        let (first, rest) = rest.split_at(Axis(0), related);
        let (second, related_ends) = rest.split_at(Axis(0), related);
        Ok(Self { bare, nouns, ends, first, second, related_ends })
    }
}

/// What is read from each layer; `states` [wanted, channels] are those of [`wanted`], `shuffle` is
/// the seed of the control.
///
/// # Errors
/// States that are no numbers, or not those that were wanted.
pub fn rows(
    captions: &Captions,
    (site, states): (&str, ArrayView2<'_, f32>),
    (whose, shuffle): (Whose<'_>, u64),
) -> Result<Vec<ClipRow>, Undefined> {
    let states = unit_rows(states)?;
    let states = States::cut(&states, captions)?;
    let mut rows = compound(captions, &states, (site, whose))?;
    if captions.related.len() < DEFAULT_FOLDS {
        return Ok(rows);
    }
    let colour = |c: Colour| Colour::ALL.iter().position(|&other| other == c).unwrap_or(0);
    let of = |pick: &dyn Fn(&super::captions::Related) -> usize| -> Vec<usize> {
        captions.related.iter().map(pick).collect()
    };
    let subject = of(&|r| colour(r.subject.colour));
    let object = of(&|r| colour(r.object.colour));
    let relation =
        of(&|r| Relation::ALL.iter().position(|&other| other == r.relation).unwrap_or(0));
    let colours = Colour::ALL.len();
    let read = [
        (OWN_COLOUR, states.second, &object, colours),
        (OTHER_COLOUR, states.second, &subject, colours),
        (LATER_COLOUR, states.first, &object, colours),
        (FIRST_COLOUR, states.related_ends, &subject, colours),
        (RELATION, states.related_ends, &relation, Relation::ALL.len()),
    ];
    for (name, states, labels, classes) in read {
        let said = Said {
            part: LAYERS,
            measure: "accuracy",
            subject: name,
            site: Some(site),
            chance: Some(1.0 / classes as f64),
            ..Said::default()
        };
        rows.extend(whose.mean_of(said, &right(states, labels)?));
        if whose.control.is_none() {
            let other = right(states, &shuffled(labels, shuffle))?;
            rows.extend(whose.as_control(SHUFFLED_LABELS).mean_of(said, &other));
        }
    }
    Ok(rows)
}

/// How far a noun's state moves from that without an adjective, and how much of noun and end token
/// is the sum of a colour and a shape.
fn compound(
    captions: &Captions,
    states: &States<'_>,
    (site, whose): (&str, Whose<'_>),
) -> Result<Vec<ClipRow>, Undefined> {
    let bare = |shape: Shape| Shape::ALL.iter().position(|&other| other == shape).unwrap_or(0);
    let cosines: Vec<f64> = captions
        .singles
        .iter()
        .zip(states.nouns.rows())
        .map(|(single, state)| cosine(state, states.bare.row(bare(single.shape))))
        .collect();
    let said = |subject, measure| Said {
        part: LAYERS,
        measure,
        subject,
        site: Some(site),
        ..Said::default()
    };
    let mut rows: Vec<ClipRow> = whose
        .mean_of(said("noun with and without colour", "cosine"), &cosines)
        .into_iter()
        .collect();
    let features = of_singles(&captions.singles)?;
    for (subject, states) in
        [("noun: colour + shape", states.nouns), ("end token: colour + shape", states.ends)]
    {
        let parts = explained(features.view(), states, true)?;
        rows.extend(whose.mean_of(said(subject, "r2"), &parts));
    }
    Ok(rows)
}

/// Of each caption whether a linear readout that has not seen it names the right class: ridge
/// regression of the classes' indicators.
fn right(states: ArrayView2<'_, f64>, labels: &[usize]) -> Result<Vec<f64>, Undefined> {
    let rows: Vec<usize> = (0..labels.len()).collect();
    let folds = Folds::grouped(&rows, DEFAULT_FOLDS, 0)?;
    let scores = Ridge { penalty: 1.0 }.held_out(states, indicators(labels)?.view(), &folds)?;
    let named = largest(scores.view());
    Ok(named.iter().zip(labels).map(|(a, b)| f64::from(u8::from(a == b))).collect())
}
