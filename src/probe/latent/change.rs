//! What is done to latents before they are decoded.

use ndarray::{Array4, ArrayView4, Axis};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::measure::{Undefined, blur};

/// A change of latents [n, c, h, w], scaled as the denoiser has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// None.
    None,
    /// Each number is moved to the nearest of 2^bits levels, evenly spaced between the extremes of
    /// its channel, both of which are levels.
    Quantised {
        /// Bits a number, from 1 to 16.
        bits: u32,
    },
    /// Each channel is blurred.
    Blurred {
        /// Standard deviation of the Gaussian in cells.
        sigma: f64,
    },
    /// Independent normal noise is added.
    Noised {
        /// Its standard deviation; sampling starts from noise of standard deviation 1.
        sigma: f64,
    },
}

/// The least and the greatest value of each channel.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelRanges(Vec<(f32, f32)>);

impl ChannelRanges {
    /// Those of some latents [n, c, h, w].
    ///
    /// # Errors
    /// [`Undefined::Empty`], [`Undefined::NotFinite`].
    pub fn of(latents: ArrayView4<'_, f32>) -> Result<Self, Undefined> {
        if latents.is_empty() {
            return Err(Undefined::Empty);
        }
        if latents.iter().any(|value| !value.is_finite()) {
            return Err(Undefined::NotFinite);
        }
        let extremes = |channel: ndarray::ArrayView3<'_, f32>| {
            channel.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| {
                (low.min(value), high.max(value))
            })
        };
        Ok(Self(latents.axis_iter(Axis(1)).map(extremes).collect()))
    }
}

impl Change {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Change::None => "none",
            Change::Quantised { .. } => "quantised",
            Change::Blurred { .. } => "blurred",
            Change::Noised { .. } => "noised",
        }
    }

    /// Bits, cells, or standard deviations; 0 for none.
    pub fn amount(self) -> f64 {
        match self {
            Change::None => 0.0,
            Change::Quantised { bits } => bits.into(),
            Change::Blurred { sigma } | Change::Noised { sigma } => sigma,
        }
    }

    /// The changed latents. `first` is the number of the first image: noise is a function of the
    /// seed and the image's number, whatever the batches.
    ///
    /// # Errors
    /// A standard deviation below 0; ranges of another number of channels.
    pub fn apply(
        self,
        latents: ArrayView4<'_, f32>,
        ranges: &ChannelRanges,
        (seed, first): (u64, u64),
    ) -> Result<Array4<f32>, Undefined> {
        let mut changed = latents.to_owned();
        match self {
            Change::None => {}
            Change::Quantised { bits } => quantise(&mut changed, ranges, bits)?,
            Change::Blurred { sigma } => {
                for mut image in changed.outer_iter_mut() {
                    for mut channel in image.outer_iter_mut() {
                        let blurred = blur::gaussian(channel.view(), sigma)?;
                        channel.assign(&blurred);
                    }
                }
            }
            Change::Noised { sigma } => {
                for (image, number) in changed.outer_iter_mut().zip(first..) {
                    let mut random = ChaCha8Rng::seed_from_u64(seed.wrapping_add(number));
                    for value in image {
                        let noise: f64 = StandardNormal.sample(&mut random);
                        *value += (sigma * noise) as f32;
                    }
                }
            }
        }
        Ok(changed)
    }
}

fn quantise(
    latents: &mut Array4<f32>,
    ChannelRanges(ranges): &ChannelRanges,
    bits: u32,
) -> Result<(), Undefined> {
    const BITS: std::ops::RangeInclusive<u32> = 1..=16;
    if !BITS.contains(&bits) {
        let allowed = "from 1 to 16";
        return Err(Undefined::Parameter { name: "bits", got: bits.into(), allowed });
    }
    if latents.dim().1 != ranges.len() {
        return Err(Undefined::Length { expected: ranges.len(), got: latents.dim().1 });
    }
    let steps = ((1_u32 << bits) - 1) as f32;
    for (mut channel, &(low, high)) in latents.axis_iter_mut(Axis(1)).zip(ranges) {
        let width = high - low;
        if width > 0.0 {
            channel.mapv_inplace(|x| {
                let level = ((x - low) / width * steps).round().clamp(0.0, steps);
                low + level * (width / steps)
            });
        }
    }
    Ok(())
}
