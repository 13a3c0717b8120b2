//! Who judges the images of a suite, and the rows that come of it.

use std::error::Error;
use std::fmt::Debug;
use std::path::Path;

use image::RgbImage;
use rayon::prelude::*;

use super::external::{ExternalError, ExternalJudge, Question};
use super::ocr::{self, Tesseract};
use super::{Expect, Item, Job, seen};
use crate::judge::clip_score::{self, clip_score};
use crate::judge::imported::Ruling;
use crate::judge::{self, ocr as rules};
use crate::probe::judgement::{JudgedImage, judgement_rows, seen_rows};
use crate::probe::outcome::{SuiteImage, outcome_row};
use crate::table::{JudgementRow, OutcomeRow, SeenRow};
use crate::world::{self, Expectations, ParseError};

/// A model with one space for texts and images, such as CLIP.
pub trait JointSpace: Debug + Send {
    /// Its name, and what tells its weights from others.
    fn name(&self) -> (String, String);

    /// The cosine of each image with its prompt.
    ///
    /// # Errors
    /// What the model cannot embed.
    fn cosines(
        &self,
        prompts: &[String],
        images: &[RgbImage],
    ) -> Result<Vec<f64>, Box<dyn Error + Send + Sync>>;
}

/// A judge that looks at images.
#[derive(Debug)]
pub enum SuiteJudge {
    /// The world's own, for prompts of its grammar.
    Exact,
    /// Tesseract, for prompts that ask for letters.
    Ocr(Tesseract),
    /// CLIP score, which gives numbers and decides nothing.
    ClipScore(Box<dyn JointSpace>),
    /// A program.
    External(Box<ExternalJudge>),
}

/// Why images cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgingError {
    /// A suite that the judge cannot decide.
    #[error(
        "suite {suite}: the {judge} judge cannot decide {items} of its items, such as {first:?}, \
         which asks for {asks}; they are decided with {remedy}, or by a program with \
         --judge-command"
    )]
    Undecidable {
        /// The suite.
        suite: String,
        /// The judge.
        judge: String,
        /// How many items.
        items: usize,
        /// The first of them.
        first: String,
        /// What it asks for.
        asks: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A prompt the world does not read; [`super::Suite::check`] finds it first.
    #[error(transparent)]
    Grammar(#[from] ParseError),
    /// CLIP cannot read them.
    #[error("CLIP cannot score these images: {0}")]
    JointSpace(Box<dyn Error + Send + Sync>),
    /// The program cannot be run.
    #[error(transparent)]
    External(#[from] ExternalError),
}

/// An image that is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// What it was made for.
    pub job: Job<'a>,
    /// Its place in the run, from 0.
    pub sample: u32,
    /// The image.
    pub image: &'a RgbImage,
    /// Where it lies: external judges read it there.
    pub path: &'a Path,
    /// SHA-256 of the file.
    pub sha256: &'a str,
}

/// What is said of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The image as a whole; `image` is empty until it is known whether the file is kept.
    pub outcome: OutcomeRow,
    /// Each expectation.
    pub atoms: Vec<JudgementRow>,
    /// What was seen where, by a judge that says so.
    pub seen: Vec<SeenRow>,
}

impl SuiteJudge {
    /// Name and version, as tables have them.
    pub fn name(&self) -> (String, String) {
        match self {
            SuiteJudge::Exact => (judge::NAME.to_owned(), judge::VERSION.to_string()),
            SuiteJudge::Ocr(tesseract) => (ocr::NAME.to_owned(), tesseract.version()),
            SuiteJudge::ClipScore(clip) => {
                let (name, weights) = clip.name();
                let version = format!("{} weights {weights}", clip_score::VERSION);
                (format!("{}/{name}", clip_score::NAME), version)
            }
            SuiteJudge::External(program) => program.name(),
        }
    }

    /// Whether the judge can decide every item.
    ///
    /// # Errors
    /// [`JudgingError::Undecidable`].
    pub fn check<'a>(
        &self,
        suite: &str,
        items: impl IntoIterator<Item = &'a Item>,
    ) -> Result<(), JudgingError> {
        let foreign: Vec<&Item> = match self {
            SuiteJudge::Exact => items.into_iter().filter(|item| !item.is_seen()).collect(),
            SuiteJudge::Ocr(_) => {
                items.into_iter().filter(|item| ocr::asked(item).is_none()).collect()
            }
            SuiteJudge::ClipScore(_) | SuiteJudge::External(_) => return Ok(()),
        };
        let Some(first) = foreign.first() else { return Ok(()) };
        Err(JudgingError::Undecidable {
            suite: suite.to_owned(),
            judge: self.name().0,
            items: foreign.len(),
            first: first.id.clone(),
            asks: first.expect.as_ref().map_or("no letters", Expect::kind),
            remedy: first.decided_by(),
        })
    }

    /// Judges images, the exact judge on all cores.
    ///
    /// # Errors
    /// A prompt outside the grammar, or a program that cannot be started any more.
    pub fn judge(&mut self, images: &[Made<'_>]) -> Result<Vec<Judged>, JudgingError> {
        match self {
            SuiteJudge::Exact => images.par_iter().map(exact).collect(),
            SuiteJudge::Ocr(tesseract) => {
                Ok(images.par_iter().map(|made| read(tesseract, made)).collect())
            }
            SuiteJudge::ClipScore(clip) => {
                let cosines = cosines(clip.as_ref(), images)?;
                let judge = self.name();
                let score = |(made, cosine)| scored(made, &judge, clip_score(cosine));
                Ok(images.iter().zip(cosines).map(score).collect())
            }
            SuiteJudge::External(program) => images.iter().map(|made| ask(program, made)).collect(),
        }
    }
}

fn exact(made: &Made<'_>) -> Result<Judged, JudgingError> {
    let item = made.job.item;
    if let Some(Expect::Geneval(asked)) = &item.expect {
        // Nothing is expected of the caption: what is there is seen all the same.
        let verdict = judge::judge(made.image, &Expectations::default());
        let ruling = seen::rule(&verdict.seen, asked);
        let outcome = ruling_row(made.job, (seen::NAME, &seen::version()), &ruling, made.sha256);
        let seen = seen_rows(made.sample, made.image.dimensions(), &verdict);
        return Ok(Judged { outcome, atoms: Vec::new(), seen });
    }
    let verdict = judge::judge(made.image, &world::parse(&item.prompt)?);
    let of = JudgedImage {
        sample: made.sample,
        prompt: &item.prompt,
        seed: made.job.seed,
        category: &item.category,
    };
    let outcome = outcome_row(suite_image(made), &verdict);
    let outcome = OutcomeRow { difficulty: item.difficulty, twin: item.twin.clone(), ..outcome };
    let seen = seen_rows(made.sample, made.image.dimensions(), &verdict);
    Ok(Judged { outcome, atoms: judgement_rows(of, &verdict), seen })
}

/// Right where the words read are those asked for, by MARIO-Eval's accuracy; the score is
/// AnyText's similarity. The raw transcript is the atom's `found`.
fn read(tesseract: &Tesseract, made: &Made<'_>) -> Judged {
    let Job { item, seed, .. } = made.job;
    let asked = ocr::asked(item).unwrap_or_default();
    let transcript = tesseract.read(made.image);
    let line = transcript.as_ref().map(|text| ocr::one_line(text));
    let holds = line
        .as_ref()
        .ok()
        .map(|line| rules::mario(&rules::words(&asked), &rules::words(line)).equal);
    let reason = match (&line, holds) {
        (Err(problem), _) => (*problem).clone(),
        (Ok(line), Some(false)) => format!("expected {asked:?}, read {line:?}"),
        _ => String::new(),
    };
    let (judge, judge_version) = (ocr::NAME.to_owned(), tesseract.version());
    let ruling = Ruling {
        holds,
        score: line
            .as_ref()
            .ok()
            .map(|line| rules::anytext(&asked.to_lowercase(), &line.to_lowercase()).1),
        asked: u32::from(holds.is_some()),
        held: u32::from(holds == Some(true)),
        reasons: (!reason.is_empty()).then(|| reason.clone()).into_iter().collect(),
    };
    let outcome = ruling_row(made.job, (&judge, &judge_version), &ruling, made.sha256);
    let atom = JudgementRow {
        sample: made.sample,
        prompt: item.prompt.clone(),
        seed,
        category: item.category.clone(),
        atom: ocr::KIND.to_owned(),
        kind: ocr::KIND.to_owned(),
        expected: asked,
        found: transcript.ok(),
        holds,
        reason,
        judge,
        judge_version,
    };
    Judged { outcome, atoms: vec![atom], seen: Vec::new() }
}

fn cosines(clip: &dyn JointSpace, images: &[Made<'_>]) -> Result<Vec<f64>, JudgingError> {
    if images.is_empty() {
        return Ok(Vec::new());
    }
    let prompts: Vec<String> = images.iter().map(|made| made.job.item.prompt.clone()).collect();
    let images: Vec<RgbImage> = images.iter().map(|made| made.image.clone()).collect();
    clip.cosines(&prompts, &images).map_err(JudgingError::JointSpace)
}

/// An image with a score and no verdict.
fn scored(made: &Made<'_>, (judge, version): &(String, String), score: f64) -> Judged {
    let ruling = Ruling { score: Some(score), ..Ruling::default() };
    let outcome = ruling_row(made.job, (judge, version), &ruling, made.sha256);
    Judged { outcome, atoms: Vec::new(), seen: Vec::new() }
}

fn suite_image<'a>(made: &Made<'a>) -> SuiteImage<'a> {
    let Job { identity, item, seed, .. } = made.job;
    SuiteImage {
        suite: identity,
        item: &item.id,
        category: &item.category,
        prompt: &item.prompt,
        seed,
        held_out: item.held_out,
        file: None,
        sha256: made.sha256,
    }
}

fn ask(program: &mut ExternalJudge, made: &Made<'_>) -> Result<Judged, JudgingError> {
    let Job { suite, item, seed, .. } = made.job;
    let question = Question {
        suite: &suite.name,
        item: &item.id,
        category: &item.category,
        prompt: &item.prompt,
        seed,
        image: made.path,
        expect: item.expect.as_ref(),
    };
    let answer = program.ask(&question)?;
    let judge = program.name();
    let atoms = answer.atoms.iter().map(|atom| JudgementRow {
        sample: made.sample,
        prompt: item.prompt.clone(),
        seed,
        category: item.category.clone(),
        atom: atom.name.clone(),
        kind: "external".to_owned(),
        expected: atom.name.clone(),
        found: None,
        holds: atom.holds,
        reason: atom.reason.clone(),
        judge: judge.0.clone(),
        judge_version: judge.1.clone(),
    });
    let atoms = atoms.collect();
    let outcome = ruling_row(made.job, (&judge.0, &judge.1), &answer.ruling(), made.sha256);
    Ok(Judged { outcome, atoms, seen: Vec::new() })
}

/// The row of an image that a published rule or a program ruled on; `judge` is name and version.
pub fn ruling_row(
    job: Job<'_>,
    judge: (&str, &str),
    ruling: &Ruling,
    image_sha256: &str,
) -> OutcomeRow {
    let Job { identity, item, seed, .. } = job;
    OutcomeRow {
        suite: identity.name.clone(),
        suite_version: identity.version,
        suite_hash: identity.hash.clone(),
        item: item.id.clone(),
        category: item.category.clone(),
        difficulty: item.difficulty,
        prompt: item.prompt.clone(),
        seed,
        twin: item.twin.clone(),
        held_out: item.held_out,
        judge: judge.0.to_owned(),
        judge_version: judge.1.to_owned(),
        holds: ruling.holds,
        score: ruling.score,
        atoms: ruling.asked,
        atoms_held: ruling.held,
        reason: ruling.reasons.join("; "),
        image: None,
        image_sha256: image_sha256.to_owned(),
    }
}
