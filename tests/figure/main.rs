//! Figures: well-formed SVG, the same bytes every time, missing values, awkward text.
#![allow(clippy::expect_used)]

mod pixels;

use denoscope::figure::{
    Axis, ColorMap, Curve, CurveChart, CurvePoint, DotChart, DotSeries, Figure, FigureError,
    FilmStrip, HeatMap, ImageGrid, NARROW, Outline, Overlay, PNG_SCALE, Reference, Tile, WIDE,
};
use image::{Rgb, RgbImage};
use ndarray::{Array2, array};

const HOSTILE: &str = "<script>alert(1)</script> & \"quotes\" ' \u{0} \u{7} ]]> שלום 🙂";

fn heat() -> HeatMap {
    HeatMap {
        title: "Scores".into(),
        row_axis: "word".into(),
        column_axis: "site".into(),
        rows: vec!["ball".into(), "cube".into()],
        columns: vec!["down".into(), "mid".into(), "up".into()],
        values: array![[0.1, f64::NAN, 0.9], [0.4, 0.5, 0.6]],
        quantity: "AUROC".into(),
        range: Some((0.0, 1.0)),
        colors: ColorMap::Viridis,
        ordered_columns: false,
    }
}

fn curve() -> CurveChart {
    let point = |i: u32| CurvePoint {
        x: f64::from(i) * 40.0,
        y: if i == 3 { f64::NAN } else { 0.5 + 0.02 * f64::from(i) },
        interval: Some((0.45, 0.75)),
    };
    let points: Vec<CurvePoint> = (0..10).map(point).collect();
    CurveChart {
        title: "When".into(),
        x: Axis::new("timestep").reversed(),
        y: Axis::new("AUROC"),
        curves: vec![
            Curve { name: "ball".into(), points: points.clone(), control: false },
            Curve { name: "permuted".into(), points, control: true },
        ],
        reference: Some(Reference { value: 0.5, label: "chance".into() }),
    }
}

fn dots() -> DotChart {
    DotChart {
        title: "Where".into(),
        category_axis: "site".into(),
        categories: vec!["down.0".into(), "up.1".into()],
        value: Axis::new("AUROC"),
        series: vec![DotSeries {
            name: "ball".into(),
            values: vec![(0.8, Some((0.7, 0.9))), (f64::NAN, None)],
            control: false,
        }],
        reference: None,
    }
}

fn picture() -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| Rgb([x as u8 * 8, y as u8 * 8, 90]))
}

fn grid() -> ImageGrid {
    let mut map = Array2::from_shape_fn((8, 8), |(y, x)| (x * y) as f32);
    map[[0, 0]] = f32::NAN;
    let mut overlay = Overlay::new(map);
    let mask = Array2::from_shape_fn((32, 32), |(y, x)| y > 8 && x > 8 && y < 20 && x < 24);
    overlay.outlines.push(Outline { label: "ball".into(), mask });
    let tiles = (0..5)
        .map(|i| Tile::new(format!("word {i}"), picture()).overlay(overlay.clone()))
        .collect();
    ImageGrid { title: "Words".into(), tiles, columns: None, quantity: Some("attention".into()) }
}

fn film() -> FilmStrip {
    FilmStrip {
        title: "Film".into(),
        frames: (0..7).map(|i| Tile::new(format!("t = {i}"), picture())).collect(),
    }
}

fn all() -> Vec<Box<dyn Figure>> {
    vec![Box::new(heat()), Box::new(curve()), Box::new(dots()), Box::new(grid()), Box::new(film())]
}

/// Walks an XML document: every tag closes, every attribute is quoted, no stray markup.
fn assert_well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>'), "a bare > in {text:?}");
        let end = rest[start..].find('>').expect("a tag ends") + start;
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes pair up in {tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().expect("a tag has a name"));
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "left open: {open:?}");
    for (at, _) in xml.match_indices('&') {
        let entity = &xml[at..];
        let known = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
        assert!(known.iter().any(|k| entity.starts_with(k)), "bare & at byte {at}");
    }
}

fn png_size(bytes: &[u8]) -> (u32, u32) {
    let image = image::load_from_memory(bytes).expect("a readable PNG");
    (image.width(), image.height())
}

#[test]
fn every_figure_is_well_formed_and_the_same_twice() {
    for (first, second) in all().iter().zip(all()) {
        for width in [WIDE, NARROW] {
            let svg = first.svg(width).expect("draws");
            assert_well_formed(svg.as_str());
            assert!(
                !svg.as_str().contains("NaN") && !svg.as_str().contains("inf"),
                "{}",
                first.title()
            );
            assert_eq!(svg, second.svg(width).expect("draws"));
            assert_eq!(first.png(width).expect("draws"), second.png(width).expect("draws"));
        }
    }
}

#[test]
fn bitmaps_have_the_promised_resolution_and_show_something() {
    for figure in all() {
        let bytes = figure.png(NARROW).expect("draws");
        let (width, _) = png_size(&bytes);
        assert!(width >= NARROW as u32 * PNG_SCALE, "{}", figure.title());
        let image = image::load_from_memory(&bytes).expect("a readable PNG").to_rgb8();
        let inked = image.pixels().filter(|p| p.0 != [255, 255, 255]).count();
        assert!(inked > 2_000, "{} drew {inked} pixels", figure.title());
    }
}

#[test]
fn a_narrow_figure_keeps_its_text_size() {
    for figure in all() {
        let scene = figure.scene(NARROW).expect("lays out");
        assert_eq!(scene.width, NARROW);
        let svg = figure.svg(NARROW).expect("draws");
        for piece in svg.as_str().split("font-size=\"").skip(1) {
            let size: f64 = piece.split('"').next().and_then(|n| n.parse().ok()).expect("a number");
            assert!(size >= 11.0, "{} has text of {size} pixels", figure.title());
        }
    }
}

#[test]
fn hostile_text_is_only_text() {
    let mut map = heat();
    map.title = HOSTILE.into();
    map.rows[0] = HOSTILE.into();
    map.quantity = HOSTILE.into();
    let mut chart = curve();
    chart.curves[0].name = HOSTILE.into();
    chart.x.label = HOSTILE.into();
    for figure in [&map as &dyn Figure, &chart] {
        let svg = figure.svg(WIDE).expect("draws");
        assert_well_formed(svg.as_str());
        assert!(!svg.as_str().contains("<script"));
        figure.png(WIDE).expect("the bitmap takes any text");
    }
}

#[test]
fn missing_values_are_hatched_not_coloured() {
    let with_gap = heat().svg(WIDE).expect("draws");
    let mut whole = heat();
    whole.values[[0, 1]] = 0.5;
    let without_gap = whole.svg(WIDE).expect("draws");
    assert!(with_gap.as_str().contains("no value"));
    assert!(!without_gap.as_str().contains("no value"));
    assert!(
        with_gap.as_str().matches("k-missing").count()
            > without_gap.as_str().matches("k-missing").count()
    );
}

#[test]
fn a_missing_point_cuts_the_curve() {
    let whole = {
        let mut chart = curve();
        chart.curves[0].points[3].y = 0.56;
        chart.svg(WIDE).expect("draws")
    };
    let cut = curve().svg(WIDE).expect("draws");
    let lines = |svg: &str| svg.matches("class=\"k-s0\"").count();
    assert_eq!(lines(cut.as_str()), lines(whole.as_str()) + 1);
}

#[test]
fn a_reversed_axis_puts_noise_on_the_left() {
    let x_of = |svg: &str, text: &str| -> f64 {
        let before = svg.split(&format!(">{text}</text>")).next().expect("the tick is there");
        let tag = before.rsplit("<text x=\"").next().expect("a text tag");
        tag.split('"').next().and_then(|n| n.parse().ok()).expect("a number")
    };
    let svg = curve().svg(WIDE).expect("draws");
    assert!(x_of(svg.as_str(), "300") < x_of(svg.as_str(), "100"));
}

#[test]
fn figures_without_data_say_so() {
    let mut map = heat();
    (map.rows, map.columns, map.values) = (vec![], vec![], Array2::zeros((0, 0)));
    let mut chart = curve();
    chart.curves.clear();
    chart.reference = None;
    let mut column = dots();
    column.categories.clear();
    column.series.clear();
    let empty_grid = ImageGrid::default();
    let empty_film = FilmStrip::default();
    let figures: [(&dyn Figure, &str); 5] = [
        (&map, "nothing was recorded"),
        (&chart, "nothing was measured"),
        (&column, "nothing was measured"),
        (&empty_grid, "no images"),
        (&empty_film, "no frames"),
    ];
    for (figure, words) in figures {
        assert!(figure.svg(WIDE).expect("draws").as_str().contains(words));
        figure.png(WIDE).expect("draws");
    }
}

#[test]
fn all_missing_or_constant_values_still_draw() {
    let mut map = heat();
    map.range = None;
    map.values.fill(f64::NAN);
    map.svg(WIDE).expect("all missing");
    map.values.fill(0.25);
    let svg = map.svg(WIDE).expect("all the same");
    assert!(!svg.as_str().contains("NaN"));
}

#[test]
fn sizes_that_disagree_are_errors_that_name_the_part() {
    let mut map = heat();
    map.rows.pop();
    let error = map.svg(WIDE).expect_err("one row label is missing");
    assert!(matches!(&error, FigureError::Size { expected: 1, got: 2, .. }), "{error}");
    let mut column = dots();
    column.series[0].values.pop();
    assert!(column.png(WIDE).is_err());
    let bare =
        ImageGrid { tiles: vec![Tile::new("empty", RgbImage::new(0, 0))], ..ImageGrid::default() };
    assert!(bare.svg(WIDE).expect_err("no pixels").to_string().contains("empty"));
}

#[test]
fn the_overlay_is_strongest_where_the_map_is() {
    let mut map = Array2::zeros((9, 9));
    map[[4, 4]] = 1.0f32;
    let flat = RgbImage::from_pixel(64, 64, Rgb([128, 128, 128]));
    let tile = Tile::new("peak", flat).overlay(Overlay::new(map));
    let grid = ImageGrid { tiles: vec![tile], ..ImageGrid::default() };
    let image = image::load_from_memory(&grid.png(WIDE).expect("draws")).expect("a PNG").to_rgb8();
    // The brightest end of the colour map is yellow: much red and green, little blue.
    let yellow = |p: &Rgb<u8>| i32::from(p.0[0]) + i32::from(p.0[1]) - 2 * i32::from(p.0[2]);
    let (x, y, _) = image.enumerate_pixels().max_by_key(|(_, _, p)| yellow(p)).expect("pixels");
    // The tile is 300 pixels wide inside the border, drawn at twice the size.
    let middle = |v: u32| (i64::from(v) - 328).abs() < 40;
    assert!(middle(x) && middle(y), "strongest at {x}, {y}");
}

#[test]
fn csv_keeps_every_number_and_quotes_text() {
    let mut map = heat();
    map.rows[0] = "a, \"b\"".into();
    let csv = map.csv();
    assert_eq!(csv.lines().count(), 1 + 6);
    assert!(csv.contains("\"a, \"\"b\"\"\",down,0.1"));
    assert!(csv.contains("mid,\r\n"), "a missing value is an empty field");
}

#[test]
fn csv_of_overlays_has_a_line_for_each_row_of_each_map() {
    let csv = grid().csv();
    assert_eq!(csv.lines().count(), 1 + 5 * 8, "a header, and eight rows of five maps");
    assert!(
        csv.starts_with("label,note,row,values\r\nword 0,,0,NaN 0 0 0 0 0 0 0\r\n"),
        "{csv:.80}"
    );
    assert!(csv.contains("word 4,,7,0 7 14 21 28 35 42 49\r\n"));
}
