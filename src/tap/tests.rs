#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use super::*;
use crate::site::Axis;

const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Two sites, of which taps may want one.
fn sites() -> (Sites, SiteId, SiteId) {
    let mut sites = Sites::default();
    let axes = vec![Axis::Image, Axis::Channel(2)];
    let mut add =
        |name: &str| sites.add(Site { name: name.into(), path: String::new(), axes: axes.clone() });
    let (a, b) = (add("a"), add("b"));
    (sites, a, b)
}

fn moment(step: usize) -> Moment {
    Moment { step, timestep: 10.0, sigma: 0.5, branch: None }
}

/// Sees tensors at one site, and may replace them.
struct At<F> {
    site: &'static str,
    edit: F,
    seen: Vec<(Moment, Vec<f64>)>,
}

impl<F: Fn(&Tensor) -> Option<Tensor>> At<F> {
    fn new(site: &'static str, edit: F) -> Self {
        Self { site, edit, seen: Vec::new() }
    }
}

impl<F: Fn(&Tensor) -> Option<Tensor>> Tap for At<F> {
    fn selects(&self, site: &Site) -> bool {
        site.name == self.site
    }

    fn visit(&mut self, _: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        self.seen.push((at, numbers(x)));
        Ok((self.edit)(x))
    }
}

fn numbers(x: &Tensor) -> Vec<f64> {
    Vec::try_from(x.to_kind(Kind::Double).contiguous().view([-1])).unwrap()
}

#[test]
fn a_silent_context_passes_tensors_through() {
    let (_, a, _) = sites();
    let mut cx = Cx::silent();
    assert!(!cx.wants(a));
    let x = Tensor::ones([2, 2], OPTIONS);
    let at = x.data_ptr();
    assert_eq!(cx.tap(a, x).unwrap().data_ptr(), at);
}

#[test]
fn a_tap_sees_only_what_it_selects_one_branch_at_a_time() {
    let (sites, a, b) = sites();
    let mut tap = At::new("a", |_| None);
    let mut cx = Cx::watching(&sites, &mut tap);
    assert!(cx.wants(a) && !cx.wants(b));
    cx.now(moment(3), BatchLayout::UncondThenCond);
    let x = Tensor::arange(4_i64, OPTIONS).view([2, 2]);
    let at = x.data_ptr();
    // Nothing replaced: the very tensor goes on.
    assert_eq!(cx.tap(a, x.shallow_clone()).unwrap().data_ptr(), at);
    let _ = cx.tap(b, x.shallow_clone()).unwrap();
    let _ =
        cx.with_layout(BatchLayout::One(Branch::Cond), |cx| cx.tap(a, x.shallow_clone())).unwrap();
    // The layout from before is back.
    let _ = cx.tap(a, x).unwrap();
    let seen: Vec<_> = tap.seen.iter().map(|(at, x)| (at.step, at.branch, x.as_slice())).collect();
    let (uncond, cond) = (Some(Branch::Uncond), Some(Branch::Cond));
    let all = [0.0, 1.0, 2.0, 3.0];
    let halves = [(3, uncond, &all[..2]), (3, cond, &all[2..])];
    assert_eq!(seen, [halves[0], halves[1], (3, cond, &all[..]), halves[0], halves[1]]);
}

#[test]
fn more_sites_than_bits_of_a_word_are_told_apart() {
    let mut sites = Sites::default();
    let add = |i: usize| Site { name: format!("{i}"), path: String::new(), axes: vec![] };
    let ids: Vec<SiteId> = (0..200).map(|i| sites.add(add(i))).collect();
    let mut tap = At::new("130", |_| None);
    let cx = Cx::watching(&sites, &mut tap);
    let wanted: Vec<usize> = (0..200).filter(|&i| cx.wants(ids[i])).collect();
    assert_eq!(wanted, [130]);
}

#[test]
fn one_branch_can_be_replaced_alone() {
    let (sites, a, _) = sites();
    struct Cond;
    impl Tap for Cond {
        fn selects(&self, _: &Site) -> bool {
            true
        }
        fn visit(&mut self, _: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
            Ok((at.branch == Some(Branch::Cond)).then(|| x.zeros_like()))
        }
    }
    let mut tap = Cond;
    let mut cx = Cx::watching(&sites, &mut tap);
    cx.now(moment(0), BatchLayout::UncondThenCond);
    let x = Tensor::ones([4, 2], OPTIONS);
    let made = cx.tap(a, x.shallow_clone()).unwrap();
    assert_eq!(numbers(&made), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(numbers(&x), [1.0; 8], "the original was changed in place");
}

#[test]
fn edits_first_observers_see_the_result() {
    let (sites, a, b) = sites();
    let observe = || At::new("a", |_: &Tensor| None::<Tensor>);
    let twice = || At::new("a", |x: &Tensor| Some(x * 2.0));
    let plus_one = || At::new("a", |x: &Tensor| Some(x + 1.0));
    let x = || Tensor::ones([1, 2], OPTIONS);

    let mut taps = Then(twice(), observe());
    let made = Cx::watching(&sites, &mut taps).tap(a, x()).unwrap();
    assert_eq!(numbers(&made), [2.0, 2.0]);
    assert_eq!(taps.1.seen[0].1, [2.0, 2.0]);

    // An observer in front sees what was there; of two edits the second works on the first's.
    let mut taps = Then(observe(), Then(twice(), plus_one()));
    let made = Cx::watching(&sites, &mut taps).tap(a, x()).unwrap();
    assert_eq!(numbers(&made), [3.0, 3.0]);
    assert_eq!(taps.0.seen[0].1, [1.0, 1.0]);

    // Either is asked only about its own sites.
    let mut taps = Then(At::new("b", |x: &Tensor| Some(x * 5.0)), observe());
    let mut cx = Cx::watching(&sites, &mut taps);
    assert!(cx.wants(a) && cx.wants(b));
    assert_eq!(numbers(&cx.tap(a, x()).unwrap()), [1.0, 1.0]);
    assert_eq!(numbers(&cx.tap(b, x()).unwrap()), [5.0, 5.0]);
    assert_eq!((taps.0.seen.len(), taps.1.seen.len()), (1, 1));
}

#[test]
fn statistics_are_those_of_the_numbers() {
    let (sites, a, _) = sites();
    let mut tap = StatisticsRecorder::new(["a".to_owned()], Some(BTreeSet::from([1])));
    let mut cx = Cx::watching(&sites, &mut tap);
    for step in 0..3 {
        cx.now(moment(step), BatchLayout::Shared);
        let _ = cx.tap(a, Tensor::from_slice(&[1.0_f32, 3.0, 3.0, 5.0]).view([2, 2])).unwrap();
    }
    let rows = tap.into_rows();
    let [first, second] = rows.as_slice() else { panic!("one row an image: {rows:?}") };
    for (sample, row) in [first, second].into_iter().enumerate() {
        assert_eq!(row.at.map(|at| at.step), Some(1));
        assert_eq!((row.sample, row.branch, row.site.as_str()), (sample, None, "a"));
        assert!((row.std - 1.0).abs() < 1e-12, "over n, not n − 1: {}", row.std);
    }
    assert_eq!((first.mean, first.min, first.max), (2.0, 1.0, 3.0));
    assert_eq!((second.mean, second.min, second.max), (4.0, 3.0, 5.0));
    assert!((first.norm - 10.0_f64.sqrt()).abs() < 1e-12, "{}", first.norm);
}

/// Statistics of one tensor with a single image.
fn statistics(numbers: &[f32]) -> StatisticsRow {
    let (sites, a, _) = sites();
    let mut tap = StatisticsRecorder::new(["a".to_owned()], None);
    let _ = Cx::watching(&sites, &mut tap).tap(a, Tensor::from_slice(numbers).view([1, -1]));
    tap.into_rows().remove(0)
}

/// i² mod 31 − 7 for i below 150 000: whole numbers, some zero, more than are fetched at a time.
fn squares_modulo(shift: f32) -> Vec<f32> {
    (0..150_000_u64).map(|i| (i * i % 31) as f32 - 7.0 + shift).collect()
}

#[test]
fn kurtosis_and_zeros_are_those_of_scipy() {
    // In Python: i = numpy.arange(150000); x = i * i % 31 - 7
    let row = statistics(&squares_modulo(0.0));
    // With scipy 1.17.1: scipy.stats.kurtosis(x), (x == 0).mean(), numpy.linalg.norm(x), x.std()
    let expected = [-0.9818149000767948, 0.06452, 3734.981793797662, 8.246210846790987];
    for (got, expected) in [row.kurtosis, row.zeros, row.norm, row.std].into_iter().zip(expected) {
        assert!((got / expected - 1.0).abs() < 1e-12, "{got} is not {expected}");
    }
    // Far from zero the same but for the rounding of f64; sums of fourth powers would have lost
    // all of it.
    let far = statistics(&squares_modulo(65_536.0));
    assert!((far.kurtosis / expected[0] - 1.0).abs() < 1e-9, "{}", far.kurtosis);
    assert_eq!(far.zeros, 0.0);
}

#[test]
fn kurtosis_is_exact_where_it_can_be_worked_out() {
    // Two equally frequent values: m₄ = m₂², the smallest kurtosis there is.
    assert_eq!(statistics(&[-1.0, 1.0, -1.0, 1.0]).kurtosis, -2.0);
    // 0, 0, 0, 4: mean 1, m₂ = 3, m₄ = (3 + 81) / 4 = 21.
    let row = statistics(&[0.0, 0.0, -0.0, 4.0]);
    assert!((row.kurtosis - (21.0 / 9.0 - 3.0)).abs() < 1e-12, "{}", row.kurtosis);
    assert_eq!(row.zeros, 0.75, "negative zero is zero");
    let equal = statistics(&[0.1; 5000]);
    assert!(equal.kurtosis.is_nan() && equal.std == 0.0, "{equal:?}");
}

#[test]
fn statistics_show_what_is_not_a_number() {
    let mut numbers = vec![1.0_f32; 5000];
    numbers[10] = f32::NAN;
    let row = statistics(&numbers);
    let all = [row.mean, row.std, row.min, row.max, row.norm, row.kurtosis];
    assert!(all.iter().all(|x| x.is_nan()), "{row:?}");
    numbers[10] = f32::INFINITY;
    let row = statistics(&numbers);
    assert_eq!(
        (row.mean, row.min, row.max, row.norm),
        (f64::INFINITY, 1.0, f64::INFINITY, f64::INFINITY)
    );
    assert!(row.std.is_nan() && row.kurtosis.is_nan(), "{row:?}");
}

/// Two rows of three positions, three tokens, of which two are watched.
fn probabilities() -> Tensor {
    const POSITIONS: i64 = 6;
    let x = Tensor::zeros([1, 1, POSITIONS, 3], OPTIONS);
    let _ = x.narrow(3, 0, 1).fill_(1.0 / 6.0);
    // All of the second token's attention is in the second row's second cell.
    let _ = x.narrow(3, 1, 1).narrow(2, 4, 1).fill_(0.5);
    let _ = x.narrow(3, 2, 1).fill_(0.9);
    x
}

fn attention_site() -> Site {
    let axes = vec![Axis::Image, Axis::Head(1), Axis::Position(2), Axis::Token];
    Site { name: "mid.cross.probs".into(), path: String::new(), axes }
}

#[test]
fn attention_is_reduced_to_its_numbers() {
    let site = attention_site();
    let mut tap = AttentionRecorder::new(2, [site.name.clone()], [4, 6]);
    assert!(tap.selects(&site));
    for (step, branch) in [(0, Branch::Uncond), (0, Branch::Cond), (1, Branch::Cond)] {
        let at = Moment { branch: Some(branch), ..moment(step) };
        assert!(tap.visit(&site, at, &probabilities()).unwrap().is_none());
    }
    let record = tap.finish().unwrap();
    assert_eq!(record.rows.len(), 3 * 2);
    assert_eq!(record.steps, 2);
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    for row in &record.rows {
        let [x, y] = row.centroid;
        assert!(near(x, 0.5), "{row:?}");
        if row.token == 0 {
            assert!(near(row.mass, 1.0 / 6.0) && near(row.entropy, 6.0_f64.ln()), "{row:?}");
            assert!(near(y, 0.5), "{row:?}");
        } else {
            assert!(near(row.mass, 0.5 / 6.0) && near(row.entropy, 0.0), "{row:?}");
            assert!(near(y, 0.75) && row.peak == [0.5, 0.75], "{row:?}");
        }
    }
    // Maps are of the conditional branch alone: two steps of it.
    let layer = &record.layers[0];
    assert_eq!(layer.per_head.dim(), (1, 1, 2, 2, 3));
    assert!(near(layer.per_head[[0, 0, 1, 1, 1]].into(), 1.0));
    assert_eq!(layer.per_step.len(), 2);
    assert!(near(layer.per_step[1][[0, 1, 1, 1]].into(), 0.5));
}

/// A token that an edit took all attention from has no place.
#[test]
fn a_map_of_zeros_has_no_place() {
    let site = attention_site();
    let mut tap = AttentionRecorder::new(1, [site.name.clone()], [4, 6]);
    let at = Moment { branch: Some(Branch::Cond), ..moment(0) };
    tap.visit(&site, at, &probabilities().zeros_like()).unwrap();
    let record = tap.finish().unwrap();
    let row = record.rows[0];
    assert_eq!(row.mass, 0.0);
    let rest = [row.entropy, row.centroid[0], row.centroid[1], row.peak[0], row.peak[1]];
    assert!(rest.iter().all(|x| x.is_nan()), "{row:?}");
}
