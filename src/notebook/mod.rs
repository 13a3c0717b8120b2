//! What a notebook needs beside the rest of the library: tables, figures and images that show
//! themselves, and a word's attention in one call.
//!
//! evcxr shows the last value of a cell if it has a method `evcxr_display`; [`Shown`] has it. All
//! text is escaped, and nothing is loaded from elsewhere, so that a notebook opens offline.
//!
//! ```
//! use denoscope::{notebook, world};
//!
//! let sample = world::Generator::new(7, world::Mix::training(), world::Split::Train).sample(0);
//! let image = world::render(&sample.scene, 64);
//! notebook::images([(sample.caption.as_str(), &image)])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "torch")]
mod words;

#[cfg(feature = "torch")]
pub use words::{WatchError, Watched, watch_words};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use maud::{Markup, PreEscaped, html};
use ndarray::Array2;
use polars::prelude::{AnyValue, DataFrame};

use crate::figure::{self, Figure, FigureError, ImageGrid, Overlay, Tile};

/// Rows of a table that are shown unless a notebook asks for more.
pub const ROWS: usize = 12;
/// Digits of a number in a table; the table itself keeps all.
const DIGITS: usize = 4;

/// Something that shows itself as the value of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    html: String,
    text: String,
}

impl Shown {
    fn new(html: &Markup, text: impl Into<String>) -> Self {
        Self { html: html.0.clone(), text: text.into() }
    }

    /// The HTML that a notebook shows.
    pub fn html(&self) -> &str {
        &self.html
    }

    /// The same in words, for where there is no HTML.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Shows it: evcxr calls this for the last value of a cell. Prints to stdout, as evcxr's
    /// protocol asks.
    #[allow(clippy::print_stdout, reason = "this is how evcxr is told what to show")]
    pub fn evcxr_display(&self) {
        for (kind, content) in [("text/html", &self.html), ("text/plain", &self.text)] {
            println!("EVCXR_BEGIN_CONTENT {kind}\n{content}\nEVCXR_END_CONTENT");
        }
    }
}

/// The first rows of a table; see [`table_rows`] for more of them.
pub fn table(frame: &DataFrame) -> Shown {
    table_rows(frame, ROWS)
}

/// So many rows of a table, with numbers cut to four digits.
pub fn table_rows(frame: &DataFrame, rows: usize) -> Shown {
    let shown = frame.head(Some(rows));
    let left_out = frame.height() - shown.height();
    let columns = shown.columns();
    let html = html! {
        table {
            thead { tr { @for column in columns { th { (column.name().as_str()) } } } }
            tbody {
                @for row in 0..shown.height() {
                    tr { @for column in columns { td { (column.get(row).map(cell).unwrap_or_default()) } } }
                }
            }
        }
        @if left_out > 0 { p { "… and " (left_out) " more rows" } }
    };
    Shown::new(&html, shown.to_string())
}

/// A value as a cell of a table.
fn cell(value: AnyValue<'_>) -> String {
    match value {
        AnyValue::Null => "–".into(),
        AnyValue::Float64(x) => figure::format_number(x, DIGITS),
        AnyValue::Float32(x) => figure::format_number(f64::from(x), DIGITS),
        AnyValue::String(text) => text.to_owned(),
        AnyValue::StringOwned(text) => text.to_string(),
        other => other.to_string(),
    }
}

/// A figure, as the reports have it.
///
/// # Errors
/// When the figure's data disagree; see [`Figure::scene`].
pub fn figure(figure: &dyn Figure) -> Result<Shown, FigureError> {
    let svg = figure.svg(figure::WIDE)?;
    let html = html! {
        style { (PreEscaped(figure::theme::style_sheet(figure::theme::Theme::Light))) }
        (PreEscaped(svg.as_str()))
    };
    Ok(Shown::new(&html, figure.describe()))
}

/// Images side by side, each with a label, three times as large as they are.
///
/// # Errors
/// When an image cannot be encoded.
pub fn images<'a, L: AsRef<str>>(
    images: impl IntoIterator<Item = (L, &'a RgbImage)>,
) -> Result<Shown, FigureError> {
    /// Side of an image on the page over its own.
    const TIMES: u32 = 3;
    let mut tiles = Vec::new();
    let mut labels = Vec::new();
    for (label, image) in images {
        let label = label.as_ref().to_owned();
        let source =
            format!("data:image/png;base64,{}", STANDARD.encode(figure::encode_png(image)?));
        tiles.push(html! {
            figure style="margin:0" {
                img alt=(label) src=(source) width=(image.width() * TIMES);
                figcaption style="font-size:small" { (label) }
            }
        });
        labels.push(label);
    }
    let html = html! {
        div style="display:flex;flex-wrap:wrap;gap:8px" { @for tile in &tiles { (tile) } }
    };
    Ok(Shown::new(&html, format!("{} images: {}", labels.len(), labels.join(", "))))
}

/// Maps over images, side by side; the colours of each run from its least to its greatest value.
///
/// # Errors
/// When there is nothing to draw, or an image cannot be encoded.
pub fn overlays<'a, L: Into<String>>(
    title: &str,
    overlays: impl IntoIterator<Item = (L, &'a RgbImage, Array2<f32>)>,
) -> Result<Shown, FigureError> {
    let tile = |(label, image, map): (L, &RgbImage, Array2<f32>)| {
        Tile::new(label, image.clone()).overlay(Overlay::new(map))
    };
    let tiles = overlays.into_iter().map(tile).collect();
    figure(&ImageGrid { title: title.into(), tiles, ..ImageGrid::default() })
}
