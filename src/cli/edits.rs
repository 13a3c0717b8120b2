//! `--edit`: changes of what flows, as text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use ndarray::Array2;

use super::image_file::read_image;
use super::steps;
use crate::model::checkpoint::DiffusionModel;
use crate::model::parameters::WeightFile;
use crate::pipeline::{Request, generate};
use crate::site::{Branch, Glob, Site};
use crate::tap::RawRecorder;
use crate::tap::edit::{Edit, Edits, Operation, Reference, RunShape, Scope};

/// What `--help` says of edits.
pub(super) const HELP: &str = "\
Change what flows, such as \"zero sites=mid.out steps=0-5\". May be repeated: edits act in
the order given, and what is recorded is the result. First an operation:
  zero                 set to zero (ablation)
  scale=0.5            multiply
  mean=FILE            the mean over images and places of another run (mean ablation)
  replace=FILE         the tensors of another run (activation patching)
  add=FILE by=2        add tensors named after their sites, with their axes
  steer=PROMPT from=PROMPT by=2
                       add the difference of what two prompts have there in the mean
  mask=red,ball        take words out of cross-attention
  weigh=red by=2       multiply the attention to words
  prompt=PROMPT        let layers read another prompt
  freeze=5             keep what was there at step 5 for all steps after it
then where it acts:
  sites=GLOB,GLOB      mask and weigh know theirs (*.cross.probs), and so do freeze
                       (*.cross.out) and prompt (*.cross.k and *.cross.v)
  steps=0-12           at which steps
  branch=cond          in one half of guidance (mask, weigh, prompt: cond)
  heads=0,2            at which attention heads
  region=FILE          at which places: the white ones of this image
FILE is what `probe trace --raw FILE` writes. Values with spaces are quoted. A word may
be given by its place among the tokens, as @2.";

/// Most bytes that the run of another prompt may keep.
const REFERENCE_BUDGET: u64 = 8 << 30;

/// Operations whose value is words of the prompt.
const NAMING_WORDS: [&str; 2] = ["mask", "weigh"];

/// One edit as text, taken apart.
#[derive(Clone)]
struct Words {
    values: BTreeMap<String, String>,
}

impl Words {
    const OPERATIONS: [&str; 10] =
        ["zero", "scale", "mean", "replace", "add", "steer", "mask", "weigh", "prompt", "freeze"];
    const PLACES: [&str; 5] = ["sites", "steps", "branch", "heads", "region"];

    fn parse(text: &str) -> Result<Self> {
        let words = shlex::split(text).context("a quote is not closed")?;
        let mut values = BTreeMap::new();
        for word in &words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let known = || Self::OPERATIONS.iter().chain(&Self::PLACES).chain(&["by", "from"]);
            if !known().any(|name| name == &key) {
                let all: Vec<&str> = known().copied().collect();
                bail!("`{key}` is not understood; there are {}", all.join(", "));
            }
            if values.insert(key.to_owned(), value.to_owned()).is_some() {
                bail!("`{key}` is given twice");
            }
        }
        Ok(Self { values })
    }

    fn operation(&self) -> Result<(&'static str, &str)> {
        let given: Vec<&'static str> =
            Self::OPERATIONS.into_iter().filter(|name| self.values.contains_key(*name)).collect();
        let [name] = given.as_slice() else {
            bail!(
                "an edit has one operation ({}), this has {}",
                Self::OPERATIONS.join(", "),
                if given.is_empty() { "none".to_owned() } else { given.join(" and ") }
            );
        };
        let value = self.values[*name].as_str();
        let needs = *name != "zero";
        match (needs, value.is_empty()) {
            (true, true) => bail!("`{name}` needs a value: {name}=…"),
            (false, false) => bail!("`{name}` has no value"),
            _ => Ok((name, value)),
        }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The factor of operations that have one.
    fn by(&self) -> Result<f64> {
        number(self.get("by").context("`by` is missing: write by=2 or another factor")?)
    }
}

fn number(text: &str) -> Result<f64> {
    let number: f64 = text.parse().with_context(|| format!("`{text}` is not a number"))?;
    if !number.is_finite() {
        bail!("`{text}` is not finite");
    }
    Ok(number)
}

/// The edits that texts ask for, checked against the run.
pub(super) fn edits(texts: &[String], model: &DiffusionModel, request: &Request) -> Result<Edits> {
    let edit = |text: &String| {
        let words = Words::parse(text);
        let made = words.and_then(|words| Maker { words, model, request }.make());
        made.with_context(|| format!("--edit \"{text}\""))
    };
    Ok(Edits(texts.iter().map(edit).collect::<Result<_>>()?))
}

/// Checks the edits of a run of many prompts before any is drawn: against its first `most` images,
/// and each word that they name against every prompt.
pub(super) fn check(
    texts: &[String],
    model: &DiffusionModel,
    request: &Request,
    most: usize,
) -> Result<()> {
    if texts.is_empty() {
        return Ok(());
    }
    let images: Vec<(&String, u64)> =
        request.prompts.iter().zip(request.seeds.iter().copied()).collect();
    let parts = batches(texts, &images, most, |(prompt, _)| prompt);
    let of_part = |part: &[(&String, u64)]| Request {
        prompts: part.iter().map(|(prompt, _)| (*prompt).clone()).collect(),
        seeds: part.iter().map(|(_, seed)| *seed).collect(),
        ..request.clone()
    };
    if let Some(first) = parts.first() {
        edits(texts, model, &of_part(first))?;
    }
    if !name_words(texts) {
        return Ok(());
    }
    let distinct: BTreeMap<&String, &[(&String, u64)]> =
        parts.into_iter().filter_map(|part| Some((part.first()?.0, part))).collect();
    for part in distinct.into_values() {
        let request = of_part(part);
        for text in texts {
            let words = Words::parse(text)?;
            let (name, value) = words.operation()?;
            if NAMING_WORDS.contains(&name) {
                let maker = Maker { words: words.clone(), model, request: &request };
                maker.tokens(value).with_context(|| format!("--edit \"{text}\""))?;
            }
        }
    }
    Ok(())
}

/// Images in parts of at most `most` to be drawn at once. Words that an edit names have other
/// places in every prompt: then all images of a part have one prompt.
pub(super) fn batches<'a, T>(
    texts: &[String],
    images: &'a [T],
    most: usize,
    prompt: impl Fn(&T) -> &str,
) -> Vec<&'a [T]> {
    if !name_words(texts) {
        return images.chunks(most.max(1)).collect();
    }
    let of_one_prompt = images.chunk_by(|a, b| prompt(a) == prompt(b));
    of_one_prompt.flat_map(|images| images.chunks(most.max(1))).collect()
}

/// Whether an edit names words of the prompt, and so means something else for every prompt.
pub(super) fn name_words(texts: &[String]) -> bool {
    texts
        .iter()
        .filter_map(|text| Words::parse(text).ok())
        .any(|words| words.operation().is_ok_and(|(name, _)| NAMING_WORDS.contains(&name)))
}

struct Maker<'a> {
    words: Words,
    model: &'a DiffusionModel,
    request: &'a Request,
}

impl Maker<'_> {
    fn make(&self) -> Result<Edit> {
        let (name, value) = self.words.operation()?;
        self.check_companions(name)?;
        let run = self.request.run_shape(self.model)?;
        let scope = self.scope(name, &run)?;
        let operation = self.operation(name, value, &scope)?;
        Ok(Edit::new(operation, &scope, &self.model.sites, &run)?)
    }

    /// `by` and `from` belong to some operations only.
    fn check_companions(&self, operation: &str) -> Result<()> {
        for (key, of) in [("by", ["add", "steer", "weigh"].as_slice()), ("from", &["steer"])] {
            if self.words.get(key).is_some() && !of.contains(&operation) {
                bail!("`{key}` goes with {}, not with {operation}", of.join(", "));
            }
        }
        Ok(())
    }

    fn scope(&self, operation: &str, run: &RunShape) -> Result<Scope> {
        let reads_the_prompt = ["mask", "weigh", "prompt"].contains(&operation);
        let branch = match self.words.get("branch") {
            None if reads_the_prompt => Some(Branch::Cond),
            None => None,
            Some("cond") => Some(Branch::Cond),
            Some("uncond") => Some(Branch::Uncond),
            Some(other) => bail!("`branch={other}`: choose cond or uncond"),
        };
        let list = |key: &str, last: usize| {
            let list = self.words.get(key);
            list.map(|list| steps::parse(list, last, key.trim_end_matches('s'))).transpose()
        };
        let heads = list("heads", i64::from(u16::MAX) as usize)?;
        Ok(Scope {
            sites: self.globs(operation)?,
            steps: list("steps", run.steps.saturating_sub(1))?,
            branch,
            heads: heads.map(|heads| heads.into_iter().map(|head| head as i64).collect()),
            region: self.words.get("region").map(|file| region(Path::new(file))).transpose()?,
        })
    }

    fn globs(&self, operation: &str) -> Result<Vec<Glob>> {
        let usual = match operation {
            "mask" | "weigh" => "*.cross.probs",
            "freeze" => "*.cross.out",
            "prompt" => "*.cross.k,*.cross.v",
            _ => "",
        };
        let list = self.words.get("sites").unwrap_or(usual);
        let globs: Vec<Glob> =
            list.split(',').filter(|glob| !glob.is_empty()).map(Glob::new).collect();
        if operation != "prompt" {
            return Ok(globs);
        }
        // A layer reads a prompt by its keys and values: those among the sites that were named.
        let chosen = self.model.sites.select(&globs)?;
        let names = chosen.into_iter().map(|id| self.model.sites.get(id).name.clone());
        let reads = |name: &String| name.ends_with(".cross.k") || name.ends_with(".cross.v");
        let names: Vec<Glob> = names.filter(reads).map(Glob::new).collect();
        if names.is_empty() {
            bail!("`sites={list}` has no *.cross.k and *.cross.v, by which layers read a prompt");
        }
        Ok(names)
    }

    fn operation(&self, name: &str, value: &str, scope: &Scope) -> Result<Operation> {
        Ok(match name {
            "zero" => Operation::Zero,
            "scale" => Operation::Scale(number(value)?),
            "mean" => Operation::Replace(trace(value)?.averaged(&self.sites(scope)?)),
            "replace" => Operation::Replace(trace(value)?),
            "add" => Operation::Add(trace(value)?, self.words.by()?),
            "steer" => Operation::Add(self.difference(value, scope)?, self.words.by()?),
            "mask" => Operation::Mask(self.tokens(value)?),
            "weigh" => Operation::Weigh(self.tokens(value)?, self.words.by()?),
            "prompt" => {
                let once = Request { steps: 1, image: None, ..self.request.clone() };
                let at_all_steps = Scope { steps: None, ..scope.clone() };
                Operation::Replace(self.reference(value, &once, &at_all_steps)?.of_first_step())
            }
            _ => {
                let step = value.parse().with_context(|| format!("`{value}` is no step"))?;
                Operation::Freeze(step)
            }
        })
    }

    fn sites(&self, scope: &Scope) -> Result<Vec<Site>> {
        let chosen = self.model.sites.select(&scope.sites)?;
        Ok(chosen.into_iter().map(|id| self.model.sites.get(id).clone()).collect())
    }

    /// What another prompt has at the sites.
    fn reference(&self, prompt: &str, run: &Request, scope: &Scope) -> Result<Reference> {
        let request = Request { prompts: vec![prompt.to_owned(); run.seeds.len()], ..run.clone() };
        let names = self.sites(scope)?.into_iter().map(|site| site.name);
        let mut recorder = RawRecorder::new(names, scope.steps.clone(), REFERENCE_BUDGET);
        generate(self.model, &request, Some(&mut recorder), &mut |_, _| {})?;
        let tensors: BTreeMap<_, _> = recorder.into_tensors().into_iter().collect();
        Ok(Reference::new(format!("the run of `{prompt}`"), tensors))
    }

    fn difference(&self, towards: &str, scope: &Scope) -> Result<Reference> {
        let from = self.words.get("from").context("`from` is missing: write from=PROMPT")?;
        let sites = self.sites(scope)?;
        let mean = |prompt: &str| {
            Ok::<_, anyhow::Error>(self.reference(prompt, self.request, scope)?.averaged(&sites))
        };
        Ok(mean(towards)?.minus(&mean(from)?))
    }

    /// Places of words among the tokens, all their pieces and occurrences; `@2` is a place.
    fn tokens(&self, list: &str) -> Result<Vec<i64>> {
        let mut prompts = self.request.prompts.iter();
        let prompt = prompts.next().map(String::as_str).unwrap_or_default();
        if let Some(other) = prompts.find(|other| *other != prompt) {
            bail!(
                "words have other places in `{other}` than in `{prompt}`; draw images of one \
                 prompt at a time"
            );
        }
        let tokens = self.request.encode(self.model, prompt)?;
        let mut places = BTreeSet::new();
        for word in list.split(',') {
            if let Some(place) = word.strip_prefix('@') {
                places.insert(place.parse().with_context(|| format!("`{word}` is no place"))?);
                continue;
            }
            let is_word = |text: &Option<String>| {
                text.as_ref().is_some_and(|text| text.eq_ignore_ascii_case(word))
            };
            let found = tokens.words.iter().enumerate().filter(|(_, text)| is_word(text));
            let before = places.len();
            places.extend(found.map(|(i, _)| i as i64));
            if places.len() == before {
                let words: Vec<&str> = tokens.words.iter().flatten().map(String::as_str).collect();
                bail!(
                    "`{word}` is not in the prompt `{prompt}`; its words are {}",
                    words.join(", ")
                );
            }
        }
        Ok(places.into_iter().collect())
    }
}

/// The tensors of a file by their names.
fn trace(file: &str) -> Result<Reference> {
    let tensors = WeightFile::open(Path::new(file))?.tensors()?;
    Ok(Reference::new(file, tensors))
}

/// White where the edit acts.
fn region(file: &Path) -> Result<Array2<bool>> {
    const HALF: u8 = 128;
    let image = image::imageops::grayscale(&read_image(file)?.image);
    let (width, height) = image.dimensions();
    let inside: Vec<bool> = image.pixels().map(|pixel| pixel.0[0] >= HALF).collect();
    let region = Array2::from_shape_vec((height as usize, width as usize), inside)?;
    if !region.iter().any(|&inside| inside) {
        bail!("{}: no white place, so the edit would act nowhere", file.display());
    }
    Ok(region)
}
