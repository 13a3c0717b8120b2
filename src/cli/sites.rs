//! `probe sites`: the places in a model that can be watched.

use anyhow::Result;

use super::model_args::ModelArgs;
use super::output::FormatArgs;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::check_size;
use crate::site::{Extent, Glob, Site};
use crate::table::{self, SiteRow};

const EXAMPLES: &str = "\
In a glob, * stands for any characters, dots included; quote it from the shell.

Examples:
  probe sites
  probe sites 'up.*.cross.probs' 'mid.*.cross.probs'
  probe sites 'step.*' --format json
  probe sites '*.self.probs' --width 128 --height 64";

/// List the places in a model that can be watched.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// Sites to list, such as 'up.*.cross.probs' [default: all]
    #[arg(value_name = "GLOB")]
    globs: Vec<String>,
    #[command(flatten)]
    model: ModelArgs,
    /// Image width in pixels [default: the model's own]
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    width: Option<i64>,
    /// Image height in pixels [default: the model's own]
    #[arg(long, value_name = "PIXELS", allow_negative_numbers = true)]
    height: Option<i64>,
    #[command(flatten)]
    format: FormatArgs,
}

/// Bytes of one number where nothing else is said.
const F32_BYTES: f64 = 4.0;

/// Runs the command.
pub fn run(args: Args) -> Result<u8> {
    let model = args.model.open()?;
    let native = model.native_size();
    let size = [args.width.unwrap_or(native), args.height.unwrap_or(native)];
    check_size(&model, size)?;
    let globs = if args.globs.is_empty() { vec!["*".to_owned()] } else { args.globs };
    let selected = model.sites.select(&globs.into_iter().map(Glob::new).collect::<Vec<_>>())?;
    let extent = extent(&model, [1, model.tokenizer.max_length() as i64], size);
    let rows = selected.into_iter().map(|id| row(model.sites.get(id), &extent));
    args.format.print(&table::frame(rows)?)?;
    Ok(0)
}

/// The sizes of a run of so many images of [width, height] pixels, each of so many tokens.
pub(super) fn extent(
    model: &DiffusionModel,
    [images, tokens]: [i64; 2],
    [width, height]: [i64; 2],
) -> Extent {
    let by = model.downscale();
    Extent { images, latent_height: height / by, latent_width: width / by, tokens }
}

fn row(site: &Site, extent: &Extent) -> SiteRow {
    let shape = site.shape(extent);
    let axes: Vec<&str> = site.axes.iter().map(|axis| axis.label()).collect();
    SiteRow {
        site: site.name.clone(),
        axes: axes.join(" × "),
        megabytes: shape.iter().product::<i64>() as f64 * F32_BYTES / 1e6,
        shape: shape_text(&shape),
        path: (!site.path.is_empty()).then(|| site.path.clone()),
    }
}

/// "1 × 4 × 64 × 77".
pub(super) fn shape_text(shape: &[i64]) -> String {
    shape.iter().map(i64::to_string).collect::<Vec<_>>().join(" × ")
}
