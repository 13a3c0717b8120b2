//! The parts of a latent diffusion model, laid out as in a diffusers checkpoint.

pub mod attention;
pub mod checkpoint;
pub mod clip;
pub mod clip_folder;
pub mod conditioning;
pub mod config;
mod configs;
mod error;
pub mod files;
pub mod hub;
pub mod inspect;
pub mod layers;
pub mod parameters;
pub mod python_json;
pub mod resnet;
pub mod single_file;
pub mod tokenizer;
pub mod unet;
pub mod vae;
pub mod weights;
