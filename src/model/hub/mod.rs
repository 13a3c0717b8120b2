//! Models of the Hugging Face hub: what lies in its cache, and with the feature `hub` how more
//! gets there. The cache is laid out as Python's `huggingface_hub` does, and shared with it.

#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod pull;

#[cfg(feature = "hub")]
pub use pull::{HubError, Pulled, pull};

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The model whose tokenizer every Stable Diffusion uses.
pub const CLIP_TOKENIZER: &str = "openai/clip-vit-large-patch14";

/// The branch that is fetched.
const BRANCH: &str = "main";

/// True for names such as `stabilityai/stable-diffusion-2-1`.
pub fn is_id(name: &str) -> bool {
    let is_word = |word: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !word.is_empty() && !word.starts_with('.') && word.chars().all(plain)
    };
    name.split_once('/').is_some_and(|(owner, model)| is_word(owner) && is_word(model))
}

/// Where the hub keeps what it fetched: `HF_HUB_CACHE`, or `hub` below `HF_HOME`, which is
/// `~/.cache/huggingface` where it is not set.
pub fn cache_folder() -> PathBuf {
    variable("HF_HUB_CACHE").map_or_else(|| home().join("hub"), PathBuf::from)
}

/// The hub's own folder: `HF_HOME`, or `huggingface` below the user's cache.
fn home() -> PathBuf {
    if let Some(home) = variable("HF_HOME") {
        return home.into();
    }
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    cache.unwrap_or_default().join("huggingface")
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The folder of a model in the cache; the id is one by [`is_id`].
fn model_folder(id: &str) -> PathBuf {
    cache_folder().join(format!("models--{}", id.replace('/', "--")))
}

/// The files of a model that was fetched: the newest snapshot of its main branch.
pub fn snapshot(id: &str) -> Option<PathBuf> {
    if !is_id(id) {
        return None;
    }
    let folder = model_folder(id);
    let commit = std::fs::read_to_string(folder.join("refs").join(BRANCH)).ok()?;
    let commit = commit.trim();
    let is_plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
    let snapshot = folder.join("snapshots").join(commit);
    (is_plain && snapshot.is_dir()).then_some(snapshot)
}

/// A diffusers model in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Its id on the hub.
    pub id: String,
    /// Its files.
    pub folder: PathBuf,
    /// Their size.
    pub bytes: u64,
}

/// All diffusers models in the cache, by id.
pub fn cached() -> Vec<Cached> {
    let entries = std::fs::read_dir(cache_folder()).into_iter().flatten().flatten();
    let mut found: Vec<Cached> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let id = name.strip_prefix("models--")?.replacen("--", "/", 1);
            let folder = snapshot(&id)?;
            let bytes = folder_bytes(&folder, 0);
            folder.join("model_index.json").is_file().then_some(Cached { id, folder, bytes })
        })
        .collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found
}

/// Size of all files below a folder; links count as what they point to.
fn folder_bytes(folder: &Path, depth: usize) -> u64 {
    /// Diffusers folders have one level of parts; ends the walk where links go in circles.
    const DEEPEST: usize = 4;
    if depth > DEEPEST {
        return 0;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = |path: PathBuf| match std::fs::metadata(&path) {
        Ok(data) if data.is_dir() => folder_bytes(&path, depth + 1),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(|entry| bytes(entry.path())).sum()
}
