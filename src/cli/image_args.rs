//! The arguments of runs that are given an image.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::image_file::{ImageFile, read_image};
use super::run_model::{SampleArgs, quoted};
use super::steps;
use crate::figure::encode_png;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Generation, ImageInput, Purpose, Reconstruction, Request};
use crate::run::{ImageRecord, Manifest, RunFolder};
use crate::sampler::{SamplerKind, SchedulerConfig};
use crate::table::{InversionRow, frame, write_parquet};

/// The sampler of a run that only looks, as the manifest names it.
pub(super) const NOT_SAMPLED: &str = "none";

/// An image to begin with.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Image")]
pub struct ImageArgs {
    /// Image to begin with instead of noise alone (PNG, JPEG, WebP); it is resized to --width and
    /// --height, or the model's own size, whatever its proportions
    #[arg(long, value_name = "FILE", conflicts_with = "init_latents")]
    pub image: Option<PathBuf>,
    /// Noise the image so far that this share of the steps is left, above 0 to 1, and sample on
    /// from there; 1 leaves least of the image
    #[arg(long, value_name = "S", requires = "image", allow_negative_numbers = true)]
    pub strength: Option<f64>,
    /// Find the noise that DDIM draws the image from, and draw it from that again; guidance 1
    /// comes closest
    #[arg(long, requires = "image", conflicts_with = "strength")]
    pub invert: bool,
}

impl ImageArgs {
    /// Reads the image, before anything else is done. Inversion is of DDIM, whatever sampler the
    /// model comes with.
    pub fn read(&self, sample: &mut SampleArgs) -> Result<Option<ImageFile>> {
        if self.invert {
            sample.sampler.get_or_insert(SamplerKind::Ddim);
            if sample.guidance != 1.0 {
                tracing::warn!(
                    "inversion at guidance {} strays: each step back uses a prediction from \
                     before it, and guidance magnifies the difference; --guidance 1 comes closest",
                    sample.guidance
                );
            }
        }
        self.image.as_deref().map(read_image).transpose()
    }

    /// The purpose that was asked for, if any was.
    fn named(&self) -> Option<Purpose> {
        match self.strength {
            Some(strength) => Some(Purpose::Start { strength }),
            None => self.invert.then_some(Purpose::Invert),
        }
    }

    /// An image to draw from.
    pub fn to_draw_from(&self, file: ImageFile, strength: f64) -> ImageInput {
        let purpose = self.named().unwrap_or(Purpose::Start { strength });
        ImageInput { image: file.image, purpose }
    }

    /// An image to draw from, if that was asked for, or else to look at, at some timesteps.
    pub fn to_look_at(
        &self,
        file: ImageFile,
        at_steps: Option<&str>,
        model: &DiffusionModel,
    ) -> Result<ImageInput> {
        let purpose = match (self.named(), at_steps) {
            (Some(named), _) => named,
            (None, Some(list)) => {
                let count = SchedulerConfig::read(&model.scheduler)?.num_train_timesteps;
                let timesteps = steps::parse(list, count.saturating_sub(1), "timestep")?;
                Purpose::Look { timesteps: timesteps.into_iter().rev().map(|t| t as i64).collect() }
            }
            (None, None) => bail!(
                "--image alone does not say what to do with it: look at it at timesteps of \
                 training with --at-steps 100,500,900, sample on from it with --strength 0.6, or \
                 reconstruct it with --invert"
            ),
        };
        Ok(ImageInput { image: file.image, purpose })
    }

    /// Says of the image in the manifest what it was and what it was for.
    pub fn record(&self, manifest: &mut Manifest, request: &Request, sha256: Option<String>) {
        let (Some(path), Some(sha256), Some(input), Some(sampling)) =
            (&self.image, sha256, &request.image, &mut manifest.sampling)
        else {
            return;
        };
        let (purpose, strength, timesteps) = match &input.purpose {
            Purpose::Start { strength } => ("start", Some(*strength), Vec::new()),
            Purpose::Look { timesteps } => {
                NOT_SAMPLED.clone_into(&mut sampling.sampler);
                sampling.steps = timesteps.len();
                ("look", None, timesteps.clone())
            }
            Purpose::Invert => ("invert", None, Vec::new()),
        };
        sampling.image = Some(ImageRecord {
            path: path.display().to_string(),
            sha256,
            purpose: purpose.to_owned(),
            strength,
            timesteps,
        });
    }

    /// The arguments as keys of a spec.
    pub fn add_to(&self, spec: &mut toml::Table) {
        if let Some(path) = &self.image {
            spec.insert("image".into(), path.display().to_string().into());
        }
        if let Some(strength) = self.strength {
            spec.insert("strength".into(), strength.into());
        }
        if self.invert {
            spec.insert("invert".into(), true.into());
        }
    }

    /// The arguments as words of a command line, each with a space before it.
    pub fn words(&self) -> String {
        let mut words = String::new();
        if let Some(path) = &self.image {
            words += &format!(" --image {}", quoted(&path.display().to_string()));
        }
        if let Some(strength) = self.strength {
            words += &format!(" --strength {strength}");
        }
        if self.invert {
            words += " --invert";
        }
        words
    }
}

/// Writes the image of a run as the run took it. Of an inversion also the image after the
/// autoencoder alone, and how close the reconstruction came.
pub(super) fn write_source(
    folder: &RunFolder,
    model: &DiffusionModel,
    request: &Request,
    made: &Generation,
) -> Result<Option<InversionRow>> {
    let (Some(source), Some(input)) = (&made.source, &request.image) else { return Ok(None) };
    folder.write("images/input.png", &encode_png(&source.image)?)?;
    if input.purpose != Purpose::Invert {
        return Ok(None);
    }
    let round_trip = source.round_trip(model)?;
    folder.write("images/autoencoder.png", &encode_png(&round_trip)?)?;
    let reconstruction = Reconstruction::new(made, &round_trip)?;
    let row = InversionRow {
        prompt: request.prompts[0].clone(),
        steps: request.steps as u32,
        guidance: request.guidance,
        latent_error: reconstruction.latent_error,
        psnr_to_round_trip: reconstruction.psnr_to_round_trip,
        psnr_to_original: reconstruction.psnr_to_original,
        psnr_of_round_trip: reconstruction.psnr_of_round_trip,
        noise_mean: reconstruction.noise_mean,
        noise_std: reconstruction.noise_std,
    };
    let path = folder.path("tables/inversion.parquet")?;
    write_parquet::<InversionRow>(&mut frame([row.clone()])?, &path)?;
    Ok(Some(row))
}

/// What an inversion came to, in words.
pub(super) fn inversion_sentence(row: &InversionRow) -> String {
    let ratio = |value: Option<f64>| match value {
        Some(decibel) => format!("{decibel:.2} dB"),
        None => "equal in every byte".to_owned(),
    };
    format!(
        "reconstruction: PSNR to the image after the autoencoder {}, to the image itself {} (the \
         autoencoder alone: {}); relative error of the latent {:.4}; the noise found has mean \
         {:.3} and standard deviation {:.3}",
        ratio(row.psnr_to_round_trip),
        ratio(row.psnr_to_original),
        ratio(row.psnr_of_round_trip),
        row.latent_error,
        row.noise_mean,
        row.noise_std
    )
}
