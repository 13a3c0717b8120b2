//! The denoiser: noise (or v, or x0) prediction from noisy latents and a caption, with the
//! text encoder trained along.

use std::cell::RefCell;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::scenes::{Scenes, caption_ids, contact_sheet};
use super::{Objective, TrainError, TrainingPlan, export_part, mix};
use crate::model::attention::AttentionKernel;
use crate::model::clip::TextEncoder;
use crate::model::config::{ClipTextConfig, PerBlock, UnetConfig, VaeConfig};
use crate::model::parameters::{Parameters, Store};
use crate::model::tokenizer::Tokenizer;
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::model::weights::Weights;
use crate::pipeline::{from_images, to_images};
use crate::sampler::{
    NoiseSource, Prediction, SamplerKind, Schedule, SchedulerConfig, add_noise, guided, sample,
    v_target,
};
use crate::tap::Cx;
use crate::world::Mix;

/// Choices of the denoiser's loss and data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DenoiserLoss {
    /// Share of captions replaced by the empty prompt, so that guidance has an
    /// unconditional half (Ho & Salimans 2022).
    pub prompt_dropout: f64,
    /// Weight min(SNR, γ)/SNR of the noise error (Hang et al. 2023); none for plain loss.
    pub min_snr: Option<f64>,
    /// Timesteps are T·u^(1/p) with u uniform: 1 is uniform, above 1 leans towards noise.
    pub noise_bias: f64,
    /// Scenes whose latents are encoded ahead and drawn from.
    pub pool: usize,
    /// Whether the text encoder stays as it is, as Stable Diffusion's did.
    pub frozen_text: bool,
}

impl Default for DenoiserLoss {
    fn default() -> Self {
        Self {
            prompt_dropout: 0.1,
            min_snr: None,
            noise_bias: 1.0,
            pool: 40_960,
            frozen_text: false,
        }
    }
}

/// The denoiser of `shapes`: attention at 8×8 and 4×4; at 16×16, where it would take a third
/// of the time of a step, convolutions alone.
pub fn shapes_config(context: i64) -> UnetConfig {
    let names = |names: [&str; 3]| names.map(str::to_owned).to_vec();
    let (plain_down, down) = ("DownBlock2D", "CrossAttnDownBlock2D");
    let (plain_up, up) = ("UpBlock2D", "CrossAttnUpBlock2D");
    UnetConfig {
        sample_size: 16,
        in_channels: 4,
        out_channels: 4,
        block_out_channels: vec![48, 128, 160],
        down_block_types: names([plain_down, down, down]),
        up_block_types: names([up, up, plain_up]),
        mid_block_type: Some("UNetMidBlock2DCrossAttn".into()),
        layers_per_block: 1,
        cross_attention_dim: context,
        attention_head_dim: PerBlock::Same(4),
        transformer_layers_per_block: PerBlock::Same(1),
        use_linear_projection: true,
        norm_num_groups: 16,
        norm_eps: 1e-5,
        flip_sin_to_cos: true,
        freq_shift: 0.0,
        downsample_padding: 1,
        act_fn: "silu".into(),
        upcast_attention: false,
        addition_embed_type: None,
        addition_time_embed_dim: None,
        projection_class_embeddings_input_dim: None,
        other: Default::default(),
    }
}

/// The schedule of `shapes`.
pub fn shapes_schedule(prediction: Prediction) -> SchedulerConfig {
    SchedulerConfig {
        class_name: "DDIMScheduler".into(),
        num_train_timesteps: 1000,
        beta_start: Some(0.000_85),
        beta_end: Some(0.012),
        beta_schedule: Some(crate::sampler::BetaSchedule::ScaledLinear),
        trained_betas: None,
        prediction_type: prediction,
        timestep_spacing: Some(crate::sampler::Spacing::Trailing),
        steps_offset: 0,
        set_alpha_to_one: Some(true),
        clip_sample: Some(false),
        clip_sample_range: 1.0,
        rescale_betas_zero_snr: false,
        thresholding: false,
        others: serde_json::Map::new(),
    }
}

/// The parts the denoiser is trained between.
pub struct Surroundings {
    /// The trained autoencoder.
    pub vae: Vae,
    /// Its config.
    pub vae_config: VaeConfig,
    /// Captions → ids.
    pub tokenizer: Tokenizer,
    /// The text encoder's config.
    pub text_config: ClipTextConfig,
    /// Trained weights to go on from, the denoiser's.
    pub unet_start: Option<Weights>,
    /// Trained weights to go on from, the text encoder's (or a whole CLIP's).
    pub text_start: Option<Weights>,
}

/// Trains the denoiser, with its text encoder unless that is frozen.
pub struct DenoiserObjective {
    unet: Unet,
    text: TextEncoder,
    /// What learns, under `unet.` and `text.`.
    parameters: Parameters,
    unet_parameters: Parameters,
    text_parameters: Parameters,
    unet_config: UnetConfig,
    scheduler: SchedulerConfig,
    around: Surroundings,
    pool: Pool,
    alpha_bars: Tensor,
    loss: DenoiserLoss,
    plan: TrainingPlan,
    device: Device,
}

/// Latents (scaled) and caption ids, encoded ahead.
struct Pool {
    latents: Tensor,
    ids: Tensor,
    empty: Tensor,
}

impl DenoiserObjective {
    /// Encodes the pool (progress by `encoded(done, all)`) and takes the weights to start
    /// from, fresh ones where there are none.
    ///
    /// # Errors
    /// Weights to start from that do not fit the config.
    pub fn new(
        (unet_config, scheduler): (UnetConfig, SchedulerConfig),
        around: Surroundings,
        (loss, mix): (DenoiserLoss, Mix),
        plan: &TrainingPlan,
        device: Device,
        encoded: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, TrainError> {
        tch::manual_seed(plan.seed as i64);
        let sites = RefCell::default();
        let store = Store::trainable(around.unet_start.as_ref(), device);
        let unet = Unet::new(&store.root(&sites), &unet_config, AttentionKernel::Auto);
        let unet_parameters = store.finish()?;
        let (text, text_parameters) = text_encoder(&around, device)?;
        let both = |prefix: &'static str, parameters: &Parameters| {
            let named = |(n, t): (&String, &Tensor)| (format!("{prefix}.{n}"), t.shallow_clone());
            parameters.iter().map(named).collect::<Vec<_>>()
        };
        let mut all = both("unet", &unet_parameters);
        if !loss.frozen_text {
            all.extend(both("text", &text_parameters));
        }
        let parameters = Parameters(all.into_iter().collect());
        let scenes = Scenes::new(plan.seed, mix, around.vae_config.sample_size as usize);
        let pool = fill_pool(&around, &scenes, loss.pool, device, encoded)?;
        let schedule = Schedule::new(&scheduler).map_err(|e| TrainError::Plan(e.to_string()))?;
        let alpha_bars: Vec<f32> =
            (0..schedule.len()).map(|t| schedule.alpha_bar(t as i64) as f32).collect();
        Ok(Self {
            unet,
            text,
            parameters,
            unet_parameters,
            text_parameters,
            unet_config,
            scheduler,
            around,
            pool,
            alpha_bars: Tensor::from_slice(&alpha_bars).to_device(device),
            loss,
            plan: plan.clone(),
            device,
        })
    }

    /// Timesteps of one batch, `[n]` (i64).
    fn draw_timesteps(&self, n: i64) -> Tensor {
        let u = Tensor::rand([n], (Kind::Float, self.device));
        let count = self.scheduler.num_train_timesteps as f64;
        let t = u.pow_tensor_scalar(1.0 / self.loss.noise_bias) * count;
        t.floor().clamp(0.0, count - 1.0).to_kind(Kind::Int64)
    }

    fn predict(&self, x: &Tensor, t: &Tensor, ids: &Tensor) -> Result<Tensor, TrainError> {
        let (kind, cx) = (self.plan.kind(), &mut Cx::silent());
        let text = || self.text.forward(ids, &mut Cx::silent());
        let states = if self.loss.frozen_text { tch::no_grad(text) } else { text() };
        let context = states?.tokens.to_kind(kind);
        let conditioning = self.unet.condition(context, None)?;
        Ok(self.unet.forward(&x.to_kind(kind), t, &conditioning, cx)?.to_kind(Kind::Float))
    }

    /// Images for captions, with guidance, from the weights as they are now.
    fn sample(&self, captions: &[&str], guidance: f64) -> Result<Vec<image::RgbImage>, TrainError> {
        const STEPS: usize = 25;
        let _no_grad = tch::no_grad_guard();
        let ids = caption_ids(&self.around.tokenizer, captions.iter().copied())?;
        let n = captions.len() as i64;
        let empty = self.pool.empty.expand([n, -1], false);
        let ids = Tensor::cat(&[empty, ids.to_device(self.device)], 0);
        let mut sampler = SamplerKind::Ddim
            .prepare(&self.scheduler, STEPS)
            .map_err(|e| TrainError::Plan(e.to_string()))?;
        let seeds: Vec<u64> = (0..n as u64).collect();
        let mut noise = NoiseSource::new(&seeds);
        let side = self.unet_config.sample_size;
        let drawn = noise.draw(&[self.unet_config.in_channels, side, side]).to_device(self.device);
        let start = sampler.course().start(&drawn);
        let x = sample(sampler.as_mut(), &start, &mut noise, |x, at| -> Result<_, TrainError> {
            let timesteps = Tensor::full([2 * n], at.timestep, (Kind::Float, self.device));
            let output = self.predict(&Tensor::cat(&[x, x], 0), &timesteps, &ids)?;
            let parts = output.chunk(2, 0);
            Ok(guided(&parts[0], &parts[1], guidance))
        })?;
        let latents = x / self.around.vae_config.scaling_factor;
        Ok(to_images(&self.around.vae.decode(&latents, &mut Cx::silent())?))
    }
}

fn text_encoder(
    around: &Surroundings,
    device: Device,
) -> Result<(TextEncoder, Parameters), TrainError> {
    let sites = RefCell::default();
    let store = Store::trainable(around.text_start.as_ref(), device);
    store.ignore_extra(|name| !name.starts_with("text_model."));
    let text = TextEncoder::new(&store.root(&sites).at("text_model", "text"), &around.text_config);
    Ok((text, store.finish()?))
}

fn fill_pool(
    around: &Surroundings,
    scenes: &Scenes,
    size: usize,
    device: Device,
    encoded: &mut dyn FnMut(usize, usize),
) -> Result<Pool, TrainError> {
    const CHUNK: usize = 256;
    let _no_grad = tch::no_grad_guard();
    let (mut latents, mut ids) = (Vec::new(), Vec::new());
    for first in (0..size).step_by(CHUNK) {
        let count = CHUNK.min(size - first);
        let (samples, images) = scenes.rendered(first as u64, count);
        let x = from_images(&images).to_device(device);
        let mean = around.vae.encode(&x, &mut Cx::silent())?.mean;
        latents.push(mean * around.vae_config.scaling_factor);
        ids.push(caption_ids(&around.tokenizer, samples.iter().map(|s| s.caption.as_str()))?);
        encoded(first + count, size);
    }
    let empty = caption_ids(&around.tokenizer, std::iter::once(""))?;
    Ok(Pool {
        latents: Tensor::cat(&latents, 0),
        ids: Tensor::cat(&ids, 0).to_device(device),
        empty: empty.to_device(device),
    })
}

impl Objective for DenoiserObjective {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn settings(&self) -> serde_json::Value {
        json!({
            "unet": self.unet_config,
            "text": self.around.text_config,
            "continues_unet": self.around.unet_start.is_some(),
            "continues_text": self.around.text_start.is_some(),
            "scheduler": self.scheduler,
            "loss": self.loss,
        })
    }

    fn loss(&mut self, step: u64) -> Result<Tensor, TrainError> {
        let n = self.plan.batch as i64;
        let mut random = ChaCha12Rng::seed_from_u64(mix(self.plan.seed, step) as u64);
        let chosen: Vec<i64> =
            (0..n).map(|_| random.random_range(0..self.loss.pool as i64)).collect();
        let chosen = Tensor::from_slice(&chosen).to_device(self.device);
        let x0 = self.pool.latents.index_select(0, &chosen);
        let ids = self.pool.ids.index_select(0, &chosen);
        let dropped = Tensor::rand([n, 1], (Kind::Float, self.device)).lt(self.loss.prompt_dropout);
        let ids = self.pool.empty.where_self(&dropped, &ids);

        let t = self.draw_timesteps(n);
        let alpha_bars = self.alpha_bars.index_select(0, &t);
        let eps = x0.randn_like();
        let x = add_noise(&x0, &eps, &alpha_bars);
        let target = match self.scheduler.prediction_type {
            Prediction::Epsilon => eps,
            Prediction::V => v_target(&x0, &eps, &alpha_bars),
            Prediction::Sample => x0,
        };
        let error = (self.predict(&x, &t, &ids)? - target).square();
        let each = error.mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Float);
        Ok((each * self.weights(&alpha_bars)).mean(Kind::Float))
    }

    fn preview(&mut self, folder: &Path, step: u64) -> Result<(), TrainError> {
        const GUIDANCE: f64 = 5.0;
        const CAPTIONS: [&str; 8] = [
            "a red ball",
            "a blue cube",
            "a large striped green cone",
            "a red ball and a blue cube",
            "red ball left of blue cube",
            "a yellow ring above a purple ball",
            "three orange balls",
            "a hand with five fingers",
        ];
        const EACH: usize = 4;
        let captions: Vec<&str> = CAPTIONS.iter().flat_map(|c| [*c; EACH]).collect();
        let images = self.sample(&captions, GUIDANCE)?;
        let path = folder.join(format!("preview-{step:06}.png"));
        contact_sheet(&images, 2 * EACH)
            .save(&path)
            .map_err(|e| TrainError::Io { path, source: std::io::Error::other(e) })
    }

    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        let class = |name: &str| [("_class_name", json!(name))];
        let unet = ("diffusion_pytorch_model", &self.unet_parameters);
        let config = (&self.unet_config, &class("UNet2DConditionModel")[..]);
        export_part(folder, "unet", config, unet)?;
        let clip =
            [("model_type", json!("clip_text_model")), ("architectures", json!(["CLIPTextModel"]))];
        let text = ("model", &self.text_parameters);
        export_part(folder, "text_encoder", (&self.around.text_config, &clip), text)?;
        let path = folder.join("scheduler/scheduler_config.json");
        let io = |source| TrainError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder.join("scheduler")).map_err(io)?;
        let text = serde_json::to_string_pretty(&self.scheduler)
            .map_err(|e| TrainError::Plan(e.to_string()))?;
        std::fs::write(&path, text + "\n").map_err(io)
    }
}

impl DenoiserObjective {
    /// Weight of each image's error, `[n]`.
    fn weights(&self, alpha_bars: &Tensor) -> Tensor {
        let Some(gamma) = self.loss.min_snr else { return alpha_bars.ones_like() };
        min_snr_weights(alpha_bars, gamma, self.scheduler.prediction_type)
    }
}

/// Weights of the error of a prediction at these ᾱ, all of which weight the error of x0 by
/// min(SNR, γ) (Hang et al. 2023, section 3.4).
pub fn min_snr_weights(alpha_bars: &Tensor, gamma: f64, prediction: Prediction) -> Tensor {
    let snr: Tensor = alpha_bars / (-alpha_bars + 1.0);
    let capped = snr.clamp_max(gamma);
    match prediction {
        Prediction::Epsilon => capped / snr,
        Prediction::V => capped / (snr + 1.0),
        Prediction::Sample => capped,
    }
}
