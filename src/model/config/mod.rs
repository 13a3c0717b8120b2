//! The configs of a diffusers folder, as far as they decide the architecture.
//!
//! A field that changes the computation is either read or refused by name
//! (`check_neutral`): a checkpoint that opens computes what its config says.

mod clip;
mod index;
mod unet;
mod vae;

pub use clip::{ClipTextConfig, ClipVisionConfig};
pub use index::ModelIndex;
pub use unet::{ADDED_SIZES, AddedWidths, UnetConfig};
pub use vae::VaeConfig;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Fields of a config that are not read, by name.
pub type OtherFields = serde_json::Map<String, Value>;

/// A number for every block, or one number a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerBlock {
    /// The same everywhere.
    Same(i64),
    /// One a down block, highest resolution first.
    Each(Vec<i64>),
    /// Anything else, which no check lets pass.
    Unreadable(Value),
}

impl PerBlock {
    /// The number of down block `i`.
    pub fn of(&self, i: usize) -> i64 {
        match self {
            PerBlock::Same(n) => *n,
            PerBlock::Each(list) => list.get(i).or(list.last()).copied().unwrap_or_default(),
            PerBlock::Unreadable(_) => 0,
        }
    }

    /// Checks that there is a number from 1 to `most` for each of so many blocks.
    fn check(&self, field: &str, most: i64, blocks: usize) -> Result<(), ConfigError> {
        let numbers = match self {
            PerBlock::Same(n) => std::slice::from_ref(n),
            PerBlock::Each(list) if list.len() == blocks => list,
            PerBlock::Each(list) => {
                let each = format!("one number, or one for each of {blocks} blocks");
                return damaged(field, format!("{list:?}"), &each);
            }
            PerBlock::Unreadable(value) => {
                return unsupported(field, value, "one number, or one a block");
            }
        };
        numbers.iter().try_for_each(|&n| check_range(field, n, most))
    }
}

/// A config that asks for what is not built here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{field}` is {got}; this version reads {supported}: {remedy}")]
pub struct ConfigError {
    /// The field.
    pub field: String,
    /// Its value.
    pub got: String,
    /// What is supported.
    pub supported: String,
    /// What to do.
    pub remedy: &'static str,
}

/// A value that no public model has.
fn damaged(field: &str, got: impl ToString, supported: &str) -> Result<(), ConfigError> {
    let remedy = "the config may be damaged or edited, copy it again";
    Err(ConfigError {
        field: field.into(),
        got: got.to_string(),
        supported: supported.into(),
        remedy,
    })
}

/// A value that other models have.
fn unsupported(field: &str, got: impl ToString, supported: &str) -> Result<(), ConfigError> {
    let remedy = "choose a text-to-image checkpoint of Stable Diffusion 1, 2 or XL";
    Err(ConfigError {
        field: field.into(),
        got: got.to_string(),
        supported: supported.into(),
        remedy,
    })
}

/// The one value, besides absence and null, at which a field changes nothing.
#[derive(Clone, Copy, Debug)]
enum Neutral {
    Absent,
    Is(bool),
    Number(f64),
    Word(&'static str),
}

impl Neutral {
    /// Lists count as neutral where all they hold is.
    fn allows(self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Null) => true,
            (_, Value::Array(values)) => values.iter().all(|value| self.allows(value)),
            (Self::Is(neutral), Value::Bool(value)) => neutral == *value,
            (Self::Number(neutral), Value::Number(value)) => value.as_f64() == Some(neutral),
            (Self::Word(neutral), Value::String(value)) => neutral == value,
            _ => false,
        }
    }
}

/// Refuses the first field that is set to something that changes the computation.
fn check_neutral(
    fields: &OtherFields,
    neutral: &[(&str, Neutral, &str)],
) -> Result<(), ConfigError> {
    for (field, neutral, supported) in neutral {
        match fields.get(*field) {
            Some(value) if !neutral.allows(value) => return unsupported(field, value, supported),
            _ => {}
        }
    }
    Ok(())
}

/// Larger channel counts than any public model has; keeps a hostile config from asking for
/// all memory.
const MOST_CHANNELS: i64 = 16_384;
/// More layers, blocks or heads than any public model has.
const MOST_PARTS: i64 = 128;

fn check_range(field: &str, value: i64, most: i64) -> Result<(), ConfigError> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    damaged(field, value, &format!("1 to {most}"))
}

fn check_channels(
    field: &str,
    channels: &[i64],
    groups: i64,
    blocks: usize,
) -> Result<(), ConfigError> {
    check_range("norm_num_groups", groups, MOST_CHANNELS)?;
    if channels.is_empty() || channels.len() != blocks {
        let each = format!("one number for each of {blocks} blocks");
        return damaged(field, format!("{channels:?}"), &each);
    }
    for &c in channels {
        check_range(field, c, MOST_CHANNELS)?;
        if c % groups != 0 {
            return damaged(field, c, &format!("multiples of norm_num_groups ({groups})"));
        }
    }
    Ok(())
}

fn check_types(field: &str, types: &[String], supported: &[&str]) -> Result<(), ConfigError> {
    match types.iter().find(|t| !supported.contains(&t.as_str())) {
        Some(other) => unsupported(field, other, &supported.join(" and ")),
        None => Ok(()),
    }
}

/// Published files have null where they mean the default.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn one() -> i64 {
    1
}

fn two() -> i64 {
    2
}

fn thirty_two() -> i64 {
    32
}

fn yes() -> bool {
    true
}

fn default_eps() -> f64 {
    1e-5
}

fn silu() -> String {
    "silu".into()
}
