//! ε, v and x0 are three ways to say the same; conversions between them.

use tch::Tensor;

use super::Prediction;

/// Clean latent and noise, as predicted together from one noisy latent.
#[derive(Debug)]
pub struct Denoised {
    /// The clean latent.
    pub x0: Tensor,
    /// The noise.
    pub eps: Tensor,
}

impl Denoised {
    /// Reads the denoiser's output for the latent `x` at ᾱ = `alpha_bar`.
    ///
    /// Solves x = √ᾱ x0 + √(1 − ᾱ) ε with what is given (Salimans & Ho 2022, appendix D).
    pub fn new(prediction: Prediction, output: &Tensor, x: &Tensor, alpha_bar: f64) -> Self {
        let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let solve_eps = |x0: &Tensor| (x - x0 * signal) / noise;
        match prediction {
            Prediction::Epsilon => {
                Self { x0: (x - output * noise) / signal, eps: output.shallow_clone() }
            }
            Prediction::V => {
                Self { x0: x * signal - output * noise, eps: output * signal + x * noise }
            }
            Prediction::Sample => Self { x0: output.shallow_clone(), eps: solve_eps(output) },
        }
    }
}

/// Variance σ² + 1 of a latent x0 + σ ε. In f32: where σ is in the thousands, a step to the next
/// level is all cancellation, and the last digit of each factor is seen in the result.
pub(super) fn exploding_variance(sigma: f64) -> f32 {
    let sigma = sigma as f32;
    sigma * sigma + 1.0
}

/// The clean latent told by the denoiser's output where the latent is variance-exploding,
/// x = x0 + σ ε; the denoiser was shown x/√(σ² + 1).
pub(super) fn exploding_x0(
    prediction: Prediction,
    output: &Tensor,
    x: &Tensor,
    sigma: f64,
) -> Tensor {
    let variance = exploding_variance(sigma);
    match prediction {
        Prediction::Epsilon => x - output * sigma,
        Prediction::V => {
            let of_output = sigma as f32 / variance.sqrt();
            x / f64::from(variance) - output * f64::from(of_output)
        }
        Prediction::Sample => output.shallow_clone(),
    }
}

/// x_t = √ᾱ x0 + √(1 − ᾱ) ε, with ᾱ a number for each image, `[n]` (Ho et al. 2020, eq. 4).
pub fn add_noise(x0: &Tensor, eps: &Tensor, alpha_bars: &Tensor) -> Tensor {
    let alpha_bars = alpha_bars.view([-1, 1, 1, 1]);
    x0 * alpha_bars.sqrt() + eps * one_minus(&alpha_bars).sqrt()
}

/// v = √ᾱ ε − √(1 − ᾱ) x0, with ᾱ a number for each image, `[n]`.
pub fn v_target(x0: &Tensor, eps: &Tensor, alpha_bars: &Tensor) -> Tensor {
    let alpha_bars = alpha_bars.view([-1, 1, 1, 1]);
    eps * alpha_bars.sqrt() - x0 * one_minus(&alpha_bars).sqrt()
}

fn one_minus(x: &Tensor) -> Tensor {
    -x + 1.0
}
