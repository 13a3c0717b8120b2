//! How often the judge is right, on clean and on spoiled images.

use anyhow::Result;
use clap::ValueEnum;

use super::check_interrupt;
use crate::cli::output::{FormatArgs, bar, line};
use crate::judge::{Calibration, Distortion, Plan, Rate, calibrate};
use crate::measure::Proportion;
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::table::{self, CalibrationRow, ConfusionRow};
use crate::world::Generator;

/// What the judge's images go through.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Judge")]
pub(super) struct CalibrateArgs {
    /// Model through whose autoencoder images go and come back: `shapes`, or a folder in
    /// diffusers layout [default: shapes, if it is there]
    #[cfg(feature = "torch")]
    #[arg(long, value_name = "shapes|DIR", requires = "calibrate_judge")]
    model: Option<String>,
}

/// Which tables are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tables {
    /// Both tables, one after the other
    All,
    /// Shares of right decisions and of false positives
    Rates,
    /// What was seen for what was there
    Confusion,
}

/// Standard deviation of the noise, of full white.
const NOISE: f32 = 0.03;
/// Standard deviation of the blur, of the image width: 0.6 pixels of 64.
const BLUR: f32 = 0.6 / 64.0;
/// Part of the width that is left in between.
const RESAMPLED: f32 = 0.75;
/// Samples between two looks at progress and Ctrl-C.
const CHUNK: u64 = 50;

/// Calibrates on `count` samples of `size` pixels a side and prints the tables.
pub(super) fn run(
    args: &CalibrateArgs,
    generator: &Generator,
    (count, size): (u64, usize),
    tables: Tables,
    format: &FormatArgs,
) -> Result<()> {
    let measure = |distortion: Distortion<'_>| measure(generator, (count, size), distortion);
    let mut calibrations = Vec::new();
    for distortion in [
        Distortion::None,
        Distortion::Noise { sigma: NOISE },
        Distortion::Blur { sigma: BLUR },
        Distortion::Resample { factor: RESAMPLED },
    ] {
        calibrations.push(measure(distortion)?);
    }
    #[cfg(feature = "torch")]
    calibrations.extend(crate::cli::round_trip::calibrated(args.model.as_deref(), size, measure)?);
    #[cfg(not(feature = "torch"))]
    let CalibrateArgs {} = args;
    if tables != Tables::Confusion {
        let rows = calibrations.iter().map(rates).collect::<Result<Vec<_>>>()?;
        format.print(&table::frame(rows.into_iter().flatten())?)?;
    }
    if tables == Tables::All {
        line("")?;
    }
    if tables != Tables::Rates {
        format.print(&table::frame(calibrations.iter().flat_map(confusions))?)?;
    }
    Ok(())
}

fn measure(
    generator: &Generator,
    (count, size): (u64, usize),
    distortion: Distortion<'_>,
) -> Result<Calibration> {
    let bar = bar(count, "images").with_message(distortion.name());
    let mut plan = Plan { generator, first: 0, count: 0, size, distortion };
    let mut sum = calibrate(&plan);
    while plan.first < count {
        check_interrupt()?;
        plan.count = CHUNK.min(count - plan.first);
        sum = sum.merge(calibrate(&plan));
        plan.first += plan.count;
        bar.set_position(plan.first);
    }
    bar.finish_and_clear();
    Ok(sum)
}

/// A share with its interval; nothing without cases.
type Share = (u32, Option<f64>, Option<f64>, Option<f64>);

fn share(rate: Rate) -> Result<Share> {
    if rate.of == 0 {
        return Ok((0, None, None, None));
    }
    let interval =
        Proportion::new(rate.hits as usize, rate.of as usize)?.wilson(DEFAULT_CONFIDENCE)?;
    Ok((rate.of as u32, Some(interval.mean), Some(interval.low), Some(interval.high)))
}

fn rates(calibration: &Calibration) -> Result<Vec<CalibrationRow>> {
    let row = |kind: &str,
               own: Rate,
               foreign: Rate,
               mask_overlap: Option<f64>|
     -> Result<CalibrationRow> {
        let (own, right, right_low, right_high) = share(own)?;
        let (foreign, false_positive, false_positive_low, false_positive_high) = share(foreign)?;
        Ok(CalibrationRow {
            distortion: calibration.distortion.clone(),
            kind: kind.to_owned(),
            images: calibration.images as u32,
            own,
            right,
            right_low,
            right_high,
            foreign,
            false_positive,
            false_positive_low,
            false_positive_high,
            mask_overlap,
        })
    };
    let all = (calibration.all_atoms(), calibration.all_false_positives());
    let mut rows = vec![
        row("all", all.0, all.1, calibration.mean_mask_overlap()),
        row("caption", calibration.captions, calibration.foreign_captions, None),
    ];
    let kinds = calibration.own.keys().chain(calibration.false_positives.keys());
    let kinds: std::collections::BTreeSet<&String> = kinds.collect();
    let of = |rates: &std::collections::BTreeMap<String, Rate>, kind: &String| {
        rates.get(kind).copied().unwrap_or_default()
    };
    rows.extend(kinds.into_iter().map(|kind| {
        row(kind, of(&calibration.own, kind), of(&calibration.false_positives, kind), None)
    }));
    rows.into_iter().collect()
}

fn confusions(calibration: &Calibration) -> Vec<ConfusionRow> {
    let mut rows = Vec::new();
    for (attribute, confusion) in &calibration.confusion {
        for (truth, seen) in &confusion.cells {
            let all: u64 = seen.values().sum();
            rows.extend(seen.iter().map(|(name, &cases)| ConfusionRow {
                distortion: calibration.distortion.clone(),
                attribute: attribute.clone(),
                truth: truth.clone(),
                seen: name.clone(),
                cases: cases as u32,
                share: cases as f64 / all as f64,
            }));
        }
    }
    rows
}
