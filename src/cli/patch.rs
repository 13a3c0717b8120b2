//! `probe patch`: causal tracing between two prompts.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use clap::ValueEnum;
use image::RgbImage;
use indicatif::DecimalBytes;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::output::{Format, OutputArgs, bar, line, note};
use super::run_model::{ModelArgs, SampleArgs, facts, finish, manifest, warn_of_cut_words};
use super::sites::extent;
use crate::figure::{Figure, WIDE, encode_png};
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Generation, Request, generate};
use crate::probe::patch::{
    ATOMS, CLEAN, CORRUPTED, IMAGE, ITSELF, LATENT, PatchImages, RANDOM_SITES, effects, findings,
    group_of, heat_map, recovery, report, windows,
};
use crate::report::Rerun;
use crate::run::{RunFolder, digest_bytes};
use crate::site::{Branch, Extent, Glob};
use crate::table::{ImageRow, PatchRow, frame, write_parquet};
use crate::tap::edit::{Edit, Edits, Operation, Reference, RunShape, Scope};
use crate::tap::{RawRecorder, Tap};
use crate::world::{self, Exchange, Expectations};

const EXAMPLES: &str = "\
Both prompts start from the same noise. Groups of sites are restored to what they have in the
clean prompt's run, one window of steps after the other, while the corrupted prompt is drawn;
what comes back is measured on the last latent, on the image, and by the judge where the world
understands the prompt. As many random sites, and the run restored into itself, are the controls.

Examples:
  probe patch --prompt \"red ball left of blue cube\" --exchange colours
  probe patch --prompt \"a red ball\" --corrupted \"a green ball\" --windows 3
  probe patch --prompt \"red ball left of blue cube\" --exchange roles --sites 'up.1.*.cross.out' 'mid.*.cross.out'";

/// Causal tracing: which sites, at which steps, carry the difference between two prompts.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    sample: SampleArgs,
    /// The prompt whose run is changed
    #[arg(
        long,
        value_name = "PROMPT",
        conflicts_with = "exchange",
        required_unless_present = "exchange"
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
    budget: u64,
    #[command(flatten)]
    model: ModelArgs,
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
    args.sample.count.get_or_insert(DEFAULT_COUNT);
    if args.sample.guidance == 0.0 {
        bail!("guidance 0 leaves the prompt out: nothing of it can be restored; give 1 or more");
    }
    if !args.sample.edits.is_empty() {
        bail!("--edit is for other commands: probe patch makes its own edits");
    }
    let corrupted = corrupted_prompt(&args)?;
    let model = args.model.open()?;
    args.sample.settle(&model)?;
    let request = args.sample.request(&model)?;
    request.check(&model)?;
    let other = Request { prompts: vec![corrupted; request.seeds.len()], ..request.clone() };
    other.check(&model)?;
    warn_of_cut_words(&model, &request)?;
    let groups = groups(&args.sites, &model)?;
    let tracing = Tracing::new(&model, request, other, groups, args.windows.into())?;
    tracing.check_budget(args.budget)?;
    let spec = spec(&args)?;
    let mut manifest = manifest("patch", &args.model, &model, &tracing.clean);
    manifest.schemas = crate::table::versions();
    let folder = RunFolder::create(&args.output.out, "patch", &spec)?;
    let traced = tracing.run(folder.name(), args.budget)?;

    let rows = &traced.rows;
    let path = folder.path("tables/patch.parquet")?;
    write_parquet::<PatchRow>(&mut frame(rows.clone())?, &path)?;
    write_images(&folder, &traced.images, &tracing)?;
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

/// All that is going to be run.
struct Tracing<'a> {
    model: &'a DiffusionModel,
    clean: Request,
    corrupted: Request,
    groups: Vec<Group>,
    windows: Vec<(usize, usize)>,
    shape: RunShape,
    expectations: Option<Expectations>,
}

/// What came of it.
struct Traced {
    rows: Vec<PatchRow>,
    images: Vec<(String, Vec<RgbImage>)>,
    pictures: PatchImages,
}

/// One change: sites, steps, and what it is called in the table.
struct Change<'a> {
    group: &'a str,
    sites: &'a [String],
    window: (usize, usize),
    control: Option<&'static str>,
}

/// Tensors of a run by their names.
type Kept = BTreeMap<String, Tensor>;

impl<'a> Tracing<'a> {
    fn new(
        model: &'a DiffusionModel,
        clean: Request,
        corrupted: Request,
        groups: Vec<Group>,
        windows_asked: usize,
    ) -> Result<Self> {
        let steps = clean.evaluations(model)?;
        let tokens = clean.context_length(model)?.max(corrupted.context_length(model)?) as i64;
        let images = clean.seeds.len() as i64;
        let extent: Extent = extent(model, [images, tokens], [clean.width, clean.height]);
        let branches = match clean.guidance {
            1.0 => vec![Branch::Cond],
            _ => vec![Branch::Uncond, Branch::Cond],
        };
        let expectations = world::parse(&clean.prompts[0]).ok();
        let shape = RunShape { extent, steps, branches };
        let windows = windows(steps, windows_asked);
        Ok(Self { model, clean, corrupted, groups, windows, shape, expectations })
    }

    fn sites(&self) -> BTreeSet<String> {
        self.groups.iter().flat_map(|(_, sites)| sites.iter().cloned()).collect()
    }

    fn check_budget(&self, budget: u64) -> Result<()> {
        let kind = self.model.placement.kind.elt_size_in_bytes() as u64;
        let wanted = self.sites();
        let of_interest = self.model.sites.iter().filter(|(_, site)| wanted.contains(&site.name));
        let numbers = of_interest
            .map(|(_, site)| site.shape(&self.shape.extent).iter().product::<i64>() as u64)
            .sum::<u64>();
        let bytes = numbers * kind * self.shape.steps as u64;
        if bytes > budget {
            bail!(
                "the clean run would keep {}, over the budget of {}; name fewer sites with \
                 --sites, or fewer images or steps, or raise --budget",
                DecimalBytes(bytes),
                DecimalBytes(budget)
            );
        }
        Ok(())
    }

    fn generate(&self, request: &Request, tap: &mut dyn Tap) -> Result<Generation> {
        Ok(generate(self.model, request, Some(tap), &mut |_, _| {})?)
    }

    fn run(&self, run: &str, budget: u64) -> Result<Traced> {
        let bar = bar((self.changes().count() + self.windows.len() + 3) as u64, "runs");
        let keep = || RawRecorder::new(self.sites(), None, budget).of_branch(Branch::Cond);
        let mut recorder = keep();
        let clean = self.generate(&self.clean, &mut recorder)?;
        let kept: Kept = recorder.into_tensors().into_iter().collect();
        bar.inc(1);
        let mut recorder = keep();
        let corrupted = self.generate(&self.corrupted, &mut recorder)?;
        let own: Kept = recorder.into_tensors().into_iter().collect();
        bar.inc(1);

        let ends = Ends::new(self, run, &clean, &corrupted)?;
        let mut rows = ends.baseline(CLEAN, &clean)?;
        rows.extend(ends.baseline(CORRUPTED, &corrupted)?);
        let mut best: Option<(f64, String, RgbImage)> = None;
        for change in self.changes() {
            let made = self.changed(&change, &kept)?;
            let found = ends.rows(&change, &made)?;
            let of_latent = found.iter().filter(|row| row.measure == LATENT);
            let mean = of_latent.filter_map(|row| row.value).sum::<f64>();
            if best.as_ref().is_none_or(|(most, ..)| mean > *most) {
                let (first, last) = change.window;
                let label = format!("{}, steps {first}–{last}", change.group);
                best = Some((mean, label, made.images[0].clone()));
            }
            rows.extend(found);
            bar.inc(1);
        }
        for (window, sites) in self.random_sites() {
            let control = Some(RANDOM_SITES);
            let change = Change { group: RANDOM_SITES, sites: &sites, window, control };
            rows.extend(ends.rows(&change, &self.changed(&change, &kept)?)?);
            bar.inc(1);
        }
        if let (Some((group, sites)), Some(&window)) = (self.groups.first(), self.windows.first()) {
            let change = Change { group, sites, window, control: Some(ITSELF) };
            rows.extend(ends.rows(&change, &self.changed(&change, &own)?)?);
        }
        bar.finish_and_clear();
        let first = |made: &Generation| made.images[0].clone();
        let pictures = PatchImages {
            clean: (self.clean.prompts[0].clone(), first(&clean)),
            corrupted: (self.corrupted.prompts[0].clone(), first(&corrupted)),
            best: best.map(|(_, label, image)| (label, image)),
        };
        let images =
            vec![(CLEAN.to_owned(), clean.images), (CORRUPTED.to_owned(), corrupted.images)];
        Ok(Traced { rows, images, pictures })
    }

    /// Each group in each window.
    fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.groups.iter().flat_map(|(group, sites)| {
            let windows = self.windows.iter();
            windows.map(move |&window| Change { group, sites, window, control: None })
        })
    }

    /// As many sites as the median group has, for each window.
    fn random_sites(&self) -> Vec<((usize, usize), Vec<String>)> {
        let mut sizes: Vec<usize> = self.groups.iter().map(|(_, sites)| sites.len()).collect();
        sizes.sort_unstable();
        let size = sizes.get(sizes.len() / 2).copied().unwrap_or(1);
        let all: Vec<String> = self.sites().into_iter().collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.clean.seeds[0]);
        let draw = |window: &(usize, usize)| {
            (*window, all.choose_multiple(&mut random, size).cloned().collect())
        };
        self.windows.iter().map(draw).collect()
    }

    /// The corrupted prompt's run with a change taken from another run.
    fn changed(&self, change: &Change<'_>, from: &Kept) -> Result<Generation> {
        let (first, last) = change.window;
        let tensors = from
            .iter()
            .filter(|(name, _)| change.sites.iter().any(|site| name.ends_with(&format!("/{site}"))))
            .map(|(name, x)| (name.clone(), x.shallow_clone()));
        let reference = Reference::new("the clean run", tensors.collect());
        let scope = Scope {
            sites: change.sites.iter().map(Glob::new).collect(),
            steps: Some((first..=last).collect()),
            branch: Some(Branch::Cond),
            ..Scope::default()
        };
        let operation = Operation::Replace(reference);
        let edit = Edit::new(operation, &scope, &self.model.sites, &self.shape)?;
        self.generate(&self.corrupted, &mut Edits(vec![edit]))
    }
}

/// The two runs that a changed one lies between.
struct Ends<'a> {
    tracing: &'a Tracing<'a>,
    run: &'a str,
    timesteps: Vec<f64>,
    latents: [Vec<Vec<f32>>; 2],
    pixels: [Vec<Vec<f32>>; 2],
}

/// The latent of each image.
fn latents(made: &Generation) -> Result<Vec<Vec<f32>>> {
    let x = made.latents.to_kind(Kind::Float).contiguous();
    let one = |i| Ok(Vec::<f32>::try_from(x.get(i).flatten(0, -1))?);
    (0..x.size()[0]).map(one).collect()
}

/// The pixels of each image.
fn pixels(made: &Generation) -> Vec<Vec<f32>> {
    made.images.iter().map(|image| image.iter().map(|&v| f32::from(v)).collect()).collect()
}

impl<'a> Ends<'a> {
    fn new(
        tracing: &'a Tracing<'a>,
        run: &'a str,
        clean: &Generation,
        corrupted: &Generation,
    ) -> Result<Self> {
        Ok(Self {
            tracing,
            run,
            timesteps: clean.timesteps.clone(),
            latents: [latents(clean)?, latents(corrupted)?],
            pixels: [pixels(clean), pixels(corrupted)],
        })
    }

    fn rows(&self, change: &Change<'_>, made: &Generation) -> Result<Vec<PatchRow>> {
        let (first, last) = change.window;
        let row = PatchRow {
            group: Some(change.group.to_owned()),
            sites: change.sites.len() as u32,
            first_step: Some(first as u32),
            last_step: Some(last as u32),
            from_timestep: self.timesteps.get(first).copied(),
            to_timestep: self.timesteps.get(last).copied(),
            control: change.control.map(str::to_owned),
            ..self.empty_row()
        };
        self.measured(&row, made)
    }

    fn baseline(&self, name: &str, made: &Generation) -> Result<Vec<PatchRow>> {
        self.measured(&PatchRow { control: Some(name.to_owned()), ..self.empty_row() }, made)
    }

    fn empty_row(&self) -> PatchRow {
        PatchRow {
            run: self.run.to_owned(),
            sample: 0,
            seed: 0,
            group: None,
            sites: 0,
            first_step: None,
            last_step: None,
            from_timestep: None,
            to_timestep: None,
            measure: String::new(),
            value: None,
            control: None,
        }
    }

    fn measured(&self, like: &PatchRow, made: &Generation) -> Result<Vec<PatchRow>> {
        let (latents, pixels) = (latents(made)?, pixels(made));
        let mut rows = Vec::new();
        for (sample, &seed) in self.tracing.clean.seeds.iter().enumerate() {
            let between = |x: &[Vec<f32>], ends: &[Vec<Vec<f32>>; 2]| {
                recovery(&x[sample], &ends[0][sample], &ends[1][sample])
            };
            let mut values = vec![
                (LATENT, between(&latents, &self.latents)),
                (IMAGE, between(&pixels, &self.pixels)),
            ];
            if let Some(expectations) = &self.tracing.expectations {
                let verdict = judge::judge(&made.images[sample], expectations);
                let holding = verdict.atoms.iter().filter(|atom| atom.holds).count() as f64;
                let count = verdict.atoms.len() as f64;
                values.push((ATOMS, (count > 0.0).then(|| holding / count)));
            }
            rows.extend(values.into_iter().map(|(measure, value)| PatchRow {
                sample: sample as u32,
                seed,
                measure: measure.to_owned(),
                value,
                ..like.clone()
            }));
        }
        Ok(rows)
    }
}

fn write_images(
    folder: &RunFolder,
    images: &[(String, Vec<RgbImage>)],
    tracing: &Tracing<'_>,
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
        words.push_str(&format!(" --{name} {}", super::run_model::quoted(&value)));
    }
    words
}
