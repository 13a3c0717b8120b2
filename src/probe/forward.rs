//! The forward process: what noise leaves of an image, as curves of the schedule and a strip of
//! noised images.

use image::RgbImage;

use super::stored::{StoredError, StoredReader, facts};
use crate::figure::{
    Axis, Curve, CurveChart, CurvePoint, Figure, FigureError, FilmStrip, Tile, format_number,
};
use crate::report::{Fact, Picture, Report, Rerun, Section};
use crate::table::{ImageRow, ScheduleRow};

/// File name of the strip of noised images, without ending.
pub const STRIP: &str = "noised";
const STRIP_CAPTION: &str =
    "The image at the timesteps shown, in pixels, with one and the same noise.";

/// A curve of the schedule over timesteps.
fn curve(rows: &[ScheduleRow], name: &str, of: fn(&ScheduleRow) -> f64) -> Curve {
    let point =
        |row: &ScheduleRow| CurvePoint { x: row.timestep.into(), y: of(row), interval: None };
    Curve { name: name.to_owned(), points: rows.iter().map(point).collect(), control: false }
}

/// The curves of a schedule, with file names and captions.
pub fn curves(rows: &[ScheduleRow]) -> [(&'static str, &'static str, CurveChart); 2] {
    let chart = |y: Axis, curves| CurveChart {
        title: String::new(),
        x: Axis::new("timestep"),
        y,
        curves,
        reference: None,
    };
    let variance = vec![
        curve(rows, "signal, ᾱ", |row| row.alpha_bar),
        curve(rows, "noise, 1 − ᾱ", |row| 1.0 - row.alpha_bar),
    ];
    let ratio = vec![curve(rows, "log signal-to-noise ratio", |row| row.log_snr)];
    [
        (
            "signal",
            "How the variance divides between signal and noise at each timestep.",
            chart(Axis::new("share of the variance").range(0.0, 1.0), variance),
        ),
        (
            "signal-to-noise",
            "The same as the logarithm of the ratio of the two; at 0 they are equal.",
            chart(Axis::new("ln(ᾱ / (1 − ᾱ))"), ratio),
        ),
    ]
}

/// The image, and what it is at each of the timesteps `shown`.
pub fn strip(
    rows: &[ScheduleRow],
    image: &RgbImage,
    shown: &[usize],
    noised: &[RgbImage],
) -> FilmStrip {
    let frame = |(&t, image): (&usize, &RgbImage)| {
        let alpha_bar = rows.get(t).map_or(f64::NAN, |row| row.alpha_bar);
        let note = format!("ᾱ = {}", format_number(alpha_bar, 2));
        Tile::new(format!("t = {t}"), image.clone()).note(note)
    };
    let mut frames = vec![Tile::new("x0", image.clone()).note("the image")];
    frames.extend(shown.iter().zip(noised).map(frame));
    FilmStrip { title: String::new(), frames }
}

/// The strip for a report.
///
/// # Errors
/// A strip that cannot be drawn.
pub fn picture(strip: &FilmStrip) -> Result<Picture, FigureError> {
    Picture::new(STRIP, STRIP_CAPTION, strip)
}

/// The report; `source` is what was noised.
///
/// # Errors
/// Figures whose data disagree.
pub fn report(
    rows: &[ScheduleRow],
    strip: Picture,
    (source, facts): (String, Vec<Fact>),
    rerun: Rerun,
) -> Result<Report, FigureError> {
    let mut report = Report::new("What does the forward process leave of an image?");
    report.maker = format!("probe forward, denoscope {}", env!("CARGO_PKG_VERSION"));
    report.subtitle = source;
    report.facts = facts;
    let mut section = Section::new("Schedule and images").prose(
        "The forward process mixes an image `x0` with unit noise `ε` in closed form, \
         x_t = √ᾱ x0 + √(1 − ᾱ) ε, where ᾱ is the product of 1 − β over the timesteps so far.",
    );
    for (name, caption, figure) in curves(rows) {
        section = section.picture(Picture::new(name, caption, &figure as &dyn Figure)?);
    }
    report.section(section.picture(strip));
    report.rerun = Some(rerun);
    Ok(report)
}

/// The report of a stored run; the strip is as the run drew it.
///
/// # Errors
/// Tables that are missing, of another version or not as declared; a strip that is gone.
pub fn rebuild(stored: &StoredReader<'_>, rerun: Rerun) -> Result<Report, StoredError> {
    let rows = stored.rows::<ScheduleRow>()?;
    let images = stored.rows::<ImageRow>()?;
    let source = images.first().map(|row| row.prompt.clone()).unwrap_or_default();
    let strip = stored.picture(STRIP, STRIP_CAPTION)?;
    Ok(report(&rows, strip, (source, facts(stored.manifest())), rerun)?)
}
