//! Two taps in one run.

use tch::Tensor;

use super::{Moment, Tap, TapError};
use crate::site::Site;

/// The first tap sees (and may replace) a tensor before the second: edits go first, so that
/// observers see the result.
#[derive(Debug)]
pub struct Then<A, B>(pub A, pub B);

impl<A: Tap, B: Tap> Tap for Then<A, B> {
    fn selects(&self, site: &Site) -> bool {
        self.0.selects(site) || self.1.selects(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let first = if self.0.selects(site) { self.0.visit(site, at, x)? } else { None };
        if !self.1.selects(site) {
            return Ok(first);
        }
        let second = self.1.visit(site, at, first.as_ref().unwrap_or(x))?;
        Ok(second.or(first))
    }
}
