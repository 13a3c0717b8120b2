//! What a sweep's items can be runs of.

#[cfg(feature = "torch")]
mod failures;
#[cfg(feature = "torch")]
mod models;
#[cfg(feature = "torch")]
mod patch;
#[cfg(feature = "torch")]
mod sampling;
#[cfg(feature = "torch")]
mod timesteps;
#[cfg(feature = "torch")]
mod trace;
mod world;

use std::path::PathBuf;

use anyhow::{Result, bail};

#[cfg(feature = "torch")]
use crate::cli::{Cli, Command, spec};
use crate::run::Manifest;
use crate::sweep::{Asks, Condition, Folder, Item, Plan, Spec, SweepError};
use crate::table::Tables;
#[cfg(feature = "torch")]
use models::Models;

/// Without libtorch there are no models to hold.
#[cfg(not(feature = "torch"))]
#[derive(Default)]
pub(super) struct Models;

/// One kind of probe. To add one: a file with its `KIND` and its [`Work`], and a line in [`KINDS`].
pub(super) struct Kind {
    /// As `of` in a spec has it, and the command whose options it takes.
    pub name: &'static str,
    /// What its items ask.
    pub asks: Asks,
    /// Whether items never run at once, whatever the spec says: each is then a batch, after which a
    /// run can be stopped.
    pub one_by_one: bool,
    /// Checks a condition's options without opening a model.
    pub check: fn(&Plan, &Condition) -> Result<()>,
    /// Opens what runs the items of a condition.
    pub open: fn(&Plan, &Condition, &mut Models) -> Result<Box<dyn Work>>,
}

/// Every kind there is.
const KINDS: &[Kind] = &[
    #[cfg(feature = "torch")]
    failures::KIND,
    #[cfg(feature = "torch")]
    trace::KIND,
    #[cfg(feature = "torch")]
    patch::KIND,
    #[cfg(feature = "torch")]
    timesteps::KIND,
    world::KIND,
];

/// What runs the items of one condition.
pub(super) trait Work {
    /// Checks as much of these items as can be known before they run.
    fn check(&self, items: &[Item]) -> Result<()>;

    /// Runs items, all at once where the kind can.
    fn run(&mut self, items: &[Item], place: &Place<'_>) -> Result<Given>;

    /// What the manifests of its shards say of how it ran.
    fn manifest(&self) -> Manifest;
}

/// Where results belong.
#[cfg_attr(not(feature = "torch"), expect(dead_code, reason = "kinds that draw images read it"))]
pub(super) struct Place<'a> {
    /// What the column `run` of tables says.
    pub run: String,
    /// Where a file of the shard is to be written; makes the folders above it.
    pub path: &'a dyn Fn(&str) -> Result<PathBuf>,
}

/// What some items gave.
#[derive(Default)]
pub(super) struct Given {
    pub tables: Tables,
    /// Rows of each item in all these tables together.
    pub rows: Vec<u32>,
}

/// The kind that a spec is of.
pub(super) fn of(spec: &Spec) -> Result<&'static Kind> {
    let Some(kind) = KINDS.iter().find(|kind| kind.name == spec.of) else {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        bail!("{}: of = {:?}: choose from {}", spec.path.display(), spec.of, names.join(", "));
    };
    Ok(kind)
}

/// What a spec of this kind comes to.
pub(super) fn plan(kind: &Kind, mut spec: Spec) -> Result<Plan, SweepError> {
    if kind.one_by_one {
        spec.batch = 1;
    }
    Plan::new(spec, kind.asks)
}

/// Checks the options of every condition without opening a model.
pub(super) fn check(kind: &Kind, plan: &Plan) -> Result<()> {
    plan.conditions.iter().try_for_each(|condition| (kind.check)(plan, condition))
}

/// Opens conditions one after the other, and keeps the last open.
pub(super) struct Opener<'a> {
    plan: &'a Plan,
    kind: &'a Kind,
    models: Models,
    opened: Option<(u32, Box<dyn Work>)>,
}

impl<'a> Opener<'a> {
    /// Nothing is open yet. With a folder, the weights of models are those that it began with.
    pub fn new(plan: &'a Plan, kind: &'a Kind, folder: Option<&Folder>) -> Self {
        #[cfg(feature = "torch")]
        let models = Models::new(folder);
        #[cfg(not(feature = "torch"))]
        let models = {
            let _ = folder;
            Models
        };
        Self { plan, kind, models, opened: None }
    }

    /// What runs the items of a condition.
    pub fn work(&mut self, condition: &Condition) -> Result<&mut dyn Work> {
        if self.opened.as_ref().is_none_or(|(number, _)| *number != condition.number) {
            self.opened = None;
            let work = (self.kind.open)(self.plan, condition, &mut self.models)?;
            self.opened = Some((condition.number, work));
        }
        match &mut self.opened {
            Some((_, work)) => Ok(work.as_mut()),
            None => bail!("condition {} cannot be opened", condition.number),
        }
    }
}

/// The arguments, which `take` takes out, of the command that a condition stands for, with more
/// options that its items give.
#[cfg(feature = "torch")]
fn command<Args>(
    plan: &Plan,
    condition: &Condition,
    more: &[(&str, toml::Value)],
    take: impl FnOnce(Command) -> Option<Args>,
) -> Result<Args> {
    let kind = plan.spec.of.as_str();
    let path = &plan.spec.path;
    let mut options = condition.options.clone();
    options.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let words = spec::words_of(path, kind, &options)?;
    let cli: Cli = spec::parse(path, &words)?;
    match take(cli.command) {
        Some(args) => Ok(args),
        None => bail!("{}: not the options of {kind}", path.display()),
    }
}

/// The first item of a condition.
#[cfg(feature = "torch")]
fn first<'a>(plan: &'a Plan, condition: &Condition) -> Result<&'a Item> {
    let shard = plan.shards.iter().find(|shard| shard.condition == condition.number);
    match shard.and_then(|shard| plan.items_of(shard).first()) {
        Some(item) => Ok(item),
        None => bail!("condition {} has no items", condition.number),
    }
}
