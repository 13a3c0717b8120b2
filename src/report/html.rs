//! A report as one HTML file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::{Block, LabelledImage, Report, ReportError, Rerun, blocks};
use crate::figure::Ink;
use crate::figure::theme::{self, Theme};

const STYLE: &str = include_str!("style.css");
const DRAW: &str = include_str!("explorer-draw.js");
const EXPLORE: &str = include_str!("explorer.js");
/// Sections from which on a table of contents helps.
const CONTENTS_FROM: usize = 3;

/// Renders the whole page.
pub(super) fn render(report: &Report) -> Result<String, ReportError> {
    let style = style();
    let script = explores(report).then(script);
    let mut names = Names::default();
    let body = Body::of(report, Level::Page, &mut names)?;
    let parts = report
        .parts
        .iter()
        .map(|part| {
            let anchor = names.unique(&part.title);
            let body = Body::of(part, Level::Part(&anchor), &mut names)?;
            Ok((part, anchor, body))
        })
        .collect::<Result<Vec<_>, ReportError>>()?;
    let contents = body.headings.len() >= CONTENTS_FROM || !parts.is_empty();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy(&style, script.as_deref()));
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                @if !report.maker.is_empty() { meta name="generator" content=(report.maker); }
                title { (report.title) }
                style { (PreEscaped(&style)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                (head(report))
                div.page.with-contents[contents] {
                    @if contents { (table_of_contents(&body, &parts)) }
                    main #content tabindex="-1" {
                        (body.markup)
                        @for (number, (part, anchor, body)) in (1..).zip(&parts) {
                            (render_part(number, part, anchor, body))
                        }
                    }
                }
                footer { @if !report.maker.is_empty() { p { "Made by " (report.maker) "." } } }
                @if let Some(script) = &script { script { (PreEscaped(script)) } }
            }
        }
    };
    Ok(page.into_string())
}

/// Whether there is anything to explore in a report or its parts.
fn explores(report: &Report) -> bool {
    let explores = |block: &Block| matches!(block, Block::Explorer(e) if !e.images.is_empty());
    report.sections.iter().flat_map(|s| &s.blocks).any(explores)
        || report.parts.iter().any(self::explores)
}

/// Anchors of one page, all different.
struct Names {
    taken: Vec<String>,
}

impl Default for Names {
    fn default() -> Self {
        Self { taken: vec!["content".into()] }
    }
}

impl Names {
    /// A name like the text that nothing on the page has yet.
    fn unique(&mut self, text: &str) -> String {
        let base = slug(text);
        let name = std::iter::once(base.clone())
            .chain((2..).map(|n| format!("{base}-{n}")))
            .find(|candidate| !self.taken.contains(candidate))
            .unwrap_or(base);
        self.taken.push(name.clone());
        name
    }
}

/// Where sections are, and so how deep their headings are.
#[derive(Clone, Copy)]
enum Level<'a> {
    /// Sections of the page itself.
    Page,
    /// Sections of a report that the page is made of; its anchor.
    Part(&'a str),
}

impl Level<'_> {
    /// The headings that name a section here, as ids: reports have sections of the same name, so
    /// that in a part its own heading belongs to it.
    fn named_by(self, anchor: &str) -> String {
        match self {
            Self::Page => heading_id(anchor),
            Self::Part(part) => format!("{} {}", heading_id(part), heading_id(anchor)),
        }
    }
}

/// The id of the heading of what has the anchor.
fn heading_id(anchor: &str) -> String {
    format!("{anchor}-h")
}

/// The sections of a report, and what the table of contents says of them.
struct Body {
    /// Anchor and heading.
    headings: Vec<(String, String)>,
    markup: Markup,
}

impl Body {
    fn of(report: &Report, level: Level<'_>, names: &mut Names) -> Result<Self, ReportError> {
        let mut headings = Vec::new();
        let mut sections = Vec::new();
        for section in &report.sections {
            let anchor = names.unique(&section.heading);
            let blocks = blocks::render_all(&section.blocks, &anchor, &level.named_by(&anchor))?;
            sections.push(render_section(&anchor, inline(&section.heading), level, &blocks));
            headings.push((anchor, section.heading.clone()));
        }
        if let Some(rerun) = &report.rerun {
            let anchor = names.unique(RUN_AGAIN);
            sections.push(render_section(&anchor, html! { (RUN_AGAIN) }, level, &run_again(rerun)));
            headings.push((anchor, RUN_AGAIN.to_owned()));
        }
        Ok(Self { headings, markup: html! { @for section in &sections { (section) } } })
    }
}

/// Heading of the section that says how to make a run again.
const RUN_AGAIN: &str = "Run this again";

fn render_section(anchor: &str, heading: Markup, level: Level<'_>, body: &Markup) -> Markup {
    let id = heading_id(anchor);
    html! {
        section id=(anchor) aria-labelledby=(level.named_by(anchor)) {
            @match level {
                Level::Page => h2 id=(id) { (heading) },
                Level::Part(_) => h3 id=(id) { (heading) },
            }
            (body)
        }
    }
}

/// One of the reports that a page is made of. Reports of one kind have one title, so that numbers
/// tell them apart.
fn render_part(number: usize, part: &Report, anchor: &str, body: &Body) -> Markup {
    html! {
        article.part id=(anchor) aria-labelledby=(heading_id(anchor)) {
            header.part-head {
                div.part-text {
                    @if !part.maker.is_empty() { p.maker { (part.maker) } }
                    h2 id=(heading_id(anchor)) { (number) ". " (inline(&part.title)) }
                    @if !part.subtitle.is_empty() { p.subtitle { (part.subtitle) } }
                    (facts(part))
                    (notices(part))
                }
                (cover(part))
            }
            (body.markup)
        }
    }
}

/// The explorer's script: drawing, then what is driven by the reader.
fn script() -> String {
    ["\"use strict\";\n(() => {\n", DRAW, EXPLORE, "})();\n"].concat()
}

/// The page's rules, with the colours of figures in both themes.
pub(super) fn style() -> String {
    let (light, dark) = (figure_colors(Theme::Light), figure_colors(Theme::Dark));
    format!("{light}{STYLE}@media screen and (prefers-color-scheme:dark){{{dark}}}")
}

/// Rules for the figures of a theme, and its series as variables for the explorer.
fn figure_colors(theme: Theme) -> String {
    let series: String = (0..theme::SERIES_COUNT)
        .map(|i| format!("--series-{i}:{};", theme::hex(theme::rgb(Ink::Series(i), theme))))
        .collect();
    format!(":root{{{series}}}{}", theme::style_sheet(theme))
}

/// Nothing may load or run but what this file brings, named by its digest.
pub(super) fn policy(style: &str, script: Option<&str>) -> String {
    let digest = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let script = script.map_or_else(|| "'none'".into(), digest);
    format!(
        "default-src 'none'; img-src data:; style-src {}; script-src {script}; base-uri 'none'; form-action 'none'",
        digest(style)
    )
}

fn head(report: &Report) -> Markup {
    html! {
        header.top {
            div.top-text {
                @if !report.maker.is_empty() { p.maker { (report.maker) } }
                h1 { (inline(&report.title)) }
                @if !report.subtitle.is_empty() { p.subtitle { (report.subtitle) } }
                (facts(report))
                (notices(report))
            }
            (cover(report))
        }
    }
}

fn facts(report: &Report) -> Markup {
    html! {
        @if !report.facts.is_empty() {
            dl.facts {
                @for fact in &report.facts { div { dt { (fact.label) } dd { (fact.value) } } }
            }
        }
    }
}

fn notices(report: &Report) -> Markup {
    html! { @for notice in &report.notices { (blocks::warning(notice)) } }
}

fn cover(report: &Report) -> Markup {
    html! {
        @if !report.cover.is_empty() {
            div.cover.several[report.cover.len() > 1] {
                @for image in &report.cover { (labelled_image(image)) }
            }
        }
    }
}

/// An image with its label and remark.
pub(super) fn labelled_image(image: &LabelledImage) -> Markup {
    html! {
        figure.image {
            @if image.png.is_empty() {
                div.gap { "no image" }
            } @else {
                img alt=(image.label) src=(data_uri("image/png", &image.png));
            }
            @if !image.label.is_empty() || !image.note.is_empty() {
                figcaption { (image.label) @if !image.note.is_empty() { " " small { (image.note) } } }
            }
        }
    }
}

fn table_of_contents(body: &Body, parts: &[(&Report, String, Body)]) -> Markup {
    let entries = |body: &Body| {
        html! {
            @for (anchor, heading) in &body.headings {
                li { a href={ "#" (anchor) } { (inline(heading)) } }
            }
        }
    };
    html! {
        nav.contents aria-label="Contents" {
            p { "Contents" }
            ol {
                (entries(body))
                @for (number, (part, anchor, body)) in (1..).zip(parts) {
                    li.of-part {
                        a href={ "#" (anchor) } {
                            (number) ". " (inline(&part.title))
                            @if !part.subtitle.is_empty() { " " small { (part.subtitle) } }
                        }
                        ol { (entries(body)) }
                    }
                }
            }
        }
    }
}

fn run_again(rerun: &Rerun) -> Markup {
    html! {
        p { "This command makes the same run:" }
        (blocks::command(&rerun.command))
        @if !rerun.spec.is_empty() {
            details {
                summary { "The same as a spec" }
                (blocks::listing(&rerun.spec))
                p.links { (download("spec.toml", "application/toml", &rerun.spec, "Spec (TOML)")) }
            }
        }
    }
}

/// A link that saves a text as a file.
pub(super) fn download(file: &str, kind: &str, text: &str, label: &str) -> Markup {
    html! {
        a.download download=(file) href=(data_uri(&format!("{kind};charset=utf-8"), text.as_bytes())) { (label) }
    }
}

/// Bytes as an address that holds them.
pub(super) fn data_uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

/// Text with its backticked pieces as code.
pub(super) fn inline(text: &str) -> Markup {
    html! {
        @for (piece, is_code) in code_pieces(text) {
            @if is_code { code { (piece) } } @else { (piece) }
        }
    }
}

/// Splits text at pairs of backticks; true marks code. A backtick without a partner stays text.
pub(super) fn code_pieces(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = text;
    let mut code: Option<&str> = None;
    std::iter::from_fn(move || {
        if let Some(piece) = code.take() {
            return Some((piece, true));
        }
        if rest.is_empty() {
            return None;
        }
        let pair = rest.find('`').and_then(|open| {
            let close = rest[open + 1..].find('`')?;
            Some((open, open + 1 + close))
        });
        let Some((open, close)) = pair else {
            return Some((std::mem::take(&mut rest), false));
        };
        let (before, inside) = (&rest[..open], &rest[open + 1..close]);
        rest = &rest[close + 1..];
        code = Some(inside);
        Some((before, false))
    })
}

/// Letters and digits of a text, lower case, joined by hyphens; "part" if none are left.
pub(super) fn slug(text: &str) -> String {
    const LONGEST: usize = 48;
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if out.len() >= LONGEST {
            break;
        }
        if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "part".into() } else { out.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_become_code_only_in_pairs() {
        let pieces: Vec<_> =
            code_pieces("`red` is a `word").filter(|(p, _)| !p.is_empty()).collect();
        assert_eq!(pieces, [("red", true), (" is a `word", false)]);
    }

    #[test]
    fn anchors_differ_even_when_headings_do_not() {
        let mut names = Names::default();
        let anchors = ["Layers", "Layers", "→", "Content"].map(|heading| names.unique(heading));
        assert_eq!(anchors, ["layers", "layers-2", "part", "content-2"]);
    }
}
