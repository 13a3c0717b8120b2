//! The spec of a sweep: a grid of options, as TOML.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;

use super::{Settings, SweepError, text_of};

/// The newest version of specs that is understood.
const VERSION: u32 = 1;

/// Items of a shard unless the spec says otherwise.
const SHARD: u32 = 100;

/// Items that run at once unless the spec says otherwise.
const BATCH: u32 = 8;

/// Options that a sweep decides itself, with what to do instead.
const DECIDED: [(&str, &str); 14] = [
    ("out", "give --out to probe sweep"),
    ("format", "results are tables"),
    ("count", "list seeds in [grid]"),
    ("prompts", "list `prompt` in [grid]"),
    ("raw", "whole tensors of all items would be one file; record numbers instead"),
    ("dry_run", "give --dry-run to probe sweep"),
    ("fresh", "another name begins a sweep anew"),
    ("images", "a sweep draws its images"),
    ("detections", "a sweep draws its images"),
    ("init_latents", "list seeds in [grid]"),
    ("batch", "write it beside `shard`, above [grid]"),
    ("image", "items are drawn from prompts and seeds"),
    ("invert", "items are drawn from prompts and seeds"),
    ("strength", "items are drawn from prompts and seeds"),
];

/// A sweep as it is written down.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Where it was read.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its name: lower-case letters, digits and dashes.
    pub name: String,
    /// The kind of probe that its items are runs of.
    pub of: String,
    /// Most items of a shard.
    pub shard: u32,
    /// Items that run at once.
    pub batch: u32,
    /// Every combination of these is run, by the names of options.
    pub grid: BTreeMap<String, Vec<Value>>,
    /// What is the same for all.
    pub options: toml::Table,
    /// How it runs on a cluster.
    pub slurm: Settings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: String,
    version: u32,
    name: String,
    of: String,
    shard: Option<u32>,
    batch: Option<u32>,
    grid: BTreeMap<String, Value>,
    #[serde(default)]
    options: toml::Table,
    #[serde(default)]
    slurm: Settings,
    // What the sweep is about, for people.
    #[serde(rename = "question")]
    _question: Option<String>,
    #[serde(rename = "reference")]
    _reference: Option<String>,
    #[serde(rename = "expect")]
    _expect: Option<String>,
}

impl Spec {
    /// Reads a spec and checks all that needs neither suites nor models.
    ///
    /// # Errors
    /// [`SweepError::Read`], [`SweepError::Toml`], [`SweepError::Grid`].
    pub fn read(path: &Path) -> Result<Self, SweepError> {
        let text = fs::read_to_string(path)
            .map_err(|source| SweepError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// As [`Spec::read`], of text that came from `path`.
    ///
    /// # Errors
    /// [`SweepError::Toml`], [`SweepError::Grid`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, SweepError> {
        let written: Written = toml::from_str(text).map_err(|source| SweepError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let wrong = |problem: String| Err(SweepError::grid(path, problem));
        if written.kind != "sweep" || written.version != VERSION {
            return wrong(format!("a sweep has kind = \"sweep\" and version = {VERSION}"));
        }
        let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-');
        if written.name.is_empty() || !written.name.chars().all(plain) {
            return wrong(format!(
                "name {:?} cannot name a folder; use lower-case letters, digits and dashes",
                written.name
            ));
        }
        let (shard, batch) = (written.shard.unwrap_or(SHARD), written.batch.unwrap_or(BATCH));
        if shard == 0 || batch == 0 {
            return wrong("`shard` and `batch` count items, from 1".to_owned());
        }
        let grid = axes(path, written.grid)?;
        let given = || grid.keys().chain(written.options.keys());
        if let Some((name, remedy)) =
            DECIDED.iter().find(|(name, _)| given().any(|given| given.replace('-', "_") == *name))
        {
            return wrong(format!("`{name}` is not for sweeps: {remedy}"));
        }
        if let Some(name) = grid.keys().find(|name| written.options.contains_key(*name)) {
            return wrong(format!(
                "`{name}` is in [grid] and in [options]; the grid varies it, so leave it out of \
                 [options]"
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            text: text.to_owned(),
            name: written.name,
            of: written.of,
            shard,
            batch,
            grid,
            options: written.options,
            slurm: written.slurm,
        })
    }
}

/// The lists of a grid, each of at least one value and of none twice.
fn axes(
    path: &Path,
    grid: BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Vec<Value>>, SweepError> {
    let mut axes = BTreeMap::new();
    for (name, value) in grid {
        let values = match value {
            Value::Array(values) => values,
            Value::Table(range) if name == "seed" => range_of_seeds(path, &range)?,
            one => vec![one],
        };
        if values.is_empty() {
            let problem = format!(
                "`{name}` in [grid] has no value, so there is nothing to run; list some, or leave \
                 it out"
            );
            return Err(SweepError::grid(path, problem));
        }
        // 3 and 3.0 are one value of an option.
        let mut texts = BTreeSet::new();
        if let Some(twice) = values.iter().find(|value| !texts.insert(text_of(value))) {
            let problem = format!("`{name}` in [grid] has {twice} twice; nothing may count twice");
            return Err(SweepError::grid(path, problem));
        }
        axes.insert(name, values);
    }
    Ok(axes)
}

/// `seed = { from = 0, count = 100 }`.
fn range_of_seeds(path: &Path, range: &toml::Table) -> Result<Vec<Value>, SweepError> {
    let number = |name: &str| range.get(name).and_then(Value::as_integer);
    let known = range.keys().all(|name| name == "from" || name == "count");
    match (number("from").unwrap_or(0), number("count")) {
        (from, Some(count @ 1..=10_000_000)) if known && from >= 0 => {
            Ok((from..from.saturating_add(count)).map(Value::Integer).collect())
        }
        _ => Err(SweepError::grid(
            path,
            "`seed` in [grid]: list seeds, or give { from = 0, count = 100 }",
        )),
    }
}
