//! What is done to the denoiser's output between its two branches and the sampler.

use tch::{Kind, Tensor};

/// Classifier-free guidance, ε_u + s(ε_c − ε_u), said of the denoiser's raw output
/// (Ho & Salimans 2022, eq. 6, with s = 1 + w).
pub fn guided(uncond: &Tensor, cond: &Tensor, s: f64) -> Tensor {
    uncond + (cond - uncond) * s
}

/// Guidance rescaled (Lin et al. 2023, section 3.4, eq. 15 and 16): each image of the guided
/// output [n, c, h, w] gets the standard deviation of the conditional one, by a share `phi` in
/// [0, 1]; 0 changes nothing.
pub fn rescaled_guidance(guided: &Tensor, cond: &Tensor, phi: f64) -> Tensor {
    // Of one image over all of its channels and places; the factor is the same with n or
    // n − 1 in the variance.
    let deviation = |x: &Tensor| {
        let mean = x.mean_dim([1_i64, 2, 3].as_slice(), true, Kind::Float);
        (x - mean).square().mean_dim([1_i64, 2, 3].as_slice(), true, Kind::Float).sqrt()
    };
    let rescaled = guided * (deviation(cond) / deviation(guided));
    rescaled * phi + guided * (1.0 - phi)
}
