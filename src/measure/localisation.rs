//! Whether a map lies on a region.
//!
//! A map and a region are two arrays of one shape ([`super::resize`] brings them together). The
//! region's cells are the positives and the map's values the scores. All scores read only what
//! the map says; none is tuned on the region except [`Ranking::best_iou`], which says so.
//!
//! | score | nothing there | perfect |
//! |---|---|---|
//! | AUROC | 0.5 | 1 |
//! | average precision | the region's share of the image | 1 |
//! | mass ratio | 1 | image area over region area |
//! | pointing | the region's share of the image | 1 |
//! | IoU | depends on the threshold | 1 |

use ndarray::{ArrayView2, Zip};

use super::Undefined;
use super::map::{check_finite, extent, is_constant, min_max, same_shape, shares, stretch};

/// The threshold DAAM reports for min–max stretched maps.
pub const DAAM_THRESHOLD: f64 = 0.4;

/// All scores of one map against one region. A score that does not exist carries its reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Localisation {
    /// See [`Ranking::auroc`].
    pub auroc: Result<f64, Undefined>,
    /// See [`Ranking::average_precision`].
    pub average_precision: Result<f64, Undefined>,
    /// See [`iou`], at the threshold given to [`Localisation::new`].
    pub iou: Result<f64, Undefined>,
    /// See [`Ranking::best_iou`].
    pub best_iou: Result<BestIou, Undefined>,
    /// See [`intersection_over_map`], at the same threshold.
    pub ioa: Result<f64, Undefined>,
    /// See [`mass_ratio`].
    pub mass_ratio: Result<f64, Undefined>,
    /// See [`pointing`].
    pub pointing: Result<bool, Undefined>,
}

impl Localisation {
    /// Scores `map` against `region`; `threshold` in `[0, 1)` is for the IoU.
    ///
    /// # Errors
    /// What rules out every score: shapes differ, the map is empty or not finite, or the region
    /// is empty. Reasons that touch one score only are in the fields.
    pub fn new(
        map: ArrayView2<'_, f32>,
        region: ArrayView2<'_, bool>,
        threshold: f64,
    ) -> Result<Self, Undefined> {
        let ranking = Ranking::new(map, region)?;
        Ok(Self {
            auroc: ranking.auroc(),
            average_precision: Ok(ranking.average_precision()),
            iou: iou(map, region, threshold),
            best_iou: ranking.best_iou(),
            ioa: intersection_over_map(map, region, threshold),
            mass_ratio: mass_ratio(map, region),
            pointing: pointing(map, region),
        })
    }
}

/// The largest IoU over all thresholds, and the threshold that gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestIou {
    /// Intersection over union, in `[0, 1]`.
    pub iou: f64,
    /// The threshold τ on the min–max stretched map; cells above it count as the map's region.
    pub threshold: f64,
}

/// A map's cells from the largest value down, grouped by equal value: what all rank scores need.
#[derive(Debug, Clone)]
pub struct Ranking {
    groups: Vec<Group>,
    positives: usize,
    cells: usize,
}

/// Cells of one value.
#[derive(Debug, Clone, Copy)]
struct Group {
    value: f32,
    inside: usize,
    outside: usize,
}

impl Ranking {
    /// Sorts the cells of `map` once.
    ///
    /// # Errors
    /// [`Undefined::Shape`], [`Undefined::Empty`], [`Undefined::NotFinite`],
    /// [`Undefined::EmptyRegion`].
    pub fn new(map: ArrayView2<'_, f32>, region: ArrayView2<'_, bool>) -> Result<Self, Undefined> {
        check(map, region)?;
        let mut cells: Vec<(f32, bool)> = map.iter().copied().zip(region.iter().copied()).collect();
        cells.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        // Zero and minus zero are one value.
        let groups: Vec<Group> = cells
            .chunk_by(|a, b| a.0 == b.0)
            .map(|group| {
                let inside = group.iter().filter(|cell| cell.1).count();
                Group { value: group[0].0, inside, outside: group.len() - inside }
            })
            .collect();
        let positives = groups.iter().map(|group| group.inside).sum();
        Ok(Self { groups, positives, cells: cells.len() })
    }

    /// Probability that a cell inside has a larger value than a cell outside, ties counted
    /// half: the area under the ROC curve, equal to Mann–Whitney's U over the number of pairs.
    ///
    /// A constant map has AUROC 0.5: all pairs are ties.
    ///
    /// # Errors
    /// [`Undefined::FullRegion`]: without an outside there are no pairs.
    pub fn auroc(&self) -> Result<f64, Undefined> {
        let negatives = self.cells - self.positives;
        if negatives == 0 {
            return Err(Undefined::FullRegion);
        }
        let mut inside_above = 0.0;
        let mut wins = 0.0;
        for group in &self.groups {
            wins += group.outside as f64 * (inside_above + 0.5 * group.inside as f64);
            inside_above += group.inside as f64;
        }
        Ok(wins / (self.positives as f64 * negatives as f64))
    }

    /// Average precision: Σ (R_n − R_{n−1})·P_n over the distinct values from the largest down,
    /// without interpolation. A constant map has the region's share of the image.
    pub fn average_precision(&self) -> f64 {
        let (mut inside, mut taken, mut sum) = (0, 0, 0.0);
        for group in &self.groups {
            inside += group.inside;
            taken += group.inside + group.outside;
            sum += group.inside as f64 * inside as f64 / taken as f64;
        }
        sum / self.positives as f64
    }

    /// The largest IoU over all thresholds in `[0, 1)` of the min–max stretched map.
    ///
    /// The threshold is chosen by looking at the region: an upper bound on what thresholding
    /// this map can give, not a score that may be compared with one at a fixed threshold. Of
    /// thresholds with equal IoU the highest is returned.
    ///
    /// # Errors
    /// [`Undefined::Constant`] when the map has one value only.
    pub fn best_iou(&self) -> Result<BestIou, Undefined> {
        let (Some(first), Some(last)) = (self.groups.first(), self.groups.last()) else {
            return Err(Undefined::Empty);
        };
        let (high, low) = (first.value, last.value);
        if is_constant(low, high) {
            return Err(Undefined::Constant);
        }
        let mut best = BestIou { iou: -1.0, threshold: 0.0 };
        let (mut inside, mut outside) = (0, 0);
        for pair in self.groups.windows(2) {
            inside += pair[0].inside;
            outside += pair[0].outside;
            let iou = inside as f64 / (self.positives + outside) as f64;
            if iou > best.iou {
                best = BestIou { iou, threshold: f64::from(stretch(pair[1].value, low, high)) };
            }
        }
        Ok(best)
    }
}

/// Intersection over union of the region and the cells whose min–max stretched value is above
/// `threshold` (strictly, as in DAAM).
///
/// # Errors
/// As [`min_max`], [`Undefined::EmptyRegion`], and [`Undefined::Parameter`] when the threshold
/// is not in `[0, 1)`.
pub fn iou(
    map: ArrayView2<'_, f32>,
    region: ArrayView2<'_, bool>,
    threshold: f64,
) -> Result<f64, Undefined> {
    let overlap = Overlap::new(map, region, threshold)?;
    Ok(overlap.both as f64 / (overlap.above + overlap.inside - overlap.both) as f64)
}

/// Share of the map's cells above `threshold` that lie in the region: intersection over the
/// area of the thresholded map. Whether the map stays on the object.
///
/// # Errors
/// As [`iou`].
pub fn intersection_over_map(
    map: ArrayView2<'_, f32>,
    region: ArrayView2<'_, bool>,
    threshold: f64,
) -> Result<f64, Undefined> {
    let overlap = Overlap::new(map, region, threshold)?;
    Ok(overlap.both as f64 / overlap.above as f64)
}

/// Share of the region's cells that are above `threshold`: intersection over the area of the
/// region. Whether the map covers the object.
///
/// # Errors
/// As [`iou`].
pub fn intersection_over_region(
    map: ArrayView2<'_, f32>,
    region: ArrayView2<'_, bool>,
    threshold: f64,
) -> Result<f64, Undefined> {
    let overlap = Overlap::new(map, region, threshold)?;
    Ok(overlap.both as f64 / overlap.inside as f64)
}

/// The region's share of the map's mass over its share of the area: 1 when the map knows
/// nothing of the region, at most image area over region area, 0 when it avoids the region.
///
/// # Errors
/// [`Undefined::Negative`] and [`Undefined::ZeroMass`] beside what [`Ranking::new`] refuses.
pub fn mass_ratio(
    map: ArrayView2<'_, f32>,
    region: ArrayView2<'_, bool>,
) -> Result<f64, Undefined> {
    check(map, region)?;
    let weights = shares(map)?;
    let mut mass = 0.0;
    let mut area = 0_usize;
    Zip::from(&weights).and(region).for_each(|&share, &inside| {
        if inside {
            mass += share;
            area += 1;
        }
    });
    Ok(mass * map.len() as f64 / area as f64)
}

/// The pointing game: whether the map's peak lies in the region.
///
/// # Errors
/// [`Undefined::TiedPeak`] when equal peaks lie on both sides (a constant map, for one), beside
/// what [`Ranking::new`] refuses.
pub fn pointing(map: ArrayView2<'_, f32>, region: ArrayView2<'_, bool>) -> Result<bool, Undefined> {
    check(map, region)?;
    let (_, high) = extent(map);
    let mut sides = map.iter().zip(region).filter(|(x, _)| **x == high).map(|(_, &inside)| inside);
    let first = sides.next().ok_or(Undefined::Empty)?;
    if sides.all(|inside| inside == first) { Ok(first) } else { Err(Undefined::TiedPeak) }
}

/// Intersection over union of two regions.
///
/// # Errors
/// [`Undefined::Shape`], and [`Undefined::EmptyRegion`] when both are empty.
pub fn region_iou(
    region: ArrayView2<'_, bool>,
    other: ArrayView2<'_, bool>,
) -> Result<f64, Undefined> {
    same_shape(region.dim(), other.dim())?;
    let (mut both, mut either) = (0_usize, 0_usize);
    for (&a, &b) in region.iter().zip(other) {
        both += usize::from(a && b);
        either += usize::from(a || b);
    }
    if either == 0 { Err(Undefined::EmptyRegion) } else { Ok(both as f64 / either as f64) }
}

/// Cell counts of a thresholded map against a region.
struct Overlap {
    above: usize,
    inside: usize,
    both: usize,
}

impl Overlap {
    fn new(
        map: ArrayView2<'_, f32>,
        region: ArrayView2<'_, bool>,
        threshold: f64,
    ) -> Result<Self, Undefined> {
        if !(0.0..1.0).contains(&threshold) {
            let allowed = "at least 0 and below 1";
            return Err(Undefined::Parameter { name: "the threshold", got: threshold, allowed });
        }
        check(map, region)?;
        let stretched = min_max(map)?;
        let mut counts = Self { above: 0, inside: 0, both: 0 };
        Zip::from(&stretched).and(region).for_each(|&x, &inside| {
            let above = f64::from(x) > threshold;
            counts.above += usize::from(above);
            counts.inside += usize::from(inside);
            counts.both += usize::from(above && inside);
        });
        // The largest stretched value is 1, so a threshold below 1 leaves at least one cell.
        if counts.above == 0 { Err(Undefined::NothingAboveThreshold) } else { Ok(counts) }
    }
}

fn check(map: ArrayView2<'_, f32>, region: ArrayView2<'_, bool>) -> Result<(), Undefined> {
    same_shape(map.dim(), region.dim())?;
    check_finite(map)?;
    if region.iter().any(|&inside| inside) { Ok(()) } else { Err(Undefined::EmptyRegion) }
}
