//! The report of an attention run, and its findings in sentences.

use std::collections::BTreeSet;

use super::score::{OTHER_IMAGES, PERMUTED_WORDS, Scored, mean_auroc};
use super::{AttentionRun, ObjectWord, explore, figures, leakage};
use crate::figure::{Figure, FigureError, WIDE, encode_png};
use crate::judge;
use crate::measure::Undefined;
use crate::measure::localisation::DAAM_THRESHOLD;
use crate::report::{
    Block, Cell, Estimate, Fact, Finding, LabelledImage, Picture, Report, Rerun, Scale, Section,
    Table,
};
use crate::table::{AlignmentRow, LeakageRow};

/// Errors of making the report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttentionReportError {
    /// Maps that are no numbers.
    #[error("the attention maps cannot be shown: {0}")]
    Maps(#[from] Undefined),
    /// A figure whose data disagree.
    #[error(transparent)]
    Figure(#[from] FigureError),
}

/// What was measured of a run, as its tables have it.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// The table `alignment`.
    pub alignment: &'a [AlignmentRow],
    /// The table `leakage`.
    pub leakage: &'a [LeakageRow],
}

/// A finding about one word.
#[derive(Clone, Debug, PartialEq)]
pub struct WordFinding {
    /// The word.
    pub word: String,
    /// Its object, `red ball`.
    pub object: String,
    /// Mean AUROC over images; `None` if the judge found the object in no image.
    pub own: Option<Scored>,
    /// Mean AUROC of the other objects' words on this object; `None` if there is none.
    pub control: Option<Scored>,
    /// The same word's map in the image of another seed, on this image's object.
    pub other_seed: Option<Scored>,
    /// Images of the run.
    pub images: usize,
}

impl WordFinding {
    /// In words: `` `red` attends to the red ball: AUROC 0.94 [0.92, 0.96]; control 0.51``.
    pub fn sentence(&self) -> String {
        let Self { word, object, images, .. } = self;
        let Some(own) = &self.own else {
            return format!("`{word}`: no score, the judge found no {object} in {images} image(s)");
        };
        let verb = match own.interval {
            Some((low, _)) if low > CHANCE => "attends to",
            Some((_, high)) if high < CHANCE => "attends away from",
            Some(_) => "may or may not attend to",
            None if own.mean > CHANCE => "seems to attend to",
            None => "does not seem to attend to",
        };
        let mut text = format!("`{word}` {verb} the {object}: AUROC {}", number(own));
        if let Some(control) = &self.control {
            text.push_str(&format!("; control {:.2}", control.mean));
        }
        if let Some(other) = &self.other_seed {
            text.push_str(&format!("; another seed's map {:.2}", other.mean));
        }
        if own.images < *images {
            text.push_str(&format!("; {} of {images} images show it", own.images));
        }
        if own.interval.is_none() {
            text.push_str("; one image, no interval (use --count)");
        }
        text
    }
}

const CHANCE: f64 = 0.5;
fn number(scored: &Scored) -> String {
    match scored.interval {
        Some((low, high)) => format!("{:.2} [{low:.2}, {high:.2}]", scored.mean),
        None => format!("{:.2}", scored.mean),
    }
}

fn estimate(scored: &Scored) -> Estimate {
    match scored.interval {
        Some((low, high)) => Estimate::within(scored.mean, low, high),
        None => Estimate::new(scored.mean),
    }
}

/// One finding a word, over all layers and steps.
pub fn findings(run: &AttentionRun, rows: &[AlignmentRow]) -> Vec<WordFinding> {
    let whole: Vec<&AlignmentRow> =
        rows.iter().filter(|r| r.site.is_none() && r.step.is_none()).collect();
    let finding = |word: &ObjectWord| {
        let object = run.object_name(word.phrase);
        let of_word = |control: Option<&str>| {
            let rows = whole.iter().copied().filter(|r| {
                r.word == word.text && r.object == object && r.control.as_deref() == control
            });
            mean_auroc(rows)
        };
        WordFinding {
            word: word.text.clone(),
            own: of_word(None),
            control: of_word(Some(PERMUTED_WORDS)),
            other_seed: of_word(Some(OTHER_IMAGES)),
            object,
            images: run.images.len(),
        }
    };
    run.object_words().iter().map(finding).collect()
}

/// The scores of many prompts in words: a sentence for each role that words have, then what they
/// rest on.
pub fn world_sentences(rows: &[AlignmentRow], prompts: u64) -> Vec<String> {
    let roles: BTreeSet<&str> = rows.iter().map(|r| r.role.as_str()).collect();
    let score = |role: &str, control: Option<&str>| {
        mean_auroc(rows.iter().filter(|r| r.role == role && r.control.as_deref() == control))
    };
    let control = |role: &str, name: &str| {
        score(role, Some(name)).map_or_else(|| "none".to_owned(), |scored| number(&scored))
    };
    let sentence = |role: &str| {
        Some(format!(
            "{role} words on their objects: AUROC {}; controls: other objects' words {}, objects \
             of other images {}",
            number(&score(role, None)?),
            control(role, PERMUTED_WORDS),
            control(role, OTHER_IMAGES),
        ))
    };
    let mut sentences: Vec<String> = roles.into_iter().filter_map(sentence).collect();
    let Some(all) = mean_auroc(rows.iter().filter(|r| r.control.is_none())) else {
        return vec![format!("no score: the judge found none of the objects of {prompts} prompts")];
    };
    sentences.push(format!(
        "{} of {prompts} images have an object to score; 95 % t intervals over images; chance is \
         0.5, where objects of other images should lie; a word that attends to its own object \
         attends away from the others",
        all.images
    ));
    sentences
}

/// The report over many prompts of the world.
///
/// # Errors
/// Figures whose data disagree.
pub fn world_report(
    rows: &[AlignmentRow],
    prompts: u64,
    facts: Vec<Fact>,
    rerun: Rerun,
) -> Result<Report, AttentionReportError> {
    let mut report = Report::new("Where do words look, over many prompts?");
    report.maker = format!("probe attention, denoscope {}", env!("CARGO_PKG_VERSION"));
    report.subtitle = format!("{prompts} prompts of the world, one image each");
    report.facts = facts;
    let roles: BTreeSet<&str> = rows.iter().map(|r| r.role.as_str()).collect();
    let score = |role: &str, control: Option<&str>| {
        mean_auroc(rows.iter().filter(|r| r.role == role && r.control.as_deref() == control))
    };
    let mut sentences = world_sentences(rows, prompts);
    let basis = sentences.pop().unwrap_or_default();
    let scored = roles.iter().filter(|role| score(role, None).is_some());
    let findings = sentences.into_iter().zip(scored).map(|(sentence, role)| Finding {
        sentence,
        measure: "AUROC".to_owned(),
        estimate: score(role, None).as_ref().map(estimate),
        control: score(role, Some(OTHER_IMAGES)).as_ref().map(estimate),
        scale: Some(Scale { low: 0.0, high: 1.0, nothing: Some(CHANCE) }),
        basis: "95 % t interval over images; control: objects of other images".to_owned(),
    });
    let findings = Section::new("Findings").with(Block::Findings(findings.collect())).prose(basis);
    let roles: Vec<&str> = roles.into_iter().collect();
    let chart = figures::score_by_role(&roles, score);
    let caption = format!(
        "Mean AUROC over {prompts} prompts, all layers, heads and steps; 95 % t intervals over \
         images. Controls: the other objects' words, and objects of other images."
    );
    report.section(findings.picture(Picture::new("score-by-role", caption, &chart)?));
    report.rerun = Some(rerun);
    Ok(report)
}

/// A figure and its file name without ending.
pub type NamedFigure = (String, Box<dyn Figure>);

/// The figures with their file names, for the run's folder and the report.
///
/// # Errors
/// Maps that are no numbers.
pub fn figures(run: &AttentionRun, measured: Measured<'_>) -> Result<Vec<NamedFigure>, Undefined> {
    let rows = measured.alignment;
    let mut all: Vec<NamedFigure> = Vec::new();
    for sample in 0..explore::images(run) {
        let grid = figures::overlays(run, sample)?;
        all.push((format!("overlay-{sample:03}"), Box::new(grid)));
    }
    if rows.iter().any(|r| r.auroc.is_some()) {
        let timestep = figures::score_by_timestep(run, rows);
        all.push(("score-by-timestep".to_owned(), Box::new(timestep)));
        all.push(("score-by-layer".to_owned(), Box::new(figures::score_by_layer(run, rows))));
    }
    if !measured.leakage.is_empty() {
        let matrix = leakage::matrix(run, measured.leakage);
        all.push(("leakage".to_owned(), Box::new(matrix)));
    }
    if !run.record.rows.is_empty() {
        let share = figures::share_by_timestep(run);
        all.push(("share-by-timestep".to_owned(), Box::new(share)));
    }
    if let Some(film) = figures::film(run, 0) {
        all.push(("denoised-000".to_owned(), Box::new(film)));
    }
    Ok(all)
}

/// The report.
///
/// # Errors
/// Maps that are no numbers, or figures whose data disagree.
pub fn report(
    run: &AttentionRun,
    measured: Measured<'_>,
    facts: Vec<Fact>,
    rerun: Rerun,
) -> Result<Report, AttentionReportError> {
    let figures = figures(run, measured)?;
    let picture = |name: &str, caption: String| -> Result<Option<Picture>, FigureError> {
        let found = figures.iter().find(|(n, _)| n == name);
        found.map(|(n, figure)| Picture::new(n, caption, figure.as_ref())).transpose()
    };
    let mut report = Report::new("Where does each word look?");
    report.maker = format!("probe attention, denoscope {}", env!("CARGO_PKG_VERSION"));
    report.subtitle.clone_from(&run.prompt);
    report.facts = facts;
    report.cover = cover(run)?;
    report.sections.push(findings_section(run, measured.alignment));
    if explore::images(run) == 0 {
        report.notices.push(NO_MAPS.to_owned());
    } else {
        report.sections.push(
            Section::new("Explore")
                .prose("Choose words, a step and a layer; the map lies over the image.")
                .with(Block::Explorer(explore::explorer(run)?)),
        );
    }
    let mut maps = Section::new("Maps of all words").prose(MAPS_PROSE);
    for (sample, image) in run.images.iter().enumerate().take(explore::images(run).min(STATIC)) {
        let caption = format!(
            "Image {sample}, seed {}. All layers, heads and steps together, aggregated as DAAM \
             does. Outlines: the objects {} for the word.",
            image.seed,
            if run.given.is_empty() { "the judge found" } else { "given" }
        );
        maps.blocks.extend(
            picture(&format!("overlay-{sample:03}"), caption)?.map(|p| Block::Picture(Box::new(p))),
        );
    }
    if explore::images(run) > 0 {
        report.sections.push(maps);
    }
    report.sections.push(when_and_where(run, picture)?);
    if run.expectations.is_some() {
        report.sections.push(judge_section(run));
    }
    report.sections.push(method_section(run));
    report.rerun = Some(rerun);
    Ok(report)
}

const NO_MAPS: &str = "The maps of this run were not kept (no table `attention_maps`), so there \
    is no explorer: run it again to have them. Every other number is that of the run.";

/// Images whose maps are static figures of the page, to keep it light; the run's folder has the
/// figures of all that can be explored.
const STATIC: usize = 2;

const MAPS_PROSE: &str = "A word's map is the mean over its tokens of max(0, bicubic(Σ over \
    steps of the cross-attention probabilities)), averaged over layers and heads (Tang et al. \
    2023), divided by the number of steps. Each map has a colour scale of its own: compare \
    places, not brightness, between words.";

fn cover(run: &AttentionRun) -> Result<Vec<LabelledImage>, FigureError> {
    const SHOWN: usize = 2;
    run.images
        .iter()
        .take(SHOWN)
        .map(|image| {
            Ok(LabelledImage {
                label: run.prompt.clone(),
                note: format!("seed {}", image.seed),
                png: encode_png(&image.image)?,
            })
        })
        .collect()
}

fn findings_section(run: &AttentionRun, rows: &[AlignmentRow]) -> Section {
    let section = Section::new("Findings");
    let findings = findings(run, rows);
    if findings.is_empty() {
        return section.with(Block::Warning(
            "The world's judge cannot say where the objects of this prompt are, so the maps are \
             shown but not scored."
                .to_owned(),
        ));
    }
    let blocks = findings.iter().map(|f| Finding {
        sentence: f.sentence(),
        measure: "AUROC".to_owned(),
        estimate: f.own.as_ref().map(estimate),
        control: f.control.as_ref().map(estimate),
        scale: Some(Scale { low: 0.0, high: 1.0, nothing: Some(CHANCE) }),
        basis: format!(
            "n = {} of {} images; 95 % t interval over images; {}; control: the other objects' \
             words",
            f.own.as_ref().map_or(0, |o| o.images),
            f.images,
            regions_from(run)
        ),
    });
    section.with(Block::Findings(blocks.collect())).prose(FINDINGS_PROSE)
}

/// Who says where the objects are.
fn regions_from(run: &AttentionRun) -> String {
    if run.given.is_empty() {
        return format!("judge {} {}", judge::NAME, judge::VERSION);
    }
    "regions given as masks".to_owned()
}

const FINDINGS_PROSE: &str = "AUROC is the probability that a pixel of the object has more of \
    the word's attention than a pixel outside it: 1 is perfect, 0.5 is chance. The control is \
    the same score for the words of the prompt's other objects, which should not know this one; \
    well below 0.5, they avoid it. Another seed's map of the same word knows only where such objects \
    usually are.";

fn when_and_where(
    run: &AttentionRun,
    picture: impl Fn(&str, String) -> Result<Option<Picture>, FigureError>,
) -> Result<Section, FigureError> {
    let n = run.images.len();
    let interval = if n > 1 { "bands: 95 % t interval over images" } else { "one image, no band" };
    let mut section = Section::new("When and where");
    for (name, caption) in [
        (
            "score-by-timestep",
            format!(
                "Mean AUROC of all object words, one dot a step, all layers; n = {n} image(s), \
             {interval}. Control: the other objects' words."
            ),
        ),
        (
            "score-by-layer",
            format!(
                "The same by layer, all steps; from the first layer to the last. n = {n} image(s)."
            ),
        ),
        (
            "leakage",
            format!(
                "The object's share of the word's attention over its share of the area, all layers \
             and steps; mean over {n} image(s). The table `leakage` has intervals, each step, \
             and how often a word lies more on its own object."
            ),
        ),
        (
            "share-by-timestep",
            format!(
                "Mean probability over positions, heads, layers and {n} image(s). What is missing \
             to 1 goes to the start and end tokens and the padding."
            ),
        ),
        (
            "denoised-000",
            "Image 0: what the model would draw if it stopped there, the prediction x̂0 at single \
             steps, decoded; noise first."
                .to_owned(),
        ),
    ] {
        section.blocks.extend(picture(name, caption)?.map(|p| Block::Picture(Box::new(p))));
    }
    Ok(section)
}

fn judge_section(run: &AttentionRun) -> Section {
    let mut table = Table {
        name: "judgement".to_owned(),
        caption: format!(
            "What judge {} {} says of each image, from the image alone.",
            judge::NAME,
            judge::VERSION
        ),
        columns: ["image", "asked", "expected", "found", "holds"].map(str::to_owned).to_vec(),
        rows: Vec::new(),
    };
    for (sample, image) in run.images.iter().enumerate() {
        for atom in image.verdict.iter().flat_map(|v| &v.atoms) {
            let holds = if atom.holds { "yes" } else { "no" };
            table.rows.push(vec![
                Cell::Text(format!("{sample} (seed {})", image.seed)),
                Cell::Text(atom.atom.kind().replace('_', " ")),
                Cell::Text(atom.expected.clone()),
                Cell::Text(atom.found.clone()),
                Cell::from(holds),
            ]);
        }
    }
    Section::new("Does the image show what the prompt says?").with(Block::Table(table))
}

fn method_section(run: &AttentionRun) -> Section {
    let objects = if run.given.is_empty() {
        "Objects are the judge's masks of the image, not drawn by hand."
    } else {
        "Objects are the masks that were given with the image, not the judge's."
    };
    Section::new("How this was measured").prose(format!(
        "Cross-attention probabilities of the conditional branch were reduced while the model \
         ran; the explicit attention kernel was used where they were watched. {objects} IoU in the table is taken at \
         {DAAM_THRESHOLD} of each map's range. The tables in this run's folder hold every \
         number: `attention`, `alignment`, `judgement`, `tokens`, `images`."
    ))
}

/// Width at which figures are drawn for the run's folder, in pixels of the layout.
pub const FIGURE_WIDTH: f64 = WIDE;
