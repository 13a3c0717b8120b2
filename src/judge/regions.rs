//! From how strongly pixels stand out to the regions that may be objects.

use super::grid::{Grid, Mask, components, neighbours};
use super::paint::{clear_colour, far_apart};
use crate::world::Colour;

/// Regions smaller than this many working pixels are specks. The smallest object of the world
/// covers about ninety.
pub(super) const SPECK: usize = 24;

/// Pixels that stand out by more than `threshold`, with edges where they are half covered.
pub(super) fn standing_out_mask(strength: &[f32], width: usize, threshold: f32) -> Mask {
    /// Part of the strongest neighbour at which an edge pixel counts as covered.
    const COVERED: f32 = 0.5;
    let height = strength.len() / width.max(1);
    let mut mask = Mask { width, height, on: strength.iter().map(|&s| s > threshold).collect() };
    let outside: Vec<usize> = mask
        .pixels()
        .filter(|&at| neighbours(at, width, height, false).any(|n| !mask.on[n]))
        .filter(|&at| {
            let most = neighbours(at, width, height, true).map(|n| strength[n]).fold(0.0, f32::max);
            strength[at] < COVERED * most
        })
        .collect();
    for at in outside {
        mask.on[at] = false;
    }
    mask
}

/// Adds to a mask what lies between near parts of it, along rows, columns and diagonals. Meant
/// for pieces of objects: the gray stripes and dots of white objects look like the background in
/// shadow, if that is gray or lavender.
pub(super) fn bridged(mask: &Mask) -> Mask {
    /// Widest gap that is bridged, in working pixels: a stripe of the largest ball.
    const WIDEST: usize = 5;
    const AXES: [(isize, isize); 4] = [(1, 0), (0, 1), (1, 1), (1, -1)];
    let (w, h) = (mask.width as isize, mask.height as isize);
    let mut out = mask.clone();
    for start in mask.pixels() {
        let (x, y) = ((start % mask.width) as isize, (start / mask.width) as isize);
        for (dx, dy) in AXES {
            let along = |i: usize| {
                let (nx, ny) = (x + dx * i as isize, y + dy * i as isize);
                (nx >= 0 && ny >= 0 && nx < w && ny < h).then(|| (ny * w + nx) as usize)
            };
            let stop = (1..=WIDEST + 1).find(|&i| along(i).is_none_or(|at| mask.on[at]));
            let Some(gap) = stop.filter(|&i| along(i).is_some()) else { continue };
            for at in (1..gap).filter_map(along) {
                out.on[at] = true;
            }
        }
    }
    out
}

/// The mask with all background that it encloses.
pub(super) fn filled(mask: &Mask) -> Mask {
    let (w, h) = (mask.width, mask.height);
    let mut outside = vec![false; mask.on.len()];
    let mut stack: Vec<usize> = (0..mask.on.len())
        .filter(|&at| {
            let (x, y) = (at % w, at / w);
            !mask.on[at] && (x == 0 || y == 0 || x + 1 == w || y + 1 == h)
        })
        .collect();
    for &at in &stack {
        outside[at] = true;
    }
    while let Some(at) = stack.pop() {
        for next in neighbours(at, w, h, false) {
            if !mask.on[next] && !outside[next] {
                outside[next] = true;
                stack.push(next);
            }
        }
    }
    Mask { width: w, height: h, on: outside.iter().map(|o| !o).collect() }
}

/// For each pixel of the mask its distance to the nearest pixel outside, in pixels (chamfer
/// steps 1 and √2); 0 outside. Beyond the image counts as outside.
pub(super) fn depth(mask: &Mask) -> Vec<f32> {
    const DIAGONAL: f32 = std::f32::consts::SQRT_2;
    let (w, h) = (mask.width as isize, mask.height as isize);
    let mut depth: Vec<f32> =
        mask.on.iter().map(|&on| if on { f32::INFINITY } else { 0.0 }).collect();
    let get = |depth: &[f32], x: isize, y: isize| {
        if x < 0 || y < 0 || x >= w || y >= h { 0.0 } else { depth[(y * w + x) as usize] }
    };
    let mut pass = |forward: bool| {
        let sign = if forward { -1 } else { 1 };
        for i in 0..(w * h) {
            let at = if forward { i } else { w * h - 1 - i };
            let (x, y) = (at % w, at / w);
            let mut least = depth[at as usize];
            for (dx, dy, step) in
                [(sign, 0, 1.0), (0, sign, 1.0), (sign, sign, DIAGONAL), (-sign, sign, DIAGONAL)]
            {
                least = least.min(get(&depth, x + dx, y + dy) + step);
            }
            depth[at as usize] = least;
        }
    };
    pass(true);
    pass(false);
    depth
}

/// Splits a region where it narrows between two bodies: every pixel goes to the peak of depth
/// that it climbs to, and peaks join unless the saddle between them is clearly lower than both.
/// Silhouettes of the world are convex once filled, so a filled object has one peak.
pub(super) fn split(region: &Mask) -> Vec<Mask> {
    /// Height of a saddle, of the lower peak, from which two peaks are one body.
    const ONE_BODY: f32 = 0.72;
    let solid = filled(region);
    let depth = depth(&solid);
    let (w, h) = (region.width, region.height);
    let mut order: Vec<usize> = solid.pixels().collect();
    order.sort_by(|&a, &b| depth[b].total_cmp(&depth[a]));
    // Flooding from the deepest pixel down; `body[at]` is an index into `peaks`.
    let mut body = vec![usize::MAX; depth.len()];
    let mut peaks: Vec<(f32, usize)> = Vec::new();
    let find = |peaks: &[(f32, usize)], mut at: usize| {
        while peaks[at].1 != at {
            at = peaks[at].1;
        }
        at
    };
    for &at in &order {
        let mut near: Vec<usize> = neighbours(at, w, h, true)
            .filter(|&n| body[n] != usize::MAX)
            .map(|n| find(&peaks, body[n]))
            .collect();
        near.sort_unstable();
        near.dedup();
        let Some(&highest) = near.iter().max_by(|&&a, &&b| peaks[a].0.total_cmp(&peaks[b].0))
        else {
            body[at] = peaks.len();
            peaks.push((depth[at], peaks.len()));
            continue;
        };
        body[at] = highest;
        for other in near.into_iter().filter(|&n| n != highest) {
            if depth[at] >= ONE_BODY * peaks[other].0 {
                peaks[other].1 = highest;
            }
        }
    }
    let mut parts: Vec<(usize, Mask)> = Vec::new();
    for at in region.pixels() {
        let root = find(&peaks, body[at]);
        let index = parts.iter().position(|p| p.0 == root).unwrap_or_else(|| {
            parts.push((root, Mask::empty(w, h)));
            parts.len() - 1
        });
        parts[index].1.on[at] = true;
    }
    parts.into_iter().map(|(_, mask)| mask).collect()
}

/// Splits a region into parts of clearly different colours: connected pixels of one colour are
/// seeds, and every other pixel goes to the seed it is nearest to. One part comes back where
/// there is one colour.
pub(super) fn split_by_colour(grid: &Grid, region: &Mask) -> Vec<Mask> {
    /// Least area of a seed: more than the dots and highlights of one object.
    const SEED: usize = 40;
    let mut seeds: Vec<(Colour, Mask)> = Vec::new();
    for &colour in Colour::ALL {
        let mut pure = Mask::empty(region.width, region.height);
        for at in region.pixels() {
            pure.on[at] = clear_colour(grid.rgb[at]) == Some(colour);
        }
        let large = components(&pure, false).into_iter().filter(|part| part.area() >= SEED);
        seeds.extend(large.map(|part| (colour, part)));
    }
    seeds.sort_by_key(|(_, part)| std::cmp::Reverse(part.area()));
    let mut apart: Vec<(Colour, Mask)> = Vec::new();
    for (colour, part) in seeds {
        if apart.iter().all(|(other, _)| far_apart(colour, *other)) {
            apart.push((colour, part));
        }
    }
    let mut parts: Vec<Mask> = apart.into_iter().map(|(_, part)| part).collect();
    if parts.len() > 1 {
        grow(&mut parts, region);
    }
    parts
}

/// Lets parts grow, one pixel a round, until they fill the region.
fn grow(parts: &mut [Mask], region: &Mask) {
    let mut owner = vec![usize::MAX; region.on.len()];
    let mut edge: Vec<usize> = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        for at in part.pixels() {
            owner[at] = i;
            edge.push(at);
        }
    }
    while !edge.is_empty() {
        let mut next_edge = Vec::new();
        for at in edge {
            for next in neighbours(at, region.width, region.height, false) {
                if region.on[next] && owner[next] == usize::MAX {
                    owner[next] = owner[at];
                    parts[owner[at]].on[next] = true;
                    next_edge.push(next);
                }
            }
        }
        edge = next_edge;
    }
}
