//! `probe patch --heads`: which heads of cross-attention the model needs, and what for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use indicatif::ProgressBar;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::Args;
use crate::cli::output::{Format, bar, line, note};
use crate::cli::run_model::{SampleArgs, facts, finish, images_at_once, manifest, quoted};
use crate::cli::workers::{OneThreadEach, share_out, worth_it};
use crate::figure::WIDE;
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Generation, Request, generate};
use crate::probe::patch::heads::{
    HELD_OUT, Head, KINDS, LATENT_CHANGE, RANDOM_HEADS, RANKING, UNTOUCHED, figures, findings,
    kinds, ranking, relative_change, report, share,
};
use crate::report::{Fact, Rerun};
use crate::run::RunFolder;
use crate::site::{Axis, Branch, Glob, Site};
use crate::table::{HeadAblationRow, frame, write_parquet};
use crate::tap::RawRecorder;
use crate::tap::edit::{Edit, Edits, Operation, Reference, Scope};
use crate::world::{self, Category, Expectations, Generator, Mix, Split};

/// Fewest prompts, or seeds of one prompt: two to rank by and two to test on, so that both have
/// an interval.
const FEWEST_UNITS: usize = 4;
/// Images of one prompt where none is asked for.
const DEFAULT_COUNT: u64 = 16;
/// Prompts of the world are drawn far from those of training.
const WORLD_SEED: u64 = 1 << 40;
/// Prompts that are looked through for each that is wanted.
const TRIES: u64 = 50;
/// Most bytes of the run without the prompt: keys and values at one step.
const REFERENCE_BUDGET: u64 = 1 << 30;

/// How heads are taken out.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Heads")]
pub(super) struct HeadArgs {
    /// Rank heads of cross-attention instead: take each out and see what of colours, shapes,
    /// bindings and relations is lost. --sites names layers [default: all]
    #[arg(long, conflicts_with_all = ["corrupted", "exchange", "windows", "budget"])]
    pub heads: bool,
    /// Prompts of the world, each about two coloured objects in a relation, instead of --prompt
    #[arg(long, value_name = "N", requires = "heads", conflicts_with = "prompt", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    from_world: Option<u64>,
    /// What becomes of a head that is taken out
    #[arg(long, value_enum, requires = "heads", default_value_t = Ablation::Zero)]
    ablation: Ablation,
    /// Heads that are taken out together on held-out images
    #[arg(long, value_name = "N", requires = "heads", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    together: u32,
    /// Random sets of as many heads that they are compared with
    #[arg(long, value_name = "N", requires = "heads", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    random_sets: u32,
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

/// Heads that are taken out together, and what the table calls them.
#[derive(Clone, Debug)]
struct Taken {
    heads: Vec<Head>,
    set: Option<String>,
    control: Option<&'static str>,
}

/// One run: heads taken out of a batch of images, by their numbers.
struct Job {
    taken: Taken,
    images: Vec<usize>,
}

/// The last latent of each image of the untouched runs.
type Latents = BTreeMap<usize, Vec<f32>>;

struct Ablating<'a> {
    args: &'a Args,
    run: String,
    images: Vec<Drawn>,
    layers: Vec<Site>,
    /// Images that are drawn at once.
    batch: usize,
    /// Evaluations of the denoiser in one run.
    steps: usize,
}

/// Runs the command.
pub(super) fn run(mut args: Args) -> Result<u8> {
    let several = args.head.from_world.is_some();
    args.sample.count.get_or_insert(if several { 1 } else { DEFAULT_COUNT });
    let images = images(&args)?;
    let model = args.model.open()?;
    args.sample.settle(&model)?;
    let layers = layers(&args.sites, &model)?;
    check_together(args.head.together, &layers)?;
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

fn request(
    sample: &SampleArgs,
    model: &DiffusionModel,
    images: &[Drawn],
    numbers: &[usize],
) -> Result<Request> {
    let of = |number: &usize| &images[*number];
    let prompt = numbers.first().map(|number| of(number).prompt.clone());
    let mut request = SampleArgs { prompt, count: Some(1), ..sample.clone() }.request(model)?;
    request.prompts = numbers.iter().map(|number| of(number).prompt.clone()).collect();
    request.seeds = numbers.iter().map(|number| of(number).seed).collect();
    Ok(request)
}

fn heads_of(layer: &Site) -> i64 {
    let heads = layer.axes.iter().find_map(|axis| match axis {
        Axis::Head(count) => Some(*count),
        _ => None,
    });
    heads.unwrap_or(0)
}

impl Ablating<'_> {
    fn all_heads(&self) -> Vec<Head> {
        let of_layer = |site: &Site| {
            let layer = site.name.trim_end_matches(".v").to_owned();
            (0..heads_of(site) as u32).map(move |number| Head { layer: layer.clone(), number })
        };
        self.layers.iter().flat_map(of_layer).collect()
    }

    fn described(&self) -> String {
        let prompts: BTreeSet<&str> = self.images.iter().map(|i| i.prompt.as_str()).collect();
        let ranking = self.images.iter().filter(|image| image.part == RANKING).count();
        format!(
            "{ranking} to rank by, {} held out, of {} prompts",
            self.images.len() - ranking,
            prompts.len()
        )
    }

    /// Batches of one part's images, each with these heads taken out.
    fn jobs(&self, part: &str, taken: &[Taken]) -> Vec<Job> {
        let of_part = |number: &usize| self.images[*number].part == part;
        let numbers: Vec<usize> = (0..self.images.len()).filter(of_part).collect();
        let batches = numbers.chunks(self.batch);
        let of_batch = |batch: &[usize]| {
            let batch = batch.to_vec();
            taken.iter().map(move |taken| Job { taken: taken.clone(), images: batch.clone() })
        };
        batches.flat_map(of_batch).collect()
    }

    /// All runs: untouched, each head, then the sets that were chosen.
    fn rows(&self, model: &DiffusionModel) -> Result<Vec<HeadAblationRow>> {
        let heads = self.all_heads();
        let nothing = Taken { heads: Vec::new(), set: None, control: Some(UNTOUCHED) };
        let single = |head: &Head| Taken { heads: vec![head.clone()], set: None, control: None };
        let singles: Vec<Taken> = heads.iter().map(single).collect();
        let mut whole = self.jobs(RANKING, std::slice::from_ref(&nothing));
        whole.extend(self.jobs(HELD_OUT, &[nothing]));
        let singles = self.jobs(RANKING, &singles);
        let sets = KINDS.len() + self.args.head.random_sets as usize;
        let of_sets = sets * self.images.len().div_ceil(2).div_ceil(self.batch);

        let workers = worth_it(model, singles.len());
        let _threads = OneThreadEach::of(workers);
        let unprompted = match self.args.head.ablation {
            Ablation::Zero => None,
            Ablation::Unprompted => Some(self.unprompted(model)?),
        };
        let bar = bar(((whole.len() + singles.len() + of_sets) * self.steps) as u64, "steps");
        let run = |jobs: &[Job], latents: &Latents| {
            let own = (0..workers).map(|_| unprompted.as_ref().map(copied)).collect();
            let open = || self.args.model.open();
            share_out(jobs, model, own, open, |model, unprompted, job| {
                self.ablated(model, job, (unprompted.as_ref(), latents), &bar)
            })
        };
        let whole = run(&whole, &Latents::new())?;
        let latents: Latents = whole.iter().flat_map(|made| made.latents.clone()).collect();
        let mut rows: Vec<HeadAblationRow> = whole.into_iter().flat_map(|made| made.rows).collect();
        let of_heads = run(&singles, &latents)?;
        rows.extend(of_heads.into_iter().flat_map(|made| made.rows));
        let sets = self.sets(&rows, &heads);
        let of_sets = run(&self.jobs(HELD_OUT, &sets), &latents)?;
        rows.extend(of_sets.into_iter().flat_map(|made| made.rows));
        bar.finish_and_clear();
        Ok(rows)
    }

    /// The first ranks of each kind, and as many heads at random.
    fn sets(&self, rows: &[HeadAblationRow], heads: &[Head]) -> Vec<Taken> {
        let count = self.args.head.together as usize;
        let first = |kind: &str| Taken {
            heads: ranking(rows, kind).into_iter().filter_map(|e| e.head).take(count).collect(),
            set: Some(kind.to_owned()),
            control: None,
        };
        let mut sets: Vec<Taken> = kinds(rows).into_iter().map(first).collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.args.sample.seed);
        sets.extend((1..=self.args.head.random_sets).map(|number| Taken {
            heads: heads.choose_multiple(&mut random, count).cloned().collect(),
            set: Some(format!("random-{number}")),
            control: Some(RANDOM_HEADS),
        }));
        sets
    }

    /// Keys and values of the negative prompt: they are the same at all steps.
    fn unprompted(&self, model: &DiffusionModel) -> Result<BTreeMap<String, Tensor>> {
        let first = request(&self.args.sample, model, &self.images, &[0])?;
        let once = Request { guidance: 0.0, guidance_rescale: 0.0, steps: 1, ..first };
        let sites = self.layers.iter().flat_map(|layer| {
            let keys = format!("{}.k", layer.name.trim_end_matches(".v"));
            [layer.name.clone(), keys]
        });
        let mut recorder = RawRecorder::new(sites, None, REFERENCE_BUDGET);
        generate(model, &once, Some(&mut recorder), &mut |_, _| {})?;
        let named =
            |(key, x): (String, Tensor)| Some((key.strip_prefix("000/uncond/")?.to_owned(), x));
        Ok(recorder.into_tensors().into_iter().filter_map(named).collect())
    }

    /// One batch without some heads.
    fn ablated(
        &self,
        model: &DiffusionModel,
        job: &Job,
        (unprompted, latents): (Option<&BTreeMap<String, Tensor>>, &Latents),
        bar: &ProgressBar,
    ) -> Result<Made> {
        let request = request(&self.args.sample, model, &self.images, &job.images)?;
        let mut edits = self.edits(model, &request, &job.taken.heads, unprompted)?;
        let mut count = |_, _| bar.inc(1);
        let made = generate(model, &request, Some(&mut edits), &mut count)?;
        self.measured(job, &made, latents)
    }

    fn edits(
        &self,
        model: &DiffusionModel,
        request: &Request,
        heads: &[Head],
        unprompted: Option<&BTreeMap<String, Tensor>>,
    ) -> Result<Edits> {
        let mut by_layer: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
        for head in heads {
            by_layer.entry(&head.layer).or_default().insert(i64::from(head.number));
        }
        let shape = request.run_shape(model)?;
        let edit = |(layer, heads): (&str, BTreeSet<i64>)| {
            let values = format!("{layer}.v");
            let (operation, sites, branch) = match unprompted {
                // Without values a head's output is zero, and the fused kernel can stay.
                None => (Operation::Zero, vec![values], None),
                Some(tensors) => {
                    let reference = Reference::new("the negative prompt", copied(tensors));
                    let sites = vec![values, format!("{layer}.k")];
                    (Operation::Replace(reference), sites, Some(Branch::Cond))
                }
            };
            let scope = Scope {
                sites: sites.into_iter().map(Glob::new).collect(),
                branch,
                heads: Some(heads),
                ..Scope::default()
            };
            Ok(Edit::new(operation, &scope, &model.sites, &shape)?)
        };
        Ok(Edits(by_layer.into_iter().map(edit).collect::<Result<_>>()?))
    }

    fn measured(&self, job: &Job, made: &Generation, latents: &Latents) -> Result<Made> {
        let (mut rows, mut own) = (Vec::new(), Latents::new());
        let of_batch = made.latents.to_kind(Kind::Float).contiguous();
        for (i, (&number, image)) in job.images.iter().zip(&made.images).enumerate() {
            let drawn = &self.images[number];
            let latent = Vec::<f32>::try_from(of_batch.get(i as i64).flatten(0, -1))?;
            let verdict = judge::judge(image, &drawn.expectations);
            let mut values: Vec<(&str, Option<f64>)> =
                KINDS.iter().map(|kind| (*kind, share(&verdict, kind))).collect();
            if let Some(untouched) = latents.get(&number) {
                values.push((LATENT_CHANGE, relative_change(&latent, untouched)));
            }
            let one = match job.taken.heads.as_slice() {
                [head] if job.taken.set.is_none() => Some(head),
                _ => None,
            };
            rows.extend(values.into_iter().map(|(measure, value)| HeadAblationRow {
                run: self.run.clone(),
                sample: number as u32,
                prompt: drawn.prompt.clone(),
                seed: drawn.seed,
                part: drawn.part.to_owned(),
                site: one.map(|head| head.layer.clone()),
                head: one.map(|head| head.number),
                heads: job.taken.heads.len() as u32,
                set: job.taken.set.clone(),
                measure: measure.to_owned(),
                value,
                control: job.taken.control.map(str::to_owned),
            }));
            own.insert(number, latent);
        }
        Ok(Made { rows, latents: own })
    }
}

/// What one run made.
struct Made {
    rows: Vec<HeadAblationRow>,
    latents: Latents,
}

/// The same tensors under the same names.
fn copied(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    tensors.iter().map(|(name, x)| (name.clone(), x.shallow_clone())).collect()
}

/// The options of heads, as a spec has them.
fn own_options(args: &Args) -> Vec<(&'static str, toml::Value)> {
    let ablation = args.head.ablation.to_possible_value();
    let mut options = vec![("heads", true.into())];
    options.extend(args.head.from_world.map(|count| ("from_world", (count as i64).into())));
    options.extend(ablation.map(|value| ("ablation", value.get_name().into())));
    options.push(("together", i64::from(args.head.together).into()));
    options.push(("random_sets", i64::from(args.head.random_sets).into()));
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
