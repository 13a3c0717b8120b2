//! What recorders make of runs: `probe trace`.

use anyhow::{Context, Result, bail};

use super::models::{Models, Opened};
use super::{Given, Kind, Place, Work, command, first};
use crate::cli::trace::{self, Recording};
use crate::cli::{Command, edits, run_model};
use crate::pipeline::Request;
use crate::run::Manifest;
use crate::sweep::{Asks, Condition, Item, Plan};
use crate::table::Tables;

pub(super) const KIND: Kind = Kind {
    name: "trace",
    asks: Asks::Prompts,
    check: |plan, condition| args_of(plan, condition).map(drop),
    open: |plan, condition, models| Ok(Box::new(Tracing::new(plan, condition, models)?)),
};

/// The command's arguments, with the prompt of the first item.
fn args_of(plan: &Plan, condition: &Condition) -> Result<trace::Args> {
    let prompt = first(plan, condition)?.asked.prompt.clone().unwrap_or_default();
    match command(plan, condition, KIND.name, &[("prompt", prompt.into())])? {
        Command::Trace(args) => Ok(args),
        _ => bail!("{}: not the options of {}", plan.spec.path.display(), KIND.name),
    }
}

struct Tracing {
    args: trace::Args,
    opened: Opened,
    like: Request,
}

impl Tracing {
    fn new(plan: &Plan, condition: &Condition, models: &mut Models) -> Result<Self> {
        let mut args = args_of(plan, condition)?;
        let opened = models.open(&args.model)?;
        args.sample.settle(&opened.model)?;
        let like = args.sample.request(&opened.model)?;
        Ok(Self { args, opened, like })
    }
}

/// The request for items, of prompts and seeds, that are otherwise like another.
pub(super) fn request(like: &Request, items: &[Item]) -> Request {
    Request {
        prompts: items.iter().map(|item| item.asked.prompt.clone().unwrap_or_default()).collect(),
        seeds: items.iter().map(|item| item.asked.seed).collect(),
        ..like.clone()
    }
}

impl Work for Tracing {
    fn check(&self, items: &[Item]) -> Result<()> {
        for item in items {
            let request = request(&self.like, std::slice::from_ref(item));
            let prompt = item.asked.prompt.as_deref().unwrap_or_default();
            let of_item = || format!("item {}, `{prompt}`", item.number);
            request.check(&self.opened.model).with_context(of_item)?;
        }
        Ok(())
    }

    fn run(&mut self, items: &[Item], place: &Place<'_>) -> Result<Given> {
        let mut given = Given { tables: Tables::new(), rows: Vec::new() };
        // What goes by the words of a prompt is of one prompt: such items run one by one.
        let one_by_one =
            edits::name_words(&self.args.sample.edits) || self.args.goes_by_words_of_prompt();
        let at_once = if one_by_one { 1 } else { items.len() };
        for some in items.chunks(at_once.max(1)) {
            let request = request(&self.like, some);
            let numbers: Vec<u32> = some.iter().map(|item| item.number).collect();
            let recording = Recording { run: &place.run, samples: &numbers };
            let (tables, rows) =
                trace::record(&self.args, &self.opened.model, &request, &recording)?;
            given.tables.append(tables)?;
            given.rows.extend(rows);
        }
        Ok(given)
    }

    fn manifest(&self) -> Manifest {
        let model = &self.opened.model;
        let mut manifest = run_model::manifest(KIND.name, &self.args.model, model, &self.like);
        manifest.schemas = crate::table::versions();
        manifest.model = Some(self.opened.record.clone());
        manifest
    }
}
