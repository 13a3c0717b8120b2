//! The outcomes of one run, without what a comparison does not need.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::CompareError;
use crate::table::{OutcomeRow, flags, fractions, numbers, read_parquet_columns, texts};

/// Columns that a comparison needs.
const COLUMNS: [&str; 13] = [
    "suite",
    "suite_version",
    "suite_hash",
    "item",
    "category",
    "prompt",
    "seed",
    "judge",
    "judge_version",
    "holds",
    "score",
    "reason",
    "image",
];

/// One judged image. Texts that many rows share are held once.
#[derive(Clone, Debug)]
pub(in crate::probe) struct Outcome {
    pub suite: Arc<str>,
    pub item: Arc<str>,
    pub category: Arc<str>,
    pub prompt: Arc<str>,
    pub seed: u64,
    pub judge: Arc<str>,
    /// Null when the judge could not tell.
    pub holds: Option<bool>,
    /// Null where the judge gives none.
    pub score: Option<f64>,
    pub reason: Arc<str>,
    pub image: Option<Box<str>>,
}

/// All judged images of a run.
#[derive(Clone, Debug)]
pub struct Outcomes {
    pub(in crate::probe) rows: Vec<Outcome>,
    /// Name, version and digest of each suite.
    suites: BTreeSet<(String, u64, String)>,
    /// Name and version of each judge.
    judges: BTreeSet<(String, String)>,
}

impl Outcomes {
    /// Reads the table `outcome` of the run called `run`.
    pub(super) fn read(path: &Path, run: &str) -> Result<Self, CompareError> {
        // Straight from the columns: a row struct would take several times their memory.
        let frame = read_parquet_columns::<OutcomeRow>(path, &COLUMNS)?;
        let text = |name: &str| texts(&frame, name);
        let (mut suite, mut suite_hash) = (text("suite")?, text("suite_hash")?);
        let (mut judge, mut judge_version) = (text("judge")?, text("judge_version")?);
        let (mut item, mut category) = (text("item")?, text("category")?);
        let (mut prompt, mut reason) = (text("prompt")?, text("reason")?);
        let mut image = text("image")?;
        let mut suite_version = numbers(&frame, "suite_version")?;
        let mut seed = numbers(&frame, "seed")?;
        let mut holds = flags(&frame, "holds")?;
        let mut score = fractions(&frame, "score")?;
        let mut all = Self { rows: Vec::new(), suites: BTreeSet::new(), judges: BTreeSet::new() };
        let mut shared = Texts::default();
        let (mut last_suite, mut last_judge) = (None, None);
        all.rows.reserve_exact(frame.height());
        for _ in 0..frame.height() {
            // Checked: what may not be null is not.
            let version = suite_version.next().flatten().unwrap_or_default();
            let of_suite = (known(suite.next()), version, known(suite_hash.next()));
            let of_judge = (known(judge.next()), known(judge_version.next()));
            all.rows.push(Outcome {
                suite: shared.of(of_suite.0),
                item: shared.of(known(item.next())),
                category: shared.of(known(category.next())),
                prompt: shared.of(known(prompt.next())),
                seed: seed.next().flatten().unwrap_or_default(),
                judge: shared.of(of_judge.0),
                holds: holds.next().flatten(),
                score: score.next().flatten(),
                reason: shared.of(known(reason.next())),
                image: image.next().flatten().map(Box::from),
            });
            // There are few, and many rows.
            if last_suite.replace(of_suite) != Some(of_suite) {
                let (name, version, hash) = of_suite;
                all.suites.insert((name.to_owned(), version, hash.to_owned()));
            }
            if last_judge.replace(of_judge) != Some(of_judge) {
                all.judges.insert((of_judge.0.to_owned(), of_judge.1.to_owned()));
            }
        }
        all.check_unique(run)?;
        Ok(all)
    }

    fn check_unique(&self, run: &str) -> Result<(), CompareError> {
        let mut known = HashSet::with_capacity(self.rows.len());
        // Texts are held once, so their places tell them apart.
        let place = |text: &Arc<str>| Arc::as_ptr(text).cast::<u8>() as usize;
        let key = |o: &Outcome| (place(&o.suite), place(&o.item), o.seed, place(&o.judge));
        match self.rows.iter().find(|outcome| !known.insert(key(outcome))) {
            None => Ok(()),
            Some(twice) => Err(CompareError::Twice {
                run: run.to_owned(),
                item: twice.item.to_string(),
                seed: twice.seed,
                judge: twice.judge.to_string(),
            }),
        }
    }

    /// The suites in words: name, version, first digits of the digest.
    pub fn suites(&self) -> String {
        const DIGITS: usize = 8;
        let text = |(name, version, hash): &(String, u64, String)| {
            let digits: String = hash.chars().take(DIGITS).collect();
            format!("{name} version {version} ({digits})")
        };
        self.suites.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    /// The judges in words: name and version.
    pub fn judges(&self) -> String {
        let text = |(name, version): &(String, String)| format!("{name} {version}");
        self.judges.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    /// A judge with its version, or versions.
    pub(in crate::probe) fn judge_with_version(&self, name: &str) -> String {
        let of_name = self.judges.iter().filter(|(judge, _)| judge == name);
        let versions: Vec<&str> = of_name.map(|(_, version)| version.as_str()).collect();
        format!("{name} {}", versions.join(", "))
    }

    pub(super) fn has_one_suite(&self) -> bool {
        self.suites.iter().map(|(name, ..)| name).collect::<BTreeSet<_>>().len() == 1
    }

    pub(super) fn has_one_judge(&self) -> bool {
        self.judges.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len() == 1
    }
}

/// A text of a column that has no nulls.
fn known(cell: Option<Option<&str>>) -> &str {
    cell.flatten().unwrap_or_default()
}

/// Texts held once.
#[derive(Default)]
struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn of(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.0.insert(Arc::clone(&new));
        new
    }
}
