//! The CLIP of `--judge clip-score`.

use std::error::Error;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use image::RgbImage;

use super::Args;
use crate::model::checkpoint::ModelFiles;
use crate::model::clip_folder::ClipModel;
use crate::run::hash8;
use crate::suite::judging::JointSpace;

/// A CLIP with the name it has in tables.
#[derive(Debug)]
pub struct Clip {
    clip: ClipModel,
    /// `own` for the one that comes with the model that draws.
    name: String,
    /// Digits that tell its weights from others.
    weights: String,
}

impl Clip {
    /// The CLIP that `--clip` names, or the one beside the model that draws.
    pub fn open(args: &Args) -> Result<Self> {
        let (clip, name) = match &args.suite.clip {
            Some(named) => given(named, args)?,
            None if args.suite.images.is_some() => {
                bail!("images of other generators come without a CLIP; name one with --clip DIR")
            }
            None => {
                let files = ModelFiles::find(args.model.load.source(&args.model.model))?;
                let own = ClipModel::open(&files, args.model.placement()?)?.with_context(|| {
                    format!(
                        "{} has no clip/config.json; name another CLIP with --clip shapes|DIR, or \
                         train one with `probe train clip`",
                        args.model.model
                    )
                })?;
                (own, "own".to_owned())
            }
        };
        let digests: Vec<String> = clip.weights.iter().map(|file| file.sha256()).collect();
        Ok(Self { clip, name, weights: hash8(&digests.join("\n")) })
    }
}

/// A CLIP inside a model's folder, or one that is a folder by itself; and its name.
fn given(named: &str, args: &Args) -> Result<(ClipModel, String)> {
    let placement = args.model.placement()?;
    if named == ModelFiles::BUILT_IN {
        let clip = ClipModel::open(&ModelFiles::built_in(), placement)?;
        return Ok((clip.context("the built-in model has no CLIP")?, named.to_owned()));
    }
    let folder = fs::canonicalize(Path::new(named))
        .with_context(|| format!("--clip {named}: give `shapes` or a folder"))?;
    let inside = ClipModel::open(&ModelFiles::folder(folder.clone()), placement)?;
    let clip = match inside {
        Some(clip) => Some(clip),
        None => ClipModel::open_folder(&folder, placement)?,
    };
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let clip = clip.with_context(|| {
        format!(
            "--clip {named}: neither clip/config.json nor config.json is there; give a folder \
                 that transformers' CLIPModel wrote"
        )
    })?;
    Ok((clip, name))
}

impl JointSpace for Clip {
    fn name(&self) -> (String, String) {
        (self.name.clone(), self.weights.clone())
    }

    fn cosines(
        &self,
        prompts: &[String],
        images: &[RgbImage],
    ) -> Result<Vec<f64>, Box<dyn Error + Send + Sync>> {
        // Both are unit vectors.
        let (texts, images) = (self.clip.embed_prompts(prompts)?, self.clip.embed_images(images)?);
        let pairs = texts.rows().into_iter().zip(images.rows());
        Ok(pairs.map(|(text, image)| f64::from(text.dot(&image))).collect())
    }
}
