//! The KL-autoencoder: pixels ↔ latents.

use std::cell::RefCell;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::scenes::{Scenes, contact_sheet};
use super::{Objective, TrainError, TrainingPlan, export_part};
use crate::model::config::VaeConfig;
use crate::model::parameters::{Parameters, Store};
use crate::model::vae::Vae;
use crate::model::weights::Weights;
use crate::pipeline::{from_images, to_images};
use crate::tap::Cx;
use crate::world::Mix;

/// Weights of the parts of the loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VaeLoss {
    /// Mean absolute error.
    pub l1: f64,
    /// Mean squared error.
    pub l2: f64,
    /// Mean absolute error of the differences between neighbouring pixels.
    pub gradient: f64,
    /// KL divergence from the unit normal, a number of the latent.
    pub kl: f64,
}

impl Default for VaeLoss {
    fn default() -> Self {
        Self { l1: 1.0, l2: 4.0, gradient: 1.0, kl: 1e-5 }
    }
}

/// The autoencoder of `shapes`: 64×64 pixels to a 16×16 grid of four channels.
pub fn shapes_config() -> VaeConfig {
    let repeat = |name: &str| vec![name.to_owned(); 3];
    VaeConfig {
        in_channels: 3,
        out_channels: 3,
        latent_channels: 4,
        block_out_channels: vec![16, 32, 64],
        down_block_types: repeat("DownEncoderBlock2D"),
        up_block_types: repeat("UpDecoderBlock2D"),
        layers_per_block: 1,
        norm_num_groups: 8,
        sample_size: 64,
        scaling_factor: 1.0,
        act_fn: "silu".into(),
        use_quant_conv: true,
        use_post_quant_conv: true,
        force_upcast: true,
        other: Default::default(),
    }
}

/// Trains an autoencoder.
pub struct VaeObjective {
    vae: Vae,
    parameters: Parameters,
    config: VaeConfig,
    /// Whether it started from trained weights.
    continues: bool,
    weights: VaeLoss,
    scenes: Scenes,
    plan: TrainingPlan,
    device: Device,
}

/// Index of the first scene that no training step ever sees.
const HELD_BACK: u64 = 1 << 40;
/// Scenes for measuring the latents' spread and the reconstruction error.
const MEASURED: usize = 512;

impl VaeObjective {
    /// Weights of `start`, or fresh ones.
    ///
    /// # Errors
    /// Weights to start from that do not fit the config.
    pub fn new(
        config: VaeConfig,
        start: Option<&Weights>,
        weights: VaeLoss,
        mix: Mix,
        plan: &TrainingPlan,
        device: Device,
    ) -> Result<Self, TrainError> {
        tch::manual_seed(plan.seed as i64);
        let store = Store::trainable(start, device);
        let sites = RefCell::default();
        let vae = Vae::new(&store.root(&sites), &config);
        let parameters = store.finish()?;
        let scenes = Scenes::new(plan.seed, mix, config.sample_size as usize);
        let continues = start.is_some();
        Ok(Self { vae, parameters, config, continues, weights, scenes, plan: plan.clone(), device })
    }

    /// Standard deviation of the latents and peak signal-to-noise ratio in dB, on scenes
    /// never trained on.
    ///
    /// # Errors
    /// Never in practice: nothing taps.
    pub fn measure(&self) -> Result<(f64, f64), TrainError> {
        let _no_grad = tch::no_grad_guard();
        let images = self.scenes.images(HELD_BACK, MEASURED, self.device);
        let cx = &mut Cx::silent();
        let latents = self.vae.encode(&images, cx)?.mean;
        let restored = from_images(&to_images(&self.vae.decode(&latents, cx)?));
        // Pixels span 2 here, so the peak's square is 4.
        let mse = (restored.to_device(self.device) - images).square().mean(Kind::Double);
        let psnr = 10.0 * (4.0 / mse.double_value(&[])).log10();
        Ok((latents.std(true).double_value(&[]), psnr))
    }
}

impl Objective for VaeObjective {
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn settings(&self) -> serde_json::Value {
        json!({ "config": self.config, "continues": self.continues, "loss": self.weights })
    }

    fn loss(&mut self, step: u64) -> Result<Tensor, TrainError> {
        let batch = self.plan.batch;
        let images = self.scenes.images(step * batch as u64, batch, self.device);
        let cx = &mut Cx::silent();
        let moments = self.vae.encode(&images.to_kind(self.plan.kind()), cx)?;
        let restored = self.vae.decode(&moments.sample(), cx)?.to_kind(Kind::Float);
        let error = &restored - &images;
        let neighbours = |x: &Tensor, axis: i64| x.diff(1, axis, None::<Tensor>, None::<Tensor>);
        let gradient = neighbours(&error, 2).abs().mean(Kind::Float)
            + neighbours(&error, 3).abs().mean(Kind::Float);
        let numbers = moments.mean.numel() as f64 / batch as f64;
        let kl = moments.kl().to_kind(Kind::Float).mean(Kind::Float) / numbers;
        let w = self.weights;
        Ok(error.abs().mean(Kind::Float) * w.l1
            + error.square().mean(Kind::Float) * w.l2
            + gradient * w.gradient
            + kl * w.kl)
    }

    fn preview(&mut self, folder: &Path, step: u64) -> Result<(), TrainError> {
        const PAIRS: usize = 24;
        let (_, originals) = self.scenes.rendered(HELD_BACK, PAIRS);
        let cx = &mut Cx::silent();
        let x = from_images(&originals).to_device(self.device);
        let restored = to_images(&self.vae.decode(&self.vae.encode(&x, cx)?.mean, cx)?);
        let pairs: Vec<_> = originals.into_iter().zip(restored).flat_map(|(a, b)| [a, b]).collect();
        let path = folder.join(format!("preview-{step:06}.png"));
        contact_sheet(&pairs, 8)
            .save(&path)
            .map_err(|e| TrainError::Io { path, source: std::io::Error::other(e) })
    }

    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        let (std, _) = self.measure()?;
        let config = VaeConfig { scaling_factor: 1.0 / std, ..self.config.clone() };
        let class = [("_class_name", json!("AutoencoderKL"))];
        let weights = ("diffusion_pytorch_model", &self.parameters);
        export_part(folder, "vae", (&config, &class), weights)
    }
}
