//! `probe trace`: any sites of a run, as statistics or as whole tensors.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use indicatif::DecimalBytes;

use super::image_args::{ImageArgs, inversion_sentence, write_source};
use super::model_args::ModelArgs;
use super::output::{OutputArgs, note};
use super::run_model::{SampleArgs, finish, generate_with_bar, manifest, warn_of_cut_words};
use super::sites::{extent, shape_text};
use super::steps;
use crate::figure::encode_png;
use crate::model::checkpoint::DiffusionModel;
use crate::model::parameters::save_tensors;
use crate::pipeline::{Generation, Purpose, Request};
use crate::run::{RunFolder, digest_bytes};
use crate::site::{Glob, Site};
use crate::table::{self, ImageRow, InversionRow, Row, TracePlanRow, TraceStatisticsRow};
use crate::tap::{RawRecorder, StatisticsRecorder, StatisticsRow, Then};

const EXAMPLES: &str = "\
Every tensor seen gives a row of statistics (mean, deviation, extremes, Euclidean norm, Fisher's
excess kurtosis, share of zeros); --raw keeps the tensors themselves, under
<step:03>/<cond|uncond>/<site>, or <step:03>/<site> where both halves of guidance share one.
Sites outside the denoising loop (text.*, vae.*) are recorded whatever --at-steps says.

With --image and neither --strength nor --invert nothing is sampled: the image is encoded, noised
with the seed's noise to each timestep of --at-steps (timesteps of training, 999 the noisiest of
1000), and shown to the denoiser once at each; the noisiest counts as step 0.

Examples:
  probe trace --prompt \"a red ball\" --sites 'step.*'
  probe trace --prompt \"a red ball\" --sites 'up.*.cross.probs' --at-steps 0,12,20-24
  probe trace --prompt \"a red ball\" --sites step.x0 mid.out --raw tensors.safetensors
  probe trace --prompt \"a red ball\" --sites '*.self.probs' --raw t.safetensors --dry-run
  probe trace --prompt \"a red ball\" --sites 'mid.*' --image ball.png --at-steps 100,500,900";

/// Record any sites of a run: statistics, or whole tensors.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Sites to record, such as 'up.*.cross.probs'; `probe sites` lists them
    #[arg(long, value_name = "GLOB", required = true, num_args = 1..)]
    sites: Vec<String>,
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
    sample: SampleArgs,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(mut args: Args) -> Result<u8> {
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
    let folder = RunFolder::create(&args.output.out, "trace", &spec(&args)?)?;

    let statistics = StatisticsRecorder::new(plan.sites(), plan.steps.clone());
    let raw_sites = if args.raw.is_some() { plan.sites() } else { Vec::new() };
    let raw = RawRecorder::new(raw_sites, plan.steps.clone(), args.budget);
    let mut tap = Then(edits, Then(statistics, raw));
    let made = generate_with_bar(&model, &request, Some(&mut tap))?;
    let Then(_, Then(statistics, raw)) = tap;

    let rows = statistics.into_rows().into_iter().map(|row| table_row(folder.name(), row));
    let mut frame = table::frame(rows)?;
    let path = folder.path("tables/trace_statistics.parquet")?;
    table::write_parquet::<TraceStatisticsRow>(&mut frame, &path)?;
    write_images(&folder, &request, &made)?;
    if let Some(row) = write_source(&folder, &model, &request, &made)? {
        note(&inversion_sentence(&row));
    }
    let mut manifest = manifest("trace", &args.model, &model, &request);
    args.image.record(&mut manifest, &request, sha256);
    manifest.schemas = [TraceStatisticsRow::TABLE, ImageRow::TABLE, InversionRow::TABLE]
        .map(|table| (table.name.to_owned(), table.version))
        .into();
    if let Some(path) = &args.raw {
        save_tensors(path, &raw.into_tensors())?;
        note(&path.display().to_string());
    }
    note(&finish(folder, manifest, &args.model, &model)?.display().to_string());
    args.output.format.print(&frame)?;
    Ok(0)
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

/// What will be recorded.
struct Plan {
    rows: Vec<TracePlanRow>,
    steps: Option<BTreeSet<usize>>,
}

impl Plan {
    fn new(args: &Args, model: &DiffusionModel, request: &Request) -> Result<Self> {
        let evaluations = request.evaluations(model)?;
        let purpose = request.image.as_ref().map(|input| &input.purpose);
        let looks = matches!(purpose, Some(Purpose::Look { .. }));
        // What --at-steps names to a look is all that the run comes by.
        let list = args.at_steps.as_deref().filter(|_| !looks);
        let steps = list.map(|list| steps::parse(list, evaluations - 1, "step")).transpose()?;
        let globs: Vec<Glob> = args.sites.iter().map(Glob::new).collect();
        let selected = model.sites.select(&globs)?;
        // At scales 0 and 1 one half of guidance says it all, and only that one runs.
        let branches = if [0.0, 1.0].contains(&request.guidance) { 1 } else { 2 };
        let unseen = |site: &Site| {
            (purpose.is_none() && is_of_encoder(site))
                || (looks && site.name.starts_with("vae.decode."))
                || (site.name == "step.eps.uncond" && branches == 1)
        };
        let sites: Vec<&Site> = selected.iter().map(|&id| model.sites.get(id)).collect();
        let skipped: Vec<&str> =
            sites.iter().filter(|s| unseen(s)).map(|s| s.name.as_str()).collect();
        if skipped.len() == sites.len() {
            bail!("nothing to record: this run never comes to {}", skipped.join(", "));
        }
        if !skipped.is_empty() {
            note(&format!("not part of this run, left out: {}", skipped.join(", ")));
        }
        let recorded = steps.as_ref().map_or(evaluations, BTreeSet::len);
        let (images, tokens) = (request.seeds.len() as i64, request.context_length(model)? as i64);
        let extent = extent(model, [images, tokens], [request.width, request.height]);
        let row = |site: &&Site| {
            let mut shape = site.shape(&extent);
            if is_of_encoder(site) {
                // One image is encoded, whatever the number of those that are drawn from it.
                shape[0] = 1;
            }
            // The sampler's own state is f32 whatever the denoiser computes in.
            let kind = match site.name.split('.').next() {
                Some("step") => tch::Kind::Float,
                Some("vae") => model.vae_config.kind(model.placement.kind),
                _ => model.placement.kind,
            };
            let bytes = shape.iter().product::<i64>() as u64 * kind.elt_size_in_bytes() as u64;
            let tensors = if site.has_branches() { branches } else { 1 };
            let steps = if site.is_per_step() { recorded } else { 1 };
            TracePlanRow {
                site: site.name.clone(),
                shape: shape_text(&shape),
                tensors,
                steps: steps as u32,
                step_bytes: bytes * u64::from(tensors),
                bytes: bytes * u64::from(tensors) * steps as u64,
            }
        };
        let rows = sites.iter().filter(|site| !unseen(site)).map(row).collect();
        Ok(Self { rows, steps })
    }

    fn sites(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.site.clone()).collect()
    }

    fn step_bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.step_bytes).sum()
    }

    fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.bytes).sum()
    }

    fn summary(&self) -> String {
        format!(
            "{} sites, {} bytes a step, {} bytes ({}) in all",
            self.rows.len(),
            self.step_bytes(),
            self.bytes(),
            DecimalBytes(self.bytes())
        )
    }

    /// Refuses what would not fit, and says what would.
    fn check_budget(&self, budget: u64) -> Result<()> {
        if self.bytes() <= budget {
            return Ok(());
        }
        let fitting = budget / self.step_bytes().max(1);
        let fewer = match self.rows.iter().max_by_key(|row| row.bytes) {
            Some(largest) if fitting == 0 => format!(
                "not one step fits: leave out the largest site, `{}` ({} bytes)",
                largest.site, largest.bytes
            ),
            _ => format!("name at most {fitting} steps with --at-steps"),
        };
        bail!(
            "--raw would keep {}, over the budget of {budget} bytes ({}); {fewer}, \
             or select fewer sites (--dry-run lists their sizes), or raise --budget",
            self.summary(),
            DecimalBytes(budget)
        )
    }
}

fn is_of_encoder(site: &Site) -> bool {
    site.name.starts_with("vae.encode.")
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

fn table_row(run: &str, row: StatisticsRow) -> TraceStatisticsRow {
    let number = |x: f64| (!x.is_nan()).then_some(x);
    TraceStatisticsRow {
        run: run.to_owned(),
        sample: row.sample as u32,
        step: row.at.map(|at| at.step as u32),
        timestep: row.at.map(|at| at.timestep),
        sigma: row.at.map(|at| at.sigma),
        branch: row.branch.map(|branch| branch.label().to_owned()),
        site: row.site,
        mean: number(row.mean),
        std: number(row.std),
        min: number(row.min),
        max: number(row.max),
        norm: number(row.norm),
        kurtosis: number(row.kurtosis),
        zeros: row.zeros,
    }
}

/// What was asked, as it stands in the run folder.
fn spec(args: &Args) -> Result<String> {
    let mut spec = args.sample.spec("trace", &args.model);
    args.image.add_to(&mut spec);
    spec.insert("sites".into(), args.sites.clone().into());
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
