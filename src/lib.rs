//! denoscope: a scope on denoisers.
//!
//! Open a text-to-image latent diffusion model, watch every block at every timestep, change
//! what flows there, and measure what the model knows and where it fails. The README shows
//! the command `probe`; ARCHITECTURE.md shows how the modules fit together.

use std::sync::atomic::AtomicBool;

pub mod cli;
pub mod figure;
pub mod judge;
pub mod measure;
pub mod notebook;
pub mod probe;
pub mod report;
pub mod run;
pub mod site;
mod suggest;
pub mod suite;
pub mod sweep;
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

/// Stops runs at their next step when it is set, as Ctrl-C does.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The libtorch this version is built for.
pub const LIBTORCH_VERSION: &str = "2.11.0";
/// The tch this version is built with.
pub const TCH_VERSION: &str = "0.24.0";
