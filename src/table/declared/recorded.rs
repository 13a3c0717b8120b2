//! Tables of what recorders make of whole tensors: channels, pooled vectors, maps.

use super::{ANY, FROM_ONE, NOT_NEGATIVE, UNIT};
use crate::measure::record::MapNumbers;
use crate::table::declare::table;
use crate::table::{AttentionRow, Row, TableDeclaration};

table! {
    /// What one channel of a tensor looked like at one step: a summary over its places.
    ChannelRow, "trace_channels", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Which denoising step, from 0; null at sites outside the denoising loop.
    step: Option<u32>, "", ANY;
    /// Where the step lies in the training schedule; null outside the denoising loop.
    timestep: Option<f64>, "training step", NOT_NEGATIVE;
    /// Noise over signal at this step; null outside the denoising loop.
    sigma: Option<f64>, "", NOT_NEGATIVE;
    /// `cond` or `uncond`; null at sites that have no branches.
    branch: Option<String>, "", ANY;
    /// Where in the model, such as `mid.attn.0.out`.
    site: String, "", ANY;
    /// Attention head that the channel belongs to, from 0; null at sites without heads.
    head: Option<u32>, "", ANY;
    /// Which channel (of the head, where there is one), from 0.
    channel: u32, "", ANY;
    /// Mean of the values; null when one of them is not a number.
    mean: Option<f64>, "", ANY;
    /// Standard deviation of the values (divided by their number); null when one of them is not
    /// finite.
    std: Option<f64>, "", NOT_NEGATIVE;
    /// Smallest value; null when one of them is not a number.
    min: Option<f64>, "", ANY;
    /// Largest value; null when one of them is not a number.
    max: Option<f64>, "", ANY;
    /// Euclidean norm of the values; null when one of them is not a number.
    norm: Option<f64>, "", NOT_NEGATIVE;
    /// Excess kurtosis after Fisher; null when all are equal or one is not finite.
    kurtosis: Option<f64>, "", ANY;
    /// Share of the values that are exactly zero.
    zeros: f64, "share", UNIT;
}

table! {
    /// One tensor as one vector over channels: its mean over places.
    PooledRow, "trace_pooled", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Which denoising step, from 0; null at sites outside the denoising loop.
    step: Option<u32>, "", ANY;
    /// Where the step lies in the training schedule; null outside the denoising loop.
    timestep: Option<f64>, "training step", NOT_NEGATIVE;
    /// Noise over signal at this step; null outside the denoising loop.
    sigma: Option<f64>, "", NOT_NEGATIVE;
    /// `cond` or `uncond`; null at sites that have no branches.
    branch: Option<String>, "", ANY;
    /// Where in the model, such as `mid.attn.0.out`.
    site: String, "", ANY;
    /// Attention head, from 0; null at sites without heads.
    head: Option<u32>, "", ANY;
    /// Length of the vector.
    channels: u32, "", FROM_ONE;
    /// Mean over places (rows and columns, or positions); over tokens where there are no places.
    vector: Option<Vec<f32>>, "", ANY;
}

table! {
    /// What one self-attention map was like at one step: how far it looks, how much it stays where
    /// it is, and its leading principal components.
    SelfAttentionRow, "self_attention", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Which denoising step, from 0, the noisiest.
    step: u32, "", ANY;
    /// Where the step lies in the training schedule; large is noisy.
    timestep: f64, "training step", NOT_NEGATIVE;
    /// Noise over signal at this step, √((1 − ᾱ) / ᾱ).
    sigma: f64, "", NOT_NEGATIVE;
    /// `cond` or `uncond`.
    branch: String, "", ANY;
    /// Where in the model, such as `up.1.attn.0.block.0.self.probs`.
    site: String, "", ANY;
    /// Which attention head, from 0; null: the mean over heads, which alone has components.
    head: Option<u32>, "", ANY;
    /// Rows of the map's grid.
    height: u32, "cell", FROM_ONE;
    /// Columns of the map's grid.
    width: u32, "cell", FROM_ONE;
    /// Mean distance from a position to where it looks, weighted by attention, with both sides of
    /// the image of length 1: 0 where each looks at itself, at most √2.
    distance: f64, "image side", NOT_NEGATIVE;
    /// Mean attention of a position to itself; 1 over the number of positions for a flat map.
    diagonality: f64, "share", UNIT;
    /// Shares of the map's variance that its leading principal components explain, the largest
    /// first; null for single heads, and where the map's rows are all alike.
    explained: Option<Vec<f32>>, "share", ANY;
    /// Those components, one after the other: for each a number at every position, row by row,
    /// scaled so that the largest is 1; null where `explained` is.
    components: Option<Vec<f32>>, "", ANY;
}

table! {
    /// DAAM's map of one token: cross-attention summed over steps, brought to the latent's size and
    /// averaged over layers and heads.
    DaamRow, "daam", version 1;
    /// Name of the run folder.
    run: String, "", ANY;
    /// Which image of the run, from 0.
    sample: u32, "", ANY;
    /// Position in the encoded prompt; 0 is the start token.
    token: u32, "", ANY;
    /// The token's text as the tokenizer spells it.
    piece: String, "", ANY;
    /// The word it belongs to; null for start and end tokens.
    word: Option<String>, "", ANY;
    /// Steps that were summed: the map over this number does not depend on it.
    steps: u32, "", FROM_ONE;
    /// Rows of the map.
    height: u32, "cell", FROM_ONE;
    /// Columns of the map.
    width: u32, "cell", FROM_ONE;
    /// The map in row-major order.
    map: Option<Vec<f32>>, "probability", ANY;
}

/// What a row of [`AttentionRow`] says beside the numbers of its map.
#[derive(Clone, Copy, Debug)]
pub struct MapOf<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Name of the site.
    pub site: &'a str,
    /// Rows and columns of the map.
    pub shape: [u32; 2],
    /// The token's text as the tokenizer spells it.
    pub piece: &'a str,
    /// The word it belongs to.
    pub word: Option<&'a str>,
}

impl AttentionRow {
    /// The row of one head's map.
    pub fn of_numbers(of: MapOf<'_>, numbers: &MapNumbers) -> Self {
        let finite = |x: f64| x.is_finite().then_some(x);
        Self {
            run: of.run.to_owned(),
            sample: numbers.sample as u32,
            step: numbers.step as u32,
            timestep: numbers.timestep,
            sigma: numbers.sigma,
            branch: numbers.branch.label().to_owned(),
            site: of.site.to_owned(),
            head: Some(numbers.head as u32),
            token: numbers.token as u32,
            piece: of.piece.to_owned(),
            word: of.word.map(str::to_owned),
            height: of.shape[0],
            width: of.shape[1],
            mass: numbers.mass.clamp(0.0, 1.0),
            // Rounding may leave it below zero. `max` would turn NaN into zero, so it comes last.
            entropy: finite(numbers.entropy).map(|nats| nats.max(0.0)),
            centroid_x: finite(numbers.centroid[0]),
            centroid_y: finite(numbers.centroid[1]),
            peak_x: finite(numbers.peak[0]),
            peak_y: finite(numbers.peak[1]),
            map: None,
        }
    }
}

/// The tables of this file.
pub(super) const TABLES: &[TableDeclaration] =
    &[ChannelRow::TABLE, PooledRow::TABLE, SelfAttentionRow::TABLE, DaamRow::TABLE];
