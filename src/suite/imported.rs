//! A published rule applied to the items of a suite by evidence from a file.

use super::{Expect, Item};
use crate::judge::imported::read::Evidence;
use crate::judge::imported::{PublishedRule, Ruling, compbench, geneval, visor};
use crate::table::{BenchmarkRow, OutcomeRow};

/// Tags of GenEval whose rule needs the colours of masks, which its `details` do not have.
const COLOUR_TAGS: [&str; 2] = ["colors", "color_attr"];

/// Why a rule cannot decide an item by what the file says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The suite asks nothing of this rule.
    #[error(
        "item {item:?} has no expectation for the rule {rule}; give it `expect.{wanted}`, or choose \
         another --rule"
    )]
    NoExpectation {
        /// The item.
        item: String,
        /// The rule.
        rule: &'static str,
        /// What the item would need.
        wanted: &'static str,
    },
    /// The file is of another benchmark.
    #[error(
        "image of item {item:?}: {found} does not serve the rule {rule}; give boxes as COCO JSON"
    )]
    Evidence {
        /// The item.
        item: String,
        /// The rule.
        rule: &'static str,
        /// What the file has.
        found: &'static str,
    },
    /// The file was made for other metadata.
    #[error(
        "item {item:?}: the detections were made for another prompt or version of it; use the \
         results that belong to this suite"
    )]
    OtherMetadata {
        /// The item.
        item: String,
    },
}

/// Whether a rule can decide an item at all.
///
/// # Errors
/// [`RuleError::NoExpectation`].
pub fn check(rule: PublishedRule, item: &Item) -> Result<(), RuleError> {
    let (fits, wanted) = match rule {
        PublishedRule::GenEval => (matches!(item.expect, Some(Expect::Geneval(_))), "geneval"),
        PublishedRule::Visor => (matches!(item.expect, Some(Expect::Visor(_))), "visor"),
        PublishedRule::CompBench => (
            matches!(item.expect, Some(Expect::Spatial(_) | Expect::Numeracy(_))),
            "spatial or expect.numeracy",
        ),
    };
    if fits {
        Ok(())
    } else {
        Err(RuleError::NoExpectation { item: item.id.clone(), rule: rule.name(), wanted })
    }
}

/// Applies the rule that an item's expectation is for.
///
/// # Errors
/// [`RuleError`].
pub fn rule(rule: PublishedRule, item: &Item, evidence: &Evidence) -> Result<Ruling, RuleError> {
    check(rule, item)?;
    let wrong = |found| RuleError::Evidence { item: item.id.clone(), rule: rule.name(), found };
    match (&item.expect, evidence) {
        (Some(Expect::Geneval(asked)), Evidence::Boxes(boxes)) => {
            Ok(geneval::judge(&geneval::keep(boxes, &asked.tag), asked))
        }
        (
            Some(Expect::Geneval(asked)),
            Evidence::GenEval { details, metadata, correct, reason },
        ) => {
            let same = (&asked.tag, &asked.include, &asked.exclude)
                == (&metadata.tag, &metadata.include, &metadata.exclude);
            if !same {
                return Err(RuleError::OtherMetadata { item: item.id.clone() });
            }
            if COLOUR_TAGS.contains(&asked.tag.as_str()) {
                return Ok(stated(asked, *correct, reason));
            }
            Ok(geneval::judge(&geneval::keep_as_they_are(details), asked))
        }
        (Some(Expect::Visor(asked)), Evidence::Boxes(boxes)) => {
            Ok(visor::look(boxes, asked).ruling(asked))
        }
        (Some(Expect::Visor(asked)), Evidence::Visor { classes, relation }) => {
            let there = |class: &String| classes.contains(class);
            let (subject, object) = (there(&asked.subject), there(&asked.object));
            Ok(visor::Shown { subject, object, relation: *relation }.ruling(asked))
        }
        (Some(Expect::Spatial(asked)), Evidence::Boxes(boxes)) => {
            Ok(compbench::spatial(boxes, asked))
        }
        (Some(Expect::Numeracy(asked)), Evidence::Boxes(boxes)) => {
            Ok(compbench::numeracy(boxes, asked))
        }
        (_, Evidence::GenEval { .. }) => Err(wrong("GenEval's results.jsonl")),
        (_, Evidence::Visor { .. }) => Err(wrong("VISOR's detection file")),
        (_, Evidence::Boxes(_)) => Err(wrong("a list of boxes")),
    }
}

/// The scores that the rule's benchmark is known by, from the outcomes of one suite; the undecided
/// are left out. `tag_of` gives the tag of an item, by which GenEval averages.
pub fn scores<'a>(
    rule: PublishedRule,
    outcomes: &'a [OutcomeRow],
    tag_of: impl Fn(&str) -> Option<&'a str>,
) -> Vec<BenchmarkRow> {
    let decided: Vec<(&OutcomeRow, bool)> =
        outcomes.iter().filter_map(|row| Some((row, row.holds?))).collect();
    let Some((first, _)) = decided.first() else { return Vec::new() };
    let row = |metric: String, images: usize, value: Option<f64>| BenchmarkRow {
        suite: first.suite.clone(),
        judge: rule.judge().to_owned(),
        metric,
        images: u32::try_from(images).unwrap_or(u32::MAX),
        value,
    };
    match rule {
        PublishedRule::GenEval => {
            let images = decided.iter().map(|(row, holds)| {
                (tag_of(&row.item).unwrap_or(&row.category), row.item.as_str(), *holds)
            });
            let Some(summary) = geneval::summarise(images) else { return Vec::new() };
            let all = summary.images;
            let tasks = summary.tasks.into_iter().map(|(tag, of, share)| row(tag, of, Some(share)));
            let mut rows: Vec<BenchmarkRow> = tasks.collect();
            rows.push(row("overall".to_owned(), all, Some(summary.overall)));
            rows.push(row("correct images".to_owned(), all, Some(summary.correct_images)));
            rows.push(row("correct prompts".to_owned(), all, Some(summary.correct_prompts)));
            rows
        }
        PublishedRule::Visor => {
            // A ruling holds subject and object each, and the relation only with both.
            let shown = |row: &OutcomeRow, holds| visor::Shown {
                subject: row.atoms_held >= 2,
                object: row.atoms_held >= 2,
                relation: holds,
            };
            let images = decided.iter().map(|(row, holds)| (&row.item, shown(row, *holds)));
            let Some(scores) = visor::score(images) else { return Vec::new() };
            let all = scores.images;
            let mut rows = vec![
                row("OA".to_owned(), all, Some(scores.object_accuracy)),
                row("VISOR uncond".to_owned(), all, Some(scores.unconditional)),
                row("VISOR cond".to_owned(), all, scores.conditional),
            ];
            let of_detected = scores.at_least_of_detected;
            for (at, share) in scores.at_least.into_iter().enumerate() {
                rows.push(row(format!("VISOR_{}", at + 1), all, Some(share)));
            }
            for at in 0..4 {
                let share = of_detected.map(|shares| shares[at]);
                rows.push(row(format!("VISOR_{} of prompts detected", at + 1), all, share));
            }
            rows
        }
        PublishedRule::CompBench => {
            let scores: Vec<f64> = decided.iter().filter_map(|(row, _)| row.score).collect();
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            vec![row("mean score".to_owned(), scores.len(), mean.is_finite().then_some(mean))]
        }
    }
}

/// What GenEval's script says itself, for colours that its file does not have.
fn stated(asked: &geneval::Metadata, correct: bool, reason: &str) -> Ruling {
    let count = u32::try_from(asked.include.len() + asked.exclude.len()).unwrap_or(u32::MAX);
    let reason = if reason.is_empty() { "not correct by its script" } else { reason };
    Ruling {
        holds: Some(correct),
        score: None,
        asked: count,
        held: if correct { count } else { 0 },
        reasons: if correct { Vec::new() } else { vec![reason.replace('\n', "; ")] },
    }
}
