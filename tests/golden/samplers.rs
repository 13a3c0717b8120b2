//! Schedules and samplers against diffusers.

use std::collections::BTreeMap;
use std::error::Error;

use denoscope::sampler::{
    BetaSchedule, Ddim, DdimInversion, NoiseSource, Prediction, Sampler, SamplerKind, Schedule,
    SchedulerConfig, Spacing, rescaled_guidance,
};
use serde::Deserialize;
use tch::{Kind, Tensor};

use crate::support::{Golden, Outcome, Parity, TOLERANCE, json, relative_error};

/// What the scripts gave every scheduler.
const STEPS_OFFSET: i64 = 1;

/// One line of `samplers.json`.
#[derive(Deserialize)]
struct Case {
    sampler: String,
    steps: usize,
    #[serde(default)]
    eta: f64,
    #[serde(flatten)]
    config: SchedulerConfig,
}

impl Case {
    fn build(&self) -> Result<Box<dyn Sampler>, Box<dyn Error>> {
        let config = self.config();
        Ok(match self.sampler.as_str() {
            "ddim" => Box::new(Ddim::new(&config, self.steps, self.eta)?),
            "ddim-inversion" => Box::new(DdimInversion::new(&config, self.steps)?),
            _ => self.kind()?.prepare(&config, self.steps)?,
        })
    }

    fn config(&self) -> SchedulerConfig {
        SchedulerConfig { steps_offset: STEPS_OFFSET, ..self.config.clone() }
    }

    fn kind(&self) -> Result<SamplerKind, Box<dyn Error>> {
        Ok(serde_json::from_value(self.sampler.clone().into())?)
    }

    /// Whether a step draws noise, and does not depend on steps before.
    fn is_stochastic(&self) -> bool {
        self.eta > 0.0 || ["ddpm", "euler-ancestral", "lcm"].contains(&self.sampler.as_str())
    }

    /// Whether the reference itself has three digits: a predicted x0 tells ε by division by
    /// √(1 − ᾱ), and 1 − ᾱ_0 of the cosine schedule is 4·10⁻⁵, all that f32 leaves beside 1.
    fn is_rounded_by_the_reference(&self) -> bool {
        self.sampler.starts_with("ddim")
            && self.config.beta_schedule == Some(BetaSchedule::SquaredCosine)
            && self.config.prediction_type == Prediction::Sample
    }

    fn title(&self) -> String {
        let config = serde_json::to_value(&self.config).unwrap_or_default();
        format!("{} {} steps η {} {config}", self.sampler, self.steps, self.eta)
    }
}

/// What stands for the denoiser; `golden_samplers.py` has the same.
fn fake_model(x: &Tensor, t: f64) -> Tensor {
    x * 0.3 + (x + t / 100.0).sin() * 0.1
}

/// A step with given noise. Samplers draw their noise themselves; the step is linear in it,
/// x' = mean + σ n, so two draws that are known tell σ, and with it the step for any noise.
fn step_with(
    sampler: &mut dyn Sampler,
    i: usize,
    (x, output): (&Tensor, &Tensor),
    noise: &Tensor,
) -> Tensor {
    let mut run = |seed: u64| {
        let mut source = NoiseSource::new(&[seed]);
        let drawn = source.clone().like(x);
        (sampler.step(i, output, x, &mut source).previous, drawn)
    };
    let ((a, of_a), (b, of_b)) = (run(1), run(2));
    let apart = &of_a - &of_b;
    let sigma = ((&a - b) * &apart).sum(Kind::Double) / apart.square().sum(Kind::Double);
    a + (noise - of_a) * sigma.double_value(&[])
}

/// The first latent and those after every evaluation.
fn trajectory(case: &Case, golden: &Golden) -> Result<Vec<Tensor>, Box<dyn Error>> {
    let mut sampler = case.build()?;
    let noise = golden.get("samplers/noise")?;
    let mut rows = vec![sampler.course().start(golden.get("samplers/start")?)];
    for i in 0..sampler.course().evaluations().len() {
        let x = &rows[i];
        let input = sampler.course().input(i, x);
        let output = fake_model(&input, sampler.course().evaluations()[i].timestep);
        let next = if case.is_stochastic() {
            let row = noise.narrow(0, i as i64, 1);
            step_with(sampler.as_mut(), i, (x, &output), &row)
        } else {
            sampler.step(i, &output, x, &mut NoiseSource::new(&[])).previous
        };
        rows.push(next);
    }
    Ok(rows)
}

fn cases() -> Result<(Golden, Vec<Case>), Box<dyn Error>> {
    Ok((Golden::open("samplers.safetensors")?, json("goldens/samplers.json")?))
}

#[test]
fn every_step_of_every_trajectory() -> Outcome {
    let (golden, cases) = cases()?;
    let mut parity = Parity::new("samplers, the worst step of each trajectory");
    let mut rounded = Parity::new("likewise, where the reference rounds");
    let mut worst = BTreeMap::<&str, (usize, f64)>::new();
    for (i, case) in cases.iter().enumerate() {
        let theirs = golden.get(&format!("trajectory/{i:03}"))?;
        let ours = trajectory(case, &golden)?;
        assert_eq!(ours.len() as i64, theirs.size()[0], "{}", case.title());
        let errors = ours
            .iter()
            .enumerate()
            .map(|(row, ours)| relative_error(ours, &theirs.narrow(0, row as i64, 1)));
        // A NaN stays.
        let error = errors.fold(0.0, |a: f64, b| if a.is_nan() || a > b { a } else { b });
        let table = if case.is_rounded_by_the_reference() { &mut rounded } else { &mut parity };
        table.record(case.title(), error);
        let (count, of_sampler) = worst.entry(&case.sampler).or_default();
        *count += 1;
        *of_sampler = of_sampler.max(error);
    }
    for (sampler, (count, error)) in &worst {
        println!("{sampler}: {count} trajectories, worst step {error:.1e}");
    }
    assert_eq!(worst.len(), 10);
    rounded.judge(3.0 * TOLERANCE)?;
    parity.judge(TOLERANCE)
}

#[test]
fn timesteps_of_every_sampler() -> Outcome {
    let (golden, cases) = cases()?;
    // The reference keeps timesteps in f32.
    const NEAREST: f64 = 1e-3;
    let mut compared = 0;
    for (i, case) in cases.iter().enumerate() {
        let Ok(theirs) = golden.get(&format!("timesteps/{i:03}")) else { continue };
        let theirs = Vec::<f64>::try_from(theirs.to_kind(Kind::Double))?;
        let sampler = case.build()?;
        let ours: Vec<f64> = sampler.course().evaluations().iter().map(|at| at.timestep).collect();
        let equal = ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < NEAREST);
        assert!(ours.len() == theirs.len() && equal, "{}: {ours:?}, {theirs:?}", case.title());
        compared += 1;
    }
    assert!(compared > 200, "{compared}");
    Ok(())
}

#[test]
fn alpha_bars_of_every_schedule() -> Outcome {
    let (golden, cases) = cases()?;
    let mut parity = Parity::new("ᾱ and 1 − ᾱ");
    for (name, rescaled) in [
        ("linear", false),
        ("scaled_linear", false),
        ("squaredcos_cap_v2", false),
        ("scaled_linear.rescaled", true),
    ] {
        let theirs = golden.get(&format!("schedule/{name}/alphas_cumprod"))?;
        let case = cases.iter().find(|case| {
            let growth = serde_json::to_value(case.config.beta_schedule);
            growth.is_ok_and(|growth| growth == name.trim_end_matches(".rescaled"))
                && case.config.rescale_betas_zero_snr == rescaled
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
    let (golden, cases) = cases()?;
    let plain = |case: &&Case| ["ddim", "ddpm"].contains(&case.sampler.as_str());
    for case in cases.iter().filter(plain) {
        let spacing = case.config.timestep_spacing.ok_or("a case without a spacing")?;
        let word = serde_json::to_value(spacing)?;
        let word = word.as_str().ok_or("a spacing that is no word")?;
        let name = format!("timesteps/{word}/{}", case.steps);
        let theirs = Vec::<i64>::try_from(golden.get(&name)?)?;
        let schedule = Schedule::new(&case.config)?;
        assert_eq!(schedule.timesteps(case.steps, spacing, STEPS_OFFSET)?, theirs, "{name}");
    }
    assert!(cases.iter().any(|case| case.config.timestep_spacing == Some(Spacing::Trailing)));
    Ok(())
}

#[test]
fn guidance_is_rescaled_as_published() -> Outcome {
    let golden = Golden::open("samplers.safetensors")?;
    let (guided, cond) = (golden.get("guidance/guided")?, golden.get("guidance/cond")?);
    let mut parity = Parity::new("guidance rescaled");
    for (name, theirs) in golden.under("guidance/rescaled.") {
        let ours = rescaled_guidance(guided, cond, name.parse()?);
        parity.compare(format!("share {name}"), &ours, theirs);
    }
    parity.judge(TOLERANCE)
}
