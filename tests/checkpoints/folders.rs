//! Diffusers folders: shards, variants, kinds on disk, old names, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use denoscope::model::checkpoint::{DiffusionModel, ModelFiles, ModelSource, Placement};
use denoscope::model::inspect::inspect;
use denoscope::model::parameters::{Mismatch, WeightFile, save_tensors};
use serde_json::json;
use tch::{Kind, Tensor};
use tempfile::TempDir;

use crate::{copy, tiny};

const STEM: &str = "diffusion_pytorch_model";

/// A copy of the tiny model that can be changed.
struct Copy(TempDir);

impl Copy {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        copy(&tiny(), folder.path());
        Self(folder)
    }

    fn unet(&self) -> PathBuf {
        self.0.path().join("unet")
    }

    fn weights(&self) -> PathBuf {
        self.unet().join(format!("{STEM}.safetensors"))
    }

    fn source(&self) -> ModelSource {
        self.0.path().to_str().unwrap().into()
    }

    fn variant(&self, variant: &str) -> ModelSource {
        ModelSource { variant: Some(variant.to_owned()), ..self.source() }
    }

    fn open(&self, source: ModelSource) -> Result<DiffusionModel, String> {
        DiffusionModel::open(source, Placement::default()).map_err(|e| e.to_string())
    }

    /// Splits the denoiser's weights into two shards with an index; returns the index.
    fn shard(&self) -> PathBuf {
        let tensors: Vec<(String, Tensor)> =
            WeightFile::open(&self.weights()).unwrap().tensors().unwrap().into_iter().collect();
        fs::remove_file(self.weights()).unwrap();
        let mut map = serde_json::Map::new();
        for (i, half) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
            let file = format!("{STEM}-0000{}-of-00002.safetensors", i + 1);
            let named = |(name, t): &(String, Tensor)| (name.clone(), t.shallow_clone());
            let half: Vec<(String, Tensor)> = half.iter().map(named).collect();
            save_tensors(&self.unet().join(&file), &half).unwrap();
            map.extend(half.iter().map(|(name, _)| (name.clone(), file.clone().into())));
        }
        let index = self.unet().join(format!("{STEM}.safetensors.index.json"));
        fs::write(&index, json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
        index
    }
}

/// The first convolution's weights, in f32.
fn first(model: &DiffusionModel) -> Vec<f32> {
    let file = &model.weights.iter().find(|f| f.path().to_string_lossy().contains("unet")).unwrap();
    let tensors = file.tensors().unwrap();
    Vec::try_from(tensors["conv_in.bias"].to_kind(Kind::Float)).unwrap()
}

#[track_caller]
fn says(result: Result<DiffusionModel, String>, words: &[&str]) {
    let message = result.unwrap_err();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn shards_are_one_part() {
    let copy = Copy::new();
    let whole = copy.open(copy.source()).unwrap();
    copy.shard();
    let sharded = copy.open(copy.source()).unwrap();
    assert_eq!(sharded.parameter_count, whole.parameter_count);
    assert_eq!(sharded.weights.len(), whole.weights.len() + 1);
    fs::remove_file(copy.unet().join(format!("{STEM}-00002-of-00002.safetensors"))).unwrap();
    says(copy.open(copy.source()), &["-00002-of-00002.safetensors", "missing"]);
}

#[test]
fn shards_outside_the_folder_are_refused() {
    let copy = Copy::new();
    let index = copy.shard();
    for entry in ["../../outside.safetensors", "/etc/passwd", "..", ""] {
        let map = json!({"weight_map": {"conv_in.bias": entry}});
        fs::write(&index, map.to_string()).unwrap();
        says(copy.open(copy.source()), &["index.json", "outside its folder"]);
    }
    fs::write(&index, "[]").unwrap();
    says(copy.open(copy.source()), &["index.json"]);
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let copy = Copy::new();
    copy.shard();
    let shard = |i| copy.unet().join(format!("{STEM}-0000{i}-of-00002.safetensors"));
    fs::copy(shard(1), shard(2)).unwrap();
    says(copy.open(copy.source()), &["two shards"]);
}

#[test]
fn variants_are_taken_when_asked_for_or_alone() {
    let copy = Copy::new();
    let half = copy.unet().join(format!("{STEM}.fp16.safetensors"));
    let tensors = WeightFile::open(&copy.weights()).unwrap().tensors().unwrap();
    let tensors: Vec<(String, Tensor)> =
        tensors.into_iter().map(|(name, t)| (name, (t * 2.0).to_kind(Kind::Half))).collect();
    save_tensors(&half, &tensors).unwrap();

    let plain = first(&copy.open(copy.source()).unwrap());
    // The other parts have no such variant.
    says(copy.open(copy.variant("fp16")), &["text_encoder", "model.fp16.safetensors", "found"]);
    for (part, stem) in [("text_encoder", "model"), ("vae", STEM)] {
        let file = |v: &str| copy.0.path().join(part).join(format!("{stem}{v}.safetensors"));
        fs::copy(file(""), file(".fp16")).unwrap();
    }
    let doubled = first(&copy.open(copy.variant("fp16")).unwrap());
    for (a, b) in plain.iter().zip(&doubled) {
        assert!((2.0 * a - b).abs() <= 1e-3 * b.abs() + 1e-6, "{a} {b}");
    }
    fs::remove_file(copy.weights()).unwrap();
    assert_eq!(first(&copy.open(copy.source()).unwrap()), doubled);
    // Two of them: which?
    fs::copy(&half, copy.unet().join(format!("{STEM}.ema.safetensors"))).unwrap();
    says(copy.open(copy.source()), &["fp16.safetensors", "ema.safetensors"]);
}

/// Kinds on disk differ, the model computes in the one that is asked for.
#[test]
fn every_kind_on_disk_is_cast() {
    let copy = Copy::new();
    let tensors = WeightFile::open(&copy.weights()).unwrap().tensors().unwrap();
    for on_disk in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double] {
        let cast: Vec<(String, Tensor)> =
            tensors.iter().map(|(name, t)| (name.clone(), t.to_kind(on_disk))).collect();
        save_tensors(&copy.weights(), &cast).unwrap();
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let placement = Placement { kind, ..Placement::default() };
            DiffusionModel::open(copy.source(), placement).unwrap();
        }
    }
    let large = tensors.iter().map(|(name, t)| (name.clone(), t + 1e6)).collect::<Vec<_>>();
    save_tensors(&copy.weights(), &large).unwrap();
    let placement = Placement { kind: Kind::Half, ..Placement::default() };
    let error = DiffusionModel::open(copy.source(), placement).unwrap_err().to_string();
    assert!(error.contains("65504"), "{error}");
    copy.open(copy.source()).unwrap();
}

/// Autoencoders that diffusers wrote before version 0.17.
#[test]
fn old_names_of_an_autoencoders_attention_are_read() {
    let copy = Copy::new();
    let path = copy.0.path().join(format!("vae/{STEM}.safetensors"));
    let before = inspect(&ModelFiles::find(copy.source()).unwrap(), false);
    assert!(before.is_whole(), "{before:?}");
    let names = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
    let tensors = WeightFile::open(&path).unwrap().tensors().unwrap();
    let mut renamed = 0;
    let old = |(name, t): (String, Tensor)| {
        let old = names.iter().fold(name.clone(), |n, (new, old)| {
            n.replace(&format!("attentions.0.{new}."), &format!("attentions.0.{old}."))
        });
        renamed += i32::from(old != name);
        (old, t)
    };
    let old: Vec<(String, Tensor)> = tensors.into_iter().map(old).collect();
    save_tensors(&path, &old).unwrap();
    assert_eq!(renamed, 16, "two attentions with four matrices and biases each");
    assert!(inspect(&ModelFiles::find(copy.source()).unwrap(), false).is_whole());
}

#[test]
fn an_inspection_tells_all_that_is_wrong_at_once() {
    let copy = Copy::new();
    let mut tensors = WeightFile::open(&copy.weights()).unwrap().tensors().unwrap();
    assert!(tensors.remove("conv_in.bias").is_some());
    let odd = Tensor::zeros([3], (Kind::Float, tch::Device::Cpu));
    tensors.insert("conv_out.bias".to_owned(), odd.shallow_clone());
    tensors.insert("surplus".to_owned(), odd.shallow_clone());
    let nan = tensors["conv_in.weight"].shallow_clone() * f64::NAN;
    tensors.insert("conv_in.weight".to_owned(), nan);
    save_tensors(&copy.weights(), &tensors.into_iter().collect::<Vec<_>>()).unwrap();
    fs::remove_file(copy.0.path().join("vae/config.json")).unwrap();
    fs::remove_file(copy.0.path().join("tokenizer/merges.txt")).unwrap();

    let files = ModelFiles::find(copy.source()).unwrap();
    let inspection = inspect(&files, true);
    let unet = inspection.parts.iter().find(|part| part.name == "unet").unwrap();
    let has = |wanted: Mismatch| assert!(unet.mismatches.contains(&wanted), "{unet:?}");
    has(Mismatch::Missing { name: "conv_in.bias".to_owned(), expected: vec![16] });
    has(Mismatch::Shape { name: "conv_out.bias".to_owned(), expected: vec![4], got: vec![3] });
    has(Mismatch::Extra { name: "surplus".to_owned() });
    has(Mismatch::NotFinite { name: "conv_in.weight".to_owned() });
    assert_eq!(unet.mismatches.len(), 4);
    let vae = inspection.parts.iter().find(|part| part.name == "vae").unwrap();
    assert!(vae.error.as_ref().unwrap().to_string().contains("vae/config.json"));
    let problems: Vec<String> = inspection.problems.iter().map(ToString::to_string).collect();
    assert!(problems.iter().any(|p| p.contains("merges.txt")), "{problems:?}");
    // Without reading numbers NaN goes unseen, the rest does not.
    let quick = inspect(&files, false);
    let unet = quick.parts.iter().find(|part| part.name == "unet").unwrap();
    assert_eq!(unet.mismatches.len(), 3);
}

#[test]
fn pipelines_without_a_unet_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    for class in ["FluxPipeline", "StableDiffusion3Pipeline"] {
        let index = json!({"_class_name": class, "transformer": ["diffusers", "X"]});
        fs::write(folder.path().join("model_index.json"), index.to_string()).unwrap();
        let error = ModelFiles::find(folder.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains(class) && error.contains("Stable Diffusion 1.x"), "{error}");
    }
    let refiner = json!({
        "_class_name": "StableDiffusionXLImg2ImgPipeline",
        "text_encoder": [null, null], "unet": ["diffusers", "UNet2DConditionModel"],
    });
    fs::write(folder.path().join("model_index.json"), refiner.to_string()).unwrap();
    let error = ModelFiles::find(folder.path().to_str().unwrap()).unwrap_err().to_string();
    assert!(error.contains("XLImg2Img"), "{error}");
}

/// An id beyond the token table would read past its end.
#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let copy = Copy::new();
    let path = copy.0.path().join("tokenizer/vocab.json");
    let mut vocabulary: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    vocabulary.insert("zebra</w>".to_owned(), 5_000_000.into());
    fs::write(&path, serde_json::to_vec(&vocabulary).unwrap()).unwrap();
    says(copy.open(copy.source()), &["5000000", "vocab_size", "different models"]);
}

#[test]
fn a_name_that_is_nothing_says_what_can_be_given() {
    let find = |name: &str| ModelFiles::find(name).unwrap_err().to_string();
    assert!(find("no-such-model").contains("shapes"));
    assert!(find("no/such-model-anywhere").contains("probe models pull no/such-model-anywhere"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert!(find(file.to_str().unwrap()).contains("not a model"));
}
