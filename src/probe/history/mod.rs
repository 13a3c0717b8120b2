//! Many runs of one suite in the order of time, or of training: how the shares went, and from
//! which run on they are others.
//!
//! Runs that ask the same in the same way (suite, judge, sampler, steps, guidance, size, edits) are
//! a [`Series`]; what differs within one is the model. Over checkpoints of a training run the same
//! tables show what is learned first: see [`emergence`].

pub mod emergence;
mod error;
mod report;
mod trend;

use std::collections::BTreeMap;
use std::path::Path;

use crate::probe::compare::{Side, asked};
use crate::run::{MANIFEST_FILE, StoredRun, TrainingRecord, list_runs};

pub use error::HistoryError;
pub use report::{ReportInput, findings, report};
pub use trend::{Trends, trends};

/// What runs are put in order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// When they were begun.
    Time,
    /// Optimiser steps of their models' training.
    TrainingSteps,
    /// Images of their models' training.
    TrainingImages,
}

impl Order {
    /// What is counted, for axes and messages.
    pub const fn unit(self) -> &'static str {
        match self {
            Order::Time => "run",
            Order::TrainingSteps => "training steps",
            Order::TrainingImages => "training images",
        }
    }
}

/// A run with what it says of its model's training.
#[derive(Debug)]
pub struct Reading {
    /// The run.
    pub side: Side,
    /// How far its model was trained.
    pub training: Option<TrainingRecord>,
}

impl Reading {
    /// How far its model was trained, in what runs are ordered by.
    pub fn trained(&self, order: Order) -> Option<u64> {
        match order {
            Order::Time => None,
            Order::TrainingSteps => self.training.map(|training| training.step),
            Order::TrainingImages => self.training.and_then(|training| training.images),
        }
    }
}

/// Runs that ask the same in the same way, in their order.
#[derive(Debug)]
pub struct Series {
    /// Its number in tables, from 1.
    pub number: u32,
    /// What all its runs have in common: what, and its value.
    pub asked: Vec<(&'static str, String)>,
    /// The runs.
    pub readings: Vec<Reading>,
}

/// Opens runs: each path is a run folder, or a folder of run folders of which those of
/// `probe failures` are taken. `steps` are training steps in the order of the runs, for runs that
/// do not say.
///
/// # Errors
/// [`HistoryError::NoRuns`], [`HistoryError::Steps`], and what opening a run can bring.
pub fn open(paths: &[String], steps: &[u64]) -> Result<Vec<Reading>, HistoryError> {
    let mut readings = Vec::new();
    for path in paths {
        for run in runs_at(Path::new(path))? {
            let side = Side::open(&run, Path::new(path))?;
            let training = side.manifest().training;
            readings.push(Reading { side, training });
        }
    }
    if !steps.is_empty() && steps.len() != readings.len() {
        return Err(HistoryError::Steps { given: steps.len(), runs: readings.len() });
    }
    for (reading, &step) in readings.iter_mut().zip(steps) {
        reading.training = Some(TrainingRecord { step, images: None });
    }
    Ok(readings)
}

fn runs_at(path: &Path) -> Result<Vec<String>, HistoryError> {
    if !path.is_dir() || path.join(MANIFEST_FILE).is_file() {
        return Ok(vec![path.display().to_string()]);
    }
    let mut runs = Vec::new();
    for name in list_runs(path)? {
        let run = path.join(name);
        let stored = StoredRun::open(&run)?;
        if stored.manifest().probe == "failures" && stored.table("outcome").is_ok() {
            runs.push(run.display().to_string());
        }
    }
    if runs.is_empty() {
        return Err(HistoryError::NoRuns { path: path.to_owned() });
    }
    Ok(runs)
}

/// Runs sorted into series of at least two, the longest first. Those that are alone come back
/// second, by name.
///
/// # Errors
/// [`HistoryError::NothingInCommon`]; when ordered by training [`HistoryError::NotTrained`] and
/// [`HistoryError::SameCheckpoint`].
pub fn series(
    readings: Vec<Reading>,
    order: Order,
) -> Result<(Vec<Series>, Vec<String>), HistoryError> {
    let runs = readings.len();
    let mut groups: BTreeMap<Vec<(&'static str, String)>, Vec<Reading>> = BTreeMap::new();
    for reading in readings {
        groups.entry(asked(&reading.side)).or_default().push(reading);
    }
    let (together, alone): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|(_, readings)| readings.len() > 1);
    if together.is_empty() {
        return Err(HistoryError::NothingInCommon { runs });
    }
    let name = |reading: &Reading| reading.side.name.clone();
    let alone = alone.iter().flat_map(|(_, readings)| readings.iter().map(name)).collect();
    let mut together: Vec<_> = together;
    together.sort_by_key(|(_, readings)| std::cmp::Reverse(readings.len()));
    let mut series = Vec::new();
    for (number, (asked, readings)) in (1..).zip(together) {
        series.push(Series { number, asked, readings: in_order(readings, order)? });
    }
    Ok((series, alone))
}

fn in_order(mut readings: Vec<Reading>, order: Order) -> Result<Vec<Reading>, HistoryError> {
    let begun = |reading: &Reading| (reading.side.manifest().started, reading.side.name.clone());
    if order == Order::Time {
        readings.sort_by_cached_key(begun);
        return Ok(readings);
    }
    if let Some(reading) = readings.iter().find(|reading| reading.trained(order).is_none()) {
        return Err(HistoryError::NotTrained { run: reading.side.name.clone() });
    }
    readings.sort_by_key(|reading| reading.trained(order));
    let same = |pair: &&[Reading]| pair[0].trained(order) == pair[1].trained(order);
    match readings.windows(2).find(same) {
        None => Ok(readings),
        Some(pair) => Err(HistoryError::SameCheckpoint {
            first: pair[0].side.name.clone(),
            second: pair[1].side.name.clone(),
            trained: pair[0].trained(order).unwrap_or_default(),
            unit: order.unit(),
        }),
    }
}
