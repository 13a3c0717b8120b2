//! What a model decides at which noise level, asked in several ways.
//!
//! | module | asks |
//! |---|---|
//! | [`trajectory`] | from when on does the predicted clean image show what the last one shows? |
//! | [`bands`] | from when on do its spatial frequencies agree with the end, and what would noise alone say? |
//! | [`switch`] | until when does an image follow a new prompt? |
//! | [`over_time`] | how does attention change over time? |
//! | [`features`] | what can a linear regression read out of each site at each noise level? |
//! | [`masks`] | and out of one place, where objects are? |
//!
//! [`summary`] puts the answers on one axis; [`report`] is for people. Nothing here runs a model.

pub mod answers;
pub mod bands;
pub mod features;
pub mod figures;
pub mod levels;
pub mod masks;
pub mod over_time;
pub mod report;
pub mod stored;
pub mod summary;
pub mod switch;
pub mod trajectory;

pub use answers::Attribute;
pub use levels::NoiseLevels;
