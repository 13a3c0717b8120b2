//! Images of the same item and seed in two runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::outcomes::Outcome;
use super::{CompareError, OVERALL, Side};
use crate::measure::PairedOutcomes;
use crate::table::ChangeOfOutcomeRow;

/// Which rows of a comparison belong together. All of a suite come after its categories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label {
    pub suite: Arc<str>,
    /// With its version; where they differ, with both.
    pub judge: Arc<str>,
    /// Whether it is for all categories.
    is_overall: bool,
    pub category: Arc<str>,
}

/// One image in both runs, decided in both.
struct Pair<'a> {
    a: &'a Outcome,
    b: &'a Outcome,
    a_holds: bool,
    b_holds: bool,
    judge: Arc<str>,
}

/// All images of two runs, paired.
pub(super) struct Pairing<'a> {
    pairs: Vec<Pair<'a>>,
    pub only_in_a: usize,
    pub only_in_b: usize,
    pub undecided: usize,
}

/// What makes two images a pair; suite and judge are empty where each run has but one, so that
/// runs pair that are allowed to differ in them.
type Key<'a> = (&'a str, &'a str, &'a str, u64);

impl<'a> Pairing<'a> {
    /// Pairs by suite, judge, item and seed; an item with another prompt is another item.
    pub fn of(a: &'a Side, b: &'a Side) -> Result<Self, CompareError> {
        let (of_a, of_b) = (&a.outcomes, &b.outcomes);
        let by_suite = !(of_a.has_one_suite() && of_b.has_one_suite());
        let by_judge = !(of_a.has_one_judge() && of_b.has_one_judge());
        let key = |outcome: &'a Outcome| -> Key<'a> {
            let suite = if by_suite { &*outcome.suite } else { "" };
            let judge = if by_judge { &*outcome.judge } else { "" };
            (suite, judge, &outcome.item, outcome.seed)
        };
        let mut in_b: HashMap<Key<'a>, &'a Outcome> =
            of_b.rows.iter().map(|outcome| (key(outcome), outcome)).collect();
        let mut judges = Judges::default();
        let mut pairs = Vec::new();
        let (mut only_in_a, mut undecided) = (0, 0);
        for outcome in &of_a.rows {
            let same = |other: &&Outcome| other.prompt == outcome.prompt;
            let key = key(outcome);
            let Some(other) = in_b.get(&key).copied().filter(same) else {
                only_in_a += 1;
                continue;
            };
            in_b.remove(&key);
            let (Some(a_holds), Some(b_holds)) = (outcome.holds, other.holds) else {
                undecided += 1;
                continue;
            };
            let judge = judges.label(a, b, &outcome.judge, &other.judge);
            pairs.push(Pair { a: outcome, b: other, a_holds, b_holds, judge });
        }
        if pairs.is_empty() {
            let (a, b) = (a.name.clone(), b.name.clone());
            return Err(CompareError::NothingInCommon { a, b });
        }
        Ok(Self { pairs, only_in_a, only_in_b: in_b.len(), undecided })
    }

    /// The outcomes of each category, and of all where there are several; prompts are clusters.
    pub fn by_category(&self) -> Result<Vec<(Label, PairedOutcomes)>, CompareError> {
        let mut groups: BTreeMap<Label, Vec<&Pair<'a>>> = BTreeMap::new();
        for pair in &self.pairs {
            groups.entry(pair.label(false)).or_default().push(pair);
            groups.entry(pair.label(true)).or_default().push(pair);
        }
        let counts: BTreeMap<(Arc<str>, Arc<str>), usize> =
            groups.keys().fold(BTreeMap::new(), |mut counts, label| {
                let of = (Arc::clone(&label.suite), Arc::clone(&label.judge));
                *counts.entry(of).or_default() += 1;
                counts
            });
        // Of a single category "overall" would be the same test twice.
        let told = |label: &Label| {
            let of = (Arc::clone(&label.suite), Arc::clone(&label.judge));
            !label.is_overall || counts.get(&of).is_some_and(|count| *count > 2)
        };
        let outcomes = |(label, pairs): (Label, Vec<&Pair<'a>>)| {
            let outcomes = pairs.iter().map(|pair| (&*pair.a.prompt, pair.a_holds, pair.b_holds));
            let category = || label.category.to_string();
            let outcomes = PairedOutcomes::new(outcomes)
                .map_err(|source| CompareError::Measure { category: category(), source })?;
            Ok((label, outcomes))
        };
        groups.into_iter().filter(|(label, _)| told(label)).map(outcomes).collect()
    }

    /// Images that changed: the broken first, by category, item and seed.
    pub fn changes(&self) -> Vec<ChangeOfOutcomeRow> {
        let changed = self.pairs.iter().filter(|pair| pair.a_holds != pair.b_holds);
        let mut rows: Vec<ChangeOfOutcomeRow> = changed.map(Pair::change).collect();
        let key = |row: &ChangeOfOutcomeRow| {
            (row.change.clone(), row.category.clone(), row.item.clone(), row.seed)
        };
        rows.sort_by_cached_key(key);
        rows
    }
}

impl Pair<'_> {
    fn label(&self, is_overall: bool) -> Label {
        Label {
            suite: Arc::clone(&self.a.suite),
            judge: Arc::clone(&self.judge),
            is_overall,
            category: if is_overall { OVERALL.into() } else { Arc::clone(&self.a.category) },
        }
    }

    fn change(&self) -> ChangeOfOutcomeRow {
        let (change, reason) =
            if self.a_holds { ("broken", &self.b.reason) } else { ("fixed", &self.a.reason) };
        ChangeOfOutcomeRow {
            change: change.to_owned(),
            suite: self.a.suite.to_string(),
            judge: self.judge.to_string(),
            category: self.a.category.to_string(),
            item: self.a.item.to_string(),
            prompt: self.a.prompt.to_string(),
            seed: self.a.seed,
            reason: reason.to_string(),
            image_a: self.a.image.as_deref().map(str::to_owned),
            image_b: self.b.image.as_deref().map(str::to_owned),
        }
    }
}

/// Labels of judges, made once for each pair of names.
#[derive(Default)]
struct Judges(BTreeMap<(Arc<str>, Arc<str>), Arc<str>>);

impl Judges {
    fn label(&mut self, a: &Side, b: &Side, of_a: &Arc<str>, of_b: &Arc<str>) -> Arc<str> {
        let names = (Arc::clone(of_a), Arc::clone(of_b));
        let made = self.0.entry(names).or_insert_with(|| {
            let (a, b) = (a.outcomes.judge_with_version(of_a), b.outcomes.judge_with_version(of_b));
            if a == b { a.into() } else { format!("{a} → {b}").into() }
        });
        Arc::clone(made)
    }
}
