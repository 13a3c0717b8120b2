//! The runs of a ranking of heads: untouched, each head taken out, and the sets that were chosen.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use indicatif::ProgressBar;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::{Ablation, Drawn};
use crate::cli::output::bar;
use crate::cli::patch::Args;
use crate::cli::run_model::SampleArgs;
use crate::cli::workers::{OneThreadEach, share_out, worth_it};
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Generation, Request, generate};
use crate::probe::patch::heads::{
    HELD_OUT, Head, KINDS, LATENT_CHANGE, RANDOM_HEADS, RANKING, UNTOUCHED, kinds, ranking,
    relative_change, share,
};
use crate::site::{Axis, Branch, Glob, Site};
use crate::table::HeadAblationRow;
use crate::tap::RawRecorder;
use crate::tap::edit::{Edit, Edits, Operation, Reference, Scope};

/// Most bytes of the run without the prompt: keys and values at one step.
const REFERENCE_BUDGET: u64 = 1 << 30;

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

/// All that is going to be run.
pub(super) struct Ablating<'a> {
    pub args: &'a Args,
    /// Name of the run.
    pub run: String,
    pub images: Vec<Drawn>,
    /// Values of the cross-attention layers.
    pub layers: Vec<Site>,
    /// Images that are drawn at once.
    pub batch: usize,
    /// Evaluations of the denoiser in one run.
    pub steps: usize,
}

/// The request of some of the images, by their numbers.
pub(super) fn request(
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

/// How many heads a layer has.
pub(super) fn heads_of(layer: &Site) -> i64 {
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

    /// Of which images, in words.
    pub fn described(&self) -> String {
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
    pub fn rows(&self, model: &DiffusionModel) -> Result<Vec<HeadAblationRow>> {
        let heads = self.all_heads();
        let nothing = Taken { heads: Vec::new(), set: None, control: Some(UNTOUCHED) };
        let single = |head: &Head| Taken { heads: vec![head.clone()], set: None, control: None };
        let singles: Vec<Taken> = heads.iter().map(single).collect();
        let mut whole = self.jobs(RANKING, std::slice::from_ref(&nothing));
        whole.extend(self.jobs(HELD_OUT, &[nothing]));
        let singles = self.jobs(RANKING, &singles);
        let sets = KINDS.len() + self.args.head.random_sets() as usize;
        let of_sets = sets * self.images.len().div_ceil(2).div_ceil(self.batch);

        let workers = worth_it(model, singles.len());
        let _threads = OneThreadEach::of(workers);
        let unprompted = match self.args.head.ablation() {
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
        let count = self.args.head.together() as usize;
        let first = |kind: &str| Taken {
            heads: ranking(rows, kind).into_iter().filter_map(|e| e.head).take(count).collect(),
            set: Some(kind.to_owned()),
            control: None,
        };
        let mut sets: Vec<Taken> = kinds(rows).into_iter().map(first).collect();
        let mut random = ChaCha8Rng::seed_from_u64(self.args.sample.seed);
        sets.extend((1..=self.args.head.random_sets()).map(|number| Taken {
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
