//! denoscope

pub mod measure;
pub mod run;
