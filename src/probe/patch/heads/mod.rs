//! Which heads of cross-attention a model needs, and what for: each head is taken out in turn, and
//! the judge says what is lost of colours, shapes, bindings and relations.
//!
//! Heads are ranked on one half of the images. What the first ranks are worth is measured on the
//! other half, where the heads that rank first for a kind are taken out together, beside as many
//! heads drawn at random: the largest of many noisy numbers would look large on the images it was
//! picked by, whatever the head does.

mod figures;
mod report;
pub mod stored;

pub use figures::figures;
pub use report::{findings, report};

use std::collections::{BTreeMap, BTreeSet};

use crate::judge::Verdict;
use crate::measure::Bootstrap;
use crate::table::HeadAblationRow;

/// What is judged, each by itself.
pub const KINDS: [&str; 4] = ["colour", "shape", "binding", "relation"];
/// Measure: how far the last latent moved, over the norm of the untouched run's.
pub const LATENT_CHANGE: &str = "latent";

/// Part: the images that heads are ranked by.
pub const RANKING: &str = "ranking";
/// Part: the images that sets of heads are tested on.
pub const HELD_OUT: &str = "held-out";

/// Nothing was taken out.
pub const UNTOUCHED: &str = "untouched";
/// As many heads, drawn at random.
pub const RANDOM_HEADS: &str = "random-heads";

/// One head of one cross-attention layer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// The layer: `up.1.attn.0.block.0.cross`.
    pub layer: String,
    /// Its number, from 0.
    pub number: u32,
}

/// The share of a kind's statements that hold; `None` where the caption makes none. Of relations
/// the strict reading counts.
pub fn share(verdict: &Verdict, kind: &str) -> Option<f64> {
    let kind = if kind == "relation" { "relation_strict" } else { kind };
    let of_kind: Vec<bool> = verdict
        .atoms
        .iter()
        .filter(|atom| atom.atom.kind() == kind)
        .map(|atom| atom.holds)
        .collect();
    let holding = of_kind.iter().filter(|&&holds| holds).count();
    (!of_kind.is_empty()).then(|| holding as f64 / of_kind.len() as f64)
}

/// ‖x − untouched‖ / ‖untouched‖; `None` where the untouched is zero.
pub fn relative_change(x: &[f32], untouched: &[f32]) -> Option<f64> {
    let norm = |of: &mut dyn Iterator<Item = f64>| of.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = || x.iter().zip(untouched);
    let whole = norm(&mut untouched.iter().map(|&v| f64::from(v)));
    let change = norm(&mut pairs().map(|(&a, &b)| f64::from(a) - f64::from(b)));
    (whole > 0.0).then(|| change / whole)
}

/// A mean over images with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its interval, from resampling prompts (or seeds, where there is one prompt); none with
    /// fewer than two of them.
    pub interval: Option<(f64, f64)>,
    /// Images it rests on.
    pub images: usize,
}

/// What taking heads out does to one measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The head, where it was one.
    pub head: Option<Head>,
    /// The set, where there were several: the kind they ranked first for, or [`RANDOM_HEADS`].
    pub set: Option<String>,
    /// How many heads.
    pub heads: u32,
    /// For kinds: the share that was lost, untouched minus ablated, paired by image. For
    /// [`LATENT_CHANGE`]: the change itself.
    pub lost: Mean,
}

/// Value of each image by its number.
type ByImage<'a> = BTreeMap<u32, (f64, &'a HeadAblationRow)>;

fn by_image<'a>(rows: impl Iterator<Item = &'a HeadAblationRow>) -> ByImage<'a> {
    rows.filter_map(|row| Some((row.sample, (row.value?, row)))).collect()
}

/// What one group of runs lost against the untouched run of the same image.
fn lost<'a>(all: &[HeadAblationRow], runs: &[&'a HeadAblationRow], measure: &str) -> Option<Mean> {
    let is_untouched = |row: &&HeadAblationRow| {
        row.measure == measure && row.control.as_deref() == Some(UNTOUCHED)
    };
    let untouched = by_image(all.iter().filter(is_untouched));
    let mut of_image: BTreeMap<u32, Vec<(f64, &'a HeadAblationRow)>> = BTreeMap::new();
    for &row in runs {
        if let Some(value) = row.value {
            of_image.entry(row.sample).or_default().push((value, row));
        }
    }
    // Several sets of one kind (random ones) are one number an image: their mean.
    let difference = |(image, values): (u32, Vec<(f64, &'a HeadAblationRow)>)| {
        let mean = values.iter().map(|(value, _)| value).sum::<f64>() / values.len() as f64;
        let row = values.first()?.1;
        let lost = match measure {
            LATENT_CHANGE => mean,
            _ => untouched.get(&image)?.0 - mean,
        };
        Some((lost, row))
    };
    let (values, rows): (Vec<f64>, Vec<&HeadAblationRow>) =
        of_image.into_iter().filter_map(difference).unzip();
    mean_over(&values, &rows)
}

/// Images of one prompt resemble each other: prompts are resampled, or seeds where there is but
/// one prompt.
fn mean_over(values: &[f64], rows: &[&HeadAblationRow]) -> Option<Mean> {
    if values.is_empty() {
        return None;
    }
    let prompts: BTreeSet<&str> = rows.iter().map(|row| row.prompt.as_str()).collect();
    let unit = |row: &&HeadAblationRow| match prompts.len() {
        1 => row.seed.to_string(),
        _ => row.prompt.clone(),
    };
    let units: Vec<String> = rows.iter().map(unit).collect();
    let estimate = Bootstrap::default().cluster_mean(values, &units).ok();
    Some(Mean {
        mean: values.iter().sum::<f64>() / values.len() as f64,
        interval: estimate.map(|estimate| (estimate.low, estimate.high)),
        images: values.len(),
    })
}

/// The kinds that the prompts say anything of.
pub fn kinds(rows: &[HeadAblationRow]) -> Vec<&'static str> {
    let is_there = |kind: &&str| {
        rows.iter().any(|row| {
            row.measure == **kind
                && row.control.as_deref() == Some(UNTOUCHED)
                && row.value.is_some()
        })
    };
    KINDS.into_iter().filter(is_there).collect()
}

/// What is right without an ablation, as a mean over images of a part.
pub fn untouched(rows: &[HeadAblationRow], part: &str, measure: &str) -> Option<Mean> {
    let is_it = |row: &&HeadAblationRow| {
        row.part == part && row.measure == measure && row.control.as_deref() == Some(UNTOUCHED)
    };
    let rows: Vec<&HeadAblationRow> =
        rows.iter().filter(is_it).filter(|row| row.value.is_some()).collect();
    let values: Vec<f64> = rows.iter().filter_map(|row| row.value).collect();
    mean_over(&values, &rows)
}

/// Every head by itself, on the images of the ranking: the one whose loss is largest first; of
/// heads that lose alike, the one that moves the latent more.
pub fn ranking(rows: &[HeadAblationRow], measure: &str) -> Vec<Effect> {
    let mut effects = single_heads(rows, measure);
    let moved: BTreeMap<Head, f64> = single_heads(rows, LATENT_CHANGE)
        .into_iter()
        .filter_map(|effect| Some((effect.head?, effect.lost.mean)))
        .collect();
    let moves = |effect: &Effect| {
        effect.head.as_ref().and_then(|head| moved.get(head)).copied().unwrap_or_default()
    };
    effects.sort_by(|a, b| b.lost.mean.total_cmp(&a.lost.mean).then(moves(b).total_cmp(&moves(a))));
    effects
}

/// Every head by itself, in the order of the table, which is that of the model.
pub fn single_heads(rows: &[HeadAblationRow], measure: &str) -> Vec<Effect> {
    let mut order: Vec<Head> = Vec::new();
    let mut of_head: BTreeMap<Head, Vec<&HeadAblationRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.measure == measure && row.part == RANKING) {
        let Some((layer, number)) = row.site.clone().zip(row.head) else { continue };
        let head = Head { layer, number };
        let runs = of_head.entry(head.clone()).or_default();
        if runs.is_empty() {
            order.push(head);
        }
        runs.push(row);
    }
    let effect = |head: Head| {
        let lost = lost(rows, &of_head[&head], measure)?;
        Some(Effect { head: Some(head), set: None, heads: 1, lost })
    };
    order.into_iter().filter_map(effect).collect()
}

/// What a head drawn at random loses: the mean over all heads of each image's loss.
pub fn head_at_random(rows: &[HeadAblationRow], measure: &str) -> Option<Mean> {
    let is_single = |row: &&HeadAblationRow| {
        row.measure == measure && row.part == RANKING && row.site.is_some()
    };
    lost(rows, &rows.iter().filter(is_single).collect::<Vec<_>>(), measure)
}

/// What a set of heads loses on held-out images: the set chosen by `set`, or [`RANDOM_HEADS`].
pub fn of_set(rows: &[HeadAblationRow], set: &str, measure: &str) -> Option<Effect> {
    let is_it = |row: &&HeadAblationRow| {
        let chosen = match set {
            RANDOM_HEADS => row.control.as_deref() == Some(RANDOM_HEADS),
            kind => row.control.is_none() && row.set.as_deref() == Some(kind),
        };
        row.part == HELD_OUT && row.measure == measure && chosen
    };
    let runs: Vec<&HeadAblationRow> = rows.iter().filter(is_it).collect();
    let heads = runs.first()?.heads;
    Some(Effect { head: None, set: Some(set.to_owned()), heads, lost: lost(rows, &runs, measure)? })
}
