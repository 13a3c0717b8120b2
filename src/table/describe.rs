//! The declarations themselves as a table and as documentation.

use std::fmt::Write;

use polars::prelude::*;

use super::{
    SchemaRow, TableDeclaration, TableError, ValueRange, declaration, declarations, frame,
};

/// Every column of one table, or of all, as a table: what `probe schema` prints.
///
/// # Errors
/// [`TableError::UnknownTable`].
pub fn schema(name: Option<&str>) -> Result<DataFrame, TableError> {
    match name {
        Some(name) => frame(schema_rows(declaration(name)?)),
        None => frame(declarations().iter().flat_map(schema_rows)),
    }
}

fn schema_rows(table: &'static TableDeclaration) -> impl Iterator<Item = SchemaRow> {
    table.columns.iter().map(|column| SchemaRow {
        table: table.name.to_owned(),
        version: table.version,
        column: column.name.to_owned(),
        dtype: column.kind.to_string(),
        unit: (!column.unit.is_empty()).then(|| column.unit.to_owned()),
        nullable: column.nullable,
        low: Some(column.range.low).filter(|x| x.is_finite()),
        high: Some(column.range.high).filter(|x| x.is_finite()),
        meaning: column.meaning.to_owned(),
    })
}

/// All tables as Markdown, one section each.
pub fn documentation() -> String {
    let mut text = String::from("# Tables\n");
    for table in declarations() {
        document(table, &mut text);
    }
    text
}

fn document(table: &TableDeclaration, text: &mut String) {
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "\n## {}\n\n{} Version {}.\n\n| column | type | unit | range | meaning |\n|---|---|---|---|---|\n",
        table.name, table.meaning, table.version
    );
    for column in table.columns {
        let null = if column.nullable { " or null" } else { "" };
        let range =
            if column.range == ValueRange::ANY { String::new() } else { column.range.to_string() };
        let _ = writeln!(
            text,
            "| `{}` | {}{null} | {} | {range} | {} |",
            column.name, column.kind, column.unit, column.meaning
        );
    }
}
