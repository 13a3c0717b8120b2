//! The optimiser and its learning rate, by the formulas of their papers.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use denoscope::model::parameters::Parameters;
use denoscope::train::{AdamW, FlatParameters, TrainingPlan};
use tch::{Kind, Tensor};

fn plan(steps: u64) -> TrainingPlan {
    TrainingPlan {
        steps,
        batch: 1,
        learning_rate: 2e-3,
        warmup: 2,
        weight_decay: 0.01,
        ema_decay: 0.999,
        clip_norm: 1.0,
        seed: 5,
        bf16: false,
        checkpoint_every: 4,
        preview_every: 3,
        snapshots: 0,
    }
}

#[test]
fn the_learning_rate_warms_up_and_falls_by_a_cosine() {
    let plan = TrainingPlan { learning_rate: 3.0, warmup: 10, ..plan(110) };
    let close = |step: u64, expected: f64| {
        let got = plan.rate(step);
        assert!((got - expected).abs() < 1e-12, "step {step}: {got}, not {expected}");
    };
    close(0, 0.3);
    close(4, 1.5);
    close(9, 3.0);
    close(10, 3.0);
    close(60, 1.5);
    close(35, 3.0 * (0.5 + 0.5 * std::f64::consts::FRAC_1_SQRT_2));
    close(110, 0.0);
    assert!((10..110).all(|step| plan.rate(step + 1) < plan.rate(step)));
    let cold = TrainingPlan { warmup: 0, ..plan.clone() };
    assert!((cold.rate(0) - 3.0).abs() < 1e-12);
    let all_warm = TrainingPlan { warmup: 110, ..plan };
    assert!((all_warm.rate(109) - 3.0).abs() < 1e-12);
}

/// The gradient of each step, for a matrix and a vector.
fn gradients(step: usize) -> [[f64; 4]; 2] {
    let wave = |i: usize, k: f64| ((step * 7 + i * 3) as f64 * k).sin();
    // The third is far longer than the limit, the others may be shorter.
    let size = if step == 2 { 50.0 } else { 0.4 };
    [[0, 1, 2, 3].map(|i| size * wave(i, 0.9)), [4, 5, 6, 7].map(|i| size * wave(i, 1.7))]
}

/// One number under AdamW, in f64, as PyTorch's documentation states it.
#[derive(Clone, Copy)]
struct Reference {
    value: f64,
    mean: f64,
    variance: f64,
    average: f64,
}

impl Reference {
    fn step(&mut self, gradient: f64, taken: i32, rate: f64, decay: f64) {
        let (beta1, beta2, eps) = (0.9, 0.99, 1e-8);
        self.value -= rate * decay * self.value;
        self.mean = beta1 * self.mean + (1.0 - beta1) * gradient;
        self.variance = beta2 * self.variance + (1.0 - beta2) * gradient * gradient;
        let mean = self.mean / (1.0 - f64::powi(beta1, taken));
        let variance = self.variance / (1.0 - f64::powi(beta2, taken));
        self.value -= rate * mean / (variance.sqrt() + eps);
    }
}

fn values(t: &Tensor) -> Vec<f64> {
    Vec::try_from(t.detach().to_kind(Kind::Double).contiguous().view([-1])).unwrap()
}

#[test]
fn the_optimiser_follows_the_formulas() {
    let plan = TrainingPlan { weight_decay: 0.1, ema_decay: 0.3, clip_norm: 1.0, ..plan(6) };
    let start = [[0.5, -1.0, 2.0, 0.1], [1.0, -0.5, 0.0, 3.0]];
    let parameter = |numbers: [f64; 4], shape: &[i64]| {
        let numbers = Tensor::from_slice(&numbers).to_kind(Kind::Float).view(shape);
        numbers.copy().set_requires_grad(true)
    };
    // Names in order: the vector first, as in a file.
    let (vector, matrix) = (parameter(start[1], &[4]), parameter(start[0], &[2, 2]));
    let shared = |t: &Tensor| t.shallow_clone();
    let parameters = Parameters(BTreeMap::from([
        ("bias".to_owned(), shared(&vector)),
        ("weight".to_owned(), shared(&matrix)),
    ]));
    let mut flat = FlatParameters::new(&parameters);
    let mut optimizer = AdamW::new(&flat, &plan);
    let fresh = |value: f64| Reference { value, mean: 0.0, variance: 0.0, average: value };
    let mut expected = start.map(|row| row.map(fresh));
    let mut clipped = 0;
    for step in 0..6_usize {
        let gradient = gradients(step);
        let of = |row: [f64; 4]| Tensor::from_slice(&row).to_kind(Kind::Float);
        let loss = (&matrix.view([-1]) * of(gradient[0])).sum(Kind::Float)
            + (&vector * of(gradient[1])).sum(Kind::Float);
        loss.backward();
        let rate = 0.05 / (step + 1) as f64;
        optimizer.step(&mut flat, rate);

        let norm = gradient.concat().iter().map(|g| g * g).sum::<f64>().sqrt();
        let scale = (plan.clip_norm / norm).min(1.0);
        clipped += usize::from(scale < 1.0);
        let taken = step as i32 + 1;
        // min(decay, (1 + n)/(10 + n)): the average forgets the start.
        let ema = plan.ema_decay.min((1.0 + f64::from(taken)) / (10.0 + f64::from(taken)));
        for (row, decay) in [(0, plan.weight_decay), (1, 0.0)] {
            for (number, g) in expected[row].iter_mut().zip(gradient[row]) {
                number.step(g * scale, taken, rate, decay);
                number.average = ema * number.average + (1.0 - ema) * number.value;
            }
        }
        let average = values(&optimizer.average());
        for (row, (tensor, at)) in [(&matrix, 4), (&vector, 0)].into_iter().enumerate() {
            for (i, got) in values(tensor).into_iter().enumerate() {
                let number = expected[row][i];
                assert!((got - number.value).abs() < 2e-6, "step {step}: {got}, {}", number.value);
                let got = average[at + i];
                assert!((got - number.average).abs() < 2e-6, "average, step {step}: {got}");
            }
        }
    }
    assert!((1..6).contains(&clipped), "{clipped} steps were clipped");
}

/// The optimiser works through the numbers in pieces: each piece takes the same step.
#[test]
fn every_number_of_a_large_tensor_takes_the_step() {
    const MANY: i64 = 600_000;
    let (start, gradient) = (0.7, 1e-4);
    let plan = TrainingPlan { weight_decay: 0.1, ..plan(3) };
    let matrix =
        Tensor::full([MANY, 1], start, (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
    let parameters = Parameters(BTreeMap::from([("weight".to_owned(), matrix.shallow_clone())]));
    let mut flat = FlatParameters::new(&parameters);
    let mut optimizer = AdamW::new(&flat, &plan);
    let mut expected = Reference { value: start, mean: 0.0, variance: 0.0, average: start };
    for taken in 1..=3 {
        (&matrix * gradient).sum(Kind::Float).backward();
        optimizer.step(&mut flat, 0.01);
        expected.step(gradient, taken, 0.01, plan.weight_decay);
    }
    let far = (matrix.detach() - expected.value).abs().max().double_value(&[]);
    assert!(far < 2e-6, "{far} from {}", expected.value);
}
