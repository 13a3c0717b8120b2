//! denoscope

pub mod figure;
pub mod report;
