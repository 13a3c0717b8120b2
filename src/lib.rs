//! denoscope

pub mod measure;
pub mod run;
pub mod table;
