//! A measure of attention, step by step, as a mean over images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::levels::NoiseLevels;
use crate::measure::bootstrap::mean_over;
use crate::table::AttentionOverTimeRow;

/// ‖difference to the step before‖ over the norm there.
pub const CHANGE: &str = "change";
/// Entropy of cross-attention over tokens, over ln of their number.
pub const ENTROPY: &str = "entropy";
/// Cosine of the predictions with and without the prompt.
pub const COSINE: &str = "cosine";

/// Measure, site and step.
type Place = (String, Option<String>, usize);
/// Values, with the prompt of the image of each.
type OfPrompts = (Vec<f64>, Vec<String>);

/// Values of one run, image by image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct OverTime {
    /// By measure, site and step: values with the prompt of the image.
    values: BTreeMap<Place, OfPrompts>,
    /// Values that were not finite, and so left out.
    pub left_out: usize,
}

impl OverTime {
    /// Adds what was measured in one image.
    pub fn add(
        &mut self,
        measure: &str,
        site: Option<&str>,
        step: usize,
        (value, prompt): (f64, &str),
    ) {
        if !value.is_finite() {
            self.left_out += 1;
            return;
        }
        let (values, prompts) =
            self.values.entry((measure.to_owned(), site.map(str::to_owned), step)).or_default();
        values.push(value);
        prompts.push(prompt.to_owned());
    }

    /// Adds what was measured in other images.
    pub fn append(&mut self, other: Self) {
        self.left_out += other.left_out;
        for (place, (values, prompts)) in other.values {
            let own = self.values.entry(place).or_default();
            own.0.extend(values);
            own.1.extend(prompts);
        }
    }

    /// The rows of the table `attention_over_time`; sites in the given order.
    pub fn rows(
        &self,
        run: &str,
        levels: &NoiseLevels,
        sites: &[String],
    ) -> Vec<AttentionOverTimeRow> {
        let place = |site: &Option<String>| {
            site.as_ref().and_then(|site| sites.iter().position(|other| other == site))
        };
        let row = |((measure, site, step), (values, prompts)): (&Place, &OfPrompts)| {
            let interval = mean_over(values, prompts).ok();
            AttentionOverTimeRow {
                run: run.to_owned(),
                measure: measure.clone(),
                site: site.clone(),
                step: *step as u32,
                timestep: levels.timestep(*step as f64),
                sigma: levels.sigma(*step as f64),
                value: values.iter().sum::<f64>() / values.len() as f64,
                low: interval.map(|e| e.low),
                high: interval.map(|e| e.high),
                images: values.len() as u32,
            }
        };
        let mut rows: Vec<AttentionOverTimeRow> = self.values.iter().map(row).collect();
        rows.sort_by_key(|row| (row.measure.clone(), place(&row.site), row.step));
        rows
    }
}
