//! Probes: questions asked of a model. Capturing runs the model; what is here turns what was
//! captured into tables, findings, figures and reports, and needs no libtorch.

pub mod attention;
pub mod compare;
pub mod failures;
pub mod history;
pub mod judgement;
pub mod outcome;
pub mod patch;
pub mod plan;
