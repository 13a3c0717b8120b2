//! A scene as pixels, on plotters' bitmap backend.
//!
//! Drawn enlarged and averaged down, so that edges of every shape are smooth.

use image::{Rgb, RgbImage, RgbaImage};
use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontTransform, RGBAColor, RGBColor, TextStyle};

use super::theme::{self, Theme};
use super::{Anchor, Dash, FigureError, Frame, Marker, PNG_SCALE, Paint, Scene, Shape, Stroke};

/// Drawn pixels across each pixel of the result.
const SMOOTHING: u32 = 2;
/// White border around a figure, in pixels of its layout; pages bring their own.
const BORDER: f64 = 14.0;
/// Largest result, in pixels.
const MOST_PIXELS: u64 = 64_000_000;

/// Draws a scene on white at [`PNG_SCALE`] pixels for each pixel of its layout.
pub(super) fn render(scene: &Scene, title: &str) -> Result<RgbImage, FigureError> {
    let size =
        |length: f64| ((length.max(1.0) + 2.0 * BORDER) * f64::from(PNG_SCALE)).ceil() as u32;
    let (width, height) = (size(scene.width), size(scene.height));
    let (wide, tall) = (width * SMOOTHING, height * SMOOTHING);
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(FigureError::TooLarge {
            figure: title.to_owned(),
            width: width.into(),
            height: height.into(),
        });
    }
    let mut buffer = vec![0xff; wide as usize * tall as usize * 3];
    {
        let mut canvas = Canvas {
            backend: BitMapBackend::with_buffer(&mut buffer, (wide, tall)),
            zoom: f64::from(PNG_SCALE * SMOOTHING),
        };
        for shape in &scene.shapes {
            canvas.draw(shape)?;
        }
    }
    let large = RgbImage::from_raw(wide, tall, buffer)
        .ok_or_else(|| FigureError::Draw("canvas size".into()))?;
    Ok(average_down(&large, width, height))
}

/// Means of squares of [`SMOOTHING`] pixels.
fn average_down(large: &RgbImage, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let mut sum = [0u32; 3];
        for (dx, dy) in (0..SMOOTHING).flat_map(|dy| (0..SMOOTHING).map(move |dx| (dx, dy))) {
            let pixel = large.get_pixel(x * SMOOTHING + dx, y * SMOOTHING + dy);
            for (total, channel) in sum.iter_mut().zip(pixel.0) {
                *total += u32::from(channel);
            }
        }
        let count = SMOOTHING * SMOOTHING;
        Rgb(sum.map(|total| ((total + count / 2) / count) as u8))
    })
}

struct Canvas<'a> {
    backend: BitMapBackend<'a>,
    zoom: f64,
}

impl Canvas<'_> {
    fn point(&self, (x, y): (f64, f64)) -> (i32, i32) {
        let pixel = |v: f64| ((v + BORDER) * self.zoom).round() as i32;
        (pixel(x), pixel(y))
    }

    fn draw(&mut self, shape: &Shape) -> Result<(), FigureError> {
        match shape {
            // Rounded corners are left to SVG: at bitmap size they hardly show.
            Shape::Rect { frame, fill, .. } => self.fill_rect(frame, *fill),
            Shape::Polygon { points, fill } => self.fill(points, *fill),
            Shape::Line { points, closed, stroke } => self.stroke(points, *closed, stroke),
            Shape::Text { .. } => self.text(shape),
            Shape::Image { frame, pixels, smooth } => self.image(frame, pixels, *smooth),
        }
    }

    fn fill_rect(&mut self, frame: &Frame, paint: Paint) -> Result<(), FigureError> {
        let (left, top) = self.point((frame.x, frame.y));
        let (right, bottom) = self.point((frame.right(), frame.bottom()));
        if right <= left || bottom <= top {
            return Ok(());
        }
        // The backend counts the lower right corner in.
        let corner = (right - 1, bottom - 1);
        self.backend.draw_rect((left, top), corner, &color(paint), true).map_err(drawing)
    }

    fn fill(&mut self, points: &[(f64, f64)], paint: Paint) -> Result<(), FigureError> {
        let corners: Vec<_> = points.iter().map(|&p| self.point(p)).collect();
        self.backend.fill_polygon(corners, &color(paint)).map_err(drawing)
    }

    /// Draws each piece of a line as a rectangle, with discs where pieces meet.
    fn stroke(
        &mut self,
        points: &[(f64, f64)],
        closed: bool,
        stroke: &Stroke,
    ) -> Result<(), FigureError> {
        let mut points = points.to_vec();
        if let (true, Some(&first)) = (closed, points.first()) {
            points.push(first);
        }
        let pieces = match stroke.dash {
            Some(dash) => dashes(&points, dash),
            None => points.windows(2).map(|p| (p[0], p[1])).collect(),
        };
        let half = stroke.width / 2.0;
        for &((ax, ay), (bx, by)) in &pieces {
            let length = (bx - ax).hypot(by - ay);
            if length == 0.0 {
                continue;
            }
            let (nx, ny) = (-(by - ay) / length * half, (bx - ax) / length * half);
            let corners =
                [(ax + nx, ay + ny), (bx + nx, by + ny), (bx - nx, by - ny), (ax - nx, ay - ny)];
            self.fill(&corners, stroke.paint)?;
        }
        // Discs would darken see-through lines and thicken thin ones.
        if stroke.dash.is_none() && stroke.width > 1.2 && stroke.paint.opacity >= 1.0 {
            for &(x, y) in
                points.iter().take(points.len().saturating_sub(1)).skip(usize::from(!closed))
            {
                self.fill(&Marker::Circle.polygon(x, y, half), stroke.paint)?;
            }
        }
        Ok(())
    }

    fn text(&mut self, shape: &Shape) -> Result<(), FigureError> {
        let Shape::Text { x, y, text, size, bold, anchor, ink, turned } = shape else {
            return Ok(());
        };
        let font = theme::font(size * self.zoom, *bold)?;
        let font = if *turned { font.transform(FontTransform::Rotate270) } else { font };
        let horizontal = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let [r, g, b] = theme::rgb(*ink, Theme::Light);
        let color = RGBColor(r, g, b);
        let style = TextStyle::from(font).color(&color).pos(Pos::new(horizontal, VPos::Top));
        let rise = theme::baseline(*size);
        let at = if *turned { (x - rise, *y) } else { (*x, y - rise) };
        let at = self.point(at);
        self.backend.draw_text(text, &style, at).map_err(drawing)
    }

    fn image(
        &mut self,
        frame: &Frame,
        pixels: &RgbaImage,
        smooth: bool,
    ) -> Result<(), FigureError> {
        let (left, top) = self.point((frame.x, frame.y));
        let (right, bottom) = self.point((frame.right(), frame.bottom()));
        let (width, height) = ((right - left).max(1) as u32, (bottom - top).max(1) as u32);
        let (canvas_width, canvas_height) = self.backend.get_size();
        let (step_x, step_y) = (
            f64::from(pixels.width()) / f64::from(width),
            f64::from(pixels.height()) / f64::from(height),
        );
        for dy in 0..height {
            for dx in 0..width {
                let (x, y) = (left + dx as i32, top + dy as i32);
                if x < 0 || y < 0 || x >= canvas_width as i32 || y >= canvas_height as i32 {
                    continue;
                }
                let (sx, sy) = ((f64::from(dx) + 0.5) * step_x, (f64::from(dy) + 0.5) * step_y);
                let [r, g, b, a] =
                    if smooth { sample(pixels, sx, sy) } else { nearest(pixels, sx, sy) };
                let color = RGBAColor(r, g, b, f64::from(a) / 255.0).to_backend_color();
                self.backend.draw_pixel((x, y), color).map_err(drawing)?;
            }
        }
        Ok(())
    }
}

/// The pixel that a point lies in; the point counts pixels from the upper left corner.
fn nearest(pixels: &RgbaImage, x: f64, y: f64) -> [u8; 4] {
    let clamp = |v: f64, size: u32| (v as u32).min(size.saturating_sub(1));
    pixels.get_pixel(clamp(x, pixels.width()), clamp(y, pixels.height())).0
}

/// The weighted mean of the four pixels about a point.
fn sample(pixels: &RgbaImage, x: f64, y: f64) -> [u8; 4] {
    let (x, y) = ((x - 0.5).max(0.0), (y - 0.5).max(0.0));
    let (fx, fy) = (x.fract(), y.fract());
    let corner = |dx: f64, dy: f64| nearest(pixels, x.floor() + dx, y.floor() + dy).map(f64::from);
    let (a, b, c, d) = (corner(0.0, 0.0), corner(1.0, 0.0), corner(0.0, 1.0), corner(1.0, 1.0));
    std::array::from_fn(|i| {
        let upper = a[i] + (b[i] - a[i]) * fx;
        let lower = c[i] + (d[i] - c[i]) * fx;
        (upper + (lower - upper) * fy).round() as u8
    })
}

/// Cuts a line into its drawn marks; a piece that turns a corner becomes several.
fn dashes(points: &[(f64, f64)], dash: Dash) -> Vec<((f64, f64), (f64, f64))> {
    let period = dash.mark + dash.gap;
    let mut marks = Vec::new();
    let mut done = 0.0;
    for pair in points.windows(2) {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        let length = (bx - ax).hypot(by - ay);
        let at = |d: f64| (ax + (bx - ax) * d / length, ay + (by - ay) * d / length);
        let first = (done / period).floor() as i64;
        let last = ((done + length) / period).floor() as i64;
        for i in first..=last {
            let start = (i as f64 * period - done).max(0.0);
            let end = (i as f64 * period + dash.mark - done).min(length);
            if length > 0.0 && start < end {
                marks.push((at(start), at(end)));
            }
        }
        done += length;
    }
    marks
}

fn color(paint: Paint) -> RGBAColor {
    let [r, g, b] = theme::rgb(paint.ink, Theme::Light);
    RGBAColor(r, g, b, paint.opacity)
}

fn drawing(error: impl std::fmt::Display) -> FigureError {
    FigureError::Draw(error.to_string())
}
