//! `probe timesteps`: what a model decides at which noise level.

pub(super) mod item;
mod prompts;
mod sampled;
mod scenes;
mod switched;

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::kept::{KeepArgs, Kept, KeptImage};
use super::model_args::ModelArgs;
use super::output::{Format, OutputArgs, line, note};
use super::run_model::{SampleArgs, facts, manifest, quoted};
use super::steps;
use crate::figure::{Figure, FilmStrip, Tile, WIDE};
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::Request;
use crate::probe::stored::keep_facts;
use crate::probe::timesteps::report::{STRIP, STRIP_CAPTION, TimestepsRun};
use crate::probe::timesteps::switch::{self, PromptPair};
use crate::probe::timesteps::{Attribute, bands, figures, summary, trajectory};
use crate::report::{Fact, Picture, Rerun};
use crate::run::{Manifest, RunFolder};
use crate::sampler::SchedulerConfig;
use crate::table::{Row, Tables, X0AnswerRow, frame};
use crate::world;
use prompts::Job;
use sampled::{Sampled, Strip};
use scenes::{SceneLatents, Shown};

const EXAMPLES: &str = "\
Five ways to ask at which noise level something is decided, in one report:
  trajectory   from when on does the predicted image show what the last one shows? (judge)
  spectrum     from when on do spatial frequencies agree with the end, and what would noise alone say?
  switch       until when does an image follow a new prompt that differs in one attribute?
  attention    how do attention's output, its entropy and guidance change over time?
  probes       what can a linear regression read out of each site, beyond random weights and labels?

Examples:
  probe timesteps                                   # all of it, small
  probe timesteps --parts trajectory --prompts 40 --count 4
  probe timesteps --parts switch --attributes colour finish --pairs 20
  probe timesteps --parts probes --scenes 2000 --sites '*.out'
  probe timesteps --prompt \"three red balls\" --count 16 --parts trajectory attention";

/// What is decided at which noise level?
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    sample: SampleArgs,
    /// Which questions to ask [default: all]
    #[arg(long, value_name = "PART", value_enum, num_args = 1..)]
    parts: Vec<Part>,
    /// Prompts drawn from the world, where none is given with --prompt; --count images of each
    /// [default: 20]
    #[arg(long, value_name = "N", conflicts_with = "prompt", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    prompts: Option<u64>,
    /// Pairs of prompts for each attribute that is switched
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pairs: u64,
    /// Attributes that are switched [default: all]
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = attribute_parser())]
    attributes: Vec<String>,
    /// Steps at which prompts are switched, spread over the run, beside its two ends
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    switches: u64,
    /// Rendered scenes that are noised and shown to the denoiser, for probes and the null model
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(2..=20_000))]
    scenes: u64,
    /// Timesteps of training at which scenes are shown, such as 100,300-302
    #[arg(long, value_name = "LIST", default_value = "50,150,250,350,450,550,650,750,850,950")]
    at_steps: String,
    /// Sites that are probed, a glob each; those without places are passed over [default: every
    /// block's and layer's output, and the sampler's own sites]
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    sites: Vec<String>,
    /// Sites that logistic regressions read as well, a glob each
    #[arg(long, value_name = "GLOB", num_args = 1.., default_value = "mid.out")]
    logistic: Vec<String>,
    /// Show scenes with their captions; without, all that is told comes from the image
    #[arg(long)]
    captions: bool,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    keep: KeepArgs,
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The judge on predicted images
    Trajectory,
    /// Spatial frequencies beside the null model
    Spectrum,
    /// From one prompt to another
    Switch,
    /// Attention over time
    Attention,
    /// Linear probes on rendered scenes
    Probes,
}

impl Part {
    /// As it is written after `--parts`.
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Names of attributes.
fn attribute_parser() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Attribute::ALL.map(Attribute::name))
}

impl Args {
    fn asks(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    fn attributes(&self) -> impl Iterator<Item = Attribute> {
        let wanted = |attribute: &Attribute| {
            self.attributes.is_empty() || self.attributes.iter().any(|n| n == attribute.name())
        };
        Attribute::ALL.into_iter().filter(wanted)
    }

    /// Switched prompts are the world's own, and so are not asked for beside a given one.
    fn switches_prompts(&self) -> bool {
        self.asks(Part::Switch) && (self.sample.prompt.is_none() || !self.parts.is_empty())
    }

    fn samples(&self) -> bool {
        [Part::Trajectory, Part::Spectrum, Part::Attention].into_iter().any(|p| self.asks(p))
    }

    fn shows_scenes(&self) -> bool {
        self.asks(Part::Spectrum) || self.asks(Part::Probes)
    }
}

/// Runs the command.
pub fn run(mut args: Args) -> Result<u8> {
    check(&args)?;
    let mut model = args.model.open()?;
    args.sample.settle(&model)?;
    let timesteps = shown_timesteps(&args, &model)?;
    let sites = scenes::sites(&args, &model)?;
    let jobs = prompts::jobs(&args);
    let first = prompts::request(&args, &model, &jobs[..1])?;
    first.check(&model)?;
    let spec = spec(&args)?;
    let mut manifest = described(&args, &model, &first, &jobs);
    let text = toml::to_string_pretty(&spec)?;
    let record = args.model.record(&model);
    let (kept, folder) = Kept::open(args.keep, &args.output, ("timesteps", &text), &record)?;

    let asked = Asked { jobs, timesteps, sites };
    let found = found(&args, &mut model, (folder.name(), &kept), asked)?;
    write(&folder, &found)?;
    let rerun = Rerun { command: command(&spec), spec: text };
    let facts = shown_facts(facts(&model, &first, &manifest), &args);
    keep_facts(&mut manifest, &facts);
    manifest.warnings =
        found.run.missing.iter().chain(&found.run.probes.missing).cloned().collect();
    let page = found.run.report(films(&folder, &found.strips)?, facts, rerun)?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    let at = folder.finish(Manifest { model: Some(record), ..manifest })?;
    kept.finish()?;
    match args.output.format.format {
        Format::Table => {
            found.run.findings().iter().try_for_each(|finding| line(&finding.sentence))?;
        }
        _ => args.output.format.print(&frame(found.run.noise_levels)?)?,
    }
    let missing = found.run.missing.iter().chain(&found.run.probes.missing);
    missing.for_each(|reason| note(reason));
    note(&format!("report: {}", at.join("report.html").display()));
    Ok(0)
}

/// The timesteps at which scenes are shown, from the noisiest on.
fn shown_timesteps(args: &Args, model: &DiffusionModel) -> Result<Vec<i64>> {
    let trained = SchedulerConfig::read(&model.scheduler)?.num_train_timesteps;
    let asked = steps::parse(&args.at_steps, trained.saturating_sub(1), "timestep")?;
    Ok(asked.into_iter().rev().map(|t| t as i64).collect())
}

/// What can be known to be wrong before the model is opened.
fn check(args: &Args) -> Result<()> {
    if !args.sample.edits.is_empty() {
        bail!("--edit is for other commands: probe timesteps makes its own edits");
    }
    if args.sample.init_latents.is_some() {
        bail!("--init-latents is for one run; probe timesteps draws many: leave it out");
    }
    if args.sample.guidance == 0.0 && (args.switches_prompts() || args.asks(Part::Attention)) {
        bail!(
            "guidance 0 leaves the prompt out: there is nothing to switch or to attend to; give 1 \
             or more, or name other --parts"
        );
    }
    Ok(())
}

/// What is going to be drawn and shown.
struct Asked {
    jobs: Vec<Job>,
    timesteps: Vec<i64>,
    sites: Vec<String>,
}

/// Everything that was found.
#[derive(Default)]
struct Found {
    run: TimestepsRun,
    answers: Vec<X0AnswerRow>,
    strips: Vec<Strip>,
}

fn found(
    args: &Args,
    model: &mut DiffusionModel,
    (run, kept): (&str, &Kept),
    asked: Asked,
) -> Result<Found> {
    let Asked { jobs, timesteps, sites } = asked;
    let mut found = Found::default();
    let latents = match args.shows_scenes() {
        true => Some(scenes::latents(args, model, kept)?),
        false => None,
    };
    if args.samples() {
        found.draw(args, model, &jobs, (run, kept, latents.as_ref()))?;
    }
    if args.switches_prompts() {
        found.switch(args, model, (run, kept))?;
    } else if args.asks(Part::Switch) {
        found.run.missing.push(
            "no prompts were switched: pairs are the world's own; name --parts switch to have \
             them beside --prompt"
                .to_owned(),
        );
    }
    if let Some(latents) = &latents {
        found.show(args, model, (run, kept, &timesteps, &sites), latents)?;
    }
    Ok(found)
}

impl Found {
    /// Draws images and watches them.
    fn draw(
        &mut self,
        args: &Args,
        model: &DiffusionModel,
        jobs: &[Job],
        (run, kept, latents): (&str, &Kept, Option<&SceneLatents>),
    ) -> Result<()> {
        let drawn = sampled::run(args, model, jobs, (run, kept, latents))?;
        let all = &mut self.run;
        all.levels = drawn.levels.clone();
        let Sampled { commitments, bands: of_bands, over_time, .. } = &drawn;
        all.noise_levels.extend(trajectory::noise_levels(run, commitments, &all.levels));
        if let Some(latents) = latents
            && !of_bands.is_empty()
        {
            let spectra = (&latents.bands, &latents.null);
            let source = (run, bands::SAMPLED);
            all.bands.extend(bands::rows(source, of_bands, spectra, &all.levels)?);
            all.noise_levels.extend(bands::noise_levels(run, of_bands, spectra, &all.levels));
        }
        all.over_time = over_time.rows(run, &all.levels, &sampled::watched(model));
        if over_time.left_out > 0 {
            let count = over_time.left_out;
            all.missing.push(format!("{count} measures of attention were no numbers: left out"));
        }
        all.missing.extend(drawn.missing);
        all.commitments = drawn.commitments;
        (self.answers, self.strips) = (drawn.answers, drawn.strips);
        Ok(())
    }

    /// Switches prompts in the middle of runs.
    fn switch(
        &mut self,
        args: &Args,
        model: &DiffusionModel,
        (run, kept): (&str, &Kept),
    ) -> Result<()> {
        let pairs: Vec<PromptPair> = args
            .attributes()
            .flat_map(|a| PromptPair::drawn(a, args.pairs as usize, args.sample.seed))
            .collect();
        let (rows, levels) = switched::run(args, model, &pairs, (run, kept))?;
        self.run.noise_levels.extend(switch::noise_levels(run, &rows, &levels));
        self.run.switches = rows;
        if self.run.levels.is_empty() {
            self.run.levels = levels;
        }
        Ok(())
    }

    /// Shows rendered scenes.
    fn show(
        &mut self,
        args: &Args,
        model: &mut DiffusionModel,
        asked: (&str, &Kept, &[i64], &[String]),
        latents: &SceneLatents,
    ) -> Result<()> {
        let Shown { bands: rendered, levels, readings, similarities } =
            scenes::shown(args, model, asked, latents)?;
        let (run, all) = (asked.0, &mut self.run);
        if !rendered.is_empty() {
            let spectra = (&latents.bands, &latents.null);
            let source = (run, bands::RENDERED);
            all.bands.extend(bands::rows(source, &rendered, spectra, &levels)?);
        }
        if let Some(site) = summary::most_telling_site(&readings.rows) {
            let rows = summary::probe_levels(run, &readings.rows, site, &all.levels);
            all.noise_levels.extend(rows);
        }
        (all.probes, all.similarities) = (readings, similarities);
        Ok(())
    }

    /// The tables that have rows.
    fn tables(&self) -> Result<Tables> {
        fn add<R: Row + Clone>(tables: &mut Tables, rows: &[R]) -> Result<()> {
            if !rows.is_empty() {
                tables.add(rows.iter().cloned())?;
            }
            Ok(())
        }
        let (run, mut tables) = (&self.run, Tables::new());
        add(&mut tables, &run.noise_levels)?;
        add(&mut tables, &self.answers)?;
        add(&mut tables, &run.commitments)?;
        add(&mut tables, &run.bands)?;
        add(&mut tables, &run.switches)?;
        add(&mut tables, &run.over_time)?;
        add(&mut tables, &run.similarities)?;
        add(&mut tables, &run.probes.rows)?;
        Ok(tables)
    }
}

fn described(args: &Args, model: &DiffusionModel, first: &Request, jobs: &[Job]) -> Manifest {
    let mut manifest = manifest("timesteps", &args.model, model, first);
    manifest.set_prompts(jobs.iter().map(|job| job.prompt.clone()).collect());
    manifest.world_version = Some(world::VERSION.to_string());
    manifest.judge_version = Some(format!("{} {}", judge::NAME, judge::VERSION));
    manifest.schemas = crate::table::versions();
    if let Some(sampling) = &mut manifest.sampling {
        sampling.seeds = jobs.iter().map(|job| job.seed).collect();
    }
    manifest
}

/// Writes tables and figures.
fn write(folder: &RunFolder, found: &Found) -> Result<()> {
    let place = folder.path("tables/any")?;
    found.tables()?.write(|name| place.with_file_name(format!("{name}.parquet")))?;
    for (name, figure) in figures::figures(&found.run) {
        folder.write(&format!("figures/{name}.png"), &figure.png(WIDE)?)?;
    }
    Ok(())
}

/// Writes a film strip of each image, for the report.
fn films(folder: &RunFolder, strips: &[Strip]) -> Result<Vec<Picture>> {
    let tile = |(label, image): &(String, KeptImage)| Tile::new(label, image.0.clone());
    let film = |(number, strip): (usize, &Strip)| {
        let figure = FilmStrip {
            title: format!("“{}”, seed {}", strip.prompt, strip.seed),
            frames: strip.frames.iter().map(tile).collect(),
        };
        let name = format!("{STRIP}{number}");
        folder.write(&format!("figures/{name}.png"), &figure.png(WIDE)?)?;
        Ok(Picture::new(name, STRIP_CAPTION, &figure)?)
    };
    strips.iter().enumerate().map(film).collect()
}

/// What stands in the head of the report.
fn shown_facts(mut facts: Vec<Fact>, args: &Args) -> Vec<Fact> {
    facts.retain(|fact| fact.label != "seeds");
    let mut add = |label: &str, value: String| {
        facts.push(Fact { label: label.to_owned(), value });
    };
    if args.samples() {
        let prompts = match &args.sample.prompt {
            Some(prompt) => format!("“{prompt}”"),
            None => format!("{} of the world", prompts::count(args)),
        };
        add("prompts", format!("{prompts}, {} image(s) each", prompts::seeds(args)));
    }
    if args.shows_scenes() {
        let how = if args.captions { "with" } else { "without" };
        add("scenes", format!("{} of the world, {how} captions", args.scenes));
        add("timesteps", args.at_steps.clone());
    }
    facts
}

/// The arguments as a spec that makes the same run again.
fn spec(args: &Args) -> Result<toml::Table> {
    let mut spec = args.sample.spec("timesteps", &args.model);
    let mut put = |key: &str, value: toml::Value| {
        spec.insert(key.to_owned(), value);
    };
    put("count", i64::try_from(prompts::seeds(args))?.into());
    if args.sample.prompt.is_none() {
        put("prompts", i64::try_from(prompts::count(args))?.into());
    }
    let parts: Vec<String> = args.parts.iter().map(|part| part.name()).collect();
    for (key, list) in [
        ("parts", parts),
        ("attributes", args.attributes.clone()),
        ("sites", args.sites.clone()),
        ("logistic", args.logistic.clone()),
    ] {
        if !list.is_empty() {
            put(key, list.into());
        }
    }
    put("pairs", i64::try_from(args.pairs)?.into());
    put("switches", i64::try_from(args.switches)?.into());
    put("scenes", i64::try_from(args.scenes)?.into());
    put("at_steps", args.at_steps.clone().into());
    if args.captions {
        put("captions", true.into());
    }
    Ok(spec)
}

/// The command line that a spec stands for.
fn command(spec: &toml::Table) -> String {
    let mut words = vec!["probe timesteps".to_owned()];
    let given = spec.iter().filter(|(key, _)| !["kind", "version"].contains(&key.as_str()));
    for (key, value) in given {
        words.push(format!("--{}", key.replace('_', "-")));
        let text = |value: &toml::Value| match value.as_str() {
            Some(text) => quoted(text),
            None => value.to_string(),
        };
        match value {
            toml::Value::Boolean(_) => {}
            toml::Value::Array(values) => words.extend(values.iter().map(text)),
            one => words.push(text(one)),
        }
    }
    words.join(" ")
}
