//! `probe attention`: where does each word look?

mod film;
mod scenes;
mod write;

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cli::image_args::{ImageArgs, inversion_sentence, write_source};
use crate::cli::kept::{KeepArgs, Kept};
use crate::cli::masks::{GivenMask, Shown, given_regions};
use crate::cli::model_args::ModelArgs;
use crate::cli::output::{Format, OutputArgs, bar, line, note};
use crate::cli::run_model::{
    SampleArgs, WORLD_SEED, facts, finish, generate_with_bar, manifest, quoted, warn_of_cut_words,
};
use crate::judge;
use crate::model::checkpoint::{DiffusionModel, ModelFiles};
use crate::model::tokenizer::Tokens;
use crate::pipeline::{Generation, Request, generate};
use crate::probe::attention::leakage;
use crate::probe::attention::report::{self, Measured};
use crate::probe::attention::{AttentionRun, Detail, GivenRegion, JudgedImage, PromptToken, score};
use crate::report::Rerun;
use crate::run::RunFolder;
use crate::table::{AlignmentRow, frame, write_parquet};
use crate::tap::{AttentionRecorder, Then};
use crate::world::{self, Category, Expectations, Generator, Mix, ParseError, Split};

const EXAMPLES: &str = "\
Examples:
  probe attention --prompt \"red ball left of blue cube\"
  probe attention --prompt \"a large striped green cone\" --count 8 --seed 100
  probe attention --prompt \"a photo of a dog\" --model path/to/stable-diffusion-v1-5
  probe attention --prompt \"a red ball\" --format json    # the scores, one object a row
  probe attention --from-world 200                        # one score over 200 prompts
  probe attention --from-world 500 --at-steps 100,300,500,700,900
  probe attention --prompt \"a photo of a dog\" --image dog.png --at-steps 100,500,900
  probe attention --prompt \"a photo of a dog\" --image dog.png --invert --guidance 1 --count 1

With --mask only the masked words are scored:
  probe attention --prompt \"a dog on a sofa\" --image dog.png --at-steps 300,600 \
      --mask dog=dog-mask.png --mask sofa=sofa-mask.png

With --image and --at-steps nothing is sampled: the image is encoded, noised with each seed's noise
to each of these timesteps of training, and shown to the denoiser once at each. Intervals are then
over seeds: they say how much the noise matters, not what other images would give.

With --from-world and --at-steps rendered scenes are looked at so, whose masks are exact: scores of
every site, head and timestep with intervals over scenes, how much of a word lies on the other
object, and the same for random weights. Steps, sampler and guidance play no part.

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
    image: ImageArgs,
    /// Only look at --image, or at the scenes of --from-world, once at each of these timesteps of
    /// training, such as 100,500,900
    #[arg(long, value_name = "LIST", conflicts_with_all = ["strength", "invert"], help_heading = "Image")]
    at_steps: Option<String>,
    /// Where the object of a word is: an image, white on black, resized as --image is; repeat
    /// for other words, or give several at once, as 'red ball=ball.png'. Or a COCO file, as
    /// masks.json, whose categories are words of the prompt. Only these words are scored then, and
    /// the judge is not asked
    #[arg(long = "mask", visible_alias = "masks", value_name = "WORD=FILE|FILE.json", requires = "image", help_heading = "Image", value_parser = GivenMask::parse)]
    masks: Vec<GivenMask>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    keep: KeepArgs,
    /// Score this many prompts of pairs and relations drawn from the world, one image each,
    /// instead of one prompt; with --at-steps, look at this many rendered scenes of them
    #[arg(long, value_name = "N", conflicts_with_all = ["prompt", "image"], value_parser = clap::value_parser!(u64).range(2..=100_000))]
    from_world: Option<u64>,
    /// Store every map (mean over heads) in the attention table, not only its numbers
    #[arg(long)]
    maps: bool,
}

impl Args {
    /// What was asked, as it stands in the run folder.
    fn spec(&self) -> Result<String> {
        let mut spec = self.sample.spec("attention", &self.model);
        self.image.add_to(&mut spec);
        if let Some(list) = &self.at_steps {
            spec.insert("at_steps".into(), list.clone().into());
        }
        if !self.masks.is_empty() {
            let masks: Vec<String> = self.masks.iter().map(GivenMask::to_string).collect();
            spec.insert("mask".into(), masks.into());
        }
        Ok(toml::to_string_pretty(&spec)?)
    }

    /// The command line that makes the same run again.
    fn command(&self) -> String {
        let mut command = self.sample.command("attention", &self.model) + &self.image.words();
        if let Some(list) = &self.at_steps {
            command += &format!(" --at-steps {}", quoted(list));
        }
        for mask in &self.masks {
            command += &format!(" --mask {}", quoted(&mask.to_string()));
        }
        command
    }
}

/// Runs the command.
pub fn run(mut args: Args) -> Result<u8> {
    if args.at_steps.is_some() && args.image.image.is_none() && args.from_world.is_none() {
        bail!("--at-steps says when to look: name what to look at with --image or --from-world");
    }
    if let Some(count) = args.from_world {
        if args.at_steps.is_some() {
            return scenes::run(args, count);
        }
        return run_world(args, count);
    }
    // An image has one inversion.
    args.sample.count.get_or_insert(if args.image.invert { 1 } else { DEFAULT_COUNT });
    if args.sample.guidance == 0.0 {
        bail!("guidance 0 leaves the prompt out: there is no attention to it; give 1 or more");
    }
    let asked = Asked::new(&args)?;
    let file = args.image.read(&mut args.sample)?;
    let sha256 = file.as_ref().map(|file| file.sha256.clone());
    let model = args.model.open()?;
    args.sample.settle(&model)?;
    let mut request = args.sample.request(&model)?;
    if let Some(file) = file {
        request.image = Some(args.image.to_look_at(file, args.at_steps.as_deref(), &model)?);
    }
    let asked = asked.with_masks(&args, &model, &request)?;
    warn_of_cut_words(&model, &request)?;
    let mut manifest = manifest("attention", &args.model, &model, &request);
    manifest.schemas = crate::table::versions();
    args.image.record(&mut manifest, &request, sha256);
    if asked.expectations.is_some() {
        manifest.world_version = Some(world::VERSION.to_string());
        manifest.judge_version = Some(format!("{} {}", judge::NAME, judge::VERSION));
    }
    let spec = args.spec()?;
    let folder = RunFolder::create(&args.output.out, "attention", &spec)?;

    let to_run = (&args.sample, &request);
    let (captured, made) = capture(&model, to_run, asked, folder.name(), true)?;
    let inversion = write_source(&folder, &model, &request, &made)?;
    let rows = score::score(&captured, Detail::Full)?;
    let leakage = leakage::rows(&captured)?;
    let measured = Measured { alignment: &rows, leakage: &leakage };
    let facts = facts(&model, &request, &manifest);
    let rerun = Rerun { command: args.command(), spec };
    let page = report::report(&captured, measured, facts, rerun)?;
    write::tables(&folder, &captured, measured, args.maps)?;
    write::maps(&folder, &captured, &page)?;
    write::pictures(&folder, &captured, measured)?;
    write::report(&folder, &page)?;
    let at = finish(folder, manifest, &args.model, &model)?;

    match args.output.format.format {
        Format::Table => print_findings(&captured, &rows)?,
        _ => args.output.format.print(&frame(rows)?)?,
    }
    if let Some(row) = &inversion {
        note(&inversion_sentence(row));
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
    let spec = toml::to_string_pretty(&spec)?;
    let record = args.model.record(&model);
    let (kept, folder) = Kept::open(args.keep, &args.output, ("attention", &spec), &record)?;
    let bar = bar(count, "prompts");
    let (mut rows, mut images) = (Vec::new(), Vec::new());
    for (i, sample) in samples.iter().enumerate() {
        let scored = || {
            let expectations = Some(world::parse(&sample.caption)?);
            let asked = Asked { expectations, given: Vec::new() };
            let to_run = (&args.sample, &request_of(i)?);
            let (run, _) = capture(&model, to_run, asked, folder.name(), false)?;
            let mut of_prompt = score::score(&run, Detail::Whole)?;
            of_prompt.iter_mut().for_each(|row| row.sample = i as u32);
            Ok((of_prompt, score::placed(&run)?))
        };
        let (of_prompt, placed) = kept.piece(&format!("prompt-{i:05}"), scored)?;
        rows.extend(of_prompt);
        images.push(placed);
        bar.inc(1);
    }
    rows.extend(score::across_images(&images));
    bar.finish_and_clear();
    let mut table = frame(rows.clone())?;
    write_parquet::<AlignmentRow>(&mut table, &folder.path("tables/alignment.parquet")?)?;
    let command = args.sample.command("attention", &args.model);
    let rerun = Rerun { command: format!("{command} --from-world {count}"), spec };
    let facts = facts(&model, &request_of(0)?, &manifest);
    write::report(&folder, &report::world_report(&rows, count, facts, rerun)?)?;
    manifest.model = Some(record);
    let at = folder.finish(manifest)?;
    kept.finish()?;
    match args.output.format.format {
        Format::Table => {
            report::world_sentences(&rows, count).iter().try_for_each(|text| line(text))?;
        }
        _ => args.output.format.print(&table)?,
    }
    note(&format!("report: {}", at.join("report.html").display()));
    Ok(0)
}

/// What maps are scored against.
struct Asked {
    expectations: Option<Expectations>,
    given: Vec<GivenRegion>,
}

impl Asked {
    fn new(args: &Args) -> Result<Self> {
        Ok(Self { expectations: understood(args)?, given: Vec::new() })
    }

    /// Masks take the place of the judge.
    fn with_masks(self, args: &Args, model: &DiffusionModel, request: &Request) -> Result<Self> {
        if args.masks.is_empty() {
            return Ok(self);
        }
        let tokens = request.encode(model, &request.prompts[0])?;
        let words: Vec<&str> = tokens.words.iter().flatten().map(String::as_str).collect();
        let shown = Shown {
            prompt: &words,
            image: args.image.image.as_deref().unwrap_or(Path::new("")),
            size: [request.width, request.height],
        };
        let given = given_regions(&args.masks, &shown)?;
        Ok(Self { expectations: None, given })
    }
}

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
        Err(_) if !args.masks.is_empty() => Ok(None),
        Err(error) => {
            note(&format!("maps are not scored: {error}"));
            Ok(None)
        }
    }
}

fn capture(
    model: &DiffusionModel,
    (sample, request): (&SampleArgs, &Request),
    Asked { expectations, given }: Asked,
    run: &str,
    with_bar: bool,
) -> Result<(AttentionRun, Generation)> {
    let tokens = request.encode(model, &request.prompts[0])?;
    let sites: Vec<String> = model
        .sites
        .iter()
        .filter(|(_, site)| site.is_cross_probs())
        .map(|(_, site)| site.name.clone())
        .collect();
    let shape = request.latent_shape(model);
    let recorder = AttentionRecorder::new(tokens.ids.len(), sites, [shape[2], shape[3]]);
    let film = film::recorder(model, request, with_bar)?;
    let mut tap = Then(sample.edits(model, request)?, Then(recorder, film));
    let made = if with_bar {
        generate_with_bar(model, request, Some(&mut tap))?
    } else {
        generate(model, request, Some(&mut tap), &mut |_, _| {})?
    };
    let Then(_, Then(recorder, film)) = tap;
    let images = judged(request, &made, expectations.as_ref());
    let steps = made.timesteps.iter().copied().zip(made.sigmas.iter().copied());
    let run = AttentionRun {
        run: run.to_owned(),
        prompt: request.prompts[0].clone(),
        expectations,
        given,
        tokens: prompt_tokens(&tokens),
        images,
        film: film::frames(model, request, film)?,
        steps: steps.collect(),
        record: recorder.finish()?,
    };
    Ok((run, made))
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

/// The tokens of a prompt, without libtorch.
pub(in crate::cli) fn prompt_tokens(tokens: &Tokens) -> Vec<PromptToken> {
    (0..tokens.ids.len())
        .map(|i| PromptToken {
            id: tokens.ids[i],
            piece: tokens.pieces[i].clone(),
            word: tokens.words[i].clone().zip(tokens.word_numbers[i]),
            span: tokens.spans[i],
        })
        .collect()
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
