//! The pieces of a section as HTML.

use maud::{Markup, PreEscaped, html};

use super::html::{data_uri, download, inline, labelled_image, slug};
use super::{
    Block, Cell, Drawing, Estimate, Explorer, Finding, Metric, Picture, ReportError, Scale, Table,
    short, strip,
};

/// Renders the blocks of a section; its anchor begins the ids of elements in it, and the ids of
/// the headings that name it begin the names of their landmarks.
pub(super) fn render_all(
    blocks: &[Block],
    anchor: &str,
    named_by: &str,
) -> Result<Markup, ReportError> {
    let mut done = Vec::new();
    for (i, block) in blocks.iter().enumerate() {
        done.push(render(block, &format!("{anchor}--{i}"), named_by)?);
    }
    Ok(html! { @for block in &done { (block) } })
}

fn render(block: &Block, id: &str, named_by: &str) -> Result<Markup, ReportError> {
    Ok(match block {
        Block::Prose(text) => html! { p { (inline(text)) } },
        Block::Findings(findings) => render_findings(findings),
        Block::Metrics(metrics) => {
            html! { div.metrics { @for m in metrics { (render_metric(m)) } } }
        }
        Block::Table(table) => render_table(table, id, named_by)?,
        Block::Picture(picture) => render_picture(picture),
        Block::Images(images) if images.is_empty() => html! { p.quiet { "No images." } },
        Block::Images(images) => html! { div.images { @for i in images { (labelled_image(i)) } } },
        Block::Warning(text) => warning(text),
        Block::Explorer(explorer) => render_explorer(explorer, id, named_by)?,
        Block::Command(text) => command(text),
    })
}

/// Something the reader must know.
pub(super) fn warning(text: &str) -> Markup {
    html! { p.warning role="note" { strong { "Warning" } " " (inline(text)) } }
}

/// A command to copy: lines break between its words, not at the hyphens of its options.
pub(super) fn command(text: &str) -> Markup {
    html! {
        pre.command tabindex="0" {
            code { @for word in text.split_inclusive(' ') { span { (word) } } }
        }
    }
}

/// A file to copy.
pub(super) fn listing(text: &str) -> Markup {
    html! { pre.command tabindex="0" { code { (text) } } }
}

fn render_findings(findings: &[Finding]) -> Markup {
    if findings.is_empty() {
        return html! { p.quiet { "No findings." } };
    }
    html! { ul.findings { @for f in findings { li { (render_finding(f)) } } } }
}

fn render_finding(finding: &Finding) -> Markup {
    html! {
        p.sentence { (inline(&finding.sentence)) }
        @if finding.estimate.is_some() || finding.control.is_some() {
            div.evidence {
                @if let Some(scale) = finding.scale { (strip::draw(finding.estimate, finding.control, scale)) }
                p.numbers {
                    @if let Some(e) = finding.estimate { span { (finding.measure) " " (number(e)) } " " }
                    @if let Some(c) = finding.control { span.control { "control " (number(c)) } }
                }
            }
        }
        @if !finding.basis.is_empty() { p.basis { (inline(&finding.basis)) } }
    }
}

/// A value in bold with its interval behind it.
fn number(estimate: Estimate) -> Markup {
    if !estimate.value.is_finite() {
        return html! { "not measured" };
    }
    html! {
        b { (short(estimate.value)) }
        @if let Some((low, high)) = estimate.interval {
            " " span.interval { "[" (short(low)) ", " (short(high)) "]" }
        }
    }
}

fn render_metric(metric: &Metric) -> Markup {
    let known = metric.estimate.filter(|e| e.value.is_finite());
    let scale = metric.scale.unwrap_or(Scale { low: 0.0, high: 0.0, nothing: None });
    html! {
        div.metric {
            p.label { (inline(&metric.label)) }
            @match known {
                Some(estimate) => {
                    p.value { (short(estimate.value)) @if !metric.unit.is_empty() { " " small { (metric.unit) } } }
                    @if let Some((low, high)) = estimate.interval {
                        p.range { "[" (short(low)) ", " (short(high)) "]" }
                    }
                }
                None => p.value.none { "not measured" },
            }
            (strip::draw(known, metric.control, scale))
            @if let Some(control) = metric.control { p.range.control { "control " (control.text()) } }
            @if !metric.note.is_empty() { p.note { (inline(&metric.note)) } }
        }
    }
}

fn render_table(table: &Table, id: &str, named_by: &str) -> Result<Markup, ReportError> {
    table.check()?;
    let file = format!("{}.csv", slug(&table.name));
    let numeric = |column: usize| {
        table.rows.iter().any(|row| !matches!(row.get(column), Some(Cell::Text(_) | Cell::Missing)))
    };
    let align: Vec<bool> = (0..table.columns.len()).map(numeric).collect();
    Ok(html! {
        figure.table {
            figcaption id=(id) { (inline(&table.caption)) }
            @if table.rows.is_empty() || table.columns.is_empty() {
                p.quiet { "No rows." }
            } @else {
                div.scroll tabindex="0" role="region" aria-labelledby={ (named_by) " " (id) } {
                    table {
                        thead { tr {
                            @for (column, numeric) in table.columns.iter().zip(&align) {
                                th scope="col" class=[numeric.then_some("n")] { (column) }
                            }
                        } }
                        tbody {
                            @for row in &table.rows {
                                tr { @for (cell, numeric) in row.iter().zip(&align) {
                                    td class=[numeric.then_some("n")] { (render_cell(cell)) }
                                } }
                            }
                        }
                    }
                }
                p.links { (download(&file, "text/csv", &table.csv(), "Table (CSV)")) }
            }
        }
    })
}

fn render_cell(cell: &Cell) -> Markup {
    match cell {
        Cell::Text(text) => html! { (inline(text)) },
        Cell::Number(value) => html! { (short(*value)) },
        Cell::Estimate(estimate) => number(*estimate),
        Cell::Missing => {
            html! { span.quiet { span aria-hidden="true" { "–" } span.hidden { "no value" } } }
        }
    }
}

fn render_picture(picture: &Picture) -> Markup {
    let file = format!("{}.csv", slug(&picture.name));
    html! {
        figure.picture {
            @match &picture.drawing {
                Drawing::Figure { wide, narrow } => {
                    div.wide { (PreEscaped(wide.as_str())) }
                    div.narrow { (PreEscaped(narrow.as_str())) }
                }
                Drawing::Stored(png) => {
                    img.drawn alt=(picture.describe) src=(data_uri("image/png", png));
                }
            }
            figcaption { (inline(&picture.caption)) }
            @if !picture.csv.is_empty() {
                p.links { (download(&file, "text/csv", &picture.csv, "Data (CSV)")) }
            }
        }
    }
}

/// The frame of the explorer; the script fills its lists and draws.
fn render_explorer(explorer: &Explorer, id: &str, named_by: &str) -> Result<Markup, ReportError> {
    if explorer.images.is_empty() {
        return Ok(html! { p.quiet { "Nothing was recorded to explore." } });
    }
    let json = explorer.to_json()?;
    let of = |name: &str| format!("{id}-{name}");
    Ok(html! {
        // The script leaves this line to paper.
        p.quiet id=(of("note")) { "The explorer needs a screen and scripts; the figures show the same maps." }
        div.explorer hidden data-explorer=(id) role="group" aria-label="Explorer of maps" {
            div.controls {
                div.field.images-field {
                    label for=(of("image")) { "Image" }
                    select id=(of("image")) data-role="image" {}
                }
                div.field.images-field {
                    label for=(of("other")) { "Beside it" }
                    select id=(of("other")) data-role="other" {}
                }
                p.sides data-role="sides" hidden {}
                fieldset { legend { "Words" } div.words data-role="words" {} }
                div.field {
                    label for=(of("site")) { "Layer" }
                    select id=(of("site")) data-role="site" {}
                }
                div.field.heads-field {
                    label for=(of("head")) { "Head" }
                    select id=(of("head")) data-role="head" {}
                }
                div.field {
                    label for=(of("scale")) { "Colours from" }
                    select id=(of("scale")) data-role="scale" {
                        option value="map" { "each map" }
                        option value="steps" { "each word over all steps" }
                        option value="shown" { "all words shown" }
                    }
                }
            }
            div.steps-row {
                button type="button" data-role="play" aria-pressed="false" { "Play" }
                div.field.slider {
                    label for=(of("step")) { "Step " output for=(of("step")) data-role="step-text" {} }
                    input id=(of("step")) data-role="step" type="range" min="0" max="0" value="0";
                }
                label.check.all-field { input type="checkbox" data-role="all"; " all steps" }
            }
            p.trace-title data-role="films-title" { "What the model would draw if it stopped there (x̂0)" }
            div.films data-role="films" {}
            div.body data-role="body" {
                div.stage data-role="stage" {}
                div.beside {
                    p.trace-title data-role="trace-title" {}
                    canvas.trace data-role="trace" role="img" aria-label="Value against the step" {}
                    p.readout data-role="readout" {}
                    p.trace-title id=(of("matrix")) data-role="matrix-title" {
                        "A region's share of the word's map over its share of the area, in the maps shown: 1 is chance"
                    }
                    div.matrix data-role="matrix" tabindex="0" role="region"
                        aria-labelledby={ (named_by) " " (of("matrix")) } {}
                }
            }
            p.hidden data-role="spoken" role="status" {}
            div.controls.small {
                div.field.slider {
                    label for=(of("opacity")) { "Opacity of the map" }
                    input id=(of("opacity")) data-role="opacity" type="range" min="0" max="100" value="80";
                }
                label.check.outlines-field { input type="checkbox" data-role="outlines" checked; " outlines" }
                p.hint {
                    "Point at a picture to read values, or focus one and use the arrow keys; "
                    kbd { "Space" } " plays, " kbd { "," } " and " kbd { "." } " step."
                }
            }
            script type="application/json" data-role="data" { (PreEscaped(json)) }
        }
    })
}
