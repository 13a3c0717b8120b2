//! `probe attention`: where does each word look?

use anyhow::{Context, Result, bail};

use super::output::{Format, OutputArgs, bar, line, note};
use super::run_model::{
    ModelArgs, SampleArgs, finish, generate_with_bar, manifest, warn_of_cut_words,
};
use crate::figure::encode_png;
use crate::judge;
use crate::model::checkpoint::{DiffusionModel, ModelFiles};
use crate::model::tokenizer::Tokens;
use crate::pipeline::{Generation, Request, generate};
use crate::probe::attention::report::{self, FIGURE_WIDTH};
use crate::probe::attention::{AttentionRun, Detail, JudgedImage, PromptToken, score, tables};
use crate::report::{Fact, Rerun};
use crate::run::{Manifest, RunFolder, digest_bytes};
use crate::table::{
    AlignmentRow, AttentionRow, ImageRow, JudgementRow, TokenRow, frame, write_parquet,
};
use crate::tap::AttentionRecorder;
use crate::world::{self, Category, Expectations, Generator, Mix, ParseError, Split};

const EXAMPLES: &str = "\
Examples:
  probe attention --prompt \"red ball left of blue cube\"
  probe attention --prompt \"a large striped green cone\" --count 8 --seed 100
  probe attention --prompt \"a photo of a dog\" --model path/to/stable-diffusion-v1-5
  probe attention --prompt \"a red ball\" --format json    # the scores, one object a row
  probe attention --from-world 200                        # one score over 200 prompts

Writes a run folder: report.html (with an explorer), tables/*.parquet, figures, images, a
manifest, and spec.toml, which `probe run` runs again. Findings go to stdout.";

/// Images when --count is not given: enough for an interval, few enough for seconds.
const DEFAULT_COUNT: u64 = 4;

/// Where each word of the prompt looks.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    sample: SampleArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Score this many prompts of pairs and relations drawn from the world, one image each,
    /// instead of one prompt
    #[arg(long, value_name = "N", conflicts_with = "prompt", value_parser = clap::value_parser!(u64).range(2..=100_000))]
    from_world: Option<u64>,
    /// Store every map (mean over heads) in the attention table, not only its numbers
    #[arg(long)]
    maps: bool,
}

/// Runs the command.
pub fn run(mut args: Args) -> Result<u8> {
    if let Some(count) = args.from_world {
        return run_world(args, count);
    }
    args.sample.count.get_or_insert(DEFAULT_COUNT);
    if args.sample.guidance == 0.0 {
        bail!("guidance 0 leaves the prompt out: there is no attention to it; give 1 or more");
    }
    let expectations = understood(&args)?;
    let model = args.model.open()?;
    args.sample.settle(&model)?;
    let request = args.sample.request(&model)?;
    warn_of_cut_words(&model, &request)?;
    let mut manifest = manifest("attention", &args.model, &model, &request);
    manifest.schemas = crate::table::versions();
    if expectations.is_some() {
        manifest.world_version = Some(world::VERSION.to_string());
        manifest.judge_version = Some(format!("{} {}", judge::NAME, judge::VERSION));
    }
    let spec = toml::to_string_pretty(&args.sample.spec("attention", &args.model))?;
    let folder = RunFolder::create(&args.output.out, "attention", &spec)?;

    let captured = capture(&model, &request, expectations, folder.name(), true)?;
    let rows = score::score(&captured, Detail::Full)?;
    write_tables(&folder, &captured, &rows, args.maps)?;
    write_pictures(&folder, &captured, &rows)?;
    let facts = facts(&model, &request, &manifest);
    let rerun = Rerun { command: args.sample.command("attention", &args.model), spec };
    let page = report::report(&captured, &rows, facts, rerun)?;
    folder.write("report.html", page.to_html()?.as_bytes())?;
    folder.write("report.md", page.to_markdown()?.as_bytes())?;
    let at = finish(folder, manifest, &args.model, &model)?;

    match args.output.format.format {
        Format::Table => print_findings(&captured, &rows)?,
        _ => args.output.format.print(&frame(rows)?)?,
    }
    note(&format!("report: {}", at.join("report.html").display()));
    Ok(0)
}

/// Scores many prompts of the world, and prints a number for each role that words have, with its
/// interval and controls.
fn run_world(mut args: Args, count: u64) -> Result<u8> {
    let model = args.model.open()?;
    args.sample.settle(&model)?;
    let mix = Mix::from_weights([(Category::TwoObjects, 1.0), (Category::Relation, 1.0)])?;
    let generator = Generator::new(args.sample.seed.wrapping_add(WORLD_SEED), mix, Split::Train);
    let samples: Vec<_> = (0..count).map(|i| generator.sample(i)).collect();
    let request_of = |i: usize| -> Result<Request> {
        let one = SampleArgs {
            prompt: Some(samples[i].caption.clone()),
            seed: args.sample.seed.wrapping_add(i as u64),
            count: Some(1),
            ..args.sample.clone()
        };
        one.request(&model)
    };
    let mut manifest = manifest("attention", &args.model, &model, &request_of(0)?);
    manifest.set_prompts(samples.iter().map(|s| s.caption.clone()).collect());
    manifest.world_version = Some(world::VERSION.to_string());
    manifest.judge_version = Some(format!("{} {}", judge::NAME, judge::VERSION));
    manifest.schemas = crate::table::versions();
    let mut spec = args.sample.spec("attention", &args.model);
    spec.insert("from_world".into(), (count as i64).into());
    let folder = RunFolder::create(&args.output.out, "attention", &toml::to_string_pretty(&spec)?)?;
    let bar = bar(count, "prompts");
    let (mut rows, mut images) = (Vec::new(), Vec::new());
    for (i, sample) in samples.iter().enumerate() {
        let expectations = world::parse(&sample.caption)?;
        let run = capture(&model, &request_of(i)?, Some(expectations), folder.name(), false)?;
        let mut of_prompt = score::score(&run, Detail::Whole)?;
        for row in &mut of_prompt {
            row.sample = i as u32;
        }
        rows.extend(of_prompt);
        images.push(score::placed(&run)?);
        bar.inc(1);
    }
    rows.extend(score::across_images(&images));
    bar.finish_and_clear();
    let mut table = frame(rows.clone())?;
    write_parquet::<AlignmentRow>(&mut table, &folder.path("tables/alignment.parquet")?)?;
    let at = finish(folder, manifest, &args.model, &model)?;
    match args.output.format.format {
        Format::Table => {
            report::world_sentences(&rows, count).iter().try_for_each(|text| line(text))?;
        }
        _ => args.output.format.print(&table)?,
    }
    note(&format!("scores: {}", at.join("tables/alignment.parquet").display()));
    Ok(0)
}

/// Added to the seed of `--from-world`, so that its prompts are none of training's.
const WORLD_SEED: u64 = 2_000_003;

/// What the prompt says, if the world understands it. Words the built-in model cannot know
/// are an error; other models may know them.
fn understood(args: &Args) -> Result<Option<Expectations>> {
    let prompt = args.sample.prompt()?;
    if prompt.trim().is_empty() {
        bail!("the prompt is empty: say what to draw");
    }
    let built_in = args.model.model == ModelFiles::BUILT_IN;
    match world::parse(prompt) {
        Ok(expectations) => Ok(Some(expectations)),
        Err(error @ (ParseError::UnknownWords(_) | ParseError::TooLong { .. })) if built_in => {
            Err(error).context("the built-in model draws only what its world has words for")
        }
        Err(error) => {
            note(&format!("maps are not scored: {error}"));
            Ok(None)
        }
    }
}

fn capture(
    model: &DiffusionModel,
    request: &Request,
    expectations: Option<Expectations>,
    run: &str,
    with_bar: bool,
) -> Result<AttentionRun> {
    let tokens = request.encode(model, &request.prompts[0])?;
    let sites: Vec<String> = model
        .sites
        .iter()
        .filter(|(_, site)| site.is_cross_probs())
        .map(|(_, site)| site.name.clone())
        .collect();
    let shape = request.latent_shape(model);
    let mut recorder = AttentionRecorder::new(tokens.ids.len(), sites, [shape[2], shape[3]]);
    let made = if with_bar {
        generate_with_bar(model, request, Some(&mut recorder))?
    } else {
        generate(model, request, Some(&mut recorder), &mut |_, _| {})?
    };
    let images = judged(request, &made, expectations.as_ref());
    let steps = made.timesteps.iter().copied().zip(made.sigmas.iter().copied());
    Ok(AttentionRun {
        run: run.to_owned(),
        prompt: request.prompts[0].clone(),
        expectations,
        tokens: prompt_tokens(&tokens),
        images,
        steps: steps.collect(),
        record: recorder.finish()?,
    })
}

fn judged(
    request: &Request,
    made: &Generation,
    expectations: Option<&Expectations>,
) -> Vec<JudgedImage> {
    let judge = |(&seed, image): (&u64, &image::RgbImage)| JudgedImage {
        seed,
        image: image.clone(),
        verdict: expectations.map(|e| judge::judge(image, e)),
    };
    request.seeds.iter().zip(&made.images).map(judge).collect()
}

fn prompt_tokens(tokens: &Tokens) -> Vec<PromptToken> {
    (0..tokens.ids.len())
        .map(|i| PromptToken {
            id: tokens.ids[i],
            piece: tokens.pieces[i].clone(),
            word: tokens.words[i].clone().zip(tokens.word_numbers[i]),
            span: tokens.spans[i],
        })
        .collect()
}

fn write_tables(
    folder: &RunFolder,
    run: &AttentionRun,
    rows: &[AlignmentRow],
    maps: bool,
) -> Result<()> {
    let path = |name: &str| folder.path(&format!("tables/{name}.parquet"));
    let mut attention = frame(tables::attention_rows(run, maps))?;
    write_parquet::<AttentionRow>(&mut attention, &path("attention")?)?;
    write_parquet::<TokenRow>(&mut frame(tables::token_rows(run))?, &path("tokens")?)?;
    if run.expectations.is_some() {
        write_parquet::<AlignmentRow>(&mut frame(rows.to_vec())?, &path("alignment")?)?;
        let mut judgement = frame(tables::judgement_rows(run))?;
        write_parquet::<JudgementRow>(&mut judgement, &path("judgement")?)?;
    }
    Ok(())
}

fn write_pictures(folder: &RunFolder, run: &AttentionRun, rows: &[AlignmentRow]) -> Result<()> {
    let mut images = Vec::new();
    for (sample, image) in run.images.iter().enumerate() {
        let file = format!("images/{sample:03}.png");
        let png = encode_png(&image.image)?;
        folder.write(&file, &png)?;
        images.push(ImageRow {
            sample: sample as u32,
            prompt: run.prompt.clone(),
            seed: image.seed,
            file,
            sha256: digest_bytes(&png),
        });
    }
    write_parquet::<ImageRow>(&mut frame(images)?, &folder.path("tables/images.parquet")?)?;
    for (name, figure) in report::figures(run, rows)? {
        folder.write(&format!("figures/{name}.png"), &figure.png(FIGURE_WIDTH)?)?;
    }
    Ok(())
}

fn facts(model: &DiffusionModel, request: &Request, manifest: &Manifest) -> Vec<Fact> {
    let seeds = match (request.seeds.first(), request.seeds.last()) {
        (Some(a), Some(b)) if a != b => format!("{a}–{b}"),
        (Some(a), _) => a.to_string(),
        _ => String::new(),
    };
    let runtime = manifest.runtime.as_ref();
    let device = runtime.map(|r| format!("{}, {}", r.device, r.dtype)).unwrap_or_default();
    let guidance = format!("s = {} (γ = {})", request.guidance, request.guidance - 1.0);
    let facts = [
        (
            "model",
            format!("{} ({:.1} M parameters)", model.name, model.parameter_count as f64 / 1e6),
        ),
        ("sampler", format!("{}, {} steps", request.sampler.label(), request.steps)),
        ("guidance", guidance),
        ("seeds", seeds),
        ("size", format!("{}×{} pixels", request.width, request.height)),
        ("computed on", device),
    ];
    let fact = |(label, value): (&str, String)| Fact { label: label.to_owned(), value };
    facts.into_iter().map(fact).collect()
}

fn print_findings(run: &AttentionRun, rows: &[AlignmentRow]) -> Result<()> {
    let right = run.images.iter().filter(|i| i.verdict.as_ref().is_some_and(judge::Verdict::holds));
    if run.expectations.is_some() {
        line(&format!(
            "{} of {} images show all that the prompt says (judge {} {})",
            right.count(),
            run.images.len(),
            judge::NAME,
            judge::VERSION
        ))?;
    }
    for finding in report::findings(run, rows) {
        line(&finding.sentence())?;
    }
    Ok(())
}
