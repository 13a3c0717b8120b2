//! denoscope

pub mod world;
