//! Suites: prompts with expectations that can be judged, as TOML.
//!
//! ```text
//! probes/suites/counting.toml ──Suite──▶ prompts × seeds ──▶ images ──judge──▶ outcome rows
//! ```
//!
//! A [`Suite`] is checked before anything is drawn ([`Suite::check`]) and known by the digest of
//! what it asks ([`Suite::hash`]). Who judges is [`judging`]; [`store`] keeps what is done of a
//! run until all of it is; [`gap`] turns outcomes into rates and into the gap between held-out
//! prompts and their seen twins.

mod check;
pub mod external;
mod file;
pub mod gap;
pub mod import;
pub mod imported;
pub mod judging;
pub mod ocr;
pub mod seen;
pub mod store;

pub use file::{SuiteError, built_in, built_in_names, open};

use serde::{Deserialize, Serialize};

use crate::judge::imported::{compbench, geneval, visor};
use crate::probe::outcome::SuiteIdentity;
use crate::run::digest_bytes;

/// Version of the form of suite files.
pub const FORM: u32 = 1;

/// A set of prompts with expectations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Form of the file: [`FORM`].
    pub form: u32,
    /// Its name: lower-case letters, digits and dashes.
    pub name: String,
    /// Raised with every change of what it asks.
    pub version: u32,
    /// What it measures, in a sentence or two.
    pub description: String,
    /// Where its prompts come from.
    pub source: String,
    /// Under which licence they are.
    pub licence: String,
    /// Seeds of each prompt's images, where an item has none of its own.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// The prompts.
    pub items: Vec<Item>,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Its name in the suite: letters, digits, dots and dashes. Images are named by it.
    pub id: String,
    /// The prompt.
    pub prompt: String,
    /// What it is counted under.
    pub category: String,
    /// How hard it is, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<u32>,
    /// Label that it shares with the prompts it is to be compared with: a held-out prompt and
    /// its seen twin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
    /// Whether training leaves out what it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<bool>,
    /// Seeds of its images, instead of the suite's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<u64>,
    /// What its images must show; without it, what the world's grammar reads in the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

impl Item {
    /// Whether the exact judge decides it: by the world's grammar, or by GenEval's rule where it
    /// asks for things of the world.
    pub fn is_seen(&self) -> bool {
        match &self.expect {
            None => true,
            Some(Expect::Geneval(asked)) => seen::is_of_the_world(asked),
            Some(_) => false,
        }
    }

    /// Options that let it be decided; a program may decide any item.
    pub fn decided_by(&self) -> &'static str {
        match &self.expect {
            _ if self.is_seen() => "--judge exact",
            None | Some(Expect::Words(_)) => "--judge-command PROGRAM",
            Some(Expect::Geneval(_)) => "--detections FILE --rule geneval",
            Some(Expect::Visor(_)) => "--detections FILE --rule visor",
            Some(Expect::Spatial(_) | Expect::Numeracy(_)) => "--detections FILE --rule compbench",
            Some(Expect::Text(_)) => "--judge ocr",
        }
    }
}

/// An expectation that the prompt's words do not give by themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Expect {
    /// For GenEval's rule: a line of its metadata.
    Geneval(geneval::Metadata),
    /// For VISOR's rule.
    Visor(visor::Asked),
    /// For T2I-CompBench's 2-D position.
    Spatial(compbench::Spatial),
    /// For T2I-CompBench's numeracy.
    Numeracy(Vec<compbench::Counted>),
    /// The letters that the image shows, for a reader of letters.
    Text(String),
    /// In words, for an external judge.
    Words(String),
}

impl Expect {
    /// Its name in suite files.
    pub fn kind(&self) -> &'static str {
        match self {
            Expect::Geneval(_) => "geneval",
            Expect::Visor(_) => "visor",
            Expect::Spatial(_) => "spatial",
            Expect::Numeracy(_) => "numeracy",
            Expect::Text(_) => "text",
            Expect::Words(_) => "words",
        }
    }
}

/// One image to be made and judged.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// Its identity, made once.
    pub identity: &'a SuiteIdentity,
    /// The prompt.
    pub item: &'a Item,
    /// Seed of the image's noise.
    pub seed: u64,
}

impl Job<'_> {
    /// Name of the image without extension: `<suite>/<item>_<seed>`.
    pub fn file_stem(&self) -> String {
        format!("{}/{}_{}", self.suite.name, self.item.id, self.seed)
    }

    /// What tells it apart from every other of a run.
    pub fn key(&self) -> store::Key {
        (self.identity.hash.clone(), self.item.id.clone(), self.seed)
    }
}

impl Suite {
    /// The seeds of a prompt.
    pub fn seeds_of<'a>(&'a self, item: &'a Item) -> &'a [u64] {
        if item.seeds.is_empty() { &self.seeds } else { &item.seeds }
    }

    /// How many images it asks for.
    pub fn images(&self) -> usize {
        self.items.iter().map(|item| self.seeds_of(item).len()).sum()
    }

    /// SHA-256 of what the suite asks in canonical form, 64 hexadecimal digits: name, version and
    /// of every item everything that is drawn, judged or grouped by. Layout, comments,
    /// description, source and licence do not count.
    pub fn hash(&self) -> String {
        let mut text = format!("form {FORM}\nname {}\nversion {}\n", self.name, self.version);
        for item in &self.items {
            let whole = Item { seeds: self.seeds_of(item).to_vec(), ..item.clone() };
            // Field order is the struct's, so the text is canonical.
            let line = serde_json::to_string(&whole).unwrap_or_default();
            text.push_str(&line);
            text.push('\n');
        }
        digest_bytes(text.as_bytes())
    }

    /// Name, version and digest, as tables have them.
    pub fn identity(&self) -> SuiteIdentity {
        SuiteIdentity { name: self.name.clone(), version: self.version, hash: self.hash() }
    }

    /// The images it asks for, prompt by prompt.
    pub fn jobs<'a>(&'a self, identity: &'a SuiteIdentity) -> impl Iterator<Item = Job<'a>> {
        self.items.iter().flat_map(move |item| {
            let seeds = self.seeds_of(item).iter();
            seeds.map(move |&seed| Job { suite: self, identity, item, seed })
        })
    }
}
