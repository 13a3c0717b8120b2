//! The world: a procedural generator of small 3-D-looking scenes with exact ground truth.
//!
//! One chain, each link a pure function:
//!
//! ```text
//! (seed, mix, split, index) ──Generator──▶ Scene ──describe──▶ caption ──parse──▶ Expectations
//!                                            │ └──render──▶ image
//!                                            └────masks──▶ one mask per object
//! ```
//!
//! Every caption the generator makes parses back into [`Expectations`] that hold in its own
//! scene. [`splits`] names the cells of the world that training never sees.
//!
//! Coordinates are fractions of the image: x to the right, y down, both in \[0, 1\]; radii and
//! heights are fractions of the image width (images are square).

mod caption;
mod compose;
mod exchange;
mod expectation;
mod generate;
mod layout;
mod lexicon;
mod parse;
mod render;
mod scene;
pub mod splits;
mod written;

pub use compose::{ComposeError, compose};
pub use exchange::Exchange;
pub use expectation::{
    BackgroundPhrase, Expectations, FingersPhrase, LightPhrase, Mismatch, ObjectPhrase,
    RelationPhrase, Role, Word, WrittenPhrase,
};
pub use generate::{Category, Generator, Mix, MixError, Sample, UnknownCategory};
pub use lexicon::vocabulary;
pub use parse::{MAX_FINGERS, MAX_LETTERS, MAX_WORDS, ParseError, UnknownWord, parse};
pub use render::{masks, render};
pub use scene::{
    Background, Colour, Content, Finish, Hand, LARGE_RADII, Light, Object, Relation, SIZE_LIMIT,
    SMALL_RADII, Scene, Shape, Size, WORD_ADVANCE, Written,
};
pub use splits::Split;

/// Version of the scene distribution, the grammar and the renderer together. A model trained on
/// one version is judged on the same one.
pub const VERSION: u32 = 1;
