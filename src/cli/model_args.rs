//! Which model a command opens, how its files are read, and where it computes.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;
use tch::{Cuda, Device, Kind};

use crate::model::attention::AttentionKernel;
use crate::model::checkpoint::{DiffusionModel, ModelSource, Placement};
use crate::model::files::PredictionType;
use crate::run::{FileRecord, ModelRecord, RuntimeRecord};

/// Which model, and where it computes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// `shapes` (built in), a folder in diffusers layout, a checkpoint in one .safetensors file,
    /// or the id of a model on the hub that was fetched
    #[arg(long, value_name = "shapes|DIR|FILE|ID", default_value = "shapes")]
    pub model: String,
    #[command(flatten)]
    pub load: LoadArgs,
    /// auto, cpu or cuda
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Kind of weights and activations
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    pub dtype: Dtype,
    /// Attention kernel: explicit everywhere, or only where probabilities are watched
    #[arg(long, value_enum, default_value_t = AttentionKernel::Auto)]
    pub attention: AttentionKernel,
}

/// How a model's files are read.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct LoadArgs {
    /// Take the weights of this variant, such as fp16 [default: the plain ones, or the only
    /// variant]
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
    /// Folder with vocab.json and merges.txt, which no single file holds [default: the model's, or
    /// that of openai/clip-vit-large-patch14 in the hub's cache]
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// What the denoiser was trained to predict [default: what its scheduler's config says; single
    /// files: v for Stable Diffusion 2, epsilon for others]
    #[arg(long, value_enum)]
    pub prediction: Option<PredictionType>,
}

impl LoadArgs {
    /// The model of this name, read so.
    pub fn source(&self, name: &str) -> ModelSource {
        ModelSource {
            name: name.to_owned(),
            variant: self.variant.clone(),
            tokenizer: self.tokenizer.clone(),
            prediction: self.prediction,
        }
    }

    /// The options that are set, by their names.
    pub fn options(&self) -> Vec<(&'static str, String)> {
        let prediction =
            self.prediction.and_then(|p| Some(p.to_possible_value()?.get_name().to_owned()));
        let tokenizer = self.tokenizer.as_ref().map(|folder| folder.display().to_string());
        let all = [
            ("variant", self.variant.clone()),
            ("tokenizer", tokenizer),
            ("prediction", prediction),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Kind of weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// 32 bits
    F32,
    /// 16 bits with the range of f32
    Bf16,
    /// 16 bits (GPUs)
    F16,
}

impl Dtype {
    fn kind(self) -> Kind {
        match self {
            Dtype::F32 => Kind::Float,
            Dtype::Bf16 => Kind::BFloat16,
            Dtype::F16 => Kind::Half,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::Bf16 => "bf16",
            Dtype::F16 => "f16",
        }
    }
}

/// The device a name stands for.
pub fn device(name: &str) -> Result<Device> {
    let cuda = Cuda::is_available();
    match name {
        "auto" | "cuda" if cuda => Ok(Device::Cuda(0)),
        "auto" | "cpu" => Ok(Device::Cpu),
        other => {
            let available = if cuda { "auto, cpu, cuda" } else { "auto, cpu" };
            bail!("device `{other}` is not available here; available: {available}")
        }
    }
}

impl ModelArgs {
    /// Opens the model.
    pub fn open(&self) -> Result<DiffusionModel> {
        Ok(DiffusionModel::open(self.load.source(&self.model), self.placement()?)?)
    }

    /// Where it computes, and in which kind of numbers.
    pub fn placement(&self) -> Result<Placement> {
        Ok(Placement {
            device: device(&self.device)?,
            kind: self.dtype.kind(),
            kernel: self.attention,
        })
    }

    /// What the manifest says of the model. Reads every byte of its weights.
    pub fn record(&self, model: &DiffusionModel) -> ModelRecord {
        let weights = model.digests().into_iter().map(|file| FileRecord {
            path: file.path,
            bytes: file.bytes,
            sha256: file.sha256,
        });
        let parameters = u64::try_from(model.parameter_count).ok();
        ModelRecord { name: self.model.clone(), parameters, weights: weights.collect() }
    }

    /// What the manifest says of where it runs.
    pub fn runtime(&self, model: &DiffusionModel) -> RuntimeRecord {
        RuntimeRecord {
            libtorch: crate::LIBTORCH_VERSION.to_owned(),
            tch: crate::TCH_VERSION.to_owned(),
            device: format!("{:?}", model.placement.device).to_lowercase(),
            dtype: self.dtype.name().to_owned(),
            threads: tch::get_num_threads().max(1) as usize,
            attention_kernel: match self.attention {
                AttentionKernel::Auto => "auto".to_owned(),
                AttentionKernel::Explicit => "explicit".to_owned(),
            },
        }
    }
}
