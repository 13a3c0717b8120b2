//! What is wrong with a suite, before anything is drawn.

use std::collections::{BTreeMap, BTreeSet};

use super::{Expect, FORM, Item, Suite};
use crate::world;

/// Highest difficulty.
const HARDEST: u32 = 10;
/// Longest prompt in bytes; no text encoder reads more.
const LONGEST_PROMPT: usize = 10_000;

impl Suite {
    /// Everything that is wrong with it, each with what to do; empty where it is fine.
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.form != FORM {
            wrong.push(format!("form is {}; this version reads form {FORM}", self.form));
        }
        if !is_name(&self.name) || self.name != self.name.to_ascii_lowercase() {
            wrong.push(format!(
                "name {:?} cannot name a suite; use lower-case letters, digits and dashes",
                self.name
            ));
        }
        if self.version == 0 {
            wrong.push("version is 0; versions begin with 1".to_owned());
        }
        for (field, text) in [("source", &self.source), ("licence", &self.licence)] {
            if text.trim().is_empty() {
                wrong.push(format!("{field} is empty; say whose prompts these are"));
            }
        }
        if self.items.is_empty() {
            wrong.push("it has no items; add at least one [[items]]".to_owned());
        }
        let mut ids = BTreeSet::new();
        for item in &self.items {
            if !ids.insert(item.id.as_str()) {
                wrong
                    .push(format!("item {:?} is there twice; give every item its own id", item.id));
            }
            wrong.extend(
                self.check_item(item).into_iter().map(|w| format!("item {:?}: {w}", item.id)),
            );
        }
        wrong.extend(self.check_twins());
        wrong
    }

    fn check_item(&self, item: &Item) -> Vec<String> {
        let mut wrong = Vec::new();
        if !is_name(&item.id) {
            wrong
                .push("its id cannot name a file; use letters, digits, dots and dashes".to_owned());
        }
        if item.prompt.trim().is_empty() || item.prompt.len() > LONGEST_PROMPT {
            wrong.push("its prompt is empty or longer than 10,000 bytes".to_owned());
        }
        if item.category.trim().is_empty() {
            wrong.push("its category is empty; say what it is counted under".to_owned());
        }
        if item.difficulty.is_some_and(|d| !(1..=HARDEST).contains(&d)) {
            wrong.push(format!("its difficulty is not within 1 and {HARDEST}"));
        }
        let seeds = self.seeds_of(item);
        let once: BTreeSet<u64> = seeds.iter().copied().collect();
        if seeds.is_empty() {
            wrong.push("it has no seeds; give the suite or the item `seeds = [0, 1, 2, 3]`".into());
        } else if once.len() < seeds.len() {
            wrong.push("a seed is there twice; the same image would be counted twice".to_owned());
        }
        wrong.extend(undecidable(item));
        wrong
    }

    /// A label must join what can be compared: at least one held-out prompt and one seen.
    fn check_twins(&self) -> Vec<String> {
        let mut twins: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for item in &self.items {
            if let Some(label) = item.twin.as_deref() {
                let counts = twins.entry(label).or_default();
                match item.held_out {
                    Some(true) => counts.1 += 1,
                    Some(false) | None => counts.0 += 1,
                }
            }
        }
        let lonely = |(label, (seen, held_out)): (&str, (usize, usize))| {
            (seen + held_out < 2 || (held_out > 0 && seen == 0)).then(|| {
                format!("twin {label:?} has no seen prompt beside another; give both the label")
            })
        };
        twins.into_iter().filter_map(lonely).collect()
    }
}

/// Why no judge can decide an item; `None` if one can.
fn undecidable(item: &Item) -> Option<String> {
    match &item.expect {
        None => world::parse(&item.prompt).err().map(|error| {
            format!(
                "the exact judge cannot decide it ({error}); use words of the world's grammar, or \
                 give it `expect` for another judge"
            )
        }),
        Some(Expect::Geneval(metadata)) => {
            metadata.check().err().map(|error| format!("GenEval's rule cannot decide it: {error}"))
        }
        Some(Expect::Numeracy(asked)) if asked.is_empty() || asked.iter().any(|a| a.count == 0) => {
            Some("numeracy asks for nothing; name objects with counts from 1".to_owned())
        }
        Some(Expect::Text(text)) if text.trim().is_empty() => {
            Some("its text is empty; say which letters the image must show".to_owned())
        }
        Some(Expect::Words(words)) if words.trim().is_empty() => {
            Some("its expectation is empty; say in words what the image must show".to_owned())
        }
        Some(_) => None,
    }
}

/// Whether a text can be part of a file's name on every system.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    !text.is_empty() && text.len() <= 100 && text.chars().all(plain) && !text.starts_with('.')
}
