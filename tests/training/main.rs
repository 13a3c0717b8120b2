//! Training: resumed exactly, refused clearly, continued from trained weights.
#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod parts;
mod resume;
mod setup;
