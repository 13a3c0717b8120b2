//! Runs shards in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;

use super::kinds::{Kind, Opener, Place};
use crate::cli::output::{Counted, bar, line, note};
use crate::cli::{INTERRUPTED_CODE, interrupted, message};
use crate::sweep::{Begun, Failure, Folder, Item, Plan, Shard, ShardWork, SweepError};
use crate::table::SweepItemRow;

/// Time between two looks at a shard that another process works at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Runs shards; `waits` for those that another process is at, as the task of an array must: it may
/// be a process that its launcher believes dead.
pub(super) fn run(
    plan: &Plan,
    kind: &Kind,
    folder: &Folder,
    shards: &[&Shard],
    waits: bool,
) -> Result<u8> {
    let items: usize = shards.iter().map(|shard| shard.items.len()).sum();
    let bar = bar(items as u64, "items");
    let opener = Opener::new(plan, kind, Some(folder));
    let stop = watch_for_termination()?;
    let (began, opening) = (Instant::now(), Duration::ZERO);
    let mut runner = Runner { plan, folder, opener, bar, waits, stop, began, opening };
    let mut tally = Tally::default();
    let elsewhere = match runner.pass(shards, &mut tally)? {
        Passed::Stopped => return Ok(INTERRUPTED_CODE),
        Passed::Through { elsewhere } => elsewhere,
    };
    // A process that only looked at a shard may have been in the way for a moment.
    match runner.pass(&elsewhere, &mut tally)? {
        Passed::Stopped => return Ok(INTERRUPTED_CODE),
        Passed::Through { elsewhere } => tally.elsewhere = elsewhere.len(),
    }
    runner.finish(&tally)
}

/// What became of the shards.
#[derive(Default)]
struct Tally {
    done: usize,
    failed: usize,
    elsewhere: usize,
    /// Time of the items that ran here.
    seconds: f64,
}

/// How a pass over shards ended.
enum Passed<'a> {
    /// All were tried; at these another process is.
    Through { elsewhere: Vec<&'a Shard> },
    /// This process was told to stop.
    Stopped,
}

/// How work at a shard ended.
enum Ended {
    /// It is in its place; its items took so long here.
    Done { seconds: f64 },
    /// Another process is at it.
    Elsewhere,
    /// This process was told to stop.
    Stopped,
}

/// SIGTERM, which clusters send before they kill: the batch is finished and what is done is kept.
fn watch_for_termination() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGTERM, stop.clone())?;
    Ok(stop)
}

struct Runner<'a> {
    plan: &'a Plan,
    folder: &'a Folder,
    opener: Opener<'a>,
    bar: ProgressBar,
    waits: bool,
    stop: Arc<AtomicBool>,
    began: Instant,
    /// Time that opening models took.
    opening: Duration,
}

impl Runner<'_> {
    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || interrupted()
    }

    /// Tries shards one after the other. One that fails leaves the others.
    fn pass<'s>(&mut self, shards: &[&'s Shard], tally: &mut Tally) -> Result<Passed<'s>> {
        let mut elsewhere = Vec::new();
        for &shard in shards {
            match self.shard(shard) {
                Ok(Ended::Done { seconds }) => {
                    tally.done += 1;
                    tally.seconds += seconds;
                }
                Ok(Ended::Elsewhere) => elsewhere.push(shard),
                Ok(Ended::Stopped) => {
                    note(&format!(
                        "stopped; `probe sweep {}` goes on",
                        self.folder.root().display()
                    ));
                    return Ok(Passed::Stopped);
                }
                // On a file system without locks another process may have been as far.
                Err(_) if self.folder.finished(shard)?.is_some() => tally.done += 1,
                Err(error) if interrupted() || error.chain().any(SweepError::is_of_the_disk) => {
                    let root = self.folder.root().display();
                    return Err(error.context(format!(
                        "the sweep stopped; what is done is kept, and `probe sweep {root}` goes on"
                    )));
                }
                Err(error) => {
                    tally.failed += 1;
                    self.note_failure(shard, &error)?;
                }
            }
        }
        Ok(Passed::Through { elsewhere })
    }

    fn shard(&mut self, shard: &Shard) -> Result<Ended> {
        let mut work = loop {
            if self.must_stop() {
                return Ok(Ended::Stopped);
            }
            match self.folder.begin(self.plan, shard)? {
                Begun::Done => {
                    self.bar.inc(shard.items.len() as u64);
                    return Ok(Ended::Done { seconds: 0.0 });
                }
                Begun::Busy if !self.waits => return Ok(Ended::Elsewhere),
                Begun::Busy => sleep(LOOK_AGAIN),
                Begun::Work(work) => break work,
            }
        };
        self.bar.inc(work.done() as u64);
        let made = self.make(shard, &mut work);
        // What was done before an error is kept; the error comes first.
        let kept = if matches!(made, Ok(Some(_))) { Ok(()) } else { work.keep() };
        let Some(seconds) = made? else {
            kept?;
            return Ok(Ended::Stopped);
        };
        let manifest = self.opener.work(self.plan.condition_of(shard))?.manifest();
        work.finish(manifest)?;
        Ok(Ended::Done { seconds })
    }

    /// Runs what is not done of a shard; none where it was told to stop.
    fn make(&mut self, shard: &Shard, work: &mut ShardWork) -> Result<Option<f64>> {
        let plan = self.plan;
        let condition = plan.condition_of(shard);
        let _counted = Counted::new();
        let began = Instant::now();
        let doer = self.opener.work(condition)?;
        self.opening += began.elapsed();
        let left: Vec<&[Item]> = plan.batches_of(shard).filter(|items| !work.has(items)).collect();
        left.iter().try_for_each(|items| doer.check(items))?;
        let mut total = 0.0;
        for items in left {
            if self.stop.load(Ordering::Relaxed) || interrupted() {
                return Ok(None);
            }
            let began = Instant::now();
            let path = |file: &str| Ok(work.path(file)?);
            let place = Place { run: plan.folder_name(), path: &path };
            let mut given = doer.run(items, &place)?;
            let seconds = began.elapsed().as_secs_f64();
            total += seconds;
            let share = seconds / items.len() as f64;
            let rows: Vec<SweepItemRow> = items
                .iter()
                .zip(&given.rows)
                .map(|(item, &rows)| plan.item_row(shard, item, rows, share))
                .collect();
            given.tables.add(rows)?;
            work.add(items, given.tables)?;
            self.bar.inc(items.len() as u64);
        }
        Ok(Some(total))
    }

    fn note_failure(&self, shard: &Shard, error: &anyhow::Error) -> Result<()> {
        let reason = message(error);
        self.bar.suspend(|| tracing::error!("shard {}: {reason}", shard.number));
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.map(|name| name.trim().to_owned());
        let failure = Failure { reason, host, log: None };
        self.folder.note_failure(shard, &failure).context("a shard failed and this cannot be noted")
    }

    fn finish(&self, tally: &Tally) -> Result<u8> {
        self.bar.finish_and_clear();
        let all = self.began.elapsed().as_secs_f64();
        let opening = self.opening.as_secs_f64();
        tracing::info!(
            "items took {:.3} s, opening models {opening:.3} s of {all:.3} s",
            tally.seconds
        );
        let root = self.folder.root().display().to_string();
        if tally.elsewhere > 0 {
            note(&format!("{} shards are being run by other processes", tally.elsewhere));
        }
        if tally.failed > 0 {
            bail!(
                "{} shards failed; `probe sweep status {root}` says why, `probe sweep resume {root}` \
                 tries them again",
                tally.failed
            );
        }
        note(&format!("{} shards are done; `probe sweep merge {root}` merges them", tally.done));
        line(&root)?;
        Ok(0)
    }
}
