//! A run that begins with known outputs is the whole run, whichever sampler takes the steps.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use denoscope::model::attention::AttentionKernel;
use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::pipeline::{Generation, Outputs, Request, generate, generate_with};
use denoscope::sampler::SamplerKind;
use denoscope::site::Site;
use denoscope::tap::{Moment, Tap, TapError};
use tch::Tensor;

const SAMPLERS: [SamplerKind; 9] = [
    SamplerKind::Ddim,
    SamplerKind::Ddpm,
    SamplerKind::Pndm,
    SamplerKind::Euler,
    SamplerKind::EulerAncestral,
    SamplerKind::Heun,
    SamplerKind::DpmSolver,
    SamplerKind::UniPc,
    SamplerKind::Lcm,
];
/// The first step that is changed.
const CHANGED: usize = 3;

fn open() -> DiffusionModel {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/sd");
    tch::set_num_threads(1);
    let kernel = AttentionKernel::Explicit;
    DiffusionModel::open(folder, Placement { kernel, ..Placement::default() }).unwrap()
}

fn request(sampler: SamplerKind) -> Request {
    Request {
        prompts: vec!["red ball left of blue cube".into(), "three green cones".into()],
        negative: String::new(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds: vec![7, 8],
        steps: 5,
        sampler,
        guidance: 4.0,
        height: 32,
        width: 32,
        init_latents: None,
        image: None,
        guidance_rescale: 0.0,
        eta: if sampler == SamplerKind::Ddim { 0.7 } else { 0.0 },
    }
}

/// Halves cross-attention at one step, and counts the steps that it saw.
#[derive(Default)]
struct Halved {
    steps: Vec<usize>,
}

impl Tap for Halved {
    fn selects(&self, site: &Site) -> bool {
        site.name.ends_with(".cross.out")
    }

    fn visit(&mut self, _: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        if self.steps.last() != Some(&at.step) {
            self.steps.push(at.step);
        }
        Ok((at.step == CHANGED).then(|| x * 0.5))
    }
}

fn same(a: &Generation, b: &Generation) -> bool {
    a.latents.equal(&b.latents) && a.images == b.images
}

/// What multistep samplers remember and the noise that others draw are part of a run too.
#[test]
fn a_run_from_known_outputs_is_the_whole_run() {
    let model = open();
    for sampler in SAMPLERS {
        let request = request(sampler);
        let mut outputs = Vec::new();
        let keeping = Outputs::Kept(&mut outputs);
        let plain = generate_with(&model, &request, keeping, None, &mut |_, _| {}).unwrap();
        assert_eq!(outputs.len(), plain.timesteps.len(), "{sampler:?}");
        let mut tap = Halved::default();
        let whole = generate(&model, &request, Some(&mut tap), &mut |_, _| {}).unwrap();
        assert!(!same(&whole, &plain), "{sampler:?}: the change changed nothing");

        // Twice: the first must leave the kept outputs as they are.
        for _ in 0..2 {
            let mut tap = Halved::default();
            let mut asked = 0;
            let known = Outputs::Known(&outputs[..CHANGED]);
            let mut count = |_, _| asked += 1;
            let short = generate_with(&model, &request, known, Some(&mut tap), &mut count).unwrap();
            assert!(same(&short, &whole), "{sampler:?}");
            assert_eq!(asked, outputs.len() - CHANGED, "{sampler:?}");
            assert_eq!(tap.steps, Vec::from_iter(CHANGED..outputs.len()), "{sampler:?}");
        }
        let known = Outputs::Known(&outputs);
        let none = generate_with(&model, &request, known, None, &mut |_, _| {}).unwrap();
        assert!(same(&none, &plain), "{sampler:?}");
    }
}
