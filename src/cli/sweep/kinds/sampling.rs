//! What conditions have in common whose items sample images from prompts.

use anyhow::{Context, Result};

use super::models::{Models, Opened};
use crate::cli::model_args::ModelArgs;
use crate::cli::run_model::{SampleArgs, manifest};
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::Request;
use crate::run::Manifest;
use crate::sweep::Item;

/// A condition's model with the request that all its items are like.
pub(super) struct Sampling {
    opened: Opened,
    like: Request,
    manifest: Manifest,
}

impl Sampling {
    /// Opens the model that a command of the name `kind` would sample from.
    pub fn open(
        kind: &str,
        (sample, model): (&mut SampleArgs, &ModelArgs),
        models: &mut Models,
    ) -> Result<Self> {
        let opened = models.open(model)?;
        sample.settle(&opened.model)?;
        let like = sample.request(&opened.model)?;
        let mut manifest = manifest(kind, model, &opened.model, &like);
        manifest.schemas = crate::table::versions();
        manifest.model = Some(opened.record.clone());
        Ok(Self { opened, like, manifest })
    }

    /// The model.
    pub fn model(&self) -> &DiffusionModel {
        &self.opened.model
    }

    /// The request for some items.
    pub fn request(&self, items: &[Item]) -> Request {
        let prompt = |item: &Item| item.asked.prompt.clone().unwrap_or_default();
        Request {
            prompts: items.iter().map(prompt).collect(),
            seeds: items.iter().map(|item| item.asked.seed).collect(),
            ..self.like.clone()
        }
    }

    /// Checks the request of each item.
    pub fn check(&self, items: &[Item]) -> Result<()> {
        for item in items {
            let request = self.request(std::slice::from_ref(item));
            let prompt = item.asked.prompt.as_deref().unwrap_or_default();
            let of_item = || format!("item {}, `{prompt}`", item.number);
            request.check(self.model()).with_context(of_item)?;
        }
        Ok(())
    }

    /// What the manifests of shards say.
    pub fn manifest(&self) -> Manifest {
        self.manifest.clone()
    }
}
