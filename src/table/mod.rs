//! Tables: every column declared once, everything else follows from it.
//!
//! A table is a row struct declared with a small macro in `declared/`: name, type, unit,
//! meaning, whether null is allowed, and the range of values. From this come
//!
//! - the DataFrame that [`TableBuilder`] makes of rows, and rows of a DataFrame ([`rows`]);
//! - Parquet that is written in row groups while rows come in ([`ParquetStream`]);
//! - the checks on building and on reading Parquet ([`read_parquet`]): missing, extra and
//!   mistyped columns, nulls and values out of range, all problems at once;
//! - what `probe schema` prints ([`schema`]) and the documentation ([`documentation`]).
//!
//! Tables are tidy and long: one row per measurement. A value that does not exist is null,
//! never NaN.

mod build;
mod cells;
mod check;
mod column;
mod declare;
mod declared;
mod describe;
mod error;
mod parquet;
mod preview;
mod render;
mod scan;
mod stream;
mod tables;

pub use build::{TableBuilder, frame, rows};
pub use cells::{TextTable, flags, fractions, numbers, texts};
pub use check::check;
pub use column::{Cell, ColumnDeclaration, Kind, ValueRange};
pub use declare::{Row, TableDeclaration};
pub use declared::*;
pub use describe::{documentation, schema};
pub use error::{Problem, TableError};
pub use parquet::{read_parquet, read_parquet_columns, write_parquet};
pub use preview::{Preview, Value, preview};
pub use render::{Format, UnknownFormat, render};
pub use scan::{concatenate, scan};
pub use stream::ParquetStream;
pub use tables::Tables;
