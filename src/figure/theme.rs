//! One look for all figures: type sizes, colours, the font.

use std::sync::OnceLock;

use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

use super::{FigureError, Ink};

/// Size of a figure's title, in pixels.
pub const TITLE: f64 = 16.0;
/// Size of axis titles and legends.
pub const LABEL: f64 = 13.5;
/// Size of tick and category labels.
pub const TICK: f64 = 12.5;
/// Size of numbers inside cells.
pub const VALUE: f64 = 11.5;

/// Fonts of text in SVG: those of the reader's system.
pub const FONT_STACK: &str =
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";
/// Name under which the bitmap font is registered.
const FAMILY: &str = "Denoscope Sans";
const REGULAR: &[u8] = include_bytes!("../../fixtures/fonts/DenoscopeSans-Regular.otf");
const SEMI_BOLD: &[u8] = include_bytes!("../../fixtures/fonts/DenoscopeSans-SemiBold.otf");
/// Line height of the font over its em square; the bitmap text renderer counts in line heights.
const LINE_OVER_EM: f64 = 3408.0 / 2816.0;

/// Six colours told apart by readers with any common colour vision, after Okabe and Ito
/// (2008), "Color Universal Design"; yellow is left out, for it is too pale on white.
const LIGHT_SERIES: [[u8; 3]; 6] = [
    [0x00, 0x62, 0xa8],
    [0xc8, 0x4e, 0x00],
    [0x00, 0x86, 0x66],
    [0xb0, 0x56, 0x90],
    [0x3b, 0x95, 0xcf],
    [0xb5, 0x7d, 0x00],
];
/// The same hues, lighter, for dark backgrounds.
const DARK_SERIES: [[u8; 3]; 6] = [
    [0x6c, 0xb8, 0xf2],
    [0xff, 0x9a, 0x5c],
    [0x4f, 0xd1, 0xab],
    [0xea, 0x9f, 0xcb],
    [0x9f, 0xd6, 0xf7],
    [0xf2, 0xc1, 0x4e],
];

/// Number of colours before the palette repeats.
pub const SERIES_COUNT: usize = LIGHT_SERIES.len();

/// A theme: light for paper and bitmaps, dark for dark pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Dark on white.
    Light,
    /// Light on near-black.
    Dark,
}

/// The colour of a role in a theme, as red, green, blue.
pub fn rgb(ink: Ink, theme: Theme) -> [u8; 3] {
    let dark = theme == Theme::Dark;
    let pick = |light: [u8; 3], night: [u8; 3]| if dark { night } else { light };
    match ink {
        Ink::Text => pick([0x1b, 0x22, 0x2c], [0xe8, 0xec, 0xf1]),
        Ink::Quiet => pick([0x53, 0x5e, 0x6c], [0xa7, 0xb2, 0xc0]),
        Ink::Line => pick([0xd3, 0xd9, 0xe0], [0x3a, 0x44, 0x51]),
        Ink::Paper => pick([0xff, 0xff, 0xff], [0x17, 0x1c, 0x23]),
        Ink::Series(i) => pick(LIGHT_SERIES[i % SERIES_COUNT], DARK_SERIES[i % SERIES_COUNT]),
        Ink::Control => pick([0x76, 0x7f, 0x8b], [0x97, 0xa1, 0xae]),
        Ink::Missing => pick([0x8a, 0x94, 0xa0], [0x7b, 0x86, 0x93]),
        Ink::Fixed(color) => color,
    }
}

/// A colour as `#rrggbb`.
pub fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Class name of a role; none for fixed colours.
pub fn class(ink: Ink) -> Option<String> {
    Some(match ink {
        Ink::Text => "text".into(),
        Ink::Quiet => "quiet".into(),
        Ink::Line => "line".into(),
        Ink::Paper => "paper".into(),
        Ink::Series(i) => format!("s{}", i % SERIES_COUNT),
        Ink::Control => "control".into(),
        Ink::Missing => "missing".into(),
        Ink::Fixed(_) => return None,
    })
}

/// CSS rules that recolour the figures of a page for a theme: fills are classes `f-…`,
/// strokes `k-…`.
pub fn style_sheet(theme: Theme) -> String {
    let mut inks = vec![Ink::Text, Ink::Quiet, Ink::Line, Ink::Paper, Ink::Control, Ink::Missing];
    inks.extend((0..SERIES_COUNT).map(Ink::Series));
    inks.into_iter()
        .filter_map(|ink| Some((class(ink)?, hex(rgb(ink, theme)))))
        .map(|(class, color)| format!(".f-{class}{{fill:{color}}}.k-{class}{{stroke:{color}}}"))
        .collect()
}

/// Registers the built-in font once.
fn register() -> Result<(), FigureError> {
    static DONE: OnceLock<Result<(), &'static str>> = OnceLock::new();
    DONE.get_or_init(|| {
        register_font(FAMILY, FontStyle::Normal, REGULAR).map_err(|_| "regular style")?;
        register_font(FAMILY, FontStyle::Bold, SEMI_BOLD).map_err(|_| "semi-bold style")
    })
    .map_err(|style| FigureError::Font(style.into()))
}

/// The built-in font for a size of the em square in pixels.
///
/// # Errors
/// When the font cannot be read.
pub(super) fn font(size: f64, bold: bool) -> Result<FontDesc<'static>, FigureError> {
    register()?;
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    Ok(FontDesc::new(FontFamily::Name(FAMILY), size * LINE_OVER_EM, style))
}

/// Distance in pixels from the upper edge of drawn text to its base line.
pub(super) fn baseline(size: f64) -> f64 {
    size * LINE_OVER_EM / 2.0
}

/// Width of a text in pixels, in the built-in font; readers' own fonts differ by a few percent.
pub fn text_width(text: &str, size: f64) -> f64 {
    /// Measured large, because the layout is rounded to whole pixels.
    const ZOOM: f64 = 16.0;
    /// Width of an average letter over the em square, for when the font cannot be read.
    const AVERAGE: f64 = 0.56;
    font(size * ZOOM, false)
        .ok()
        .and_then(|font| font.layout_box(text).ok())
        .map_or(text.chars().count() as f64 * size * AVERAGE, |(_, (width, _))| {
            f64::from(width) / ZOOM
        })
}

/// Shortens a text with "…" until it fits a width in pixels.
pub fn fit(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let letters: Vec<char> = text.chars().collect();
    // Widths grow with length, so the longest start that fits is found by bisection.
    let (mut fits, mut too_long) = (0, letters.len());
    while too_long - fits > 1 {
        let middle = usize::midpoint(fits, too_long);
        let candidate: String = letters[..middle].iter().chain(&['…']).collect();
        if text_width(&candidate, size) <= width { fits = middle } else { too_long = middle }
    }
    let start: String = letters[..fits].iter().collect();
    start.trim_end().to_owned() + "…"
}

/// Breaks a text into at most `lines` lines that fit a width; the last is shortened if need be.
pub fn wrap(text: &str, size: f64, width: f64, lines: usize) -> Vec<String> {
    let mut broken: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let full = broken.len() >= lines;
        match broken.last_mut() {
            Some(line) if full || text_width(&format!("{line} {word}"), size) <= width => {
                line.push(' ');
                line.push_str(word);
                if full && text_width(line, size) > width {
                    break;
                }
            }
            _ => broken.push(word.to_owned()),
        }
    }
    broken.iter().map(|line| fit(line, size, width)).collect()
}
