//! Which solid explains a region best.

use super::backdrop::{Backdrop, beyond_shadow};
use super::grid::{Grid, Mask};
use super::template::{COVERAGE, Extent, PATTERNS, Place, Plain, Shapes, Template, outline};
use crate::world::{Finish, Shape};

/// A solid at a place, and how well it explains the pixels there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub shape: Shape,
    pub finish: Finish,
    pub place: Place,
    /// Sum over the window of squared differences of colours, with the pattern that is seen.
    pub cost: f32,
    /// The same with nothing but the background and shadows there.
    pub nothing: f32,
    /// How much worse the next best shape is, of its own cost: 0 to 1.
    pub clear: f32,
    /// How clearly the finish is marked: the greatest of the two contrasts (stripes, dots), 0
    /// on a plain solid, 1 on a freshly drawn pattern.
    pub contrast: f32,
    /// Contrast of the other pattern.
    pub other_contrast: f32,
}

/// Contrast of a pattern from which an object is patterned: half of a freshly drawn one less a
/// little, because blur weakens patterns and strengthens none.
pub(super) const PATTERNED: f32 = 0.38;

/// Steps by which a solid is moved and scaled, in working pixels.
const NEAR_STEPS: [f32; 2] = [0.5, 0.25];
/// The same where its first place was bad.
const FAR_STEPS: [f32; 4] = [2.0, 1.0, 0.5, 0.25];
/// A shape that starts with so many times the cost of the best is not moved at all.
const HOPELESS: f32 = 2.0;

/// Least and most that a lenient look multiplies each channel of the paint by.
const LEAST_PAINT: f32 = 0.4;
const MOST_PAINT: f32 = 1.8;

/// What the fit of a region looks at.
pub(super) struct View<'a> {
    pub grid: &'a Grid,
    pub backdrop: &'a Backdrop,
    /// Differences from the background beyond what a shadow explains: the same wherever a solid
    /// is tried, so they are worked out once an image.
    pub bare: &'a [[f32; 3]],
    /// Pixels that belong to other regions are left out.
    pub others: &'a Mask,
    /// Box around the region to explain, in working pixels: left, top, right, bottom (one past
    /// the last pixel). All of it has to be explained, wherever the solid is tried.
    pub bounds: (usize, usize, usize, usize),
    /// Standard deviation of pixel noise.
    pub noise: f32,
    /// Working pixels by which the image is softer than a freshly drawn one.
    pub softness: f32,
    /// For badly drawn images, where shading tells little: solids may be stretched, their paint
    /// may be off, and the outline counts most.
    pub lenient: Option<Presence>,
}

/// Where something is in an image, whatever its colours.
pub(super) struct Presence {
    /// For each pixel how much of it something covers, in \[0, 1\].
    pub coverage: Vec<f32>,
    /// Squared difference that a pixel costs which is covered on one side only.
    pub worth: f32,
}

impl Fit {
    /// Part of the difference from the background that the solid explains, in \[0, 1\].
    pub fn explained(&self) -> f32 {
        (1.0 - self.cost / self.nothing.max(1e-6)).clamp(0.0, 1.0)
    }

    /// Whether the solid explains its region, but for what shadow and soft edges leave.
    pub fn is_good(&self) -> bool {
        /// Explained part that leaves nothing to ask for.
        const ALL: f32 = 0.985;
        is_good(self.cost, self.place) || self.explained() >= ALL
    }
}

fn is_good(cost: f32, place: Place) -> bool {
    /// Cost a pixel that is left, times three: a silhouette has about three times the square of
    /// its radius.
    const LEFT: f32 = 0.02;
    cost <= LEFT * place.radius * place.radius * place.tall
}

/// Differences of one solid with each finish at one place.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    /// Sum of squared differences from the background, shadows allowed.
    nothing: f32,
    /// The same from the plain solid on the background.
    plain: f32,
    /// Differences of the outline, in a lenient look.
    outline: f32,
    /// For stripes and dots: what the image adds to plain along what the pattern adds to plain,
    /// and the square of the latter.
    along: [f32; 2],
    square: [f32; 2],
}

impl Errors {
    /// Adds one pixel: what the plain solid shows there, what is there, the background behind,
    /// and, asked for only where the solid is, what patterns add.
    fn add(
        &mut self,
        plain: Plain,
        pixel: [f32; 3],
        backdrop: [f32; 3],
        patterns: impl FnOnce() -> [[f32; 3]; 2],
    ) {
        let coverage = plain[COVERAGE];
        let behind: [f32; 3] = std::array::from_fn(|k| (1.0 - coverage) * backdrop[k]);
        // What is left for the background to explain, shadows allowed where it shows most.
        let rest = std::array::from_fn(|k| pixel[k] - plain[k]);
        let e: [f32; 3] = if coverage < 0.5 {
            beyond_shadow(rest, behind)
        } else {
            std::array::from_fn(|k| rest[k] - behind[k])
        };
        self.plain += e[0] * e[0] + e[1] * e[1] + e[2] * e[2];
        if coverage < 0.5 {
            return;
        }
        for (pattern, added) in patterns().into_iter().enumerate() {
            for (v, e) in added.into_iter().zip(e) {
                self.along[pattern] += v * e;
                self.square[pattern] += v * v;
            }
        }
    }

    fn contrast(&self, pattern: usize) -> f32 {
        (self.along[pattern] / self.square[pattern].max(1e-6)).clamp(0.0, 1.2)
    }

    /// What is left to explain with the better pattern at its best contrast, that pattern, its
    /// contrast and the other's.
    fn best(&self) -> (f32, usize, f32, f32) {
        // |e − a v|² = |e|² − 2 a (e·v) + a² |v|²
        let gain = |p: usize| {
            let a = self.contrast(p);
            a * (2.0 * self.along[p] - a * self.square[p])
        };
        let p = usize::from(gain(1) > gain(0));
        let cost = (self.plain - gain(p)).max(0.0);
        (cost, p, self.contrast(p), self.contrast(1 - p))
    }
}

/// Pixels around a place, and what each column and row of them sees of a template there.
struct Extents {
    left: usize,
    top: usize,
    columns: Vec<Extent>,
    rows: Vec<Extent>,
}

impl View<'_> {
    /// What a solid at a place leaves unexplained; `None` as soon as it is certain that its cost
    /// is not below `most`.
    fn errors(&self, template: &Template, place: Place, most: f32) -> Option<Errors> {
        let seen = self.extents(place);
        let pixels = (seen.columns.len() * seen.rows.len()) as f32;
        // What noise adds to three channels of each pixel, whatever is there.
        let noise = 3.0 * self.noise * self.noise;
        // Sums in another order differ by rounding, which must not decide.
        let hopeless = most * 1.001 + 1e-3;
        let paint = self.paint(template, &seen);
        let (mut errors, mut counted) = (Errors::default(), 0.0);
        let mut beside = 0.0;
        for (y, &down) in (seen.top..).zip(&seen.rows) {
            let first = y * self.grid.width + seen.left;
            for (at, &across) in (first..).zip(&seen.columns) {
                if self.others.on[at] {
                    continue;
                }
                let mut plain = template.plain(across, down);
                for k in 0..3 {
                    plain[k] *= paint[k];
                }
                let before = errors.plain;
                errors.add(plain, self.grid.rgb[at], self.backdrop.rgb[at], || {
                    let added = template.patterns(across, down);
                    PATTERNS.map(|from| std::array::from_fn(|k| added[from + k] * paint[k]))
                });
                // No pattern makes up for what is wrong beside the solid.
                if plain[COVERAGE] < 0.5 {
                    beside += errors.plain - before;
                }
                let bare = self.bare[at];
                errors.nothing += bare[0] * bare[0] + bare[1] * bare[1] + bare[2] * bare[2];
                if let Some(presence) = &self.lenient {
                    let off = plain[COVERAGE] - presence.coverage[at];
                    errors.outline += presence.worth * off * off;
                }
                counted += 1.0;
            }
            let least = (beside - noise * pixels).max(0.0);
            if self.weighed(least, errors.outline) > hopeless {
                return None;
            }
        }
        errors.plain = (errors.plain - noise * counted).max(0.0);
        errors.nothing = (errors.nothing - noise * counted).max(0.0);
        Some(errors)
    }

    /// By how much the paint of what is there is off, in each channel; 1 in a strict look.
    fn paint(&self, template: &Template, seen: &Extents) -> [f32; 3] {
        if self.lenient.is_none() {
            return [1.0; 3];
        }
        let (mut drawn, mut there) = ([1e-3; 3], [1e-3; 3]);
        for (y, &down) in (seen.top..).zip(&seen.rows) {
            let first = y * self.grid.width + seen.left;
            for (at, &across) in (first..).zip(&seen.columns) {
                let plain = template.plain(across, down);
                if self.others.on[at] || plain[COVERAGE] < 0.5 {
                    continue;
                }
                let (pixel, backdrop) = (self.grid.rgb[at], self.backdrop.rgb[at]);
                for k in 0..3 {
                    drawn[k] += plain[k];
                    there[k] += (pixel[k] - (1.0 - plain[COVERAGE]) * backdrop[k]).max(0.0);
                }
            }
        }
        std::array::from_fn(|k| (there[k] / drawn[k]).clamp(LEAST_PAINT, MOST_PAINT))
    }

    /// What shapes and places are chosen by: what is left to explain, and in a lenient look the
    /// outline, beside which colours count little.
    fn weighed(&self, left: f32, outline: f32) -> f32 {
        /// Weight of colours beside the outline.
        const COLOURS: f32 = 0.25;
        if self.lenient.is_some() { COLOURS * left + outline } else { left }
    }

    /// The cost of a place, or infinity where it is not below `most`.
    fn cost(&self, template: &Template, place: Place, most: f32) -> f32 {
        match self.errors(template, place, most) {
            Some(errors) => self.weighed(errors.best().0, errors.outline),
            None => f32::INFINITY,
        }
    }

    /// What the pixels around a place see of a template.
    fn extents(&self, place: Place) -> Extents {
        let (own, all) = (place.window(self.others), self.bounds);
        let (left, top) = (own.0.min(all.0), own.1.min(all.1));
        let (right, bottom) = (own.2.max(all.2), own.3.max(all.3));
        let columns = place.columns(left, right.saturating_sub(left), self.softness);
        let rows = place.rows(top, bottom.saturating_sub(top), self.softness);
        Extents { left, top, columns, rows }
    }

    /// The best solid for a region of a known colour: starts each shape at the region's box,
    /// then moves and scales it in ever smaller steps.
    pub fn fit(&self, shapes: &Shapes) -> Fit {
        let (left, top, right, bottom) = self.bounds;
        let bounds = [left as f32, top as f32, right as f32, bottom as f32];
        let mut tried: Vec<(f32, Shape, Place)> = shapes
            .iter()
            .map(|template| {
                let place = if self.lenient.is_some() {
                    Place::stretched_to(template.shape, bounds)
                } else {
                    Place::of_bounds(template.shape, bounds)
                };
                (self.cost(template, place, f32::INFINITY), template.shape, place)
            })
            .collect();
        tried.sort_by(|a, b| a.0.total_cmp(&b.0));
        let hopeless = HOPELESS * tried[0].0;
        self.settle_all(&mut tried, shapes, &NEAR_STEPS, |cost| cost < hopeless);
        if !is_good(tried[0].0, tried[0].2) {
            // The box misleads where part of the silhouette looks like shadow.
            self.settle_all(&mut tried, shapes, &FAR_STEPS, |_| true);
        }
        let (least, shape, place) = tried[0];
        let clear = 1.0 - least / tried[1].0.max(1e-6);
        // Nothing is hopeless beside infinity.
        let errors = self.errors(&shapes[shape as usize], place, f32::INFINITY).unwrap_or_default();
        let (cost, pattern, contrast, other_contrast) = errors.best();
        let finish = match pattern {
            _ if contrast < PATTERNED => Finish::Plain,
            0 => Finish::Striped,
            _ => Finish::Dotted,
        };
        Fit { shape, finish, place, cost, nothing: errors.nothing, clear, contrast, other_contrast }
    }

    /// Moves those of the tried solids to their best places whose cost is `worth_it`, and sorts
    /// them by cost.
    fn settle_all(
        &self,
        tried: &mut [(f32, Shape, Place)],
        shapes: &Shapes,
        steps: &[f32],
        worth_it: impl Fn(f32) -> bool,
    ) {
        for (cost, shape, place) in tried.iter_mut().filter(|t| worth_it(t.0)) {
            (*place, *cost) = self.settle(&shapes[*shape as usize], steps, *place, *cost);
        }
        tried.sort_by(|a, b| a.0.total_cmp(&b.0));
    }

    fn settle(
        &self,
        template: &Template,
        steps: &[f32],
        start: Place,
        cost_there: f32,
    ) -> (Place, f32) {
        let (mut place, mut least) = (start, cost_there);
        for &step in steps {
            let moves = [
                (step, 0.0, 0.0, 0.0),
                (0.0, step, 0.0, 0.0),
                (0.0, 0.0, step, 0.0),
                (0.0, 0.0, 0.0, step),
            ];
            let degrees = if self.lenient.is_some() { 4 } else { 3 };
            for &(dx, dy, across, down) in &moves[..degrees] {
                for sign in [1.0, -1.0] {
                    let radius = (place.radius + sign * across).max(1.0);
                    let height = (place.radius * place.tall + sign * down).max(1.0);
                    let next = Place {
                        x: place.x + sign * dx,
                        y: place.y + sign * dy,
                        radius,
                        tall: if self.lenient.is_some() { height / radius } else { 1.0 },
                    };
                    let c = self.cost(template, next, least);
                    if c < least {
                        (place, least) = (next, c);
                        break;
                    }
                }
            }
        }
        (place, least)
    }
}

/// Box of a fitted solid in working pixels.
pub(super) fn bounds_of(fit: &Fit) -> [f32; 4] {
    let o = outline(fit.shape);
    let Place { x, y, radius, tall } = fit.place;
    let down = radius * tall;
    [x + radius * o[0], y + down * o[1], x + radius * o[2], y + down * o[3]]
}
