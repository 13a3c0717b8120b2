//! The figures of an attention run.

use ndarray::{Array2, Array3, s};

use super::score::{OTHER_IMAGES, PERMUTED_WORDS, Scored, mean_auroc};
use super::{AttentionRun, Detail, Level, WordMaps};
use crate::figure::{
    Axis, ColorMap, Curve, CurveChart, CurvePoint, DotChart, DotSeries, FilmStrip, HeatMap,
    ImageGrid, Outline, Overlay, Reference, Tile,
};
use crate::measure::Undefined;
use crate::site::Branch;
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
    let sites = sites_of(run, rows);
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

/// Scores of roles over many images, with both controls.
pub fn score_by_role(
    roles: &[&str],
    score: impl Fn(&str, Option<&str>) -> Option<Scored>,
) -> DotChart {
    let series = |name: &str, control: Option<&str>| {
        let value =
            |role: &&str| score(role, control).map_or((f64::NAN, None), |s| (s.mean, s.interval));
        let values = roles.iter().map(value).collect();
        DotSeries { name: name.to_owned(), values, control: control.is_some() }
    };
    DotChart {
        title: "Do words look at their objects?".to_owned(),
        category_axis: "role of the word".to_owned(),
        categories: roles.iter().map(|role| (*role).to_owned()).collect(),
        value: Axis::new("AUROC").range(0.0, 1.0),
        series: vec![
            series("own object", None),
            series("other words (control)", Some(PERMUTED_WORDS)),
            series("other images (control)", Some(OTHER_IMAGES)),
        ],
        reference: Some(Reference { value: CHANCE, label: "chance".to_owned() }),
    }
}

/// The layers in the order of the U-Net. A run whose maps were not kept has only its scores.
fn sites_of<'a>(run: &'a AttentionRun, rows: &'a [AlignmentRow]) -> Vec<&'a str> {
    if !run.record.layers.is_empty() {
        return run.record.layers.iter().map(|l| l.site.as_str()).collect();
    }
    let mut sites = Vec::new();
    for site in rows.iter().filter_map(|row| row.site.as_deref()) {
        if !sites.contains(&site) {
            sites.push(site);
        }
    }
    sites
}

/// The layer's name without what all layers share.
pub fn short_site(site: &str) -> String {
    site.trim_end_matches(".cross.probs").replace(".block.0", "").replace(".attn.", ".")
}

/// How much attention each word takes at each step: mean over positions, heads, layers and images.
pub fn share_by_timestep(run: &AttentionRun) -> HeatMap {
    let words = run.words();
    // Sum and count of each word at each step and layer: layers count alike, whatever their heads.
    let layers = run.record.rows.iter().map(|row| row.layer + 1).max().unwrap_or(0);
    let mut sums = Array3::<f64>::zeros((words.len(), run.steps.len(), layers));
    let mut counts = sums.clone();
    for row in run.record.rows.iter().filter(|row| row.branch == Branch::Cond) {
        for (w, _) in words.iter().enumerate().filter(|(_, w)| w.positions.contains(&row.token)) {
            if let Some(sum) = sums.get_mut([w, row.step, row.layer]) {
                *sum += row.mass;
                counts[[w, row.step, row.layer]] += 1.0;
            }
        }
    }
    let of_layers = sums / counts;
    let known = |w: usize, step: usize| {
        let of = of_layers.slice(s![w, step, ..]);
        let known: Vec<f64> = of.iter().copied().filter(|share| share.is_finite()).collect();
        known.iter().sum::<f64>() / known.len() as f64
    };
    let values = Array2::from_shape_fn((words.len(), run.steps.len()), |(w, step)| known(w, step));
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

/// What the model would draw at single steps of one image; none if it was not kept.
pub fn film(run: &AttentionRun, sample: usize) -> Option<FilmStrip> {
    let frames: Vec<Tile> = run
        .film
        .iter()
        .filter(|frame| frame.sample == sample)
        .filter_map(|frame| {
            let (timestep, _) = run.steps.get(frame.step)?;
            Some(Tile::new(format!("t = {timestep:.0}"), frame.image.clone()))
        })
        .collect();
    let title = "What it would draw, step by step".to_owned();
    (!frames.is_empty()).then_some(FilmStrip { title, frames })
}
