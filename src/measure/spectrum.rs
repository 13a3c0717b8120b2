//! Fields such as latents by spatial frequency: power, agreement of two fields in a band, and what
//! noise alone lets through.
//!
//! Frequencies are radial, in cycles over the smaller side of the field. Bands are octaves: the
//! mean (0), then 1, 2, 3–4, 5–8 cycles and so on up to the highest that both axes have; corners
//! beyond that are left out.

use ndarray::{Array2, ArrayView2, Axis, Zip};
use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use serde::{Deserialize, Serialize};

use super::Undefined;

/// Coefficients of a field, [rows, columns], scaled so that white noise of variance σ² has power
/// σ² at every frequency.
pub type Spectrum = Array2<Complex<f64>>;

/// The discrete Fourier transform of a field, unitary.
pub fn transform(field: ArrayView2<'_, f64>) -> Spectrum {
    let mut spectrum = field.mapv(|v| Complex::new(v, 0.0));
    let mut planner = FftPlanner::new();
    for axis in [Axis(1), Axis(0)] {
        let fft = planner.plan_fft_forward(spectrum.len_of(axis));
        for mut lane in spectrum.lanes_mut(axis) {
            let mut values = lane.to_vec();
            fft.process(&mut values);
            lane.iter_mut().zip(values).for_each(|(to, from)| *to = from);
        }
    }
    let scale = 1.0 / (field.len() as f64).sqrt();
    spectrum.mapv_into(|v| v * scale)
}

/// Radial octaves of fields of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Bands {
    /// Lowest and highest frequency of each band, in cycles over the smaller side.
    pub limits: Vec<(u32, u32)>,
    of: Array2<Option<usize>>,
}

impl Bands {
    /// The bands of fields of so many rows and columns.
    pub fn octaves((rows, columns): (usize, usize)) -> Self {
        let smaller = rows.min(columns);
        let highest = (smaller / 2) as u32;
        let mut limits = vec![(0, 0)];
        let (mut low, mut high) = (1, 1);
        while low <= highest {
            limits.push((low, high.min(highest)));
            (low, high) = (high + 1, 2 * high);
        }
        let cycles = |i: usize, of: usize| i.min(of - i) as f64 / of as f64 * smaller as f64;
        let band = |(row, column): (usize, usize)| {
            let radius = cycles(row, rows).hypot(cycles(column, columns)).round() as u32;
            limits.iter().position(|&(low, high)| (low..=high).contains(&radius))
        };
        let of = Array2::from_shape_fn((rows, columns), band);
        Self { limits, of }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.limits.len()
    }

    /// "0", "1", "3–4": cycles over the smaller side.
    pub fn label(&self, band: usize) -> String {
        match self.limits.get(band) {
            Some((low, high)) if low == high => low.to_string(),
            Some((low, high)) => format!("{low}–{high}"),
            None => String::new(),
        }
    }

    /// Sums values over each band.
    fn sums(&self, values: impl Fn((usize, usize)) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.count()];
        for (at, band) in self.of.indexed_iter() {
            if let Some(band) = band {
                sums[*band] += values(at);
            }
        }
        sums
    }

    fn check(&self, dim: (usize, usize)) -> Result<(), Undefined> {
        if self.of.dim() == dim {
            return Ok(());
        }
        Err(Undefined::Shape { expected: self.of.dim(), got: dim })
    }
}

/// How a field agrees with another in one band.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Re Σ X Ȳ / √(Σ|X|² Σ|Y|²), in [−1, 1]: whether they have the same pattern, whatever its
    /// strength.
    pub coherence: f64,
    /// Re Σ X Ȳ / Σ|Y|²: how much of the other's pattern the first has; 1 where they are equal.
    pub share: f64,
}

/// Agreement of a field with another, over all channels, in each band; none where one of them has
/// no power.
///
/// # Errors
/// Another number of channels, or spectra of another size than the bands.
pub fn agreement(
    x: &[Spectrum],
    y: &[Spectrum],
    bands: &Bands,
) -> Result<Vec<Option<Agreement>>, Undefined> {
    if x.len() != y.len() {
        return Err(Undefined::Length { expected: y.len(), got: x.len() });
    }
    let mut sums = vec![[0.0; 3]; bands.count()];
    for (x, y) in x.iter().zip(y) {
        bands.check(x.dim())?;
        bands.check(y.dim())?;
        let of_channel = [
            bands.sums(|at| (x[at] * y[at].conj()).re),
            bands.sums(|at| x[at].norm_sqr()),
            bands.sums(|at| y[at].norm_sqr()),
        ];
        for (band, sums) in sums.iter_mut().enumerate() {
            sums.iter_mut().zip(&of_channel).for_each(|(sum, more)| *sum += more[band]);
        }
    }
    let of_band = |[both, of_x, of_y]: [f64; 3]| {
        let known = of_x > 0.0 && of_y > 0.0 && both.is_finite();
        known.then(|| Agreement { coherence: both / (of_x * of_y).sqrt(), share: both / of_y })
    };
    Ok(sums.into_iter().map(of_band).collect())
}

/// Power of a field in each band, summed over its channels, over the number of its places: with the
/// corners the mean of the squares (Parseval).
///
/// # Errors
/// Spectra of another size than the bands.
pub fn band_power(field: &[Spectrum], bands: &Bands) -> Result<Vec<f64>, Undefined> {
    let mut power = vec![0.0; bands.count()];
    for channel in field {
        bands.check(channel.dim())?;
        let of_channel = bands.sums(|at| channel[at].norm_sqr());
        let places = channel.len() as f64;
        power.iter_mut().zip(of_channel).for_each(|(sum, more)| *sum += more / places);
    }
    Ok(power)
}

/// What the signal-to-noise ratio alone predicts: data that are Gaussian, each frequency of each
/// channel by itself, with this power.
///
/// Of x0 + σ ε the best guess at a coefficient of x0 is S/(S + σ²) of the coefficient (Wiener
/// 1949); its coherence with x0 over a band is √(Σ S²/(S + σ²) / Σ S), which is √(S/(S + σ²)) for
/// one frequency. A deterministic sampler of such data guesses the right pattern from its first
/// step on, and the same √(S/(S + σ²)) is how much of the end's strength its guess has there.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseCrossing {
    /// Mean power at each frequency, one array a channel.
    power: Vec<Array2<f64>>,
    bands: Bands,
}

impl NoiseCrossing {
    /// Of the mean power of some fields (deviations from their mean field), each a list of
    /// channels.
    ///
    /// # Errors
    /// Fewer than two fields, or fields of different sizes or numbers of channels.
    pub fn of(fields: &[Vec<Spectrum>], bands: &Bands) -> Result<Self, Undefined> {
        if fields.len() < 2 {
            return Err(Undefined::TooFew { needed: 2, got: fields.len() });
        }
        let channels = fields[0].len();
        let mut power = vec![Array2::<f64>::zeros(bands.of.dim()); channels];
        for field in fields {
            if field.len() != channels {
                return Err(Undefined::Length { expected: channels, got: field.len() });
            }
            for (sum, channel) in power.iter_mut().zip(field) {
                bands.check(channel.dim())?;
                Zip::from(sum).and(channel).for_each(|sum, v| *sum += v.norm_sqr());
            }
        }
        let count = fields.len() as f64;
        power.iter_mut().for_each(|power| *power /= count);
        Ok(Self { power, bands: bands.clone() })
    }

    /// Mean power of a coefficient in each band.
    pub fn power(&self) -> Vec<f64> {
        let counts = self.bands.sums(|_| 1.0);
        let sums = self.sums(|power| power);
        let channels = self.power.len() as f64;
        sums.into_iter().zip(counts).map(|(sum, count)| sum / (count * channels)).collect()
    }

    /// Coherence in each band at noise level σ; none in a band without power.
    pub fn coherence(&self, sigma: f64) -> Vec<Option<f64>> {
        let noise = sigma * sigma;
        let kept = self.sums(|s| if s > 0.0 { s * s / (s + noise) } else { 0.0 });
        let all = self.sums(|s| s);
        let of_band = |(kept, all): (f64, f64)| (all > 0.0).then(|| (kept / all).sqrt());
        kept.into_iter().zip(all).map(of_band).collect()
    }

    /// The noise level at which the coherence of each band comes to `threshold`, in (0, 1), as the
    /// noise falls.
    pub fn crossing(&self, threshold: f64) -> Vec<Option<f64>> {
        const HALVINGS: usize = 80;
        let at = |band: usize, log_sigma: f64| self.coherence(log_sigma.exp())[band];
        let of_band = |band: usize| {
            // Between e^±20 lies every level of any schedule.
            let (mut low, mut high) = (-20.0_f64, 20.0_f64);
            for _ in 0..HALVINGS {
                let middle = 0.5 * (low + high);
                if at(band, middle)? >= threshold { low = middle } else { high = middle }
            }
            Some(low.exp())
        };
        (0..self.bands.count()).map(of_band).collect()
    }

    fn sums(&self, of: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.bands.count()];
        for power in &self.power {
            let of_channel = self.bands.sums(|at| of(power[at]));
            sums.iter_mut().zip(of_channel).for_each(|(sum, more)| *sum += more);
        }
        sums
    }
}
