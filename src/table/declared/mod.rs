//! The tables, by topic.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::error::nearest;
use super::{TableDeclaration, TableError, ValueRange};

mod attention;
mod comparison;
mod judgement;
mod outcome;
mod runs;
mod suite;
mod sweep;
mod tracing;

pub use attention::{AlignmentRow, AttentionRow, AttentionScoreRow, LeakageRow, TokenRow};
pub use comparison::{ChangeOfOutcomeRow, ComparisonRow};
pub use judgement::{CalibrationRow, ConfusionRow, JudgementRow, JudgementSummaryRow};
pub use outcome::OutcomeRow;
pub use runs::{
    DoctorRow, ImageRow, InversionRow, ModelCheckRow, ModelRow, ScheduleRow, SchemaRow,
};
pub use suite::{BenchmarkRow, GapRow, OutcomeSummaryRow, SuiteRow};
pub use sweep::{SweepConditionRow, SweepItemRow, SweepMergedRow, SweepShardRow};
pub use tracing::{ChangeRow, GuidanceRow, PatchRow, SiteRow, TracePlanRow, TraceStatisticsRow};

/// Any number, or text.
const ANY: ValueRange = ValueRange::ANY;
/// Zero and up.
const NOT_NEGATIVE: ValueRange = ValueRange::NOT_NEGATIVE;
/// One and up.
const FROM_ONE: ValueRange = ValueRange::POSITIVE_WHOLE;
/// Zero to one.
const UNIT: ValueRange = ValueRange::UNIT;
/// Minus one to one.
const COSINE: ValueRange = ValueRange::COSINE;

/// Every table there is.
static DECLARATIONS: LazyLock<Vec<TableDeclaration>> = LazyLock::new(|| {
    [
        attention::TABLES,
        comparison::TABLES,
        judgement::TABLES,
        outcome::TABLES,
        runs::TABLES,
        suite::TABLES,
        sweep::TABLES,
        tracing::TABLES,
    ]
    .concat()
});

/// Every table there is.
pub fn declarations() -> &'static [TableDeclaration] {
    &DECLARATIONS
}

/// The table of this name.
///
/// # Errors
/// [`TableError::UnknownTable`] with all names and the nearest.
pub fn declaration(name: &str) -> Result<&'static TableDeclaration, TableError> {
    DECLARATIONS.iter().find(|table| table.name == name).ok_or_else(|| {
        let names = DECLARATIONS.iter().map(|table| table.name);
        TableError::UnknownTable {
            name: name.to_owned(),
            nearest: nearest(name, names.clone()),
            known: names.collect::<Vec<_>>().join(", "),
        }
    })
}

/// Version of each table, for the manifest.
pub fn versions() -> BTreeMap<String, u32> {
    DECLARATIONS.iter().map(|table| (table.name.to_owned(), table.version)).collect()
}
