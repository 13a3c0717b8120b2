//! A person's word on single images, from a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use polars::prelude::*;

use crate::table::{HumanRow, OutcomeRow};

/// Columns that a file of overrides must have.
const NEEDED: [&str; 3] = ["item", "seed", "holds"];

/// Why a file of overrides cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HumanError {
    /// It cannot be opened.
    #[error("{}: {source}; check the path", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no table with the columns needed.
    #[error(
        "{}: {problem}; it is CSV with the columns item, seed, holds (true or false) and, if you \
         like, suite and note", path.display()
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A line about an image that the run has not.
    #[error(
        "{}: item {item}, seed {seed} is no image of this run, or of several suites; check the \
         spelling, or name the suite in a column of its own", path.display()
    )]
    NoImage {
        /// The file.
        path: PathBuf,
        /// The item.
        item: String,
        /// The seed.
        seed: u64,
    },
    /// Two lines about one image.
    #[error("{}: item {item}, seed {seed} is there twice; keep one line", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The item.
        item: String,
        /// The seed.
        seed: u64,
    },
}

/// Reads a CSV file of overrides and finds the image of each line among the outcomes. The judge's
/// word is kept beside the person's.
///
/// # Errors
/// [`HumanError`].
pub fn read_overrides(path: &Path, outcomes: &[OutcomeRow]) -> Result<Vec<HumanRow>, HumanError> {
    let form = |problem: String| HumanError::Form { path: path.to_owned(), problem };
    let file =
        File::open(path).map_err(|source| HumanError::Open { path: path.to_owned(), source })?;
    // All columns as text, so that an item called 001 stays what it is.
    let table = CsvReadOptions::default()
        .with_infer_schema_length(Some(0))
        .into_reader_with_file_handle(file)
        .finish()
        .map_err(|error| form(error.to_string()))?;
    let has = |name: &str| table.get_column_index(name).is_some();
    if let Some(missing) = NEEDED.into_iter().find(|name| !has(name)) {
        return Err(form(format!("there is no column {missing:?}")));
    }
    let text = |name: &str, row: usize| -> Result<Option<String>, HumanError> {
        if !has(name) {
            return Ok(None);
        }
        let column = table.column(name).and_then(|column| column.str());
        let column = column.map_err(|error| form(error.to_string()))?;
        Ok(column.get(row).map(|text| text.trim().to_owned()))
    };
    let mut found: BTreeMap<(String, String, u64), HumanRow> = BTreeMap::new();
    for row in 0..table.height() {
        let needed = |name: &str| {
            text(name, row)?.ok_or_else(|| form(format!("line {}: no {name}", row + 2)))
        };
        let (item, seed, holds) = (needed("item")?, needed("seed")?, needed("holds")?);
        let seed: u64 =
            seed.parse().map_err(|_| form(format!("line {}: seed {seed:?}", row + 2)))?;
        let human_holds = match holds.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => true,
            "false" | "0" | "no" => false,
            other => return Err(form(format!("line {}: holds is {other:?}", row + 2))),
        };
        let suite = text("suite", row)?;
        let of_line = |outcome: &&OutcomeRow| {
            outcome.item == item
                && outcome.seed == seed
                && suite.as_ref().is_none_or(|suite| *suite == outcome.suite)
        };
        let mut images = outcomes.iter().filter(of_line);
        let (Some(image), None) = (images.next(), images.next()) else {
            return Err(HumanError::NoImage { path: path.to_owned(), item, seed });
        };
        let human = HumanRow {
            suite: image.suite.clone(),
            item: item.clone(),
            seed,
            judge: image.judge.clone(),
            judge_holds: image.holds,
            human_holds,
            note: text("note", row)?.unwrap_or_default(),
        };
        if found.insert((image.suite.clone(), item.clone(), seed), human).is_some() {
            return Err(HumanError::Twice { path: path.to_owned(), item, seed });
        }
    }
    Ok(found.into_values().collect())
}
