//! `probe forward`: the forward process in closed form, x_t = √ᾱ x0 + √(1 − ᾱ) ε.

use std::path::PathBuf;

use anyhow::{Result, bail};
use image::RgbImage;
use tch::Tensor;

use super::image_file::read_image;
use super::model_args::LoadArgs;
use super::output::{OutputArgs, note, seed_value};
use super::run_model::quoted;
use super::steps;
use super::world::caption_image;
use crate::figure::{Figure, FilmStrip, WIDE, encode_png};
use crate::model::checkpoint::ModelFiles;
use crate::pipeline::{from_images, to_images};
use crate::probe::forward;
use crate::probe::stored::keep_facts;
use crate::report::{Fact, Rerun};
use crate::run::{Manifest, RunFolder, digest_bytes};
use crate::sampler::{NoiseSource, Schedule, SchedulerConfig, add_noise};
use crate::table::{self, ImageRow, Row, ScheduleRow};

const EXAMPLES: &str = "\
The schedule is the model's; the image is noised as it is, in pixels scaled to [-1, 1]. The run
folder holds the schedule as a table, its curves, the noised images and a report; the schedule
at the timesteps shown goes to stdout. Only the model's scheduler config is read.

Examples:
  probe forward
  probe forward --prompt \"three green cones\" --timesteps 0,250,500,750,999
  probe forward --image photo.png --timesteps 100-104 --format json";

/// The forward process: noise an image, show schedule and signal-to-noise ratio.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Image to noise: PNG, JPEG or WebP
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    image: Option<PathBuf>,
    /// Caption of the world; its scene is rendered and noised
    #[arg(long, default_value = "red ball left of blue cube")]
    prompt: String,
    /// Side of the rendered scene in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=2048))]
    size: u32,
    /// Timesteps to show, such as 0,250,500-503; 0 is the least noisy [default: eight of them]
    #[arg(long, visible_alias = "at-steps", value_name = "LIST")]
    timesteps: Option<String>,
    /// Seed of scene and noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Model whose schedule it is: `shapes` (built in), a folder, a file or an id on the hub
    #[arg(long, value_name = "shapes|DIR|FILE|ID", default_value = "shapes")]
    model: String,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Frames of the film strip where no timesteps are named.
const DEFAULT_FRAMES: usize = 8;
/// Most frames: each is written as an image and shown in the report.
const MOST_FRAMES: usize = 100;

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let files = ModelFiles::find(args.load.source(&args.model))?;
    let config = SchedulerConfig::read(&files.scheduler()?)?;
    let schedule = Schedule::new(&config)?;
    let shown = timesteps(args.timesteps.as_deref(), schedule.len())?;
    let image = match &args.image {
        Some(path) => read_image(path)?.image,
        None => caption_image(&args.prompt, args.seed, args.size as usize)?,
    };
    let spec = args.spec()?;
    let folder = RunFolder::create(&args.output.out, "forward", &spec)?;
    let noised = noised(&image, &schedule, &shown, args.seed);
    let rows: Vec<ScheduleRow> = (0..schedule.len()).map(|t| row(&schedule, t)).collect();

    write_tables(&folder, &args, &rows, &shown, &noised)?;
    let strip = forward::strip(&rows, &image, &shown, &noised);
    write_figures(&folder, &rows, &strip)?;
    let facts = facts(&args, &config);
    let mut manifest = Manifest::new("forward");
    keep_facts(&mut manifest, &facts);
    let head = (args.source(), facts);
    let page = forward::report(&rows, forward::picture(&strip)?, head, rerun(spec))?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    manifest.schemas = [ScheduleRow::TABLE, ImageRow::TABLE]
        .map(|table| (table.name.to_owned(), table.version))
        .into();
    if args.image.is_none() {
        manifest.world_version = Some(crate::world::VERSION.to_string());
        manifest.set_prompts(vec![args.prompt.clone()]);
    }
    note(&folder.finish(manifest)?.display().to_string());
    args.output.format.print(&table::frame(shown.iter().map(|&t| rows[t].clone()))?)?;
    Ok(0)
}

/// The timesteps to show, least noisy first.
fn timesteps(list: Option<&str>, count: usize) -> Result<Vec<usize>> {
    let last = count - 1;
    let Some(list) = list else {
        let frames = DEFAULT_FRAMES.min(count);
        return Ok((0..frames).map(|i| i * last / (frames - 1).max(1)).collect());
    };
    let shown = steps::parse(list, last, "timestep")?;
    if shown.len() > MOST_FRAMES {
        bail!("{} timesteps: name at most {MOST_FRAMES}, as in 0,{},{last}", shown.len(), last / 2);
    }
    Ok(shown.into_iter().collect())
}

/// The image at each of the timesteps, with the same noise: ε is drawn once, as in the closed
/// form, so that neighbouring frames differ by ᾱ alone.
fn noised(image: &RgbImage, schedule: &Schedule, shown: &[usize], seed: u64) -> Vec<RgbImage> {
    let x0 = from_images(std::slice::from_ref(image));
    let eps = NoiseSource::new(&[seed]).draw(&x0.size()[1..]);
    let at = |&t: &usize| {
        let alpha_bar = Tensor::from_slice(&[schedule.alpha_bar(t as i64) as f32]);
        to_images(&add_noise(&x0, &eps, &alpha_bar))
    };
    shown.iter().flat_map(at).collect()
}

fn row(schedule: &Schedule, t: usize) -> ScheduleRow {
    let timestep = t as i64;
    ScheduleRow {
        timestep: t as u32,
        beta: schedule.beta(timestep),
        alpha_bar: schedule.alpha_bar(timestep),
        sigma: schedule.sigma(timestep),
        snr: schedule.snr(timestep),
        log_snr: schedule.snr(timestep).ln(),
    }
}

fn write_tables(
    folder: &RunFolder,
    args: &Args,
    rows: &[ScheduleRow],
    shown: &[usize],
    noised: &[RgbImage],
) -> Result<()> {
    let path = folder.path("tables/schedule.parquet")?;
    table::write_parquet::<ScheduleRow>(&mut table::frame(rows.to_vec())?, &path)?;
    let mut images = Vec::new();
    for (sample, (t, image)) in shown.iter().zip(noised).enumerate() {
        let file = format!("images/t{t:04}.png");
        let png = encode_png(image)?;
        folder.write(&file, &png)?;
        images.push(ImageRow {
            sample: sample as u32,
            prompt: args.source(),
            seed: args.seed,
            sha256: digest_bytes(&png),
            file,
        });
    }
    let path = folder.path("tables/images.parquet")?;
    Ok(table::write_parquet::<ImageRow>(&mut table::frame(images)?, &path)?)
}

fn write_figures(folder: &RunFolder, rows: &[ScheduleRow], strip: &FilmStrip) -> Result<()> {
    let curves = forward::curves(rows);
    let curves = curves.iter().map(|(name, _, figure)| (*name, figure as &dyn Figure));
    for (name, figure) in curves.chain([(forward::STRIP, strip as &dyn Figure)]) {
        folder.write(&format!("figures/{name}.svg"), figure.svg(WIDE)?.as_str().as_bytes())?;
        folder.write(&format!("figures/{name}.png"), &figure.png(WIDE)?)?;
    }
    Ok(())
}

/// What stands in the head of the report.
fn facts(args: &Args, config: &SchedulerConfig) -> Vec<Fact> {
    let all = [
        ("Model", args.model.clone()),
        ("Timesteps", config.num_train_timesteps.to_string()),
        ("β", config.betas()),
        ("Seed", args.seed.to_string()),
    ];
    all.map(|(label, value)| Fact { label: label.to_owned(), value }).to_vec()
}

/// The command as it was given, and its spec.
fn rerun(spec: String) -> Rerun {
    let words = std::env::args_os().skip(1).map(|word| quoted(&word.to_string_lossy()));
    let command = std::iter::once("probe".to_owned()).chain(words).collect::<Vec<_>>().join(" ");
    Rerun { command, spec }
}

impl Args {
    /// What is noised.
    fn source(&self) -> String {
        match &self.image {
            Some(path) => path.display().to_string(),
            None => self.prompt.clone(),
        }
    }

    /// What was asked, as it stands in the run folder.
    fn spec(&self) -> Result<String> {
        let mut spec = toml::Table::new();
        spec.insert("kind".into(), "forward".into());
        spec.insert("version".into(), 1.into());
        spec.insert("model".into(), self.model.clone().into());
        match &self.image {
            Some(path) => spec.insert("image".into(), path.display().to_string().into()),
            None => spec.insert("prompt".into(), self.prompt.clone().into()),
        };
        spec.insert("size".into(), i64::from(self.size).into());
        spec.insert("seed".into(), seed_value(self.seed));
        if let Some(list) = &self.timesteps {
            spec.insert("timesteps".into(), list.clone().into());
        }
        Ok(toml::to_string_pretty(&spec)?)
    }
}
