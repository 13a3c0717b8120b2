//! `probe patch --heads`: which heads of cross-attention the model needs, and what for.

mod ablate;

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::Args;
use crate::cli::output::{Format, line, note};
use crate::cli::run_model::{WORLD_SEED, facts, finish, images_at_once, manifest, quoted};
use crate::figure::WIDE;
use crate::model::checkpoint::DiffusionModel;
use crate::probe::patch::heads::{HELD_OUT, RANKING, figures, findings, report};
use crate::probe::stored::keep_facts;
use crate::report::{Fact, Rerun};
use crate::run::RunFolder;
use crate::site::{Glob, Site};
use crate::table::{HeadAblationRow, frame, write_parquet};
use crate::world::{self, Category, Expectations, Generator, Mix, Split};
use ablate::{Ablating, heads_of, request};

/// Fewest prompts, or seeds of one prompt: two to rank by and two to test on, so that both have
/// an interval.
const FEWEST_UNITS: usize = 4;
/// Images of one prompt where none is asked for.
const DEFAULT_COUNT: u64 = 16;
/// Prompts that are looked through for each that is wanted.
const TRIES: u64 = 50;

/// How heads are taken out.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Heads")]
pub(super) struct HeadArgs {
    /// Rank heads of cross-attention instead: take each out and see what of colours, shapes,
    /// bindings and relations is lost. --sites names layers [default: all]
    #[arg(long, conflicts_with_all = ["corrupted", "exchange", "windows", "budget"])]
    pub heads: bool,
    /// Prompts of the world, each about two coloured objects in a relation, instead of --prompt
    #[arg(long, value_name = "N", conflicts_with = "prompt", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    from_world: Option<u64>,
    /// What becomes of a head that is taken out [default: zero]
    #[arg(long, value_enum)]
    ablation: Option<Ablation>,
    /// Heads that are taken out together on held-out images [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    together: Option<u32>,
    /// Random sets of as many heads that they are compared with [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    random_sets: Option<u32>,
}

impl HeadArgs {
    const TOGETHER: u32 = 4;
    const RANDOM_SETS: u32 = 5;

    /// Refuses options of heads where heads were not asked for. Clap's own `requires` passes over
    /// an option that it takes to be excluded by another one.
    pub fn check(&self) -> Result<()> {
        let given = [
            ("--from-world", self.from_world.is_some()),
            ("--ablation", self.ablation.is_some()),
            ("--together", self.together.is_some()),
            ("--random-sets", self.random_sets.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) if !self.heads => bail!("{name} goes with --heads; add it"),
            _ => Ok(()),
        }
    }

    fn ablation(&self) -> Ablation {
        self.ablation.unwrap_or(Ablation::Zero)
    }

    fn together(&self) -> u32 {
        self.together.unwrap_or(Self::TOGETHER)
    }

    fn random_sets(&self) -> u32 {
        self.random_sets.unwrap_or(Self::RANDOM_SETS)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ablation {
    /// It adds nothing, in both halves of guidance
    Zero,
    /// It reads the negative (or empty) prompt, in the half that reads the prompt
    Unprompted,
}

/// One image: what is drawn, and what the judge is to find.
struct Drawn {
    prompt: String,
    seed: u64,
    part: &'static str,
    expectations: Expectations,
}

/// Runs the command.
pub(super) fn run(mut args: Args) -> Result<u8> {
    let several = args.head.from_world.is_some();
    args.sample.count.get_or_insert(if several { 1 } else { DEFAULT_COUNT });
    let images = images(&args)?;
    let model = args.model.open()?;
    args.sample.settle(&model)?;
    let layers = layers(&args.sites, &model)?;
    check_together(args.head.together(), &layers)?;
    let batch = images_at_once(&model);
    let first: Vec<usize> = (0..batch.min(images.len())).collect();
    let request = request(&args.sample, &model, &images, &first)?;
    request.check(&model)?;
    let spec = spec(&args)?;
    let mut manifest = manifest("patch", &args.model, &model, &request);
    manifest.set_prompts(images.iter().map(|image| image.prompt.clone()).collect());
    manifest.world_version = Some(world::VERSION.to_string());
    manifest.schemas = crate::table::versions();
    if let Some(sampling) = &mut manifest.sampling {
        sampling.seeds = images.iter().map(|image| image.seed).collect();
    }
    let folder = RunFolder::create(&args.output.out, "patch", &spec)?;
    let steps = request.evaluations(&model)?;
    let run = folder.name().to_owned();
    let ablating = Ablating { args: &args, run, images, layers, batch, steps };
    let rows = ablating.rows(&model)?;

    let path = folder.path("tables/head_ablation.parquet")?;
    write_parquet::<HeadAblationRow>(&mut frame(rows.clone())?, &path)?;
    for (file, _, figure) in figures(&rows) {
        folder.write(&format!("figures/{file}.png"), &figure.png(WIDE)?)?;
    }
    let rerun = Rerun { command: command(&args), spec };
    let mut facts = facts(&model, &request, &manifest);
    facts.push(Fact { label: "images".to_owned(), value: ablating.described() });
    keep_facts(&mut manifest, &facts);
    let page = report(&rows, facts, rerun)?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    let at = finish(folder, manifest, &args.model, &model)?;
    match args.output.format.format {
        Format::Table => findings(&rows).iter().try_for_each(|f| line(&f.sentence))?,
        _ => args.output.format.print(&frame(rows)?)?,
    }
    note(&format!("report: {}", at.join("report.html").display()));
    Ok(0)
}

/// Prompts and seeds: every other prompt (or seed, where there is one prompt) is held out.
fn images(args: &Args) -> Result<Vec<Drawn>> {
    let seeds = args.sample.count.unwrap_or(1);
    let prompts = match args.head.from_world {
        Some(count) => world_prompts(args.sample.seed, count)?,
        None => {
            let prompt = args.sample.prompt()?.to_owned();
            let expectations = world::parse(&prompt).with_context(|| {
                format!(
                    "--heads needs prompts that the judge understands, and `{prompt}` is none; \
                     name one of the world's, or --from-world N"
                )
            })?;
            vec![(prompt, expectations)]
        }
    };
    let units = if prompts.len() > 1 { prompts.len() } else { seeds as usize };
    if units < FEWEST_UNITS {
        bail!(
            "--heads ranks on one half of the prompts (or seeds) and tests on the other: \
             {units} are too few, give at least {FEWEST_UNITS} with {}",
            if args.head.from_world.is_some() { "--from-world" } else { "--count" }
        );
    }
    let mut images = Vec::new();
    for (i, (prompt, expectations)) in prompts.iter().enumerate() {
        for seed in 0..seeds {
            let unit = if prompts.len() > 1 { i as u64 } else { seed };
            images.push(Drawn {
                prompt: prompt.clone(),
                seed: args.sample.seed.wrapping_add(images.len() as u64),
                part: if unit.is_multiple_of(2) { RANKING } else { HELD_OUT },
                expectations: expectations.clone(),
            });
        }
    }
    Ok(images)
}

/// Captions of two coloured objects in a relation, so that each kind of statement is made.
fn world_prompts(seed: u64, count: u64) -> Result<Vec<(String, Expectations)>> {
    let generator =
        Generator::new(seed.wrapping_add(WORLD_SEED), Mix::only(Category::Relation), Split::Train);
    let mut seen = BTreeSet::new();
    let says_all = |i| {
        let caption = generator.sample(i).caption;
        let said = world::parse(&caption).ok()?;
        let coloured = said.objects.len() == 2 && said.objects.iter().all(|o| o.colour.is_some());
        (coloured && !said.relations.is_empty() && seen.insert(caption.clone()))
            .then_some((caption, said))
    };
    let prompts: Vec<_> = (0..count * TRIES).filter_map(says_all).take(count as usize).collect();
    if (prompts.len() as u64) < count {
        bail!("--from-world {count}: the world has but {} such prompts; give fewer", prompts.len());
    }
    Ok(prompts)
}

/// The cross-attention layers, by their values: what a head adds is made of them.
fn layers(globs: &[String], model: &DiffusionModel) -> Result<Vec<Site>> {
    let globs: Vec<Glob> = match globs {
        [] => vec![Glob::new("*.cross.*")],
        globs => globs.iter().map(Glob::new).collect(),
    };
    let chosen = model.sites.select(&globs)?;
    let layer = |name: &str| name.rsplit_once(".cross.").map(|(layer, _)| format!("{layer}.cross"));
    let wanted: BTreeSet<String> =
        chosen.into_iter().filter_map(|id| layer(&model.sites.get(id).name)).collect();
    if wanted.is_empty() {
        bail!("--heads: --sites has no cross-attention; name layers, as in 'up.*.cross.*'");
    }
    let values = |site: &&Site| {
        layer(&site.name).is_some_and(|l| wanted.contains(&l)) && site.name.ends_with(".v")
    };
    Ok(model.sites.iter().map(|(_, site)| site).filter(values).cloned().collect())
}

/// Refuses sets that would be all there is.
fn check_together(together: u32, layers: &[Site]) -> Result<()> {
    let heads: i64 = layers.iter().map(heads_of).sum();
    if i64::from(together) < heads {
        return Ok(());
    }
    bail!(
        "--together {together}: these layers have {heads} heads, and random sets of as many would \
         be the same; give fewer, or name more layers with --sites"
    )
}

/// The options of heads, as a spec has them.
fn own_options(args: &Args) -> Vec<(&'static str, toml::Value)> {
    let ablation = args.head.ablation().to_possible_value();
    let mut options = vec![("heads", true.into())];
    options.extend(args.head.from_world.map(|count| ("from_world", (count as i64).into())));
    options.extend(ablation.map(|value| ("ablation", value.get_name().into())));
    options.push(("together", i64::from(args.head.together()).into()));
    options.push(("random_sets", i64::from(args.head.random_sets()).into()));
    if !args.sites.is_empty() {
        options.push(("sites", args.sites.clone().into()));
    }
    options
}

fn spec(args: &Args) -> Result<String> {
    let mut spec = args.sample.spec("patch", &args.model);
    spec.extend(own_options(args).into_iter().map(|(name, value)| (name.to_owned(), value)));
    Ok(toml::to_string_pretty(&spec)?)
}

fn command(args: &Args) -> String {
    let mut words = args.sample.command("patch", &args.model);
    for (name, value) in own_options(args) {
        let flag = format!(" --{}", name.replace('_', "-"));
        match value {
            toml::Value::Boolean(_) => words.push_str(&flag),
            toml::Value::Array(values) => {
                let texts = values.iter().filter_map(toml::Value::as_str);
                texts.for_each(|text| words.push_str(&format!("{flag} {}", quoted(text))));
            }
            toml::Value::String(text) => words.push_str(&format!("{flag} {}", quoted(&text))),
            other => words.push_str(&format!("{flag} {other}")),
        }
    }
    words
}
