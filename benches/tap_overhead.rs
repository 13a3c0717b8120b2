//! What watching costs: one forward pass of a tiny U-Net without a tap, with a tap that wants
//! nothing, and with all cross-attention recorded.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros; a bench may panic")]

#[cfg(feature = "torch")]
mod torch {
    use criterion::Criterion;
    use denoscope::model::attention::AttentionKernel;
    use denoscope::model::checkpoint::{DiffusionModel, Placement};
    use denoscope::site::{Branch, Site};
    use denoscope::tap::{AttentionRecorder, BatchLayout, Cx, Moment, Tap, TapError};
    use tch::{Device, Kind, Tensor};

    /// Wants no site.
    struct Nothing;

    impl Tap for Nothing {
        fn selects(&self, _: &Site) -> bool {
            false
        }

        fn visit(&mut self, _: &Site, _: Moment, _: &Tensor) -> Result<Option<Tensor>, TapError> {
            Ok(None)
        }
    }

    const TOKENS: i64 = 77;
    const AT: Moment = Moment { step: 0, timestep: 500.0, sigma: 1.0, branch: None };

    pub fn benchmarks(criterion: &mut Criterion) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny/sd");
        // One kernel for all, so that only the looking differs.
        let placement = Placement { kernel: AttentionKernel::Explicit, ..Placement::default() };
        let model = DiffusionModel::open(folder, placement).unwrap();
        let side = model.unet_config.sample_size;
        let options = (Kind::Float, Device::Cpu);
        let x = Tensor::randn([1, model.unet_config.in_channels, side, side], options);
        let context = Tensor::randn([1, TOKENS, model.unet_config.cross_attention_dim], options);
        let conditioning = model.unet.condition(context, None).unwrap();
        let timesteps = Tensor::full([1], AT.timestep, options);
        let forward = |cx: &mut Cx<'_>| {
            cx.now(AT, BatchLayout::One(Branch::Cond));
            tch::no_grad(|| model.unet.forward(&x, &timesteps, &conditioning, cx).unwrap())
        };
        let cross: Vec<String> = model
            .sites
            .iter()
            .filter(|(_, site)| site.is_cross_probs())
            .map(|(_, site)| site.name.clone())
            .collect();

        let mut group = criterion.benchmark_group("tiny U-Net");
        group.bench_function("silent", |b| b.iter(|| forward(&mut Cx::silent())));
        group.bench_function("watching nothing", |b| {
            b.iter(|| forward(&mut Cx::watching(&model.sites, &mut Nothing)));
        });
        group.bench_function("recording cross-attention", |b| {
            b.iter(|| {
                let sites = cross.iter().cloned();
                let mut recorder = AttentionRecorder::new(TOKENS as usize, sites, [side, side]);
                let _output = forward(&mut Cx::watching(&model.sites, &mut recorder));
                recorder.finish().unwrap()
            });
        });
        group.finish();
    }
}

#[cfg(feature = "torch")]
criterion::criterion_group!(benches, torch::benchmarks);
#[cfg(feature = "torch")]
criterion::criterion_main!(benches);

#[cfg(not(feature = "torch"))]
fn main() {}
