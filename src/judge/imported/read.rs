//! Detections from files: COCO-style JSON, GenEval's `results.jsonl`, VISOR's detection file.
//!
//! An image belongs to a prompt and a seed by its name: [`key_of`] says how.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Detection;
use super::geneval::Metadata;

/// Largest file that is read, in bytes: VISOR's, of 126,720 images, has some 60 MB.
const MOST_BYTES: u64 = 1 << 30;

/// What is known of one image.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// Boxes of a detector, in its order.
    Boxes(Vec<Detection>),
    /// A line of GenEval's `results.jsonl`.
    GenEval {
        /// `details`: boxes that its script has kept. They have no masks and no colours.
        details: Vec<Detection>,
        /// What was asked for.
        metadata: Metadata,
        /// What its script says.
        correct: bool,
        /// Why, in its words.
        reason: String,
    },
    /// An entry of VISOR's detection file.
    Visor {
        /// Classes of the boxes.
        classes: Vec<String>,
        /// Whether some pair lies as asked.
        relation: bool,
    },
}

/// Evidence by prompt id and seed (or number of the image).
pub type Evidences = BTreeMap<(String, u64), Evidence>;

/// Why detections cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}; check the path", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("{}: {bytes} bytes, at most {MOST_BYTES} are read; split the file by prompts", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not JSON of a form that is known.
    #[error(
        "{}{}: {reason}; give COCO JSON (images, categories, annotations with scores), GenEval's \
         results.jsonl or VISOR's detection file", path.display(), at(*line)
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// Line, from 1, where the file has one record a line.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// An image whose name does not say which prompt it belongs to.
    #[error(
        "{}: image name {name:?} names no prompt and seed; use <item>_<seed>.png or \
         <item>/<seed>.png", path.display()
    )]
    Name {
        /// The file.
        path: PathBuf,
        /// The image's name.
        name: String,
    },
    /// One image twice.
    #[error("{}: image {item} with seed {seed} is there twice; keep one", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// Its prompt.
        item: String,
        /// Its seed.
        seed: u64,
    },
    /// A box or score that cannot be.
    #[error(
        "{}: a detection of {class:?} in image {item}, seed {seed}: {reason}", path.display()
    )]
    Detection {
        /// The file.
        path: PathBuf,
        /// The image's prompt.
        item: String,
        /// The image's seed.
        seed: u64,
        /// The detection's class.
        class: String,
        /// What is wrong, and what to give instead.
        reason: &'static str,
    },
}

fn at(line: Option<usize>) -> String {
    line.map_or(String::new(), |line| format!(", line {line}"))
}

/// Prompt and seed in a file's name: `<item>_<seed>.png`, `<item>/<seed>.png` or, as GenEval lays
/// out its images, `<item>/samples/<seed>.png`; with any extension or none.
pub fn key_of(name: &str) -> Option<(String, u64)> {
    let mut parts = name.rsplit(['/', '\\']).filter(|part| !part.is_empty());
    let file = parts.next()?;
    let stem = match file.rsplit_once('.') {
        Some((stem, extension)) if extension.chars().all(char::is_alphanumeric) => stem,
        _ => file,
    };
    if let Some((item, seed)) = stem.rsplit_once('_')
        && let Ok(seed) = seed.parse()
        && !item.is_empty()
    {
        return Some((item.to_owned(), seed));
    }
    let seed = stem.parse().ok()?;
    let folder = parts.find(|part| *part != "samples")?;
    Some((folder.to_owned(), seed))
}

/// Reads a file of any of the three forms, told apart by its content.
///
/// # Errors
/// [`ImportError`]; the first thing that is wrong.
pub fn read(path: &Path) -> Result<Evidences, ImportError> {
    let io = |source| ImportError::Io { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(io)?.len();
    if bytes > MOST_BYTES {
        return Err(ImportError::TooLarge { path: path.to_owned(), bytes });
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let found = if serde_json::from_str::<GenEvalLine>(first).is_ok() {
        geneval(path, &text)?
    } else {
        match serde_json::from_str::<serde_json::Value>(&text) {
            Err(error) => return Err(form(path, Some(error.line()), error.to_string())),
            Ok(value) if value.get("annotations").is_some() => coco(path, &text)?,
            Ok(_) => visor(path, &text)?,
        }
    };
    if found.is_empty() {
        return Err(form(path, None, "it has no image".to_owned()));
    }
    check(path, &found)?;
    Ok(found)
}

fn form(path: &Path, line: Option<usize>, reason: String) -> ImportError {
    ImportError::Form { path: path.to_owned(), line, reason }
}

fn key(path: &Path, name: &str) -> Result<(String, u64), ImportError> {
    key_of(name).ok_or_else(|| ImportError::Name { path: path.to_owned(), name: name.to_owned() })
}

fn put(
    path: &Path,
    found: &mut Evidences,
    (item, seed): (String, u64),
    evidence: Evidence,
) -> Result<(), ImportError> {
    match found.insert((item.clone(), seed), evidence) {
        None => Ok(()),
        Some(_) => Err(ImportError::Twice { path: path.to_owned(), item, seed }),
    }
}

fn check(path: &Path, found: &Evidences) -> Result<(), ImportError> {
    for ((item, seed), evidence) in found {
        let (Evidence::Boxes(detections) | Evidence::GenEval { details: detections, .. }) =
            evidence
        else {
            continue;
        };
        for Detection { class, score, bounds, .. } in detections {
            let [left, top, right, bottom] = *bounds;
            let reason = if !bounds.iter().all(|x| x.is_finite()) || left > right || top > bottom {
                "its box has no extent; give finite pixels, in COCO files as left, top, width, height"
            } else if !(0.0..=1.0).contains(score) {
                "its score is not within 0 and 1; give the detector's probability"
            } else {
                continue;
            };
            let (path, item, class) = (path.to_owned(), item.clone(), class.clone());
            return Err(ImportError::Detection { path, item, seed: *seed, class, reason });
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
    categories: Vec<CocoCategory>,
    annotations: Vec<CocoAnnotation>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct CocoCategory {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct CocoAnnotation {
    image_id: u64,
    category_id: u64,
    /// Left, top, width, height.
    bbox: [f64; 4],
    score: f64,
    #[serde(default, alias = "color")]
    colour: Option<String>,
}

fn coco(path: &Path, text: &str) -> Result<Evidences, ImportError> {
    let file: Coco =
        serde_json::from_str(text).map_err(|e| form(path, Some(e.line()), e.to_string()))?;
    let classes: BTreeMap<u64, String> =
        file.categories.into_iter().map(|category| (category.id, category.name)).collect();
    // An image without detections is evidence too: nothing is there.
    let mut boxes: BTreeMap<u64, Vec<Detection>> =
        file.images.iter().map(|image| (image.id, Vec::new())).collect();
    for CocoAnnotation { image_id, category_id, bbox, score, colour } in file.annotations {
        let missing =
            |what: &str, id: u64| form(path, None, format!("{what} {id} is used but not listed"));
        let class = classes.get(&category_id).ok_or_else(|| missing("category", category_id))?;
        let of_image = boxes.get_mut(&image_id).ok_or_else(|| missing("image", image_id))?;
        let [left, top, width, height] = bbox;
        let bounds = [left, top, left + width, top + height];
        of_image.push(Detection { class: class.clone(), score, bounds, colour });
    }
    let mut found = Evidences::new();
    for CocoImage { id, file_name } in file.images {
        let of_image = boxes.remove(&id).unwrap_or_default();
        put(path, &mut found, key(path, &file_name)?, Evidence::Boxes(of_image))?;
    }
    Ok(found)
}

#[derive(Deserialize)]
struct GenEvalLine {
    filename: String,
    correct: bool,
    #[serde(default)]
    reason: String,
    /// JSON in a string.
    metadata: String,
    /// JSON in a string: boxes and scores by class.
    details: String,
}

fn geneval(path: &Path, text: &str) -> Result<Evidences, ImportError> {
    let mut found = Evidences::new();
    for (line, record) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |e: serde_json::Error| form(path, Some(line + 1), e.to_string());
        let record: GenEvalLine = serde_json::from_str(record).map_err(wrong)?;
        let metadata: Metadata = serde_json::from_str(&record.metadata).map_err(wrong)?;
        let boxes: BTreeMap<String, Vec<[f64; 5]>> =
            serde_json::from_str(&record.details).map_err(wrong)?;
        let details = boxes.into_iter().flat_map(|(class, of_class)| {
            of_class.into_iter().map(move |[left, top, right, bottom, score]| Detection {
                class: class.clone(),
                score,
                bounds: [left, top, right, bottom],
                colour: None,
            })
        });
        let evidence = Evidence::GenEval {
            details: details.collect(),
            metadata,
            correct: record.correct,
            reason: record.reason,
        };
        put(path, &mut found, key(path, &record.filename)?, evidence)?;
    }
    Ok(found)
}

#[derive(Deserialize)]
struct VisorEntry {
    classes: Vec<String>,
    /// 0 or 1.
    sra: f64,
}

fn visor(path: &Path, text: &str) -> Result<Evidences, ImportError> {
    let file: BTreeMap<String, VisorEntry> =
        serde_json::from_str(text).map_err(|e| form(path, Some(e.line()), e.to_string()))?;
    let mut found = Evidences::new();
    for (name, VisorEntry { classes, sra }) in file {
        let evidence = Evidence::Visor { classes, relation: sra > 0.0 };
        put(path, &mut found, key(path, &name)?, evidence)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn names_say_prompt_and_seed() {
        let key = |item: &str, seed| Some((item.to_owned(), seed));
        assert_eq!(key_of("counting-three-balls_7.png"), key("counting-three-balls", 7));
        assert_eq!(key_of("1103_0"), key("1103", 0));
        assert_eq!(key_of("out/00012/samples/0003.png"), key("00012", 3));
        assert_eq!(key_of("position-01/42.jpeg"), key("position-01", 42));
        assert_eq!(key_of("a prompt_000004.png"), key("a prompt", 4));
        for nameless in ["", "7.png", "picture.png", "_7.png", "samples/7.png", "item_x.png"] {
            assert_eq!(key_of(nameless), None, "{nameless}");
        }
    }
}
