//! Scenes a second: drawn from the world, and rendered, on all cores.
#![allow(missing_docs, reason = "criterion's macros")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use denoscope::judge::judge;
use denoscope::world::{Generator, Mix, Sample, Split, parse, render};
use rayon::prelude::*;

const SCENES: u64 = 512;
const PIXELS: usize = 64;

fn draw() -> Vec<Sample> {
    let generator = Generator::new(0, Mix::training(), Split::Train);
    (0..SCENES).into_par_iter().map(|i| generator.sample(i)).collect()
}

fn benchmarks(criterion: &mut Criterion) {
    let samples = draw();
    let mut group = criterion.benchmark_group("world");
    group.throughput(Throughput::Elements(SCENES));
    group.bench_function("draw", |b| b.iter(draw));
    group.bench_function("render 64×64", |b| {
        let all = || samples.par_iter().map(|s| render(&s.scene, PIXELS)).collect::<Vec<_>>();
        b.iter(all);
    });
    group.bench_function("parse captions", |b| {
        b.iter(|| samples.par_iter().filter_map(|s| parse(&s.caption).ok()).count());
    });
    group.finish();

    let judged: Vec<_> = samples
        .iter()
        .take(32)
        .filter_map(|s| parse(&s.caption).ok().map(|e| (render(&s.scene, PIXELS), e)))
        .collect();
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements(judged.len() as u64));
    group.sample_size(10);
    group.bench_function("judge 64×64", |b| {
        b.iter(|| judged.par_iter().map(|(image, e)| judge(image, e)).collect::<Vec<_>>());
    });
    group.finish();
}

criterion_group!(benches, benchmarks);
criterion_main!(benches);
