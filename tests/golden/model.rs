//! The parts of the model, site by site.

use std::collections::BTreeSet;
use std::error::Error;

use denoscope::model::attention::AttentionKernel;
use denoscope::model::clip::TextEncoder;
use denoscope::model::config::{ClipTextConfig, UnetConfig, VaeConfig};
use denoscope::model::unet::Unet;
use denoscope::model::vae::Vae;
use denoscope::site::Sites;
use denoscope::tap::Cx;
use tch::Tensor;

use crate::support::{Everything, Golden, Outcome, Parity, TOLERANCE, fixture, json, weights};

/// Golden tensors inside the autoencoder's attention, for which there is no site.
const WITHOUT_SITE: &str = ".mid.attn.0.";

fn unet(folder: &str, file: &str) -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let config: UnetConfig = json(&format!("{folder}/config.json"))?;
    config.check()?;
    let (store, sites) = weights(&format!("{folder}/diffusion_pytorch_model.safetensors"))?;
    let unet = Unet::new(&store.root(&sites), &config, AttentionKernel::Auto);
    store.finish()?;
    let (sites, golden) = (sites.into_inner(), Golden::open(file)?);
    let forward = |case: &str, cx: &mut Cx<'_>| -> Result<Tensor, Box<dyn Error>> {
        let input = |name| golden.get(&format!("{case}/in.{name}"));
        let conditioning = unet.condition(input("context")?.shallow_clone(), None)?;
        Ok(unet.forward(input("sample")?, input("timestep")?, &conditioning, cx)?)
    };

    let mut seen = Everything::default();
    let watched = forward("unet", &mut Cx::watching(&sites, &mut seen))?;
    let mut parity = Parity::new(format!("{folder}, every site"));
    let mut by_site = golden.under("unet/");
    let out = by_site.remove("out").ok_or("no output")?;
    parity.compare_sites(&seen, &by_site);
    parity.compare("out, attention written out", &watched, out);
    for case in ["unet", "unet.oblong", "unet.odd"] {
        let ours = forward(case, &mut Cx::silent())?;
        parity.compare(format!("{case} out, fused"), &ours, golden.get(&format!("{case}/out"))?);
    }
    assert_eq!(names(&sites), by_site.keys().cloned().collect(), "sites without a golden tensor");
    parity.judge(TOLERANCE)
}

fn names(sites: &Sites) -> BTreeSet<String> {
    sites.iter().map(|(_, site)| site.name.clone()).collect()
}

#[test]
fn the_denoiser_of_stable_diffusion_1() -> Outcome {
    unet("tiny/sd/unet", "unet.safetensors")
}

#[test]
fn the_denoiser_of_stable_diffusion_2() -> Outcome {
    unet("tiny/unet_linear", "unet_linear.safetensors")
}

fn text(folder: &str, prefix: &str, file: &str) -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let config: ClipTextConfig = json(&format!("{folder}/config.json"))?;
    config.check()?;
    let (store, sites) = weights(&format!("{folder}/model.safetensors"))?;
    let encoder = TextEncoder::new(&store.root(&sites).at(prefix, "text"), &config);
    store.finish()?;
    let (sites, golden) = (sites.into_inner(), Golden::open(file)?);

    let mut seen = Everything::default();
    let ids = golden.get("text/in.ids")?;
    let embedding = encoder.forward(ids, &mut Cx::watching(&sites, &mut seen))?;
    let mut parity = Parity::new(format!("{folder}, every site"));
    let mut by_site = golden.under("text/");
    let pooled = by_site.remove("pooled").ok_or("no pooled vector")?;
    parity.compare_sites(&seen, &by_site);
    parity.compare("pooled", &embedding.pooled, pooled);
    parity.compare("context", &embedding.tokens, golden.get("text/text.out")?);
    assert_eq!(names(&sites), by_site.keys().cloned().collect(), "sites without a golden tensor");
    parity.judge(TOLERANCE)
}

#[test]
fn the_text_encoder_with_quick_gelu() -> Outcome {
    text("tiny/sd/text_encoder", "text_model", "text.safetensors")
}

#[test]
fn the_text_encoder_with_gelu_and_bare_weight_names() -> Outcome {
    text("tiny/text_gelu", "", "text_gelu.safetensors")
}

#[test]
fn the_autoencoder() -> Outcome {
    let _no_grad = tch::no_grad_guard();
    let config: VaeConfig = json("tiny/sd/vae/config.json")?;
    config.check()?;
    let (store, sites) = weights("tiny/sd/vae/diffusion_pytorch_model.safetensors")?;
    let vae = Vae::new(&store.root(&sites), &config);
    store.finish()?;
    let (sites, golden) = (sites.into_inner(), Golden::open("vae.safetensors")?);

    let mut parity = Parity::new("tiny/sd/vae, every site");
    for case in ["vae", "vae.oblong"] {
        let mut seen = Everything::default();
        let mut cx = Cx::watching(&sites, &mut seen);
        vae.encode(golden.get(&format!("{case}/in.image"))?, &mut cx)?;
        let _image = vae.decode(golden.get(&format!("{case}/in.latent"))?, &mut cx)?;
        let mut by_site = golden.under(&format!("{case}/"));
        by_site.retain(|name, _| sites.find(name).is_some() || !name.contains(WITHOUT_SITE));
        parity.compare_sites(&seen, &by_site);
        if case == "vae" {
            let known: BTreeSet<String> = by_site.keys().cloned().collect();
            assert_eq!(names(&sites), known, "sites without a golden tensor");
        }
    }
    parity.judge(TOLERANCE)
}

#[test]
fn site_paths_are_those_of_the_checkpoint() -> Outcome {
    let config: UnetConfig = json("tiny/sd/unet/config.json")?;
    let path = "tiny/sd/unet/diffusion_pytorch_model.safetensors";
    let (store, sites) = weights(path)?;
    Unet::new(&store.root(&sites), &config, AttentionKernel::Auto);
    let file = denoscope::model::parameters::WeightFile::open(&fixture(path))?;
    let tensors = file.tensors()?;
    for (_, site) in sites.into_inner().iter() {
        let below = format!("{}.", site.path);
        assert!(tensors.keys().any(|name| name.starts_with(&below)), "{}: {below}", site.name);
    }
    Ok(())
}
