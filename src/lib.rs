//! denoscope: a scope on denoisers.
//!
//! Open a text-to-image latent diffusion model, watch every block at every timestep, change
//! what flows there, and measure what the model knows and where it fails. The README shows
//! the command `probe`; ARCHITECTURE.md shows how the modules fit together.

pub mod cli;
pub mod figure;
pub mod judge;
pub mod measure;
pub mod report;
pub mod run;
pub mod site;
pub mod table;
pub mod world;

#[cfg(feature = "torch")]
pub mod model;
#[cfg(feature = "torch")]
pub mod pipeline;
#[cfg(feature = "torch")]
pub mod sampler;
#[cfg(feature = "torch")]
pub mod tap;
#[cfg(feature = "torch")]
pub mod train;
