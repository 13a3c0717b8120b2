//! Images that begin with one prompt and end with another.

use std::collections::BTreeMap;

use anyhow::Result;
use image::RgbImage;
use rayon::prelude::*;
use tch::Tensor;

use super::Args;
use super::prompts::{Job, request};
use crate::cli::kept::Kept;
use crate::cli::output::bar;
use crate::cli::run_model::images_at_once;
use crate::cli::sites::extent;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Outputs, Request, generate, generate_with};
use crate::probe::timesteps::NoiseLevels;
use crate::probe::timesteps::switch::{Follows, PromptPair, mark};
use crate::site::{Branch, Glob};
use crate::table::PromptSwitchRow;
use crate::tap::RawRecorder;
use crate::tap::edit::{Edit, Edits, Operation, Reference, RunShape, Scope};

/// Most bytes that the keys and values of the second prompts may take.
const BUDGET: u64 = 8 << 30;
/// By these, layers read a prompt.
const READ_BY: [&str; 2] = ["*.cross.k", "*.cross.v"];

/// Draws all pairs with every switch.
pub(super) fn run(
    args: &Args,
    model: &DiffusionModel,
    pairs: &[PromptPair],
    (run, kept): (&str, &Kept),
) -> Result<(Vec<PromptSwitchRow>, NoiseLevels)> {
    let mut rows = Vec::new();
    let mut levels = NoiseLevels::default();
    let bar = bar(pairs.len() as u64, "pairs");
    for (number, batch) in pairs.chunks(images_at_once(model)).enumerate() {
        let first = number * images_at_once(model);
        let drawn = || of_batch(args, model, (batch, first), run);
        let (of_batch, its_levels) = kept.piece(&format!("switched-{number:05}"), drawn)?;
        rows.extend(of_batch);
        levels = its_levels;
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    mark(&mut rows, levels.len() as u32);
    Ok((rows, levels))
}

/// Draws some pairs, the first of which has this number, with every switch.
fn of_batch(
    args: &Args,
    model: &DiffusionModel,
    (batch, first): (&[PromptPair], usize),
    run: &str,
) -> Result<(Vec<PromptSwitchRow>, NoiseLevels)> {
    let seed = |i: usize| args.sample.seed.wrapping_add((first + i) as u64);
    let job = |prompt: &String, i: usize| Job { prompt: prompt.clone(), seed: seed(i) };
    let jobs_a: Vec<Job> = batch.iter().enumerate().map(|(i, p)| job(&p.a, i)).collect();
    let jobs_b: Vec<Job> = batch.iter().enumerate().map(|(i, p)| job(&p.b, i)).collect();
    let ends = Ends { model, a: request(args, model, &jobs_a)?, b: request(args, model, &jobs_b)? };
    let (images, levels) = ends.drawn(args.switches as usize)?;
    let mut rows = Vec::new();
    for (step, images) in images {
        let follows: Vec<_> =
            batch.par_iter().zip(&images).map(|(pair, image)| pair.follows(image)).collect();
        let row = |(i, (pair, follows)): (usize, (&PromptPair, Follows))| PromptSwitchRow {
            run: run.to_owned(),
            attribute: pair.attribute.name().to_owned(),
            pair: pair.number,
            prompt_a: pair.a.clone(),
            prompt_b: pair.b.clone(),
            seed: seed(i),
            switch_step: step as u32,
            timestep: levels.timesteps.get(step).copied(),
            sigma: levels.sigmas.get(step).copied(),
            follows: follows.name().to_owned(),
            counts: false,
        };
        rows.extend(batch.iter().zip(follows).enumerate().map(row));
    }
    Ok((rows, levels))
}

/// Steps at which a run of so many is switched, both ends among them.
fn switch_steps(steps: usize, between: usize) -> Vec<usize> {
    let at = |i: usize| (i * steps + between.div_ceil(2)) / (between + 1);
    let mut all: Vec<usize> = (0..=between + 1).map(at).map(|step| step.min(steps)).collect();
    all.dedup();
    all
}

/// The two runs without a switch.
struct Ends<'a> {
    model: &'a DiffusionModel,
    a: Request,
    b: Request,
}

/// Images by the first step with the second prompt.
type Switched = Vec<(usize, Vec<RgbImage>)>;

impl Ends<'_> {
    /// Images for every switch. Before it a run is that of the first prompt, whose outputs stand
    /// for the denoiser's.
    fn drawn(&self, between: usize) -> Result<(Switched, NoiseLevels)> {
        let mut silent = |_, _| {};
        let mut outputs = Vec::new();
        let kept = Outputs::Kept(&mut outputs);
        let a = generate_with(self.model, &self.a, kept, None, &mut silent)?;
        let b = generate(self.model, &self.b, None, &mut silent)?;
        let steps = a.timesteps.len();
        let levels = NoiseLevels { timesteps: a.timesteps, sigmas: a.sigmas };
        let read = self.second_prompt()?;
        let mut switched = Vec::new();
        for step in switch_steps(steps, between) {
            let images = match step {
                0 => b.images.clone(),
                step if step == steps => a.images.clone(),
                step => self.switched_at(step, &read, &outputs)?,
            };
            switched.push((step, images));
        }
        Ok((switched, levels))
    }

    /// Keys and values of the second prompts, which know neither step nor image.
    fn second_prompt(&self) -> Result<BTreeMap<String, Tensor>> {
        let sites = self.model.sites.select(&READ_BY.map(Glob::new))?;
        let names = sites.into_iter().map(|id| self.model.sites.get(id).name.clone());
        let mut recorder = RawRecorder::new(names, None, BUDGET).of_branch(Branch::Cond);
        let once = Request { steps: 1, ..self.b.clone() };
        generate(self.model, &once, Some(&mut recorder), &mut |_, _| {})?;
        Ok(recorder.into_tensors().into_iter().collect())
    }

    fn switched_at(
        &self,
        step: usize,
        read: &BTreeMap<String, Tensor>,
        outputs: &[Tensor],
    ) -> Result<Vec<RgbImage>> {
        let tensors = read.iter().map(|(name, x)| (name.clone(), x.shallow_clone())).collect();
        let reference = Reference::new("the second prompt", tensors).of_first_step();
        let scope = Scope {
            sites: READ_BY.map(Glob::new).to_vec(),
            steps: Some((step..outputs.len()).collect()),
            branch: Some(Branch::Cond),
            ..Scope::default()
        };
        let edit = Edit::new(
            Operation::Replace(reference),
            &scope,
            &self.model.sites,
            &self.shape(outputs.len())?,
        )?;
        let known = Outputs::Known(&outputs[..step]);
        let mut edits = Edits(vec![edit]);
        Ok(generate_with(self.model, &self.a, known, Some(&mut edits), &mut |_, _| {})?.images)
    }

    fn shape(&self, steps: usize) -> Result<RunShape> {
        let tokens = self.a.context_length(self.model)?.max(self.b.context_length(self.model)?);
        let numbers = [self.a.seeds.len() as i64, tokens as i64];
        let branches = match self.a.guidance {
            1.0 => vec![Branch::Cond],
            _ => vec![Branch::Uncond, Branch::Cond],
        };
        let extent = extent(self.model, numbers, [self.a.width, self.a.height]);
        Ok(RunShape { extent, steps, branches })
    }
}

#[cfg(test)]
mod tests {
    use super::switch_steps;

    #[test]
    fn switches_are_spread_over_the_run_with_both_ends() {
        assert_eq!(switch_steps(10, 4), [0, 2, 4, 6, 8, 10]);
        assert_eq!(switch_steps(25, 1), [0, 13, 25]);
        assert_eq!(switch_steps(2, 8), [0, 1, 2], "no step twice");
    }
}
