//! Where a model's numbers come from: a checkpoint file (memory-mapped safetensors) or a
//! fresh random start. A module asks for its tensors through a [`Scope`], by the names of a
//! diffusers checkpoint; what has others is renamed where it is opened.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use tch::{Device, Kind, TchError, Tensor};

pub use super::weights::WeightFile;
use super::weights::{StoredTensor, Weights};
use crate::site::{Axis, Site, SiteId, Sites};

/// How a parameter starts when there is no checkpoint.
#[derive(Clone, Copy, Debug)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// A constant.
    Constant(f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform in ±1/√fan_in, PyTorch's default for linear and convolution layers.
    FanIn(i64),
}

/// What is wrong with one tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The architecture needs it, the file has it not.
    Missing {
        /// Name in the file.
        name: String,
        /// Shape the architecture needs.
        expected: Vec<i64>,
    },
    /// Another shape than the config says.
    Shape {
        /// Name in the file.
        name: String,
        /// Shape by the config.
        expected: Vec<i64>,
        /// Shape in the file.
        got: Vec<i64>,
    },
    /// A dtype that weights cannot have here.
    Dtype {
        /// Name in the file.
        name: String,
        /// Dtype in the file.
        got: String,
    },
    /// NaN or infinite numbers.
    NotFinite {
        /// Name in the file.
        name: String,
    },
    /// Numbers beyond what the wanted kind can hold.
    TooLarge {
        /// Name in the file.
        name: String,
    },
    /// In the file, but not in the architecture.
    Extra {
        /// Name in the file.
        name: String,
    },
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mismatch::Missing { name, expected } => {
                write!(f, "missing `{name}` {expected:?}")
            }
            Mismatch::Shape { name, expected, got } => {
                write!(f, "`{name}` is {got:?}, the config needs {expected:?}")
            }
            Mismatch::Dtype { name, got } => write!(f, "`{name}` has dtype {got}"),
            Mismatch::NotFinite { name } => write!(f, "`{name}` holds NaN or infinity"),
            Mismatch::TooLarge { name } => {
                write!(f, "`{name}` holds numbers beyond f16 (65504): use bf16 or f32")
            }
            Mismatch::Extra { name } => write!(f, "extra `{name}`"),
        }
    }
}

/// Errors of reading or writing weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file cannot be opened or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not a whole safetensors file.
    #[error(
        "{}: not a readable safetensors file ({problem}); it may be truncated or corrupted: \
         download or copy it again",
        path.display()
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// What the reader said.
        problem: String,
    },
    /// Something else under the name of safetensors.
    #[error("{}: {found}; {remedy}", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The tensors do not fit the config.
    #[error(
        "{}: {} tensors do not fit the config beside it:\n  {}",
        path.display(),
        problems.len(),
        shorten(problems)
    )]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// All that is wrong, in one list.
        problems: Vec<Mismatch>,
    },
    /// libtorch refused.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

fn shorten(problems: &[Mismatch]) -> String {
    const SHOWN: usize = 12;
    let mut lines: Vec<String> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
    if problems.len() > SHOWN {
        lines.push(format!("… and {} more", problems.len() - SHOWN));
    }
    lines.join("\n  ")
}

/// The learned tensors of one part of a model, by name.
#[derive(Debug, Default)]
pub struct Parameters(pub BTreeMap<String, Tensor>);

impl Parameters {
    /// Tensors in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Tensor)> {
        self.0.iter()
    }

    /// How many numbers they hold.
    pub fn count(&self) -> i64 {
        self.0.values().map(|t| t.numel() as i64).sum()
    }

    /// Writes them as safetensors of the given kind, whole or not at all.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, path: &Path, kind: Kind) -> Result<(), WeightsError> {
        let tensors: Vec<(String, Tensor)> = self
            .iter()
            .map(|(name, t)| (name.clone(), t.detach().to_device(Device::Cpu).to_kind(kind)))
            .collect();
        save_tensors(path, &tensors)
    }
}

/// Writes named tensors as safetensors, beside the target first and then renamed.
///
/// # Errors
/// A folder that cannot be written.
pub fn save_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), WeightsError> {
    let io = |source| WeightsError::Io { path: path.to_owned(), source };
    let mut views = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        let dtype = match tensor.kind() {
            Kind::Half => Dtype::F16,
            Kind::BFloat16 => Dtype::BF16,
            Kind::Int64 => Dtype::I64,
            Kind::Double => Dtype::F64,
            _ => Dtype::F32,
        };
        let tensor = if dtype == Dtype::F32 { tensor.to_kind(Kind::Float) } else { tensor };
        let bytes = bytes_of(&tensor);
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        views.push((name.clone(), dtype, shape, bytes));
    }
    let format = |e: safetensors::SafeTensorError| WeightsError::Format {
        path: path.to_owned(),
        problem: e.to_string(),
    };
    let views = views
        .iter()
        .map(|(name, dtype, shape, bytes): &(String, Dtype, Vec<usize>, Vec<u8>)| {
            safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes)
                .map(|view| (name.clone(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(format)?;
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let bytes = safetensors::serialize(views, metadata).map_err(format)?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    std::io::Write::write_all(&mut file, &bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0_u8; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

/// Where a [`Scope`] takes its tensors from.
pub struct Store {
    source: Option<RefCell<Weights>>,
    kind: Kind,
    device: Device,
    trainable: bool,
    reads_numbers: bool,
    taken: RefCell<BTreeMap<String, Tensor>>,
    problems: RefCell<Vec<Mismatch>>,
    failure: RefCell<Option<TchError>>,
}

impl Store {
    /// Weights of a checkpoint, cast to `kind` on `device` one by one as they are asked for.
    pub fn of(weights: Weights, kind: Kind, device: Device) -> Self {
        Self::new(Some(weights), kind, device, false)
    }

    /// Weights whose names, shapes and kinds are checked without reading a number: to find out
    /// what is wrong with them, not to compute.
    pub fn without_numbers(weights: Weights) -> Self {
        Self { reads_numbers: false, ..Self::of(weights, Kind::Float, Device::Cpu) }
    }

    /// Weights of one file, cast to `kind` on `device`.
    ///
    /// # Errors
    /// Not a whole safetensors file.
    pub fn from_file(file: &WeightFile, kind: Kind, device: Device) -> Result<Self, WeightsError> {
        Ok(Self::of(Weights::of(file.clone())?, kind, device))
    }

    /// Random weights to be trained, f32.
    pub fn fresh(device: Device) -> Self {
        Self::new(None, Kind::Float, device, true)
    }

    /// Random weights that are not to be trained: a model that has learned nothing.
    pub fn untrained(kind: Kind, device: Device) -> Self {
        Self::new(None, kind, device, false)
    }

    /// The weights of `start` to be trained further, f32; fresh ones if there is none.
    pub fn trainable(start: Option<&Weights>, device: Device) -> Self {
        Self::new(start.cloned(), Kind::Float, device, true)
    }

    fn new(source: Option<Weights>, kind: Kind, device: Device, trainable: bool) -> Self {
        Self {
            source: source.map(RefCell::new),
            kind,
            device,
            trainable,
            reads_numbers: true,
            taken: RefCell::default(),
            problems: RefCell::default(),
            failure: RefCell::default(),
        }
    }

    /// The scope from which a model part takes its tensors; it declares its sites in `sites`.
    pub fn root<'a>(&'a self, sites: &'a RefCell<Sites>) -> Scope<'a> {
        Scope { store: self, sites, path: String::new(), site: String::new() }
    }

    /// Leaves out tensors of the file that the architecture has no use for (buffers that
    /// older versions saved).
    pub fn ignore_extra(&self, is_buffer: impl Fn(&str) -> bool) {
        if let Some(weights) = &self.source {
            weights.borrow_mut().retain(|name| !is_buffer(name));
        }
    }

    /// True if the checkpoint has a tensor whose name starts so.
    pub fn has(&self, prefix: &str) -> bool {
        self.source.as_ref().is_some_and(|weights| weights.borrow().has(prefix))
    }

    /// What was taken.
    ///
    /// # Errors
    /// Everything missing, extra or of another shape, in one list; libtorch's own errors.
    pub fn finish(self) -> Result<Parameters, WeightsError> {
        if let Some(failure) = self.failure.into_inner() {
            return Err(failure.into());
        }
        let mut problems = self.problems.into_inner();
        if let Some(rest) = self.source.map(RefCell::into_inner) {
            let extra = rest.iter().map(|(name, _)| Mismatch::Extra { name: name.clone() });
            problems.extend(extra);
            if !problems.is_empty() {
                return Err(WeightsError::Mismatch { path: rest.path().to_owned(), problems });
            }
        }
        Ok(Parameters(self.taken.into_inner()))
    }

    fn take(&self, name: String, shape: &[i64], init: Init) -> Tensor {
        let tensor = match &self.source {
            Some(weights) => self.checked(&mut weights.borrow_mut(), &name, shape),
            None => initial(init, shape, self.device).to_kind(self.kind),
        };
        let tensor = if self.trainable { tensor.set_requires_grad(true) } else { tensor };
        self.taken.borrow_mut().insert(name, tensor.shallow_clone());
        tensor
    }

    fn checked(&self, weights: &mut Weights, name: &str, shape: &[i64]) -> Tensor {
        let name = name.to_owned();
        let problem = match weights.remove(&name) {
            None => Mismatch::Missing { name, expected: shape.to_vec() },
            Some(stored) if stored.shape() != shape => {
                Mismatch::Shape { name, expected: shape.to_vec(), got: stored.shape() }
            }
            Some(stored) if !stored.is_floating_point() => {
                Mismatch::Dtype { name, got: stored.dtype() }
            }
            Some(_) if !self.reads_numbers => return self.stand_in(shape),
            Some(stored) => match self.cast(weights, &stored, name) {
                Ok(Ok(tensor)) => return tensor,
                Ok(Err(problem)) => problem,
                Err(failure) => {
                    self.failure.borrow_mut().get_or_insert(failure);
                    return self.stand_in(shape);
                }
            },
        };
        self.problems.borrow_mut().push(problem);
        self.stand_in(shape)
    }

    /// The tensor in the wanted kind on the wanted device, if all its numbers are finite there.
    fn cast(
        &self,
        weights: &Weights,
        stored: &StoredTensor,
        name: String,
    ) -> Result<Result<Tensor, Mismatch>, TchError> {
        if !weights.is_finite(stored) {
            return Ok(Err(Mismatch::NotFinite { name }));
        }
        // What is trained keeps the order of its file: optimisers change it in place.
        let options = (self.kind, self.device);
        let place = match stored.shape().as_slice() {
            &[n, c, h, w] if !self.trainable => {
                channels_last(&Tensor::f_empty([n, h, w, c], options)?)?
            }
            shape => Tensor::f_empty(shape, options)?,
        };
        let tensor = weights.read_into(stored, place)?;
        let narrows = self.kind == Kind::Half && stored.kind() != Some(Kind::Half);
        // The sum is finite only if every number is, since f64 holds any sum of them.
        if narrows && !tensor.f_sum(Kind::Double)?.double_value(&[]).is_finite() {
            return Ok(Err(Mismatch::TooLarge { name }));
        }
        Ok(Ok(tensor))
    }

    /// What a module gets in place of a tensor that is not right, so that all that is wrong can
    /// be found at once: one number seen as many, which takes no memory whatever a config asks.
    fn stand_in(&self, shape: &[i64]) -> Tensor {
        let zero = Tensor::zeros([1], (self.kind, self.device));
        zero.f_expand(shape, false).unwrap_or(zero)
    }
}

/// The kernels of a convolution [n, h, w, c] as [n, c, h, w], with the numbers of all channels side
/// by side. Maps then keep that order as well: on a CPU, convolutions in bf16 take half as long,
/// and no map is copied on its way into a transformer and out of it.
fn channels_last(kernels: &Tensor) -> Result<Tensor, TchError> {
    kernels.f_permute([0, 3, 1, 2])
}

fn initial(init: Init, shape: &[i64], device: Device) -> Tensor {
    let options = (Kind::Float, device);
    match init {
        Init::Zeros => Tensor::zeros(shape, options),
        Init::Ones => Tensor::ones(shape, options),
        Init::Constant(value) => Tensor::full(shape, value, options),
        Init::Normal(std) => Tensor::randn(shape, options) * std,
        Init::FanIn(fan_in) => {
            let bound = 1.0 / (fan_in as f64).sqrt();
            (Tensor::rand(shape, options) * 2.0 - 1.0) * bound
        }
    }
}

/// A place in the tree of modules: hands out tensors and declares sites under its names.
#[derive(Clone)]
pub struct Scope<'a> {
    store: &'a Store,
    sites: &'a RefCell<Sites>,
    path: String,
    site: String,
}

impl Scope<'_> {
    /// The module `path` below this one, known to users as `site`; either may be empty.
    pub fn at(&self, path: impl Display, site: impl Display) -> Self {
        Self {
            store: self.store,
            sites: self.sites,
            path: join(&self.path, &path.to_string()),
            site: join(&self.site, &site.to_string()),
        }
    }

    /// The module `path` below this one, without a site name of its own.
    pub fn below(&self, path: impl Display) -> Self {
        self.at(path, "")
    }

    /// A parameter of this module.
    pub fn tensor(&self, name: &str, shape: &[i64], init: Init) -> Tensor {
        self.store.take(join(&self.path, name), shape, init)
    }

    /// Declares a site of this module.
    pub fn site(&self, name: &str, axes: &[Axis]) -> SiteId {
        self.sites.borrow_mut().add(Site {
            name: join(&self.site, name),
            path: self.path.clone(),
            axes: axes.to_vec(),
        })
    }
}

fn join(front: &str, back: &str) -> String {
    match (front.is_empty(), back.is_empty()) {
        (_, true) => front.to_owned(),
        (true, _) => back.to_owned(),
        _ => format!("{front}.{back}"),
    }
}
