//! Keeps the cross-attention maps of chosen words, per head and step, for a batch of images that
//! each have a prompt of their own.

use std::collections::{BTreeMap, HashSet};

use ndarray::Array5;
use tch::Tensor;

use super::{Moment, Tap, TapError};
use crate::measure::record::WordLayer;
use crate::site::{Branch, Site};

/// Watches `*.cross.probs` and keeps, of the conditional branch, the mean over each word's tokens.
#[derive(Debug)]
pub struct WordRecorder {
    /// [n, tokens, words]: the share of each token in each word's map.
    mixing: Tensor,
    sites: HashSet<String>,
    /// Rows and columns of the latent grid.
    grid: [i64; 2],
    by_site: BTreeMap<String, usize>,
    layers: Vec<WordLayer>,
}

impl WordRecorder {
    /// Watches `sites` for latents of `grid` rows and columns; `words` has, for each image, the
    /// positions of each of its words' tokens in a context of `tokens` tokens. Images with fewer
    /// words than others have maps of zeros in the places that are left.
    pub fn new(
        words: &[Vec<Vec<usize>>],
        tokens: usize,
        sites: impl IntoIterator<Item = String>,
        grid: [i64; 2],
    ) -> Self {
        let most = words.iter().map(Vec::len).max().unwrap_or(0);
        let mut mixing = vec![0.0_f32; words.len() * tokens * most];
        for (image, of_image) in words.iter().enumerate() {
            for (word, positions) in of_image.iter().enumerate() {
                for &position in positions.iter().filter(|&&position| position < tokens) {
                    mixing[(image * tokens + position) * most + word] =
                        1.0 / positions.len() as f32;
                }
            }
        }
        let shape = [words.len() as i64, tokens as i64, most as i64];
        Self {
            mixing: Tensor::from_slice(&mixing).view(shape),
            sites: sites.into_iter().collect(),
            grid,
            by_site: BTreeMap::new(),
            layers: Vec::new(),
        }
    }

    /// Hands over what was recorded, one entry a site in the order of the U-Net.
    pub fn finish(self) -> Vec<WordLayer> {
        self.layers
    }
}

impl Tap for WordRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        if at.branch != Some(Branch::Cond) {
            return Ok(None);
        }
        let unusable = |problem: String| TapError::Unusable { site: site.name.clone(), problem };
        let by = site.divisor();
        let [rows, columns] = self.grid.map(|side| (side + by - 1) / by);
        // [n, heads, positions, tokens] × [n, 1, tokens, words] → [n, words, heads, rows, columns]
        let mixing = self.mixing.to_device(x.device()).unsqueeze(1);
        let maps = x.to_kind(tch::Kind::Float).f_matmul(&mixing);
        let maps = maps.map_err(|e| unusable(e.to_string()))?.permute([0, 3, 1, 2]);
        let maps = maps.to_device(tch::Device::Cpu).contiguous().unflatten(3, [rows, columns]);
        let shape: Vec<usize> = maps.size().iter().map(|&n| n as usize).collect();
        let values = Vec::<f32>::try_from(maps.contiguous().view([-1]))
            .map_err(|e: tch::TchError| unusable(e.to_string()))?;
        let maps =
            Array5::from_shape_vec((shape[0], shape[1], shape[2], shape[3], shape[4]), values)
                .map_err(|e| unusable(e.to_string()))?;
        let next = self.layers.len();
        let layer = *self.by_site.entry(site.name.clone()).or_insert(next);
        if layer == next {
            self.layers.push(WordLayer { site: site.name.clone(), per_step: Vec::new() });
        }
        self.layers[layer].per_step.push(maps);
        Ok(None)
    }
}
