//! `probe patch`: causal tracing between two prompts.

mod heads;
mod tracing;

use anyhow::{Result, bail};
use clap::ValueEnum;
use image::RgbImage;

use super::model_args::ModelArgs;
use super::output::{Format, OutputArgs, bar, line, note};
use super::run_model::{SampleArgs, facts, finish, manifest, quoted, warn_of_cut_words};
use crate::figure::{Figure, WIDE, encode_png};
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::Request;
use crate::probe::patch::stored::RESTORED_FILE;
use crate::probe::patch::{
    CLEAN, IMAGE, ITSELF, LATENT, effects, findings, group_of, heat_map, report,
};
use crate::report::Rerun;
use crate::run::{RunFolder, digest_bytes};
use crate::site::Glob;
use crate::table::{ImageRow, PatchRow, frame, write_parquet};
use crate::world::Exchange;
pub(super) use tracing::Tracing;

const EXAMPLES: &str = "\
Both prompts start from the same noise. Groups of sites are restored to what they have in the
clean prompt's run, one window of steps after the other, while the corrupted prompt is drawn;
what comes back is measured on the last latent, on the image, and by the judge where the world
understands the prompt. As many random sites, and the run restored into itself, are the controls.

With --heads there is one prompt at a time, and heads of cross-attention are taken out of its run. They
are ranked on one half of the prompts (or seeds), for colour, shape, binding and relation each by
itself; the first ranks are then taken out together on the other half, beside as many random heads.

Examples:
  probe patch --prompt \"red ball left of blue cube\" --exchange colours
  probe patch --prompt \"a red ball\" --corrupted \"a green ball\" --windows 3
  probe patch --prompt \"red ball left of blue cube\" --exchange roles --sites 'up.1.*.cross.out' 'mid.*.cross.out'
  probe patch --heads --from-world 32
  probe patch --heads --prompt \"red ball left of blue cube\" --count 16 --ablation unprompted";

/// Causal tracing: which sites, at which steps, carry the difference between two prompts; with
/// --heads, which heads the model needs, and what for.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub(super) sample: SampleArgs,
    /// The prompt whose run is changed
    #[arg(
        long,
        value_name = "PROMPT",
        conflicts_with = "exchange",
        required_unless_present_any = ["exchange", "heads"]
    )]
    corrupted: Option<String>,
    /// Make that prompt from the first, by what its two objects exchange
    #[arg(long, value_enum)]
    exchange: Option<Exchanged>,
    /// Windows that the steps are divided into
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    windows: u16,
    /// Groups to restore, a glob each [default: each block's residual blocks, self-attention,
    /// cross-attention and feed-forward layers]
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    sites: Vec<String>,
    /// Most bytes of the clean run to keep, such as 500MB or 4GiB
    #[arg(long, value_name = "BYTES", default_value = "4GiB", value_parser = super::trace::parse_bytes)]
    pub(super) budget: u64,
    #[command(flatten)]
    head: heads::HeadArgs,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Exchanged {
    /// Who has which colour
    Colours,
    /// Who has which shape
    Shapes,
    /// Who stands where
    Roles,
}

impl From<Exchanged> for Exchange {
    fn from(exchanged: Exchanged) -> Self {
        match exchanged {
            Exchanged::Colours => Exchange::Colours,
            Exchanged::Shapes => Exchange::Shapes,
            Exchanged::Roles => Exchange::Roles,
        }
    }
}

/// Images where none is asked for: enough for an interval.
const DEFAULT_COUNT: u64 = 8;

/// Runs the command.
pub fn run(mut args: Args) -> Result<u8> {
    check(&args)?;
    args.head.check()?;
    if args.head.heads {
        return heads::run(args);
    }
    args.sample.count.get_or_insert(DEFAULT_COUNT);
    let corrupted = corrupted_prompt(&args)?;
    let model = args.model.open()?;
    args.sample.settle(&model)?;
    let request = args.sample.request(&model)?;
    let tracing = tracing(&args, &model, request, corrupted)?;
    warn_of_cut_words(&model, &tracing.clean)?;
    let spec = spec(&args)?;
    let mut manifest = manifest("patch", &args.model, &model, &tracing.clean);
    manifest.schemas = crate::table::versions();
    let folder = RunFolder::create(&args.output.out, "patch", &spec)?;
    let bar = bar(0, "steps");
    let open = || args.model.open();
    let traced = tracing.run(&model, open, (folder.name(), args.budget), &bar)?;
    bar.finish_and_clear();

    let rows = &traced.rows;
    let path = folder.path("tables/patch.parquet")?;
    write_parquet::<PatchRow>(&mut frame(rows.clone())?, &path)?;
    write_images(&folder, &traced.images, &tracing)?;
    if let Some((_, restored)) = &traced.pictures.best {
        folder.write(RESTORED_FILE, &encode_png(restored)?)?;
    }
    for (measure, title) in [(LATENT, "The last latent"), (IMAGE, "The image")] {
        let png = heat_map(rows, measure, title).png(WIDE)?;
        folder.write(&format!("figures/{measure}.png"), &png)?;
    }
    let rerun = Rerun { command: command(&args), spec };
    let facts = facts(&model, &tracing.clean, &manifest);
    let page = report(rows, &traced.pictures, facts, rerun)?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    let at = finish(folder, manifest, &args.model, &model)?;
    match args.output.format.format {
        Format::Table => print_findings(rows)?,
        _ => args.output.format.print(&frame(rows.clone())?)?,
    }
    note(&format!("report: {}", at.join("report.html").display()));
    Ok(0)
}

/// Checks what needs no model.
pub(super) fn check(args: &Args) -> Result<()> {
    if args.sample.guidance == 0.0 {
        bail!("guidance 0 leaves the prompt out: nothing of it can be restored; give 1 or more");
    }
    if !args.sample.edits.is_empty() {
        bail!("--edit is for other commands: probe patch makes its own edits");
    }
    Ok(())
}

/// The runs between a request and the same of another prompt, checked.
pub(super) fn tracing(
    args: &Args,
    model: &DiffusionModel,
    clean: Request,
    corrupted: String,
) -> Result<Tracing> {
    clean.check(model)?;
    let other = Request { prompts: vec![corrupted; clean.seeds.len()], ..clean.clone() };
    other.check(model)?;
    let groups = groups(&args.sites, model)?;
    let tracing = Tracing::new(model, clean, other, groups, args.windows.into())?;
    tracing.check_budget(model, args.budget)?;
    Ok(tracing)
}

fn print_findings(rows: &[PatchRow]) -> Result<()> {
    for finding in findings(rows) {
        line(&finding.sentence)?;
    }
    let itself = effects(rows, LATENT).into_iter().find(|e| e.control.as_deref() == Some(ITSELF));
    if let Some(itself) = itself {
        line(&format!("Control: the run restored into itself brings back {}", itself.mean))?;
    }
    Ok(())
}

fn corrupted_prompt(args: &Args) -> Result<String> {
    if let Some(prompt) = &args.corrupted {
        return Ok(prompt.clone());
    }
    let Some(exchange) = args.exchange else { bail!("give --corrupted or --exchange") };
    let prompt = args.sample.prompt()?;
    let exchanged = Exchange::from(exchange).apply(prompt);
    let Some(exchanged) = exchanged else {
        bail!(
            "`{prompt}` has no two objects that could exchange this; name the other prompt with \
             --corrupted"
        );
    };
    note(&format!("corrupted prompt: {exchanged}"));
    Ok(exchanged)
}

/// A group's name and the names of its sites.
type Group = (String, Vec<String>);

fn groups(globs: &[String], model: &DiffusionModel) -> Result<Vec<Group>> {
    let name = |id| model.sites.get(id).name.clone();
    if !globs.is_empty() {
        let group = |glob: &String| {
            let sites = model.sites.select(&[Glob::new(glob)])?;
            Ok((glob.clone(), sites.into_iter().map(name).collect()))
        };
        return globs.iter().map(group).collect();
    }
    let mut groups: Vec<Group> = Vec::new();
    for (_, site) in model.sites.iter() {
        let Some(group) = group_of(&site.name) else { continue };
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, sites)) => sites.push(site.name.clone()),
            None => groups.push((group, vec![site.name.clone()])),
        }
    }
    Ok(groups)
}

fn write_images(
    folder: &RunFolder,
    images: &[(String, Vec<RgbImage>)],
    tracing: &Tracing,
) -> Result<()> {
    let mut rows = Vec::new();
    for (name, of_run) in images {
        let request = if name == CLEAN { &tracing.clean } else { &tracing.corrupted };
        for (i, image) in of_run.iter().enumerate() {
            let file = format!("images/{name}-{i:03}.png");
            let png = encode_png(image)?;
            folder.write(&file, &png)?;
            rows.push(ImageRow {
                sample: rows.len() as u32,
                prompt: request.prompts[i].clone(),
                seed: request.seeds[i],
                file,
                sha256: digest_bytes(&png),
            });
        }
    }
    Ok(write_parquet::<ImageRow>(&mut frame(rows)?, &folder.path("tables/images.parquet")?)?)
}

/// The options of this command alone, as a spec has them.
fn own_options(args: &Args) -> Vec<(&'static str, String)> {
    let exchange = args.exchange.and_then(|e| e.to_possible_value());
    let mut options = vec![("windows", args.windows.to_string())];
    options.extend(args.corrupted.clone().map(|prompt| ("corrupted", prompt)));
    options.extend(exchange.map(|value| ("exchange", value.get_name().to_owned())));
    options.extend(args.sites.iter().map(|glob| ("sites", glob.clone())));
    options
}

fn spec(args: &Args) -> Result<String> {
    let mut spec = args.sample.spec("patch", &args.model);
    for (name, value) in own_options(args).into_iter().filter(|(name, _)| *name != "sites") {
        spec.insert(name.to_owned(), value.into());
    }
    if !args.sites.is_empty() {
        spec.insert("sites".to_owned(), args.sites.clone().into());
    }
    Ok(toml::to_string_pretty(&spec)?)
}

fn command(args: &Args) -> String {
    let mut words = args.sample.command("patch", &args.model);
    for (name, value) in own_options(args) {
        words.push_str(&format!(" --{name} {}", quoted(&value)));
    }
    words
}
