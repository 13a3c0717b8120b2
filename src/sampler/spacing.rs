//! Which timesteps a run visits (Lin et al. 2023, table 2).

use super::{ScheduleError, Spacing};

impl Spacing {
    /// Whole timesteps of `steps` steps out of `count`, from noise to image.
    ///
    /// # Errors
    /// No steps, or more than there are timesteps.
    pub(super) fn whole_timesteps(
        self,
        steps: usize,
        count: usize,
        offset: i64,
    ) -> Result<Vec<i64>, ScheduleError> {
        // Ties are rounded to even, as numpy rounds.
        let places = self.places(steps, count, offset)?;
        within(places.iter().map(|t| t.round_ties_even() as i64).collect(), count)
    }

    /// Timesteps of `steps` steps out of `count`, from noise to image; even spacing is not
    /// rounded.
    ///
    /// # Errors
    /// No steps, or more than there are timesteps.
    pub(super) fn timesteps(
        self,
        steps: usize,
        count: usize,
        offset: i64,
    ) -> Result<Vec<f64>, ScheduleError> {
        if self != Self::Linspace {
            let whole = self.whole_timesteps(steps, count, offset)?;
            return Ok(whole.into_iter().map(|t| t as f64).collect());
        }
        // Timesteps are f32 for the reference, and σ is read off where they are.
        let places = self.places(steps, count, offset)?;
        Ok(places.iter().map(|&t| f64::from(t as f32)).collect())
    }

    /// Whole timesteps for a multistep solver: where the end counts as one, it is the place
    /// after the last step, so that the timesteps are those of one more step without its last.
    ///
    /// `last` is the number of timesteps counted from the noisy end on that the solver may use
    /// (all of `count`, unless λ is limited).
    ///
    /// # Errors
    /// No steps, or more than there are timesteps.
    pub(super) fn multistep_timesteps(
        self,
        steps: usize,
        (count, last): (usize, usize),
        offset: i64,
    ) -> Result<Vec<i64>, ScheduleError> {
        if steps == 0 || steps >= last {
            return Err(ScheduleError::Steps { steps, least: 1, most: last.saturating_sub(1) });
        }
        if self == Self::Trailing {
            let stride = count as f64 / steps as f64;
            // A limited λ leaves fewer places, and with them fewer steps.
            let places = trailing(steps, last, stride).take_while(|&t| t >= 0);
            return within(places.collect(), count);
        }
        let mut timesteps = self.whole_timesteps(steps + 1, last, 0)?;
        timesteps.pop();
        let offset = if self == Self::Leading { offset } else { 0 };
        within(timesteps.into_iter().map(|t| t + offset).collect(), count)
    }

    /// Timesteps before rounding.
    fn places(self, steps: usize, count: usize, offset: i64) -> Result<Vec<f64>, ScheduleError> {
        if steps == 0 || steps > count {
            return Err(ScheduleError::Steps { steps, least: 1, most: count });
        }
        let places = 0..steps;
        Ok(match self {
            Self::Leading => {
                let stride = (count / steps) as i64;
                places.rev().map(|i| (i as i64 * stride + offset) as f64).collect()
            }
            Self::Linspace => {
                let stride = (count - 1) as f64 / (steps.max(2) - 1) as f64;
                places.rev().map(|i| i as f64 * stride).collect()
            }
            Self::Trailing => {
                let stride = count as f64 / steps as f64;
                trailing(steps, count, stride).map(|t| t as f64).collect()
            }
        })
    }
}

/// Multiples of the stride from above. numpy's `arange` goes by the difference of its first two
/// numbers, which decides where a place falls between two timesteps.
fn trailing(steps: usize, last: usize, stride: f64) -> impl Iterator<Item = i64> {
    let first = last as f64;
    let difference = (first - stride) - first;
    (0..steps).map(move |i| (first + i as f64 * difference).round_ties_even() as i64 - 1)
}

fn within(timesteps: Vec<i64>, count: usize) -> Result<Vec<i64>, ScheduleError> {
    match timesteps.iter().find(|&&t| t < 0 || t >= count as i64) {
        Some(&timestep) => Err(ScheduleError::Timestep { timestep, last: count - 1 }),
        None => Ok(timesteps),
    }
}
