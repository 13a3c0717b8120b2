//! Images side by side: contact sheets, overlays, film strips.

use image::{DynamicImage, RgbImage, RgbaImage, imageops::FilterType};

use super::parts::{self, ColorBar, EDGE, GAP, LEADING};
use super::{
    Anchor, Figure, FigureError, Frame, Ink, Overlay, Paint, Scene, Shape, Stroke, csv_line,
    outline_loops, theme,
};

/// Smallest and largest width of a tile, in pixels.
const SMALLEST_TILE: f64 = 118.0;
const LARGEST_TILE: f64 = 300.0;
const TILE_GAP: f64 = 12.0;
/// Images longer than this are reduced before they are embedded.
const LONGEST_SIDE: u32 = 320;
/// Images up to this side are drawn as blocks: their pixels are what is to be seen.
const BLOCK_SIDE: u32 = 24;

/// An image with a label.
#[derive(Debug, Clone)]
pub struct Tile {
    /// Label below the image.
    pub label: String,
    /// A second line, such as a score; may be empty.
    pub note: String,
    /// The image.
    pub image: RgbImage,
    /// A map laid over it.
    pub overlay: Option<Overlay>,
}

impl Tile {
    /// An image with a label and no overlay.
    pub fn new(label: impl Into<String>, image: RgbImage) -> Self {
        Self { label: label.into(), note: String::new(), image, overlay: None }
    }

    /// Adds a second line below the label.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Lays a map over the image.
    pub fn overlay(mut self, overlay: Overlay) -> Self {
        self.overlay = Some(overlay);
        self
    }
}

/// Images in rows, in reading order.
#[derive(Debug, Clone, Default)]
pub struct ImageGrid {
    /// Title; may be empty.
    pub title: String,
    /// The images.
    pub tiles: Vec<Tile>,
    /// Most images in a row; fewer where the page is narrow. None fits as many as look good.
    pub columns: Option<usize>,
    /// Quantity of the overlays, for a colour bar; None leaves the bar out.
    pub quantity: Option<String>,
}

impl ImageGrid {
    /// Columns and tile width for a page width.
    fn fit(&self, width: f64) -> (usize, f64) {
        let room = width - 2.0 * EDGE;
        let most = ((room + TILE_GAP) / (SMALLEST_TILE + TILE_GAP)).floor().max(1.0) as usize;
        let wanted = self.columns.unwrap_or(most).clamp(1, most).min(self.tiles.len().max(1));
        let tile = (room - (wanted - 1) as f64 * TILE_GAP) / wanted as f64;
        (wanted, tile.min(LARGEST_TILE))
    }

    /// The range all overlays share, if they do.
    fn shared_range(&self) -> Option<(f64, f64)> {
        let mut ranges = self.tiles.iter().filter_map(|t| t.overlay.as_ref()).map(Overlay::bounds);
        let first = ranges.next()?;
        ranges.all(|range| range == first).then_some(first)
    }

    fn bar(&self, scene: &mut Scene, y: f64) -> f64 {
        let overlay = self.tiles.iter().find_map(|t| t.overlay.as_ref());
        let (Some(quantity), Some(overlay)) = (&self.quantity, overlay) else { return y };
        let shared = self.shared_range();
        let label = match shared {
            Some(_) => quantity.clone(),
            None => format!("{quantity}, each map from its least to its greatest value"),
        };
        let bar = ColorBar {
            label: &label,
            colors: overlay.colors,
            range: shared,
            missing: false,
            left: EDGE,
        };
        parts::color_bar(scene, &bar, y)
    }
}

/// Draws an image with its overlay and outlines.
fn draw_tile(scene: &mut Scene, tile: &Tile, frame: Frame) {
    let smooth = tile.image.width().max(tile.image.height()) > BLOCK_SIDE;
    scene.image(frame, reduced(&tile.image), smooth);
    let Some(overlay) = &tile.overlay else { return };
    if let Some(pixels) = overlay.pixels() {
        scene.image(frame, pixels, true);
    }
    for outline in &overlay.outlines {
        for points in outline_loops(&outline.mask) {
            let place =
                |&(x, y): &(f64, f64)| (frame.x + x * frame.width, frame.y + y * frame.height);
            let points: Vec<_> = points.iter().map(place).collect();
            // Dark below light shows on any background.
            for (color, width) in [([0x10, 0x14, 0x1a], 3.2), ([0xff, 0xff, 0xff], 1.4)] {
                let stroke = Stroke::solid(Ink::Fixed(color), width);
                scene.shapes.push(Shape::Line { points: points.clone(), closed: true, stroke });
            }
        }
    }
}

/// An image small enough to embed.
pub(super) fn reduced(image: &RgbImage) -> RgbaImage {
    let image = DynamicImage::ImageRgb8(image.clone());
    if image.width().max(image.height()) > LONGEST_SIDE {
        return image.resize(LONGEST_SIDE, LONGEST_SIDE, FilterType::CatmullRom).to_rgba8();
    }
    image.to_rgba8()
}

/// Height of a tile's image over its width.
fn proportion(tile: &Tile) -> f64 {
    f64::from(tile.image.height()) / f64::from(tile.image.width())
}

fn check_pixels(title: &str, tiles: &[Tile]) -> Result<(), FigureError> {
    match tiles.iter().find(|t| t.image.width() == 0 || t.image.height() == 0) {
        Some(tile) => Err(FigureError::NoPixels { figure: title.into(), what: tile.label.clone() }),
        None => Ok(()),
    }
}

/// Writes a tile's label and note from `y` down; returns the new y.
fn caption(scene: &mut Scene, tile: &Tile, x: f64, y: f64, width: f64) -> f64 {
    let mut y = y + 4.0;
    for (text, size, ink) in
        [(&tile.label, theme::LABEL, Ink::Text), (&tile.note, theme::TICK, Ink::Quiet)]
    {
        for line in theme::wrap(text, size, width, 2) {
            y += size * LEADING;
            scene.text(x, y - 2.0, &line, size, Anchor::Start, ink);
        }
    }
    y
}

/// A line for each row of each map; a field with several numbers has blanks between them, as in
/// tables.
fn tiles_csv(tiles: &[Tile]) -> String {
    let mut out = csv_line(["label", "note", "row", "values"]);
    for tile in tiles {
        let Some(overlay) = &tile.overlay else {
            out += &csv_line([tile.label.as_str(), &tile.note, "", ""]);
            continue;
        };
        for (row, values) in overlay.map.outer_iter().enumerate() {
            let values: Vec<String> = values.iter().map(|&value| few_digits(value)).collect();
            out += &csv_line([&tile.label, &tile.note, &row.to_string(), &values.join(" ")]);
        }
    }
    out
}

/// Four significant digits: more than a picture shows, and a quarter of the page's bytes that all
/// digits of every pixel would take. `NaN` keeps the place of a value that is not there.
fn few_digits(value: f32) -> String {
    let rounded = format!("{value:.3e}").parse::<f64>();
    rounded.map_or_else(|_| "NaN".to_owned(), |value| value.to_string())
}

impl Figure for ImageGrid {
    fn title(&self) -> &str {
        &self.title
    }

    fn describe(&self) -> String {
        let named = |tile: &Tile| {
            if tile.note.is_empty() {
                tile.label.clone()
            } else {
                format!("{} ({})", tile.label, tile.note)
            }
        };
        let names: Vec<String> = self.tiles.iter().map(named).collect();
        match &self.quantity {
            Some(quantity) => format!("Maps of {quantity} over images: {}.", names.join(", ")),
            None => format!("Images: {}.", names.join(", ")),
        }
    }

    fn csv(&self) -> String {
        tiles_csv(&self.tiles)
    }

    fn scene(&self, width: f64) -> Result<Scene, FigureError> {
        check_pixels(&self.title, &self.tiles)?;
        let mut scene = Scene::new(width);
        let mut y = parts::title(&mut scene, &self.title);
        if self.tiles.is_empty() {
            scene.height = parts::nothing(&mut scene, y, "no images");
            return Ok(scene);
        }
        let (columns, tile_width) = self.fit(width);
        for row in self.tiles.chunks(columns) {
            let tallest = row.iter().map(|t| tile_width * proportion(t)).fold(0.0, f64::max);
            let mut lowest = y + tallest;
            for (i, tile) in row.iter().enumerate() {
                let x = EDGE + i as f64 * (tile_width + TILE_GAP);
                let frame =
                    Frame { x, y, width: tile_width, height: tile_width * proportion(tile) };
                draw_tile(&mut scene, tile, frame);
                lowest = lowest.max(caption(&mut scene, tile, x, y + tallest, tile_width));
            }
            y = lowest + GAP;
        }
        scene.height = self.bar(&mut scene, y) + EDGE;
        Ok(scene)
    }
}

/// Images in the order of time, from noise to picture, on a dark band.
#[derive(Debug, Clone, Default)]
pub struct FilmStrip {
    /// Title; may be empty.
    pub title: String,
    /// The frames, first to last.
    pub frames: Vec<Tile>,
}

impl Figure for FilmStrip {
    fn title(&self) -> &str {
        &self.title
    }

    fn describe(&self) -> String {
        match (self.frames.first(), self.frames.last()) {
            (Some(first), Some(last)) => {
                format!(
                    "Film strip of {} frames from {} to {}.",
                    self.frames.len(),
                    first.label,
                    last.label
                )
            }
            _ => "Film strip without frames.".into(),
        }
    }

    fn csv(&self) -> String {
        tiles_csv(&self.frames)
    }

    fn scene(&self, width: f64) -> Result<Scene, FigureError> {
        const SMALLEST_FRAME: f64 = 72.0;
        const LARGEST_FRAME: f64 = 132.0;
        const FRAME_GAP: f64 = 3.0;
        const MARGIN: f64 = 13.0;
        const BAND: Ink = Ink::Fixed([0x20, 0x25, 0x2d]);
        check_pixels(&self.title, &self.frames)?;
        let mut scene = Scene::new(width);
        let mut y = parts::title(&mut scene, &self.title);
        if self.frames.is_empty() {
            scene.height = parts::nothing(&mut scene, y, "no frames");
            return Ok(scene);
        }
        let room = width - 2.0 * (EDGE + FRAME_GAP);
        let most = (room / (SMALLEST_FRAME + FRAME_GAP)).floor().max(1.0) as usize;
        let rows = self.frames.len().div_ceil(most);
        let columns = self.frames.len().div_ceil(rows);
        let side = (room / columns as f64 - FRAME_GAP).min(LARGEST_FRAME);
        for row in self.frames.chunks(columns) {
            let tallest = row.iter().map(|t| side * proportion(t)).fold(0.0, f64::max);
            let band_width = row.len() as f64 * (side + FRAME_GAP) + FRAME_GAP;
            let band = Frame { x: EDGE, y, width: band_width, height: tallest + 2.0 * MARGIN };
            scene.shapes.push(Shape::Rect { frame: band, radius: 3.0, fill: BAND.into() });
            perforate(&mut scene, &band);
            let mut lowest = band.bottom();
            for (i, tile) in row.iter().enumerate() {
                let x = EDGE + FRAME_GAP + i as f64 * (side + FRAME_GAP);
                let frame =
                    Frame { x, y: y + MARGIN, width: side, height: side * proportion(tile) };
                draw_tile(&mut scene, tile, frame);
                lowest = lowest.max(caption(&mut scene, tile, x, band.bottom(), side));
            }
            y = lowest + GAP;
        }
        scene.height = y;
        Ok(scene)
    }
}

/// The holes along both edges of a film.
fn perforate(scene: &mut Scene, band: &Frame) {
    const STEP: f64 = 13.0;
    const HOLE: (f64, f64) = (6.0, 4.5);
    let count = ((band.width - 6.0) / STEP).floor() as usize;
    for i in 0..count {
        let x = band.x + 6.0 + i as f64 * STEP;
        for y in [band.y + 4.5, band.bottom() - 4.5 - HOLE.1] {
            let frame = Frame { x, y, width: HOLE.0, height: HOLE.1 };
            let fill = Paint { ink: Ink::Fixed([0xff, 0xff, 0xff]), opacity: 0.28 };
            scene.shapes.push(Shape::Rect { frame, radius: 1.2, fill });
        }
    }
}
