//! What is decided at which noise level: `probe timesteps`, an image or a seed at a time.

use std::rc::Rc;

use anyhow::{Context, Result};

use super::models::{Models, Opened};
use super::{Given, Kind, Place, Work, command, first};
use crate::cli::Command;
use crate::cli::timesteps::Args;
use crate::cli::timesteps::item::{Common, settle};
use crate::run::Manifest;
use crate::sweep::{Asks, Condition, Item, Plan};

pub(super) const KIND: Kind = Kind {
    name: "timesteps",
    asks: Asks::PromptsIfAny,
    one_by_one: true,
    check: |plan, condition| args_of(plan, condition).map(drop),
    open: |plan, condition, models| Ok(Box::new(Deciding::new(plan, condition, models)?)),
};

/// The command's arguments, with the prompt of the first item where there are prompts.
fn args_of(plan: &Plan, condition: &Condition) -> Result<Args> {
    let prompt = first(plan, condition)?.asked.prompt.clone();
    let prompt: Vec<(&str, toml::Value)> =
        prompt.map(|prompt| ("prompt", prompt.into())).into_iter().collect();
    let mut args = command(plan, condition, &prompt, |command| match command {
        Command::Timesteps(args) => Some(args),
        _ => None,
    })?;
    settle(&mut args)?;
    Ok(args)
}

struct Deciding {
    opened: Opened,
    common: Common,
    manifest: Manifest,
}

impl Deciding {
    fn new(plan: &Plan, condition: &Condition, models: &mut Models) -> Result<Self> {
        let args = args_of(plan, condition)?;
        // Probes put random weights in the place of the model's for a while.
        let opened = models.open_alone(&args.model)?;
        let common = Common::new(args, &opened.model)?;
        let mut manifest = common.manifest(&opened.model, first(plan, condition)?)?;
        manifest.model = Some(opened.record.clone());
        Ok(Self { opened, common, manifest })
    }
}

impl Work for Deciding {
    fn check(&self, items: &[Item]) -> Result<()> {
        let check = |item: &Item| {
            let of_item = || format!("item {}", item.number);
            self.common.check(&self.opened.model, item).with_context(of_item)
        };
        items.iter().try_for_each(check)
    }

    /// A table of means, such as `attention_over_time`, is of the images of one run: items run one
    /// by one, and the name of a row's run has the number of its item.
    fn run(&mut self, items: &[Item], place: &Place<'_>) -> Result<Given> {
        let model = Rc::get_mut(&mut self.opened.model).context("the model is in use")?;
        let mut given = Given::default();
        for item in items {
            let run = format!("{}/{}", place.run, item.number);
            let tables = self.common.found(model, &run, item)?;
            given.rows.push(tables.heights().values().sum::<u64>() as u32);
            given.tables.append(tables)?;
        }
        Ok(given)
    }

    fn manifest(&self) -> Manifest {
        self.manifest.clone()
    }
}
