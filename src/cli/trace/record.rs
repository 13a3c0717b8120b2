//! What can be recorded, and the tables it becomes.

use anyhow::Result;
use clap::ValueEnum;
use polars::prelude::DataFrame;

use super::plan::Plan;
use crate::run::RunFolder;
use crate::table::{
    self, ChangeRow, GuidanceRow, Row, TableDeclaration, Tables, TraceStatisticsRow,
};
use crate::tap::{
    ChangeRecorder, GuidanceParts, GuidanceRecorder, RawRecorder, StatisticsRecorder,
    StatisticsRow, StepChange, Then,
};

/// What is made of the tensors that are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Recorder {
    /// Mean, deviation, extremes, norm, kurtosis and share of zeros of each tensor
    Statistics,
    /// How much each tensor changes from one step to the next (without --sites: the outputs of
    /// cross-attention, '*.cross.out')
    Change,
    /// What the prompt adds to the noise prediction: its norm, its parts along and across the
    /// conditional prediction, and the cosine of both predictions
    Guidance,
}

impl Recorder {
    /// As it is written after `--record`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Recorder::Statistics => "statistics",
            Recorder::Change => "change",
            Recorder::Guidance => "guidance",
        }
    }

    /// The table it fills.
    pub(super) fn table(self) -> TableDeclaration {
        match self {
            Recorder::Statistics => TraceStatisticsRow::TABLE,
            Recorder::Change => ChangeRow::TABLE,
            Recorder::Guidance => GuidanceRow::TABLE,
        }
    }
}

/// All recorders of a run; one that was not asked for selects no site.
pub(super) type Recorders =
    Then<Then<StatisticsRecorder, RawRecorder>, Then<ChangeRecorder, GuidanceRecorder>>;

/// The recorders of a plan, the last of which may keep `budget` bytes of tensors.
pub(super) fn recorders(plan: &Plan, budget: u64) -> Recorders {
    let sites = |recorder: Recorder| plan.sites_of(recorder.name());
    let steps = || plan.steps.clone();
    let statistics = StatisticsRecorder::new(sites(Recorder::Statistics), steps());
    let raw = RawRecorder::new(plan.sites_of(super::plan::RAW), steps(), budget);
    let change = ChangeRecorder::new(sites(Recorder::Change), steps());
    let guidance = if sites(Recorder::Guidance).is_empty() {
        GuidanceRecorder::idle()
    } else {
        GuidanceRecorder::new(steps())
    };
    Then(Then(statistics, raw), Then(change, guidance))
}

/// What recorders have seen: numbers, and tensors.
pub(super) fn recorded(recorders: Recorders) -> (Recorded, RawRecorder) {
    let Then(Then(statistics, raw), Then(change, guidance)) = recorders;
    let recorded = Recorded {
        statistics: statistics.into_rows(),
        changes: change.into_changes(),
        guidance: guidance.into_parts(),
    };
    (recorded, raw)
}

/// What was recorded, tensors aside.
pub(super) struct Recorded {
    pub statistics: Vec<StatisticsRow>,
    pub changes: Vec<StepChange>,
    pub guidance: Vec<GuidanceParts>,
}

impl Recorded {
    /// The tables of some recorders, where the images of the run have these numbers, and the rows
    /// of each image in all of them.
    pub(super) fn tables(
        self,
        recorders: &[Recorder],
        run: &str,
        samples: &[u32],
    ) -> Result<(Tables, Vec<u32>)> {
        let (mut tables, mut rows) = (Tables::new(), vec![0; samples.len()]);
        let mut number = |sample: usize| {
            rows[sample] += 1;
            samples[sample]
        };
        for recorder in recorders {
            match recorder {
                Recorder::Statistics => {
                    let rows = self.statistics.iter().cloned().map(|row| TraceStatisticsRow {
                        sample: number(row.sample),
                        ..statistics_row(run, row)
                    });
                    tables.add(rows.collect::<Vec<_>>())?;
                }
                Recorder::Change => {
                    let rows = self.changes.iter().cloned().map(|row| ChangeRow {
                        sample: number(row.sample),
                        ..change_row(run, row)
                    });
                    tables.add(rows.collect::<Vec<_>>())?;
                }
                Recorder::Guidance => {
                    let rows = self.guidance.iter().cloned().map(|row| GuidanceRow {
                        sample: number(row.sample),
                        ..guidance_row(run, row)
                    });
                    tables.add(rows.collect::<Vec<_>>())?;
                }
            }
        }
        Ok((tables, rows))
    }

    /// Writes the table of one recorder into the run's folder, and hands it over.
    pub(super) fn write(&mut self, recorder: Recorder, folder: &RunFolder) -> Result<DataFrame> {
        let run = folder.name();
        match recorder {
            Recorder::Statistics => {
                let rows = std::mem::take(&mut self.statistics).into_iter();
                write(folder, rows.map(|row| statistics_row(run, row)))
            }
            Recorder::Change => {
                let rows = std::mem::take(&mut self.changes).into_iter();
                write(folder, rows.map(|row| change_row(run, row)))
            }
            Recorder::Guidance => {
                let rows = std::mem::take(&mut self.guidance).into_iter();
                write(folder, rows.map(|row| guidance_row(run, row)))
            }
        }
    }
}

fn write<R: Row>(folder: &RunFolder, rows: impl Iterator<Item = R>) -> Result<DataFrame> {
    let mut frame = table::frame(rows)?;
    let path = folder.path(&format!("tables/{}.parquet", R::TABLE.name))?;
    table::write_parquet::<R>(&mut frame, &path)?;
    Ok(frame)
}

/// None where there is no such number.
fn number(x: f64) -> Option<f64> {
    (!x.is_nan()).then_some(x)
}

fn statistics_row(run: &str, row: StatisticsRow) -> TraceStatisticsRow {
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

fn change_row(run: &str, row: StepChange) -> ChangeRow {
    ChangeRow {
        run: run.to_owned(),
        sample: row.sample as u32,
        step: row.at.step as u32,
        timestep: row.at.timestep,
        sigma: row.at.sigma,
        branch: row.branch.map(|branch| branch.label().to_owned()),
        site: row.site,
        norm: number(row.norm),
        change: number(row.change),
        relative: Some(row.relative).filter(|relative| relative.is_finite()),
    }
}

fn guidance_row(run: &str, row: GuidanceParts) -> GuidanceRow {
    GuidanceRow {
        run: run.to_owned(),
        sample: row.sample as u32,
        step: row.at.step as u32,
        timestep: row.at.timestep,
        sigma: row.at.sigma,
        cond_norm: row.cond_norm,
        uncond_norm: row.uncond_norm,
        difference: row.difference,
        parallel: row.parallel,
        orthogonal: row.orthogonal,
        cosine: number(row.cosine),
    }
}
