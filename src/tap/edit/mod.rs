//! Edits: declarative changes of what flows at chosen sites, steps, heads and places.
//!
//! An [`Edit`] is an [`Operation`] and the [`Scope`] it acts in. All that can be wrong with it is
//! found when it is made, before a run. [`Edits`] is a tap; what observes the same run goes
//! after it ([`Then`](super::Then)) and sees the result.

mod error;
mod operation;
mod reference;
mod scope;

pub use error::EditError;
pub use operation::Operation;
pub use reference::Reference;
pub use scope::{RunShape, Scope};

use tch::Tensor;

use super::{Moment, Tap, TapError};
use crate::site::{Site, Sites};
use operation::Working;
use scope::Places;

/// A change of what flows: an operation where its scope says.
#[derive(Debug)]
pub struct Edit {
    operation: Working,
    places: Places,
}

impl Edit {
    /// An edit of a run of this shape.
    ///
    /// # Errors
    /// [`EditError`]: sites that are not there, heads or steps beyond the last, an operation that
    /// means nothing at a site, a reference that lacks a tensor or has it in another shape.
    pub fn new(
        operation: Operation,
        scope: &Scope,
        sites: &Sites,
        run: &RunShape,
    ) -> Result<Self, EditError> {
        let places = Places::new(scope, sites, run)?;
        for site in places.sites(sites) {
            operation.check(site, &places, run)?;
        }
        Ok(Self { operation: Working::new(operation), places })
    }

    fn apply(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        if !self.places.hold(site, at) {
            return Ok(None);
        }
        let Some(new) = self.operation.apply(site, at, x)? else { return Ok(None) };
        let new = new.to_device(x.device()).to_kind(x.kind());
        Ok(Some(match self.places.mask(site) {
            Some(mask) => new.where_self(&mask.to_device(x.device()), x),
            None => new.expand_as(x),
        }))
    }
}

/// Edits one after the other: each sees what those before it left.
#[derive(Debug, Default)]
pub struct Edits(pub Vec<Edit>);

impl Tap for Edits {
    fn selects(&self, site: &Site) -> bool {
        self.0.iter().any(|edit| edit.places.has(site))
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let mut changed = None;
        for edit in &mut self.0 {
            if let Some(new) = edit.apply(site, at, changed.as_ref().unwrap_or(x))? {
                changed = Some(new);
            }
        }
        Ok(changed)
    }
}
