//! What training computes, against diffusers and transformers.

use std::error::Error;

use denoscope::model::clip::Clip;
use denoscope::model::vae::Moments;
use denoscope::sampler::{Denoised, Prediction, Schedule, SchedulerConfig, add_noise, v_target};
use denoscope::tap::Cx;
use denoscope::train::clip::contrastive_loss;
use denoscope::train::denoiser::min_snr_weights;
use tch::{Kind, Tensor};

use crate::support::{Golden, Outcome, Parity, TOLERANCE, json, weights};

/// The schedule of the tiny pipeline, which is the scripts' own, and the timesteps compared.
fn schedule(golden: &Golden) -> Result<(Schedule, Vec<i64>), Box<dyn Error>> {
    let config: SchedulerConfig = json("tiny/sd/scheduler/scheduler_config.json")?;
    let timesteps = Vec::<i64>::try_from(golden.get("denoising/timesteps")?)?;
    Ok((Schedule::new(&config)?, timesteps))
}

#[test]
fn noising_and_targets() -> Outcome {
    let golden = Golden::open("training.safetensors")?;
    let (schedule, timesteps) = schedule(&golden)?;
    let alpha_bars: Vec<f32> = timesteps.iter().map(|&t| schedule.alpha_bar(t) as f32).collect();
    let alpha_bars = Tensor::from_slice(&alpha_bars);
    let (x0, noise) = (golden.get("denoising/x0")?, golden.get("denoising/noise")?);
    let mut parity = Parity::new("noising and targets");
    parity.compare("x_t", &add_noise(x0, noise, &alpha_bars), golden.get("denoising/noisy")?);
    parity.compare("v", &v_target(x0, noise, &alpha_bars), golden.get("denoising/velocity")?);
    let snr: Vec<f64> = timesteps.iter().map(|&t| schedule.snr(t)).collect();
    parity.compare("SNR", &Tensor::from_slice(&snr), golden.get("denoising/snr")?);
    parity.judge(TOLERANCE)
}

#[test]
fn conversions_between_parameterisations() -> Outcome {
    let golden = Golden::open("training.safetensors")?;
    let (schedule, timesteps) = schedule(&golden)?;
    let (noisy, output) = (golden.get("denoising/noisy")?, golden.get("denoising/output")?);
    let mut parity = Parity::new("x0 from ε, x0 and v");
    for prediction in [Prediction::Epsilon, Prediction::Sample, Prediction::V] {
        let name = serde_json::to_value(prediction)?;
        let name = name.as_str().ok_or("a prediction that is no word")?;
        let theirs = golden.get(&format!("denoising/x0_from.{name}"))?;
        for (i, &t) in timesteps.iter().enumerate() {
            let row = |x: &Tensor| x.narrow(0, i as i64, 1);
            let (alpha_bar, x) = (schedule.alpha_bar(t), row(noisy));
            let Denoised { x0, eps } = Denoised::new(prediction, &row(output), &x, alpha_bar);
            parity.compare(format!("x0 from {name} at {t}"), &x0, &row(theirs));
            // Whatever was predicted, both together make the noisy latent again.
            let again = x0 * alpha_bar.sqrt() + eps * (1.0 - alpha_bar).sqrt();
            parity.compare(format!("x_t again from {name} at {t}"), &again, &x);
        }
    }
    parity.judge(TOLERANCE)
}

#[test]
fn weights_of_min_snr() -> Outcome {
    const GAMMA: f64 = 5.0;
    let golden = Golden::open("training.safetensors")?;
    let (schedule, timesteps) = schedule(&golden)?;
    let alpha_bars: Vec<f64> = timesteps.iter().map(|&t| schedule.alpha_bar(t)).collect();
    let alpha_bars = Tensor::from_slice(&alpha_bars);
    let mut parity = Parity::new("min-SNR weights");
    for prediction in [Prediction::Epsilon, Prediction::Sample, Prediction::V] {
        let name = serde_json::to_value(prediction)?;
        let name = name.as_str().ok_or("a prediction that is no word")?;
        let ours = min_snr_weights(&alpha_bars, GAMMA, prediction);
        parity.compare(name, &ours, golden.get(&format!("denoising/min_snr.{name}"))?);
    }
    parity.judge(TOLERANCE)
}

#[test]
fn both_towers_of_clip_and_their_loss() -> Outcome {
    let golden = Golden::open("clip.safetensors")?;
    let config: serde_json::Value = json("tiny/clip/config.json")?;
    let text = serde_json::from_value(config["text_config"].clone())?;
    let vision = serde_json::from_value(config["vision_config"].clone())?;
    let (store, sites) = weights("tiny/clip/model.safetensors")?;
    store.ignore_extra(|name| name.ends_with("position_ids"));
    let clip = Clip::new(&store.root(&sites), &text, &vision);
    store.finish()?;
    let cx = &mut Cx::silent();
    let ours_text = clip.embed_text(golden.get("clip/in.ids")?, cx)?;
    let ours_image = clip.embed_images(golden.get("clip/in.images")?, cx)?;
    let logits = ours_image.matmul(&ours_text.tr()) * clip.scale();
    let mut parity = Parity::new("CLIP");
    parity.compare("text", &ours_text, golden.get("clip/text")?);
    parity.compare("image", &ours_image, golden.get("clip/image")?);
    parity.compare("logits", &logits, golden.get("clip/logits_per_image")?);
    parity.compare("loss", &contrastive_loss(&logits), golden.get("clip/loss")?);
    parity.judge(TOLERANCE)
}

#[test]
fn divergence_of_the_autoencoder() -> Outcome {
    let golden = Golden::open("training.safetensors")?;
    let of = |name: &str| golden.get(&format!("gaussian/{name}")).map(Tensor::shallow_clone);
    let moments = Moments { mean: of("mean")?, log_var: of("logvar")? };
    let mut parity = Parity::new("KL of the latents");
    let (ours, theirs) = (moments.kl(), of("kl")?);
    for i in 0..theirs.size()[0] {
        parity.compare(format!("image {i}"), &ours.get(i), &theirs.get(i));
    }
    assert_eq!(moments.kl().kind(), Kind::Float);
    parity.judge(TOLERANCE)
}
