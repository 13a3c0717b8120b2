//! `probe guidance`: what guidance buys and what it costs.

mod sweep;

use anyhow::{Context, Result, bail};

use super::kept::{KeepArgs, Kept};
use super::model_args::ModelArgs;
use super::output::{Format, OutputArgs, line, note, seed_value};
use super::run_model::{facts, manifest, quoted, warn_of_cut_words};
use crate::figure::{ContactSheet, Figure, WIDE};
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::model::clip_folder::ClipModel;
use crate::pipeline::Request;
use crate::probe::guidance::Sweep;
use crate::probe::guidance::report::{Outcome, SHEET, SHEET_CAPTION};
use crate::probe::stored::keep_facts;
use crate::report::{Fact, Picture, Rerun};
use crate::run::RunFolder;
use crate::sampler::SamplerKind;
use crate::table::{
    GuidanceChangeRow, GuidanceImageRow, GuidanceRow, GuidanceSweepRow, ImageRow, frame,
    write_parquet,
};
use crate::world::{self, Category, Expectations, Generator, Mix, Split};
use sweep::{Drawn, Plan};

const EXAMPLES: &str = "\
Every scale draws the same prompts from the same noise. Per scale, with intervals over prompts:
alignment (the judge; the cosine of image and prompt in CLIP), distance to rendered scenes of the
same prompts (Fréchet and kernel distance, precision, recall in CLIP's features), diversity within
a prompt (Vendi score over images, feature distance), saturation, contrast, clipped pixels, detail;
and the parts of the guidance term along and across the conditional prediction, step by step.
Controls: other rendered scenes, and the images held against other prompts.

CLIP is that of the folder clip/ of the model (`probe train clip` writes one); without it, its
measures are left out. Prompts that the world does not understand have no judge and no renders.

Examples:
  probe guidance                                   # 12 prompts × 4 images × 6 scales
  probe guidance --guidance 0,1,2,4,8,16 --from-world 40 --count 8
  probe guidance --prompt \"red ball left of blue cube\" --prompt \"a green cone\" --count 16
  probe guidance --model path/to/stable-diffusion-v1-5 --prompt \"a photo of a dog\" \\
      --prompt \"a photo of a cat\" --guidance 1,3,7.5,15";

/// Images generated at once where they are small, and how many pixels a side that is.
const BATCH_OF_SMALL: usize = 16;
const SMALL: i64 = 128;
/// Prompts from the world where none is given.
const DEFAULT_PROMPTS: u64 = 12;

/// What guidance buys and what it costs: one sweep over its scale.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// A prompt; may be repeated
    #[arg(long = "prompt", value_name = "TEXT")]
    prompts: Vec<String>,
    /// Prompts drawn from the world, besides those given [default: 12 where none is given]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    from_world: Option<u64>,
    /// Categories of --from-world, all but words and hands if none is given
    #[arg(long = "category", value_name = "NAME", value_parser = super::world::category_parser())]
    categories: Vec<Category>,
    /// Guidance scales s of ε = ε_u + s(ε_c − ε_u); γ = s − 1 in (1+γ)ε_c − γε_u
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [1.0, 2.0, 3.0, 5.0, 8.0, 12.0], allow_negative_numbers = true)]
    guidance: Vec<f64>,
    /// Images of each prompt at each scale
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    count: u64,
    /// Rendered scenes of each prompt that images are held against
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    renders: u64,
    /// What to steer away from
    #[arg(long, default_value = "")]
    negative: String,
    /// Seed of each prompt's first image, and of prompts and renders
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Sampling steps
    #[arg(long, value_name = "N", default_value_t = Request::STEPS)]
    steps: usize,
    /// Sampler [default: the one the model comes with]
    #[arg(long, value_enum)]
    sampler: Option<SamplerKind>,
    /// Images generated at once [default: 16 up to 128 pixels a side, above that 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1024))]
    batch: Option<u64>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let scales = scales(&args.guidance)?;
    let prompts = prompts(&args)?;
    let model = args.model.open()?;
    let clip = ClipModel::open(&model.files, model.placement)?;
    let plan = plan(&args, &model, scales, prompts)?;
    let first = plan.request(*plan.scales.last().context("no scale")?, &plan.jobs());
    first.check(&model)?;
    warn_of_cut_words(&model, &first)?;
    if clip.is_none() {
        note(
            "the model's folder has no clip/: distances to renders, diversity and the cosine with \
             prompts are left out; make one with probe train clip",
        );
    }
    if plan.said.iter().any(Option::is_none) {
        note("the world does not understand all prompts: there are no renders to compare with");
    }
    let spec = toml::to_string_pretty(&spec(&args, &plan))?;
    let record = args.model.record(&model);
    let (kept, folder) = Kept::open(args.keep, &args.output, ("guidance", &spec), &record)?;
    let mut manifest = manifest("guidance", &args.model, &model, &first);
    manifest.schemas = crate::table::versions();
    if plan.said.iter().any(Option::is_some) {
        manifest.world_version = Some(world::VERSION.to_string());
        manifest.judge_version = Some(format!("{} {}", judge::NAME, judge::VERSION));
    }

    let drawn = plan.run(&model, clip.as_ref(), (&folder, &kept))?;
    let outcome = Outcome::new(&drawn.sweep);
    write_tables(&folder, &drawn, &outcome)?;
    let sheet = drawn.sheet;
    folder.write(&format!("figures/{SHEET}.png"), &sheet.png(sheet_width(&sheet))?)?;
    for (name, figure) in outcome.figures() {
        folder.write(&format!("figures/{name}.png"), &figure.png(WIDE)?)?;
    }
    let rerun = Rerun { command: command(&args, &plan), spec };
    let facts = swept_facts(facts(&model, &first, &manifest), &plan);
    keep_facts(&mut manifest, &facts);
    manifest.warnings.clone_from(&outcome.left_out);
    let sheet = Picture::new(SHEET, SHEET_CAPTION, &sheet)?;
    let page = outcome.report(sheet, facts, rerun)?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    manifest.model = Some(record);
    let at = folder.finish(manifest)?;
    kept.finish()?;

    match args.output.format.format {
        Format::Table => print(&outcome)?,
        _ => args.output.format.print(&frame(outcome.rows.clone())?)?,
    }
    note(&format!("report: {}", at.join("report.html").display()));
    Ok(0)
}

/// The scales, ascending, each once.
fn scales(asked: &[f64]) -> Result<Vec<f64>> {
    if let Some(broken) = asked.iter().find(|scale| !scale.is_finite()) {
        bail!("--guidance {broken}: give finite numbers between commas, such as 1,2,5");
    }
    let mut scales = asked.to_vec();
    scales.sort_by(f64::total_cmp);
    scales.dedup();
    if scales.is_empty() {
        bail!("no guidance scale: give some with --guidance 1,2,5");
    }
    Ok(scales)
}

/// The prompts, with what the world understands of them.
fn prompts(args: &Args) -> Result<Vec<(String, Option<Expectations>)>> {
    let mut all = args.prompts.clone();
    let drawn = match args.from_world {
        Some(count) => count,
        None if all.is_empty() => DEFAULT_PROMPTS,
        None => 0,
    };
    let categories = if args.categories.is_empty() {
        [Category::OneObject, Category::TwoObjects, Category::Relation, Category::Count].to_vec()
    } else {
        args.categories.clone()
    };
    let mix = Mix::from_weights(categories.into_iter().map(|category| (category, 1.0)))?;
    let seed = args.seed.wrapping_add(super::run_model::WORLD_SEED);
    let generator = Generator::new(seed, mix, Split::Train);
    // A prompt that comes twice would be counted as two independent ones.
    let mut index = 0;
    while all.len() < args.prompts.len() + drawn as usize {
        let caption = generator.sample(index).caption;
        index += 1;
        if !all.contains(&caption) {
            all.push(caption);
        }
    }
    if let Some(twice) = args.prompts.iter().find(|p| all.iter().filter(|q| q == p).count() > 1) {
        bail!("`{twice}` is given twice; ask for more images of it with --count");
    }
    Ok(all.into_iter().map(|prompt| (prompt.clone(), world::parse(&prompt).ok())).collect())
}

fn plan(
    args: &Args,
    model: &DiffusionModel,
    scales: Vec<f64>,
    prompts: Vec<(String, Option<Expectations>)>,
) -> Result<Plan> {
    let first = prompts.first().map(|(prompt, _)| prompt.clone()).unwrap_or_default();
    let mut base = Request::new(model, first)?;
    base.negative.clone_from(&args.negative);
    base.steps = args.steps;
    base.sampler = args.sampler.unwrap_or(base.sampler);
    let (prompts, said) = prompts.into_iter().unzip();
    let usual = if model.native_size() <= SMALL { BATCH_OF_SMALL } else { 1 };
    Ok(Plan {
        base,
        prompts,
        said,
        scales,
        count: args.count,
        renders: args.renders,
        seed: args.seed,
        batch: args.batch.map_or(usual, |batch| batch as usize),
    })
}

fn write_tables(folder: &RunFolder, drawn: &Drawn, outcome: &Outcome) -> Result<()> {
    let path = |name: &str| folder.path(&format!("tables/{name}.parquet"));
    let sweep: &Sweep = &drawn.sweep;
    let mut rows = frame(outcome.rows.clone())?;
    write_parquet::<GuidanceSweepRow>(&mut rows, &path("guidance_sweep")?)?;
    let mut rows = frame(outcome.changes.clone())?;
    write_parquet::<GuidanceChangeRow>(&mut rows, &path("guidance_change")?)?;
    let mut rows = frame(sweep.image_rows())?;
    write_parquet::<GuidanceImageRow>(&mut rows, &path("guidance_image")?)?;
    write_parquet::<GuidanceRow>(&mut frame(sweep.parts.clone())?, &path("guidance")?)?;
    write_parquet::<ImageRow>(&mut frame(drawn.images.clone())?, &path("images")?)?;
    Ok(())
}

/// Many scales need more room than a page has.
fn sheet_width(sheet: &ContactSheet) -> f64 {
    const TILE: f64 = 100.0;
    (sheet.columns.len() as f64 * TILE).max(WIDE)
}

fn print(outcome: &Outcome) -> Result<()> {
    for finding in outcome.findings() {
        line(&finding.sentence)?;
    }
    for reason in &outcome.left_out {
        note(&format!("left out: {reason}"));
    }
    Ok(())
}

/// What stands in the head of the report: not one scale but all.
fn swept_facts(facts: Vec<Fact>, plan: &Plan) -> Vec<Fact> {
    let list: Vec<String> =
        plan.scales.iter().map(|scale| format!("{scale} (γ = {})", scale - 1.0)).collect();
    let swept = facts.into_iter().map(|fact| match fact.label.as_str() {
        "guidance" => Fact { label: fact.label, value: format!("s = {}", list.join(", ")) },
        "seeds" => Fact {
            label: "prompts".to_owned(),
            value: format!("{}, {} images each at every scale", plan.prompts.len(), plan.count),
        },
        _ => fact,
    });
    swept.collect()
}

/// The arguments as a spec that makes the same run again.
fn spec(args: &Args, plan: &Plan) -> toml::Table {
    let mut spec = toml::Table::new();
    let mut put = |key: &str, value: toml::Value| spec.insert(key.to_owned(), value);
    put("kind", "guidance".into());
    put("version", 1.into());
    put("model", args.model.model.clone().into());
    for (name, value) in args.model.load.options() {
        put(name, value.into());
    }
    put("dtype", args.model.dtype.name().into());
    // The prompts by themselves, so that the spec asks the same if the world's draw changes.
    put("prompt", plan.prompts.clone().into());
    put("guidance", plan.scales.clone().into());
    put("count", seed_value(args.count));
    put("renders", seed_value(args.renders));
    if !args.negative.is_empty() {
        put("negative", args.negative.clone().into());
    }
    put("seed", seed_value(args.seed));
    put("steps", seed_value(args.steps as u64));
    put("sampler", plan.base.sampler.label().into());
    spec
}

/// The command line that makes the same run again.
fn command(args: &Args, plan: &Plan) -> String {
    let mut words = vec!["probe guidance".to_owned()];
    let mut add = |flag: &str, value: String| words.push(format!("--{flag} {}", quoted(&value)));
    add("model", args.model.model.clone());
    for (name, value) in args.model.load.options() {
        add(name, value);
    }
    for prompt in &args.prompts {
        add("prompt", prompt.clone());
    }
    let drawn = plan.prompts.len() - args.prompts.len();
    if drawn > 0 {
        add("from-world", drawn.to_string());
    }
    for category in &args.categories {
        add("category", category.name().to_owned());
    }
    let list: Vec<String> = plan.scales.iter().map(f64::to_string).collect();
    add("guidance", list.join(","));
    add("count", args.count.to_string());
    add("renders", args.renders.to_string());
    if !args.negative.is_empty() {
        add("negative", args.negative.clone());
    }
    add("seed", args.seed.to_string());
    add("steps", args.steps.to_string());
    add("sampler", plan.base.sampler.label().to_owned());
    words.join(" ")
}
