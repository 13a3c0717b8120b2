//! Between images and latents.

use image::RgbImage;
use image::imageops::FilterType;
use tch::{Kind, Tensor};

use crate::model::checkpoint::DiffusionModel;
use crate::tap::{Cx, TapError};

/// Images [n, 3, h, w] in [−1, 1] → latents [n, c, h, w] in f32 as the denoiser has them: the
/// mean of their distribution, scaled.
///
/// # Errors
/// The tap's own.
pub fn encode(
    model: &DiffusionModel,
    pixels: &Tensor,
    cx: &mut Cx<'_>,
) -> Result<Tensor, TapError> {
    let kind = model.vae_config.kind(model.placement.kind);
    let pixels = pixels.to_kind(kind).to_device(model.placement.device);
    let mean = model.vae.encode(&pixels, cx)?.mean.to_kind(Kind::Float);
    Ok(mean * model.vae_config.scaling_factor)
}

/// The image in another size, in pixels; its sides are not kept in proportion. Lanczos, as
/// diffusers resizes.
pub fn resized(image: &RgbImage, [width, height]: [u32; 2]) -> RgbImage {
    if image.dimensions() == (width, height) {
        return image.clone();
    }
    image::imageops::resize(image, width, height, FilterType::Lanczos3)
}

/// Latents (scaled) → images.
///
/// # Errors
/// The tap's own.
pub fn decode(
    model: &DiffusionModel,
    latents: &Tensor,
    cx: &mut Cx<'_>,
) -> Result<Vec<RgbImage>, TapError> {
    let kind = model.vae_config.kind(model.placement.kind);
    let unscaled = latents.to_kind(kind) / model.vae_config.scaling_factor;
    Ok(to_images(&model.vae.decode(&unscaled, cx)?))
}

/// [n, 3, h, w] in [−1, 1] → 8-bit images, rounded as numpy rounds.
pub fn to_images(x: &Tensor) -> Vec<RgbImage> {
    let x = (x.to_kind(Kind::Float) * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0;
    let x = x.round().to_kind(Kind::Uint8).permute([0, 2, 3, 1]).contiguous();
    let x = x.to_device(tch::Device::Cpu);
    let (n, h, w) = (x.size()[0], x.size()[1], x.size()[2]);
    (0..n)
        .map(|i| {
            let mut bytes = vec![0_u8; (h * w * 3) as usize];
            let numel = bytes.len();
            x.get(i).contiguous().copy_data_u8(&mut bytes, numel);
            RgbImage::from_raw(w as u32, h as u32, bytes).unwrap_or_default()
        })
        .collect()
}

/// 8-bit images of one size → [n, 3, h, w] in [−1, 1].
pub fn from_images(images: &[RgbImage]) -> Tensor {
    let planes: Vec<Tensor> = images
        .iter()
        .map(|image| {
            let (w, h) = image.dimensions();
            Tensor::from_slice(image.as_raw()).view([i64::from(h), i64::from(w), 3])
        })
        .collect();
    Tensor::stack(&planes, 0).permute([0, 3, 1, 2]).to_kind(Kind::Float) / 127.5 - 1.0
}
