//! Where objects are: what a linear regression on the activations of one place says of the share
//! of that place which objects cover.

use super::features::{Readings, UNTRAINED};
use crate::measure::interval::DEFAULT_CONFIDENCE;
use crate::measure::jackknife::jackknife;
use crate::measure::linear::{Ridge, Sums};
use crate::measure::{Estimate, Undefined};
use crate::report::{self, Finding, Scale};
use crate::table::LinearProbeRow;

/// How the table `linear_probe` calls it.
pub const MASK: &str = "mask";
/// Parts into which scenes fall, each read by a regression on the others; intervals are over them.
pub const FOLDS: usize = 10;
/// The targets: the scene's own mask, and the control, that of another scene.
const OWN: usize = 0;
const OTHER: usize = 1;
/// Ridge's penalty for each place that is learnt from; features are standardised.
const PENALTY_PER_PLACE: f64 = 1e-3;

/// Reads masks out of a site at one timestep, given the sums of each fold with two targets: the
/// share that each scene's own objects cover, and the share that another scene's do. `like` has the
/// site and the timestep, `scenes` how many were shown.
///
/// The score is R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)² over all places of held-out scenes, ŷ and ȳ from the
/// other folds.
pub fn read(sums: &[Option<Sums>], scenes: usize, like: &LinearProbeRow) -> Readings {
    match row(sums, scenes, like) {
        Ok(row) => Readings { rows: vec![row], missing: Vec::new() },
        Err(reason) => {
            let says = format!("masks were not read out of {}: {reason}", like.site);
            Readings { rows: Vec::new(), missing: vec![says] }
        }
    }
}

fn row(
    sums: &[Option<Sums>],
    scenes: usize,
    like: &LinearProbeRow,
) -> Result<LinearProbeRow, Undefined> {
    let folds: Vec<&Sums> = sums.iter().flatten().collect();
    let Some((first, others)) = folds.split_first() else { return Err(Undefined::Empty) };
    let all = others.iter().fold((*first).clone(), |all, more| all.joined(more, 1.0));
    let errors: Vec<[Errors; 2]> =
        folds.iter().map(|fold| errors(fold, &all)).collect::<Result<_, _>>()?;
    let of = |target: usize| over_folds(&errors, |kept| share(kept, target));
    let (score, control) = (of(OWN)?, of(OTHER)?);
    let selectivity = over_folds(&errors, |kept| Ok(share(kept, OWN)? - share(kept, OTHER)?))?;
    Ok(LinearProbeRow {
        attribute: MASK.to_owned(),
        regression: "ridge".to_owned(),
        measure: "r2".to_owned(),
        score: score.mean,
        score_low: score.low,
        score_high: score.high,
        shuffled: control.mean,
        selectivity: selectivity.mean,
        selectivity_low: selectivity.low,
        selectivity_high: selectivity.high,
        scenes: scenes as u32,
        features: first.features() as u32,
        ..like.clone()
    })
}

/// Σ(y − ŷ)² and Σ(y − ȳ)² of a fold.
#[derive(Clone, Copy, Debug)]
struct Errors {
    left: f64,
    whole: f64,
}

/// The errors of both targets in one fold, by a regression on the others.
fn errors(fold: &Sums, all: &Sums) -> Result<[Errors; 2], Undefined> {
    let learnt = all.joined(fold, -1.0);
    if learnt.rows() < 2.0 {
        return Err(Undefined::TooFew { needed: 2, got: learnt.rows() as usize });
    }
    let fit = Ridge { penalty: PENALTY_PER_PLACE * learnt.rows() }.of_sums(&learnt)?;
    let (left, whole) = (fold.squared_error(&fit), fold.squared_distance(&learnt.means()));
    Ok([OWN, OTHER].map(|target| Errors { left: left[target], whole: whole[target] }))
}

/// R² of one target over some folds.
fn share(kept: &[&[Errors; 2]], target: usize) -> Result<f64, Undefined> {
    let sum = |of: fn(&Errors) -> f64| kept.iter().map(|fold| of(&fold[target])).sum::<f64>();
    let (left, whole) = (sum(|e| e.left), sum(|e| e.whole));
    if whole > 0.0 { Ok(1.0 - left / whole) } else { Err(Undefined::Constant) }
}

fn over_folds(
    errors: &[[Errors; 2]],
    statistic: impl Fn(&[&[Errors; 2]]) -> Result<f64, Undefined>,
) -> Result<Estimate, Undefined> {
    jackknife(errors.len(), DEFAULT_CONFIDENCE, |kept| {
        statistic(&kept.iter().map(|&fold| &errors[fold]).collect::<Vec<_>>())
    })
}

/// What the block that tells most says of where objects are, at the timestep where it tells most;
/// none where masks were not read.
pub fn finding(rows: &[LinearProbeRow]) -> Option<Finding> {
    let of = |control: Option<&'static str>| {
        rows.iter().filter(move |row| row.attribute == MASK && row.control.as_deref() == control)
    };
    let best = of(None).max_by(|a, b| a.selectivity.total_cmp(&b.selectivity))?;
    let untrained =
        of(Some(UNTRAINED)).find(|row| row.site == best.site && row.timestep == best.timestep);
    let estimate =
        |row: &LinearProbeRow| report::Estimate::within(row.score, row.score_low, row.score_high);
    let (found, random) = (estimate(best), untrained.map(estimate));
    let beside = random.map_or_else(|| "not measured there".to_owned(), |random| random.text());
    Some(Finding {
        sentence: format!(
            "`{}` tells place by place where objects are: R² {} at timestep {:.0} (masks of other \
             scenes {:.2}, random weights {beside})",
            best.site,
            found.text(),
            best.timestep,
            best.shuffled
        ),
        measure: "R²".to_owned(),
        estimate: Some(found),
        control: random,
        scale: Some(Scale { low: 0.0, high: 1.0, nothing: None }),
        basis: format!(
            "ridge regression of the share of each place that objects cover on its activations, \
             {FOLDS} folds over n = {} scenes; 95 % jackknife intervals over folds; block and \
             timestep are those that tell most beyond masks of other scenes",
            best.scenes
        ),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use ndarray::Array2;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    use super::super::features::{empty_row, probe_row};
    use super::super::summary::most_telling_site;
    use super::*;
    use crate::measure::linear::Folds;

    const PLACES: usize = 64;
    const SCENES: usize = 60;
    const CHANNELS: usize = 12;

    fn normal(random: &mut ChaCha8Rng) -> f64 {
        StandardNormal.sample(random)
    }

    /// Scenes of noise whose third channel has so much of the first target, as rows, and targets.
    fn planted(strength: f64) -> (Array2<f64>, Array2<f64>) {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let rows = SCENES * PLACES;
        let y = Array2::from_shape_simple_fn((rows, 2), || normal(&mut random));
        let mut x = Array2::from_shape_simple_fn((rows, CHANNELS), || normal(&mut random));
        x.column_mut(2).scaled_add(strength, &y.column(0));
        (x, y)
    }

    fn sums(x: &Array2<f64>, y: &Array2<f64>) -> Vec<Option<Sums>> {
        let of_fold = |fold: usize| {
            let rows: Vec<usize> =
                (0..x.nrows()).filter(|row| row / PLACES % FOLDS == fold).collect();
            let pick = |a: &Array2<f64>| a.select(ndarray::Axis(0), &rows);
            Some(Sums::of(pick(x).view(), pick(y).view()))
        };
        (0..FOLDS).map(of_fold).collect()
    }

    #[test]
    fn a_planted_mask_is_recovered_and_another_scenes_is_not() {
        // The channel is mask + noise of the same size: half of its variance is the mask's.
        let (x, y) = planted(1.0);
        let found = read(&sums(&x, &y), SCENES, &empty_row());
        let row = &found.rows[0];
        assert!((row.score - 0.5).abs() < 0.03, "{row:?}");
        assert!(row.score_low < 0.5 && 0.5 < row.score_high, "{row:?}");
        assert!(row.shuffled.abs() < 0.03, "{row:?}");
        assert!((row.selectivity - 0.5).abs() < 0.03, "{row:?}");
    }

    #[test]
    fn the_block_and_timestep_that_tell_most_are_named() {
        let row = |site: &str, timestep: f64, score: f64| LinearProbeRow {
            attribute: MASK.to_owned(),
            score,
            selectivity: score,
            ..probe_row("run", site, (timestep, 0.5), None)
        };
        let rows = [row("a.out", 200.0, 0.4), row("b.out", 200.0, 0.6), row("b.out", 800.0, 0.5)];
        let found = finding(&rows).unwrap();
        assert!(found.sentence.starts_with("`b.out` tells place by place"), "{}", found.sentence);
        assert!(found.sentence.contains("R² 0.60") && found.sentence.contains("timestep 200"));
        assert!(found.sentence.contains("random weights not measured there"));
        assert!(finding(&[]).is_none());
    }

    #[test]
    fn nothing_planted_is_nothing_found() {
        let (x, y) = planted(0.0);
        let found = read(&sums(&x, &y), SCENES, &empty_row());
        assert!(found.rows[0].selectivity.abs() < 0.03, "{:?}", found.rows[0]);
    }

    #[test]
    fn sums_say_what_predictions_say() {
        let (x, y) = planted(0.7);
        let groups: Vec<usize> = (0..x.nrows()).map(|row| row / PLACES % 2).collect();
        let of = |fold: usize| {
            let rows: Vec<usize> = (0..x.nrows()).filter(|&row| groups[row] == fold).collect();
            let pick = |a: &Array2<f64>| a.select(ndarray::Axis(0), &rows);
            (pick(&x), pick(&y))
        };
        let folds = Folds::grouped(&groups, 2, 0).unwrap();
        let penalty = PENALTY_PER_PLACE * (x.nrows() / 2) as f64;
        let predicted = Ridge { penalty }.held_out(x.view(), y.view(), &folds).unwrap();
        let expected = (&y - &predicted).mapv(|e| e * e).sum_axis(ndarray::Axis(0));
        let parts = [of(0), of(1)].map(|(x, y)| Sums::of(x.view(), y.view()));
        let fit = |on: &Sums| Ridge { penalty }.of_sums(on).unwrap();
        let found =
            parts[0].squared_error(&fit(&parts[1])) + parts[1].squared_error(&fit(&parts[0]));
        for (a, b) in expected.iter().zip(&found) {
            assert!((a - b).abs() < 1e-6 * a, "{a} {b}");
        }
    }

    #[test]
    fn activations_that_are_no_numbers_are_said_and_not_read() {
        let (mut x, y) = planted(1.0);
        x[[3, 3]] = f64::NAN;
        let found = read(&sums(&x, &y), SCENES, &empty_row());
        assert!(found.rows.is_empty());
        assert!(found.missing[0].contains("masks were not read"), "{:?}", found.missing);
    }

    #[test]
    fn masks_do_not_say_which_site_tells_most() {
        let row = |site: &str, attribute: &str, selectivity: f64| LinearProbeRow {
            attribute: attribute.to_owned(),
            regression: "ridge".to_owned(),
            selectivity,
            ..probe_row("run", site, (200.0, 0.5), None)
        };
        let rows = [
            row("mid.out", "shape", 0.3),
            row("mid.out", MASK, 0.0),
            row("up.0.res.0.out", "shape", 0.2),
        ];
        assert_eq!(most_telling_site(&rows), Some("mid.out"));
    }
}
