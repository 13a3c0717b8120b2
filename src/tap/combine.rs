//! Several taps in one run.

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

/// Taps that observe the same run, in this order. What one of them puts in a tensor's place, those
/// after it see.
#[derive(Debug, Default)]
pub struct All<T>(pub Vec<T>);

impl<T: Tap> Tap for All<T> {
    fn selects(&self, site: &Site) -> bool {
        self.0.iter().any(|tap| tap.selects(site))
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        let mut changed = None;
        for tap in self.0.iter_mut().filter(|tap| tap.selects(site)) {
            if let Some(new) = tap.visit(site, at, changed.as_ref().unwrap_or(x))? {
                changed = Some(new);
            }
        }
        Ok(changed)
    }
}
