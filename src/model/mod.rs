//! The parts of a latent diffusion model, laid out as in a diffusers checkpoint.

pub mod attention;
pub mod checkpoint;
pub mod clip;
pub mod conditioning;
pub mod config;
mod configs;
pub mod layers;
pub mod parameters;
pub mod resnet;
pub mod tokenizer;
pub mod unet;
pub mod vae;
