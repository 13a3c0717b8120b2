use thiserror::Error;

/// Why a measurement has no value.
///
/// Scores are stored as null where this comes back; the reason is for messages and reports.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum Undefined {
    /// The map or the list of values has no elements.
    #[error("there is nothing to measure: the input is empty")]
    Empty,
    /// A value is NaN or infinite.
    #[error("the values are not all finite; look for overflow in half precision at this site")]
    NotFinite,
    /// A map that is read as weights has a value below zero.
    #[error("the map has negative values and cannot be read as weights; clamp it at zero first")]
    Negative,
    /// The map is zero everywhere.
    #[error("the map is zero everywhere, so its weight has no place")]
    ZeroMass,
    /// All values agree to rounding, so no threshold between them exists.
    #[error("the map is the same everywhere, so it prefers no place")]
    Constant,
    /// The largest value is taken both inside and outside the region.
    #[error("the map's peak is tied between cells inside and outside the region")]
    TiedPeak,
    /// The region holds no cell.
    #[error(
        "the region is empty at this resolution; the object is missing or too small for the map"
    )]
    EmptyRegion,
    /// The region holds every cell.
    #[error("the region covers the whole image, so there is no outside to compare with")]
    FullRegion,
    /// No cell of the map is above the threshold.
    #[error("no cell of the map is above the threshold; lower it")]
    NothingAboveThreshold,
    /// Two arrays that must have one shape do not.
    #[error(
        "shapes differ: {expected:?} and {got:?} (rows, columns); resize the map to the mask first"
    )]
    Shape {
        /// Shape of the first array.
        expected: (usize, usize),
        /// Shape of the second array.
        got: (usize, usize),
    },
    /// Two lists that belong together have different lengths.
    #[error("lists that belong together have {expected} and {got} entries")]
    Length {
        /// Length of the first list.
        expected: usize,
        /// Length of the second list.
        got: usize,
    },
    /// Too few independent units to say anything about spread.
    #[error("{got} independent unit(s) are too few for an interval; at least {needed} are needed")]
    TooFew {
        /// How many are needed.
        needed: usize,
        /// How many there are.
        got: usize,
    },
    /// A parameter lies outside what it may be.
    #[error("{name} is {got}, but must be {allowed}")]
    Parameter {
        /// Which parameter.
        name: &'static str,
        /// What was given.
        got: f64,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// All labels are the same, so nothing can be told apart.
    #[error("all labels are the same, so there is nothing to tell apart")]
    OneClass,
    /// A regression that the library could not solve.
    #[error("the regression has no solution in these numbers; raise its penalty")]
    NotSolved,
    /// Two images agree in every value, so their noise ratio is infinite.
    #[error("the images are identical, so the signal-to-noise ratio is infinite")]
    Identical,
}
