//! Images of the same item and seed in two runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::outcomes::Outcome;
use super::scores::PairedScores;
use super::{CompareError, OVERALL, Side};
use crate::measure::{PairedOutcomes, Undefined};
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

impl Label {
    pub fn measure(&self, source: Undefined) -> CompareError {
        CompareError::Measure { category: self.category.to_string(), source }
    }
}

/// One image in both runs, decided in both.
struct Pair<'a> {
    a: &'a Outcome,
    b: &'a Outcome,
    a_holds: bool,
    b_holds: bool,
    judge: Arc<str>,
}

/// One image in both runs, scored in both and decided in neither.
struct ScoredPair<'a> {
    a: &'a Outcome,
    scores: (f64, f64),
    judge: Arc<str>,
}

/// All images of two runs, paired.
pub(super) struct Pairing<'a> {
    pairs: Vec<Pair<'a>>,
    scored: Vec<ScoredPair<'a>>,
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
        let (mut pairs, mut scored) = (Vec::new(), Vec::new());
        let (mut only_in_a, mut undecided) = (0, 0);
        for outcome in &of_a.rows {
            let same = |other: &&Outcome| other.prompt == outcome.prompt;
            let key = key(outcome);
            let Some(other) = in_b.get(&key).copied().filter(same) else {
                only_in_a += 1;
                continue;
            };
            in_b.remove(&key);
            let mut judge = || judges.label(a, b, &outcome.judge, &other.judge);
            match (outcome.holds.zip(other.holds), outcome.score.zip(other.score)) {
                (Some((a_holds, b_holds)), _) => {
                    pairs.push(Pair { a: outcome, b: other, a_holds, b_holds, judge: judge() });
                }
                (None, Some(scores)) if outcome.holds.or(other.holds).is_none() => {
                    scored.push(ScoredPair { a: outcome, scores, judge: judge() });
                }
                _ => undecided += 1,
            }
        }
        if !scored.is_empty() {
            // A judge that decides some images could not decide the others, whatever it scores.
            let deciding: BTreeSet<Arc<str>> =
                pairs.iter().map(|pair: &Pair<'_>| Arc::clone(&pair.judge)).collect();
            let before = scored.len();
            scored.retain(|pair: &ScoredPair<'_>| !deciding.contains(&pair.judge));
            undecided += before - scored.len();
        }
        if pairs.is_empty() && scored.is_empty() {
            let (a, b) = (a.name.clone(), b.name.clone());
            return Err(CompareError::NothingInCommon { a, b });
        }
        Ok(Self { pairs, scored, only_in_a, only_in_b: in_b.len(), undecided })
    }

    /// The outcomes of each category, and of all where there are several; prompts are clusters.
    pub fn by_category(&self) -> Result<Vec<(Label, PairedOutcomes)>, CompareError> {
        let groups = grouped(&self.pairs, |pair| (pair.a, &pair.judge));
        let outcomes = |(label, pairs): (Label, Vec<&Pair<'a>>)| {
            let outcomes = pairs.iter().map(|pair| (&*pair.a.prompt, pair.a_holds, pair.b_holds));
            let outcomes = PairedOutcomes::new(outcomes).map_err(|source| label.measure(source))?;
            Ok((label, outcomes))
        };
        groups.into_iter().map(outcomes).collect()
    }

    /// Scores of each category, and of all where there are several.
    pub fn scores_by_category(&self) -> Vec<(Label, PairedScores<'a>)> {
        let scores = |(label, pairs): (Label, Vec<&ScoredPair<'a>>)| {
            let (a, b) = pairs.iter().map(|pair| pair.scores).unzip();
            let prompts = pairs.iter().map(|pair| &*pair.a.prompt).collect();
            (label, PairedScores { a, b, prompts })
        };
        let groups = grouped(&self.scored, |pair| (pair.a, &pair.judge));
        groups.into_iter().map(scores).collect()
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

/// Pairs by category, and all of a suite and judge together where they have several categories: of
/// a single one "overall" would be the same test twice.
fn grouped<'p, 'a: 'p, P>(
    pairs: &'p [P],
    of: impl Fn(&'p P) -> (&'a Outcome, &'p Arc<str>),
) -> BTreeMap<Label, Vec<&'p P>> {
    let mut groups: BTreeMap<Label, Vec<&P>> = BTreeMap::new();
    for pair in pairs {
        let (outcome, judge) = of(pair);
        for is_overall in [false, true] {
            let category = if is_overall { OVERALL.into() } else { Arc::clone(&outcome.category) };
            let (suite, judge) = (Arc::clone(&outcome.suite), Arc::clone(judge));
            groups.entry(Label { suite, judge, is_overall, category }).or_default().push(pair);
        }
    }
    let of = |label: &Label| (Arc::clone(&label.suite), Arc::clone(&label.judge));
    let mut categories: BTreeMap<(Arc<str>, Arc<str>), usize> = BTreeMap::new();
    for label in groups.keys().filter(|label| !label.is_overall) {
        *categories.entry(of(label)).or_default() += 1;
    }
    let several = |label: &Label| categories.get(&of(label)).is_some_and(|count| *count > 1);
    groups.retain(|label, _| !label.is_overall || several(label));
    groups
}

impl Pair<'_> {
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
