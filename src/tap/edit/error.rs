//! What can be wrong with an edit.

use crate::site::SiteError;

/// Errors of making an edit, found before the run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// A glob that matches nothing.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// No site at all.
    #[error("an edit needs sites: name them, as in sites=up.*.cross.out")]
    NoSites,
    /// A step that the run does not have.
    #[error("step {step} does not exist in this run: there are 0 to {last}")]
    Step {
        /// The step asked for.
        step: usize,
        /// The run's last step.
        last: usize,
    },
    /// A branch that does not run.
    #[error(
        "the {branch} branch does not run at this guidance scale; choose another scale than 0 and 1"
    )]
    Branch {
        /// `cond` or `uncond`.
        branch: &'static str,
    },
    /// A site whose tensor has no axis of the kind that the edit needs.
    #[error("`{site}` has no {axis} axis; choose sites that have one, such as {such_as}")]
    Axis {
        /// The site.
        site: String,
        /// What is missing: `head`.
        axis: &'static str,
        /// Sites that have it.
        such_as: &'static str,
    },
    /// A number beyond the last head or token.
    #[error("`{site}` has no {what} {number}: there are 0 to {last}")]
    Beyond {
        /// The site.
        site: String,
        /// `head` or `token`.
        what: &'static str,
        /// The number asked for.
        number: i64,
        /// The last there is.
        last: i64,
    },
    /// An operation on attention probabilities at another site.
    #[error("{operation} is for *.cross.probs, not for `{site}`")]
    NotAttention {
        /// `mask` or `weigh`.
        operation: &'static str,
        /// The site.
        site: String,
    },
    /// All tokens masked.
    #[error("mask leaves no token to attend to; leave at least the start token")]
    NothingLeft,
    /// A reference without a tensor that the edit needs.
    #[error(
        "{source_name} has no `{key}`; record it with the same model, steps and sites, as in \
         `probe trace --sites '{site}' --raw FILE`"
    )]
    Missing {
        /// Where the reference is from.
        source_name: String,
        /// The name looked for.
        key: String,
        /// The site.
        site: String,
    },
    /// A reference of a longer run.
    #[error(
        "{source_name} is of a run of {got} steps or more, and this one has {expected}, so that \
         its steps lie at other noise levels; record it with as many steps"
    )]
    Longer {
        /// Where the reference is from.
        source_name: String,
        /// Steps it has at least.
        got: usize,
        /// Steps of the run.
        expected: usize,
    },
    /// A reference of another shape.
    #[error(
        "`{key}` of {source_name} is {got:?}, but `{site}` has {expected:?} in this run; \
         reference and run need the same model, size and number of images (or one image)"
    )]
    Shape {
        /// Where the reference is from.
        source_name: String,
        /// Its name there.
        key: String,
        /// The site.
        site: String,
        /// Its shape.
        got: Vec<i64>,
        /// What the site has.
        expected: Vec<i64>,
    },
}
