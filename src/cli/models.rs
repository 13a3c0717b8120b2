//! `probe models`: which models there are, what is in one, and how to get more.

use anyhow::Result;
use clap::Subcommand;

use super::model_args::LoadArgs;
use super::output::FormatArgs;
use crate::model::checkpoint::{ModelError, ModelFiles};
use crate::model::hub;
use crate::model::inspect::{Inspection, Part, inspect};
use crate::model::parameters::Mismatch;
use crate::table::{self, ModelCheckRow, ModelRow};

const EXAMPLES: &str = "\
Examples:
  probe models list
  probe models inspect shapes
  probe models inspect sd-v1-5.safetensors --tokenizer clip --format json
  probe models pull stabilityai/stable-diffusion-2-1 --variant fp16

The cache is the hub's own: HF_HOME (or HF_HUB_CACHE) says where it is, HF_ENDPOINT names
another hub, HF_TOKEN opens gated models.";

/// List, inspect and fetch models.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// The built-in model and those in the hub's cache
    List {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// What a model holds: parts, parameters, kinds, and all that is missing, extra or of another
    /// shape; exit code 1 if anything is
    Inspect(InspectArgs),
    /// Fetch a model in diffusers layout from the hub, without pickles
    #[cfg(feature = "hub")]
    Pull(PullArgs),
}

#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// `shapes` (built in), a folder, a .safetensors file, or the id of a model on the hub
    #[arg(value_name = "MODEL")]
    model: String,
    /// Read all weights and look for NaN and infinity too
    #[arg(long)]
    numbers: bool,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[cfg(feature = "hub")]
#[derive(Debug, clap::Args)]
struct PullArgs {
    /// Id of the model: owner/name
    #[arg(value_name = "ID")]
    id: String,
    /// Weights of this variant, such as fp16 [default: the plain ones, or the only variant]
    #[arg(long)]
    variant: Option<String>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    match args.action {
        Action::List { format } => list(&format),
        Action::Inspect(args) => inspect_model(args),
        #[cfg(feature = "hub")]
        Action::Pull(args) => pull(&args),
    }
}

fn list(format: &FormatArgs) -> Result<u8> {
    let built_in = ModelRow {
        model: ModelFiles::BUILT_IN.to_owned(),
        place: "built in".to_owned(),
        megabytes: megabytes(built_in_bytes()?),
    };
    let cached = hub::cached().into_iter().map(|model| ModelRow {
        model: model.id,
        place: model.folder.display().to_string(),
        megabytes: megabytes(model.bytes),
    });
    format.print(&table::frame(std::iter::once(built_in).chain(cached))?)?;
    Ok(0)
}

/// Size of the built-in model's weights.
pub(super) fn built_in_bytes() -> Result<u64, ModelError> {
    let inspection = inspect(&ModelFiles::built_in(), false);
    Ok(inspection.parts.iter().filter_map(|part| Some(part.contents.as_ref()?.bytes)).sum())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Exit code where something is wrong with the model.
const NOT_WHOLE: u8 = 1;

fn inspect_model(args: InspectArgs) -> Result<u8> {
    let files = ModelFiles::find(args.load.source(&args.model))?;
    let inspection = inspect(&files, args.numbers);
    args.format.print(&table::frame(rows(&args.model, &inspection))?)?;
    Ok(if inspection.is_whole() { 0 } else { NOT_WHOLE })
}

/// A row for the model, one a part, one for all that is wrong with it.
fn rows(name: &str, inspection: &Inspection) -> Vec<ModelCheckRow> {
    let contents = || inspection.parts.iter().filter_map(|part| part.contents.as_ref());
    let dtypes = contents().flat_map(|contents| contents.dtypes.clone());
    let dtypes: std::collections::BTreeSet<String> = dtypes.collect();
    let mut rows = vec![ModelCheckRow {
        subject: name.to_owned(),
        state: if inspection.is_whole() { "whole" } else { "not whole" }.to_owned(),
        parameters: Some(contents().map(|contents| contents.parameters).sum()),
        dtype: (!dtypes.is_empty()).then(|| dtypes.into_iter().collect::<Vec<_>>().join(", ")),
        megabytes: Some(contents().map(|contents| megabytes(contents.bytes)).sum()),
        expected: None,
        found: Some(inspection.family.clone()),
    }];
    for part in &inspection.parts {
        rows.push(part_row(part));
        rows.extend(part.mismatches.iter().map(|mismatch| mismatch_row(part.name, mismatch)));
    }
    rows.extend(inspection.problems.iter().map(|problem| ModelCheckRow {
        found: Some(problem.to_string()),
        ..plain_row("file".to_owned(), "error")
    }));
    rows
}

fn plain_row(subject: String, state: &str) -> ModelCheckRow {
    ModelCheckRow {
        subject,
        state: state.to_owned(),
        parameters: None,
        dtype: None,
        megabytes: None,
        expected: None,
        found: None,
    }
}

fn part_row(part: &Part) -> ModelCheckRow {
    let state = match (&part.error, part.mismatches.len()) {
        (Some(_), _) => "error".to_owned(),
        (None, 0) => "whole".to_owned(),
        (None, problems) => format!("{problems} problems"),
    };
    let contents = part.contents.as_ref();
    let dtypes = |dtypes: &std::collections::BTreeSet<String>| {
        dtypes.iter().cloned().collect::<Vec<_>>().join(", ")
    };
    ModelCheckRow {
        parameters: contents.map(|contents| contents.parameters),
        dtype: contents.map(|contents| dtypes(&contents.dtypes)),
        megabytes: contents.map(|contents| megabytes(contents.bytes)),
        found: match &part.error {
            Some(error) => Some(error.to_string()),
            None => contents.map(|contents| format!("{} tensors", contents.tensors)),
        },
        ..plain_row(part.name.to_owned(), &state)
    }
}

fn mismatch_row(part: &str, mismatch: &Mismatch) -> ModelCheckRow {
    let (name, state, expected, found) = match mismatch {
        Mismatch::Missing { name, expected } => {
            (name, "missing", Some(format!("{expected:?}")), None)
        }
        Mismatch::Shape { name, expected, got } => {
            (name, "shape", Some(format!("{expected:?}")), Some(format!("{got:?}")))
        }
        Mismatch::Dtype { name, got } => {
            (name, "dtype", Some("floating point".to_owned()), Some(got.clone()))
        }
        Mismatch::NotFinite { name } => {
            (name, "not finite", Some("finite".to_owned()), Some("NaN or infinity".to_owned()))
        }
        Mismatch::TooLarge { name } => (name, "too large", Some("at most 65504".to_owned()), None),
        Mismatch::Extra { name } => (name, "extra", None, None),
    };
    ModelCheckRow { expected, found, ..plain_row(format!("{part}: {name}"), state) }
}

#[cfg(feature = "hub")]
fn pull(args: &PullArgs) -> Result<u8> {
    use super::output::{bar, line, note};

    let bar = bar(0, "bytes");
    let pulled = hub::pull(&args.id, args.variant.as_deref(), &mut |file, done, all| {
        bar.set_message(file.to_owned());
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let pulled = pulled?;
    note(&format!(
        "{} files, {:.1} MB, commit {}; use it with --model {}",
        pulled.files,
        megabytes(pulled.bytes),
        pulled.commit,
        args.id
    ));
    line(&pulled.folder.display().to_string())?;
    Ok(0)
}
