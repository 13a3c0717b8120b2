//! `probe failures --diagnose`: can a failure be foretold from the first steps' attention?

use anyhow::{Context, Result};

use super::Args;
use crate::cli::attention::prompt_tokens;
use crate::figure::WIDE;
use crate::judge;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Generation, Request, generate};
use crate::probe::diagnosis::features::{WatchedWord, of_steps, watched};
use crate::probe::diagnosis::{Diagnosis, Pages, Watched};
use crate::report::{Fact, Finding, Rerun};
use crate::run::RunFolder;
use crate::table::{DiagnosisFeatureRow, DiagnosisRow, EarlyStopRow, frame, write_parquet};
use crate::tap::edit::Edits;
use crate::tap::{Then, WordRecorder};
use crate::world;

/// Whether, and how, failures are foretold.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Diagnosis")]
pub struct DiagnoseArgs {
    /// Foretell each failure from the attention of the first steps, on prompts held out: AUROC
    /// against the steps seen, and what stopping early would save
    #[arg(long, conflicts_with = "suites")]
    pub diagnose: bool,
    /// Share of failures among stopped images that stopping early is to reach
    #[arg(long, value_name = "SHARE", default_value_t = 0.8, requires = "diagnose", value_parser = share)]
    pub precision: f64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("give a share above 0 and up to 1, such as 0.8".to_owned()),
    }
}

/// Watches images while they are drawn.
pub struct Watching {
    sites: Vec<String>,
    timesteps: Vec<f64>,
    images: Vec<Watched>,
}

impl Watching {
    /// Of a model's cross-attention.
    pub fn new(model: &DiffusionModel) -> Result<Self> {
        let of_words = model.sites.iter().filter(|(_, site)| site.is_cross_probs());
        let sites: Vec<String> = of_words.map(|(_, site)| site.name.clone()).collect();
        anyhow::ensure!(!sites.is_empty(), "this model has no cross-attention to foretell from");
        Ok(Self { sites, timesteps: Vec::new(), images: Vec::new() })
    }

    /// Draws a batch, and what its attention was like; what became of it is not known yet.
    pub fn generate(
        &self,
        model: &DiffusionModel,
        request: &Request,
        edits: Edits,
    ) -> Result<(Generation, Vec<Watched>)> {
        let mut words = Vec::new();
        for prompt in &request.prompts {
            let tokens = prompt_tokens(&request.encode(model, prompt)?);
            words.push(watched(&world::parse(prompt)?, &tokens));
        }
        let positions: Vec<Vec<Vec<usize>>> = words
            .iter()
            .map(|of_prompt| of_prompt.iter().map(|word| word.positions.clone()).collect())
            .collect();
        let shape = request.latent_shape(model);
        let recorder = WordRecorder::new(
            &positions,
            request.context_length(model)?,
            self.sites.clone(),
            [shape[2], shape[3]],
        );
        let mut tap = Then(edits, recorder);
        let made = generate(model, request, Some(&mut tap), &mut |_, _| {})?;
        let layers = tap.1.finish();
        let watched = |(image, words): (usize, &Vec<WatchedWord>)| {
            Ok(Watched {
                prompt: request.prompts[image].clone(),
                seed: request.seeds[image],
                category: String::new(),
                failed: false,
                features: of_steps(words, &layers, image)
                    .context("the attention of this batch cannot be measured")?,
            })
        };
        let watched = words.iter().enumerate().map(watched).collect::<Result<_>>()?;
        Ok((made, watched))
    }

    /// Takes what the attention of the next images was like, at these timesteps.
    pub fn add(&mut self, images: Vec<Watched>, timesteps: Vec<f64>) {
        self.images.extend(images);
        self.timesteps = timesteps;
    }

    /// What became of the image of this number.
    pub fn judged(&mut self, number: usize, category: &str, verdict: &judge::Verdict) {
        if let Some(image) = self.images.get_mut(number) {
            category.clone_into(&mut image.category);
            image.failed = !verdict.holds();
        }
    }

    /// Foretells, and writes tables, figures and the report.
    pub fn finish(
        self,
        folder: &RunFolder,
        args: &Args,
        (facts, rerun): (Vec<Fact>, Rerun),
    ) -> Result<Vec<Finding>> {
        let diagnosis = Diagnosis {
            run: folder.name(),
            timesteps: &self.timesteps,
            precision: args.diagnosis.precision,
            seed: args.seed,
        };
        let found = diagnosis.of(&self.images)?;
        let path = |name: &str| folder.path(&format!("tables/{name}.parquet"));
        let mut table = frame(diagnosis.feature_rows(&self.images))?;
        write_parquet::<DiagnosisFeatureRow>(&mut table, &path("diagnosis_features")?)?;
        write_parquet::<DiagnosisRow>(&mut frame(found.rows.clone())?, &path("diagnosis")?)?;
        write_parquet::<EarlyStopRow>(&mut frame(found.stops.clone())?, &path("early_stop")?)?;
        let pages = Pages { found: &found, steps: self.timesteps.len() };
        for (name, figure) in pages.figures() {
            folder.write(&format!("figures/{name}.png"), &figure.png(WIDE)?)?;
        }
        let page = pages.report(facts, rerun)?;
        folder.write("report.html", page.to_html()?.as_bytes())?;
        folder.write("report.md", page.to_markdown()?.as_bytes())?;
        Ok(pages.findings())
    }
}
