//! Many runs of a small model at once: a thread each, with a model of its own.
//!
//! The tensors of a small model are too small to be shared out among threads: two threads that
//! share every layer wait for each other about as long as they work. Two threads with a run each
//! do not wait.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tch::Device;

use crate::model::checkpoint::DiffusionModel;

/// Up to so many parameters a model is small: its copies take little memory, and its layers
/// gain little from more threads.
const SMALL_MODEL: i64 = 50_000_000;

/// How many runs of this model are worth doing at once, of `jobs`.
pub(super) fn worth_it(model: &DiffusionModel, jobs: usize) -> usize {
    if model.parameter_count > SMALL_MODEL || model.placement.device != Device::Cpu {
        return 1;
    }
    usize::try_from(tch::get_num_threads()).unwrap_or(1).clamp(1, jobs.max(1))
}

/// Gives each thread of libtorch's a run of its own until it is dropped. How a sum is divided among
/// threads changes its rounding: all runs that are compared are to be made under one of these.
#[derive(Debug)]
pub(super) struct OneThreadEach {
    before: i32,
}

impl OneThreadEach {
    /// Of `workers`; with one worker all threads stay its own.
    pub fn of(workers: usize) -> Self {
        let before = tch::get_num_threads();
        if workers > 1 {
            tch::set_num_threads(1);
        }
        Self { before }
    }
}

impl Drop for OneThreadEach {
    fn drop(&mut self) {
        tch::set_num_threads(self.before);
    }
}

/// Does all jobs and hands over what they made, in the order of the jobs. This thread works too,
/// with `model` and the first of `own`; each further element of `own` is moved to a thread that
/// opens a model for itself.
///
/// # Errors
/// The first that a job or opening a model has; the other threads stop after the job they are at.
pub(super) fn share_out<J: Sync, S: Send, R: Send>(
    jobs: &[J],
    model: &DiffusionModel,
    own: Vec<S>,
    open: impl Fn() -> Result<DiffusionModel> + Sync,
    work: impl Fn(&DiffusionModel, &S, &J) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let done: Vec<Mutex<Option<R>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let one_by_one = |model: &DiffusionModel, own: &S| -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else { break };
            let made = work(model, own, job)?;
            if let Ok(mut place) = done[at].lock() {
                *place = Some(made);
            }
        }
        Ok(())
    };
    let until_an_error = |result: Result<()>| {
        if result.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        result
    };
    let (one_by_one, until_an_error, open) = (&one_by_one, &until_an_error, &open);
    let mut own = own.into_iter();
    let first = own.next().context("there is nobody to do the work")?;
    std::thread::scope(|scope| {
        let others: Vec<_> = own
            .map(|own| {
                scope.spawn(move || {
                    tch::set_num_threads(1);
                    until_an_error(open().and_then(|model| one_by_one(&model, &own)))
                })
            })
            .collect();
        let mut results = vec![until_an_error(one_by_one(model, &first))];
        for other in others {
            let ended = other.join();
            results.push(ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread broke off"))));
        }
        results.into_iter().collect::<Result<()>>()
    })?;
    let made = done.into_iter().map(|place| place.into_inner().ok().flatten());
    made.collect::<Option<Vec<R>>>().context("a job was left undone")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use anyhow::bail;

    use super::*;
    use crate::model::checkpoint::Placement;

    const JOBS: u64 = 60;

    fn tiny() -> Result<DiffusionModel> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/sd");
        Ok(DiffusionModel::open(folder, Placement::default())?)
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u64> = (0..JOBS).collect();
        let made = share_out(&jobs, &tiny().unwrap(), vec!['a', 'b', 'c'], tiny, |_, own, job| {
            // Later jobs are done before earlier ones.
            std::thread::sleep(Duration::from_millis(7 - job % 7));
            Ok((*own, job * 2))
        });
        let made = made.unwrap();
        assert!(made.iter().map(|(_, made)| *made).eq((0..JOBS).map(|job| job * 2)));
        assert!(made.iter().all(|(own, _)| "abc".contains(*own)));
    }

    #[test]
    fn an_error_ends_the_work() {
        let jobs: Vec<u64> = (0..JOBS).collect();
        let begun = AtomicUsize::new(0);
        let made = share_out(&jobs, &tiny().unwrap(), vec![(), ()], tiny, |_, _, job| {
            begun.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
            if *job == 3 { bail!("job 3 cannot be done") } else { Ok(()) }
        });
        assert_eq!(made.unwrap_err().to_string(), "job 3 cannot be done");
        assert!(begun.load(Ordering::Relaxed) < jobs.len());
        let closed = share_out(
            &jobs,
            &tiny().unwrap(),
            vec![(), ()],
            || bail!("no model"),
            |_, _, _| {
                std::thread::sleep(Duration::from_millis(5));
                Ok(())
            },
        );
        assert_eq!(closed.unwrap_err().to_string(), "no model");
    }
}
