//! What a run's cross-attention was reduced to while it streamed by.

use ndarray::{Array4, Array5};

use crate::site::Branch;

/// Numbers of one attention map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapNumbers {
    /// Image of the run.
    pub sample: usize,
    /// Sampling step.
    pub step: usize,
    /// Timestep of the schedule.
    pub timestep: f64,
    /// Noise level.
    pub sigma: f64,
    /// Half of guidance.
    pub branch: Branch,
    /// Index into [`AttentionRecord::layers`].
    pub layer: usize,
    /// Head.
    pub head: usize,
    /// Position of the token in the prompt, 0 is the start token.
    pub token: usize,
    /// Mean probability over positions: the share of the layer's attention the token takes.
    pub mass: f64,
    /// Entropy in nats of the map, scaled to sum to one. NaN for a map of zeros, which has
    /// neither centre nor peak.
    pub entropy: f64,
    /// Centre of mass, in [0, 1], x to the right, y down.
    pub centroid: [f64; 2],
    /// Place of the largest value, likewise.
    pub peak: [f64; 2],
}

/// Maps of one layer.
#[derive(Clone, Debug)]
pub struct LayerMaps {
    /// Name of the site.
    pub site: String,
    /// Sum over the conditional branch's steps: [image, head, token, row, column].
    pub per_head: Array5<f32>,
    /// Mean over heads at each step: [image, token, row, column], in order of steps.
    pub per_step: Vec<Array4<f32>>,
}

/// What a recorder saw of a run.
#[derive(Clone, Debug)]
pub struct AttentionRecord {
    /// One entry a cross-attention layer, in the order of the U-Net.
    pub layers: Vec<LayerMaps>,
    /// One row per image, branch, step, layer, head and token.
    pub rows: Vec<MapNumbers>,
    /// Steps seen.
    pub steps: usize,
}

/// Maps of chosen words at one layer.
#[derive(Clone, Debug)]
pub struct WordLayer {
    /// Name of the site.
    pub site: String,
    /// Probabilities, mean over each word's tokens: [image, word, head, row, column], in order of
    /// steps.
    pub per_step: Vec<Array5<f32>>,
}

/// What is kept of each channel of pooled activations: the mean over places, and the means weighted
/// by x and by y, both from −1 at the left and the top to 1.
pub const POOLED_MOMENTS: usize = 3;
