//! The report of a run, and its findings in sentences.

use super::answers::Attribute;
use super::bands::{BAND, COHERENT, NOISE};
use super::features::{Readings, UNTRAINED};
use super::figures::figures;
use super::levels::NoiseLevels;
use super::masks;
use super::over_time::{CHANGE, COSINE};
use super::summary::{PROBE, most_telling_site, read_by};
use super::switch::{FEWEST_PAIRS, SWITCH};
use super::trajectory::X0;
use crate::figure::FigureError;
use crate::report::{
    Block, Cell, Estimate, Fact, Finding, Picture, Report, Rerun, Scale, Section, Table,
};
use crate::table::{
    AttentionOverTimeRow, BandAgreementRow, CommitmentRow, LinearProbeRow, NoiseLevelRow,
    PromptSwitchRow, SiteSimilarityRow,
};

/// Fewest prompts or scenes for which a sentence concludes anything.
const FEWEST_UNITS: u32 = 5;

/// File name of a strip of predicted images, before its number.
pub const STRIP: &str = "x0-";
/// What it shows.
pub const STRIP_CAPTION: &str = "The predicted clean image, from noise to picture.";

/// Everything that a run found.
#[derive(Clone, Debug, Default)]
pub struct TimestepsRun {
    /// Noise levels of the sampler's steps.
    pub levels: NoiseLevels,
    /// The table `noise_level`.
    pub noise_levels: Vec<NoiseLevelRow>,
    /// The table `commitment`.
    pub commitments: Vec<CommitmentRow>,
    /// The table `band_agreement`.
    pub bands: Vec<BandAgreementRow>,
    /// The table `prompt_switch`.
    pub switches: Vec<PromptSwitchRow>,
    /// The table `attention_over_time`.
    pub over_time: Vec<AttentionOverTimeRow>,
    /// The table `site_similarity`.
    pub similarities: Vec<SiteSimilarityRow>,
    /// The table `linear_probe`, and what could not be read.
    pub probes: Readings,
    /// What else could not be measured, in sentences.
    pub missing: Vec<String>,
}

impl TimestepsRun {
    /// What was found, the most general first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all: Vec<Finding> = Vec::new();
        let of_method = |method: &str| {
            let own: Vec<&NoiseLevelRow> =
                self.noise_levels.iter().filter(|row| row.method == method).collect();
            own
        };
        all.extend(of_method(X0).into_iter().map(|row| self.of_x0(row)));
        all.extend(of_method(SWITCH).into_iter().map(|row| self.of_switch(row)));
        all.extend(of_method(BAND).into_iter().map(|row| self.of_band(row)));
        all.extend([self.of_change(), self.of_cosine()].into_iter().flatten());
        all.extend(of_method(PROBE).into_iter().filter_map(|row| self.of_probe(row)));
        all.extend(masks::finding(&self.probes.rows));
        all
    }

    fn scale(&self) -> Option<Scale> {
        // Drawn as time goes: noise on the left would need a scale that falls.
        let most = self.levels.timesteps.first().copied()?;
        Some(Scale { low: 0.0, high: most, nothing: None })
    }

    fn of_x0(&self, row: &NoiseLevelRow) -> Finding {
        let own: Vec<&CommitmentRow> =
            self.commitments.iter().filter(|c| c.attribute == row.aspect).collect();
        let right = own.iter().filter(|c| c.right == Some(true)).count();
        let asked = own.iter().filter(|c| c.right.is_some()).count();
        let correct = match asked {
            0 => "no prompt says what it should be".to_owned(),
            _ => format!("as asked in {right} of {asked} images whose prompt says"),
        };
        Finding {
            sentence: format!(
                "`{}` is decided at {}{}: from there on half of the predicted images show what the \
                 last one shows ({correct})",
                row.aspect,
                self.place(row),
                doubt(row)
            ),
            basis: format!(
                "median of {} images, n = {} prompts; 95 % bootstrap interval over prompts; {} \
                 images do not have it; judged on the predicted clean image",
                own.len(),
                row.units,
                row.left_out
            ),
            ..self.of_row(row)
        }
    }

    fn of_switch(&self, row: &NoiseLevelRow) -> Finding {
        Finding {
            sentence: format!(
                "A prompt with another `{}` changes half of the images if it comes in by {}",
                row.aspect,
                self.place(row)
            ),
            basis: format!(
                "logistic curve over the step of the switch; n = {} pairs of prompts; 95 % \
                 bootstrap interval over pairs; {} images left out, because without a switch one of \
                 the prompts is not followed",
                row.units, row.left_out
            ),
            ..self.of_row(row)
        }
    }

    fn of_band(&self, row: &NoiseLevelRow) -> Finding {
        let null = self.noise_levels.iter().find(|r| r.method == NOISE && r.aspect == row.aspect);
        let beside = match (null, row.timestep_low.zip(row.timestep_high)) {
            (None, _) => "the null model says nothing of it".to_owned(),
            (Some(null), Some((low, high))) if null.timestep < low => {
                format!(
                    "earlier than noise alone lets it through ({}; up to {high:.0})",
                    self.place(null)
                )
            }
            (Some(null), Some((_, high))) if null.timestep > high => {
                format!("later than noise alone would let it through ({})", self.place(null))
            }
            (Some(null), _) => format!("noise alone would let it through at {}", self.place(null)),
        };
        Finding {
            sentence: format!(
                "{} cycles agree with the end from {}{}: {beside}",
                row.aspect.replacen("band", "Bands of", 1),
                self.place(row),
                doubt(row)
            ),
            control: null.map(|null| Estimate::new(null.timestep)),
            basis: format!(
                "coherence at least {COHERENT} until the end, median over images; n = {} prompts; \
                 {} images never; 95 % bootstrap interval over prompts",
                row.units, row.left_out
            ),
            ..self.of_row(row)
        }
    }

    fn of_row(&self, row: &NoiseLevelRow) -> Finding {
        let interval = row.timestep_low.zip(row.timestep_high);
        Finding {
            measure: "timestep".to_owned(),
            estimate: Some(Estimate { value: row.timestep, interval }),
            scale: self.scale(),
            ..Finding::default()
        }
    }

    /// "timestep 640 [600, 700] (step 9 of 25, σ = 2.1)".
    fn place(&self, row: &NoiseLevelRow) -> String {
        let interval = match row.timestep_low.zip(row.timestep_high) {
            Some((low, high)) => format!(" [{low:.0}, {high:.0}]"),
            None => String::new(),
        };
        let step = match row.step {
            Some(step) => format!("step {step:.1} of {}, ", self.levels.len()),
            None => String::new(),
        };
        let sigma = match row.sigma {
            sigma if sigma.is_finite() => format!("{sigma:.2}"),
            _ => "∞".to_owned(),
        };
        format!("timestep {:.0}{interval} ({step}σ = {sigma})", row.timestep)
    }

    /// First and last value of a measure, mean over the sites that it has.
    fn ends(&self, measure: &str, part: &str) -> Option<[(f64, f64); 2]> {
        let own: Vec<&AttentionOverTimeRow> = self
            .over_time
            .iter()
            .filter(|row| {
                let of_part = row.site.as_ref().is_none_or(|site| site.contains(part));
                row.measure == measure && of_part
            })
            .collect();
        let at = |step: u32| {
            let here: Vec<&&AttentionOverTimeRow> =
                own.iter().filter(|row| row.step == step).collect();
            let mean = here.iter().map(|row| row.value).sum::<f64>() / here.len() as f64;
            here.first().map(|row| (row.timestep, mean))
        };
        let steps = || own.iter().map(|row| row.step);
        Some([at(steps().min()?)?, at(steps().max()?)?])
    }

    fn of_change(&self) -> Option<Finding> {
        let [cross, own] = [".cross.", ".self."].map(|part| self.ends(CHANGE, part));
        let [(from, first), (to, last)] = cross?;
        let beside = own.map_or_else(String::new, |[(_, first), (_, last)]| {
            format!("; self-attention's by {first:.2} and {last:.2}")
        });
        Some(Finding {
            sentence: format!(
                "From one step to the next the output of cross-attention changes by {first:.2} of \
                 its norm at timestep {from:.0} and by {last:.2} at {to:.0}{beside}"
            ),
            basis: "mean over sites and images".to_owned(),
            ..Finding::default()
        })
    }

    fn of_cosine(&self) -> Option<Finding> {
        let [(from, first), (to, last)] = self.ends(COSINE, "")?;
        Some(Finding {
            sentence: format!(
                "The predictions with and without the prompt have a cosine of {first:.3} at \
                 timestep {from:.0} and {last:.3} at {to:.0}"
            ),
            basis: "mean over images; 1 is no difference".to_owned(),
            ..Finding::default()
        })
    }

    fn of_probe(&self, row: &NoiseLevelRow) -> Option<Finding> {
        let site = most_telling_site(&self.probes.rows)?;
        let attribute = Attribute::ALL.into_iter().find(|a| a.name() == row.aspect)?;
        let own = |control: Option<&'static str>| {
            self.probes.rows.iter().filter(move |r| {
                r.site == site
                    && r.regression == "ridge"
                    && r.control.as_deref() == control
                    && read_by(attribute).contains(&r.attribute.as_str())
            })
        };
        let best = own(None).max_by(|a, b| a.selectivity.total_cmp(&b.selectivity))?;
        let untrained = own(Some(UNTRAINED))
            .find(|r| r.timestep == best.timestep && r.attribute == best.attribute);
        let random = untrained.map_or_else(
            || "not measured there".to_owned(),
            |r| Estimate::within(r.score, r.score_low, r.score_high).text(),
        );
        Some(Finding {
            sentence: format!(
                "`{}` is told by `{site}` from {} on: there a linear probe reaches half of its most, \
                 which is {} {} at timestep {:.0} (shuffled labels {:.2}, random weights {random})",
                row.aspect,
                self.place(row),
                best.measure,
                score(best).text(),
                best.timestep,
                best.shuffled
            ),
            basis: format!(
                "ridge regression, five folds over n = {} scenes; 95 % t intervals over scenes; the \
                 site is the one that tells most of all attributes",
                best.scenes
            ),
            ..self.of_row(row)
        })
    }

    /// The report. `strips` show predicted images.
    ///
    /// # Errors
    /// Figures whose data disagree.
    pub fn report(
        &self,
        strips: Vec<Picture>,
        facts: Vec<Fact>,
        rerun: Rerun,
    ) -> Result<Report, FigureError> {
        let mut report = Report::new("What is decided at which noise level?");
        report.maker = format!("probe timesteps, denoscope {}", env!("CARGO_PKG_VERSION"));
        report.facts = facts;
        let mut sections = sections();
        for (name, figure) in figures(self) {
            let (place, caption) = caption(&name);
            let picture = Picture::new(name, caption, figure.as_ref())?;
            sections[place].blocks.push(Block::Picture(Box::new(picture)));
        }
        let strips = strips.into_iter().map(|strip| Block::Picture(Box::new(strip)));
        sections[TRAJECTORY].blocks.extend(strips);
        sections[SUMMARY].blocks.push(Block::Findings(self.findings()));
        let missing = self.missing.iter().chain(&self.probes.missing);
        sections[SUMMARY].blocks.extend(missing.cloned().map(Block::Warning));
        sections[SWITCHED].blocks.extend(self.pairs_table().map(Block::Table));
        report.sections = sections.into_iter().filter(|section| section.blocks.len() > 1).collect();
        report.sections.push(Section::new("How this was measured").prose(METHOD_PROSE));
        report.rerun = Some(rerun);
        Ok(report)
    }

    /// How many pairs of each attribute count.
    fn pairs_table(&self) -> Option<Table> {
        if self.switches.is_empty() {
            return None;
        }
        let row = |attribute: Attribute| {
            let pairs = |counts: bool| {
                let own = self
                    .switches
                    .iter()
                    .filter(|row| row.attribute == attribute.name() && row.counts == counts);
                own.map(|row| (row.pair, row.seed)).collect::<std::collections::BTreeSet<_>>().len()
            };
            let (counting, others) = (pairs(true), pairs(false));
            let half = self
                .noise_levels
                .iter()
                .find(|row| row.method == SWITCH && row.aspect == attribute.name());
            let said = match half {
                Some(row) => Cell::Estimate(Estimate {
                    value: row.timestep,
                    interval: row.timestep_low.zip(row.timestep_high),
                }),
                None => Cell::Text("too few to conclude".to_owned()),
            };
            (counting + others > 0).then(|| {
                let of_all = format!("{counting} of {}", counting + others);
                vec![Cell::from(attribute.name()), Cell::Text(of_all), said]
            })
        };
        Some(Table {
            name: "switch-pairs".to_owned(),
            caption: format!(
                "Images that follow each of their two prompts without a switch, and the timestep of \
                 the switch that half of them still follow; at least {FEWEST_PAIRS} are needed."
            ),
            columns: ["attribute", "images that count", "timestep of the half"]
                .map(str::to_owned)
                .to_vec(),
            rows: Attribute::ALL.into_iter().filter_map(row).collect(),
        })
    }
}

fn score(row: &LinearProbeRow) -> Estimate {
    Estimate::within(row.score, row.score_low, row.score_high)
}

/// What is added where there are too few units.
fn doubt(row: &NoiseLevelRow) -> String {
    if row.units >= FEWEST_UNITS && row.timestep_low.is_some() {
        return String::new();
    }
    format!(", but {} prompts are too few to conclude", row.units)
}

/// Places of sections.
const SUMMARY: usize = 0;
const TRAJECTORY: usize = 1;
const FREQUENCIES: usize = 2;
const SWITCHED: usize = 3;
const ATTENTION: usize = 4;
const READ: usize = 5;

fn sections() -> Vec<Section> {
    vec![
        Section::new("Findings").prose(SUMMARY_PROSE),
        Section::new("The predicted image").prose(TRAJECTORY_PROSE),
        Section::new("Spatial frequencies, and what noise alone predicts").prose(BANDS_PROSE),
        Section::new("A new prompt on the way").prose(SWITCH_PROSE),
        Section::new("Attention over time").prose(ATTENTION_PROSE),
        Section::new("What activations tell").prose(PROBES_PROSE),
    ]
}

/// The section that a figure belongs to, and its caption.
fn caption(name: &str) -> (usize, &'static str) {
    match name {
        "abstraction-by-noise" => (
            SUMMARY,
            "Timesteps with 95 % intervals; noise on the left. Grey: the null model, in which each \
             frequency shows as soon as it is stronger than the noise.",
        ),
        "decided-by-timestep" => {
            (TRAJECTORY, "Share of images whose answer no longer changes, by attribute.")
        }
        "bands-sampled" => (
            FREQUENCIES,
            "Predictions while images are drawn, beside their last latent. Ribbons: 95 % bootstrap \
             intervals over prompts. Broken: the null model.",
        ),
        "bands-rendered" => (
            FREQUENCIES,
            "Predictions from noised latents of rendered scenes, beside those. Ribbons: 95 % \
             bootstrap intervals over scenes. Broken: the best linear guess.",
        ),
        "prompt-switch" => (
            SWITCHED,
            "Images of pairs that count. Ribbons: 95 % bootstrap intervals over pairs of prompts.",
        ),
        "attention-change" => (ATTENTION, "Mean over sites and images."),
        "attention-entropy" => (ATTENTION, "Mean over sites, heads, places and images."),
        "attention-cosine" => {
            (ATTENTION, "Mean over images. Ribbon: 95 % bootstrap interval over prompts.")
        }
        "site-similarity" => (
            ATTENTION,
            "Linear centred kernel alignment of pooled activations over the same scenes; the table \
             `site_similarity` has that of scenes in another order beside it.",
        ),
        "read-by-timestep" => {
            (READ, "At the site that tells most. Ribbons: 95 % intervals over scenes.")
        }
        "read-mask" => (
            READ,
            "Share of each place that objects cover, read out of that place of every block: R² less \
             that with masks of other scenes.",
        ),
        _ => (READ, "Selectivity of ridge regressions at every site."),
    }
}

const SUMMARY_PROSE: &str = "Timesteps are those of training: large is noisy. What is decided early \
    is decided at a large timestep.";

const TRAJECTORY_PROSE: &str = "At each step the model predicts the clean image. The judge looks at \
    each prediction, without knowing the prompt. An attribute is decided from the step on from \
    which the answer is that of the last image and never changes again.";

const BANDS_PROSE: &str = "Latents are taken apart by spatial frequency, as deviations from the mean \
    of rendered scenes. The null model knows nothing but the power S of each frequency in such \
    scenes: of x0 + σ ε the best linear guess has coherence √(S/(S + σ²)) with x0. Natural spectra \
    fall, so low frequencies come first already in this arithmetic; only a difference from it \
    says something of the model. While an image is drawn, the end is not a truth that is uncovered \
    but a choice that is made, so that predictions may cohere with it earlier.";

const SWITCH_PROSE: &str = "Images are begun with one prompt and ended with another that differs in \
    one attribute. Only images count that follow each of the two prompts without a switch.";

const ATTENTION_PROSE: &str = "The change is that of an attention layer's output from one step to \
    the next, relative to its norm, with the prompt.";

const PROBES_PROSE: &str = "Rendered scenes were noised to each timestep and shown to the denoiser \
    once. Linear regressions read attributes out of each site's activations, averaged over places, \
    and the share of each place that objects cover (`mask`) out of the activations of that place, in \
    scenes that they have not seen. Selectivity is what they reach beyond the same regressions on \
    shuffled labels.";

const METHOD_PROSE: &str = "The tables in this run's folder hold every number: `noise_level` is what \
    the first figure shows, `x0_answer` and `commitment` are the judge's, `band_agreement` the \
    frequencies', `prompt_switch` the switched images', `attention_over_time` and \
    `site_similarity` attention's, `linear_probe` the regressions'. `probe schema` describes them.";
