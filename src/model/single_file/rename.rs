//! From the names of the original training code to those of a diffusers folder.
//!
//! The denoiser of the original code counts all its layers in one list (`input_blocks.7`), a
//! diffusers folder counts blocks and layers within them (`down_blocks.2.resnets.0`). The
//! autoencoder counts its decoder's levels from the finest, a folder from the coarsest. OpenCLIP
//! stacks queries, keys and values in one matrix.

use super::super::weights::Storage;

/// Parameters that one tensor of the file holds.
pub(super) type Renamed = Vec<(String, Storage)>;

fn plain(name: String) -> Renamed {
    vec![(name, Storage::Plain)]
}

/// The first rule whose left side begins the name gives it a new beginning.
fn exchange(rules: &[(&str, &str)], name: &str) -> Option<String> {
    let apply = |(old, new): &(&str, &str)| Some(format!("{new}{}", name.strip_prefix(old)?));
    rules.iter().find_map(apply)
}

/// "7.0.in_layers…" → (7, "0.in_layers…").
fn number(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

const DENOISER_ENDS: [(&str, &str); 7] = [
    ("time_embed.0.", "time_embedding.linear_1."),
    ("time_embed.2.", "time_embedding.linear_2."),
    ("label_emb.0.0.", "add_embedding.linear_1."),
    ("label_emb.0.2.", "add_embedding.linear_2."),
    ("input_blocks.0.0.", "conv_in."),
    ("out.0.", "conv_norm_out."),
    ("out.2.", "conv_out."),
];

const DENOISER_RESNET: [(&str, &str); 6] = [
    ("in_layers.0.", "norm1."),
    ("in_layers.2.", "conv1."),
    ("emb_layers.1.", "time_emb_proj."),
    ("out_layers.0.", "norm2."),
    ("out_layers.3.", "conv2."),
    ("skip_connection.", "conv_shortcut."),
];

/// A tensor of the denoiser; the name without `model.diffusion_model.`. Names that are not
/// understood stay as they are, to be reported as extra.
pub(super) fn unet(name: &str, layers_per_block: usize) -> Renamed {
    let renamed = exchange(&DENOISER_ENDS, name)
        .or_else(|| down(name.strip_prefix("input_blocks.")?, layers_per_block))
        .or_else(|| middle(name.strip_prefix("middle_block.")?))
        .or_else(|| up(name.strip_prefix("output_blocks.")?, layers_per_block));
    plain(renamed.unwrap_or_else(|| name.to_owned()))
}

fn down(name: &str, layers_per_block: usize) -> Option<String> {
    let (place, rest) = number(name)?;
    // Each block has its layers and then a downsampling; the list starts with conv_in.
    let (block, layer) = position(place.checked_sub(1)?, layers_per_block + 1);
    let (module, rest) = number(rest)?;
    match (module, rest.strip_prefix("op.")) {
        (0, Some(rest)) => Some(format!("down_blocks.{block}.downsamplers.0.conv.{rest}")),
        (0, None) => {
            let rest = exchange(&DENOISER_RESNET, rest)?;
            Some(format!("down_blocks.{block}.resnets.{layer}.{rest}"))
        }
        (1, _) => Some(format!("down_blocks.{block}.attentions.{layer}.{rest}")),
        _ => None,
    }
}

fn middle(name: &str) -> Option<String> {
    let (module, rest) = number(name)?;
    match module {
        0 => Some(format!("mid_block.resnets.0.{}", exchange(&DENOISER_RESNET, rest)?)),
        1 => Some(format!("mid_block.attentions.0.{rest}")),
        2 => Some(format!("mid_block.resnets.1.{}", exchange(&DENOISER_RESNET, rest)?)),
        _ => None,
    }
}

fn up(name: &str, layers_per_block: usize) -> Option<String> {
    let (place, rest) = number(name)?;
    // Each block has one layer more than on the way down, and upsamples within its last.
    let (block, layer) = position(place, layers_per_block + 1);
    let (module, rest) = number(rest)?;
    match (module, rest.strip_prefix("conv.")) {
        (0, _) => {
            let rest = exchange(&DENOISER_RESNET, rest)?;
            Some(format!("up_blocks.{block}.resnets.{layer}.{rest}"))
        }
        (1 | 2, Some(rest)) => Some(format!("up_blocks.{block}.upsamplers.0.conv.{rest}")),
        (1, None) => Some(format!("up_blocks.{block}.attentions.{layer}.{rest}")),
        _ => None,
    }
}

fn position(place: usize, in_block: usize) -> (usize, usize) {
    (place / in_block, place % in_block)
}

const AUTOENCODER_ATTENTION: [(&str, &str); 5] = [
    ("norm.", "group_norm."),
    ("q.", "to_q."),
    ("k.", "to_k."),
    ("v.", "to_v."),
    ("proj_out.", "to_out.0."),
];

/// A tensor of the autoencoder with so many levels; the name without `first_stage_model.`.
pub(super) fn vae(name: &str, levels: usize) -> Renamed {
    let inner = |half: &str| {
        let rest = name.strip_prefix(half)?.strip_prefix('.')?;
        let (rest, storage) = autoencoder_half(rest, levels)?;
        Some(vec![(format!("{half}.{rest}"), storage)])
    };
    inner("encoder").or_else(|| inner("decoder")).unwrap_or_else(|| plain(name.to_owned()))
}

fn autoencoder_half(name: &str, levels: usize) -> Option<(String, Storage)> {
    if let Some(rest) = name.strip_prefix("mid.attn_1.") {
        let rest = exchange(&AUTOENCODER_ATTENTION, rest)?;
        return Some((format!("mid_block.attentions.0.{rest}"), Storage::PointConvolution));
    }
    let resnet = |rest: &str| rest.replace("nin_shortcut.", "conv_shortcut.");
    let (direction, rest) = name.split_once('.')?;
    let renamed = match direction {
        "mid" => {
            let (place, rest) = number(rest.strip_prefix("block_")?)?;
            format!("mid_block.resnets.{}.{}", place.checked_sub(1)?, resnet(rest))
        }
        "norm_out" => format!("conv_norm_out.{rest}"),
        "down" | "up" => {
            let (level, rest) = number(rest)?;
            let from_coarsest = levels.checked_sub(level.checked_add(1)?)?;
            let block = if direction == "up" { from_coarsest } else { level };
            let samplers = format!("{direction}sample.conv.");
            match (rest.strip_prefix("block."), rest.strip_prefix(samplers.as_str())) {
                (Some(rest), _) => format!("{direction}_blocks.{block}.resnets.{}", resnet(rest)),
                (_, Some(rest)) => {
                    format!("{direction}_blocks.{block}.{direction}samplers.0.conv.{rest}")
                }
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((renamed, Storage::Plain))
}

/// Buffers of text encoders that are no weights.
const TEXT_BUFFERS: [&str; 3] = ["logit_scale", "attn_mask", "position_ids"];

/// A tensor of a text encoder in the layout of transformers, which is that of a folder.
pub(super) fn clip(name: &str) -> Renamed {
    if TEXT_BUFFERS.iter().any(|buffer| name.ends_with(buffer)) {
        return Vec::new();
    }
    plain(name.to_owned())
}

const OPEN_CLIP_ENDS: [(&str, &str); 3] = [
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    ("ln_final.", "text_model.final_layer_norm."),
];

const OPEN_CLIP_LAYER: [(&str, &str); 5] = [
    ("ln_1.", "layer_norm1."),
    ("ln_2.", "layer_norm2."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
    ("attn.out_proj.", "self_attn.out_proj."),
];

/// A tensor of a text encoder in the layout of OpenCLIP. Layers from `layers` on are left out,
/// and so is the projection where there is none in the architecture.
pub(super) fn open_clip(name: &str, layers: usize, has_projection: bool) -> Renamed {
    if TEXT_BUFFERS.contains(&name) {
        return Vec::new();
    }
    if name == "text_projection" {
        let projection = ("text_projection.weight".to_owned(), Storage::Transposed);
        return if has_projection { vec![projection] } else { Vec::new() };
    }
    if let Some(name) = exchange(&OPEN_CLIP_ENDS, name) {
        return plain(name);
    }
    let Some((layer, rest)) = name.strip_prefix("transformer.resblocks.").and_then(number) else {
        return plain(name.to_owned());
    };
    if layer >= layers {
        return Vec::new();
    }
    let front = format!("text_model.encoder.layers.{layer}");
    if let Some(kind) = rest.strip_prefix("attn.in_proj_") {
        let third = |(third, which): (usize, &str)| {
            (format!("{front}.self_attn.{which}_proj.{kind}"), Storage::ThirdOfRows(third))
        };
        return ["q", "k", "v"].into_iter().enumerate().map(third).collect();
    }
    match exchange(&OPEN_CLIP_LAYER, rest) {
        Some(rest) => plain(format!("{front}.{rest}")),
        None => plain(name.to_owned()),
    }
}
