//! Probes: questions asked of a model. Capturing runs the model; what is here turns what was
//! captured into tables, findings, figures and reports, and needs no libtorch.

pub mod attention;
pub mod clip;
pub mod compare;
pub mod diagnosis;
pub mod failures;
pub mod forward;
pub mod guidance;
pub mod history;
pub mod judgement;
pub mod latent;
pub mod outcome;
pub mod patch;
pub mod plan;
pub mod stored;
pub mod timesteps;
