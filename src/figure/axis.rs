//! Axes: ranges, round tick values, numbers as text.

/// What an axis shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Axis {
    /// Name of the quantity with its unit.
    pub label: String,
    /// Largest value left (or below) instead of right: a timestep axis that starts with noise.
    pub reversed: bool,
    /// Fixed range; otherwise that of the data with some room.
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// An axis over the range of its data.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Puts the largest value first.
    pub fn reversed(mut self) -> Self {
        self.reversed = true;
        self
    }

    /// Fixes the range.
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }
}

/// A line at a value worth comparing with, such as chance.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The value.
    pub value: f64,
    /// What it is: "chance".
    pub label: String,
}

/// An axis placed on the canvas.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    /// Tick values in [low, high], ascending.
    pub ticks: Vec<f64>,
    decimals: usize,
}

impl Placed {
    /// Maps the range of an axis to pixels `from`…`to`; about `count` ticks.
    ///
    /// Without a fixed range, the data's range is widened to whole ticks when `whole_ticks`.
    pub fn new(
        axis: &Axis,
        data: impl Iterator<Item = f64>,
        (from, to): (f64, f64),
        count: usize,
        whole_ticks: bool,
    ) -> Self {
        let (mut low, mut high) = axis.range.unwrap_or_else(|| extent(data));
        if !(low.is_finite() && high.is_finite() && low < high) {
            let middle = if low.is_finite() { low } else { 0.0 };
            (low, high) = (middle - 0.5, middle + 0.5);
        }
        let step = round_step((high - low) / count.max(1) as f64);
        if axis.range.is_none() && whole_ticks {
            low = (low / step + 1e-9).floor() * step;
            high = (high / step - 1e-9).ceil() * step;
        }
        let slack = step * 1e-6;
        let first = ((low - slack) / step).ceil() as i64;
        let last = ((high + slack) / step).floor() as i64;
        let ticks = (first..=last).map(|i| i as f64 * step).collect();
        let (from, to) = if axis.reversed { (to, from) } else { (from, to) };
        Self { low, high, from, to, ticks, decimals: decimals_of(step) }
    }

    /// Pixel of a value; values outside the range are moved to its end.
    pub fn at(&self, value: f64) -> f64 {
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + share * (self.to - self.from)
    }

    /// Whether a value lies within the range.
    pub fn holds(&self, value: f64) -> bool {
        value.is_finite() && value >= self.low && value <= self.high
    }

    /// Text of a tick value.
    pub fn text(&self, value: f64) -> String {
        minus(format!("{:.*}", self.decimals, if value == 0.0 { 0.0 } else { value }))
    }
}

/// Least and greatest finite value; (NaN, NaN) when there is none.
pub(super) fn extent(data: impl Iterator<Item = f64>) -> (f64, f64) {
    data.filter(|v| v.is_finite())
        .fold((f64::NAN, f64::NAN), |(low, high), v| (low.min(v), high.max(v)))
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let share = raw / power;
    let round = [1.0, 2.0, 2.5, 5.0].into_iter().find(|r| share <= r * 1.000_001).unwrap_or(10.0);
    round * power
}

/// Decimals needed to write multiples of a step.
fn decimals_of(step: f64) -> usize {
    const MOST: usize = 8;
    (0..MOST)
        .find(|&d| {
            let scaled = step * 10f64.powi(d as i32);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        })
        .unwrap_or(MOST)
}

/// A number with a given count of significant digits (at least 1), without needless zeros beyond
/// them; very large and small numbers as powers of ten; "–" when it is not finite.
pub fn format_number(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let digits = digits.max(1);
    let power = value.abs().log10().floor() as i32;
    if !(-4..=6).contains(&power) {
        let mantissa = value / 10f64.powi(power);
        return minus(format!("{mantissa:.*}×10{}", digits - 1, superscript(power)));
    }
    let decimals = usize::try_from(digits as i32 - 1 - power).unwrap_or(0);
    minus(format!("{value:.decimals$}"))
}

/// A power as raised figures.
fn superscript(power: i32) -> String {
    const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    power
        .to_string()
        .chars()
        .map(|c| c.to_digit(10).map_or('⁻', |digit| RAISED[digit as usize]))
        .collect()
}

/// Replaces the hyphen by the minus sign.
fn minus(text: String) -> String {
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_significant_digits() {
        for (value, digits, text) in [
            (0.9412, 2, "0.94"),
            (0.5, 2, "0.50"),
            (-1.25, 3, "−1.25"),
            (981.0, 3, "981"),
            (1234.5, 3, "1234"),
            (0.0, 3, "0"),
            (3.2e-7, 2, "3.2×10⁻⁷"),
            (f64::NAN, 2, "–"),
        ] {
            assert_eq!(format_number(value, digits), text);
        }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Placed::new(
            &Axis::new("t").range(1.0, 981.0),
            std::iter::empty(),
            (0.0, 100.0),
            5,
            false,
        );
        assert_eq!(axis.ticks, [200.0, 400.0, 600.0, 800.0]);
        let axis = Placed::new(&Axis::new("y"), [0.31, 0.97].into_iter(), (100.0, 0.0), 5, true);
        assert_eq!(axis.ticks.first().copied(), Some(0.2));
        assert!((axis.ticks.last().copied().unwrap_or_default() - 1.0).abs() < 1e-12);
        assert_eq!(axis.text(axis.ticks[0]), "0.2");
    }

    #[test]
    fn a_reversed_axis_starts_with_its_largest_value() {
        let axis =
            Placed::new(&Axis::new("t").reversed(), [0.0, 10.0].into_iter(), (0.0, 50.0), 5, false);
        assert_eq!((axis.at(10.0), axis.at(0.0)), (0.0, 50.0));
    }

    #[test]
    fn an_axis_without_data_still_has_a_range() {
        let axis = Placed::new(&Axis::new("x"), [f64::NAN].into_iter(), (0.0, 1.0), 4, true);
        assert!(axis.at(0.0).is_finite() && !axis.ticks.is_empty());
    }
}
