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
    let x = Tensor::arange(4, OPTIONS).view([2, 2]);
    let at = x.data_ptr();
    // Nothing replaced: the very tensor goes on.
    assert_eq!(cx.tap(a, x.shallow_clone()).unwrap().data_ptr(), at);
    cx.tap(b, x.shallow_clone()).unwrap();
    cx.with_layout(BatchLayout::One(Branch::Cond), |cx| cx.tap(a, x.shallow_clone())).unwrap();
    // The layout from before is back.
    cx.tap(a, x).unwrap();
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
        cx.tap(a, Tensor::from_slice(&[1.0_f32, 3.0, 3.0, 5.0]).view([2, 2])).unwrap();
    }
    let rows = tap.into_rows();
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.step, row.branch, row.site.as_str()), (1, None, "a"));
    assert_eq!((row.mean, row.min, row.max), (3.0, 1.0, 5.0));
    assert!((row.std - 2.0_f64.sqrt()).abs() < 1e-12, "over n, not n − 1: {}", row.std);
    assert!((row.norm - 44.0_f64.sqrt()).abs() < 1e-12, "{}", row.norm);
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
