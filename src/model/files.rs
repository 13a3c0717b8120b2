//! Where a model's files are: a folder in diffusers layout, the folder built into the program,
//! or a single-file checkpoint, which is shown as such a folder.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use include_dir::{Dir, include_dir};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::config::ModelIndex;
use super::error::ModelError;
use super::hub;
use super::parameters::WeightsError;
use super::python_json;
use super::single_file::SingleFile;
use super::tokenizer::Tokenizer;
use super::weights::{Storage, WeightFile, Weights};

/// The built-in model's folder.
static SHAPES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/fixtures/shapes");

/// Longest text file of a model that is read, in bytes. CLIP's vocabulary, the longest of them,
/// has one million.
const MOST_TEXT: u64 = 64 << 20;

/// What the weights of a single file were trained to predict, where the file cannot say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PredictionType {
    /// v, as Stable Diffusion 2.0 and 2.1 at 768 pixels
    V,
    /// The noise ε, as all others
    Epsilon,
}

impl PredictionType {
    /// As `scheduler_config.json` spells it.
    pub fn label(self) -> &'static str {
        match self {
            Self::V => "v_prediction",
            Self::Epsilon => "epsilon",
        }
    }
}

/// What `--model` names, and what goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// `shapes`, a folder, a file, or the id of a model on the hub.
    pub name: String,
    /// Take the weights of this variant, such as `fp16`.
    pub variant: Option<String>,
    /// Folder with `vocab.json` and `merges.txt` to use instead of the model's.
    pub tokenizer: Option<PathBuf>,
    /// What the denoiser predicts, against what is written or usual.
    pub prediction: Option<PredictionType>,
}

impl<T: AsRef<str> + ?Sized> From<&T> for ModelSource {
    fn from(name: &T) -> Self {
        Self { name: name.as_ref().to_owned(), ..Self::default() }
    }
}

/// Reads files of a model by their paths in a diffusers folder.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    place: Place,
    source: ModelSource,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    BuiltIn,
    SingleFile(Box<SingleFile>),
}

/// The list of shards beside them.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: std::collections::BTreeMap<String, String>,
}

impl ModelFiles {
    /// The name of the built-in model.
    pub const BUILT_IN: &str = "shapes";

    /// The built-in model.
    pub fn built_in() -> Self {
        Self { place: Place::BuiltIn, source: Self::BUILT_IN.into() }
    }

    /// A folder in diffusers layout, which may be incomplete.
    pub fn folder(path: PathBuf) -> Self {
        let source = path.to_string_lossy().as_ref().into();
        Self { place: Place::Folder(path), source }
    }

    /// Finds the model that `--model` names: the built-in one, a folder, a file, or what was
    /// fetched from the hub.
    ///
    /// # Errors
    /// None of these; pickle files, models of other kinds.
    pub fn find(source: impl Into<ModelSource>) -> Result<Self, ModelError> {
        let source = source.into();
        let place = Self::place(&source)?;
        let files = Self { place, source };
        files.index()?;
        Ok(files)
    }

    fn place(source: &ModelSource) -> Result<Place, ModelError> {
        const PICKLES: [&str; 5] = ["ckpt", "bin", "pt", "pth", "pkl"];
        let path = Path::new(&source.name);
        if source.name == Self::BUILT_IN && !path.join("model_index.json").is_file() {
            return Ok(Place::BuiltIn);
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if path.is_dir() {
            return Ok(Place::Folder(path.to_owned()));
        }
        if path.is_file() {
            return match extension {
                "safetensors" => Ok(Place::SingleFile(Box::new(SingleFile::open(path)?))),
                pickle if PICKLES.contains(&pickle) => {
                    Err(ModelError::Pickle { path: path.to_owned() })
                }
                _ => Err(ModelError::NoModel { path: path.to_owned() }),
            };
        }
        if !hub::is_id(&source.name) || !extension.is_empty() && extension == "safetensors" {
            return Err(ModelError::NotFound(source.name.clone()));
        }
        hub::snapshot(&source.name).map(Place::Folder).ok_or_else(|| ModelError::NotPulled {
            id: source.name.clone(),
            cache: hub::cache_folder(),
        })
    }

    /// What the whole folder says of itself, checked; it may say nothing.
    ///
    /// # Errors
    /// A pipeline of another family; a file that is no JSON.
    pub fn index(&self) -> Result<ModelIndex, ModelError> {
        const INDEX: &str = "model_index.json";
        let index = match self.json::<ModelIndex>(INDEX) {
            Err(ModelError::MissingFile { .. }) => ModelIndex::default(),
            other => other?,
        };
        index.check().map_err(|source| ModelError::Config { path: self.path(INDEX), source })?;
        Ok(index)
    }

    /// Where a file is, for messages.
    pub fn path(&self, file: &str) -> PathBuf {
        if let Some(folder) = self.source.tokenizer.as_deref()
            && let Some(name) = tokenizer_file(file)
        {
            return folder.join(name);
        }
        match &self.place {
            Place::Folder(folder) => folder.join(file),
            Place::BuiltIn => Path::new("<built-in shapes>").join(file),
            Place::SingleFile(single) => single.path().to_owned(),
        }
    }

    /// The path of a file within the model's folder; a single file's own name.
    pub fn relative(&self, path: &Path) -> String {
        let root = match &self.place {
            Place::Folder(folder) => folder.as_path(),
            Place::BuiltIn => Path::new("<built-in shapes>"),
            Place::SingleFile(single) => single.path().parent().unwrap_or(Path::new("")),
        };
        path.strip_prefix(root).unwrap_or(path).display().to_string()
    }

    /// What kind of single file it is; `None` for folders.
    pub fn single_file(&self) -> Option<&SingleFile> {
        match &self.place {
            Place::SingleFile(single) => Some(single),
            _ => None,
        }
    }

    /// True if the file is there.
    pub fn has(&self, file: &str) -> bool {
        match &self.place {
            Place::Folder(folder) => folder.join(file).is_file(),
            Place::BuiltIn => SHAPES.get_file(file).is_some(),
            Place::SingleFile(single) => single.config(file).is_some(),
        }
    }

    /// The bytes of a small file.
    ///
    /// # Errors
    /// The file is not there, is not small, or cannot be read.
    pub fn read(&self, file: &str) -> Result<Vec<u8>, ModelError> {
        let path = self.path(file);
        if self.source.tokenizer.is_some() && tokenizer_file(file).is_some() {
            return read_text(&path);
        }
        match &self.place {
            Place::Folder(_) => read_text(&path),
            Place::BuiltIn => match SHAPES.get_file(file) {
                Some(file) => Ok(file.contents().to_vec()),
                None => Err(ModelError::MissingFile { path }),
            },
            Place::SingleFile(single) => match (single.config(file), tokenizer_file(file)) {
                (Some(config), _) => Ok(config.to_string().into_bytes()),
                (None, Some(name)) => read_text(&hub_tokenizer(&path)?.join(name)),
                (None, None) => Err(ModelError::MissingFile { path: path.join(file) }),
            },
        }
    }

    /// A JSON file of the folder.
    ///
    /// # Errors
    /// The file is not there, or does not say what it should.
    pub fn json<T: DeserializeOwned>(&self, file: &str) -> Result<T, ModelError> {
        json(self.path(file), &self.read(file)?)
    }

    /// `scheduler/scheduler_config.json`, with the prediction type that the user names.
    ///
    /// # Errors
    /// The file is not there, or is no JSON.
    pub fn scheduler(&self) -> Result<Value, ModelError> {
        const FILE: &str = "scheduler/scheduler_config.json";
        let mut fields: serde_json::Map<String, Value> = self.json(FILE)?;
        if let Some(prediction) = self.source.prediction {
            fields.insert("prediction_type".to_owned(), prediction.label().into());
        }
        Ok(Value::Object(fields))
    }

    /// The weights of a part: `diffusion_pytorch_model.safetensors` or `model.safetensors`, a
    /// variant of it, or its shards.
    ///
    /// # Errors
    /// The files are not there, are pickles, lie outside the folder, or are not whole.
    pub fn weights(&self, part: &str, stem: &str) -> Result<Weights, ModelError> {
        let file = format!("{part}/{stem}.safetensors");
        let weights = match &self.place {
            Place::Folder(folder) => folder_weights(&folder.join(part), stem, self.variant())?,
            Place::SingleFile(single) => single.weights(part)?,
            Place::BuiltIn => match SHAPES.get_file(&file) {
                Some(found) => {
                    Weights::of(WeightFile::Embedded(self.path(&file), found.contents()))?
                }
                None => return Err(ModelError::MissingFile { path: self.path(&file) }),
            },
        };
        Ok(if part == "vae" { weights.renamed(today) } else { weights })
    }

    fn variant(&self) -> Option<&str> {
        self.source.variant.as_deref()
    }
}

/// The files of a tokenizer that `--tokenizer` replaces.
fn tokenizer_file(file: &str) -> Option<&str> {
    let name = file.strip_prefix("tokenizer/").or(file.strip_prefix("tokenizer_2/"))?;
    ["vocab.json", "merges.txt"].contains(&name).then_some(name)
}

/// The tokenizer of every Stable Diffusion, if it was fetched.
fn hub_tokenizer(single_file: &Path) -> Result<PathBuf, ModelError> {
    hub::snapshot(hub::CLIP_TOKENIZER).ok_or_else(|| ModelError::NoTokenizer {
        path: single_file.to_owned(),
        tokenizer: hub::CLIP_TOKENIZER,
    })
}

fn read_text(path: &Path) -> Result<Vec<u8>, ModelError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ModelError::MissingFile { path: path.to_owned() },
        _ => WeightsError::Io { path: path.to_owned(), source }.into(),
    };
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    if bytes > MOST_TEXT {
        return Err(ModelError::TooLong { path: path.to_owned(), bytes, most: MOST_TEXT });
    }
    std::fs::read(path).map_err(io)
}

fn json<T: DeserializeOwned>(path: PathBuf, bytes: &[u8]) -> Result<T, ModelError> {
    python_json::from_slice(bytes).map_err(|e| ModelError::Json { path, problem: e.to_string() })
}

/// Finds the weights of one part. Without a variant asked for, the plain file comes first, then
/// its shards; a variant is taken where it is the only one.
fn folder_weights(folder: &Path, stem: &str, variant: Option<&str>) -> Result<Weights, ModelError> {
    let there = file_names(folder);
    let has = |name: &String| there.contains(name);
    let variant = match variant {
        Some(variant) => Some(variant.to_owned()),
        None if has(&format!("{stem}.safetensors")) => None,
        None if has(&format!("{stem}.safetensors.index.json")) => None,
        None => only_variant(&there, stem),
    };
    let (files, indices) = match &variant {
        None => (
            [format!("{stem}.safetensors")].to_vec(),
            vec![format!("{stem}.safetensors.index.json")],
        ),
        Some(v) => (
            vec![format!("{stem}.{v}.safetensors")],
            vec![
                format!("{stem}.safetensors.index.{v}.json"),
                format!("{stem}.{v}.safetensors.index.json"),
            ],
        ),
    };
    if let Some(file) = files.iter().find(|name| has(name)) {
        return Ok(Weights::open(&folder.join(file))?);
    }
    if let Some(index) = indices.iter().find(|name| has(name)) {
        return sharded(folder, &folder.join(index));
    }
    let pickle = folder.join(format!("{stem}.bin"));
    let pickle = if pickle.is_file() { pickle } else { folder.join("pytorch_model.bin") };
    if pickle.is_file() {
        return Err(ModelError::Pickle { path: pickle });
    }
    let is_weights = |name: &&String| name.contains(".safetensors");
    let found: Vec<&str> = there.iter().filter(is_weights).map(String::as_str).collect();
    if found.is_empty() && variant.is_none() {
        return Err(ModelError::MissingFile { path: folder.join(&files[0]) });
    }
    Err(ModelError::NoWeights {
        folder: folder.to_owned(),
        expected: [files, indices].concat().join(" or "),
        found: if found.is_empty() { "none".to_owned() } else { found.join(", ") },
    })
}

fn file_names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// `fp16` of `model.fp16.safetensors` or of an index of that variant, if there is one only.
fn only_variant(there: &BTreeSet<String>, stem: &str) -> Option<String> {
    let variant_of = |name: &String| {
        let rest = name.strip_prefix(stem)?;
        let indexed =
            rest.strip_prefix(".safetensors.index.").and_then(|r| r.strip_suffix(".json"));
        let rest = rest.strip_prefix('.');
        let variant = indexed
            .or_else(|| rest?.strip_suffix(".safetensors"))
            .or_else(|| rest?.strip_suffix(".safetensors.index.json"))?;
        let is_word = !variant.is_empty() && !variant.contains(['.', '-']);
        is_word.then(|| variant.to_owned())
    };
    let variants: BTreeSet<String> = there.iter().filter_map(variant_of).collect();
    (variants.len() == 1).then(|| variants.into_iter().next()).flatten()
}

/// Opens all shards that an index names.
fn sharded(folder: &Path, index: &Path) -> Result<Weights, ModelError> {
    let listed: ShardIndex = json(index.to_owned(), &read_text(index)?)?;
    let names: BTreeSet<&String> = listed.weight_map.values().collect();
    let mut shards = Vec::with_capacity(names.len());
    for name in names {
        let stays = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !stays || name.is_empty() {
            return Err(ModelError::LeavesFolder { path: index.to_owned(), entry: name.clone() });
        }
        let path = folder.join(name);
        if !path.is_file() {
            return Err(ModelError::MissingFile { path });
        }
        shards.push(Weights::open(&path)?);
    }
    Ok(Weights::join(index, shards)?)
}

/// Today's name of a tensor of an autoencoder: before its version 0.17 (2023) diffusers wrote the
/// attention of an autoencoder under other names, and many published files still have them.
fn today(name: &str) -> Vec<(String, Storage)> {
    const NAMES: [(&str, &str); 4] = [
        (".query.", ".to_q."),
        (".key.", ".to_k."),
        (".value.", ".to_v."),
        (".proj_attn.", ".to_out.0."),
    ];
    if !name.contains(".attentions.") {
        return vec![(name.to_owned(), Storage::Plain)];
    }
    let new = NAMES.iter().fold(name.to_owned(), |name, (old, new)| name.replace(old, new));
    vec![(new, Storage::PointConvolution)]
}

/// Opens a tokenizer alone: `tokenizer`, or `tokenizer_2` where there are two.
///
/// # Errors
/// Files that are missing or not those of a CLIP tokenizer.
pub fn read_tokenizer(files: &ModelFiles, part: &str) -> Result<Tokenizer, ModelError> {
    const CONFIG: &str = "tokenizer_config.json";
    let of_part = |name: &str| files.read(&format!("{part}/{name}"));
    let optional = |name: &str| match of_part(name) {
        Err(ModelError::MissingFile { .. }) => Ok(None),
        other => other.map(Some),
    };
    let tokenizer = match (optional("vocab.json")?, optional("tokenizer.json")?) {
        // What transformers 5 writes; what was published before has the two files.
        (None, Some(json)) => Tokenizer::from_tokenizer_json(&json, &of_part(CONFIG)?),
        _ => Tokenizer::new(&of_part("vocab.json")?, &of_part("merges.txt")?, &of_part(CONFIG)?),
    };
    let special = optional("special_tokens_map.json")?;
    tokenizer
        .and_then(|tokenizer| match special {
            Some(map) => tokenizer.with_special_tokens(&map),
            None => Ok(tokenizer),
        })
        .map_err(|source| ModelError::Tokenizer { path: files.path(part), source })
}
