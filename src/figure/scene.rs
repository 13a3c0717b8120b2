//! Shapes on a plane: what every figure is laid out as before it becomes SVG or a bitmap.

use image::RgbaImage;

/// Colours by role, so that one figure fits light and dark pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Main text.
    Text,
    /// Labels and notes.
    Quiet,
    /// Axes, frames and grid lines.
    Line,
    /// The background.
    Paper,
    /// A measured series, by number; the palette repeats after its last colour.
    Series(usize),
    /// A control: the measurement where the answer must be "nothing".
    Control,
    /// A place without a value.
    Missing,
    /// One colour in every theme, as red, green, blue.
    Fixed([u8; 3]),
}

/// A colour with an opacity in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paint {
    /// The colour.
    pub ink: Ink,
    /// 0 is invisible, 1 is solid.
    pub opacity: f64,
}

impl From<Ink> for Paint {
    fn from(ink: Ink) -> Self {
        Self { ink, opacity: 1.0 }
    }
}

/// Length of the marks and gaps of a broken line, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dash {
    /// Length drawn.
    pub mark: f64,
    /// Length left out.
    pub gap: f64,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Colour and opacity.
    pub paint: Paint,
    /// Width in pixels.
    pub width: f64,
    /// None for a solid line.
    pub dash: Option<Dash>,
}

impl Stroke {
    /// A solid line.
    pub fn solid(ink: Ink, width: f64) -> Self {
        Self { paint: ink.into(), width, dash: None }
    }

    /// A broken line.
    pub fn dashed(ink: Ink, width: f64, mark: f64, gap: f64) -> Self {
        Self { paint: ink.into(), width, dash: Some(Dash { mark, gap }) }
    }
}

/// A rectangle by its upper left corner and its size, in pixels, y down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

impl Frame {
    /// Right edge.
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    /// Lower edge.
    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    /// The four corners, clockwise from the upper left.
    pub fn corners(&self) -> [(f64, f64); 4] {
        [
            (self.x, self.y),
            (self.right(), self.y),
            (self.right(), self.bottom()),
            (self.x, self.bottom()),
        ]
    }
}

/// Which point of a text its position names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The start of the base line.
    Start,
    /// The middle of the base line.
    Middle,
    /// The end of the base line.
    End,
}

/// Shapes of data points, told apart without colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// A disc.
    Circle,
    /// A square.
    Square,
    /// A triangle, point up.
    Triangle,
    /// A square on its corner.
    Diamond,
}

impl Marker {
    /// The marker of a series, by number.
    pub fn of(series: usize) -> Self {
        [Self::Circle, Self::Square, Self::Triangle, Self::Diamond][series % 4]
    }

    /// The outline of a marker of a given radius as a polygon of about equal area.
    pub fn polygon(self, x: f64, y: f64, radius: f64) -> Vec<(f64, f64)> {
        const CIRCLE_CORNERS: usize = 24;
        let corner = |angle: f64, reach: f64| (x + reach * angle.cos(), y + reach * angle.sin());
        let turn = std::f64::consts::TAU;
        let (count, start, reach) = match self {
            Self::Circle => (CIRCLE_CORNERS, 0.0, radius),
            Self::Square => (4, turn / 8.0, radius * 1.25),
            Self::Triangle => (3, -turn / 4.0, radius * 1.45),
            Self::Diamond => (4, 0.0, radius * 1.35),
        };
        (0..count).map(|i| corner(start + turn * i as f64 / count as f64, reach)).collect()
    }
}

/// One thing to draw.
#[derive(Debug, Clone)]
pub enum Shape {
    /// A filled rectangle with corners rounded by a radius.
    Rect {
        /// Where.
        frame: Frame,
        /// Corner radius in pixels.
        radius: f64,
        /// Fill.
        fill: Paint,
    },
    /// A line through points; a closed line returns to its first point.
    Line {
        /// Points in pixels.
        points: Vec<(f64, f64)>,
        /// Whether the last point is joined to the first.
        closed: bool,
        /// Stroke.
        stroke: Stroke,
    },
    /// A filled polygon.
    Polygon {
        /// Corners in pixels.
        points: Vec<(f64, f64)>,
        /// Fill.
        fill: Paint,
    },
    /// One line of text; `y` is the base line.
    Text {
        /// Position of the anchor.
        x: f64,
        /// Base line.
        y: f64,
        /// The text, any characters.
        text: String,
        /// Size of the em square in pixels.
        size: f64,
        /// Semi-bold instead of regular.
        bold: bool,
        /// Which point `x` names.
        anchor: Anchor,
        /// Colour.
        ink: Ink,
        /// Turned a quarter counter-clockwise about its anchor, reading upwards.
        turned: bool,
    },
    /// A picture stretched over a rectangle.
    Image {
        /// Where.
        frame: Frame,
        /// Pixels with opacity.
        pixels: RgbaImage,
        /// Interpolate between pixels (true) or keep them as blocks (false).
        smooth: bool,
    },
}

/// A laid-out figure.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Width in pixels.
    pub width: f64,
    /// Height in pixels.
    pub height: f64,
    /// Shapes, drawn in this order.
    pub shapes: Vec<Shape>,
}

impl Scene {
    /// An empty scene; its height grows as a figure is laid out.
    pub fn new(width: f64) -> Self {
        Self { width, height: 0.0, shapes: Vec::new() }
    }

    /// Adds a filled rectangle.
    pub fn rect(&mut self, frame: Frame, fill: impl Into<Paint>) {
        self.shapes.push(Shape::Rect { frame, radius: 0.0, fill: fill.into() });
    }

    /// Adds an open line.
    pub fn line(&mut self, points: Vec<(f64, f64)>, stroke: Stroke) {
        self.shapes.push(Shape::Line { points, closed: false, stroke });
    }

    /// Adds the outline of a rectangle.
    pub fn outline(&mut self, frame: Frame, stroke: Stroke) {
        let points = frame.corners().to_vec();
        self.shapes.push(Shape::Line { points, closed: true, stroke });
    }

    /// Adds a filled polygon.
    pub fn polygon(&mut self, points: Vec<(f64, f64)>, fill: impl Into<Paint>) {
        self.shapes.push(Shape::Polygon { points, fill: fill.into() });
    }

    /// Adds a line of regular text.
    pub fn text(&mut self, x: f64, y: f64, text: &str, size: f64, anchor: Anchor, ink: Ink) {
        self.shapes.push(Shape::Text {
            x,
            y,
            text: text.to_owned(),
            size,
            bold: false,
            anchor,
            ink,
            turned: false,
        });
    }

    /// Adds a picture.
    pub fn image(&mut self, frame: Frame, pixels: RgbaImage, smooth: bool) {
        self.shapes.push(Shape::Image { frame, pixels, smooth });
    }

    /// Adds slanted lines inside a rectangle: the mark of a missing value.
    pub fn hatch(&mut self, frame: Frame) {
        const SPACING: f64 = 6.0;
        self.rect(frame, Paint { ink: Ink::Missing, opacity: 0.16 });
        let reach = frame.width + frame.height;
        let count = (reach / SPACING).floor() as usize;
        for i in 1..=count {
            let along = i as f64 * SPACING;
            let start =
                (frame.x + (along - frame.height).max(0.0), frame.y + along.min(frame.height));
            let end = (frame.x + along.min(frame.width), frame.y + (along - frame.width).max(0.0));
            let paint = Paint { ink: Ink::Missing, opacity: 0.6 };
            self.line(vec![start, end], Stroke { paint, width: 0.8, dash: None });
        }
    }
}
