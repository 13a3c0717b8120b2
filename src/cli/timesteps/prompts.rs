//! The images that are drawn: prompts of the world, or a given one, with several seeds each.

use anyhow::Result;

use super::Args;
use crate::cli::run_model::SampleArgs;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::Request;
use crate::world::{Category, Generator, Mix, Split};

/// Added to the seed, so that prompts and scenes are none of training's.
pub(super) const WORLD_SEED: u64 = 3_000_017;
/// Prompts where none is asked for.
const PROMPTS: u64 = 20;
/// Images of each prompt of the world, and of a given prompt, where none is asked for.
const SEEDS: [u64; 2] = [2, 8];
/// The kinds of prompts, one after the other; between them they name every attribute.
const CATEGORIES: [Category; 6] = [
    Category::OneObject,
    Category::Relation,
    Category::Count,
    Category::OneObject,
    Category::TwoObjects,
    Category::Word,
];

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub prompt: String,
    pub seed: u64,
}

/// How many prompts are drawn.
pub(super) fn count(args: &Args) -> u64 {
    match &args.sample.prompt {
        Some(_) => 1,
        None => args.prompts.unwrap_or(PROMPTS),
    }
}

/// How many images of each.
pub(super) fn seeds(args: &Args) -> u64 {
    args.sample.count.unwrap_or(SEEDS[usize::from(args.sample.prompt.is_some())])
}

/// All images, prompt by prompt; every image has a seed of its own.
pub(super) fn jobs(args: &Args) -> Vec<Job> {
    let of_each = seeds(args);
    let prompt = |i: u64| match &args.sample.prompt {
        Some(prompt) => prompt.clone(),
        None => {
            let category = CATEGORIES[(i % CATEGORIES.len() as u64) as usize];
            let seed = args.sample.seed.wrapping_add(WORLD_SEED);
            Generator::new(seed, Mix::only(category), Split::Train).sample(i).caption
        }
    };
    let of_prompt = |i: u64| {
        let prompt = prompt(i);
        let job = move |j: u64| Job {
            prompt: prompt.clone(),
            seed: args.sample.seed.wrapping_add(i * of_each + j),
        };
        (0..of_each).map(job)
    };
    (0..count(args)).flat_map(of_prompt).collect()
}

/// The request for some images.
pub(super) fn request(args: &Args, model: &DiffusionModel, jobs: &[Job]) -> Result<Request> {
    let first = jobs.first().map(|job| job.prompt.clone());
    let mut request =
        SampleArgs { prompt: first, count: Some(1), ..args.sample.clone() }.request(model)?;
    request.prompts = jobs.iter().map(|job| job.prompt.clone()).collect();
    request.seeds = jobs.iter().map(|job| job.seed).collect();
    Ok(request)
}
