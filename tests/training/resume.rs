//! Runs that were stopped: resumed exactly, or refused clearly.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use denoscope::model::parameters::Parameters;
use denoscope::sampler::Prediction;
use denoscope::train::vae::{VaeLoss, VaeObjective};
use denoscope::train::{Objective, TrainError, TrainingPlan};
use denoscope::world::Mix;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use super::setup::{
    alone, clip_objective, denoiser_objective, files, plan, run, run_until, vae_config,
    vae_objective,
};

/// A run that was stopped twice ends with the same losses and the same files as one that was
/// not.
fn resumes_exactly(make: &dyn Fn(&TrainingPlan) -> Box<dyn Objective>, weights: &[&str]) {
    let plan = plan(6, 3);
    let (whole, stopped) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (expected, result) = run(make(&plan).as_mut(), &plan, whole.path());
    result.unwrap();
    assert_eq!(expected.len(), 6);

    let mut losses = Vec::new();
    for stop in [2, 5] {
        let (made, result) = run_until(make(&plan).as_mut(), &plan, stopped.path(), stop);
        let Err(TrainError::Interrupted { step }) = result else { panic!("{result:?}") };
        assert_eq!(step, stop);
        losses.extend(made);
    }
    let (made, result) = run(make(&plan).as_mut(), &plan, stopped.path());
    result.unwrap();
    losses.extend(made);
    assert_eq!(losses, expected);

    let (got, expected) = (files(stopped.path()), files(whole.path()));
    assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for name in weights.iter().copied().chain(["checkpoint.safetensors", "losses.csv"]) {
        assert!(expected.contains_key(Path::new(name)), "{name} is not there");
    }
    for (name, bytes) in &expected {
        assert!(got[name] == *bytes, "{} differs", name.display());
    }
}

#[test]
fn a_stopped_autoencoder_resumes_exactly() {
    let _alone = alone();
    resumes_exactly(
        &|plan| Box::new(vae_objective(plan, 8)),
        &["vae/diffusion_pytorch_model.safetensors", "vae/config.json"],
    );
}

#[test]
fn a_stopped_clip_resumes_exactly() {
    let _alone = alone();
    resumes_exactly(&|plan| Box::new(clip_objective(plan)), &["clip/model.safetensors"]);
}

#[test]
fn a_stopped_denoiser_resumes_exactly() {
    let _alone = alone();
    resumes_exactly(
        &|plan| Box::new(denoiser_objective(plan, Prediction::V, Some(5.0))),
        &[
            "unet/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors",
            "scheduler/scheduler_config.json",
        ],
    );
}

/// Passes everything on, but fails at one step.
struct FailsAt<O> {
    inner: O,
    step: u64,
    loss: Option<f64>,
}

impl<O: Objective> Objective for FailsAt<O> {
    fn parameters(&self) -> &Parameters {
        self.inner.parameters()
    }

    fn settings(&self) -> serde_json::Value {
        self.inner.settings()
    }

    fn loss(&mut self, step: u64) -> Result<Tensor, TrainError> {
        if step != self.step {
            return self.inner.loss(step);
        }
        match self.loss {
            Some(value) => Ok(self.inner.loss(step)? * value),
            None => Err(TrainError::Plan("the power went".into())),
        }
    }

    fn preview(&mut self, folder: &Path, step: u64) -> Result<(), TrainError> {
        self.inner.preview(folder, step)
    }

    fn export(&self, folder: &Path) -> Result<(), TrainError> {
        self.inner.export(folder)
    }
}

/// A run that was killed, not stopped, goes on from its last checkpoint; what it had noted
/// since is made again.
#[test]
fn a_killed_run_goes_on_from_its_checkpoint() {
    let _alone = alone();
    let plan = plan(6, 2);
    let (whole, killed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (expected, result) = run(&mut vae_objective(&plan, 8), &plan, whole.path());
    result.unwrap();

    let mut fails = FailsAt { inner: vae_objective(&plan, 8), step: 5, loss: None };
    let (made, result) = run(&mut fails, &plan, killed.path());
    assert!(matches!(result, Err(TrainError::Plan(_))), "{result:?}");
    assert_eq!(made, expected[..5]);
    let (made, result) = run(&mut vae_objective(&plan, 8), &plan, killed.path());
    result.unwrap();
    assert_eq!(made, expected[4..], "checkpoints are 4 steps apart");
    assert!(files(killed.path()) == files(whole.path()));
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let _alone = alone();
    let plan = plan(6, 2);
    for value in [f64::NAN, f64::INFINITY] {
        let folder = TempDir::new().unwrap();
        let inner = vae_objective(&plan, 8);
        let mut objective = FailsAt { inner, step: 2, loss: Some(value) };
        let (_, result) = run(&mut objective, &plan, folder.path());
        let error = result.unwrap_err();
        assert!(matches!(error, TrainError::Diverged { step: 2, .. }), "{error}");
        assert!(error.to_string().contains("learning rate"), "{error}");
        assert!(!folder.path().join("vae").exists(), "a broken model was exported");
    }
}

/// A folder with a run that was stopped at its second step.
fn stopped_run(plan: &TrainingPlan) -> TempDir {
    let folder = TempDir::new().unwrap();
    let (_, result) = run_until(&mut vae_objective(plan, 8), plan, folder.path(), 2);
    assert!(matches!(result, Err(TrainError::Interrupted { step: 2 })), "{result:?}");
    folder
}

#[track_caller]
fn refused(objective: &mut dyn Objective, plan: &TrainingPlan, folder: &Path) -> String {
    let before = files(folder);
    let (made, result) = run(objective, plan, folder);
    let error = result.unwrap_err();
    assert!(made.is_empty(), "{} steps were made first", made.len());
    assert!(matches!(error, TrainError::Checkpoint { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(folder.to_str().unwrap()), "{text}");
    assert!(text.contains("remove"), "no remedy in: {text}");
    assert!(files(folder) == before, "the folder of the other run was changed");
    text
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let _alone = alone();
    let plan = plan(6, 2);

    let folder = stopped_run(&plan);
    let text = refused(&mut vae_objective(&plan, 12), &plan, folder.path());
    assert!(text.contains("other settings"), "{text}");

    let changed = TrainingPlan { learning_rate: 1e-3, ..plan.clone() };
    let text = refused(&mut vae_objective(&changed, 8), &changed, folder.path());
    assert!(text.contains("other settings"), "{text}");

    let checkpoint = folder.path().join("checkpoint.safetensors");
    let whole = fs::read(&checkpoint).unwrap();
    for damaged in [&whole[..whole.len() / 2], &whole[..4], &[], b"not a checkpoint at all"] {
        fs::write(&checkpoint, damaged).unwrap();
        let text = refused(&mut vae_objective(&plan, 8), &plan, folder.path());
        assert!(text.contains("checkpoint.safetensors"), "{text}");
    }
    let other = Parameters(BTreeMap::from([("w".into(), Tensor::from_slice(&[1.0_f32]))]));
    other.save(&checkpoint, Kind::Float).unwrap();
    let text = refused(&mut vae_objective(&plan, 8), &plan, folder.path());
    assert!(text.contains("not a checkpoint"), "{text}");

    fs::write(&checkpoint, whole).unwrap();
    let foreign = TempDir::new().unwrap();
    fs::copy(&checkpoint, foreign.path().join("checkpoint.safetensors")).unwrap();
    let error = run(&mut vae_objective(&plan, 12), &plan, foreign.path()).1.unwrap_err();
    assert!(error.to_string().contains("another architecture"), "{error}");
    run(&mut vae_objective(&plan, 8), &plan, folder.path()).1.unwrap();
}

/// The same plan with another loss is another run.
#[test]
fn a_run_with_another_loss_is_refused() {
    let _alone = alone();
    let plan = plan(6, 2);
    let folder = stopped_run(&plan);
    let loss = VaeLoss { l1: 0.5, ..VaeLoss::default() };
    let config = vae_config(8);
    let mut other =
        VaeObjective::new(config, None, loss, Mix::training(), &plan, Device::Cpu).unwrap();
    let text = refused(&mut other, &plan, folder.path());
    assert!(text.contains("other settings"), "{text}");

    let folder = TempDir::new().unwrap();
    let mut first = denoiser_objective(&plan, Prediction::V, None);
    let (_, result) = run_until(&mut first, &plan, folder.path(), 1);
    assert!(matches!(result, Err(TrainError::Interrupted { step: 1 })), "{result:?}");
    for (prediction, min_snr) in [(Prediction::Epsilon, None), (Prediction::V, Some(5.0))] {
        let mut other = denoiser_objective(&plan, prediction, min_snr);
        refused(&mut other, &plan, folder.path());
    }
}

/// Settings are compared as they are written: reading a number back may not change it.
#[test]
fn a_plan_of_awkward_numbers_is_recognised() {
    let _alone = alone();
    for number in [0.1 + 0.2, 1.0 / 3.0, 2e-3 / 7.0, 7.038_531e-26, 8.988_465_674_311_58e-4] {
        let (weight_decay, ema_decay) = (number, 0.9 - number / 3.0);
        let plan = TrainingPlan { weight_decay, ema_decay, ..plan(3, 2) };
        let folder = TempDir::new().unwrap();
        let (_, result) = run_until(&mut vae_objective(&plan, 8), &plan, folder.path(), 1);
        assert!(matches!(result, Err(TrainError::Interrupted { .. })), "{result:?}");
        run(&mut vae_objective(&plan, 8), &plan, folder.path()).1.unwrap();
    }
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let _alone = alone();
    let good = plan(6, 2);
    good.check().unwrap();
    let bad = [
        TrainingPlan { steps: 0, ..good.clone() },
        TrainingPlan { batch: 0, ..good.clone() },
        TrainingPlan { learning_rate: -1.0, ..good.clone() },
        TrainingPlan { learning_rate: f64::NAN, ..good.clone() },
        TrainingPlan { learning_rate: f64::INFINITY, ..good.clone() },
        TrainingPlan { ema_decay: 1.0, ..good.clone() },
        TrainingPlan { ema_decay: f64::NAN, ..good.clone() },
        TrainingPlan { weight_decay: -0.1, ..good.clone() },
        TrainingPlan { weight_decay: f64::NAN, ..good.clone() },
        TrainingPlan { clip_norm: 0.0, ..good.clone() },
        TrainingPlan { clip_norm: f64::NAN, ..good.clone() },
        TrainingPlan { checkpoint_every: 0, ..good.clone() },
        TrainingPlan { preview_every: 0, ..good.clone() },
    ];
    for plan in bad {
        let folder = TempDir::new().unwrap();
        let (_, result) = run(&mut vae_objective(&good, 8), &plan, folder.path());
        assert!(matches!(result, Err(TrainError::Plan(_))), "{plan:?}: {result:?}");
        assert!(files(folder.path()).is_empty(), "{plan:?} left files");
    }
}
