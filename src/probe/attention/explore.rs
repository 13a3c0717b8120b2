//! The explorer of an attention run.

use ndarray::{Array2, Axis};

use super::report::AttentionReportError;
use super::{AttentionRun, Level, PromptWord, WordMaps, figures};
use crate::figure::{ColorMap, encode_png};
use crate::measure::daam::word_map;
use crate::report::{
    Block, Explorer, ExplorerFrame, ExplorerImage, ExplorerMap, Report, StepLabel,
};

/// Images whose maps the explorer holds; more would make the page heavy.
pub(super) const IMAGES: usize = 4;
/// Bytes the explorer may take in the page.
const BYTES: usize = 2_000_000;
/// Share of them that single heads may take; else only their mean is there.
const OF_HEADS: usize = 2;
/// Index of the mean over heads among the explorer's heads, and of all steps among its steps.
const ALL: usize = 0;

/// How many images have maps to explore.
pub(super) fn images(run: &AttentionRun) -> usize {
    let kept = run.record.layers.iter().map(|layer| layer.per_head.dim().0).min().unwrap_or(0);
    run.images.len().min(kept).min(IMAGES)
}

/// The steps that the explorer of a report has, from 0.
pub fn explored_steps(report: &Report) -> Vec<usize> {
    let explorers = report.sections.iter().flat_map(|section| &section.blocks);
    let explorer = explorers.filter_map(|block| match block {
        Block::Explorer(explorer) => explorer.images.first(),
        _ => None,
    });
    let labels = explorer.flat_map(|image| &image.steps);
    let step = |label: &StepLabel| match label {
        StepLabel::At { step, .. } => Some(*step),
        StepLabel::All => None,
    };
    labels.filter_map(step).collect()
}

/// Every map of every word that was kept, as many steps as the page has room for.
pub(super) fn explorer(run: &AttentionRun) -> Result<Explorer, AttentionReportError> {
    let mut images =
        (0..images(run)).map(|sample| image(run, sample)).collect::<Result<Vec<_>, _>>()?;
    let heads: Vec<Vec<ExplorerMap>> =
        (0..images.len()).map(|sample| head_maps(run, sample)).collect::<Result<_, _>>()?;
    let cells: usize = heads.iter().flatten().map(|map| map.values.len()).sum();
    if cells < BYTES / OF_HEADS {
        for (image, maps) in images.iter_mut().zip(heads) {
            let most = maps.iter().map(|map| map.head).max().unwrap_or(ALL);
            image.heads.extend((0..most).map(|head| format!("head {head}")));
            image.maps.extend(maps);
        }
    }
    let quantity = "attention probability".to_owned();
    let explorer = Explorer { quantity, colors: ColorMap::default(), images };
    Ok(explorer.thinned(BYTES))
}

fn image(run: &AttentionRun, sample: usize) -> Result<ExplorerImage, AttentionReportError> {
    let image = &run.images[sample];
    let words = run.words();
    let mut sites = vec!["all layers".to_owned()];
    sites.extend(run.record.layers.iter().map(|l| figures::short_site(&l.site)));
    // Steps are numbered as the explorer has them: those that were kept, after all together.
    let kept = kept_steps(run);
    let mut steps = vec![StepLabel::All];
    steps.extend(kept.iter().map(|&step| {
        let timestep = run.steps.get(step).map_or(f64::NAN, |(timestep, _)| *timestep);
        StepLabel::At { step, timestep }
    }));
    let mask = |p: usize| run.region(sample, p).map(|mask| (run.object_name(p), mask));
    let frames = run.film.iter().filter(|frame| frame.sample == sample);
    let frame = |frame: &super::FilmFrame| {
        let png = encode_png(&frame.image)?;
        Ok(ExplorerFrame { step: frame.step, png })
    };
    Ok(ExplorerImage {
        title: format!("seed {}", image.seed),
        png: encode_png(&image.image)?,
        maps: maps(run, sample, &words, &kept)?,
        words: words.into_iter().map(|w| w.text).collect(),
        sites,
        heads: vec!["mean of heads".to_owned()],
        steps,
        masks: (0..run.objects()).filter_map(mask).collect(),
        film: frames.map(frame).collect::<Result<_, AttentionReportError>>()?,
    })
}

/// Steps whose maps are there.
fn kept_steps(run: &AttentionRun) -> Vec<usize> {
    let kept = |step: &usize| {
        run.record.layers.iter().all(|l| l.per_step.get(*step).is_some_and(|maps| !maps.is_empty()))
    };
    (0..run.record.steps).filter(kept).collect()
}

/// Means over heads: of all layers and of each, of all steps and at each.
fn maps(
    run: &AttentionRun,
    sample: usize,
    words: &[PromptWord],
    kept: &[usize],
) -> Result<Vec<ExplorerMap>, AttentionReportError> {
    let largest = run.record.layers.iter().map(|l| (l.per_head.dim().3, l.per_head.dim().4)).max();
    let mut levels = vec![(Level::Whole, ALL, ALL)];
    levels.extend((0..run.record.layers.len()).map(|layer| (Level::Layer(layer), layer + 1, ALL)));
    levels.extend(kept.iter().zip(1..).map(|(&step, place)| (Level::Step(step), ALL, place)));
    let asked: Vec<Level> = levels.iter().map(|(level, ..)| *level).collect();
    let whole = WordMaps::at(run, sample, largest.unwrap_or((1, 1)), &asked)?;
    let mut maps = Vec::new();
    for (w, word) in words.iter().enumerate() {
        for &(level, site, step) in &levels {
            maps.push(explorer_map([w, site, ALL, step], &whole.word(level, &word.positions)?));
        }
        for (l, layer) in run.record.layers.iter().enumerate() {
            for (&step, place) in kept.iter().zip(1..) {
                let tokens = layer.per_step[step].index_axis(Axis(0), sample).to_owned();
                let map = word_map(&tokens, &word.positions)?;
                maps.push(explorer_map([w, l + 1, ALL, place], &map));
            }
        }
    }
    Ok(maps)
}

/// Single heads of each layer, all steps together: their mean.
fn head_maps(run: &AttentionRun, sample: usize) -> Result<Vec<ExplorerMap>, AttentionReportError> {
    let steps = run.record.steps.max(1) as f32;
    let mut maps = Vec::new();
    for (w, word) in run.words().iter().enumerate() {
        for (l, layer) in run.record.layers.iter().enumerate() {
            for (head, tokens) in
                layer.per_head.index_axis(Axis(0), sample).outer_iter().enumerate()
            {
                let map = word_map(&tokens.to_owned(), &word.positions)? / steps;
                maps.push(explorer_map([w, l + 1, head + 1, ALL], &map));
            }
        }
    }
    Ok(maps)
}

fn explorer_map([word, site, head, step]: [usize; 4], map: &Array2<f32>) -> ExplorerMap {
    let (height, width) = map.dim();
    let values = map.iter().copied().collect();
    ExplorerMap { word, site, head, step, height, width, values }
}
