//! CLIP's towers by the contrastive objective (Radford et al. 2021, figure 3), with captions
//! that are wrong in one respect (roles or colours swapped, sides exchanged) as extra negatives,
//! so that the text tower cannot get by on a bag of words (Yuksekgonul et al. 2023). Beside it
//! the text tower is asked what its captions say (see [`super::reading`]).

use std::cell::RefCell;
use std::path::Path;

use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::reading::{Readers, Said};
use super::scenes::{Scenes, caption_ids};
use super::{Objective, TrainError, TrainingPlan, export_part};
use crate::model::clip::{Clip, TextEncoder};
use crate::model::config::{ClipTextConfig, ClipVisionConfig};
use crate::model::parameters::{Parameters, Store};
use crate::model::tokenizer::Tokenizer;
use crate::model::weights::Weights;
use crate::tap::Cx;
use crate::world::Mix;

/// The text tower of `shapes`.
pub fn shapes_text_config(vocabulary: i64, length: i64, end: i64) -> ClipTextConfig {
    ClipTextConfig {
        vocab_size: vocabulary,
        hidden_size: 128,
        intermediate_size: 512,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        max_position_embeddings: length,
        hidden_act: "quick_gelu".into(),
        layer_norm_eps: 1e-5,
        eos_token_id: end,
        projection_dim: 128,
        other: Default::default(),
    }
}

/// The image tower it is trained against.
pub fn shapes_vision_config() -> ClipVisionConfig {
    ClipVisionConfig {
        hidden_size: 128,
        intermediate_size: 512,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        image_size: 64,
        patch_size: 8,
        hidden_act: "quick_gelu".into(),
        layer_norm_eps: 1e-5,
        projection_dim: 128,
    }
}

/// Trains both towers.
pub struct ClipObjective {
    clip: Clip,
    readers: Readers,
    /// Of both towers, and of the readers under `reader.`.
    parameters: Parameters,
    continues: bool,
    /// Steps from one that shows the images to the next; the captions are read at all of them.
    images_every: u64,
    configs: (ClipTextConfig, ClipVisionConfig),
    scenes: Scenes,
    tokenizer: Tokenizer,
    plan: TrainingPlan,
    device: Device,
}

/// Index of the first scene that no training step ever sees.
const HELD_BACK: u64 = 1 << 40;

/// Prefix of the readers' parameters, which are no part of the model.
const READER: &str = "reader";
/// Weight of the reading loss beside the contrastive one, which is several times as large.
const READING_WEIGHT: f64 = 4.0;

/// What a step compares.
struct Compared {
    /// Logits of images `[n]` against captions [n, and the wrong ones after them].
    logits: Tensor,
    /// States of the text tower for the captions, wrong ones included, [m, places, c].
    states: Tensor,
    /// The captions.
    captions: Vec<String>,
}

impl ClipObjective {
    /// Fresh weights, or those of `start`: a whole CLIP's, or a text encoder's.
    ///
    /// # Errors
    /// Weights to start from that do not fit the config.
    pub fn new(
        configs: (ClipTextConfig, ClipVisionConfig),
        start: Option<Weights>,
        tokenizer: Tokenizer,
        mix: Mix,
        plan: &TrainingPlan,
        device: Device,
    ) -> Result<Self, TrainError> {
        tch::manual_seed(plan.seed as i64);
        let store = Store::fresh(device);
        let sites = RefCell::default();
        let root = store.root(&sites);
        let clip = Clip::new(&root, &configs.0, &configs.1);
        let readers = Readers::new(&root.below(READER), configs.0.hidden_size);
        let parameters = store.finish()?;
        let continues = start.is_some();
        if let Some(start) = start {
            start_from(&parameters, start, &configs, device)?;
        }
        let scenes = Scenes::new(plan.seed, mix, configs.1.image_size as usize);
        let plan = plan.clone();
        Ok(Self {
            clip,
            readers,
            parameters,
            continues,
            images_every: 1,
            configs,
            scenes,
            tokenizer,
            plan,
            device,
        })
    }

    /// The same, with the images shown at every `steps`-th step alone: reading needs many steps,
    /// and most of a step's time goes into the images.
    pub fn with_images_every(self, steps: u64) -> Self {
        Self { images_every: steps.max(1), ..self }
    }

    /// Both towers on scenes `first .. first + count`.
    fn compare(&self, first: u64, count: usize) -> Result<Compared, TrainError> {
        let (samples, images) = self.scenes.rendered(first, count);
        let captions = with_wrong(samples.into_iter().map(|s| s.caption).collect());
        let ids = caption_ids(&self.tokenizer, captions.iter().map(String::as_str))?;
        let cx = &mut Cx::silent();
        let x = crate::pipeline::from_images(&images).to_device(self.device);
        let x = self.clip.embed_images(&x.to_kind(self.plan.kind()), cx)?.to_kind(Kind::Float);
        let text = self.clip.text.forward(&ids.to_device(self.device), cx)?;
        let y = self.clip.project_text(&text.pooled).to_kind(Kind::Float);
        let logits = x.matmul(&y.tr()) * self.clip.scale();
        Ok(Compared { logits, states: text.tokens, captions })
    }

    /// States of the text tower for captions of scenes that nobody renders.
    fn read(&self, first: u64, count: usize) -> Result<(Tensor, Vec<String>), TrainError> {
        let captions = with_wrong(self.scenes.captions(first, count));
        let ids = caption_ids(&self.tokenizer, captions.iter().map(String::as_str))?;
        let text = self.clip.text.forward(&ids.to_device(self.device), &mut Cx::silent())?;
        Ok((text.tokens, captions))
    }

    fn said(&self, captions: &[String]) -> Result<Said, TrainError> {
        Said::of(&self.tokenizer, captions.iter().map(String::as_str))
    }
}

/// Puts trained towers in place of the fresh ones.
fn start_from(
    parameters: &Parameters,
    start: Weights,
    configs: &(ClipTextConfig, ClipVisionConfig),
    device: Device,
) -> Result<(), TrainError> {
    let _no_grad = tch::no_grad_guard();
    let store = Store::of(start, Kind::Float, device);
    let sites = RefCell::default();
    let root = store.root(&sites);
    if store.has("vision_model.") {
        Clip::new(&root, &configs.0, &configs.1);
    } else {
        TextEncoder::new(&root.at("text_model", "text"), &configs.0);
    }
    for (name, trained) in store.finish()?.iter() {
        if let Some(fresh) = parameters.0.get(name) {
            fresh.shallow_clone().copy_(trained);
        }
    }
    Ok(())
}

/// The symmetric contrastive loss (Radford et al. 2021, figure 3) of logits [n, n + wrong] of
/// images against captions. Caption i is that of image i; those beyond the n-th belong to no
/// image, and only the images' half of the loss knows them.
pub fn contrastive_loss(logits: &Tensor) -> Tensor {
    let n = logits.size()[0];
    let targets = Tensor::arange(n, (Kind::Int64, logits.device()));
    let of_images = logits.cross_entropy_for_logits(&targets);
    let of_captions = logits.narrow(1, 0, n).tr().cross_entropy_for_logits(&targets);
    (of_images + of_captions) * 0.5
}

/// The captions, and behind them what is wrong in one respect about each.
fn with_wrong(mut captions: Vec<String>) -> Vec<String> {
    let wrong = |(i, caption): (usize, &String)| wrong_in_one_respect(caption, i);
    let wrong: Vec<String> = captions.iter().enumerate().filter_map(wrong).collect();
    captions.extend(wrong);
    captions
}

/// The caption, wrong in one respect: by turns with the other side in its relation, or with two
/// words exchanged that describe different objects. None if it has neither.
fn wrong_in_one_respect(caption: &str, index: usize) -> Option<String> {
    let (sides, roles) = (exchanged_side(caption), exchanged_words(caption));
    if index.is_multiple_of(2) { sides.or(roles) } else { roles.or(sides) }
}

/// The caption with the opposite relation.
fn exchanged_side(caption: &str) -> Option<String> {
    const OPPOSITES: [(&str, &str); 3] = [("left", "right"), ("above", "below"), ("over", "under")];
    let expectations = crate::world::parse(caption).ok()?;
    let word = expectations.relations.first()?.words.iter().find_map(|word| {
        let (said, range) = (caption.get(word.range.clone())?, word.range.clone());
        let opposite = OPPOSITES
            .iter()
            .find_map(|&(a, b)| if said == a { Some(b) } else { (said == b).then_some(a) })?;
        Some((range, opposite))
    })?;
    let mut wrong = caption.to_owned();
    wrong.replace_range(word.0, word.1);
    Some(wrong)
}

/// The caption with two of its words exchanged that describe different objects: the first
/// pair of different colours, else of different shapes.
fn exchanged_words(caption: &str) -> Option<String> {
    let expectations = crate::world::parse(caption).ok()?;
    let [a, b] = expectations.objects.as_slice() else { return None };
    let exchange = |x: &str, y: &str| {
        let words = caption.split(' ').map(|word| match word {
            w if w == x => y.to_owned(),
            w if w == y => x.to_owned(),
            w => w.to_owned(),
        });
        Some(words.collect::<Vec<_>>().join(" "))
    };
    match (a.colour, b.colour) {
        (Some(x), Some(y)) if x != y => exchange(x.name(), y.name()),
        _ if a.shape != b.shape => exchange(a.shape.name(), b.shape.name()),
        _ => None,
    }
}

impl Objective for ClipObjective {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn settings(&self) -> serde_json::Value {
        json!({
            "text": self.configs.0,
            "vision": self.configs.1,
            "continues": self.continues,
            "reading_weight": READING_WEIGHT,
            "images_every": self.images_every,
        })
    }

    fn loss(&mut self, step: u64) -> Result<Tensor, TrainError> {
        let (batch, first) = (self.plan.batch, step * self.plan.batch as u64);
        if !step.is_multiple_of(self.images_every) {
            let (states, captions) = self.read(first, batch)?;
            return Ok(self.readers.loss(&states, &self.said(&captions)?) * READING_WEIGHT);
        }
        let compared = self.compare(first, batch)?;
        let reading = self.readers.loss(&compared.states, &self.said(&compared.captions)?);
        Ok(contrastive_loss(&compared.logits) + reading * READING_WEIGHT)
    }

    fn preview(&mut self, folder: &Path, step: u64) -> Result<(), TrainError> {
        const SCENES: usize = 256;
        let compared = self.compare(HELD_BACK, SCENES)?;
        let best = compared.logits.argmax(1, false);
        let right = best.eq_tensor(&Tensor::arange(SCENES as i64, (Kind::Int64, self.device)));
        let share = right.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        let mut row = vec![("retrieval", share)];
        row.extend(self.readers.right(&compared.states, &self.said(&compared.captions)?));
        let path = folder.join("progress.csv");
        let io = |source| TrainError::Io { path: path.clone(), source };
        let joined = |cells: Vec<String>| cells.join(",") + "\n";
        let mut text = std::fs::read_to_string(&path).unwrap_or_else(|_| {
            joined(["step"].iter().chain(row.iter().map(|(n, _)| n)).map(|n| (*n).into()).collect())
        });
        let shares = row.iter().map(|(_, share)| format!("{share:.4}"));
        text.push_str(&joined(std::iter::once(step.to_string()).chain(shares).collect()));
        std::fs::write(&path, text).map_err(io)
    }

    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        let config = json!({
            "model_type": "clip",
            "architectures": ["CLIPModel"],
            "projection_dim": self.configs.0.projection_dim,
            "text_config": self.configs.0,
            "vision_config": self.configs.1,
        });
        let towers = self.parameters.iter().filter(|(name, _)| !name.starts_with(READER));
        let towers = Parameters(towers.map(|(n, t)| (n.clone(), t.shallow_clone())).collect());
        export_part(folder, "clip", (&config, &[]), ("model", &towers))
    }
}
