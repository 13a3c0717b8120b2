//! An attention run read back from its folder: what its report is made of, without the model.

use std::collections::BTreeMap;

use image::RgbImage;
use ndarray::{Array2, Array4, Array5, ArrayView2, s};

use super::report::{Measured, report, world_report};
use super::{AttentionRun, FilmFrame, GivenRegion, JudgedImage, PromptToken};
use crate::judge;
use crate::measure::record::{AttentionRecord, LayerMaps, MapNumbers};
use crate::probe::stored::{StoredError, StoredReader, facts};
use crate::report::{Report, Rerun};
use crate::site::Branch;
use crate::table::{AlignmentRow, AttentionMapRow, AttentionRow, ImageRow, LeakageRow, TokenRow};
use crate::world;

/// Role of words whose region was given, in the table `alignment`.
const GIVEN: &str = "given";

/// Where the region of a given mask is kept in the run's folder.
pub fn region_file(number: usize) -> String {
    format!("images/regions/{number:03}.png")
}

/// Where a frame of the film is kept in the run's folder.
pub fn frame_file(sample: usize, step: usize) -> String {
    format!("{FILM}{sample:03}-{step:03}.png")
}

/// Folder of the films' frames.
const FILM: &str = "images/denoised/";

/// The maps that a report is made of again: of each head the sum over steps, and at the given
/// steps the mean over heads.
pub fn map_rows<'a>(
    run: &'a AttentionRun,
    steps: &'a [usize],
) -> impl Iterator<Item = AttentionMapRow> + 'a {
    let samples = super::explore::images(run);
    let of_layer = move |layer: &'a LayerMaps| {
        (0..samples).flat_map(move |sample| sums(layer, sample).chain(means(layer, sample, steps)))
    };
    run.record.layers.iter().flat_map(of_layer)
}

/// Of each head and token the sum over steps.
fn sums(layer: &LayerMaps, sample: usize) -> impl Iterator<Item = AttentionMapRow> + '_ {
    let (_, heads, tokens, ..) = layer.per_head.dim();
    (0..heads * tokens).map(move |i| {
        let (head, token) = (i / tokens, i % tokens);
        let map = layer.per_head.slice(s![sample, head, token, .., ..]);
        AttentionMapRow { head: Some(head as u32), ..map_row(layer, (sample, token), map) }
    })
}

/// At each of the steps and of each token the mean over heads.
fn means<'a>(
    layer: &'a LayerMaps,
    sample: usize,
    steps: &'a [usize],
) -> impl Iterator<Item = AttentionMapRow> + 'a {
    let tokens = layer.per_head.dim().2;
    steps.iter().flat_map(move |&step| {
        (0..tokens).map(move |token| {
            let map = layer.per_step[step].slice(s![sample, token, .., ..]);
            AttentionMapRow { step: Some(step as u32), ..map_row(layer, (sample, token), map) }
        })
    })
}

fn map_row(
    layer: &LayerMaps,
    (sample, token): (usize, usize),
    map: ArrayView2<'_, f32>,
) -> AttentionMapRow {
    AttentionMapRow {
        sample: sample as u32,
        site: layer.site.clone(),
        head: None,
        step: None,
        token: token as u32,
        height: map.nrows() as u32,
        width: map.ncols() as u32,
        map: Some(map.iter().copied().collect()),
    }
}

/// The report of a run of one prompt.
///
/// # Errors
/// Tables that are missing, of another version or not as declared, and images that cannot be read.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let alignment = stored.optional_rows::<AlignmentRow>()?;
    let leakage = stored.optional_rows::<LeakageRow>()?;
    let run = read(stored, &alignment)?;
    let measured = Measured { alignment: &alignment, leakage: &leakage };
    report(&run, measured, facts(stored.manifest()), rerun).map_err(StoredError::probe)
}

/// The report of a run over many prompts of the world, which keeps scores alone.
///
/// # Errors
/// As for [`rebuild`].
pub fn rebuild_world(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let rows = stored.rows::<AlignmentRow>()?;
    let prompts = stored.manifest().prompts.len() as u64;
    world_report(&rows, prompts, facts(stored.manifest()), rerun).map_err(StoredError::probe)
}

fn read(
    stored: &StoredReader<'_>,
    alignment: &[AlignmentRow],
) -> Result<AttentionRun, StoredError> {
    let numbers = stored.rows::<AttentionRow>()?;
    let tokens = stored.rows::<TokenRow>()?.into_iter().map(token).collect();
    let prompt = stored.manifest().prompts.first().cloned().unwrap_or_default();
    let given = given_regions(stored, alignment)?;
    let known = stored.manifest().world_version.is_some() && given.is_empty();
    let expectations = if known { world::parse(&prompt).ok() } else { None };
    let judged = |row: ImageRow| -> Result<JudgedImage, StoredError> {
        let image = stored.image(&row.file)?;
        let verdict = expectations.as_ref().map(|e| judge::judge(&image, e));
        Ok(JudgedImage { seed: row.seed, image, verdict })
    };
    let images = stored.rows::<ImageRow>()?.into_iter().map(judged).collect::<Result<_, _>>()?;
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for row in &numbers {
        let step = row.step as usize;
        if step >= steps.len() {
            steps.resize(step + 1, (f64::NAN, f64::NAN));
        }
        steps[step] = (row.timestep, row.sigma);
    }
    let layers = layers(&stored.optional_rows::<AttentionMapRow>()?, steps.len())?;
    let record = AttentionRecord { rows: of_heads(&numbers), layers, steps: steps.len() };
    Ok(AttentionRun {
        run: stored.manifest().run.clone(),
        prompt,
        given,
        expectations,
        tokens,
        images,
        film: film(stored)?,
        steps,
        record,
    })
}

fn token(row: TokenRow) -> PromptToken {
    PromptToken {
        id: i64::from(row.id),
        piece: row.piece,
        word: row.word.zip(row.word_index.map(|number| number as usize)),
        span: (row.start as usize, row.end as usize),
    }
}

/// The regions that were given with the image: their words are in the scores.
fn given_regions(
    stored: &StoredReader<'_>,
    alignment: &[AlignmentRow],
) -> Result<Vec<GivenRegion>, StoredError> {
    let mut names: Vec<&str> = Vec::new();
    for row in alignment.iter().filter(|row| row.role == GIVEN && row.control.is_none()) {
        if !names.contains(&row.object.as_str()) {
            names.push(&row.object);
        }
    }
    let region = |(number, name): (usize, &&str)| {
        let image: RgbImage = stored.image(&region_file(number))?;
        let (width, height) = image.dimensions();
        let inside = |(y, x): (usize, usize)| image.get_pixel(x as u32, y as u32).0[0] > 0;
        let mask = Array2::from_shape_fn((height as usize, width as usize), inside);
        Ok(GivenRegion { words: name.split(' ').map(str::to_owned).collect(), mask })
    };
    names.iter().enumerate().map(region).collect()
}

fn film(stored: &StoredReader<'_>) -> Result<Vec<FilmFrame>, StoredError> {
    let frames = stored.manifest().files.iter().filter_map(|file| {
        let (sample, step) = file.path.strip_prefix(FILM)?.strip_suffix(".png")?.split_once('-')?;
        Some((sample.parse().ok()?, step.parse().ok()?, file.path.as_str()))
    });
    let frame = |(sample, step, path): (usize, usize, &str)| {
        Ok(FilmFrame { sample, step, image: stored.image(path)? })
    };
    frames.map(frame).collect()
}

/// The numbers of single heads; rows of means over heads have maps and no others.
fn of_heads(rows: &[AttentionRow]) -> Vec<MapNumbers> {
    let mut sites: BTreeMap<&str, usize> = BTreeMap::new();
    let mut numbers = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(head) = row.head else { continue };
        let next = sites.len();
        let layer = *sites.entry(&row.site).or_insert(next);
        let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
        numbers.push(MapNumbers {
            sample: row.sample as usize,
            step: row.step as usize,
            timestep: row.timestep,
            sigma: row.sigma,
            branch: if row.branch == Branch::Cond.label() { Branch::Cond } else { Branch::Uncond },
            layer,
            head: head as usize,
            token: row.token as usize,
            mass: row.mass,
            entropy: known(row.entropy),
            centroid: [known(row.centroid_x), known(row.centroid_y)],
            peak: [known(row.peak_x), known(row.peak_y)],
        });
    }
    numbers
}

/// Maps of a layer while they are gathered.
#[derive(Default)]
struct Gathered<'a> {
    site: &'a str,
    rows: Vec<&'a AttentionMapRow>,
}

/// The maps by layer, in the order of the table.
fn layers(rows: &[AttentionMapRow], steps: usize) -> Result<Vec<LayerMaps>, StoredError> {
    let mut gathered: Vec<Gathered<'_>> = Vec::new();
    for row in rows {
        match gathered.last_mut().filter(|layer| layer.site == row.site) {
            Some(layer) => layer.rows.push(row),
            None => gathered.push(Gathered { site: &row.site, rows: vec![row] }),
        }
    }
    gathered.iter().map(|layer| layer_of(layer, steps)).collect()
}

fn layer_of(gathered: &Gathered<'_>, steps: usize) -> Result<LayerMaps, StoredError> {
    let rows = &gathered.rows;
    let most = |of: &dyn Fn(&AttentionMapRow) -> u32| {
        rows.iter().map(|row| of(row) as usize).max().unwrap_or(0)
    };
    let (samples, tokens) = (most(&|r| r.sample) + 1, most(&|r| r.token) + 1);
    let heads = most(&|r| r.head.map_or(0, |head| head + 1));
    let (height, width) = (most(&|r| r.height), most(&|r| r.width));
    let mut per_head = Array5::zeros((samples, heads, tokens, height, width));
    let mut per_step = vec![Array4::zeros((0, 0, 0, 0)); steps];
    for row in rows {
        let (sample, token) = (row.sample as usize, row.token as usize);
        let values = row.map.clone().unwrap_or_default();
        let shape = (row.height as usize, row.width as usize);
        let broken = || StoredError::Maps { site: gathered.site.to_owned() };
        let map = Array2::from_shape_vec(shape, values).map_err(|_| broken())?;
        if shape != (height, width) {
            return Err(broken());
        }
        match (row.head, row.step) {
            (Some(head), None) => {
                per_head.slice_mut(s![sample, head as usize, token, .., ..]).assign(&map);
            }
            (None, Some(step)) => {
                let at = per_step.get_mut(step as usize).ok_or_else(broken)?;
                if at.is_empty() {
                    *at = Array4::zeros((samples, tokens, height, width));
                }
                at.slice_mut(s![sample, token, .., ..]).assign(&map);
            }
            _ => return Err(broken()),
        }
    }
    Ok(LayerMaps { site: gathered.site.to_owned(), per_head, per_step })
}
