//! What is done to images before the judge sees them, to learn where it begins to fail.

use image::imageops::{FilterType, blur, resize};
use image::{Rgb, RgbImage};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A change of an image that a judge should bear.
pub enum Distortion<'a> {
    /// None.
    None,
    /// Independent normal noise on every channel of every pixel.
    Noise {
        /// Its standard deviation as a fraction of full white.
        sigma: f32,
    },
    /// A Gaussian blur.
    Blur {
        /// Its standard deviation as a fraction of the image width.
        sigma: f32,
    },
    /// Scaled down and up again.
    Resample {
        /// Part of the width that is left in between.
        factor: f32,
    },
    /// Anything else, for example the way through an autoencoder and back.
    Custom {
        /// Its name in tables.
        name: String,
        /// What it does.
        apply: &'a (dyn Fn(RgbImage) -> RgbImage + Sync),
    },
}

impl Distortion<'_> {
    /// Its name in tables: "noise 0.05".
    pub fn name(&self) -> String {
        match self {
            Distortion::None => "none".into(),
            Distortion::Noise { sigma } => format!("noise {sigma}"),
            Distortion::Blur { sigma } => format!("blur {sigma}"),
            Distortion::Resample { factor } => format!("resample {factor}"),
            Distortion::Custom { name, .. } => name.clone(),
        }
    }

    /// The image so changed. Noise is drawn from `seed`; the rest does not depend on it.
    pub fn apply(&self, image: RgbImage, seed: u64) -> RgbImage {
        match self {
            Distortion::None => image,
            Distortion::Noise { sigma } => noisy(image, *sigma, seed),
            Distortion::Blur { sigma } => {
                let pixels = sigma * image.width() as f32;
                if pixels > 0.0 { blur(&image, pixels) } else { image }
            }
            Distortion::Resample { factor } => {
                let (w, h) = image.dimensions();
                let less = |n: u32| ((n as f32 * factor).round() as u32).max(1);
                let small = resize(&image, less(w), less(h), FilterType::Triangle);
                resize(&small, w, h, FilterType::Triangle)
            }
            Distortion::Custom { apply, .. } => apply(image),
        }
    }
}

fn noisy(mut image: RgbImage, sigma: f32, seed: u64) -> RgbImage {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for Rgb(channels) in image.pixels_mut() {
        for v in channels {
            let z: f32 = StandardNormal.sample(&mut rng);
            *v = (f32::from(*v) + 255.0 * sigma * z).round().clamp(0.0, 255.0) as u8;
        }
    }
    image
}
