//! Whether a DataFrame is what a table's declaration says.

use polars::prelude::*;

use super::{ColumnDeclaration, Kind, Problem, TableDeclaration, TableError};
use crate::suggest::nearest;

/// Checks names, types, nulls and ranges; the order of the columns is free.
///
/// # Errors
/// [`TableError::Mismatch`] with every problem; of bad values in a column the first.
pub fn check(frame: &DataFrame, table: &TableDeclaration) -> Result<(), TableError> {
    check_columns(frame, table, table.columns)
}

/// The same, where only some of the columns have to be there.
pub(super) fn check_columns<'a>(
    frame: &DataFrame,
    table: &TableDeclaration,
    columns: impl IntoIterator<Item = &'a ColumnDeclaration>,
) -> Result<(), TableError> {
    let mut problems = Vec::new();
    for declared in columns {
        match frame.column(declared.name) {
            Ok(column) => problems.extend(check_column(column, declared)?),
            Err(_) => problems.push(missing(frame, table, declared)),
        }
    }
    let extra = names(frame).filter(|name| table.column(name).is_none());
    problems.extend(extra.map(|name| Problem::Extra {
        column: name.to_owned(),
        nearest: nearest(name, table.columns.iter().map(|column| column.name)),
    }));
    if problems.is_empty() {
        return Ok(());
    }
    Err(TableError::Mismatch { table: table.name, problems })
}

fn missing(frame: &DataFrame, table: &TableDeclaration, declared: &ColumnDeclaration) -> Problem {
    let undeclared = names(frame).filter(|name| table.column(name).is_none());
    Problem::Missing {
        column: declared.name,
        kind: declared.kind,
        nearest: nearest(declared.name, undeclared),
    }
}

fn check_column(column: &Column, declared: &ColumnDeclaration) -> PolarsResult<Option<Problem>> {
    let name = declared.name;
    if *column.dtype() != declared.kind.data_type() {
        let got = column.dtype().to_string();
        return Ok(Some(Problem::Kind { column: name, expected: declared.kind, got }));
    }
    if !declared.nullable && column.null_count() > 0 {
        let row = column.is_null().first_true_idx().unwrap_or(0);
        return Ok(Some(Problem::Null { column: name, row }));
    }
    let bad = first_bad_value(column, declared)?;
    Ok(bad.map(|(row, value)| Problem::Value { column: name, row, value, range: declared.range }))
}

/// The first value that is NaN or out of range, with its row.
fn first_bad_value(
    column: &Column,
    declared: &ColumnDeclaration,
) -> PolarsResult<Option<(usize, f64)>> {
    let bad = |value: f64| !declared.range.contains(value);
    let find = |values: &mut dyn Iterator<Item = Option<f64>>| {
        let mut rows = values.enumerate().filter_map(|(row, value)| Some((row, value?)));
        rows.find(|(_, value)| bad(*value))
    };
    Ok(match declared.kind {
        Kind::Bool | Kind::Text => None,
        Kind::U32 => find(&mut column.u32()?.iter().map(|x| x.map(f64::from))),
        Kind::U64 => find(&mut column.u64()?.iter().map(|x| x.map(|x| x as f64))),
        Kind::I64 => find(&mut column.i64()?.iter().map(|x| x.map(|x| x as f64))),
        Kind::F32 => find(&mut column.f32()?.iter().map(|x| x.map(f64::from))),
        Kind::F64 => find(&mut column.f64()?.iter()),
        Kind::ListF32 => {
            let mut found = None;
            for (row, list) in column.list()?.series_iter().enumerate() {
                let Some(list) = list else { continue };
                if let Some((_, value)) = find(&mut list.f32()?.iter().map(|x| x.map(f64::from))) {
                    found = Some((row, value));
                    break;
                }
            }
            found
        }
    })
}

pub(super) fn names(frame: &DataFrame) -> impl Iterator<Item = &str> {
    frame.columns().iter().map(|column| column.name().as_str())
}
