//! The tables, by topic.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{TableDeclaration, TableError, ValueRange};
use crate::suggest::nearest;

mod attention;
mod clip;
mod comparison;
mod diagnosis;
mod guidance;
mod history;
mod judgement;
mod latent;
mod outcome;
mod recorded;
mod runs;
mod suite;
mod sweep;
mod timesteps;
mod tracing;

pub use attention::{
    AlignmentRow, AttentionMapRow, AttentionRow, AttentionScoreRow, LeakageRow, TokenRow,
};
pub use clip::{ClipAnalogyRow, ClipOrderRow, ClipPathRow, ClipRow, ClipSimilarityRow};
pub use comparison::{ChangeOfOutcomeRow, ComparisonRow, ScoreComparisonRow};
pub use diagnosis::{DiagnosisFeatureRow, DiagnosisRow, EarlyStopRow};
pub use guidance::{GuidanceChangeRow, GuidanceImageRow, GuidanceSweepRow};
pub use history::{
    ChangePointRow, EmergenceOrderRow, EmergenceRow, EmergenceTimeRow, FalseAlarmRow, PlanRow,
    TrendRow,
};
pub use judgement::{
    CalibrationRow, ConfusionRow, HumanRow, JudgementRow, JudgementSummaryRow, SeenRow,
};
pub use latent::{LatentBandRow, LatentImpulseRow, LatentSurvivalRow};
pub use outcome::OutcomeRow;
pub use recorded::{ChannelRow, DaamRow, MapOf, PooledRow, SelfAttentionRow};
pub use runs::{
    DoctorRow, ImageRow, InversionRow, ModelCheckRow, ModelRow, ScheduleRow, SchemaRow,
};
pub use suite::{BenchmarkRow, GapRow, OutcomeSummaryRow, SuiteRow};
pub use sweep::{SweepConditionRow, SweepItemRow, SweepMergedRow, SweepShardRow};
pub use timesteps::{
    AttentionOverTimeRow, BandAgreementRow, CommitmentRow, LinearProbeRow, NoiseLevelRow,
    PromptSwitchRow, SiteSimilarityRow, X0AnswerRow,
};
pub use tracing::{
    ChangeRow, GuidanceRow, HeadAblationRow, PatchRow, SiteRow, TracePlanRow, TraceStatisticsRow,
};

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
        clip::TABLES,
        comparison::TABLES,
        diagnosis::TABLES,
        guidance::TABLES,
        history::TABLES,
        judgement::TABLES,
        latent::TABLES,
        outcome::TABLES,
        recorded::TABLES,
        runs::TABLES,
        suite::TABLES,
        timesteps::TABLES,
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
