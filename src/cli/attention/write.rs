//! What `probe attention` leaves in its run folder.

use anyhow::Result;
use image::{GrayImage, Luma};
use ndarray::Array2;

use crate::figure::encode_png;
use crate::probe::attention::report::{FIGURE_WIDTH, Measured, figures};
use crate::probe::attention::stored::{frame_file, map_rows, region_file};
use crate::probe::attention::{AttentionRun, explored_steps, tables};
use crate::report::Report;
use crate::run::{RunFolder, digest_bytes};
use crate::table::{
    AlignmentRow, AttentionMapRow, AttentionRow, ImageRow, JudgementRow, LeakageRow, TokenRow,
    frame, write_parquet,
};

/// The tables of numbers; with `maps`, the maps of all steps and images too.
pub(super) fn tables(
    folder: &RunFolder,
    run: &AttentionRun,
    measured: Measured<'_>,
    maps: bool,
) -> Result<()> {
    let path = |name: &str| folder.path(&format!("tables/{name}.parquet"));
    let mut attention = frame(tables::attention_rows(run, maps))?;
    write_parquet::<AttentionRow>(&mut attention, &path("attention")?)?;
    write_parquet::<TokenRow>(&mut frame(tables::token_rows(run))?, &path("tokens")?)?;
    if run.is_scored() {
        let mut alignment = frame(measured.alignment.to_vec())?;
        write_parquet::<AlignmentRow>(&mut alignment, &path("alignment")?)?;
    }
    if !measured.leakage.is_empty() {
        let mut leakage = frame(measured.leakage.to_vec())?;
        write_parquet::<LeakageRow>(&mut leakage, &path("leakage")?)?;
    }
    if run.expectations.is_some() {
        let mut judgement = frame(tables::judgement_rows(run))?;
        write_parquet::<JudgementRow>(&mut judgement, &path("judgement")?)?;
    }
    Ok(())
}

/// The maps that the report shows, so that it can be made again.
pub(super) fn maps(folder: &RunFolder, run: &AttentionRun, page: &Report) -> Result<()> {
    let steps = explored_steps(page);
    let path = folder.path("tables/attention_maps.parquet")?;
    Ok(write_parquet::<AttentionMapRow>(&mut frame(map_rows(run, &steps))?, &path)?)
}

/// Images, films, given regions and figures.
pub(super) fn pictures(
    folder: &RunFolder,
    run: &AttentionRun,
    measured: Measured<'_>,
) -> Result<()> {
    let mut images = Vec::new();
    for (sample, image) in run.images.iter().enumerate() {
        let file = format!("images/{sample:03}.png");
        let png = encode_png(&image.image)?;
        folder.write(&file, &png)?;
        images.push(ImageRow {
            sample: sample as u32,
            prompt: run.prompt.clone(),
            seed: image.seed,
            file,
            sha256: digest_bytes(&png),
        });
    }
    write_parquet::<ImageRow>(&mut frame(images)?, &folder.path("tables/images.parquet")?)?;
    for frame in &run.film {
        folder.write(&frame_file(frame.sample, frame.step), &encode_png(&frame.image)?)?;
    }
    for (number, region) in run.given.iter().enumerate() {
        region_image(&region.mask).save(folder.path(&region_file(number))?)?;
    }
    for (name, figure) in figures(run, measured)? {
        folder.write(&format!("figures/{name}.png"), &figure.png(FIGURE_WIDTH)?)?;
    }
    Ok(())
}

/// White inside, black outside.
fn region_image(mask: &Array2<bool>) -> GrayImage {
    let (height, width) = mask.dim();
    GrayImage::from_fn(width as u32, height as u32, |x, y| {
        Luma([if mask[[y as usize, x as usize]] { u8::MAX } else { 0 }])
    })
}

/// The report, for browsers and as text.
pub(super) fn report(folder: &RunFolder, page: &Report) -> Result<()> {
    folder.write("report.html", page.to_html()?.as_bytes())?;
    Ok(folder.write("report.md", page.to_markdown()?.as_bytes())?)
}
