//! What stands in the head of a report, from the manifest.

use crate::report::Fact;
use crate::run::{ImageRecord, Manifest, SamplingRecord};

/// Parameters in a million.
const MILLION: f64 = 1e6;

/// What the run kept for the head of its report; else model, sampler, guidance, seeds, size and
/// device, as far as it has them.
pub fn facts(manifest: &Manifest) -> Vec<Fact> {
    let kept =
        |(label, value): &(String, String)| Fact { label: label.clone(), value: value.clone() };
    let mut facts: Vec<Fact> = manifest.facts.iter().map(kept).collect();
    if !facts.is_empty() {
        return facts;
    }
    let mut add = |label: &str, value: String| facts.push(Fact { label: label.to_owned(), value });
    if let Some(model) = &manifest.model {
        let parameters =
            model.parameters.map(|n| format!(" ({:.1} M parameters)", n as f64 / MILLION));
        add("model", format!("{}{}", model.name, parameters.unwrap_or_default()));
    }
    if let Some(sampling) = &manifest.sampling {
        let (label, value) = how_sampled(sampling);
        add(label, value);
        let guidance = sampling.guidance;
        add("guidance", format!("s = {} (γ = {})", guidance.scale, guidance.gamma));
        add("seeds", seeds(&sampling.seeds));
        add("size", format!("{}×{} pixels", sampling.width, sampling.height));
    }
    if let Some(runtime) = &manifest.runtime {
        add("computed on", format!("{}, {}", runtime.device, runtime.dtype));
    }
    facts
}

/// Keeps the head of a report for when it is made again.
pub fn keep_facts(manifest: &mut Manifest, facts: &[Fact]) {
    let kept = |fact: &Fact| (fact.label.clone(), fact.value.clone());
    manifest.facts = facts.iter().map(kept).collect();
}

fn seeds(seeds: &[u64]) -> String {
    match (seeds.iter().min(), seeds.iter().max()) {
        (Some(first), Some(last)) if first != last => format!("{first}–{last}"),
        (Some(only), _) => only.to_string(),
        _ => String::new(),
    }
}

/// How the images came about.
fn how_sampled(sampling: &SamplingRecord) -> (&'static str, String) {
    let sampler = format!("{}, {} steps", sampling.sampler, sampling.steps);
    let Some(ImageRecord { purpose, strength, timesteps, .. }) = &sampling.image else {
        return ("sampler", sampler);
    };
    match (purpose.as_str(), strength) {
        ("look", _) => {
            let list: Vec<String> = timesteps.iter().map(i64::to_string).collect();
            ("image", format!("given, looked at once at timesteps {}", list.join(", ")))
        }
        ("invert", _) => ("sampler", format!("{sampler}; from an image's inversion")),
        (_, Some(strength)) => {
            ("sampler", format!("{sampler}; from an image, strength {strength}"))
        }
        _ => ("sampler", format!("{sampler}; from an image")),
    }
}
