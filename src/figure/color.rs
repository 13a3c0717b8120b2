//! Perceptual colour maps: equal steps in value look like equal steps in colour.

/// Colour maps for values in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ColorMap {
    /// Dark blue to yellow; the default.
    #[default]
    Viridis,
    /// Black over magenta to pale yellow.
    Magma,
    /// Blue to yellow, alike for readers with red–green colour blindness.
    Cividis,
    /// Purple over white to orange, for differences about a middle of 0.5.
    PurpleOrange,
}

impl ColorMap {
    /// The colour of a value, moved into [0, 1] first.
    pub fn color(self, value: f64) -> [u8; 3] {
        let value = if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
        let gradient = match self {
            Self::Viridis => colorous::VIRIDIS,
            Self::Magma => colorous::MAGMA,
            Self::Cividis => colorous::CIVIDIS,
            Self::PurpleOrange => colorous::PURPLE_ORANGE,
        };
        // The diverging map of the crate runs from orange to purple.
        let value = if self == Self::PurpleOrange { 1.0 - value } else { value };
        gradient.eval_continuous(value).into_array()
    }

    /// 256 colours from 0 to 1.
    pub fn table(self) -> Vec<[u8; 3]> {
        (0..=u8::MAX).map(|i| self.color(f64::from(i) / f64::from(u8::MAX))).collect()
    }

    /// Black or white, whichever is easier to read on a colour (WCAG relative luminance).
    pub(super) fn text_on(color: [u8; 3]) -> [u8; 3] {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        let [r, g, b] = color.map(linear);
        let luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        // At this luminance, black and white have equal contrast.
        const EVEN: f64 = 0.179;
        if luminance > EVEN { [0x10, 0x14, 0x1a] } else { [0xff, 0xff, 0xff] }
    }
}
