//! What a sweep runs: conditions, items, and the shards they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use toml::Value;

use super::{Asks, Spec, SweepError};
use crate::run::digest_bytes;
use crate::table::{SweepConditionRow, SweepItemRow, versions};
use crate::{judge, world};

/// Version of how items are expanded, hashed and stored.
const FORM: u32 = 1;

/// Hexadecimal digits of an item's key.
const KEY_DIGITS: usize = 16;

/// Hexadecimal digits of the sweep's hash in the name of its folder.
const SHORT_DIGITS: usize = 8;

/// Most items of a sweep.
const MOST_ITEMS: usize = 10_000_000;

/// What one item asks, whatever its condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Asked {
    /// The suite as the grid names it, or the category of the world's scenes.
    pub suite: Option<String>,
    /// The prompt's id in the suite.
    pub suite_item: Option<String>,
    /// The prompt.
    pub prompt: Option<String>,
    /// The prompt whose run is changed, where there are two.
    pub corrupted: Option<String>,
    /// Seed of its noise, or of its scene.
    pub seed: u64,
}

/// One item: something asked, under a condition.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its number in the sweep, from 0.
    pub number: u32,
    /// First digits of the SHA-256 of condition and question.
    pub key: String,
    /// What it asks.
    pub asked: Arc<Asked>,
}

/// One combination of the grid's options.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Its number, from 0.
    pub number: u32,
    /// What the grid gives it.
    pub values: BTreeMap<String, Value>,
    /// All its options: those and what is the same for all.
    pub options: toml::Table,
}

/// Items of one condition that are run, kept and resumed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub number: u32,
    /// Number of its condition.
    pub condition: u32,
    /// Numbers of its items.
    pub items: Range<u32>,
}

/// A sweep, expanded.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What was written down.
    pub spec: Spec,
    /// SHA-256 of all that is run, 64 hexadecimal digits.
    pub hash: String,
    /// The combinations of options.
    pub conditions: Vec<Condition>,
    /// Every item, by number.
    pub items: Vec<Item>,
    /// Every shard, by number.
    pub shards: Vec<Shard>,
}

impl Plan {
    /// Expands a spec whose items ask for `asks`. Items of a condition are numbered in the order
    /// of their keys, which are hashes: neither the order in which prompts or seeds are listed nor
    /// the machine has a part in it, and shards are alike.
    ///
    /// # Errors
    /// A grid that asks for nothing, for too much, or for what cannot be; a suite that cannot be
    /// opened.
    pub fn new(spec: Spec, asks: Asks) -> Result<Self, SweepError> {
        let at_least = asks.at_least(&spec);
        if at_least > MOST_ITEMS {
            let problem =
                format!("{at_least} items, and a sweep has at most {MOST_ITEMS}; divide the grid");
            return Err(SweepError::grid(&spec.path, problem));
        }
        let expanded = asks.expand(&spec)?;
        let conditions = conditions(&spec, asks);
        let count = conditions.len().saturating_mul(expanded.asked.len());
        if count == 0 || count > MOST_ITEMS {
            let problem = format!(
                "{} conditions of {} items are {count} items; a sweep has 1 to {MOST_ITEMS}, so {}",
                conditions.len(),
                expanded.asked.len(),
                if count == 0 { "list prompts and seeds" } else { "divide the grid" }
            );
            return Err(SweepError::grid(&spec.path, problem));
        }
        let asked: Vec<Arc<Asked>> = expanded.asked.into_iter().map(Arc::new).collect();
        let (mut items, mut shards) = (Vec::with_capacity(count), Vec::new());
        let mut digested = preamble(&spec, &expanded.identities)?;
        for condition in &conditions {
            let of_condition = keyed(&condition.options, &asked)?;
            let first = items.len() as u32;
            for (key, asked) in of_condition {
                digested.push_str(&key);
                items.push(Item { number: items.len() as u32, key, asked });
            }
            let last = items.len() as u32;
            for start in (first..last).step_by(spec.shard as usize) {
                let number = shards.len() as u32;
                let items = start..last.min(start.saturating_add(spec.shard));
                shards.push(Shard { number, condition: condition.number, items });
            }
        }
        let hash = digest_bytes(digested.as_bytes());
        Ok(Self { spec, hash, conditions, items, shards })
    }

    /// Name of its folder: `<name>-<first digits of its hash>`.
    pub fn folder_name(&self) -> String {
        format!("{}-{}", self.spec.name, self.short_hash())
    }

    /// First digits of its hash.
    pub fn short_hash(&self) -> &str {
        &self.hash[..SHORT_DIGITS]
    }

    /// The items of a shard.
    pub fn items_of(&self, shard: &Shard) -> &[Item] {
        &self.items[shard.items.start as usize..shard.items.end as usize]
    }

    /// The items of a shard as they run: at most so many at once, always the same ones together.
    pub fn batches_of(&self, shard: &Shard) -> impl Iterator<Item = &[Item]> {
        self.items_of(shard).chunks(self.spec.batch as usize)
    }

    /// The condition of a shard.
    pub fn condition_of(&self, shard: &Shard) -> &Condition {
        &self.conditions[shard.condition as usize]
    }

    /// The rows of the table of conditions.
    pub fn condition_rows(&self) -> Vec<SweepConditionRow> {
        let row = |condition: &Condition, (option, value): (&String, &Value)| SweepConditionRow {
            condition: condition.number,
            option: option.clone(),
            value: text_of(value),
        };
        let of = |condition| condition_values(condition).map(move |pair| row(condition, pair));
        self.conditions.iter().flat_map(of).collect()
    }

    /// The row of an item that gave `rows` rows and took `seconds`.
    pub fn item_row(&self, shard: &Shard, item: &Item, rows: u32, seconds: f64) -> SweepItemRow {
        let Asked { suite, suite_item, prompt, corrupted, seed } = item.asked.as_ref().clone();
        SweepItemRow {
            sample: item.number,
            key: item.key.clone(),
            condition: shard.condition,
            shard: shard.number,
            suite,
            suite_item,
            prompt,
            corrupted,
            seed,
            rows,
            seconds,
        }
    }
}

fn condition_values(condition: &Condition) -> impl Iterator<Item = (&String, &Value)> {
    condition.values.iter()
}

/// Every combination of the options that do not make items.
fn conditions(spec: &Spec, asks: Asks) -> Vec<Condition> {
    let mut combinations = vec![BTreeMap::new()];
    for (name, values) in spec.grid.iter().filter(|(name, _)| !asks.axes().contains(&name.as_str()))
    {
        combinations = combinations
            .into_iter()
            .flat_map(|fixed: BTreeMap<String, Value>| {
                values.iter().map(move |value| {
                    let mut more = fixed.clone();
                    more.insert(name.clone(), value.clone());
                    more
                })
            })
            .collect();
    }
    let condition = |(number, values): (u32, BTreeMap<String, Value>)| {
        let mut options = spec.options.clone();
        options.extend(values.clone());
        Condition { number, values, options }
    };
    (0..).zip(combinations).map(condition).collect()
}

/// The questions with their keys, in the order of these.
fn keyed(
    options: &toml::Table,
    asked: &[Arc<Asked>],
) -> Result<BTreeMap<String, Arc<Asked>>, SweepError> {
    let options = options.to_string();
    let mut keyed = BTreeMap::new();
    for asked in asked {
        // Field order is the struct's, so the text is canonical.
        let question = serde_json::to_string(asked.as_ref()).unwrap_or_default();
        let mut key = digest_bytes(format!("{options}\n{question}").as_bytes());
        key.truncate(KEY_DIGITS);
        keyed.insert(key, asked.clone());
    }
    Ok(keyed)
}

/// What the hash of a sweep is over, its items aside.
fn preamble(spec: &Spec, identities: &BTreeSet<String>) -> Result<String, SweepError> {
    let mut text = format!(
        "form {FORM}\nof {}\nname {}\nshard {}\nbatch {}\ndenoscope {}\nworld {}\njudge {} {}\n",
        spec.of,
        spec.name,
        spec.shard,
        spec.batch,
        env!("CARGO_PKG_VERSION"),
        world::VERSION,
        judge::NAME,
        judge::VERSION
    );
    for (table, version) in versions() {
        text += &format!("table {table} {version}\n");
    }
    for identity in identities {
        text += &format!("{identity}\n");
    }
    Ok(text)
}

/// A value as an option of a command line has it; the values of a list are between semicolons.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(x) => x.to_string(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(text_of).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}
