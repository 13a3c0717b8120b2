//! What can be recorded, and the tables it becomes.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use clap::ValueEnum;
use ndarray::{ArrayView4, Axis};
use polars::prelude::DataFrame;
use tch::Tensor;

use super::plan::Plan;
use crate::measure::daam;
use crate::measure::record::AttentionRecord;
use crate::model::checkpoint::DiffusionModel;
use crate::pipeline::Request;
use crate::run::RunFolder;
use crate::site::Site;
use crate::table::{
    self, AttentionRow, ChangeRow, ChannelRow, DaamRow, GuidanceRow, ParquetStream, PooledRow, Row,
    SelfAttentionRow, TableDeclaration, TraceStatisticsRow,
};
use crate::tap::{
    All, ChangeRecorder, ChannelRecorder, GuidanceRecorder, Moment, PooledRecorder, PromptToken,
    RawRecorder, Recorder as MakesRows, SelfAttentionRecorder, StatisticsRecorder, Streaming, Tap,
    TapError, Then, TokenAttention,
};

/// What is made of the tensors that are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Recorder {
    /// Mean, deviation, extremes, norm, kurtosis and share of zeros of each tensor
    Statistics,
    /// The same of each channel by itself
    Channels,
    /// Each tensor as one vector over channels: its mean over places
    Pooled,
    /// How much each tensor changes from one step to the next (without --sites: the outputs of
    /// cross-attention, '*.cross.out')
    Change,
    /// What the prompt adds to the noise prediction: its norm, its parts along and across the
    /// conditional prediction, and the cosine of both predictions
    Guidance,
    /// Cross-attention per head and token: mass, entropy, centre and peak; and DAAM's map of each
    /// token (without --sites: all, '*.cross.probs')
    Attention,
    /// Self-attention per head: how far it looks, how much it stays where it is; and the principal
    /// components of the mean over heads (without --sites: all, '*.self.probs')
    SelfAttention,
}

/// Rows of a group of a table whose rows hold lists.
const GROUP_OF_LISTS: usize = 1 << 8;

impl Recorder {
    /// As it is written after `--record`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Recorder::Statistics => "statistics",
            Recorder::Channels => "channels",
            Recorder::Pooled => "pooled",
            Recorder::Change => "change",
            Recorder::Guidance => "guidance",
            Recorder::Attention => "attention",
            Recorder::SelfAttention => "self-attention",
        }
    }

    /// The tables it fills, the main one first.
    pub(super) fn tables(self) -> Vec<TableDeclaration> {
        match self {
            Recorder::Statistics => vec![TraceStatisticsRow::TABLE],
            Recorder::Channels => vec![ChannelRow::TABLE],
            Recorder::Pooled => vec![PooledRow::TABLE],
            Recorder::Change => vec![ChangeRow::TABLE],
            Recorder::Guidance => vec![GuidanceRow::TABLE],
            Recorder::Attention => vec![AttentionRow::TABLE, DaamRow::TABLE],
            Recorder::SelfAttention => vec![SelfAttentionRow::TABLE],
        }
    }

    /// What it looks at where `--sites` says nothing.
    pub(super) fn usual_sites(self) -> Option<&'static str> {
        match self {
            Recorder::Statistics | Recorder::Channels | Recorder::Pooled => None,
            Recorder::Change => Some("*.cross.out"),
            Recorder::Guidance => Some("step.eps.*"),
            Recorder::Attention => Some("*.cross.probs"),
            Recorder::SelfAttention => Some("*.self.probs"),
        }
    }

    /// Whether it can make something of a site's tensors.
    pub(super) fn suits(self, site: &Site) -> bool {
        match self {
            Recorder::Statistics => true,
            Recorder::Channels => ChannelRecorder::suits(site),
            Recorder::Pooled => PooledRecorder::suits(site),
            Recorder::Change => site.is_per_step(),
            Recorder::Guidance => GuidanceRecorder::SITES.contains(&site.name.as_str()),
            Recorder::Attention => site.is_cross_probs(),
            Recorder::SelfAttention => SelfAttentionRecorder::suits(site),
        }
    }

    /// What it needs, where it suits none of the sites.
    pub(super) fn needs(self) -> &'static str {
        match self {
            Recorder::Channels | Recorder::Pooled => "has channels; name others, as in 'mid.out'",
            Recorder::Change => "is within the denoising loop; leave --sites out, or name others",
            Recorder::Attention => "is cross-attention; leave --sites out, or name '*.cross.probs'",
            Recorder::SelfAttention => {
                "is self-attention; leave --sites out, or name '*.self.probs'"
            }
            Recorder::Statistics | Recorder::Guidance => "can be recorded; name others",
        }
    }

    /// Its main table as it stands in a run's folder.
    pub(super) fn read(self, folder: &RunFolder) -> Result<DataFrame> {
        match self {
            Recorder::Statistics => read::<TraceStatisticsRow>(folder),
            Recorder::Channels => read::<ChannelRow>(folder),
            Recorder::Pooled => read::<PooledRow>(folder),
            Recorder::Change => read::<ChangeRow>(folder),
            Recorder::Guidance => read::<GuidanceRow>(folder),
            Recorder::Attention => read::<AttentionRow>(folder),
            Recorder::SelfAttention => read::<SelfAttentionRow>(folder),
        }
    }
}

fn read<R: Row>(folder: &RunFolder) -> Result<DataFrame> {
    Ok(table::read_parquet::<R>(&folder.path(&file::<R>())?)?)
}

fn file<R: Row>() -> String {
    format!("tables/{}.parquet", R::TABLE.name)
}

/// A recorder at work: its table grows on disk while the run goes on.
pub(super) trait Recording: Tap {
    /// Completes its tables.
    fn finish(self: Box<Self>, folder: &RunFolder) -> Result<()>;
}

impl<T: MakesRows> Recording for Streaming<T> {
    fn finish(self: Box<Self>, _: &RunFolder) -> Result<()> {
        Ok((*self).finish().map(drop)?)
    }
}

/// All recorders of a run, whole tensors last.
pub(super) type Recorders = Then<All<Box<dyn Recording>>, RawRecorder>;

/// What recorders are made for.
pub(super) struct Recorded<'a> {
    pub plan: &'a Plan,
    pub model: &'a DiffusionModel,
    pub request: &'a Request,
    pub folder: &'a RunFolder,
}

impl Recorded<'_> {
    /// The recorders of a plan; whole tensors may fill `budget` bytes.
    pub(super) fn recorders(&self, asked: &[Recorder], budget: u64) -> Result<Recorders> {
        let at_work = asked.iter().map(|&recorder| self.at_work(recorder));
        let raw_sites = self.plan.sites_of(super::plan::RAW);
        let raw = RawRecorder::new(raw_sites, self.plan.steps.clone(), budget);
        Ok(Then(All(at_work.collect::<Result<_>>()?), raw))
    }

    fn at_work(&self, recorder: Recorder) -> Result<Box<dyn Recording>> {
        let sites = self.plan.sites_of(recorder.name());
        let steps = || self.plan.steps.clone();
        let [_, _, height, width] = self.request.latent_shape(self.model);
        let grid = [height, width];
        match recorder {
            Recorder::Statistics => self.streaming(StatisticsRecorder::new(sites, steps()), None),
            Recorder::Channels => self.streaming(ChannelRecorder::new(sites, steps()), None),
            Recorder::Pooled => {
                self.streaming(PooledRecorder::new(sites, steps()), Some(GROUP_OF_LISTS))
            }
            Recorder::Change => self.streaming(ChangeRecorder::new(sites, steps()), None),
            Recorder::Guidance => self.streaming(GuidanceRecorder::new(steps()), None),
            Recorder::SelfAttention => {
                let recorder = SelfAttentionRecorder::new(sites, steps(), grid);
                self.streaming(recorder, Some(GROUP_OF_LISTS))
            }
            Recorder::Attention => {
                let tokens = prompt_tokens(self.model, self.request)?;
                let recorder = TokenAttention::new(tokens, sites, steps(), grid);
                let path = self.folder.path(&file::<AttentionRow>())?;
                let stream =
                    ParquetStream::create(&path, ParquetStream::<AttentionRow>::GROUP_ROWS)?;
                let rows = Streaming::new(recorder, stream, self.folder.name());
                let steps = self.plan.steps.as_ref().map(BTreeSet::len);
                Ok(Box::new(WithMaps { rows, steps, shape: (height as usize, width as usize) }))
            }
        }
    }

    fn streaming<T: MakesRows + 'static>(
        &self,
        recorder: T,
        group: Option<usize>,
    ) -> Result<Box<dyn Recording>> {
        let path = self.folder.path(&file::<T::Row>())?;
        let group = group.unwrap_or(ParquetStream::<T::Row>::GROUP_ROWS);
        let stream = ParquetStream::create(&path, group)?;
        Ok(Box::new(Streaming::new(recorder, stream, self.folder.name())))
    }
}

/// The tokens that are watched: start token, prompt, end token.
pub(super) fn prompt_tokens(model: &DiffusionModel, request: &Request) -> Result<Vec<PromptToken>> {
    let prompt = request.prompts.first().context("there is no prompt")?;
    let tokens = request.encode(model, prompt)?;
    let named = tokens.pieces.into_iter().zip(tokens.words);
    Ok(named.map(|(piece, word)| PromptToken { piece, word }).collect())
}

/// Rows of cross-attention, and at the end DAAM's maps.
struct WithMaps {
    rows: Streaming<TokenAttention>,
    /// Steps that were chosen; all if `None`.
    steps: Option<usize>,
    /// Rows and columns of the latent grid.
    shape: (usize, usize),
}

impl Tap for WithMaps {
    fn selects(&self, site: &Site) -> bool {
        self.rows.selects(site)
    }

    fn visit(&mut self, site: &Site, at: Moment, x: &Tensor) -> Result<Option<Tensor>, TapError> {
        self.rows.visit(site, at, x)
    }
}

impl Recording for WithMaps {
    fn finish(self: Box<Self>, folder: &RunFolder) -> Result<()> {
        let recorder = self.rows.finish()?;
        let tokens = recorder.tokens().to_vec();
        let record = recorder.finish()?;
        let steps = self.steps.unwrap_or(record.steps);
        let rows = daam_rows(folder.name(), &tokens, (&record, steps), self.shape)?;
        let path = folder.path(&file::<DaamRow>())?;
        Ok(table::write_parquet::<DaamRow>(&mut table::frame(rows)?, &path)?)
    }
}

fn daam_rows(
    run: &str,
    tokens: &[PromptToken],
    (record, steps): (&AttentionRecord, usize),
    shape: (usize, usize),
) -> Result<Vec<DaamRow>> {
    let images = record.layers.first().map_or(0, |layer| layer.per_head.dim().0);
    let mut rows = Vec::new();
    for sample in 0..images {
        let layers: Vec<ArrayView4<'_, f32>> =
            record.layers.iter().map(|l| l.per_head.index_axis(Axis(0), sample)).collect();
        let maps = daam::aggregate(&layers, shape)?;
        for (token, (map, named)) in maps.outer_iter().zip(tokens).enumerate() {
            rows.push(DaamRow {
                run: run.to_owned(),
                sample: sample as u32,
                token: token as u32,
                piece: named.piece.clone(),
                word: named.word.clone(),
                steps: steps as u32,
                height: shape.0 as u32,
                width: shape.1 as u32,
                map: Some(map.iter().copied().collect()),
            });
        }
    }
    Ok(rows)
}
