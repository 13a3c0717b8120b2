//! Items of sweeps: one image of a prompt, or what is drawn by one seed.

use anyhow::{Result, bail};

use super::prompts::{Job, request};
use super::scenes::{self, SceneLatents};
use super::{Args, Found, Part, described, shown_timesteps};
use crate::cli::kept::Kept;
use crate::model::checkpoint::DiffusionModel;
use crate::probe::timesteps::switch::PromptPair;
use crate::run::Manifest;
use crate::sweep::Item;
use crate::table::Tables;

/// What is asked of an image.
const OF_IMAGES: [Part; 3] = [Part::Trajectory, Part::Spectrum, Part::Attention];
/// What is asked of pairs of prompts and of scenes, which a seed draws.
const OF_SEEDS: [Part; 2] = [Part::Switch, Part::Probes];

/// What items of one condition have in common.
pub(in crate::cli) struct Common {
    args: Args,
    timesteps: Vec<i64>,
    sites: Vec<String>,
    /// For the null model of images: scenes of one seed, so that all items have the same.
    latents: Option<SceneLatents>,
}

/// Settles which questions items can answer, and checks what needs no model.
pub(in crate::cli) fn settle(args: &mut Args) -> Result<()> {
    let (possible, remedy) = match args.sample.prompt {
        Some(_) => (&OF_IMAGES[..], "seeds draw its prompts and scenes, so leave `prompt` out"),
        None => (&OF_SEEDS[..], "it is asked of images, so list `prompt`"),
    };
    if args.parts.is_empty() {
        args.parts = possible.to_vec();
    }
    if let Some(other) = args.parts.iter().find(|part| !possible.contains(part)) {
        bail!("`parts` has {}: {remedy} in [grid], in a sweep of its own", other.name());
    }
    super::check(args)
}

impl Common {
    /// Makes ready what all items share.
    pub fn new(mut args: Args, model: &DiffusionModel) -> Result<Self> {
        args.sample.settle(model)?;
        let timesteps = shown_timesteps(&args, model)?;
        let sites = scenes::sites(&args, model)?;
        let latents = match args.asks(Part::Spectrum) {
            true => Some(scenes::latents(&args, model, &Kept::nothing())?),
            false => None,
        };
        Ok(Self { args, timesteps, sites, latents })
    }

    /// Checks the request of an item.
    pub fn check(&self, model: &DiffusionModel, item: &Item) -> Result<()> {
        request(&self.args, model, &[self.job(item)])?.check(model)?;
        Ok(())
    }

    /// What an item gives, as the command gives it, under the name `run`.
    pub fn found(&mut self, model: &mut DiffusionModel, run: &str, item: &Item) -> Result<Tables> {
        let (mut found, kept) = (Found::default(), &Kept::nothing());
        if item.asked.prompt.is_some() {
            found.draw(&self.args, model, &[self.job(item)], (run, kept, self.latents.as_ref()))?;
        } else {
            self.args.sample.seed = item.asked.seed;
            if self.args.asks(Part::Switch) {
                found.switch(&self.args, model, (run, kept))?;
            }
            if self.args.asks(Part::Probes) {
                let latents = scenes::latents(&self.args, model, kept)?;
                let asked = (run, kept, self.timesteps.as_slice(), self.sites.as_slice());
                found.show(&self.args, model, asked, &latents)?;
            }
        }
        found.run.commitments.iter_mut().for_each(|row| row.sample = item.number);
        found.answers.iter_mut().for_each(|row| row.sample = item.number);
        for reason in found.run.missing.iter().chain(&found.run.probes.missing) {
            tracing::info!("item {}: {reason}", item.number);
        }
        found.tables()
    }

    /// The image of an item, or the first that its seed draws.
    fn job(&self, item: &Item) -> Job {
        let seed = item.asked.seed;
        let drawn = || {
            let pairs = PromptPair::drawn(self.args.attributes().next()?, 1, seed);
            pairs.into_iter().next().map(|pair| pair.a)
        };
        Job { prompt: item.asked.prompt.clone().or_else(drawn).unwrap_or_default(), seed }
    }

    /// What the manifests of shards say of how an item ran.
    pub fn manifest(&self, model: &DiffusionModel, item: &Item) -> Result<Manifest> {
        let jobs = [self.job(item)];
        Ok(described(&self.args, model, &request(&self.args, model, &jobs)?, &jobs))
    }
}
