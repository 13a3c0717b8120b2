//! What an edit does to a tensor.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::reference::Reference;
use super::scope::Places;
use super::{EditError, RunShape};
use crate::site::{Axis, Branch, Site};
use crate::tap::{Moment, TapError};

/// What an edit does to a tensor.
#[derive(Debug)]
pub enum Operation {
    /// Sets it to zero.
    Zero,
    /// Multiplies it.
    Scale(f64),
    /// Puts a reference in its place: activation patching, or attention maps of another prompt
    /// (Hertz et al. 2022). A reference of one image serves all; one that is a mean over images
    /// and places ([`Reference::averaged`]) makes it mean ablation.
    Replace(Reference),
    /// Adds a reference, `by` times: steering along a vector.
    Add(Reference, f64),
    /// Takes tokens out of cross-attention: their probability goes to the others, as if their
    /// logits were −∞.
    Mask(Vec<i64>),
    /// Multiplies the probability of tokens, and leaves the others (Hertz et al. 2022, "attention
    /// re-weighting").
    Weigh(Vec<i64>, f64),
    /// Keeps what was there at this step for all steps after it.
    Freeze(usize),
}

impl Operation {
    /// What it is called in an edit's text.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Scale(_) => "scale",
            Self::Replace(_) => "replace",
            Self::Add(..) => "add",
            Self::Mask(_) => "mask",
            Self::Weigh(..) => "weigh",
            Self::Freeze(_) => "freeze",
        }
    }

    /// Finds what cannot work at a site, before the run.
    pub(super) fn check(
        &self,
        site: &Site,
        places: &Places,
        run: &RunShape,
    ) -> Result<(), EditError> {
        match self {
            Self::Zero | Self::Scale(_) => Ok(()),
            Self::Replace(reference) | Self::Add(reference, _) => {
                check_reference(reference, site, places, run)
            }
            Self::Mask(tokens) | Self::Weigh(tokens, _) => self.check_tokens(tokens, site, run),
            Self::Freeze(step) => {
                let last = run.steps.saturating_sub(1);
                if *step > last { Err(EditError::Step { step: *step, last }) } else { Ok(()) }
            }
        }
    }

    fn check_tokens(&self, tokens: &[i64], site: &Site, run: &RunShape) -> Result<(), EditError> {
        if site.axes.last() != Some(&Axis::Token) {
            let (operation, site) = (self.label(), site.name.clone());
            return Err(EditError::NotAttention { operation, site });
        }
        let count = run.extent.tokens;
        if let Some(&number) = tokens.iter().find(|token| !(0..count).contains(*token)) {
            let (site, last) = (site.name.clone(), count - 1);
            return Err(EditError::Beyond { site, what: "token", number, last });
        }
        let masks_all = matches!(self, Self::Mask(_)) && tokens.len() as i64 >= count;
        if masks_all { Err(EditError::NothingLeft) } else { Ok(()) }
    }
}

/// A reference has a tensor that broadcasts to the site's at each moment.
fn check_reference(
    reference: &Reference,
    site: &Site,
    places: &Places,
    run: &RunShape,
) -> Result<(), EditError> {
    if reference.steps() > run.steps {
        return Err(EditError::Longer {
            source_name: reference.source().to_owned(),
            got: reference.steps(),
            expected: run.steps,
        });
    }
    let expected = site.shape(&run.extent);
    let fits = |got: &[i64]| {
        let pairs = || got.iter().rev().zip(expected.iter().rev());
        got.len() <= expected.len() && pairs().all(|(a, b)| *a == 1 || a == b)
    };
    for at in places.moments(site, run) {
        let Some((key, x)) = reference.find(site, at) else {
            return Err(EditError::Missing {
                source_name: reference.source().to_owned(),
                key: crate::tap::raw::key(site, at),
                site: site.name.clone(),
            });
        };
        if !fits(&x.size()) {
            return Err(EditError::Shape {
                source_name: reference.source().to_owned(),
                key,
                site: site.name.clone(),
                got: x.size(),
                expected,
            });
        }
    }
    Ok(())
}

/// An operation and what it remembers of the run.
#[derive(Debug)]
pub(super) struct Working {
    operation: Operation,
    frozen: BTreeMap<(String, Option<Branch>), Tensor>,
}

impl Working {
    pub fn new(operation: Operation) -> Self {
        Self { operation, frozen: BTreeMap::new() }
    }

    /// What takes the tensor's place, if anything does now; it broadcasts to its shape.
    pub fn apply(
        &mut self,
        site: &Site,
        at: Moment,
        x: &Tensor,
    ) -> Result<Option<Tensor>, TapError> {
        Ok(match &self.operation {
            Operation::Zero => Some(x.zeros_like()),
            Operation::Scale(by) => Some(x * *by),
            Operation::Replace(reference) => Some(find(reference, site, at)?.shallow_clone()),
            Operation::Add(reference, by) => {
                let vector = find(reference, site, at)?.to_device(x.device());
                Some(x + vector.to_kind(x.kind()) * *by)
            }
            Operation::Mask(tokens) => {
                // Where a word takes all, the probabilities of the others are too small for
                // floating point; they then share alike instead of dividing zero by zero.
                const LEAST: f64 = 1e-30;
                let wide = x.to_kind(Kind::Float) + LEAST;
                let kept = &wide * factors(&wide, tokens, 0.0);
                let rest = kept.sum_dim_intlist([-1_i64].as_slice(), true, None::<Kind>);
                Some((kept / rest).to_kind(x.kind()))
            }
            Operation::Weigh(tokens, by) => Some(x * factors(x, tokens, *by)),
            Operation::Freeze(step) => {
                let key = (site.name.clone(), at.branch);
                if at.step == *step {
                    self.frozen.insert(key, x.copy());
                    None
                } else {
                    self.frozen.get(&key).map(Tensor::shallow_clone)
                }
            }
        })
    }
}

fn find<'a>(reference: &'a Reference, site: &Site, at: Moment) -> Result<&'a Tensor, TapError> {
    let found = reference.find(site, at).map(|(_, x)| x);
    found.ok_or_else(|| TapError::Unusable {
        site: site.name.clone(),
        problem: format!("{} has nothing for step {}", reference.source(), at.step),
    })
}

/// One factor a token: `by` for those named, 1 for the others.
fn factors(x: &Tensor, tokens: &[i64], by: f64) -> Tensor {
    let count = x.size().last().copied().unwrap_or_default();
    let factor = |token| if tokens.contains(&token) { by as f32 } else { 1.0 };
    let all: Vec<f32> = (0..count).map(factor).collect();
    Tensor::from_slice(&all).to_device(x.device()).to_kind(x.kind())
}
