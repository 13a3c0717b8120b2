//! denoscope

pub mod judge;
pub mod world;
