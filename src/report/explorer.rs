//! The explorer: every recorded map, packed so that a browser can draw any of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ndarray::Array2;
use serde::Serialize;
use serde_json::{Value, json};

use super::ReportError;
use crate::figure::{ColorMap, FAINTEST, outline_loops};

/// A position along the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepLabel {
    /// An aggregate over all steps.
    All,
    /// One step.
    At {
        /// Number of the step, from 0.
        step: usize,
        /// Its timestep.
        timestep: f64,
    },
}

/// One map: where a word's attention goes at a site, a head and a step.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplorerMap {
    /// Index into the image's words.
    pub word: usize,
    /// Index into the image's sites.
    pub site: usize,
    /// Index into the image's heads.
    pub head: usize,
    /// Index into the image's steps.
    pub step: usize,
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
    /// Values, row-major; NaN where there is none.
    pub values: Vec<f32>,
}

/// What the model would draw if it stopped at a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExplorerFrame {
    /// Number of the step, from 0.
    pub step: usize,
    /// The image as PNG bytes.
    pub png: Vec<u8>,
}

/// One generated image and its maps.
#[derive(Debug, Clone, Default)]
pub struct ExplorerImage {
    /// What tells this image from the others: its prompt or seed.
    pub title: String,
    /// The image as PNG bytes.
    pub png: Vec<u8>,
    /// The words.
    pub words: Vec<String>,
    /// The sites; an aggregate such as "all sites" is an ordinary entry and best comes first.
    pub sites: Vec<String>,
    /// The heads; "mean of heads" is an ordinary entry and best comes first.
    pub heads: Vec<String>,
    /// The steps in the order of the run.
    pub steps: Vec<StepLabel>,
    /// The maps, in any order; combinations may be missing.
    pub maps: Vec<ExplorerMap>,
    /// Regions to outline, shape [height, width] stretched over the image.
    pub masks: Vec<(String, Array2<bool>)>,
    /// Frames of single steps in the order of the run; may be empty.
    pub film: Vec<ExplorerFrame>,
}

/// Maps to explore, one entry a sample.
#[derive(Debug, Clone, Default)]
pub struct Explorer {
    /// What the maps hold, with its unit: "attention probability".
    pub quantity: String,
    /// Colours.
    pub colors: ColorMap,
    /// The images.
    pub images: Vec<ExplorerImage>,
}

/// Byte for a missing value; measured values take 0…254.
const MISSING: u8 = u8::MAX;
const TOP_LEVEL: f32 = 254.0;

impl Explorer {
    /// Bytes the maps and images take in the page.
    pub fn packed_bytes(&self) -> usize {
        const INDEX_BYTES: usize = 40;
        let of_image = |image: &ExplorerImage| {
            let maps: usize = image.maps.iter().map(|m| m.values.len() * 4 / 3 + INDEX_BYTES).sum();
            let frames: usize = image.film.iter().map(|frame| frame.png.len()).sum();
            maps + (image.png.len() + frames) * 4 / 3
        };
        self.images.iter().map(of_image).sum()
    }

    /// Leaves out steps, evenly, until the maps take at most `bytes` or two steps are left;
    /// aggregates over steps stay. Compare the count of maps to learn whether any went.
    pub fn thinned(mut self, bytes: usize) -> Self {
        while self.packed_bytes() > bytes {
            let before = self.map_count();
            self.images.iter_mut().for_each(halve_steps);
            if before == self.map_count() {
                break;
            }
        }
        self
    }

    /// Number of maps.
    pub fn map_count(&self) -> usize {
        self.images.iter().map(|i| i.maps.len()).sum()
    }

    /// What there is to explore, in words.
    pub fn summary(&self) -> String {
        let (maps, images) = (self.map_count(), self.images.len());
        format!("Explorer in the HTML report; maps: {maps}, images: {images}.")
    }

    /// The data block of the page.
    pub(super) fn to_json(&self) -> Result<String, ReportError> {
        let images: Vec<Value> = self.images.iter().map(pack_image).collect::<Result<_, _>>()?;
        let colors: Vec<u8> = self.colors.table().concat();
        let data = json!({
            "quantity": self.quantity,
            "colors": STANDARD.encode(colors),
            "faintest": FAINTEST,
            "images": images,
        });
        Ok(embed(&serde_json::to_string(&data)?))
    }
}

/// In JSON, the explorer is its lists without the maps.
impl Serialize for Explorer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let images: Vec<Value> = self
            .images
            .iter()
            .map(|image| {
                json!({
                    "title": image.title, "words": image.words, "sites": image.sites,
                    "heads": image.heads, "steps": image.steps, "maps": image.maps.len(),
                })
            })
            .collect();
        json!({ "quantity": self.quantity, "images": images }).serialize(serializer)
    }
}

/// Makes JSON safe inside a script element: no character is left that could end it or open a
/// comment. The escapes mean the same to a JSON parser.
fn embed(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", c as u32))
            }
            c => out.push(c),
        }
    }
    out
}

fn pack_image(image: &ExplorerImage) -> Result<Value, ReportError> {
    let mut maps: Vec<&ExplorerMap> = image.maps.iter().collect();
    maps.sort_by_key(|m| (m.word, m.site, m.head, m.step));
    let mut bytes = Vec::new();
    let mut index = Vec::new();
    for map in maps {
        check(image, map)?;
        let (low, high) = quantise(&map.values, &mut bytes);
        let place = [map.word, map.site, map.head, map.step, map.height, map.width];
        index.extend(place.map(Value::from));
        index.extend([low, high].map(|v| Value::from(four_digits(v))));
    }
    let steps: Vec<Value> = image
        .steps
        .iter()
        .map(|step| match step {
            StepLabel::All => Value::Null,
            StepLabel::At { step, timestep } => json!([step, timestep]),
        })
        .collect();
    let outlines: Vec<Value> = image
        .masks
        .iter()
        .map(|(label, mask)| json!({ "label": label, "loops": loops(mask) }))
        .collect();
    let film: Vec<Value> = image
        .film
        .iter()
        .map(|frame| json!({ "step": frame.step, "png": STANDARD.encode(&frame.png) }))
        .collect();
    Ok(json!({
        "film": film,
        "title": image.title,
        "png": STANDARD.encode(&image.png),
        "words": image.words,
        "sites": image.sites,
        "heads": image.heads,
        "steps": steps,
        "outlines": outlines,
        "index": index,
        "maps": STANDARD.encode(bytes),
    }))
}

fn check(image: &ExplorerImage, map: &ExplorerMap) -> Result<(), ReportError> {
    let places = [
        ("word", map.word, image.words.len()),
        ("site", map.site, image.sites.len()),
        ("head", map.head, image.heads.len()),
        ("step", map.step, image.steps.len()),
    ];
    let problem = places.into_iter().find(|&(_, index, count)| index >= count).map_or_else(
        || {
            let (got, needed) = (map.values.len(), map.height * map.width);
            (got != needed || got == 0)
                .then(|| format!("has {got} values for {} × {}", map.height, map.width))
        },
        |(what, index, count)| Some(format!("names {what} {index} of {count}")),
    );
    match problem {
        Some(problem) => Err(ReportError::Map { image: image.title.clone(), problem }),
        None => Ok(()),
    }
}

/// Appends one byte a value; returns the values of the bytes 0 and 254.
fn quantise(values: &[f32], bytes: &mut Vec<u8>) -> (f32, f32) {
    let known = values.iter().copied().filter(|v| v.is_finite());
    let (low, high) =
        known.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        bytes.extend(values.iter().map(|_| MISSING));
        return (0.0, 0.0);
    }
    let span = high - low;
    bytes.extend(values.iter().map(|&v| {
        if !v.is_finite() {
            MISSING
        } else if span > 0.0 {
            ((v - low) / span * TOP_LEVEL).round() as u8
        } else {
            0
        }
    }));
    (low, high)
}

/// A number with four significant digits: more than one byte a value can tell apart.
fn four_digits(value: f32) -> f64 {
    format!("{value:.3e}").parse().unwrap_or_default()
}

/// The borders of a region as flat lists x, y, x, y … in thousandths of the image.
fn loops(mask: &Array2<bool>) -> Vec<Vec<u16>> {
    let thousandths = |v: f64| (v * 1000.0).round() as u16;
    outline_loops(mask)
        .into_iter()
        .map(|points| {
            points.into_iter().flat_map(|(x, y)| [thousandths(x), thousandths(y)]).collect()
        })
        .collect()
}

/// Keeps aggregates, and of the single steps every second and the last.
fn halve_steps(image: &mut ExplorerImage) {
    const FEWEST: usize = 2;
    let single: Vec<usize> = (0..image.steps.len())
        .filter(|&i| matches!(image.steps[i], StepLabel::At { .. }))
        .collect();
    if single.len() <= FEWEST {
        return;
    }
    let last = single.len() - 1;
    let dropped: Vec<usize> = single
        .iter()
        .enumerate()
        .filter(|&(rank, _)| rank % 2 == 1 && rank != last)
        .map(|(_, &index)| index)
        .collect();
    let kept: Vec<usize> = (0..image.steps.len()).filter(|i| !dropped.contains(i)).collect();
    image.maps.retain_mut(|map| match kept.binary_search(&map.step) {
        Ok(place) => {
            map.step = place;
            true
        }
        // A step out of range is kept, so that packing reports it.
        Err(_) => map.step >= image.steps.len(),
    });
    image.steps = kept.iter().map(|&i| image.steps[i]).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(steps: usize) -> ExplorerImage {
        let mut labels = vec![StepLabel::All];
        labels
            .extend((0..steps).map(|step| StepLabel::At { step, timestep: 1000.0 - step as f64 }));
        let map = |step| ExplorerMap {
            word: 0,
            site: 0,
            head: 0,
            step,
            height: 2,
            width: 2,
            values: vec![step as f32, 1.0, 2.0, f32::NAN],
        };
        ExplorerImage {
            title: "seed 0".into(),
            words: vec!["ball".into()],
            sites: vec!["all sites".into()],
            heads: vec!["mean of heads".into()],
            maps: (0..labels.len()).map(map).collect(),
            steps: labels,
            ..ExplorerImage::default()
        }
    }

    #[test]
    fn values_survive_packing_within_one_level() {
        let values = [0.0, 0.25, 1.0, f32::NAN, 0.1];
        let mut bytes = Vec::new();
        let (low, high) = quantise(&values, &mut bytes);
        for (value, byte) in values.iter().zip(&bytes) {
            if value.is_nan() {
                assert_eq!(*byte, MISSING);
            } else {
                let back = low + f32::from(*byte) / TOP_LEVEL * (high - low);
                assert!((back - value).abs() <= 0.5 / TOP_LEVEL + 1e-6);
            }
        }
    }

    #[test]
    fn a_map_that_does_not_fit_is_refused() {
        let mut wrong = image(2);
        wrong.maps[0].word = 5;
        assert!(pack_image(&wrong).is_err());
        let mut wrong = image(2);
        wrong.maps[0].width = 3;
        assert!(pack_image(&wrong).is_err());
        assert!(pack_image(&image(2)).is_ok());
    }

    #[test]
    fn thinning_keeps_the_aggregate_and_both_ends() {
        let explorer = Explorer { images: vec![image(25)], ..Explorer::default() };
        let size = explorer.packed_bytes();
        let thin = explorer.thinned(size / 3);
        assert!(thin.packed_bytes() <= size / 3);
        let steps = &thin.images[0].steps;
        assert_eq!(steps[0], StepLabel::All);
        assert_eq!(steps[1], StepLabel::At { step: 0, timestep: 1000.0 });
        assert_eq!(steps[steps.len() - 1], StepLabel::At { step: 24, timestep: 976.0 });
        for map in &thin.images[0].maps {
            if let StepLabel::At { step, .. } = steps[map.step] {
                assert_eq!(map.values[0], (step + 1) as f32, "maps stay with their step");
            }
        }
    }

    #[test]
    fn thinning_ends_when_nothing_is_left_to_drop() {
        let thin = Explorer { images: vec![image(9)], ..Explorer::default() }.thinned(0);
        assert_eq!(thin.images[0].steps.len(), 3);
    }
}
