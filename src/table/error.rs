use std::fmt;
use std::io;
use std::path::PathBuf;

use polars::prelude::PolarsError;
use thiserror::Error;

use super::{Kind, ValueRange};
use crate::run::RunError;

/// What can go wrong with a table; every message says what to do.
#[derive(Debug, Error)]
pub enum TableError {
    /// The columns or values are not as declared. All problems are listed.
    #[error("table {table} is not as declared:{}", listed(problems))]
    Mismatch {
        /// Name of the table.
        table: &'static str,
        /// Every problem found.
        problems: Vec<Problem>,
    },
    /// The file holds another table.
    #[error("{} holds table {found:?}, not {expected:?}; give the right file", path.display())]
    OtherTable {
        /// The file.
        path: PathBuf,
        /// The table asked for.
        expected: &'static str,
        /// The table in the file.
        found: String,
    },
    /// The file was written with another version of the table's declaration.
    #[error(
        "{} holds version {found} of table {table}, this denoscope reads version {known}; \
         use the denoscope that wrote it, or repeat the run", path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Name of the table.
        table: &'static str,
        /// Version in the file.
        found: String,
        /// Version declared here.
        known: u32,
    },
    /// There is no such table.
    #[error("there is no table {name:?}{}; the tables are {known}", did_you_mean(nearest.as_deref()))]
    UnknownTable {
        /// The name given.
        name: String,
        /// The most similar name.
        nearest: Option<String>,
        /// All names.
        known: String,
    },
    /// The file cannot be read as Parquet.
    #[error("cannot read {}: {source}; it is damaged or no Parquet file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What polars said.
        source: PolarsError,
    },
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] RunError),
    /// The output cannot be written.
    #[error("cannot write the table: {0}")]
    Output(#[from] io::Error),
    /// Polars refused an operation on a table that is as declared.
    #[error("cannot process the table: {0}")]
    Polars(#[from] PolarsError),
}

impl TableError {
    /// Whether the disk is full or cannot be written, so that the next table would fail as well.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Write(RunError::Io { .. }) | Self::Polars(PolarsError::IO { .. }))
    }

    /// The same, with rows counted from the start of a table of which a part was checked.
    pub(super) fn with_rows_from(mut self, first: usize) -> Self {
        if let Self::Mismatch { problems, .. } = &mut self {
            for problem in problems {
                if let Problem::Null { row, .. } | Problem::Value { row, .. } = problem {
                    *row += first;
                }
            }
        }
        self
    }
}

/// One way in which a table is not as declared.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// A declared column is not there.
    Missing {
        /// Its name.
        column: &'static str,
        /// Its type.
        kind: Kind,
        /// A column of the table with a similar name that is not declared.
        nearest: Option<String>,
    },
    /// A column is not declared.
    Extra {
        /// Its name.
        column: String,
        /// A declared column with a similar name.
        nearest: Option<String>,
    },
    /// A column has another type.
    Kind {
        /// Its name.
        column: &'static str,
        /// The declared type.
        expected: Kind,
        /// The type found, as polars names it.
        got: String,
    },
    /// A null where none is allowed.
    Null {
        /// Name of the column.
        column: &'static str,
        /// The first such row, from 0.
        row: usize,
    },
    /// A value that is NaN or out of range.
    Value {
        /// Name of the column.
        column: &'static str,
        /// The first such row, from 0.
        row: usize,
        /// The value.
        value: f64,
        /// The range declared.
        range: ValueRange,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { column, kind, nearest } => {
                write!(f, "column {column} ({kind}) is missing")?;
                match nearest {
                    Some(name) => write!(f, "; is {name:?} meant to be it?"),
                    None => Ok(()),
                }
            }
            Self::Extra { column, nearest } => {
                let hint = did_you_mean(nearest.as_deref());
                write!(f, "column {column:?} is not declared{hint}; rename or drop it")
            }
            Self::Kind { column, expected, got } => {
                write!(f, "column {column} should be {expected} and is {got}; convert it")
            }
            Self::Null { column, row } => {
                write!(f, "column {column} has no value in row {row}, where one is needed")
            }
            Self::Value { column, row, value, range } => {
                write!(f, "column {column} is {value} in row {row}; allowed: {range}")?;
                if value.is_nan() { f.write_str(", null for what does not exist") } else { Ok(()) }
            }
        }
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!("; did you mean {name:?}?"))
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  - {problem}")).collect()
}
