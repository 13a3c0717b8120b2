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
    /// How much more the errors count where the image has detail: each pixel's errors are
    /// weighted by 1 + detail × (the image's gradient around it, over its mean in the batch).
    /// Small patterned objects and letters are few pixels; without it they hardly count.
    pub detail: f64,
}

impl Default for VaeLoss {
    fn default() -> Self {
        Self { l1: 1.0, l2: 4.0, gradient: 1.0, kl: 1e-5, detail: 0.0 }
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

/// Differences of neighbouring pixels along one axis.
fn differences(x: &Tensor, axis: i64) -> Tensor {
    x.diff(1, axis, None::<Tensor>, None::<Tensor>)
}

/// How much each pixel of images [n, 3, h, w] counts, [n, 1, h, w]: see [`VaeLoss::detail`].
fn detail_weights(images: &Tensor, detail: f64) -> Tensor {
    const AROUND: [i64; 2] = [5, 5];
    const BORDER: [i64; 2] = [2, 2];
    let of = |axis: i64, padding: [i64; 4]| {
        differences(images, axis)
            .abs()
            .mean_dim([1_i64].as_slice(), true, Kind::Float)
            .pad(padding, "constant", None)
    };
    let gradient = of(2, [0, 0, 1, 0]) + of(3, [1, 0, 0, 0]);
    let around = gradient.avg_pool2d(AROUND, [1, 1], BORDER, false, false, None);
    let mean = around.mean(Kind::Float);
    around / (mean + f64::EPSILON) * detail + 1.0
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
        let w = self.weights;
        let counts = detail_weights(&images, w.detail);
        let across = &counts.narrow(2, 1, counts.size()[2] - 1);
        let along = &counts.narrow(3, 1, counts.size()[3] - 1);
        let gradient = (differences(&error, 2).abs() * across).mean(Kind::Float)
            + (differences(&error, 3).abs() * along).mean(Kind::Float);
        let numbers = moments.mean.numel() as f64 / batch as f64;
        let kl = moments.kl().to_kind(Kind::Float).mean(Kind::Float) / numbers;
        Ok((error.abs() * &counts).mean(Kind::Float) * w.l1
            + (error.square() * &counts).mean(Kind::Float) * w.l2
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
