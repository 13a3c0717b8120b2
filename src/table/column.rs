//! One column: what it is called, holds and means.

use std::fmt;

use polars::prelude::*;

/// The type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// Whole number from 0 to 2³² − 1.
    U32,
    /// Whole number from 0 to 2⁶⁴ − 1 (seeds).
    U64,
    /// Whole number of 64 bits with sign.
    I64,
    /// Floating point of 32 bits.
    F32,
    /// Floating point of 64 bits.
    F64,
    /// UTF-8 text.
    Text,
    /// List of `f32`, such as a map in row-major order.
    ListF32,
}

impl Kind {
    /// The polars type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::U32 => DataType::UInt32,
            Self::U64 => DataType::UInt64,
            Self::I64 => DataType::Int64,
            Self::F32 => DataType::Float32,
            Self::F64 => DataType::Float64,
            Self::Text => DataType::String,
            Self::ListF32 => DataType::List(Box::new(DataType::Float32)),
        }
    }

    /// The name in documentation and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Text => "string",
            Self::ListF32 => "list of f32",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The values a number may have, both ends included. NaN is never among them; infinity is where
/// an end is infinite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueRange {
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
}

impl ValueRange {
    /// Any number.
    pub const ANY: Self = Self { low: f64::NEG_INFINITY, high: f64::INFINITY };
    /// Zero and up.
    pub const NOT_NEGATIVE: Self = Self { low: 0.0, high: f64::INFINITY };
    /// One and up.
    pub const POSITIVE_WHOLE: Self = Self { low: 1.0, high: f64::INFINITY };
    /// Shares, probabilities, coordinates.
    pub const UNIT: Self = Self { low: 0.0, high: 1.0 };
    /// Cosines.
    pub const COSINE: Self = Self { low: -1.0, high: 1.0 };

    /// Whether the range holds `value`.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

impl fmt::Display for ValueRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low.is_finite(), self.high.is_finite()) {
            (false, false) => f.write_str("any"),
            (true, false) => write!(f, "≥ {}", self.low),
            (false, true) => write!(f, "≤ {}", self.high),
            (true, true) => write!(f, "{} … {}", self.low, self.high),
        }
    }
}

/// A declared column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColumnDeclaration {
    /// Name in the table.
    pub name: &'static str,
    /// Type of the values.
    pub kind: Kind,
    /// Unit, empty for plain numbers and text.
    pub unit: &'static str,
    /// What a value says, in a sentence.
    pub meaning: &'static str,
    /// Whether null is allowed; the meaning says when it stands.
    pub nullable: bool,
    /// The values a number may have; [`ValueRange::ANY`] where nothing is declared.
    pub range: ValueRange,
}

/// A Rust type that can be a column's value; `Option` of it makes the column nullable.
pub trait Cell: Sized {
    /// The column's type.
    const KIND: Kind;
    /// Whether null is a value.
    const NULLABLE: bool;

    /// A column of these values.
    fn column(name: &'static str, cells: Vec<Self>) -> Column;

    /// The values of a column.
    ///
    /// # Errors
    /// The column has another type, or a null where this type has none.
    fn cells(column: &Column) -> PolarsResult<Vec<Self>>;
}

fn unexpected_null(column: &Column) -> PolarsError {
    polars_err!(SchemaMismatch: "column {} holds null, which its declaration excludes", column.name())
}

/// Plain and nullable cells of a type that polars stores as it is.
macro_rules! cell {
    ($type:ty, $kind:expr, $access:ident, $own:expr) => {
        impl Cell for $type {
            const KIND: Kind = $kind;
            const NULLABLE: bool = false;

            fn column(name: &'static str, cells: Vec<Self>) -> Column {
                Column::new(name.into(), cells)
            }

            fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
                let own = $own;
                let cells: Option<Vec<Self>> =
                    column.$access()?.iter().map(|cell| cell.map(own)).collect();
                cells.ok_or_else(|| unexpected_null(column))
            }
        }

        impl Cell for Option<$type> {
            const KIND: Kind = $kind;
            const NULLABLE: bool = true;

            fn column(name: &'static str, cells: Vec<Self>) -> Column {
                Column::new(name.into(), cells)
            }

            fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
                let own = $own;
                Ok(column.$access()?.iter().map(|cell| cell.map(own)).collect())
            }
        }
    };
}

cell!(bool, Kind::Bool, bool, |cell: bool| cell);
cell!(u32, Kind::U32, u32, |cell: u32| cell);
cell!(u64, Kind::U64, u64, |cell: u64| cell);
cell!(i64, Kind::I64, i64, |cell: i64| cell);
cell!(f32, Kind::F32, f32, |cell: f32| cell);
cell!(f64, Kind::F64, f64, |cell: f64| cell);
cell!(String, Kind::Text, str, |cell: &str| cell.to_owned());

impl Cell for Option<Vec<f32>> {
    const KIND: Kind = Kind::ListF32;
    const NULLABLE: bool = true;

    fn column(name: &'static str, cells: Vec<Self>) -> Column {
        let values = cells.iter().flatten().map(Vec::len).sum();
        let mut builder = ListPrimitiveChunkedBuilder::<Float32Type>::new(
            name.into(),
            cells.len(),
            values,
            DataType::Float32,
        );
        for cell in &cells {
            builder.append_opt_slice(cell.as_deref());
        }
        builder.finish().into_column()
    }

    fn cells(column: &Column) -> PolarsResult<Vec<Self>> {
        let own = |list: Series| -> PolarsResult<Vec<f32>> {
            let values: Option<Vec<f32>> = list.f32()?.iter().collect();
            values.ok_or_else(|| unexpected_null(column))
        };
        column.list()?.series_iter().map(|cell| cell.map(own).transpose()).collect()
    }
}
