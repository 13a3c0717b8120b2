//! Single files in the original layout, against diffusers' own conversion of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use denoscope::model::attention::AttentionKernel;
use denoscope::model::checkpoint::{DiffusionModel, ModelFiles, ModelSource, Placement};
use denoscope::model::clip::{ProjectedTextEncoder, TextEncoder};
use denoscope::model::files::PredictionType;
use denoscope::model::parameters::{Parameters, Store};
use denoscope::model::unet::Unet;
use denoscope::model::vae::Vae;
use denoscope::pipeline::{Request, generate};
use denoscope::sampler::SamplerKind;
use safetensors::tensor::Dtype;
use serde::Deserialize;
use serde_json::Value;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use crate::{Written, copy, tiny, write};

/// Shape, first, second and last number of a converted tensor.
type Converted = (Vec<i64>, i64, i64, i64);

/// One family, as `fixtures/scripts/golden_single_file.py` writes it.
#[derive(Deserialize)]
struct Golden {
    /// Names and shapes in the file; its numbers count on from tensor to tensor.
    original: Vec<(String, Vec<usize>)>,
    /// Every converted tensor, by part.
    parts: BTreeMap<String, BTreeMap<String, Converted>>,
    configs: BTreeMap<String, Value>,
}

fn golden(family: &str) -> Golden {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/goldens/single_file.json");
    let mut all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    serde_json::from_value(all[family].take()).unwrap()
}

/// The numbered checkpoint, in f64 so that every number is exact.
fn numbered(golden: &Golden) -> Vec<Written> {
    let mut start = 0;
    let mut tensor = |(name, shape): &(String, Vec<usize>)| {
        let count: usize = shape.iter().product();
        let numbers = (start..start + count).flat_map(|n| (n as f64).to_le_bytes());
        start += count;
        (name.clone(), shape.clone(), Dtype::F64, numbers.collect())
    };
    golden.original.iter().map(&mut tensor).collect()
}

/// What files of the original code hold besides weights.
fn buffers() -> Vec<Written> {
    let number = |name: &str, dtype, bytes: &[u8]| (name.to_owned(), vec![], dtype, bytes.to_vec());
    vec![
        number("model_ema.decay", Dtype::F32, &0.9_f32.to_le_bytes()),
        number("alphas_cumprod", Dtype::F32, &0.9_f32.to_le_bytes()),
        number("global_step", Dtype::I64, &1_i64.to_le_bytes()),
    ]
}

#[test]
fn every_number_is_where_diffusers_puts_it() {
    let folder = TempDir::new().unwrap();
    for (family, label) in [
        ("sd1", "Stable Diffusion 1.x"),
        ("sd2", "Stable Diffusion 2.x"),
        ("sdxl", "Stable Diffusion XL"),
    ] {
        let golden = golden(family);
        let path = folder.path().join(format!("{family}.safetensors"));
        write(&path, &[numbered(&golden), buffers()].concat());
        let files = ModelFiles::find(path.to_str().unwrap()).unwrap();
        assert_eq!(files.single_file().unwrap().family().label(), label);
        for (part, expected) in &golden.parts {
            let weights = files.weights(part, "").unwrap();
            let names: Vec<&String> = weights.iter().map(|(name, _)| name).collect();
            assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{family} {part}");
            for (name, stored) in weights.iter() {
                let x = weights.read(stored).unwrap().unwrap();
                let (shape, first, second, last) = &expected[name];
                assert_eq!((x.size(), stored.shape()), (shape.clone(), shape.clone()), "{name}");
                let (x, count) = (x.flatten(0, -1), x.numel() as i64);
                let at = |i: i64| x.double_value(&[i]) as i64;
                let found = (at(0), at(1.min(count - 1)), at(count - 1));
                assert_eq!(found, (*first, *second, *last), "{family} {part} {name}");
            }
        }
    }
}

#[test]
fn the_architecture_is_told_from_names_and_shapes() {
    let folder = TempDir::new().unwrap();
    for family in ["sd1", "sd2", "sdxl"] {
        let golden = golden(family);
        let path = folder.path().join(format!("{family}.safetensors"));
        write(&path, &numbered(&golden));
        let files = ModelFiles::find(path.to_str().unwrap()).unwrap();
        for (part, expected) in &golden.configs {
            let found: Value = files.json(&format!("{part}/config.json")).unwrap();
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&found[field], value, "{family} {part} {field}");
            }
        }
    }
}

/// v for Stable Diffusion 2, except where the training step tells the base model; the user has
/// the last word.
#[test]
fn the_prediction_type_follows_diffusers_and_the_user() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let name = path.to_str().unwrap();
    let scheduler = |source: ModelSource| {
        ModelFiles::find(source).unwrap().scheduler().unwrap()["prediction_type"].take()
    };
    let with_step = |family: &str, step: i64| {
        let step = ("global_step".to_owned(), vec![], Dtype::I64, step.to_le_bytes().to_vec());
        write(&path, &[numbered(&golden(family)), vec![step]].concat());
    };
    with_step("sd1", 470_000);
    assert_eq!(scheduler(name.into()), "epsilon");
    with_step("sd2", 110_000);
    assert_eq!(scheduler(name.into()), "v_prediction");
    with_step("sd2", 875_000);
    assert_eq!(scheduler(name.into()), "epsilon");
    let v = ModelSource { prediction: Some(PredictionType::V), ..name.into() };
    assert_eq!(scheduler(v), "v_prediction");
}

/// Random weights for the architecture of a single file.
fn random(files: &ModelFiles, part: &str) -> Parameters {
    let store = Store::fresh(Device::Cpu);
    let sites = RefCell::default();
    let root = store.root(&sites);
    let config = format!("{part}/config.json");
    match part {
        "unet" => drop(Unet::new(&root, &files.json(&config).unwrap(), AttentionKernel::Auto)),
        "vae" => drop(Vae::new(&root, &files.json(&config).unwrap())),
        "text_encoder_2" => drop(ProjectedTextEncoder::new(&root, &files.json(&config).unwrap())),
        _ => drop(TextEncoder::new(&root.below("text_model"), &files.json(&config).unwrap())),
    }
    store.finish().unwrap()
}

/// The tensors of a folder in the original layout: those whose numbers the golden finds in one
/// original tensor, put together again.
fn original(golden: &Golden, parts: &BTreeMap<&str, Parameters>) -> Vec<Written> {
    let mut start = 0;
    let mut written = Vec::new();
    for (name, shape) in &golden.original {
        let count = shape.iter().product::<usize>() as i64;
        let mut pieces: Vec<(i64, Tensor)> = Vec::new();
        for (part, tensors) in &golden.parts {
            for (parameter, (shape, first, second, _)) in tensors {
                if (start..start + count).contains(first) {
                    let piece = parts[part.as_str()].0[parameter].detach();
                    let transposed = shape.len() == 2 && *second != first + 1;
                    pieces.push((*first, if transposed { piece.tr() } else { piece }));
                }
            }
        }
        start += count;
        pieces.sort_by_key(|(first, _)| *first);
        let pieces: Vec<Tensor> = pieces.into_iter().map(|(_, piece)| piece).collect();
        let numbers = if pieces.is_empty() {
            // What no folder has, such as OpenCLIP's last layer.
            Tensor::zeros([count], (Kind::Float, Device::Cpu))
        } else {
            Tensor::cat(&pieces, 0).contiguous().view([-1])
        };
        let numbers = Vec::<f32>::try_from(numbers).unwrap();
        let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        written.push((name.clone(), shape.clone(), Dtype::F32, bytes));
    }
    written
}

/// A diffusers folder of the same model.
fn write_folder(folder: &Path, files: &ModelFiles, parts: &BTreeMap<&str, Parameters>) {
    for tokenizer in ["tokenizer", "tokenizer_2"] {
        let config = format!("{tokenizer}/tokenizer_config.json");
        if files.has(&config) {
            copy(&tiny().join("tokenizer"), &folder.join(tokenizer));
            std::fs::write(folder.join(&config), files.read(&config).unwrap()).unwrap();
            // It names the padding of the model it was copied from.
            std::fs::remove_file(folder.join(tokenizer).join("special_tokens_map.json")).unwrap();
        }
    }
    for part in parts.keys() {
        let config = format!("{part}/config.json");
        std::fs::create_dir_all(folder.join(part)).unwrap();
        std::fs::write(folder.join(&config), files.read(&config).unwrap()).unwrap();
    }
    std::fs::create_dir_all(folder.join("scheduler")).unwrap();
    let scheduler = files.scheduler().unwrap().to_string();
    std::fs::write(folder.join("scheduler/scheduler_config.json"), scheduler).unwrap();
    for (part, parameters) in parts {
        let stem =
            if part.starts_with("text_encoder") { "model" } else { "diffusion_pytorch_model" };
        let path = folder.join(part).join(format!("{stem}.safetensors"));
        parameters.save(&path, Kind::Float).unwrap();
    }
}

fn latents(source: impl Into<ModelSource>) -> Tensor {
    let model = DiffusionModel::open(source, Placement::default()).unwrap();
    let request = Request {
        prompts: vec!["a red ball".to_owned()],
        negative: String::new(),
        long_prompt: Default::default(),
        framing: Default::default(),
        seeds: vec![3],
        steps: 2,
        sampler: SamplerKind::Ddim,
        guidance: 4.0,
        height: 64,
        width: 64,
        init_latents: None,
        image: None,
        guidance_rescale: 0.0,
        eta: 0.0,
    };
    generate(&model, &request, None, &mut |_, _| {}).unwrap().latents
}

#[test]
fn a_single_file_draws_what_the_folder_of_the_same_weights_draws() {
    for family in ["sd1", "sd2", "sdxl"] {
        tch::manual_seed(5);
        let golden = golden(family);
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("model.safetensors");
        write(&file, &numbered(&golden));
        let files = ModelFiles::find(file.to_str().unwrap()).unwrap();
        let parts: BTreeMap<&str, Parameters> =
            golden.parts.keys().map(|part| (part.as_str(), random(&files, part))).collect();
        let diffusers = folder.path().join("folder");
        write_folder(&diffusers, &files, &parts);
        write(&file, &original(&golden, &parts));

        let single = ModelSource {
            tokenizer: Some(tiny().join("tokenizer")),
            ..file.to_str().unwrap().into()
        };
        let (a, b) = (latents(single), latents(diffusers.to_str().unwrap()));
        assert!(a.equal(&b), "{family}");
        assert!(a.std(true).double_value(&[]) > 0.1, "{family}: nothing was drawn");
    }
}

#[test]
fn other_single_files_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let refused = |tensors: &[Written], says: &str| {
        write(&path, tensors);
        let message = ModelFiles::find(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.contains("model.safetensors"), "{message}");
    };
    let one = |name: &str| vec![(name.to_owned(), vec![1], Dtype::F32, vec![0; 4])];
    refused(&one("model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight"), "Diffusion 3");
    refused(&one("double_blocks.0.img_attn.norm.key_norm.scale"), "Flux");
    refused(&one("lora_unet_down.lora_up.weight"), "LoRA");
    refused(&one("down_blocks.0.resnets.0.norm1.weight"), "give the whole folder");
    refused(&one("something.else"), "something.else");

    let whole = numbered(&golden("sd1"));
    let without = |prefix: &str| -> Vec<Written> {
        whole.iter().filter(|(name, ..)| !name.starts_with(prefix)).cloned().collect()
    };
    refused(&without("cond_stage_model."), "no text encoder");
    refused(&without("first_stage_model."), "no autoencoder");
    let mut inpainting = whole.clone();
    let first = "model.diffusion_model.input_blocks.0.0.weight";
    let tensor = inpainting.iter_mut().find(|(name, ..)| name == first).unwrap();
    tensor.1[1] = 9;
    tensor.3.resize(tensor.1.iter().product::<usize>() * 8, 0);
    refused(&inpainting, "9 input channels");
    let refiner: Vec<Written> = numbered(&golden("sdxl"))
        .into_iter()
        .filter(|(name, ..)| !name.starts_with("conditioner.embedders.0."))
        .collect();
    refused(&refiner, "refiner");
}
