//! Whether two runs asked the same, in the same way, of the same judge.

use super::Side;
use crate::run::Manifest;

/// What must be the same in two runs, in groups that a user may allow to differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// What was asked: suite, its version and its content.
    Suite,
    /// Who judged, in which version.
    Judge,
    /// The sampler and its η.
    Sampler,
    /// How many steps.
    Steps,
    /// Guidance: its scale, rescaling, and the negative prompt.
    Guidance,
    /// Width and height of the images.
    Size,
}

impl Aspect {
    /// All aspects.
    pub const ALL: [Aspect; 6] = [
        Aspect::Suite,
        Aspect::Judge,
        Aspect::Sampler,
        Aspect::Steps,
        Aspect::Guidance,
        Aspect::Size,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Aspect::Suite => "suite",
            Aspect::Judge => "judge",
            Aspect::Sampler => "sampler",
            Aspect::Steps => "steps",
            Aspect::Guidance => "guidance",
            Aspect::Size => "size",
        }
    }
}

/// Something in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What sort of thing.
    pub aspect: Aspect,
    /// What: `guidance scale`.
    pub what: String,
    /// Its value in run A.
    pub a: String,
    /// Its value in run B.
    pub b: String,
}

/// All in which two runs differ that must be the same.
pub fn differences(a: &Side, b: &Side) -> Vec<Difference> {
    let (of_a, of_b) = (facts(a), facts(b));
    of_a.into_iter()
        .zip(of_b)
        .filter(|((_, _, a), (_, _, b))| a != b)
        .map(|((aspect, what, a), (_, _, b))| Difference { aspect, what: what.to_owned(), a, b })
        .collect()
}

/// All that must be the same for runs to be compared, and the edits they ran under, in words:
/// runs of which it is equal ask the same in the same way.
pub(in crate::probe) fn asked(side: &Side) -> Vec<(&'static str, String)> {
    let edits = if side.edits.is_empty() { "none".to_owned() } else { side.edits.join("; ") };
    let facts = facts(side).into_iter().map(|(_, what, value)| (what, value));
    facts.chain([("edits", edits)]).collect()
}

/// What must be the same, in a fixed order.
fn facts(side: &Side) -> Vec<(Aspect, &'static str, String)> {
    let mut facts = vec![
        (Aspect::Suite, "suite", side.outcomes.suites()),
        (Aspect::Judge, "judge", side.outcomes.judges()),
    ];
    let sampling = side.manifest().sampling.as_ref();
    let mut of_sampling = |aspect, what, value: Option<String>| {
        facts.push((aspect, what, value.unwrap_or_else(|| "not recorded".to_owned())));
    };
    of_sampling(Aspect::Sampler, "sampler", sampling.map(|s| s.sampler.clone()));
    of_sampling(Aspect::Sampler, "η of the sampler", sampling.map(|s| s.eta.to_string()));
    of_sampling(Aspect::Steps, "steps", sampling.map(|s| s.steps.to_string()));
    of_sampling(Aspect::Guidance, "guidance scale", sampling.map(|s| s.guidance.scale.to_string()));
    let rescale = sampling.map(|s| s.guidance_rescale.to_string());
    of_sampling(Aspect::Guidance, "rescaling of guidance", rescale);
    of_sampling(Aspect::Guidance, "negative prompt", sampling.map(|s| format!("{:?}", s.negative)));
    of_sampling(Aspect::Size, "size", sampling.map(|s| format!("{}×{}", s.width, s.height)));
    facts
}

/// What else differs and may be what the comparison is about: what, in A, in B.
pub fn remarks(a: &Side, b: &Side) -> Vec<(&'static str, String, String)> {
    let of_a = remarkable(a);
    let of_b = remarkable(b);
    of_a.into_iter()
        .zip(of_b)
        .filter(|((_, a), (_, b))| a != b)
        .map(|((what, a), (_, b))| (what, a, b))
        .collect()
}

fn remarkable(side: &Side) -> Vec<(&'static str, String)> {
    let manifest = side.manifest();
    let runtime = manifest.runtime.as_ref();
    let known = |value: Option<String>| value.unwrap_or_else(|| "not recorded".to_owned());
    vec![
        ("model", known(manifest.model.as_ref().map(|model| model.name.clone()))),
        ("weights", known(weights(manifest))),
        ("edits", if side.edits.is_empty() { "none".into() } else { side.edits.join("; ") }),
        ("kind of numbers", known(runtime.map(|r| r.dtype.clone()))),
        ("device", known(runtime.map(|r| r.device.clone()))),
        ("attention kernel", known(runtime.map(|r| r.attention_kernel.clone()))),
        ("libtorch", known(runtime.map(|r| r.libtorch.clone()))),
        ("denoscope", manifest.denoscope.clone()),
    ]
}

/// A short digest over all weight files.
fn weights(manifest: &Manifest) -> Option<String> {
    let model = manifest.model.as_ref()?;
    let all: Vec<String> =
        model.weights.iter().map(|file| format!("{} {}", file.path, file.sha256)).collect();
    Some(crate::run::hash8(&all.join("\n")))
}
