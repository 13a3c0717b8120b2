//! Tesseract as a reader of letters: a program beside this one, found on the path.
//!
//! It is asked as STRICT asks it, `tesseract -l eng --psm 3`, with images enlarged to a size at
//! which it reads (its authors ask for letters of some 20 pixels). The raw transcript is kept in
//! the column `found` of the table `judgement`; what is made of it is [`crate::judge::ocr`].

use std::io::{Cursor, Write};
use std::process::{Command, Stdio};

use image::imageops::{FilterType, resize};
use image::{ImageFormat, RgbImage};

use super::{Expect, Item};
use crate::judge::ocr;
use crate::table::{BenchmarkRow, JudgementRow};
use crate::world;

/// The program.
const PROGRAM: &str = "tesseract";
/// Images are enlarged by a whole number until their shorter side has so many pixels.
const LEAST_SIDE: u32 = 320;
/// How it is asked: the language and the way of looking at a page (3: find everything).
const ARGUMENTS: [&str; 6] = ["stdin", "stdout", "-l", "eng", "--psm", "3"];
/// Name of the judge in tables.
pub const NAME: &str = "ocr/tesseract";
/// Kind of its rows in the table `judgement`.
pub const KIND: &str = "text";

/// How to get it.
pub const REMEDY: &str = "install it: apt-get install tesseract-ocr (Debian, Ubuntu), brew install \
    tesseract (macOS)";

/// Tesseract cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("tesseract cannot be used: {problem}; {REMEDY}")]
pub struct OcrError {
    /// Why.
    pub problem: String,
}

/// Tesseract, in the version found.
#[derive(Clone, Debug)]
pub struct Tesseract {
    version: String,
}

impl Tesseract {
    /// Finds the program and its English data.
    ///
    /// # Errors
    /// [`OcrError`].
    pub fn find() -> Result<Self, OcrError> {
        let said = |option: &str| -> Result<String, OcrError> {
            let output = Command::new(PROGRAM)
                .arg(option)
                .output()
                .map_err(|error| OcrError { problem: error.to_string() })?;
            let text = [output.stdout, output.stderr].concat();
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let about = said("--version")?;
        let version = about.split_whitespace().nth(1).unwrap_or("unknown").to_owned();
        if !said("--list-langs")?.lines().any(|line| line.trim() == "eng") {
            return Err(OcrError { problem: "it has no English data (eng)".to_owned() });
        }
        Ok(Self { version })
    }

    /// Its version, with how it is asked.
    pub fn version(&self) -> String {
        format!("{} eng psm 3, rules {}", self.version, ocr::VERSION)
    }

    /// Reads an image. What goes wrong with one image is text for its row, and no end of the run.
    ///
    /// # Errors
    /// Why there is no transcript.
    pub fn read(&self, image: &RgbImage) -> Result<String, String> {
        let shorter = image.width().min(image.height()).max(1);
        let times = LEAST_SIDE.div_ceil(shorter);
        let enlarged;
        let image = if times == 1 {
            image
        } else {
            let (width, height) = (image.width() * times, image.height() * times);
            enlarged = resize(image, width, height, FilterType::CatmullRom);
            &enlarged
        };
        let mut png = Vec::new();
        let encoded = image.write_to(&mut Cursor::new(&mut png), ImageFormat::Png);
        encoded.map_err(|error| error.to_string())?;
        let failed = |error: std::io::Error| format!("tesseract failed: {error}");
        let mut child = Command::new(PROGRAM)
            .args(ARGUMENTS)
            // Images are read on all cores already.
            .env("OMP_THREAD_LIMIT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            // It reads all of its input before it writes, so this cannot wait for ever.
            input.write_all(&png).map_err(failed)?;
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            return Err(format!("tesseract failed: {}", output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The text that an item asks for: its `expect.text`, the word that the world's grammar reads, or
/// what is in single quotes.
pub fn asked(item: &Item) -> Option<String> {
    match &item.expect {
        Some(Expect::Text(text)) => return Some(text.clone()),
        Some(_) => {}
        None => {
            if let Some(word) = world::parse(&item.prompt).ok().and_then(|asked| asked.word) {
                return Some(word.text);
            }
        }
    }
    let quoted = ocr::quoted_words(&item.prompt);
    (!quoted.is_empty()).then(|| quoted.join(" "))
}

/// The scores of every definition over transcripts: rows of kind [`KIND`] with what was asked for
/// and what was read.
pub fn scores(suite: &str, atoms: &[JudgementRow]) -> Vec<BenchmarkRow> {
    let read: Vec<(&str, String)> = atoms
        .iter()
        .filter(|row| row.kind == KIND)
        .filter_map(|row| Some((row.expected.as_str(), one_line(row.found.as_deref()?))))
        .collect();
    let mario: Vec<ocr::MarioImage> = read
        .iter()
        .map(|(asked, read)| ocr::mario(&ocr::words(asked), &ocr::words(read)))
        .collect();
    let row = |rule: &str, metric: &str, value: Option<f64>| BenchmarkRow {
        suite: suite.to_owned(),
        judge: format!("{rule}-rule/tesseract"),
        metric: metric.to_owned(),
        images: u32::try_from(read.len()).unwrap_or(u32::MAX),
        value,
    };
    let mean = |value: &dyn Fn(&str, &str) -> f64| {
        let sum: f64 = read.iter().map(|(asked, read)| value(asked, read)).sum();
        (!read.is_empty()).then(|| sum / read.len() as f64)
    };
    let mut rows: Vec<BenchmarkRow> = ocr::mario_scores(&mario)
        .into_iter()
        .flatten()
        .map(|(metric, value)| row("mario", metric, Some(value)))
        .collect();
    let exact = |asked: &str, read: &str| f64::from(u8::from(ocr::anytext(asked, read).0));
    rows.push(row("anytext", "Sen. Acc", mean(&exact)));
    rows.push(row("anytext", "NED (higher is better)", mean(&|a, r| ocr::anytext(a, r).1)));
    type Rule = fn(&str, &str) -> ocr::Errors;
    let rules: [(&str, Rule); 2] = [("hrs", ocr::hrs), ("strict", ocr::strict)];
    for (rule, errors) in rules {
        rows.push(row(rule, "NED (lower is better)", mean(&|a, r| errors(a, r).ned)));
        rows.push(row(rule, "CER", mean(&|a, r| errors(a, r).cer)));
        rows.push(row(rule, "WER", mean(&|a, r| errors(a, r).wer)));
    }
    rows
}

/// A transcript without its line ends, as the text that was asked for has none.
pub fn one_line(transcript: &str) -> String {
    transcript.split_whitespace().collect::<Vec<_>>().join(" ")
}
