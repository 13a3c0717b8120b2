use std::path::PathBuf;

use thiserror::Error;

use super::Difference;
use crate::measure::Undefined;
use crate::run::RunError;
use crate::table::TableError;

/// What can go wrong when runs are compared; every message says what to do.
#[derive(Debug, Error)]
pub enum CompareError {
    /// The run folder cannot be read, or the baseline not written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The table of outcomes cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A name that is neither a run folder nor a baseline.
    #[error(
        "{name:?} is no run folder and no baseline in {}; {}", baselines.display(),
        known(baseline_names, nearest.as_deref())
    )]
    Unknown {
        /// What was given.
        name: String,
        /// The folder of baselines.
        baselines: PathBuf,
        /// The baselines there are.
        baseline_names: Vec<String>,
        /// The most similar of them.
        nearest: Option<String>,
    },
    /// A run that judged nothing.
    #[error(
        "{} has no table `outcome`: it is a run of `probe {probe}`; give a run of probe failures, \
         and repeat it if it was made before there was such a table", path.display()
    )]
    NoOutcomes {
        /// The run folder.
        path: PathBuf,
        /// The probe that made it.
        probe: String,
    },
    /// A row that would count twice.
    #[error(
        "{run} has two outcomes for item {item:?}, seed {seed}, judge {judge:?}; remove one, since \
         nothing may count twice"
    )]
    Twice {
        /// The run's name.
        run: String,
        /// The item.
        item: String,
        /// The seed.
        seed: u64,
        /// The judge.
        judge: String,
    },
    /// The runs differ in what must be the same.
    #[error("{a} and {b} are not comparable:{}\n{}", listed(differences), allow(differences))]
    NotComparable {
        /// Name of run A.
        a: String,
        /// Name of run B.
        b: String,
        /// All that differs and is not allowed to.
        differences: Vec<Difference>,
    },
    /// There is nothing to pair.
    #[error(
        "{a} and {b} have no judged image of the same prompt and seed in common; make B with the \
         suite and the seeds of A"
    )]
    NothingInCommon {
        /// Name of run A.
        a: String,
        /// Name of run B.
        b: String,
    },
    /// A margin for a category that was not compared.
    #[error("there is no category {name:?} to have a margin; the categories are {known}")]
    UnknownCategory {
        /// The name given.
        name: String,
        /// All names.
        known: String,
    },
    /// A baseline's name that could lead out of the folder of baselines.
    #[error(
        "{name:?} cannot name a baseline; use letters, digits, dots, dashes and underscores, and \
         no dot in front"
    )]
    BaselineName {
        /// The name given.
        name: String,
    },
    /// The baseline is there already.
    #[error(
        "baseline {name:?} is there already ({}); give another name, or --replace-baseline",
        path.display()
    )]
    BaselineExists {
        /// Its name.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
    /// A statistic that does not exist.
    #[error("category {category}: {source}")]
    Measure {
        /// The category.
        category: String,
        /// Why.
        source: Undefined,
    },
}

fn known(names: &[String], nearest: Option<&str>) -> String {
    match (nearest, names) {
        (Some(name), _) => format!("did you mean {name:?}?"),
        (None, []) => "there are no baselines yet, save one with --save-baseline NAME".to_owned(),
        (None, names) => format!("the baselines are {}", names.join(", ")),
    }
}

fn listed(differences: &[Difference]) -> String {
    let line = |d: &Difference| format!("\n  - {}: {} in A, {} in B", d.what, d.a, d.b);
    differences.iter().map(line).collect()
}

fn allow(differences: &[Difference]) -> String {
    let mut aspects: Vec<&str> = differences.iter().map(|d| d.aspect.name()).collect();
    aspects.dedup();
    format!("to compare them all the same, give --allow-different {}", aspects.join(","))
}
