//! How a change of one number of the latent spreads in the image.

use ndarray::{Array2, ArrayView3, Axis};
use serde::{Deserialize, Serialize};

use crate::measure::impulse::radius_holding;
use crate::measure::{Bootstrap, Undefined};
use crate::table::LatentImpulseRow;

/// Shares of the energy whose radius is measured, with the names of the measures.
const SHARES: [(&str, f64); 2] = [("radius_50", 0.5), ("radius_90", 0.9)];
const COLOURS: [&str; 3] = ["red", "green", "blue"];

/// The response to a change of one channel, in one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Impulse {
    /// Which image, from 0.
    pub image: usize,
    /// Channel of the latent.
    pub channel: usize,
    /// By how much it was changed.
    pub amount: f64,
    /// Mean radii over the cells that were touched; none where no touch changed anything.
    pub radii: Option<[f64; 2]>,
    /// Root mean squared change over the image, the mean over cells.
    pub rms: f64,
    /// Cells that were touched one by one.
    pub cells: usize,
    /// Mean change of red, green and blue where all cells are changed at once.
    pub colours: [f64; 3],
}

impl Impulse {
    /// Measures responses [channel, row, column], pixels from 0 to 1: `touched` are those to one
    /// cell each, with the cell's centre in pixels, `all` that to all cells at once.
    ///
    /// # Errors
    /// No responses, or numbers that are not finite.
    pub fn of(
        (image, channel, amount): (usize, usize, f64),
        touched: &[(ArrayView3<'_, f32>, (f64, f64))],
        all: ArrayView3<'_, f32>,
    ) -> Result<Self, Undefined> {
        if touched.is_empty() || all.dim().0 != COLOURS.len() {
            return Err(Undefined::Empty);
        }
        let (mut sums, mut known, mut rms) = ([0.0; 2], 0, 0.0);
        for (response, centre) in touched {
            let energy: Array2<f64> = response.mapv(|x| f64::from(x).powi(2)).sum_axis(Axis(0));
            rms += (energy.sum() / response.len() as f64).sqrt();
            let radii = SHARES.map(|(_, share)| radius_holding(energy.view(), *centre, share));
            match radii {
                [Ok(half), Ok(most)] => {
                    sums = [sums[0] + half, sums[1] + most];
                    known += 1;
                }
                [Err(Undefined::ZeroMass), _] => {}
                [Err(other), _] | [_, Err(other)] => return Err(other),
            }
        }
        let mean = |channel: ndarray::ArrayView2<'_, f32>| {
            channel.iter().map(|&x| f64::from(x)).sum::<f64>() / channel.len() as f64
        };
        let colours = [0, 1, 2].map(|colour| mean(all.index_axis(Axis(0), colour)));
        Ok(Self {
            image,
            channel,
            amount,
            radii: (known > 0).then(|| sums.map(|sum| sum / f64::from(known))),
            rms: rms / touched.len() as f64,
            cells: touched.len(),
            colours,
        })
    }

    fn values(&self) -> Vec<(&'static str, Option<f64>)> {
        let radii = SHARES.iter().enumerate();
        let mut values: Vec<(&str, Option<f64>)> =
            radii.map(|(i, (name, _))| (*name, self.radii.map(|radii| radii[i]))).collect();
        values.push(("rms", Some(self.rms)));
        values.extend(COLOURS.into_iter().zip(self.colours.map(Some)));
        values
    }
}

/// One row per channel and measure.
pub(super) fn rows(run: &str, impulses: &[Impulse]) -> Result<Vec<LatentImpulseRow>, Undefined> {
    let channels = impulses.iter().map(|impulse| impulse.channel + 1).max().unwrap_or(0);
    let mut rows = Vec::new();
    for channel in 0..channels {
        let own: Vec<&Impulse> = impulses.iter().filter(|i| i.channel == channel).collect();
        let Some(first) = own.first() else { continue };
        for (place, (measure, _)) in first.values().into_iter().enumerate() {
            let values: Vec<f64> =
                own.iter().filter_map(|impulse| impulse.values()[place].1).collect();
            if values.is_empty() {
                continue;
            }
            let interval = match Bootstrap::default().mean(&values) {
                Ok(found) => Some((found.low, found.high)),
                Err(Undefined::TooFew { .. }) => None,
                Err(other) => return Err(other),
            };
            rows.push(LatentImpulseRow {
                run: run.to_owned(),
                channel: channel as u32,
                amount: first.amount,
                measure: measure.to_owned(),
                value: values.iter().sum::<f64>() / values.len() as f64,
                low: interval.map(|(low, _)| low),
                high: interval.map(|(_, high)| high),
                images: values.len() as u32,
                cells: first.cells as u32,
            });
        }
    }
    Ok(rows)
}
