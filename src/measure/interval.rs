//! A number with its uncertainty.

use std::fmt;

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::statistics::Statistics;

use super::Undefined;

/// The confidence that intervals are given at unless a caller asks for another.
pub const DEFAULT_CONFIDENCE: f64 = 0.95;

/// Fewest decimals of a printed estimate, and the most that a narrow interval may ask for.
const DECIMALS: (usize, usize) = (2, 6);

/// A mean (or rate, or difference) and the interval that covers it.
///
/// `{}` prints `0.94 ± 0.02`, or `0.94 [0.86, 0.97]` when the two sides differ at the digits
/// printed; `{:#}` adds `(n = 200, 95 %)`. A precision, `{:.3}`, sets the decimals; otherwise
/// there are at least two and enough to show that the interval is not zero wide.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The point estimate.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// How many independent units it rests on: prompts when resampled by prompt, else values.
    pub n: usize,
    /// Probability that intervals made this way cover the truth, such as 0.95.
    pub confidence: f64,
}

impl Estimate {
    /// The mean of independent values with Student's t interval.
    ///
    /// # Errors
    /// Fewer than two values, a value that is not finite, a confidence outside (0, 1).
    pub fn of_mean(values: &[f64], confidence: f64) -> Result<Self, Undefined> {
        check_values(values, 2)?;
        check_confidence(confidence)?;
        let n = values.len();
        let mean = values.mean();
        let t = StudentsT::new(0.0, 1.0, (n - 1) as f64)
            .map_err(|_| Undefined::TooFew { needed: 2, got: n })?
            .inverse_cdf(0.5 + confidence / 2.0);
        let half = t * values.std_dev() / (n as f64).sqrt();
        Ok(Self { mean, low: mean - half, high: mean + half, n, confidence })
    }

    /// Whether a value lies in the interval, ends included.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Half the interval's width.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Decimals at which the half width has a digit that is not zero, within [`DECIMALS`].
    fn decimals(&self) -> usize {
        let half = self.half_width();
        if !(half.is_finite() && half > 0.0) {
            return DECIMALS.0;
        }
        ((-half.log10()).ceil().max(0.0) as usize).clamp(DECIMALS.0, DECIMALS.1)
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or_else(|| self.decimals());
        let print = |x: f64| format!("{x:.decimals$}");
        let (below, above) = (print(self.mean - self.low), print(self.high - self.mean));
        if below == above {
            write!(f, "{} ± {}", print(self.mean), above)?;
        } else {
            write!(f, "{} [{}, {}]", print(self.mean), print(self.low), print(self.high))?;
        }
        if f.alternate() {
            write!(f, " (n = {}, {} %)", self.n, percent(self.confidence))?;
        }
        Ok(())
    }
}

/// So many of so many: a rate that knows its denominator.
///
/// Prints `37/40`; [`Proportion::wilson`] gives the interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proportion {
    successes: usize,
    trials: usize,
}

impl Proportion {
    /// `successes` out of `trials`.
    ///
    /// # Errors
    /// [`Undefined::Empty`] without trials; [`Undefined::Length`] when there are more successes
    /// than trials.
    pub fn new(successes: usize, trials: usize) -> Result<Self, Undefined> {
        if trials == 0 {
            return Err(Undefined::Empty);
        }
        if successes > trials {
            return Err(Undefined::Length { expected: trials, got: successes });
        }
        Ok(Self { successes, trials })
    }

    /// Counts the trials that succeeded.
    ///
    /// # Errors
    /// [`Undefined::Empty`] without trials.
    pub fn of(outcomes: impl IntoIterator<Item = bool>) -> Result<Self, Undefined> {
        let (mut successes, mut trials) = (0, 0);
        for outcome in outcomes {
            trials += 1;
            successes += usize::from(outcome);
        }
        Self::new(successes, trials)
    }

    /// How many succeeded.
    pub fn successes(&self) -> usize {
        self.successes
    }

    /// How many there were.
    pub fn trials(&self) -> usize {
        self.trials
    }

    /// Share of successes, in `[0, 1]`.
    pub fn rate(&self) -> f64 {
        self.successes as f64 / self.trials as f64
    }

    /// Wilson's score interval (Wilson 1927), for independent trials. It stays within `[0, 1]`
    /// and has width also at 0 and at all. Several images of one prompt are not independent:
    /// use [`super::Bootstrap::cluster_mean`] for them.
    ///
    /// # Errors
    /// [`Undefined::Parameter`] when the confidence is not in (0, 1).
    pub fn wilson(&self, confidence: f64) -> Result<Estimate, Undefined> {
        check_confidence(confidence)?;
        let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
        let (n, p) = (self.trials as f64, self.rate());
        let shrink = 1.0 + z * z / n;
        let centre = (p + z * z / (2.0 * n)) / shrink;
        let half = z / shrink * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let low = if self.successes == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if self.successes == self.trials { 1.0 } else { (centre + half).min(1.0) };
        Ok(Estimate { mean: p, low, high, n: self.trials, confidence })
    }

    /// For 0 of n: the largest rate that would still show none with probability
    /// `1 − confidence`, that is `1 − (1 − confidence)^(1/n)` (about 3/n at 95 %).
    /// `None` when there were successes.
    ///
    /// # Errors
    /// [`Undefined::Parameter`] when the confidence is not in (0, 1).
    pub fn upper_bound_if_none(&self, confidence: f64) -> Result<Option<f64>, Undefined> {
        check_confidence(confidence)?;
        let bound = 1.0 - (1.0 - confidence).powf(1.0 / self.trials as f64);
        Ok((self.successes == 0).then_some(bound))
    }

    /// The rate in words: `37/40 = 0.93 [0.80, 0.97]`, or `0/40, below 0.072 (95 %)`.
    ///
    /// # Errors
    /// As [`Proportion::wilson`].
    pub fn describe(&self, confidence: f64) -> Result<String, Undefined> {
        match self.upper_bound_if_none(confidence)? {
            Some(bound) => Ok(format!("{self}, below {bound:.3} ({} %)", percent(confidence))),
            None => Ok(format!("{self} = {}", self.wilson(confidence)?)),
        }
    }
}

impl fmt::Display for Proportion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.successes, self.trials)
    }
}

/// A confidence as percent without needless digits: 95, 99.9.
fn percent(confidence: f64) -> f64 {
    (confidence * 1e4).round() / 1e2
}

pub(super) fn check_confidence(confidence: f64) -> Result<(), Undefined> {
    if confidence > 0.0 && confidence < 1.0 {
        return Ok(());
    }
    let allowed = "above 0 and below 1, such as 0.95";
    Err(Undefined::Parameter { name: "the confidence", got: confidence, allowed })
}

/// At least `needed` values, all finite.
pub(super) fn check_values(values: &[f64], needed: usize) -> Result<(), Undefined> {
    if values.is_empty() {
        return Err(Undefined::Empty);
    }
    if values.len() < needed {
        return Err(Undefined::TooFew { needed, got: values.len() });
    }
    if values.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(Undefined::NotFinite) }
}
