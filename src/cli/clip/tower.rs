//! A text tower that captions are shown to: pooled vectors, and states of single tokens.

use anyhow::{Context, Result};
use ndarray::{Array2, Axis, concatenate};
use tch::{Device, Kind, Tensor};

use crate::model::clip::TextEncoder;
use crate::model::clip_folder::ClipModel;
use crate::model::tokenizer::Tokenizer;
use crate::probe::clip::layers::{Place, Wanted};
use crate::site::Sites;
use crate::tap::{Cx, RawRecorder};

/// Captions shown at once.
const BATCH: usize = 64;
/// More than one batch of the largest text encoder keeps, all layers together.
const BUDGET: u64 = 4 << 30;

/// A text encoder with what it needs to read captions.
pub(super) struct Tower<'a> {
    /// The encoder.
    pub text: &'a TextEncoder,
    /// The CLIP it is part of, whose projection makes its pooled vector one of the joint space.
    pub clip: Option<&'a ClipModel>,
    /// Captions → ids.
    pub tokenizer: &'a Tokenizer,
    /// Its sites, perhaps among others.
    pub sites: &'a Sites,
    /// Where it computes.
    pub device: Device,
}

impl Tower<'_> {
    /// One vector a text, [texts, channels].
    pub fn pooled(&self, texts: &[String]) -> Result<Array2<f32>> {
        if let Some(clip) = self.clip {
            return Ok(clip.embed_prompts(texts)?);
        }
        let _no_grad = tch::no_grad_guard();
        let embed = |batch: &[String]| {
            matrix(&self.text.forward(&self.ids(batch)?, &mut Cx::silent())?.pooled)
        };
        joined(&texts.chunks(BATCH).map(embed).collect::<Result<Vec<_>>>()?)
    }

    /// The states of single tokens at each layer and behind the last norm: name of the site and
    /// [wanted, channels].
    pub fn states(&self, wanted: &[Wanted]) -> Result<Vec<(String, Array2<f32>)>> {
        let _no_grad = tch::no_grad_guard();
        let names: Vec<String> = self
            .sites
            .iter()
            .map(|(_, site)| site.name.clone())
            .filter(|name| name.starts_with("text.") && name.ends_with("out"))
            .collect();
        let mut parts: Vec<Vec<Array2<f32>>> = vec![Vec::new(); names.len()];
        for batch in wanted.chunks(BATCH) {
            let texts: Vec<String> = batch.iter().map(|one| one.text.clone()).collect();
            let places: Vec<i64> =
                batch.iter().map(|one| self.place(one)).collect::<Result<_>>()?;
            let mut recorder = RawRecorder::new(names.iter().cloned(), None, BUDGET);
            self.text.forward(&self.ids(&texts)?, &mut Cx::watching(self.sites, &mut recorder))?;
            let rows = Tensor::arange(places.len() as i64, (Kind::Int64, Device::Cpu));
            let places = Tensor::from_slice(&places);
            for (key, x) in recorder.into_tensors() {
                let at = names.iter().position(|name| key.ends_with(&format!("/{name}")));
                let chosen = x.index(&[Some(rows.shallow_clone()), Some(places.shallow_clone())]);
                parts[at.context("a layer that was not asked for")?].push(matrix(&chosen)?);
            }
        }
        names.into_iter().zip(&parts).map(|(name, parts)| Ok((name, joined(parts)?))).collect()
    }

    /// What cross-attention reads of texts, [texts, tokens, channels].
    pub fn context(&self, texts: &[String]) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        Ok(self.text.forward(&self.ids(texts)?, &mut Cx::silent())?.tokens)
    }

    fn ids(&self, texts: &[String]) -> Result<Tensor> {
        let mut ids = Vec::new();
        for text in texts {
            ids.extend(self.tokenizer.padded(&self.tokenizer.encode(text)?));
        }
        let length = i64::try_from(self.tokenizer.max_length())?;
        Ok(Tensor::from_slice(&ids).view([-1, length]).to_device(self.device))
    }

    /// Position of a token; of a word of several pieces the last, which has read the others.
    fn place(&self, wanted: &Wanted) -> Result<i64> {
        let tokens = self.tokenizer.encode(&wanted.text)?;
        let at = match (wanted.place, wanted.noun) {
            (Place::End, _) => tokens.ids.len().checked_sub(1),
            (Place::Noun(_), noun) => tokens.words.iter().rposition(|word| word.as_deref() == noun),
        };
        Ok(at.with_context(|| format!("the tokenizer finds no noun in `{}`", wanted.text))? as i64)
    }
}

fn matrix(x: &Tensor) -> Result<Array2<f32>> {
    let shape = (x.size()[0] as usize, x.size()[1] as usize);
    let flat = x.to_kind(Kind::Float).to_device(Device::Cpu).contiguous().view([-1]);
    Ok(Array2::from_shape_vec(shape, Vec::try_from(flat)?)?)
}

fn joined(parts: &[Array2<f32>]) -> Result<Array2<f32>> {
    let views: Vec<_> = parts.iter().map(Array2::view).collect();
    Ok(concatenate(Axis(0), &views)?)
}
