//! What the judge found, as rows.

use crate::judge;
use crate::table::{JudgementRow, SeenRow};
use crate::world::Finish;

/// The image that was judged.
#[derive(Clone, Copy, Debug)]
pub struct JudgedImage<'a> {
    /// Its place in the run.
    pub sample: u32,
    /// Its prompt.
    pub prompt: &'a str,
    /// Seed of its noise.
    pub seed: u64,
    /// What kind of prompt it is.
    pub category: &'a str,
}

/// One row per expectation of the image's prompt.
pub fn judgement_rows(image: JudgedImage<'_>, verdict: &judge::Verdict) -> Vec<JudgementRow> {
    let row = |a: &judge::AtomVerdict| JudgementRow {
        sample: image.sample,
        prompt: image.prompt.to_owned(),
        seed: image.seed,
        category: image.category.to_owned(),
        atom: a.atom.to_string(),
        kind: a.atom.kind().to_owned(),
        expected: a.expected.clone(),
        found: Some(a.found.clone()),
        holds: Some(a.holds),
        reason: a.reason.clone(),
        judge: judge::NAME.to_owned(),
        judge_version: judge::VERSION.to_string(),
    };
    verdict.atoms.iter().map(row).collect()
}

/// One row per object or word that the judge saw in image `sample`, `width` × `height` pixels.
pub fn seen_rows(
    sample: u32,
    (width, height): (u32, u32),
    verdict: &judge::Verdict,
) -> Vec<SeenRow> {
    let seen = &verdict.seen;
    let share = |at: u32, of: u32| (f64::from(at) / f64::from(of.max(1))).min(1.0);
    let row =
        |number: usize, what: String, bounds: (u32, u32, u32, u32), confidence: f32| SeenRow {
            sample,
            number: u32::try_from(number).unwrap_or(u32::MAX),
            what,
            stands_for: None,
            left: share(bounds.0, width),
            top: share(bounds.1, height),
            right: share(bounds.2, width),
            bottom: share(bounds.3, height),
            confidence: f64::from(confidence.clamp(0.0, 1.0)),
        };
    if let Some(word) = &seen.word {
        let sure = word.sure.iter().copied().fold(1.0, f32::min);
        return vec![row(0, word.text.clone(), word.bounds, sure)];
    }
    let objects = seen.objects.iter().enumerate().map(|(number, object)| {
        let finish = match object.finish {
            Finish::Plain => String::new(),
            other => format!("{} ", other.name()),
        };
        let what = format!("{} {finish}{}", object.colour.name(), object.shape.name());
        let row = row(number, what, object.bounds, object.confidence);
        SeenRow { stands_for: stands_for(number, verdict), ..row }
    });
    objects.collect()
}

/// The phrase that an object stands for, as the caption says it.
fn stands_for(object: usize, verdict: &judge::Verdict) -> Option<String> {
    let phrase = verdict.groups.iter().position(|group| group.contains(&object))?;
    let of_phrase = |a: &&judge::AtomVerdict| a.atom == judge::Atom::Object { phrase };
    verdict.atoms.iter().find(of_phrase).map(|a| a.expected.clone())
}
