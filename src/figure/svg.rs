//! A scene as SVG text.

use std::fmt::Write;

use base64::Engine;
use image::{ImageFormat, RgbaImage};

use super::theme::{self, Theme};
use super::{Anchor, FigureError, Frame, Ink, Paint, Scene, Shape, Stroke};

/// SVG made by this module, so all text in it is escaped and nothing in it runs or loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svg(String);

impl Svg {
    /// The document.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Renders a scene; `describe` becomes its accessible name.
    pub(super) fn render(scene: &Scene, describe: &str) -> Result<Self, FigureError> {
        let mut out = String::new();
        let (width, height) = (short(scene.width), short(scene.height));
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\" font-family=\"{}\">",
            escape(describe),
            theme::FONT_STACK
        );
        let _ =
            write!(out, "<rect width=\"{width}\" height=\"{height}\"{}/>", fill(Ink::Paper.into()));
        let mut images = Images::default();
        for shape in &scene.shapes {
            write_shape(&mut out, &mut images, shape)?;
        }
        out.push_str("</svg>");
        Ok(Self(out))
    }
}

/// Pictures already written, so that one shown twice is stored once.
#[derive(Default)]
struct Images {
    seen: Vec<(RgbaImage, String)>,
}

fn write_shape(out: &mut String, images: &mut Images, shape: &Shape) -> Result<(), FigureError> {
    match shape {
        Shape::Rect { frame, radius, fill: paint } => {
            let Frame { x, y, width, height } = *frame;
            let [x, y, width, height] = [x, y, width, height].map(short);
            let _ = write!(out, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"");
            if *radius > 0.0 {
                let _ = write!(out, " rx=\"{}\"", short(*radius));
            }
            let _ = write!(out, "{}/>", fill(*paint));
        }
        Shape::Line { points, closed, stroke } => {
            let end = if *closed { "Z" } else { "" };
            let _ = write!(out, "<path d=\"{}{end}\"{}/>", path(points), outline(stroke));
        }
        Shape::Polygon { points, fill: paint } => {
            let _ = write!(out, "<path d=\"{}Z\"{}/>", path(points), fill(*paint));
        }
        Shape::Text { .. } => write_text(out, shape),
        Shape::Image { frame, pixels, smooth } => write_image(out, images, frame, pixels, *smooth)?,
    }
    Ok(())
}

fn write_text(out: &mut String, shape: &Shape) {
    let Shape::Text { x, y, text, size, bold, anchor, ink, turned } = shape else { return };
    let (x, y) = (short(*x), short(*y));
    let place = if *turned {
        format!("transform=\"translate({x} {y}) rotate(-90)\"")
    } else {
        format!("x=\"{x}\" y=\"{y}\"")
    };
    let anchor = match anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let weight = if *bold { " font-weight=\"600\"" } else { "" };
    let size = short(*size);
    let paint = fill((*ink).into());
    let text = escape(text);
    let _ = write!(out, "<text {place} font-size=\"{size}\"{weight}{anchor}{paint}>{text}</text>");
}

fn write_image(
    out: &mut String,
    images: &mut Images,
    frame: &Frame,
    pixels: &RgbaImage,
    smooth: bool,
) -> Result<(), FigureError> {
    let known = images.seen.iter().find(|(seen, _)| seen == pixels).map(|(_, uri)| uri.clone());
    let uri = match known {
        Some(uri) => uri,
        None => {
            let mut bytes = Vec::new();
            pixels.write_to(&mut std::io::Cursor::new(&mut bytes), ImageFormat::Png)?;
            let uri = format!(
                "data:image/png;base64,{}",
                base64::engine::general_purpose::STANDARD.encode(bytes)
            );
            images.seen.push((pixels.clone(), uri.clone()));
            uri
        }
    };
    let [x, y, width, height] = [frame.x, frame.y, frame.width, frame.height].map(short);
    let blocks = if smooth { "" } else { " image-rendering=\"pixelated\"" };
    let _ = write!(
        out,
        "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
         preserveAspectRatio=\"none\"{blocks} href=\"{uri}\"/>"
    );
    Ok(())
}

/// Fill attributes: a literal colour and the class by which a page recolours it.
fn fill(paint: Paint) -> String {
    let color = theme::hex(theme::rgb(paint.ink, Theme::Light));
    let class = theme::class(paint.ink).map(|c| format!(" class=\"f-{c}\"")).unwrap_or_default();
    let opacity = opacity("fill-opacity", paint.opacity);
    format!("{class} fill=\"{color}\"{opacity}")
}

fn outline(stroke: &Stroke) -> String {
    let color = theme::hex(theme::rgb(stroke.paint.ink, Theme::Light));
    let class =
        theme::class(stroke.paint.ink).map(|c| format!(" class=\"k-{c}\"")).unwrap_or_default();
    let opacity = opacity("stroke-opacity", stroke.paint.opacity);
    let dash = stroke
        .dash
        .map(|d| format!(" stroke-dasharray=\"{} {}\"", short(d.mark), short(d.gap)))
        .unwrap_or_default();
    let width = short(stroke.width);
    format!(
        "{class} fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"{opacity}{dash}"
    )
}

fn opacity(name: &str, value: f64) -> String {
    if value >= 1.0 { String::new() } else { format!(" {name}=\"{}\"", short(value)) }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut out = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let _ = write!(out, "{}{} {}", if i == 0 { "M" } else { "L" }, short(*x), short(*y));
    }
    out
}

/// A coordinate with at most two decimals and no needless zeros.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" || text.is_empty() { "0".into() } else { text.to_owned() }
}

/// Escapes text for XML; characters XML forbids become the replacement character.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' | '\r' => out.push(' '),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
