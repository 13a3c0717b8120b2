//! What will be recorded, and how large it is: known before anything runs.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use indicatif::DecimalBytes;

use super::super::output::note;
use super::super::sites::shape_text;
use super::super::steps;
use super::Args;
use super::record::{Recorder, prompt_tokens};
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::{Purpose, Request};
use crate::site::{Extent, Glob, Site};
use crate::table::TracePlanRow;
use crate::tap::GuidanceRecorder;

/// What --raw is called among the recorders.
pub(super) const RAW: &str = "raw";

/// Between the names of recorders in the plan.
const AND: &str = ", ";

/// What will be recorded.
pub(super) struct Plan {
    pub rows: Vec<TracePlanRow>,
    pub steps: Option<BTreeSet<usize>>,
}

/// What a run comes by.
struct Course<'a> {
    model: &'a DiffusionModel,
    purpose: Option<&'a Purpose>,
    /// At scales 0 and 1 one half of guidance says it all, and only that one runs.
    branches: u32,
    /// Steps that are recorded.
    recorded: usize,
    extent: Extent,
    /// Tokens of the prompt without padding.
    prompt_tokens: usize,
}

impl Plan {
    pub(super) fn new(args: &Args, model: &DiffusionModel, request: &Request) -> Result<Self> {
        let evaluations = request.evaluations(model)?;
        let purpose = request.image.as_ref().map(|input| &input.purpose);
        // What --at-steps names to a look is all that the run comes by.
        let looks = matches!(purpose, Some(Purpose::Look { .. }));
        let list = args.at_steps.as_deref().filter(|_| !looks);
        let steps = list.map(|list| steps::parse(list, evaluations - 1, "step")).transpose()?;
        check_recorders(args, request, evaluations, steps.as_ref())?;
        let course = Course {
            model,
            purpose,
            branches: branches(request),
            recorded: steps.as_ref().map_or(evaluations, BTreeSet::len),
            extent: request.run_shape(model)?.extent,
            prompt_tokens: prompt_tokens(model, request)?.len(),
        };
        let by = selections(args, model)?;
        let is_seen = |site: &Site| by.iter().any(|(_, sites)| sites.contains(&site.name));
        let sites: Vec<&Site> =
            model.sites.iter().map(|(_, site)| site).filter(|site| is_seen(site)).collect();
        let (skipped, sites): (Vec<&Site>, Vec<&Site>) =
            sites.into_iter().partition(|site| course.never_comes_to(site));
        let names: Vec<&str> = skipped.iter().map(|site| site.name.as_str()).collect();
        if sites.is_empty() {
            bail!("nothing to record: this run never comes to {}", names.join(", "));
        }
        if !names.is_empty() {
            note(&format!("not part of this run, left out: {}", names.join(", ")));
        }
        let rows = sites.into_iter().map(|site| {
            let recorders = by.iter().filter(|(_, sites)| sites.contains(&site.name));
            course.row(site, &recorders.map(|(name, _)| *name).collect::<Vec<_>>())
        });
        Ok(Self { rows: rows.collect(), steps })
    }

    /// The sites that the recorder of this name looks at.
    pub(super) fn sites_of(&self, recorder: &str) -> Vec<String> {
        self.rows_of(recorder).map(|row| row.site.clone()).collect()
    }

    fn rows_of<'a>(&'a self, recorder: &'a str) -> impl Iterator<Item = &'a TracePlanRow> + Clone {
        self.rows.iter().filter(move |row| row.recorders.split(AND).any(|name| name == recorder))
    }

    /// What is seen, and what of it is held in memory.
    pub(super) fn summary(&self) -> String {
        let held: u64 = self.rows.iter().map(|row| row.held_bytes).sum();
        format!("{}; {} held in memory", size(self.rows.iter()), DecimalBytes(held))
    }

    /// Refuses tensors that would not fit, and says which would.
    pub(super) fn check_budget(&self, budget: u64) -> Result<()> {
        let bytes: u64 = self.rows_of(RAW).map(|row| row.bytes).sum();
        if bytes <= budget {
            return Ok(());
        }
        let fitting = budget / self.rows_of(RAW).map(|row| row.step_bytes).sum::<u64>().max(1);
        let fewer = match self.rows_of(RAW).max_by_key(|row| row.bytes) {
            Some(largest) if fitting == 0 => format!(
                "not one step fits: leave out the largest site, `{}` ({} bytes)",
                largest.site, largest.bytes
            ),
            _ => format!("name at most {fitting} steps with --at-steps"),
        };
        bail!(
            "--raw would keep {}, over the budget of {budget} bytes ({}); {fewer}, \
             or select fewer sites (--dry-run lists their sizes), or raise --budget",
            size(self.rows_of(RAW)),
            DecimalBytes(budget)
        )
    }
}

fn size<'a>(rows: impl Iterator<Item = &'a TracePlanRow> + Clone) -> String {
    let bytes: u64 = rows.clone().map(|row| row.bytes).sum();
    format!(
        "{} sites, {} bytes a step, {bytes} bytes ({}) in all",
        rows.clone().count(),
        rows.map(|row| row.step_bytes).sum::<u64>(),
        DecimalBytes(bytes)
    )
}

fn branches(request: &Request) -> u32 {
    if [0.0, 1.0].contains(&request.guidance) { 1 } else { 2 }
}

/// Refuses recorders that would have nothing to say.
fn check_recorders(
    args: &Args,
    request: &Request,
    evaluations: usize,
    steps: Option<&BTreeSet<usize>>,
) -> Result<()> {
    let asks = |recorder| args.record.contains(&recorder);
    let only_guidance = args.record.iter().all(|&recorder| recorder == Recorder::Guidance);
    let without = args.record.iter().find(|recorder| recorder.usual_sites().is_none());
    let nameless = without.map(|recorder| format!("--record {}", recorder.name()));
    let nameless = nameless.or_else(|| args.raw.as_ref().map(|_| "--raw".to_owned()));
    if let (true, Some(what)) = (args.sites.is_empty(), nameless) {
        bail!("{what} needs --sites: name some, as in --sites 'mid.*'");
    }
    if !args.sites.is_empty() && only_guidance && args.raw.is_none() {
        bail!(
            "--sites has no part in --record guidance, which looks at {} and {}; leave it out, or \
             record statistics too",
            GuidanceRecorder::SITES[0],
            GuidanceRecorder::SITES[1]
        );
    }
    if asks(Recorder::Guidance) && branches(request) == 1 {
        bail!(
            "--record guidance compares the two halves of guidance, and at --guidance {} only one \
             of them runs; give a --guidance other than 0 and 1",
            request.guidance
        );
    }
    if asks(Recorder::Change) && evaluations < 2 {
        bail!("--record change compares steps, and this run has only one; give more --steps");
    }
    if asks(Recorder::Change) && steps.is_some_and(|steps| steps.iter().all(|&step| step == 0)) {
        bail!("--record change: no step comes before step 0; name a later one with --at-steps");
    }
    Ok(())
}

/// Names of recorders with the names of their sites.
fn selections(
    args: &Args,
    model: &DiffusionModel,
) -> Result<Vec<(&'static str, BTreeSet<String>)>> {
    let selected = |globs: &[String]| -> Result<Vec<&Site>> {
        let globs: Vec<Glob> = globs.iter().map(Glob::new).collect();
        let ids = model.sites.select(&globs)?.into_iter();
        Ok(ids.map(|id| model.sites.get(id)).collect())
    };
    let names = |sites: Vec<&Site>| sites.into_iter().map(|site| site.name.clone()).collect();
    let mut selections: Vec<(&'static str, BTreeSet<String>)> = Vec::new();
    for &recorder in &args.record {
        // Guidance is seen at its own sites, whatever else is looked at.
        let asked = if recorder == Recorder::Guidance { &[][..] } else { &args.sites };
        let usual = recorder.usual_sites().map(str::to_owned);
        let globs = if asked.is_empty() { usual.as_slice() } else { asked };
        let mut sites = selected(globs)?;
        sites.retain(|site| recorder.suits(site));
        if sites.is_empty() {
            bail!("--record {}: none of these sites {}", recorder.name(), recorder.needs());
        }
        let sites = match recorder {
            Recorder::SelfAttention => queries_and_keys(&sites),
            _ => names(sites),
        };
        selections.push((recorder.name(), sites));
    }
    if args.raw.is_some() {
        selections.push((RAW, names(selected(&args.sites)?)));
    }
    Ok(selections)
}

/// What the layers of these sites' self-attention is known by.
fn queries_and_keys(sites: &[&Site]) -> BTreeSet<String> {
    let layers = sites.iter().filter_map(|site| site.name.rsplit_once('.'));
    layers.flat_map(|(layer, _)| [format!("{layer}.q"), format!("{layer}.k")]).collect()
}

impl Course<'_> {
    fn never_comes_to(&self, site: &Site) -> bool {
        let looks = matches!(self.purpose, Some(Purpose::Look { .. }));
        (self.purpose.is_none() && is_of_encoder(site))
            || (looks && site.name.starts_with("vae.decode."))
            || (self.branches == 1 && GuidanceRecorder::SITES.contains(&site.name.as_str()))
    }

    fn row(&self, site: &Site, recorders: &[&str]) -> TracePlanRow {
        let mut shape = site.shape(&self.extent);
        if is_of_encoder(site) {
            // One image is encoded, whatever the number of those that are drawn from it.
            shape[0] = 1;
        }
        // The sampler's own state is f32 whatever the denoiser computes in.
        let kind = match site.name.split('.').next() {
            Some("step") => tch::Kind::Float,
            Some("vae") => self.model.vae_config.kind(self.model.placement.kind),
            _ => self.model.placement.kind,
        };
        let tensors = if site.has_branches() { self.branches } else { 1 };
        let steps = if site.is_per_step() { self.recorded } else { 1 } as u64;
        let bytes = shape.iter().product::<i64>() as u64 * kind.elt_size_in_bytes() as u64;
        let step_bytes = bytes * u64::from(tensors);
        let held = recorders.iter().map(|&name| match name {
            RAW => step_bytes * steps,
            name if name == Recorder::Change.name() => step_bytes,
            // The first of the two waits for the second, as f64.
            name if name == Recorder::Guidance.name()
                && site.name == GuidanceRecorder::SITES[0] =>
            {
                2 * step_bytes
            }
            // Queries wait for their keys; the map of one image, mean over heads, is the largest
            // of what is made of them.
            name if name == Recorder::SelfAttention.name() && site.name.ends_with(".q") => {
                step_bytes + self.square_of_positions(site)
            }
            name if name == Recorder::Attention.name() => self.sums_over_steps(&shape),
            _ => 0,
        });
        TracePlanRow {
            site: site.name.clone(),
            recorders: recorders.join(AND),
            shape: shape_text(&shape),
            tensors,
            steps: steps as u32,
            step_bytes,
            bytes: step_bytes * steps,
            held_bytes: held.sum(),
        }
    }
}

/// Bytes of a number in what recorders keep.
const F32_BYTES: u64 = 4;

impl Course<'_> {
    fn square_of_positions(&self, site: &Site) -> u64 {
        let shape = site.shape(&self.extent);
        let positions = site.place_axes().into_iter().map(|axis| shape[axis] as u64);
        positions.product::<u64>().pow(2) * F32_BYTES
    }

    /// DAAM's sums: a map of each image, head and token of the prompt.
    fn sums_over_steps(&self, shape: &[i64]) -> u64 {
        let maps = shape.iter().rev().skip(1).product::<i64>() as u64;
        maps * self.prompt_tokens as u64 * F32_BYTES
    }
}

fn is_of_encoder(site: &Site) -> bool {
    site.name.starts_with("vae.encode.")
}
