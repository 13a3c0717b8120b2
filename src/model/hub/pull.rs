//! Fetches a model: only what is needed, every file checked against its digest, the whole made
//! visible last.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::fetch::{Client, RemoteFile};
use super::{BRANCH, is_id, model_folder};

/// Errors of fetching a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Not the id of a model.
    #[error("`{0}` is not the id of a model: give owner/name, as in its address on the hub")]
    Id(String),
    /// The user wants no network.
    #[error("HF_HUB_OFFLINE is set: unset it to fetch {0}")]
    Offline(String),
    /// The server cannot be reached, or broke off.
    #[error("{url}: {problem}; what was fetched is kept: try again to go on")]
    Network {
        /// What was asked for.
        url: String,
        /// What went wrong.
        problem: String,
    },
    /// The server refused.
    #[error("{url}: {status}; {remedy}")]
    Status {
        /// What was asked for.
        url: String,
        /// Its answer.
        status: String,
        /// What to do.
        remedy: &'static str,
    },
    /// An answer that is none by the hub's protocol.
    #[error("{url}: {problem}; is HF_ENDPOINT a Hugging Face hub?")]
    Protocol {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A file that did not arrive as it is.
    #[error("{file}: {problem}; it was removed: try again")]
    Damaged {
        /// Which file of the model.
        file: String,
        /// Expected and found.
        problem: String,
    },
    /// Another process is fetching the same.
    #[error("{}: another process is fetching this file; wait for it", path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The model has no files that can be used.
    #[error("{id}: {problem}")]
    Unusable {
        /// Its id.
        id: String,
        /// What is missing.
        problem: String,
    },
    /// The cache cannot be written.
    #[error("{}: {source}; is there room on the disk? HF_HOME names another place", path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The model's files.
    pub folder: PathBuf,
    /// The commit they belong to.
    pub commit: String,
    /// How many files.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
}

/// Called with a file's name, the bytes there are of it and the bytes it has.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Fetches what is needed of a model into the hub's cache. What is there already is not fetched
/// again; what was broken off goes on where it stopped.
///
/// # Errors
/// See [`HubError`]. A model that is not complete is not found by `--model`.
pub fn pull(id: &str, variant: Option<&str>, progress: Progress<'_>) -> Result<Pulled, HubError> {
    if !is_id(id) {
        return Err(HubError::Id(id.to_owned()));
    }
    if super::variable("HF_HUB_OFFLINE").is_some_and(|value| value != "0") {
        return Err(HubError::Offline(id.to_owned()));
    }
    let client = Client::new(id)?;
    let listing = client.listing()?;
    let names: BTreeSet<&str> = listing.files.iter().map(String::as_str).collect();
    let needed = needed(&names, variant)
        .map_err(|problem| HubError::Unusable { id: id.to_owned(), problem })?;
    let folder = model_folder(id);
    let snapshot = folder.join("snapshots").join(&listing.commit);
    let mut bytes = 0;
    for name in &needed {
        let remote = client.file(&listing.commit, name)?;
        bytes += remote.bytes;
        let blob = folder.join("blobs").join(&remote.tag);
        if !is_whole(&blob, &remote) {
            client.fetch(&remote, &blob, progress)?;
        }
        link(&blob, &snapshot.join(name))?;
    }
    let branch = folder.join("refs").join(BRANCH);
    write_whole(&branch, listing.commit.as_bytes())?;
    Ok(Pulled { folder: snapshot, commit: listing.commit, files: needed.len(), bytes })
}

/// A finished blob was checked when it was fetched; its size tells whether it was cut since.
fn is_whole(blob: &Path, remote: &RemoteFile) -> bool {
    std::fs::metadata(blob).is_ok_and(|data| data.len() == remote.bytes)
}

/// Parts of a pipeline with weights, and the stems of their files.
const WEIGHTS: [(&str, &str); 4] = [
    ("text_encoder", "model"),
    ("text_encoder_2", "model"),
    ("unet", "diffusion_pytorch_model"),
    ("vae", "diffusion_pytorch_model"),
];

/// Small files that are fetched where they are there.
const SMALL: [&str; 10] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "unet/config.json",
    "vae/config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// The files of a model that are needed, or what is missing.
fn needed(names: &BTreeSet<&str>, variant: Option<&str>) -> Result<Vec<String>, String> {
    let is_safe =
        |name: &str| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    let is_small = |name: &str| {
        let tokenizer = name.strip_prefix("tokenizer/").or(name.strip_prefix("tokenizer_2/"));
        SMALL.contains(&tokenizer.unwrap_or(name))
    };
    let small = names.iter().filter(|name| is_small(name) && is_safe(name));
    let mut needed: Vec<String> = small.map(|&name| name.to_owned()).collect();
    if !names.contains("model_index.json") {
        // A tokenizer alone, as single files need it.
        if names.contains("vocab.json") && names.contains("merges.txt") {
            return Ok(needed);
        }
        return Err("no model_index.json: not a model in diffusers layout; fetch its \
                    .safetensors file with another tool and give that as --model"
            .to_owned());
    }
    for (part, stem) in WEIGHTS {
        let config = format!("{part}/config.json");
        if names.contains(config.as_str()) {
            let files = weight_files(names, part, stem, variant)?;
            needed.extend(files.into_iter().filter(|name| is_safe(name)));
        }
    }
    Ok(needed)
}

/// The weight files of a part: of the variant, or the plain ones, or those of the only variant.
fn weight_files(
    names: &BTreeSet<&str>,
    part: &str,
    stem: &str,
    variant: Option<&str>,
) -> Result<Vec<String>, String> {
    let front = format!("{part}/{stem}");
    let of = |variant: Option<&str>| -> Vec<String> {
        let is_wanted = |name: &str| {
            let Some(rest) = name.strip_prefix(&front) else { return false };
            rest.contains(".safetensors") && variant_in(rest).as_deref() == variant
        };
        names.iter().filter(|name| is_wanted(name)).map(|&name| name.to_owned()).collect()
    };
    let rests = names.iter().filter_map(|name| name.strip_prefix(&front));
    let variants: BTreeSet<String> =
        rests.filter(|rest| rest.contains(".safetensors")).filter_map(variant_in).collect();
    let files = match (variant, variants.first()) {
        (Some(variant), _) => of(Some(variant)),
        (None, Some(only)) if variants.len() == 1 && of(None).is_empty() => of(Some(only)),
        (None, _) => of(None),
    };
    // The whole file needs no shards beside it.
    let whole = |variant: &str| format!("{front}{variant}.safetensors");
    let whole = [variant, None].map(|v| whole(&v.map(|v| format!(".{v}")).unwrap_or_default()));
    if let Some(file) = files.iter().find(|file| whole.contains(file)) {
        return Ok(vec![file.clone()]);
    }
    if !files.is_empty() {
        return Ok(files);
    }
    let there: Vec<&str> = names.iter().filter(|name| name.starts_with(&front)).copied().collect();
    Err(format!(
        "no weights of {part} that can be read: expected {}, found {}",
        whole.first().map_or("", String::as_str),
        if there.is_empty() { "none".to_owned() } else { there.join(", ") }
    ))
}

/// The variant in the end of a file's name: "fp16" of ".fp16.safetensors",
/// ".fp16-00001-of-00002.safetensors", ".safetensors.index.fp16.json".
fn variant_in(rest: &str) -> Option<String> {
    let words = rest.split(['.']).flat_map(|word| word.split('-').next());
    let usual = ["", "safetensors", "index", "json"];
    words.filter(|word| !usual.contains(word)).map(str::to_owned).next()
}

/// Makes the snapshot's file point to the blob.
fn link(blob: &Path, file: &Path) -> Result<(), HubError> {
    let io = |source| HubError::Io { path: file.to_owned(), source };
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(io)?;
    if std::fs::symlink_metadata(file).is_ok() {
        std::fs::remove_file(file).map_err(io)?;
    }
    #[cfg(unix)]
    {
        // Relative, so that the cache can be moved: from snapshots/<commit>/… to blobs/….
        let model = blob.parent().and_then(Path::parent).unwrap_or(blob);
        let depth = folder.strip_prefix(model).unwrap_or(folder).components().count();
        let up: PathBuf = std::iter::repeat_n("..", depth).collect();
        let target = up.join("blobs").join(blob.file_name().unwrap_or_default());
        std::os::unix::fs::symlink(target, file).map_err(io)
    }
    #[cfg(not(unix))]
    std::fs::copy(blob, file).map(drop).map_err(io)
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let io = |source| HubError::Io { path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    std::io::Write::write_all(&mut file, bytes).map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Files as repositories have them: two kinds, pickles, other runtimes.
    const FILES: [&str; 16] = [
        "README.md",
        "model_index.json",
        "sd_xl_base_1.0.safetensors",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/model.onnx",
        "text_encoder/model.safetensors",
        "text_encoder/pytorch_model.bin",
        "tokenizer/merges.txt",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
    ];

    fn chosen(files: &[&'static str], variant: Option<&str>) -> Result<Vec<String>, String> {
        let mut files = needed(&files.iter().copied().collect(), variant)?;
        files.retain(|name| name.contains("model") && name != "model_index.json");
        Ok(files)
    }

    #[test]
    fn only_what_is_needed_is_fetched() {
        let plain = chosen(&FILES, None).unwrap();
        assert_eq!(
            plain,
            [
                "text_encoder/model.safetensors",
                "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
                "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
                "unet/diffusion_pytorch_model.safetensors.index.json",
            ]
        );
        let half = chosen(&FILES, Some("fp16")).unwrap();
        assert_eq!(
            half,
            [
                "text_encoder/model.fp16.safetensors",
                "unet/diffusion_pytorch_model.fp16.safetensors"
            ]
        );
        // The only variant there is, without being asked for.
        let rest: Vec<&str> = FILES.iter().filter(|f| !f.contains("000")).copied().collect();
        let rest: Vec<&str> = rest.into_iter().filter(|f| !f.contains("index.json")).collect();
        let rest = [&rest[..], &["model_index.json"]].concat();
        assert_eq!(
            chosen(&rest, None).unwrap(),
            ["text_encoder/model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"]
        );
    }

    #[test]
    fn paths_that_leave_the_folder_are_not_fetched() {
        let files = [
            "model_index.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model/../../x.safetensors",
        ];
        let chosen = chosen(&files, None).unwrap_or_default();
        assert!(chosen.is_empty(), "{chosen:?}");
    }

    #[test]
    fn a_model_with_pickles_only_is_refused() {
        let files = ["model_index.json", "vae/config.json", "vae/diffusion_pytorch_model.bin"];
        let message = chosen(&files, None).unwrap_err();
        assert!(message.contains("diffusion_pytorch_model.bin"), "{message}");
    }
}
