//! Gaussian noise that depends on seeds alone: the same on every device and for every batch
//! size, since each image draws from a stream of its own.

use rand::SeedableRng;
use rand_chacha::ChaCha12Rng;
use rand_distr::{Distribution, StandardNormal};
use tch::Tensor;

/// One stream of noise an image.
#[derive(Clone, Debug)]
pub struct NoiseSource {
    streams: Vec<ChaCha12Rng>,
}

impl NoiseSource {
    /// One image a seed.
    pub fn new(seeds: &[u64]) -> Self {
        Self { streams: seeds.iter().map(|&seed| ChaCha12Rng::seed_from_u64(seed)).collect() }
    }

    /// Unit noise, one image a seed, each of the given shape: [n, shape...], f32 on the CPU.
    pub fn draw(&mut self, shape: &[i64]) -> Tensor {
        let numel: i64 = shape.iter().product();
        let mut values = Vec::with_capacity(numel as usize * self.streams.len());
        for stream in &mut self.streams {
            values.extend((0..numel).map(|_| -> f32 { StandardNormal.sample(stream) }));
        }
        let mut full = vec![self.streams.len() as i64];
        full.extend_from_slice(shape);
        Tensor::from_slice(&values).view(full.as_slice())
    }

    /// Noise of a batch's shape, kind and device; the batch must have one image a seed.
    pub fn like(&mut self, x: &Tensor) -> Tensor {
        self.draw(&x.size()[1..]).to_kind(x.kind()).to_device(x.device())
    }
}
