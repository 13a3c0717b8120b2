//! Identities that hold whatever the weights are, on the built-in model: what `identities.rs`
//! checks on random weights, where trained ones could still differ.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use denoscope::model::attention::AttentionKernel;
use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::pipeline::{Generation, Request, generate};
use denoscope::sampler::SamplerKind;
use denoscope::site::{Branch, Site};
use denoscope::tap::{Moment, Tap, TapError};
use tch::{Kind, Tensor};

const STEPS: usize = 2;
/// Largest difference over the largest number expected that rounding may leave.
const ROUNDING: f64 = 1e-4;

fn open(kernel: AttentionKernel) -> DiffusionModel {
    DiffusionModel::open("shapes", Placement { kernel, ..Placement::default() }).unwrap()
}

fn request(model: &DiffusionModel, prompt: &str) -> Request {
    Request {
        prompts: vec![prompt.into()],
        negative: String::new(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds: vec![7],
        steps: STEPS,
        sampler: SamplerKind::Ddim,
        guidance: 5.0,
        height: model.native_size(),
        width: model.native_size(),
        init_latents: None,
        image: None,
        guidance_rescale: 0.0,
        eta: 0.0,
    }
}

fn ours(model: &DiffusionModel) -> Request {
    request(model, "red ball left of blue cube")
}

fn run(model: &DiffusionModel, request: &Request, tap: Option<&mut dyn Tap>) -> Generation {
    generate(model, request, tap, &mut |_, _| {}).unwrap()
}

#[track_caller]
fn assert_near(got: &Tensor, expected: &Tensor) {
    let most = |x: &Tensor| x.abs().max().to_kind(Kind::Double).double_value(&[]);
    let difference = most(&(got - expected)) / most(expected);
    assert!(difference < ROUNDING, "{difference:e}");
}

type Key = (String, usize, Option<Branch>);

/// Keeps all tensors at sites with a suffix, or puts kept ones there, from a step on.
struct Copies {
    suffixes: &'static [&'static str],
    kept: BTreeMap<Key, Tensor>,
    restores_from: Option<usize>,
}

impl Copies {
    fn keeping(suffixes: &'static [&'static str]) -> Self {
        Self { suffixes, kept: BTreeMap::new(), restores_from: None }
    }

    fn restoring(mut self, from: usize) -> Self {
        self.restores_from = Some(from);
        self
    }
}

impl Tap for Copies {
    fn selects(&self, site: &Site) -> bool {
        self.suffixes.iter().any(|suffix| site.name.ends_with(suffix))
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let key = (site.name.clone(), at.step, at.branch);
        let Some(from) = self.restores_from else {
            self.kept.insert(key, x.copy());
            return Ok(None);
        };
        Ok((at.step >= from).then(|| self.kept[&key].copy()))
    }
}

#[test]
fn watching_and_restoring_a_run_into_itself_change_no_bit() {
    let model = open(AttentionKernel::Explicit);
    let request = ours(&model);
    let plain = run(&model, &request, None);
    let mut copies = Copies::keeping(&[".out", ".probs", "step.eps"]);
    let watched = run(&model, &request, Some(&mut copies));
    assert!(copies.kept.len() > STEPS, "nothing was seen");
    let restored = run(&model, &request, Some(&mut copies.restoring(0)));
    for made in [watched, restored] {
        assert!(made.latents.equal(&plain.latents));
        assert_eq!(made.images, plain.images);
    }
}

#[test]
fn swapping_the_prompt_in_all_layers_is_the_other_prompt() {
    let model = open(AttentionKernel::Explicit);
    let request_of = |prompt| request(&model, prompt);
    let (ours, theirs) = (ours(&model), request_of("a green cone"));
    let plain = run(&model, &ours, None).latents;
    let swapped_from = |step| {
        let mut copies = Copies::keeping(&[".cross.k", ".cross.v"]);
        let expected = run(&model, &theirs, Some(&mut copies)).latents;
        (run(&model, &ours, Some(&mut copies.restoring(step))).latents, expected)
    };
    let (swapped, expected) = swapped_from(0);
    assert!(swapped.equal(&expected) && !expected.equal(&plain));
    assert!(swapped_from(STEPS).0.equal(&plain));
}

#[test]
fn attention_over_tokens_sums_to_one() {
    let model = open(AttentionKernel::Explicit);
    let mut copies = Copies::keeping(&[".cross.probs", ".self.probs"]);
    run(&model, &ours(&model), Some(&mut copies));
    assert!(!copies.kept.is_empty());
    for probs in copies.kept.values() {
        let sums = probs.to_kind(Kind::Double).sum_dim_intlist(-1, false, Kind::Double);
        assert_near(&sums, &sums.ones_like());
    }
}

#[test]
fn explicit_and_fused_attention_agree() {
    let made = [AttentionKernel::Explicit, AttentionKernel::Auto].map(|kernel| {
        let model = open(kernel);
        run(&model, &ours(&model), None).latents
    });
    assert_near(&made[0], &made[1]);
}

/// With a guidance of 1 ε is that of the conditional branch, whatever the negative prompt.
#[test]
fn guidance_of_one_is_the_prompt_alone() {
    let model = open(AttentionKernel::Explicit);
    let plain = Request { guidance: 1.0, ..ours(&model) };
    let with_negative = Request { negative: "a green cone".into(), ..plain.clone() };
    let made = [&plain, &with_negative].map(|request| run(&model, request, None).latents);
    assert_near(&made[0], &made[1]);
    let near = Request { guidance: 1.0 + 1e-9, ..with_negative };
    assert_near(&run(&model, &near, None).latents, &made[0]);
}
