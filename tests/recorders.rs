//! What recorders make of tensors, against closed forms and against the tensors themselves.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use denoscope::model::attention::AttentionKernel;
use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::pipeline::{Request, generate};
use denoscope::site::{Axis, Branch, Site};
use denoscope::table::{ChannelRow, PooledRow, SelfAttentionRow};
use denoscope::tap::{
    ChannelRecorder, Moment, PooledRecorder, RawRecorder, Recorder, SelfAttentionRecorder, Tap,
    Then,
};
use tch::{Device, Kind, Tensor};

const AT: Moment = Moment { step: 3, timestep: 400.0, sigma: 0.7, branch: Some(Branch::Cond) };
const LAYER: &str = "mid.attn.0.block.0.self";
/// Rows and columns of the latent grid in the closed forms: not square.
const GRID: [i64; 2] = [4, 8];
const FLOATS: (Kind, Device) = (Kind::Float, Device::Cpu);

fn self_site(what: &str, heads: i64, width: i64) -> Site {
    let axes = vec![Axis::Image, Axis::Head(heads), Axis::Position(1), Axis::Channel(width)];
    Site { name: format!("{LAYER}.{what}"), path: String::new(), axes }
}

/// Rows of maps whose logits are q kᵀ, with the scale of attention taken out.
fn reduced(q: &Tensor, k: &Tensor) -> Vec<SelfAttentionRow> {
    let (heads, width) = (q.size()[1], q.size()[3]);
    let mut recorder = SelfAttentionRecorder::new([format!("{LAYER}.probs")], None, GRID);
    let scaled = q * (width as f64).sqrt();
    for (what, x) in [("q", &scaled), ("k", k)] {
        let site = self_site(what, heads, width);
        assert!(recorder.selects(&site));
        assert!(recorder.visit(&site, AT, x).unwrap().is_none());
    }
    recorder.take("run")
}

fn centres() -> Vec<[f64; 2]> {
    let centre = |at: i64, of: i64| (at as f64 + 0.5) / of as f64;
    let places = 0..GRID[0] * GRID[1];
    places.map(|i| [centre(i % GRID[1], GRID[1]), centre(i / GRID[1], GRID[0])]).collect()
}

fn apart(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

#[track_caller]
fn assert_near(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-5, "{got}, expected {expected}");
}

#[test]
fn a_flat_map_looks_everywhere_alike() {
    let places = centres();
    let count = places.len() as f64;
    let all = places.iter().flat_map(|a| places.iter().map(|b| apart(*a, *b)));
    let expected = all.sum::<f64>() / count / count;
    let zeros = Tensor::zeros([2, 2, places.len() as i64, 3], FLOATS);
    let rows = reduced(&zeros, &zeros);
    assert_eq!(rows.len(), 2 * (2 + 1), "two images, two heads and their mean");
    for row in &rows {
        assert_near(row.distance, expected);
        assert_near(row.diagonality, 1.0 / count);
        assert_eq!((&row.explained, &row.components), (&None, &None), "nothing varies");
        assert_eq!((row.height, row.width, row.step), (4, 8, 3));
        assert_eq!((row.site.as_str(), row.branch.as_str()), (&*format!("{LAYER}.probs"), "cond"));
    }
}

#[test]
fn a_map_of_each_place_to_itself_looks_nowhere_else() {
    let places = GRID[0] * GRID[1];
    let keys = Tensor::eye(places, FLOATS).view([1, 1, places, places]);
    let rows = reduced(&(&keys * 100.0), &keys);
    for row in &rows {
        assert_near(row.distance, 0.0);
        assert_near(row.diagonality, 1.0);
    }
    // A centred identity has places − 1 equal variances.
    let explained = rows[1].explained.as_ref().unwrap();
    assert!(explained.iter().all(|share| (share - 1.0 / (places - 1) as f32).abs() < 1e-4));
}

/// The left half of the image looks at itself, and so does the right.
#[test]
fn two_groups_of_places_are_one_component() {
    let places = centres();
    let side = |place: &[f64; 2]| if place[0] < 0.5 { 1.0_f32 } else { -1.0 };
    let sides: Vec<f32> = places.iter().map(side).collect();
    let count = sides.len() as i64;
    let k = Tensor::from_slice(&sides).view([1, 1, count, 1]);
    let rows = reduced(&(&k * 50.0), &k);
    let half = places.len() as f64 / 2.0;
    let own: Vec<[f64; 2]> = places.iter().copied().filter(|place| place[0] < 0.5).collect();
    let all = own.iter().flat_map(|a| own.iter().map(|b| apart(*a, *b)));
    assert_near(rows[0].distance, all.sum::<f64>() / half / half);
    assert_near(rows[0].diagonality, 1.0 / half);
    assert_eq!(rows[0].components, None, "a head by itself has none");
    let (explained, components) =
        (rows[1].explained.as_ref().unwrap(), rows[1].components.as_ref().unwrap());
    assert_near(explained[0].into(), 1.0);
    assert!(explained[1..].iter().all(|share| *share < 1e-6), "{explained:?}");
    for (got, side) in components.iter().zip(&sides) {
        assert_near((got * components[0]).into(), (side * sides[0]).into());
    }
}

fn tiny() -> DiffusionModel {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/sd");
    tch::set_num_threads(1);
    let placement = Placement { kernel: AttentionKernel::Explicit, ..Placement::default() };
    DiffusionModel::open(folder, placement).unwrap()
}

fn request(model: &DiffusionModel) -> Request {
    let request = Request::new(model, "red ball left of blue cube").unwrap().with_seeds([3, 4]);
    Request { steps: 2, ..request }
}

/// What a recorder made of a run, and the tensors at some sites by their keys.
fn run<T: Recorder>(recorder: T, raw: &[String]) -> (Vec<T::Row>, BTreeMap<String, Tensor>) {
    let model = tiny();
    let mut tap = Then(recorder, RawRecorder::new(raw.to_vec(), None, u64::MAX));
    generate(&model, &request(&model), Some(&mut tap), &mut |_, _| {}).unwrap();
    (tap.0.take("run"), tap.1.into_tensors().into_iter().collect())
}

/// The numbers of one image's tensor, in f64.
fn of_image(x: &Tensor, sample: u32) -> Tensor {
    x.get(i64::from(sample)).to_kind(Kind::Double)
}

#[test]
fn self_attention_is_reduced_as_its_probabilities_say() {
    let sites: Vec<String> = ["mid.attn.0.block.0.self.probs", "up.1.attn.0.block.0.self.probs"]
        .map(str::to_owned)
        .to_vec();
    let model = tiny();
    let [_, _, height, width] = request(&model).latent_shape(&model);
    let recorder = SelfAttentionRecorder::new(sites.clone(), None, [height, width]);
    let (rows, raw) = run(recorder, &sites);
    assert!(rows.iter().any(|row| row.branch == "uncond"));
    for row in &rows {
        let key = format!("{:03}/{}/{}", row.step, row.branch, row.site);
        let probs = of_image(&raw[&key], row.sample);
        let probs = match row.head {
            Some(head) => probs.get(i64::from(head)),
            None => probs.mean_dim([0_i64].as_slice(), false, Kind::Double),
        };
        let at = |i: u32| {
            let (row_of, column) = (i / row.width, i % row.width);
            [(column as f64 + 0.5) / row.width as f64, (row_of as f64 + 0.5) / row.height as f64]
        };
        let places = row.height * row.width;
        let (mut far, mut own) = (0.0, 0.0);
        for i in 0..places {
            for j in 0..places {
                let p = probs.double_value(&[i64::from(i), i64::from(j)]);
                far += p * apart(at(i), at(j));
                own += if i == j { p } else { 0.0 };
            }
        }
        assert_near(row.distance, far / f64::from(places));
        assert_near(row.diagonality, own / f64::from(places));
        let (None, Some(explained)) = (row.head, &row.explained) else { continue };
        // LAPACK's singular values of the whole map.
        let centred = &probs - probs.mean_dim([0_i64].as_slice(), true, Kind::Double);
        let (_, singular, _) = centred.svd(true, true);
        let shares = singular.square() / singular.square().sum(Kind::Double);
        for (i, share) in explained.iter().enumerate() {
            let expected = shares.double_value(&[i as i64]);
            assert!((f64::from(*share) - expected).abs() < 1e-3, "{share}, expected {expected}");
        }
    }
    assert!(rows.iter().any(|row| row.explained.is_some()), "no map varied");
}

fn key(row: (Option<u32>, Option<&str>, &str)) -> String {
    let (step, branch, site) = row;
    match branch {
        Some(branch) => format!("{:03}/{branch}/{site}", step.unwrap_or(0)),
        None => format!("{:03}/{site}", step.unwrap_or(0)),
    }
}

const MANY: [&str; 5] =
    ["mid.out", "mid.attn.0.block.0.cross.q", "up.1.attn.0.block.0.ff.out", "text.out", "step.x0"];

fn many() -> Vec<String> {
    MANY.map(str::to_owned).to_vec()
}

/// The part of a tensor that is one channel (of one head), whatever its axes are.
fn channel_of(x: &Tensor, site: &str, head: Option<u32>, channel: u32) -> Tensor {
    let channel = i64::from(channel);
    match (site, head) {
        ("mid.out" | "step.x0", None) => x.get(channel),
        (_, Some(head)) => x.get(i64::from(head)).select(1, channel),
        _ => x.select(1, channel),
    }
}

#[test]
fn channels_are_those_of_the_tensors() {
    let (rows, raw) = run(ChannelRecorder::new(many(), None), &many());
    for site in MANY {
        assert!(rows.iter().any(|row| row.site == site), "{site}");
    }
    let check = |row: &ChannelRow| {
        let x = of_image(&raw[&key((row.step, row.branch.as_deref(), &row.site))], row.sample);
        let x = channel_of(&x, &row.site, row.head, row.channel);
        assert_near(row.mean.unwrap(), x.mean(Kind::Double).double_value(&[]));
        assert_near(row.std.unwrap(), x.std(false).double_value(&[]));
        assert_near(row.norm.unwrap(), x.norm().double_value(&[]));
        assert_eq!(row.min.unwrap(), x.min().double_value(&[]));
        assert_eq!(row.max.unwrap(), x.max().double_value(&[]));
    };
    rows.iter().for_each(check);
}

#[test]
fn pooled_vectors_are_means_over_places() {
    let (rows, raw) = run(PooledRecorder::new(many(), None), &many());
    for site in MANY {
        assert!(rows.iter().any(|row| row.site == site), "{site}");
    }
    let check = |row: &PooledRow| {
        let x = of_image(&raw[&key((row.step, row.branch.as_deref(), &row.site))], row.sample);
        let vector = row.vector.as_ref().unwrap();
        assert_eq!(vector.len(), row.channels as usize);
        for (channel, got) in vector.iter().enumerate() {
            let x = channel_of(&x, &row.site, row.head, channel as u32);
            assert_near((*got).into(), x.mean(Kind::Double).double_value(&[]));
        }
    };
    rows.iter().for_each(check);
}
