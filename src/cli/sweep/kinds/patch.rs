//! Causal tracing between two prompts: `probe patch`.

use anyhow::Result;
use indicatif::ProgressBar;

use super::models::Models;
use super::sampling::Sampling;
use super::{Given, Kind, Place, Work, command, first};
use crate::cli::Command;
use crate::cli::patch::{self, Tracing};
use crate::run::Manifest;
use crate::sweep::{Asks, Condition, Item, Plan};
use crate::table::PatchRow;

pub(super) const KIND: Kind = Kind {
    name: "patch",
    asks: Asks::Pairs,
    one_by_one: true,
    check: |plan, condition| args_of(plan, condition).map(drop),
    open: |plan, condition, models| Ok(Box::new(Patching::new(plan, condition, models)?)),
};

/// The command's arguments, with the prompts of the first item.
fn args_of(plan: &Plan, condition: &Condition) -> Result<patch::Args> {
    let asked = &first(plan, condition)?.asked;
    let text = |prompt: &Option<String>| prompt.clone().unwrap_or_default().into();
    let prompts = [("prompt", text(&asked.prompt)), ("corrupted", text(&asked.corrupted))];
    let args = command(plan, condition, &prompts, |command| match command {
        Command::Patch(args) => Some(args),
        _ => None,
    })?;
    patch::check(&args)?;
    Ok(args)
}

struct Patching {
    args: patch::Args,
    sampling: Sampling,
}

impl Patching {
    fn new(plan: &Plan, condition: &Condition, models: &mut Models) -> Result<Self> {
        let mut args = args_of(plan, condition)?;
        let sampling = Sampling::open(KIND.name, (&mut args.sample, &args.model), models)?;
        Ok(Self { args, sampling })
    }

    /// The runs of one item. Its controls are drawn by its own seed, so items run one by one.
    fn tracing(&self, item: &Item) -> Result<Tracing> {
        let clean = self.sampling.request(std::slice::from_ref(item));
        let corrupted = item.asked.corrupted.clone().unwrap_or_default();
        patch::tracing(&self.args, self.sampling.model(), clean, corrupted)
    }
}

impl Work for Patching {
    fn check(&self, items: &[Item]) -> Result<()> {
        items.iter().try_for_each(|item| self.tracing(item).map(drop))
    }

    fn run(&mut self, items: &[Item], place: &Place<'_>) -> Result<Given> {
        let mut given = Given::default();
        for item in items {
            let (model, open) = (self.sampling.model(), || self.args.model.open());
            let called = (place.run.as_str(), self.args.budget);
            let traced = self.tracing(item)?.run(model, open, called, &ProgressBar::hidden())?;
            given.rows.push(traced.rows.len() as u32);
            let rows = traced.rows.into_iter();
            given.tables.add(rows.map(|row| PatchRow { sample: item.number, ..row }))?;
        }
        Ok(given)
    }

    fn manifest(&self) -> Manifest {
        self.sampling.manifest()
    }
}
