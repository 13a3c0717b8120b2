use std::error::Error;
use std::path::PathBuf;

use crate::figure::FigureError;
use crate::run::RunError;
use crate::table::TableError;

/// Why the report of a stored run cannot be made; every message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoredError {
    /// The folder or a file of it.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A table that is of this version and yet not as declared.
    #[error(
        "{}: {source}\nIt was changed since the run; restore the file, or run it again", path.display()
    )]
    Edited {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TableError,
    },
    /// An image.
    #[error("cannot read {}: {source}; restore the file, or run it again", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// An image that the report shows.
    #[error("the table images names no image of the {name} run; restore it, or run it again")]
    NoImage {
        /// Whose image.
        name: String,
    },
    /// A report that the run's own tables are not enough for.
    #[error(
        "this report is made of the runs that it names, not of its own tables; make it again with \
         `{command}`"
    )]
    OfOtherRuns {
        /// What makes such a run again.
        command: String,
    },
    /// A verdict that no comparison gives.
    #[error(
        "the table comparison has the verdict {name:?}, which is none; restore the file, or compare \
         again"
    )]
    Verdict {
        /// What stands there.
        name: String,
    },
    /// Maps that do not belong together.
    #[error(
        "the maps of {site} in the table attention_maps do not belong together; restore the file, \
         or run it again"
    )]
    Maps {
        /// The site.
        site: String,
    },
    /// A figure whose data disagree.
    #[error(transparent)]
    Figure(#[from] FigureError),
    /// The probe's own report could not be made.
    #[error("the report cannot be made of this run's tables: {0}; run it again")]
    Probe(Box<dyn Error + Send + Sync>),
}

impl StoredError {
    /// An error of a probe's own report.
    pub fn probe(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Probe(Box::new(error))
    }
}
