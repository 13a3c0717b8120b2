//! The runs of causal tracing: the two ends, and all changes between them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use image::RgbImage;
use indicatif::{DecimalBytes, ProgressBar};
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::Group;
use crate::cli::sites::extent;
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Generation, Outputs, Request, generate_with};
use crate::probe::patch::{
    ATOMS, CLEAN, CORRUPTED, IMAGE, ITSELF, LATENT, PatchImages, RANDOM_SITES, recovery, windows,
};
use crate::site::{Branch, Extent, Glob};
use crate::table::PatchRow;
use crate::tap::edit::{Edit, Edits, Operation, Reference, RunShape, Scope};
use crate::tap::{RawRecorder, Tap};
use crate::world::{self, Expectations};

/// All that is going to be run.
pub(in crate::cli) struct Tracing<'a> {
    model: &'a DiffusionModel,
    pub clean: Request,
    pub corrupted: Request,
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
struct Change<'a> {
    group: &'a str,
    sites: &'a [String],
    window: (usize, usize),
    control: Option<&'static str>,
}

/// Tensors of a run by their names.
type Kept = BTreeMap<String, Tensor>;

impl<'a> Tracing<'a> {
    /// The runs that two requests, groups of sites and windows of steps ask for.
    pub fn new(
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

    /// Refuses what would not fit into memory.
    pub fn check_budget(&self, budget: u64) -> Result<()> {
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

    fn generate(
        &self,
        request: &Request,
        outputs: Outputs<'_>,
        tap: &mut dyn Tap,
        bar: &ProgressBar,
    ) -> Result<Generation> {
        let mut count = |_, _| bar.inc(1);
        Ok(generate_with(self.model, request, outputs, Some(tap), &mut count)?)
    }

    /// Runs all of it.
    pub fn run(&self, run: &str, budget: u64, bar: &ProgressBar) -> Result<Traced> {
        let random = self.random_sites();
        bar.set_length(self.evaluations(&random) as u64);
        let keep = || RawRecorder::new(self.sites(), None, budget).of_branch(Branch::Cond);
        let mut recorder = keep();
        let clean = self.generate(&self.clean, Outputs::Asked, &mut recorder, bar)?;
        let kept: Kept = recorder.into_tensors().into_iter().collect();
        let mut recorder = keep();
        let mut outputs = Vec::new();
        let keeping = Outputs::Kept(&mut outputs);
        let corrupted = self.generate(&self.corrupted, keeping, &mut recorder, bar)?;
        let own: Kept = recorder.into_tensors().into_iter().collect();

        let ends = Ends::new(self, run, &clean, &corrupted)?;
        let mut rows = ends.baseline(CLEAN, &clean)?;
        rows.extend(ends.baseline(CORRUPTED, &corrupted)?);
        let mut best: Option<(f64, String, RgbImage)> = None;
        for change in self.changes() {
            let made = self.changed(&change, &kept, &outputs, bar)?;
            let found = ends.rows(&change, &made)?;
            let of_latent = found.iter().filter(|row| row.measure == LATENT);
            let mean = of_latent.filter_map(|row| row.value).sum::<f64>();
            if best.as_ref().is_none_or(|(most, ..)| mean > *most) {
                let (first, last) = change.window;
                let label = format!("{}, steps {first}–{last}", change.group);
                best = Some((mean, label, made.images[0].clone()));
            }
            rows.extend(found);
        }
        for (window, sites) in &random {
            let (control, window) = (Some(RANDOM_SITES), *window);
            let change = Change { group: RANDOM_SITES, sites, window, control };
            rows.extend(ends.rows(&change, &self.changed(&change, &kept, &outputs, bar)?)?);
        }
        for change in self.restored_into_itself() {
            rows.extend(ends.rows(&change, &self.changed(&change, &own, &outputs, bar)?)?);
        }
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

    /// The first group in the first window, which runs all steps, and in the last, which runs the
    /// fewest.
    fn restored_into_itself(&self) -> impl Iterator<Item = Change<'_>> {
        let windows = match self.windows.as_slice() {
            [first, .., last] => vec![*first, *last],
            windows => windows.to_vec(),
        };
        self.groups.first().into_iter().flat_map(move |(group, sites)| {
            let change = move |window| Change { group, sites, window, control: Some(ITSELF) };
            windows.clone().into_iter().map(change)
        })
    }

    /// How many steps of a changed run are those of the corrupted run: all before the window,
    /// unless the change is outside the denoising loop and so acts from the start.
    fn unchanged(&self, sites: &[String], window: (usize, usize)) -> usize {
        let outside = |name: &String| {
            let found = self.model.sites.iter().find(|(_, site)| site.name == *name);
            found.is_none_or(|(_, site)| !site.is_per_step())
        };
        if sites.iter().any(outside) { 0 } else { window.0 }
    }

    /// How often the denoiser is asked in all runs together.
    fn evaluations(&self, random: &[((usize, usize), Vec<String>)]) -> usize {
        let of = |sites: &[String], window| self.shape.steps - self.unchanged(sites, window);
        let ends = 2 * self.shape.steps;
        let changes = self.changes().chain(self.restored_into_itself());
        let random = random.iter().map(|(window, sites)| of(sites, *window));
        ends + changes.map(|change| of(change.sites, change.window)).chain(random).sum::<usize>()
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

    /// The corrupted prompt's run with a change taken from another run. Before the change it is
    /// the corrupted run, whose outputs stand for the denoiser's.
    fn changed(
        &self,
        change: &Change<'_>,
        from: &Kept,
        outputs: &[Tensor],
        bar: &ProgressBar,
    ) -> Result<Generation> {
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
        let known = Outputs::Known(&outputs[..self.unchanged(change.sites, change.window)]);
        self.generate(&self.corrupted, known, &mut Edits(vec![edit]), bar)
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
