//! What recorders make of runs: `probe trace`.

use anyhow::Result;

use super::models::Models;
use super::sampling::Sampling;
use super::{Given, Kind, Place, Work, command, first};
use crate::cli::trace::{self, Recording};
use crate::cli::{Command, edits};
use crate::run::Manifest;
use crate::sweep::{Asks, Condition, Item, Plan};

pub(super) const KIND: Kind = Kind {
    name: "trace",
    asks: Asks::Prompts,
    one_by_one: false,
    check: |plan, condition| args_of(plan, condition).map(drop),
    open: |plan, condition, models| Ok(Box::new(Tracing::new(plan, condition, models)?)),
};

/// The command's arguments, with the prompt of the first item.
fn args_of(plan: &Plan, condition: &Condition) -> Result<trace::Args> {
    let prompt = first(plan, condition)?.asked.prompt.clone().unwrap_or_default();
    command(plan, condition, &[("prompt", prompt.into())], |command| match command {
        Command::Trace(args) => Some(args),
        _ => None,
    })
}

struct Tracing {
    args: trace::Args,
    sampling: Sampling,
}

impl Tracing {
    fn new(plan: &Plan, condition: &Condition, models: &mut Models) -> Result<Self> {
        let mut args = args_of(plan, condition)?;
        let sampling = Sampling::open(KIND.name, (&mut args.sample, &args.model), models)?;
        Ok(Self { args, sampling })
    }
}

impl Work for Tracing {
    fn check(&self, items: &[Item]) -> Result<()> {
        self.sampling.check(items)
    }

    fn run(&mut self, items: &[Item], place: &Place<'_>) -> Result<Given> {
        let mut given = Given::default();
        // What goes by the words of a prompt is of one prompt: such items run one by one.
        let one_by_one =
            edits::name_words(&self.args.sample.edits) || self.args.goes_by_words_of_prompt();
        let at_once = if one_by_one { 1 } else { items.len() };
        for some in items.chunks(at_once.max(1)) {
            let request = self.sampling.request(some);
            let numbers: Vec<u32> = some.iter().map(|item| item.number).collect();
            let recording = Recording { run: &place.run, samples: &numbers };
            let (tables, rows) =
                trace::record(&self.args, self.sampling.model(), &request, &recording)?;
            given.tables.append(tables)?;
            given.rows.extend(rows);
        }
        Ok(given)
    }

    fn manifest(&self) -> Manifest {
        self.sampling.manifest()
    }
}
