//! From embedding to image: does what is drawn follow an embedding that lies between two prompts,
//! or one that was put together from others?

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::captions::Single;
use super::{Said, Whose};
use crate::table::{ClipPathRow, ClipRow};
use crate::world::{Colour, Shape};

/// Part of the table.
pub const PATH: &str = "path";
/// An embedding between those of two prompts.
pub const INTERPOLATED: &str = "interpolated";
/// An embedding put together from those of other prompts.
pub const COMPOSED: &str = "composed";

/// End of a subject: the images show all that the prompt at 1 says.
pub const SHOWS_TO: &str = "shows the second prompt";
/// End of a subject: the images show all that the prompt at 0 says.
pub const SHOWS_FROM: &str = "shows the first prompt";

/// Two prompts that differ in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `colour` or `shape`.
    pub kind: &'static str,
    /// The prompt at 0.
    pub from: Single,
    /// The prompt at 1.
    pub to: Single,
    /// Another prompt with what `from` and `to` differ in as `from` has it: the difference of the
    /// two of these is added to `from` to compose `to`.
    pub elsewhere: [Single; 2],
}

impl Route {
    /// `count` routes of each kind, drawn by the seed.
    pub fn drawn(count: usize, seed: u64) -> Vec<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut routes = Vec::new();
        for _ in 0..count {
            let (mut colours, mut shapes) = (Colour::ALL.to_vec(), Shape::ALL.to_vec());
            colours.shuffle(&mut random);
            shapes.shuffle(&mut random);
            let [a, b] = [colours[0], colours[1]];
            let [x, y] = [shapes[0], shapes[1]];
            let single = |colour, shape| Single { colour, shape };
            routes.push(Self {
                kind: "colour",
                from: single(a, x),
                to: single(b, x),
                elsewhere: [single(a, y), single(b, y)],
            });
            routes.push(Self {
                kind: "shape",
                from: single(a, x),
                to: single(a, y),
                elsewhere: [single(b, x), single(b, y)],
            });
        }
        routes
    }
}

/// Shares of images that show what the prompt at the end says, at each place of the way.
/// Intervals are over routes, since images of one route resemble each other.
pub fn rows(images: &[ClipPathRow], run: &str) -> Vec<ClipRow> {
    let mut places: Vec<(&str, &str, Option<&str>, f64)> = Vec::new();
    for image in images {
        let place = (image.kind.as_str(), image.made.as_str(), image.control.as_deref(), image.way);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let mut rows = Vec::new();
    for (kind, made, control, way) in places {
        let here: Vec<&ClipPathRow> = images
            .iter()
            .filter(|image| {
                image.kind == kind
                    && image.made == made
                    && image.control.as_deref() == control
                    && image.way == way
            })
            .collect();
        let routes: Vec<(&str, &str)> =
            here.iter().map(|image| (image.from.as_str(), image.to.as_str())).collect();
        for (end, shown) in [
            (SHOWS_TO, here.iter().map(|image| image.shows_to).collect::<Vec<bool>>()),
            (SHOWS_FROM, here.iter().map(|image| image.shows_from).collect()),
        ] {
            let shown: Vec<f64> = shown.iter().map(|&shown| f64::from(u8::from(shown))).collect();
            let subject = format!("{kind}, {made}: {end}");
            let said = Said {
                part: PATH,
                measure: "share",
                subject: &subject,
                way: Some(way),
                ..Said::default()
            };
            let whose = Whose { run, control: None };
            let row = whose.mean(said, &shown, &routes);
            rows.extend(row.map(|row| ClipRow { control: control.map(str::to_owned), ..row }));
        }
    }
    rows
}
