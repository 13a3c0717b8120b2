//! Embeddings measured: those of captions, and of captions with their images.

use anyhow::{Context, Result};
use image::RgbImage;

use super::denoisers_tower;
use super::tower::Tower;
use crate::cli::output::bar;
use crate::model::checkpoint::DiffusionModel;
use crate::model::clip_folder::ClipModel;
use crate::probe::clip::captions::Captions;
use crate::probe::clip::pairs::Pairs;
use crate::probe::clip::report::Found;
use crate::probe::clip::{
    Embedded, SHUFFLED_CAPTIONS, UNTRAINED, Whose, layers, similarity, structure,
};
use crate::table::ClipRow;
use crate::world::{self, Exchange, Generator, Mix, Sample, Split};

/// Added to the seed, so that the scenes are none of training's.
const SCENES_SEED: u64 = 3_000_017;

/// Scenes that CLIP is asked about: what they are called, and where they come from.
const SCENES: [(&str, Split); 2] =
    [("new scenes", Split::Train), ("held-out pairs", Split::HeldOutPairs)];

/// What captions exchange to become wrong.
const EXCHANGES: [(&str, Exchange); 3] =
    [("colours", Exchange::Colours), ("shapes", Exchange::Shapes), ("roles", Exchange::Roles)];

/// What is asked, and of which run.
pub(super) struct Measuring<'a> {
    pub run: &'a str,
    pub seed: u64,
    pub captions: &'a Captions,
}

impl Measuring<'_> {
    fn whose(&self, control: Option<&'static str>) -> Whose<'_> {
        Whose { run: self.run, control }
    }

    /// All that captions alone tell, with the control of random weights.
    pub fn texts(&self, model: &DiffusionModel, clip: Option<&mut ClipModel>) -> Result<Found> {
        let bar = bar(2, "encoders");
        let mut found = Found::default();
        tch::manual_seed(i64::from_ne_bytes(self.seed.to_ne_bytes()));
        match clip {
            Some(clip) => {
                self.tower(&tower_of(clip), None, &mut found)?;
                bar.inc(1);
                let untrained = clip.untrained()?;
                let trained = std::mem::replace(&mut clip.clip, untrained);
                let measured = self.tower(&tower_of(clip), Some(UNTRAINED), &mut found);
                clip.clip = trained;
                measured?;
            }
            None => {
                let tower = denoisers_tower(model);
                self.tower(&tower, None, &mut found)?;
                bar.inc(1);
                let untrained = model.untrained_text_encoder()?;
                let tower = Tower { text: &untrained, ..tower };
                self.tower(&tower, Some(UNTRAINED), &mut found)?;
            }
        }
        bar.finish_and_clear();
        Ok(found)
    }

    fn tower(
        &self,
        tower: &Tower<'_>,
        control: Option<&'static str>,
        found: &mut Found,
    ) -> Result<()> {
        let (captions, whose) = (self.captions, self.whose(control));
        let texts = captions.texts();
        let embedded = Embedded::new(&texts, tower.pooled(&texts)?.view())
            .context("the text encoder's embeddings cannot be compared")?;
        let (rows, similarities) = similarity::similarities(&embedded, &captions.singles, whose)?;
        found.rows.extend(rows);
        found.similarities.extend(similarities);
        let mut asked = vec![(whose, embedded.clone())];
        if control.is_none() {
            let singles: Vec<String> = captions.singles.iter().map(|s| s.caption()).collect();
            let other = embedded.shuffled(&singles, self.seed);
            asked.push((whose.as_control(SHUFFLED_CAPTIONS), other));
        }
        for (whose, embedded) in &asked {
            let (rows, analogies) = similarity::analogies(embedded, &captions.singles, *whose)?;
            found.rows.extend(rows);
            found.analogies.extend(analogies);
        }
        found.rows.extend(structure::additivity(&embedded, captions, (whose, self.seed))?);
        let (rows, orders) = structure::order(&embedded, &captions.related, whose)?;
        found.rows.extend(rows);
        found.orders.extend(orders);
        for (site, states) in tower.states(&layers::wanted(captions))? {
            let read = layers::rows(captions, (&site, states.view()), (whose, self.seed))?;
            found.rows.extend(read);
        }
        Ok(())
    }

    /// What captions and rendered images tell together, with the control of random weights.
    pub fn images(&self, clip: &mut ClipModel, count: usize) -> Result<Vec<ClipRow>> {
        let bar = bar(2 * SCENES.len() as u64, "sets of scenes");
        let mut rows = Vec::new();
        for (name, split) in SCENES {
            let seed = self.seed.wrapping_add(SCENES_SEED);
            let generator = Generator::new(seed, Mix::training(), split);
            let samples: Vec<Sample> = (0..count as u64).map(|i| generator.sample(i)).collect();
            rows.extend(self.pairs(clip, (name, &samples), None)?);
            bar.inc(1);
            let untrained = clip.untrained()?;
            let trained = std::mem::replace(&mut clip.clip, untrained);
            let measured = self.pairs(clip, (name, &samples), Some(UNTRAINED));
            clip.clip = trained;
            rows.extend(measured?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(rows)
    }

    fn pairs(
        &self,
        clip: &ClipModel,
        (name, samples): (&str, &[Sample]),
        control: Option<&'static str>,
    ) -> Result<Vec<ClipRow>> {
        let whose = self.whose(control);
        let size = usize::try_from(clip.vision_config.image_size)?;
        let images: Vec<RgbImage> =
            samples.iter().map(|sample| world::render(&sample.scene, size)).collect();
        let captions: Vec<String> = samples.iter().map(|sample| sample.caption.clone()).collect();
        let (texts, images) = (clip.embed_prompts(&captions)?, clip.embed_images(&images)?);
        let pairs = Pairs::new((name, samples), texts.view(), images.view())
            .context("the embeddings of captions and images cannot be compared")?;
        let mut rows = pairs.retrieval((whose, self.seed))?;
        for (exchanged, exchange) in EXCHANGES {
            let others = Pairs::exchanged(samples, exchange);
            if others.is_empty() {
                continue;
            }
            let texts: Vec<String> = others.iter().map(|(_, caption)| caption.clone()).collect();
            let vectors = clip.embed_prompts(&texts)?;
            rows.extend(pairs.prefers((exchanged, &others), vectors.view(), whose)?);
        }
        rows.extend(pairs.gap((whose, self.seed)));
        Ok(rows)
    }
}

/// The text tower of a whole CLIP.
fn tower_of(clip: &ClipModel) -> Tower<'_> {
    Tower {
        text: &clip.clip.text,
        clip: Some(clip),
        tokenizer: &clip.tokenizer,
        sites: &clip.sites,
        device: clip.device(),
    }
}
