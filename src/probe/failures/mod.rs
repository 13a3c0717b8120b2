//! What a run of suites found, as a report: rates with warnings, the worst prompts, and failed
//! images with what the judge saw in them; beside them what a person says.

mod gallery;
mod human;
mod report;
mod scored;
pub mod stored;

pub use gallery::boxed;
pub use human::{HumanError, read_overrides};
pub use report::{FailuresInput, Limits, limits, report};
