//! Figures as data: a struct goes in, SVG text and PNG bytes come out.
//!
//! Every figure implements [`Figure`]: it lays itself out for a given width ([`WIDE`] for a page
//! column, [`NARROW`] for a phone), so that text keeps its size instead of shrinking with the
//! picture. The layout is a [`Scene`] of plain shapes; one renderer writes it as SVG, one as a
//! bitmap, so the two cannot disagree. Output depends on the data alone: no clock, no hash order.
//!
//! SVG shapes carry both literal colours (readable anywhere) and class names, by which a page may
//! give them the colours of its dark theme (see [`theme::style_sheet`]).

mod axis;
mod bitmap;
mod color;
mod curve;
mod dots;
mod grid;
mod heat;
mod overlay;
mod parts;
mod scene;
mod sheet;
mod svg;
pub mod theme;

pub use axis::{Axis, Reference, format_number};
pub use color::ColorMap;
pub use curve::{Curve, CurveChart, CurvePoint};
pub use dots::{DotChart, DotSeries};
pub use grid::{FilmStrip, ImageGrid, Tile};
pub use heat::HeatMap;
pub use overlay::{FAINTEST, Outline, Overlay, outline_loops, resize_map};
pub use scene::{Anchor, Dash, Frame, Ink, Marker, Paint, Scene, Shape, Stroke};
pub use sheet::ContactSheet;
pub use svg::Svg;

/// Width in pixels of a figure in a page column or on paper.
pub const WIDE: f64 = 720.0;
/// Width in pixels of a figure on a phone 360 pixels wide.
pub const NARROW: f64 = 328.0;
/// Pixels of a PNG for each pixel of the layout.
pub const PNG_SCALE: u32 = 2;

/// What can go wrong when a figure is drawn.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// Two parts of a figure's data disagree in size.
    #[error("{figure}: {what} has {got} entries where {expected} are needed; give one for each")]
    Size {
        /// Title of the figure.
        figure: String,
        /// The part that disagrees.
        what: String,
        /// Entries needed.
        expected: usize,
        /// Entries given.
        got: usize,
    },
    /// An image without pixels.
    #[error("{figure}: the image {what} has no pixels; leave it out")]
    NoPixels {
        /// Title of the figure.
        figure: String,
        /// Label of the image.
        what: String,
    },
    /// The built-in font could not be read, which only a damaged build can cause.
    #[error("the built-in figure font cannot be used: {0}; rebuild denoscope")]
    Font(String),
    /// The bitmap backend failed.
    #[error("cannot draw the figure as a bitmap: {0}; use its SVG")]
    Draw(String),
    /// A canvas too large to draw.
    #[error(
        "{figure}: a picture of {width} × {height} pixels is too large; split the figure or reduce its rows"
    )]
    TooLarge {
        /// Title of the figure.
        figure: String,
        /// Pixels across.
        width: u64,
        /// Pixels down.
        height: u64,
    },
    /// The PNG encoder refused.
    #[error("cannot encode a PNG: {0}")]
    Encode(#[from] image::ImageError),
}

/// A picture made of data.
pub trait Figure {
    /// The title, also used to name the figure in errors.
    fn title(&self) -> &str;

    /// A sentence or two for readers who cannot see the picture.
    fn describe(&self) -> String;

    /// The numbers drawn, as comma-separated values with a header line (RFC 4180).
    fn csv(&self) -> String;

    /// Lays the figure out for a width in pixels (at least 200 is sensible).
    ///
    /// # Errors
    /// When parts of the data disagree in size or an image has no pixels.
    fn scene(&self, width: f64) -> Result<Scene, FigureError>;

    /// The figure as SVG, laid out for a width in pixels.
    ///
    /// # Errors
    /// As for [`Figure::scene`].
    fn svg(&self, width: f64) -> Result<Svg, FigureError> {
        Svg::render(&self.scene(width)?, &self.describe())
    }

    /// The figure as PNG bytes, [`PNG_SCALE`] pixels for each pixel of the layout.
    ///
    /// # Errors
    /// As for [`Figure::scene`], and when the canvas is too large.
    fn png(&self, width: f64) -> Result<Vec<u8>, FigureError> {
        encode_png(&bitmap::render(&self.scene(width)?, self.title())?)
    }
}

/// Encodes an RGB image as PNG.
///
/// # Errors
/// When the encoder refuses, as for an image without pixels.
pub fn encode_png(image: &image::RgbImage) -> Result<Vec<u8>, FigureError> {
    let mut bytes = Vec::new();
    image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png)?;
    Ok(bytes)
}

/// Checks that a part of a figure has as many entries as another part needs.
fn check_size(figure: &str, what: &str, expected: usize, got: usize) -> Result<(), FigureError> {
    if expected == got {
        return Ok(());
    }
    Err(FigureError::Size { figure: figure.into(), what: what.into(), expected, got })
}

/// Writes one line of comma-separated values; quotes fields that need it.
pub(crate) fn csv_line<S: AsRef<str>>(fields: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<String> = fields
        .into_iter()
        .map(|field| {
            let field = field.as_ref();
            if field.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field.to_owned()
            }
        })
        .collect();
    quoted.join(",") + "\r\n"
}

/// A number for a CSV field; empty when there is none.
pub(crate) fn csv_number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}
