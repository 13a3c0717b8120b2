//! Images of suites, drawn and judged: `probe failures --suite`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::models::{Models, Opened};
use super::{Given, Kind, Place, Work, command};
use crate::cli::failures::{self, Batch, Opened as OpenedSuites, SuiteJudge};
use crate::cli::{Command, edits, run_model};
use crate::run::Manifest;
use crate::suite::Job;
use crate::sweep::{Asks, Condition, Item, Plan};
use crate::table::Tables;

pub(super) const KIND: Kind = Kind {
    name: "failures",
    asks: Asks::Suites,
    one_by_one: false,
    check: |plan, condition| args_of(plan, condition).map(drop),
    open: |plan, condition, models| Ok(Box::new(Drawing::new(plan, condition, models)?)),
};

/// The command's arguments, with the suites of the grid.
fn args_of(plan: &Plan, condition: &Condition) -> Result<failures::Args> {
    let suites = plan.spec.grid.get("suite").cloned().unwrap_or_default();
    let suites = [("suite", toml::Value::Array(suites))];
    command(plan, condition, &suites, |command| match command {
        Command::Failures(args) => Some(args),
        _ => None,
    })
}

struct Drawing {
    args: failures::Args,
    opened: Opened,
    suites: OpenedSuites,
    judge: SuiteJudge,
    /// Place of a suite among these, by the name that the grid has for it.
    places: BTreeMap<String, usize>,
    /// Folder of the condition's images in a shard.
    images: String,
}

impl Drawing {
    fn new(plan: &Plan, condition: &Condition, models: &mut Models) -> Result<Self> {
        let args = args_of(plan, condition)?;
        let mut suites = OpenedSuites::open(&args.suite.suites)?;
        if plan.spec.grid.contains_key("seed") {
            let seeds: Vec<u64> = plan.items.iter().map(|item| item.asked.seed).collect();
            suites.take_seeds(&seeds);
        }
        let judge = failures::image_judge(&args, &suites)?;
        let places = (0..).zip(&args.suite.suites).map(|(i, name)| (name.clone(), i)).collect();
        let opened = models.open(&args.model)?;
        let images = format!("images/{:03}", condition.number);
        Ok(Self { args, opened, suites, judge, places, images })
    }

    fn job(&self, item: &Item) -> Result<Job<'_>> {
        let name = item.asked.suite.as_deref().unwrap_or_default();
        let place = self.places.get(name).context("a suite is not among those of the grid")?;
        let id = item.asked.suite_item.as_deref().unwrap_or_default();
        let found = self.suites.each().nth(*place).and_then(|(suite, identity)| {
            let item_of_suite = suite.items.iter().find(|one| one.id == id)?;
            Some(Job { suite, identity, item: item_of_suite, seed: item.asked.seed })
        });
        found.with_context(|| format!("suite {name} has no item {id}"))
    }

    fn jobs(&self, items: &[Item]) -> Result<Vec<(u32, Job<'_>)>> {
        items.iter().map(|item| Ok((item.number, self.job(item)?))).collect()
    }
}

impl Work for Drawing {
    fn check(&self, items: &[Item]) -> Result<()> {
        for (number, job) in self.jobs(items)? {
            let request = failures::request_of(&self.args, &self.opened.model, &[job]);
            let checked = request.check(&self.opened.model);
            checked.with_context(|| format!("item {number}, `{}`", job.item.prompt))?;
        }
        Ok(())
    }

    fn run(&mut self, items: &[Item], place: &Place<'_>) -> Result<Given> {
        let mut judged = Vec::new();
        let mut judge = std::mem::replace(&mut self.judge, SuiteJudge::Exact);
        let jobs = self.jobs(items)?;
        let at_once = items.len();
        for jobs in edits::batches(&self.args.edits, &jobs, at_once, |(_, job)| &job.item.prompt) {
            let batch = Batch { jobs, images: &self.images, path: place.path };
            judged.extend(failures::draw_batch(
                &self.args,
                &self.opened.model,
                &batch,
                &mut judge,
            )?);
        }
        self.judge = judge;
        let rows = judged.iter().map(|one| 1 + one.atoms.len() as u32).collect();
        let mut tables = Tables::new();
        tables.add(judged.iter().map(|one| one.outcome.clone()))?;
        tables.add(judged.into_iter().flat_map(|one| one.atoms))?;
        Ok(Given { tables, rows })
    }

    fn manifest(&self) -> Manifest {
        let model = &self.opened.model;
        let request = failures::request_of(&self.args, model, &[]);
        let mut manifest = run_model::manifest(KIND.name, &self.args.model, model, &request);
        failures::describe(&mut manifest, &self.judge.name());
        manifest.model = Some(self.opened.record.clone());
        manifest
    }
}
