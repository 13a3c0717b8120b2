//! The report of many scenes, and its findings in sentences.

use super::figures::{CHANCE, NamedFigure, figures, roles};
use super::ranking::{beside, best_head_and_timestep, heads, of_all_words, sites_at_timesteps};
use super::{ADJECTIVE, CHOSEN, OTHER, Tally, UNTRAINED};
use crate::figure::FigureError;
use crate::probe::attention::figures::short_site;
use crate::probe::attention::score::{OTHER_IMAGES, PERMUTED_WORDS};
use crate::report::{
    Block, Cell, Estimate, Fact, Finding, Picture, Report, Rerun, Scale, Section, Table,
};
use crate::table::{AttentionScoreRow, LeakageRow};

/// Rows of the table of the best places.
const RANKED: usize = 12;
const SCALE: Scale = Scale { low: 0.0, high: 1.0, nothing: Some(CHANCE) };

/// The numbers of a run over many scenes.
#[derive(Clone, Debug)]
pub struct Scores {
    /// The table `attention_scores`.
    pub places: Vec<AttentionScoreRow>,
    /// The table `leakage`.
    pub leakage: Vec<LeakageRow>,
}

impl Scores {
    /// The tables of a tally; `run` is the name of the run's folder.
    pub fn new(tally: Tally, run: &str) -> Self {
        let (mut places, leakage) = (tally.score_rows(run), tally.leakage_rows(run));
        places.extend(chosen_row(&tally, run));
        Self { places, leakage }
    }

    /// The figures with their file names.
    pub fn figures(&self) -> Vec<NamedFigure> {
        figures(&self.places, &self.leakage)
    }

    /// What was found, the most general first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all: Vec<Finding> =
            roles(&self.places).into_iter().filter_map(|role| self.of_role(role)).collect();
        all.extend([ADJECTIVE, "shape"].into_iter().filter_map(|role| self.binding(role)));
        all.extend(self.best());
        all
    }

    fn of_role(&self, role: &str) -> Option<Finding> {
        let row = self.places.iter().find(|row| {
            row.role.as_deref() == Some(role)
                && row.control.is_none()
                && row.site.is_none()
                && row.timestep.is_none()
        })?;
        let control = |name: &str| beside(&self.places, row, name).map(of_score);
        let text = |name: &str| control(name).map_or_else(|| "none".to_owned(), |e| e.text());
        let verb = verb(
            of_score(row),
            control(OTHER_IMAGES),
            ["find their objects", "avoid their objects"],
        );
        Some(Finding {
            sentence: format!(
                "Words of {role} {verb}: AUROC {}; random weights {}, the object of another scene \
                 {}, the prompt's other object {}",
                of_score(row).text(),
                text(UNTRAINED),
                text(OTHER_IMAGES),
                text(PERMUTED_WORDS)
            ),
            measure: "AUROC".to_owned(),
            estimate: Some(of_score(row)),
            control: control(UNTRAINED),
            scale: Some(SCALE),
            basis: basis(row.units),
        })
    }

    fn binding(&self, role: &str) -> Option<Finding> {
        let of = |control: Option<&str>| {
            self.leakage.iter().find(|row| {
                row.role == role
                    && row.relation == OTHER
                    && row.timestep.is_none()
                    && row.control.as_deref() == control
            })
        };
        let (row, bound) = (of(None)?, of(None).and_then(of_binding)?);
        let control = |name: &str| of(Some(name)).and_then(of_binding);
        let text = |name: &str| control(name).map_or_else(|| "none".to_owned(), |e| e.text());
        let verb = verb(
            bound,
            control(OTHER_IMAGES),
            ["lie more on their own object", "lie more on the other object"],
        );
        let whose = if role == ADJECTIVE { "Adjectives" } else { "Nouns" };
        Some(Finding {
            sentence: format!(
                "{whose} {verb}: in {} of cases; random weights {}, regions of another scene {}",
                bound.text(),
                text(UNTRAINED),
                text(OTHER_IMAGES)
            ),
            measure: "share of words".to_owned(),
            estimate: Some(bound),
            control: control(UNTRAINED),
            scale: Some(SCALE),
            basis: basis(row.units),
        })
    }

    fn best(&self) -> Option<Finding> {
        let best = self.places.iter().find(|row| row.control.as_deref() == Some(CHOSEN))?;
        let among = self.places.iter().filter(|row| {
            of_all_words(row)
                && row.control.is_none()
                && row.head.is_some()
                && row.timestep.is_some()
        });
        let measured = of_score(best);
        Some(Finding {
            sentence: format!(
                "The best head of {} places is head {} of {} at timestep {:.0}: AUROC {} in the \
                 scenes it was not chosen on",
                among.count(),
                best.head?,
                short_site(best.site.as_deref()?),
                best.timestep?,
                measured.text()
            ),
            measure: "AUROC".to_owned(),
            estimate: Some(measured),
            control: None,
            scale: Some(SCALE),
            basis: format!(
                "chosen on the scenes of even number, measured on the other {}; 95 % \
                 interval over scenes",
                best.units
            ),
        })
    }

    /// The report.
    ///
    /// # Errors
    /// Figures whose data disagree.
    pub fn report(&self, facts: Vec<Fact>, rerun: Rerun) -> Result<Report, FigureError> {
        let mut report = Report::new("Where do words look, over many scenes?");
        report.maker = format!("probe attention, denoscope {}", env!("CARGO_PKG_VERSION"));
        report.facts = facts;
        let findings = Section::new("Findings").with(Block::Findings(self.findings()));
        report.sections.push(findings.prose(FINDINGS_PROSE));
        let mut carried = Section::new("Which sites, heads and timesteps carry it");
        carried.blocks.push(Block::Table(self.ranked(
            "best-sites",
            "sites at a timestep",
            &sites_at_timesteps(&self.places),
        )));
        carried.blocks.push(Block::Table(self.ranked(
            "best-heads",
            "heads, all timesteps",
            &heads(&self.places),
        )));
        let mut leakage = Section::new("Leakage and binding").prose(LEAKAGE_PROSE);
        let whole = self.places.iter().find(|row| of_all_words(row) && row.control.is_none());
        let scenes = whole.map_or(0, |row| row.units);
        for (name, figure) in self.figures() {
            let (section, text) = match name {
                "sites-by-timestep" => (&mut carried, "AUROC of all words, mean over heads."),
                "heads-by-timestep" => (&mut carried, "The same for each head."),
                "score-by-timestep" => {
                    (&mut carried, "All sites; ribbons: 95 % intervals over scenes.")
                }
                "leakage" => (&mut leakage, "All sites and timesteps, mean over scenes."),
                _ => (&mut leakage, "Ribbons: 95 % intervals over scenes."),
            };
            let caption = format!("{text} n = {scenes} scenes with exact masks.");
            let picture = Picture::new(name, caption, figure.as_ref())?;
            section.blocks.push(Block::Picture(Box::new(picture)));
        }
        report.sections.push(carried);
        report.sections.push(leakage);
        report.sections.push(Section::new("How this was measured").prose(METHOD_PROSE));
        report.rerun = Some(rerun);
        Ok(report)
    }

    fn ranked(&self, name: &str, what: &str, rows: &[&AttentionScoreRow]) -> Table {
        let number = |value: Option<f64>| value.map_or(Cell::Missing, Cell::Number);
        let row = |row: &&AttentionScoreRow| {
            let control = beside(&self.places, row, UNTRAINED);
            vec![
                Cell::Text(short_site(row.site.as_deref().unwrap_or_default())),
                row.head.map_or(Cell::Missing, |head| Cell::Text(head.to_string())),
                row.timestep.map_or(Cell::Missing, |t| Cell::Text(format!("{t:.0}"))),
                Cell::Estimate(of_score(row)),
                control.map_or(Cell::Missing, |row| Cell::Estimate(of_score(row))),
                number(row.mass_ratio),
                number(row.average_precision),
                number(row.iou_tau),
                number(row.pointing),
            ]
        };
        Table {
            name: name.to_owned(),
            caption: format!(
                "The best of {} {what}. Intervals are each row's own: the first of many is too \
                 high by luck.",
                rows.len()
            ),
            columns: [
                "site",
                "head",
                "timestep",
                "AUROC",
                "random weights",
                "mass ratio",
                "average precision",
                "IoU at 0.4",
                "pointing",
            ]
            .map(str::to_owned)
            .to_vec(),
            rows: rows.iter().take(RANKED).map(row).collect(),
        }
    }
}

/// What stands in the head of the report: nothing is sampled here.
pub fn shown_facts(facts: Vec<Fact>, scenes: usize, timesteps: &[f64], world: &str) -> Vec<Fact> {
    let list: Vec<String> = timesteps.iter().map(|timestep| format!("{timestep:.0}")).collect();
    let mut kept: Vec<Fact> = facts
        .into_iter()
        .filter(|fact| !["sampler", "guidance", "seeds"].contains(&fact.label.as_str()))
        .collect();
    let value = format!("{scenes} of pairs and relations, world {world}");
    kept.push(Fact { label: "scenes".to_owned(), value });
    kept.push(Fact { label: "timesteps".to_owned(), value: list.join(", ") });
    kept
}

/// The best head at the best timestep, in the scenes it was not chosen on.
fn chosen_row(tally: &Tally, run: &str) -> Option<AttentionScoreRow> {
    let best = best_head_and_timestep(tally)?;
    Some(AttentionScoreRow {
        run: run.to_owned(),
        role: None,
        word: None,
        site: best.level.site.and_then(|site| tally.sites().get(site).cloned()),
        head: best.level.head.map(|head| head as u32),
        timestep: best.level.step.and_then(|step| tally.timesteps().get(step)).map(|&t| t as f64),
        control: Some(CHOSEN.to_owned()),
        auroc: best.measured.mean,
        auroc_low: Some(best.measured.low),
        auroc_high: Some(best.measured.high),
        average_precision: None,
        iou_tau: None,
        iou_best: None,
        ioa: None,
        pointing: None,
        mass_ratio: None,
        units: best.measured.n as u32,
    })
}

fn of_score(row: &AttentionScoreRow) -> Estimate {
    Estimate { value: row.auroc, interval: row.auroc_low.zip(row.auroc_high) }
}

fn of_binding(row: &LeakageRow) -> Option<Estimate> {
    Some(Estimate { value: row.binds?, interval: row.binds_low.zip(row.binds_high) })
}

/// What an interval allows to say: it must leave out chance, and what the places of objects give
/// in any scene.
fn verb(estimate: Estimate, other_scene: Option<Estimate>, [above, below]: [&str; 2]) -> String {
    let usual = other_scene.map_or(CHANCE, |e| e.value);
    match estimate.interval {
        Some((low, _)) if low > usual.max(CHANCE) => above.to_owned(),
        Some((_, high)) if high < usual.min(CHANCE) => below.to_owned(),
        _ => format!("may or may not {above}"),
    }
}

fn basis(scenes: u32) -> String {
    format!(
        "n = {scenes} scenes with exact masks; 95 % interval over scenes, for random \
         weights over draws of them"
    )
}

const FINDINGS_PROSE: &str = "AUROC is the probability that a place on the object has more of the \
    word's attention than a place outside it; 0.5 is chance. Random weights and another scene's \
    object should give 0.5; the prompt's other object lies below it where words tell objects \
    apart.";

const LEAKAGE_PROSE: &str = "The mass ratio is a region's share of the word's attention over its \
    share of the area; 1 is chance. A word binds where its ratio is larger on its own object than \
    on the prompt's other one.";

const METHOD_PROSE: &str = "Scenes were rendered, encoded, noised to each timestep with one noise \
    a scene, and shown to the denoiser once at each with their caption, without guidance. Masks \
    are those of the renderer; no judge is asked. A cell of a map that an object covers in part \
    counts in part inside and in part outside. The control of random weights keeps text encoder \
    and autoencoder, and draws the denoiser's weights anew for each batch that it is shown, \
    up to ten of all. The tables \
    `attention_scores` and `leakage` in this run's folder hold every number.";
