//! The figures of a ranking of heads.

use ndarray::Array2;

use super::{Effect, RANDOM_HEADS, kinds, of_set, single_heads};
use crate::figure::{ColorMap, Figure, HeatMap};
use crate::table::HeadAblationRow;

/// A figure with the name of its file and a caption.
pub type NamedFigure = (String, String, Box<dyn Figure>);

/// One map of layers × heads for each kind, and one of sets × kinds.
pub fn figures(rows: &[HeadAblationRow]) -> Vec<NamedFigure> {
    let of_kind = |kind: &&'static str| {
        let caption = format!(
            "Share of {kind} statements lost when one head is taken out; images of the ranking."
        );
        let map: Box<dyn Figure> = Box::new(layers_by_heads(rows, kind));
        (format!("heads-{kind}"), caption, map)
    };
    let mut figures: Vec<NamedFigure> = kinds(rows).iter().map(of_kind).collect();
    let caption = "Held-out images: rows are sets of heads that are taken out together, each \
                   chosen for one kind on other images, columns what is lost.";
    figures.push(("sets-by-kind".to_owned(), caption.to_owned(), Box::new(sets_by_kinds(rows))));
    figures
}

/// Zero has one colour in all maps, and what an ablation improves is not drawn as a loss.
fn range(values: &Array2<f64>) -> Option<(f64, f64)> {
    let most = values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    (most > 0.0).then_some((0.0, most))
}

/// A layer's name without what all of them share.
pub(super) fn short_layer(layer: &str) -> String {
    layer.trim_end_matches(".cross").replace(".attn.", " attn ").replace(".block.", " block ")
}

fn layers_by_heads(rows: &[HeadAblationRow], kind: &str) -> HeatMap {
    let effects = single_heads(rows, kind);
    let mut layers: Vec<&str> = Vec::new();
    for head in effects.iter().filter_map(|effect| effect.head.as_ref()) {
        if !layers.contains(&head.layer.as_str()) {
            layers.push(&head.layer);
        }
    }
    let heads = effects.iter().filter_map(|e| Some(e.head.as_ref()?.number + 1)).max().unwrap_or(0);
    let lost = |(layer, number): (usize, usize)| {
        let is_it = |effect: &&Effect| {
            let head = effect.head.as_ref();
            head.is_some_and(|h| h.layer == layers[layer] && h.number as usize == number)
        };
        effects.iter().find(is_it).map_or(f64::NAN, |effect| effect.lost.mean)
    };
    let values = Array2::from_shape_fn((layers.len(), heads as usize), lost);
    HeatMap {
        title: format!("What {kind} loses without one head"),
        row_axis: "cross-attention layer".to_owned(),
        column_axis: "head".to_owned(),
        rows: layers.iter().map(|layer| short_layer(layer)).collect(),
        columns: (0..heads).map(|head| head.to_string()).collect(),
        range: range(&values),
        values,
        quantity: "share lost".to_owned(),
        colors: ColorMap::default(),
        ordered_columns: false,
    }
}

fn sets_by_kinds(rows: &[HeadAblationRow]) -> HeatMap {
    let kinds = kinds(rows);
    let sets: Vec<&str> = kinds.iter().copied().chain([RANDOM_HEADS]).collect();
    let value = |(set, kind): (usize, usize)| {
        of_set(rows, sets[set], kinds[kind]).map_or(f64::NAN, |effect| effect.lost.mean)
    };
    let values = Array2::from_shape_fn((sets.len(), kinds.len()), value);
    let label = |set: &&str| match *set {
        RANDOM_HEADS => "drawn at random".to_owned(),
        kind => format!("chosen for {kind}"),
    };
    HeatMap {
        title: "Are the heads particular to what they were chosen for?".to_owned(),
        row_axis: "heads taken out".to_owned(),
        column_axis: "what is lost".to_owned(),
        rows: sets.iter().map(label).collect(),
        columns: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        range: range(&values),
        values,
        quantity: "share lost".to_owned(),
        colors: ColorMap::default(),
        ordered_columns: false,
    }
}
