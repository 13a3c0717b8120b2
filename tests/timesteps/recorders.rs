//! What is recorded for the questions of `probe timesteps`.

use denoscope::measure::linear::Sums;
use denoscope::site::{Axis, Branch, Site};
use denoscope::tap::{
    EntropyRecorder, Moment, PlaceMomentsRecorder, PlaceTargets, PlaceTargetsRecorder, Tap,
};
use ndarray::Array2;
use tch::{Device, Kind, Tensor};

fn moment(step: usize) -> Moment {
    Moment { step, timestep: 10.0, sigma: 0.5, branch: None }
}

fn site(name: &str, axes: Vec<Axis>) -> Site {
    Site { name: name.into(), path: String::new(), axes }
}

/// Two channels on 2 × 4 places: one that grows to the right, one that is there at the top.
fn planes() -> Tensor {
    let right = Tensor::arange(4, (Kind::Float, Device::Cpu)).unsqueeze(0).expand([2, 4], true);
    let top = Tensor::from_slice(&[1.0_f32, 0.0]).unsqueeze(1).expand([2, 4], true);
    Tensor::stack(&[right, top], 0).unsqueeze(0)
}

const MEANS: [f32; 2] = [1.5, 0.5];
/// Mean of value × x with x = −0.75 … 0.75; mean of value × y with y = ∓0.5.
const BY_X: [f32; 2] = [0.625, 0.0];
const BY_Y: [f32; 2] = [0.0, -0.25];

#[test]
fn moments_tell_where_and_how_much() {
    let channels_first =
        site("mid.out", vec![Axis::Image, Axis::Channel(2), Axis::Row(1), Axis::Column(1)]);
    let channels_last = site("mid.ff.out", vec![Axis::Image, Axis::Position(1), Axis::Channel(2)]);
    let heads =
        site("mid.self.q", vec![Axis::Image, Axis::Head(2), Axis::Position(1), Axis::Channel(1)]);
    let planes = planes();
    let by_place = planes.reshape([1, 2, 8]).transpose(1, 2);
    let by_head = planes.reshape([1, 2, 8, 1]);
    let names = [&channels_first, &channels_last, &heads].map(|site| site.name.clone());
    let mut recorder = PlaceMomentsRecorder::new(names, [2, 4]);
    for (site, x) in [(&channels_first, &planes), (&channels_last, &by_place), (&heads, &by_head)] {
        assert!(recorder.selects(site));
        assert_eq!(PlaceMomentsRecorder::width(site), 6);
        recorder.visit(site, moment(0), x).unwrap();
    }
    let expected = [MEANS, BY_X, BY_Y].concat();
    for ((name, _), pooled) in recorder.finish() {
        assert_eq!(pooled.width, 6);
        let near = pooled.values.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near, "{name}: {:?}", pooled.values);
    }
}

#[test]
fn places_are_summed_with_what_covers_them_fold_by_fold() {
    let site = site("mid.out", vec![Axis::Image, Axis::Channel(2), Axis::Row(1), Axis::Column(1)]);
    let mask = |covered: fn((usize, usize)) -> bool| Array2::from_shape_fn((2, 4), covered);
    let (left, top) = (mask(|(_, column)| column < 2), mask(|(row, _)| row == 0));
    let target = |fold, masks: [&Array2<bool>; 2]| PlaceTargets {
        fold,
        masks: masks.map(Clone::clone).to_vec(),
    };
    let shown = [target(0, [&left, &top]), target(2, [&top, &left]), target(0, [&top, &top])];
    let (one, two) = (planes(), planes() * 2.0);
    let mut recorder = PlaceTargetsRecorder::new([site.name.clone()], [2, 4], 3);
    assert!(recorder.selects(&site));
    recorder.show(shown[..2].to_vec());
    recorder.visit(&site, moment(0), &Tensor::cat(&[&one, &two], 0)).unwrap();
    recorder.show(shown[2..].to_vec());
    recorder.visit(&site, moment(0), &two).unwrap();
    assert!(recorder.visit(&site, moment(0), &Tensor::cat(&[&one, &two], 0)).is_err());

    // [places, channels] and [places, targets] of an image.
    let sums = |images: &[(&Tensor, &PlaceTargets)]| {
        let x = |(image, _): &(&Tensor, &PlaceTargets)| {
            Vec::<f64>::try_from(image.reshape([2, 8]).tr().reshape([-1]).to_kind(Kind::Double))
                .unwrap()
        };
        let y = |(_, target): &(&Tensor, &PlaceTargets)| -> Vec<f64> {
            let at = |place: usize, mask: &Array2<bool>| f64::from(mask[[place / 4, place % 4]]);
            (0..8).flat_map(|place| target.masks.iter().map(move |m| at(place, m))).collect()
        };
        let rows = 8 * images.len();
        let x: Vec<f64> = images.iter().flat_map(x).collect();
        let y: Vec<f64> = images.iter().flat_map(y).collect();
        let of = |values| Array2::from_shape_vec((rows, 2), values).unwrap();
        Sums::of(of(x).view(), of(y).view())
    };
    let expected = vec![
        Some(sums(&[(&one, &shown[0]), (&two, &shown[2])])),
        None,
        Some(sums(&[(&two, &shown[1])])),
    ];
    assert_eq!(recorder.finish().remove(&("mid.out".to_owned(), 0)).unwrap(), expected);
}

#[test]
fn what_has_no_places_is_left_alone() {
    let none = site("time.embed", vec![Axis::Image, Axis::Channel(2)]);
    let keys = site("mid.cross.k", vec![Axis::Image, Axis::Head(2), Axis::Token, Axis::Channel(1)]);
    let pairs = site(
        "mid.self.probs",
        vec![Axis::Image, Axis::Head(2), Axis::Position(1), Axis::Position(1)],
    );
    for site in [none, keys, pairs] {
        assert!(!PlaceMomentsRecorder::knows(&site), "{}", site.name);
    }
}

#[test]
fn images_are_counted_on_over_runs() {
    let site = site("mid.out", vec![Axis::Image, Axis::Channel(2), Axis::Row(1), Axis::Column(1)]);
    let mut recorder = PlaceMomentsRecorder::new([site.name.clone()], [2, 4]);
    recorder.visit(&site, moment(0), &planes()).unwrap();
    recorder.visit(&site, moment(0), &(planes() * 2.0)).unwrap();
    let pooled = recorder.finish().remove(&("mid.out".to_owned(), 0)).unwrap();
    assert_eq!(pooled.values.len(), 12);
    assert!((pooled.values[6] - 3.0).abs() < 1e-6);
}

#[test]
fn even_attention_has_entropy_one_and_single_tokens_zero() {
    let site = Site { name: "mid.cross.probs".into(), path: String::new(), axes: vec![] };
    let mut tap = EntropyRecorder::new([site.name.clone()]);
    assert!(tap.selects(&site));
    let even = Tensor::ones([1, 2, 3, 4], (Kind::Float, Device::Cpu)) / 4.0;
    let single = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 0.0]).expand([1, 2, 3, 4], true);
    let both = Tensor::cat(&[even, single], 0);
    for branch in [Branch::Uncond, Branch::Cond] {
        let at = Moment { step: 0, timestep: 1.0, sigma: 1.0, branch: Some(branch) };
        assert!(tap.visit(&site, at, &both).unwrap().is_none());
    }
    let found: Vec<f64> = tap.into_entropies().iter().map(|e| e.entropy).collect();
    assert_eq!(found.len(), 2);
    assert!((found[0] - 1.0).abs() < 1e-6 && found[1] == 0.0, "{found:?}");
}
