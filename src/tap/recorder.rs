//! What recorders make, as rows of declared tables; and recorders that write them as they go.

use super::{
    ChangeRecorder, GuidanceParts, GuidanceRecorder, Moment, StatisticsRecorder, StatisticsRow,
    StepChange, Tap, TapError,
};
use crate::site::Site;
use crate::table::{ChangeRow, GuidanceRow, ParquetStream, Row, TableError, TraceStatisticsRow};
use tch::Tensor;

/// A tap that makes rows of a declared table.
pub trait Recorder: Tap {
    /// A row of its table.
    type Row: Row;

    /// Hands over the rows made since the last time, in the order of the run; `run` is what the
    /// column of that name says. [`crate::table::frame`] makes a DataFrame of them.
    fn take(&mut self, run: &str) -> Vec<Self::Row>;
}

/// A recorder whose rows go into a Parquet file as they are made.
#[derive(Debug)]
pub struct Streaming<T: Recorder> {
    recorder: T,
    stream: ParquetStream<T::Row>,
    run: String,
}

impl<T: Recorder> Streaming<T> {
    /// Writes what `recorder` makes into `stream`.
    pub fn new(recorder: T, stream: ParquetStream<T::Row>, run: impl Into<String>) -> Self {
        Self { recorder, stream, run: run.into() }
    }

    /// Writes what is left, puts the file in its place and hands the recorder back.
    ///
    /// # Errors
    /// See [`ParquetStream::finish`].
    pub fn finish(mut self) -> Result<T, TableError> {
        self.write()?;
        self.stream.finish()?;
        Ok(self.recorder)
    }

    fn write(&mut self) -> Result<(), TableError> {
        self.recorder.take(&self.run).into_iter().try_for_each(|row| self.stream.push(row))
    }
}

impl<T: Recorder> Tap for Streaming<T> {
    fn selects(&self, site: &Site) -> bool {
        self.recorder.selects(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let replaced = self.recorder.visit(site, at, x)?;
        self.write()?;
        Ok(replaced)
    }
}

/// `None` where there is no such number.
pub(super) fn number(x: f64) -> Option<f64> {
    (!x.is_nan()).then_some(x)
}

impl Recorder for StatisticsRecorder {
    type Row = TraceStatisticsRow;

    fn take(&mut self, run: &str) -> Vec<TraceStatisticsRow> {
        self.take_rows().into_iter().map(|row| statistics_row(run, row)).collect()
    }
}

impl Recorder for ChangeRecorder {
    type Row = ChangeRow;

    fn take(&mut self, run: &str) -> Vec<ChangeRow> {
        self.take_changes().into_iter().map(|row| change_row(run, row)).collect()
    }
}

impl Recorder for GuidanceRecorder {
    type Row = GuidanceRow;

    fn take(&mut self, run: &str) -> Vec<GuidanceRow> {
        self.take_parts().into_iter().map(|row| guidance_row(run, row)).collect()
    }
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

/// A row of the table of guidance taken apart.
pub fn guidance_row(run: &str, row: GuidanceParts) -> GuidanceRow {
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
