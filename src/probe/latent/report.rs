//! The report of what an autoencoder keeps, and its findings in sentences.

use super::figures::{KINDS, Kind, asked, band_label, figures, of_kind, row};
use super::{EVERYTHING, LatentRun, OTHER_IMAGE, PSNR, RENDERED, UNTRAINED};
use crate::figure::{Figure, FigureError};
use crate::measure::Undefined;
use crate::report::{
    Block, Cell, Estimate, Fact, Finding, Picture, Report, Rerun, Scale, Section, Table,
};
use crate::table::{LatentBandRow, LatentImpulseRow, LatentSurvivalRow};

const NONE: (&str, f64) = ("none", 0.0);
/// File name of the sheet of images, without ending.
pub const SHEET: &str = "contact-sheet";
/// What it shows.
pub const SHEET_CAPTION: &str = "Rows: images; columns: what was done to their latents.";
const SHARE: Scale = Scale { low: 0.0, high: 1.0, nothing: None };

/// The numbers of a run, made into tables.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The table `latent_survival`.
    pub survival: Vec<LatentSurvivalRow>,
    /// The table `latent_band`.
    pub bands: Vec<LatentBandRow>,
    /// The table `latent_impulse`.
    pub impulses: Vec<LatentImpulseRow>,
}

impl Outcome {
    /// Makes the tables.
    ///
    /// # Errors
    /// Numbers that are not finite.
    pub fn new(run: &LatentRun) -> Result<Self, Undefined> {
        Ok(Self {
            survival: run.survival_rows()?,
            bands: run.band_rows()?,
            impulses: run.impulse_rows()?,
        })
    }

    /// What was found.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = Vec::new();
        all.extend(self.ratio());
        all.extend(self.everything());
        all.extend(self.lost());
        all.extend(self.finest());
        all.extend(KINDS.iter().filter_map(|kind| self.breaking(kind)));
        all.extend(self.spread());
        all
    }

    fn row(&self, measure: &str, control: Option<&str>) -> Option<&LatentSurvivalRow> {
        row(&self.survival, NONE, measure, control)
    }

    fn ratio(&self) -> Option<Finding> {
        let own = self.row(PSNR, None)?;
        let control = self.row(PSNR, Some(UNTRAINED));
        let beside = control
            .map_or_else(String::new, |row| format!("; random weights {} dB", of_row(row).text()));
        Some(Finding {
            sentence: format!(
                "The autoencoder alone gives images back at {} dB{beside}",
                of_row(own).text()
            ),
            measure: "PSNR in dB".to_owned(),
            estimate: Some(of_row(own)),
            control: control.map(of_row),
            basis: format!("{} images; 95 % t interval", own.images),
            ..Finding::default()
        })
    }

    fn everything(&self) -> Option<Finding> {
        let own = self.row(EVERYTHING, None)?;
        let text = |control: &str| {
            self.row(EVERYTHING, Some(control))
                .map_or_else(|| "not measured".to_owned(), |row| of_row(row).text())
        };
        Some(Finding {
            sentence: format!(
                "After the round trip {} of images have all that their captions say; before it {}, \
                 with random weights {}",
                of_row(own).text(),
                text(RENDERED),
                text(UNTRAINED)
            ),
            measure: "share of images".to_owned(),
            estimate: Some(of_row(own)),
            control: self.row(EVERYTHING, Some(UNTRAINED)).map(of_row),
            scale: Some(SHARE),
            basis: format!("{} images; 95 % Wilson interval", own.images),
        })
    }

    /// Attributes whose interval lies below that of the images themselves.
    fn lost(&self) -> Option<Finding> {
        let kinds = asked(&self.survival);
        let both = |kind: &&str| {
            let (own, before) = (self.row(kind, None)?, self.row(kind, Some(RENDERED))?);
            Some((own, own.high? < before.low?))
        };
        let all: Vec<(&LatentSurvivalRow, bool)> =
            kinds.iter().filter(|kind| **kind != EVERYTHING).filter_map(both).collect();
        let lost: Vec<String> = all
            .iter()
            .filter(|(_, lost)| *lost)
            .map(|(row, _)| format!("{} {}", row.measure.replace('_', " "), of_row(row).text()))
            .collect();
        let worst = all.iter().map(|(row, _)| *row).min_by(|a, b| a.value.total_cmp(&b.value))?;
        let sentence = if lost.is_empty() {
            format!(
                "No attribute is shown to be lost in the autoencoder alone; the least is {} with {}",
                worst.measure.replace('_', " "),
                of_row(worst).text()
            )
        } else {
            format!("The autoencoder alone loses {}", lost.join(", "))
        };
        Some(Finding {
            sentence,
            measure: format!("share of images with the right {}", worst.measure.replace('_', " ")),
            estimate: Some(of_row(worst)),
            control: self.row(&worst.measure, Some(RENDERED)).map(of_row),
            scale: Some(SHARE),
            basis: format!(
                "{} images; lost: the 95 % Wilson interval lies below that of the images themselves",
                worst.images
            ),
        })
    }

    /// The lowest and the highest band.
    fn finest(&self) -> Option<Finding> {
        let of = |control: Option<&'static str>| {
            self.bands
                .iter()
                .filter(move |row| row.change == NONE.0 && row.control.as_deref() == control)
        };
        // Band 0 is the mean.
        let coarse = of(None).find(|row| row.band == 1)?;
        let fine = of(None).next_back()?;
        let other = of(Some(OTHER_IMAGE)).next_back();
        let beside = other.map_or_else(String::new, |row| {
            format!("; held against another image {}", of_band(row).text())
        });
        Some(Finding {
            sentence: format!(
                "Of the power at {} cycles over the image the autoencoder gets {} wrong, at {} \
                 cycles {}{beside}",
                band_label(coarse),
                of_band(coarse).text(),
                band_label(fine),
                of_band(fine).text()
            ),
            measure: format!("error over power at {} cycles", band_label(fine)),
            estimate: Some(of_band(fine)),
            control: other.map(of_band),
            basis: format!("{} images; 95 % bootstrap interval over images", fine.images),
            ..Finding::default()
        })
    }

    /// The weakest change of a kind from which on fewer images have all that captions say.
    fn breaking(&self, kind: &Kind) -> Option<Finding> {
        let rows = of_kind(&self.survival, kind, EVERYTHING);
        // Where nothing is left to lose, nothing can be said of what loses it.
        let alone = self.row(EVERYTHING, None).filter(|row| row.value > 0.0)?;
        let last = rows.last()?;
        let below = |row: &&&LatentSurvivalRow| {
            row.high.zip(alone.low).is_some_and(|(high, low)| high < low)
        };
        let broken = rows.iter().find(below);
        let unit = |row: &LatentSurvivalRow| match kind.name {
            "quantised" => format!("to {} bits", row.amount),
            "blurred" => format!("by {} cells", row.amount),
            _ => format!("by {}", row.amount),
        };
        let at = broken.unwrap_or(last);
        let sentence = match broken {
            Some(row) => format!(
                "Latents {} {} lose it: {} of images have all that captions say, {} with latents \
                 left alone",
                kind.name,
                unit(row),
                of_row(row).text(),
                of_row(alone).text()
            ),
            None => format!(
                "Latents {} {}, and all that are changed less, are not shown to lose anything that \
                 captions say: {}",
                kind.name,
                unit(last),
                of_row(last).text()
            ),
        };
        Some(Finding {
            sentence,
            measure: "share of images".to_owned(),
            estimate: Some(of_row(at)),
            control: Some(of_row(alone)),
            scale: Some(SHARE),
            basis: format!(
                "{} images; the weakest of {} changes whose 95 % Wilson interval lies below that of \
                 latents left alone",
                at.images,
                rows.len()
            ),
        })
    }

    fn spread(&self) -> Option<Finding> {
        let of =
            |measure: &'static str| self.impulses.iter().filter(move |row| row.measure == measure);
        let widest = of("radius_90").max_by(|a, b| a.value.total_cmp(&b.value))?;
        let half = of("radius_50").find(|row| row.channel == widest.channel)?;
        let strongest = of("rms").max_by(|a, b| a.value.total_cmp(&b.value))?;
        Some(Finding {
            sentence: format!(
                "A change of one number of channel {} spreads farthest: half of its energy lies \
                 within {} pixels, nine tenths within {}; channel {} changes the image most",
                widest.channel,
                of_impulse(half).text(),
                of_impulse(widest).text(),
                strongest.channel
            ),
            measure: "radius that holds nine tenths, in pixels".to_owned(),
            estimate: Some(of_impulse(widest)),
            basis: format!(
                "{} images, {} cells each; 95 % bootstrap interval over images",
                widest.images, widest.cells
            ),
            ..Finding::default()
        })
    }

    /// Figures with their file names.
    pub fn figures(&self) -> Vec<(&'static str, Box<dyn Figure>)> {
        let all = figures(&self.survival, &self.bands).into_iter();
        all.map(|(name, _, figure)| (name, figure)).collect()
    }

    /// The report; `sheet` shows some images under some changes.
    ///
    /// # Errors
    /// Figures whose data disagree.
    pub fn report(
        &self,
        sheet: Picture,
        facts: Vec<Fact>,
        rerun: Rerun,
    ) -> Result<Report, FigureError> {
        let mut report = Report::new("What does the autoencoder keep?");
        report.maker = format!("probe latent, denoscope {}", env!("CARGO_PKG_VERSION"));
        report.facts = facts;
        let findings = Section::new("Findings").with(Block::Findings(self.findings()));
        report.sections.push(findings.prose(FINDINGS_PROSE));
        report.sections.push(Section::new("To look at").picture(sheet));
        let mut kept = Section::new("The round trip");
        let mut changed = Section::new("Changed latents");
        for (name, caption, figure) in figures(&self.survival, &self.bands) {
            let section = match name {
                "attributes" | "bands" => &mut kept,
                _ => &mut changed,
            };
            let picture = Picture::new(name, caption, figure.as_ref())?;
            section.blocks.push(Block::Picture(Box::new(picture)));
        }
        report.sections.push(kept);
        report.sections.push(changed);
        if !self.impulses.is_empty() {
            let table = Block::Table(self.impulse_table());
            report
                .sections
                .push(Section::new("How a change spreads").with(table).prose(SPREAD_PROSE));
        }
        report.sections.push(Section::new("How this was measured").prose(METHOD_PROSE));
        report.rerun = Some(rerun);
        Ok(report)
    }

    fn impulse_table(&self) -> Table {
        let mut channels: Vec<u32> = self.impulses.iter().map(|row| row.channel).collect();
        channels.dedup();
        let measures = [
            ("radius_50", "radius of 50 %, pixels"),
            ("radius_90", "radius of 90 %, pixels"),
            ("rms", "RMS change"),
            ("red", "red"),
            ("green", "green"),
            ("blue", "blue"),
        ];
        let row = |channel: &u32| {
            let mut cells = vec![Cell::Text(channel.to_string())];
            cells.extend(measures.iter().map(|(measure, _)| {
                let own = |r: &&LatentImpulseRow| r.channel == *channel && r.measure == *measure;
                let found = self.impulses.iter().find(own);
                found.map_or(Cell::Missing, |row| Cell::Estimate(of_impulse(row)))
            }));
            cells
        };
        let mut columns = vec!["channel".to_owned()];
        columns.extend(measures.iter().map(|(_, label)| (*label).to_owned()));
        Table {
            name: "impulses".to_owned(),
            caption: "95 % bootstrap intervals over images.".to_owned(),
            columns,
            rows: channels.iter().map(row).collect(),
        }
    }
}

fn of_row(row: &LatentSurvivalRow) -> Estimate {
    Estimate { value: row.value, interval: row.low.zip(row.high) }
}

fn of_band(row: &LatentBandRow) -> Estimate {
    let value = row.relative_error.unwrap_or(f64::NAN);
    Estimate { value, interval: row.low.zip(row.high) }
}

fn of_impulse(row: &LatentImpulseRow) -> Estimate {
    Estimate { value: row.value, interval: row.low.zip(row.high) }
}

const FINDINGS_PROSE: &str = "Images go through the encoder and come back through the decoder; the \
    denoiser plays no part. What is lost here no denoiser can draw, and what survives a strong \
    change of the latents does not depend on fine numbers in them.";

const SPREAD_PROSE: &str = "One number of the latent is raised, and the decoder's image compared with \
    the unchanged one. The radii are around the centre of the touched cell. Red, green and blue are \
    the mean change where the channel is raised in all cells at once: what the channel stands for.";

const METHOD_PROSE: &str = "Latents are the mean of the encoder's distribution, scaled as the denoiser \
    has them. Rendered scenes come with captions; the judge decides from the image alone what of \
    them holds. Error over power compares, in each band of radial frequency, the difference to the \
    image with the image: 0 is kept, 1 is lost, and two unrelated images give about 2. Quantising \
    takes evenly spaced levels between each channel's extremes in these images. The tables \
    `latent_survival`, `latent_band` and `latent_impulse` in this run's folder have every number.";
