//! CLIP's towers by the contrastive objective (Radford et al. 2021, figure 3), with captions
//! that are wrong in one respect (roles or colours swapped) as extra negatives, so that the
//! text tower cannot get by on a bag of words (Yuksekgonul et al. 2023).

use std::cell::RefCell;
use std::path::Path;

use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::scenes::{Scenes, caption_ids};
use super::{Objective, TrainError, TrainingPlan, export_part};
use crate::model::clip::Clip;
use crate::model::config::{ClipTextConfig, ClipVisionConfig};
use crate::model::parameters::{Parameters, Store};
use crate::model::tokenizer::Tokenizer;
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
    parameters: Parameters,
    configs: (ClipTextConfig, ClipVisionConfig),
    scenes: Scenes,
    tokenizer: Tokenizer,
    plan: TrainingPlan,
    device: Device,
}

/// Index of the first scene that no training step ever sees.
const HELD_BACK: u64 = 1 << 40;

impl ClipObjective {
    /// Fresh weights.
    ///
    /// # Errors
    /// Never for the built-in configs.
    pub fn new(
        configs: (ClipTextConfig, ClipVisionConfig),
        tokenizer: Tokenizer,
        mix: Mix,
        plan: &TrainingPlan,
        device: Device,
    ) -> Result<Self, TrainError> {
        tch::manual_seed(plan.seed as i64);
        let store = Store::fresh(device);
        let sites = RefCell::default();
        let clip = Clip::new(&store.root(&sites), &configs.0, &configs.1);
        let parameters = store.finish()?;
        let scenes = Scenes::new(plan.seed, mix, configs.1.image_size as usize);
        Ok(Self { clip, parameters, configs, scenes, tokenizer, plan: plan.clone(), device })
    }

    /// Logits of images `[n]` against captions [n, and the wrong ones after them].
    fn logits(&self, first: u64, count: usize) -> Result<Tensor, TrainError> {
        let (samples, images) = self.scenes.rendered(first, count);
        let wrong = samples.iter().filter_map(|s| swapped(&s.caption));
        let captions: Vec<String> =
            samples.iter().map(|s| s.caption.clone()).chain(wrong).collect();
        let ids = caption_ids(&self.tokenizer, captions.iter().map(String::as_str))?;
        let cx = &mut Cx::silent();
        let x = crate::pipeline::from_images(&images).to_device(self.device);
        let x = self.clip.embed_images(&x.to_kind(self.plan.kind()), cx)?.to_kind(Kind::Float);
        let y = self.clip.embed_text(&ids.to_device(self.device), cx)?.to_kind(Kind::Float);
        Ok(x.matmul(&y.tr()) * self.clip.scale())
    }
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

/// The caption with two of its words exchanged that describe different objects: the first
/// pair of different colours, else of different shapes. None if it has no such pair.
fn swapped(caption: &str) -> Option<String> {
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
        json!({ "text": self.configs.0, "vision": self.configs.1 })
    }

    fn loss(&mut self, step: u64) -> Result<Tensor, TrainError> {
        let batch = self.plan.batch;
        Ok(contrastive_loss(&self.logits(step * batch as u64, batch)?))
    }

    fn preview(&mut self, folder: &Path, step: u64) -> Result<(), TrainError> {
        const SCENES: usize = 256;
        let logits = self.logits(HELD_BACK, SCENES)?;
        let best = logits.argmax(1, false);
        let right = best.eq_tensor(&Tensor::arange(SCENES as i64, (Kind::Int64, self.device)));
        let share = right.to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
        let path = folder.join("retrieval.csv");
        let io = |source| TrainError::Io { path: path.clone(), source };
        let mut text = std::fs::read_to_string(&path).unwrap_or_else(|_| "step,right\n".into());
        text.push_str(&format!("{step},{share}\n"));
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
        export_part(folder, "clip", (&config, &[]), ("model", &self.parameters))
    }
}
