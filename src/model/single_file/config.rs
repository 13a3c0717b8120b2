//! The small files that a diffusers folder of a single file would have. Each family's published
//! configs are data beside this file; every number that the shapes of the tensors tell is taken
//! from them instead.

use serde_json::{Value, json};

use super::super::weights::Weights;
use super::{AUTOENCODER, CLIP, DENOISER, Family, LAYERS_OF_SD2, OPEN_CLIP, XL_CLIP, XL_OPEN_CLIP};

/// Channels of one attention head in Stable Diffusion 2 and XL, and in every CLIP here.
const HEAD_CHANNELS: i64 = 64;
/// More than any network has of anything; ends the search in made-up files.
const MOST: usize = 256;

/// Stable Diffusion 2 at 512 pixels predicts ε; its checkpoint was saved at this step of training.
const STEP_OF_SD2_BASE: i64 = 875_000;

/// The files by their paths.
pub(super) fn of(family: Family, weights: &Weights) -> serde_json::Result<Value> {
    let mut files: Value = serde_json::from_str(match family {
        Family::Sd1 => include_str!("sd1.json"),
        Family::Sd2 => include_str!("sd2.json"),
        Family::Sdxl => include_str!("sdxl.json"),
    })?;
    denoiser(family, weights, &mut files["unet/config.json"]);
    autoencoder(weights, &mut files["vae/config.json"]);
    let text = &mut files["text_encoder/config.json"];
    match family {
        Family::Sd1 => clip(weights, CLIP, text),
        Family::Sd2 => open_clip(weights, OPEN_CLIP, LAYERS_OF_SD2, text),
        Family::Sdxl => {
            clip(weights, XL_CLIP, text);
            open_clip(weights, XL_OPEN_CLIP, MOST, &mut files["text_encoder_2/config.json"]);
        }
    }
    if family == Family::Sd2 && training_step(weights) == Some(STEP_OF_SD2_BASE) {
        files["scheduler/scheduler_config.json"]["prediction_type"] = json!("epsilon");
        files["unet/config.json"]["sample_size"] = json!(64);
        files["vae/config.json"]["sample_size"] = json!(512);
    }
    Ok(files)
}

fn training_step(weights: &Weights) -> Option<i64> {
    let step = weights.read(weights.get("global_step")?).ok()??;
    (step.numel() == 1).then(|| step.int64_value(&[]))
}

/// Size of a tensor along an axis.
fn size(weights: &Weights, name: &str, axis: usize) -> Option<i64> {
    weights.get(name)?.shape().get(axis).copied()
}

/// How many of the tensors there are that `name` gives for 0, 1, 2 …
fn count(weights: &Weights, name: impl Fn(usize) -> String) -> usize {
    (0..MOST).take_while(|&i| weights.get(&name(i)).is_some()).count()
}

fn set(config: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        config[field] = value.into();
    }
}

/// Residual blocks a down block: the first downsampling comes after them and `conv_in`.
pub(super) fn layers_per_block(weights: &Weights) -> usize {
    let is_downsampling =
        |i: &usize| weights.get(&format!("{DENOISER}input_blocks.{i}.0.op.weight")).is_some();
    (1..MOST).find(is_downsampling).map_or(2, |place| (place - 1).max(1))
}

/// A down block of the denoiser.
struct Level {
    channels: i64,
    /// Transformer blocks in its transformers; none without attention.
    depth: Option<i64>,
}

fn levels(weights: &Weights) -> Vec<Level> {
    let mut levels: Vec<Level> = Vec::new();
    let in_block = layers_per_block(weights) + 1;
    for place in (1..MOST).step_by(in_block) {
        let block = format!("{DENOISER}input_blocks.{place}");
        let Some(channels) = size(weights, &format!("{block}.0.out_layers.3.weight"), 0) else {
            break;
        };
        let depth = count(weights, |i| format!("{block}.1.transformer_blocks.{i}.norm1.weight"));
        let depth = (depth > 0).then_some(depth as i64);
        levels.push(Level { channels, depth });
    }
    levels
}

fn denoiser(family: Family, weights: &Weights, config: &mut Value) {
    let levels = levels(weights);
    if levels.is_empty() {
        return;
    }
    let types = |direction: &str| -> Vec<String> {
        let name = |level: &Level| match level.depth {
            Some(_) => format!("CrossAttn{direction}Block2D"),
            None => format!("{direction}Block2D"),
        };
        levels.iter().map(name).collect()
    };
    let channels: Vec<i64> = levels.iter().map(|level| level.channels).collect();
    let depths: Vec<i64> = levels.iter().map(|level| level.depth.unwrap_or(1)).collect();
    if family != Family::Sd1 {
        let heads: Vec<i64> = channels.iter().map(|c| (c / HEAD_CHANNELS).max(1)).collect();
        config["attention_head_dim"] = json!(heads);
    }
    config["down_block_types"] = json!(types("Down"));
    config["up_block_types"] = json!(types("Up").into_iter().rev().collect::<Vec<_>>());
    config["block_out_channels"] = json!(channels);
    config["transformer_layers_per_block"] = json!(depths);
    config["layers_per_block"] = json!(layers_per_block(weights));
    let middle = format!("{DENOISER}middle_block.1");
    let linear = weights.get(&format!("{middle}.proj_in.weight")).map(|t| t.shape().len() == 2);
    set(config, "use_linear_projection", linear);
    let context = format!("{middle}.transformer_blocks.0.attn2.to_k.weight");
    set(config, "cross_attention_dim", size(weights, &context, 1));
    let input = format!("{DENOISER}input_blocks.0.0.weight");
    set(config, "in_channels", size(weights, &input, 1));
    set(config, "out_channels", size(weights, &format!("{DENOISER}out.2.weight"), 0));
    let conditioning = format!("{DENOISER}label_emb.0.0.weight");
    set(config, "projection_class_embeddings_input_dim", size(weights, &conditioning, 1));
}

/// Levels of the autoencoder.
pub(super) fn autoencoder_levels(weights: &Weights) -> usize {
    count(weights, |i| format!("{AUTOENCODER}encoder.down.{i}.block.0.conv1.weight"))
}

fn autoencoder(weights: &Weights, config: &mut Value) {
    let levels = autoencoder_levels(weights);
    if levels == 0 {
        return;
    }
    let channels =
        |i| size(weights, &format!("{AUTOENCODER}encoder.down.{i}.block.0.conv1.weight"), 0);
    config["block_out_channels"] = json!((0..levels).filter_map(channels).collect::<Vec<_>>());
    config["down_block_types"] = json!(vec!["DownEncoderBlock2D"; levels]);
    config["up_block_types"] = json!(vec!["UpDecoderBlock2D"; levels]);
    config["layers_per_block"] =
        json!(count(weights, |i| format!("{AUTOENCODER}encoder.down.0.block.{i}.conv1.weight")));
    for (field, name, axis) in [
        ("in_channels", "encoder.conv_in.weight", 1),
        ("out_channels", "decoder.conv_out.weight", 0),
        ("latent_channels", "decoder.conv_in.weight", 1),
    ] {
        set(config, field, size(weights, &format!("{AUTOENCODER}{name}"), axis));
    }
}

fn clip(weights: &Weights, prefix: &str, config: &mut Value) {
    let inner = format!("{prefix}text_model.");
    let prefix = if weights.has(&inner) { inner.as_str() } else { prefix };
    let layer = |i| format!("{prefix}encoder.layers.{i}");
    text(
        config,
        [
            size(weights, &format!("{prefix}embeddings.token_embedding.weight"), 0),
            size(weights, &format!("{prefix}embeddings.token_embedding.weight"), 1),
            size(weights, &format!("{prefix}embeddings.position_embedding.weight"), 0),
            size(weights, &format!("{}.mlp.fc1.weight", layer(0)), 0),
        ],
    );
    let layers = count(weights, |i| format!("{}.layer_norm1.weight", layer(i)));
    set(config, "num_hidden_layers", (layers > 0).then_some(layers));
}

fn open_clip(weights: &Weights, prefix: &str, most_layers: usize, config: &mut Value) {
    let layer = |i| format!("{prefix}transformer.resblocks.{i}");
    text(
        config,
        [
            size(weights, &format!("{prefix}token_embedding.weight"), 0),
            size(weights, &format!("{prefix}token_embedding.weight"), 1),
            size(weights, &format!("{prefix}positional_embedding"), 0),
            size(weights, &format!("{}.mlp.c_fc.weight", layer(0)), 0),
        ],
    );
    let layers = count(weights, |i| format!("{}.ln_1.weight", layer(i))).min(most_layers);
    set(config, "num_hidden_layers", (layers > 0).then_some(layers));
    set(config, "projection_dim", size(weights, &format!("{prefix}text_projection"), 1));
}

fn text(config: &mut Value, [vocabulary, hidden, positions, inner]: [Option<i64>; 4]) {
    set(config, "vocab_size", vocabulary);
    set(config, "hidden_size", hidden);
    set(config, "max_position_embeddings", positions);
    set(config, "intermediate_size", inner);
    set(config, "num_attention_heads", hidden.map(|c| (c / HEAD_CHANNELS).max(1)));
}
