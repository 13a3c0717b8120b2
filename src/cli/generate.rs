//! `probe generate`: images from a prompt.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tch::{Kind, Tensor};

use super::image_args::{ImageArgs, inversion_sentence, write_source};
use super::model_args::ModelArgs;
use super::output::{Format, OutputArgs, line};
use super::run_model::{SampleArgs, finish, generate_with_bar, manifest, warn_of_cut_words};
use crate::figure::encode_png;
use crate::model::parameters::save_tensors;
use crate::pipeline::{Generation, Request};
use crate::run::{RunFolder, digest_bytes};
use crate::sampler::NoiseSource;
use crate::table::{ImageRow, frame, write_parquet};

const EXAMPLES: &str = "\
Examples:
  probe generate --prompt \"a red ball\"
  probe generate --prompt \"three green cones\" --count 4 --seed 7 --out pictures
  probe generate --prompt \"a blue ring\" --guidance 1 --steps 50 --sampler ddpm
  probe generate --prompt \"a red ball\" --model path/to/stable-diffusion-v1-5 --dtype bf16
  probe generate --prompt \"a red ball\" --edit \"mask=red\"
  probe generate --prompt \"a red ball\" --edit \"prompt='a blue ball' sites=up.* steps=10-24\"
  probe generate --prompt \"a blue ball\" --image ball.png --strength 0.7
  probe generate --prompt \"a red ball\" --image ball.png --invert --guidance 1 --steps 50 \
      --save-latents noise.safetensors

--save-latents writes the unit noise the run starts from; --init-latents starts from such a
file, here or in another tool. --save-noise writes what DDPM, Euler ancestral and LCM draw later.

--image encodes an image (the mean of the autoencoder's distribution), noises it to the timestep
that leaves a share --strength of the steps (default 0.8), and samples on from there with any
sampler; the first step is the one diffusers begins at. With --invert DDIM is run backwards from
the image to its noise, and forwards again; how close that comes is printed and in the table
`inversion`, and --save-latents writes the noise.

A prompt of more than 75 tokens is cut, and what was cut is said; --long-prompt chunk encodes
75 tokens at a time and joins the chunks (the pooled prompt of SDXL is that of the first).
Attention weights such as (word:1.2) are not interpreted: they are text like any other.";

/// Generate images.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Write the unit noise the run starts from: safetensors, one tensor `latents` [n, c, h, w]
    #[arg(long, value_name = "FILE")]
    save_latents: Option<PathBuf>,
    /// Write the denoised latents, before the autoencoder: safetensors, likewise
    #[arg(long, value_name = "FILE")]
    save_final_latents: Option<PathBuf>,
    /// Write the noise that the samplers with noise at each step draw, in their order:
    /// safetensors, one tensor `noise` [steps, n, c, h, w]
    #[arg(long, value_name = "FILE")]
    save_noise: Option<PathBuf>,
}

/// Strength where none is given, as in diffusers.
const DEFAULT_STRENGTH: f64 = 0.8;

/// Runs the command.
pub fn run(mut args: Args) -> Result<u8> {
    let files = [&args.save_latents, &args.save_final_latents, &args.save_noise];
    for file in files.into_iter().flatten() {
        check_writable(file)?;
    }
    let file = args.image.read(&mut args.sample)?;
    let sha256 = file.as_ref().map(|file| file.sha256.clone());
    let model = args.model.open()?;
    args.sample.settle(&model)?;
    let mut request = args.sample.request(&model)?;
    request.image = file.map(|file| args.image.to_draw_from(file, DEFAULT_STRENGTH));
    request.check(&model)?;
    warn_of_cut_words(&model, &request)?;
    let mut edits = args.sample.edits(&model, &request)?;
    let mut manifest = manifest("generate", &args.model, &model, &request);
    args.image.record(&mut manifest, &request, sha256);
    let mut spec = args.sample.spec("generate", &args.model);
    args.image.add_to(&mut spec);
    let spec = toml::to_string_pretty(&spec)?;
    let folder = RunFolder::create(&args.output.out, "generate", &spec)?;
    let made = generate_with_bar(&model, &request, Some(&mut edits))?;

    let mut rows = Vec::new();
    for (i, image) in made.images.iter().enumerate() {
        let file = format!("images/{i:03}.png");
        let png = encode_png(image)?;
        folder.write(&file, &png)?;
        rows.push(ImageRow {
            sample: i as u32,
            prompt: request.prompts[i].clone(),
            seed: request.seeds[i],
            file,
            sha256: digest_bytes(&png),
        });
    }
    let mut images = frame(rows)?;
    write_parquet::<ImageRow>(&mut images, &folder.path("tables/images.parquet")?)?;
    let inversion = write_source(&folder, &model, &request, &made)?;
    manifest.schemas = crate::table::versions();
    let at = finish(folder, manifest, &args.model, &model)?;
    for (file, latents) in
        [(&args.save_latents, &made.init_latents), (&args.save_final_latents, &made.latents)]
    {
        if let Some(file) = file {
            save_tensor(file, "latents", latents)?;
        }
    }
    if let Some(file) = &args.save_noise {
        save_tensor(file, "noise", &noise_of_steps(&request, &made))?;
    }
    match (args.output.format.format, inversion) {
        (Format::Table, inversion) => {
            if let Some(row) = &inversion {
                line(&inversion_sentence(row))?;
            }
            line(&at.display().to_string())?;
        }
        (_, Some(row)) => args.output.format.print(&frame([row])?)?,
        (_, None) => args.output.format.print(&images)?,
    }
    Ok(0)
}

/// Fails now rather than after the run.
fn check_writable(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::NamedTempFile::new_in(folder).with_context(|| {
        format!("{}: cannot write there; choose another folder", file.display())
    })?;
    Ok(())
}

fn save_tensor(file: &Path, name: &str, tensor: &Tensor) -> Result<()> {
    Ok(save_tensors(file, &[(name.to_owned(), tensor.to_kind(Kind::Float))])?)
}

/// The noise of a request's steps, [steps, n, c, h, w]: what its seeds give after the noise that
/// a run starts from. Samplers without noise do not ask for it.
fn noise_of_steps(request: &Request, made: &Generation) -> Tensor {
    let mut source = NoiseSource::new(&request.seeds);
    let rows = (0..=made.timesteps.len()).map(|_| source.like(&made.init_latents));
    Tensor::stack(&rows.skip(1).collect::<Vec<_>>(), 0)
}
