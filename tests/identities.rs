//! Identities that hold whatever the weights are, on a small random model.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use denoscope::measure::record::{AttentionRecord, MapNumbers};
use denoscope::model::attention::AttentionKernel;
use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::pipeline::{Generation, PipelineError, Request, generate};
use denoscope::sampler::{Denoised, Prediction, SamplerKind};
use denoscope::site::{Branch, Site};
use denoscope::tap::{
    AttentionRecorder, Moment, RawRecorder, StatisticsRecorder, Tap, TapError, Then,
};
use tch::{Kind, Tensor};

const PROMPT: &str = "red ball left of blue cube";
const OTHER_PROMPT: &str = "three green cones";
/// Largest relative difference that rounding may leave.
const ROUNDING: f64 = 1e-4;
/// The start token's place in every prompt.
const START: i64 = 0;

fn open(kernel: AttentionKernel) -> DiffusionModel {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/sd");
    // Tensors are tiny: threads of a busy machine would wait for each other most of the time.
    tch::set_num_threads(1);
    DiffusionModel::open(folder, Placement { kernel, ..Placement::default() }).unwrap()
}

fn explicit() -> DiffusionModel {
    open(AttentionKernel::Explicit)
}

fn request(guidance: f64, steps: usize) -> Request {
    Request {
        prompts: vec![PROMPT.into()],
        negative: String::new(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds: vec![7],
        steps,
        sampler: SamplerKind::Ddim,
        guidance,
        height: 32,
        width: 32,
        init_latents: None,
        image: None,
        guidance_rescale: 0.0,
        eta: 0.0,
    }
}

fn run(model: &DiffusionModel, request: &Request, tap: Option<&mut dyn Tap>) -> Generation {
    generate(model, request, tap, &mut |_, _| {}).unwrap()
}

#[track_caller]
fn assert_equal(got: &Tensor, expected: &Tensor) {
    let largest = relative(got, expected);
    assert!(got.equal(expected), "not bit-equal, relative difference {largest:e}");
}

#[track_caller]
fn assert_near(got: &Tensor, expected: &Tensor) {
    let difference = relative(got, expected);
    assert!(difference < ROUNDING, "relative difference {difference:e}");
}

/// Largest difference over the largest number expected.
fn relative(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    let scale = expected.abs().max().double_value(&[]);
    (got - expected).abs().max().double_value(&[]) / scale
}

type Key = (String, usize, Option<Branch>);

fn key(site: &Site, at: Moment) -> Key {
    (site.name.clone(), at.step, at.branch)
}

/// Keeps a copy of everything at the sites that `wanted` picks.
struct Keep<F> {
    wanted: F,
    kept: BTreeMap<Key, Tensor>,
}

impl<F: Fn(&str) -> bool> Keep<F> {
    fn new(wanted: F) -> Self {
        Self { wanted, kept: BTreeMap::new() }
    }
}

impl<F: Fn(&str) -> bool> Tap for Keep<F> {
    fn selects(&self, site: &Site) -> bool {
        (self.wanted)(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let again = self.kept.insert(key(site, at), x.copy());
        assert!(again.is_none(), "{} was visited twice in one step", site.name);
        Ok(None)
    }
}

/// Replaces tensors at the sites that `wanted` picks by what `change` makes of them.
struct Change<W, F> {
    wanted: W,
    change: F,
    visits: usize,
}

impl<W, F> Change<W, F>
where
    W: Fn(&str) -> bool,
    F: FnMut(&Site, Moment, &Tensor) -> Option<Tensor>,
{
    fn new(wanted: W, change: F) -> Self {
        Self { wanted, change, visits: 0 }
    }
}

impl<W, F> Tap for Change<W, F>
where
    W: Fn(&str) -> bool,
    F: FnMut(&Site, Moment, &Tensor) -> Option<Tensor>,
{
    fn selects(&self, site: &Site) -> bool {
        (self.wanted)(&site.name)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        self.visits += 1;
        Ok((self.change)(site, at, x))
    }
}

fn cross_probs(model: &DiffusionModel) -> Vec<String> {
    let sites = model.sites.iter().filter(|(_, site)| site.is_cross_probs());
    sites.map(|(_, site)| site.name.clone()).collect()
}

fn all_sites(model: &DiffusionModel) -> Vec<String> {
    model.sites.iter().map(|(_, site)| site.name.clone()).collect()
}

fn recorder(model: &DiffusionModel, request: &Request) -> AttentionRecorder {
    let tokens = model.tokenizer.encode(&request.prompts[0]).unwrap().ids.len();
    let shape = request.latent_shape(model);
    AttentionRecorder::new(tokens, cross_probs(model), [shape[2], shape[3]])
}

fn attention(model: &DiffusionModel, request: &Request) -> AttentionRecord {
    let mut recorder = recorder(model, request);
    run(model, request, Some(&mut recorder));
    recorder.finish().unwrap()
}

#[test]
fn taps_on_is_taps_off() {
    let model = explicit();
    let request = request(5.0, 2);
    let plain = run(&model, &request, None);
    let mut keep = Keep::new(|_| true);
    let mut raw = RawRecorder::new(all_sites(&model), None, u64::MAX);
    let mut statistics = StatisticsRecorder::new(all_sites(&model), None);
    let mut recorder = recorder(&model, &request);
    let taps: [&mut dyn Tap; 4] = [&mut keep, &mut raw, &mut statistics, &mut recorder];
    for tap in taps {
        let watched = run(&model, &request, Some(tap));
        assert_equal(&watched.latents, &plain.latents);
        assert_eq!(watched.images, plain.images);
    }
    // All of them really looked.
    let cells = keep.kept.len();
    assert!(cells > model.sites.len(), "{cells} tensors from {} sites", model.sites.len());
    assert_eq!(raw.into_tensors().len(), cells);
    assert_eq!(statistics.into_rows().len(), cells);
    assert!(!recorder.finish().unwrap().rows.is_empty());
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let model = open(AttentionKernel::Auto);
    let (ddim, ddpm) = (SamplerKind::Ddim, SamplerKind::Ddpm);
    for (sampler, threads) in [(ddim, 1), (ddpm, 1), (ddim, 2)] {
        tch::set_num_threads(threads);
        let request = Request { sampler, ..request(5.0, 3) };
        let first = run(&model, &request, None);
        let second = run(&model, &request, None);
        assert_equal(&first.latents, &second.latents);
        assert_eq!(first.images, second.images);
        assert_eq!(first.timesteps.len(), 3);
        assert_eq!(first.sigmas.len(), 3);
        assert!(first.sigmas.windows(2).all(|pair| pair[0] > pair[1]), "{:?}", first.sigmas);
        let other = run(&model, &Request { seeds: vec![8], ..request }, None);
        assert!(relative(&other.latents, &first.latents) > 0.1, "the seed changes nothing");
    }
}

#[test]
fn initial_latents_stand_for_the_seed() {
    let model = explicit();
    let seeded = run(&model, &request(5.0, 2), None);
    let values: Vec<f32> = Vec::try_from(seeded.init_latents.contiguous().view([-1])).unwrap();
    let given = Request { seeds: vec![99], init_latents: Some(values), ..request(5.0, 2) };
    let mut keep = Keep::new(|name| name == "step.latent");
    let given = run(&model, &given, Some(&mut keep));
    assert_equal(&given.latents, &seeded.latents);
    let first: Key = ("step.latent".to_owned(), 0, None);
    assert_equal(&keep.kept[&first], &seeded.init_latents);
}

#[test]
fn an_image_in_a_batch_is_the_image_alone() {
    let model = explicit();
    let prompts: Vec<String> = [PROMPT, OTHER_PROMPT, "a ring"].map(str::to_owned).into();
    let seeds = vec![3, 4, 5];
    for sampler in [SamplerKind::Ddim, SamplerKind::Ddpm] {
        let one = Request { sampler, ..request(3.0, 2) };
        let batch = Request { prompts: prompts.clone(), seeds: seeds.clone(), ..one.clone() };
        let together = run(&model, &batch, None);
        for (i, (prompt, seed)) in prompts.iter().zip(&seeds).enumerate() {
            let alone =
                Request { prompts: vec![prompt.clone()], seeds: vec![*seed], ..one.clone() };
            let alone = run(&model, &alone, None);
            assert_near(&together.latents.narrow(0, i as i64, 1), &alone.latents);
        }
    }
}

#[test]
fn patching_a_run_with_its_own_tensors_changes_nothing() {
    let model = explicit();
    let request = request(5.0, 2);
    let mut keep = Keep::new(|_| true);
    let first = run(&model, &request, Some(&mut keep));
    let kept = keep.kept;
    let mut patch = Change::new(|_| true, |site, at, _| Some(kept[&key(site, at)].copy()));
    let second = run(&model, &request, Some(&mut patch));
    assert_eq!(patch.visits, kept.len());
    assert_equal(&second.latents, &first.latents);
    assert_eq!(second.images, first.images);
}

/// Sites where what is seen is a by-product: the sampler goes by `step.eps`.
const OBSERVED_ONLY: [&str; 3] = ["step.eps.uncond", "step.eps.cond", "step.x0"];

#[test]
fn an_edit_at_any_site_changes_the_image() {
    let model = explicit();
    let request = request(3.0, 1);
    let mut keep = Keep::new(|_| true);
    let plain = run(&model, &request, Some(&mut keep));
    let reached: BTreeSet<String> = keep.kept.into_keys().map(|(site, ..)| site).collect();
    let mut unmoved = Vec::new();
    for name in reached.iter().filter(|name| !OBSERVED_ONLY.contains(&name.as_str())) {
        // Reversed positions or channels: another tensor, of the same size.
        let change = |_: &Site, _: Moment, x: &Tensor| Some(x.flip([-1_i64]) * 0.5);
        let mut edit = Change::new(|site: &str| site == name, change);
        let edited = run(&model, &request, Some(&mut edit));
        let latents_moved = !edited.latents.equal(&plain.latents);
        if !latents_moved && edited.images == plain.images {
            unmoved.push(name.clone());
        }
    }
    for name in OBSERVED_ONLY {
        let change = |_: &Site, _: Moment, x: &Tensor| Some(x * 0.5);
        let mut edit = Change::new(|site: &str| site == name, change);
        let refused = generate(&model, &request, Some(&mut edit), &mut |_, _| {}).unwrap_err();
        assert!(refused.to_string().contains(name), "{refused}");
    }
    assert!(reached.len() > 50, "{} sites reached", reached.len());
    assert!(unmoved.is_empty(), "an edit does nothing at {unmoved:?}");
}

#[test]
fn probabilities_over_keys_sum_to_one() {
    let model = explicit();
    let mut keep = Keep::new(|name| name.ends_with(".probs"));
    run(&model, &request(5.0, 2), Some(&mut keep));
    assert!(keep.kept.keys().any(|(site, ..)| site.ends_with("self.probs")));
    assert!(keep.kept.keys().any(|(site, ..)| site.ends_with("cross.probs")));
    for ((site, ..), probs) in &keep.kept {
        let off = (probs.sum_dim_intlist([-1_i64].as_slice(), false, Kind::Double) - 1.0).abs();
        assert!(off.max().double_value(&[]) < 1e-5, "{site}");
        assert!(probs.min().double_value(&[]) >= 0.0, "{site}");
    }
}

#[test]
fn explicit_and_fused_attention_agree() {
    let request = request(5.0, 3);
    let fused = run(&open(AttentionKernel::Auto), &request, None);
    let written_out = run(&explicit(), &request, None);
    assert_near(&fused.latents, &written_out.latents);
    // Looking at all probabilities makes the automatic choice the explicit one everywhere.
    let auto = open(AttentionKernel::Auto);
    let mut keep = Keep::new(|name| name.ends_with(".probs"));
    let looked = run(&auto, &request, Some(&mut keep));
    assert_equal(&looked.latents, &written_out.latents);
}

#[test]
fn guidance_of_one_and_zero_are_the_single_branches() {
    let model = explicit();
    // Next to one and next to zero both branches are computed.
    let nearly = 1e-9;
    for (single, both) in [(1.0, 1.0 + nearly), (0.0, nearly)] {
        let alone = run(&model, &request(single, 3), None);
        let mixed = run(&model, &request(both, 3), None);
        assert_near(&alone.latents, &mixed.latents);
    }
    let negative = Request { negative: OTHER_PROMPT.into(), ..request(1.0, 2) };
    let conditional = run(&model, &request(1.0, 2), None);
    assert_equal(&run(&model, &negative, None).latents, &conditional.latents);
    let prompt = Request { prompts: vec![OTHER_PROMPT.into()], ..request(0.0, 2) };
    let unconditional = run(&model, &request(0.0, 2), None);
    assert_equal(&run(&model, &prompt, None).latents, &unconditional.latents);
    assert!(!conditional.latents.equal(&unconditional.latents));
}

#[test]
fn each_branch_is_what_it_is_alone() {
    let model = explicit();
    // At the first step the latents are the same, whatever the guidance.
    let both = attention(&model, &request(5.0, 1));
    for (branch, guidance) in [(Branch::Cond, 1.0), (Branch::Uncond, 0.0)] {
        let alone = attention(&model, &request(guidance, 1)).rows;
        let part: Vec<&MapNumbers> = both.rows.iter().filter(|r| r.branch == branch).collect();
        assert_eq!(part.len(), alone.len());
        assert!(!part.is_empty());
        for (a, b) in part.iter().zip(&alone) {
            let place = |r: &MapNumbers| (r.sample, r.step, r.layer, r.head, r.token, r.branch);
            assert_eq!(place(a), place(b));
            assert!((a.mass - b.mass).abs() < ROUNDING, "{a:?}\n{b:?}");
            assert!((a.entropy - b.entropy).abs() < ROUNDING * b.entropy, "{a:?}\n{b:?}");
            assert!((a.centroid[0] - b.centroid[0]).abs() < ROUNDING, "{a:?}\n{b:?}");
        }
    }
    let noise = |guidance| {
        let mut keep = Keep::new(|name| name.starts_with("step.eps"));
        run(&model, &request(guidance, 1), Some(&mut keep));
        keep.kept
    };
    let (both, uncond, cond) = (noise(5.0), noise(0.0), noise(1.0));
    let at = |name: &str| -> Key { (name.to_owned(), 0, None) };
    let (unconditional, conditional) = (&uncond[&at("step.eps")], &cond[&at("step.eps")]);
    assert_near(&both[&at("step.eps.uncond")], unconditional);
    assert_near(&both[&at("step.eps.cond")], conditional);
    let expected = unconditional + (conditional - unconditional) * 5.0;
    assert_near(&both[&at("step.eps")], &expected);
}

#[test]
fn the_mean_over_steps_is_daams_sum_over_the_steps() {
    let model = explicit();
    let steps = 3;
    let record = attention(&model, &request(5.0, steps));
    assert_eq!(record.steps, steps);
    assert_eq!(record.layers.len(), cross_probs(&model).len());
    for (l, layer) in record.layers.iter().enumerate() {
        assert_eq!(layer.per_step.len(), steps);
        let heads = layer.per_head.dim().1;
        let daam = layer.per_head.mean_axis(ndarray::Axis(1)).unwrap() / steps as f32;
        let mut mean = layer.per_step[0].clone();
        layer.per_step[1..].iter().for_each(|map| mean += map);
        mean /= steps as f32;
        let largest = (&daam - &mean).iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(largest < 1e-6, "{}: {largest}", layer.site);
        // The rows tell of the same maps: their mean mass is the mean of the map.
        for token in 0..mean.dim().1 {
            let rows = record
                .rows
                .iter()
                .filter(|r| r.layer == l && r.token == token && r.branch == Branch::Cond);
            let masses: Vec<f64> = rows.map(|r| r.mass).collect();
            assert_eq!(masses.len(), steps * heads);
            let of_rows = masses.iter().sum::<f64>() / masses.len() as f64;
            let of_map = mean.index_axis(ndarray::Axis(1), token).mean().unwrap();
            assert!((of_rows - f64::from(of_map)).abs() < 1e-6, "{}: {of_rows}", layer.site);
        }
    }
}

/// Probabilities as if the scores of all keys but the start token were −∞.
fn masked(probs: &Tensor) -> Tensor {
    let mask = Tensor::zeros([probs.size()[3]], (probs.kind(), probs.device()));
    let _ = mask.get(START).fill_(1.0);
    let left = probs * mask;
    let sum = left.sum_dim_intlist([-1_i64].as_slice(), true, left.kind());
    left / sum
}

#[test]
fn with_all_other_keys_masked_the_start_token_takes_everything() {
    let model = explicit();
    let request = request(5.0, 2);
    let plain = run(&model, &request, None);
    let is_probs = |name: &str| name.ends_with(".cross.probs");
    let edit = Change::new(is_probs, |_, _, x| Some(masked(x)));
    // The edit goes first, the observer sees what it made.
    let mut taps = Then(edit, recorder(&model, &request));
    let by_probs = run(&model, &request, Some(&mut taps));
    assert!(!by_probs.latents.equal(&plain.latents));
    let record = taps.1.finish().unwrap();
    for layer in &record.layers {
        for (token, maps) in layer.per_head.axis_iter(ndarray::Axis(2)).enumerate() {
            let expected = if token as i64 == START { request.steps as f32 } else { 0.0 };
            assert!(maps.iter().all(|x| (x - expected).abs() < 1e-5), "{} {token}", layer.site);
        }
    }
    // Another way to the same end: every token has the start token's value.
    let start_everywhere =
        |_: &Site, _: Moment, v: &Tensor| Some(v.narrow(2, START, 1).expand_as(v).contiguous());
    let mut values = Change::new(|name: &str| name.ends_with(".cross.v"), start_everywhere);
    let by_values = run(&model, &request, Some(&mut values));
    assert_near(&by_values.latents, &by_probs.latents);
}

/// Every cross-attention layer gets the keys and values of another prompt, from a step on.
#[test]
fn swapping_the_prompt_in_all_layers_is_the_other_prompt() {
    let model = explicit();
    let steps = 3;
    let is_prompt = |name: &str| name.ends_with(".cross.k") || name.ends_with(".cross.v");
    let ours = request(4.0, steps);
    let theirs = Request { prompts: vec![OTHER_PROMPT.into()], ..ours.clone() };
    let mut keep = Keep::new(is_prompt);
    let expected = run(&model, &theirs, Some(&mut keep));
    let kept = keep.kept;
    let switched_at = |from: usize| {
        let swap = |site: &Site, at: Moment, _: &Tensor| {
            (at.step >= from).then(|| kept[&key(site, at)].copy())
        };
        let mut swap = Change::new(is_prompt, swap);
        run(&model, &ours, Some(&mut swap)).latents
    };
    let plain = run(&model, &ours, None).latents;
    assert_equal(&switched_at(0), &expected.latents);
    assert_equal(&switched_at(steps), &plain);
    let between = switched_at(1);
    assert!(!between.equal(&plain) && !between.equal(&expected.latents));
}

#[test]
fn a_replacement_that_does_not_fit_names_its_site() {
    let model = explicit();
    let site = "mid.attn.0.block.0.cross.probs";
    type Edit = fn(&Tensor) -> Tensor;
    let edits: [(&str, Edit); 3] = [
        ("shape", |x| x.narrow(0, 0, 1).unsqueeze(0)),
        ("kind", |x| x.to_kind(Kind::Double)),
        ("rows", |x| Tensor::cat(&[x, x], 0)),
    ];
    for (what, edit) in edits {
        let mut tap = Change::new(|name: &str| name == site, |_, _, x| Some(edit(x)));
        let result = generate(&model, &request(5.0, 1), Some(&mut tap), &mut |_, _| {});
        let error = result.unwrap_err();
        let PipelineError::Tap(TapError::Misfit { site: named, .. }) = &error else {
            panic!("{what}: {error}");
        };
        assert_eq!(named, site);
        assert!(error.to_string().contains(site), "{error}");
    }
    // A run that failed leaves nothing behind.
    let before = run(&explicit(), &request(5.0, 1), None);
    assert_equal(&run(&model, &request(5.0, 1), None).latents, &before.latents);
}

#[test]
fn raw_recording_keeps_to_its_budget() {
    let model = explicit();
    let site = "down.0.attn.0.block.0.cross.probs".to_owned();
    let request = request(5.0, 2);
    let one_step = Some(BTreeSet::from([1]));
    let mut raw = RawRecorder::new([site.clone(), "step.latent".into()], one_step, u64::MAX);
    run(&model, &request, Some(&mut raw));
    let tensors = raw.into_tensors();
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let both = [format!("001/uncond/{site}"), format!("001/cond/{site}")];
    assert_eq!(names, ["001/step.latent", &both[0], &both[1]]);
    let bytes: u64 = tensors.iter().map(|(_, t)| (t.numel() * 4) as u64).sum();

    for (budget, fits) in [(bytes, true), (bytes - 1, false)] {
        let steps = Some(BTreeSet::from([1]));
        let mut raw = RawRecorder::new([site.clone(), "step.latent".into()], steps, budget);
        let result = generate(&model, &request, Some(&mut raw), &mut |_, _| {});
        match result {
            Ok(_) => assert!(fits, "{bytes} bytes were kept within {budget}"),
            Err(PipelineError::Tap(TapError::OverBudget { site: at, needed, budget: allowed })) => {
                assert!(!fits);
                assert_eq!((at, needed, allowed), (site.clone(), bytes, budget));
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn sites_have_the_shapes_they_say() {
    let model = explicit();
    let request = Request { prompts: vec![PROMPT.into(); 2], seeds: vec![1, 2], ..request(5.0, 1) };
    let mut keep = Keep::new(|_| true);
    run(&model, &request, Some(&mut keep));
    let latents = request.latent_shape(&model);
    let extent = denoscope::site::Extent {
        images: 2,
        latent_height: latents[2],
        latent_width: latents[3],
        tokens: model.tokenizer.max_length() as i64,
    };
    for ((name, ..), x) in &keep.kept {
        // The autoencoder's sizes are not those of the latent grid.
        if name.starts_with("vae.") {
            continue;
        }
        let site = model.sites.get(model.sites.find(name).unwrap());
        assert_eq!(x.size(), site.shape(&extent), "{name}");
    }
}

#[test]
fn noise_clean_latent_and_velocity_say_the_same() {
    tch::manual_seed(1);
    let options = (Kind::Double, tch::Device::Cpu);
    let (x0, eps) = (Tensor::randn([2, 4, 8, 8], options), Tensor::randn([2, 4, 8, 8], options));
    for alpha_bar in [0.999, 0.7, 0.2, 0.004_660] {
        let (signal, noise) = (f64::sqrt(alpha_bar), f64::sqrt(1.0 - alpha_bar));
        let x = &x0 * signal + &eps * noise;
        let v = &eps * signal - &x0 * noise;
        let outputs = [(Prediction::Epsilon, &eps), (Prediction::V, &v), (Prediction::Sample, &x0)];
        for (prediction, output) in outputs {
            let said = Denoised::new(prediction, output, &x, alpha_bar);
            assert!(relative(&said.x0, &x0) < 1e-12, "{prediction:?} at {alpha_bar}");
            assert!(relative(&said.eps, &eps) < 1e-12, "{prediction:?} at {alpha_bar}");
        }
    }
}
