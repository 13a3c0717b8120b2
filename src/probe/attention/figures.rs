//! The figures of an attention run.

use ndarray::Array2;

use super::score::mean_auroc;
use super::{AttentionRun, Detail, Level, WordMaps};
use crate::figure::{
    Axis, ColorMap, Curve, CurveChart, CurvePoint, DotChart, DotSeries, HeatMap, ImageGrid,
    Outline, Overlay, Reference, Tile,
};
use crate::measure::Undefined;
use crate::table::AlignmentRow;

/// AUROC of a map that knows nothing.
const CHANCE: f64 = 0.5;

/// Every word's map over the image, all layers and steps together. Outlined: the
/// objects.
pub fn overlays(run: &AttentionRun, sample: usize) -> Result<ImageGrid, Undefined> {
    let image = &run.images[sample];
    let (width, height) = image.image.dimensions();
    let maps = WordMaps::new(run, sample, (height as usize, width as usize), Detail::Whole)?;
    let mut tiles =
        vec![Tile::new("image", image.image.clone()).note(format!("seed {}", image.seed))];
    for word in run.words() {
        let mut overlay = Overlay::new(maps.word(Level::Whole, &word.positions)?);
        overlay.outlines = outlines_of_word(run, sample, &word.text);
        tiles.push(Tile::new(&word.text, image.image.clone()).overlay(overlay));
    }
    Ok(ImageGrid {
        title: format!("Where each word looks, seed {}", image.seed),
        tiles,
        columns: None,
        quantity: Some("attention, each word on its own scale".to_owned()),
    })
}

/// The regions of the objects a word speaks of.
fn outlines_of_word(run: &AttentionRun, sample: usize, text: &str) -> Vec<Outline> {
    let mut phrases: Vec<usize> =
        run.object_words().iter().filter(|w| w.text == text).map(|w| w.phrase).collect();
    phrases.dedup();
    let outline = |phrase: usize| {
        let label = run.object_name(phrase);
        run.region(sample, phrase).map(|mask| Outline { label, mask })
    };
    phrases.into_iter().filter_map(outline).collect()
}

/// Score against timestep, with the control.
pub fn score_by_timestep(run: &AttentionRun, rows: &[AlignmentRow]) -> CurveChart {
    let curve = |name: &str, control: bool| {
        let points = run.steps.iter().enumerate().filter_map(|(step, (timestep, _))| {
            let at_step = rows
                .iter()
                .filter(|r| r.step == Some(step as u32) && r.control.is_some() == control);
            mean_auroc(at_step).map(|s| CurvePoint {
                x: *timestep,
                y: s.mean,
                interval: s.interval,
            })
        });
        Curve { name: name.to_owned(), points: points.collect(), control }
    };
    CurveChart {
        title: "When do the words find their objects?".to_owned(),
        x: Axis::new("timestep (noise → image)").reversed(),
        y: Axis::new("AUROC").range(0.0, 1.0),
        curves: vec![curve("word on its object", false), curve("other words (control)", true)],
        reference: Some(Reference { value: CHANCE, label: "chance".to_owned() }),
    }
}

/// Score by layer, with the control.
pub fn score_by_layer(run: &AttentionRun, rows: &[AlignmentRow]) -> DotChart {
    let sites: Vec<&str> = run.record.layers.iter().map(|l| l.site.as_str()).collect();
    let series = |name: &str, control: bool| {
        let value = |site: &&str| {
            let of_site = rows
                .iter()
                .filter(|r| r.site.as_deref() == Some(site) && r.control.is_some() == control);
            mean_auroc(of_site).map_or((f64::NAN, None), |s| (s.mean, s.interval))
        };
        DotSeries { name: name.to_owned(), values: sites.iter().map(value).collect(), control }
    };
    DotChart {
        title: "Which layers carry it?".to_owned(),
        category_axis: "layer".to_owned(),
        categories: sites.iter().map(|s| short_site(s)).collect(),
        value: Axis::new("AUROC").range(0.0, 1.0),
        series: vec![series("word on its object", false), series("other words (control)", true)],
        reference: Some(Reference { value: CHANCE, label: "chance".to_owned() }),
    }
}

/// The layer's name without what all layers share.
pub fn short_site(site: &str) -> String {
    site.trim_end_matches(".cross.probs").replace(".block.0", "").replace(".attn.", ".")
}

/// How much attention each word takes at each step: mean over positions, layers and images.
pub fn share_by_timestep(run: &AttentionRun) -> HeatMap {
    let words = run.words();
    let mut values = Array2::<f64>::zeros((words.len(), run.steps.len()));
    for (w, word) in words.iter().enumerate() {
        for step in 0..run.steps.len() {
            let (mut sum, mut count) = (0.0, 0.0_f64);
            for layer in &run.record.layers {
                let Some(maps) = layer.per_step.get(step) else { continue };
                for &position in &word.positions {
                    let of_token = maps.index_axis(ndarray::Axis(1), position);
                    sum += f64::from(of_token.mean().unwrap_or_default());
                    count += 1.0;
                }
            }
            values[[w, step]] = sum / count.max(1.0);
        }
    }
    HeatMap {
        title: "How much attention each word takes".to_owned(),
        row_axis: "word".to_owned(),
        column_axis: "timestep (noise → image)".to_owned(),
        rows: words.into_iter().map(|w| w.text).collect(),
        columns: run.steps.iter().map(|(timestep, _)| format!("{timestep:.0}")).collect(),
        values,
        quantity: "share of attention".to_owned(),
        range: None,
        colors: ColorMap::default(),
        ordered_columns: true,
    }
}
