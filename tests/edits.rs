//! Edits do what they say, where they say, and nothing else.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use denoscope::model::attention::AttentionKernel;
use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::pipeline::{Request, generate};
use denoscope::sampler::SamplerKind;
use denoscope::site::{Branch, Extent, Glob};
use denoscope::tap::edit::{Edit, EditError, Edits, Operation, Reference, RunShape, Scope};
use denoscope::tap::{RawRecorder, Then};
use ndarray::Array2;
use tch::{Kind, Tensor};

const PROMPT: &str = "red ball left of blue cube";
const OTHER_PROMPT: &str = "three green cones";
const STEPS: usize = 3;
const BUDGET: u64 = 1 << 30;
/// Tokens of a prompt, padding included.
const TOKENS: i64 = 77;

const PROBS: &str = "mid.attn.0.block.0.cross.probs";
const OUT: &str = "mid.attn.0.block.0.cross.out";
/// Where the places of the middle block are: an image of 64 pixels has 16 latent cells a side.
const SIZE: i64 = 64;

fn model() -> DiffusionModel {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/sd");
    tch::set_num_threads(1);
    let placement = Placement { kernel: AttentionKernel::Explicit, ..Placement::default() };
    DiffusionModel::open(folder, placement).unwrap()
}

fn request(prompt: &str) -> Request {
    Request {
        prompts: vec![prompt.into()],
        negative: String::new(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds: vec![7],
        steps: STEPS,
        sampler: SamplerKind::Ddim,
        guidance: 4.0,
        height: SIZE,
        width: SIZE,
        init_latents: None,
        image: None,
        guidance_rescale: 0.0,
        eta: 0.0,
    }
}

fn run_shape(model: &DiffusionModel) -> RunShape {
    let cells = SIZE / model.downscale();
    RunShape {
        extent: Extent { images: 1, latent_height: cells, latent_width: cells, tokens: TOKENS },
        steps: STEPS,
        branches: vec![Branch::Uncond, Branch::Cond],
    }
}

fn at(sites: &str) -> Scope {
    Scope { sites: vec![Glob::new(sites)], ..Scope::default() }
}

fn edit(model: &DiffusionModel, operation: Operation, scope: &Scope) -> Result<Edit, EditError> {
    Edit::new(operation, scope, &model.sites, &run_shape(model))
}

/// The latents of a run, and what it had at the sites.
fn run(
    model: &DiffusionModel,
    prompt: &str,
    edits: Vec<Edit>,
    watched: &[&str],
) -> (Tensor, BTreeMap<String, Tensor>) {
    let sites = watched.iter().map(|&site| site.to_owned());
    let mut tap = Then(Edits(edits), RawRecorder::new(sites, None, BUDGET));
    let made = generate(model, &request(prompt), Some(&mut tap), &mut |_, _| {}).unwrap();
    (made.latents, tap.1.into_tensors().into_iter().collect())
}

fn one(model: &DiffusionModel, operation: Operation, scope: &Scope) -> Vec<Edit> {
    vec![edit(model, operation, scope).unwrap()]
}

#[test]
fn zero_is_zero_where_and_when_it_was_asked_for() {
    let model = model();
    let (plain, before) = run(&model, PROMPT, Vec::new(), &[OUT]);
    let scope = Scope { steps: Some(BTreeSet::from([1])), branch: Some(Branch::Cond), ..at(OUT) };
    let (latents, after) = run(&model, PROMPT, one(&model, Operation::Zero, &scope), &[OUT]);
    assert!(!latents.equal(&plain));
    for (key, x) in &after {
        let is_zero = x.abs().max().double_value(&[]) == 0.0;
        assert_eq!(is_zero, key.starts_with("001/cond/"), "{key}");
    }
    assert!(after[&format!("001/uncond/{OUT}")].equal(&before[&format!("001/uncond/{OUT}")]));
}

#[test]
fn edits_that_change_nothing_change_no_bit() {
    let model = model();
    let (plain, before) = run(&model, PROMPT, Vec::new(), &[OUT, PROBS]);
    let own =
        || Reference::new("itself", before.iter().map(|(k, x)| (k.clone(), x.copy())).collect());
    let nothing = [
        (Operation::Scale(1.0), OUT),
        (Operation::Replace(own()), OUT),
        (Operation::Replace(own()), PROBS),
        (Operation::Weigh(vec![1, 2], 1.0), PROBS),
        (Operation::Freeze(STEPS - 1), OUT),
    ];
    for (operation, site) in nothing {
        let label = operation.label();
        let (latents, _) = run(&model, PROMPT, one(&model, operation, &at(site)), &[]);
        assert!(latents.equal(&plain), "{label} at {site}");
    }
}

#[test]
fn scaling_weighing_and_adding_follow_their_formulas() {
    let model = model();
    let key = format!("000/cond/{OUT}");
    let (_, before) = run(&model, PROMPT, Vec::new(), &[OUT, PROBS]);
    let first = Scope { steps: Some(BTreeSet::from([0])), ..at(OUT) };
    let (_, scaled) = run(&model, PROMPT, one(&model, Operation::Scale(0.5), &first), &[OUT]);
    assert!(scaled[&key].equal(&(&before[&key] * 0.5)));

    let channels = before[&key].size()[2];
    let vector = Tensor::arange(channels, (Kind::Float, tch::Device::Cpu));
    let reference = Reference::new("a vector", BTreeMap::from([(OUT.to_owned(), vector.copy())]));
    let (_, added) =
        run(&model, PROMPT, one(&model, Operation::Add(reference, 2.0), &first), &[OUT]);
    assert!(added[&key].equal(&(&before[&key] + vector * 2.0)));

    let probs = format!("000/cond/{PROBS}");
    let first = Scope { sites: vec![Glob::new(PROBS)], ..first };
    let weigh = Operation::Weigh(vec![2], 3.0);
    let (_, weighed) = run(&model, PROMPT, one(&model, weigh, &first), &[PROBS]);
    let column = |x: &Tensor, token: i64| x.select(-1, token);
    assert!(column(&weighed[&probs], 2).equal(&(column(&before[&probs], 2) * 3.0)));
    assert!(column(&weighed[&probs], 1).equal(&column(&before[&probs], 1)));
}

#[test]
fn masked_tokens_get_nothing_and_the_others_everything() {
    let model = model();
    let key = format!("000/cond/{PROBS}");
    let (_, before) = run(&model, PROMPT, Vec::new(), &[PROBS]);
    let (_, after) =
        run(&model, PROMPT, one(&model, Operation::Mask(vec![1, 5]), &at(PROBS)), &[PROBS]);
    let masked = &after[&key];
    let column = |x: &Tensor, token: i64| x.select(-1, token);
    assert_eq!(column(masked, 1).max().double_value(&[]), 0.0);
    assert_eq!(column(masked, 5).max().double_value(&[]), 0.0);
    let sums = masked.sum_dim_intlist([-1_i64].as_slice(), false, Kind::Double);
    assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-5);
    // As a softmax without the two logits: the ratio of the others stays.
    let ratio = |x: &Tensor| column(x, 2) / column(x, 3);
    let change = (ratio(masked) - ratio(&before[&key])).abs() / ratio(&before[&key]);
    assert!(change.max().double_value(&[]) < 1e-4);
    let error = edit(&model, Operation::Mask((0..TOKENS).collect()), &at(PROBS)).unwrap_err();
    assert!(matches!(error, EditError::NothingLeft), "{error}");
}

#[test]
fn heads_and_regions_bound_an_edit() {
    let model = model();
    let key = format!("000/cond/{PROBS}");
    let (_, before) = run(&model, PROMPT, Vec::new(), &[PROBS]);
    let mut region = Array2::from_elem((SIZE as usize, SIZE as usize), false);
    region.slice_mut(ndarray::s![.., ..SIZE as usize / 2]).fill(true);
    let scope = Scope { heads: Some(BTreeSet::from([1])), region: Some(region), ..at(PROBS) };
    let (_, after) = run(&model, PROMPT, one(&model, Operation::Zero, &scope), &[PROBS]);
    let (x, y) = (&before[&key], &after[&key]);
    let heads = x.size()[1];
    let side = (x.size()[2] as f64).sqrt() as i64;
    for head in 0..heads {
        for place in 0..side * side {
            let row = |x: &Tensor| x.select(1, head).select(1, place);
            if head == 1 && place % side < side / 2 {
                assert_eq!(row(y).abs().max().double_value(&[]), 0.0, "head {head}, place {place}");
            } else {
                assert!(row(y).equal(&row(x)), "head {head}, place {place}");
            }
        }
    }
}

/// Keys and values of another prompt at all layers make the other prompt's run; those of the
/// first step do for all steps, since the prompt does not change.
#[test]
fn another_prompt_in_all_layers_is_the_other_run() {
    let model = model();
    let names: Vec<String> = model.sites.iter().map(|(_, site)| site.name.clone()).collect();
    let reads = |name: &&String| name.ends_with(".cross.k") || name.ends_with(".cross.v");
    let names: Vec<&str> = names.iter().filter(reads).map(String::as_str).collect();
    let (expected, kept) = run(&model, OTHER_PROMPT, Vec::new(), &names);
    let reference = Reference::new("the other run", kept).of_first_step();
    let scope = Scope {
        sites: vec![Glob::new("*.cross.k"), Glob::new("*.cross.v")],
        branch: Some(Branch::Cond),
        ..Scope::default()
    };
    let (latents, _) = run(&model, PROMPT, one(&model, Operation::Replace(reference), &scope), &[]);
    assert!(latents.equal(&expected));
}

#[test]
fn a_mean_is_the_same_at_all_places() {
    let model = model();
    let site = model.sites.get(model.sites.find(OUT).unwrap()).clone();
    let (_, before) = run(&model, OTHER_PROMPT, Vec::new(), &[OUT]);
    let key = format!("001/cond/{OUT}");
    let expected = before[&key].mean_dim([0_i64, 1].as_slice(), true, Kind::Float);
    let mean = Reference::new("another run", before).averaged(&[site]);
    let (_, after) = run(&model, PROMPT, one(&model, Operation::Replace(mean), &at(OUT)), &[OUT]);
    assert!(after[&key].equal(&expected.expand_as(&after[&key])));
}

#[test]
fn what_is_frozen_stays() {
    let model = model();
    let (plain, before) = run(&model, PROMPT, Vec::new(), &[OUT]);
    let (latents, after) = run(&model, PROMPT, one(&model, Operation::Freeze(0), &at(OUT)), &[OUT]);
    let of = |step: usize| format!("{step:03}/cond/{OUT}");
    assert!(after[&of(2)].equal(&after[&of(0)]));
    assert!(after[&of(0)].equal(&before[&of(0)]));
    assert!(!before[&of(2)].equal(&before[&of(0)]));
    assert!(!latents.equal(&plain));
}

#[test]
fn edits_see_what_those_before_them_left() {
    let model = model();
    let two = |first: f64, second: f64| {
        let scale = |by| edit(&model, Operation::Scale(by), &at(OUT)).unwrap();
        run(&model, PROMPT, vec![scale(first), scale(second)], &[]).0
    };
    let (quarter, _) = run(&model, PROMPT, one(&model, Operation::Scale(0.25), &at(OUT)), &[]);
    assert!(two(0.5, 0.5).equal(&quarter));
}

#[test]
fn what_cannot_be_is_said_before_the_run() {
    let model = model();
    let says = |operation: Operation, scope: Scope, text: &str| {
        let message = edit(&model, operation, &scope).unwrap_err().to_string();
        assert!(message.contains(text), "{message}");
    };
    says(Operation::Zero, at("mid.attn.0.block.0.cros.out"), "nearest: mid.attn.0.block.0.cross.");
    says(Operation::Zero, Scope::default(), "sites=");
    let late = Scope { steps: Some(BTreeSet::from([9])), ..at(OUT) };
    says(Operation::Zero, late, "step 9 does not exist in this run: there are 0 to 2");
    let heads = |n| Scope { heads: Some(BTreeSet::from([n])), ..at(PROBS) };
    says(Operation::Zero, heads(64), "no head 64");
    says(
        Operation::Zero,
        Scope { heads: Some(BTreeSet::from([0])), ..at("mid.out") },
        "no head axis",
    );
    let region = Some(Array2::from_elem((4, 4), true));
    says(Operation::Zero, Scope { region, ..at("time.embed") }, "no place axis");
    says(Operation::Mask(vec![1]), at("mid.out"), "not for `mid.out`");
    says(Operation::Mask(vec![99]), at(PROBS), "no token 99");
    says(Operation::Freeze(7), at(OUT), "step 7");
    let empty = || Reference::new("trace.safetensors", BTreeMap::new());
    says(Operation::Replace(empty()), at(OUT), "trace.safetensors has no `000/uncond/mid.attn.0");
    let wide = BTreeMap::from([(OUT.to_owned(), Tensor::zeros([5], tch::kind::FLOAT_CPU))]);
    says(Operation::Add(Reference::new("vector", wide), 1.0), at(OUT), "is [5], but");
    let long =
        BTreeMap::from([(format!("009/cond/{OUT}"), Tensor::zeros([1], tch::kind::FLOAT_CPU))]);
    let long = Operation::Replace(Reference::new("trace.safetensors", long));
    says(long, at(OUT), "trace.safetensors is of a run of 10 steps or more, and this one has 3");
    let shape = RunShape { branches: vec![Branch::Cond], ..run_shape(&model) };
    let scope = Scope { branch: Some(Branch::Uncond), ..at(OUT) };
    let error = Edit::new(Operation::Zero, &scope, &model.sites, &shape).unwrap_err();
    assert!(error.to_string().contains("uncond branch does not run"), "{error}");
}
