//! The declaration of a whole table, and the macro that makes one from a row struct.

use polars::prelude::*;

use super::ColumnDeclaration;

/// A declared table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TableDeclaration {
    /// Name: of the file (`tables/<name>.parquet`) and in `probe schema <name>`.
    pub name: &'static str,
    /// Raised with every change that readers must know of.
    pub version: u32,
    /// What one row is, in a sentence.
    pub meaning: &'static str,
    /// The columns in order.
    pub columns: &'static [ColumnDeclaration],
}

impl TableDeclaration {
    /// The polars schema.
    pub fn schema(&self) -> Schema {
        self.columns.iter().map(|c| Field::new(c.name.into(), c.kind.data_type())).collect()
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&'static ColumnDeclaration> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A row of a declared table. Implemented by the `table!` macro only.
pub trait Row: Sized {
    /// The table this is a row of.
    const TABLE: TableDeclaration;

    /// The columns of some rows, in the declared order.
    fn columns(rows: Vec<Self>) -> Vec<Column>;

    /// The rows of a DataFrame that has the declared columns.
    ///
    /// # Errors
    /// A column is missing or of another type: use [`super::check()`] first.
    fn from_frame(frame: &DataFrame) -> PolarsResult<Vec<Self>>;
}

/// Declares a row struct together with its table:
///
/// ```text
/// table! {
///     /// What one row is.
///     ExampleRow, "example", version 1;
///     /// What the value says.
///     share: Option<f64>, "unit", ValueRange::UNIT;
/// }
/// ```
///
/// Comments become the documentation of struct and fields and the meaning in the declaration;
/// a field's type gives the column's type and whether null is allowed.
macro_rules! table {
    (
        $(#[doc = $meaning:literal])+
        $row:ident, $name:literal, version $version:literal;
        $(
            $(#[doc = $says:literal])+
            $field:ident: $type:ty, $unit:literal, $range:expr;
        )+
    ) => {
        $(#[doc = $meaning])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $row {
            $($(#[doc = $says])+ pub $field: $type,)+
        }

        impl $crate::table::Row for $row {
            const TABLE: $crate::table::TableDeclaration = $crate::table::TableDeclaration {
                name: $name,
                version: $version,
                meaning: concat!($($meaning),+).trim_ascii(),
                columns: &[$($crate::table::ColumnDeclaration {
                    name: stringify!($field),
                    kind: <$type as $crate::table::Cell>::KIND,
                    unit: $unit,
                    meaning: concat!($($says),+).trim_ascii(),
                    nullable: <$type as $crate::table::Cell>::NULLABLE,
                    range: $range,
                }),+],
            };

            fn columns(rows: Vec<Self>) -> Vec<polars::prelude::Column> {
                $(let mut $field = Vec::with_capacity(rows.len());)+
                for row in rows {
                    $($field.push(row.$field);)+
                }
                vec![$(<$type as $crate::table::Cell>::column(stringify!($field), $field)),+]
            }

            fn from_frame(
                frame: &polars::prelude::DataFrame,
            ) -> polars::prelude::PolarsResult<Vec<Self>> {
                $(
                    let column = frame.column(stringify!($field))?;
                    let mut $field = <$type as $crate::table::Cell>::cells(column)?.into_iter();
                )+
                // All columns of a DataFrame have its height, so none ends before the others.
                Ok(std::iter::from_fn(|| Some(Self { $($field: $field.next()?),+ })).collect())
            }
        }
    };
}

pub(super) use table;
