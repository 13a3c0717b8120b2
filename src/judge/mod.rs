//! The exact judge: decides from an image alone which expectations of a caption hold.
//!
//! ```text
//! image ──look──▶ Seen ──match_seen──▶ Verdict (one AtomVerdict per atom, each with a reason)
//!                          ▲
//!              Expectations of the caption
//! ```
//!
//! [`look`] never sees the scene or the caption, so it cannot be led by them. How it looks:
//!
//! 1. The background is a plane in each channel, fitted to all pixels that it explains.
//! 2. What differs from it by more than a shadow (a darker background of the same hue) stands
//!    out; regions of such pixels are split where they narrow, specks are dropped.
//! 3. A region is coloured by the hues of its pixels, weighted by chroma.
//! 4. The world's own renderer says what each shape and finish in this colour and light looks
//!    like; the solid that leaves the least unexplained, moved and scaled to its best place,
//!    gives shape, size and finish.
//! 5. Letters are compared with the world's own alphabet; fingers are counted along arcs around
//!    the palm.
//!
//! [`calibrate`] measures how often the judge is right, on scenes whose truth is known.

mod assign;
mod backdrop;
mod calibrate;
pub mod clip_score;
mod distort;
mod fit;
mod grid;
mod hand;
pub mod imported;
mod letters;
mod look;
mod matching;
pub mod ocr;
mod paint;
mod regions;
mod seen;
mod template;
mod verdict;

pub use calibrate::{Calibration, Confusion, Plan, Rate, calibrate};
pub use distort::Distortion;
pub use look::look;
pub use matching::match_seen;
pub use seen::{Seen, SeenObject, SeenWord, Sureness};
pub use verdict::{Atom, AtomVerdict, MARGIN, Rule, Verdict};

use crate::world::Expectations;

/// Name of this judge in tables and manifests.
pub const NAME: &str = "exact";
/// Its version: verdicts of different versions are not compared.
pub const VERSION: u32 = 2;

/// Looks at an image and decides every expectation: [`look`], then [`match_seen`].
pub fn judge(image: &image::RgbImage, expectations: &Expectations) -> Verdict {
    match_seen(look(image), expectations)
}
