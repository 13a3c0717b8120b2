//! A table as text: for people, for programs, for documents.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use polars::prelude::*;
use thiserror::Error;

use super::TableError;
use super::check::names;

/// Significant digits of floating-point numbers for people; programs get all of them.
const SIGNIFICANT_DIGITS: i32 = 4;

/// Numbers of this size and more are printed with an exponent for people.
const LARGE: f64 = 1e7;

/// Stands for null where people read.
const NO_VALUE: &str = "–";

/// The forms of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Aligned columns for a terminal; numbers to four significant digits.
    #[default]
    Table,
    /// A JSON array with one object per row and line, numbers in full. Infinity and null are
    /// `null`.
    Json,
    /// Comma-separated values with a header (RFC 4180), numbers in full. Null is empty, a list
    /// is its numbers with blanks between.
    Csv,
    /// A Markdown table; numbers to four significant digits.
    Markdown,
}

impl Format {
    /// All forms with their names.
    pub const ALL: [(&'static str, Self); 4] =
        [("table", Self::Table), ("json", Self::Json), ("csv", Self::Csv), ("md", Self::Markdown)];
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, format)| format == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// No such form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no format {0:?}; use table, json, csv or md")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, format)| *format).ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// Writes any DataFrame in one of the forms.
///
/// # Errors
/// [`TableError::Output`]; a broken pipe is one whose kind says so.
pub fn render(frame: &DataFrame, format: Format, to: &mut dyn Write) -> Result<(), TableError> {
    match format {
        Format::Table => render_table(frame, to),
        Format::Json => render_json(frame, to),
        Format::Csv => render_csv(frame, to),
        Format::Markdown => render_markdown(frame, to),
    }
}

fn render_table(frame: &DataFrame, to: &mut dyn Write) -> Result<(), TableError> {
    let columns = columns_for_people(frame, visible)?;
    let mut rule = true;
    for line in 0..=frame.height() {
        let cells = columns.iter().map(|column| column.padded(line)).collect::<Vec<_>>();
        writeln!(to, "{}", cells.join("  ").trim_end())?;
        if std::mem::take(&mut rule) {
            let rules = columns.iter().map(|column| "─".repeat(column.width)).collect::<Vec<_>>();
            writeln!(to, "{}", rules.join("  "))?;
        }
    }
    Ok(())
}

fn render_markdown(frame: &DataFrame, to: &mut dyn Write) -> Result<(), TableError> {
    let columns = columns_for_people(frame, escape_markdown)?;
    for line in 0..=frame.height() {
        let cells = columns.iter().map(|column| column.padded(line)).collect::<Vec<_>>();
        writeln!(to, "| {} |", cells.join(" | "))?;
        if line == 0 {
            let rules = columns.iter().map(TextColumn::markdown_rule).collect::<Vec<_>>();
            writeln!(to, "| {} |", rules.join(" | "))?;
        }
    }
    Ok(())
}

fn render_csv(frame: &DataFrame, to: &mut dyn Write) -> Result<(), TableError> {
    let names = names(frame).map(quote_csv).collect::<Vec<_>>();
    write!(to, "{}\r\n", names.join(","))?;
    for row in 0..frame.height() {
        for (i, column) in frame.columns().iter().enumerate() {
            let text = match column.get(row)? {
                AnyValue::Null => String::new(),
                AnyValue::List(list) => list_numbers(&list)?.join(" "),
                value => quote_csv(&full(&value)),
            };
            write!(to, "{}{text}", if i == 0 { "" } else { "," })?;
        }
        write!(to, "\r\n")?;
    }
    Ok(())
}

fn render_json(frame: &DataFrame, to: &mut dyn Write) -> Result<(), TableError> {
    let names: Vec<String> = names(frame).map(quote_json).collect();
    write!(to, "[")?;
    for row in 0..frame.height() {
        write!(to, "{}\n{{", if row == 0 { "" } else { "," })?;
        for (i, (column, name)) in frame.columns().iter().zip(&names).enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(to, "{separator}{name}: {}", json_value(&column.get(row)?)?)?;
        }
        write!(to, "}}")?;
    }
    Ok(writeln!(to, "\n]")?)
}

/// A column as text: the heading, then the cells.
struct TextColumn {
    lines: Vec<String>,
    width: usize,
    right: bool,
}

impl TextColumn {
    fn padded(&self, line: usize) -> String {
        let (text, width) = (&self.lines[line], self.width);
        if self.right { format!("{text:>width$}") } else { format!("{text:<width$}") }
    }

    fn markdown_rule(&self) -> String {
        let dashes = "-".repeat(self.width.max(3) - 1);
        if self.right { format!("{dashes}:") } else { format!("-{dashes}") }
    }
}

fn columns_for_people(
    frame: &DataFrame,
    escape: fn(&str) -> String,
) -> Result<Vec<TextColumn>, TableError> {
    let text_column = |column: &Column| {
        let mut lines = vec![escape(column.name())];
        for row in 0..frame.height() {
            lines.push(escape(&short(&column.get(row)?)));
        }
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0).max(3);
        Ok(TextColumn { lines, width, right: column.dtype().is_primitive_numeric() })
    };
    frame.columns().iter().map(text_column).collect()
}

/// A value for people.
fn short(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Null => NO_VALUE.to_owned(),
        AnyValue::Float32(x) => short_number(f64::from(*x)),
        AnyValue::Float64(x) => short_number(*x),
        AnyValue::List(list) => format!("[{} values]", list.len()),
        other => full(other),
    }
}

/// Four significant digits, with an exponent where the plain form would be long.
fn short_number(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "NaN".to_owned()
        } else {
            format!("{}∞", if x < 0.0 { "-" } else { "" })
        };
    }
    if x == 0.0 {
        return "0".to_owned();
    }
    let magnitude = x.abs().log10().floor() as i32;
    if x.abs() >= LARGE || magnitude < -SIGNIFICANT_DIGITS {
        return format!("{x:.*e}", SIGNIFICANT_DIGITS as usize - 1);
    }
    let decimals = (SIGNIFICANT_DIGITS - 1 - magnitude).max(0) as usize;
    let text = format!("{x:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A value in full.
fn full(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Float32(x) => format!("{x:?}"),
        AnyValue::Float64(x) => format!("{x:?}"),
        AnyValue::String(text) => (*text).to_owned(),
        AnyValue::StringOwned(text) => text.to_string(),
        other => other.to_string(),
    }
}

/// The numbers of a list, in full.
fn list_numbers(list: &Series) -> PolarsResult<Vec<String>> {
    list.iter().map(|value| Ok(full(&value))).collect()
}

fn json_value(value: &AnyValue<'_>) -> PolarsResult<String> {
    Ok(match value {
        AnyValue::Null => "null".to_owned(),
        AnyValue::Float32(x) if !x.is_finite() => "null".to_owned(),
        AnyValue::Float64(x) if !x.is_finite() => "null".to_owned(),
        AnyValue::String(text) => quote_json(text),
        AnyValue::StringOwned(text) => quote_json(text),
        AnyValue::List(list) => {
            let values = list.iter().map(|x| json_value(&x)).collect::<PolarsResult<Vec<_>>>()?;
            format!("[{}]", values.join(", "))
        }
        other => full(other),
    })
}

fn quote_json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn quote_csv(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Text without control characters: a prompt must not steer the terminal or break a line.
fn visible(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let show = |c: char| {
        if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(show).collect()
}

/// Text that Markdown shows as it is.
fn escape_markdown(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' => result.extend(['\\', c]),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '&' => result.push_str("&amp;"),
            _ => result.push(c),
        }
    }
    result
}
