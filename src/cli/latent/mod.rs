//! `probe latent`: what the autoencoder keeps, and what a latent's numbers stand for.

mod round_trips;

use std::path::PathBuf;

use anyhow::{Result, bail};
use image::RgbImage;
use rayon::prelude::*;

use super::image_file::read_image;
use super::kept::{KeepArgs, Kept};
use super::model_args::ModelArgs;
use super::output::{Format, OutputArgs, line, note, seed_value};
use super::run_model::{facts, manifest, quoted};
use crate::figure::{Figure, WIDE};
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Request, resized};
use crate::probe::latent::Change;
use crate::probe::latent::report::{Outcome, SHEET, SHEET_CAPTION};
use crate::probe::stored::keep_facts;
use crate::report::{Fact, Picture, Rerun};
use crate::run::{Manifest, RunFolder};
use crate::table::{LatentBandRow, LatentImpulseRow, LatentSurvivalRow, frame, write_parquet};
use crate::world::{self, Category, Expectations, Generator, Mix, Split};
use round_trips::RoundTrips;

const EXAMPLES: &str = "\
Images go through the encoder and come back; nothing is sampled. Measured, with intervals over
images: PSNR; the error in each band of radial frequency; each attribute that captions name (shape,
colour, finish, relation, word …), as the judge sees it after the round trip; the same with latents
that are quantised, blurred or noised before they are decoded; and how a change of one number of
the latent spreads in the image. Controls: the images themselves, an autoencoder with random
weights, each image held against another.

Scenes are rendered in the model's own size, so that any checkpoint's autoencoder can be asked. With
--image there are no captions, and the judge is left out.

Examples:
  probe latent                                    # 100 rendered scenes
  probe latent --category word --count 200 --bits 8,4,2
  probe latent --model path/to/stable-diffusion-v1-5 --count 20
  probe latent --model path/to/stable-diffusion-v1-5 --image dog.png cat.png";

/// Scenes where no image is given.
const DEFAULT_COUNT: u64 = 100;

/// What the autoencoder keeps: by frequency, by attribute, with changed latents.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Images to use instead of rendered scenes (PNG, JPEG, WebP); resized to the model's own size
    #[arg(long = "image", value_name = "FILE", num_args = 1.., conflicts_with_all = ["count", "categories"])]
    images: Vec<PathBuf>,
    /// Rendered scenes [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=20_000))]
    count: Option<u64>,
    /// Categories of scenes, all if none is given
    #[arg(long = "category", value_name = "NAME", value_parser = super::world::category_parser())]
    categories: Vec<Category>,
    /// Seed of scenes and noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Quantise latents to so many bits a number, 1 to 16
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [8_u32, 6, 5, 4, 3, 2, 1], value_parser = clap::value_parser!(u32).range(1..=16))]
    bits: Vec<u32>,
    /// Blur latents by Gaussians of these standard deviations in cells
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [0.3, 0.5, 0.7, 1.0, 1.5, 2.0], allow_negative_numbers = true)]
    blur: Vec<f64>,
    /// Add noise of these standard deviations to latents; sampling starts from noise of 1
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0], allow_negative_numbers = true)]
    noise: Vec<f64>,
    /// Images whose latents' numbers are changed one by one; 0 leaves that out
    #[arg(long, value_name = "N", default_value_t = 8)]
    impulses: usize,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

/// Images with what their captions say.
struct Shown {
    images: Vec<RgbImage>,
    captions: Vec<String>,
    said: Vec<Option<Expectations>>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let changes = changes(&args)?;
    // Files are read before the model, which takes longer.
    let given = args.images.iter().map(|path| read_image(path)).collect::<Result<Vec<_>>>()?;
    let mut model = args.model.open()?;
    let native = model.native_size();
    let shown = if given.is_empty() {
        rendered(&args, usize::try_from(native)?)?
    } else {
        let side = u32::try_from(native)?;
        let images = given.iter().map(|file| resized(&file.image, [side, side])).collect();
        let captions = args.images.iter().map(|path| path.display().to_string()).collect();
        Shown { images, captions, said: vec![None; given.len()] }
    };
    let request = Request::new(&model, shown.captions[0].clone())?;
    let mut manifest = manifest("latent", &args.model, &model, &request);
    describe(&mut manifest, &shown);
    let spec = toml::to_string_pretty(&spec(&args))?;
    let record = args.model.record(&model);
    let (kept, folder) = Kept::open(args.keep, &args.output, ("latent", &spec), &record)?;

    let trips = RoundTrips {
        images: &shown.images,
        said: &shown.said,
        changes: &changes,
        impulses: args.impulses,
        seed: args.seed,
        kept: &kept,
    };
    let (run, sheet) = trips.run(&mut model, folder.name(), &shown.captions)?;
    let outcome = Outcome::new(&run)?;
    write_tables(&folder, &outcome)?;
    folder.write(&format!("figures/{SHEET}.png"), &sheet.png(WIDE)?)?;
    for (name, figure) in outcome.figures() {
        folder.write(&format!("figures/{name}.png"), &figure.png(WIDE)?)?;
    }
    let rerun = Rerun { command: command(&args), spec };
    let facts = looked_facts(facts(&model, &request, &manifest), &model, &shown);
    keep_facts(&mut manifest, &facts);
    let sheet = Picture::new(SHEET, SHEET_CAPTION, &sheet)?;
    let page = outcome.report(sheet, facts, rerun)?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    manifest.model = Some(record);
    let at = folder.finish(manifest)?;
    kept.finish()?;

    match args.output.format.format {
        Format::Table => {
            outcome.findings().iter().try_for_each(|finding| line(&finding.sentence))?;
        }
        _ => args.output.format.print(&frame(outcome.survival.clone())?)?,
    }
    note(&format!("report: {}", at.join("report.html").display()));
    Ok(0)
}

/// What is done to latents, each once.
fn changes(args: &Args) -> Result<Vec<Change>> {
    for (flag, values) in [("blur", &args.blur), ("noise", &args.noise)] {
        if let Some(broken) = values.iter().find(|value| !(value.is_finite() && **value > 0.0)) {
            bail!("--{flag} {broken}: give numbers above 0 between commas, such as 0.5,1");
        }
    }
    let mut changes = vec![Change::None];
    let bits = args.bits.iter().map(|&bits| Change::Quantised { bits });
    let blurs = args.blur.iter().map(|&sigma| Change::Blurred { sigma });
    let noises = args.noise.iter().map(|&sigma| Change::Noised { sigma });
    for change in bits.chain(blurs).chain(noises) {
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    Ok(changes)
}

/// Scenes that training never saw.
fn rendered(args: &Args, size: usize) -> Result<Shown> {
    let categories =
        if args.categories.is_empty() { Category::ALL.to_vec() } else { args.categories.clone() };
    let mix = Mix::from_weights(categories.into_iter().map(|category| (category, 1.0)))?;
    let seed = args.seed.wrapping_add(super::run_model::WORLD_SEED);
    let generator = Generator::new(seed, mix, Split::Train);
    let count = args.count.unwrap_or(DEFAULT_COUNT);
    let scenes: Vec<world::Sample> = (0..count).map(|i| generator.sample(i)).collect();
    Ok(Shown {
        images: scenes.par_iter().map(|sample| world::render(&sample.scene, size)).collect(),
        said: scenes.iter().map(|sample| world::parse(&sample.caption).ok()).collect(),
        captions: scenes.into_iter().map(|sample| sample.caption).collect(),
    })
}

fn describe(manifest: &mut Manifest, shown: &Shown) {
    manifest.schemas = crate::table::versions();
    manifest.set_prompts(shown.captions.clone());
    manifest.sampling = None;
    if shown.said.iter().any(Option::is_some) {
        manifest.world_version = Some(world::VERSION.to_string());
        manifest.judge_version = Some(format!("{} {}", judge::NAME, judge::VERSION));
    }
}

fn write_tables(folder: &RunFolder, outcome: &Outcome) -> Result<()> {
    let path = |name: &str| folder.path(&format!("tables/{name}.parquet"));
    let mut rows = frame(outcome.survival.clone())?;
    write_parquet::<LatentSurvivalRow>(&mut rows, &path("latent_survival")?)?;
    let mut rows = frame(outcome.bands.clone())?;
    write_parquet::<LatentBandRow>(&mut rows, &path("latent_band")?)?;
    let mut rows = frame(outcome.impulses.clone())?;
    write_parquet::<LatentImpulseRow>(&mut rows, &path("latent_impulse")?)?;
    Ok(())
}

/// What stands in the head of the report: nothing is sampled here.
fn looked_facts(facts: Vec<Fact>, model: &DiffusionModel, shown: &Shown) -> Vec<Fact> {
    let mut kept: Vec<Fact> = facts
        .into_iter()
        .filter(|fact| !["sampler", "guidance", "seeds"].contains(&fact.label.as_str()))
        .collect();
    let kind = if shown.said.iter().any(Option::is_some) { "rendered scenes" } else { "given" };
    kept.push(Fact { label: "images".to_owned(), value: format!("{} {kind}", shown.images.len()) });
    let (channels, by) = (model.vae_config.latent_channels, model.downscale());
    let value = format!("{channels} numbers for each {by}×{by} pixels");
    kept.push(Fact { label: "latents".to_owned(), value });
    kept
}

/// Options that are lists of numbers, as they stand on a command line.
fn lists(args: &Args) -> [(&'static str, String); 3] {
    fn joined<T: ToString>(values: &[T]) -> String {
        values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
    }
    [("bits", joined(&args.bits)), ("blur", joined(&args.blur)), ("noise", joined(&args.noise))]
}

/// The arguments as a spec that makes the same run again.
fn spec(args: &Args) -> toml::Table {
    let mut spec = toml::Table::new();
    let mut put = |key: &str, value: toml::Value| spec.insert(key.to_owned(), value);
    put("kind", "latent".into());
    put("version", 1.into());
    put("model", args.model.model.clone().into());
    for (name, value) in args.model.load.options() {
        put(name, value.into());
    }
    put("dtype", args.model.dtype.name().into());
    if args.images.is_empty() {
        put("count", seed_value(args.count.unwrap_or(DEFAULT_COUNT)));
    } else {
        let files: Vec<String> = args.images.iter().map(|p| p.display().to_string()).collect();
        put("image", files.into());
    }
    if !args.categories.is_empty() {
        let names: Vec<&str> = args.categories.iter().map(|category| category.name()).collect();
        put("category", names.into());
    }
    put("seed", seed_value(args.seed));
    for (name, list) in lists(args) {
        put(name, list.into());
    }
    put("impulses", seed_value(args.impulses as u64));
    spec
}

/// The command line that makes the same run again.
fn command(args: &Args) -> String {
    let mut words = vec!["probe latent".to_owned()];
    let mut add = |flag: &str, value: String| words.push(format!("--{flag} {}", quoted(&value)));
    add("model", args.model.model.clone());
    for (name, value) in args.model.load.options() {
        add(name, value);
    }
    for path in &args.images {
        add("image", path.display().to_string());
    }
    if args.images.is_empty() {
        add("count", args.count.unwrap_or(DEFAULT_COUNT).to_string());
    }
    for category in &args.categories {
        add("category", category.name().to_owned());
    }
    add("seed", args.seed.to_string());
    for (name, list) in lists(args) {
        add(name, list);
    }
    add("impulses", args.impulses.to_string());
    words.join(" ")
}
