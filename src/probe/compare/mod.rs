//! Two runs of one suite: what got better, what got worse, and what cannot be told.
//!
//! Images are paired by item and seed. Each category gets a difference with its interval, an
//! exact test with prompts as the independent units, Holm's correction over all categories, and
//! a [`Verdict`]. "Not significant" is never read as "the same": a category is equivalent only
//! where its interval lies within the margin, and else inconclusive, with what could have been
//! seen.

mod comparable;
mod error;
mod junit;
mod outcomes;
mod pairing;
mod report;
mod scores;
mod side;
pub mod stored;

use std::collections::{BTreeMap, BTreeSet};

use crate::measure::multiplicity::holm;
use crate::measure::{Bootstrap, PairedOutcomes};
use crate::table::{ChangeOfOutcomeRow, ComparisonRow};

pub(in crate::probe) use comparable::asked;
pub use comparable::{Aspect, Difference, differences, remarks};
pub use error::CompareError;
pub use junit::junit;
pub use outcomes::Outcomes;
pub use report::{ReportInput, difference_chart, facts, findings, report, summary, warnings};
pub use scores::ScoreGroup;
pub use side::{Side, free_place};

use pairing::{Label, Pairing};

/// Category of the row for all prompts of a suite.
pub const OVERALL: &str = "overall";
/// Power that a minimum detectable effect is stated for.
pub const POWER: f64 = 0.8;

/// How differences are judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// Level of the tests, for all categories together.
    pub significance: f64,
    /// Differences smaller than this, either way, do not matter; a share.
    pub margin: f64,
    /// Differences of mean scores smaller than this, either way, do not matter; in the judge's own
    /// scale, so that none is given by itself.
    pub score_margin: Option<f64>,
    /// Margins of single categories.
    pub margins: BTreeMap<String, f64>,
    /// What may differ between the runs.
    pub allowed: BTreeSet<Aspect>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            significance: 0.05,
            margin: 0.05,
            score_margin: None,
            margins: BTreeMap::new(),
            allowed: BTreeSet::new(),
        }
    }
}

/// What can be said of a category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Worse, and not by luck.
    Regressed,
    /// Better, and not by luck.
    Improved,
    /// Different by less than the margin, if at all.
    Equivalent,
    /// None of these can be said.
    Inconclusive,
}

impl Verdict {
    /// All there are.
    pub const ALL: [Self; 4] =
        [Self::Regressed, Self::Improved, Self::Equivalent, Self::Inconclusive];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Regressed => "regressed",
            Verdict::Improved => "improved",
            Verdict::Equivalent => "equivalent",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// A category compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its row of the table.
    pub row: ComparisonRow,
    /// Its verdict, which the row has in words.
    pub verdict: Verdict,
}

/// Two runs compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// All categories in the order of their names, the row for all last, suite by suite.
    pub groups: Vec<Group>,
    /// The same of what judges scored without deciding it.
    pub scores: Vec<ScoreGroup>,
    /// All images that changed, the broken first.
    pub changes: Vec<ChangeOfOutcomeRow>,
    /// Images of A without one of the same item, seed and prompt in B.
    pub only_in_a: usize,
    /// Images of B without one in A.
    pub only_in_b: usize,
    /// Pairs that the judge could not decide in one of the runs; they are left out.
    pub undecided: usize,
    /// Differences that had to be the same and were allowed.
    pub allowed: Vec<Difference>,
    /// What else differs: what, in A, in B.
    pub remarks: Vec<(&'static str, String, String)>,
}

impl Comparison {
    /// Whether any category has this verdict.
    pub fn any(&self, verdict: Verdict) -> bool {
        let verdicts = self.groups.iter().map(|group| group.verdict);
        verdicts.chain(self.scores.iter().map(|group| group.verdict)).any(|one| one == verdict)
    }
}

/// Compares two runs.
///
/// # Errors
/// [`CompareError::NotComparable`] with all that differs, [`CompareError::NothingInCommon`],
/// [`CompareError::UnknownCategory`], [`CompareError::Measure`].
pub fn compare(a: &Side, b: &Side, gate: &Gate) -> Result<Comparison, CompareError> {
    let (allowed, refused): (Vec<_>, Vec<_>) =
        differences(a, b).into_iter().partition(|d| gate.allowed.contains(&d.aspect));
    if !refused.is_empty() {
        let (a, b) = (a.name.clone(), b.name.clone());
        return Err(CompareError::NotComparable { a, b, differences: refused });
    }
    let pairing = Pairing::of(a, b)?;
    let compared = pairing.by_category()?;
    check_margins(gate, &compared)?;
    let scored = pairing.scores_by_category();
    let mut p: Vec<f64> = compared.iter().map(|(_, outcomes)| outcomes.flip_test()).collect();
    for (label, scores) in &scored {
        p.push(scores.flip_test().map_err(|source| label.measure(source))?);
    }
    let tests = p.len();
    let mut tested = p.iter().zip(holm(&p)).map(|(&p, p_holm)| Tested { p, p_holm, tests });
    let groups = compared
        .iter()
        .zip(tested.by_ref())
        .map(|((label, outcomes), tested)| group((a, b), label, outcomes, tested, gate))
        .collect::<Result<_, CompareError>>()?;
    let scores = scored
        .iter()
        .zip(tested)
        .map(|((label, scores), tested)| scores.group((a, b), label, tested, gate))
        .collect::<Result<_, CompareError>>()?;
    Ok(Comparison {
        groups,
        scores,
        changes: pairing.changes(),
        only_in_a: pairing.only_in_a,
        only_in_b: pairing.only_in_b,
        undecided: pairing.undecided,
        allowed,
        remarks: remarks(a, b),
    })
}

fn check_margins(gate: &Gate, compared: &[(Label, PairedOutcomes)]) -> Result<(), CompareError> {
    let known = || compared.iter().map(|(label, _)| &*label.category);
    match gate.margins.keys().find(|name| !known().any(|category| category == name.as_str())) {
        None => Ok(()),
        Some(name) => Err(CompareError::UnknownCategory {
            name: name.clone(),
            known: known().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", "),
        }),
    }
}

/// P-values of one category, and of how many tests it is one.
#[derive(Clone, Copy)]
pub(super) struct Tested {
    p: f64,
    p_holm: f64,
    tests: usize,
}

fn group(
    (a, b): (&Side, &Side),
    label: &Label,
    outcomes: &PairedOutcomes,
    tested: Tested,
    gate: &Gate,
) -> Result<Group, CompareError> {
    let measure = |source| label.measure(source);
    let margin = gate.margins.get(&*label.category).copied().unwrap_or(gate.margin);
    let settings = Bootstrap::default();
    let interval = outcomes.interval(&settings).map_err(measure)?;
    let equivalent = outcomes.is_within(margin, gate.significance, &settings).map_err(measure)?;
    // A change that matters to nobody is none, however sure it is.
    let verdict = match () {
        () if equivalent => Verdict::Equivalent,
        () if tested.p_holm > gate.significance => Verdict::Inconclusive,
        () if outcomes.difference() < 0.0 => Verdict::Regressed,
        () => Verdict::Improved,
    };
    // Holm's first and strictest level, so that what is stated holds whatever the others do.
    let strictest = gate.significance / tested.tests as f64;
    let row = ComparisonRow {
        run_a: a.name.clone(),
        run_b: b.name.clone(),
        suite: label.suite.to_string(),
        judge: label.judge.to_string(),
        category: label.category.to_string(),
        pairs: outcomes.pairs(),
        prompts: outcomes.clusters(),
        share_a: outcomes.share_a(),
        share_b: outcomes.share_b(),
        difference: outcomes.difference(),
        low: interval.low,
        high: interval.high,
        broken: outcomes.broken(),
        fixed: outcomes.fixed(),
        mcnemar_p: outcomes.mcnemar(),
        p: tested.p,
        p_holm: tested.p_holm,
        verdict: verdict.name().to_owned(),
        margin,
        minimum_detectable: outcomes.minimum_detectable(strictest, POWER),
    };
    Ok(Group { row, verdict })
}
