//! The runs of causal tracing: the two ends, and all changes between them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use image::RgbImage;
use indicatif::{DecimalBytes, ProgressBar};
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::Group;
use crate::cli::workers::{OneThreadEach, share_out, worth_it};
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Generation, Outputs, Request, generate_with};
use crate::probe::patch::{
    ATOMS, CLEAN, CORRUPTED, IMAGE, ITSELF, LATENT, PatchImages, RANDOM_SITES, recovery, windows,
};
use crate::site::{Branch, Glob, Sites};
use crate::table::PatchRow;
use crate::tap::edit::{Edit, Edits, Operation, Reference, RunShape, Scope};
use crate::tap::{RawRecorder, Tap};
use crate::world::{self, Expectations};

/// All that is going to be run.
pub(in crate::cli) struct Tracing {
    pub clean: Request,
    pub corrupted: Request,
    sites: Sites,
    groups: Vec<Group>,
    windows: Vec<(usize, usize)>,
    shape: RunShape,
    expectations: Option<Expectations>,
}

/// What came of it.
pub(in crate::cli) struct Traced {
    pub rows: Vec<PatchRow>,
    /// Images of the two ends.
    pub images: Vec<(String, Vec<RgbImage>)>,
    /// What the report shows first.
    pub pictures: PatchImages,
}

/// One change: sites, steps, and what it is called in the table.
struct Change {
    group: String,
    sites: Vec<String>,
    window: (usize, usize),
    control: Option<&'static str>,
}

/// What a change made.
struct Changed {
    rows: Vec<PatchRow>,
    first_image: RgbImage,
}

/// Tensors of a run by their names.
type Kept = BTreeMap<String, Tensor>;

/// What changes are made from.
struct Ingredients {
    /// What the sites had in the clean run.
    clean: Kept,
    /// What they had in the corrupted run.
    corrupted: Kept,
    /// The denoiser's outputs in the corrupted run.
    outputs: Vec<Tensor>,
}

impl Ingredients {
    /// The same tensors, for another thread.
    fn shared(&self) -> Self {
        let kept = |kept: &Kept| kept.iter().map(|(k, x)| (k.clone(), x.shallow_clone())).collect();
        Self {
            clean: kept(&self.clean),
            corrupted: kept(&self.corrupted),
            outputs: self.outputs.iter().map(Tensor::shallow_clone).collect(),
        }
    }
}

impl Tracing {
    /// The runs that two requests, groups of sites and windows of steps ask for.
    pub fn new(
        model: &DiffusionModel,
        clean: Request,
        corrupted: Request,
        groups: Vec<Group>,
        windows_asked: usize,
    ) -> Result<Self> {
        let mut shape = clean.run_shape(model)?;
        shape.extent.tokens = shape.extent.tokens.max(corrupted.run_shape(model)?.extent.tokens);
        let expectations = world::parse(&clean.prompts[0]).ok();
        let (sites, windows) = (model.sites.clone(), windows(shape.steps, windows_asked));
        Ok(Self { clean, corrupted, sites, groups, windows, shape, expectations })
    }

    fn restored(&self) -> BTreeSet<String> {
        self.groups.iter().flat_map(|(_, sites)| sites.iter().cloned()).collect()
    }

    /// Refuses what would not fit into memory.
    pub fn check_budget(&self, model: &DiffusionModel, budget: u64) -> Result<()> {
        let kind = model.placement.kind.elt_size_in_bytes() as u64;
        let wanted = self.restored();
        let of_interest = self.sites.iter().filter(|(_, site)| wanted.contains(&site.name));
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

    /// Runs all of it. Runs of a small model go on at once, each with a model of its own, which
    /// `open` opens.
    pub fn run(
        &self,
        model: &DiffusionModel,
        open: impl Fn() -> Result<DiffusionModel> + Sync,
        (run, budget): (&str, u64),
        bar: &ProgressBar,
    ) -> Result<Traced> {
        let changes = self.changes();
        let workers = worth_it(model, changes.len());
        let _threads = OneThreadEach::of(workers);
        bar.set_length(self.evaluations(&changes) as u64);
        let keep = || RawRecorder::new(self.restored(), None, budget).of_branch(Branch::Cond);
        let mut recorder = keep();
        let clean = draw(model, &self.clean, Outputs::Asked, &mut recorder, bar)?;
        let kept: Kept = recorder.into_tensors().into_iter().collect();
        let mut recorder = keep();
        let mut outputs = Vec::new();
        let keeping = Outputs::Kept(&mut outputs);
        let corrupted = draw(model, &self.corrupted, keeping, &mut recorder, bar)?;
        let own: Kept = recorder.into_tensors().into_iter().collect();

        let ends = Ends::new(self, run, &clean, &corrupted)?;
        let mut rows = ends.baseline(CLEAN, &clean)?;
        rows.extend(ends.baseline(CORRUPTED, &corrupted)?);
        let ingredients = Ingredients { clean: kept, corrupted: own, outputs };
        let shares = (0..workers).map(|_| ingredients.shared()).collect();
        let made = share_out(&changes, model, shares, open, |model, ingredients, change| {
            let made = self.changed(model, change, ingredients, bar)?;
            let first_image = made.images.first().context("no image was made")?.clone();
            Ok(Changed { rows: ends.rows(change, &made)?, first_image })
        })?;
        let first = |made: &Generation| made.images[0].clone();
        let pictures = PatchImages {
            clean: (self.clean.prompts[0].clone(), first(&clean)),
            corrupted: (self.corrupted.prompts[0].clone(), first(&corrupted)),
            best: best(&changes, &made),
        };
        let images =
            vec![(CLEAN.to_owned(), clean.images), (CORRUPTED.to_owned(), corrupted.images)];
        rows.extend(made.into_iter().flat_map(|made| made.rows));
        Ok(Traced { rows, images, pictures })
    }

    /// Each group in each window, and the controls.
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (group, sites) in &self.groups {
            let windows = self.windows.iter();
            changes.extend(windows.map(|&window| Change {
                group: group.clone(),
                sites: sites.clone(),
                window,
                control: None,
            }));
        }
        changes.extend(self.random_sites());
        changes.extend(self.restored_into_itself());
        changes
    }

    /// The first group in the first window, which runs all steps, and in the last, which runs the
    /// fewest.
    fn restored_into_itself(&self) -> impl Iterator<Item = Change> {
        let windows = match self.windows.as_slice() {
            [first, .., last] => vec![*first, *last],
            windows => windows.to_vec(),
        };
        self.groups.first().into_iter().flat_map(move |(group, sites)| {
            let change = move |window| Change {
                group: group.clone(),
                sites: sites.clone(),
                window,
                control: Some(ITSELF),
            };
            windows.clone().into_iter().map(change)
        })
    }

    /// How many steps of a changed run are those of the corrupted run: all before the window,
    /// unless the change is outside the denoising loop and so acts from the start.
    fn unchanged(&self, change: &Change) -> usize {
        let outside = |name: &String| {
            self.sites.find(name).is_none_or(|id| !self.sites.get(id).is_per_step())
        };
        if change.sites.iter().any(outside) { 0 } else { change.window.0 }
    }

    /// How often the denoiser is asked in all runs together.
    fn evaluations(&self, changes: &[Change]) -> usize {
        let ends = 2 * self.shape.steps;
        let of = |change| self.shape.steps - self.unchanged(change);
        ends + changes.iter().map(of).sum::<usize>()
    }

    /// As many sites as the median group has, for each window.
    fn random_sites(&self) -> Vec<Change> {
        let mut sizes: Vec<usize> = self.groups.iter().map(|(_, sites)| sites.len()).collect();
        sizes.sort_unstable();
        let size = sizes.get(sizes.len() / 2).copied().unwrap_or(1);
        let all: Vec<String> = self.restored().into_iter().collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.clean.seeds[0]);
        let draw = |&window: &(usize, usize)| Change {
            group: RANDOM_SITES.to_owned(),
            sites: all.choose_multiple(&mut random, size).cloned().collect(),
            window,
            control: Some(RANDOM_SITES),
        };
        self.windows.iter().map(draw).collect()
    }

    /// The corrupted prompt's run with a change taken from another run. Before the change it is
    /// the corrupted run, whose outputs stand for the denoiser's.
    fn changed(
        &self,
        model: &DiffusionModel,
        change: &Change,
        from: &Ingredients,
        bar: &ProgressBar,
    ) -> Result<Generation> {
        let (first, last) = change.window;
        let source = if change.control == Some(ITSELF) { &from.corrupted } else { &from.clean };
        let is_of =
            |name: &str| change.sites.iter().any(|site| name.ends_with(&format!("/{site}")));
        let tensors = source
            .iter()
            .filter(|(name, _)| is_of(name))
            .map(|(name, x)| (name.clone(), x.shallow_clone()));
        let reference = Reference::new("the clean run", tensors.collect());
        let scope = Scope {
            sites: change.sites.iter().map(Glob::new).collect(),
            steps: Some((first..=last).collect()),
            branch: Some(Branch::Cond),
            ..Scope::default()
        };
        let operation = Operation::Replace(reference);
        let edit = Edit::new(operation, &scope, &self.sites, &self.shape)?;
        let known = Outputs::Known(&from.outputs[..self.unchanged(change)]);
        draw(model, &self.corrupted, known, &mut Edits(vec![edit]), bar)
    }
}

/// Runs a request; the bar counts its steps.
fn draw(
    model: &DiffusionModel,
    request: &Request,
    outputs: Outputs<'_>,
    tap: &mut dyn Tap,
    bar: &ProgressBar,
) -> Result<Generation> {
    let mut count = |_, _| bar.inc(1);
    Ok(generate_with(model, request, outputs, Some(tap), &mut count)?)
}

/// The change that brings back most of the latent, and its first image.
fn best(changes: &[Change], made: &[Changed]) -> Option<(String, RgbImage)> {
    let recovered = |made: &Changed| {
        let of_latent = made.rows.iter().filter(|row| row.measure == LATENT);
        of_latent.filter_map(|row| row.value).sum::<f64>()
    };
    let measured = changes.iter().zip(made).filter(|(change, _)| change.control.is_none());
    let most = measured.max_by(|(_, a), (_, b)| recovered(a).total_cmp(&recovered(b)))?;
    let (Change { group, window: (first, last), .. }, made) = most;
    Some((format!("{group}, steps {first}–{last}"), made.first_image.clone()))
}

/// The two runs that a changed one lies between.
struct Ends<'a> {
    tracing: &'a Tracing,
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
        tracing: &'a Tracing,
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

    fn rows(&self, change: &Change, made: &Generation) -> Result<Vec<PatchRow>> {
        let (first, last) = change.window;
        let row = PatchRow {
            group: Some(change.group.clone()),
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
