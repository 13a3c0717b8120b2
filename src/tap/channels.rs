//! Statistics of every channel by itself.

use std::collections::{BTreeSet, HashSet};

use tch::{Kind, Tensor};

use super::recorder::{Recorder, number};
use super::statistics::{Moments, StatisticsRow};
use super::{Moment, Tap, TapError};
use crate::site::{Axis, Site};
use crate::table::ChannelRow;

/// One channel of one image's tensor.
#[derive(Debug)]
struct OfChannel {
    head: Option<usize>,
    channel: usize,
    over_places: StatisticsRow,
}

/// Takes the statistics of each channel, over its places, at chosen sites and steps.
#[derive(Debug)]
pub struct ChannelRecorder {
    sites: HashSet<String>,
    steps: Option<BTreeSet<usize>>,
    rows: Vec<OfChannel>,
}

impl ChannelRecorder {
    /// Looks at those of the named sites that have channels, at the given steps (all if `None`).
    pub fn new(sites: impl IntoIterator<Item = String>, steps: Option<BTreeSet<usize>>) -> Self {
        Self { sites: sites.into_iter().collect(), steps, rows: Vec::new() }
    }

    /// Whether a site's tensors have channels.
    pub fn suits(site: &Site) -> bool {
        channel_axis(site).is_some()
    }
}

pub(super) fn channel_axis(site: &Site) -> Option<usize> {
    site.axes.iter().position(|axis| matches!(axis, Axis::Channel(_)))
}

pub(super) fn head_axis(site: &Site) -> Option<usize> {
    site.axes.iter().position(|axis| matches!(axis, Axis::Head(_)))
}

/// A tensor as [images, heads, channels, rest]; one head where the site has no such axis, and one
/// image where it does not count images.
pub(super) fn by_channel(site: &Site, x: &Tensor) -> Option<Tensor> {
    let channel = channel_axis(site)?;
    let first = site.axes.iter().position(|axis| *axis == Axis::Image);
    let leading: Vec<usize> = first.into_iter().chain(head_axis(site)).chain([channel]).collect();
    let rest = (0..site.axes.len()).filter(|axis| !leading.contains(axis));
    let order: Vec<i64> = leading.iter().copied().chain(rest).map(|axis| axis as i64).collect();
    let size = x.size();
    let length = |axis: Option<usize>| axis.map_or(1, |axis| size[axis]);
    let shape = [length(first), length(head_axis(site)), size[channel], -1];
    Some(x.permute(order).to_kind(Kind::Float).reshape(shape))
}

/// Whether a recorder that was told of steps leaves this visit out.
pub(super) fn skips(steps: Option<&BTreeSet<usize>>, site: &Site, at: Moment) -> bool {
    site.is_per_step() && steps.is_some_and(|steps| !steps.contains(&at.step))
}

impl Tap for ChannelRecorder {
    fn selects(&self, site: &Site) -> bool {
        self.sites.contains(&site.name) && Self::suits(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        if skips(self.steps.as_ref(), site, at) {
            return Ok(None);
        }
        let Some(x) = by_channel(site, x) else { return Ok(None) };
        let size = x.size();
        let [heads, channels] = [size[1], size[2]].map(|length| length as usize);
        let unusable = |problem: String| TapError::Unusable { site: site.name.clone(), problem };
        for (sample, of_image) in (0..size[0]).map(|i| (i as usize, x.get(i))) {
            let numbers = Vec::<f32>::try_from(of_image.contiguous().view([-1]))
                .map_err(|error| unusable(error.to_string()))?;
            let places = (numbers.len() / (heads * channels)).max(1);
            for (i, of_channel) in numbers.chunks(places).enumerate() {
                let moments = Moments::of_numbers(of_channel)
                    .ok_or_else(|| unusable("there is no number in this tensor".into()))?;
                self.rows.push(OfChannel {
                    head: head_axis(site).map(|_| i / channels),
                    channel: i % channels,
                    over_places: moments.row(site, at, sample),
                });
            }
        }
        Ok(None)
    }
}

impl Recorder for ChannelRecorder {
    type Row = ChannelRow;

    fn take(&mut self, run: &str) -> Vec<ChannelRow> {
        let row = |OfChannel { head, channel, over_places: row }| ChannelRow {
            run: run.to_owned(),
            sample: row.sample as u32,
            step: row.at.map(|at| at.step as u32),
            timestep: row.at.map(|at| at.timestep),
            sigma: row.at.map(|at| at.sigma),
            branch: row.branch.map(|branch| branch.label().to_owned()),
            site: row.site,
            head: head.map(|head| head as u32),
            channel: channel as u32,
            mean: number(row.mean),
            std: number(row.std),
            min: number(row.min),
            max: number(row.max),
            norm: number(row.norm),
            kurtosis: number(row.kurtosis),
            zeros: row.zeros,
        };
        std::mem::take(&mut self.rows).into_iter().map(row).collect()
    }
}
