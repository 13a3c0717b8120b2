//! Configs of checkpoints: those of published models are read; what is not built here is refused
//! by the name of the field, before any weight is read.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use denoscope::model::checkpoint::{DiffusionModel, Placement};
use denoscope::model::conditioning::{ConditioningError, Framing};
use denoscope::model::config::{ClipTextConfig, UnetConfig, VaeConfig};
use denoscope::model::tokenizer::{LongPrompt, Tokenizer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tch::Kind;
use tempfile::TempDir;

fn tiny(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny").join(path)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A tiny config with one field set.
fn with<T: DeserializeOwned>(file: &str, field: &str, value: Value) -> T {
    let mut config = read(&tiny(file));
    config[field] = value;
    serde_json::from_value(config).unwrap()
}

/// What is said of a field that changes the computation names it, its value and a way out.
#[track_caller]
fn names(error: &impl ToString, field: &str, got: &str) {
    let text = error.to_string();
    assert!(text.contains(&format!("`{field}` is")) && text.contains(got), "{text}");
    assert!(text.contains("choose") || text.contains("copy it again"), "no remedy: {text}");
}

/// Their fields as far as they differ, from the config files that are published with them.
#[test]
fn published_denoisers_are_read() {
    let (plain, crossing) = ("DownBlock2D", "CrossAttnDownBlock2D");
    let sd1 = json!({
        "sample_size": 64, "in_channels": 4, "out_channels": 4, "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768,
        "down_block_types": [crossing, crossing, crossing, plain],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 2, "norm_num_groups": 32, "norm_eps": 1e-5, "flip_sin_to_cos": true,
        "freq_shift": 0, "downsample_padding": 1, "mid_block_scale_factor": 1, "act_fn": "silu",
        "center_input_sample": false,
    });
    let mut sd2 = sd1.clone();
    for (field, value) in [
        ("sample_size", json!(96)),
        ("attention_head_dim", json!([5, 10, 20, 20])),
        ("cross_attention_dim", json!(1024)),
        ("use_linear_projection", json!(true)),
        ("upcast_attention", json!(true)),
        ("dual_cross_attention", json!(false)),
        ("only_cross_attention", json!(false)),
        ("num_class_embeds", Value::Null),
    ] {
        sd2[field] = value;
    }
    let mut xl = sd2.clone();
    for (field, value) in [
        ("sample_size", json!(128)),
        ("block_out_channels", json!([320, 640, 1280])),
        (
            "down_block_types",
            json!(["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]),
        ),
        ("up_block_types", json!(["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"])),
        ("attention_head_dim", json!([5, 10, 20])),
        ("transformer_layers_per_block", json!([1, 2, 10])),
        ("cross_attention_dim", json!(2048)),
        ("addition_embed_type", json!("text_time")),
        ("addition_embed_type_num_heads", json!(64)),
        ("addition_time_embed_dim", json!(256)),
        ("projection_class_embeddings_input_dim", json!(2816)),
        ("upcast_attention", Value::Null),
        ("resnet_out_scale_factor", json!(1.0)),
        ("mid_block_only_cross_attention", Value::Null),
    ] {
        xl[field] = value;
    }
    for (config, pooled) in [(sd1, None), (sd2, None), (xl, Some(1280))] {
        let config: UnetConfig = serde_json::from_value(config).unwrap();
        config.check().unwrap();
        assert_eq!(config.added().unwrap().map(|added| added.pooled), pooled);
    }
}

#[test]
fn fields_of_the_denoiser() {
    let refused = [
        ("class_embed_type", json!("timestep")),
        ("num_class_embeds", json!(1000)),
        ("dual_cross_attention", json!(true)),
        ("only_cross_attention", json!([false, true, false])),
        ("resnet_time_scale_shift", json!("scale_shift")),
        ("encoder_hid_dim", json!(768)),
        ("encoder_hid_dim_type", json!("text_proj")),
        ("attention_type", json!("gated")),
        ("time_cond_proj_dim", json!(256)),
        ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn")),
        ("addition_embed_type", json!("image")),
        ("time_embedding_type", json!("fourier")),
        ("conv_in_kernel", json!(1)),
        ("center_input_sample", json!(true)),
        ("reverse_transformer_layers_per_block", json!([[1, 1], 2])),
        ("transformer_layers_per_block", json!([[1, 1], [2, 2], [1, 1]])),
        ("transformer_layers_per_block", json!([1, 2])),
        ("attention_head_dim", json!([4, 4, 5])),
        ("act_fn", json!("gelu")),
    ];
    for (field, value) in refused {
        let config: UnetConfig = with("sd/unet/config.json", field, value.clone());
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let shown = if value == "[4,4,5]" { "5" } else { &value.replace("[1,2]", "[1, 2]") };
        names(&config.check().unwrap_err(), field, shown);
    }
    // The values that change nothing, as published configs have them.
    for (field, value) in [
        ("only_cross_attention", json!(false)),
        ("only_cross_attention", json!([false, false, false])),
        ("resnet_out_scale_factor", json!(1)),
        ("mid_block_scale_factor", json!(1.0)),
        ("num_class_embeds", Value::Null),
        ("upcast_attention", json!(true)),
        ("transformer_layers_per_block", json!([1, 2, 10])),
    ] {
        let config: UnetConfig = with("sd/unet/config.json", field, value.clone());
        assert_eq!(config.check(), Ok(()), "{field}: {value}");
    }
}

#[test]
fn denoisers_of_other_tasks_by_their_channels() {
    for (channels, task) in
        [(9, "inpainting"), (8, "image-editing"), (7, "upscaling"), (5, "depth"), (6, "reads")]
    {
        let config: UnetConfig = with("sd/unet/config.json", "in_channels", json!(channels));
        let error = config.check().unwrap_err();
        names(&error, "in_channels", task);
    }
}

#[test]
fn added_conditions_must_say_their_widths() {
    for (field, value) in [
        ("addition_time_embed_dim", Value::Null),
        ("projection_class_embeddings_input_dim", Value::Null),
        ("projection_class_embeddings_input_dim", json!(48)),
    ] {
        let config: UnetConfig = with("xl/unet/config.json", field, value);
        names(&config.check().unwrap_err(), field, "");
    }
}

#[test]
fn fields_of_autoencoder_and_text_encoder() {
    for (field, value) in [
        ("shift_factor", json!(0.1159)),
        ("latents_mean", json!([0.1, 0.2, 0.3, 0.4])),
        ("latents_std", json!([1.0, 2.0, 1.0, 1.0])),
        ("mid_block_add_attention", json!(false)),
        ("act_fn", json!("relu")),
    ] {
        let config: VaeConfig = with("sd/vae/config.json", field, value);
        names(&config.check().unwrap_err(), field, "");
    }
    for (field, value) in [("model_type", json!("t5")), ("hidden_act", json!("gelu_new"))] {
        let shown = value.as_str().unwrap().to_owned();
        let config: ClipTextConfig = with("sd/text_encoder/config.json", field, value);
        names(&config.check().unwrap_err(), field, &shown);
    }
}

#[test]
fn the_autoencoder_is_f32_where_f16_overflows() {
    let upcast: VaeConfig = with("sd/vae/config.json", "force_upcast", json!(true));
    assert_eq!(upcast.kind(Kind::Half), Kind::Float);
    assert_eq!(upcast.kind(Kind::BFloat16), Kind::BFloat16);
    let plain: VaeConfig = with("sd/vae/config.json", "force_upcast", json!(false));
    assert_eq!(plain.kind(Kind::Half), Kind::Half);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What is said when a tiny model is opened that something was done to.
#[track_caller]
fn said(model: &str, change: impl Fn(&Path)) -> String {
    let folder = TempDir::new().unwrap();
    copy(&tiny(model), folder.path());
    change(folder.path());
    match DiffusionModel::open(folder.path().to_str().unwrap(), Placement::default()) {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    }
}

fn set(path: &Path, field: &str, value: Value) {
    let mut config = read(path);
    config[field] = value;
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn folders_of_other_families() {
    let flux = said("sd", |folder| {
        fs::rename(folder.join("unet"), folder.join("transformer")).unwrap();
        let index = json!({"_class_name": "FluxPipeline", "transformer": ["diffusers", "Flux"]});
        fs::write(folder.join("model_index.json"), index.to_string()).unwrap();
    });
    assert!(flux.contains("FluxPipeline") && flux.contains("U-Net"), "{flux}");
    let nameless = said("sd", |folder| {
        fs::rename(folder.join("unet"), folder.join("transformer")).unwrap();
        fs::remove_file(folder.join("model_index.json")).unwrap();
    });
    assert!(nameless.contains("transformer") && nameless.contains("Flux"), "{nameless}");
    let refiner = said("xl", |folder| {
        set(&folder.join("model_index.json"), "requires_aesthetics_score", json!(true));
    });
    assert!(refiner.contains("requires_aesthetics_score"), "{refiner}");
}

#[test]
fn parts_of_different_models() {
    let config = "text_encoder_2/config.json";
    let missing = said("xl", |folder| fs::remove_file(folder.join(config)).unwrap());
    assert!(missing.contains(config) && missing.contains("missing"), "{missing}");
    let pooled = said("xl", |folder| set(&folder.join(config), "projection_dim", json!(16)));
    assert!(pooled.contains("12 channels") && pooled.contains("projection_dim 16"), "{pooled}");
    let width = said("xl", |folder| {
        set(&folder.join("unet/config.json"), "cross_attention_dim", json!(48));
    });
    assert!(width.contains("cross_attention_dim 48") && width.contains("40"), "{width}");
    let ids = said("sd", |folder| {
        set(&folder.join("text_encoder/config.json"), "vocab_size", json!(600));
    });
    assert!(ids.contains("ids below 600") && ids.contains("623"), "{ids}");
}

#[test]
fn sizes_that_a_model_is_not_told() {
    let open = |name: &str| {
        DiffusionModel::open(tiny(name).to_str().unwrap(), Placement::default()).unwrap()
    };
    let (sd, xl) = (open("sd"), open("xl"));
    let crop = Framing { crop: [0, 8], ..Framing::default() };
    assert!(matches!(crop.check(&sd), Err(ConditioningError::FramingUnread)));
    crop.check(&xl).unwrap();
    Framing::default().check(&sd).unwrap();
    let none = Framing { original: Some([0, 8]), ..Framing::default() };
    assert!(matches!(none.check(&xl), Err(ConditioningError::Framing { .. })));
}

#[test]
fn padding_is_what_the_file_says_that_transformers_goes_by() {
    let folder = tiny("sd/tokenizer");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let (vocab, merges) = (read("vocab.json"), read("merges.txt"));
    let map = br#"{"pad_token": {"content": "!", "lstrip": false}}"#;
    let last = |config: &[u8]| {
        let tokenizer = Tokenizer::new(&vocab, &merges, config).unwrap();
        let tokenizer = tokenizer.with_special_tokens(map).unwrap();
        *tokenizer.padded(&tokenizer.encode("").unwrap()).last().unwrap()
    };
    let bang = serde_json::from_slice::<Value>(&vocab).unwrap()["!"].as_i64().unwrap();
    let end = serde_json::from_slice::<Value>(&vocab).unwrap()["<|endoftext|>"].as_i64().unwrap();
    let pad = json!({"pad_token": "<|endoftext|>"});
    assert_eq!(last(pad.to_string().as_bytes()), bang);
    // With `added_tokens_decoder`, transformers no longer looks at the map.
    let newer = json!({"pad_token": "<|endoftext|>", "added_tokens_decoder": {}});
    assert_eq!(last(newer.to_string().as_bytes()), end);
}

#[test]
fn long_prompts_are_cut_or_chunked() {
    let folder = tiny("sd/tokenizer");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let tokenizer =
        Tokenizer::new(&read("vocab.json"), &read("merges.txt"), &read("tokenizer_config.json"))
            .unwrap();
    let word = tokenizer.encode("ball").unwrap().ids[1..].to_vec();
    let each = word.len() - 1;
    let words = 90 / each;
    let prompt = vec!["ball"; words].join(" ");

    let cut = tokenizer.encode(&prompt).unwrap();
    assert_eq!(cut.ids.len(), 77);
    assert!(cut.cut.iter().all(|word| word == "ball") && !cut.cut.is_empty());

    let long = tokenizer.encode_long(&prompt, LongPrompt::Chunk).unwrap();
    assert_eq!((tokenizer.chunks(&long), long.cut.len()), (2, 0));
    assert_eq!(long.ids.len(), words * each + 4, "two frames");
    let (start, end) = (long.ids[0], *long.ids.last().unwrap());
    assert_eq!(long.ids[76..78], [end, start]);
    assert_eq!((long.words[76].as_ref(), long.words[77].as_ref()), (None, None));
    assert_eq!(tokenizer.padded(&long).len(), 2 * 77);
    let third = &tokenizer.padded_to(&long, 3)[2 * 77..];
    assert_eq!(third, tokenizer.padded(&tokenizer.encode("").unwrap()));
}
