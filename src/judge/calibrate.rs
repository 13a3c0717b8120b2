//! How often the judge is right, on scenes whose truth is known.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::distort::Distortion;
use super::look::look;
use super::matching::match_seen;
use super::seen::{Seen, SeenObject};
use super::verdict::{Atom, Verdict};
use crate::world::{Background, Expectations, Generator, Light, Sample, masks, parse, render};

/// Which images a calibration looks at.
pub struct Plan<'a> {
    /// Where scenes and captions come from.
    pub generator: &'a Generator,
    /// Number of the first sample.
    pub first: u64,
    /// How many samples.
    pub count: u64,
    /// Side of the images in pixels.
    pub size: usize,
    /// What is done to the images.
    pub distortion: Distortion<'a>,
}

/// `right` of `of` cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Cases that came out right (or, for false positives, wrongly said to hold).
    pub hits: u64,
    /// All cases.
    pub of: u64,
}

impl Rate {
    /// Adds one case.
    pub fn add(&mut self, hit: bool) {
        self.hits += u64::from(hit);
        self.of += 1;
    }

    /// Adds the cases of another rate.
    pub fn merge(&mut self, other: Rate) {
        self.hits += other.hits;
        self.of += other.of;
    }

    /// `hits / of`; `None` without cases.
    pub fn share(&self) -> Option<f64> {
        (self.of > 0).then(|| self.hits as f64 / self.of as f64)
    }
}

/// What the judge saw (columns) where the truth was something (rows).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// truth → seen → number of cases.
    pub cells: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Confusion {
    fn add(&mut self, truth: impl Into<String>, seen: impl Into<String>) {
        *self.cells.entry(truth.into()).or_default().entry(seen.into()).or_default() += 1;
    }

    fn merge(&mut self, other: Confusion) {
        for (truth, row) in other.cells {
            let own = self.cells.entry(truth).or_default();
            for (seen, n) in row {
                *own.entry(seen).or_default() += n;
            }
        }
    }

    /// Share of cases on the diagonal.
    pub fn agreement(&self) -> Rate {
        let mut rate = Rate::default();
        for (truth, row) in &self.cells {
            for (seen, n) in row {
                rate.of += n;
                rate.hits += if truth == seen { *n } else { 0 };
            }
        }
        rate
    }
}

/// The outcome of a calibration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Calibration {
    /// Name of the distortion.
    pub distortion: String,
    /// Side of the images in pixels.
    pub size: usize,
    /// Images looked at.
    pub images: u64,
    /// Per kind of atom: how often the judge decided an atom of the image's own caption as the
    /// scene demands. All of these atoms are true.
    pub own: BTreeMap<String, Rate>,
    /// Per kind of atom that is false in the scene, taken from the caption of another image:
    /// how often the judge said that it holds.
    pub false_positives: BTreeMap<String, Rate>,
    /// Whole captions of the image itself that hold, in the judge's eyes.
    pub captions: Rate,
    /// Whole captions of another image, false in this scene, that hold in the judge's eyes.
    pub foreign_captions: Rate,
    /// Per attribute ("shape", "colour", "size", "finish", "background", "light", "objects",
    /// "letters", "fingers") what was seen for what was there. Objects are paired by place:
    /// "missed" and "nothing" stand for what was not seen and for what was not there.
    pub confusion: BTreeMap<String, Confusion>,
    /// Sum over paired objects of the overlap of the seen and the true mask (intersection over
    /// union), and the number of pairs.
    pub mask_overlap: (f64, u64),
    /// Numbers of the samples whose own caption did not hold in the judge's eyes, at most
    /// [`Calibration::MOST_FAILURES`].
    pub failures: Vec<u64>,
}

impl Calibration {
    /// Most failures that are listed.
    pub const MOST_FAILURES: usize = 1000;

    /// All atoms of own captions together.
    pub fn all_atoms(&self) -> Rate {
        total(self.own.values())
    }

    /// All false atoms of foreign captions together.
    pub fn all_false_positives(&self) -> Rate {
        total(self.false_positives.values())
    }

    /// Mean overlap of seen and true masks; `None` without objects.
    pub fn mean_mask_overlap(&self) -> Option<f64> {
        (self.mask_overlap.1 > 0).then(|| self.mask_overlap.0 / self.mask_overlap.1 as f64)
    }

    /// The outcome over the images of both.
    pub fn merge(mut self, other: Calibration) -> Calibration {
        self.images += other.images;
        for (kind, rate) in other.own {
            self.own.entry(kind).or_default().merge(rate);
        }
        for (kind, rate) in other.false_positives {
            self.false_positives.entry(kind).or_default().merge(rate);
        }
        self.captions.merge(other.captions);
        self.foreign_captions.merge(other.foreign_captions);
        for (attribute, table) in other.confusion {
            self.confusion.entry(attribute).or_default().merge(table);
        }
        self.mask_overlap.0 += other.mask_overlap.0;
        self.mask_overlap.1 += other.mask_overlap.1;
        self.failures.extend(other.failures);
        self.failures.truncate(Calibration::MOST_FAILURES);
        self
    }

    fn table(&mut self, attribute: &str) -> &mut Confusion {
        self.confusion.entry(attribute.to_owned()).or_default()
    }
}

fn total<'a>(rates: impl Iterator<Item = &'a Rate>) -> Rate {
    rates.fold(Rate::default(), |mut sum, rate| {
        sum.merge(*rate);
        sum
    })
}

/// Runs the judge over rendered scenes and compares it with the truth. Every image is judged by
/// its own caption and by that of another sample; truth goes through the same rules as sight
/// ([`Seen::of_scene`], [`match_seen`]). Images are looked at in parallel; the outcome does not
/// depend on the number of threads.
pub fn calibrate(plan: &Plan<'_>) -> Calibration {
    let parts: Vec<Calibration> =
        (plan.first..plan.first + plan.count).into_par_iter().map(|i| one(plan, i)).collect();
    let start = Calibration {
        distortion: plan.distortion.name(),
        size: plan.size,
        ..Calibration::default()
    };
    parts.into_iter().fold(start, Calibration::merge)
}

fn one(plan: &Plan<'_>, index: u64) -> Calibration {
    let sample = plan.generator.sample(index);
    let image = plan.distortion.apply(render(&sample.scene, plan.size), index);
    let seen = look(&image);
    let truth = Seen::of_scene(&sample.scene);
    let mut out = Calibration { images: 1, ..Calibration::default() };
    if let Ok(own) = parse(&sample.caption) {
        let (judged, _) = compare(&seen, &truth, &own, |kind, _, judged, true_| {
            out.own.entry(kind.to_owned()).or_default().add(judged == true_);
        });
        out.captions.add(judged.holds());
        if !judged.holds() {
            out.failures.push(index);
        }
    }
    if let Some(foreign) = foreign(plan, &sample) {
        let (judged, true_) = compare(&seen, &truth, &foreign, |kind, _, judged, true_| {
            if !true_ {
                out.false_positives.entry(kind.to_owned()).or_default().add(judged);
            }
        });
        if !true_.holds() {
            out.foreign_captions.add(judged.holds());
        }
    }
    confusions(&mut out, &seen, &truth, &sample, plan.size);
    out
}

/// Judges a caption on what was seen and on what was there, atom by atom.
fn compare(
    seen: &Seen,
    truth: &Seen,
    expectations: &Expectations,
    mut visit: impl FnMut(&'static str, Atom, bool, bool),
) -> (Verdict, Verdict) {
    let judged = match_seen(seen.clone(), expectations);
    let true_ = match_seen(truth.clone(), expectations);
    for (a, b) in judged.atoms.iter().zip(&true_.atoms) {
        visit(a.atom.kind(), a.atom, a.holds, b.holds);
    }
    (judged, true_)
}

/// The caption of the next sample of the same category: another's, yet as near as captions get.
fn foreign(plan: &Plan<'_>, sample: &Sample) -> Option<Expectations> {
    const TRIES: u64 = 60;
    let other = (1..TRIES)
        .map(|step| plan.generator.sample(sample.index + step))
        .find(|other| other.category == sample.category)?;
    parse(&other.caption).ok()
}

const MISSED: &str = "missed";
const NOTHING: &str = "nothing";

fn confusions(out: &mut Calibration, seen: &Seen, truth: &Seen, sample: &Sample, size: usize) {
    let name = |n: Option<&'static str>| n.unwrap_or(MISSED);
    out.table("background").add(
        truth.background.map_or(NOTHING, Background::name),
        name(seen.background.map(Background::name)),
    );
    out.table("light")
        .add(truth.light.map_or(NOTHING, Light::name), name(seen.light.map(Light::name)));
    if !truth.objects.is_empty() || !seen.objects.is_empty() {
        out.table("objects").add(truth.objects.len().to_string(), seen.objects.len().to_string());
    }
    let masks = masks(&sample.scene, size);
    let mut left: Vec<&SeenObject> = seen.objects.iter().collect();
    for (object, mask) in sample.scene.objects().iter().zip(&masks) {
        let near =
            |s: &SeenObject| (s.centre.0 - object.x).hypot(s.centre.1 - object.y) < object.radius;
        let nearest = left.iter().position(|s| near(s)).map(|at| left.remove(at));
        out.table("shape").add(object.shape.name(), name(nearest.map(|s| s.shape.name())));
        out.table("colour").add(object.colour.name(), name(nearest.map(|s| s.colour.name())));
        out.table("size").add(object.size.name(), name(nearest.map(|s| s.size.name())));
        out.table("finish").add(object.finish.name(), name(nearest.map(|s| s.finish.name())));
        if let Some(s) = nearest {
            let both = s.mask.iter().zip(mask).filter(|(a, b)| **a && **b).count();
            let either = s.mask.iter().zip(mask).filter(|(a, b)| **a || **b).count();
            out.mask_overlap.0 += both as f64 / either.max(1) as f64;
            out.mask_overlap.1 += 1;
        }
    }
    for extra in left {
        out.table("shape").add(NOTHING, extra.shape.name());
    }
    if let Some(word) = &truth.word {
        let read: Vec<char> = seen.word.iter().flat_map(|w| w.text.chars()).collect();
        for (i, letter) in word.text.chars().enumerate() {
            let seen = read.get(i).map_or(MISSED.into(), char::to_string);
            out.table("letters").add(letter.to_string(), seen);
        }
        out.table("letter colour")
            .add(word.colour.name(), name(seen.word.as_ref().map(|w| w.colour.name())));
    }
    if truth.fingers.is_some() || seen.fingers.is_some() {
        let number = |n: Option<u8>, none: &str| n.map_or(none.to_owned(), |n| n.to_string());
        out.table("fingers").add(number(truth.fingers, NOTHING), number(seen.fingers, MISSED));
    }
}
