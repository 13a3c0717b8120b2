//! Maps of words, from token maps: at one layer or all, at one step or all.

use ndarray::{Array2, Array3, ArrayView4, Axis};

use super::AttentionRun;
use crate::measure::{Undefined, daam};

/// Which part of the run a map shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All layers, all steps: DAAM's map, divided by the number of steps.
    Whole,
    /// One layer (index into the record), all steps.
    Layer(usize),
    /// One step, all layers.
    Step(usize),
}

/// How many levels are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All layers and steps together, and nothing else.
    Whole,
    /// The whole, each layer, each step.
    Full,
}

/// The token maps of one image at every level, brought to one resolution.
#[derive(Clone, Debug)]
pub struct WordMaps {
    levels: Vec<(Level, Array3<f32>)>,
}

impl WordMaps {
    /// Maps of image `sample` at `shape` (rows, columns).
    ///
    /// # Errors
    /// A record without layers, or maps that are no numbers.
    pub fn new(
        run: &AttentionRun,
        sample: usize,
        shape: (usize, usize),
        detail: Detail,
    ) -> Result<Self, Undefined> {
        let mut levels = vec![Level::Whole];
        if detail == Detail::Full {
            levels.extend((0..run.record.layers.len()).map(Level::Layer));
            levels.extend((0..run.record.steps).map(Level::Step));
        }
        Self::at(run, sample, shape, &levels)
    }

    /// The same at chosen levels.
    ///
    /// # Errors
    /// As for [`WordMaps::new`], and levels that were not kept.
    pub fn at(
        run: &AttentionRun,
        sample: usize,
        shape: (usize, usize),
        levels: &[Level],
    ) -> Result<Self, Undefined> {
        let layers = &run.record.layers;
        let of_sample: Vec<ArrayView4<'_, f32>> =
            layers.iter().map(|l| l.per_head.index_axis(Axis(0), sample)).collect();
        let steps = run.record.steps.max(1) as f32;
        let map = |level: &Level| -> Result<(Level, Array3<f32>), Undefined> {
            let map = match level {
                Level::Whole => daam::aggregate(&of_sample, shape)? / steps,
                Level::Layer(layer) => {
                    let layer = of_sample.get(*layer).ok_or(Undefined::Empty)?;
                    daam::aggregate(std::slice::from_ref(layer), shape)? / steps
                }
                Level::Step(step) => at_step(run, sample, *step, shape)?,
            };
            Ok((*level, map))
        };
        Ok(Self { levels: levels.iter().map(map).collect::<Result<_, _>>()? })
    }

    /// The levels there are, the whole first.
    pub fn levels(&self) -> impl Iterator<Item = Level> + '_ {
        self.levels.iter().map(|(level, _)| *level)
    }

    /// The map of a word (mean over its tokens) at a level.
    ///
    /// # Errors
    /// A level or a token that is not there.
    pub fn word(&self, level: Level, positions: &[usize]) -> Result<Array2<f32>, Undefined> {
        let found = self.levels.iter().find(|(l, _)| *l == level);
        let (_, maps) = found.ok_or(Undefined::Empty)?;
        daam::word_map(maps, positions)
    }
}

/// Mean over layers at one step; layers count by their heads, as in the whole.
fn at_step(
    run: &AttentionRun,
    sample: usize,
    step: usize,
    shape: (usize, usize),
) -> Result<Array3<f32>, Undefined> {
    let mut sum: Option<Array3<f32>> = None;
    let mut heads = 0.0;
    for layer in &run.record.layers {
        let weight = layer.per_head.dim().1 as f32;
        let of_step = layer.per_step.get(step).ok_or(Undefined::Empty)?;
        let one_head = of_step.index_axis(Axis(0), sample).insert_axis(Axis(0));
        let map = daam::aggregate(&[one_head], shape)? * weight;
        heads += weight;
        sum = Some(match sum {
            Some(sum) => sum + map,
            None => map,
        });
    }
    Ok(sum.ok_or(Undefined::Empty)? / heads)
}
