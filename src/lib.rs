//! denoscope

pub mod measure;
