//! Masks from a COCO file: polygons, run lengths, or boxes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use ndarray::Array2;
use serde::Deserialize;

use crate::cli::image_file::read_bytes;
use crate::measure::segmentation::{polygon, run_lengths, runs};

/// Longest side of an image that a file may speak of, in pixels.
const MOST_SIDE: usize = 16_384;

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    categories: Vec<Category>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    width: usize,
    height: usize,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
    segmentation: Option<Segmentation>,
    /// Left, top, width, height.
    bbox: Option<[f64; 4]>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    /// Corners, x and y in turn.
    Polygons(Vec<Vec<f64>>),
    Runs {
        counts: Counts,
        /// Height, width.
        size: [usize; 2],
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    Plain(Vec<usize>),
    Compressed(String),
}

/// The regions of each category in the image of this name, or in the only one of the file, in the
/// file's own resolution; lower case names.
pub(super) fn regions(file: &Path, image: &str) -> Result<BTreeMap<String, Array2<bool>>> {
    let shown = file.display();
    let form = || {
        format!(
            "{shown}: no COCO JSON with images (of a width and height), categories and annotations"
        )
    };
    let content: File = serde_json::from_slice(&read_bytes(file)?).with_context(form)?;
    let named = |candidate: &&Image| {
        Path::new(&candidate.file_name).file_name() == Path::new(image).file_name()
    };
    let found = match content.images.as_slice() {
        [only] => only,
        many => many.iter().find(named).with_context(|| {
            format!("{shown}: none of its {} images is called {image}", many.len())
        })?,
    };
    let size = [found.height, found.width];
    if size.iter().any(|&side| side == 0 || side > MOST_SIDE) {
        bail!("{shown}: {} has {}×{} pixels", found.file_name, found.width, found.height);
    }
    let names: BTreeMap<u64, &str> =
        content.categories.iter().map(|c| (c.id, c.name.as_str())).collect();
    let mut regions: BTreeMap<String, Array2<bool>> = BTreeMap::new();
    for annotation in content.annotations.iter().filter(|a| a.image_id == found.id) {
        let name = names.get(&annotation.category_id).with_context(|| {
            format!("{shown}: category {} is used but not listed", annotation.category_id)
        })?;
        let region = region(annotation, size)
            .with_context(|| format!("{shown}: an annotation of {name} cannot be used"))?;
        // Several annotations of one category are one region.
        match regions.get_mut(&name.to_lowercase()) {
            Some(known) => known.zip_mut_with(&region, |inside, &more| *inside |= more),
            None => drop(regions.insert(name.to_lowercase(), region)),
        }
    }
    Ok(regions)
}

fn region(annotation: &Annotation, size: [usize; 2]) -> Result<Array2<bool>> {
    match (&annotation.segmentation, annotation.bbox) {
        (Some(Segmentation::Polygons(polygons)), _) if !polygons.is_empty() => {
            let mut region = Array2::from_elem(size, false);
            for corners in polygons {
                let one = polygon(corners, size)?;
                region.zip_mut_with(&one, |inside, &more| *inside |= more);
            }
            Ok(region)
        }
        (Some(Segmentation::Runs { counts, size: own }), _) => {
            if *own != size {
                bail!("its size is {own:?}, that of its image {size:?} (height, width)");
            }
            match counts {
                Counts::Plain(counts) => Ok(runs(counts, size)?),
                Counts::Compressed(text) => {
                    let counts = run_lengths(text).context("its run lengths are damaged")?;
                    Ok(runs(&counts, size)?)
                }
            }
        }
        (_, Some([left, top, width, height])) => {
            let (right, bottom) = (left + width, top + height);
            Ok(polygon(&[left, top, right, top, right, bottom, left, bottom], size)?)
        }
        _ => bail!("give it a segmentation or a bbox"),
    }
}
