//! `probe world`: scenes with captions and masks; the judge's calibration.

mod calibrate;

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use image::{GrayImage, Luma};
use ndarray::Array2;
use rayon::prelude::*;
use serde::Serialize;

use super::output::{FormatArgs, bar, line, seed_value};
use crate::figure::{self, Figure, ImageGrid, Tile, encode_png};
use crate::run::{AtomicFile, Manifest, RunFolder, digest_bytes};
use crate::table::{self, ImageRow, Row};
use crate::world::{
    self, Category, Expectations, Generator, Mix, Scene, Split, compose, masks, parse, render,
};

const EXAMPLES: &str = "\
Writes a run folder with images/, masks/ (one PNG an object, white where it is seen) and
captions.jsonl (a line an image: caption, scene, expectations, file names), and prints its path.

Examples:
  probe world --caption \"red ball left of blue cube\" --size 256
  probe world --count 1000 --split held-out-pairs --out data
  probe world --category word --count 20 --sheet words.png
  probe world --calibrate-judge --count 2000
  probe world --calibrate-judge=confusion --format csv";

/// Render scenes with captions and masks; calibrate the judge.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Draw scenes of this caption, instead of the generator's own
    #[arg(long, conflicts_with_all = ["split", "category", "calibrate_judge"])]
    caption: Option<String>,
    /// Scenes [default: 1 of a caption, 20 of the generator, 1000 to calibrate the judge]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: Option<u64>,
    /// Seed of the scenes
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Part of the world to draw from
    #[arg(long, value_parser = split_parser(), default_value = "train")]
    split: Split,
    /// Draw scenes of this category only
    #[arg(long, value_parser = category_parser())]
    category: Option<Category>,
    /// Side of the images in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(16..=2048))]
    size: u32,
    /// Write a labelled contact sheet to this PNG file, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "calibrate_judge")]
    sheet: Option<PathBuf>,
    /// Print how often the judge is right on scenes it never saw being drawn
    #[arg(long, value_name = "TABLE", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    calibrate_judge: Option<calibrate::Tables>,
    #[command(flatten)]
    calibrate: calibrate::CalibrateArgs,
    /// Folder for the run's folder
    #[arg(long, value_name = "DIR", default_value = "runs", help_heading = "Output")]
    out: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
}

fn split_parser() -> impl TypedValueParser<Value = Split> {
    let names = Split::ALL.iter().map(|split| split.name());
    PossibleValuesParser::new(names)
        .map(|name| Split::ALL.iter().copied().find(|s| s.name() == name).unwrap_or(Split::Train))
}

/// Reads a category of scenes; shells complete its names.
pub(super) fn category_parser() -> impl TypedValueParser<Value = Category> {
    let names = Category::ALL.iter().map(|category| category.name());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Category>())
}

const CAPTION_COUNT: u64 = 1;
const GENERATOR_COUNT: u64 = 20;
const CALIBRATION_COUNT: u64 = 1000;

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let generator = Generator::new(args.seed, args.mix(), args.split);
    if let Some(tables) = args.calibrate_judge {
        let count = args.count.unwrap_or(CALIBRATION_COUNT);
        let size = args.size as usize;
        calibrate::run(&args.calibrate, &generator, (count, size), tables, &args.format)?;
        return Ok(0);
    }
    let source = match &args.caption {
        Some(caption) => Source::Caption {
            caption: caption.clone(),
            expectations: Box::new(parse(caption)?),
            seed: args.seed,
        },
        None => Source::Generator(Box::new(generator)),
    };
    let count = args.count.unwrap_or(match source {
        Source::Caption { .. } => CAPTION_COUNT,
        Source::Generator(_) => GENERATOR_COUNT,
    });
    match &args.sheet {
        Some(path) => {
            AtomicFile::write(path, &sheet(&args, &source, count)?)?;
            line(&path.display().to_string())?;
        }
        None => {
            let folder = write_folder(&args, &source, count)?;
            line(&folder.display().to_string())?;
        }
    }
    Ok(0)
}

impl Args {
    fn mix(&self) -> Mix {
        self.category.map_or_else(Mix::training, Mix::only)
    }

    /// What was asked, as it stands in the run folder.
    fn spec(&self, count: u64) -> Result<String> {
        let mut spec = toml::Table::new();
        spec.insert("kind".into(), "world".into());
        spec.insert("version".into(), 1.into());
        spec.insert("count".into(), (count as i64).into());
        spec.insert("seed".into(), seed_value(self.seed));
        spec.insert("size".into(), i64::from(self.size).into());
        match &self.caption {
            Some(caption) => spec.insert("caption".into(), caption.clone().into()),
            None => spec.insert("split".into(), self.split.name().into()),
        };
        if let Some(category) = self.category {
            spec.insert("category".into(), category.name().into());
        }
        Ok(toml::to_string_pretty(&spec)?)
    }
}

/// Where scenes come from.
enum Source {
    Caption { caption: String, expectations: Box<Expectations>, seed: u64 },
    Generator(Box<Generator>),
}

/// A scene and what is said of it.
struct Drawn {
    category: Option<Category>,
    caption: String,
    scene: Scene,
    expectations: Expectations,
}

impl Source {
    fn draw(&self, index: u64) -> Result<Drawn> {
        match self {
            Source::Caption { caption, expectations, seed } => Ok(Drawn {
                category: None,
                caption: caption.clone(),
                scene: compose(expectations, seed.wrapping_add(index))?,
                expectations: expectations.as_ref().clone(),
            }),
            Source::Generator(generator) => {
                let sample = generator.sample(index);
                let expectations = parse(&sample.caption)?;
                let (caption, scene) = (sample.caption, sample.scene);
                Ok(Drawn { category: Some(sample.category), caption, scene, expectations })
            }
        }
    }
}

pub(super) fn check_interrupt() -> Result<()> {
    if crate::INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

fn sheet(args: &Args, source: &Source, count: u64) -> Result<Vec<u8>> {
    let tile = |index| -> Result<Tile> {
        check_interrupt()?;
        let drawn = source.draw(index)?;
        let note = drawn.category.map_or("", Category::name);
        Ok(Tile::new(drawn.caption, render(&drawn.scene, args.size as usize)).note(note))
    };
    let tiles = (0..count).into_par_iter().map(tile).collect::<Result<_>>()?;
    let title = format!("{count} scenes, seed {}, split {}", args.seed, args.split.name());
    let title = if args.caption.is_some() { String::new() } else { title };
    Ok(ImageGrid { title, tiles, ..ImageGrid::default() }.png(figure::WIDE)?)
}

/// A line of `captions.jsonl`.
#[derive(Serialize)]
struct CaptionLine<'a> {
    index: u64,
    category: Option<Category>,
    caption: &'a str,
    image: &'a str,
    masks: &'a [String],
    scene: &'a Scene,
    expectations: &'a Expectations,
}

fn write_folder(args: &Args, source: &Source, count: u64) -> Result<PathBuf> {
    let folder = RunFolder::create(&args.out, "world", &args.spec(count)?)?;
    let bar = bar(count, "scenes");
    let one = |index| -> Result<(String, ImageRow)> {
        check_interrupt()?;
        let written = write_scene(args, source, &folder, index)?;
        bar.inc(1);
        Ok(written)
    };
    let written: Result<Vec<_>> = (0..count).into_par_iter().map(one).collect();
    bar.finish_and_clear();
    let (lines, rows): (Vec<String>, Vec<ImageRow>) = written?.into_iter().unzip();
    folder.write("captions.jsonl", lines.concat().as_bytes())?;
    let path = folder.path("tables/images.parquet")?;
    table::write_parquet::<ImageRow>(&mut table::frame(rows)?, &path)?;
    let mut manifest = Manifest::new("world");
    manifest.world_version = Some(world::VERSION.to_string());
    manifest.schemas = [(ImageRow::TABLE.name.to_owned(), ImageRow::TABLE.version)].into();
    manifest.set_prompts(args.caption.iter().cloned().collect());
    Ok(folder.finish(manifest)?)
}

/// Writes image and masks of one scene; returns its line and its row.
fn write_scene(
    args: &Args,
    source: &Source,
    folder: &RunFolder,
    index: u64,
) -> Result<(String, ImageRow)> {
    let drawn = source.draw(index)?;
    let size = args.size as usize;
    let file = format!("images/{index:06}.png");
    let png = encode_png(&render(&drawn.scene, size))?;
    folder.write(&file, &png)?;
    let mut mask_files = Vec::new();
    for (object, mask) in masks(&drawn.scene, size).iter().enumerate() {
        let name = format!("masks/{index:06}-{object}.png");
        folder.write(&name, &mask_png(mask)?)?;
        mask_files.push(name);
    }
    let line = serde_json::to_string(&CaptionLine {
        index,
        category: drawn.category,
        caption: &drawn.caption,
        image: &file,
        masks: &mask_files,
        scene: &drawn.scene,
        expectations: &drawn.expectations,
    })?;
    let row = ImageRow {
        sample: u32::try_from(index).context("too many images")?,
        prompt: drawn.caption,
        seed: args.seed,
        sha256: digest_bytes(&png),
        file,
    };
    Ok((line + "\n", row))
}

/// White where the object is seen, else black.
fn mask_png(mask: &Array2<bool>) -> Result<Vec<u8>> {
    let (height, width) = mask.dim();
    let image = GrayImage::from_fn(width as u32, height as u32, |x, y| {
        Luma([if mask[(y as usize, x as usize)] { u8::MAX } else { 0 }])
    });
    let mut bytes = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png)?;
    Ok(bytes)
}

/// A scene of a caption, as an image.
///
/// # Errors
/// A caption the world does not know, or that no scene was found for.
#[cfg(feature = "torch")]
pub(super) fn caption_image(caption: &str, seed: u64, size: usize) -> Result<image::RgbImage> {
    Ok(render(&compose(&parse(caption)?, seed)?, size))
}
