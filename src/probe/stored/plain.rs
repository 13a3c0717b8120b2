//! The report of a run that no probe makes anew: its tables, figures and images as they are.

use super::{StoredError, StoredReader, facts};
use crate::report::{Block, Cell, LabelledImage, Picture, Report, Rerun, Section, Table};
use crate::run::StoredRun;
use crate::table::{ImageRow, Preview, Value, preview};

/// Rows of each table that are shown; the file has all.
const ROWS: usize = 100;
/// Images that are shown.
const IMAGES: usize = 24;
/// Column that says the same in each row: the run's name.
const RUN: &str = "run";

/// The report.
pub(super) fn report(
    run: &StoredRun,
    stored: &StoredReader<'_>,
    rerun: Rerun,
) -> Result<Report, StoredError> {
    let manifest = run.manifest();
    let mut report = Report::new(format!("What {} recorded", manifest.probe));
    report.maker = format!("probe {}, denoscope {}", manifest.probe, manifest.denoscope);
    report.subtitle = match manifest.prompts.as_slice() {
        [] => String::new(),
        [one, rest @ ..] if rest.iter().all(|prompt| prompt == one) => one.clone(),
        several => format!("{} prompts", several.len()),
    };
    report.facts = facts(manifest);
    report.fact("started", manifest.started.to_string());
    if stored.has_table("images") {
        report.section(images(stored)?);
    }
    let figures = figures(stored)?;
    if !figures.is_empty() {
        let blocks = figures.into_iter().map(|picture| Block::Picture(Box::new(picture)));
        report.section(Section { heading: "Figures".to_owned(), blocks: blocks.collect() });
    }
    let tables = manifest.files.iter().filter_map(|file| {
        file.path.strip_prefix("tables/").and_then(|name| name.strip_suffix(".parquet"))
    });
    for name in tables {
        report.section(table(&preview(&run.table(name)?, ROWS)?));
    }
    if report.sections.is_empty() {
        report.section(Section::new("Nothing to show").prose(
            "This run has no tables, figures or images. Its manifest and spec are in its folder.",
        ));
    }
    report.rerun = Some(rerun);
    Ok(report)
}

fn images(stored: &StoredReader<'_>) -> Result<Section, StoredError> {
    let rows = stored.rows::<ImageRow>()?;
    let shown = rows.len().min(IMAGES);
    let image = |row: &ImageRow| -> Result<LabelledImage, StoredError> {
        let note = format!("seed {}", row.seed);
        Ok(LabelledImage { label: row.prompt.clone(), note, png: stored.bytes(&row.file)? })
    };
    let images = rows.iter().take(shown).map(image).collect::<Result<_, _>>()?;
    let section = Section::new("Images").with(Block::Images(images));
    Ok(match rows.len() {
        all if all > shown => {
            section.prose(format!("{shown} of {all} images; the folder has all."))
        }
        _ => section,
    })
}

/// The run's figures as it drew them.
fn figures(stored: &StoredReader<'_>) -> Result<Vec<Picture>, StoredError> {
    let files = stored.manifest().files.iter();
    let drawn = files.filter(|f| f.path.starts_with("figures/") && f.path.ends_with(".png"));
    drawn
        .map(|file| {
            let name = file.path.trim_start_matches("figures/").trim_end_matches(".png");
            let caption = format!("`{}`, as the run drew it.", file.path);
            Ok(Picture::stored(name, caption, stored.bytes(&file.path)?))
        })
        .collect()
}

fn table(preview: &Preview) -> Section {
    let kept: Vec<usize> =
        (0..preview.columns.len()).filter(|&i| preview.columns[i] != RUN).collect();
    let cell = |value: &Value| match value {
        Value::Text(text) => Cell::Text(text.clone()),
        Value::Number(number) => Cell::Number(*number),
        Value::Missing => Cell::Missing,
    };
    let unit = |name: &str| {
        let unit =
            preview.declaration.and_then(|d| d.column(name)).map_or("", |column| column.unit);
        if unit.is_empty() { name.to_owned() } else { format!("{name} ({unit})") }
    };
    let rows = preview.first.iter().map(|row| kept.iter().map(|&i| cell(&row[i])).collect());
    let shown = preview.first.len();
    let meaning = preview.declaration.map_or("", |declaration| declaration.meaning);
    let count = match preview.rows {
        all if all > shown => format!("The first {shown} of {all} rows"),
        all => format!("{all} rows"),
    };
    Section::new(format!("Table {}", preview.name)).with(Block::Table(Table {
        name: preview.name.clone(),
        caption: format!("{meaning} {count}; `tables/{}.parquet` has all.", preview.name)
            .trim_start()
            .to_owned(),
        columns: kept.iter().map(|&i| unit(&preview.columns[i])).collect(),
        rows: rows.collect(),
    }))
}
