//! What the parts learn, and what they go on from.

use std::cell::RefCell;
use std::fs;

use denoscope::model::clip::Clip;
use denoscope::model::config::VaeConfig;
use denoscope::model::parameters::{Store, WeightFile};
use denoscope::model::weights::Weights;
use denoscope::sampler::Prediction;
use denoscope::train::clip::ClipObjective;
use denoscope::train::denoiser::DenoiserLoss;
use denoscope::train::vae::{VaeLoss, VaeObjective};
use denoscope::train::{Objective, TrainingPlan};
use denoscope::world::Mix;
use tch::{Device, Kind};
use tempfile::TempDir;

use super::setup::{
    alone, clip_objective, denoiser_objective, denoiser_with, plan, run, text_config, tokenizer,
    vae_config, vae_objective, vision_config,
};

#[test]
fn the_loss_of_an_autoencoder_falls() {
    let _alone = alone();
    let steps = 30;
    let plan = TrainingPlan { learning_rate: 4e-3, preview_every: 1000, ..plan(steps, 4) };
    let folder = TempDir::new().unwrap();
    let (losses, result) = run(&mut vae_objective(&plan, 8), &plan, folder.path());
    result.unwrap();
    let mean = |part: &[(u64, u64)]| {
        part.iter().map(|(_, loss)| f64::from_bits(*loss)).sum::<f64>() / part.len() as f64
    };
    let (first, last) = (mean(&losses[..5]), mean(&losses[25..]));
    assert!(last < 0.7 * first, "from {first} to {last}");
}

/// Training that goes on from a model begins with just its weights, as rounded in its file.
#[test]
fn training_goes_on_from_trained_weights() {
    let _alone = alone();
    let plan = TrainingPlan { preview_every: 1000, ..plan(3, 3) };
    let folder = TempDir::new().unwrap();
    run(&mut vae_objective(&plan, 8), &plan, folder.path()).1.unwrap();
    let path = folder.path().join("vae/diffusion_pytorch_model.safetensors");
    let trained = Weights::open(&path).unwrap();
    let continued = |config: VaeConfig| {
        let (loss, mix) = (VaeLoss::default(), Mix::training());
        VaeObjective::new(config, Some(&trained), loss, mix, &plan, Device::Cpu)
    };
    let further = continued(vae_config(8)).unwrap();
    let stored = WeightFile::open(&path).unwrap().tensors().unwrap();
    for (name, tensor) in further.parameters().iter() {
        assert_eq!(*tensor, stored[name].to_kind(Kind::Float), "{name}");
        assert!(tensor.requires_grad(), "{name}");
    }
    assert_eq!(stored.len(), further.parameters().iter().count());
    let Err(wider) = continued(vae_config(16)) else { panic!("another architecture is taken") };
    assert!(wider.to_string().contains("the config needs"), "{wider}");
}

/// Trained from the exported folder, CLIP's text tower fits the denoiser.
#[test]
fn an_exported_clip_can_be_read_back() {
    let _alone = alone();
    let plan = TrainingPlan { preview_every: 1000, ..plan(2, 3) };
    let folder = TempDir::new().unwrap();
    let mut objective = clip_objective(&plan);
    run(&mut objective, &plan, folder.path()).1.unwrap();
    let file = WeightFile::open(&folder.path().join("clip/model.safetensors")).unwrap();
    let store = Store::from_file(&file, Kind::Float, Device::Cpu).unwrap();
    let sites = RefCell::default();
    let _clip = Clip::new(&store.root(&sites), &text_config(&tokenizer()), &vision_config());
    // The readers of what captions say serve training alone.
    let readers = objective.parameters().iter().filter(|(name, _)| name.starts_with("reader."));
    let readers: usize = readers.map(|(_, t)| t.numel()).sum();
    assert!(readers > 0);
    let read = store.finish().unwrap();
    assert_eq!(read.count() + readers as i64, objective.parameters().count());
}

/// Models kept on the way are close together at the start, and the last is the end.
#[test]
fn models_are_kept_on_the_way() {
    let _alone = alone();
    let plan = TrainingPlan { snapshots: 2, preview_every: 1000, ..plan(4, 3) };
    assert_eq!((1..=4).filter(|&step| plan.keeps(step)).collect::<Vec<_>>(), [1, 4]);
    let folder = TempDir::new().unwrap();
    run(&mut denoiser_objective(&plan, Prediction::V, None), &plan, folder.path()).1.unwrap();
    let unet = |at: &str| {
        let path = format!("{at}unet/diffusion_pytorch_model.safetensors");
        fs::read(folder.path().join(path)).unwrap()
    };
    assert!(unet("snapshots/000004/") == unet(""));
    assert!(unet("snapshots/000001/") != unet(""));
}

/// A frozen text encoder is exported as it was, and only the U-Net learns.
#[test]
fn a_frozen_text_encoder_stays_as_it_is() {
    let _alone = alone();
    let plan = TrainingPlan { preview_every: 1000, ..plan(3, 3) };
    let exported = |frozen_text| {
        let loss = DenoiserLoss { frozen_text, ..DenoiserLoss::default() };
        let mut objective = denoiser_with(&plan, Prediction::V, loss);
        let learns = objective.parameters().iter().any(|(name, _)| name.starts_with("text."));
        assert_eq!(learns, !frozen_text);
        let folder = TempDir::new().unwrap();
        run(&mut objective, &plan, folder.path()).1.unwrap();
        fs::read(folder.path().join("text_encoder/model.safetensors")).unwrap()
    };
    let before = {
        let objective = denoiser_with(&plan, Prediction::V, DenoiserLoss::default());
        let folder = TempDir::new().unwrap();
        objective.export(folder.path()).unwrap();
        fs::read(folder.path().join("text_encoder/model.safetensors")).unwrap()
    };
    assert!(exported(true) == before, "the frozen encoder changed");
    assert!(exported(false) != before, "the other did not learn");
}

/// The text tower of a further CLIP begins with the weights it is given.
#[test]
fn a_clip_goes_on_from_a_text_encoder() {
    let _alone = alone();
    let plan = plan(2, 3);
    let folder = TempDir::new().unwrap();
    denoiser_objective(&plan, Prediction::V, None).export(folder.path()).unwrap();
    let path = folder.path().join("text_encoder/model.safetensors");
    let (start, stored) =
        (Weights::open(&path).unwrap(), WeightFile::open(&path).unwrap().tensors().unwrap());
    let tokenizer = tokenizer();
    let configs = (text_config(&tokenizer), vision_config());
    let mix = Mix::training();
    let objective =
        ClipObjective::new(configs, Some(start), tokenizer, mix, &plan, Device::Cpu).unwrap();
    let tower = objective.parameters().iter().filter(|(name, _)| name.starts_with("text_model."));
    let mut compared = 0;
    for (name, tensor) in tower {
        assert_eq!(*tensor, stored[name].to_kind(Kind::Float), "{name}");
        compared += 1;
    }
    assert_eq!(compared, stored.len());
}
