//! A person's word on single images, from a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::table::{HumanRow, OutcomeRow, TableError, TextTable};

/// Columns that a file of overrides must have.
const NEEDED: [&str; 3] = ["item", "seed", "holds"];

/// Why a file of overrides cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HumanError {
    /// It cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
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
    let table = TextTable::read_csv(path)?;
    if let Some(missing) = NEEDED.into_iter().find(|name| !table.has(name)) {
        return Err(form(format!("there is no column {missing:?}")));
    }
    let mut found: BTreeMap<(String, String, u64), HumanRow> = BTreeMap::new();
    for row in 0..table.height() {
        // The header is line 1.
        let wrong = |what: String| form(format!("line {}: {what}", row + 2));
        let needed = |name| table.cell(row, name).ok_or_else(|| wrong(format!("no {name}")));
        let (item, seed, holds) = (needed("item")?, needed("seed")?, needed("holds")?);
        let seed: u64 = seed.parse().map_err(|_| wrong(format!("seed is {seed:?}")))?;
        let human_holds = yes_or_no(holds).ok_or_else(|| wrong(format!("holds is {holds:?}")))?;
        let suite = table.cell(row, "suite");
        let of_line = |outcome: &&OutcomeRow| {
            outcome.item == item
                && outcome.seed == seed
                && suite.is_none_or(|suite| suite == outcome.suite)
        };
        let mut images = outcomes.iter().filter(of_line);
        let (Some(image), None) = (images.next(), images.next()) else {
            let (path, item) = (path.to_owned(), item.to_owned());
            return Err(HumanError::NoImage { path, item, seed });
        };
        let human = HumanRow {
            suite: image.suite.clone(),
            item: item.to_owned(),
            seed,
            judge: image.judge.clone(),
            judge_holds: image.holds,
            human_holds,
            note: table.cell(row, "note").unwrap_or_default().to_owned(),
        };
        if found.insert((image.suite.clone(), item.to_owned(), seed), human).is_some() {
            let (path, item) = (path.to_owned(), item.to_owned());
            return Err(HumanError::Twice { path, item, seed });
        }
    }
    Ok(found.into_values().collect())
}

fn yes_or_no(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}
