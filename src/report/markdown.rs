//! A report as Markdown (GitHub's dialect for tables).

use super::{Block, Cell, Finding, Metric, Report, ReportError, Table, short};

/// Renders the whole report.
pub(super) fn render(report: &Report) -> Result<String, ReportError> {
    let mut out = body(report, 1)?;
    for part in &report.parts {
        out += "\n";
        out += &body(part, 2)?;
    }
    if !report.maker.is_empty() {
        out += &format!("\n---\n{}\n", escape(&report.maker));
    }
    Ok(out)
}

/// One report; its title is a heading of this level.
fn body(report: &Report, level: usize) -> Result<String, ReportError> {
    let heading = |level: usize, text: &str| format!("{} {text}\n", "#".repeat(level));
    let mut out = heading(level, &escape(&report.title));
    if !report.subtitle.is_empty() {
        out += &format!("\n> {}\n", escape(&report.subtitle));
    }
    if !report.facts.is_empty() {
        out += "\n| | |\n|---|---|\n";
        for fact in &report.facts {
            out += &format!("| {} | {} |\n", escape(&fact.label), escape(&fact.value));
        }
    }
    for notice in &report.notices {
        out += &format!("\n{}", warning(notice));
    }
    for section in &report.sections {
        out += "\n";
        out += &heading(level + 1, &escape(&section.heading));
        for block in &section.blocks {
            out += "\n";
            out += &render_block(block)?;
        }
    }
    if let Some(rerun) = &report.rerun {
        out += &format!("\n{}\n{}", heading(level + 1, "Run this again"), code(&rerun.command));
    }
    Ok(out)
}

fn warning(text: &str) -> String {
    format!("> **Warning.** {}\n", inline(text))
}

fn render_block(block: &Block) -> Result<String, ReportError> {
    Ok(match block {
        Block::Prose(text) => format!("{}\n", inline(text)),
        Block::Warning(text) => warning(text),
        Block::Findings(findings) => findings.iter().map(finding).collect(),
        Block::Metrics(metrics) => metrics.iter().map(metric).collect(),
        Block::Table(table) => render_table(table)?,
        Block::Picture(picture) => {
            let name = file_name(&picture.name);
            let (alt, caption) = (escape(&picture.describe), inline(&picture.caption));
            format!("![{alt}](figures/{name}.png)\n\n*{caption}*\n")
        }
        Block::Images(images) => {
            images.iter().map(|i| format!("- {} {}\n", escape(&i.label), escape(&i.note))).collect()
        }
        Block::Explorer(explorer) => format!("{}\n", escape(&explorer.summary())),
        Block::Command(command) => code(command),
    })
}

fn finding(finding: &Finding) -> String {
    let mut numbers: Vec<String> = Vec::new();
    if let Some(estimate) = finding.estimate {
        numbers.push(format!("{} {}", escape(&finding.measure), estimate.text()));
    }
    if let Some(control) = finding.control {
        numbers.push(format!("control {}", control.text()));
    }
    if !finding.basis.is_empty() {
        numbers.push(inline(&finding.basis));
    }
    let numbers =
        if numbers.is_empty() { String::new() } else { format!(" — {}", numbers.join("; ")) };
    format!("- {}{numbers}\n", inline(&finding.sentence))
}

fn metric(metric: &Metric) -> String {
    let value = metric.estimate.map_or_else(|| "not measured".into(), |e| e.text());
    let control = metric.control.map(|c| format!("; control {}", c.text())).unwrap_or_default();
    let space = if metric.unit.is_empty() { "" } else { " " };
    format!("- {}: **{value}**{space}{}{control}\n", escape(&metric.label), escape(&metric.unit))
}

fn render_table(table: &Table) -> Result<String, ReportError> {
    table.check()?;
    let mut out = String::new();
    if table.rows.is_empty() || table.columns.is_empty() {
        out += "No rows.\n";
    } else {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        out += &line(table.columns.iter().map(|c| escape(c)).collect());
        out += &line(table.columns.iter().map(|_| "---".into()).collect());
        for row in &table.rows {
            out += &line(row.iter().map(cell).collect());
        }
    }
    Ok(out + &format!("\n*{}*\n", inline(&table.caption)))
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => escape(text),
        Cell::Number(value) => short(*value),
        Cell::Estimate(estimate) => estimate.text(),
        Cell::Missing => "–".into(),
    }
}

/// A code block whose fence no line of the code can close.
fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}sh\n{text}\n{fence}\n")
}

/// A file name without characters that mean something in a link.
fn file_name(name: &str) -> String {
    super::html::slug(name)
}

/// Escapes text but keeps pairs of backticks as code.
fn inline(text: &str) -> String {
    super::html::code_pieces(text)
        .map(
            |(piece, is_code)| {
                if is_code { format!("`{}`", one_line(piece)) } else { escape(piece) }
            },
        )
        .collect()
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Escapes everything Markdown or HTML would interpret; line breaks become spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}
