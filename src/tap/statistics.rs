//! Records a few numbers of each tensor.

use std::collections::{BTreeSet, HashSet};

use tch::{Kind, Tensor};

use super::{Moment, Tap, TapError};
use crate::site::{Branch, Site};

/// Statistics of one image's tensor at one branch and step.
#[derive(Clone, Debug, PartialEq)]
pub struct StatisticsRow {
    /// Image of the run.
    pub sample: usize,
    /// When in the denoising loop; `None` at sites outside it.
    pub at: Option<Moment>,
    /// Half of guidance, if the site has one.
    pub branch: Option<Branch>,
    /// Name of the site.
    pub site: String,
    /// Mean.
    pub mean: f64,
    /// Standard deviation, over n.
    pub std: f64,
    /// Smallest number.
    pub min: f64,
    /// Largest number.
    pub max: f64,
    /// Euclidean norm.
    pub norm: f64,
    /// Excess kurtosis after Fisher, m₄ / m₂² − 3 with moments over n: 0 for a normal
    /// distribution, large where few values stand far out. NaN where all values are equal.
    pub kurtosis: f64,
    /// Share of values that are exactly 0, in [0, 1].
    pub zeros: f64,
}

/// Takes statistics at chosen sites and steps; memory does not grow with the tensors.
#[derive(Debug)]
pub struct StatisticsRecorder {
    sites: HashSet<String>,
    steps: Option<BTreeSet<usize>>,
    rows: Vec<StatisticsRow>,
}

impl StatisticsRecorder {
    /// Looks at the named sites at the given steps (all if `None`). Sites outside the
    /// denoising loop are looked at whatever the steps.
    pub fn new(sites: impl IntoIterator<Item = String>, steps: Option<BTreeSet<usize>>) -> Self {
        Self { sites: sites.into_iter().collect(), steps, rows: Vec::new() }
    }

    /// One row a visit and image, in the order of the run.
    pub fn into_rows(self) -> Vec<StatisticsRow> {
        self.rows
    }

    /// Those since the last time.
    pub(super) fn take_rows(&mut self) -> Vec<StatisticsRow> {
        std::mem::take(&mut self.rows)
    }
}

impl Tap for StatisticsRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let skipped = |steps: &BTreeSet<usize>| !steps.contains(&at.step);
        if site.is_per_step() && self.steps.as_ref().is_some_and(skipped) {
            return Ok(None);
        }
        let unusable = |problem: String| TapError::Unusable { site: site.name.clone(), problem };
        let images = x.size().first().copied().unwrap_or(1);
        let x = x.to_kind(Kind::Float).reshape([images, -1]);
        for sample in 0..images {
            let moments = Moments::of_tensor(&x.get(sample))
                .map_err(|error| unusable(error.to_string()))?
                .ok_or_else(|| unusable("there is no number in this tensor".into()))?;
            self.rows.push(moments.row(site, at, sample as usize));
        }
        Ok(None)
    }
}

/// How many numbers are fetched from a tensor at a time.
const BLOCK: usize = 1 << 16;
/// How many numbers share a mean before they are joined with the rest: few enough to stay in the
/// nearest cache, so that the second look at them costs no memory traffic.
const CHUNK: usize = 1 << 11;

/// Sums over some numbers, from which the statistics follow. Taken in one pass over memory;
/// powers are of differences from a mean, so that a large mean does not drown them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moments {
    count: f64,
    zeros: f64,
    min: f64,
    max: f64,
    sum: f64,
    /// Of the numbers themselves.
    squares: f64,
    /// Second, third and fourth powers of the differences from the mean.
    central: [f64; 3],
}

impl Moments {
    /// Of a tensor of one axis; none if it is empty.
    fn of_tensor(x: &Tensor) -> Result<Option<Self>, tch::TchError> {
        let length = x.numel();
        let mut block = vec![0.0_f32; BLOCK.min(length)];
        let mut all: Option<Self> = None;
        for start in (0..length).step_by(BLOCK) {
            let taken = BLOCK.min(length - start);
            x.f_narrow(0, start as i64, taken as i64)?.f_copy_data(&mut block, taken)?;
            let of_block = Self::of_numbers(&block[..taken]);
            all = all.map_or(of_block, |all| of_block.map(|block| all.joined(block)));
        }
        Ok(all)
    }

    /// Of some numbers; none if there are none.
    pub fn of_numbers(numbers: &[f32]) -> Option<Self> {
        numbers.chunks(CHUNK).map(Self::of_chunk).reduce(Self::joined)
    }

    /// The statistics that follow, of one image's tensor or a part of it.
    pub fn row(&self, site: &Site, at: Moment, sample: usize) -> StatisticsRow {
        StatisticsRow {
            sample,
            at: site.is_per_step().then_some(at),
            branch: at.branch,
            site: site.name.clone(),
            mean: self.mean(),
            std: (self.central[0] / self.count).sqrt(),
            min: self.min,
            max: self.max,
            norm: self.squares.sqrt(),
            kurtosis: self.kurtosis(),
            zeros: self.zeros / self.count,
        }
    }

    fn of_chunk(chunk: &[f32]) -> Self {
        let count = chunk.len() as f64;
        let sum: f64 = chunk.iter().copied().map(f64::from).sum();
        let mean = sum / count;
        let mut moments = Self {
            count,
            zeros: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum,
            squares: 0.0,
            central: [0.0; 3],
        };
        for &number in chunk {
            let number = f64::from(number);
            let difference = number - mean;
            let square = difference * difference;
            moments.zeros += f64::from(u8::from(number == 0.0));
            moments.min = smaller(moments.min, number);
            moments.max = -smaller(-moments.max, -number);
            moments.squares += number * number;
            moments.central[0] += square;
            moments.central[1] += square * difference;
            moments.central[2] += square * square;
        }
        moments
    }

    /// Of both together (Pébay 2008, Formulas for robust, one-pass parallel computation of
    /// covariances and arbitrary-order statistical moments, section 2).
    fn joined(self, other: Self) -> Self {
        let (a, b) = (self.count, other.count);
        let n = a + b;
        let apart = other.mean() - self.mean();
        let [a2, a3, a4] = self.central;
        let [b2, b3, b4] = other.central;
        let second = a2 + b2 + apart.powi(2) * a * b / n;
        let third = a3
            + b3
            + apart.powi(3) * a * b * (a - b) / n.powi(2)
            + 3.0 * apart * (a * b2 - b * a2) / n;
        let fourth = a4
            + b4
            + apart.powi(4) * a * b * (a * a - a * b + b * b) / n.powi(3)
            + 6.0 * apart.powi(2) * (a * a * b2 + b * b * a2) / n.powi(2)
            + 4.0 * apart * (a * b3 - b * a3) / n;
        Self {
            count: n,
            zeros: self.zeros + other.zeros,
            min: smaller(self.min, other.min),
            max: -smaller(-self.max, -other.max),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
            central: [second, third, fourth],
        }
    }

    fn mean(&self) -> f64 {
        self.sum / self.count
    }

    fn kurtosis(&self) -> f64 {
        let [second, _, fourth] = self.central;
        self.count * fourth / second.powi(2) - 3.0
    }
}

/// The smaller of two numbers; NaN if either is, where `f64::min` would pass over it.
fn smaller(a: f64, b: f64) -> f64 {
    if b < a || b.is_nan() { b } else { a }
}
