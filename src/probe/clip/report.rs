//! The report of the embedding space, and its findings in sentences.

use image::RgbImage;

use super::figures::{NamedFigure, figures};
use super::layers::{LAYERS, OTHER_COLOUR, OWN_COLOUR, RELATION};
use super::pairs::{MODALITY_GAP, RETRIEVAL};
use super::path::{COMPOSED, INTERPOLATED, PATH, SHOWS_TO};
use super::similarity::{ANALOGY, SIMILARITY};
use super::structure::{ADDITIVITY, COLOUR_AND_SHAPE, ORDER, WORDS, WORDS_IN_PLACES};
use super::{RANDOM_DIRECTION, SHUFFLED_CAPTIONS, SHUFFLED_LABELS, UNTRAINED};
use crate::figure::{FigureError, encode_png};
use crate::report::{
    Block, Cell, Estimate, Fact, Finding, LabelledImage, Picture, Report, Rerun, Scale, Section,
    Table,
};
use crate::table::{ClipAnalogyRow, ClipOrderRow, ClipPathRow, ClipRow, ClipSimilarityRow};

/// All that a run found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The table `clip`.
    pub rows: Vec<ClipRow>,
    /// The table `clip_similarity`.
    pub similarities: Vec<ClipSimilarityRow>,
    /// The table `clip_analogy`.
    pub analogies: Vec<ClipAnalogyRow>,
    /// The table `clip_order`.
    pub orders: Vec<ClipOrderRow>,
    /// The table `clip_path`; empty where nothing was drawn.
    pub paths: Vec<ClipPathRow>,
    /// Images of one route, in the order of the way, with what they are.
    pub pictures: Vec<(String, RgbImage)>,
}

/// What the image of a route is.
pub fn picture_label(row: &ClipPathRow) -> String {
    format!("{} {:.2}", row.control.as_deref().unwrap_or(&row.made), row.way)
}

impl ClipPathRow {
    /// Whether it is of the same route and noise.
    pub fn is_beside(&self, other: &Self) -> bool {
        (&self.from, &self.to, self.seed) == (&other.from, &other.to, other.seed)
    }
}

/// A share beside its chance.
const SHARE: Scale = Scale { low: 0.0, high: 1.0, nothing: None };

impl Found {
    /// The figures with their file names.
    pub fn figures(&self) -> Vec<NamedFigure> {
        figures(&self.rows, &self.similarities)
    }

    fn row(
        &self,
        part: &str,
        measure: &str,
        subject: &str,
        control: Option<&str>,
    ) -> Option<&ClipRow> {
        self.rows.iter().find(|row| {
            row.part == part
                && row.measure == measure
                && row.subject == subject
                && row.control.as_deref() == control
                && row.way.is_none_or(|way| way == 1.0)
                && row.site.is_none()
        })
    }

    /// The row of the last layer.
    fn at_last(&self, subject: &str, control: Option<&str>) -> Option<&ClipRow> {
        self.rows.iter().rfind(|row| {
            row.part == LAYERS && row.subject == subject && row.control.as_deref() == control
        })
    }

    /// What was found, text first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = Vec::new();
        all.extend(self.similarity());
        all.extend(["colour", "shape"].into_iter().filter_map(|kind| self.analogy(kind)));
        all.extend(self.sum(COLOUR_AND_SHAPE, "A caption of one object"));
        all.extend(self.order_in_sums());
        all.extend(["roles", "colours"].into_iter().filter_map(|change| self.order(change)));
        all.extend(self.binding());
        all.extend(self.relation());
        all.extend(self.retrieval());
        all.extend(self.gap());
        all.extend(["colour", "shape"].into_iter().filter_map(|kind| self.path(kind)));
        all
    }

    fn similarity(&self) -> Option<Finding> {
        let of = |subject| self.row(SIMILARITY, "cosine", subject, None);
        let (colour, shape) = (of("same colour")?, of("same shape")?);
        let nothing = of("nothing in common")?;
        Some(Finding {
            sentence: format!(
                "Captions that share a colour have cosine {}, those that share a shape {}, those \
                 that share neither {}",
                text(colour),
                text(shape),
                text(nothing)
            ),
            measure: "cosine, same colour".to_owned(),
            estimate: Some(estimate(colour)),
            control: Some(estimate(nothing)),
            scale: Some(Scale { low: -1.0, high: 1.0, nothing: Some(0.0) }),
            basis: basis(colour, "captions"),
        })
    }

    fn analogy(&self, kind: &str) -> Option<Finding> {
        let row = self.row(ANALOGY, "accuracy", kind, None)?;
        let control = |name| self.row(ANALOGY, "accuracy", kind, Some(name));
        let verb = verb(row, row.chance?, ["are solved", "fail"]);
        Some(Finding {
            sentence: format!(
                "Analogies of {kind} {verb}: {} (chance {}); with exchanged captions {}, random \
                 weights {}",
                text(row),
                crate::report::short(row.chance?),
                or_none(control(SHUFFLED_CAPTIONS)),
                or_none(control(UNTRAINED))
            ),
            measure: "share of analogies".to_owned(),
            estimate: Some(estimate(row)),
            control: control(SHUFFLED_CAPTIONS).map(estimate),
            scale: Some(Scale { nothing: row.chance, ..SHARE }),
            basis: basis(row, "captions"),
        })
    }

    fn sum(&self, subject: &str, what: &str) -> Option<Finding> {
        let row = self.row(ADDITIVITY, "r2", subject, None)?;
        let control = |name| self.row(ADDITIVITY, "r2", subject, Some(name));
        Some(Finding {
            sentence: format!(
                "{what} is the sum of its parts to R² = {} of what captions differ in; exchanged \
                 captions {}, random weights {}",
                text(row),
                or_none(control(SHUFFLED_CAPTIONS)),
                or_none(control(UNTRAINED))
            ),
            measure: "R²".to_owned(),
            estimate: Some(estimate(row)),
            control: control(SHUFFLED_CAPTIONS).map(estimate),
            scale: Some(Scale { low: 0.0, high: 1.0, nothing: Some(0.0) }),
            basis: basis(row, "captions, each predicted from others"),
        })
    }

    /// What knowing the places of words adds to knowing the words.
    fn order_in_sums(&self) -> Option<Finding> {
        let (places, words) = (
            self.row(ADDITIVITY, "r2", WORDS_IN_PLACES, None)?,
            self.row(ADDITIVITY, "r2", WORDS, None)?,
        );
        Some(Finding {
            sentence: format!(
                "Of captions of two objects the words explain R² = {} without their order and {} \
                 with it",
                text(words),
                text(places)
            ),
            measure: "R², words in their places".to_owned(),
            estimate: Some(estimate(places)),
            control: Some(estimate(words)),
            scale: Some(Scale { low: 0.0, high: 1.0, nothing: Some(0.0) }),
            basis: basis(places, "captions, predicted from others; beside: words without order"),
        })
    }

    fn order(&self, change: &str) -> Option<Finding> {
        let subject = format!("{change} further than inverse");
        let row = self.row(ORDER, "share", &subject, None)?;
        let distance = |change| self.row(ORDER, "distance", change, None);
        let control = self.row(ORDER, "share", &subject, Some(UNTRAINED));
        let verb = verb(row, row.chance?, ["moves", "does not move"]);
        Some(Finding {
            sentence: format!(
                "Exchanging {change} {verb} an embedding further than telling the same from the \
                 other object: in {} of captions, random weights {}; distances: {change} {}, the \
                 same from the other object {}, other words for the relation {}",
                text(row),
                or_none(control),
                or_none(distance(change)),
                or_none(distance("inverse")),
                or_none(distance("paraphrase"))
            ),
            measure: "share of captions".to_owned(),
            estimate: Some(estimate(row)),
            control: control.map(estimate),
            scale: Some(Scale { nothing: row.chance, ..SHARE }),
            basis: basis(row, "captions"),
        })
    }

    fn binding(&self) -> Option<Finding> {
        let (own, other) = (self.at_last(OWN_COLOUR, None)?, self.at_last(OTHER_COLOUR, None)?);
        let control = self.at_last(OWN_COLOUR, Some(SHUFFLED_LABELS));
        Some(Finding {
            sentence: format!(
                "At the last layer a noun's state tells the colour of its own adjective in {} of \
                 captions and that of the other object in {}; with shuffled labels {}",
                text(own),
                text(other),
                or_none(control)
            ),
            measure: "accuracy, own colour".to_owned(),
            estimate: Some(estimate(own)),
            control: control.map(estimate),
            scale: Some(Scale { nothing: own.chance, ..SHARE }),
            basis: basis(own, "captions, linear readout from others"),
        })
    }

    fn relation(&self) -> Option<Finding> {
        let row = self.at_last(RELATION, None)?;
        let control = self.at_last(RELATION, Some(SHUFFLED_LABELS));
        let verb = verb(row, row.chance?, ["tells the relation", "does not tell the relation"]);
        Some(Finding {
            sentence: format!(
                "The end token's state {verb}: in {} of captions; with shuffled labels {}",
                text(row),
                or_none(control)
            ),
            measure: "accuracy".to_owned(),
            estimate: Some(estimate(row)),
            control: control.map(estimate),
            scale: Some(Scale { nothing: row.chance, ..SHARE }),
            basis: basis(row, "captions, linear readout from others"),
        })
    }

    fn retrieval(&self) -> Vec<Finding> {
        let measured = |row: &&ClipRow| {
            row.part == RETRIEVAL
                && row.control.is_none()
                && (row.measure == "share"
                    || row.measure == "recall" && row.subject.contains("first 1,"))
        };
        let finding = |row: &ClipRow| {
            let name = if row.measure == "share" { UNTRAINED } else { SHUFFLED_CAPTIONS };
            let control = self.row(RETRIEVAL, &row.measure, &row.subject, Some(name));
            let said = if name == UNTRAINED { "random weights" } else { "exchanged captions" };
            Some(Finding {
                sentence: format!(
                    "{} ({}): {}, chance {}; {said} {}",
                    if row.measure == "share" { "Images prefer" } else { "Retrieval" },
                    row.subject,
                    text(row),
                    crate::report::short(row.chance?),
                    or_none(control)
                ),
                measure: "share".to_owned(),
                estimate: Some(estimate(row)),
                control: control.map(estimate),
                scale: Some(Scale { nothing: row.chance, ..SHARE }),
                basis: basis(row, "rendered images with their captions"),
            })
        };
        self.rows.iter().filter(measured).filter_map(finding).collect()
    }

    fn gap(&self) -> Option<Finding> {
        let row = self
            .rows
            .iter()
            .find(|row| row.part == MODALITY_GAP && row.measure == "distance of means")?;
        let halves =
            self.row(MODALITY_GAP, "distance of means", &row.subject, Some(super::RANDOM_HALVES));
        Some(Finding {
            sentence: format!(
                "The means of texts and images lie {} apart on the unit sphere; those of two \
                 halves of the texts {}",
                text(row),
                or_none(halves)
            ),
            measure: "distance".to_owned(),
            estimate: Some(estimate(row)),
            control: halves.map(estimate),
            scale: Some(Scale { low: 0.0, high: 2.0, nothing: Some(0.0) }),
            basis: format!("n = {} vectors; no interval: one number of all", row.units),
        })
    }

    fn path(&self, kind: &str) -> Option<Finding> {
        let subject = |made: &str| format!("{kind}, {made}: {SHOWS_TO}");
        let row = self.row(PATH, "share", &subject(INTERPOLATED), None)?;
        let composed = self.row(PATH, "share", &subject(COMPOSED), None);
        let control = self.row(PATH, "share", &subject(INTERPOLATED), Some(RANDOM_DIRECTION));
        let follows = match (row.low, control) {
            (Some(low), Some(control)) if low > control.high.unwrap_or(control.value) => "follow",
            _ => "may or may not follow",
        };
        Some(Finding {
            sentence: format!(
                "Images {follows} the embedding of another {kind}: {} show the second prompt at \
                 its end, {} where it is composed from other captions, {} after a random \
                 direction as long",
                text(row),
                or_none(composed),
                or_none(control)
            ),
            measure: "share of images".to_owned(),
            estimate: Some(estimate(row)),
            control: control.map(estimate),
            scale: Some(Scale { nothing: Some(0.0), ..SHARE }),
            basis: basis(row, "pairs of prompts; the exact judge"),
        })
    }

    /// The report.
    ///
    /// # Errors
    /// Figures whose data disagree; images without pixels.
    pub fn report(&self, facts: Vec<Fact>, rerun: Rerun) -> Result<Report, FigureError> {
        let mut report = Report::new("What is in the embedding?");
        report.maker = format!("probe clip, denoscope {}", env!("CARGO_PKG_VERSION"));
        report.facts = facts;
        let findings = Section::new("Findings").with(Block::Findings(self.findings()));
        report.sections.push(findings.prose(FINDINGS_PROSE));
        let mut text = Section::new("Captions").prose(CAPTIONS_PROSE);
        let mut layers = Section::new("Layer by layer").prose(LAYERS_PROSE);
        let mut images = Section::new("Captions and images").prose(IMAGES_PROSE);
        let mut path = Section::new("From embedding to image").prose(PATH_PROSE);
        for (name, figure) in self.figures() {
            let (section, caption) = match name {
                "similarity" => (&mut text, "Cosines of all captions of one object."),
                LAYERS => (&mut layers, "Ribbons: 95 % bootstrap intervals over captions."),
                "compound" => (&mut layers, "1 − R² is what colour and shape make together."),
                RETRIEVAL => (&mut images, "Lines: 95 % bootstrap intervals over images."),
                PATH => (&mut path, "Ribbons: 95 % bootstrap intervals over pairs of prompts."),
                _ => (&mut text, "Lines: 95 % bootstrap intervals over captions."),
            };
            let picture = Picture::new(name, caption, figure.as_ref())?;
            section.blocks.push(Block::Picture(Box::new(picture)));
        }
        if !self.pictures.is_empty() {
            path.blocks.push(Block::Images(labelled(&self.pictures)?));
        }
        report.sections.extend([text, layers]);
        if self.rows.iter().any(|row| row.part == RETRIEVAL) {
            images.blocks.push(Block::Table(self.table(MODALITY_GAP)));
            report.sections.push(images);
        }
        if !self.paths.is_empty() {
            report.sections.push(path);
        }
        let mut method = Section::new("How this was measured").prose(METHOD_PROSE);
        method.blocks.push(Block::Table(self.table(ANALOGY)));
        method.blocks.push(Block::Table(self.table(ADDITIVITY)));
        report.sections.push(method);
        report.rerun = Some(rerun);
        Ok(report)
    }

    fn table(&self, part: &str) -> Table {
        let row = |row: &ClipRow| {
            vec![
                Cell::Text(row.measure.clone()),
                Cell::Text(row.subject.clone()),
                row.control.clone().map_or(Cell::Missing, Cell::Text),
                Cell::Estimate(estimate(row)),
                row.chance.map_or(Cell::Missing, Cell::Number),
                Cell::Text(row.units.to_string()),
            ]
        };
        Table {
            name: part.to_owned(),
            caption: format!("All numbers of {part}, with 95 % bootstrap intervals."),
            columns: ["measure", "of", "control", "value", "chance", "n"]
                .map(str::to_owned)
                .to_vec(),
            rows: self.rows.iter().filter(|row| row.part == part).map(row).collect(),
        }
    }
}

fn labelled(pictures: &[(String, RgbImage)]) -> Result<Vec<LabelledImage>, FigureError> {
    pictures
        .iter()
        .map(|(label, image)| {
            let png = encode_png(image)?;
            Ok(LabelledImage { label: label.clone(), note: String::new(), png })
        })
        .collect()
}

fn estimate(row: &ClipRow) -> Estimate {
    Estimate { value: row.value, interval: row.low.zip(row.high) }
}

fn text(row: &ClipRow) -> String {
    estimate(row).text()
}

fn or_none(row: Option<&ClipRow>) -> String {
    row.map_or_else(|| "not measured".to_owned(), text)
}

fn basis(row: &ClipRow, of: &str) -> String {
    format!("n = {} {of}; 95 % bootstrap interval", row.units)
}

/// What an interval allows to say.
fn verb(row: &ClipRow, chance: f64, [above, below]: [&str; 2]) -> String {
    match (row.low, row.high) {
        (Some(low), _) if low > chance => above.to_owned(),
        (_, Some(high)) if high < chance => below.to_owned(),
        _ => format!("may or may not be said ({above}, {below})"),
    }
}

const FINDINGS_PROSE: &str = "Vectors have length 1; a distance is 1 − the cosine. Exchanged \
    captions give every caption the embedding of another; random weights are the same encoder \
    before training, in which words already add up and their order already counts for something, \
    so that they are the scale to read the trained encoder by and not always zero.";

const CAPTIONS_PROSE: &str = "Analogies take `red` away from `a red ball`, add `blue`, and ask which \
    of all captions of one object is nearest, the first left out. R² is how much of what captions \
    differ in is the sum of one vector a part, for captions that the sum was not fitted to.";

const LAYERS_PROSE: &str = "Ridge regressions read a colour or a relation from the state of one \
    token, on captions that they have not seen. The encoder is causal: what stands later in a \
    caption cannot be read from an earlier token, which is a control within the model.";

const IMAGES_PROSE: &str = "Scenes were rendered anew; none was seen in training. A caption fits \
    every image that it is true of, which may be more than its own.";

const PATH_PROSE: &str = "What cross-attention reads was replaced, token by token: by a mixture of \
    two prompts' states, or by `a red ball` + (`a blue cube` − `a red cube`). The judge decides \
    what the image shows.";

const METHOD_PROSE: &str = "The tables `clip`, `clip_similarity`, `clip_analogy`, `clip_order` and \
    `clip_path` in this run's folder hold every number.";
