//! Errors of opening a model.

use std::path::PathBuf;

use super::config::ConfigError;
use super::parameters::WeightsError;
use super::tokenizer::TokenizerError;

/// Errors of opening a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Neither a folder nor a file nor a known name.
    #[error(
        "no model at `{0}`: give a folder in diffusers layout (with model_index.json), a \
         .safetensors file, the id of a model on the hub, or `shapes` for the built-in model"
    )]
    NotFound(String),
    /// The id of a model on the hub that was not fetched.
    #[error(
        "{id}: neither a folder nor a model in the hub's cache ({}); fetch it with \
         `probe models pull {id}`",
        cache.display()
    )]
    NotPulled {
        /// Its id.
        id: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// A file without any meaning here.
    #[error(
        "{}: not a model; give a folder in diffusers layout or a .safetensors file", path.display()
    )]
    NoModel {
        /// Which file.
        path: PathBuf,
    },
    /// A model of another kind, or a part of one.
    #[error("{}: {found}; {reads}", path.display())]
    Unsupported {
        /// Which folder or file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What can be read, or what to do.
        reads: &'static str,
    },
    /// Weights under none of the names they can have.
    #[error("{}: no weights; expected {expected}, found {found}", folder.display())]
    NoWeights {
        /// The part's folder.
        folder: PathBuf,
        /// The names looked for.
        expected: String,
        /// The weight files there are.
        found: String,
    },
    /// A path in an index that does not stay in its folder.
    #[error(
        "{}: names the file `{entry}`, which is outside its folder and is refused; a checkpoint \
         has its shards beside the index", path.display()
    )]
    LeavesFolder {
        /// The index.
        path: PathBuf,
        /// What it says.
        entry: String,
    },
    /// A small file that is not small.
    #[error(
        "{}: {bytes} bytes; expected a text file of at most {most}: get the file again",
        path.display()
    )]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        most: u64,
    },
    /// A single file without the vocabulary that no single file holds.
    #[error(
        "{}: a single file holds no tokenizer: give a folder with vocab.json and merges.txt as \
         --tokenizer DIR, or fetch one with `probe models pull {tokenizer}`", path.display()
    )]
    NoTokenizer {
        /// The single file.
        path: PathBuf,
        /// Where on the hub the tokenizer is.
        tokenizer: &'static str,
    },
    /// The folder lacks a file.
    #[error("{}: missing; a diffusers folder has it, copy the folder again", path.display())]
    MissingFile {
        /// Which file.
        path: PathBuf,
    },
    /// Only a pickle is there.
    #[error(
        "{}: pickle files can run code when they are opened and are refused; convert it to \
         safetensors (in Python: `pipeline.save_pretrained(folder, safe_serialization=True)`)",
        path.display()
    )]
    Pickle {
        /// Which file.
        path: PathBuf,
    },
    /// A JSON file that does not say what it should.
    #[error("{}: {problem}", path.display())]
    Json {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A config asking for what is not built here.
    #[error("{}: {source}", path.display())]
    Config {
        /// Which file.
        path: PathBuf,
        /// Which field.
        source: ConfigError,
    },
    /// Parts that do not fit each other.
    #[error("{0}")]
    Disagree(String),
    /// Weights that cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Tokenizer files that cannot be read.
    #[error("{}: {source}", path.display())]
    Tokenizer {
        /// The model's folder.
        path: PathBuf,
        /// What is wrong.
        source: TokenizerError,
    },
    /// The device is not there.
    #[error("device `{wanted}` is not available here; available: {available}")]
    Device {
        /// The device asked for.
        wanted: String,
        /// Those that are there.
        available: String,
    },
}
