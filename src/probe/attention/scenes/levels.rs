//! The maps of one word in one image: each head at each step, and their means.

use ndarray::{Array2, ArrayView2, ArrayView3, Axis, s};
use serde::{Deserialize, Serialize};

use crate::measure::record::WordLayer;
use crate::measure::{Undefined, daam};

/// What a map is of; none: the mean over all. The mean over sites is of maps brought to the size
/// of the finest, and each site counts by its heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Level {
    /// Number of the site, in the order of the U-Net.
    pub site: Option<usize>,
    /// Head; only where there is a site.
    pub head: Option<usize>,
    /// Number of the timestep, in the order in which they were shown.
    pub step: Option<usize>,
}

/// The largest maps there are, in rows and columns.
fn finest(layers: &[WordLayer]) -> Option<(usize, usize)> {
    let maps = layers.iter().filter_map(|layer| layer.per_step.first());
    maps.map(|maps| (maps.dim().3, maps.dim().4)).max()
}

/// Heads of all sites together.
fn heads_of(layers: &[WordLayer], step: usize) -> Result<usize, Undefined> {
    let of_site = |layer: &WordLayer| layer.per_step.get(step).map(|maps| maps.dim().2);
    layers.iter().map(of_site).sum::<Option<usize>>().ok_or(Undefined::Empty)
}

/// Adds a site's mean over heads to the mean over sites, in which it has this share.
fn add_site(
    whole: &mut Array2<f32>,
    mean: ArrayView2<'_, f32>,
    share: f32,
) -> Result<(), Undefined> {
    *whole += &(daam::clamped_bicubic(mean, whole.dim())? * share);
    Ok(())
}

/// The map of word `word` of image `image` at one step: the mean over sites, at the size of the
/// finest, in which each counts by its heads.
///
/// # Errors
/// [`Undefined::Empty`] for a record without maps at this step.
pub fn mean_map(
    layers: &[WordLayer],
    (image, word): (usize, usize),
    step: usize,
) -> Result<Array2<f32>, Undefined> {
    let mut whole = Array2::zeros(finest(layers).ok_or(Undefined::Empty)?);
    let heads = heads_of(layers, step)? as f32;
    for layer in layers {
        let maps = layer.per_step[step].slice(s![image, word, .., .., ..]);
        let mean = maps.mean_axis(Axis(0)).ok_or(Undefined::Empty)?;
        add_site(&mut whole, mean.view(), maps.dim().0 as f32 / heads)?;
    }
    Ok(whole)
}

/// All maps of a word.
///
/// # Errors
/// [`Undefined::Empty`] for a record without maps, [`Undefined::Length`] for sites that do not
/// have as many steps as the first.
pub(super) fn maps_of_word(
    layers: &[WordLayer],
    image: usize,
    word: usize,
) -> Result<Vec<(Level, Array2<f32>)>, Undefined> {
    let shape = finest(layers).ok_or(Undefined::Empty)?;
    let steps = layers[0].per_step.len();
    let heads = heads_of(layers, 0)?;
    let mut all = Vec::new();
    let mut whole = vec![Array2::<f32>::zeros(shape); steps];
    for (site, layer) in layers.iter().enumerate() {
        if layer.per_step.len() != steps {
            return Err(Undefined::Length { expected: steps, got: layer.per_step.len() });
        }
        let of_step: Vec<ArrayView3<'_, f32>> =
            layer.per_step.iter().map(|maps| maps.slice(s![image, word, .., .., ..])).collect();
        let mut sum = of_step[0].to_owned();
        of_step[1..].iter().for_each(|maps| sum += maps);
        sum /= steps as f32;
        let moments = of_step.iter().copied().zip(0..).map(|(maps, step)| (maps, Some(step)));
        for (maps, step) in moments.chain([(sum.view(), None)]) {
            let at = Level { site: Some(site), head: None, step };
            let mean = maps.mean_axis(Axis(0)).ok_or(Undefined::Empty)?;
            if let Some(step) = step {
                add_site(&mut whole[step], mean.view(), maps.dim().0 as f32 / heads as f32)?;
            }
            all.push((at, mean));
            let of_head = maps.outer_iter().enumerate();
            all.extend(
                of_head.map(|(head, map)| (Level { head: Some(head), ..at }, map.to_owned())),
            );
        }
    }
    let sum = whole.iter().fold(Array2::<f32>::zeros(shape), |sum, map| sum + map);
    all.push((Level::default(), sum / steps as f32));
    let of_step = whole.into_iter().enumerate();
    all.extend(of_step.map(|(step, map)| (Level { step: Some(step), ..Level::default() }, map)));
    Ok(all)
}
