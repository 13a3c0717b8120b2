//! The small strip beside a number: its range, its interval, its control.

use std::fmt::Write;

use maud::{Markup, PreEscaped};

use super::{Estimate, Scale};

const WIDTH: f64 = 160.0;
const HEIGHT: f64 = 26.0;
const MARGIN: f64 = 6.0;
const MIDDLE: f64 = 13.0;

/// Draws an estimate and its control on their scale; empty when there is nothing to draw.
pub(super) fn draw(estimate: Option<Estimate>, control: Option<Estimate>, scale: Scale) -> Markup {
    let valid = scale.low.is_finite() && scale.high.is_finite() && scale.low < scale.high;
    if !valid || !estimate.is_some_and(|e| e.value.is_finite()) {
        return PreEscaped(String::new());
    }
    let at = |value: f64| {
        let share = ((value - scale.low) / (scale.high - scale.low)).clamp(0.0, 1.0);
        MARGIN + share * (WIDTH - 2.0 * MARGIN)
    };
    // Beside the text that says the same, the strip is decoration for a screen reader.
    let mut svg = format!(
        "<svg class=\"strip\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-hidden=\"true\" focusable=\"false\">\
         <path class=\"k-line\" d=\"M{MARGIN} {MIDDLE}H{}\"/>",
        WIDTH - MARGIN
    );
    for end in [scale.low, scale.high] {
        let _ = write!(svg, "<path class=\"k-line\" d=\"M{:.1} 9V17\"/>", at(end));
    }
    if let Some(nothing) = scale.nothing.filter(|n| n.is_finite()) {
        let _ = write!(svg, "<path class=\"nothing\" d=\"M{:.1} 3V23\"/>", at(nothing));
    }
    if let Some(control) = control {
        mark(&mut svg, control, "control", at);
    }
    if let Some(estimate) = estimate {
        mark(&mut svg, estimate, "s0", at);
    }
    svg.push_str("</svg>");
    PreEscaped(svg)
}

fn mark(svg: &mut String, estimate: Estimate, class: &str, at: impl Fn(f64) -> f64) {
    if let Some((low, high)) = estimate.interval.filter(|(l, h)| l.is_finite() && h.is_finite()) {
        let (low, high) = (at(low), at(high));
        let _ =
            write!(svg, "<path class=\"interval k-{class}\" d=\"M{low:.1} {MIDDLE}H{high:.1}\"/>");
    }
    if estimate.value.is_finite() {
        let x = at(estimate.value);
        let _ =
            write!(svg, "<circle class=\"f-{class}\" cx=\"{x:.1}\" cy=\"{MIDDLE}\" r=\"4.5\"/>");
    }
}
