//! The outcomes of one run, without what a comparison does not need.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::CompareError;
use crate::table::{OutcomeRow, read_parquet, rows};

/// Rows turned into structs at once: a struct takes several times the memory of its columns.
const CHUNK_ROWS: usize = 1 << 16;

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
    pub reason: Arc<str>,
    pub image: Option<Box<str>>,
}

/// All judged images of a run.
#[derive(Clone, Debug)]
pub struct Outcomes {
    pub(in crate::probe) rows: Vec<Outcome>,
    /// Name, version and digest of each suite.
    suites: BTreeSet<(String, u32, String)>,
    /// Name and version of each judge.
    judges: BTreeSet<(String, String)>,
}

impl Outcomes {
    /// Reads the table `outcome` of the run called `run`.
    pub(super) fn read(path: &Path, run: &str) -> Result<Self, CompareError> {
        let frame = read_parquet::<OutcomeRow>(path)?;
        let mut all = Self { rows: Vec::new(), suites: BTreeSet::new(), judges: BTreeSet::new() };
        let mut texts = Texts::default();
        for from in (0..frame.height()).step_by(CHUNK_ROWS) {
            let chunk = frame.slice(i64::try_from(from).unwrap_or(i64::MAX), CHUNK_ROWS);
            for row in rows::<OutcomeRow>(&chunk)? {
                all.add(row, &mut texts);
            }
        }
        all.check_unique(run)?;
        Ok(all)
    }

    fn add(&mut self, row: OutcomeRow, texts: &mut Texts) {
        self.rows.push(Outcome {
            suite: texts.shared(&row.suite),
            item: texts.shared(&row.item),
            category: texts.shared(&row.category),
            prompt: texts.shared(&row.prompt),
            seed: row.seed,
            judge: texts.shared(&row.judge),
            holds: row.holds,
            reason: texts.shared(&row.reason),
            image: row.image.map(String::into_boxed_str),
        });
        // Looked up before they are copied: there are few, and many rows.
        let suite = (row.suite, row.suite_version, row.suite_hash);
        if !self.suites.contains(&suite) {
            self.suites.insert(suite);
        }
        let judge = (row.judge, row.judge_version);
        if !self.judges.contains(&judge) {
            self.judges.insert(judge);
        }
    }

    fn check_unique(&self, run: &str) -> Result<(), CompareError> {
        let mut known = HashSet::with_capacity(self.rows.len());
        let key =
            |o: &Outcome| (Arc::clone(&o.suite), Arc::clone(&o.item), o.seed, Arc::clone(&o.judge));
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
        let text = |(name, version, hash): &(String, u32, String)| {
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

/// Texts held once.
#[derive(Default)]
struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.0.insert(Arc::clone(&new));
        new
    }
}
