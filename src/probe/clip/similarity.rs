//! How alike the captions of single objects are, and whether "red ball" − "red" + "blue" leads to
//! "blue ball".

use ndarray::Array1;

use super::captions::Single;
use super::{Embedded, Said, Whose};
use crate::measure::Undefined;
use crate::measure::embedding::{cosine, nearest};
use crate::table::{ClipAnalogyRow, ClipRow, ClipSimilarityRow};
use crate::world::{Colour, Shape};

/// Part of the table: similarity.
pub const SIMILARITY: &str = "similarity";
/// Part of the table: analogies.
pub const ANALOGY: &str = "analogy";

/// The cosines of all pairs of captions, and their means by what the two have in common.
///
/// # Errors
/// A caption that was not embedded.
pub fn similarities(
    embedded: &Embedded,
    singles: &[Single],
    whose: Whose<'_>,
) -> Result<(Vec<ClipRow>, Vec<ClipSimilarityRow>), Undefined> {
    let mut all = Vec::new();
    let mut groups: [(&str, Vec<f64>, Vec<Single>); 3] =
        ["same colour", "same shape", "nothing in common"].map(|name| (name, vec![], vec![]));
    for a in singles {
        for b in singles {
            let (caption, other) = (a.caption(), b.caption());
            let cosine = cosine(embedded.of(&caption)?, embedded.of(&other)?);
            let group = match (a.colour == b.colour, a.shape == b.shape) {
                (true, true) => None,
                (true, false) => Some(0),
                (false, true) => Some(1),
                (false, false) => Some(2),
            };
            if let Some(group) = group {
                groups[group].1.push(cosine);
                groups[group].2.push(*a);
            }
            let (run, control) = (whose.run.to_owned(), whose.control.map(str::to_owned));
            all.push(ClipSimilarityRow { run, caption, other, control, cosine });
        }
    }
    let mean = |(subject, cosines, captions): &(&str, Vec<f64>, Vec<Single>)| {
        let said = Said { part: SIMILARITY, measure: "cosine", subject, ..Said::default() };
        whose.mean(said, cosines, captions)
    };
    Ok((groups.iter().filter_map(mean).collect(), all))
}

/// One analogy.
struct Asked {
    kind: &'static str,
    from: Single,
    minus: &'static str,
    plus: &'static str,
    to: Single,
}

fn asked(singles: &[Single]) -> Vec<Asked> {
    let mut all = Vec::new();
    for &from in singles {
        for &colour in Colour::ALL.iter().filter(|&&colour| colour != from.colour) {
            let (minus, plus) = (from.colour.name(), colour.name());
            all.push(Asked { kind: "colour", from, minus, plus, to: Single { colour, ..from } });
        }
        for &shape in Shape::ALL.iter().filter(|&&shape| shape != from.shape) {
            let (minus, plus) = (from.shape.name(), shape.name());
            all.push(Asked { kind: "shape", from, minus, plus, to: Single { shape, ..from } });
        }
    }
    all
}

/// All analogies by one word. The answer is the caption whose embedding has the largest cosine
/// with caption − word + other word, all of length 1, the caption itself left out (Mikolov et al.
/// 2013).
///
/// # Errors
/// A text that was not embedded.
pub fn analogies(
    embedded: &Embedded,
    singles: &[Single],
    whose: Whose<'_>,
) -> Result<(Vec<ClipRow>, Vec<ClipAnalogyRow>), Undefined> {
    let captions: Vec<String> = singles.iter().map(|single| single.caption()).collect();
    let candidates = embedded.of_all(&captions)?;
    let chance = Some(1.0 / captions.len().saturating_sub(1).max(1) as f64);
    let mut rows = Vec::new();
    for one in asked(singles) {
        let caption = one.from.caption();
        let sought: Array1<f64> =
            &(&embedded.of(&caption)? - &embedded.of(one.minus)?) + &embedded.of(one.plus)?;
        let own: Vec<usize> = (0..captions.len()).filter(|&i| captions[i] == caption).collect();
        let found = nearest(candidates.dot(&sought).view(), &own).ok_or(Undefined::Empty)?;
        let (expected, nearest) = (one.to.caption(), captions[found].clone());
        rows.push(ClipAnalogyRow {
            run: whose.run.to_owned(),
            kind: one.kind.to_owned(),
            caption,
            minus: one.minus.to_owned(),
            plus: one.plus.to_owned(),
            right: nearest == expected,
            expected,
            nearest,
            control: whose.control.map(str::to_owned),
        });
    }
    let accuracy = |kind: &'static str| {
        let of_kind: Vec<&ClipAnalogyRow> = rows.iter().filter(|row| row.kind == kind).collect();
        let right: Vec<f64> = of_kind.iter().map(|row| f64::from(u8::from(row.right))).collect();
        let captions: Vec<&str> = of_kind.iter().map(|row| row.caption.as_str()).collect();
        let said =
            Said { part: ANALOGY, measure: "accuracy", subject: kind, chance, ..Said::default() };
        whose.mean(said, &right, &captions)
    };
    Ok((["colour", "shape"].into_iter().filter_map(accuracy).collect(), rows))
}
