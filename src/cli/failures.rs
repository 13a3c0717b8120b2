//! `probe failures`: generates images of prompts the world understands, and judges them.

mod clip;
mod diagnosed;
mod drawn;
mod given;
mod plan;
mod review;
mod suite_args;
mod world;

pub(super) use drawn::{Batch, draw_batch};
pub(super) use suite_args::{Opened, describe, image_judge};

use anyhow::Result;

use super::model_args::ModelArgs;
use super::output::{OutputArgs, seed_value};
use crate::pipeline::Request;
use crate::run::TrainingRecord;
use crate::sampler::SamplerKind;
use crate::suite::Job;
pub(super) use crate::suite::judging::SuiteJudge;
use crate::world::Category;

const EXAMPLES: &str = "\
Examples:
  probe failures                              # 50 prompts of every category
  probe failures --category relation --count 200
  probe failures --model runs/shapes --count 500 --format md
  probe failures --category two-objects --count 300 --diagnose   # can a failure be foretold?
  probe failures --edit \"zero sites=*.cross.out\"   # what is left without reading the prompt
  probe failures --suite negation
  probe failures --suite spatial-relations --judge clip-score

Prompts are drawn from the world with a seed of their own, so that training never saw their
scenes; shares come with 95 % Wilson intervals. The images, the judge's reasons and the tables
are kept in the run's folder; `probe compare` compares two such folders.

A suite (`probe suites` lists them) is drawn in batches, each kept when it is done: the same command
goes on where a killed run stopped, and loses or repeats no image. Its intervals resample prompts.
Held-out prompts are compared with their seen twins in the table `gap`.";

/// Judge a model's images of prompts the world understands.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Prompts of each category
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    count: u64,
    /// Categories, all if none is given
    #[arg(long = "category", value_name = "NAME", value_parser = super::world::category_parser())]
    categories: Vec<Category>,
    /// Seed of prompts and noise
    #[arg(long, value_name = "N", default_value_t = 1_000_003)]
    seed: u64,
    /// Sampling steps
    #[arg(long, value_name = "N", default_value_t = 25)]
    steps: usize,
    /// Sampler
    #[arg(long, value_enum, default_value_t = SamplerKind::Ddim)]
    sampler: SamplerKind,
    /// Guidance scale
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    guidance: f64,
    /// Images generated at once
    #[arg(long, value_name = "N", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=1024))]
    batch: u64,
    /// Change what flows, such as "zero sites=mid.out steps=0-5"; may be repeated
    #[arg(long = "edit", value_name = "EDIT", long_help = super::edits::HELP)]
    pub(super) edits: Vec<String>,
    /// Optimiser steps that the model was trained for; kept for `probe history`
    #[arg(long, value_name = "N")]
    training_step: Option<u64>,
    /// Images that the model was trained with; kept for `probe history`
    #[arg(long, value_name = "N", requires = "training_step")]
    training_images: Option<u64>,
    #[command(flatten)]
    pub(super) suite: suite_args::SuiteArgs,
    #[command(flatten)]
    diagnosis: diagnosed::DiagnoseArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// How many prompts and images a wanted effect needs, from the variance of runs
    Plan(plan::Args),
    /// A stored run's report anew, with what a person says of single images beside the judge
    Review(review::Args),
}

impl Args {
    /// How far the model was trained, where the command line says so.
    fn training(&self) -> Option<TrainingRecord> {
        Some(TrainingRecord { step: self.training_step?, images: self.training_images })
    }

    /// The same as options of a spec.
    fn put_training(&self, spec: &mut toml::Table) {
        let given =
            [("training_step", self.training_step), ("training_images", self.training_images)];
        for (name, value) in given {
            if let Some(value) = value {
                spec.insert(name.to_owned(), seed_value(value));
            }
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    match &args.action {
        Some(Action::Plan(args)) => return plan::run(args),
        Some(Action::Review(args)) => return review::run(args),
        None => {}
    }
    if args.suite.images.is_some() || args.suite.detections.is_some() {
        given::run(&args)
    } else if args.suite.suites.is_empty() {
        world::run(&args)
    } else {
        drawn::run(&args)
    }
}

/// The request for some images of suites.
pub(super) fn request_of(
    args: &Args,
    model: &crate::model::checkpoint::DiffusionModel,
    jobs: &[Job<'_>],
) -> Request {
    let prompts = jobs.iter().map(|job| job.item.prompt.clone()).collect();
    sampled(args, model, prompts, jobs.iter().map(|job| job.seed).collect())
}

fn sampled(
    args: &Args,
    model: &crate::model::checkpoint::DiffusionModel,
    prompts: Vec<String>,
    seeds: Vec<u64>,
) -> Request {
    Request {
        prompts,
        negative: String::new(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds,
        steps: args.steps,
        sampler: args.sampler,
        guidance: args.guidance,
        height: model.native_size(),
        width: model.native_size(),
        init_latents: None,
        image: None,
        guidance_rescale: 0.0,
        eta: 0.0,
    }
}
