//! `probe trace`: any sites of a run, as numbers or as whole tensors.

mod plan;
mod record;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::image_args::{ImageArgs, inversion_sentence, write_source};
use super::model_args::ModelArgs;
use super::output::{OutputArgs, note};
use super::run_model::{SampleArgs, finish, generate_with_bar, manifest, warn_of_cut_words};
use crate::figure::encode_png;
use crate::model::checkpoint::DiffusionModel;
use crate::model::parameters::save_tensors;
use crate::pipeline::{Generation, Request, generate};
use crate::run::{RunFolder, digest_bytes};
use crate::site::Site;
use crate::table::{self, ImageRow, InversionRow, Row, Tables};
use crate::tap::edit::Edits;
use crate::tap::{All, Tap, Then};
use plan::Plan;
use record::{Recorded, Recorder};

const EXAMPLES: &str = "\
Every tensor seen gives a row of statistics (mean, deviation, extremes, Euclidean norm, Fisher's
excess kurtosis, share of zeros); --record adds other recorders or takes their place, each with a
table of its own (`probe schema change`, `probe schema self_attention` …), which grows on disk while
the run goes on. The table of the one named first is printed. --raw keeps the tensors themselves, under <step:03>/<cond|uncond>/<site>, or
<step:03>/<site> where both halves of guidance share one.
Sites outside the denoising loop (text.*, vae.*) are recorded whatever --at-steps says.

With --image and neither --strength nor --invert nothing is sampled: the image is encoded, noised
with the seed's noise to each timestep of --at-steps (timesteps of training, 999 the noisiest of
1000), and shown to the denoiser once at each; the noisiest counts as step 0.

Examples:
  probe trace --prompt \"a red ball\" --sites 'step.*'
  probe trace --prompt \"a red ball\" --sites 'up.*.cross.probs' --at-steps 0,12,20-24
  probe trace --prompt \"a red ball\" --sites step.x0 mid.out --raw tensors.safetensors
  probe trace --prompt \"a red ball\" --sites '*.self.probs' --raw t.safetensors --dry-run
  probe trace --prompt \"a red ball\" --record guidance
  probe trace --prompt \"a red ball\" --record change
  probe trace --prompt \"a red ball\" --record change statistics --sites 'up.*.cross.out'
  probe trace --prompt \"a red ball\" --record attention self-attention --at-steps 0,12,24
  probe trace --prompt \"a red ball\" --record channels pooled --sites mid.out 'up.*.out'
  probe trace --prompt \"a red ball\" --sites 'mid.*' --image ball.png --at-steps 100,500,900";

/// Record any sites of a run: statistics, changes, guidance, or whole tensors.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Sites to record, such as 'up.*.cross.probs'; `probe sites` lists them
    #[arg(long, value_name = "GLOB", required_unless_present = "record", num_args = 1..)]
    sites: Vec<String>,
    /// What to make of the tensors
    #[arg(long, value_name = "RECORDER", value_enum, num_args = 1.., default_value = "statistics")]
    record: Vec<Recorder>,
    /// Steps to record, such as 0,5,10-12; 0 is the noisiest [default: all]. With --image alone:
    /// timesteps of training to look at it, such as 100,500,900
    #[arg(long, value_name = "LIST")]
    at_steps: Option<String>,
    /// Also keep the tensors, in this safetensors file
    #[arg(long, value_name = "FILE")]
    raw: Option<PathBuf>,
    /// Most bytes of tensors to keep, such as 500MB or 4GiB
    #[arg(long, value_name = "BYTES", default_value = "2GiB", value_parser = parse_bytes)]
    budget: u64,
    /// Print what would be recorded, with its size, and stop
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(super) sample: SampleArgs,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    pub(super) model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(mut args: Args) -> Result<u8> {
    let mut named = Vec::new();
    args.record.retain(|&recorder| {
        let is_new = !named.contains(&recorder);
        named.push(recorder);
        is_new
    });
    let file = args.image.read(&mut args.sample)?;
    let sha256 = file.as_ref().map(|file| file.sha256.clone());
    let model = args.model.open()?;
    args.sample.settle(&model)?;
    let mut request = args.sample.request(&model)?;
    if let Some(file) = file {
        request.image = Some(args.image.to_look_at(file, args.at_steps.as_deref(), &model)?);
    }
    request.check(&model)?;
    let plan = Plan::new(&args, &model, &request)?;
    if args.dry_run {
        args.output.format.print(&table::frame(plan.rows.iter().cloned())?)?;
        note(&plan.summary());
        return Ok(0);
    }
    if let Some(path) = &args.raw {
        plan.check_budget(args.budget)?;
        check_target(path)?;
    }
    warn_of_cut_words(&model, &request)?;
    let edits = args.sample.edits(&model, &request)?;
    check_edits(&edits, &args.record, &model)?;
    let folder = RunFolder::create(&args.output.out, "trace", &spec(&args)?)?;

    let recorded = Recorded { plan: &plan, model: &model, request: &request, folder: &folder };
    let mut tap = Then(edits, recorded.recorders(&args.record, args.budget)?);
    let made = generate_with_bar(&model, &request, Some(&mut tap))?;
    let Then(_, Then(All(at_work), raw)) = tap;
    at_work.into_iter().try_for_each(|recording| recording.finish(&folder))?;
    write_images(&folder, &request, &made)?;
    if let Some(row) = write_source(&folder, &model, &request, &made)? {
        note(&inversion_sentence(&row));
    }
    let mut manifest = manifest("trace", &args.model, &model, &request);
    args.image.record(&mut manifest, &request, sha256);
    manifest.schemas = args
        .record
        .iter()
        .flat_map(|recorder| recorder.tables())
        .chain([ImageRow::TABLE, InversionRow::TABLE])
        .map(|table| (table.name.to_owned(), table.version))
        .collect();
    if let Some(path) = &args.raw {
        save_tensors(path, &raw.into_tensors())?;
        note(&path.display().to_string());
    }
    let printed = args.record.first().map(|recorder| recorder.read(&folder)).transpose()?;
    note(&finish(folder, manifest, &args.model, &model)?.display().to_string());
    match printed {
        Some(frame) if frame.height() <= MOST_PRINTED => args.output.format.print(&frame)?,
        Some(frame) => {
            note(&format!("its tables are there; {} rows are not printed", frame.height()))
        }
        None => {}
    }
    Ok(0)
}

impl Args {
    /// Whether a recorder names the tokens of the prompt.
    pub(super) fn goes_by_words_of_prompt(&self) -> bool {
        self.record.contains(&Recorder::Attention)
    }
}

/// How the rows of a run are called.
pub(super) struct Recording<'a> {
    /// Of the column `run`.
    pub run: &'a str,
    /// Of the column `sample`, image by image.
    pub samples: &'a [u32],
}

/// What the recorders make of one request, and the rows of each image in all tables.
pub(super) fn record(
    args: &Args,
    model: &DiffusionModel,
    request: &Request,
    recording: &Recording<'_>,
) -> Result<(Tables, Vec<u32>)> {
    let plan = Plan::new(args, model, request)?;
    let edits = args.sample.edits(model, request)?;
    check_edits(&edits, &args.record, model)?;
    // Recorders write while the run goes on; what they wrote is taken over from here.
    let scratch = tempfile::tempdir().context("a folder for what is recorded")?;
    let folder = RunFolder::create(scratch.path(), "trace", "")?;
    let recorded = Recorded { plan: &plan, model, request, folder: &folder };
    let mut tap = Then(edits, recorded.recorders(&args.record, args.budget)?);
    generate(model, request, Some(&mut tap), &mut |_, _| {})?;
    let Then(_, Then(All(at_work), _)) = tap;
    at_work.into_iter().try_for_each(|recorder| recorder.finish(&folder))?;
    let mut tables = Tables::new();
    for table in args.record.iter().flat_map(|recorder| recorder.tables()) {
        tables.read(table.name, &folder.path(&format!("tables/{}.parquet", table.name))?)?;
    }
    let rows = tables.renumber(recording.run, recording.samples)?;
    Ok((tables, rows))
}

/// Nobody reads so many rows; programs read the file.
const MOST_PRINTED: usize = 1_000_000;

/// Refuses edits that a recorder would not see.
fn check_edits(edits: &Edits, asked: &[Recorder], model: &DiffusionModel) -> Result<()> {
    let hidden = |site: &Site| site.name.ends_with(".self.probs") && edits.selects(site);
    let hidden = model.sites.iter().map(|(_, site)| site).find(|site| hidden(site));
    match hidden {
        Some(site) if asked.contains(&Recorder::SelfAttention) => bail!(
            "--record self-attention goes by queries and keys and would not see the edit at `{}`; \
             edit *.self.q or *.self.k, or keep the maps with --raw",
            site.name
        ),
        _ => Ok(()),
    }
}

fn write_images(folder: &RunFolder, request: &Request, made: &Generation) -> Result<()> {
    let mut rows = Vec::new();
    for (sample, image) in made.images.iter().enumerate() {
        let file = format!("images/{sample:03}.png");
        let png = encode_png(image)?;
        folder.write(&file, &png)?;
        rows.push(ImageRow {
            sample: sample as u32,
            prompt: request.prompts[sample].clone(),
            seed: request.seeds[sample],
            sha256: digest_bytes(&png),
            file,
        });
    }
    let path = folder.path("tables/images.parquet")?;
    Ok(table::write_parquet::<ImageRow>(&mut table::frame(rows)?, &path)?)
}

/// Finds out before the run whether the file can be written.
fn check_target(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if path.is_dir() {
        bail!("--raw {}: this is a folder; name a file in it", path.display());
    }
    tempfile::NamedTempFile::new_in(folder).with_context(|| {
        format!(
            "--raw {}: cannot write there; name a file in a folder you may write to",
            path.display()
        )
    })?;
    Ok(())
}

/// What was asked, as it stands in the run folder.
fn spec(args: &Args) -> Result<String> {
    let mut spec = args.sample.spec("trace", &args.model);
    args.image.add_to(&mut spec);
    if !args.sites.is_empty() {
        spec.insert("sites".into(), args.sites.clone().into());
    }
    if args.record != [Recorder::Statistics] {
        let names: Vec<&str> = args.record.iter().map(|recorder| recorder.name()).collect();
        spec.insert("record".into(), names.into());
    }
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let optional = [("at_steps", args.at_steps.clone()), ("raw", path(&args.raw))];
    for (key, value) in optional {
        if let Some(value) = value {
            spec.insert(key.into(), value.into());
        }
    }
    Ok(toml::to_string_pretty(&spec)?)
}

/// A number of bytes: plain, or with kB, MB, GB (powers of 1000) or KiB, MiB, GiB (of 1024).
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 9] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("b", 1),
    ];
    let lower = text.trim().to_lowercase();
    let with_unit = |&(unit, size): &(&str, u64)| Some((lower.strip_suffix(unit)?, size));
    let (number, size) = UNITS.iter().find_map(with_unit).unwrap_or((lower.as_str(), 1));
    let bytes = number.trim().parse::<f64>().ok().map(|number| number * size as f64);
    match bytes {
        Some(bytes) if bytes >= 0.0 && bytes <= u64::MAX as f64 => Ok(bytes as u64),
        _ => Err("give a number of bytes, such as 2000000, 500MB or 4GiB".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("2000000"), Ok(2_000_000));
        assert_eq!(parse_bytes("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("2GiB"), Ok(1 << 31));
        assert_eq!(parse_bytes("7b"), Ok(7));
        for bad in ["", "GB", "-1", "NaN", "inf", "3 apples"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
