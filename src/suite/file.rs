//! Suites from files and from the program itself.

use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use super::Suite;

static BUILT_IN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/probes/suites");

/// Largest suite file that is read, in bytes.
const MOST_BYTES: u64 = 64 << 20;
/// Problems named in one message.
const NAMED: usize = 8;

/// Why a suite cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// Neither a built-in name nor a file.
    #[error(
        "there is no suite {name:?}{}; the built-in ones are {}; for your own give the path of its \
         .toml file",
        nearest.as_ref().map_or(String::new(), |n| format!(" (did you mean {n:?}?)")),
        built_in_names().join(", ")
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The built-in name most like it.
        nearest: Option<String>,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}; give a suite as TOML", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is too large for a suite.
    #[error("{}: {bytes} bytes, a suite has at most {MOST_BYTES}; split it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not TOML of the form of suites: an unknown or missing field, a value of another kind.
    #[error("{}: no suite: {source}; `probe suites show counting` prints one", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
    /// It is a suite, but cannot be run.
    #[error("{}: {}", path.display(), listed(problems))]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong.
        problems: Vec<String>,
    },
}

fn listed(problems: &[String]) -> String {
    let named = problems.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match problems.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

/// Names of the built-in suites, sorted.
pub fn built_in_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = BUILT_IN
        .files()
        .filter(|file| file.path().extension().is_some_and(|e| e == "toml"))
        .filter_map(|file| file.path().file_stem()?.to_str())
        .collect();
    names.sort_unstable();
    names
}

/// The text of a built-in suite.
pub fn built_in(name: &str) -> Option<&'static str> {
    BUILT_IN.get_file(format!("{name}.toml"))?.contents_utf8()
}

/// Opens a suite by its built-in name or by the path of its file, and checks it.
///
/// # Errors
/// [`SuiteError`]; of everything wrong with a suite all is listed.
pub fn open(name: &str) -> Result<Suite, SuiteError> {
    if let Some(text) = built_in(name) {
        return parse(&Path::new("probes/suites").join(format!("{name}.toml")), text);
    }
    let path = Path::new(name);
    if !name.ends_with(".toml") && !path.exists() {
        let nearest = crate::suggest::nearest(name, built_in_names());
        return Err(SuiteError::Unknown { name: name.to_owned(), nearest });
    }
    let io = |source| SuiteError::Io { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(io)?.len();
    if bytes > MOST_BYTES {
        return Err(SuiteError::TooLarge { path: path.to_owned(), bytes });
    }
    parse(path, &fs::read_to_string(path).map_err(io)?)
}

fn parse(path: &Path, text: &str) -> Result<Suite, SuiteError> {
    let suite: Suite = toml::from_str(text)
        .map_err(|source| SuiteError::Toml { path: path.to_owned(), source: Box::new(source) })?;
    let problems = suite.check();
    if problems.is_empty() {
        Ok(suite)
    } else {
        Err(SuiteError::Wrong { path: path.to_owned(), problems })
    }
}
