//! Taps: what looks at sites during one run, and may replace what it sees.
//!
//! A [`Cx`] goes down the forward call. It knows which sites are wanted (one bit each), so
//! a site nobody wants costs a load and a branch. The tap belongs to the run that was given
//! it: nothing is left behind in the model.
//!
//! Load a model, watch a run, look at what was recorded:
//!
//! ```
//! use denoscope::model::checkpoint::{DiffusionModel, Placement};
//! use denoscope::pipeline::{Request, generate};
//! use denoscope::table;
//! use denoscope::tap::{Recorder, StatisticsRecorder};
//!
//! let model = DiffusionModel::open("shapes", Placement::default())?;
//! let request = Request { steps: 3, ..Request::new(&model, "red ball left of blue cube")? };
//! let mut statistics = StatisticsRecorder::new(["mid.out".to_owned()], None);
//! let plain = generate(&model, &request, Some(&mut statistics), &mut |_, _| {})?;
//! let frame = table::frame(statistics.take("plain"))?;
//! println!("{frame}");
//! # assert_eq!(frame.height(), 3 * 2, "three steps, two halves of guidance");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Change what flows, and compare:
//!
//! ```
//! # use denoscope::model::checkpoint::{DiffusionModel, Placement};
//! # use denoscope::pipeline::{Request, generate};
//! use denoscope::site::Glob;
//! use denoscope::tap::edit::{Edit, Edits, Operation, Scope};
//! # let model = DiffusionModel::open("shapes", Placement::default())?;
//! # let request = Request { steps: 3, ..Request::new(&model, "red ball left of blue cube")? };
//!
//! let scope = Scope { sites: vec![Glob::new("mid.*.cross.out")], ..Scope::default() };
//! let edit = Edit::new(Operation::Zero, &scope, &model.sites, &request.run_shape(&model)?)?;
//! let plain = generate(&model, &request, None, &mut |_, _| {})?;
//! let edited = generate(&model, &request, Some(&mut Edits(vec![edit])), &mut |_, _| {})?;
//! let moved = (&edited.latents - &plain.latents).norm() / plain.latents.norm();
//! println!("without it the last latent moves by {:.3}", moved.double_value(&[]));
//! # assert!(moved.double_value(&[]) > 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A tap of one's own is two functions:
//!
//! ```
//! use denoscope::site::Site;
//! use denoscope::tap::{Moment, Tap, TapError};
//! use tch::Tensor;
//!
//! /// Prints how large the latent is at each step.
//! struct Norms;
//!
//! impl Tap for Norms {
//!     fn selects(&self, site: &Site) -> bool {
//!         site.name == "step.latent"
//!     }
//!
//!     fn visit(&mut self, _: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
//!         println!("{}: {:.2}", at.step, x.norm().double_value(&[]));
//!         Ok(None)
//!     }
//! }
//! ```

mod attention;
mod change;
mod channels;
mod combine;
pub mod edit;
mod entropy;
mod guidance;
mod place_moments;
mod place_targets;
mod pooled;
mod raw;
mod recorder;
mod self_attention;
mod statistics;
#[cfg(test)]
mod tests;
mod token_attention;
mod words;

pub use attention::AttentionRecorder;
pub use change::{ChangeRecorder, StepChange};
pub use channels::ChannelRecorder;
pub use combine::{All, Then};
pub use entropy::{EntropyRecorder, TokenEntropy};
pub use guidance::{GuidanceParts, GuidanceRecorder};
pub use place_moments::{PlaceMoments, PlaceMomentsRecorder};
pub use place_targets::{PlaceTargets, PlaceTargetsRecorder};
pub use pooled::PooledRecorder;
pub use raw::RawRecorder;
pub use recorder::{Recorder, Streaming, guidance_row};
pub use self_attention::SelfAttentionRecorder;
pub use statistics::{StatisticsRecorder, StatisticsRow};
pub use token_attention::{PromptToken, TokenAttention};
pub use words::WordRecorder;

use tch::Tensor;

use crate::site::{Branch, Site, SiteId, Sites};

/// When in the run a tensor is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Evaluation of the denoiser, from 0: the sampling step, for samplers that ask once a
    /// step.
    pub step: usize,
    /// Timestep of the training schedule the model is asked about.
    pub timestep: f64,
    /// Noise level σ = √((1 − ᾱ)/ᾱ).
    pub sigma: f64,
    /// The half of guidance; `None` at sites both halves share.
    pub branch: Option<Branch>,
}

/// Looks at sites during one run, and may replace what it sees.
pub trait Tap {
    /// Whether the tap wants this site; asked once, when the run is planned.
    fn selects(&self, site: &Site) -> bool;

    /// Sees the tensor at a site; `Some` replaces it. The first axis counts the images of one
    /// branch.
    ///
    /// # Errors
    /// Whatever keeps the tap from its work; the run stops with it.
    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError>;
}

impl<T: Tap + ?Sized> Tap for Box<T> {
    fn selects(&self, site: &Site) -> bool {
        (**self).selects(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        (**self).visit(site, at, x)
    }
}

/// What can go wrong at a site.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// A replacement that does not fit where it should go.
    #[error(
        "the replacement at `{site}` has {got}, but the model needs {expected}; \
         an edit must keep shape, kind and device"
    )]
    Misfit {
        /// Where.
        site: String,
        /// Shape, kind and device the site has.
        expected: String,
        /// Those of the replacement.
        got: String,
    },
    /// The recorder would keep more than it was allowed to.
    #[error(
        "recording needs {needed} bytes at `{site}`, over the budget of {budget}; \
         select fewer sites or steps, or raise the budget"
    )]
    OverBudget {
        /// Where the budget ran out.
        site: String,
        /// Bytes needed so far.
        needed: u64,
        /// Bytes allowed.
        budget: u64,
    },
    /// The recorder could not use the tensor.
    #[error("`{site}`: {problem}")]
    Unusable {
        /// Where.
        site: String,
        /// What was wrong with it.
        problem: String,
    },
    /// What was recorded could not be written.
    #[error(transparent)]
    Writing(#[from] crate::table::TableError),
    /// The run was asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// How the rows of a batch divide into branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchLayout {
    /// All rows belong to one branch.
    One(Branch),
    /// The first half is unconditional, the second conditional.
    UncondThenCond,
    /// Branches do not apply (text encoder, autoencoder, sampler state).
    Shared,
}

impl BatchLayout {
    /// The halves of guidance that are there, in the order of the rows.
    pub fn branches(self) -> &'static [Branch] {
        match self {
            BatchLayout::One(Branch::Uncond) => &[Branch::Uncond],
            BatchLayout::One(Branch::Cond) => &[Branch::Cond],
            BatchLayout::UncondThenCond => &[Branch::Uncond, Branch::Cond],
            BatchLayout::Shared => &[],
        }
    }

    fn parts(self) -> &'static [Option<Branch>] {
        match self {
            BatchLayout::One(Branch::Uncond) => &[Some(Branch::Uncond)],
            BatchLayout::One(Branch::Cond) => &[Some(Branch::Cond)],
            BatchLayout::UncondThenCond => &[Some(Branch::Uncond), Some(Branch::Cond)],
            BatchLayout::Shared => &[None],
        }
    }
}

/// The context of one forward pass: which sites are wanted, by whom, and when it is.
pub struct Cx<'a> {
    watched: Option<Watched<'a>>,
    moment: Moment,
    layout: BatchLayout,
}

struct Watched<'a> {
    wanted: Vec<u64>,
    sites: &'a Sites,
    tap: &'a mut dyn Tap,
}

const BITS: usize = u64::BITS as usize;

impl<'a> Cx<'a> {
    /// A context nobody looks through.
    pub fn silent() -> Self {
        Self { watched: None, moment: Moment::start(), layout: BatchLayout::Shared }
    }

    /// A context through which `tap` sees the sites it selects.
    pub fn watching(sites: &'a Sites, tap: &'a mut dyn Tap) -> Self {
        let mut wanted = vec![0_u64; sites.len().div_ceil(BITS)];
        for (id, site) in sites.iter() {
            if tap.selects(site) {
                wanted[id.index() / BITS] |= 1 << (id.index() % BITS);
            }
        }
        Self {
            watched: Some(Watched { wanted, sites, tap }),
            moment: Moment::start(),
            layout: BatchLayout::Shared,
        }
    }

    /// Sets the moment and the layout of the batches that follow.
    pub fn now(&mut self, moment: Moment, layout: BatchLayout) {
        self.moment = moment;
        self.layout = layout;
    }

    /// Runs `work` with another batch layout.
    pub fn with_layout<T>(&mut self, layout: BatchLayout, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.layout, layout);
        let result = work(self);
        self.layout = before;
        result
    }

    /// Whether anybody wants this site.
    #[inline]
    pub fn wants(&self, id: SiteId) -> bool {
        match &self.watched {
            None => false,
            Some(watched) => watched.wanted[id.index() / BITS] >> (id.index() % BITS) & 1 == 1,
        }
    }

    /// Shows a tensor to the tap if it wants the site; returns the tensor to go on with.
    ///
    /// # Errors
    /// The tap's own, or [`TapError::Misfit`] for a replacement of another shape, kind or
    /// device.
    #[inline]
    pub fn tap(&mut self, id: SiteId, x: Tensor) -> Result<Tensor, TapError> {
        if self.wants(id) { self.visit(id, x) } else { Ok(x) }
    }

    /// Shows a tensor that nothing is computed from to the tap.
    ///
    /// # Errors
    /// The tap's own; a replacement with other numbers, which would change nothing. The error
    /// ends with `instead`, what to change.
    pub fn show(&mut self, id: SiteId, x: &Tensor, instead: &str) -> Result<(), TapError> {
        if !self.wants(id) || self.visit(id, x.shallow_clone())?.equal(x) {
            return Ok(());
        }
        let sites = self.watched.as_ref().map(|watched| watched.sites);
        Err(TapError::Unusable {
            site: sites.map(|sites| sites.get(id).name.clone()).unwrap_or_default(),
            problem: format!("can be watched, not changed; {instead}"),
        })
    }

    #[cold]
    fn visit(&mut self, id: SiteId, x: Tensor) -> Result<Tensor, TapError> {
        let Some(watched) = &mut self.watched else { return Ok(x) };
        let site = watched.sites.get(id);
        let parts = self.layout.parts();
        let rows = x.size().first().copied().unwrap_or(1) / parts.len() as i64;
        let mut seen = Vec::with_capacity(parts.len());
        let mut replaced = false;
        for (i, branch) in parts.iter().enumerate() {
            let part = if parts.len() == 1 {
                x.shallow_clone()
            } else {
                x.narrow(0, i as i64 * rows, rows)
            };
            let at = Moment { branch: *branch, ..self.moment };
            match watched.tap.visit(site, at, &part)? {
                None => seen.push(part),
                Some(new) => {
                    check_fit(site, &part, &new)?;
                    replaced = true;
                    seen.push(new);
                }
            }
        }
        if !replaced {
            return Ok(x);
        }
        // Strides decide which kernel libtorch takes. Those of the replaced tensor are kept,
        // so that an edit that changes no number changes no bit of what follows.
        let joined = x.empty_like();
        for (i, part) in seen.iter().enumerate() {
            joined.narrow(0, i as i64 * rows, rows).copy_(part);
        }
        Ok(joined)
    }
}

impl Moment {
    fn start() -> Self {
        Self { step: 0, timestep: 0.0, sigma: 0.0, branch: None }
    }
}

fn check_fit(site: &Site, old: &Tensor, new: &Tensor) -> Result<(), TapError> {
    let describe = |x: &Tensor| format!("{:?} {:?} on {:?}", x.size(), x.kind(), x.device());
    if old.size() == new.size() && old.kind() == new.kind() && old.device() == new.device() {
        return Ok(());
    }
    Err(TapError::Misfit { site: site.name.clone(), expected: describe(old), got: describe(new) })
}
