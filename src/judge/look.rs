//! From an image to what is seen in it.

use image::RgbImage;

use super::backdrop::{Backdrop, classify, light, standing_out};
use super::fit::{Fit, PATTERNED, View, bounds_of};
use super::grid::{Grid, Mask};
use super::paint::{Tint, tint};
use super::regions::{SPECK, bridged, regions, standing_out_mask};
use super::seen::{Seen, SeenObject, Sureness};
use super::template::templates;
use super::{hand, letters};
use crate::world::{Finish, SIZE_LIMIT, Size};

/// Looks at an image. The image alone is looked at: neither scene nor caption can be known.
///
/// The image is scaled to a width of 64 pixels first; masks and boxes come back at its own
/// size. An empty image shows nothing.
pub fn look(image: &RgbImage) -> Seen {
    let grid = Grid::of_image(image);
    if grid.len() == 0 {
        return Seen::default();
    }
    let ground = Ground::of(&grid);
    let mut seen = Seen {
        background: classify(&ground.backdrop),
        light: Some(light(&ground.backdrop)),
        ..Seen::default()
    };
    if let Some(fingers) = hand::fingers(&grid, &ground.mask) {
        seen.fingers = Some(fingers);
        return seen;
    }
    if let Some(word) = letters::read(&grid, &ground, image.dimensions()) {
        seen.word = Some(word);
        return seen;
    }
    seen.objects = objects(&grid, &ground, image.dimensions());
    seen
}

/// The background and what stands out from it.
pub(super) struct Ground {
    pub backdrop: Backdrop,
    /// How strongly each pixel stands out.
    pub strength: Vec<f32>,
    /// The pixels that do.
    pub mask: Mask,
}

impl Ground {
    fn of(grid: &Grid) -> Ground {
        /// Difference of colours from which a pixel stands out in an image without noise.
        const FAINT: f32 = 0.075;
        /// Noise deviations that a pixel of the smoothed image has to stand out by.
        const NOISE: f32 = 2.2;
        /// Noise from which the image is smoothed before it is cut into regions.
        const NOISY: f32 = 0.012;
        let noise = grid.noise();
        let smoothed;
        let calm = if noise > NOISY {
            smoothed = grid.smoothed();
            &smoothed
        } else {
            grid
        };
        let backdrop = Backdrop::of(calm, noise);
        let strength = standing_out(calm, &backdrop);
        let mask = standing_out_mask(&strength, grid.width, FAINT + NOISE * noise);
        Ground { backdrop, strength, mask }
    }
}

/// A region with its colour and the solid that explains it.
struct Candidate {
    region: Mask,
    tint: Tint,
    fit: Fit,
}

fn objects(grid: &Grid, ground: &Ground, size: (u32, u32)) -> Vec<SeenObject> {
    let marks = bridged(&ground.mask, grid);
    let parts = regions(&marks);
    let light = light(&ground.backdrop);
    let mut found: Vec<SeenObject> = parts
        .iter()
        .map(|region| {
            let mut others = marks.clone();
            for at in region.pixels() {
                others.on[at] = false;
            }
            let view = View { grid, backdrop: &ground.backdrop, others: &others };
            let tint = tint(grid, region);
            let shapes = templates(tint.colour, light);
            let fit = view.fit(&shapes, box_of(region));
            seen_object(Candidate { region: region.clone(), tint, fit }, grid, size)
        })
        .collect();
    found.sort_by(|a, b| a.centre.0.total_cmp(&b.centre.0));
    found
}

/// The box around a region in working pixels.
fn box_of(region: &Mask) -> [f32; 4] {
    let (x0, y0, x1, y1) = region.bounds().unwrap_or((0, 0, 0, 0));
    [x0 as f32, y0 as f32, x1 as f32, y1 as f32]
}

fn seen_object(c: Candidate, grid: &Grid, (w, h): (u32, u32)) -> SeenObject {
    let scale = grid.width as f32;
    let radius = c.fit.place.radius / scale;
    let bounds = bounds_of(&c.fit);
    let pixels = c.region.bounds().unwrap_or((0, 0, 0, 0));
    let sure = sureness(&c, radius);
    let to_image = |v: usize, own: usize, image: u32| (v as f32 * image as f32 / own as f32) as u32;
    SeenObject {
        shape: c.fit.shape,
        colour: c.tint.colour,
        size: Size::of_radius(radius),
        finish: c.fit.finish,
        mask: c.region.scaled_to(w, h),
        bounds: (
            to_image(pixels.0, grid.width, w),
            to_image(pixels.1, grid.height, h),
            to_image(pixels.2, grid.width, w),
            to_image(pixels.3, grid.height, h),
        ),
        centre: (
            0.5 * (bounds[0] + bounds[2]) / scale,
            0.5 * (bounds[1] + bounds[3]) / grid.height as f32,
        ),
        radius,
        confidence: sure.least(),
        sure,
    }
}

fn sureness(c: &Candidate, radius: f32) -> Sureness {
    /// Half of the gap between the greatest small and the least large radius.
    const HALF_GAP: f32 = 0.0175;
    /// Area from which a region is surely more than a speck.
    const SOLID: f32 = 3.0 * SPECK as f32;
    let shape = 1.0 - c.fit.cost / c.fit.next_shape.max(1e-6);
    let patterned = c.fit.finish != Finish::Plain;
    let finish = if patterned {
        (c.fit.contrast - c.fit.other_contrast.max(PATTERNED)) / (1.0 - PATTERNED)
    } else {
        1.0 - c.fit.contrast / PATTERNED
    };
    Sureness {
        object: (c.region.area() as f32 / SOLID).min(1.0),
        shape: shape.clamp(0.0, 1.0),
        colour: c.tint.sure.clamp(0.0, 1.0),
        size: ((radius - SIZE_LIMIT).abs() / HALF_GAP).min(1.0),
        finish: finish.clamp(0.0, 1.0),
    }
}
