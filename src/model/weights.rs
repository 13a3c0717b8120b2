//! Weight files, memory-mapped, and the tensors of one part of a model wherever they lie: in one
//! file, in shards, or among others in a single-file checkpoint under other names.
//!
//! Only headers are read when a file is opened; each tensor is copied out of the map when it is
//! asked for, so that a model in memory never exists twice.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use sha2::{Digest, Sha256};
use tch::{Device, Kind, TchError, Tensor};

use super::parameters::WeightsError;

/// The bytes of a weight file: mapped from disk, or built into the program.
#[derive(Clone, Debug)]
pub enum WeightFile {
    /// Mapped from this path.
    Mapped(PathBuf, Arc<memmap2::Mmap>),
    /// Embedded, with a name for messages.
    Embedded(PathBuf, &'static [u8]),
}

impl WeightFile {
    /// Maps a safetensors file.
    ///
    /// # Errors
    /// A file that cannot be opened.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let io = |source| WeightsError::Io { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        // SAFETY: the map is read-only; a file that another process truncates while it is
        // read is outside what a checkpoint reader can guard against (as for every
        // memory-mapping loader).
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(io)?;
        Ok(Self::Mapped(path.to_owned(), Arc::new(map)))
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::Mapped(path, _) | Self::Embedded(path, _) => path,
        }
    }

    /// The whole content.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(_, map) => map,
            Self::Embedded(_, bytes) => bytes,
        }
    }

    /// SHA-256 of the content, 64 hexadecimal digits. Reads the whole file.
    pub fn sha256(&self) -> String {
        const AT_ONCE: usize = 1 << 24;
        let mut hasher = Sha256::new();
        for (i, block) in self.bytes().chunks(AT_ONCE).enumerate() {
            hasher.update(block);
            self.release(i * AT_ONCE..i * AT_ONCE + block.len());
        }
        format!("{:x}", hasher.finalize())
    }

    /// Gives the memory of a range back that was read and is not needed soon: else a program
    /// would seem to hold the file beside the model. The file stays in the system's cache.
    fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(_, map) = self {
            // SAFETY: the map is shared and never written, so that what is dropped here is read
            // from the file again when it is asked for.
            #[allow(unsafe_code)]
            let given_back = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    range.start,
                    range.len(),
                )
            };
            // A system that will not do so only shows a larger size.
            drop(given_back);
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// All tensors, as they are.
    ///
    /// # Errors
    /// Not a whole safetensors file, or dtypes that libtorch has not.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>, WeightsError> {
        let weights = Weights::of(self.clone())?;
        let mut tensors = BTreeMap::new();
        for (name, stored) in weights.iter() {
            let tensor = weights.read(stored)?.ok_or_else(|| WeightsError::Format {
                path: self.path().to_owned(),
                problem: format!("`{name}` has dtype {}", stored.dtype()),
            })?;
            tensors.insert(name.clone(), tensor);
        }
        Ok(tensors)
    }

    fn error(&self, problem: String) -> WeightsError {
        WeightsError::Format { path: self.path().to_owned(), problem }
    }

    /// What stands in place of safetensors, where that is a known mistake.
    fn foreign(&self) -> Option<WeightsError> {
        const STARTS: [(&[u8], &str, &str); 4] = [
            (
                b"version https://git-lfs",
                "a Git LFS pointer instead of the weights",
                "run `git lfs pull` in the folder it came from",
            ),
            (
                b"PK\x03\x04",
                "a PyTorch pickle under the name of safetensors",
                "pickles can run code and are refused; get the safetensors version",
            ),
            (
                b"\x80\x02",
                "a pickle under the name of safetensors",
                "pickles can run code and are refused; get the safetensors version",
            ),
            (b"<", "a web page instead of the weights", "log in and download it again"),
        ];
        let (_, found, remedy) = STARTS.iter().find(|(start, ..)| {
            // A header of 60 bytes starts with `<` too; then zeros of its length follow.
            self.bytes().starts_with(start) && self.bytes().get(2..8) != Some(&[0; 6])
        })?;
        Some(WeightsError::Foreign { path: self.path().to_owned(), found, remedy })
    }

    fn header_error(&self, error: SafeTensorError) -> WeightsError {
        let bytes = self.bytes();
        let claimed = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
        let there = bytes.len();
        self.error(match error {
            _ if there == 0 => "the file is empty".to_owned(),
            SafeTensorError::HeaderTooSmall => format!("{there} bytes, fewer than any header has"),
            SafeTensorError::HeaderTooLarge => {
                format!("its header claims {claimed} bytes; at most 100000000 are read")
            }
            SafeTensorError::InvalidHeaderLength => {
                format!("its header claims {claimed} bytes, the file has {there}")
            }
            SafeTensorError::MetadataIncompleteBuffer => {
                match described_length(bytes, claimed as usize) {
                    Some(length) => format!("{there} bytes, its header describes {length}"),
                    None => error.to_string(),
                }
            }
            other => other.to_string(),
        })
    }
}

/// How long a file is by its own header of so many bytes.
fn described_length(bytes: &[u8], header: usize) -> Option<u64> {
    const LENGTH: usize = 8;
    let json = bytes.get(LENGTH..LENGTH.checked_add(header)?)?;
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(json).ok()?;
    let ends = entries.values().filter_map(|entry| entry.get("data_offsets")?.get(1)?.as_u64());
    Some((LENGTH + header) as u64 + ends.max().unwrap_or(0))
}

/// How a parameter lies in the file, against the shape its module gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// As the module has it.
    #[default]
    Plain,
    /// One of three equal parts along the first axis: queries, keys or values (0, 1, 2).
    ThirdOfRows(usize),
    /// A matrix with its axes exchanged.
    Transposed,
    /// A matrix kept as a convolution with a kernel of one pixel, [out, in, 1, 1].
    PointConvolution,
}

impl Storage {
    /// Shape of the parameter that is stored with this shape. A shape that cannot be meant is
    /// left as it is, to be reported beside the one that was expected.
    fn parameter_shape(self, stored: &[i64]) -> Vec<i64> {
        match (self, stored) {
            (Self::ThirdOfRows(_), [rows, rest @ ..]) if rows % 3 == 0 => {
                [&[rows / 3], rest].concat()
            }
            (Self::Transposed, &[rows, columns]) => vec![columns, rows],
            (Self::PointConvolution, [rows, columns, kernel @ ..])
                if kernel.iter().all(|&k| k == 1) =>
            {
                vec![*rows, *columns]
            }
            _ => stored.to_vec(),
        }
    }
}

/// One tensor in a file.
#[derive(Clone, Debug)]
pub struct StoredTensor {
    file: usize,
    key: String,
    dtype: Dtype,
    shape: Vec<i64>,
    place: Range<usize>,
    storage: Storage,
}

impl StoredTensor {
    /// Its name in the file.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Kind of its numbers in the file: `F16`, `BF16`, `F32` …
    pub fn dtype(&self) -> String {
        self.dtype.to_string()
    }

    /// The same as libtorch has it; `None` for kinds that it has not.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self.dtype {
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            Dtype::I32 => Kind::Int,
            Dtype::U8 => Kind::Uint8,
            _ => return None,
        })
    }

    /// True for the kinds that weights can have.
    pub fn is_floating_point(&self) -> bool {
        matches!(self.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64)
    }

    /// Shape of the parameter.
    pub fn shape(&self) -> Vec<i64> {
        self.storage.parameter_shape(&self.shape)
    }

    /// Bytes the parameter takes in the file.
    pub fn bytes(&self) -> u64 {
        let whole = self.place.len() as u64;
        if matches!(self.storage, Storage::ThirdOfRows(_)) { whole / 3 } else { whole }
    }
}

/// The tensors of one part of a model, by the names its modules ask for.
#[derive(Clone, Debug)]
pub struct Weights {
    path: PathBuf,
    files: Vec<WeightFile>,
    tensors: BTreeMap<String, StoredTensor>,
}

impl Weights {
    /// Reads a file's header.
    ///
    /// # Errors
    /// Not a whole safetensors file.
    pub fn of(file: WeightFile) -> Result<Self, WeightsError> {
        if let Some(error) = file.foreign() {
            return Err(error);
        }
        let (header, metadata) =
            SafeTensors::read_metadata(file.bytes()).map_err(|e| file.header_error(e))?;
        let start = size_of::<u64>() + header;
        let stored = |key: String, info: &TensorInfo| {
            let (from, to) = info.data_offsets;
            let stored = StoredTensor {
                file: 0,
                key: key.clone(),
                dtype: info.dtype,
                shape: info.shape.iter().map(|&n| n as i64).collect(),
                place: start + from..start + to,
                storage: Storage::Plain,
            };
            (key, stored)
        };
        let tensors = metadata.tensors().into_iter().map(|(key, info)| stored(key, info)).collect();
        Ok(Self { path: file.path().to_owned(), files: vec![file], tensors })
    }

    /// Maps a safetensors file and reads its header.
    ///
    /// # Errors
    /// A file that cannot be opened or is not whole.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::of(WeightFile::open(path)?)
    }

    /// The tensors of several shards together; `index` is the file that lists them.
    ///
    /// # Errors
    /// A tensor that two shards hold.
    pub fn join(index: &Path, shards: Vec<Self>) -> Result<Self, WeightsError> {
        let mut all = Self { path: index.to_owned(), files: Vec::new(), tensors: BTreeMap::new() };
        for shard in shards {
            let offset = all.files.len();
            for (name, stored) in shard.tensors {
                let stored = StoredTensor { file: stored.file + offset, ..stored };
                if all.tensors.insert(name.clone(), stored).is_some() {
                    let problem = format!("two shards hold `{name}`");
                    return Err(WeightsError::Format { path: index.to_owned(), problem });
                }
            }
            all.files.extend(shard.files);
        }
        Ok(all)
    }

    /// The same tensors under other names: `rename` gives, for a name in the file, every
    /// parameter that the tensor holds. Names without any are left out.
    #[must_use]
    pub fn renamed(&self, rename: impl Fn(&str) -> Vec<(String, Storage)>) -> Self {
        let mut tensors = BTreeMap::new();
        for (name, stored) in &self.tensors {
            for (parameter, storage) in rename(name) {
                tensors.insert(parameter, StoredTensor { storage, ..stored.clone() });
            }
        }
        Self { path: self.path.clone(), files: self.files.clone(), tensors }
    }

    /// Where they are, for messages: the file, or the index of its shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold them.
    pub fn files(&self) -> &[WeightFile] {
        &self.files
    }

    /// All tensors in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &StoredTensor)> {
        self.tensors.iter()
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    /// True if a name starts so.
    pub fn has(&self, prefix: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(prefix))
    }

    /// Takes the tensor of this name out of the list.
    pub fn remove(&mut self, name: &str) -> Option<StoredTensor> {
        self.tensors.remove(name)
    }

    /// Leaves out what `is_wanted` refuses.
    pub fn retain(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| is_wanted(name));
    }

    fn bytes(&self, stored: &StoredTensor) -> &[u8] {
        let file = self.files.get(stored.file).map_or(&[][..], WeightFile::bytes);
        file.get(stored.place.clone()).unwrap_or_default()
    }

    /// False if a number of a tensor is NaN or infinite: in a floating-point number all bits of
    /// the exponent are set then. Several times faster than asking libtorch, which widens first.
    pub fn is_finite(&self, stored: &StoredTensor) -> bool {
        let bytes = self.bytes(stored);
        match stored.dtype {
            Dtype::F16 => is_finite::<2>(bytes, |b| u16::from_le_bytes(b) & 0x7c00 != 0x7c00),
            Dtype::BF16 => is_finite::<2>(bytes, |b| u16::from_le_bytes(b) & 0x7f80 != 0x7f80),
            Dtype::F32 => is_finite::<4>(bytes, |b| f32::from_le_bytes(b).is_finite()),
            Dtype::F64 => is_finite::<8>(bytes, |b| f64::from_le_bytes(b).is_finite()),
            _ => true,
        }
    }

    /// A tensor as its parameter has it, in the file's kind, on the CPU; `None` for kinds that
    /// libtorch has not.
    ///
    /// # Errors
    /// libtorch's own, such as too little memory.
    pub fn read(&self, stored: &StoredTensor) -> Result<Option<Tensor>, TchError> {
        let Some(kind) = stored.kind() else { return Ok(None) };
        let place = Tensor::f_empty(stored.shape(), (kind, Device::Cpu))?;
        self.read_into(stored, place).map(Some)
    }

    /// Copies the numbers of a tensor out of the file into `place`, in whatever kind and order and
    /// on whatever device that is. There is no copy in between: on fresh memory, which the system
    /// has to clear first, each copy takes longer than reading the file does.
    ///
    /// # Errors
    /// A place of another shape; libtorch's own.
    pub fn read_into(&self, stored: &StoredTensor, mut place: Tensor) -> Result<Tensor, TchError> {
        let Some(kind) = stored.kind() else {
            return Err(TchError::Kind(format!("`{}` has dtype {}", stored.key, stored.dtype())));
        };
        let mut bytes = self.bytes(stored);
        let shape = stored.shape();
        let mut in_file = stored.shape.as_slice();
        if let Storage::ThirdOfRows(third) = stored.storage
            && shape != in_file
        {
            let length = bytes.len() / 3;
            bytes = &bytes[third * length..(third + 1) * length];
            in_file = &shape;
        }
        let numbers = in_file.iter().product::<i64>();
        if bytes.len() != numbers as usize * kind.elt_size_in_bytes() {
            return Err(TchError::FileFormat(format!("`{}` has too few bytes", stored.key)));
        }
        let seen = seen_as_tensor(bytes, in_file, kind)?;
        let seen = match stored.storage {
            Storage::Transposed if shape.len() == 2 => seen.f_transpose(0, 1)?,
            Storage::PointConvolution => seen.f_view(shape.as_slice())?,
            _ => seen,
        };
        if place.size() != shape {
            let problem = format!("`{}` is {shape:?}, its place {:?}", stored.key, place.size());
            return Err(TchError::Shape(problem));
        }
        place.f_copy_(&seen)?;
        if let Some(file) = self.files.get(stored.file) {
            file.release(stored.place.clone());
        }
        Ok(place)
    }
}

/// Bytes as a tensor that lies where they lie; copied where that is not on a multiple of a
/// number's size. It must not outlive them, nor be written to.
fn seen_as_tensor(bytes: &[u8], shape: &[i64], kind: Kind) -> Result<Tensor, TchError> {
    if bytes.is_empty() || !bytes.as_ptr().addr().is_multiple_of(kind.elt_size_in_bytes()) {
        return Tensor::f_from_data_size(bytes, shape, kind);
    }
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    // SAFETY: the bytes are as many as shape and kind need (the caller has counted), aligned, and
    // outlive the tensor, which does not leave `read_into`; nothing writes to it.
    #[allow(unsafe_code)]
    unsafe {
        Tensor::f_from_blob(bytes.as_ptr(), shape, &strides, kind, Device::Cpu)
    }
}

/// True if `number` holds for all numbers of `N` bytes.
fn is_finite<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> bool + Sync) -> bool {
    /// A multiple of every size of numbers. No number ends the search within a block, so that
    /// the compiler can look at many at once.
    const BLOCK: usize = 1 << 16;
    bytes.par_chunks(BLOCK).all(|block| {
        let (numbers, _) = block.as_chunks::<N>();
        numbers.iter().fold(true, |all, bytes| all & number(*bytes))
    })
}
