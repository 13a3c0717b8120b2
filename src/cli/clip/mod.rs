//! `probe clip`: what is in the embedding of a caption, and does an image follow it?

mod drawn;
mod measured;
mod tower;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::kept::{KeepArgs, Kept, KeptImage};
use super::model_args::ModelArgs;
use super::output::{Format, OutputArgs, line, note, quoted, seed_value};
use super::run_model::{facts, manifest};
use crate::figure::{WIDE, encode_png};
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::model::clip_folder::ClipModel;
use crate::pipeline::Request;
use crate::probe::clip::captions::Captions;
use crate::probe::clip::path::{self, Route};
use crate::probe::clip::report::{Found, picture_label};
use crate::probe::stored::keep_facts;
use crate::report::{Fact, Rerun};
use crate::run::{RunFolder, digest_bytes};
use crate::table::{
    ClipAnalogyRow, ClipOrderRow, ClipPathRow, ClipRow, ClipSimilarityRow, ImageRow, frame,
    write_parquet,
};
use crate::world;
use drawn::{Drawing, Drawn};
use measured::Measuring;
use tower::Tower;

const EXAMPLES: &str = "\
Examples:
  probe clip                                 # captions, images where there is a clip/, paths
  probe clip --routes 0                      # embeddings alone: seconds
  probe clip --encoder text --captions 1000
  probe clip --model path/to/stable-diffusion-v1-5 --routes 4 --images 2
  probe clip --format json                   # every number, one object a row

Captions: how alike they are; whether red ball − red + blue leads to blue ball; how much of a
caption is the sum of its parts; whether the order of words counts; and what each layer knows of
it. With a folder clip/ in the model's folder (`probe train clip` makes one): which rendered
image finds its caption, and how far texts and images lie apart. Along a path from one prompt's
embedding to another's, the judge says from where on the image shows the other.

Beside every number stand its controls: random weights, exchanged captions, shuffled labels.

Writes a run folder: report.html, tables/clip*.parquet, figures, images, a manifest, and
spec.toml, which `probe run` runs again. Findings go to stdout.";

/// Which text encoder is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Encoder {
    /// The whole CLIP in clip/ where there is one, else the denoiser's text encoder
    Auto,
    /// The denoiser's text encoder
    Text,
    /// The whole CLIP in clip/
    Clip,
}

/// What is in the embedding of a caption, and does an image follow it?
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Which text encoder is asked; paths always go through the denoiser's
    #[arg(long, value_enum, default_value_t = Encoder::Auto)]
    encoder: Encoder,
    /// Captions of two objects in a relation
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u64).range(10..=2_688))]
    captions: u64,
    /// Rendered scenes whose captions and images are to find each other, of each of two kinds
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=20_000))]
    pairs: u64,
    /// Pairs of prompts that images are drawn between, of each kind; 0 draws nothing
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    routes: u64,
    /// Images at each place of each path
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=100))]
    images: u64,
    /// Places on each path, both ends included
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u64).range(2..=101))]
    places: u64,
    /// Seed of captions, scenes, routes, noise and controls
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Sampling steps
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..=1000))]
    steps: u16,
    /// Guidance scale
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    guidance: f64,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    if args.guidance == 0.0 {
        bail!("guidance 0 leaves the prompt out: no image can follow it; give 1 or more");
    }
    let model = args.model.open()?;
    let mut clip = asked_clip(&args, &model)?;
    let request = request(&args, &model)?;
    request.check(&model)?;
    let routes = routes(&args, &model);
    let mut manifest = manifest("clip", &args.model, &model, &request);
    manifest.world_version = Some(world::VERSION.to_string());
    manifest.judge_version = Some(format!("{} {}", judge::NAME, judge::VERSION));
    manifest.schemas = crate::table::versions();
    let spec = toml::to_string_pretty(&spec(&args))?;
    let record = args.model.record(&model);
    let (kept, folder) = Kept::open(args.keep, &args.output, ("clip", &spec), &record)?;

    let captions = Captions::new(usize::try_from(args.captions)?, args.seed);
    let measuring = Measuring { run: folder.name(), seed: args.seed, captions: &captions };
    let mut found = measuring.texts(&model, clip.as_mut())?;
    if let Some(clip) = &mut clip {
        found.rows.extend(measuring.images(clip, usize::try_from(args.pairs)?)?);
    }
    if !routes.is_empty() {
        let drawn = drawing(&args, &model, request.clone()).all(&routes, (folder.name(), &kept))?;
        keep(&folder, &mut found, drawn)?;
    }
    write(&folder, &found)?;
    let mut facts = facts(&model, &request, &manifest);
    let name = if clip.is_some() { "clip/" } else { "text_encoder/" };
    facts.push(Fact { label: "text encoder".to_owned(), value: name.to_owned() });
    keep_facts(&mut manifest, &facts);
    let page = found.report(facts, Rerun { command: command(&args), spec })?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    manifest.model = Some(record);
    let at = folder.finish(manifest)?;
    kept.finish()?;
    match args.output.format.format {
        Format::Table => found.findings().iter().try_for_each(|f| line(&f.sentence))?,
        _ => args.output.format.print(&frame(found.rows)?)?,
    }
    note(&format!("report: {}", at.join("report.html").display()));
    Ok(0)
}

/// The CLIP that is asked; none where it is the denoiser's text encoder.
fn asked_clip(args: &Args, model: &DiffusionModel) -> Result<Option<ClipModel>> {
    if args.encoder == Encoder::Text {
        return Ok(None);
    }
    let clip = ClipModel::open(&model.files, model.placement)?;
    if clip.is_none() && args.encoder == Encoder::Clip {
        bail!(
            "{} has no clip/config.json: train one with `probe train clip` or put a CLIPModel \
             there, or ask the denoiser's text encoder with --encoder text",
            args.model.model
        );
    }
    if clip.is_none() {
        note("no clip/ in this model's folder: captions are asked, images are not");
    }
    Ok(clip)
}

/// The routes that can be drawn.
fn routes(args: &Args, model: &DiffusionModel) -> Vec<Route> {
    if model.second_text.is_some() && args.routes > 0 {
        note("this denoiser reads two text encoders: no images are drawn along paths");
        return Vec::new();
    }
    Route::drawn(args.routes as usize, args.seed)
}

fn request(args: &Args, model: &DiffusionModel) -> Result<Request> {
    let seeds = (0..args.images).map(|i| args.seed.wrapping_add(i));
    let request = Request::new(model, "a red ball")?.with_seeds(seeds);
    Ok(Request { steps: args.steps.into(), guidance: args.guidance, ..request })
}

fn drawing<'a>(args: &Args, model: &'a DiffusionModel, request: Request) -> Drawing<'a> {
    let last = (args.places - 1) as f64;
    Drawing {
        model,
        tower: denoisers_tower(model),
        ways: (0..args.places).map(|place| place as f64 / last).collect(),
        seeds: request.seeds.clone(),
        request,
    }
}

/// The text encoder that the denoiser reads.
fn denoisers_tower(model: &DiffusionModel) -> Tower<'_> {
    Tower {
        text: &model.text,
        clip: None,
        tokenizer: &model.tokenizer,
        sites: &model.sites,
        device: model.placement.device,
    }
}

/// Stores the images of paths; those of the first route and seed are for the report.
fn keep(folder: &RunFolder, found: &mut Found, drawn: Drawn) -> Result<()> {
    let mut images = Vec::new();
    for (row, KeptImage(image)) in drawn {
        let file = format!("images/{:04}.png", row.sample);
        let png = encode_png(&image)?;
        folder.write(&file, &png)?;
        images.push(ImageRow {
            sample: row.sample,
            prompt: format!("{} → {}, {} {:.2}", row.from, row.to, row.made, row.way),
            seed: row.seed,
            file,
            sha256: digest_bytes(&png),
        });
        let first = found.paths.first().unwrap_or(&row);
        if row.is_beside(first) {
            found.pictures.push((picture_label(&row), image));
        }
        found.paths.push(row);
    }
    found.rows.extend(path::rows(&found.paths, folder.name()));
    let path = folder.path("tables/images.parquet")?;
    Ok(write_parquet::<ImageRow>(&mut frame(images)?, &path)?)
}

fn write(folder: &RunFolder, found: &Found) -> Result<()> {
    let path = |name: &str| folder.path(&format!("tables/{name}.parquet"));
    write_parquet::<ClipRow>(&mut frame(found.rows.clone())?, &path("clip")?)?;
    let mut table = frame(found.similarities.clone())?;
    write_parquet::<ClipSimilarityRow>(&mut table, &path("clip_similarity")?)?;
    let mut table = frame(found.analogies.clone())?;
    write_parquet::<ClipAnalogyRow>(&mut table, &path("clip_analogy")?)?;
    write_parquet::<ClipOrderRow>(&mut frame(found.orders.clone())?, &path("clip_order")?)?;
    if !found.paths.is_empty() {
        write_parquet::<ClipPathRow>(&mut frame(found.paths.clone())?, &path("clip_path")?)?;
    }
    for (name, figure) in found.figures() {
        folder.write(&format!("figures/{name}.png"), &figure.png(WIDE)?)?;
    }
    Ok(())
}

/// The options with their values, as spec and command line have them.
fn options(args: &Args) -> Vec<(&'static str, toml::Value)> {
    let mut all: Vec<(&'static str, toml::Value)> =
        vec![("model", args.model.model.clone().into())];
    for (name, value) in args.model.load.options() {
        all.push((name, value.into()));
    }
    all.push(("dtype", args.model.dtype.name().into()));
    let encoder = args.encoder.to_possible_value();
    all.extend(encoder.map(|value| ("encoder", value.get_name().into())));
    for (name, value) in [
        ("captions", args.captions),
        ("pairs", args.pairs),
        ("routes", args.routes),
        ("images", args.images),
        ("places", args.places),
        ("seed", args.seed),
        ("steps", args.steps.into()),
    ] {
        all.push((name, seed_value(value)));
    }
    all.push(("guidance", args.guidance.into()));
    all
}

/// The arguments as a spec that makes the same run again.
fn spec(args: &Args) -> toml::Table {
    let head = [("kind", "clip".into()), ("version", 1.into())];
    head.into_iter().chain(options(args)).map(|(key, value)| (key.to_owned(), value)).collect()
}

fn command(args: &Args) -> String {
    let option = |(name, value): (&str, toml::Value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!(" --{name} {}", quoted(&text))
    };
    "probe clip".to_owned() + &options(args).into_iter().map(option).collect::<String>()
}
