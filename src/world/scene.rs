//! What a scene is: objects, a written word or a hand, on a background, under a light.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares an enum whose variants have one English word each.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            /// All values, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The English word (or words) for this value, as captions write it.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named! {
    /// The solid an object is.
    Shape {
        /// A sphere.
        Ball = "ball",
        /// A cube seen over one edge from slightly above: three faces are visible.
        Cube = "cube",
        /// A cone standing on its base.
        Cone = "cone",
        /// A torus facing the viewer at a slight tilt; the background shows through its hole.
        Ring = "ring",
    }
}

impl Shape {
    /// The plural noun: "balls".
    pub const fn plural(self) -> &'static str {
        match self {
            Shape::Ball => "balls",
            Shape::Cube => "cubes",
            Shape::Cone => "cones",
            Shape::Ring => "rings",
        }
    }
}

named! {
    /// The colour of an object or of written letters.
    Colour {
        /// Hue near 0°.
        Red = "red",
        /// Hue near 130°.
        Green = "green",
        /// Hue near 230°.
        Blue = "blue",
        /// Hue near 53°.
        Yellow = "yellow",
        /// Hue near 285°.
        Purple = "purple",
        /// Hue near 28°.
        Orange = "orange",
        /// Hue near 184°.
        Cyan = "cyan",
        /// No hue, brighter than every background.
        White = "white",
    }
}

named! {
    /// The size of an object, in two classes with a gap between their radii.
    Size {
        /// Radius in [`SMALL_RADII`].
        Small = "small",
        /// Radius in [`LARGE_RADII`].
        Large = "large",
    }
}

/// Radii of small objects (fractions of the image width): least and greatest.
pub const SMALL_RADII: (f32, f32) = (0.115, 0.140);
/// Radii of large objects (fractions of the image width): least and greatest.
pub const LARGE_RADII: (f32, f32) = (0.175, 0.215);
/// The radius between the two classes: below it an object is small.
pub const SIZE_LIMIT: f32 = 0.1575;

impl Size {
    /// The class a radius belongs to.
    pub fn of_radius(radius: f32) -> Size {
        if radius < SIZE_LIMIT { Size::Small } else { Size::Large }
    }

    /// Least and greatest radius of the class, as fractions of the image width.
    pub const fn radii(self) -> (f32, f32) {
        match self {
            Size::Small => SMALL_RADII,
            Size::Large => LARGE_RADII,
        }
    }
}

named! {
    /// The pattern on an object's surface.
    Finish {
        /// One colour all over.
        Plain = "plain",
        /// Dark bands that follow the surface.
        Striped = "striped",
        /// Light dots that follow the surface (dark ones on white objects).
        Dotted = "dotted",
    }
}

named! {
    /// The colour of the background, a smooth gradient of low saturation.
    Background {
        /// Middle gray.
        Gray = "gray",
        /// Nearly black.
        Black = "black",
        /// Light warm beige.
        Beige = "beige",
        /// Pale violet.
        Lavender = "lavender",
    }
}

named! {
    /// Where the light comes from. It shades the objects, moves their soft shadows to the other
    /// side and brightens its own side of the background.
    Light {
        /// From the viewer's left.
        Left = "left",
        /// From the viewer's right.
        Right = "right",
        /// From above.
        Above = "above",
    }
}

named! {
    /// How one object lies to another in the image.
    Relation {
        /// Smaller x.
        LeftOf = "left of",
        /// Larger x.
        RightOf = "right of",
        /// Smaller y.
        Above = "above",
        /// Larger y.
        Below = "below",
    }
}

impl Relation {
    /// The relation seen from the other side: A `r` B exactly when B `r.inverse()` A.
    pub const fn inverse(self) -> Relation {
        match self {
            Relation::LeftOf => Relation::RightOf,
            Relation::RightOf => Relation::LeftOf,
            Relation::Above => Relation::Below,
            Relation::Below => Relation::Above,
        }
    }

    /// Unit vector from the reference object towards the described one (x right, y down).
    pub const fn direction(self) -> (f32, f32) {
        match self {
            Relation::LeftOf => (-1.0, 0.0),
            Relation::RightOf => (1.0, 0.0),
            Relation::Above => (0.0, -1.0),
            Relation::Below => (0.0, 1.0),
        }
    }

    /// Whether a centre at `subject` lies so to one at `object`: the distance along the
    /// relation's axis is positive and greater than the distance across it. So of the four
    /// relations at most one holds.
    pub fn holds(self, subject: (f32, f32), object: (f32, f32)) -> bool {
        let (dx, dy) = (subject.0 - object.0, subject.1 - object.1);
        let (ux, uy) = self.direction();
        let along = dx * ux + dy * uy;
        let across = (dx * uy - dy * ux).abs();
        along > across
    }
}

/// One solid in a scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// The solid.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Its size class; always `Size::of_radius(radius)`.
    pub size: Size,
    /// Its surface pattern.
    pub finish: Finish,
    /// Centre of the circle around its silhouette, in \[0, 1\], to the right.
    pub x: f32,
    /// The same, downwards.
    pub y: f32,
    /// Radius of that circle as a fraction of the image width.
    pub radius: f32,
}

impl Object {
    /// The centre, (x, y).
    pub fn centre(&self) -> (f32, f32) {
        (self.x, self.y)
    }
}

/// Width that one written letter takes with its gap, of the letter height.
pub const WORD_ADVANCE: f32 = 0.78;

/// A word written in stroke letters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// One to six letters A–Z.
    pub text: String,
    /// Colour of the letters.
    pub colour: Colour,
    /// Middle of the word, in \[0, 1\], to the right.
    pub x: f32,
    /// The same, downwards.
    pub y: f32,
    /// Height of the letters as a fraction of the image width.
    pub height: f32,
}

/// A hand with some fingers raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hand {
    /// Raised fingers, 0 to 5; the fifth is the thumb.
    pub fingers: u8,
    /// Middle of the palm, in \[0, 1\], to the right.
    pub x: f32,
    /// The same, downwards.
    pub y: f32,
    /// Size factor, near 1.
    pub scale: f32,
    /// Whether the thumb is on the viewer's left.
    pub mirrored: bool,
}

/// What a scene shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Solids that do not overlap.
    Objects(Vec<Object>),
    /// A written word.
    Word(Written),
    /// A hand.
    Hand(Hand),
}

/// A whole scene: everything [`render`](super::render) needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// Colour of the background.
    pub background: Background,
    /// Where the light comes from.
    pub light: Light,
    /// What is shown.
    pub content: Content,
}

impl Scene {
    /// The objects; empty for a word or a hand.
    pub fn objects(&self) -> &[Object] {
        match &self.content {
            Content::Objects(objects) => objects,
            Content::Word(_) | Content::Hand(_) => &[],
        }
    }
}
