//! Schedules and samplers against diffusers.

use std::error::Error;

use denoscope::sampler::{
    Ddim, Ddpm, NoiseSource, Sampler, Schedule, SchedulerConfig, Spacing, Variance,
};
use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::support::{Golden, Outcome, Parity, TOLERANCE, json};

/// What the scripts gave every scheduler.
const STEPS_OFFSET: i64 = 1;

/// One line of `samplers.json`.
#[derive(Deserialize)]
struct Case {
    sampler: String,
    steps: usize,
    #[serde(default)]
    eta: f64,
    #[serde(default)]
    variance_type: String,
    #[serde(flatten)]
    config: SchedulerConfig,
}

impl Case {
    fn build(&self) -> Result<Box<dyn Sampler>, Box<dyn Error>> {
        let config = SchedulerConfig { steps_offset: STEPS_OFFSET, ..self.config.clone() };
        if self.sampler == "ddim" {
            return Ok(Box::new(Ddim::new(&config, self.steps, self.eta)?));
        }
        let variance = match self.variance_type.as_str() {
            "fixed_large" => Variance::FixedLarge,
            _ => Variance::FixedSmall,
        };
        Ok(Box::new(Ddpm::new(&config, self.steps, variance)?))
    }

    fn title(&self) -> String {
        let SchedulerConfig { beta_schedule, prediction_type, timestep_spacing, .. } = &self.config;
        let (sampler, steps, eta, variance) =
            (&self.sampler, self.steps, self.eta, &self.variance_type);
        format!(
            "{sampler} {beta_schedule:?} {prediction_type:?} {timestep_spacing:?} {steps} steps, \
             η {eta} {variance}, ᾱ to one {}, clip {}",
            self.config.set_alpha_to_one, self.config.clip_sample
        )
    }
}

/// What stands for the denoiser; `golden_samplers.py` has the same.
fn fake_model(x: &Tensor, t: i64) -> Tensor {
    x * 0.3 + (x + t as f64 / 100.0).sin() * 0.1
}

/// A step with given noise. Samplers draw their noise themselves; the step is linear in it,
/// x' = mean + σ n, so two draws that are known tell σ, and with it the step for any noise.
fn step_with(sampler: &dyn Sampler, i: usize, x: &Tensor, noise: &Tensor) -> Tensor {
    let output = fake_model(x, sampler.timesteps()[i]);
    let run = |seed: u64| {
        let mut source = NoiseSource::new(&[seed]);
        let drawn = source.clone().like(x);
        (sampler.step(i, &output, x, &mut source).previous, drawn)
    };
    let ((a, of_a), (b, of_b)) = (run(1), run(2));
    let apart = &of_a - &of_b;
    let sigma = ((&a - b) * &apart).sum(Kind::Double) / apart.square().sum(Kind::Double);
    a + (noise - of_a) * sigma.double_value(&[])
}

fn trajectory(case: &Case, golden: &Golden) -> Result<Tensor, Box<dyn Error>> {
    let sampler = case.build()?;
    let noise = golden.get("samplers/noise")?;
    let mut rows = vec![golden.get("samplers/start")?.shallow_clone()];
    for i in 0..sampler.timesteps().len() {
        let row = noise.narrow(0, i as i64, 1);
        rows.push(step_with(sampler.as_ref(), i, &rows[i], &row));
    }
    Ok(Tensor::cat(&rows, 0))
}

#[test]
fn trajectories_of_ddim_and_ddpm() -> Outcome {
    let golden = Golden::open("samplers.safetensors")?;
    let cases: Vec<Case> = json("goldens/samplers.json")?;
    let mut parity = Parity::new("DDIM and DDPM, whole trajectories");
    let mut refused = 0;
    for (i, case) in cases.iter().enumerate() {
        if case.config.rescale_betas_zero_snr {
            assert!(case.build().is_err(), "supported now: compare it");
            refused += 1;
            continue;
        }
        let theirs = golden.get(&format!("trajectory/{i:03}"))?;
        parity.compare(case.title(), &trajectory(case, &golden)?, theirs);
    }
    println!("{refused} of {} cases ask for what the crate refuses", cases.len());
    parity.judge(TOLERANCE)
}

#[test]
fn alpha_bars_of_every_schedule() -> Outcome {
    let golden = Golden::open("samplers.safetensors")?;
    let cases: Vec<Case> = json("goldens/samplers.json")?;
    let mut parity = Parity::new("ᾱ and 1 − ᾱ");
    for name in ["linear", "scaled_linear", "squaredcos_cap_v2"] {
        let theirs = golden.get(&format!("schedule/{name}/alphas_cumprod"))?;
        let case = cases.iter().find(|case| {
            serde_json::to_value(case.config.beta_schedule).is_ok_and(|value| value == name)
        });
        let schedule = Schedule::new(&case.ok_or("no case with this schedule")?.config)?;
        assert_eq!(schedule.len() as i64, theirs.size()[0]);
        let ours: Vec<f64> = (0..schedule.len() as i64).map(|t| schedule.alpha_bar(t)).collect();
        let (ours, theirs) = (Tensor::from_slice(&ours), theirs.to_kind(Kind::Double));
        parity.compare(format!("{name} ᾱ"), &ours, &theirs);
        parity.compare(format!("{name} 1 − ᾱ"), &(1.0 - ours), &(1.0 - theirs));
    }
    parity.judge(TOLERANCE)
}

#[test]
fn timesteps_of_every_spacing() -> Outcome {
    let golden = Golden::open("samplers.safetensors")?;
    let cases: Vec<Case> = json("goldens/samplers.json")?;
    for case in &cases {
        let spacing = serde_json::to_value(case.config.timestep_spacing)?;
        let spacing = spacing.as_str().ok_or("a spacing that is no word")?;
        let name = format!("timesteps/{spacing}/{}", case.steps);
        let theirs = Vec::<i64>::try_from(golden.get(&name)?)?;
        // The schedule's own refusal of rescaled betas is none of this test's business.
        let config = SchedulerConfig { rescale_betas_zero_snr: false, ..case.config.clone() };
        let schedule = Schedule::new(&config)?;
        let offset = STEPS_OFFSET;
        assert_eq!(
            schedule.timesteps(case.steps, config.timestep_spacing, offset)?,
            theirs,
            "{name}"
        );
    }
    assert!(cases.iter().any(|case| case.config.timestep_spacing == Spacing::Trailing));
    Ok(())
}
