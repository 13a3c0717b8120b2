//! Sweeps: a grid of options, run in shards that survive anything and merge into one.
//!
//! ```text
//! spec.toml ──Spec──▶ conditions × items ──Plan──▶ shards ──Folder──▶ one folder a shard ──▶ merged
//! ```
//!
//! A [`Plan`] is known by the hash of all that it runs; its [`Folder`] holds that hash, and so does
//! every shard in it, so that two versions never mix. A shard is begun, gone on with and finished
//! through [`ShardWork`]; [`slurm`] sends shards to a cluster.

mod asks;
mod error;
mod folder;
mod plan;
mod shard;
pub mod slurm;
mod spec;

pub use asks::{Asks, SCENE_SEQUENCE};
pub use error::SweepError;
pub use folder::{Failure, Folder, ShardManifest, ShardState};
pub use plan::{Asked, Condition, Item, Plan, Shard, text_of};
pub use shard::{Begun, ShardWork};
pub use slurm::Settings;
pub use spec::Spec;
