//! A contact sheet: images in rows and columns that each stand for something.

use image::RgbImage;

use super::grid::reduced;
use super::parts::{self, EDGE, GAP, LEADING};
use super::{Anchor, Figure, FigureError, Frame, Ink, Scene, check_size, csv_line, theme};

/// Images in a grid, such as prompts by guidance scales. Every row has all columns, however narrow
/// the page.
#[derive(Debug, Clone, Default)]
pub struct ContactSheet {
    /// Title; may be empty.
    pub title: String,
    /// What the columns are.
    pub column_axis: String,
    /// Column headings.
    pub columns: Vec<String>,
    /// Rows from the top: a label, and an image for each column.
    pub rows: Vec<(String, Vec<RgbImage>)>,
}

/// Distance between images, in pixels.
const TILE_GAP: f64 = 3.0;
/// Largest side of an image, in pixels.
const LARGEST_TILE: f64 = 128.0;

impl ContactSheet {
    fn check(&self) -> Result<(), FigureError> {
        for (label, images) in &self.rows {
            check_size(&self.title, label, self.columns.len(), images.len())?;
            if images.iter().any(|image| image.width() == 0 || image.height() == 0) {
                return Err(FigureError::NoPixels {
                    figure: self.title.clone(),
                    what: label.clone(),
                });
            }
        }
        Ok(())
    }

    /// Headings; returns the new y.
    fn headings(&self, scene: &mut Scene, y: f64, tile: f64) -> f64 {
        let mut y = y + theme::LABEL * LEADING;
        scene.text(EDGE, y, &self.column_axis, theme::LABEL, Anchor::Start, Ink::Text);
        y += theme::TICK * LEADING + 2.0;
        for (i, heading) in self.columns.iter().enumerate() {
            let middle = EDGE + i as f64 * (tile + TILE_GAP) + tile / 2.0;
            let heading = theme::fit(heading, theme::TICK, tile);
            scene.text(middle, y, &heading, theme::TICK, Anchor::Middle, Ink::Quiet);
        }
        y
    }
}

impl Figure for ContactSheet {
    fn title(&self) -> &str {
        &self.title
    }

    fn describe(&self) -> String {
        let rows: Vec<&str> = self.rows.iter().map(|(label, _)| label.as_str()).collect();
        format!(
            "Contact sheet; columns: {} {}; rows: {}.",
            self.column_axis,
            self.columns.join(", "),
            rows.join("; ")
        )
    }

    /// Where each image stands; pixels are not numbers to read.
    fn csv(&self) -> String {
        let mut out = csv_line(["row", self.column_axis.as_str()]);
        for (label, _) in &self.rows {
            for column in &self.columns {
                out += &csv_line([label, column]);
            }
        }
        out
    }

    fn scene(&self, width: f64) -> Result<Scene, FigureError> {
        self.check()?;
        let mut scene = Scene::new(width);
        let mut y = parts::title(&mut scene, &self.title);
        if self.rows.is_empty() || self.columns.is_empty() {
            scene.height = parts::nothing(&mut scene, y, "no images");
            return Ok(scene);
        }
        let columns = self.columns.len() as f64;
        let room = width - 2.0 * EDGE - (columns - 1.0) * TILE_GAP;
        let tile = (room / columns).min(LARGEST_TILE);
        y = self.headings(&mut scene, y, tile);
        for (label, images) in &self.rows {
            y += GAP + theme::TICK;
            let label = theme::fit(label, theme::TICK, width - 2.0 * EDGE);
            scene.text(EDGE, y, &label, theme::TICK, Anchor::Start, Ink::Text);
            y += TILE_GAP + 2.0;
            let mut tallest = 0.0_f64;
            for (i, image) in images.iter().enumerate() {
                let height = tile * f64::from(image.height()) / f64::from(image.width());
                let x = EDGE + i as f64 * (tile + TILE_GAP);
                scene.image(Frame { x, y, width: tile, height }, reduced(image), true);
                tallest = tallest.max(height);
            }
            y += tallest;
        }
        scene.height = y + GAP;
        Ok(scene)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::figure::{NARROW, Shape};

    #[test]
    fn a_phone_shows_all_columns_too() {
        let images = vec![RgbImage::new(8, 8); 9];
        let columns = (0..9).map(|i| i.to_string()).collect();
        let sheet = ContactSheet {
            title: "scales".into(),
            column_axis: "s".into(),
            columns,
            rows: vec![("a ball".into(), images.clone()), ("a cube".into(), images)],
        };
        let scene = sheet.scene(NARROW).unwrap();
        let frames: Vec<Frame> = scene
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Image { frame, .. } => Some(*frame),
                _ => None,
            })
            .collect();
        assert_eq!(frames.len(), 18);
        assert!(
            frames.iter().all(|frame| frame.right() <= NARROW && frame.bottom() <= scene.height)
        );
        assert_eq!(frames[0].y, frames[8].y);
        assert!(frames[9].y > frames[0].bottom());
    }

    #[test]
    fn a_row_that_misses_an_image_is_refused() {
        let rows = vec![("a ball".to_owned(), vec![RgbImage::new(4, 4)])];
        let columns = vec!["1".to_owned(), "2".to_owned()];
        let sheet = ContactSheet { columns, rows, ..ContactSheet::default() };
        assert!(matches!(sheet.scene(NARROW), Err(FigureError::Size { .. })));
        let rows = vec![("a ball".to_owned(), vec![RgbImage::new(0, 0)])];
        let sheet = ContactSheet { columns: vec!["1".into()], rows, ..ContactSheet::default() };
        assert!(matches!(sheet.scene(NARROW), Err(FigureError::NoPixels { .. })));
    }
}
