//! Damaged files: one message that names the file, whatever the damage; never a crash.

use std::fs;
use std::path::Path;

use denoscope::model::checkpoint::{DiffusionModel, ModelFiles, Placement, read_tokenizer};
use denoscope::model::parameters::WeightsError;
use denoscope::model::weights::Weights;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{Written, copy, tiny, write};

const WEIGHTS: &str = "text_encoder/model.safetensors";

/// All files of the tiny model that opening it reads.
const FILES: [&str; 8] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "vae/config.json",
];

fn open(folder: &Path) -> Result<(), String> {
    let opened = DiffusionModel::open(folder.to_str().unwrap(), Placement::default());
    opened.map(drop).map_err(|e| e.to_string())
}

/// The error names the file.
#[track_caller]
fn names(message: &str, file: &str) {
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    assert!(message.contains(name), "{name} is not in: {message}");
}

#[test]
fn every_missing_file_is_named() {
    for file in FILES.into_iter().chain([WEIGHTS]).filter(|f| *f != "model_index.json") {
        let folder = TempDir::new().unwrap();
        copy(&tiny(), folder.path());
        fs::remove_file(folder.path().join(file)).unwrap();
        let message = open(folder.path()).unwrap_err();
        names(&message, file);
        assert!(message.contains("missing"), "{message}");
    }
}

#[test]
fn a_header_of_ten_gigabytes_takes_no_memory() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, [&10_000_000_000_u64.to_le_bytes()[..], b"{}      "].concat()).unwrap();
    let message = Weights::open(&path).unwrap_err().to_string();
    names(&message, "model.safetensors");
    assert!(message.contains("10000000000"), "{message}");
    fs::write(&path, [&90_000_000_u64.to_le_bytes()[..], b"{}      "].concat()).unwrap();
    let message = Weights::open(&path).unwrap_err().to_string();
    assert!(message.contains("90000000") && message.contains("16"), "{message}");
}

/// Tensors that take terabytes by their shapes, and a config that asks for as much.
#[test]
fn shapes_of_terabytes_take_no_memory() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let header =
        r#"{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    fs::write(&path, bytes).unwrap();
    let message = Weights::open(&path).unwrap_err().to_string();
    assert!(message.contains("4000000000088"), "{message}");

    copy(&tiny(), folder.path());
    let config = folder.path().join("unet/config.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut fields: serde_json::Value = serde_json::from_str(&text).unwrap();
    fields["block_out_channels"] = serde_json::json!([16384, 16384, 16384]);
    fs::write(&config, fields.to_string()).unwrap();
    let message = open(folder.path()).unwrap_err();
    assert!(message.contains("do not fit the config"), "{message}");
}

#[test]
fn what_is_no_safetensors_is_told_apart() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    for (bytes, says) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"[..], "git lfs pull"),
        (b"PK\x03\x04 and the rest of a zip file", "pickle"),
        (b"\x80\x02}q\x00X\x05\x00\x00\x00modelq\x01", "pickle"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"", "empty"),
        (b"1234", "header"),
    ] {
        fs::write(&path, bytes).unwrap();
        let message = Weights::open(&path).unwrap_err().to_string();
        names(&message, "model.safetensors");
        assert!(message.contains(says), "`{says}` is not in: {message}");
    }
    // A header of 60 bytes begins with `<`, as web pages do, and is one nevertheless.
    let header = format!("{:<60}", r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#);
    let bytes = [&60_u64.to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
    fs::write(&path, bytes).unwrap();
    assert_eq!(Weights::open(&path).unwrap().iter().count(), 1);
}

#[test]
fn pickles_are_refused_without_a_look_inside() {
    let folder = TempDir::new().unwrap();
    for name in ["model.ckpt", "model.bin", "model.pt"] {
        let path = folder.path().join(name);
        fs::write(&path, b"\x80\x02").unwrap();
        let message = ModelFiles::find(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(message.contains("pickle") && message.contains(name), "{message}");
    }
}

/// A text file that is no text file: not read into memory.
#[test]
fn a_config_of_gigabytes_is_not_read() {
    let folder = TempDir::new().unwrap();
    copy(&tiny(), folder.path());
    let config = folder.path().join("unet/config.json");
    let file = fs::OpenOptions::new().write(true).open(&config).unwrap();
    file.set_len(10 << 30).unwrap();
    let message = open(folder.path()).unwrap_err();
    names(&message, "config.json");
    assert!(message.contains("10737418240 bytes"), "{message}");
}

/// A small file in the original layout.
fn single_file() -> Vec<u8> {
    let tensor = |name: &str, shape: &[usize]| -> Written {
        let bytes = vec![0; shape.iter().product::<usize>() * 2];
        (name.to_owned(), shape.to_vec(), safetensors::tensor::Dtype::F16, bytes)
    };
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    write(
        &path,
        &[
            tensor("model.diffusion_model.input_blocks.0.0.weight", &[8, 4, 3, 3]),
            tensor("model.diffusion_model.input_blocks.1.0.out_layers.3.weight", &[8, 8, 3, 3]),
            tensor("model.diffusion_model.input_blocks.2.0.op.weight", &[8, 8, 3, 3]),
            tensor("first_stage_model.encoder.down.0.block.0.conv1.weight", &[8, 8, 3, 3]),
            tensor("cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight", &[24, 8]),
            tensor("cond_stage_model.model.token_embedding.weight", &[64, 8]),
        ],
    );
    fs::read(&path).unwrap()
}

/// Changes some bytes at the given places (as shares of the length) and cuts the end off.
fn damaged(bytes: &[u8], changes: &[(f64, u8)], keep: f64, header_only: bool) -> Vec<u8> {
    let header = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n)) as usize + 8;
    let reach = if header_only { header.min(bytes.len()) } else { bytes.len() };
    let mut damaged = bytes.to_vec();
    for (place, value) in changes {
        damaged[((place * reach as f64) as usize).min(reach - 1)] = *value;
    }
    damaged.truncate((keep * bytes.len() as f64) as usize);
    damaged
}

fn changes() -> impl Strategy<Value = Vec<(f64, u8)>> {
    prop::collection::vec((0.0..1.0, any::<u8>()), 0..4)
}

/// Mostly whole, sometimes cut anywhere.
fn keep() -> impl Strategy<Value = f64> {
    prop_oneof![Just(1.0), 0.0..1.0]
}

/// Reads everything that the file says it holds.
fn read_all(weights: &Weights) {
    for (_, stored) in weights.iter() {
        drop(weights.read(stored));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn damaged_weights_are_read_or_refused(changes in changes(), keep in keep()) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("model.safetensors");
        let bytes = fs::read(tiny().join(WEIGHTS)).unwrap();
        fs::write(&path, damaged(&bytes, &changes, keep, true)).unwrap();
        match Weights::open(&path) {
            Ok(weights) => read_all(&weights),
            Err(error) => {
                names(&error.to_string(), "model.safetensors");
                prop_assert!(!matches!(error, WeightsError::Io { .. }), "{error}");
            }
        }
        // Whatever is cut off is missed.
        if keep < 0.99 {
            prop_assert!(Weights::open(&path).is_err());
        }
    }

    #[test]
    fn damaged_single_files_are_told_or_refused(changes in changes(), keep in keep()) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, damaged(&single_file(), &changes, keep, true)).unwrap();
        match ModelFiles::find(path.to_str().unwrap()) {
            Ok(files) => {
                for part in files.single_file().unwrap().family().parts() {
                    read_all(&files.weights(part, "").unwrap());
                }
            }
            Err(error) => names(&error.to_string(), "model.safetensors"),
        }
    }

    #[test]
    fn damaged_tokenizers_are_read_or_refused(
        file in prop::sample::select(&FILES[3..6]),
        changes in changes(),
        keep in keep(),
    ) {
        let folder = TempDir::new().unwrap();
        copy(&tiny().join("tokenizer"), &folder.path().join("tokenizer"));
        let path = folder.path().join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, damaged(&bytes, &changes, keep, false)).unwrap();
        match read_tokenizer(&ModelFiles::folder(folder.path().to_owned()), "tokenizer") {
            Ok(tokenizer) => drop(tokenizer.encode("a photo of a réd ball 😀 ")),
            Err(error) => names(&error.to_string(), file),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_model_with_a_damaged_file_opens_or_says_why(
        file in prop::sample::select(&FILES[..]),
        changes in changes(),
        keep in keep(),
    ) {
        let folder = TempDir::new().unwrap();
        copy(&tiny(), folder.path());
        let path = folder.path().join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, damaged(&bytes, &changes, keep, false)).unwrap();
        if let Err(message) = open(folder.path()) {
            prop_assert!(message.len() > 20, "{message}");
        }
    }
}
