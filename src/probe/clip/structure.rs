//! What an embedding keeps of a caption beyond its words: is it the sum of its parts, and does the
//! order of words matter?

use ndarray::{Array2, ArrayView2};

use super::captions::{Captions, Change, Related, Single};
use super::{Embedded, SHUFFLED_CAPTIONS, Said, Whose};
use crate::measure::Undefined;
use crate::measure::embedding::{cosine, held_out_explained};
use crate::measure::linear::folds::DEFAULT_FOLDS;
use crate::measure::linear::{Folds, Ridge, shuffled};
use crate::table::{ClipOrderRow, ClipRow};
use crate::world::{Colour, Relation, Shape};

/// Part of the table: sums of parts.
pub const ADDITIVITY: &str = "additivity";
/// Part of the table: order of words.
pub const ORDER: &str = "order";

/// Subject: a caption of one object as the sum of a vector for its colour and one for its shape.
pub const COLOUR_AND_SHAPE: &str = "colour + shape";
/// Subject: a caption of two objects as the sum of vectors for its words, wherever they stand.
pub const WORDS: &str = "words, order unknown";
/// Subject: the same with a vector for each word in each place.
pub const WORDS_IN_PLACES: &str = "words in their places";

/// Small beside the number of captions: it only has to make the sums unique.
const PENALTY: Ridge = Ridge { penalty: 0.1 };

/// 1 for each of the values that is among those given.
fn one_hot<T: PartialEq>(all: &[T], given: &[T]) -> Vec<f64> {
    all.iter().map(|value| f64::from(u8::from(given.contains(value)))).collect()
}

fn matrix(rows: &[Vec<f64>]) -> Result<Array2<f64>, Undefined> {
    let columns = rows.first().map_or(0, Vec::len);
    Array2::from_shape_vec((rows.len(), columns), rows.concat()).map_err(|_| Undefined::Empty)
}

/// Colour and shape of each caption, as columns of 0 and 1.
pub(super) fn of_singles(singles: &[Single]) -> Result<Array2<f64>, Undefined> {
    let features = |single: &Single| {
        [one_hot(Colour::ALL, &[single.colour]), one_hot(Shape::ALL, &[single.shape])].concat()
    };
    matrix(&singles.iter().map(features).collect::<Vec<_>>())
}

fn of_words(related: &[Related]) -> Result<Array2<f64>, Undefined> {
    let features = |r: &Related| {
        let (a, b) = (r.subject, r.object);
        [
            one_hot(Colour::ALL, &[a.colour, b.colour]),
            one_hot(Shape::ALL, &[a.shape, b.shape]),
            one_hot(Relation::ALL, &[r.relation]),
        ]
        .concat()
    };
    matrix(&related.iter().map(features).collect::<Vec<_>>())
}

fn of_places(related: &[Related]) -> Result<Array2<f64>, Undefined> {
    let features = |r: &Related| {
        let (a, b) = (r.subject, r.object);
        [
            one_hot(Colour::ALL, &[a.colour]),
            one_hot(Colour::ALL, &[b.colour]),
            one_hot(Shape::ALL, &[a.shape]),
            one_hot(Shape::ALL, &[b.shape]),
            one_hot(Relation::ALL, &[r.relation]),
        ]
        .concat()
    };
    matrix(&related.iter().map(features).collect::<Vec<_>>())
}

/// R² of captions that the sum was not fitted to: each single caption from all others, captions of
/// two objects in folds.
pub(super) fn explained(
    features: ArrayView2<'_, f64>,
    vectors: ArrayView2<'_, f64>,
    each: bool,
) -> Result<Vec<f64>, Undefined> {
    let rows: Vec<usize> = (0..vectors.nrows()).collect();
    let folds = if each { Folds::known(rows)? } else { Folds::grouped(&rows, DEFAULT_FOLDS, 0)? };
    held_out_explained(features, vectors, (PENALTY, &folds))
}

/// How much of the embeddings is a sum of parts, beside captions with exchanged embeddings
/// (`shuffle` is their seed).
///
/// # Errors
/// A text that was not embedded; embeddings that are all the same.
pub fn additivity(
    embedded: &Embedded,
    captions: &Captions,
    (whose, shuffle): (Whose<'_>, u64),
) -> Result<Vec<ClipRow>, Undefined> {
    let singles: Vec<String> = captions.singles.iter().map(|s| s.caption()).collect();
    let related: Vec<String> = captions.related.iter().map(|r| r.caption()).collect();
    let mut rows = Vec::new();
    let mut whoses = vec![(whose, embedded.clone())];
    if whose.control.is_none() {
        let other = embedded.shuffled(&singles, shuffle).shuffled(&related, shuffle);
        whoses.push((whose.as_control(SHUFFLED_CAPTIONS), other));
    }
    for (whose, embedded) in whoses {
        let (of_singles, of_related) = (embedded.of_all(&singles)?, embedded.of_all(&related)?);
        let mut asked = vec![(
            COLOUR_AND_SHAPE,
            explained(self::of_singles(&captions.singles)?.view(), of_singles.view(), true)?,
        )];
        if related.len() >= DEFAULT_FOLDS {
            for (subject, features) in [
                (WORDS, of_words(&captions.related)?),
                (WORDS_IN_PLACES, of_places(&captions.related)?),
            ] {
                asked.push((subject, explained(features.view(), of_related.view(), false)?));
            }
        }
        for (subject, parts) in &asked {
            let said = Said {
                part: ADDITIVITY,
                measure: "r2",
                subject,
                chance: Some(0.0),
                ..Said::default()
            };
            rows.extend(whose.mean_of(said, parts));
        }
    }
    rows.extend(sums_of_words(embedded, captions, (whose, shuffle))?);
    Ok(rows)
}

/// Cosine of "a red ball" with "red" + "ball", the mean of all captions taken from both; beside the
/// sum of another caption's words.
fn sums_of_words(
    embedded: &Embedded,
    captions: &Captions,
    (whose, shuffle): (Whose<'_>, u64),
) -> Result<Vec<ClipRow>, Undefined> {
    let texts: Vec<String> = captions.singles.iter().map(|s| s.caption()).collect();
    let mut of_captions = embedded.of_all(&texts)?;
    let mut sums = of_captions.clone();
    for (mut row, single) in sums.rows_mut().into_iter().zip(&captions.singles) {
        let sum = &embedded.of(single.colour.name())? + &embedded.of(single.shape.name())?;
        row.assign(&sum);
    }
    for vectors in [&mut of_captions, &mut sums] {
        let mean = vectors.mean_axis(ndarray::Axis(0)).ok_or(Undefined::Empty)?;
        *vectors -= &mean;
    }
    let cosines = |order: &[usize]| -> Vec<f64> {
        let pairs = of_captions.rows().into_iter().zip(order);
        pairs.map(|(caption, &other)| cosine(caption, sums.row(other))).collect()
    };
    let said = Said {
        part: ADDITIVITY,
        measure: "cosine",
        subject: "sum of its words",
        chance: Some(0.0),
        ..Said::default()
    };
    let own: Vec<usize> = (0..texts.len()).collect();
    let mut rows: Vec<ClipRow> = whose.mean_of(said, &cosines(&own)).into_iter().collect();
    if whose.control.is_none() {
        let other = cosines(&shuffled(&own, shuffle));
        rows.extend(whose.as_control(SHUFFLED_CAPTIONS).mean_of(said, &other));
    }
    Ok(rows)
}

/// How far embeddings move with each change of a caption; and how often the one with exchanged
/// roles moves further than the same meaning told from the other object.
///
/// # Errors
/// A text that was not embedded.
pub fn order(
    embedded: &Embedded,
    related: &[Related],
    whose: Whose<'_>,
) -> Result<(Vec<ClipRow>, Vec<ClipOrderRow>), Undefined> {
    let mut all = Vec::new();
    for one in related {
        let caption = one.caption();
        for change in Change::ALL {
            let other = one.changed(change);
            let distance = 1.0 - cosine(embedded.of(&caption)?, embedded.of(&other)?);
            all.push(ClipOrderRow {
                run: whose.run.to_owned(),
                caption: caption.clone(),
                other,
                change: change.name().to_owned(),
                control: whose.control.map(str::to_owned),
                distance: distance.max(0.0),
            });
        }
    }
    let of_change = |change: Change| -> Vec<f64> {
        all.iter().filter(|row| row.change == change.name()).map(|row| row.distance).collect()
    };
    let mut rows: Vec<ClipRow> = Change::ALL
        .into_iter()
        .filter_map(|change| {
            let said = Said {
                part: ORDER,
                measure: "distance",
                subject: change.name(),
                ..Said::default()
            };
            whose.mean_of(said, &of_change(change))
        })
        .collect();
    let inverse = of_change(Change::Inverse);
    for change in [Change::Roles, Change::Colours] {
        let further: Vec<f64> =
            of_change(change).iter().zip(&inverse).map(|(a, b)| more(*a, *b)).collect();
        let subject = format!("{} further than inverse", change.name());
        let said = Said {
            part: ORDER,
            measure: "share",
            subject: &subject,
            chance: Some(0.5),
            ..Said::default()
        };
        rows.extend(whose.mean_of(said, &further));
    }
    Ok((rows, all))
}

/// 1 if the first is larger, ½ if they are the same but for the rounding of f32, else 0.
pub(super) fn more(a: f64, b: f64) -> f64 {
    const ROUNDING: f64 = 1e-6;
    match a - b {
        difference if difference.abs() <= ROUNDING => 0.5,
        difference if difference > 0.0 => 1.0,
        _ => 0.0,
    }
}
