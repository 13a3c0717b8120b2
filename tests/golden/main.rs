//! What PyTorch, diffusers and transformers make of small random weights, against this crate:
//! every site of the text encoder, the denoiser and the autoencoder, the tokenizer, the
//! schedules and samplers, and a whole run. `fixtures/scripts` has the programs behind the
//! files; `cargo test --test golden -- --nocapture` prints the parity tables.
#![cfg(feature = "torch")]

mod image;
mod model;
mod pipeline;
mod samplers;
mod support;
mod tokens;
mod training;
mod xl;
